//! What is kept fresh while nobody calls, and what ends that.

use super::*;

async fn settled(stage: &Stage) -> usize {
    stage.settle().await;
    stage.script.fetches()
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_kept_warm_is_replaced_ahead_of_its_end_without_a_call() {
    let stage = Stage::new([]);
    let warm = stage.credentials.keep_warm(&TokenRequest::any()).expect("a runtime");
    assert_eq!(settled(&stage).await, 1, "at once");
    for replaced in 1..=5 {
        advance(HOUR - seconds(301)).await;
        assert_eq!(settled(&stage).await, replaced, "not before its time");
        assert_eq!(stage.now().expect("fresh"), Some(format!("t{replaced}")));
        advance(seconds(61)).await;
        assert_eq!(settled(&stage).await, replaced + 1);
    }
    assert_eq!(stage.now().expect("no call waits").as_deref(), Some("t6"));
    drop(warm);
    advance(HOUR * 100).await;
    assert_eq!(settled(&stage).await, 6, "dropped, it keeps nothing warm");
}

#[tokio::test(start_paused = true)]
async fn a_fetch_under_way_outlives_the_handle_and_not_the_credentials() {
    let stage = Stage::of(Script::closed([]));
    let warm = stage.credentials.keep_warm(&TokenRequest::any()).expect("a runtime");
    assert_eq!(settled(&stage).await, 1);
    drop(warm);
    stage.script.gate.add_permits(1);
    stage.settle().await;
    assert_eq!(stage.now().expect("landed").as_deref(), Some("t1"));

    let stage = Stage::of(Script::closed([]));
    let warm = stage.credentials.keep_warm(&TokenRequest::any()).expect("a runtime");
    stage.settle().await;
    let Stage { script, credentials, .. } = stage;
    assert_eq!(Arc::strong_count(&script.alive), 3, "script, credential, fetch");
    drop(credentials);
    settle(&script, 1).await;
    drop(warm);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_fails_is_asked_as_the_back_off_allows_and_not_given_up() {
    let stage = Stage::new([]);
    for _ in 0..1_000 {
        stage.script.next(down());
    }
    let _warm = stage.credentials.keep_warm(&TokenRequest::any()).expect("a runtime");
    for _ in 0..600 {
        stage.settle().await;
        advance(Duration::from_millis(100)).await;
    }
    let asked = stage.script.fetches();
    assert!((7..=10).contains(&asked), "asked {asked} times in a minute");
    stage.script.answers.lock().unwrap_or_else(PoisonError::into_inner).clear();
    advance(seconds(120)).await;
    stage.settle().await;
    assert!(stage.now().expect("back again").is_some());

    let stage = Stage::new([refused()]);
    let _warm = stage.credentials.keep_warm(&TokenRequest::any()).expect("a runtime");
    assert_eq!(settled(&stage).await, 1);
    advance(seconds(29)).await;
    assert_eq!(settled(&stage).await, 1);
    advance(seconds(1)).await;
    assert_eq!(settled(&stage).await, 2);
    assert_eq!(stage.now().expect("nothing is final").as_deref(), Some("t2"));
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_steps_is_noticed_within_a_minute() {
    let stage = Stage::new([]);
    let _warm = stage.credentials.keep_warm(&TokenRequest::any()).expect("a runtime");
    assert_eq!(settled(&stage).await, 1);
    stage.wall.step(3_600);
    advance(seconds(60)).await;
    assert_eq!(settled(&stage).await, 2);
}

#[tokio::test(start_paused = true)]
async fn each_host_is_kept_warm_by_itself() {
    let mut script = Script::new([]);
    script.scope = TokenScope::Host;
    let stage = Stage::of(script);
    let request = TokenRequest::for_host("a.example");
    let _warm = stage.credentials.keep_warm(&request).expect("a runtime");
    assert_eq!(settled(&stage).await, 1);
    assert_eq!(call(&stage.credentials, "a.example").await.expect("warm"), "t1a.example");
    assert_eq!(call(&stage.credentials, "b.example").await.expect("cold"), "t2b.example");
    advance(HOUR - seconds(200)).await;
    assert_eq!(settled(&stage).await, 3, "one of the two");
}

#[test]
fn nothing_is_kept_warm_outside_of_a_runtime() {
    let credentials = CachedToken::new(Script::new([]));
    let error = credentials.keep_warm(&TokenRequest::any()).expect_err("nobody can fetch");
    assert!(error.is_transient());
    assert_eq!(error.to_string(), "script cannot be kept warm outside of a tokio runtime");
}
