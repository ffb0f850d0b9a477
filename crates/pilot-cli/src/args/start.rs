//! Options of the programs that stay.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use pilot_store::RelayFor;
use pilot_types::{Hostname, Tag};
use pilot_wire::Capability;

use super::group::GroupName;

/// `daemon start`.
#[derive(Args, Debug, Clone, Default)]
pub(crate) struct StartArgs {
    /// The name to claim
    #[arg(long, value_name = "NAME")]
    pub(crate) hostname: Option<Hostname>,
    /// A rendezvous, pilot://KEY@host:port or host:port; may be repeated [default: the embedded one]
    #[arg(long, value_name = "URL")]
    pub(crate) rendezvous: Vec<String>,
    /// A relay beside the rendezvous, pilot://KEY@host:port or host:port; may be repeated
    #[arg(long, value_name = "URL")]
    pub(crate) relay: Vec<String>,
    /// The UDP address to bind [default: any, an ephemeral port]
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,
    /// Serve health and metrics over HTTP there [default: nowhere]
    #[arg(long, value_name = "ADDR")]
    pub(crate) metrics: Option<SocketAddr>,
    /// Show this agent to everybody
    #[arg(long)]
    pub(crate) public: bool,
    /// Approve every request for trust
    #[arg(long)]
    pub(crate) auto_approve: bool,
    /// Pass sealed packets on for agents that this one trusts [default: nobody]
    #[arg(long, value_name = "nobody|trusted")]
    pub(crate) relay_for: Option<RelayFor>,
    /// The words that this agent is found by
    #[arg(long, value_name = "TAG,…", value_delimiter = ',')]
    pub(crate) tags: Vec<Tag>,
    /// What this agent can do; may be repeated
    #[arg(long = "capability", value_name = "NAME@VERSION")]
    pub(crate) capabilities: Vec<Capability>,
    /// Join this group, unless the agent is in it
    #[arg(long, value_name = "NAME")]
    pub(crate) group: Option<GroupName>,
    /// The token to join it with [default: $PILOT_GROUP_TOKEN]
    #[arg(long, value_name = "T", requires = "group")]
    pub(crate) token: Option<String>,
    /// Stay in the foreground; print one line once registered
    #[arg(long)]
    pub(crate) foreground: bool,
    /// How the log is written
    #[arg(long, value_name = "FORM")]
    pub(crate) log_format: Option<LogForm>,
    /// Leave the terminal: set by the command itself when it goes to the background
    #[arg(long, hide = true, requires = "foreground")]
    pub(crate) detached: bool,
}

/// How the log is written.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LogForm {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// `rendezvous run`: without any option it is the embedded one.
#[derive(Args, Debug, Clone)]
pub(crate) struct RendezvousRunArgs {
    /// Its directory
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// The UDP address to bind
    #[arg(long, value_name = "ADDR", requires = "dir")]
    pub(crate) listen: Option<SocketAddr>,
}
