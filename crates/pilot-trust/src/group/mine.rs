//! The groups that this agent is in, and what they mean for trust.

use std::collections::BTreeMap;

use pilot_types::{AgentId, GroupId, Hostname, NetworkId, Port, UnixTime};
use pilot_wire::limits::MAX_GROUPS;
use pilot_wire::{GroupBundle, RemovalCause, Role, SignedBytes, Speakers};
use serde::{Deserialize, Serialize};

use super::errors::GroupError;
use super::requests::Expected;
use super::set::{GroupSet, Merged};
use super::signing::GroupTerms;
use crate::event::TrustEvent;
use crate::identity::Identity;
use crate::item::ItemKey;
use crate::log::VerifiedLog;
use crate::machine::Trust;

/// Where statements came from: what a rendezvous said need not be told to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// We signed them.
    Own,
    /// Another member told us.
    Member,
    /// A rendezvous told us.
    Rendezvous,
}

/// What another member is to us by the group.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Tie {
    /// It may have a session with us, and what the group itself is for.
    Fellow,
    /// It is trusted with the policy's ports.
    Trusted,
}

/// A group that this agent is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    set: GroupSet,
    network: NetworkId,
    /// Ties as they were told last.
    #[serde(skip)]
    ties: BTreeMap<AgentId, Tie>,
}

impl Group {
    /// Its statements.
    #[must_use]
    pub const fn set(&self) -> &GroupSet {
        &self.set
    }

    /// The number that its rendezvous has for it.
    #[must_use]
    pub const fn network(&self) -> NetworkId {
        self.network
    }

    fn tie(&self, now: UnixTime, us: &AgentId, agent: &AgentId) -> Option<Tie> {
        if us == agent {
            return None;
        }
        self.set.role(now, us)?;
        self.set.role(now, agent)?;
        Some(self.own_tie())
    }

    fn own_tie(&self) -> Tie {
        if self.set.policy().auto_trust {
            Tie::Trusted
        } else {
            Tie::Fellow
        }
    }

    fn ties_now(&self, now: UnixTime, us: &AgentId) -> BTreeMap<AgentId, Tie> {
        if self.set.role(now, us).is_none() {
            return BTreeMap::new();
        }
        let others = self.set.members(now).filter(|(agent, _)| agent != us);
        others.map(|(agent, _)| (agent, self.own_tie())).collect()
    }

    pub(crate) fn next_end(&self) -> Option<UnixTime> {
        self.set.next_end()
    }
}

/// An invitation that waits for our answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldInvitation {
    /// As signed.
    pub raw: SignedBytes,
    /// To which group.
    pub group: GroupId,
    /// Its name.
    pub name: Hostname,
    /// Its number.
    pub network: NetworkId,
    /// Who brought it.
    pub from: AgentId,
    /// Until when.
    pub not_after: UnixTime,
}

/// All groups of this agent.
#[derive(Clone, Debug, Default)]
pub struct Groups {
    /// At most [`MAX_GROUPS`].
    pub(super) groups: BTreeMap<GroupId, Group>,
    /// At most [`MAX_GROUPS`].
    pub(super) invitations: BTreeMap<GroupId, HeldInvitation>,
    /// Groups that we asked to join, at most [`MAX_GROUPS`]; forgotten at the end of the run.
    pub(super) expected: BTreeMap<GroupId, Expected>,
}

