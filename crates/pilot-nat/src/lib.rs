#![doc = include_str!("../README.md")]

mod behaviour;
mod candidates;
mod path_agent;
mod patience;
mod relay;
mod spray;
mod stun;

pub use behaviour::{Filtering, MappingProbe, NatDiscovery};
pub use candidates::{CandidateSet, Filter, Prefix, Refusal};
pub use path_agent::{PathAction, PathAgent, PathConfig, PathReport, PathState};
pub use patience::NatPatience;
pub use pilot_wire::{Candidate, CandidateKind, Candidates, Mapping};
pub use relay::{BindError, RelayDrop, RelayLimits, RelayRate, RelayServer, RelayStats};
pub use spray::{SPRAY_SOCKETS, Spray, SpraySide};
pub use stun::{BindingRequest, BindingResponse, StunError, fuzz};
