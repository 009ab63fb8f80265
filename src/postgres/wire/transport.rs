//! The bare way to a server: a socket, encrypted or not.

use crate::config::Source;
use crate::postgres::tls::{self, TlsFileError};
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Bytes to a server and back.
pub(in crate::postgres) trait Transport: TlsStream + Send + Unpin {
    /// True when nobody on the way can read them.
    fn is_encrypted(&self) -> bool;
}

/// Why there is no way to the server.
#[derive(Debug)]
pub(in crate::postgres) enum TransportError {
    /// Nothing answers there, or it hangs up.
    Unreachable(io::Error),
    /// It answers, and is not trusted or does not encrypt.
    Tls(String),
    /// A file that encryption needs cannot be used.
    File(TlsFileError),
}

impl From<TlsFileError> for TransportError {
    fn from(error: TlsFileError) -> Self {
        Self::File(error)
    }
}

impl From<io::Error> for TransportError {
    fn from(error: io::Error) -> Self {
        Self::Unreachable(error)
    }
}

/// Whether a way is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::postgres) enum Encryption {
    Never,
    /// Where the server offers it.
    Offered,
    Always,
}

/// Idle time after which the kernel asks whether the other side still lives, and time between two questions.
const KEEPALIVE: [Duration; 2] = [Duration::from_secs(30), Duration::from_secs(10)];

/// Opens a way to the server, on which no message was sent yet.
pub(in crate::postgres) async fn open(
    source: &Source,
    encryption: Encryption,
) -> Result<Box<dyn Transport>, TransportError> {
    if source.host.starts_with('/') {
        let socket = Path::new(&source.host).join(format!(".s.PGSQL.{}", source.port));
        return Ok(Box::new(Plain(UnixStream::connect(socket).await?)));
    }
    let mut socket = TcpStream::connect((source.host.as_str(), source.port)).await?;
    socket.set_nodelay(true)?;
    let [idle, interval] = KEEPALIVE;
    SockRef::from(&socket).set_tcp_keepalive(&TcpKeepalive::new().with_time(idle).with_interval(interval))?;
    if encryption == Encryption::Never {
        return Ok(Box::new(Plain(socket)));
    }
    if !is_offered(&mut socket).await? {
        return match encryption {
            Encryption::Always => Err(TransportError::Tls("server does not support TLS".to_owned())),
            Encryption::Never | Encryption::Offered => Ok(Box::new(Plain(socket))),
        };
    }
    let mut rustls = MakeRustlsConnect::new(tls::client_config(&source.tls)?);
    let Ok(connector) = MakeTlsConnect::<TcpStream>::make_tls_connect(&mut rustls, &source.host);
    match connector.connect(socket).await {
        Ok(stream) => Ok(Box::new(Encrypted(stream))),
        Err(error) if broke_off(&error) => Err(error.into()),
        Err(error) => Err(TransportError::Tls(format!("error performing TLS handshake: {error}"))),
    }
}

/// Asks the server whether it encrypts.
async fn is_offered(socket: &mut TcpStream) -> io::Result<bool> {
    // its length, and the number that stands for it in the place of a version
    let request = [8_u32.to_be_bytes(), 80_877_103_u32.to_be_bytes()].concat();
    socket.write_all(&request).await?;
    let mut answer = [0];
    socket.read_exact(&mut answer).await?;
    Ok(answer == *b"S")
}

/// True when the network broke, be it in the middle of a handshake.
pub(in crate::postgres) fn broke_off(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, TimedOut, UnexpectedEof};
    [BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, TimedOut, UnexpectedEof].contains(&error.kind())
}

/// What others on the way can read.
struct Plain<S>(S);

/// What only the server can read.
struct Encrypted<S>(S);

impl<S: Socket> TlsStream for Plain<S> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: Socket> Transport for Plain<S> {
    fn is_encrypted(&self) -> bool {
        false
    }
}

impl<S: Socket + TlsStream> TlsStream for Encrypted<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.0.channel_binding()
    }
}

impl<S: Socket + TlsStream> Transport for Encrypted<S> {
    fn is_encrypted(&self) -> bool {
        true
    }
}

/// What a way is made of.
trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Socket for S {}

/// Reads and writes what is inside.
macro_rules! stream {
    ($($way:ident),*) => {
        $(impl<S: Socket> AsyncRead for $way<S> {
            fn poll_read(
                mut self: Pin<&mut Self>,
                context: &mut Context<'_>,
                into: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                Pin::new(&mut self.0).poll_read(context, into)
            }
        }

        impl<S: Socket> AsyncWrite for $way<S> {
            fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
                Pin::new(&mut self.0).poll_write(context, bytes)
            }

            fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
                Pin::new(&mut self.0).poll_flush(context)
            }

            fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
                Pin::new(&mut self.0).poll_shutdown(context)
            }
        })*
    };
}

stream!(Plain, Encrypted);
