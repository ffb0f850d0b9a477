//! Groups: what the shell asks for, and what members tell each other.

use pilot_registry::{Request, Sender};
use pilot_trust::{GroupError, GroupSet, GroupTerms, GroupToken, Identity, Origin};
use pilot_types::{AgentId, GroupId, Hostname, NetworkId};
use pilot_wire::{GroupBundle, Record, Role, SignedBytes, encode_postcard};

use crate::dials::DialPurpose;
use crate::directory::PeerEntry;
use crate::event::{DialId, QueryId};
use crate::links::QueryUse;
use crate::node::Node;
use crate::now::Now;
use crate::peer_session::Class;
use crate::trust_port::TrustMessage;

impl Node {
    /// Creates a group with a key of its own, which the shell has stored; [`Event::Answered`](crate::Event::Answered) follows.
    ///
    /// # Errors
    /// [`GroupError`]; nothing changed.
    pub fn create_group(
        &mut self,
        now: Now,
        key: Identity,
        terms: GroupTerms,
    ) -> Result<QueryId, GroupError> {
        let set = GroupSet::create(now.unix, &key, self.agent(), terms)?;
        let query = self.links.next_query();
        let (bundle, _) = set.part(None);
        self.crew.keys.insert(set.id(), key);
        self.crew.creating.insert(query, set);
        let request = Request::CreateGroup {
            bundle: Box::new(bundle),
            wanted: None,
        };
        self.ask_for(now, query, request, QueryUse::CreateGroup(query));
        Ok(query)
    }

    /// Asks a group to take us in; [`Event::Answered`](crate::Event::Answered) says that it was asked. We are in once
    /// [`pilot_trust::Trust::groups`] has it.
    pub fn join_group(&mut self, now: Now, name: Hostname, token: Option<GroupToken>) -> QueryId {
        let query = self.links.next_query();
        self.crew.finding.insert(query, token);
        let request = Request::FindGroup { name };
        self.ask_for(now, query, request, QueryUse::FindGroup(query));
        query
    }

    /// Leaves a group: we forget it at once, its owner's daemon signs the removal when it hears of it.
    ///
    /// # Errors
    /// [`GroupError`]; nothing changed.
    pub fn leave_group(&mut self, now: Now, group: GroupId) -> Result<(), GroupError> {
        let request = self.trust.leave_group(now.unix, &self.identity, &group)?;
        self.crew.forget(&group);
        let request = Request::AskGroup { group, request };
        self.links.ask(now.instant, request, QueryUse::Nobody);
        self.drain(now);
        Ok(())
    }

    /// Removes a member.
    ///
    /// # Errors
    /// [`GroupError`]; nothing changed.
    pub fn kick(&mut self, now: Now, group: &GroupId, member: AgentId) -> Result<(), GroupError> {
        let signer = self.crew.signer(&self.identity, group);
        self.trust.kick(now.unix, signer, group, member)?;
        self.drain(now);
        Ok(())
    }

    /// Makes a member an admin, or a plain member again.
    ///
    /// # Errors
    /// [`GroupError`]; nothing changed.
    pub fn set_role(
        &mut self,
        now: Now,
        group: &GroupId,
        member: AgentId,
        role: Role,
    ) -> Result<(), GroupError> {
        let log = self.known_log(&member).cloned();
        let key = self.crew.signer(&self.identity, group);
        let becomes = (member, role);
        self.trust
            .set_role(now.unix, key, group, becomes, log.as_ref())?;
        self.drain(now);
        Ok(())
    }

    /// Changes what holds in a group.
    ///
    /// # Errors
    /// [`GroupError`]; nothing changed.
    pub fn set_group_policy(
        &mut self,
        now: Now,
        group: &GroupId,
        terms: GroupTerms,
    ) -> Result<(), GroupError> {
        let key = self.crew.signer(&self.identity, group);
        self.trust.set_policy(now.unix, key, group, terms)?;
        self.drain(now);
        Ok(())
    }

    /// Invites an agent; [`Event::Answered`](crate::Event::Answered) says that the rendezvous has it.
    ///
    /// # Errors
    /// [`GroupError`]; nothing changed.
    pub fn invite(
        &mut self,
        now: Now,
        group: &GroupId,
        to: AgentId,
    ) -> Result<QueryId, GroupError> {
        let signer = self.crew.signer(&self.identity, group);
        let invitation = self.trust.invite(now.unix, signer, group, to)?;
        let query = self.links.next_query();
        let request = Request::Invite { to, invitation };
        self.ask_for(now, query, request, QueryUse::Request(query));
        Ok(query)
    }

    /// Forgets an invitation; whether there was one.
    pub fn decline(&mut self, now: Now, group: &GroupId) -> bool {
        let was_there = self.trust.forget_invitation(group);
        self.drain(now);
        was_there
    }

    /// Asks the rendezvous for entries of members, a hundred at a time; [`Event::Answered`](crate::Event::Answered) follows.
    pub fn group_entries(&mut self, now: Now, group: GroupId, offset: u32) -> QueryId {
        let query = self.links.next_query();
        let request = Request::GroupMembers { group, offset };
        self.ask_for(now, query, request, QueryUse::Search(query));
        query
    }

