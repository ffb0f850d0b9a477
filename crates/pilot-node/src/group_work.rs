//! What is under way for groups: keys, commands that wait for a rendezvous, and what it is still to be told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use pilot_trust::{GroupSet, GroupToken, Identity};
use pilot_types::{Deadline, GroupId, UnixTime};
use pilot_wire::SignedBytes;
use pilot_wire::limits::{MAX_GROUP_PART, MAX_GROUP_STATEMENTS, MAX_GROUPS};

use crate::event::QueryId;

/// Rest after a rendezvous took nothing, or told nothing, for a while.
const REST: Duration = Duration::from_secs(1);
/// How often the owner looks whose certificate is to be renewed: they last for weeks.
const RENEWAL: Duration = Duration::from_secs(3600);

/// A group as one rendezvous is telling it.
#[derive(Default)]
pub(crate) struct Fetch {
    /// What it knows; bounded by the parts of one group.
    seen: BTreeSet<SignedBytesKey>,
    /// Asked for anew meanwhile.
    is_stale: bool,
    has_changed: bool,
}

type SignedBytesKey = Vec<u8>;

impl Fetch {
    pub(crate) fn saw(&mut self, raw: &SignedBytes) {
        if self.seen.len() < MAX_GROUP_STATEMENTS {
            self.seen.insert(raw.as_bytes().to_vec());
        }
    }

    pub(crate) fn knows(&self, raw: &SignedBytes) -> bool {
        self.seen.contains(raw.as_bytes())
    }

    pub(crate) const fn changed(&mut self) {
        self.has_changed = true;
    }

    pub(crate) const fn has_changed(&self) -> bool {
        self.has_changed
    }

    pub(crate) const fn is_stale(&self) -> bool {
        self.is_stale
    }
}

/// All of it. Bounded by [`MAX_GROUPS`] and by the commands of this machine's own programs.
#[derive(Default)]
pub(crate) struct GroupWork {
    pub(crate) keys: BTreeMap<GroupId, Identity>,
    /// Groups that are being created.
    pub(crate) creating: BTreeMap<QueryId, GroupSet>,
    /// Groups that are looked for, and the token to join them with.
    pub(crate) finding: BTreeMap<QueryId, Option<GroupToken>>,
    /// What a rendezvous is still to be told.
    unsent: BTreeMap<GroupId, Vec<SignedBytes>>,
    /// What it is being told.
    putting: BTreeMap<GroupId, Vec<SignedBytes>>,
    /// By rendezvous and group.
    fetching: BTreeMap<(usize, GroupId), Fetch>,
    /// Groups that could not be asked for.
    missed: BTreeSet<(usize, GroupId)>,
    retry_at: Option<Instant>,
    renewal_at: Option<UnixTime>,
}

impl GroupWork {
    pub(crate) fn new(keys: Vec<Identity>) -> Self {
        let keys = keys.into_iter().take(MAX_GROUPS);
        Self {
            keys: keys
                .map(|key| (GroupId::of_log(key.agent()), key))
                .collect(),
            ..Self::default()
        }
    }

    /// The key that this agent signs with for a group.
    pub(crate) fn signer<'a>(&'a self, identity: &'a Identity, group: &GroupId) -> &'a Identity {
        self.keys.get(group).unwrap_or(identity)
    }

    /// A rendezvous is to be told. The newest stay where there are too many: the others are told when it asks next.
    pub(crate) fn add_unsent(&mut self, group: GroupId, fresh: Vec<SignedBytes>) {
        let unsent = self.unsent.entry(group).or_default();
        unsent.extend(fresh);
        let surplus = unsent.len().saturating_sub(MAX_GROUP_STATEMENTS);
        unsent.drain(..surplus);
    }

    /// What is to be told now, if nothing is being told.
    pub(crate) fn take_unsent(&mut self, group: &GroupId) -> Option<Vec<SignedBytes>> {
        if self.putting.contains_key(group) {
            return None;
        }
        let mut part = self.unsent.remove(group)?;
        if part.len() > MAX_GROUP_PART {
            let rest = part.split_off(MAX_GROUP_PART);
            self.unsent.insert(*group, rest);
        }
        self.putting.insert(*group, part.clone());
        Some(part)
    }

    /// The rendezvous took it, or not: then it is told again after a rest.
    pub(crate) fn put_done(&mut self, now: Instant, group: &GroupId, is_again: bool) {
        let part = self.putting.remove(group).unwrap_or_default();
        if is_again {
            let mut unsent = part;
            unsent.extend(self.unsent.remove(group).unwrap_or_default());
            self.unsent.insert(*group, unsent);
            self.rest(now);
        }
    }

    /// Begins to ask for a group, unless that goes on: then it is asked for again afterwards.
    pub(crate) fn begin_fetch(&mut self, link: usize, group: GroupId) -> bool {
        if let Some(fetch) = self.fetching.get_mut(&(link, group)) {
            fetch.is_stale = true;
            return false;
        }
        self.fetching.insert((link, group), Fetch::default());
        true
    }

    pub(crate) fn fetch(&mut self, link: usize, group: GroupId) -> Option<&mut Fetch> {
        self.fetching.get_mut(&(link, group))
    }

    pub(crate) fn end_fetch(&mut self, link: usize, group: GroupId) -> Option<Fetch> {
        self.fetching.remove(&(link, group))
    }

    /// Asks for a group again after a rest.
    pub(crate) fn fetch_later(&mut self, now: Instant, link: usize, group: GroupId) {
        self.missed.insert((link, group));
        self.rest(now);
    }

    fn rest(&mut self, now: Instant) {
        self.retry_at.get_or_insert(now + REST);
    }

    /// After a rest: groups to tell of, and to ask for.
    #[expect(
        clippy::type_complexity,
        reason = "two lists, named where they are used"
    )]
    pub(crate) fn take_retries(
        &mut self,
        now: Instant,
    ) -> Option<(Vec<GroupId>, BTreeSet<(usize, GroupId)>)> {
        self.retry_at.filter(|at| *at <= now)?;
        self.retry_at = None;
        let unsent = self.unsent.keys().copied().collect();
        Some((unsent, std::mem::take(&mut self.missed)))
    }

    /// Whether it is time to look at certificates; sets the next time.
    pub(crate) fn is_renewal_due(&mut self, now: UnixTime) -> bool {
        let is_due = self.renewal_at.is_none_or(|at| at <= now);
        if is_due {
            self.renewal_at = Some(now.plus(RENEWAL));
        }
        is_due
    }

    pub(crate) fn poll_timeout(&self) -> Option<Deadline> {
        self.retry_at.map(|at| Deadline {
            at,
            timer: "groups",
        })
    }

    /// Forgets what is under way for a group.
    pub(crate) fn forget(&mut self, group: &GroupId) {
        self.unsent.remove(group);
        self.missed.retain(|(_, missed)| missed != group);
    }
}

/// Members whose logs are asked for: ten answers of a hundred.
pub(crate) const MAX_LEARNT: u32 = 1000;
