//! Certificates, keys and tokens that servers and load share for one run.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest;
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use countersign::{Clock as _, SystemClock};
use countersign_testkit::pki::{Certificate, CertificateAuthority};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tempfile::TempDir;

use crate::serve::SERVICE;

/// Who signs the tokens.
pub(crate) const ISSUER: &str = "https://issuer.bench.example";
/// Whom they are for.
pub(crate) const AUDIENCE: &str = "bench";
/// The name in the client's certificate.
const CLIENT: &str = "spiffe://bench.example/client";
/// The key that signs them.
const KID: &str = "bench";
/// What a token's length should be about: a usual one with a dozen claims.
const TOKEN_BYTES: usize = 661;
/// Longer than any run.
const LIFETIME: Duration = Duration::from_secs(12 * 3600);

/// Everything in a folder that goes away with this value.
pub(crate) struct Material {
    folder: TempDir,
    authority: CertificateAuthority,
    client: Certificate,
    signer: EncodingKey,
    now: SystemTime,
}

/// What a token says.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Claims {
    pub(crate) iss: String,
    pub(crate) aud: String,
    pub(crate) sub: String,
    pub(crate) iat: u64,
    pub(crate) exp: u64,
    /// What makes it as long as tokens are.
    pub(crate) scope: String,
}

impl Material {
    /// Makes keys and certificates: ECDSA on P-256 throughout.
    pub(crate) fn new() -> Result<Self, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let authority = CertificateAuthority::new("bench CA");
        let client = authority.client(&[CLIENT]);
        authority.server(&["localhost", "127.0.0.1"]).write(folder.path(), "server")?;
        fs::write(folder.path().join("ca.pem"), authority.certificate_pem())?;

        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
        let signer = EncodingKey::from_ec_der(key.to_pkcs8v1()?.as_ref());
        let public: PublicKeyX509Der<'_> = key.public_key().as_der()?;
        fs::write(folder.path().join("jwt.pem"), pem("PUBLIC KEY", public.as_ref()))?;
        let (x, y) = key.public_key().as_ref()[1..].split_at(32);
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        let jwk = json!({ "kty": "EC", "crv": "P-256", "kid": KID, "x": x, "y": y });
        fs::write(folder.path().join("jwks.json"), json!({ "keys": [jwk] }).to_string())?;
        for (name, source) in [
            (
                "policy-tokens.json",
                json!({ "countersign": { "tokens": [{ "issuers": [ISSUER] }] } }),
            ),
            ("policy-certificates.json", json!({ "principals": [CLIENT] })),
        ] {
            fs::write(folder.path().join(name), policy(&source).to_string())?;
        }
        Ok(Self { folder, authority, client, signer, now: SystemClock.now() })
    }

    /// A policy of ten rules, one of which lets in who has one of our tokens.
    pub(crate) fn policy_for_tokens(&self) -> PathBuf {
        self.folder().join("policy-tokens.json")
    }

    /// A policy of ten rules, one of which lets in who has our client's certificate. Plain gRFC
    /// A43, which grpc-go reads too.
    pub(crate) fn policy_for_certificates(&self) -> PathBuf {
        self.folder().join("policy-certificates.json")
    }

    /// A file for one server's records. It goes away with everything else.
    pub(crate) fn audit_file(&self, server: &str) -> PathBuf {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        let name: String = server.chars().map(plain).collect();
        self.folder().join(format!("audit-{name}.jsonl"))
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder().join("server.pem")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.folder().join("server.key")
    }

    /// Vouches for servers and clients alike.
    pub(crate) fn ca(&self) -> PathBuf {
        self.folder().join("ca.pem")
    }

    pub(crate) fn jwt_public_key(&self) -> PathBuf {
        self.folder().join("jwt.pem")
    }

    /// The same key as a key set.
    pub(crate) fn jwks(&self) -> PathBuf {
        self.folder().join("jwks.json")
    }

    /// A service account's key file, in Google's form, with an RSA key of 2,048 bits.
    pub(crate) fn service_account(&self) -> Result<PathBuf, Box<dyn Error>> {
        let key = RsaKeyPair::generate(KeySize::Rsa2048)?;
        let pkcs8: Pkcs8V1Der<'_> = key.as_der()?;
        let file = json!({
            "type": "service_account",
            "client_email": "orders@bench.example",
            "private_key_id": KID,
            "private_key": pem("PRIVATE KEY", pkcs8.as_ref()),
            "token_uri": "https://id.example/token",
        });
        let path = self.folder().join("service-account.json");
        fs::write(&path, file.to_string())?;
        Ok(path)
    }

    pub(crate) fn authority(&self) -> &CertificateAuthority {
        &self.authority
    }

    pub(crate) fn client(&self) -> &Certificate {
        &self.client
    }

    /// A signed token (ES256) for each of so many callers.
    pub(crate) fn tokens(&self, callers: usize) -> Result<Vec<String>, Box<dyn Error>> {
        self.tokens_of(0..callers)
    }

    /// The same for these callers.
    pub(crate) fn tokens_of(&self, callers: Range<usize>) -> Result<Vec<String>, Box<dyn Error>> {
        callers.map(|caller| self.token(caller)).collect()
    }

    /// A token that was good until an hour ago.
    pub(crate) fn expired_token(&self) -> Result<String, Box<dyn Error>> {
        self.token_of(0, self.now - LIFETIME - Duration::from_secs(3600))
    }

    fn token(&self, caller: usize) -> Result<String, Box<dyn Error>> {
        self.token_of(caller, self.now)
    }

    fn token_of(&self, caller: usize, from: SystemTime) -> Result<String, Box<dyn Error>> {
        let seconds = from.duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
        let mut claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: format!("caller-{caller:06}"),
            iat: seconds,
            exp: seconds + LIFETIME.as_secs(),
            scope: String::new(),
        };
        let header = Header { kid: Some(KID.to_owned()), ..Header::new(Algorithm::ES256) };
        // Three bytes of claims are four of token.
        let bare = jsonwebtoken::encode(&header, &claims, &self.signer)?.len();
        let missing = TOKEN_BYTES.saturating_sub(bare) * 3 / 4;
        claims.scope = "orders.read orders.write ".chars().cycle().take(missing).collect();
        Ok(jsonwebtoken::encode(&header, &claims, &self.signer)?)
    }

    /// Lists tokens in a file of the folder, as our gate reads them.
    pub(crate) fn list(&self, name: &str, tokens: &[String]) -> Result<PathBuf, Box<dyn Error>> {
        let mut listed = Vec::with_capacity(tokens.len());
        for (caller, token) in tokens.iter().enumerate() {
            let principal = format!("caller-{caller:06}");
            let sha256 = hex(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
            listed.push(json!({ "principal": principal, "sha256": sha256 }));
        }
        let path = self.folder().join(name);
        fs::write(&path, json!({ "tokens": listed }).to_string())?;
        Ok(path)
    }
}

