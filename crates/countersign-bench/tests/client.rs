//! The suite `client`, on a load far too small to measure anything.

use std::fs;
use std::process::Command;

use serde_json::Value;

#[test]
fn every_client_reports_its_cpu_and_a_fresh_token_is_fetched_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("UTF-8");
    let output = Command::new(env!("CARGO_BIN_EXE_countersign-bench"))
        .args(["client", "--rounds", "1", "--requests", "50", "--no-peers", "--out", path])
        .output()
        .expect("the program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let json = fs::read_to_string(folder.path().join("client.json")).expect("a report");
    let report: Value = serde_json::from_str(&json).expect("JSON");
    let rows = report["sections"][0]["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 7, "{rows:?}");
    for row in rows {
        assert!(row["samples"][0].as_f64().is_some_and(|spent| spent > 0.0), "{row}");
        let cached = row["name"].as_str().is_some_and(|name| name.contains("cached"));
        let facts = row["facts"].as_array().expect("facts");
        let fetches = facts.iter().find(|fact| fact[0] == "fetches").map(|fact| &fact[1]);
        assert_eq!(fetches.and_then(Value::as_u64), cached.then_some(1), "{row}");
    }
    assert_eq!(report["sections"][0]["controls"].as_array().map(Vec::len), Some(1));
}