impl Groups {
    /// Each, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Group> {
        self.groups.values()
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, group: &GroupId) -> Option<&Group> {
        self.groups.get(group)
    }

    /// Invitations that wait, by group.
    pub fn invitations(&self, now: UnixTime) -> impl Iterator<Item = &HeldInvitation> {
        let invitations = self.invitations.values();
        invitations.filter(move |invitation| now <= invitation.not_after)
    }

    /// Whether we asked to join a group and wait for our certificate.
    #[must_use]
    pub fn expects(&self, group: &GroupId) -> bool {
        self.expected.contains_key(group)
    }

    pub(crate) fn invitation(&self, group: &GroupId) -> Option<&HeldInvitation> {
        self.invitations.get(group)
    }

    /// As it was written.
    pub(crate) fn restore(&mut self, mut group: Group) -> GroupId {
        let id = group.set.id();
        // Whoever may have been tied to us: what ends from now on is told.
        let tie = group.own_tie();
        group.ties = group.set.agents().map(|agent| (agent, tie)).collect();
        self.groups.insert(id, group);
        id
    }

    pub(crate) fn restore_invitation(&mut self, invitation: HeldInvitation) -> GroupId {
        let id = invitation.group;
        self.invitations.insert(id, invitation);
        id
    }
}

impl Trust {
    /// The groups of this agent.
    #[must_use]
    pub const fn groups(&self) -> &Groups {
        &self.groups
    }

    /// Adds a group in which this agent is a member, or takes what is new of it.
    ///
    /// # Errors
    /// [`GroupError`]; nothing changed.
    pub fn put_group(
        &mut self,
        now: UnixTime,
        set: GroupSet,
        network: NetworkId,
    ) -> Result<(), GroupError> {
        let id = set.id();
        if set.role(now, &self.agent).is_none() {
            return Err(GroupError::NotMember);
        }
        if self.groups.groups.len() >= MAX_GROUPS && !self.groups.groups.contains_key(&id) {
            return Err(GroupError::TooMany);
        }
        let ties = BTreeMap::new();
        let group = Group { set, network, ties };
        self.groups.groups.insert(id, group);
        self.forget_invitation(&id);
        self.group_changed(now, id, Origin::Rendezvous, vec![]);
        Ok(())
    }

    /// Its rendezvous has another number for a group.
    pub fn set_network(&mut self, id: &GroupId, network: NetworkId) {
        if let Some(group) = self.groups.groups.get_mut(id)
            && group.network != network
        {
            group.network = network;
            self.touch(ItemKey::Group(*id));
        }
    }

    /// Takes what others know of a group that we are in or asked to join.
    ///
    /// # Errors
    /// [`GroupError`] if it is another group's or malformed; nothing changed.
    pub fn merge_group(
        &mut self,
        now: UnixTime,
        id: &GroupId,
        bundle: &GroupBundle,
        origin: Origin,
    ) -> Result<Merged, GroupError> {
        if self.groups.expected.contains_key(id) {
            return self.merge_expected(now, id, bundle);
        }
        let group = self.groups.groups.get_mut(id);
        let group = group.ok_or(GroupError::NotMember)?;
        let merged = group.set.merge(now, bundle)?;
        if merged.is_change() {
            self.group_changed(now, *id, origin, merged.fresh.clone());
        }
        Ok(merged)
    }

    /// Forgets a group: its members are nothing to us any more.
    ///
    /// # Errors
    /// [`GroupError::NotMember`].
    pub fn forget_group(&mut self, now: UnixTime, id: &GroupId) -> Result<(), GroupError> {
        let group = self.groups.groups.remove(id);
        let group = group.ok_or(GroupError::NotMember)?;
        self.touch(ItemKey::Group(*id));
        self.tell_ties(now, &group.ties, &BTreeMap::new());
        self.emit(TrustEvent::GroupLeft { group: *id });
        Ok(())
    }

    /// Removes a member; `signer` is the group's key or, for an admin, this agent's.
    ///
    /// # Errors
    /// [`GroupError`]; nothing changed.
    pub fn kick(
        &mut self,
        now: UnixTime,
        signer: &Identity,
        id: &GroupId,
        member: AgentId,
    ) -> Result<(), GroupError> {
        self.sign_in_group(now, id, |set| {
            set.remove(now, signer, (member, RemovalCause::Kicked))
        })
    }

