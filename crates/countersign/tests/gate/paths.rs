use countersign::Rules;
use countersign_testkit::greeter::SAY_HELLO;
use tonic::Code;

use super::support::RawClient;
use super::{BAD_BEARER, BEARER, behind, gate};

#[tokio::test]
async fn a_path_in_another_spelling_is_unimplemented_and_reaches_no_handler() {
    // Public to everybody, so that nothing but the spelling can stand in the way.
    let (server, reached) = behind(gate(Rules::new().public("*"))).await;
    let mut client = RawClient::connect(&server).await;
    let long = format!("/{}/M", "s".repeat(1100));
    for (name, path) in [
        ("one slash (AZ-26)", "/countersign.demo.v1.Greeter"),
        ("doubled slash (AZ-26)", "//countersign.demo.v1.Greeter/SayHello"),
        ("doubled slash inside", "/countersign.demo.v1.Greeter//SayHello"),
        ("trailing slash", "/countersign.demo.v1.Greeter/SayHello/"),
        ("no method", "/countersign.demo.v1.Greeter/"),
        ("percent escape", "/countersign.demo.v1.Greeter/Say%48ello"),
        ("escaped slash", "/countersign.demo.v1.Greeter%2FSayHello"),
        ("query", "/countersign.demo.v1.Greeter/SayHello?x=1"),
        ("empty query", "/countersign.demo.v1.Greeter/SayHello?"),
        ("dot segments", "/x/../countersign.demo.v1.Greeter/SayHello"),
        ("dot method", "/countersign.demo.v1.Greeter/."),
        ("dot-dot method", "/countersign.demo.v1.Greeter/.."),
        ("dot-dot service", "/../SayHello"),
        ("parameters", "/countersign.demo.v1.Greeter/SayHello;x"),
        ("root", "/"),
        ("longer than 1 KiB", &long),
    ] {
        for metadata in [&[][..], &[BEARER], &[BAD_BEARER]] {
            let status = client.call(path, metadata).await.grpc();
            assert_eq!(status.code(), Code::Unimplemented, "{name}");
            assert_eq!(status.message(), "malformed method name", "{name}");
        }
    }
    assert_eq!(reached.count(), 0);
    assert_eq!(client.call(SAY_HELLO, &[]).await.grpc().code(), Code::Ok);
    assert_eq!(reached.count(), 1);
}

#[tokio::test]
async fn a_path_without_its_leading_slash_never_reaches_a_handler() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    const HEADERS: u8 = 1;
    const RST_STREAM: u8 = 3;
    let (server, reached) = behind(gate(Rules::new().public("*"))).await;
    // AZ-25. No HTTP library sends it (CVE-2026-33186 was a library that took it), so the frames
    // are written by hand: HEADERS that end the stream, every field a literal.
    for (path, answered_by) in [(SAY_HELLO, HEADERS), (&SAY_HELLO[1..], RST_STREAM)] {
        let mut block = Vec::new();
        for (name, value) in [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "localhost"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ] {
            block.push(0);
            for text in [name, value] {
                block.push(u8::try_from(text.len()).expect("short"));
                block.extend_from_slice(text.as_bytes());
            }
        }
        let mut io = tokio::net::TcpStream::connect(server.address()).await.expect("connected");
        io.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("sent");
        let length = u8::try_from(block.len()).expect("short");
        io.write_all(&[0, 0, length, HEADERS, 5, 0, 0, 0, 1]).await.expect("sent");
        io.write_all(&block).await.expect("sent");
        let answer = loop {
            let mut head = [0; 9];
            io.read_exact(&mut head).await.expect("a frame");
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).expect("small")];
            io.read_exact(&mut payload).await.expect("the whole frame");
            if head[8] == 1 {
                break head[3];
            }
        };
        assert_eq!(answer, answered_by, "{path}");
    }
    assert_eq!(reached.count(), 1);
}
