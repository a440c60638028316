//! Syslog and the journal, with a daemon's socket played by the test.

use std::os::unix::net::UnixDatagram;

use countersign::audit::{Audit, Facility, JournaldSink, SyslogSink, WhenFull};

use countersign_testkit::greeter::SAY_HELLO;
use countersign_testkit::wait::until;
use serde_json::Value;

use super::kit::{ALICE, SOON, behind, builder, told};
use super::sinks::two_calls;
use super::support::RawClient;

fn received(socket: &UnixDatagram) -> Vec<u8> {
    socket.set_read_timeout(Some(SOON)).expect("a socket option");
    let mut buffer = vec![0; 64 * 1024];
    let length = socket.recv(&mut buffer).expect("a datagram");
    buffer.truncate(length);
    buffer
}

#[tokio::test]
async fn syslog_gets_the_message_that_rfc_5424_describes() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("log");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    let sink = SyslogSink::new("orders api").socket(&path).facility(Facility::Local(3));
    two_calls("syslog", sink).await;
    // local3 is 19; informational is 6, a warning is 4.
    for (priority, outcome) in [("<158>1", "allowed"), ("<156>1", "refused")] {
        let message = String::from_utf8(received(&socket)).expect("text");
        let (head, json) = message.split_once('\u{feff}').expect("a byte order mark");
        let head: Vec<_> = head.split(' ').collect();
        let process = std::process::id().to_string();
        let [first, time, "-", "ordersapi", id, kind, "-", ""] = head[..] else {
            panic!("{head:?}")
        };
        assert_eq!((first, id, kind), (priority, &*process, outcome));
        assert!(time.len() == 27 && time.ends_with('Z'), "{time}");
        let event: Value = serde_json::from_str(json).expect("JSON");
        assert_eq!(event["outcome"], outcome);
    }
}

#[tokio::test]
async fn the_journal_gets_a_field_for_each_field() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("socket");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    two_calls("journal", JournaldSink::new("orders").socket(&path)).await;
    for (outcome, priority, sentence) in [
        ("allowed", "6", format!("{SAY_HELLO} allowed for alice")),
        ("refused", "4", format!("{SAY_HELLO} refused: TOKEN_INVALID")),
    ] {
        let fields = parsed(&received(&socket));
        let field = |name: &str| {
            let found: Vec<_> = fields.iter().filter(|(known, _)| known == name).collect();
            assert_eq!(found.len(), 1, "{name} in {fields:?}");
            found[0].1.clone()
        };
        assert_eq!(field("MESSAGE"), sentence);
        assert_eq!(field("MESSAGE_ID"), JournaldSink::MESSAGE_ID);
        assert_eq!((&*field("PRIORITY"), &*field("SYSLOG_IDENTIFIER")), (priority, "orders"));
        assert_eq!(field("COUNTERSIGN_OUTCOME"), outcome);
        assert_eq!(field("COUNTERSIGN_METHOD"), SAY_HELLO);
        assert_eq!(field("COUNTERSIGN_SCHEMA"), "1");
    }
}

/// The native protocol, with every value in its form with a length.
fn parsed(mut message: &[u8]) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    while !message.is_empty() {
        let end = message.iter().position(|byte| *byte == b'\n').expect("a name");
        let (name, rest) = (text(&message[..end]), &message[end + 1..]);
        let length = u64::from_le_bytes(rest[..8].try_into().expect("eight bytes"));
        let end = 8 + usize::try_from(length).expect("short");
        fields.push((name, text(&rest[8..end])));
        assert_eq!(rest[end], b'\n');
        message = &rest[end + 1..];
    }
    fields
}

#[tokio::test]
async fn a_daemon_that_is_restarted_is_found_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("log");
    let sink = SyslogSink::new("orders").socket(&path);
    let audit = Audit::builder().sink("syslog", sink, WhenFull::RefuseCall).build();
    let audit = audit.expect("an audit");
    let writer = audit.start().expect("threads");
    let (server, _) = behind(builder().audit(&audit)).await;
    let mut client = RawClient::connect(&server).await;
    for turn in 0..2 {
        assert_eq!(told(&client.call(SAY_HELLO, &[ALICE]).await), "Ok", "{turn}");
        until("the trouble", || audit.report()[0].problem.is_some()).await;
        let socket = UnixDatagram::bind(&path).expect("a socket");
        writer.flush(SOON).await.expect("written");
        assert!(received(&socket).starts_with(b"<86>1 "), "{turn}");
        std::fs::remove_file(&path).expect("removed");
    }
    let report = &audit.report()[0];
    assert_eq!((report.written, report.dropped, report.failed), (2, 0, 0));
    assert!(report.retries >= 2);
}
