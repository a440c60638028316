use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use zeroize::Zeroizing;

use super::form;
use crate::issuer::DevClient;

/// Whether a request proves to be the client's: by basic authentication or in the form, and not
/// by both (RFC 6749 §2.3).
pub(super) fn is_proven(
    client: &DevClient,
    headers: &HeaderMap,
    parameters: &[(String, String)],
) -> bool {
    let parameter = |name: &str| {
        parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    };
    let in_form = (parameter("client_id"), parameter("client_secret"));
    match (headers.get(AUTHORIZATION), in_form) {
        (Some(value), (None, None)) => value
            .to_str()
            .ok()
            .and_then(basic)
            .is_some_and(|credentials| matches(client, &credentials.0, &credentials.1)),
        (None, (Some(id), Some(secret))) => matches(client, id, secret),
        _ => false,
    }
}

fn matches(client: &DevClient, id: &str, secret: &str) -> bool {
    let same = |a: &str, b: &str| verify_slices_are_equal(a.as_bytes(), b.as_bytes()).is_ok();
    same(id, &client.client_id) && same(secret, &client.client_secret)
}

/// Id and secret, which are encoded like a form's before they are joined (RFC 6749 §2.3.1).
fn basic(value: &str) -> Option<(String, Zeroizing<String>)> {
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let joined = Zeroizing::new(STANDARD.decode(encoded).ok()?);
    let (id, secret) = std::str::from_utf8(&joined).ok()?.split_once(':')?;
    Some((form::decoded(id)?, Zeroizing::new(form::decoded(secret)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> DevClient {
        DevClient { client_id: "dev".to_owned(), client_secret: "s3 cret".to_owned() }
    }

    fn basic_header(joined: &str) -> HeaderMap {
        let value = format!("Basic {}", STANDARD.encode(joined));
        HeaderMap::from_iter([(AUTHORIZATION, value.parse().expect("a value"))])
    }

    fn form(id: &str, secret: &str) -> Vec<(String, String)> {
        vec![
            ("client_id".to_owned(), id.to_owned()),
            ("client_secret".to_owned(), secret.to_owned()),
        ]
    }

    #[test]
    fn the_client_is_proven_in_one_of_two_ways() {
        assert!(is_proven(&client(), &basic_header("dev:s3+cret"), &[]));
        assert!(is_proven(&client(), &HeaderMap::new(), &form("dev", "s3 cret")));
    }

    #[test]
    fn anything_else_proves_nothing() {
        let none = HeaderMap::new();
        for (name, headers, form) in [
            ("nothing", none.clone(), vec![]),
            ("another secret", basic_header("dev:secret"), vec![]),
            ("another client", basic_header("root:s3+cret"), vec![]),
            ("no secret", basic_header("dev"), vec![]),
            ("both ways", basic_header("dev:s3+cret"), form("dev", "s3 cret")),
            ("another secret in the form", none.clone(), form("dev", "")),
            ("an id alone", none, vec![("client_id".to_owned(), "dev".to_owned())]),
        ] {
            assert!(!is_proven(&client(), &headers, &form), "{name}");
        }
    }
}
