//! Knocks, grants and what follows from them.

use std::time::Duration;

use pilot_registry::{Push, PushAck, Request};
use pilot_trust::{
    ApproveError, KnockError, KnockOutcome, KnockRequest, LearntBy, Policy, RejectError, Terms,
    Ticket, TicketError, TicketTerms, TrustEvent, UntrustError, VerifiedLog,
};
use pilot_types::AgentId;
use pilot_wire::{
    ErrorCode, Knock, KnockTarget, Record, Scope, SignedBytes, decode_postcard, encode_postcard,
    limits,
};

use crate::config::Profile;
use crate::dials::{DialPurpose, Target};
use crate::directory::KnownPeer;
use crate::event::{DialError, DialId, Event, Persist, QueryId, SessionKey};
use crate::links::QueryUse;
use crate::node::Node;
use crate::now::Now;
use crate::peer_session::Class;
use crate::trust_port::{TrustAck, TrustMessage};
use crate::written::Held;

/// Agents that tickets introduced and that have not been reached yet.
const MAX_INTRODUCED: usize = 64;

/// What a knock led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Knocked {
    /// It was sent, whether or not the target exists; the query ends when the rendezvous has it.
    Sent(QueryId),
    /// It goes straight to the agent that a ticket introduced.
    Direct(DialId),
    /// Trust holds already, or held by this.
    Trusted(AgentId),
}

impl Node {
    /// Asks for trust, and gives the default scope back.
    ///
    /// # Errors
    /// [`KnockError`] if the target is this agent or the text is too long.
    pub fn knock(
        &mut self,
        now: Now,
        target: KnockTarget,
        justification: &str,
    ) -> Result<Knocked, KnockError> {
        let terms = self.trust.default_terms(now.unix);
        self.knock_with(now, target, justification, terms)
    }

    /// Asks for trust, and gives back what `terms` say once it is granted.
    ///
    /// # Errors
    /// As [`Self::knock`], and if the terms allow nothing.
    pub fn knock_with(
        &mut self,
        now: Now,
        target: KnockTarget,
        justification: &str,
        terms: Terms,
    ) -> Result<Knocked, KnockError> {
        let hostname = self.profile.current.hostname.clone();
        let introduced = match &target {
            KnockTarget::Agent(agent) if self.is_introduced(agent) => Some(*agent),
            KnockTarget::Agent(_) | KnockTarget::Node(_) | KnockTarget::Hostname(_) => None,
        };
        let request = KnockRequest {
            learnt_by: LearntBy::of(&target),
            target,
            justification,
            hostname,
            terms,
        };
        let outcome = self.trust.knock_with(now.unix, &self.identity, request)?;
        let knocked = match outcome {
            KnockOutcome::AlreadyTrusted(agent) => Knocked::Trusted(agent),
            KnockOutcome::Send(knock) => self.send_knock(now, introduced, knock),
        };
        self.drain(now);
        Ok(knocked)
    }

    /// Whether a ticket gave us the agent's addresses and the right to knock there.
    fn is_introduced(&self, agent: &AgentId) -> bool {
        let known = self.directory.peer(agent);
        self.hellos.tickets.contains_key(agent)
            && known.is_some_and(|peer| !peer.candidates.is_empty())
    }

    fn send_knock(&mut self, now: Now, introduced: Option<AgentId>, knock: SignedBytes) -> Knocked {
        if let Some(agent) = introduced {
            let body = encode_postcard(&TrustMessage::Knock {
                knock: knock.clone(),
            });
            if let Ok(dial) =
                self.start_dial(now, Target::Agent(agent), DialPurpose::Trust { body })
            {
                return Knocked::Direct(dial);
            }
        }
        let query = self.links.next_query();
        self.ask_for(
            now,
            query,
            Request::Knock { knock },
            QueryUse::Request(query),
        );
        Knocked::Sent(query)
    }

    pub(crate) fn own_record(&mut self, now: Now) -> SignedBytes {
        let (serial, record) = (self.hellos.own.stamp(now.unix), self.record(now));
        self.identity.sign(
            serial,
            now.unix,
            now.unix.plus(limits::RECORD_LIFETIME),
            &record,
        )
    }

    /// Grants a knocker, or an agent that is trusted already, what `terms` say.
    ///
    /// # Errors
    /// [`ApproveError`] if the agent neither knocked nor is trusted.
    pub fn approve(&mut self, now: Now, agent: &AgentId, terms: Terms) -> Result<(), ApproveError> {
        self.trust.approve(now.unix, &self.identity, agent, terms)?;
        self.drain(now);
        Ok(())
    }