    /// Whether this agent keeps the key of a group.
    #[must_use]
    pub fn owns_group(&self, group: &GroupId) -> bool {
        self.crew.keys.contains_key(group)
    }

    /// Whether a dial speaks for a group that lets us, to one of its members.
    pub(crate) fn may_speak(&self, now: Now, id: DialId, agent: &AgentId) -> bool {
        let purpose = self.dials.get(id).map(|dial| &dial.purpose);
        let Some(DialPurpose::Stream {
            group: Some(group), ..
        }) = purpose
        else {
            return false;
        };
        self.trust.may_broadcast(now.unix, group, &self.agent())
            && self.trust.may_broadcast_to(now.unix, group, agent)
    }

    /// A session with a fellow member began: each tells the other what it knows of both, and who was removed.
    pub(crate) fn greet_fellow(&mut self, now: Now, agent: AgentId) {
        let about = [self.agent(), agent];
        let shared = self.trust.shared_groups(now.unix, &agent);
        let heads: Vec<(GroupId, GroupBundle)> = shared
            .map(|group| (group.set().id(), group.set().head(&about)))
            .collect();
        for (group, bundle) in heads {
            self.tell_fellow(now, agent, group, bundle);
        }
    }

    fn tell_fellow(&mut self, now: Now, agent: AgentId, group: GroupId, bundle: GroupBundle) {
        let body = encode_postcard(&TrustMessage::Group { group, bundle });
        if self.start_trust_message(now, agent, body).is_err() {
            tracing::debug!(%agent, %group, "too much at a time: the member is told when it meets somebody next");
        }
    }

    /// What is new of a group goes to every member that we have a session with, and what we signed to the rendezvous.
    pub(crate) fn spread_group(
        &mut self,
        now: Now,
        group: GroupId,
        origin: Origin,
        fresh: Vec<SignedBytes>,
    ) {
        let Some(known) = self.trust.groups().get(&group) else {
            return;
        };
        let bundle = known.set().with(fresh.clone());
        let is_member = |agent: &AgentId| known.set().role(now.unix, agent).is_some();
        let sessions = self
            .table
            .iter()
            .filter(|session| session.class == Class::Peer && !session.transport.is_closing());
        let members = sessions.map(|session| session.agent).filter(is_member);
        let told: Vec<AgentId> = members.collect();
        for agent in told {
            self.tell_fellow(now, agent, group, bundle.clone());
        }
        if origin == Origin::Own {
            self.crew.add_unsent(group, fresh);
            self.put_group(now, group);
        }
    }

    /// A member told us of a group.
    pub(crate) fn take_group(&mut self, now: Now, group: &GroupId, bundle: &GroupBundle) {
        let merged = self
            .trust
            .merge_group(now.unix, group, bundle, Origin::Member);
        if let Err(error) = merged {
            tracing::debug!(%group, %error, "a member's word of a group refused");
            self.output.drops.count("group_refused");
        }
    }

    /// Somebody wants to join or leave a group that we may sign for.
    pub(crate) fn take_group_request(&mut self, now: Now, request: &SignedBytes, entry: Sender) {
        let Some(log) = self.verify_log(entry.log) else {
            return;
        };
        let record = entry.record.as_ref();
        let record = record.and_then(|record| log.verify::<Record>(record, now.unix).ok());
        if self.known_log(&log.agent()).is_none()
            && let Some(record) = record
        {
            // As an admin it would be checked by its log.
            self.directory.learn(&PeerEntry {
                agent: log.agent(),
                log: log.clone(),
                record: record.statement,
                candidates: vec![],
                last_seen: None,
                is_online: true,
            });
        }
        let group = request.envelope().ok();
        let group = group.and_then(|it| it.statement::<pilot_wire::GroupRequest>().ok());
        let Some(group) = group.map(|request| request.group) else {
            self.output.drops.count("group_refused");
            return;
        };
        let signer = self.crew.signer(&self.identity, &group);
        let answered = self
            .trust
            .answer_group_request(now.unix, signer, request, &log);
        if let Err(error) = answered {
            tracing::info!(%group, agent = %log.agent().address(), %error, "request to a group not answered");
            self.output.drops.count("group_refused");
        }
    }

    /// Somebody invites us.
    pub(crate) fn take_invitation(
        &mut self,
        now: Now,
        invitation: &SignedBytes,
        network: NetworkId,
        (group, entry): (Vec<Vec<u8>>, Sender),
    ) {
        let from = self.verify_log(entry.log);
        let group = pilot_trust::IdentityLog::from_entries(group).verify(0);
        let (Some(from), Ok(group)) = (from, group) else {
            return;
        };
        let signer = invitation.envelope().map(|envelope| envelope.head.agent);
        let log = if signer == Ok(group.agent()) {
            &group
        } else {
            &from
        };
        let taken =
            self.trust
                .handle_invitation(now.unix, invitation, (log, from.agent()), network);
        if let Err(error) = taken {
            tracing::debug!(from = %from.agent(), %error, "invitation refused");
            self.output.drops.count("group_refused");
        }
    }
}
