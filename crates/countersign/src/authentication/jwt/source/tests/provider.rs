//! Against an identity provider with real sockets.

use std::sync::Arc;
use std::time::Duration;

use countersign_testkit::issuer::{Behaviour, TestIssuer};
use countersign_testkit::wait::until;
use serde_json::json;

use super::super::{KeySettings, KeySource, Keys, KeysError, Missing};
use crate::fetch::{FetchError, HttpsClient};
use crate::tls::{ClientTls, RootCertificates};

fn settings() -> KeySettings {
    let tls = ClientTls::only_roots(RootCertificates::from_pem(""));
    KeySettings::new(Arc::new(HttpsClient::new(tls)))
}

fn discovered(issuer: &TestIssuer) -> Keys {
    Keys::new(KeySource::discovery(), &issuer.url(), settings()).expect("a key source")
}

/// Tries once, and gives the error.
async fn error(keys: &Keys) -> Arc<KeysError> {
    keys.warm_up().await;
    assert!(!keys.is_ready());
    let seen = keys.snapshot();
    assert_ne!(keys.missing(&seen, Some("key-1")), Missing::Final);
    keys.last_error().expect("an error")
}

#[tokio::test]
async fn the_issuers_metadata_leads_to_its_keys() {
    for path in ["", "/realms/one"] {
        let issuer = TestIssuer::start_at(path).await;
        let keys = discovered(&issuer);
        keys.warm_up().await;
        assert_eq!(keys.snapshot().keys.expect("keys").len(), 1, "{path}");
        let rfc_8414 = format!("/.well-known/oauth-authorization-server{path}");
        assert_eq!(issuer.requests(&rfc_8414), 1);
        assert_eq!((issuer.requests(&issuer.jwks_path()), issuer.all_requests()), (1, 2));
    }
}

#[tokio::test]
async fn an_issuer_without_rfc_8414_is_asked_as_openid_connect_says() {
    for nothing in [Behaviour::Status(404), Behaviour::Text("<html>hello</html>".to_owned())] {
        let issuer = TestIssuer::start_at("/realms/one").await;
        let first = "/.well-known/oauth-authorization-server/realms/one";
        issuer.misbehave_at(first, nothing);
        let keys = discovered(&issuer);
        keys.warm_up().await;
        assert!(keys.is_ready());
        assert_eq!(issuer.requests(first), 1);
        assert_eq!(issuer.requests("/realms/one/.well-known/openid-configuration"), 1);
    }
}

#[tokio::test]
async fn the_metadata_of_another_issuer_is_not_believed() {
    let (issuer, other) = (TestIssuer::start().await, TestIssuer::start().await);
    issuer.claim_to_be(other.url());
    issuer.point_to(other.jwks_url());
    let keys = discovered(&issuer);
    let error = error(&keys).await;
    assert!(matches!(&*error, KeysError::OtherIssuer { found, .. } if *found == other.url()));
    assert_eq!((issuer.requests("/jwks"), other.all_requests()), (0, 0));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (issuer, other) = (TestIssuer::start().await, TestIssuer::start().await);
    issuer.misbehave_at("/jwks", Behaviour::Redirect(other.jwks_url()));
    let keys = discovered(&issuer);
    let error = error(&keys).await;
    assert!(matches!(*error, KeysError::Status { status: 302, .. }), "{error:?}");
    assert_eq!(other.all_requests(), 0);
}

#[tokio::test]
async fn an_answer_of_one_mebibyte_is_not_read() {
    let issuer = TestIssuer::start().await;
    issuer.misbehave_at("/jwks", Behaviour::Oversized);
    let keys = discovered(&issuer);
    let error = error(&keys).await;
    let too_large = matches!(
        &*error,
        KeysError::Fetch { source: FetchError::TooLarge { max_bytes: 524_288, .. }, .. }
    );
    assert!(too_large, "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_never_ends_is_given_up() {
    for slow in [Behaviour::Drip, Behaviour::Hang] {
        let issuer = TestIssuer::start().await;
        issuer.misbehave_at("/jwks", slow);
        let keys = Keys::new(KeySource::url(issuer.jwks_url()), "x", settings()).expect("keys");
        let error = error(&keys).await;
        let timed_out =
            matches!(&*error, KeysError::Fetch { source: FetchError::Timeout { .. }, .. });
        assert!(timed_out, "{error:?}");
        until("the connection is closed", || issuer.connections() == 0).await;
    }
}

#[tokio::test]
async fn a_rotating_issuer_is_followed() {
    let issuer = TestIssuer::start().await;
    let keys = discovered(&issuer);
    keys.warm_up().await;
    issuer.rotate();
    let seen = keys.snapshot();
    assert_eq!(keys.missing(&seen, Some("key-2")), Missing::Wait);
    let newer = keys.refetched_for(&seen, Some("key-2")).await.expect("keys");
    assert_eq!(newer.keys.expect("keys").len(), 2);
    assert_eq!(issuer.requests("/.well-known/oauth-authorization-server"), 1, "it is known");
}

#[tokio::test]
async fn keys_survive_an_issuer_that_goes_and_comes_back() {
    let mut issuer = TestIssuer::start().await;
    let mut settings = settings();
    settings.refresh = Duration::from_millis(1);
    let keys = Keys::new(KeySource::discovery(), &issuer.url(), settings).expect("a key source");
    keys.warm_up().await;
    issuer.stop().await;
    until("a fetch fails", || keys.last_error().is_some()).await;
    assert!(keys.is_ready());
    issuer.publish(json!({ "keys": [] }));
    issuer.restart();
    // An empty set is a mistake of the issuer's, and no reason to refuse everybody.
    until("the set is refused", || {
        keys.last_error().is_some_and(|error| matches!(*error, KeysError::NoUsableKey { .. }))
    })
    .await;
    assert!(keys.is_ready());
    issuer.publish(None);
    until("all is well", || keys.last_error().is_none()).await;
}

#[tokio::test]
async fn the_last_handle_closes_the_connection() {
    let issuer = TestIssuer::start().await;
    issuer.misbehave(Behaviour::Hang);
    let keys = discovered(&issuer);
    keys.snapshot();
    until("it is asked", || issuer.all_requests() == 1).await;
    assert_eq!(issuer.connections(), 1);
    drop(keys);
    until("the connection is closed", || issuer.connections() == 0).await;
}
