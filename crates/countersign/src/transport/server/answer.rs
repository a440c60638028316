//! What a peer that came to the wrong port is told, in the protocol that it speaks.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// What a peer's first bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spoken {
    Tls,
    Http2,
    Http1,
    Unknown,
}

/// The client's connection preface (RFC 9113 §3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

impl Spoken {
    /// Enough bytes to tell for sure.
    pub(super) const ENOUGH: usize = 4;

    pub(super) fn tell(bytes: &[u8]) -> Self {
        const METHODS: [&[u8]; 9] =
            [b"GET ", b"POST", b"PUT ", b"HEAD", b"OPTI", b"DELE", b"PATC", b"CONN", b"TRAC"];
        match bytes {
            // A handshake record. SSLv2 and everything before TLS 1.0 is not known.
            [0x16, 0x03, ..] => Self::Tls,
            [b'P', b'R', b'I', b' ', ..] => Self::Http2,
            _ if METHODS.iter().any(|method| bytes.starts_with(method)) => Self::Http1,
            _ => Self::Unknown,
        }
    }
}

/// What a peer at the wrong port is told, in one printable sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// Plaintext came to a port that speaks TLS.
    SpeaksTls,
    /// TLS came to a port that speaks plaintext.
    SpeaksPlaintext,
    /// HTTP/1 came to a port that speaks HTTP/2.
    SpeaksHttp2,
    /// The client offered no application protocol.
    NeedsAlpn,
}

impl Notice {
    fn text(self) -> &'static str {
        match self {
            Self::SpeaksTls => "this port speaks TLS: connect with TLS credentials (https://)",
            Self::SpeaksPlaintext => {
                "this port speaks plaintext HTTP/2: connect without TLS (http://)"
            }
            Self::SpeaksHttp2 => "this port speaks gRPC, which needs HTTP/2",
            Self::NeedsAlpn => "this port speaks gRPC: offer h2 by ALPN",
        }
    }
}

/// Gives notice in the protocol that is spoken, and hangs up. To anybody else it says nothing.
///
/// A gRPC client reads the sentence as the message of its call's status: each call that arrives
/// within a second is answered `UNAVAILABLE`, and then the connection is, by GOAWAY. (A GOAWAY
/// alone is not enough: clients try the call again elsewhere, without end, or report a code that
/// is not about this.) A TLS client gets the beginning of it too: that it is not TLS is what it
/// understands.
pub(super) async fn refuse<S>(io: &mut S, spoken: Spoken, notice: Notice)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    const PATIENCE: Duration = Duration::from_secs(1);
    let text = notice.text();
    match spoken {
        Spoken::Http2 => {
            let mut last_stream = 0;
            let answering = answer_calls(io, notice, &mut last_stream);
            // Whether it ended by itself or by the clock, the farewell is the same.
            let _ = tokio::time::timeout(PATIENCE, answering).await;
            let _ = io.write_all(&frames::go_away(last_stream, text)).await;
        }
        Spoken::Tls => {
            let _ = io.write_all(&frames::settings(notice)).await;
            let _ = io.write_all(&frames::go_away(0, text)).await;
        }
        Spoken::Http1 => {
            let answer = format!(
                "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\
                 connection: close\r\n\r\n{text}\n",
                text.len() + 1
            );
            let _ = io.write_all(answer.as_bytes()).await;
        }
        Spoken::Unknown => {}
    }
    linger(io).await;
}

