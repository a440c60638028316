//! JSON objects from choices: nearly every one of them is well-formed, so that the checks behind
//! the parser are reached.

use super::NOW;

/// A JSON object. Each two bytes change the good one: a member and what becomes of it. Members
/// may be there twice.
pub(crate) fn object(good: &[(&str, &str)], names: &[&str], choices: &[u8]) -> String {
    let values = values();
    let mut members: Vec<(&str, &str)> = good.to_vec();
    for choice in choices.chunks_exact(2).take(MOST) {
        let name = names[usize::from(choice[0] & 0x7f) % names.len()];
        let again = choice[0] & 0x80 != 0;
        if !again {
            members.retain(|(known, _)| *known != name);
        }
        // Past the last one: the member is gone.
        if let Some(value) = values.get(usize::from(choice[1]) % (values.len() + 5)) {
            members.push((name, value));
        }
    }
    let members: Vec<_> = members.iter().map(|(name, value)| format!("{name:?}:{value}")).collect();
    format!("{{{}}}", members.join(","))
}

/// The most changes.
const MOST: usize = 24;

fn values() -> Vec<String> {
    let times = [-3601, -61, -60, -59, -1, 0, 1, 59, 60, 61, 300, 3600, 3661];
    let times = times.map(|apart| NOW.saturating_add_signed(apart).to_string());
    times.into_iter().chain(VALUES.map(str::to_owned)).collect()
}

const VALUES: [&str; 62] = [
    "null",
    "true",
    "false",
    "0",
    "-1",
    "1.5",
    "-0.0",
    "1799999999.999999999",
    "1800000000.5",
    "1e30",
    "1e300",
    "-1e300",
    "18446744073709551615",
    "-9223372036854775808",
    r#""""#,
    r#""1800000300""#,
    r#""orders""#,
    r#""orders ""#,
    r#""Orders""#,
    r#"["orders"]"#,
    r#"["others","orders"]"#,
    r#"["orders",1]"#,
    r#"["others"]"#,
    "[]",
    "[null]",
    "{}",
    r#""https://id.example""#,
    r#""https://id.example/""#,
    r#""https://strict.example""#,
    r#""https://openid.example""#,
    r#""https://k8s.example""#,
    r#""https://other.example""#,
    r#""alice""#,
    r#""alice#\u0000""#,
    r#""spiffe://svid.example/web""#,
    r#""spiffe://svid.example/""#,
    r#""spiffe://other.example/web""#,
    r#""system:serviceaccount:prod:web""#,
    r#"{"namespace":"prod","serviceaccount":{"name":"web","uid":"u"}}"#,
    r#"{"namespace":"prod/x","serviceaccount":{"name":""}}"#,
    r#"{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}"#,
    r#"{"jkt":""}"#,
    r#"{"jwk":{}}"#,
    r#"{"x5t#S256":"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc"}"#,
    r#"{"x5t#S256":"BwcH"}"#,
    r#""Bearer""#,
    r#""DPoP""#,
    r#""refresh_token""#,
    r#""access_token""#,
    r#""ID""#,
    r#""JWT""#,
    r#""application/at+jwt""#,
    r#""at+jwt""#,
    r#""ES256""#,
    r#""EdDSA""#,
    r#""HS256""#,
    r#""none""#,
    r#""ec""#,
    r#""ed""#,
    r#"["exp"]"#,
    r#""read write""#,
    r#"[[[[[[[[{"a":[]}]]]]]]]]"#,
];
