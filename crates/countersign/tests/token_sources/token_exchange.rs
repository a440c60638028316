//! Token exchange (RFC 8693).

use countersign::ClientTls;
use countersign::credentials::oauth::{
    ClientAuthentication, SubjectTokens, TokenEndpoint, TokenExchange, token_type,
};
use countersign::credentials::{CachedToken, FileToken, FixedToken};
use countersign::fetch::HttpsClient;
use countersign_testkit::logs::Logs;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::advance;

use crate::stage::{ENDPOINT, Http, Told, answer, call, call_now, call_to, seconds};

fn endpoint(http: &Http) -> TokenEndpoint {
    let client = ClientAuthentication::none("me");
    TokenEndpoint::new(ENDPOINT, client, http.clone()).expect("a URL")
}

fn exchange(http: &Http) -> TokenExchange {
    TokenExchange::new(endpoint(http), FixedToken::new("subject"), token_type::JWT)
        .expect("an exchange")
}

fn issued(token: &str, kind: &str) -> Told {
    let body = format!(
        r#"{{"access_token":"{token}","issued_token_type":"{kind}","token_type":"Bearer","expires_in":3600}}"#
    );
    answer(200, &body)
}

#[test]
fn st_01_a_subject_needs_a_type_and_a_file_needs_a_path() {
    TokenExchange::new(endpoint(&Http::default()), FixedToken::new("s"), "").expect_err("no type");
    TokenExchange::for_subjects(endpoint(&Http::default()), "").expect_err("no type");
    FileToken::new("").expect_err("no path");
}

