//! One group's statements, merged as a set.
//!
//! Each signer has one place for each member, where the higher serial stays. So the set does not depend on the order in which
//! statements come, nor on how often. Who is a member follows from the set and the time alone (`standing.rs`).

use std::collections::BTreeMap;
use std::time::Duration;

use pilot_types::{AgentId, GroupId, UnixTime};
use pilot_wire::limits::{
    CERTIFICATE_LIFETIME, MAX_GROUP_ADMINS, MAX_GROUP_MEMBERS, MAX_GROUP_PART, MAX_GROUP_STATEMENTS,
};
use pilot_wire::{
    AdminProof, EnvelopeHead, GroupBundle, GroupPolicy, Membership, Removal, RemovalCause, Role,
    SignedBytes, Statement,
};
use serde::{Deserialize, Serialize};

use super::errors::GroupError;
use crate::log::{IdentityLog, VerifiedLog};
use crate::statement::Verified;

/// How far a serial may be above the time at which its statement was made: serials rise also where two are made at once, or a
/// clock is behind. The group's key may go further than an admin's, so that the owner can always outdo one.
const SERIAL_SLACK: Duration = Duration::from_secs(3 * 24 * 3600);
const ADMIN_SERIAL_SLACK: Duration = Duration::from_secs(24 * 3600);
/// Statements of one member in a part at most: one by the group's key, one by each admin.
const MAX_OF_ONE: usize = MAX_GROUP_ADMINS + 1;

/// What one signer said last of one member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Held {
    pub(super) raw: SignedBytes,
    pub(super) serial: u64,
    pub(super) not_after: UnixTime,
    pub(super) says: Says,
}

impl Held {
    pub(super) fn is_live(&self, now: UnixTime) -> bool {
        now <= self.not_after
    }

    /// Of two in one place the higher serial stays; of equal serials a removal, then the greater bytes, so that all agree.
    fn order(&self) -> (u64, bool, &[u8]) {
        let is_removal = matches!(self.says, Says::Removed(_));
        (self.serial, is_removal, self.raw.as_bytes())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Says {
    Is(Role),
    Removed(RemovalCause),
}

/// An agent that is or was an admin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Admin {
    #[serde(with = "crate::log::stored")]
    pub(super) log: VerifiedLog,
    /// The newest certificate as admin.
    pub(super) certificate: SignedBytes,
    pub(super) serial: u64,
    pub(super) not_after: UnixTime,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct HeldPolicy {
    raw: SignedBytes,
    serial: u64,
    policy: GroupPolicy,
}

impl HeldPolicy {
    fn order(&self) -> (u64, &[u8]) {
        (self.serial, self.raw.as_bytes())
    }
}

/// All that is known of a group. At most [`MAX_GROUP_STATEMENTS`] statements and [`MAX_GROUP_ADMINS`] admins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupSet {
    #[serde(with = "crate::log::stored")]
    log: VerifiedLog,
    policy: HeldPolicy,
    pub(super) admins: BTreeMap<AgentId, Admin>,
    /// By member and signer.
    pub(super) held: BTreeMap<(AgentId, AgentId), Held>,
}

/// What a merge brought.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Merged {
    /// Certificates and removals that were not known.
    pub fresh: Vec<SignedBytes>,
    /// Whether the policy, a log or an admin is new.
    pub is_policy_new: bool,
    /// Statements that were not believed, or found no room.
    pub refused: usize,
}

impl Merged {
    /// Whether anything was new.
    #[must_use]
    pub const fn is_change(&self) -> bool {
        self.is_policy_new || !self.fresh.is_empty()
    }
}

impl GroupSet {
    /// A group as somebody handed it out; statements that are not valid are left out.
    ///
    /// # Errors
    /// [`GroupError`] if the log or the policy is not valid: then it is no group.
    pub fn verify(now: UnixTime, bundle: &GroupBundle) -> Result<Self, GroupError> {
        bundle.check()?;
        let log = IdentityLog::from_entries(bundle.log.clone()).verify(0)?;
        let policy = check_policy(now, &log, &bundle.policy)?;
        let mut set = Self {
            log,
            policy,
            admins: BTreeMap::new(),
            held: BTreeMap::new(),
        };
        set.merge(now, bundle)?;
        Ok(set)
    }