/// As little HTTP/2 as it takes to answer calls: their headers are not even decoded.
async fn answer_calls<S>(io: &mut S, notice: Notice, last_stream: &mut u32) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    const MOST_FRAMES: usize = 1_000;
    const MOST_BYTES: usize = 1024 * 1024;
    io.write_all(&frames::settings(notice)).await?;
    let mut preface = [0; PREFACE.len()];
    io.read_exact(&mut preface).await?;
    if preface != PREFACE {
        return Ok(());
    }
    let mut bytes = 0;
    for _ in 0..MOST_FRAMES {
        let mut head = [0; 9];
        io.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        bytes += length;
        if bytes > MOST_BYTES {
            return Ok(());
        }
        let skipped = tokio::io::copy(&mut io.take(length as u64), &mut tokio::io::sink()).await?;
        if skipped < length as u64 {
            return Ok(());
        }
        match kind {
            frames::SETTINGS if flags & frames::ACK == 0 => {
                io.write_all(&frames::settings_ack()).await?;
            }
            frames::HEADERS => {
                *last_stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
                io.write_all(&frames::unavailable(*last_stream, notice.text())).await?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Hangs up so that the last words arrive: closing a socket with unread bytes in it resets the
/// connection, and the peer may lose what it has not read yet.
pub(super) async fn linger<S>(io: &mut S)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    const MOST_BYTES: usize = 64 * 1024;
    const MOST_TIME: Duration = Duration::from_secs(1);
    let drained = async {
        let _ = io.shutdown().await;
        let mut total = 0;
        let mut chunk = [0; 4096];
        while total < MOST_BYTES {
            match io.read(&mut chunk).await {
                Ok(0) | Err(_) => break,
                Ok(read) => total += read,
            }
        }
    };
    let _ = tokio::time::timeout(MOST_TIME, drained).await;
}

/// The few HTTP/2 frames that we write ourselves (RFC 9113 §6).
mod frames {
    use super::Notice;

    pub(super) const HEADERS: u8 = 1;
    pub(super) const SETTINGS: u8 = 4;
    pub(super) const ACK: u8 = 1;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("a short payload").to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], kind, flags];
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    pub(super) fn settings(notice: Notice) -> Vec<u8> {
        let mut payload = Vec::new();
        if notice == Notice::SpeaksTls {
            payload.extend(crate::transport::SPEAKS_TLS_SETTING.to_be_bytes());
            payload.extend(1_u32.to_be_bytes());
        }
        frame(SETTINGS, 0, 0, &payload)
    }

    pub(super) fn settings_ack() -> Vec<u8> {
        frame(SETTINGS, ACK, 0, &[])
    }

    pub(super) fn go_away(last_stream: u32, text: &str) -> Vec<u8> {
        const GOAWAY: u8 = 7;
        // NO_ERROR: other codes become statuses of their own in some clients.
        const CODE: u32 = 0;
        let mut payload = last_stream.to_be_bytes().to_vec();
        payload.extend(CODE.to_be_bytes());
        payload.extend(text.as_bytes());
        frame(GOAWAY, 0, 0, &payload)
    }

    /// A whole gRPC response in one HEADERS frame: `UNAVAILABLE`, and why.
    pub(super) fn unavailable(stream: u32, text: &str) -> Vec<u8> {
        const END_STREAM_AND_HEADERS: u8 = 1 | 4;
        // HPACK without tables and Huffman codes (RFC 7541 §6.2.2): `:status: 200` and
        // `content-type` are in the static table, at 8 and 31.
        let mut block = vec![0x88, 0x0f, 31 - 15];
        let string = |block: &mut Vec<u8>, text: &str| {
            // Longer ones would need a longer length.
            block.push(u8::try_from(text.len()).ok().filter(|n| *n < 127).expect("a short text"));
            block.extend(text.as_bytes());
        };
        string(&mut block, "application/grpc");
        for (name, value) in [("grpc-status", "14"), ("grpc-message", text)] {
            block.push(0);
            string(&mut block, name);
            string(&mut block, value);
        }
        frame(HEADERS, END_STREAM_AND_HEADERS, stream, &block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_what_is_spoken() {
        for (bytes, spoken) in [
            (&[0x16, 3, 1, 2][..], Spoken::Tls),
            (PREFACE, Spoken::Http2),
            (b"GET / HTTP/1.1", Spoken::Http1),
            (b"POST / HTTP/1.1", Spoken::Http1),
            (b"SSH-2.0", Spoken::Unknown),
            (b"", Spoken::Unknown),
            (&[0x16], Spoken::Unknown),
        ] {
            assert_eq!(Spoken::tell(bytes), spoken, "{bytes:?}");
        }
    }
}
