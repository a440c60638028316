use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use countersign::SecurityLevel::PrivacyAndIntegrity;
use countersign::credentials::{
    CallCredentialsError, CallDetails, CallMetadata, ChannelSecurityInfo,
};
use countersign::{
    ApiKey, Backoff, CallCredentials, CallError, CallPhase, Channel, ChannelCredentials,
    ClientRequestExt, CompositeCallCredentials, async_trait,
};
use countersign_testkit::greeter::SAY_HELLO;
use countersign_testkit::wait::until;
use tonic::Code;

use super::{Fake, Given, Stage, TOKEN, greet, hello, local};

#[tokio::test]
async fn credentials_know_the_call_they_are_asked_for() {
    // CC-08, CC-10.
    let stage = Stage::new().await;
    let seen: Arc<Mutex<Vec<(CallDetails, ChannelSecurityInfo)>>> = Arc::default();
    let notes = Arc::clone(&seen);
    let credentials = Fake::new(move |call, security, _| {
        let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.push((call.clone(), security.clone()));
        Ok(())
    });
    let channel = stage.channel(stage.tls().with_call_credentials(credentials.clone())).await;
    let own = format!("localhost:{}", stage.server.address().port());
    // The channel's own credentials go to the channel's authority alone; others are given along.
    let given =
        |authority: &str| hello().authority(authority).call_credentials(credentials.clone());
    for (request, authority, host) in [
        (hello(), own.as_str(), own.as_str()),
        (hello().wait_for_ready(), &own, &own),
        (given("orders.example:443"), "orders.example:443", "orders.example"),
        (given("orders.example:8443"), "orders.example:8443", "orders.example:8443"),
    ] {
        greet(&channel, request).await.expect("sent");
        let (call, security) =
            seen.lock().unwrap_or_else(PoisonError::into_inner).pop().expect("asked");
        assert_eq!((call.path(), call.method_name()), (SAY_HELLO, "SayHello"));
        assert_eq!(call.authority(), authority);
        assert_eq!(call.service_url(), format!("https://{host}/countersign.demo.v1.Greeter"));
        assert_eq!(security, ChannelSecurityInfo::new("tls", PrivacyAndIntegrity));
    }
}

#[tokio::test]
async fn credentials_are_asked_after_there_is_a_connection_and_once_for_each_call() {
    // CC-08 with wait-for-ready.
    let folder = tempfile::tempdir().expect("a folder");
    let target = format!("unix:{}", folder.path().join("greeter.sock").display());
    let credentials = Fake::sending("authorization", "Bearer x");
    let local_credentials = ChannelCredentials::local().with_call_credentials(credentials.clone());
    let channel = Channel::builder(target, local_credentials)
        .backoff(Backoff::between(Duration::from_millis(1), Duration::from_millis(10)))
        .connect_lazy()
        .expect("a channel");
    let status = greet(&channel, hello()).await.expect_err("nobody listens");
    assert_eq!((status.code(), credentials.asked()), (Code::Unavailable, 0));

    let waiting = channel.clone();
    let waiting = tokio::spawn(async move { greet(&waiting, hello().wait_for_ready()).await });
    channel.ready().await.expect_err("nobody listens");
    assert_eq!(credentials.asked(), 0);
    let (_server, reached, _) = local(folder.path());
    waiting.await.expect("called").expect("answered");
    assert_eq!(credentials.asked(), 1);
    greet(&channel, hello()).await.expect("answered");
    assert_eq!((credentials.asked(), reached.count()), (2, 2));
}

#[tokio::test]
async fn what_credentials_give_at_once_is_not_asked_for_again() {
    #[derive(Debug, Default)]
    struct AtOnce {
        now: AtomicUsize,
        later: AtomicUsize,
    }
    #[async_trait]
    impl CallCredentials for AtOnce {
        async fn get_metadata(
            &self,
            _call: &CallDetails,
            _security: &ChannelSecurityInfo,
            metadata: &mut CallMetadata,
        ) -> Given {
            self.later.fetch_add(1, Ordering::SeqCst);
            Ok(metadata.insert("authorization", "Bearer later")?)
        }
        fn get_metadata_now(
            &self,
            _call: &CallDetails,
            _security: &ChannelSecurityInfo,
            metadata: &mut CallMetadata,
        ) -> Result<bool, CallCredentialsError> {
            match self.now.fetch_add(1, Ordering::SeqCst) {
                0 => return Ok(false),
                1 => metadata.insert("authorization", "Bearer now")?,
                _ => return Err(CallCredentialsError::transient("not now")),
            }
            Ok(true)
        }
    }
    let stage = Stage::new().await;
    let credentials = Arc::new(AtOnce::default());
    let both = stage.tls().with_call_credentials(Arc::clone(&credentials));
    let channel = stage.channel(both).await;
    for expected in ["Bearer later", "Bearer now"] {
        greet(&channel, hello()).await.expect("sent");
        assert_eq!(stage.reached.last_values("authorization"), [expected]);
        assert_eq!(credentials.later.load(Ordering::SeqCst), 1);
    }
    let status = greet(&channel, hello()).await.expect_err("it failed at once");
    assert_eq!((status.code(), stage.reached.count()), (Code::Unavailable, 2));
    assert_eq!(credentials.later.load(Ordering::SeqCst), 1);
}

