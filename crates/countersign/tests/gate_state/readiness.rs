use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use countersign::authentication::Readiness;
use countersign::{Gate, MutualTls};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_server::Health;

use super::scripted::{Script, Scripted};

fn not_ready(why: &str) -> Readiness {
    Readiness::NotReady { why: why.to_owned() }
}

#[test]
fn a_gate_is_ready_when_all_of_its_authenticators_are() {
    let slow = Scripted::new(Script::default()).shared();
    let gate = Gate::builder().authenticate(MutualTls::new()).authenticate(Arc::clone(&slow));
    let gate = gate.build().expect("a gate");
    assert_eq!(gate.readiness(), Readiness::Ready);
    slow.is(not_ready("no keys yet"));
    assert_eq!(gate.readiness(), not_ready("scripted: no keys yet"));
    slow.is(Readiness::Ready);
    assert!(gate.readiness().is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_health_service_says_what_the_gate_says() {
    let slow = Scripted::new(Script::default()).shared();
    slow.is(not_ready("no keys yet"));
    let gate = Gate::builder().authenticate(Arc::clone(&slow)).build().expect("a gate");
    let (reporter, _) = tonic_health::server::health_reporter();
    let service = tonic_health::server::HealthService::from_health_reporter(reporter.clone());
    let reports = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&reports);
    let watching = tokio::spawn(async move {
        gate.watch_readiness(|readiness| {
            noted.lock().unwrap_or_else(PoisonError::into_inner).push(readiness.clone());
            let reporter = reporter.clone();
            async move {
                let status = match readiness.is_ready() {
                    true => ServingStatus::Serving,
                    false => ServingStatus::NotServing,
                };
                reporter.set_service_status("", status).await;
            }
        })
        .await
    });
    let status = async || {
        // Longer than the watch waits; a paused clock passes it at once.
        tokio::time::advance(Duration::from_millis(1_500)).await;
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        let request = tonic::Request::new(HealthCheckRequest::default());
        service.check(request).await.expect("known").into_inner().status
    };
    const SERVING: i32 = 1;
    const NOT_SERVING: i32 = 2;
    assert_eq!(status().await, NOT_SERVING);
    slow.is(Readiness::Ready);
    assert_eq!(status().await, SERVING);
    assert_eq!(status().await, SERVING);
    slow.is(not_ready("the keys are too old"));
    assert_eq!(status().await, NOT_SERVING);
    let reports = reports.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let expected = [
        not_ready("scripted: no keys yet"),
        Readiness::Ready,
        not_ready("scripted: the keys are too old"),
    ];
    assert_eq!(reports, expected, "once for each change");
    watching.abort();
}
