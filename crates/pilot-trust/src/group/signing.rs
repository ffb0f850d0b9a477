//! What owner and admins sign.

use pilot_types::{AgentId, GroupId, Hostname, UnixTime};
use pilot_wire::limits::CERTIFICATE_LIFETIME;
use pilot_wire::{
    AdminProof, GroupBundle, GroupPolicy, JoinRule, Membership, Removal, RemovalCause, Role, Scope,
    SignedBytes, Speakers,
};

use super::errors::GroupError;
use super::set::GroupSet;
use crate::identity::Identity;
use crate::log::VerifiedLog;

/// What a policy says beside which group it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupTerms {
    /// The name under which rendezvous know the group.
    pub name: Hostname,
    /// Who becomes a member by asking.
    pub join: JoinRule,
    /// What follows from the token, where there is one.
    pub token_key: Option<[u8; 32]>,
    /// Whether members trust each other without asking.
    pub auto_trust: bool,
    /// With what they do.
    pub scope: Scope,
    /// Who may broadcast.
    pub speakers: Speakers,
    /// Whether what is said to all is left in the mailboxes of members that are away.
    pub mailbox: bool,
}

impl GroupTerms {
    /// Joined by invitation, no trust by membership alone, the default ports, every member may broadcast, also to those who are away.
    #[must_use]
    pub fn new(name: Hostname) -> Self {
        Self {
            name,
            join: JoinRule::Invite,
            token_key: None,
            auto_trust: false,
            scope: Scope::default_scope(),
            speakers: Speakers::Members,
            mailbox: true,
        }
    }

    /// As a policy has them.
    #[must_use]
    pub fn of(policy: &GroupPolicy) -> Self {
        Self {
            name: policy.name.clone(),
            join: policy.join,
            token_key: policy.token_key,
            auto_trust: policy.auto_trust,
            scope: policy.scope.clone(),
            speakers: policy.speakers,
            mailbox: policy.mailbox,
        }
    }

    fn check(&self) -> Result<(), GroupError> {
        let is_known = !matches!(self.join, JoinRule::Unknown)
            && (self.join != JoinRule::Token || self.token_key.is_some());
        if is_known && self.scope.is_well_formed() && !self.scope.is_reply_only {
            Ok(())
        } else {
            Err(GroupError::Policy)
        }
    }

    fn into_policy(self, group: GroupId) -> GroupPolicy {
        GroupPolicy {
            group,
            name: self.name,
            join: self.join,
            token_key: self.token_key,
            auto_trust: self.auto_trust,
            scope: self.scope,
            speakers: self.speakers,
            mailbox: self.mailbox,
        }
    }
}

impl GroupSet {
    /// A new group: `key` is its own identity, made for it alone, `owner` the agent that keeps it.
    ///
    /// # Errors
    /// [`GroupError::Policy`] if the terms contradict themselves.
    pub fn create(
        now: UnixTime,
        key: &Identity,
        owner: AgentId,
        terms: GroupTerms,
    ) -> Result<Self, GroupError> {
        terms.check()?;
        let group = GroupId::of_log(key.agent());
        let policy = terms.into_policy(group);
        let policy = key.sign(now.as_millis(), now, UnixTime::FAR_FUTURE, &policy);
        let certificate = certificate(now, key, now.as_millis(), (group, owner, Role::Owner));
        let bundle = GroupBundle {
            log: key.log().entries().to_vec(),
            policy,
            admins: vec![],
            statements: vec![certificate],
        };
        Self::verify(now, &bundle)
    }

    /// Whether a key may add and remove plain members; with the group's own key anybody.
    #[must_use]
    pub fn may_sign(&self, now: UnixTime, signer: &AgentId) -> bool {
        self.is_root(signer) || self.role(now, signer) == Some(Role::Admin)
    }

    fn is_root(&self, signer: &AgentId) -> bool {
        *signer == self.id().signer()
    }

    /// Signs anew what holds in the group.
    pub(super) fn sign_policy(
        &mut self,
        now: UnixTime,
        key: &Identity,
        terms: GroupTerms,
    ) -> Result<(), GroupError> {
        terms.check()?;
        if !self.is_root(&key.agent()) {
            return Err(GroupError::NotAllowed);
        }
        let serial = (self.policy_serial() + 1).max(now.as_millis());
        let policy = terms.into_policy(self.id());
        let raw = key.sign(serial, now, UnixTime::FAR_FUTURE, &policy);
        self.put_policy(now, &raw)
    }

    /// Certifies an agent; an admin's log must be known, so that others can check what it signs.
    pub(super) fn certify(
        &mut self,
        now: UnixTime,
        signer: &Identity,
        (member, role): (AgentId, Role),
        log: Option<&VerifiedLog>,
    ) -> Result<Vec<SignedBytes>, GroupError> {
        if !self.may_sign(now, &signer.agent())
            || (role != Role::Member && !self.is_root(&signer.agent()))
        {
            return Err(GroupError::NotAllowed);
        }
        let serial = (self.highest(&member) + 1).max(now.as_millis());
        self.certify_at(now, signer, (serial, member, role), log)
    }

