/// What the peer has to agree on inside the handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Alpn {
    /// A peer that does not negotiate `h2` is refused, as grpc-go does since 1.67.
    #[default]
    Required,
    /// A peer that negotiates nothing is taken to speak HTTP/2.
    Optional,
    /// Offers `http/1.1`. A peer that negotiates nothing is taken to speak it.
    Http1,
}

impl Alpn {
    /// What a client offers.
    pub(super) fn offered(self) -> &'static [u8] {
        match self {
            Self::Required | Self::Optional => b"h2",
            Self::Http1 => b"http/1.1",
        }
    }
}
