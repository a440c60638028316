//! Where a run took place, and with which versions.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use countersign::{Clock as _, SystemClock};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::peers::Peers;

/// Facts without which figures mean nothing.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Machine {
    /// Day and time (UTC) at which the run began.
    pub(crate) date: String,
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    /// Of the last minute, when the run began: what the neighbours were doing.
    pub(crate) load_average: String,
    /// Whether servers and load had a core each.
    pub(crate) placement: String,
    pub(crate) build: String,
    /// Of the crates that matter, and of the peers.
    pub(crate) versions: BTreeMap<String, String>,
}

/// The crates whose speed is measured.
const CRATES: &[&str] = &[
    "aws-lc-rs",
    "countersign",
    "h2",
    "hyper",
    "jsonwebtoken",
    "rustls",
    "tokio",
    "tokio-rustls",
    "tonic",
];

const LOCK: &str = include_str!("../../../Cargo.lock");

impl Machine {
    pub(crate) fn inspect(placement: &str) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let cpu = cpu_model(&cpuinfo).unwrap_or("unknown").to_owned();
        // Not those that this thread may use: it has one by now.
        let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count().max(1);
        let load = read("/proc/loadavg");
        let mut versions = BTreeMap::new();
        for name in CRATES {
            if let Some(version) = locked_version(LOCK, name) {
                versions.insert((*name).to_owned(), version.to_owned());
            }
        }
        if let Some(version) = rustc_version() {
            versions.insert("rustc".to_owned(), version);
        }
        Self {
            date: now(),
            cpu,
            cores,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load_average: load.split(' ').next().unwrap_or("unknown").to_owned(),
            placement: placement.to_owned(),
            build: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
            versions,
        }
    }

    /// Adds those of foreign servers.
    pub(crate) fn add_versions(&mut self, peers: &Peers) {
        let peers = peers.versions.iter();
        self.versions
            .extend(peers.map(|(name, version)| (format!("peer {name}"), version.clone())));
    }

    /// For the foot of a table or chart.
    pub(crate) fn lines(&self) -> Vec<String> {
        let of = |foreign: bool| {
            let versions =
                self.versions.iter().filter(|(name, _)| name.starts_with("peer ") == foreign);
            let named = versions.map(|(name, version)| match name.strip_prefix("peer ") {
                Some(name) => format!("{name}: {version}"),
                None => format!("{name} {version}"),
            });
            named.collect::<Vec<_>>().join(if foreign { "; " } else { ", " })
        };
        let mut lines = vec![
            format!(
                "{} · {} × {} · Linux {} · {} build · load {} · {}",
                self.date,
                self.cores,
                self.cpu,
                self.kernel,
                self.build,
                self.load_average,
                self.placement
            ),
            of(false),
        ];
        lines.extend(Some(of(true)).filter(|line| !line.is_empty()));
        lines
    }
}

/// Day and time of this moment, UTC, to the minute.
pub(crate) fn now() -> String {
    date(OffsetDateTime::from(SystemClock.now()))
}

fn date(now: OffsetDateTime) -> String {
    let (date, time) = (now.date(), now.time());
    let month = u8::from(date.month());
    format!(
        "{:04}-{month:02}-{:02} {:02}:{:02} UTC",
        date.year(),
        date.day(),
        time.hour(),
        time.minute()
    )
}

fn cpu_model(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim())
}

/// The newest version of a crate in a lock file.
fn locked_version<'a>(lock: &'a str, name: &str) -> Option<&'a str> {
    let mut newest = None;
    let mut lines = lock.lines();
    while let Some(line) = lines.next() {
        if line.strip_prefix("name = \"").and_then(|rest| rest.strip_suffix('"')) == Some(name) {
            newest = lines.next()?.strip_prefix("version = \"")?.strip_suffix('"').or(newest);
        }
    }
    newest
}

/// Of the compiler on the path, which is most likely the one that built this.
fn rustc_version() -> Option<String> {
    let output = Command::new("rustc").arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.split(' ').nth(1).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_come_from_the_lock_file() {
        let lock = "[[package]]\nname = \"h2\"\nversion = \"0.4.1\"\n\n\
                    [[package]]\nname = \"h2x\"\nversion = \"9.0.0\"\n";
        assert_eq!(locked_version(lock, "h2"), Some("0.4.1"));
        assert_eq!(locked_version(lock, "h3"), None);
        assert!(locked_version(LOCK, "tonic").is_some());
    }

    #[test]
    fn the_model_is_read_from_cpuinfo() {
        assert_eq!(cpu_model("processor\t: 0\nmodel name\t: Some CPU\n"), Some("Some CPU"));
        assert_eq!(cpu_model("processor\t: 0\n"), None);
    }

    #[test]
    fn dates_are_written_in_full() {
        assert_eq!(date(OffsetDateTime::UNIX_EPOCH), "1970-01-01 00:00 UTC");
    }
}
