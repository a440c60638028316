//! Their call details, made ours.

use std::borrow::Cow;

use countersign::credentials::CallDetails;

/// Their service URL is `https://host[:port]/package.Service`, without the port 443.
pub(crate) fn details(service_url: &str, method_name: &str) -> Option<CallDetails> {
    let (authority, service) = service_url.strip_prefix("https://")?.split_once('/')?;
    if authority.is_empty() || service.is_empty() || method_name.is_empty() {
        return None;
    }
    Some(CallDetails::new(&bracketed(authority), &format!("/{service}/{method_name}")))
}

/// With the port 443 they leave out the brackets of an IPv6 address too.
fn bracketed(authority: &str) -> Cow<'_, str> {
    match !authority.starts_with('[') && authority.matches(':').count() > 1 {
        true => format!("[{authority}]").into(),
        false => authority.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_keeps_its_authority_and_its_path() {
        for (url, authority, host) in [
            ("https://orders.example/orders.v1.Orders", "orders.example", "orders.example"),
            ("https://orders.example:443/orders.v1.Orders", "orders.example:443", "orders.example"),
            ("https://localhost:50051/orders.v1.Orders", "localhost:50051", "localhost:50051"),
            ("https://[::1]:50051/orders.v1.Orders", "[::1]:50051", "[::1]:50051"),
            ("https://::1/orders.v1.Orders", "[::1]", "[::1]"),
        ] {
            let call = details(url, "Get").expect(url);
            assert_eq!(
                (call.authority(), call.audience_host(), call.path(), call.method_name()),
                (authority, host, "/orders.v1.Orders/Get", "Get"),
                "{url}"
            );
        }
    }

    #[test]
    fn what_is_no_call_is_refused() {
        for (url, method) in [
            ("", "Get"),
            ("http://orders.example/orders.v1.Orders", "Get"),
            ("https://orders.example", "Get"),
            ("https://orders.example/", "Get"),
            ("https:///orders.v1.Orders", "Get"),
            ("https://orders.example/orders.v1.Orders", ""),
        ] {
            assert!(details(url, method).is_none(), "{url} {method}");
        }
    }
}