    /// Forgets a knock.
    ///
    /// # Errors
    /// [`RejectError`] if the agent did not knock.
    pub fn reject(&mut self, now: Now, agent: &AgentId, reason: &str) -> Result<(), RejectError> {
        self.trust.reject(now.unix, agent, reason)?;
        self.drain(now);
        Ok(())
    }

    /// Revokes what was granted, and closes the session.
    ///
    /// # Errors
    /// [`UntrustError`] if the agent was not trusted.
    pub fn untrust(&mut self, now: Now, agent: &AgentId) -> Result<(), UntrustError> {
        self.trust.untrust(now.unix, &self.identity, agent)?;
        self.drain(now);
        Ok(())
    }

    /// A ticket that lets its holder knock without a rendezvous, once.
    ///
    /// # Errors
    /// The machine's error when too many tickets are out.
    pub fn issue_ticket(
        &mut self,
        now: Now,
        lifetime: Duration,
        rendezvous: Option<String>,
    ) -> Result<Ticket, TicketError> {
        let seed = self.child_seed();
        let not_after = now.unix.plus(lifetime);
        let secret = self.trust.issue_ticket_secret(now.unix, &seed, not_after)?;
        let terms = TicketTerms {
            endpoints: self.outer_addresses(),
            rendezvous,
            secret,
            issued: now.unix,
            not_after,
        };
        let ticket = Ticket::issue(&self.identity, terms)?;
        self.drain(now);
        Ok(ticket)
    }

    /// Learns an agent from its ticket: key at full strength, addresses, and the right to knock there.
    pub fn introduce(&mut self, ticket: &Ticket) -> AgentId {
        let (agent, log) = (ticket.agent, ticket.log.clone());
        let known = KnownPeer {
            agent,
            entries: log.log().entries().to_vec(),
            hostname: None,
            tags: vec![],
            capabilities: vec![],
            is_public: false,
            auto_approves: false,
            candidates: ticket.endpoints.clone(),
        };
        if self.hellos.tickets.len() >= MAX_INTRODUCED {
            self.hellos.tickets.pop_first();
        }
        self.hellos.tickets.insert(agent, ticket.secret);
        self.directory.put(log, known);
        agent
    }

    /// Changes what the registry says of us; [`Event::Registered`] follows from each rendezvous.
    pub fn set_profile(&mut self, now: Now, profile: Profile) {
        let previous = std::mem::replace(&mut self.profile.current, profile);
        self.profile.previous = Some(previous);
        self.relaying.changed();
        self.announce_all(now);
        self.drain(now);
    }

    /// Takes our record, name and address out of every registry; they stay out until [`Self::set_profile`] or a restart.
    /// [`Event::Answered`] follows, from the best rendezvous; the others are told too.
    pub fn deregister(&mut self, now: Now) -> QueryId {
        let query = self.links.next_query();
        self.links.withdraw(now.instant);
        self.ask_for(now, query, Request::Deregister, QueryUse::Request(query));
        query
    }

    /// Sets the profile of a node that has not registered yet.
    pub fn init_profile(&mut self, profile: Profile) {
        self.profile.current = profile;
    }

    fn policy(&self, now: Now) -> Policy {
        match &self.profile.current.auto_approve {
            Some(scope) => Policy::Approve(Terms {
                scope: scope.clone(),
                ..self.trust.default_terms(now.unix)
            }),
            None => Policy::Ask,
        }
    }

    /// Takes a push of a rendezvous; its words are checked with the agents' own keys.
    pub(crate) fn serve_push(&mut self, now: Now, body: &[u8]) -> Option<Vec<u8>> {
        match Push::decode(body).ok()? {
            Push::Knock { knock, entry } => {
                if let Some(log) = self.verify_log(entry.log) {
                    self.take_log(&log);
                    self.take_knock(now, &knock, &log);
                    self.take_name(now, &log, entry.record.as_ref());
                }
            }
            Push::Grant { grant, entry } => {
                if let Some(log) = self.verify_log(entry.log) {
                    self.take_log(&log);
                    self.take_grant(now, &grant, &log, entry.record.as_ref());
                }
            }
            Push::Superseded => self.superseded(now),
            Push::GroupChanged { group } => self.group_is_stale(now, group),
            Push::GroupRequest { request, entry } => self.take_group_request(now, &request, entry),
            Push::Invitation {
                invitation,
                network,
                group,
                entry,
            } => self.take_invitation(now, &invitation, network, (group, entry)),
            Push::LettersWaiting => self.letters_waiting(now),
            Push::Unknown => {}
        }
        Some(PushAck::Taken.encode())
    }

