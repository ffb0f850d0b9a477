//! What agents are called in words: by their names, or by their addresses where they have none.

use pilot::Node;
use pilot_types::{Address, Hostname};

pub(crate) fn agent(hostname: Option<&Hostname>, address: Address) -> String {
    hostname.map_or_else(|| address.to_string(), ToString::to_string)
}

pub(crate) fn own(node: &Node) -> String {
    agent(node.hostname().as_ref(), node.address())
}
