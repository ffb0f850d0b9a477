//! Ids, addresses, units and the transmit buffer that every Pilot crate shares.
//!
//! No I/O, no codecs, no cryptography: values whose constructors parse, so that holding one means that it is valid.
//!
//! ```
//! use pilot_types::{Address, Port};
//!
//! let address: Address = "0:A91F.0000.7C2E".parse()?;
//! assert_eq!(address.to_string(), "0:A91F.0000.7C2E");
//! assert_eq!(address.node().to_u64(), 0xA91F_0000_7C2E);
//! assert_eq!(Port::ECHO.to_string(), "7");
//! # Ok::<(), pilot_types::ParseAddressError>(())
//! ```

mod address;
mod agent_id;
mod deadline;
mod ecn;
mod hex;
mod name;
mod packet;
mod path;
mod port;
mod secret;
mod time;
mod transmit;

pub use address::{Address, AddressPort, NetworkId, NodeId, ParseAddressError};
pub use agent_id::{AgentId, BootId, ParseAgentIdError};
pub use deadline::{Deadline, TimerTable};
pub use ecn::Ecn;
pub use hex::{DecodeHexError, decode_hex, encode_hex};
pub use name::{Hostname, ParseHostnameError, ParseTagError, Tag};
pub use packet::{Epoch, PacketNumber, StreamId};
pub use path::{FourTuple, PathId, PeerAddr, RelayAddr};
pub use port::{ParsePortError, Port};
pub use secret::Seed;
pub use time::{ParseTimeError, UnixTime};
pub use transmit::{Overhead, Transmit, TransmitBuf};