/// Credentials that never come, and count who asked and who went away.
#[derive(Clone, Debug, Default)]
struct Never {
    asked: Arc<AtomicUsize>,
    left: Arc<AtomicUsize>,
}

struct Leaving(Arc<AtomicUsize>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl CallCredentials for Never {
    async fn get_metadata(
        &self,
        _call: &CallDetails,
        _security: &ChannelSecurityInfo,
        _metadata: &mut CallMetadata,
    ) -> Given {
        let _leaving = Leaving(Arc::clone(&self.left));
        self.asked.fetch_add(1, Ordering::SeqCst);
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_deadline_that_passes_while_credentials_are_waited_for_ends_the_call_and_sends_nothing() {
    // JW-15.
    let stage = Stage::new().await;
    let channel = stage.channel(stage.tls()).await;
    let never = Never::default();
    for way in ["by itself", "in a composite"] {
        let mut request = match way {
            "by itself" => hello().call_credentials(never.clone()),
            _ => {
                let key = ApiKey::new(TOKEN).expect("a key");
                hello().call_credentials(CompositeCallCredentials::new(key, never.clone()))
            }
        };
        request.set_timeout(Duration::from_millis(30));
        // The time goes by when there is nothing left to do but wait, and not before.
        tokio::time::pause();
        let status = greet(&channel, request).await.expect_err("too late");
        tokio::time::resume();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{way}");
        let Some(CallError::DeadlineExceeded { during, .. }) = CallError::of(&status) else {
            panic!("{way}: {status:?}")
        };
        assert_eq!(*during, CallPhase::Credentials, "{way}");
    }
    let counts = [&never.asked, &never.left].map(|count| count.load(Ordering::SeqCst));
    assert_eq!(counts, [2, 2], "what was asked was dropped");

    // Others are unaffected, also with a deadline, and tell the server what is left of it.
    let mut request = hello().call_credentials(Fake::sending("authorization", "Bearer x"));
    request.set_timeout(Duration::from_secs(3_600));
    greet(&channel, request).await.expect("in time");
    assert_eq!(stage.reached.count(), 1);
    let [left] = &stage.reached.last_values("grpc-timeout")[..] else { panic!("one deadline") };
    let left: u64 = left.strip_suffix('m').and_then(|it| it.parse().ok()).expect("milliseconds");
    assert!((3_500_000..=3_600_000).contains(&left), "{left}");
}

#[tokio::test]
async fn a_call_whose_credentials_come_too_late_is_not_sent() {
    /// Gives metadata a minute later.
    #[derive(Debug)]
    struct Late;
    #[async_trait]
    impl CallCredentials for Late {
        async fn get_metadata(
            &self,
            _call: &CallDetails,
            _security: &ChannelSecurityInfo,
            metadata: &mut CallMetadata,
        ) -> Given {
            tokio::time::pause();
            tokio::time::advance(Duration::from_secs(60)).await;
            tokio::time::resume();
            Ok(metadata.insert("authorization", "Bearer late")?)
        }
    }
    // §2.1: when nothing of the deadline is left, the call fails here and nothing is sent.
    let stage = Stage::new().await;
    let channel = stage.channel(stage.tls()).await;
    for (deadline, in_time) in [(30, false), (3_600, true)] {
        let mut request = hello().call_credentials(Late);
        request.set_timeout(Duration::from_secs(deadline));
        match greet(&channel, request).await {
            Ok(()) => assert!(in_time),
            Err(status) => {
                assert!(!in_time, "{status:?}");
                assert_eq!(status.code(), Code::DeadlineExceeded);
                let Some(CallError::DeadlineExceeded { during, .. }) = CallError::of(&status)
                else {
                    panic!("{status:?}")
                };
                assert_eq!(*during, CallPhase::Credentials);
            }
        }
    }
    assert_eq!(stage.reached.count(), 1);
}

#[tokio::test]
async fn a_call_that_goes_away_takes_its_asking_with_it() {
    let stage = Stage::new().await;
    let channel = stage.channel(stage.tls()).await;
    let never = Never::default();
    let (request, calling) = (hello().call_credentials(never.clone()), channel.clone());
    let calling = tokio::spawn(async move { greet(&calling, request).await });
    until("the credentials are asked", || never.asked.load(Ordering::SeqCst) == 1).await;
    assert_eq!(never.left.load(Ordering::SeqCst), 0);
    calling.abort();
    until("they are let go", || never.left.load(Ordering::SeqCst) == 1).await;
    greet(&channel, hello()).await.expect("others are unaffected");
    assert_eq!(stage.reached.count(), 1);
}
