use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{
    AuthenticationError, Authenticator, CallEvidence, Evidence, EvidenceKinds, Lease, Outcome,
    Reason,
};
use crate::digest::sha256;
use crate::identity::Principal;
use crate::secret::{Secret, constant_time_eq};

/// Proves callers by tokens that are listed beforehand, as SHA-256 hashes.
///
/// Takes `authorization: Bearer <token>` and `x-api-key: <token>`. For a handful of services and
/// for tests; tokens are random and long (32 bytes or more), since a fast hash protects nothing
/// that can be guessed.
///
/// The file is JSON. The hash is of the token's bytes, as `printf %s "$TOKEN" | sha256sum` gives
/// it:
///
/// ```json
/// { "tokens": [
///     { "principal": "ci", "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08" }
/// ] }
/// ```
#[derive(Clone)]
pub struct StaticTokens {
    /// By hash. Looking up by it tells an attacker at most how a hash begins, and nobody can
    /// choose a token by the beginning of its hash and be accepted.
    principals: HashMap<[u8; 32], Entry>,
}

#[derive(Clone)]
struct Entry {
    digest: [u8; 32],
    principal: Principal,
}

impl StaticTokens {
    /// What rules call it.
    pub const NAME: &'static str = "static-tokens";

    /// The largest file that is read, in bytes.
    pub const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

    /// No tokens yet; add some with [`with_token`](Self::with_token).
    pub fn new() -> Self {
        Self { principals: HashMap::new() }
    }

    /// The tokens listed in a JSON file. Blocks on the file system.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, is not what it should be, lists nothing, or lists a hash
    /// twice.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, StaticTokensError> {
        use std::io::Read;
        let path = path.as_ref();
        let unreadable = |source| StaticTokensError::Unreadable { path: path.to_owned(), source };
        let mut text = String::new();
        let file = std::fs::File::open(path).map_err(unreadable)?;
        file.take(Self::MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(unreadable)?;
        if text.len() as u64 > Self::MAX_FILE_BYTES {
            return Err(unreadable(std::io::Error::other("it is larger than 16 MiB")));
        }
        Self::from_json(&text)
            .map_err(|problem| StaticTokensError::Invalid { path: path.to_owned(), problem })
    }

    fn from_json(text: &str) -> Result<Self, String> {
        let file: TokenFile = serde_json::from_str(text).map_err(|error| clause(&error))?;
        if file.tokens.is_empty() {
            return Err("it lists no token".to_owned());
        }
        let mut tokens = Self::new();
        for (index, TokenRecord { principal, sha256 }) in file.tokens.into_iter().enumerate() {
            let number = index + 1;
            let digest = hex(&sha256).ok_or_else(|| {
                format!("`sha256` of token {number} is not 64 hexadecimal digits")
            })?;
            if principal.is_empty() {
                return Err(format!("token {number} names no principal"));
            }
            if !tokens.insert(digest, &principal) {
                return Err(format!("token {number} is listed twice"));
            }
        }
        Ok(tokens)
    }

    /// Adds a token. A token that is there already gets the new principal.
    #[must_use]
    pub fn with_token(mut self, principal: &str, token: impl Into<Secret<String>>) -> Self {
        let digest = sha256(token.into().expose().as_bytes());
        self.principals.remove(&digest);
        self.insert(digest, principal);
        self
    }

    /// Whether it is new.
    fn insert(&mut self, digest: [u8; 32], principal: &str) -> bool {
        let principal = Principal::new(principal, Self::NAME);
        self.principals.insert(digest, Entry { digest, principal }).is_none()
    }

    fn find(&self, token: &str) -> Option<&Principal> {
        let digest = sha256(token.as_bytes());
        let entry = self.principals.get(&digest)?;
        constant_time_eq(&entry.digest, &digest).then_some(&entry.principal)
    }
}

impl Default for StaticTokens {
    fn default() -> Self {
        Self::new()
    }
}

impl Authenticator for StaticTokens {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn reads(&self) -> EvidenceKinds {
        EvidenceKinds { authorization: true, api_key: true, ..EvidenceKinds::default() }
    }

    fn is_repeatable(&self) -> bool {
        true
    }

