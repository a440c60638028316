//! The program itself, on a load far too small to measure anything.

use std::fs;
use std::process::{Command, Output};

use serde_json::Value;

const REQUESTS: u64 = 200;

fn run(arguments: &[&str]) -> Output {
    let out = Command::new(env!("CARGO_BIN_EXE_countersign-bench")).args(arguments).output();
    out.expect("the program runs")
}

#[test]
fn every_reply_is_checked_and_the_report_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("UTF-8");
    let requests = REQUESTS.to_string();
    let arguments =
        ["calls", "--rounds", "1", "--requests", &requests, "--no-peers", "--out", path];
    let output = run(&arguments);
    let table = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{table}");
    assert!(said.contains("round 1 of 1"), "{said}");

    let json = fs::read_to_string(folder.path().join("calls.json")).expect("a report");
    let report: Value = serde_json::from_str(&json).expect("JSON");
    let section = &report["sections"][0];
    let rows = section["rows"].as_array().expect("rows");
    for part in ["bare-h2 ct", "tonic-tls mt", "tonic-tls-jwt ct", "ours-gate ct", "ours-per-core"]
    {
        assert!(rows.iter().any(|row| row["name"] == part), "no row for {part}");
    }
    for row in rows {
        let fact = |name: &str| {
            let facts = row["facts"].as_array().expect("facts");
            facts.iter().find(|fact| fact[0] == name).and_then(|fact| fact[1].as_u64())
        };
        assert_eq!(fact("checked"), Some(REQUESTS), "{row}");
        let refused = row["name"].as_str().is_some_and(|name| name.contains("refused"));
        assert_eq!(fact("refused"), Some(if refused { REQUESTS } else { 0 }), "{row}");
        assert_eq!(row["samples"].as_array().map(Vec::len), Some(1), "{row}");
    }
    assert_eq!(section["controls"].as_array().map(Vec::len), Some(2));
    let sections = report["sections"].as_array().expect("sections");
    let titles: Vec<_> = sections.iter().filter_map(|section| section["title"].as_str()).collect();
    assert!(titles.len() > 3, "{titles:?}");
    for (at, title) in titles.iter().enumerate() {
        assert!(!titles[..at].contains(title), "{title:?} twice");
    }
    assert!(report["machine"]["versions"]["tonic"].is_string());

    let svg = fs::read_to_string(folder.path().join("calls.svg")).expect("a chart");
    assert!(svg.starts_with("<svg") && svg.contains("ours-gate"), "{svg}");
    assert!(table.contains("A/A tonic-tls mt"), "{table}");
}

#[test]
fn a_peer_that_is_not_built_is_missing_and_nothing_stands_in_for_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("UTF-8");
    let arguments = [
        "calls",
        "--rounds",
        "1",
        "--requests",
        "20",
        "--only",
        "go",
        "--peers",
        path,
        "--out",
        path,
    ];
    let output = run(&arguments);
    let table = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{table}");
    assert!(table.contains("go tls-jwt  missing: "), "{table}");
}
