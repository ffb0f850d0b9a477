#![doc = include_str!("../README.md")]

mod address;
mod agent_id;
mod deadline;
mod ecn;
mod group_id;
mod hex;
mod name;
mod packet;
mod path;
mod port;
#[cfg(feature = "schemars")]
mod schema;
mod secret;
mod time;
mod transmit;

pub use address::{Address, AddressPort, NetworkId, NodeId, ParseAddressError};
pub use agent_id::{AgentId, BootId, ParseAgentIdError};
pub use deadline::{Deadline, TimerTable};
pub use ecn::Ecn;
pub use group_id::GroupId;
pub use hex::{DecodeHexError, decode_hex, encode_hex};
pub use name::{Hostname, ParseHostnameError, ParseTagError, Tag};
pub use packet::{Epoch, PacketNumber, StreamId};
pub use path::{FourTuple, PathId, PeerAddr, RelayAddr};
pub use port::{ParsePortError, Port};
pub use secret::Seed;
pub use time::{ParseTimeError, UnixTime};
pub use transmit::{Overhead, Transmit, TransmitBuf};