/// One rule to deny, eight for other services, and one for ours and this source.
fn policy(source: &serde_json::Value) -> serde_json::Value {
    let deny = json!({ "name": "no-purge", "request": { "paths": ["*/Purge"] } });
    let others = (0..8).map(|n| {
        let path = format!("/bench.v1.Other{n}/*");
        json!({ "name": format!("other-{n}"), "request": { "paths": [path] } })
    });
    let paths = json!({ "paths": [format!("/{SERVICE}/*")] });
    let ours = json!({ "name": "echo", "source": source, "request": paths });
    let allow: Vec<_> = others.chain([ours]).collect();
    json!({ "name": "bench", "deny_rules": [deny], "allow_rules": allow })
}

/// Opaque tokens of a size, one per caller.
pub(crate) fn opaque_tokens(callers: usize, bytes: usize) -> Vec<String> {
    (0..callers)
        .map(|caller| {
            let digest = digest::digest(&digest::SHA256, &caller.to_le_bytes());
            hex(digest.as_ref()).chars().cycle().take(bytes).collect()
        })
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn pem(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    let encoded = STANDARD.encode(der);
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = more;
    }
    text + &format!("-----END {label}-----\n")
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{DecodingKey, Validation};

    use super::*;

    #[test]
    fn tokens_verify_with_the_published_key_and_differ_by_caller() {
        let material = Material::new().expect("material");
        let tokens = material.tokens(2).expect("tokens");
        let public = fs::read(material.jwt_public_key()).expect("a file");
        let key = DecodingKey::from_ec_pem(&public).expect("a key");
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_audience(&[AUDIENCE]);
        validation.set_issuer(&[ISSUER]);
        for (caller, token) in tokens.iter().enumerate() {
            assert!(token.len().abs_diff(TOKEN_BYTES) < 4, "{} bytes", token.len());
            let claims = jsonwebtoken::decode::<Claims>(token, &key, &validation).expect("valid");
            assert_eq!(claims.claims.sub, format!("caller-{caller:06}"));
        }
    }

    #[test]
    fn listed_tokens_are_what_the_gate_reads() {
        let material = Material::new().expect("material");
        let path = material.list("tokens.json", &opaque_tokens(3, 40)).expect("a file");
        let tokens = countersign::StaticTokens::from_file(path).expect("readable");
        assert_eq!(format!("{tokens:?}"), "StaticTokens(3 tokens)");
    }

    #[test]
    fn opaque_tokens_have_their_size_and_differ() {
        let tokens = opaque_tokens(2, 2048);
        assert!(tokens.iter().all(|token| token.len() == 2048));
        assert_ne!(tokens[0], tokens[1]);
    }
}
