//! What may leave only when the decision behind it is on disk.

use std::collections::VecDeque;

use pilot_trust::Origin;
use pilot_types::{AgentId, GroupId, StreamId};
use pilot_wire::SignedBytes;

use crate::event::SessionKey;

/// Something to send once it is durable.
pub(crate) enum Held {
    /// A grant or revocation for its grantee.
    Grant { to: AgentId, raw: SignedBytes },
    /// What is new of a group, for its members.
    Group {
        group: GroupId,
        origin: Origin,
        fresh: Vec<SignedBytes>,
    },
    /// Our new keys, for everybody.
    OwnKeys,
    /// The answer to a push or trust message that changed what we keep.
    Answer {
        session: SessionKey,
        stream: StreamId,
        body: Vec<u8>,
    },
}

/// Holds each item until all changes that were emitted before it are written.
///
/// Bounded by what causes it: our own commands, and the exchanges that sessions may have open.
#[derive(Default)]
pub(crate) struct Written {
    /// Changes handed to the shell.
    pub(crate) emitted: u64,
    /// Changes that the shell wrote.
    pub(crate) durable: u64,
    held: VecDeque<(u64, Held)>,
}

impl Written {
    pub(crate) fn hold(&mut self, held: Held) {
        self.held.push_back((self.emitted, held));
    }

    pub(crate) fn take_ready(&mut self) -> Option<Held> {
        let (needed, _) = self.held.front()?;
        if *needed > self.durable {
            return None;
        }
        self.held.pop_front().map(|(_, held)| held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_waits_for_the_change_before_it() {
        let mut written = Written::default();
        let grant = || Held::Grant {
            to: AgentId::new([1; 32]),
            raw: SignedBytes::from_bytes(vec![]),
        };
        written.emitted = 2;
        written.hold(grant());
        written.durable = 1;
        assert!(written.take_ready().is_none());
        written.durable = 2;
        assert!(written.take_ready().is_some());
        assert!(written.take_ready().is_none());
    }
}
