//! The bytes between tokio-postgres and a server, where its own way of handing them over does not fit a dump.
//!
//! - A dump is written in the encoding of its database, tokio-postgres takes SQL as UTF-8 alone. So SQL of any bytes is
//!   handed to it with one character for each byte, [`as_text`], and here each of those characters becomes its byte
//!   again.
//! - A COPY that the server refuses is ended by tokio-postgres in a way that costs the session; that is left out.
//! - tokio-postgres holds each message of the server whole. A row of COPY may have a gigabyte, so a long message of rows
//!   is handed on as several short ones.

mod incoming;
mod outgoing;
mod transport;

pub(super) use transport::{Encryption, Transport, TransportError, broke_off, open};

use incoming::FramesIn;
use outgoing::FramesOut;
use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

/// How SQL is written that is handed to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SqlText {
    /// As UTF-8.
    Utf8,
    /// One character for each byte, as [`as_text`] writes it.
    Bytes,
}

/// SQL of any bytes as text, one character for each byte.
pub(super) fn as_text(sql: &[u8]) -> String {
    sql.iter().map(|byte| char::from(*byte)).collect()
}

/// A stream of messages to a server and back.
pub(super) struct Wire {
    transport: Box<dyn Transport>,
    incoming: FramesIn,
    /// None where SQL is sent as it is.
    outgoing: Option<FramesOut>,
}

impl Wire {
    /// A stream on which nothing was sent yet.
    pub(super) fn new(transport: Box<dyn Transport>, text: SqlText) -> Self {
        let outgoing = (text == SqlText::Bytes).then(FramesOut::default);
        Self { transport, incoming: FramesIn::default(), outgoing }
    }

    /// Writes what waits, so that at most `left` bytes still do.
    fn drain(&mut self, context: &mut Context<'_>, left: usize) -> Poll<io::Result<()>> {
        let Some(outgoing) = &mut self.outgoing else { return Poll::Ready(Ok(())) };
        while outgoing.waiting().len() > left {
            let written = ready!(Pin::new(&mut self.transport).poll_write(context, outgoing.waiting()))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            outgoing.written(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while !this.incoming.hand_on(into)? {
            let mut buffer = this.incoming.space();
            let before = buffer.filled().len();
            ready!(Pin::new(&mut this.transport).poll_read(context, &mut buffer))?;
            let count = buffer.filled().len() - before;
            if count == 0 {
                return Poll::Ready(Ok(()));
            }
            this.incoming.filled(count);
        }
        Poll::Ready(Ok(()))
    }
}

/// Bytes that may wait to be written.
const WAITING: usize = 64 << 10;

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.outgoing.is_none() {
            return Pin::new(&mut this.transport).poll_write(context, bytes);
        }
        ready!(this.drain(context, WAITING))?;
        if let Some(outgoing) = &mut this.outgoing {
            outgoing.take(bytes, this.incoming.takes_rows())?;
        }
        match this.drain(context, 0) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            // what waits is written with the next bytes, or when they are flushed
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(bytes.len())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.drain(context, 0))?;
        Pin::new(&mut this.transport).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.drain(context, 0))?;
        Pin::new(&mut this.transport).poll_shutdown(context)
    }
}

impl TlsStream for Wire {
    fn channel_binding(&self) -> ChannelBinding {
        self.transport.channel_binding()
    }
}

/// The handshake of a stream that is encrypted already.
pub(super) struct Encrypted;

impl TlsConnect<Wire> for Encrypted {
    type Stream = Wire;
    type Error = io::Error;
    type Future = Ready<io::Result<Wire>>;

    fn connect(self, stream: Wire) -> Self::Future {
        ready(Ok(stream))
    }
}

#[cfg(test)]
mod tests;