#[tokio::test(start_paused = true)]
async fn st_02_and_11_all_parameters_are_in_the_form() {
    let http = Http::new([issued("t1", token_type::ACCESS_TOKEN)]);
    let source = exchange(&http)
        .actor(FixedToken::new("actor"), token_type::ID_TOKEN)
        .resource("https://backend.example/api")
        .audience("backend")
        .scope("read write");
    call(&CachedToken::new(source)).await.expect("a token");
    let form = http.last_form();
    for (name, value) in [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("resource", "https://backend.example/api"),
        ("audience", "backend"),
        ("scope", "read write"),
        ("requested_token_type", token_type::ACCESS_TOKEN),
        ("subject_token", "subject"),
        ("subject_token_type", token_type::JWT),
        ("actor_token", "actor"),
        ("actor_token_type", token_type::ID_TOKEN),
        ("client_id", "me"),
    ] {
        assert_eq!(form.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert_eq!(form.len(), 10);
    // grpc-go sends JSON.
    let request = http.last();
    assert_eq!(request.headers()["content-type"], "application/x-www-form-urlencoded");
}

#[tokio::test(start_paused = true)]
async fn st_03_what_is_not_asked_for_is_left_out() {
    // grpc-go asks for a scope of Google's when there is none.
    let http = Http::new([issued("t1", token_type::ACCESS_TOKEN)]);
    call(&CachedToken::new(exchange(&http))).await.expect("a token");
    let form = http.last_form();
    for name in ["scope", "audience", "resource", "actor_token", "actor_token_type"] {
        assert!(!form.contains_key(name), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn st_04_and_05_a_token_is_used_for_as_long_as_it_lasts() {
    let short = r#"{"access_token":"t2","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"Bearer","expires_in":1}"#;
    let kind = token_type::ACCESS_TOKEN;
    let http = Http::new([issued("t1", kind), answer(200, short), issued("t3", kind)]);
    let credentials = CachedToken::new(exchange(&http));
    assert_eq!(call(&credentials).await.expect("a token"), "t1");
    assert_eq!(call(&credentials).await.expect("a token"), "t1");
    assert_eq!(http.count(), 1);
    advance(seconds(3_600)).await;
    assert_eq!(call(&credentials).await.expect("a token"), "t2");
    // grpc-go asks again at once, since less than 300 s are left; ours when the second is over.
    advance(seconds(1)).await;
    assert_eq!(call(&credentials).await.expect("a token"), "t3");
    assert_eq!(http.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn st_07_an_answer_with_another_type_of_token_is_an_error() {
    let kind = token_type::ACCESS_TOKEN;
    for (told, transient) in [
        (issued("t", token_type::ID_TOKEN), false),
        (answer(200, r#"{"access_token":"t","token_type":"Bearer"}"#), true),
        (answer(200, "not JSON"), true),
        (answer(400, r#"{"error":"invalid_target"}"#), false),
        (Told::Unreachable, true),
    ] {
        let http = Http::new([told]);
        let error = call(&CachedToken::new(exchange(&http))).await.expect_err("no token");
        assert_eq!(error.is_transient(), transient, "{error}");
    }
    // What is no access token is of the type N_A.
    let body = format!(r#"{{"access_token":"t","issued_token_type":"{kind}","token_type":"N_A"}}"#);
    let http = Http::new([answer(200, &body)]);
    assert_eq!(call(&CachedToken::new(exchange(&http))).await.expect("a token"), "t");
}

#[tokio::test(start_paused = true)]
async fn st_08_without_its_subject_or_its_actor_nothing_is_sent() {
    let missing = || FileToken::new("/no/such/file").expect("a path");
    let http = Http::default();
    let source = TokenExchange::new(endpoint(&http), missing(), token_type::JWT);
    let error =
        call(&CachedToken::new(source.expect("an exchange"))).await.expect_err("no subject");
    assert!(error.is_transient());
    let source = exchange(&http).actor(missing(), token_type::JWT);
    call(&CachedToken::new(source)).await.expect_err("no actor");
    assert_eq!(http.count(), 0);
}

/// An HTTP server that answers every request by this, and counts them.
async fn server(head: String) -> (std::net::SocketAddr, tokio::task::JoinHandle<String>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("an address");
    let served = tokio::spawn(async move {
        let (mut io, _) = listener.accept().await.expect("a connection");
        let mut request = vec![0; 16 * 1024];
        let length = io.read(&mut request).await.expect("a request");
        io.write_all(head.as_bytes()).await.expect("written");
        String::from_utf8_lossy(&request[..length]).into_owned()
    });
    (address, served)
}

#[tokio::test]
async fn st_09_a_redirect_is_an_error_and_its_target_hears_nothing() {
    let (target, reached) = server("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".into()).await;
    let redirect = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://{target}/\r\ncontent-length: 0\r\n\r\n"
    );
    let (address, asked) = server(redirect).await;
    let http = HttpsClient::new(ClientTls::system_roots());
    let endpoint = TokenEndpoint::without_client(&format!("http://{address}/token"), http);
    let source =
        TokenExchange::new(endpoint.expect("a URL"), FixedToken::new("subject"), token_type::JWT);
    let error =
        call(&CachedToken::new(source.expect("an exchange"))).await.expect_err("a redirect");
    assert!(!error.is_transient());
    assert!(
        error.to_string().ends_with("answered 307, a redirect, which is not followed"),
        "{error}"
    );
    assert!(asked.await.expect("no panic").starts_with("POST /token HTTP/1.1\r\n"));
    assert!(!reached.is_finished(), "nobody connected");
    reached.abort();
}

#[tokio::test]
async fn st_07_an_answer_that_breaks_off_is_an_error() {
    for head in ["HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"access_to", "HTTP/1.1 2", ""] {
        let (address, asked) = server(head.to_owned()).await;
        let http = HttpsClient::new(ClientTls::system_roots());
        let endpoint = TokenEndpoint::without_client(&format!("http://{address}/token"), http);
        let subject = FixedToken::new("subject");
        let source = TokenExchange::new(endpoint.expect("a URL"), subject, token_type::JWT);
        let error =
            call(&CachedToken::new(source.expect("an exchange"))).await.expect_err("half of it");
        assert!(error.is_transient(), "{error}");
        assert!(asked.await.expect("no panic").starts_with("POST /token HTTP/1.1\r\n"));
    }
}

#[tokio::test(start_paused = true)]
async fn each_host_has_its_own_token_if_asked_for() {
    let kind = token_type::ACCESS_TOKEN;
    let http = Http::new([issued("for-a", kind), issued("for-b", kind)]);
    let credentials = CachedToken::new(exchange(&http).audience_of_each_host());
    for (host, token) in
        [("a.example:443", "for-a"), ("b.example", "for-b"), ("a.example", "for-a")]
    {
        assert_eq!(call_to(&credentials, host).await.expect("a token"), token);
    }
    assert_eq!(http.count(), 2);
    assert_eq!(http.last_form()["audience"], "https://b.example/");
}

#[tokio::test(start_paused = true)]
async fn each_subject_has_its_own_token_and_never_anothers() {
    let kind = token_type::ACCESS_TOKEN;
    let http = Http::new([issued("for-alice", kind), issued("for-bob", kind)]);
    let exchange = TokenExchange::for_subjects(endpoint(&http), token_type::ACCESS_TOKEN);
    let tokens = SubjectTokens::new(exchange.expect("an exchange").audience("backend"));
    let (alice, bob) = (tokens.on_behalf_of("alice's"), tokens.on_behalf_of("bob's"));
    assert_eq!(call(&alice).await.expect("a token"), "for-alice");
    assert_eq!(http.last_form()["subject_token"], "alice's");
    assert_eq!(call(&bob).await.expect("a token"), "for-bob");
    assert_eq!(http.last_form()["subject_token"], "bob's");
    let again = tokens.on_behalf_of("alice's");
    assert_eq!(call_now(&again).expect("at once").as_deref(), Some("for-alice"));
    assert_eq!((http.count(), tokens.telemetry().refreshed), (2, 2));
    let shown = format!("{alice:?} {tokens:?}");
    assert!(!shown.contains("alice"), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn subjects_are_kept_up_to_a_bound() {
    let kind = token_type::ACCESS_TOKEN;
    let http = Http::new((0..200).map(|number| issued(&format!("t{number}"), kind)));
    let exchange = TokenExchange::for_subjects(endpoint(&http), kind).expect("an exchange");
    let tokens = SubjectTokens::with_max_entries(exchange, 10);
    for number in 0..100 {
        let token = call(&tokens.on_behalf_of(format!("s{number}"))).await.expect("a token");
        assert_eq!(token, format!("t{number}"));
    }
    assert_eq!(http.count(), 100);
    call(&tokens.on_behalf_of("s0")).await.expect("asked again");
    assert_eq!(http.count(), 101);
}

#[tokio::test(start_paused = true)]
async fn strangers_tokens_do_not_fill_the_log() {
    let refused = || answer(400, r#"{"error":"invalid_request"}"#);
    let http = Http::new((0..1_000).map(|_| refused()));
    let exchange = TokenExchange::for_subjects(endpoint(&http), token_type::ACCESS_TOKEN);
    let tokens = SubjectTokens::new(exchange.expect("an exchange"));
    let logs = Logs::collect();
    for number in 0..1_000 {
        call(&tokens.on_behalf_of(format!("s{number}"))).await.expect_err("refused");
    }
    let warnings = logs.lines_with("WARN").len();
    assert!((1..=20).contains(&warnings), "{warnings} warnings");
}
