//! What happens at a node, for whoever wants to be told.

use pilot_node::Event;
use pilot_types::{AgentId, GroupId, Hostname};
use tokio::sync::broadcast;

use crate::state::link_word;

/// Notices that wait for one who listens; who is slower loses the oldest and is told how many.
pub(crate) const MAX_WAITING: usize = 256;

/// Something that happened.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Notice {
    /// An agent asks for trust.
    Knocked {
        /// Who.
        agent: AgentId,
        /// The name that it claims.
        hostname: Option<Hostname>,
    },
    /// Trust with an agent holds in both directions.
    Trusted(AgentId),
    /// Trust with an agent ended.
    Untrusted(AgentId),
    /// A group of ours, or an invitation to one, came, changed or went.
    GroupChanged(GroupId),
    /// A rendezvous changed its state.
    Rendezvous {
        /// As it was configured.
        url: String,
        /// As [`crate::RendezvousStatus`] has it.
        state: &'static str,
    },
    /// So many are missing here: whoever listens was too slow for them.
    Missed(u64),
}

impl Notice {
    /// What an event of the protocol is to others, if it is anything.
    pub(crate) fn of(event: &Event) -> Option<Self> {
        match event {
            Event::Knocked { agent, hostname } => Some(Self::Knocked {
                agent: *agent,
                hostname: hostname.clone(),
            }),
            Event::Trusted(agent) => Some(Self::Trusted(*agent)),
            Event::Untrusted(agent) => Some(Self::Untrusted(*agent)),
            Event::GroupChanged(group) => Some(Self::GroupChanged(*group)),
            Event::Link { url, state } => Some(Self::Rendezvous {
                url: url.clone(),
                state: link_word(*state),
            }),
            Event::Dialed { .. }
            | Event::DialFailed { .. }
            | Event::Pong { .. }
            | Event::Delivered { .. }
            | Event::Incoming { .. }
            | Event::Datagram { .. }
            | Event::Readable(_)
            | Event::Writable(_)
            | Event::Finished(_)
            | Event::SessionClosed { .. }
            | Event::Answered { .. }
            | Event::SocketsWanted { .. }
            | Event::SocketsUnused(_)
            | Event::RendezvousSilent { .. }
            | Event::KeyMismatch { .. }
            | Event::Registered { .. }
            | Event::Superseded
            | Event::Persist(_)
            | Event::FreshnessLow
            | Event::Observed(_)
            | Event::KeyRefused { .. }
            | Event::KeysChanged(_)
            | Event::Letter(_)
            | _ => None,
        }
    }
}

/// What happens from now on.
#[derive(Debug)]
pub struct Notices(pub(crate) broadcast::Receiver<Notice>);

impl Notices {
    /// The next one; `None` once the node has ended. Cancel safe.
    pub async fn next(&mut self) -> Option<Notice> {
        match self.0.recv().await {
            Ok(notice) => Some(notice),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(Notice::Missed(missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
