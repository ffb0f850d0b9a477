//! Groups: names, numbers, and statements that are kept for their members (`docs/registry.md` §12).
//!
//! Nothing is decided here about who is a member: what is stored was signed by the group's key or its admins, and members check it
//! again. What the rendezvous reads out of it only says to whom it shows what.

use std::time::Duration;

use pilot_types::{AgentId, GroupId, Hostname, NetworkId};
use pilot_wire::limits::{INVITATION_LIFETIME, MAX_GROUPS};
use pilot_wire::{GroupAsk, GroupBundle, GroupRequest, Invitation, Role, SignedBytes};

use crate::asked::{Asked, Outcome, Refusal, check_lifetime};
use crate::limits::{MAX_SEARCH_ANSWER, MAX_SEARCH_ENTRIES};
use crate::message::{RefusalCode, Response};
use crate::presence::Presence;
use crate::rows::{GroupRow, PushId, PushKey, PushKind, PushRow};
use crate::store::{Store, StoreError};
use crate::verify::{GroupFacts, GroupPart, Verify};

/// How long a word that something changed waits for a member that does not take it: with its next session it asks anyway.
const CHANGE_LIFETIME: Duration = Duration::from_secs(3600);
/// How long a group that has no member with a valid certificate any more keeps its name and number.
const GROUP_RETENTION: Duration = Duration::from_secs(90 * 24 * 3600);
/// Numbers that are tried for a new group.
const NUMBER_TRIES: u64 = 256;

