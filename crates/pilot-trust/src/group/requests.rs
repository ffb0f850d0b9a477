//! Asking to join or to leave, and what owner and admins answer.

use std::time::Duration;

use pilot_types::{AgentId, GroupId, NetworkId, UnixTime};
use pilot_wire::limits::{INVITATION_LIFETIME, MAX_GROUPS};
use pilot_wire::{
    GroupAsk, GroupBundle, GroupRequest, Invitation, JoinRule, RemovalCause, Role, SignedBytes,
};

use super::errors::GroupError;
use super::mine::{HeldInvitation, Origin};
use super::set::{GroupSet, Merged};
use super::token::{GroupToken, is_proof};
use crate::event::TrustEvent;
use crate::identity::Identity;
use crate::item::ItemKey;
use crate::log::VerifiedLog;
use crate::machine::Trust;

/// How long we wait for a certificate that we asked for: as long as a request to join may be answered.
const JOIN_PATIENCE: Duration = Duration::from_secs(600);

/// A group that we asked to join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    set: GroupSet,
    network: NetworkId,
    until: UnixTime,
}

impl Trust {
    /// A request to become a member, for those who may sign; the group is as a rendezvous offers it.
    ///
    /// # Errors
    /// [`GroupError`] if it is known already that nobody would sign.
    #[expect(
        clippy::too_many_arguments,
        reason = "time and identity come with every signature; the group, its number, and what lets us in"
    )]
    pub fn ask_to_join(
        &mut self,
        now: UnixTime,
        identity: &Identity,
        offer: GroupSet,
        network: NetworkId,
        token: Option<&GroupToken>,
    ) -> Result<SignedBytes, GroupError> {
        let id = offer.id();
        let known = self.groups.groups.get(&id);
        if known.is_some_and(|group| group.set().role(now, &self.agent).is_some()) {
            return Err(GroupError::AlreadyMember);
        }
        if known.is_none() && self.groups.groups.len() >= MAX_GROUPS {
            return Err(GroupError::TooMany);
        }
        let invitation = self.groups.invitation(&id);
        let invitation = invitation.filter(|held| now <= held.not_after);
        let invitation = invitation.map(|held| held.raw.clone());
        let token = check_entry(&offer, token, invitation.is_some())?;
        let ask = GroupAsk::Join {
            token: token.map(|token| token.proof(&id, &self.agent)),
            invitation,
        };
        let until = now.plus(JOIN_PATIENCE);
        let request = GroupRequest { group: id, ask };
        let (_, raw) = self.sign(now, identity, until, &request);
        self.expect(now, offer, network, until);
        Ok(raw)
    }

    fn expect(&mut self, now: UnixTime, set: GroupSet, network: NetworkId, until: UnixTime) {
        let expected = &mut self.groups.expected;
        expected.retain(|_, expected| now <= expected.until);
        if expected.len() >= MAX_GROUPS {
            expected.pop_first();
        }
        let waits = Expected {
            set,
            network,
            until,
        };
        expected.insert(waits.set.id(), waits);
    }

    /// A group that we asked to join is told to us: we are in as soon as it says so.
    pub(super) fn merge_expected(
        &mut self,
        now: UnixTime,
        id: &GroupId,
        bundle: &GroupBundle,
    ) -> Result<Merged, GroupError> {
        let expected = self.groups.expected.get_mut(id);
        let expected = expected.ok_or(GroupError::NotMember)?;
        let merged = expected.set.merge(now, bundle)?;
        if expected.set.role(now, &self.agent).is_some()
            && let Some(expected) = self.groups.expected.remove(id)
        {
            self.put_group(now, expected.set, expected.network)?;
        }
        Ok(merged)
    }

    /// A request to be a member no more, for those who may sign. We forget the group at once.
    ///
    /// # Errors
    /// [`GroupError`]; nothing changed.
    pub fn leave_group(
        &mut self,
        now: UnixTime,
        identity: &Identity,
        id: &GroupId,
    ) -> Result<SignedBytes, GroupError> {
        let group = self.groups.groups.get(id);
        let group = group.ok_or(GroupError::NotMember)?;
        if group.set().role(now, &self.agent) == Some(Role::Owner) {
            return Err(GroupError::OwnerStays);
        }
        let request = GroupRequest {
            group: *id,
            ask: GroupAsk::Leave,
        };
        let until = now.plus(INVITATION_LIFETIME);
        let (_, raw) = self.sign(now, identity, until, &request);
        self.forget_group(now, id)?;
        Ok(raw)
    }

    /// Signs an invitation for an agent that is no member.
    ///
    /// # Errors
    /// [`GroupError`]; nothing changed.
    pub fn invite(
        &self,
        now: UnixTime,
        signer: &Identity,
        id: &GroupId,
        invitee: AgentId,
    ) -> Result<SignedBytes, GroupError> {
        let group = self.groups.groups.get(id);
        let set = group.ok_or(GroupError::NotMember)?.set();
        if !set.may_sign(now, &signer.agent()) {
            return Err(GroupError::NotAllowed);
        }
        if set.role(now, &invitee).is_some() {
            return Err(GroupError::AlreadyMember);
        }
        let serial = (set.highest(&invitee) + 1).max(now.as_millis());
        let invitation = Invitation {
            group: *id,
            invitee,
            name: set.policy().name.clone(),
        };
        Ok(signer.sign(serial, now, now.plus(INVITATION_LIFETIME), &invitation))
    }

    /// Keeps an invitation for us, as a rendezvous brought it from an agent whose log it comes with.
    ///
    /// # Errors
    /// [`GroupError`]: it is dropped.
    pub fn handle_invitation(
        &mut self,
        now: UnixTime,
        raw: &SignedBytes,
        (signer, from): (&VerifiedLog, AgentId),
        network: NetworkId,
    ) -> Result<(), GroupError> {
        let verified = signer.verify::<Invitation>(raw, now)?;
        let Invitation {
            group,
            invitee,
            name,
        } = verified.statement;
        if invitee != self.agent {
            return Err(GroupError::NotInvited);
        }
        if self.groups.groups.contains_key(&group) {
            return Err(GroupError::AlreadyMember);
        }
        let invitations = &self.groups.invitations;
        if invitations.len() >= MAX_GROUPS && !invitations.contains_key(&group) {
            let oldest = invitations.values().min_by_key(|held| held.not_after);
            let oldest = oldest.map(|held| held.group);
            if let Some(oldest) = oldest {
                self.forget_invitation(&oldest);
            }
        }
        let held = HeldInvitation {
            raw: raw.clone(),
            group,
            name,
            network,
            from,
            not_after: verified.head.not_after,
        };
        self.groups.invitations.insert(group, held);
        self.touch(ItemKey::Invitation(group));
        self.emit(TrustEvent::Invited { group });
        Ok(())
    }

    /// Forgets an invitation; whether there was one.
    pub fn forget_invitation(&mut self, group: &GroupId) -> bool {
        let was_there = self.groups.invitations.remove(group).is_some();
        if was_there {
            self.touch(ItemKey::Invitation(*group));
        }
        was_there
    }

    /// Answers an agent that wants to join or to leave, as the rule has it; `signer` is the group's key or, for an admin, this agent's.
    ///
    /// # Errors
    /// [`GroupError`]: it is not answered.
    pub fn answer_group_request(
        &mut self,
        now: UnixTime,
        signer: &Identity,
        raw: &SignedBytes,
        asker: &VerifiedLog,
    ) -> Result<(), GroupError> {
        let verified = asker.verify::<GroupRequest>(raw, now)?;
        let (serial, request) = (verified.head.serial, verified.statement);
        let member = asker.agent();
        self.sign_in_group(now, &request.group, |set| {
            if !set.may_sign(now, &signer.agent()) {
                return Err(GroupError::NotAllowed);
            }
            let removed = set.removal(now, &member);
            if removed.is_some_and(|(removed, _)| serial <= removed) {
                return Err(GroupError::Removed);
            }
            match &request.ask {
                GroupAsk::Join { token, invitation } => {
                    if set.role(now, &member).is_some() {
                        return Ok(vec![]);
                    }
                    may_enter(now, set, &member, (token.as_deref(), invitation.as_ref()))?;
                    set.certify(now, signer, (member, Role::Member), None)
                }
                GroupAsk::Leave => set.remove(now, signer, (member, RemovalCause::Left)),
                GroupAsk::Unknown => Err(GroupError::NotAllowed),
            }
        })
    }

    pub(crate) fn end_group(&mut self, now: UnixTime, id: GroupId) {
        self.group_changed(now, id, Origin::Rendezvous, vec![]);
    }
}

