//! Planted credentials that are in no event, whatever becomes of them.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use countersign::audit::{Audit, JsonLines, WhenFull};
use countersign::{Gate, StaticTokens};
use countersign_testkit::greeter::SAY_HELLO;

use super::kit::{OPEN, RESET, SOON, Sink, behind, one, rules};
use super::support::RawClient;

const GOOD: &str = "planted-token-correct-horse-battery-staple";
const UNKNOWN: &str = "planted-other-token-which-no-gate-knows";
const KEY: &str = "planted_live_7Xv3kTMd9Q_aXwcQ1aB2cD";

/// A credential in the forms in which it might come out.
fn forms(secret: &str) -> Vec<String> {
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let cut = |text: String| text[..text.len() / 4 * 4 - 4].to_owned();
    let encoded = [cut(STANDARD.encode(secret)), cut(URL_SAFE_NO_PAD.encode(secret))];
    [vec![secret.to_owned(), secret[8..24].to_owned(), hex], encoded.to_vec()].concat()
}

#[tokio::test]
async fn no_credential_is_in_any_event_or_its_debug_output() {
    let sink = Sink::default();
    let (audit, writer) = one(&sink);
    let tokens = StaticTokens::new().with_token("ci", GOOD.to_owned());
    let gate = Gate::builder().authenticate(tokens).authorize(rules()).audit(&audit);
    let (server, _) = behind(gate).await;
    let mut client = RawClient::connect(&server).await;
    let mut calls = 0;
    for path in [SAY_HELLO, OPEN, RESET, "/no.such.Service/Method"] {
        for secret in [GOOD, UNKNOWN, KEY] {
            let query = format!("{path}?access_token={secret}");
            let basic = format!("Basic {}", STANDARD.encode(secret));
            for (path, headers) in [
                (path, vec![("authorization", format!("Bearer {secret}"))]),
                (path, vec![("authorization", format!("DPoP {secret}"))]),
                (path, vec![("authorization", basic)]),
                (path, vec![("authorization", secret.to_owned())]),
                (path, vec![("x-api-key", secret.to_owned())]),
                (path, vec![("cookie", format!("session={secret}"))]),
                (path, vec![("authorization", format!("Bearer {secret}")); 2]),
                (&*query, vec![]),
            ] {
                let headers: Vec<_> =
                    headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
                client.call(path, &headers).await;
                calls += 1;
            }
        }
    }
    writer.close(SOON).await.expect("written");
    let events = sink.events();
    assert_eq!(events.len(), calls);
    let text = serde_json::to_string(&events).expect("JSON");
    assert!(text.contains("\"ci\"") && text.contains("TOKEN_INVALID"), "{text}");
    for form in [GOOD, UNKNOWN, KEY].into_iter().flat_map(forms) {
        assert!(!text.contains(&form), "{form} is in {text}");
    }
}

#[tokio::test]
async fn what_would_be_found_is_found() {
    // The twin: the search sees what is there.
    let text = format!("{{\"detail\":\"{GOOD}\"}} {}", STANDARD.encode(KEY));
    for secret in [GOOD, KEY] {
        assert!(forms(secret).iter().any(|form| text.contains(form)), "{secret}");
    }
    let made = Audit::builder().sink("stdout", JsonLines::stdout(), WhenFull::DropAndCount);
    assert_eq!(format!("{:?}", made.build().expect("an audit")), "Audit[\"stdout\"]");
}
