use serde_json::Value;

use super::error::TokenError;
use super::token::Header;
use crate::jose::Algorithm;
use crate::jose::json::{Members, Seen};

/// Which kind of token is taken: a named bundle of checks. Each token is of one kind, so that
/// none passes for another (RFC 8725 §3.12).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Profile {
    /// An access token as providers issue it: `typ` is `at+jwt`, `JWT` or absent. What looks like
    /// an ID token or a refresh token is refused.
    #[default]
    AccessToken,
    /// An access token as RFC 9068 wants it: `typ` is `at+jwt`, and `client_id`, `iat` and `jti`
    /// are there.
    Rfc9068,
    /// An ID token of OpenID Connect, for us as its client (Core §3.1.3.7). Only where a caller
    /// has nothing better: ID tokens are not meant for services.
    IdToken,
    /// A JWT-SVID of SPIFFE, whose trust domain chooses the keys.
    JwtSvid,
    /// A projected service account token of Kubernetes, whose bound claims agree with `sub`.
    /// Names do not say which cluster, so a [`Jwt`](super::Jwt) takes one alone: another cluster
    /// has a `Jwt` of its own, with another [name](super::JwtBuilder::name).
    K8sServiceAccount,
}

impl Profile {
    /// The name in configuration, logs and errors.
    pub fn name(self) -> &'static str {
        match self {
            Self::AccessToken => "access-token",
            Self::Rfc9068 => "rfc9068",
            Self::IdToken => "id-token",
            Self::JwtSvid => "jwt-svid",
            Self::K8sServiceAccount => "k8s-sa",
        }
    }

    /// Reads the name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::AccessToken, Self::Rfc9068, Self::IdToken, Self::JwtSvid, Self::K8sServiceAccount]
            .into_iter()
            .find(|profile| profile.name() == name)
    }

    /// JWT-SVID §2.2 has no EdDSA, and every other of the asymmetric ones.
    pub(super) fn default_algorithms(self) -> Vec<Algorithm> {
        match self {
            Self::JwtSvid => {
                Algorithm::ALL.into_iter().filter(|one| *one != Algorithm::EdDSA).collect()
            }
            _ => Algorithm::DEFAULT.to_vec(),
        }
    }

    /// What the header may say.
    pub(super) fn check_header(self, header: &Header<'_>) -> Result<(), TokenError> {
        let untyped_or = |name| header.kind.is_none() || header.is_kind(name);
        let fits = match self {
            Self::AccessToken => untyped_or("jwt") || header.is_kind("at+jwt"),
            Self::Rfc9068 => header.is_kind("at+jwt"),
            Self::IdToken | Self::K8sServiceAccount => untyped_or("jwt"),
            // JWT-SVID §2.3: these two and in this spelling.
            Self::JwtSvid => matches!(header.kind.as_deref(), None | Some("JWT" | "JOSE")),
        };
        if !fits {
            let (found, profile) = (header.kind.as_deref().map(str::to_owned), self.name());
            return Err(TokenError::Type { found, profile });
        }
        // JWT-SVID §2: no other header may be there.
        if self == Self::JwtSvid && header.has_more {
            return Err(TokenError::Header("a JWT-SVID has `alg`, `kid` and `typ` alone"));
        }
        Ok(())
    }

    /// Claims that the profile cannot do without, beside `exp`, `aud` and a subject.
    pub(super) fn required(self) -> &'static [&'static str] {
        match self {
            Self::AccessToken | Self::JwtSvid => &[],
            Self::Rfc9068 => &["client_id", "iat", "jti"],
            Self::IdToken => &["iat"],
            Self::K8sServiceAccount => &["kubernetes.io"],
        }
    }

    /// What else the claims must and must not say.
    pub(super) fn check_claims(
        self,
        header: &Header<'_>,
        claims: &Members<'_>,
        audiences: &[String],
    ) -> Result<(), TokenError> {
        let problem = |problem| TokenError::Profile { profile: self.name(), problem };
        match self {
            Self::AccessToken if !header.is_kind("at+jwt") => {
                if ["nonce", "at_hash", "c_hash"].iter().any(|name| claims.contains(name)) {
                    return Err(problem("it looks like an ID token"));
                }
                // Keycloak says in a claim what others say in the header.
                let kind = claims.get("typ").and_then(Seen::as_str).unwrap_or_default();
                let others = ["id", "refresh", "offline", "logout"];
                match others.iter().any(|other| kind.eq_ignore_ascii_case(other)) {
                    true => Err(problem("it is an ID, refresh or logout token")),
                    false => Ok(()),
                }
            }
            Self::IdToken => check_authorized_party(claims, audiences).map_err(problem),
            Self::K8sServiceAccount => service_account(claims).map(drop).map_err(problem),
            Self::AccessToken | Self::Rfc9068 | Self::JwtSvid => Ok(()),
        }
    }
}

/// OpenID Connect Core §3.1.3.7, steps 4 and 5.
fn check_authorized_party(claims: &Members<'_>, audiences: &[String]) -> Result<(), &'static str> {
    let aud = claims.get("aud");
    let several = matches!(aud, Some(Seen::Other(Value::Array(all))) if all.len() > 1);
    match claims.get("azp") {
        Some(Seen::Text(party)) if audiences.iter().any(|one| one == party) => Ok(()),
        Some(_) => Err("`azp` is not us"),
        None if several => Err("it has several audiences and no `azp`"),
        None => Ok(()),
    }
}

/// Namespace and name of the service account that both `sub` and the bound claims name.
pub(super) fn service_account<'a>(
    claims: &'a Members<'_>,
) -> Result<(&'a str, &'a str), &'static str> {
    let bound = claims.get("kubernetes.io").and_then(Seen::as_object);
    let bound = bound.ok_or("`kubernetes.io` is not an object")?;
    let namespace = bound.get("namespace").and_then(Value::as_str);
    let account = bound.get("serviceaccount").and_then(|account| account.get("name")?.as_str());
    let (Some(namespace), Some(account)) = (namespace, account) else {
        return Err("`kubernetes.io` names no service account");
    };
    let subject = claims.get("sub").and_then(Seen::as_str).unwrap_or_default();
    let named = subject.strip_prefix("system:serviceaccount:").and_then(|it| it.split_once(':'));
    match named == Some((namespace, account)) {
        true => Ok((namespace, account)),
        false => Err("`sub` and `kubernetes.io` name different service accounts"),
    }
}
