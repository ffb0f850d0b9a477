//! Dials, pings and deliveries under way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use pilot_types::{AgentId, Deadline, GroupId, Hostname, NodeId, Port};
use pilot_wire::TraceParent;

use crate::event::DialId;

/// Dials at a time, from this machine's own programs.
const MAX_DIALS: usize = 4096;

/// Whom a dial or question is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// By name.
    Hostname(Hostname),
    /// By address.
    Node(NodeId),
    /// By `AgentId`.
    Agent(AgentId),
    /// By `AgentId` or signing key.
    Key([u8; 32]),
}

/// What the dialled stream is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum DialPurpose {
    /// A stream for the shell.
    Stream {
        port: Port,
        trace: Option<TraceParent>,
        metadata: Vec<u8>,
        group: Option<GroupId>,
    },
    /// An answer from port 0.
    Ping { len: usize },
    /// A trust message to port 444.
    Trust { body: Vec<u8> },
    /// One datagram.
    Datagram { port: Port, data: Vec<u8> },
}

/// How far a dial is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// The registry is asked.
    Asking,
    /// A handshake with this agent is under way, or its address is asked for.
    Connecting(AgentId),
    /// The stream is open and its answer awaited.
    Open,
}

/// One dial.
#[derive(Clone, Debug)]
pub(crate) struct Dial {
    pub(crate) target: Target,
    pub(crate) purpose: DialPurpose,
    pub(crate) stage: Stage,
    deadline: Instant,
}

/// All dials, each with a deadline.
#[derive(Default)]
pub(crate) struct Dials {
    dials: BTreeMap<DialId, Dial>,
    deadlines: BTreeSet<(Instant, DialId)>,
    /// When a dial that waits for a handshake asks the registry again.
    asks: BTreeMap<DialId, Instant>,
    last: u64,
}

impl Dials {
    /// `None` if there are too many.
    pub(crate) fn add(
        &mut self,
        target: Target,
        purpose: DialPurpose,
        deadline: Instant,
    ) -> Option<DialId> {
        if self.dials.len() >= MAX_DIALS {
            return None;
        }
        let id = self.next_id();
        self.dials.insert(
            id,
            Dial {
                target,
                purpose,
                stage: Stage::Asking,
                deadline,
            },
        );
        self.deadlines.insert((deadline, id));
        Some(id)
    }

    pub(crate) fn next_id(&mut self) -> DialId {
        self.last += 1;
        DialId(self.last)
    }

    pub(crate) fn get(&self, id: DialId) -> Option<&Dial> {
        self.dials.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: DialId) -> Option<&mut Dial> {
        self.dials.get_mut(&id)
    }

    pub(crate) fn remove(&mut self, id: DialId) -> Option<Dial> {
        let dial = self.dials.remove(&id)?;
        self.deadlines.remove(&(dial.deadline, id));
        self.asks.remove(&id);
        Some(dial)
    }

    /// Dials that wait for a session with `agent`.
    pub(crate) fn connecting_to(&self, agent: &AgentId) -> Vec<DialId> {
        let waits = |dial: &Dial| dial.stage == Stage::Connecting(*agent);
        self.dials
            .iter()
            .filter(|(_, dial)| waits(dial))
            .map(|(id, _)| *id)
            .collect()
    }

    /// A dial whose deadline passed.
    pub(crate) fn take_expired(&mut self, now: Instant) -> Option<(DialId, Dial)> {
        let (at, id) = *self.deadlines.first()?;
        if at > now {
            return None;
        }
        self.remove(id).map(|dial| (id, dial))
    }

    /// The dial waits for a handshake: where the agent is may change meanwhile.
    pub(crate) fn ask_again_at(&mut self, id: DialId, at: Instant) {
        if self.dials.contains_key(&id) {
            self.asks.insert(id, at);
        }
    }

    /// A dial that still waits for a handshake and is due to ask again.
    pub(crate) fn take_ask(&mut self, now: Instant) -> Option<(DialId, AgentId)> {
        let (id, _) = self.asks.iter().find(|(_, at)| **at <= now)?;
        let id = *id;
        self.asks.remove(&id);
        match self.dials.get(&id)?.stage {
            Stage::Connecting(agent) => Some((id, agent)),
            Stage::Asking | Stage::Open => self.take_ask(now),
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Deadline> {
        let deadline = self.deadlines.first().map(|(at, _)| *at);
        let earliest = deadline
            .into_iter()
            .chain(self.asks.values().copied())
            .min()?;
        Some(Deadline {
            at: earliest,
            timer: "dial",
        })
    }
}
