//! The tokio shell and embedding API of Pilot: [`Node`], [`Stream`], [`Listener`].
//!
//! A node has a home directory with its key, finds other agents through a rendezvous, and exchanges streams with those
//! that granted it trust. Everything between two agents is encrypted end to end.
//!
//! ```no_run
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let node = pilot::Node::builder().home("/var/lib/worker").rendezvous("pilot://KEY@host:9000").start().await?;
//! node.registered().await?;
//!
//! let mut stream = node.dial("planner:1000").await?; // AsyncRead + AsyncWrite, half-close by shutdown
//! stream.write_all(b"hello").await?;
//! stream.shutdown().await?;
//! let mut answer = vec![];
//! stream.read_to_end(&mut answer).await?;
//!
//! let mut listener = node.listen(pilot::Port::STDIO).await?;
//! let (stream, peer) = listener.accept().await?;
//! println!("{} dialled", peer.agent.address());
//! # drop(stream); Ok(()) }
//! ```
//!
//! `examples/two_agents.rs` runs a rendezvous and two agents in one process.

mod builder;
mod clock;
mod datagrams;
mod driver;
mod error;
mod explain;
mod groups;
mod interfaces;
mod keys;
mod listener;
mod mailbox;
mod names;
mod node;
mod notice;
mod peers;
mod persist;
mod port_mapping;
mod rendezvous;
mod search;
mod socket;
mod state;
mod stream;
mod target;
mod url;

pub use builder::Builder;
pub use datagrams::DatagramListener;
pub use error::{
    AcceptError, DialError, GroupCallError, ListenError, LookupError, ProfileError, RegisterError,
    StartError, StreamError, TicketError, TrustError,
};
pub use explain::{Explanation, NextStep, PathCandidate};
pub use groups::{GroupInfo, GroupInvitation, GroupMember};
pub use keys::{KeyStatus, KeysError};
pub use listener::{Listener, Peer};
pub use mailbox::{DepositError, Mail, Mailbox};
pub use node::{DialOptions, Node};
pub use notice::{Notice, Notices};
pub use peers::{
    ConnectionStatus, Found, Knocked, NatStatus, NodeStatus, PathKind, PeerStatus, Pong,
    ProfileChange, RelayLink, RendezvousStatus, Searched,
};
pub use pilot_node::{PathState, RelayStats};
pub use pilot_registry::SearchQuery;
pub use pilot_registry::limits::{MAX_SEARCH_TEXT, MAX_SEARCH_WORDS};
pub use pilot_trust::{
    Anchor, GroupError, GroupTerms, GroupToken, KeyChangeError, LearntBy, PendingKnock,
    RecoveryKey, Terms, TrustedPeer,
};
pub use pilot_types::{
    Address, AgentId, GroupId, Hostname, NetworkId, NodeId, Port, Tag, UnixTime,
};
pub use pilot_wire::{
    Capability, ErrorCode, JoinRule, KeyStanding, Role, Scope, Speakers, TraceParent,
};
pub use port_mapping::{MappingProtocol, MappingState, PortMapping, PortMappingStatus};
pub use rendezvous::{Rendezvous, RendezvousBuilder};
pub use stream::Stream;
pub use target::{ParseTargetError, Target};
pub use url::{ParseUrlError, RendezvousUrl};

/// The example of the README runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
