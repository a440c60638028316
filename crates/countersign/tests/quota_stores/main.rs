//! Quotas that several gates share in Valkey or Redis. Needs one of them on this machine:
//! `.ci/run stores` runs it.

mod buckets;
mod down;
mod gates;
#[path = "../support/ports.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod ports;
#[path = "../support/proxy.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod proxy;
mod server;
#[path = "../support/reached.rs"]
mod support;
mod who;

use std::time::Duration;

use countersign::quota::Limit;
use countersign::quota::store::{Bucket, QuotaStore, SharedQuota, ValkeyStore, WhenDown};
use server::Server;

fn at(address: &str) -> ValkeyStore {
    ValkeyStore::at(address).expect("an address")
}

fn an_hour(times: u64) -> Limit {
    Limit::new(times, Duration::from_secs(3600)).expect("a limit")
}

/// So many now, and not one more while a test runs: a thousand a year are one in nine hours.
fn a_year(times: u64) -> Limit {
    Limit::new(times, Duration::from_secs(365 * 86_400)).expect("a limit")
}

fn of(caller: &'static str, times: u64) -> Bucket<'static> {
    Bucket::new(a_year(times)).entry("caller", caller)
}

/// A gate's quota. A busy machine may take its time.
fn gate(store: impl QuotaStore, when_down: WhenDown) -> SharedQuota {
    SharedQuota::new(store, when_down).deadline(Duration::from_secs(5))
}
