//! Reads ahead, and gives the bytes back.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::{Connected, TcpConnectInfo};

/// Room for a ClientHello with a post-quantum key share, so that one system call reads it.
const AT_ONCE: usize = 2048;

/// Type, version and length (RFC 8446 §5.1).
const RECORD_HEADER: usize = 5;

/// Whether a TLS record may begin so: its type and the first byte of its version. Anything else
/// is refused by these alone.
fn may_be_record(head: &[u8]) -> bool {
    matches!(*head, [20..=24, 3, ..])
}

/// How long the record is that begins so, its header included. The header alone where that is
/// more than any record has, TLS 1.2's room for compression included (RFC 5246 §6.2.3): whoever
/// reads it refuses the record by its header.
fn record_length(head: &[u8]) -> usize {
    const TOO_LONG: usize = (1 << 14) + 2048;
    match *head {
        [_, _, _, high, low, ..] => match usize::from(u16::from_be_bytes([high, low])) {
            length @ ..TOO_LONG => RECORD_HEADER + length,
            _ => RECORD_HEADER,
        },
        _ => RECORD_HEADER,
    }
}

/// An IO whose first bytes were read already and will be read again.
#[derive(Debug)]
pub(super) struct Rewind<S> {
    ahead: Vec<u8>,
    taken: usize,
    io: S,
}

impl<S: AsyncRead + Unpin> Rewind<S> {
    pub(super) fn new(io: S) -> Self {
        Self { ahead: Vec::new(), taken: 0, io }
    }

    /// Reads ahead until at least `least` bytes are there, or the end. What came with them is
    /// taken too, up to [`AT_ONCE`] with each read. Cancel-safe: what was read stays.
    pub(super) fn read_ahead(
        &mut self,
        least: usize,
    ) -> impl Future<Output = io::Result<()>> + Unpin {
        poll_fn(move |cx| self.poll_read_ahead(cx, least))
    }

    /// Reads ahead until the first TLS record is whole, or cannot become one, or the end is there.
    /// Two bytes are there already. Cancel-safe: what was read stays.
    ///
    /// rustls takes 8 KiB for the buffer of a record that comes in two pieces, besides its own
    /// state. Here a peer that sends half of its first one costs that half, and never more than a
    /// record, which is 18 KiB.
    pub(super) fn read_ahead_record(&mut self) -> impl Future<Output = io::Result<()>> + Unpin {
        poll_fn(move |cx| {
            if !may_be_record(&self.ahead) {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_read_ahead(cx, RECORD_HEADER))?;
            let whole = record_length(&self.ahead);
            self.poll_read_ahead(cx, whole)
        })
    }

