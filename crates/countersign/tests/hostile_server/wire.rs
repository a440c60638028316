//! HTTP/2 frame by frame (RFC 9113 §4.1).

use h2::Reason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Hostile;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GO_AWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a length").to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

pub(crate) fn settings(parameters: &[(u16, u32)]) -> Vec<u8> {
    let parameter =
        |(id, value): &(u16, u32)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
    frame(SETTINGS, 0, 0, &parameters.iter().map(parameter).collect::<Vec<_>>().concat())
}

pub(crate) fn go_away(last_stream: u32, reason: Reason, debug: &str) -> Vec<u8> {
    let payload =
        [&last_stream.to_be_bytes()[..], &u32::from(reason).to_be_bytes(), debug.as_bytes()];
    frame(GO_AWAY, 0, 0, &payload.concat())
}

/// `:status: 200`, `content-type: application/grpc`, `grpc-status: 7` in HPACK, as the whole
/// answer on a stream.
pub(crate) fn denied(stream: u32) -> Vec<u8> {
    let block = [&b"\x88\x5f\x10application/grpc"[..], b"\x40\x0bgrpc-status\x017"].concat();
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block)
}

/// Reads the client's preface and then frames, until one of this kind has come, and says on
/// which stream.
pub(crate) struct Reader {
    is_greeted: bool,
}

impl Reader {
    pub(crate) fn new() -> Self {
        Self { is_greeted: false }
    }

    pub(crate) async fn until(&mut self, io: &mut TcpStream, kind: u8) -> Option<u32> {
        if !std::mem::replace(&mut self.is_greeted, true) {
            let mut preface = [0; 24];
            io.read_exact(&mut preface).await.ok()?;
            assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        }
        loop {
            let mut head = [0; 9];
            io.read_exact(&mut head).await.ok()?;
            let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
            io.read_exact(&mut payload).await.ok()?;
            if head[3] == kind {
                return Some(u32::from_be_bytes([head[5], head[6], head[7], head[8]]));
            }
        }
    }
}

/// Reads until the client closes.
pub(crate) async fn until_closed(mut io: TcpStream) {
    while io.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {}
}

/// Greets with these bytes, and answers every call that comes.
pub(crate) async fn greeting(greeting: Vec<u8>) -> Hostile {
    Hostile::raw(move |mut io| {
        let greeting = greeting.clone();
        async move {
            io.write_all(&greeting).await.expect("written");
            let mut reader = Reader::new();
            while let Some(stream) = reader.until(&mut io, HEADERS).await {
                if io.write_all(&denied(stream)).await.is_err() {
                    break;
                }
            }
        }
    })
    .await
}
