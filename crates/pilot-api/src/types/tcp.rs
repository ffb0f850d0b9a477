//! TCP programs through the overlay: requests that last as long as their connection.

use std::path::PathBuf;

use pilot_types::Port;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::ApiError;
use crate::peer_ref::PeerRef;

/// `POST /v1/tcp/forward`: a TCP port of this machine that leads to a port of an agent.
///
/// The connection is upgraded: from then on it brings a `TcpFault` in JSON a line. The port is there until the caller ends its
/// direction.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForwardRequest {
    /// Where to listen, as `127.0.0.1:8080`; port 0 is any that is free.
    pub listen: String,
    /// The agent.
    pub peer: PeerRef,
    /// Its port.
    pub port: Port,
}

/// `POST /v1/tcp/expose`: a port of this agent that leads to a TCP port.
///
/// The connection is upgraded: from then on it brings a `TcpFault` in JSON a line. The port is there until the caller ends its
/// direction.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExposeRequest {
    /// Where to, as `localhost:3000`.
    pub target: String,
    /// The port of this agent.
    pub port: Port,
}

/// `POST /v1/tcp/serve`: files of a directory over HTTP on a port of this agent.
///
/// The connection is upgraded: from then on it brings a `TcpFault` in JSON a line. The port is there until the caller ends its
/// direction.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServeRequest {
    /// The directory, by its absolute path.
    pub directory: PathBuf,
    /// The port of this agent.
    pub port: Port,
}

/// `POST /v1/tcp/proxy`: a SOCKS5 and HTTP proxy of this machine that leads to agents by their names, `NAME.pilot`.
///
/// The connection is upgraded: from then on it brings a `TcpFault` in JSON a line. The port is there until the caller ends its
/// direction.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyRequest {
    /// Where to listen, as `127.0.0.1:1080`; port 0 is any that is free.
    pub listen: String,
}

/// A port that is open now.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct TcpOpened {
    /// Where connections are taken: a TCP address of this machine, or a port of this agent.
    pub listen: String,
    /// Where they lead.
    pub target: String,
}

/// A connection that failed.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct TcpFault {
    /// Whose: a TCP address, or an agent.
    pub from: String,
    /// Where it was to go; `?` if it did not say.
    pub target: String,
    /// Why.
    #[serde(flatten)]
    pub error: ApiError,
    /// Connections that came to the port until now.
    pub connections: u64,
    /// Those that failed. Lines may be missing where many fail at a time, this counts all.
    pub failed: u64,
}
