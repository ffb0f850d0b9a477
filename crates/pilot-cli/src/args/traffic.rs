//! Options of the commands for datagrams and measurements.

use std::path::PathBuf;

use clap::Args;
use pilot_api::PeerRef;
use pilot_types::Port;
use pilot_wire::{Topic, TopicFilter};

/// `dgram`.
#[derive(Args, Debug)]
pub(crate) struct DgramArgs {
    /// The agent
    pub(crate) peer: PeerRef,
    /// Its port
    pub(crate) port: Port,
    /// What to send, at most what fits a packet
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) data: String,
}

/// `listen`.
#[derive(Args, Debug)]
pub(crate) struct ListenArgs {
    /// The port of this agent
    pub(crate) port: Port,
    /// End after so many [default: go on until stopped, or until --timeout]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) count: Option<u32>,
}

/// `send-file`.
#[derive(Args, Debug)]
pub(crate) struct SendFileArgs {
    /// The agent
    pub(crate) peer: PeerRef,
    /// Files, and directories with all that is in them
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
}

/// `bench`.
#[derive(Args, Debug)]
pub(crate) struct BenchArgs {
    /// The agent
    pub(crate) peer: PeerRef,
    /// How much, in units of 2^20 bytes
    #[arg(value_name = "SIZE_MB", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    pub(crate) size_mb: u64,
    /// The agent sends, this one receives
    #[arg(long)]
    pub(crate) reverse: bool,
}

/// `publish`.
#[derive(Args, Debug)]
pub(crate) struct PublishArgs {
    /// The agent whose subscribers get it, or a group all of whose members do
    #[arg(value_name = "PEER|GROUP", value_parser = peer_or_group)]
    pub(crate) peer: PeerRef,
    /// What it is about: levels of letters, digits, - and _, separated by / or .
    pub(crate) topic: Topic,
    /// What it says
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) data: String,
}

/// `subscribe`.
#[derive(Args, Debug)]
pub(crate) struct SubscribeArgs {
    /// The agent at which events are published, or a group
    #[arg(value_name = "PEER|GROUP", value_parser = peer_or_group)]
    pub(crate) peer: PeerRef,
    /// Which topics: * stands for one level, # for the rest
    pub(crate) topic: TopicFilter,
    /// First the last N events that the broker still has, up to 256
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) replay: u32,
    /// End after so many [default: go on until stopped, or until --timeout]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) count: Option<u32>,
}

/// An agent, or a group's name, whose letters may be capital ones.
fn peer_or_group(text: &str) -> Result<PeerRef, String> {
    let parsed = text.parse::<PeerRef>();
    let parsed = parsed.or_else(|error| text.to_ascii_lowercase().parse().map_err(|_| error));
    parsed.map_err(|error| error.to_string())
}
