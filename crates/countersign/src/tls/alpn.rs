/// Whether the peer has to agree on `h2` inside the handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Alpn {
    /// A peer that negotiates nothing is refused, as grpc-go does since 1.67.
    #[default]
    Required,
    /// A peer that negotiates nothing is taken to speak HTTP/2.
    Optional,
}