impl<S: Store, V: Verify> Asked<'_, S, V> {
    /// Plans `CreateGroup`: a new one, or one that its owner brings back after this rendezvous lost it.
    pub(crate) fn create_group(
        &self,
        bundle: &GroupBundle,
        wanted: Option<NetworkId>,
        presence: &Presence,
        id: PushId,
    ) -> Result<Outcome, Refusal> {
        self.own_row()?;
        let facts = self.verify.group(None, bundle, self.now);
        let facts = facts.map_err(Refusal::invalid)?;
        if facts.role(&self.from) != Some(Role::Owner) {
            return Err(Refusal::invalid("a group is created by its owner"));
        }
        if let Some(row) = self.store.group(&facts.group)? {
            let mut outcome = self.merge_group(&row, bundle, presence, id)?;
            outcome.response = Response::GroupCreated(row.network);
            return Ok(outcome);
        }
        let mut outcome = self.unchanged(Response::NotFound);
        let name = facts.name.clone();
        if name.is_reserved() {
            let words = format!("the name {name} belongs to a service");
            return Err(Refusal::new(RefusalCode::Reserved, words));
        }
        let ended = self.ended_holder(&name)?;
        if self.store.groups_of(&self.from, MAX_GROUPS)?.len() >= MAX_GROUPS {
            let words = format!("an agent is in at most {MAX_GROUPS} groups");
            return Err(Refusal::invalid(words));
        }
        let network = match &ended {
            Some(ended) => ended.network,
            None => self.free_number(wanted, id)?,
        };
        if let Some(ended) = &ended {
            outcome.changes.drop_group(ended);
        }
        outcome.response = Response::GroupCreated(network);
        let row = group_row(facts, name, network);
        self.tell((&row, &row), presence, id, &mut outcome);
        outcome.changes.put_group(None, row);
        Ok(outcome)
    }

    /// A group that has ended and leaves its name and number; none if the name is new.
    fn ended_holder(&self, name: &Hostname) -> Result<Option<GroupRow>, Refusal> {
        let Some(holder) = self.store.group_name(name)? else {
            return Ok(None);
        };
        let row = self.store.group(&holder)?;
        let is_over = |row: &GroupRow| row.ends_at().plus(GROUP_RETENTION) < self.now;
        match row {
            Some(row) if is_over(&row) => Ok(Some(row)),
            Some(_) | None => {
                let words = format!("there is a group {name} already");
                Err(Refusal::new(RefusalCode::AlreadyExists, words))
            }
        }
    }

    fn free_number(&self, wanted: Option<NetworkId>, id: PushId) -> Result<NetworkId, Refusal> {
        let random = |at: u64| {
            // 1 to 65534; 0 is the backbone.
            let number = 1 + id.to_u64().wrapping_add(at) % 65_534;
            NetworkId::new(u16::try_from(number).unwrap_or(1))
        };
        let candidates = wanted
            .into_iter()
            .chain((0..NUMBER_TRIES).filter_map(random));
        for number in candidates.filter(|number| *number != NetworkId::BACKBONE) {
            if self.store.group_number(number)?.is_none() {
                return Ok(number);
            }
        }
        Err(Refusal::rate_limited(
            "the registry has no number left for a group",
            Duration::from_secs(3600),
        ))
    }

    /// Plans `FindGroup`: log and policy of a group, so that an agent can ask to join.
    pub(crate) fn find_group(&self, name: &Hostname) -> Result<Outcome, Refusal> {
        let row = match self.store.group_name(name)? {
            Some(group) => self.store.group(&group)?,
            None => None,
        };
        let found = row.and_then(|row| {
            let (bundle, _) = self.verify.group_part(&row.state, GroupPart::Policy)?;
            Some(Response::Group {
                network: row.network,
                bundle: Box::new(bundle),
                next: None,
            })
        });
        Ok(self.unchanged(found.unwrap_or(Response::NotFound)))
    }

    /// Plans `GroupState`: a part of a group for a member; for one that was removed, what is said of it.
    pub(crate) fn group_state(
        &self,
        group: &GroupId,
        after: Option<AgentId>,
    ) -> Result<Outcome, Refusal> {
        let row = self.store.group(group)?;
        let found = row.and_then(|row| {
            let part = if row.is_member(&self.from, self.now) {
                GroupPart::After(after)
            } else if row.removed.contains(&self.from) {
                GroupPart::About(self.from)
            } else {
                return None;
            };
            let (bundle, next) = self.verify.group_part(&row.state, part)?;
            Some(Response::Group {
                network: row.network,
                bundle: Box::new(bundle),
                next,
            })
        });
        Ok(self.unchanged(found.unwrap_or(Response::NotFound)))
    }

    /// Plans `PutGroup`: what a member knows of its group is merged with what is stored.
    pub(crate) fn put_group(
        &self,
        group: &GroupId,
        bundle: &GroupBundle,
        presence: &Presence,
        id: PushId,
    ) -> Result<Outcome, Refusal> {
        let row = self.store.group(group)?;
        let row = row.filter(|row| row.is_member(&self.from, self.now));
        match row {
            Some(row) => self.merge_group(&row, bundle, presence, id),
            None => Ok(self.unchanged(Response::NotFound)),
        }
    }

    fn merge_group(
        &self,
        row: &GroupRow,
        bundle: &GroupBundle,
        presence: &Presence,
        id: PushId,
    ) -> Result<Outcome, Refusal> {
        let facts = self.verify.group(Some(&row.state), bundle, self.now);
        let facts = facts.map_err(Refusal::invalid)?;
        let mut outcome = self.unchanged(Response::Stored);
        if facts.group != row.group || facts.name != row.name {
            return Err(Refusal::invalid("a group keeps its name"));
        }
        if facts.state == row.state {
            return Ok(outcome);
        }
        let new = group_row(facts, row.name.clone(), row.network);
        self.tell((row, &new), presence, id, &mut outcome);
        outcome.changes.put_group(Some(row), new);
        Ok(outcome)
    }

    /// Members that are connected, and those who were members a moment ago, learn that there is something new.
    fn tell(
        &self,
        (old, new): (&GroupRow, &GroupRow),
        presence: &Presence,
        id: PushId,
        outcome: &mut Outcome,
    ) {
        let (before, after) = (old.members.iter(), new.members.iter());
        let mut told: Vec<AgentId> = before.chain(after).map(|member| member.agent).collect();
        told.sort_unstable();
        told.dedup();
        told.retain(|agent| *agent != self.from && presence.is_online(agent));
        for (index, to) in told.into_iter().enumerate() {
            let key = PushKey {
                to,
                kind: PushKind::Group,
                from: new.group.signer(),
            };
            let id = PushId::new(id.to_u64().wrapping_add(index as u64));
            outcome.pushes.push((key, id));
            outcome.changes.put_push(PushRow {
                key,
                id,
                made: self.now,
                not_after: self.now.plus(CHANGE_LIFETIME),
                raw: SignedBytes::from_bytes(vec![]),
            });
        }
    }

    /// Plans `AskGroup`: a request to join or leave goes to everybody who may sign and is connected.
    pub(crate) fn ask_group(
        &self,
        group: &GroupId,
        raw: &SignedBytes,
        presence: &Presence,
        id: PushId,
    ) -> Result<Outcome, Refusal> {
        let own = self.own_row()?;
        let (head, request) = self.statement::<GroupRequest>(&own.log, raw)?;
        check_lifetime(&head, INVITATION_LIFETIME)?;
        if request.group != *group {
            return Err(Refusal::invalid("the request names another group"));
        }
        let Some(row) = self.store.group(group)? else {
            return Ok(self.unchanged(Response::NotFound));
        };
        let is_leave = matches!(request.ask, GroupAsk::Leave);
        let signers = row.signers(self.now);
        // Who leaves need not wait for who signs: the request does.
        let signers = signers.filter(|agent| is_leave || presence.is_online(agent));
        let mut outcome = self.unchanged(Response::Sent);
        for (index, to) in signers.enumerate() {
            let key = PushKey {
                to,
                kind: PushKind::GroupRequest,
                from: self.from,
            };
            let id = PushId::new(id.to_u64().wrapping_add(index as u64));
            self.queue_push(key, id, (raw.clone(), head.not_after), &mut outcome)?;
        }
        if outcome.pushes.is_empty() {
            let words = "neither the group's owner nor an admin is connected: who joins is certified by their daemon";
            return Err(Refusal::new(RefusalCode::NobodyOnline, words));
        }
        Ok(outcome)
    }

    /// Plans `Invite`.
    pub(crate) fn invite(
        &self,
        to: AgentId,
        raw: &SignedBytes,
        id: PushId,
    ) -> Result<Outcome, Refusal> {
        self.own_row()?;
        let envelope = raw.envelope();
        let envelope = envelope.map_err(|error| Refusal::invalid(error.to_string()))?;
        let invitation = envelope.statement::<Invitation>();
        let invitation = invitation.map_err(|error| Refusal::invalid(error.to_string()))?;
        let (head, group) = (envelope.head, invitation.group);
        check_lifetime(&head, INVITATION_LIFETIME)?;
        if invitation.invitee != to || head.not_after <= self.now {
            return Err(Refusal::invalid("the invitation is not for this agent"));
        }
        let row = self.store.group(&group)?;
        let may = |row: &GroupRow| row.signers(self.now).any(|agent| agent == self.from);
        if !row.is_some_and(|row| may(&row)) {
            return Ok(self.unchanged(Response::NotFound));
        }
        let mut outcome = self.unchanged(Response::Sent);
        let key = PushKey {
            to,
            kind: PushKind::Invitation,
            from: self.from,
        };
        self.queue_push(key, id, (raw.clone(), head.not_after), &mut outcome)?;
        Ok(outcome)
    }

    /// Plans `GroupMembers`: entries of members for a member, as far as they have valid records.
    pub(crate) fn group_members(
        &self,
        group: &GroupId,
        offset: u32,
        presence: &Presence,
    ) -> Result<Outcome, Refusal> {
        let row = self.store.group(group)?;
        let Some(row) = row.filter(|row| row.is_member(&self.from, self.now)) else {
            return Ok(self.unchanged(Response::NotFound));
        };
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let page = row.members.iter().skip(offset).take(MAX_SEARCH_ENTRIES);
        let (mut entries, mut taken, mut len) = (vec![], 0, 0);
        for member in page {
            let agent = self.store.agent(&member.agent)?;
            let record = agent.as_ref().and_then(|row| row.live_record(self.now));
            let is_member = self.now <= member.until;
            if let Some((agent, record)) = agent.as_ref().zip(record).filter(|_| is_member) {
                let entry = self.entry(agent, record, presence);
                len += entry.len();
                if len > MAX_SEARCH_ANSWER && !entries.is_empty() {
                    break;
                }
                entries.push(entry);
            }
            taken += 1;
        }
        let next = offset.saturating_add(taken);
        let has_more = taken > 0 && next < row.members.len();
        Ok(self.unchanged(Response::SearchResults {
            entries,
            total: row.members.len() as u64,
            next: u32::try_from(next).ok().filter(|_| has_more),
        }))
    }

    /// Whether the asker and an agent are members of one group.
    pub(crate) fn is_fellow(&self, agent: &AgentId) -> Result<bool, StoreError> {
        let ours = self.store.groups_of(&self.from, MAX_GROUPS)?;
        let theirs = self.store.groups_of(agent, MAX_GROUPS)?;
        for group in ours.iter().filter(|group| theirs.contains(group)) {
            let row = self.store.group(group)?;
            let is_shared = |row: &GroupRow| {
                row.is_member(&self.from, self.now) && row.is_member(agent, self.now)
            };
            if row.is_some_and(|row| is_shared(&row)) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn group_row(facts: GroupFacts, name: Hostname, network: NetworkId) -> GroupRow {
    GroupRow {
        group: facts.group,
        name,
        network,
        state: facts.state,
        members: facts.members,
        removed: facts.removed,
    }
}
