//! A client connection's bytes, watched until the server's first HTTP/2 frame.
//!
//! With TLS 1.3 a client has finished its handshake before the server has judged its
//! certificate: the verdict, an alert, is the first thing to be read. Writing may fail before
//! that, and a broken pipe would then hide the reason. So writing errors are held back until the
//! first read tells, and the connection counts as ready only after the server's first frame.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

/// What the server's first bytes were.
#[derive(Debug)]
pub(super) enum FirstBytes {
    /// SETTINGS, as RFC 9113 §3.4 demands.
    Settings,
    /// SETTINGS and at once GOAWAY, or GOAWAY alone.
    GoAway { code: u32, debug: String },
    /// A TLS record, or our own listener's word for it: plaintext was sent to a TLS port.
    Tls,
    /// HTTP/1.
    Http1,
    /// Something else.
    Unknown,
    /// The server closed without a word.
    Closed,
    /// Reading failed; for TLS the error is the verdict.
    Failed(io::Error),
}

/// Tells when the server's first bytes have come.
#[derive(Clone, Default)]
pub(super) struct FirstWord {
    inner: Arc<FirstWordInner>,
}

#[derive(Default)]
struct FirstWordInner {
    verdict: Mutex<Option<FirstBytes>>,
    told: Notify,
}

impl FirstWord {
    /// Waits for the first bytes. Once.
    pub(super) async fn wait(&self) -> FirstBytes {
        loop {
            let told = self.inner.told.notified();
            if let Some(first) = self.inner.verdict.lock().expect("never poisoned").take() {
                return first;
            }
            told.await;
        }
    }

    fn tell(&self, first: FirstBytes) {
        *self.inner.verdict.lock().expect("never poisoned") = Some(first);
        self.inner.told.notify_one();
    }
}

/// The watched connection.
pub(super) struct Gated<S> {
    io: S,
    word: FirstWord,
    state: State,
}

enum State {
    /// What was read so far, at most [`ENOUGH`] bytes.
    Waiting {
        seen: Vec<u8>,
        write_failed: bool,
    },
    Open,
    /// The first bytes were not what they should be; nothing more is read.
    Shut,
}

/// SETTINGS with every known parameter and a GOAWAY with a sentence in it.
const ENOUGH: usize = 1024;

