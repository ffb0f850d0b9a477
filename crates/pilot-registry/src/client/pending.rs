//! Requests that wait or are under way.

use std::collections::BTreeMap;
use std::time::Instant;

use super::RequestId;
use super::chore::ChoreKind;
use crate::message::Request;

/// Streams may break so often under one request of the caller.
const MAX_ATTEMPTS: u32 = 3;

/// Whose a request is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    Chore(ChoreKind),
    Caller,
}

#[derive(Debug)]
struct Item {
    purpose: Purpose,
    request: Request,
    /// None until the next time is known.
    deadline: Option<Instant>,
    is_sent: bool,
    attempts: u32,
}

/// At most `max_requests` of the caller and one of each chore.
#[derive(Debug, Default)]
pub(super) struct Pending {
    items: BTreeMap<RequestId, Item>,
    next_id: u64,
}

impl Pending {
    pub(super) const fn skip_id(&mut self) -> RequestId {
        let id = RequestId(self.next_id);
        self.next_id += 1;
        id
    }

    pub(super) fn insert(
        &mut self,
        purpose: Purpose,
        request: Request,
        deadline: Option<Instant>,
    ) -> RequestId {
        let id = self.skip_id();
        let item = Item {
            purpose,
            request,
            deadline,
            is_sent: false,
            attempts: 0,
        };
        self.items.insert(id, item);
        id
    }

    pub(super) fn send(&mut self, id: RequestId) {
        if let Some(item) = self.items.get_mut(&id) {
            item.is_sent = true;
            item.attempts += 1;
        }
    }

    pub(super) fn next_unsent(&mut self) -> Option<(RequestId, Request)> {
        let (id, item) = self.items.iter().find(|(_, item)| !item.is_sent)?;
        let (id, request) = (*id, item.request.clone());
        self.send(id);
        Some((id, request))
    }

    pub(super) fn remove(&mut self, id: RequestId) -> Option<Purpose> {
        self.items.remove(&id).map(|item| item.purpose)
    }

    /// Takes a request out whose stream broke, unless it may be sent again.
    pub(super) fn fail(&mut self, id: RequestId) -> Option<Purpose> {
        let item = self.items.get_mut(&id)?;
        if item.purpose == Purpose::Caller && item.attempts < MAX_ATTEMPTS {
            item.is_sent = false;
            return None;
        }
        self.remove(id)
    }

    pub(super) fn drop_chore(&mut self, kind: ChoreKind) {
        self.items
            .retain(|_, item| item.purpose != Purpose::Chore(kind));
    }

    pub(super) fn unsend_all(&mut self) {
        for item in self.items.values_mut() {
            item.is_sent = false;
            item.attempts = 0;
        }
    }

    pub(super) fn arm(&mut self, deadline: Instant) {
        for item in self.items.values_mut() {
            item.deadline.get_or_insert(deadline);
        }
    }

    /// Takes out everything whose deadline has come.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<(RequestId, Purpose)> {
        let due = |item: &Item| item.deadline.is_some_and(|at| at <= now);
        let ids: Vec<RequestId> = self
            .items
            .iter()
            .filter(|(_, item)| due(item))
            .map(|(id, _)| *id)
            .collect();
        ids.into_iter()
            .filter_map(|id| Some((id, self.remove(id)?)))
            .collect()
    }

    pub(super) fn has_unarmed(&self) -> bool {
        self.items.values().any(|item| item.deadline.is_none())
    }

    pub(super) fn earliest(&self) -> Option<Instant> {
        self.items.values().filter_map(|item| item.deadline).min()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.items.values().filter(|item| item.is_sent).count()
    }

    pub(super) fn by_caller(&self) -> usize {
        self.items
            .values()
            .filter(|item| item.purpose == Purpose::Caller)
            .count()
    }
}