    fn authenticate_now(&self, evidence: &Evidence<'_>) -> Option<Outcome> {
        let (CallEvidence::Bearer(token) | CallEvidence::ApiKey(token)) = evidence.call() else {
            return Some(Ok(None));
        };
        Some(match self.find(token) {
            Some(principal) => {
                Ok(Some(evidence.accept(principal.clone()).leased(Lease::unlimited())))
            }
            None => Err(AuthenticationError::new(Reason::TokenInvalid, "the token is not listed")),
        })
    }

    fn challenges(&self) -> &[&'static str] {
        &["Bearer"]
    }
}

impl fmt::Debug for StaticTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StaticTokens({} tokens)", self.principals.len())
    }
}

/// Why a token file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StaticTokensError {
    /// The file cannot be read.
    #[error("cannot read the token file `{}`", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("the token file `{}` cannot be used: {problem}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenFile {
    tokens: Vec<TokenRecord>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenRecord {
    principal: String,
    sha256: String,
}

/// Where the fault is and of which kind: serde's own message quotes what it found, which is a
/// token when somebody put one where its hash belongs.
fn clause(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        serde_json::error::Category::Data => {
            r#"it is not of the form { "tokens": [{ "principal": "..", "sha256": ".." }] }"#
        }
        _ => "it is not JSON",
    };
    format!("{what} (line {}, column {})", error.line(), error.column())
}

fn hex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = [pair[0], pair[1]].map(|digit| char::from(digit).to_digit(16));
        *byte = u8::try_from(high? * 16 + low?).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::PeerIdentity;

    /// SHA-256 of `test`.
    const HASH: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    fn judged(tokens: &StaticTokens, call: CallEvidence<'_>) -> String {
        let peer = PeerIdentity::unknown();
        match tokens.authenticate_now(&Evidence::new(&peer, call)).expect("at once") {
            Ok(Some(known)) => known.principal().name().to_owned(),
            Ok(None) => "nothing to read".to_owned(),
            Err(error) => error.reason().to_string(),
        }
    }

    #[test]
    fn a_listed_token_proves_its_principal_and_another_does_not() {
        let json = format!(r#"{{"tokens":[{{"principal":"ci","sha256":"{HASH}"}}]}}"#);
        let tokens = StaticTokens::from_json(&json).expect("valid");
        assert_eq!(judged(&tokens, CallEvidence::Bearer("test")), "ci");
        assert_eq!(judged(&tokens, CallEvidence::ApiKey("test")), "ci");
        assert_eq!(judged(&tokens, CallEvidence::Bearer("Test")), "TOKEN_INVALID");
        assert_eq!(judged(&tokens, CallEvidence::None), "nothing to read");
    }

    #[test]
    fn a_file_that_is_not_what_it_should_be_is_refused() {
        let record = format!(r#"{{"principal":"ci","sha256":"{HASH}"}}"#);
        for (name, json) in [
            ("not JSON", "tokens:".to_owned()),
            ("no token", r#"{"tokens":[]}"#.to_owned()),
            ("unknown key", format!(r#"{{"tokens":[{record}],"token":1}}"#)),
            ("listed twice", format!(r#"{{"tokens":[{record},{record}]}}"#)),
            ("short hash", r#"{"tokens":[{"principal":"ci","sha256":"9f86"}]}"#.to_owned()),
            (
                "not hexadecimal",
                format!(r#"{{"tokens":[{{"principal":"ci","sha256":"{}"}}]}}"#, "+1".repeat(32)),
            ),
            ("no principal", format!(r#"{{"tokens":[{{"principal":"","sha256":"{HASH}"}}]}}"#)),
            ("more text", format!(r#"{{"tokens":[{record}]}} x"#)),
        ] {
            assert!(StaticTokens::from_json(&json).is_err(), "{name}");
        }
    }

    #[test]
    fn a_token_in_the_wrong_place_is_not_quoted() {
        for json in [r#"{"tokens":["hunter2"]}"#, r#"{"hunter2":1}"#, "hunter2"] {
            let problem = StaticTokens::from_json(json).expect_err("refused");
            assert!(!problem.contains("hunter2") && problem.contains("line 1"), "{problem}");
        }
    }

    #[test]
    fn tokens_stay_hidden_in_debug_output() {
        let tokens = StaticTokens::new().with_token("ci", "hunter2");
        assert_eq!(format!("{tokens:?}"), "StaticTokens(1 tokens)");
    }
}