    /// The group.
    #[must_use]
    pub const fn id(&self) -> GroupId {
        GroupId::of_log(self.log.agent())
    }

    /// The group's own log.
    #[must_use]
    pub const fn log(&self) -> &VerifiedLog {
        &self.log
    }

    /// What holds in it.
    #[must_use]
    pub const fn policy(&self) -> &GroupPolicy {
        &self.policy.policy
    }

    /// Serial of the policy.
    #[must_use]
    pub const fn policy_serial(&self) -> u64 {
        self.policy.serial
    }

    /// Takes all that is valid and new.
    ///
    /// # Errors
    /// [`GroupError`] if the bundle is malformed or of another group: then nothing is taken.
    pub fn merge(&mut self, now: UnixTime, bundle: &GroupBundle) -> Result<Merged, GroupError> {
        bundle.check()?;
        let log = IdentityLog::from_entries(bundle.log.clone()).verify(0)?;
        if log.agent() != self.log.agent() {
            return Err(GroupError::OtherGroup);
        }
        let mut merged = Merged::default();
        self.log = self.log.merged(&log)?;
        match check_policy(now, &self.log, &bundle.policy) {
            Ok(policy) if policy.order() > self.policy.order() => {
                self.policy = policy;
                merged.is_policy_new = true;
            }
            Ok(_) => {}
            Err(_) => merged.refused += 1,
        }
        self.purge(now);
        for proof in &bundle.admins {
            match self.take_admin(proof) {
                Ok(is_new) => merged.is_policy_new |= is_new,
                Err(_) => merged.refused += 1,
            }
            self.take(now, &proof.certificate, &mut merged);
        }
        for raw in &bundle.statements {
            self.take(now, raw, &mut merged);
        }
        Ok(merged)
    }

    fn take(&mut self, now: UnixTime, raw: &SignedBytes, merged: &mut Merged) {
        match self.insert(now, raw) {
            Ok(true) => merged.fresh.push(raw.clone()),
            // What has ended says nothing any more.
            Ok(false) | Err(GroupError::Envelope(crate::EnvelopeError::Expired(_))) => {}
            Err(error) => {
                tracing::debug!(group = %self.id(), %error, "statement of a group refused");
                merged.refused += 1;
            }
        }
    }

    /// Takes a certificate or removal; whether it is new.
    pub(super) fn insert(&mut self, now: UnixTime, raw: &SignedBytes) -> Result<bool, GroupError> {
        let (place, held) = self.check(now, raw)?;
        match self.held.get(&place) {
            Some(known) if known.order() >= held.order() => return Ok(false),
            Some(_) => {}
            None => self.check_room(&place)?,
        }
        self.held.insert(place, held);
        Ok(true)
    }

    fn check_room(&self, (member, _): &(AgentId, AgentId)) -> Result<(), GroupError> {
        let is_known = self.of(member).next().is_some();
        let is_full = self.held.len() >= MAX_GROUP_STATEMENTS
            || (!is_known && self.count_members() >= MAX_GROUP_MEMBERS);
        if is_full {
            Err(GroupError::Full)
        } else {
            Ok(())
        }
    }

    fn count_members(&self) -> usize {
        // Counted only as far as there may be too many.
        if self.held.len() < MAX_GROUP_MEMBERS {
            return self.held.len();
        }
        self.agents().count()
    }

    /// Agents of which something is said, in order.
    pub(super) fn agents(&self) -> impl Iterator<Item = AgentId> {
        let mut last = None;
        self.held.keys().filter_map(move |(member, _)| {
            let is_next = last != Some(*member);
            last = Some(*member);
            is_next.then_some(*member)
        })
    }

    /// What is said of one agent, by signer.
    pub(super) fn of(&self, member: &AgentId) -> impl Iterator<Item = (&AgentId, &Held)> {
        let first = AgentId::new([0; AgentId::LEN]);
        let last = AgentId::new([0xFF; AgentId::LEN]);
        let range = self.held.range((*member, first)..=(*member, last));
        range.map(|((_, signer), held)| (signer, held))
    }