/// Whether we can get in with what we have, and the token as far as it is asked for.
fn check_entry<'t>(
    offer: &GroupSet,
    token: Option<&'t GroupToken>,
    is_invited: bool,
) -> Result<Option<&'t GroupToken>, GroupError> {
    let policy = offer.policy();
    match (policy.join, token) {
        (JoinRule::Token, Some(token)) if policy.token_key != Some(token.public_key()) => {
            Err(GroupError::WrongToken)
        }
        (JoinRule::Token, Some(token)) => Ok(Some(token)),
        (JoinRule::Open, _) => Ok(None),
        _ if is_invited => Ok(None),
        (JoinRule::Token, None) => Err(GroupError::TokenNeeded),
        (JoinRule::Invite | JoinRule::Unknown, _) => Err(GroupError::NotInvited),
    }
}

fn may_enter(
    now: UnixTime,
    set: &GroupSet,
    member: &AgentId,
    (token, invitation): (Option<&[u8]>, Option<&SignedBytes>),
) -> Result<(), GroupError> {
    let removed = set.removal(now, member);
    if let Some(raw) = invitation {
        let invited = check_invitation(now, set, member, raw);
        if invited.is_ok_and(|serial| removed.is_none_or(|(removed, _)| serial > removed)) {
            return Ok(());
        }
    }
    if removed.is_some_and(|(_, cause)| cause != RemovalCause::Left) {
        return Err(GroupError::Removed);
    }
    let policy = set.policy();
    match (policy.join, policy.token_key, token) {
        (JoinRule::Open, _, _) => Ok(()),
        (JoinRule::Token, Some(key), Some(proof)) if is_proof(&key, &set.id(), member, proof) => {
            Ok(())
        }
        (JoinRule::Token, _, _) => Err(GroupError::WrongToken),
        (JoinRule::Invite | JoinRule::Unknown, _, _) => Err(GroupError::NotInvited),
    }
}

/// The serial of an invitation that somebody signed who may.
fn check_invitation(
    now: UnixTime,
    set: &GroupSet,
    member: &AgentId,
    raw: &SignedBytes,
) -> Result<u64, GroupError> {
    let signer = raw.envelope()?.head.agent;
    if !set.may_sign(now, &signer) {
        return Err(GroupError::Unauthorised);
    }
    let invited = set.signer_log(&signer)?.verify::<Invitation>(raw, now)?;
    let Invitation { group, invitee, .. } = invited.statement;
    if group == set.id() && invitee == *member {
        Ok(invited.head.serial)
    } else {
        Err(GroupError::NotInvited)
    }
}
