//! Everything that lowers safety, in one place, so that one search finds every use.
//!
//! There is no way to skip the verification of host names or certificate chains.

use crate::authentication::jwt::{Issuer, IssuerWithoutAudience};
use crate::authentication::{IntrospectionBuilder, KnowsAudience, WantsAudience};
use crate::tls::{Alpn, ClientTls, ServerTls};

/// Accepts servers that negotiate no application protocol by ALPN.
///
/// For old servers and for proxies that terminate TLS without offering `h2`. The connection is
/// then taken to speak HTTP/2, and what stands in the middle may be something else that holds
/// a certificate for the same name. grpc-go refuses such servers since 1.67.
pub fn allow_servers_without_alpn(tls: ClientTls) -> ClientTls {
    tls.alpn(Alpn::Optional)
}

/// Accepts clients that offer no application protocol by ALPN; see
/// [`allow_servers_without_alpn`].
pub fn allow_clients_without_alpn(tls: ServerTls) -> ServerTls {
    tls.alpn(Alpn::Optional)
}

/// Takes an issuer's tokens whoever they are for.
///
/// Every other service that gets a token of this issuer can then use it here, in its caller's
/// name (RFC 8725 §3.9). For issuers that name no audience, until they do.
pub fn any_audience(issuer: IssuerWithoutAudience) -> Issuer {
    issuer.for_anybody()
}

/// Accepts tokens whose introspection answer does not say whom they are for (`aud`); an answer
/// that does say it still has to name one of our audiences.
///
/// For servers that leave `aud` out, as RFC 7662 §2.2 allows. A token that was issued for another
/// service then passes here, unless the endpoint itself compares what it answers with the client
/// that asks (§4).
pub fn introspected_without_audience(
    introspection: IntrospectionBuilder<KnowsAudience>,
) -> IntrospectionBuilder<KnowsAudience> {
    introspection.audience_may_be_absent()
}

/// Accepts tokens whomever they are for: any service that is given a token can use it here.
pub fn introspected_for_any_audience(
    introspection: IntrospectionBuilder<WantsAudience>,
) -> IntrospectionBuilder<KnowsAudience> {
    introspection.any_audience()
}
