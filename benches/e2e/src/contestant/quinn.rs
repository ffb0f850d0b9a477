//! quinn as it ships: its default transport settings, rustls with ring, a self-signed certificate that the client pins.

use std::net::SocketAddr;
use std::sync::Arc;

use quinn::congestion::BbrConfig;
use quinn::{ClientConfig, Connection, Endpoint, RecvStream, SendStream, TransportConfig};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use tokio::io::{Join, join};

use crate::contestant;
use crate::setup::{Name, Result, Setup};

/// The name in the certificate.
const HOST: &str = "bench";

#[derive(Serialize, Deserialize)]
struct Ticket {
    address: SocketAddr,
    certificate: Vec<u8>,
}

fn transport(setup: &Setup) -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    if setup.name == Name::QuinnBbr {
        transport.congestion_controller_factory(Arc::new(BbrConfig::default()));
    }
    Arc::new(transport)
}

pub(crate) struct Server(Endpoint);

impl contestant::Server for Server {
    type Stream = Join<RecvStream, SendStream>;

    async fn listen(setup: &Setup) -> Result<(Self, String)> {
        let made = rcgen::generate_simple_self_signed(vec![HOST.into()])?;
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let certificate = made.cert.der().clone();
        let mut config =
            quinn::ServerConfig::with_single_cert(vec![certificate.clone()], key.into())?;
        config.transport_config(transport(setup));
        let endpoint = Endpoint::server(config, (setup.address, 0).into())?;
        let ticket = Ticket {
            address: endpoint.local_addr()?,
            certificate: certificate.to_vec(),
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
    server: SocketAddr,
    connection: Option<Connection>,
}

impl contestant::Client for Client {
    type Stream = Join<RecvStream, SendStream>;

    async fn bind(setup: &Setup) -> Result<Self> {
        let ticket: Ticket = serde_json::from_str(&setup.ticket)?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(ticket.certificate))?;
        // A configuration of its own for each end: it keeps no session to resume.
        let mut config = ClientConfig::with_root_certificates(Arc::new(roots))?;
        config.transport_config(transport(setup));
        let mut endpoint = Endpoint::client((setup.address, 0).into())?;
        endpoint.set_default_client_config(config);
        Ok(Self {
            endpoint,
            server: ticket.address,
            connection: None,
        })
    }

    async fn connect(&mut self) -> Result<()> {
        self.connection = Some(self.endpoint.connect(self.server, HOST)?.await?);
        Ok(())
    }

    async fn open(&self) -> Result<Self::Stream> {
        let connection = self.connection.as_ref().ok_or("not connected")?;
        let (send, receive) = connection.open_bi().await?;
        Ok(join(receive, send))
    }

    async fn close(self) {
        self.endpoint.close(0_u32.into(), b"");
        self.endpoint.wait_idle().await;
    }
}
