//! What a caller calls its call.

use http::{HeaderMap, HeaderName};

use super::text::Text;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The IDs that came with a call, for finding it in other records. They prove nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct CallIds {
    pub(super) request: Option<Text>,
    pub(super) trace: Option<TraceParent>,
}

/// The header `traceparent`, as far as a record needs it (W3C Trace Context §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TraceParent {
    pub(super) trace_id: [u8; 16],
    pub(super) span_id: [u8; 8],
    pub(super) flags: u8,
}

impl CallIds {
    /// The longest request ID that is taken, in bytes.
    const MAX_REQUEST_ID_BYTES: usize = 128;

    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let request = headers.get(REQUEST_ID).and_then(|value| {
            let bytes = value.as_bytes();
            let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@~".contains(byte);
            let usable = (1..=Self::MAX_REQUEST_ID_BYTES).contains(&bytes.len());
            let text = std::str::from_utf8(bytes).ok()?;
            (usable && bytes.iter().all(plain)).then(|| Text::new(text))
        });
        let trace = headers.get(TRACEPARENT).and_then(|value| TraceParent::read(value.as_bytes()));
        Self { request, trace }
    }
}

impl TraceParent {
    /// `00-<32 hex>-<16 hex>-<2 hex>`. Later versions may have more behind that.
    fn read(value: &[u8]) -> Option<Self> {
        let (head, rest) = value.split_at_checked(55)?;
        let version = hex::<1>(&head[..2])?[0];
        let ends = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.is_empty() || rest[0] == b'-',
        };
        if !ends || [2, 35, 52].iter().any(|&at| head[at] != b'-') {
            return None;
        }
        let (trace_id, span_id) = (hex(&head[3..35])?, hex(&head[36..52])?);
        let [flags] = hex(&head[53..])?;
        // All zeros mean that there is none.
        let set = trace_id != [0; 16] && span_id != [0; 8];
        set.then_some(Self { trace_id, span_id, flags })
    }
}

/// Lower-case digits alone, as the standard has them.
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    (text.len() == N * 2).then_some(out)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn ids(name: &'static str, value: &[u8]) -> CallIds {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_bytes(value).expect("a value"));
        CallIds::of(&headers)
    }

    #[test]
    fn a_request_id_is_taken_whole_or_not_at_all() {
        let longest = "x".repeat(128);
        for text in ["6f1c9a52-7f0e-4f7e-9a51-0d8f2e7b6c11", "Root=1-67891233-abc", &longest] {
            let found = ids("x-request-id", text.as_bytes()).request.expect(text);
            assert_eq!(found.as_str(), text);
        }
        let longer = "x".repeat(129);
        for text in ["", "a b", "a\tb", "a\"b", "a,b", "{a}", "\u{fc}", &longer] {
            assert!(ids("x-request-id", text.as_bytes()).request.is_none(), "{text:?}");
        }
    }

    #[test]
    fn a_traceparent_is_read_as_the_standard_has_it() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let parent = ids("traceparent", good.as_bytes()).trace.expect("a parent");
        assert_eq!((parent.trace_id[0], parent.span_id[7], parent.flags), (0x4b, 0xb7, 1));
        let newer = good.replacen("00", "cc", 1) + "-more";
        assert_eq!(ids("traceparent", newer.as_bytes()).trace, Some(parent));
        for (name, text) in [
            ("short", good[..54].to_owned()),
            ("more behind version 0", format!("{good}-more")),
            ("newer, run together", format!("cc{}x", &good[2..])),
            ("no such version", good.replacen("00", "ff", 1)),
            ("upper case", good.to_uppercase()),
            ("no trace", good.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32))),
            ("no span", good.replace("00f067aa0ba902b7", &"0".repeat(16))),
            ("no separator", good.replace("-00f0", "_00f0")),
        ] {
            assert!(ids("traceparent", text.as_bytes()).trace.is_none(), "{name}");
        }
    }
}
