use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};

/// The metadata that call credentials add to one call.
///
/// Checked as it is added: a key that belongs to the transport, a value that no header can
/// carry, or a key that is there already is an error, and nothing of it leaves. All values are
/// marked sensitive, so that neither logs nor HPACK's tables keep them.
#[derive(Default)]
pub struct CallMetadata {
    entries: Vec<(HeaderName, HeaderValue)>,
}

impl CallMetadata {
    /// Adds one text entry. Keys are folded to lower case.
    ///
    /// # Errors
    ///
    /// [`InvalidMetadata`] names the key and what is wrong with it; it never quotes the value.
    pub fn insert(&mut self, key: &str, value: &str) -> Result<(), InvalidMetadata> {
        let name = Self::text_name(key)?;
        Self::check_text(key, value.as_bytes())?;
        let value = HeaderValue::from_str(value).expect("printable ASCII");
        self.insert_checked(name, value)
    }

    /// Adds one binary entry; its key ends in `-bin` and it travels as base64.
    ///
    /// # Errors
    ///
    /// As [`insert`](Self::insert).
    pub fn insert_bin(&mut self, key: &str, value: &[u8]) -> Result<(), InvalidMetadata> {
        let name = Self::name(key)?;
        if !name.as_str().ends_with("-bin") {
            return Err(InvalidMetadata::new(key, "does not end in -bin"));
        }
        let value = HeaderValue::from_str(&STANDARD_NO_PAD.encode(value))
            .expect("base64 is printable ASCII");
        self.insert_checked(name, value)
    }

    /// Adds what is an HTTP header already, without copying its value.
    ///
    /// For SDKs that give headers. A key that ends in `-bin` is refused: use
    /// [`insert_bin`](Self::insert_bin).
    ///
    /// # Errors
    ///
    /// As [`insert`](Self::insert).
    pub fn insert_header(
        &mut self,
        name: &HeaderName,
        value: HeaderValue,
    ) -> Result<(), InvalidMetadata> {
        let name = Self::text_name(name.as_str())?;
        Self::check_text(name.as_str(), value.as_bytes())?;
        self.insert_checked(name, value)
    }

    /// Adds a ready `authorization` value without copying it.
    pub(super) fn insert_authorization(
        &mut self,
        value: HeaderValue,
    ) -> Result<(), InvalidMetadata> {
        self.insert_checked(AUTHORIZATION, value)
    }

    /// Adds a ready value under a name that [`checked_name`](Self::checked_name) gave out.
    pub(super) fn insert_checked(
        &mut self,
        name: HeaderName,
        mut value: HeaderValue,
    ) -> Result<(), InvalidMetadata> {
        if self.entries.iter().any(|(present, _)| *present == name) {
            return Err(InvalidMetadata::new(name.as_str(), "is written by two credentials"));
        }
        value.set_sensitive(true);
        self.entries.push((name, value));
        Ok(())
    }

    /// A key that credentials may use for text.
    pub(super) fn checked_name(key: &str) -> Result<HeaderName, InvalidMetadata> {
        Self::text_name(key)
    }

    /// What was added.
    pub(crate) fn entries(&self) -> &[(HeaderName, HeaderValue)] {
        &self.entries
    }

    /// What was added under a key.
    pub(crate) fn value(&self, name: &HeaderName) -> Option<&HeaderValue> {
        self.entries.iter().find(|(present, _)| present == name).map(|(_, value)| value)
    }

    /// The value under a key, for tests of call credentials.
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        self.entries.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_bytes())
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries as they are sent, in the order in which they were added: for adapters to other
    /// transports, which keep the values as sensitive as they are here.
    ///
    /// The value under a key that ends in `-bin` is base64 without padding.
    pub fn iter(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.entries.iter().map(|(name, value)| (name, value))
    }

    fn text_name(key: &str) -> Result<HeaderName, InvalidMetadata> {
        let name = Self::name(key)?;
        match name.as_str().ends_with("-bin") {
            true => Err(InvalidMetadata::new(key, "ends in -bin, which is for `insert_bin`")),
            false => Ok(name),
        }
    }

    fn check_text(key: &str, value: &[u8]) -> Result<(), InvalidMetadata> {
        match value.iter().all(|byte| (0x20..=0x7e).contains(byte)) {
            true => Ok(()),
            false => Err(InvalidMetadata::new(key, "has a value that is not printable ASCII")),
        }
    }

    fn name(key: &str) -> Result<HeaderName, InvalidMetadata> {
        // gRPC's own grammar for keys, narrower than HTTP's.
        let fits = !key.is_empty()
            && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
        if !fits {
            return Err(InvalidMetadata::new(key, "is not made of letters, digits, _ . and -"));
        }
        let name = HeaderName::from_bytes(key.as_bytes())
            .map_err(|_| InvalidMetadata::new(key, "is not a header name"))?;
        if is_reserved(name.as_str()) {
            return Err(InvalidMetadata::new(key, "belongs to the transport"));
        }
        Ok(name)
    }
}