    pub(crate) fn verify_log(&mut self, entries: Vec<Vec<u8>>) -> Option<VerifiedLog> {
        let log = pilot_trust::IdentityLog::from_entries(entries)
            .verify(self.config.min_work_bits)
            .ok();
        if log.is_none() {
            self.output.drops.count("push_log");
        }
        log
    }

    /// A trust message on port 444.
    pub(crate) fn serve_trust(
        &mut self,
        now: Now,
        key: SessionKey,
        body: &[u8],
    ) -> Option<Vec<u8>> {
        let session = self.table.get_mut(key)?;
        let (log, ticket) = (session.log.clone(), session.ticket.take());
        let is_peer = session.class == Class::Peer;
        match decode_postcard::<TrustMessage>(body, "trust message").ok()? {
            TrustMessage::Knock { knock } => {
                // A ticket lets its holder knock once.
                if let Some(secret) = ticket {
                    self.trust.use_ticket_secret(now.unix, &secret);
                }
                self.take_knock(now, &knock, &log);
            }
            TrustMessage::Grant { grant, record } => {
                self.take_grant(now, &grant, &log, record.as_ref());
            }
            TrustMessage::Group { group, bundle } => self.take_group(now, &group, &bundle),
            TrustMessage::Identity {
                log: entries,
                grant,
                record,
            } if is_peer => {
                self.take_identity(now, &log, (&entries, grant.as_ref(), record.as_ref()));
            }
            // What a stranger's keys are shows with its next handshake: a long log of each would be too much to keep.
            TrustMessage::Identity { .. } => self.output.drops.count("identity_refused"),
        }
        Some(encode_postcard(&TrustAck::Received))
    }

    fn take_knock(&mut self, now: Now, knock: &SignedBytes, log: &VerifiedLog) {
        let is_for_us = log
            .verify::<Knock>(knock, now.unix)
            .is_ok_and(|knock| self.is_own_name(&knock.statement.target));
        if !is_for_us {
            self.output.drops.count("knock_refused");
            return;
        }
        let policy = self.policy(now);
        if let Err(error) = self
            .trust
            .handle_knock(now.unix, &self.identity, knock, log, policy)
        {
            tracing::debug!(agent = %log.agent(), %error, "knock refused");
            self.output.drops.count("knock_refused");
        }
    }

    /// The name in an agent's record, as a rendezvous vouches for it: what knocks that cross by name are matched with.
    fn take_name(&mut self, now: Now, log: &VerifiedLog, record: Option<&SignedBytes>) {
        let record = record.and_then(|record| log.verify::<Record>(record, now.unix).ok());
        if let Some(hostname) = record.and_then(|record| record.statement.hostname) {
            self.trust
                .set_peer_hostname(now.unix, &self.identity, &log.agent(), Some(&hostname));
        }
    }

    fn is_own_name(&self, target: &KnockTarget) -> bool {
        match target {
            KnockTarget::Agent(agent) => *agent == self.agent(),
            KnockTarget::Node(node) => *node == self.agent().node(),
            KnockTarget::Hostname(name) => self.profile.current.hostname.as_ref() == Some(name),
        }
    }

    pub(crate) fn take_grant(
        &mut self,
        now: Now,
        grant: &SignedBytes,
        log: &VerifiedLog,
        record: Option<&SignedBytes>,
    ) {
        let record = record
            .and_then(|record| log.verify::<Record>(record, now.unix).ok())
            .map(|record| record.statement);
        let hostname = record.as_ref().and_then(|record| record.hostname.as_ref());
        if let Err(error) = self
            .trust
            .handle_grant(now.unix, &self.identity, grant, log, hostname)
        {
            tracing::debug!(agent = %log.agent(), %error, "grant refused");
            self.output.drops.count("grant_refused");
        }
    }

    /// Passes on what the trust machine decided.
    pub(crate) fn drain_trust(&mut self, now: Now) -> bool {
        let mut has_work = false;
        while let Some(change) = self.trust.poll_persist() {
            has_work = true;
            self.output.written.emitted += 1;
            self.output.event(Event::Persist(Persist::Trust(change)));
        }
        while let Some(event) = self.trust.poll_event() {
            has_work = true;
            self.handle_trust_event(now, event);
        }
        while let Some(held) = self.output.written.take_ready() {
            has_work = true;
            match held {
                Held::Grant { to, raw } => self.deliver_grant(now, to, raw),
                Held::Group {
                    group,
                    origin,
                    fresh,
                } => self.spread_group(now, group, origin, fresh),
                Held::OwnKeys => self.tell_own_keys(now),
                Held::Answer {
                    session,
                    stream,
                    body,
                } => self.answer(now, session, stream, body),
            }
        }
        has_work
    }

