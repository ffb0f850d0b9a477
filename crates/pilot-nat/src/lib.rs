#![doc = include_str!("../README.md")]

mod relay;
mod stun;

pub use relay::{BindError, RelayDrop, RelayLimits, RelayServer, RelayStats};
pub use stun::{BindingRequest, BindingResponse, StunError, fuzz};