impl<S> Gated<S> {
    pub(super) fn new(io: S) -> (Self, FirstWord) {
        let word = FirstWord::default();
        let state = State::Waiting { seen: Vec::new(), write_failed: false };
        (Self { io, word: word.clone(), state }, word)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gated<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let State::Waiting { seen, .. } = &mut this.state else {
            return match this.state {
                State::Shut => Poll::Ready(Ok(())),
                _ => Pin::new(&mut this.io).poll_read(cx, buf),
            };
        };
        let before = buf.filled().len();
        let outcome = ready!(Pin::new(&mut this.io).poll_read(cx, buf));
        let first = match outcome {
            Err(error) => FirstBytes::Failed(error),
            Ok(()) => {
                let new = &buf.filled()[before..];
                if new.is_empty() {
                    // A few bytes and then the end: whatever they were begins the story, but
                    // for half of SETTINGS.
                    match classify(seen, true) {
                        None | Some(FirstBytes::Settings) => FirstBytes::Closed,
                        Some(first) => first,
                    }
                } else {
                    let room = ENOUGH - seen.len();
                    seen.extend_from_slice(&new[..new.len().min(room)]);
                    match classify(seen, seen.len() == ENOUGH) {
                        Some(first) => first,
                        None => return Poll::Ready(Ok(())),
                    }
                }
            }
        };
        this.state = match first {
            FirstBytes::Settings => State::Open,
            // HTTP/2 is shown the end of the stream: the reason goes to whoever waits for it.
            _ => {
                buf.set_filled(before);
                State::Shut
            }
        };
        this.word.tell(first);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> Gated<S> {
    /// Until the first read tells, a failed write counts as done.
    fn hold_back<T>(&mut self, outcome: io::Result<T>, done: T) -> io::Result<T> {
        match (&mut self.state, outcome) {
            (State::Waiting { write_failed, .. }, Err(_)) => {
                *write_failed = true;
                Ok(done)
            }
            (_, outcome) => outcome,
        }
    }

    fn gave_up_writing(&self) -> bool {
        matches!(self.state, State::Waiting { write_failed: true, .. })
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gated<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.gave_up_writing() {
            return Poll::Ready(Ok(buf.len()));
        }
        let outcome = ready!(Pin::new(&mut this.io).poll_write(cx, buf));
        Poll::Ready(this.hold_back(outcome, buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.gave_up_writing() {
            return Poll::Ready(Ok(()));
        }
        let outcome = ready!(Pin::new(&mut this.io).poll_flush(cx));
        Poll::Ready(this.hold_back(outcome, ()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let all = bufs.iter().map(|buf| buf.len()).sum();
        if this.gave_up_writing() {
            return Poll::Ready(Ok(all));
        }
        let outcome = ready!(Pin::new(&mut this.io).poll_write_vectored(cx, bufs));
        Poll::Ready(this.hold_back(outcome, all))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

/// `None` when more bytes are needed to tell. `last` says that no more will come.
fn classify(seen: &[u8], last: bool) -> Option<FirstBytes> {
    const SETTINGS: u8 = 4;
    const GOAWAY: u8 = 7;
    if seen.is_empty() {
        return None;
    }
    // 0x15 alert or 0x16 handshake, then the record version's major byte.
    if matches!(seen, [0x15 | 0x16, 0x03, ..]) {
        return Some(FirstBytes::Tls);
    }
    if seen.starts_with(b"HTTP/") {
        return Some(FirstBytes::Http1);
    }
    let unknown_or_wait = || {
        let could_become = b"HTTP/".starts_with(seen) || matches!(seen, [0x15 | 0x16]);
        match (last, could_become || seen.len() < 9) {
            (false, true) => None,
            _ => Some(FirstBytes::Unknown),
        }
    };
    let Some(Frame { kind, payload, rest }) = frame(seen) else {
        return unknown_or_wait();
    };
    match kind {
        SETTINGS => match payload {
            Some(payload) if says_tls(payload) => Some(FirstBytes::Tls),
            // What follows came in the same packets or it did not: nothing is waited for.
            Some(_) => match frame(rest) {
                Some(Frame { kind: GOAWAY, payload: Some(payload), .. }) => Some(go_away(payload)),
                _ => Some(FirstBytes::Settings),
            },
            None if last => Some(FirstBytes::Settings),
            None => None,
        },
        GOAWAY => match payload {
            Some(payload) => Some(go_away(payload)),
            None if last => Some(FirstBytes::Unknown),
            None => None,
        },
        _ => Some(FirstBytes::Unknown),
    }
}

struct Frame<'a> {
    kind: u8,
    /// If all of it is there.
    payload: Option<&'a [u8]>,
    /// What follows.
    rest: &'a [u8],
}

/// `None` when not even the head is there.
fn frame(bytes: &[u8]) -> Option<Frame<'_>> {
    let (head, body) = bytes.split_at_checked(9)?;
    let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
    let (payload, rest) = match body.split_at_checked(length) {
        Some((payload, rest)) => (Some(payload), rest),
        None => (None, &[][..]),
    };
    Some(Frame { kind: head[3], payload, rest })
}

fn says_tls(settings: &[u8]) -> bool {
    let id = crate::transport::SPEAKS_TLS_SETTING.to_be_bytes();
    settings.chunks_exact(6).any(|setting| setting[..2] == id)
}

fn go_away(payload: &[u8]) -> FirstBytes {
    let code = payload
        .get(4..8)
        .map_or(0, |code| u32::from_be_bytes(code.try_into().expect("four bytes")));
    let debug: String = String::from_utf8_lossy(payload.get(8..).unwrap_or_default())
        .chars()
        .filter(|c| !c.is_control())
        .take(256)
        .collect();
    FirstBytes::GoAway { code, debug }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY_SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

    #[test]
    fn the_first_frame_decides() {
        let told = |bytes: &[u8]| format!("{:?}", classify(bytes, false));
        assert_eq!(told(EMPTY_SETTINGS), "Some(Settings)");
        assert_eq!(told(b"HTTP/1.1 400"), "Some(Http1)");
        assert_eq!(told(&[0x15, 3, 1, 0, 2, 2, 70]), "Some(Tls)");
        assert_eq!(told(&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0xf0, 0xc5, 0, 0, 0, 1]), "Some(Tls)");
        assert_eq!(told(&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 1]), "Some(Settings)");
        assert_eq!(told(b"220 mail.example ESMTP"), "Some(Unknown)");
        assert_eq!(told(&[0, 0, 0, 0, 0, 0, 0, 0, 0]), "Some(Unknown)");
    }

    #[test]
    fn half_a_frame_is_waited_for_until_the_end() {
        for length in 1..9 {
            assert!(classify(&EMPTY_SETTINGS[..length], false).is_none(), "{length}");
        }
        let long = [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3];
        assert!(classify(&long, false).is_none());
        assert!(matches!(classify(b"HTT", true), Some(FirstBytes::Unknown)));
    }

    #[test]
    fn a_farewell_is_read_with_its_reason() {
        let mut bytes = EMPTY_SETTINGS.to_vec();
        bytes.extend([0, 0, 11, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12]);
        bytes.extend(b"bye");
        match classify(&bytes, false) {
            Some(FirstBytes::GoAway { code: 12, debug }) => assert_eq!(debug, "bye"),
            other => panic!("{other:?}"),
        }
    }
}
