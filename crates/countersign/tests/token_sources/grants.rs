//! The grants of OAuth 2.0, and any source's behaviour behind the cache.

use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use countersign::credentials::oauth::{
    ClientAuthentication, ClientCredentials, JwtBearer, PemSigner, RefreshToken, RefreshTokenFile,
    RefreshTokenStore, StoredToken, TokenEndpoint,
};
use countersign::credentials::{CachedToken, TokenError, TokenRequest, TokenSource};
use countersign::fetch::{FetchError, FetchLimits, HttpClient};
use countersign::{Secret, async_trait};
use tokio::sync::Semaphore;
use tokio::time::advance;

use crate::self_signed::{claims_of, key_pem};
use crate::stage::{
    BEGIN, ENDPOINT, Http, Told, Wall, answer, call, call_now, chain, good, seconds,
};

fn endpoint(http: &Http) -> TokenEndpoint {
    let client = ClientAuthentication::basic("me", "hunter2");
    TokenEndpoint::new(ENDPOINT, client, http.clone()).expect("a URL")
}

fn client_credentials(http: &Http) -> CachedToken<ClientCredentials> {
    CachedToken::new(ClientCredentials::new(endpoint(http)).scope("read write"))
}

#[tokio::test(start_paused = true)]
async fn client_credentials_send_a_form_and_use_what_comes_back() {
    let http = Http::new([good("t1")]);
    let credentials = client_credentials(&http);
    assert_eq!(http.count(), 0, "nothing before the first call");
    assert_eq!(call(&credentials).await.expect("a token"), "t1");
    assert_eq!(call(&credentials).await.expect("a token"), "t1");
    assert_eq!(http.count(), 1);
    let request = http.last();
    assert_eq!(
        (request.method(), request.uri().to_string()),
        (&http::Method::POST, ENDPOINT.into())
    );
    let basic = format!("Basic {}", STANDARD.encode("me:hunter2"));
    assert_eq!(request.headers()["authorization"], basic);
    assert_eq!(request.headers()["content-type"], "application/x-www-form-urlencoded");
    assert_eq!(http.last().into_body(), "grant_type=client_credentials&scope=read+write");
}

