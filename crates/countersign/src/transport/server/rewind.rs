//! Reads ahead, and gives the bytes back.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tonic::transport::server::{Connected, TcpConnectInfo};

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

    /// Reads ahead until at least `least` bytes are there, or the end; and no more than needed.
    /// Cancel-safe: what was read stays.
    pub(super) async fn peek(&mut self, least: usize) -> io::Result<&[u8]> {
        while self.ahead.len() < least {
            let want = least - self.ahead.len();
            let mut chunk = [0; 64];
            let limit = want.min(chunk.len());
            let read = self.io.read(&mut chunk[..limit]).await?;
            if read == 0 {
                break;
            }
            self.ahead.extend_from_slice(&chunk[..read]);
        }
        Ok(&self.ahead)
    }
}

impl<S> Rewind<S> {
    /// Whether bytes were read ahead that nobody has read again.
    pub(super) fn has_read_ahead(&self) -> bool {
        self.taken < self.ahead.len()
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
        let left = &this.ahead[this.taken..];
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
    use super::*;
    use tokio::io::AsyncWriteExt;

    #[tokio::test]
    async fn what_was_peeked_is_read_again() {
        let (mut far, near) = tokio::io::duplex(64);
        far.write_all(b"PRI * HTTP/2.0").await.expect("written");
        drop(far);
        let mut near = Rewind::new(near);
        assert_eq!(near.peek(3).await.expect("peeked"), b"PRI");
        assert_eq!(near.peek(5).await.expect("peeked"), b"PRI *");
        let mut all = String::new();
        near.read_to_string(&mut all).await.expect("read");
        assert_eq!(all, "PRI * HTTP/2.0");
    }

    #[tokio::test]
    async fn the_end_ends_peeking() {
        let (far, near) = tokio::io::duplex(64);
        drop(far);
        assert_eq!(Rewind::new(near).peek(3).await.expect("the end"), b"");
    }
}