    fn certify_at(
        &mut self,
        now: UnixTime,
        signer: &Identity,
        (serial, member, role): (u64, AgentId, Role),
        log: Option<&VerifiedLog>,
    ) -> Result<Vec<SignedBytes>, GroupError> {
        let raw = certificate(now, signer, serial, (self.id(), member, role));
        if role == Role::Admin {
            let log = log.ok_or(GroupError::NoSuchMember)?;
            self.take_admin(&AdminProof {
                log: log.log().entries().to_vec(),
                certificate: raw.clone(),
            })?;
        }
        self.insert(now, &raw)?;
        Ok(vec![raw])
    }

    /// Makes a member a plain one. What an admin said stays in force: the group's key says it from now on.
    pub(super) fn demote(
        &mut self,
        now: UnixTime,
        key: &Identity,
        member: AgentId,
    ) -> Result<Vec<SignedBytes>, GroupError> {
        let left = self.hangs_on(now, &member);
        let mut fresh = self.certify(now, key, (member, Role::Member), None)?;
        fresh.extend(self.adopt(now, key, (member, left))?);
        Ok(fresh)
    }

    /// Removes a member.
    pub(super) fn remove(
        &mut self,
        now: UnixTime,
        signer: &Identity,
        (member, cause): (AgentId, RemovalCause),
    ) -> Result<Vec<SignedBytes>, GroupError> {
        let is_root = self.is_root(&signer.agent());
        match self.role(now, &member) {
            Some(Role::Owner) => return Err(GroupError::OwnerStays),
            Some(Role::Admin) if !is_root => return Err(GroupError::NotAllowed),
            Some(Role::Admin | Role::Member | Role::Unknown) => {}
            None => return Err(GroupError::NoSuchMember),
        }
        if !self.may_sign(now, &signer.agent()) {
            return Err(GroupError::NotAllowed);
        }
        let left = self.hangs_on(now, &member);
        let raw = self.sign_removal(now, signer, (member, cause));
        self.insert(now, &raw)?;
        let mut fresh = vec![raw];
        if is_root {
            fresh.extend(self.adopt(now, signer, (member, left))?);
        }
        Ok(fresh)
    }

    pub(super) fn sign_removal(
        &self,
        now: UnixTime,
        signer: &Identity,
        (member, cause): (AgentId, RemovalCause),
    ) -> SignedBytes {
        let serial = (self.highest(&member) + 1).max(now.as_millis());
        let end = UnixTime::from_millis(serial).plus(CERTIFICATE_LIFETIME);
        let removal = Removal {
            group: self.id(),
            member,
            cause,
        };
        signer.sign(serial, now, end, &removal)
    }

    /// Says with the group's key what only an admin said that is none any more. The certificates lie above the admin's end, so that
    /// no removal which it dates back reaches them.
    fn adopt(
        &mut self,
        now: UnixTime,
        key: &Identity,
        (admin, (members, removed)): (AgentId, (Vec<AgentId>, Vec<AgentId>)),
    ) -> Result<Vec<SignedBytes>, GroupError> {
        let mut fresh = vec![];
        let above = self.highest(&admin) + 1;
        for member in members {
            // Owners and admins stand by the group's key already.
            if self.role(now, &member).is_none() {
                let serial = (self.highest(&member) + 1).max(above);
                fresh.extend(self.certify_at(now, key, (serial, member, Role::Member), None)?);
            }
        }
        for member in removed {
            let raw = self.sign_removal(now, key, (member, RemovalCause::Kicked));
            self.insert(now, &raw)?;
            fresh.push(raw);
        }
        Ok(fresh)
    }

    /// Certifies every member anew whose certificate has less than half of its time left.
    pub(super) fn renew(
        &mut self,
        now: UnixTime,
        key: &Identity,
    ) -> Result<Vec<SignedBytes>, GroupError> {
        let soon = now.plus(CERTIFICATE_LIFETIME / 2);
        let due: Vec<(AgentId, Role)> = self
            .members(now)
            .filter(|(agent, _)| self.member_until(now, agent).is_some_and(|end| end < soon))
            .collect();
        let mut fresh = vec![];
        for (agent, role) in due {
            let log = self.admins.get(&agent).map(|admin| admin.log.clone());
            fresh.extend(self.certify(now, key, (agent, role), log.as_ref())?);
        }
        Ok(fresh)
    }
}

fn certificate(
    now: UnixTime,
    signer: &Identity,
    serial: u64,
    (group, member, role): (GroupId, AgentId, Role),
) -> SignedBytes {
    let membership = Membership {
        group,
        member,
        role,
    };
    signer.sign(serial, now, now.plus(CERTIFICATE_LIFETIME), &membership)
}