    /// The shell wrote the first `count` of all [`Persist::Trust`] items; what waited for them goes out.
    pub fn trust_written(&mut self, now: Now, count: u64) {
        self.output.written.durable = self.output.written.durable.max(count);
        self.drain(now);
    }

    fn handle_trust_event(&mut self, now: Now, event: TrustEvent) {
        match event {
            TrustEvent::GrantIssued { to, raw } => {
                self.relaying.changed();
                self.offer_forwarding(now, &to);
                self.output.written.hold(Held::Grant { to, raw });
            }
            TrustEvent::Trusted { agent } => {
                if let Some(session) = self
                    .table
                    .key_of(&agent)
                    .and_then(|key| self.table.get_mut(key))
                {
                    session.class = Class::Peer;
                    let key = session.key;
                    self.begin_paths(now, key);
                }
                self.hellos.tickets.remove(&agent);
                self.reconnects.sessions_changed();
                self.relaying.changed();
                self.offer_forwarding(now, &agent);
                self.output.event(Event::Trusted(agent));
            }
            TrustEvent::Untrusted { agent, by_peer } => {
                self.hellos.seen.forget(&agent);
                self.relaying.changed();
                for dial in self
                    .dials
                    .connecting_to(&agent)
                    .into_iter()
                    .filter(|_| by_peer)
                {
                    self.fail_dial(dial, DialError::NotTrusted { agent });
                }
                if let Some(key) = self.table.key_of(&agent).filter(|_| !by_peer) {
                    self.close_session(now, key, ErrorCode::REVOKED, "trust was revoked");
                }
                self.output.event(Event::Untrusted(agent));
            }
            TrustEvent::KnockPending { agent } => {
                let hostname = self
                    .trust
                    .pending()
                    .find(|knock| knock.agent == agent)
                    .and_then(|knock| knock.hostname.clone());
                self.output.event(Event::Knocked { agent, hostname });
            }
            TrustEvent::GroupChanged {
                group,
                origin,
                fresh,
            } => {
                self.relaying.changed();
                self.output.written.hold(Held::Group {
                    group,
                    origin,
                    fresh,
                });
                self.output.event(Event::GroupChanged(group));
            }
            TrustEvent::GroupEnded { group } => {
                // It may be forgotten already.
                let _ = self.trust.forget_group(now.unix, &group);
            }
            TrustEvent::GroupLeft { group } => {
                self.relaying.changed();
                self.output.event(Event::GroupChanged(group));
            }
            TrustEvent::Invited { group } => self.output.event(Event::GroupChanged(group)),
            _ => {}
        }
    }

    /// A grant goes to every rendezvous, and straight to the grantee where a session is open.
    fn deliver_grant(&mut self, now: Now, to: AgentId, grant: SignedBytes) {
        self.links.tell_all(
            now.instant,
            &Request::PutGrant {
                to,
                grant: grant.clone(),
            },
        );
        let is_open = self.table.by_agent(&to).is_some_and(|session| {
            matches!(session.class, Class::Peer | Class::Stranger)
                && !session.transport.is_closing()
        });
        if is_open {
            let body = encode_postcard(&TrustMessage::Grant {
                grant,
                record: Some(self.own_record(now)),
            });
            if self.start_trust_message(now, to, body).is_err() {
                tracing::debug!(%to, "grant goes by the rendezvous alone");
            }
        }
    }

    pub(crate) fn start_trust_message(
        &mut self,
        now: Now,
        to: AgentId,
        body: Vec<u8>,
    ) -> Result<(), DialError> {
        let deadline = now.instant + self.config.dial_timeout;
        let id = self
            .dials
            .add(Target::Agent(to), DialPurpose::Trust { body }, deadline)
            .ok_or(DialError::Busy)?;
        if let Some(key) = self.table.key_of(&to) {
            self.open_for_dial(now, key, id);
        }
        Ok(())
    }

    /// A rendezvous that lost its state, or missed a grant while we were apart, gets all of them again.
    pub(crate) fn reissue_grants(&mut self, now: Now, link: usize) {
        let grants: Vec<(AgentId, SignedBytes)> = self
            .trust
            .given_grants()
            .map(|(to, raw)| (to, raw.clone()))
            .collect();
        for (to, grant) in grants {
            self.links
                .tell(now.instant, link, Request::PutGrant { to, grant });
        }
    }

    /// The scope that approval gives unless told otherwise.
    #[must_use]
    pub fn default_scope() -> Scope {
        Scope::default_scope()
    }
}
