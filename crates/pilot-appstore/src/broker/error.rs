//! Why an app has no connection.

use std::io;
use std::net::IpAddr;

use thiserror::Error;

/// Why an app has no connection. The words go to the app, and into the audit log.
#[derive(Debug, Error)]
pub(super) enum ConnectError {
    /// It says nothing that is understood.
    #[error("no request: {0}")]
    Malformed(String),
    /// No name, address or port.
    #[error("{0:?} is neither a host's name nor an address")]
    Host(String),
    /// It was not granted.
    #[error("{app} was not granted {grant}")]
    NotGranted { app: String, grant: String },
    /// It was not granted, but its owner may do so.
    #[error(
        "{app} was not granted {grant}: its owner may say `pilotctl appstore install {app} --grant {grant}`"
    )]
    NotChosen { app: String, grant: String },
    /// A name leads into the machine or its network.
    #[error(
        "{host} is {address}, which is of this machine or its network: that takes the grant net:{address}:{port} beside the name's"
    )]
    Inside {
        host: String,
        address: IpAddr,
        port: u16,
    },
    /// Nobody knows the name.
    #[error("{host} is not found: {source}")]
    NotFound { host: String, source: io::Error },
    /// The connection failed.
    #[error("no connection to {target}: {source}")]
    Failed { target: String, source: io::Error },
    /// An agent was not reached, in the words of the network.
    #[error("no stream to {target}: {words}")]
    NoStream { target: String, words: String },
    /// It took too long.
    #[error("{target} did not answer within {seconds} s")]
    Timeout { target: String, seconds: u64 },
    /// It has all that it may have.
    #[error("it has {0} connections already, and may have no more at a time")]
    TooMany(usize),
}

impl ConnectError {
    /// One word for it.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Malformed(_) | Self::Host(_) => "invalid",
            Self::NotGranted { .. } | Self::NotChosen { .. } => "not_granted",
            Self::Inside { .. } => "inside",
            Self::NotFound { .. } => "not_found",
            Self::Failed { .. } | Self::NoStream { .. } => "unreachable",
            Self::Timeout { .. } => "timeout",
            Self::TooMany(_) => "too_many",
        }
    }
}
