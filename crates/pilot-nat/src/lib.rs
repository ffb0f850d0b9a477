#![doc = include_str!("../README.md")]

mod stun;

pub use stun::{BindingRequest, BindingResponse, StunError, fuzz};
