//! Two programs that talk by their pilot daemons: program, Unix socket, daemon, UDP, daemon, Unix socket, program.

use std::time::Duration;

use pilot::Port;
use pilot_api::types::{AcceptRequest, DialRequest, PathKind, PingRequest};
use pilot_api::{ApiStream, Client as Api};

use crate::contestant::{self, Duplex};
use crate::setup::{Result, Setup};

impl Duplex for ApiStream {}

/// Until two agents talk directly.
const PATIENCE: Duration = Duration::from_secs(20);
/// The serving agent's name.
pub(crate) const HOSTNAME: &str = "server";

pub(crate) struct Server(Api);

impl contestant::Server for Server {
    type Stream = ApiStream;

    async fn listen(setup: &Setup) -> Result<(Self, String)> {
        let api = Api::new(setup.home.join("pilot.sock")).with_timeout(None);
        Ok((Self(api), String::new()))
    }

    async fn serve<F: Fn(ApiStream) + Send>(self, take: F) -> Result<()> {
        loop {
            let request = AcceptRequest {
                port: Port::STDIO,
                timeout_ms: Some(0),
            };
            take(self.0.accept(&request).await?.1);
        }
    }
}

pub(crate) struct Client(Api);

impl contestant::Client for Client {
    type Stream = ApiStream;

    async fn bind(setup: &Setup) -> Result<Self> {
        Ok(Self(Api::new(setup.home.join("pilot.sock"))))
    }

    async fn settle(&mut self) -> Result<()> {
        tokio::time::timeout(PATIENCE, self.settled()).await?
    }

    async fn open(&self) -> Result<ApiStream> {
        let request = DialRequest {
            peer: HOSTNAME.parse()?,
            port: Port::STDIO,
            timeout_ms: None,
            traceparent: None,
        };
        Ok(self.0.dial(&request).await?.1)
    }
}

impl Client {
    async fn settled(&self) -> Result<()> {
        let ping = PingRequest {
            peer: HOSTNAME.parse()?,
            timeout_ms: None,
        };
        while self.0.call(&ping).await?.path != PathKind::Direct {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}
