//! What a peer that came to the wrong port is told, in the protocol that it speaks.

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

/// Says `text` in HTTP/2 or HTTP/1, and hangs up. To anybody else it says nothing.
///
/// A TLS client gets the HTTP/2 answer too: that it is not TLS is what the client understands.
pub(super) async fn refuse<S>(io: &mut S, spoken: Spoken, text: &str)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let bytes = match spoken {
        Spoken::Http2 | Spoken::Tls => go_away(text),
        Spoken::Http1 => format!(
            "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n{text}\n",
            text.len() + 1
        )
        .into_bytes(),
        Spoken::Unknown => Vec::new(),
    };
    // The peer may be gone, which is as good as told.
    let _ = io.write_all(&bytes).await;
    linger(io).await;
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

/// An empty SETTINGS frame, which has to come first, and a GOAWAY with a reason in it.
fn go_away(text: &str) -> Vec<u8> {
    const INADEQUATE_SECURITY: u32 = 0xc;
    let length = u32::try_from(8 + text.len()).expect("a short sentence").to_be_bytes();
    let mut bytes = vec![0, 0, 0, 4, 0, 0, 0, 0, 0];
    bytes.extend([length[1], length[2], length[3], 7, 0, 0, 0, 0, 0]);
    // The last stream that was looked at: none, so all of them may be tried elsewhere.
    bytes.extend(0_u32.to_be_bytes());
    bytes.extend(INADEQUATE_SECURITY.to_be_bytes());
    bytes.extend(text.as_bytes());
    bytes
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
