//! Connections: by the daemon, and TLS over them.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Instant;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use url::{Host, Url};

/// A connection in both directions.
pub trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

/// What connects.
pub struct Client {
    tls: Arc<ClientConfig>,
    dial: Dial,
}

/// Makes a connection to a host and a port, until a deadline.
pub type Dial = Box<dyn Fn(&str, u16, Instant) -> io::Result<Box<dyn Stream>>>;

impl Client {
    /// By the daemon's broker, with the certificate authorities that browsers know.
    ///
    /// # Errors
    /// If this build has no TLS that it can speak.
    pub fn new() -> Result<Self, rustls::Error> {
        Self::with(Box::new(|host, port, deadline| {
            let mut connection = pilot_app::connect(host, port)?;
            connection.set_deadline(Some(deadline));
            Ok(Box::new(connection))
        }))
    }

    /// By other means: for tests.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with(dial: Dial) -> Result<Self, rustls::Error> {
        let roots = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let tls = Arc::new(tls);
        Ok(Self { tls, dial })
    }

    /// Connects to where a URL is; with `https` its server has shown that it is who it says.
    ///
    /// # Errors
    /// What the broker, the network or TLS says.
    pub fn open(&self, url: &Url, deadline: Instant) -> io::Result<Box<dyn Stream>> {
        let no_host = || io::Error::new(io::ErrorKind::InvalidInput, "the URL has no host");
        let host = match url.host().ok_or_else(no_host)? {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        let port = url.port_or_known_default().ok_or_else(no_host)?;
        let mut plain = (self.dial)(&host, port, deadline)?;
        if url.scheme() != "https" {
            return Ok(plain);
        }
        let name = ServerName::try_from(host).map_err(io::Error::other)?;
        let mut session =
            ClientConnection::new(Arc::clone(&self.tls), name).map_err(io::Error::other)?;
        while session.is_handshaking() {
            session.complete_io(&mut plain)?;
        }
        Ok(Box::new(StreamOwned::new(session, plain)))
    }
}