    /// Makes a member an admin, whose log is given, or a plain member again; `key` is the group's.
    ///
    /// # Errors
    /// [`GroupError`]; nothing changed.
    #[expect(
        clippy::too_many_arguments,
        reason = "time and key come with every signature; who becomes what in which group, and how others check it"
    )]
    pub fn set_role(
        &mut self,
        now: UnixTime,
        key: &Identity,
        id: &GroupId,
        (member, role): (AgentId, Role),
        log: Option<&VerifiedLog>,
    ) -> Result<(), GroupError> {
        self.sign_in_group(now, id, |set| match (set.role(now, &member), role) {
            (None, _) => Err(GroupError::NoSuchMember),
            (Some(Role::Owner), _) => Err(GroupError::OwnerStays),
            (Some(_), Role::Owner | Role::Unknown) => Err(GroupError::NotAllowed),
            (Some(Role::Admin), Role::Admin) | (Some(Role::Member), Role::Member) => Ok(vec![]),
            (Some(_), Role::Admin) => set.certify(now, key, (member, role), log),
            (Some(_), Role::Member) => set.demote(now, key, member),
        })
    }

    /// Changes what holds in a group; `key` is the group's.
    ///
    /// # Errors
    /// [`GroupError`]; nothing changed.
    pub fn set_policy(
        &mut self,
        now: UnixTime,
        key: &Identity,
        id: &GroupId,
        terms: GroupTerms,
    ) -> Result<(), GroupError> {
        self.sign_in_group(now, id, |set| {
            set.sign_policy(now, key, terms)?;
            Ok(vec![])
        })
    }

    /// Certifies anew whose certificate has less than half of its time left; `key` is the group's.
    ///
    /// # Errors
    /// [`GroupError`] if we are not in the group, or it is full.
    pub fn renew_certificates(
        &mut self,
        now: UnixTime,
        key: &Identity,
        id: &GroupId,
    ) -> Result<(), GroupError> {
        let group = self.groups.groups.get_mut(id);
        let group = group.ok_or(GroupError::NotMember)?;
        let fresh = group.set.renew(now, key)?;
        if !fresh.is_empty() {
            self.group_changed(now, *id, Origin::Own, fresh);
        }
        Ok(())
    }

    pub(crate) fn sign_in_group(
        &mut self,
        now: UnixTime,
        id: &GroupId,
        sign: impl FnOnce(&mut GroupSet) -> Result<Vec<SignedBytes>, GroupError>,
    ) -> Result<(), GroupError> {
        let group = self.groups.groups.get_mut(id);
        let group = group.ok_or(GroupError::NotMember)?;
        let mut set = group.set.clone();
        let fresh = sign(&mut set)?;
        if set != group.set {
            group.set = set;
            self.group_changed(now, *id, Origin::Own, fresh);
        }
        Ok(())
    }

    /// After a change of a group, or when something of it has ended: what it means for trust is told.
    pub(crate) fn group_changed(
        &mut self,
        now: UnixTime,
        id: GroupId,
        origin: Origin,
        fresh: Vec<SignedBytes>,
    ) {
        let us = self.agent;
        let Some(group) = self.groups.groups.get_mut(&id) else {
            return;
        };
        group.set.purge(now);
        let is_removed =
            group.set.role(now, &us).is_none() && group.set.removal(now, &us).is_some();
        let after = group.ties_now(now, &us);
        let before = std::mem::replace(&mut group.ties, after.clone());
        self.touch(ItemKey::Group(id));
        self.tell_ties(now, &before, &after);
        self.emit(TrustEvent::GroupChanged {
            group: id,
            origin,
            fresh,
        });
        if is_removed {
            self.emit(TrustEvent::GroupEnded { group: id });
        }
    }

    fn tell_ties(
        &mut self,
        now: UnixTime,
        before: &BTreeMap<AgentId, Tie>,
        after: &BTreeMap<AgentId, Tie>,
    ) {
        for (agent, had) in before {
            let is_less = after.get(agent).is_none_or(|has| has < had);
            let is_tied = self.has_granted(now, agent) || self.is_fellow(now, agent);
            let is_over = if *had == Tie::Trusted {
                !self.has_granted(now, agent)
            } else {
                !is_tied
            };
            if is_less && is_over {
                self.emit(TrustEvent::Untrusted {
                    agent: *agent,
                    by_peer: false,
                });
            }
        }
        for (agent, has) in after {
            let is_new = before.get(agent).is_none_or(|had| had < has);
            if is_new && *has == Tie::Trusted && self.is_mutual(now, agent) {
                self.emit(TrustEvent::Trusted { agent: *agent });
            }
        }
    }

    /// Whether an agent is a member of a group of ours, and so are we.
    #[must_use]
    pub fn is_fellow(&self, now: UnixTime, agent: &AgentId) -> bool {
        !self.is_shunned(agent) && self.ties(now, agent).next().is_some()
    }

    /// Groups that we share with an agent, each member's certificate valid.
    pub fn shared_groups(&self, now: UnixTime, agent: &AgentId) -> impl Iterator<Item = &Group> {
        self.ties(now, agent).map(|(group, _)| group)
    }

    /// Whether a group has us trust an agent.
    pub(crate) fn is_trusted_by_group(&self, now: UnixTime, agent: &AgentId) -> bool {
        let mut ties = self.ties(now, agent);
        !self.is_shunned(agent) && ties.any(|(_, tie)| tie == Tie::Trusted)
    }

    /// Agents that groups have us trust, some of them more than once.
    pub fn trusted_by_groups(&self, now: UnixTime) -> impl Iterator<Item = AgentId> {
        let groups = self.groups.groups.values();
        let trusting = groups.filter(|group| group.own_tie() == Tie::Trusted);
        let ties = trusting.flat_map(move |group| group.ties_now(now, &self.agent).into_keys());
        ties.filter(|agent| !self.is_shunned(agent))
    }

    /// Whether a group lets an agent open a stream to the port.
    pub(crate) fn group_admits(&self, now: UnixTime, agent: &AgentId, port: Port) -> bool {
        let allows = |(group, tie): (&Group, Tie)| {
            tie == Tie::Trusted && group.set.policy().scope.allows_port(port)
        };
        !self.is_shunned(agent) && self.ties(now, agent).any(allows)
    }

    /// Whether an agent may speak to us as to all members of a group.
    #[must_use]
    pub fn may_broadcast(&self, now: UnixTime, group: &GroupId, agent: &AgentId) -> bool {
        let Some(group) = self.groups.groups.get(group) else {
            return false;
        };
        if group.set.role(now, &self.agent).is_none() || self.is_shunned(agent) {
            return false;
        }
        let role = group.set.role(now, agent);
        match group.set.policy().speakers {
            Speakers::Members => role.is_some(),
            Speakers::Admins => matches!(role, Some(Role::Owner | Role::Admin)),
            Speakers::Owner => role == Some(Role::Owner),
            Speakers::Nobody => false,
        }
    }

    /// Whether an agent is one of those whom a group's word is for.
    #[must_use]
    pub fn may_broadcast_to(&self, now: UnixTime, group: &GroupId, agent: &AgentId) -> bool {
        let group = self.groups.groups.get(group);
        let tie = group.and_then(|group| group.tie(now, &self.agent, agent));
        tie.is_some() && !self.is_shunned(agent)
    }

    fn ties(&self, now: UnixTime, agent: &AgentId) -> impl Iterator<Item = (&Group, Tie)> {
        let groups = self.groups.groups.values();
        groups.filter_map(move |group| Some((group, group.tie(now, &self.agent, agent)?)))
    }

    /// A person ended trust by hand, or the agent's key is compromised: no group changes that.
    fn is_shunned(&self, agent: &AgentId) -> bool {
        let peer = self.peers.get(agent);
        peer.is_some_and(|peer| peer.is_frozen || peer.is_revoked())
    }
}
