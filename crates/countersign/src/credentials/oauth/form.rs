use std::fmt;

use bytes::Bytes;
use zeroize::Zeroizing;

/// The body of a request to an authorization server, `application/x-www-form-urlencoded`.
///
/// It holds tokens and secrets: `Debug` does not show it, and it is wiped when dropped.
pub(crate) struct Form {
    body: Zeroizing<String>,
}

impl Form {
    pub(crate) const CONTENT_TYPE: &'static str = "application/x-www-form-urlencoded";

    pub(crate) fn new() -> Self {
        Self { body: Zeroizing::new(String::with_capacity(1024)) }
    }

    /// Adds a field. Names are not looked at: no server allows one twice (RFC 6749 §3.2).
    pub(crate) fn push(&mut self, name: &str, value: &str) {
        // Three bytes for each is the most that it takes. Growing in place would leave a copy
        // behind that nobody wipes.
        let needed = self.body.len() + 2 + 3 * (name.len() + value.len());
        if needed > self.body.capacity() {
            let mut larger = Zeroizing::new(String::with_capacity(needed * 2));
            larger.push_str(&self.body);
            self.body = larger;
        }
        if !self.body.is_empty() {
            self.body.push('&');
        }
        encode_into(name, &mut self.body);
        self.body.push('=');
        encode_into(value, &mut self.body);
    }

    /// The same with one more field.
    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.push(name, value);
        self
    }

    /// The same once more, for another try.
    pub(crate) fn copy(&self) -> Self {
        Self { body: self.body.clone() }
    }

    /// The body, wiped with its last copy.
    pub(crate) fn into_body(mut self) -> Bytes {
        Bytes::from_owner(Zeroizing::new(std::mem::take(&mut *self.body).into_bytes()))
    }
}

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Form(..)")
    }
}

/// Encodes as forms are (RFC 6749, appendix B).
pub(super) fn encoded(text: &str) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(3 * text.len()));
    encode_into(text, &mut out);
    out
}

fn encode_into(text: &str, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => {
                out.push(char::from(byte));
            }
            b' ' => out.push('+'),
            _ => {
                out.push('%');
                out.push(char::from(HEX[usize::from(byte >> 4)]));
                out.push(char::from(HEX[usize::from(byte & 15)]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_encoded_as_the_rfc_has_it() {
        // RFC 6749, appendix B.
        assert_eq!(*encoded(" %&+£€"), "+%25%26%2B%C2%A3%E2%82%AC");
        let form = Form::new().with("token", "a.b-c_d~e").with("scope", "read write");
        assert_eq!(form.into_body(), "token=a.b-c_d%7Ee&scope=read+write");
    }

    #[test]
    fn a_form_grows_as_it_has_to() {
        let long = "é".repeat(20_000);
        let body = Form::new().with("a", "1").with("b", &long).with("c", "2").into_body();
        assert!(body.starts_with(b"a=1&b=%C3%A9%C3") && body.ends_with(b"%A9&c=2"));
        assert_eq!(body.len(), 3 + 3 + 120_000 + 4);
    }

    #[test]
    fn a_form_stays_hidden_in_debug_output() {
        assert_eq!(format!("{:?}", Form::new().with("token", "hunter2")), "Form(..)");
    }
}
