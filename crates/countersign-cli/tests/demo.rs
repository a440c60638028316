//! `countersign demo`, as a newcomer runs it.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;

fn demo() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.arg("demo");
    command
}

#[test]
fn every_attempt_comes_out_as_it_must() {
    let done = demo().arg("--json").output().expect("the program starts");
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    let told: Value = serde_json::from_slice(&done.stdout).expect("one JSON object");
    let attempts = told["attempts"].as_array().expect("attempts");
    assert_eq!(attempts.len(), 26);
    for attempt in attempts {
        assert_eq!(attempt["expected"], attempt["seen"], "{attempt}");
        assert_ne!(attempt["why"], "", "{attempt}");
    }
    assert_eq!(told["unexpected"], 0);
    let let_in =
        attempts.iter().filter(|it| it["seen"].as_str().is_some_and(|s| s.starts_with("OK")));
    assert_eq!(let_in.count(), 7, "four tokens or keys, one bound token, a certificate, health");
}

#[test]
fn people_get_a_table_without_colour_codes_where_there_is_no_terminal() {
    let done = demo().output().expect("the program starts");
    let table = String::from_utf8(done.stdout).expect("text");
    assert!(table.contains("26 of 26 attempts came out as they must."), "{table}");
    assert!(!table.contains('\u{1b}'), "{table}");
    for secret in ["demo-token-alice", "cs_live_", "eyJ"] {
        assert!(!table.contains(secret), "a credential is printed:\n{table}");
    }
}

#[test]
fn keep_prints_commands_and_serves_until_it_is_interrupted() {
    let mut child =
        demo().arg("--keep").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("started");
    let mut words = BufReader::new(child.stderr.take().expect("piped")).lines();
    let mut commands = Vec::new();
    for line in words.by_ref() {
        let line = line.expect("a line");
        if line.contains("grpcurl") {
            commands.push(line.clone());
        }
        if line.contains("Ctrl-C") {
            break;
        }
    }
    assert_eq!(commands.len(), 3, "{commands:?}");
    let port: u16 = commands[0]
        .split("localhost:")
        .nth(1)
        .and_then(|rest| rest.split(' ').next())
        .and_then(|port| port.parse().ok())
        .expect("a port in the command");
    std::net::TcpStream::connect(("127.0.0.1", port)).expect("the server goes on");

    let id = child.id().to_string();
    let told = Command::new("kill").args(["-INT", &id]).status().expect("kill runs");
    assert!(told.success());
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    std::net::TcpStream::connect(("127.0.0.1", port)).expect_err("the server is gone");
}
