//! Whether a gate can judge callers by now.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::layer::Gate;
use crate::authentication::Readiness;

impl Gate {
    /// Whether all authenticators can judge evidence by now; if not, which one cannot and why.
    pub fn readiness(&self) -> Readiness {
        for one in &self.inner.authenticators {
            if let Readiness::NotReady { why } = one.readiness() {
                return Readiness::NotReady { why: format!("{}: {why}", one.name()) };
            }
        }
        Readiness::Ready
    }

    /// Reports the readiness now and whenever it changes, for instance to a health service.
    ///
    /// Looks once a second. Never ends; dropping the future is safe at any time and ends the
    /// watch. Must run inside a tokio runtime.
    ///
    /// ```no_run
    /// # async fn watch(gate: countersign::Gate) {
    /// let (reporter, health) = tonic_health::server::health_reporter();
    /// let watching = gate.watch_readiness(|readiness| {
    ///     let reporter = reporter.clone();
    ///     async move {
    ///         let status = match readiness.is_ready() {
    ///             true => tonic_health::ServingStatus::Serving,
    ///             false => tonic_health::ServingStatus::NotServing,
    ///         };
    ///         reporter.set_service_status("", status).await;
    ///     }
    /// });
    /// # drop((watching, health));
    /// # }
    /// ```
    pub async fn watch_readiness<F, R>(&self, mut report: F) -> Infallible
    where
        F: FnMut(Readiness) -> R,
        R: Future<Output = ()>,
    {
        let mut known = None;
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let now = self.readiness();
            if known.as_ref() != Some(&now) {
                report(now.clone()).await;
                known = Some(now);
            }
        }
    }
}
