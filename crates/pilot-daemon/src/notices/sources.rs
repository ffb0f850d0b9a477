//! What the node tells, as notices.

use std::sync::Arc;

use pilot::{AgentId, Node, Notice};
use pilot_api::types::What;

use super::Board;
use crate::daemon::summary;
use crate::inbox::now;

/// Puts what happens at the node on the board, until the node ends.
pub(crate) async fn tell_of_node(node: Node, board: Arc<Board>) {
    let mut notices = node.notices();
    while let Some(notice) = notices.next().await {
        if let Some(what) = what(&node, notice) {
            board.tell(now(), what);
        }
    }
}

fn what(node: &Node, notice: Notice) -> Option<What> {
    let known = |agent: AgentId| summary(agent, node.hostname_of(&agent));
    Some(match notice {
        Notice::Knocked { agent, hostname } => What::Knock {
            agent: summary(agent, hostname),
        },
        Notice::Trusted(agent) => What::Trusted {
            agent: known(agent),
        },
        Notice::Untrusted(agent) => What::Untrusted {
            agent: known(agent),
        },
        Notice::GroupChanged(group) => {
            let groups = node.groups();
            let info = groups.iter().find(|info| info.group == group);
            What::Group {
                network_id: info.map(|info| info.network),
                name: info.map(|info| info.policy.name.clone()),
            }
        }
        // A session is no news before the record is there.
        Notice::Rendezvous {
            state: "connected", ..
        } => return None,
        Notice::Rendezvous { url, state } => {
            let is_served = state == "registered";
            let state = if is_served { "connected" } else { state };
            What::Rendezvous {
                url,
                state: state.to_owned(),
            }
        }
        Notice::Missed(count) => What::Missed { count: Some(count) },
        _ => return None,
    })
}
