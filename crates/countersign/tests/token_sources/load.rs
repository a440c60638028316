//! Many callers, and an endpoint that is to be left in peace.

use countersign::CallCredentials;
use countersign::credentials::CachedToken;
use countersign::credentials::oauth::{
    ClientAuthentication, ClientCredentials, SubjectTokens, TokenEndpoint, TokenExchange,
    token_type,
};
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, advance};

use crate::stage::{ENDPOINT, Http, Told, answer, call, call_now, good, seconds};

fn endpoint(http: &Http) -> TokenEndpoint {
    let client = ClientAuthentication::none("me");
    TokenEndpoint::new(ENDPOINT, client, http.clone()).expect("a URL")
}

fn client_credentials(http: &Http) -> CachedToken<ClientCredentials> {
    CachedToken::new(ClientCredentials::new(endpoint(http)))
}

/// What 10,000 calls at the same time are sent with, or fail with.
async fn ten_thousand<C: CallCredentials>(of: impl Fn(usize) -> C) -> Vec<(usize, String)> {
    let mut calls = JoinSet::new();
    for number in 0..10_000 {
        let credentials = of(number);
        calls.spawn(async move {
            let told = call(&credentials).await.unwrap_or_else(|error| error.to_string());
            (number, told)
        });
    }
    calls.join_all().await
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_first_callers_cause_one_request() {
    let (good, down) = (good("t1"), answer(503, ""));
    let words = format!("the token endpoint {ENDPOINT} answered 503");
    for (told, expected) in [(good, "t1"), (down, words.as_str())] {
        let http = Http::new([told]);
        let credentials = client_credentials(&http);
        for (_, told) in ten_thousand(|_| credentials.clone()).await {
            assert_eq!(told, expected);
        }
        assert_eq!(http.count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_callers_for_ten_subjects_cause_ten_exchanges() {
    let issued = |token: usize| {
        let kind = token_type::ACCESS_TOKEN;
        let body = format!(
            r#"{{"access_token":"t{token}","issued_token_type":"{kind}","token_type":"Bearer"}}"#
        );
        answer(200, &body)
    };
    let http = Http::new((0..10).map(issued));
    let exchange = TokenExchange::for_subjects(endpoint(&http), token_type::JWT);
    let tokens = SubjectTokens::new(exchange.expect("an exchange"));
    let told = ten_thousand(|number| tokens.on_behalf_of(format!("subject-{}", number % 10))).await;
    assert_eq!(http.count(), 10);
    let mut of_subject = [const { None }; 10];
    for (number, token) in &told {
        let known = of_subject[number % 10].get_or_insert(token);
        assert_eq!(known, &token, "a subject has one token");
    }
    let all: std::collections::HashSet<_> = of_subject.iter().flatten().collect();
    assert_eq!(all.len(), 10, "and nobody has another's");
}

/// 1,000 calls a second for a minute; says how many each saw.
async fn for_a_minute(credentials: &CachedToken<ClientCredentials>) -> (u32, u32) {
    let (mut sent, mut failed) = (0, 0);
    for _ in 0..60_000 {
        let began = Instant::now();
        match call(credentials).await {
            Ok(_) => sent += 1,
            Err(error) => {
                assert!(error.is_transient(), "UNAVAILABLE: {error}");
                failed += 1;
            }
        }
        assert_eq!(began.elapsed(), Duration::ZERO, "nobody waits");
        advance(Duration::from_millis(1)).await;
    }
    (sent, failed)
}

/// 1 + 1.6 + 2.56 + 4.1 + 6.6 + 10.5 + 16.8 + 26.8 s, each ±20 %: so many requests in a minute.
const IN_A_MINUTE: std::ops::RangeInclusive<usize> = 7..=10;

fn down() -> impl Iterator<Item = Told> {
    (0..1_000).map(|_| answer(503, ""))
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_down_for_a_minute_is_left_alone_and_calls_with_a_token_go_on() {
    let http = Http::new(std::iter::once(good("t1")).chain(down()));
    let credentials = client_credentials(&http);
    call(&credentials).await.expect("a token");
    // Wherever the jitter has the window begin.
    advance(seconds(3_600 - 220)).await;
    assert_eq!(for_a_minute(&credentials).await, (60_000, 0), "nobody notices");
    let asked = http.count() - 1;
    assert!(IN_A_MINUTE.contains(&asked), "asked {asked} times");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_down_for_a_minute_is_left_alone_and_calls_without_one_fail_at_once() {
    let http = Http::new(down());
    let credentials = client_credentials(&http);
    assert_eq!(for_a_minute(&credentials).await, (0, 60_000));
    let asked = http.count();
    assert!(IN_A_MINUTE.contains(&asked), "asked {asked} times");
    call_now(&credentials).expect_err("remembered");
}
