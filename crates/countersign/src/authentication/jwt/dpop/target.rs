use super::flaw::Flaw;
use crate::authentication::CallTarget;
use crate::identity::Authority;

/// Checks that `htu` names the call: `https://{authority}/{package.Service}/{Method}`, whatever
/// its query and fragment (RFC 9449 §4.3, item 9).
///
/// The scheme is always `https`. Whoever makes the proof knows the service by that name; the
/// server may sit behind something that ends TLS, or on a Unix socket, and cannot tell. Scheme
/// and host are compared without regard to case, and port 443 may be left out (RFC 3986 §6.2.2.1
/// and §6.2.3). Escapes are not decoded: a method path has none.
///
/// `ours` are the authorities that a call may be for; none: any.
pub(super) fn check(
    htu: &str,
    target: Option<CallTarget<'_>>,
    ours: &[Authority],
) -> Result<(), Flaw> {
    let target = target.ok_or(Flaw::NoTarget)?;
    let authority = Authority::parse(target.authority).map_err(|_| Flaw::NoTarget)?;
    if !ours.is_empty() && !ours.iter().any(|one| same_origin(one, &authority)) {
        return Err(Flaw::NotOurs);
    }
    let path = target.path.as_str();
    // The query may hold what is nobody's business, so it is gone before anything is told.
    let resource = htu.split(['?', '#']).next().unwrap_or_default();
    match https(resource) {
        Some((other, other_path)) if same_origin(&other, &authority) && other_path == path => {
            Ok(())
        }
        _ => Err(Flaw::Target {
            proof: resource.chars().take(256).collect(),
            call: format!("https://{authority}{path}"),
        }),
    }
}

fn https(uri: &str) -> Option<(Authority, &str)> {
    let (scheme, rest) = uri.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let (authority, path) = rest.split_at(rest.find('/')?);
    Some((Authority::parse(authority).ok()?, path))
}

fn same_origin(a: &Authority, b: &Authority) -> bool {
    let port = |authority: &Authority| authority.port().unwrap_or(443);
    port(a) == port(b) && a.host().eq_ignore_ascii_case(&b.host())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::MethodPath;

    fn is_for(htu: &str, authority: &str) -> bool {
        let path = MethodPath::parse("/orders.v1.Orders/Get").expect("canonical");
        check(htu, Some(CallTarget { authority, path }), &[]).is_ok()
    }

    #[test]
    fn the_call_is_known_in_each_of_its_spellings() {
        for (htu, authority) in [
            ("https://api.example/orders.v1.Orders/Get", "api.example"),
            ("https://api.example/orders.v1.Orders/Get", "api.example:443"),
            ("https://api.example:443/orders.v1.Orders/Get", "api.example"),
            ("https://api.example:8443/orders.v1.Orders/Get", "api.example:8443"),
            ("HTTPS://API.example/orders.v1.Orders/Get", "api.EXAMPLE"),
            ("https://api.example/orders.v1.Orders/Get?a=/b", "api.example"),
            ("https://api.example/orders.v1.Orders/Get#a?b", "api.example"),
            ("https://[2001:DB8::1]/orders.v1.Orders/Get", "[2001:db8:0::1]:443"),
            ("https://127.0.0.1:50051/orders.v1.Orders/Get", "127.0.0.1:50051"),
        ] {
            assert!(is_for(htu, authority), "{htu} {authority}");
        }
    }

    #[test]
    fn another_call_is_another_call() {
        for (name, htu) in [
            ("other method", "https://api.example/orders.v1.Orders/Set"),
            ("other case of the method", "https://api.example/orders.v1.Orders/get"),
            ("other service", "https://api.example/orders.v2.Orders/Get"),
            ("longer", "https://api.example/orders.v1.Orders/Get/"),
            ("doubled slash", "https://api.example//orders.v1.Orders/Get"),
            ("dot segment", "https://api.example/./orders.v1.Orders/Get"),
            ("escape", "https://api.example/orders.v1.Orders/%47et"),
            ("other host", "https://api.example.org/orders.v1.Orders/Get"),
            ("other port", "https://api.example:8443/orders.v1.Orders/Get"),
            ("port of http", "https://api.example:80/orders.v1.Orders/Get"),
            ("user", "https://me@api.example/orders.v1.Orders/Get"),
            ("http", "http://api.example/orders.v1.Orders/Get"),
            ("other scheme", "httpss://api.example/orders.v1.Orders/Get"),
            ("space before", " https://api.example/orders.v1.Orders/Get"),
            ("space after", "https://api.example/orders.v1.Orders/Get "),
            ("the path in the query", "https://api.example?/orders.v1.Orders/Get"),
            ("the path in the fragment", "https://api.example#/orders.v1.Orders/Get"),
            ("no path", "https://api.example"),
            ("path alone", "/orders.v1.Orders/Get"),
            ("no scheme", "api.example/orders.v1.Orders/Get"),
            ("empty", ""),
        ] {
            assert!(!is_for(htu, "api.example"), "{name}");
        }
    }

    #[test]
    fn a_proof_that_was_made_for_another_server_is_not_good_under_its_name_either() {
        let ours = ["api.example", "API.internal:8443"];
        let ours = ours.map(|text| Authority::parse(text).expect("an authority"));
        let path = MethodPath::parse("/orders.v1.Orders/Get").expect("canonical");
        for (authority, told) in [
            ("api.example", Ok(())),
            ("API.example:443", Ok(())),
            ("api.internal:8443", Ok(())),
            ("api.internal", Err(Flaw::NotOurs)),
            ("api.example:8443", Err(Flaw::NotOurs)),
            ("evil.example", Err(Flaw::NotOurs)),
        ] {
            let htu = format!("https://{authority}/orders.v1.Orders/Get");
            let target = Some(CallTarget { authority, path });
            assert_eq!(check(&htu, target, &ours), told, "{authority}");
            assert_eq!(check(&htu, target, &[]), Ok(()), "{authority}");
        }
    }

    #[test]
    fn a_call_to_nowhere_has_no_proof() {
        let htu = "https://api.example/orders.v1.Orders/Get";
        assert_eq!(check(htu, None, &[]), Err(Flaw::NoTarget));
        for authority in ["", "me@api.example", "api.example:x"] {
            assert!(!is_for(htu, authority), "{authority:?}");
        }
    }

    #[test]
    fn the_operator_is_told_both_without_the_query() {
        let path = MethodPath::parse("/a.B/C").expect("canonical");
        let target = Some(CallTarget { authority: "api.example", path });
        let flaw =
            check("https://gateway.example/a.B/C?secret", target, &[]).expect_err("another host");
        assert_eq!(
            flaw.to_string(),
            r#"it is for "https://gateway.example/a.B/C", and the call is to "https://api.example/a.B/C""#
        );
    }
}
