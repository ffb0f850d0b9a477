//! What a rendezvous is told once.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use pilot_types::UnixTime;
use serde::{Deserialize, Serialize};

use crate::embedded::EmbeddedHome;

/// Settings of a rendezvous.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Directory of key and registry; of an embedded one, the directory that daemons look into.
    pub home: PathBuf,
    /// Where it listens for UDP.
    pub listen: SocketAddr,
    /// `host:port` for the URL, where agents reach it by another address than it listens on.
    pub advertise: Option<String>,
    /// Where it serves status page, health and metrics over HTTP.
    pub http: Option<SocketAddr>,
    /// Whether it is the one that daemons of this machine share: lock, `rendezvous.json`, and an end when nobody needs it.
    pub embedded: bool,
    /// Zero bits of work of its network, for networks of one's own; the default network's otherwise.
    pub work_bits: Option<u8>,
    /// Whether it is a relay alone, without a registry.
    pub relay_only: bool,
}

impl Config {
    /// Port of a rendezvous.
    pub const PORT: u16 = 9000;
    /// Port of its HTTP.
    pub const HTTP_PORT: u16 = 9080;

    /// For everybody who reaches this machine: UDP on 0.0.0.0:9000, HTTP on 127.0.0.1:9080.
    #[must_use]
    pub fn new(home: PathBuf) -> Self {
        Self {
            home,
            listen: (Ipv4Addr::UNSPECIFIED, Self::PORT).into(),
            advertise: None,
            http: Some((Ipv4Addr::LOCALHOST, Self::HTTP_PORT).into()),
            embedded: false,
            work_bits: None,
            relay_only: false,
        }
    }

    /// For the daemons of this machine: 127.0.0.1:9000, or another port if that is taken, and no HTTP.
    #[must_use]
    pub fn embedded(home: &EmbeddedHome) -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, Self::PORT).into(),
            http: None,
            embedded: true,
            ..Self::new(home.dir().to_owned())
        }
    }
}

/// What a rendezvous says once it serves: the `data` of the ready line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// `pilot://KEY@HOST:PORT`.
    pub url: String,
    /// Its signing key in hex.
    pub public_key: String,
    /// The UDP socket's address.
    pub listen: SocketAddr,
    /// The HTTP socket's address.
    pub http: Option<SocketAddr>,
}

/// Now, by the system's clock.
pub(crate) fn now() -> UnixTime {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    // A clock before 1970 is wrong; so is 1970, and nothing depends on it here.
    UnixTime::from_secs(since.map_or(0, |since| since.as_secs()))
}