    fn poll_read_ahead(&mut self, cx: &mut Context<'_>, least: usize) -> Poll<io::Result<()>> {
        while self.ahead.len() < least {
            // Not across polls: silent peers are to cost no more than they have to.
            let mut chunk = [MaybeUninit::uninit(); AT_ONCE];
            let mut chunk = ReadBuf::uninit(&mut chunk);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut chunk))?;
            if chunk.filled().is_empty() {
                break;
            }
            let (length, more) = (self.ahead.len(), chunk.filled());
            if self.ahead.capacity() - length < more.len() {
                // Twice as much, as always, but not more than is waited for.
                let room = (2 * length).min(least).max(length + more.len());
                self.ahead.reserve_exact(room - length);
            }
            self.ahead.extend_from_slice(more);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S> Rewind<S> {
    /// What was read ahead and nobody has read again.
    pub(super) fn ahead(&self) -> &[u8] {
        &self.ahead[self.taken..]
    }

    pub(super) fn get_ref(&self) -> &S {
        &self.io
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewind<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let left = this.ahead();
        if left.is_empty() {
            return Pin::new(&mut this.io).poll_read(cx, buf);
        }
        let now = left.len().min(buf.remaining());
        buf.put_slice(&left[..now]);
        this.taken += now;
        if this.taken == this.ahead.len() {
            this.ahead = Vec::new();
            this.taken = 0;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewind<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

impl<S: Connected<ConnectInfo = TcpConnectInfo>> Connected for Rewind<S> {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.io.connect_info()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::crypto::aws_lc_rs::default_provider;
    use rustls::server::ResolvesServerCertUsingSni;
    use rustls::{ServerConfig, ServerConnection};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn what_was_read_ahead_is_read_again() {
        let (mut far, near) = tokio::io::duplex(64);
        far.write_all(b"PRI * HTTP/2.0").await.expect("written");
        drop(far);
        let mut near = Rewind::new(near);
        near.read_ahead(3).await.expect("read");
        near.read_ahead(5).await.expect("read already");
        assert_eq!(near.ahead(), b"PRI * HTTP/2.0");
        let mut all = String::new();
        near.read_to_string(&mut all).await.expect("read");
        assert_eq!(all, "PRI * HTTP/2.0");
    }

    #[tokio::test]
    async fn what_comes_in_pieces_is_put_together() {
        let (mut far, near) = tokio::io::duplex(64);
        let mut near = Rewind::new(near);
        far.write_all(b"PR").await.expect("written");
        let (read, written) = tokio::join!(near.read_ahead(4), far.write_all(b"I * "));
        read.and(written).expect("read and written");
        assert_eq!(near.ahead(), b"PRI * ");
    }

    #[tokio::test]
    async fn no_more_is_taken_than_fits() {
        let (mut far, near) = tokio::io::duplex(2 * AT_ONCE);
        far.write_all(&[7; AT_ONCE + 1]).await.expect("written");
        drop(far);
        let mut near = Rewind::new(near);
        near.read_ahead(1).await.expect("read");
        assert_eq!(near.ahead().len(), AT_ONCE);
        let mut all = Vec::new();
        near.read_to_end(&mut all).await.expect("read");
        assert_eq!(all, [7; AT_ONCE + 1]);
    }

    fn is_whole(near: &mut Rewind<tokio::io::DuplexStream>) -> bool {
        let reading = std::pin::pin!(near.read_ahead_record());
        reading.poll(&mut Context::from_waker(std::task::Waker::noop())).is_ready()
    }

    #[tokio::test]
    async fn a_record_is_read_whole_and_no_longer_waited_for() {
        let (mut far, near) = tokio::io::duplex(64);
        let mut near = Rewind::new(near);
        far.write_all(&[22, 3, 1, 0, 4, 1, 2]).await.expect("written");
        near.read_ahead(4).await.expect("the head");
        assert!(!is_whole(&mut near), "two bytes are missing");
        let (read, written) = tokio::join!(near.read_ahead_record(), far.write_all(&[3, 4]));
        read.and(written).expect("read and written");
        assert_eq!(near.ahead(), [22, 3, 1, 0, 4, 1, 2, 3, 4]);
        near.read_ahead_record().await.expect("it is whole");
    }

    #[tokio::test]
    async fn half_a_record_takes_its_own_length() {
        let (mut far, near) = tokio::io::duplex(4096);
        let mut near = Rewind::new(near);
        let mut half = vec![22, 3, 1, 5, 0xdc];
        half.resize(700, 7);
        far.write_all(&half).await.expect("written");
        near.read_ahead(2).await.expect("the head");
        assert!(!is_whole(&mut near));
        assert_eq!((near.ahead().len(), near.ahead.capacity()), (700, 700));
    }

    #[tokio::test]
    async fn a_record_that_comes_in_drops_takes_no_more_than_its_length() {
        let (mut far, near) = tokio::io::duplex(1024);
        let mut near = Rewind::new(near);
        let whole = RECORD_HEADER + (1 << 14);
        let mut record = vec![22, 3, 1, 0x40, 0];
        record.resize(whole, 7);
        for drop in record[..whole - 1].chunks(1000) {
            far.write_all(drop).await.expect("written");
            near.read_ahead(2).await.expect("the head");
            assert!(!is_whole(&mut near));
            assert!(near.ahead.capacity() <= whole, "{} bytes", near.ahead.capacity());
        }
        far.write_all(&record[whole - 1..]).await.expect("written");
        assert!(is_whole(&mut near));
        assert_eq!(near.ahead(), record);
    }

    /// As rustls, which refuses each of them, and waits for more of the twins.
    #[tokio::test]
    async fn what_cannot_become_a_record_is_not_waited_for() {
        let waits_for = |head: &'static [u8]| async move {
            let (mut far, near) = tokio::io::duplex(64);
            let mut near = Rewind::new(near);
            far.write_all(head).await.expect("written");
            near.read_ahead(2).await.expect("the head");
            let waits = !is_whole(&mut near);
            assert_eq!(near.ahead(), head);
            let config = Arc::new(
                ServerConfig::builder_with_provider(Arc::new(default_provider()))
                    .with_safe_default_protocol_versions()
                    .expect("versions")
                    .with_no_client_auth()
                    .with_cert_resolver(Arc::new(ResolvesServerCertUsingSni::new())),
            );
            let mut rustls = ServerConnection::new(config).expect("a server");
            rustls.read_tls(&mut &*head).expect("read");
            assert_eq!(rustls.process_new_packets().is_ok(), waits, "{head:?}");
            waits
        };
        // No type, no version, and more than a record holds.
        for head in [&[0, 0, 0, 1][..], &[0x80, 0x2e, 1, 0], &[22, 2, 0, 0], &[22, 3, 1, 0x48, 0]] {
            assert!(!waits_for(head).await, "{head:?}");
        }
        for head in [
            &[22, 3, 1, 0][..],
            &[22, 3, 1, 0x40, 0],
            &[22, 3, 1, 0x40, 1],
            &[22, 3, 1, 0x47, 0xff],
            &[24, 3, 3, 0x40, 0],
        ] {
            assert!(waits_for(head).await, "{head:?}");
        }
    }

    #[tokio::test]
    async fn a_record_may_end_early() {
        let (mut far, near) = tokio::io::duplex(64);
        far.write_all(&[22, 3, 1, 0]).await.expect("written");
        drop(far);
        let mut near = Rewind::new(near);
        near.read_ahead(4).await.expect("the head");
        near.read_ahead_record().await.expect("the end");
        assert_eq!(near.ahead(), [22, 3, 1, 0]);
    }

    #[tokio::test]
    async fn the_end_ends_reading_ahead() {
        let (far, near) = tokio::io::duplex(64);
        drop(far);
        let mut near = Rewind::new(near);
        near.read_ahead(3).await.expect("the end");
        assert_eq!(near.ahead(), b"");
    }
}