    fn check(
        &self,
        now: UnixTime,
        raw: &SignedBytes,
    ) -> Result<((AgentId, AgentId), Held), GroupError> {
        let envelope = raw.envelope()?;
        let signer = envelope.head.agent;
        let log = self.signer_log(&signer)?;
        let (member, group, says, head) = if envelope.context == Removal::CONTEXT {
            let Verified { head, statement } = log.verify::<Removal>(raw, now)?;
            let says = Says::Removed(statement.cause);
            (statement.member, statement.group, says, head)
        } else {
            let Verified { head, statement } = log.verify::<Membership>(raw, now)?;
            let says = Says::Is(statement.role);
            (statement.member, statement.group, says, head)
        };
        if group != self.id() {
            return Err(GroupError::OtherGroup);
        }
        let is_root = signer == self.id().signer();
        if !is_root && matches!(says, Says::Is(Role::Owner | Role::Admin)) {
            return Err(GroupError::Unauthorised);
        }
        check_times(&head, says, is_root)?;
        let held = Held {
            raw: raw.clone(),
            serial: head.serial,
            not_after: head.not_after,
            says,
        };
        Ok(((member, signer), held))
    }

    /// The log of somebody whose statements may count.
    pub(super) fn signer_log(&self, signer: &AgentId) -> Result<&VerifiedLog, GroupError> {
        if *signer == self.id().signer() {
            return Ok(&self.log);
        }
        let admin = self.admins.get(signer).ok_or(GroupError::Unauthorised)?;
        Ok(&admin.log)
    }

    /// Takes the proof that somebody is or was an admin; whether it is new.
    pub(super) fn take_admin(&mut self, proof: &AdminProof) -> Result<bool, GroupError> {
        let log = IdentityLog::from_entries(proof.log.clone()).verify(0)?;
        let agent = log.agent();
        let certificate = self.log.verify_timeless::<Membership>(&proof.certificate)?;
        let Verified { head, statement } = certificate;
        let is_its = statement.group == self.id() && statement.member == agent;
        if !is_its || statement.role != Role::Admin {
            return Err(GroupError::Unauthorised);
        }
        check_times(&head, Says::Is(Role::Admin), true)?;
        let known = self.admins.get(&agent);
        if known.is_none() && self.admins.len() >= MAX_GROUP_ADMINS {
            return Err(GroupError::Full);
        }
        let merged = match known {
            Some(known) => known.log.merged(&log)?,
            None => log,
        };
        let is_newer = |known: &Admin| {
            (known.serial, known.certificate.as_bytes())
                >= (head.serial, proof.certificate.as_bytes())
        };
        if known.is_some_and(|known| is_newer(known) && known.log == merged) {
            return Ok(false);
        }
        let admin = match known.filter(|known| is_newer(known)) {
            Some(known) => Admin {
                log: merged,
                ..known.clone()
            },
            None => Admin {
                log: merged,
                certificate: proof.certificate.clone(),
                serial: head.serial,
                not_after: head.not_after,
            },
        };
        self.admins.insert(agent, admin);
        Ok(true)
    }

    /// Takes a policy that was just signed with the group's key.
    pub(super) fn put_policy(
        &mut self,
        now: UnixTime,
        raw: &SignedBytes,
    ) -> Result<(), GroupError> {
        self.policy = check_policy(now, &self.log, raw)?;
        Ok(())
    }

    /// Forgets what has ended.
    pub(crate) fn purge(&mut self, now: UnixTime) {
        self.held.retain(|_, held| held.is_live(now));
        let signers: std::collections::BTreeSet<AgentId> =
            self.held.keys().map(|(_, signer)| *signer).collect();
        self.admins
            .retain(|agent, admin| now <= admin.not_after || signers.contains(agent));
    }

    /// The first moment at which something of it ends.
    pub(crate) fn next_end(&self) -> Option<UnixTime> {
        let ends = self.held.values().map(|held| held.not_after.as_millis());
        ends.min()
            .map(|end| UnixTime::from_millis(end.saturating_add(1)))
    }

