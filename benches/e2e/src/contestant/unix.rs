//! A Unix socket between the two processes: what the local hop to a daemon costs by itself.

use std::path::PathBuf;

use tokio::net::{UnixListener, UnixStream};

use crate::contestant;
use crate::setup::{Result, Setup};

pub(crate) struct Server(UnixListener);

impl contestant::Server for Server {
    type Stream = UnixStream;

    async fn listen(setup: &Setup) -> Result<(Self, String)> {
        std::fs::create_dir_all(&setup.home)?;
        let path = setup.home.join("bench.sock");
        let listener = UnixListener::bind(&path)?;
        Ok((Self(listener), path.display().to_string()))
    }

    async fn serve<F: Fn(UnixStream) + Send>(self, take: F) -> Result<()> {
        loop {
            take(self.0.accept().await?.0);
        }
    }
}

pub(crate) struct Client(PathBuf);

impl contestant::Client for Client {
    type Stream = UnixStream;

    async fn bind(setup: &Setup) -> Result<Self> {
        Ok(Self(setup.ticket.clone().into()))
    }

    async fn open(&self) -> Result<UnixStream> {
        Ok(UnixStream::connect(&self.0).await?)
    }
}