/// Shows the keys and never the values.
impl fmt::Debug for CallMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.entries.iter().map(|(name, _)| name)).finish()
    }
}

/// Keys that no credential may write: they would change what the call is or how it is framed.
fn is_reserved(key: &str) -> bool {
    key.starts_with("grpc-")
        || matches!(
            key,
            "content-type"
                | "content-length"
                | "user-agent"
                | "te"
                | "host"
                | "connection"
                | "keep-alive"
                | "proxy-connection"
                | "transfer-encoding"
                | "trailer"
                | "upgrade"
        )
}

/// A key or value that call credentials may not send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidMetadata {
    key: String,
    reason: &'static str,
}

impl InvalidMetadata {
    fn new(key: &str, reason: &'static str) -> Self {
        Self { key: key.chars().take(64).collect(), reason }
    }

    pub(crate) fn in_the_request_too(name: &HeaderName) -> Self {
        Self::new(name.as_str(), "is in the request's own metadata too")
    }

    /// The key at fault.
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl fmt::Display for InvalidMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "call credentials cannot be sent: metadata key {:?} {}", self.key, self.reason)
    }
}

impl std::error::Error for InvalidMetadata {}

impl From<InvalidMetadata> for super::CallCredentialsError {
    fn from(error: InvalidMetadata) -> Self {
        // 13 is INTERNAL: the credential's own mistake, not the caller's.
        Self::new(super::CallCredentialsErrorKind::Code(13), error.to_string()).with_source(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_folded_to_lower_case() {
        let mut metadata = CallMetadata::default();
        metadata.insert("Authorization", "Bearer x").expect("valid (CC-09)");
        assert_eq!(metadata.get("authorization"), Some(&b"Bearer x"[..]));
    }

    #[test]
    fn reserved_and_malformed_keys_are_refused_by_name() {
        for key in
            [":path", "content-type", "te", "grpc-timeout", "Grpc-Status", "host", "bad key", ""]
        {
            let error = CallMetadata::default().insert(key, "x").expect_err(key);
            assert_eq!(error.key(), key, "(CC-04, CC-11)");
        }
    }

    #[test]
    fn unprintable_values_are_refused_and_never_quoted() {
        let error = CallMetadata::default().insert("key", "se\u{1}cret").expect_err("CC-04");
        assert!(error.to_string().contains("\"key\""));
        assert!(!error.to_string().contains("cret"));
    }

    #[test]
    fn a_second_value_under_one_key_is_refused() {
        let mut metadata = CallMetadata::default();
        metadata.insert("authorization", "Bearer a").expect("the first");
        metadata.insert("authorization", "Bearer b").expect_err("the second");
        assert_eq!(metadata.len(), 1);
    }

    #[test]
    fn binary_values_travel_as_unpadded_base64() {
        let mut metadata = CallMetadata::default();
        metadata.insert_bin("key-bin", &[1, 2, 3, 4]).expect("valid");
        assert_eq!(metadata.get("key-bin"), Some(&b"AQIDBA"[..]));
        metadata.insert_bin("key", &[1]).expect_err("not a binary key");
        metadata.insert("key2-bin", "x").expect_err("a binary key");
    }

    #[test]
    fn a_ready_header_obeys_the_same_rules() {
        let mut metadata = CallMetadata::default();
        let mut insert = |key: &'static str, value: &'static str| {
            metadata.insert_header(&HeaderName::from_static(key), HeaderValue::from_static(value))
        };
        insert("authorization", "Bearer a").expect("the first");
        insert("x-goog-user-project", "p").expect("another");
        for (key, value) in [
            ("authorization", "Bearer b"),
            ("content-type", "text/plain"),
            ("key-bin", "AQ"),
            ("key", "a\tb"),
        ] {
            assert_eq!(insert(key, value).expect_err(key).key(), key);
        }
        let sent: Vec<_> = metadata.iter().collect();
        assert!(sent.iter().all(|(_, value)| value.is_sensitive()));
        assert_eq!(
            sent,
            [
                (&AUTHORIZATION, &HeaderValue::from_static("Bearer a")),
                (&HeaderName::from_static("x-goog-user-project"), &HeaderValue::from_static("p")),
            ]
        );
    }

    #[test]
    fn debug_shows_keys_only() {
        let mut metadata = CallMetadata::default();
        metadata.insert("authorization", "Bearer hunter2").expect("valid");
        assert_eq!(format!("{metadata:?}"), r#"["authorization"]"#);
    }
}