#[tokio::test(start_paused = true)]
async fn client_credentials_name_an_audience_and_a_resource_if_told_to() {
    let http = Http::new([good("t1")]);
    let source = ClientCredentials::new(endpoint(&http))
        .audience("https://first.example")
        .audience("https://api.example")
        .resource("urn:orders");
    call(&CachedToken::new(source)).await.expect("a token");
    let form = http.last_form();
    assert_eq!(form["audience"], "https://api.example", "the last one counts");
    assert_eq!(form["resource"], "urn:orders");
    assert_eq!(form.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn id_02_what_an_endpoint_says_decides_between_later_and_never() {
    let error = |code: &str| format!(r#"{{"error":"{code}","error_description":"line\nfeed"}}"#);
    for (name, told, transient) in [
        ("429", answer(429, ""), true),
        ("503", answer(503, "<html>"), true),
        ("500", answer(500, ""), true),
        ("408", answer(408, ""), true),
        ("broken", Told::Unreachable, true),
        ("busy", answer(400, &error("temporarily_unavailable")), true),
        ("403", answer(403, ""), false),
        ("404", answer(404, ""), false),
        ("invalid_client", answer(401, &error("invalid_client")), false),
        ("invalid_grant", answer(400, &error("invalid_grant")), false),
        ("302", answer(302, ""), false),
        ("204", answer(204, ""), false),
    ] {
        let http = Http::new([told]);
        let failure = call(&client_credentials(&http)).await.expect_err(name);
        assert_eq!(failure.is_transient(), transient, "{name}: {failure}");
        let words = chain(&failure);
        assert!(words.contains("the token endpoint https://id.example/token"), "{words}");
        assert!(!words.contains("hunter2") && !words.contains('\n'), "{words}");
    }
    let http = Http::new([answer(401, &error("invalid_client"))]);
    let failure = call(&client_credentials(&http)).await.expect_err("refused");
    assert_eq!(
        failure.to_string(),
        "the token endpoint https://id.example/token answered 401 invalid_client (line feed)"
    );
}

#[tokio::test(start_paused = true)]
async fn st_07_answers_that_are_none_are_errors() {
    for (body, transient) in [
        ("not JSON", true),
        ("", true),
        ("{}", true),
        ("[]", true),
        (r#"{"token_type":"Bearer"}"#, true),
        (r#"{"access_token":"","token_type":"Bearer"}"#, true),
        (r#"{"access_token":7,"token_type":"Bearer"}"#, true),
        (r#"{"access_token":"t"}"#, true),
        (r#"{"access_token":"a","access_token":"b","token_type":"Bearer"}"#, true),
        (r#"{"access_token":"t","token_type":"Bearer","expires_in":"soon"}"#, true),
        (r#"{"access_token":"t","token_type":"Bearer","expires_in":-1}"#, true),
        (r#"{"access_token":"t","token_type":"Bearer","expires_in":0}"#, true),
        (r#"{"access_token":"t","token_type":"mac"}"#, false),
        (r#"{"access_token":"t","token_type":"DPoP"}"#, false),
        (r#"{"access_token":"t","token_type":"N_A"}"#, false),
        (r#"{"access_token":"t t","token_type":"Bearer"}"#, false),
    ] {
        let http = Http::new([answer(200, body)]);
        let failure = call(&client_credentials(&http)).await.expect_err(body);
        assert_eq!(failure.is_transient(), transient, "{body}: {failure}");
        call_now(&client_credentials(&Http::default())).expect("nothing is remembered elsewhere");
    }
    for body in [
        r#"{"access_token":"t","token_type":"bearer","expires_in":"60"}"#,
        r#"{"access_token":"t","token_type":"BEARER","expires_in":60.5,"scope":"x","more":[]}"#,
        r#"{"access_token":"t","token_type":"Bearer","expires_in":null}"#,
    ] {
        let http = Http::new([answer(200, body)]);
        assert_eq!(call(&client_credentials(&http)).await.expect(body), "t");
    }
}

#[tokio::test(start_paused = true)]
async fn id_03_to_06_failures_are_remembered_and_good_tokens_outlast_them() {
    let http = Http::new([answer(503, "")]);
    let credentials = client_credentials(&http);
    call(&credentials).await.expect_err("down");
    call_now(&credentials).expect_err("ID-03: remembered");
    assert_eq!(http.count(), 1);
    advance(seconds(2)).await;
    http.then(good("t1"));
    assert_eq!(call(&credentials).await.expect("ID-04: a new attempt"), "t1");
    advance(seconds(3_400)).await;
    http.then(answer(503, ""));
    for _ in 0..10 {
        let sent = call_now(&credentials).expect("ID-06: at once");
        assert_eq!(sent.as_deref(), Some("t1"));
        tokio::task::yield_now().await;
    }
    assert_eq!(http.count(), 3, "one refresh");
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_kept_to() {
    let busy = Told::Answer {
        status: 429,
        headers: vec![("retry-after", "60".to_owned())],
        body: String::new(),
    };
    let http = Http::new([busy, good("t1")]);
    let credentials = client_credentials(&http);
    call(&credentials).await.expect_err("busy");
    advance(seconds(59)).await;
    call(&credentials).await.expect_err("not yet");
    assert_eq!(http.count(), 1);
    advance(seconds(1)).await;
    call(&credentials).await.expect("a token");
}

#[test]
fn st_01_an_endpoint_is_an_https_url_or_on_this_machine() {
    let make = |url: &str| TokenEndpoint::without_client(url, Http::default());
    for url in ["", "\tI'm a bad URI\n", "unix:///run/sts", "http://id.example/token", "/token"] {
        let error = make(url).expect_err(url);
        assert!(chain(&error).contains("is not an https URL"), "{}", chain(&error));
    }
    for url in [ENDPOINT, "http://127.0.0.1:8080/token", "http://[::1]/token"] {
        make(url).expect(url);
    }
}

// --- refresh tokens ------------------------------------------------------------------------------

/// A store that notes the order of things.
#[derive(Clone, Debug)]
struct Store {
    token: Arc<Mutex<String>>,
    events: Arc<Mutex<Vec<String>>>,
    broken: Arc<Mutex<bool>>,
}

impl Store {
    fn new(token: &str) -> Self {
        Self {
            token: Arc::new(Mutex::new(token.to_owned())),
            events: Arc::default(),
            broken: Arc::default(),
        }
    }

    fn set_broken(&self, broken: bool) {
        *self.broken.lock().unwrap_or_else(PoisonError::into_inner) = broken;
    }

    fn events(&self) -> Vec<String> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Open(Store);

#[async_trait]
impl RefreshTokenStore for Store {
    async fn open(&self) -> Result<Box<dyn StoredToken>, TokenError> {
        Ok(Box::new(Open(self.clone())))
    }
}

#[async_trait]
impl StoredToken for Open {
    fn token(&self) -> Secret<String> {
        self.0.token.lock().unwrap_or_else(PoisonError::into_inner).as_str().into()
    }

    async fn replace(&mut self, token: Secret<String>) -> Result<(), TokenError> {
        if *self.0.broken.lock().unwrap_or_else(PoisonError::into_inner) {
            return Err(TokenError::transient("the disk is full"));
        }
        let event = format!("stored {}", token.expose());
        self.0.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
        *self.0.token.lock().unwrap_or_else(PoisonError::into_inner) = token.expose().clone();
        Ok(())
    }
}

fn rotated(access: &str, refresh: &str) -> Told {
    let body = format!(
        r#"{{"access_token":"{access}","token_type":"Bearer","expires_in":600,"refresh_token":"{refresh}"}}"#
    );
    answer(200, &body)
}

#[tokio::test(start_paused = true)]
async fn a_rotated_refresh_token_is_stored_before_the_access_token_is_used() {
    let (http, store) = (Http::new([rotated("a1", "r2")]), Store::new("r1"));
    let credentials = CachedToken::new(RefreshToken::new(endpoint(&http), store.clone()));
    assert_eq!(call(&credentials).await.expect("a token"), "a1");
    assert_eq!(store.events(), ["stored r2"]);
    assert_eq!(http.last_form()["refresh_token"], "r1");
    assert_eq!(http.last_form()["grant_type"], "refresh_token");
    http.then(good("a2"));
    advance(seconds(600)).await;
    assert_eq!(call(&credentials).await.expect("a token"), "a2");
    assert_eq!(http.last_form()["refresh_token"], "r2");
    assert_eq!(store.events(), ["stored r2"], "no new one, nothing to store");
}

#[tokio::test(start_paused = true)]
async fn a_refresh_token_that_cannot_be_stored_is_kept_and_stored_before_anything_else() {
    let (http, store) = (Http::new([rotated("a1", "r2")]), Store::new("r1"));
    let credentials = CachedToken::new(RefreshToken::new(endpoint(&http), store.clone()));
    store.set_broken(true);
    let error = call(&credentials).await.expect_err("not before it is stored");
    assert_eq!(error.to_string(), "the disk is full");
    advance(seconds(2)).await;
    call(&credentials).await.expect_err("still not");
    assert_eq!(http.count(), 1, "r1 is void: it is not sent again");
    store.set_broken(false);
    http.then(rotated("a3", "r3"));
    advance(seconds(3)).await;
    assert_eq!(call(&credentials).await.expect("a token"), "a3");
    assert_eq!(store.events(), ["stored r2", "stored r3"]);
    assert_eq!(http.last_form()["refresh_token"], "r2");
}

#[tokio::test(start_paused = true)]
async fn a_refresh_token_rotates_in_its_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("refresh");
    std::fs::write(&path, "r1\n").expect("written");
    let http = Http::new([rotated("a1", "r2")]);
    let source = RefreshToken::new(endpoint(&http), RefreshTokenFile::new(&path)).scope("less");
    assert_eq!(call(&CachedToken::new(source)).await.expect("a token"), "a1");
    assert_eq!(http.last_form()["scope"], "less");
    assert_eq!(std::fs::read_to_string(&path).expect("text"), "r2");
}

/// Takes the request and answers when it may: what was sent is void by then.
#[derive(Clone, Debug)]
struct Slow {
    http: Http,
    may_answer: Arc<Semaphore>,
}

impl Slow {
    fn new(answers: impl IntoIterator<Item = Told>) -> Self {
        Self { http: Http::new(answers), may_answer: Arc::new(Semaphore::new(0)) }
    }
}

#[async_trait]
impl HttpClient for Slow {
    async fn send(
        &self,
        request: http::Request<Bytes>,
        limits: FetchLimits,
    ) -> Result<http::Response<Bytes>, FetchError> {
        let answer = self.http.send(request, limits).await;
        self.may_answer.acquire().await.expect("never closed").forget();
        answer
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_token_that_is_on_its_way_is_stored_though_nobody_wants_it_any_more() {
    for (name, fetch_timeout) in [("dropped", 10), ("too slow", 1)] {
        let (slow, store) = (Slow::new([rotated("a1", "r2")]), Store::new("r1"));
        let client = ClientAuthentication::none("orders");
        let endpoint = TokenEndpoint::new(ENDPOINT, client, slow.clone()).expect("an endpoint");
        let credentials = CachedToken::builder(RefreshToken::new(endpoint, store.clone()))
            .with_fetch_timeout(seconds(fetch_timeout))
            .build();
        let call = call(&credentials);
        let given_up = tokio::time::timeout(seconds(2), call).await;
        assert!(!matches!(given_up, Ok(Ok(_))), "{name}");
        assert_eq!(slow.http.last_form()["refresh_token"], "r1", "{name}: r1 is void by now");
        drop(credentials);
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        slow.may_answer.add_permits(1);
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert_eq!(store.events(), ["stored r2"], "{name}");
    }
}

/// A store that fails the first time, and the second time only stores when it may.
#[derive(Clone, Debug)]
struct HeldUp {
    store: Store,
    may_store: Arc<Semaphore>,
}

impl HeldUp {
    fn note(&self, event: &str) -> usize {
        let mut events = self.store.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.push(event.to_owned());
        events.iter().filter(|other| *other == event).count()
    }
}

#[async_trait]
impl RefreshTokenStore for HeldUp {
    async fn open(&self) -> Result<Box<dyn StoredToken>, TokenError> {
        self.note("open");
        Ok(Box::new(self.clone()))
    }
}

#[async_trait]
impl StoredToken for HeldUp {
    fn token(&self) -> Secret<String> {
        Open(self.store.clone()).token()
    }

    async fn replace(&mut self, token: Secret<String>) -> Result<(), TokenError> {
        if self.note("replace") == 1 {
            return Err(TokenError::transient("the disk is full"));
        }
        self.may_store.acquire().await.expect("never closed").forget();
        Open(self.store.clone()).replace(token).await
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_stored_late_is_stored_to_the_end_before_anybody_opens_the_store_again() {
    let http = Http::new([rotated("a1", "r2"), good("a2"), good("a3")]);
    let store = HeldUp { store: Store::new("r1"), may_store: Arc::new(Semaphore::new(0)) };
    let source = RefreshToken::new(endpoint(&http), store.clone());
    let any = TokenRequest::any();
    source.fetch(&any).await.expect_err("r2 cannot be stored");
    tokio::time::timeout(seconds(1), source.fetch(&any)).await.expect_err("it is being stored");
    let third = tokio::spawn(async move { source.fetch(&any).await.map(drop) });
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.store.events(), ["open", "replace", "open", "replace"], "one at a time");
    assert_eq!(http.count(), 1, "nothing is asked before it is stored");
    store.may_store.add_permits(1);
    third.await.expect("no panic").expect("a token");
    let events = store.store.events();
    assert_eq!(events, ["open", "replace", "open", "replace", "stored r2", "open"]);
    assert_eq!((http.count(), http.last_form()["refresh_token"].as_str()), (3, "r2"));
}

// --- the JWT bearer grant ------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn the_jwt_bearer_grant_states_who_for_whom_and_how_long() {
    let http = Http::new([good("t1"), good("t2")]);
    let endpoint = TokenEndpoint::without_client(ENDPOINT, http.clone()).expect("a URL");
    let signer = PemSigner::from_pem(key_pem()).expect("a key").with_key_id("k1");
    let source = JwtBearer::new(endpoint.with_clock(Wall::new()), "svc@example", signer)
        .subject("alice")
        .claim("scope", "read")
        .claim("exp", 1)
        .scope("write");
    let credentials = CachedToken::new(source);
    assert_eq!(call(&credentials).await.expect("a token"), "t1");
    let form = http.last_form();
    assert_eq!(form["grant_type"], "urn:ietf:params:oauth:grant-type:jwt-bearer");
    assert_eq!(form["scope"], "write");
    assert_eq!(form.len(), 3, "no client says who asks");
    assert!(!http.last().headers().contains_key("authorization"));
    let (header, claims) = claims_of(&form["assertion"]);
    assert_eq!((&header["alg"], &header["kid"]), (&"ES256".into(), &"k1".into()));
    let jti = claims["jti"].as_str().expect("an ID").to_owned();
    let expected = serde_json::json!({
        "iss": "svc@example", "sub": "alice", "aud": ENDPOINT, "scope": "read", "jti": jti,
        "iat": BEGIN, "exp": BEGIN + 300,
    });
    assert_eq!(claims, expected);
    advance(seconds(3_600)).await;
    call(&credentials).await.expect("a token");
    assert_ne!(claims_of(&http.last_form()["assertion"]).1["jti"], jti, "each is good once");
}
