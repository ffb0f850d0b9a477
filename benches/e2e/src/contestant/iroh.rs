//! iroh as it ships, its endpoints bound to one address each: no relay, no discovery.

use std::net::SocketAddr;

use iroh::endpoint::{Connection, RecvStream, SendStream, presets};
use iroh::{Endpoint, EndpointAddr, RelayMode};
use serde::{Deserialize, Serialize};
use tokio::io::{Join, join};

use crate::contestant;
use crate::setup::{Result, Setup};

/// The application's protocol.
const ALPN: &[u8] = b"bench/1";

#[derive(Serialize, Deserialize)]
struct Ticket {
    id: String,
    address: SocketAddr,
}

async fn bind(setup: &Setup) -> Result<Endpoint> {
    let builder = Endpoint::builder(presets::Minimal)
        .relay_mode(RelayMode::Disabled)
        .clear_address_lookup()
        .clear_ip_transports()
        .bind_addr(SocketAddr::from((setup.address, 0)))?;
    Ok(builder.alpns(vec![ALPN.to_vec()]).bind().await?)
}

pub(crate) struct Server(Endpoint);

impl contestant::Server for Server {
    type Stream = Join<RecvStream, SendStream>;

    async fn listen(setup: &Setup) -> Result<(Self, String)> {
        let endpoint = bind(setup).await?;
        let ticket = Ticket {
            id: endpoint.id().to_string(),
            address: *endpoint.bound_sockets().first().ok_or("no socket")?,
        };
        Ok((Self(endpoint), serde_json::to_string(&ticket)?))
    }

    async fn serve<F>(self, take: F) -> Result<()>
    where
        F: Fn(Self::Stream) + Clone + Send + Sync + 'static,
    {
        while let Some(incoming) = self.0.accept().await {
            let take = take.clone();
            tokio::spawn(async move {
                let Ok(connection) = incoming.await else {
                    return;
                };
                while let Ok((send, receive)) = connection.accept_bi().await {
                    take(join(receive, send));
                }
            });
        }
        Ok(())
    }
}

pub(crate) struct Client {
    endpoint: Endpoint,
    server: EndpointAddr,
    connection: Option<Connection>,
}

impl contestant::Client for Client {
    type Stream = Join<RecvStream, SendStream>;

    async fn bind(setup: &Setup) -> Result<Self> {
        let ticket: Ticket = serde_json::from_str(&setup.ticket)?;
        Ok(Self {
            endpoint: bind(setup).await?,
            server: EndpointAddr::new(ticket.id.parse()?).with_ip_addr(ticket.address),
            connection: None,
        })
    }

    async fn connect(&mut self) -> Result<()> {
        let connecting = self.endpoint.connect(self.server.clone(), ALPN);
        self.connection = Some(connecting.await?);
        Ok(())
    }

    async fn open(&self) -> Result<Self::Stream> {
        let connection = self.connection.as_ref().ok_or("not connected")?;
        let (send, receive) = connection.open_bi().await?;
        Ok(join(receive, send))
    }

    async fn close(self) {
        self.endpoint.close().await;
    }
}