    /// The part that begins after an agent, and after whom the next one begins.
    #[must_use]
    pub fn part(&self, after: Option<AgentId>) -> (GroupBundle, Option<AgentId>) {
        let mut statements = vec![];
        let mut next = None;
        for member in self.agents().filter(|member| Some(*member) > after) {
            if statements.len() + MAX_OF_ONE > MAX_GROUP_PART {
                break;
            }
            statements.extend(self.of(&member).map(|(_, held)| held.raw.clone()));
            next = Some(member);
        }
        let is_last = next == self.held.last_key_value().map(|((last, _), _)| *last);
        (self.with(statements), next.filter(|_| !is_last))
    }

    /// These statements and all that is needed to check them.
    #[must_use]
    pub fn with(&self, mut statements: Vec<SignedBytes>) -> GroupBundle {
        statements.truncate(MAX_GROUP_PART);
        let admins = self.admins.values().map(|admin| AdminProof {
            log: admin.log.log().entries().to_vec(),
            certificate: admin.certificate.clone(),
        });
        GroupBundle {
            log: self.log.log().entries().to_vec(),
            policy: self.policy.raw.clone(),
            admins: admins.collect(),
            statements,
        }
    }

    /// What two members tell each other when they meet: the policy, what is said of both, and every removal, the newest first.
    #[must_use]
    pub fn head(&self, about: &[AgentId]) -> GroupBundle {
        let mut removals: Vec<&Held> = self
            .held
            .values()
            .filter(|held| matches!(held.says, Says::Removed(_)))
            .collect();
        removals.sort_by_key(|held| std::cmp::Reverse(held.serial));
        let about = about.iter().flat_map(|agent| self.of(agent));
        let statements = about.map(|(_, held)| held).chain(removals);
        self.with(statements.map(|held| held.raw.clone()).collect())
    }

    /// What is said of one agent.
    #[must_use]
    pub fn about(&self, agent: &AgentId) -> GroupBundle {
        self.with(self.of(agent).map(|(_, held)| held.raw.clone()).collect())
    }

    /// Agents that were removed and are no members.
    pub fn removed(&self, now: UnixTime) -> impl Iterator<Item = AgentId> {
        let is_removed = move |agent: &AgentId| {
            self.role(now, agent).is_none() && self.removal(now, agent).is_some()
        };
        self.agents().filter(is_removed)
    }

    /// Every statement that counts, for who compares it with what others have.
    pub fn statements(&self) -> impl Iterator<Item = &SignedBytes> {
        self.held.values().map(|held| &held.raw)
    }
}

fn check_policy(
    now: UnixTime,
    log: &VerifiedLog,
    raw: &SignedBytes,
) -> Result<HeldPolicy, GroupError> {
    let Verified { head, statement } = log.verify::<GroupPolicy>(raw, now)?;
    if statement.group.signer() != log.agent() {
        return Err(GroupError::OtherGroup);
    }
    if !statement.scope.is_well_formed() {
        return Err(GroupError::Policy);
    }
    Ok(HeldPolicy {
        raw: raw.clone(),
        serial: head.serial,
        policy: statement,
    })
}

/// A serial is the time at which a statement was made, or little above it. A certificate ends at most 30 days after it was made, a
/// removal exactly so long after its serial: then every certificate with a lower serial has ended too, and it may be forgotten.
fn check_times(head: &EnvelopeHead, says: Says, is_root: bool) -> Result<(), GroupError> {
    let slack = if is_root {
        SERIAL_SLACK
    } else {
        ADMIN_SERIAL_SLACK
    };
    let serial = UnixTime::from_millis(head.serial);
    let is_dated = head.issued <= serial && serial <= head.issued.plus(slack);
    let is_ended = match says {
        Says::Is(_) => head.not_after <= head.issued.plus(CERTIFICATE_LIFETIME),
        Says::Removed(_) => head.not_after == serial.plus(CERTIFICATE_LIFETIME),
    };
    if is_dated && is_ended {
        Ok(())
    } else {
        Err(GroupError::Times)
    }
}
