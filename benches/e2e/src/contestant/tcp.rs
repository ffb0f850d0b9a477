//! Plain TCP: the kernel's reliability without encryption. A session is nothing, a stream is a connection.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};

use crate::contestant;
use crate::setup::{Result, Setup};

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

pub(crate) struct Server(TcpListener);

impl contestant::Server for Server {
    type Stream = TcpStream;

    async fn listen(setup: &Setup) -> Result<(Self, String)> {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind((setup.address, 0).into())?;
        let listener = socket.listen(BACKLOG)?;
        let ticket = listener.local_addr()?.to_string();
        Ok((Self(listener), ticket))
    }

    async fn serve<F: Fn(TcpStream) + Send>(self, take: F) -> Result<()> {
        loop {
            let (stream, _) = self.0.accept().await?;
            stream.set_nodelay(true)?;
            take(stream);
        }
    }
}

pub(crate) struct Client(SocketAddr);

impl contestant::Client for Client {
    type Stream = TcpStream;

    async fn bind(setup: &Setup) -> Result<Self> {
        Ok(Self(setup.ticket.parse()?))
    }

    async fn open(&self) -> Result<TcpStream> {
        let stream = TcpStream::connect(self.0).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}
