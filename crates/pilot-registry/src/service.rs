//! The registry's service core: requests in, responses and pushes out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pilot_types::{AgentId, GroupId, Seed, UnixTime};
use pilot_wire::{Invitation, SignedBytes};
use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};

use crate::asked::{Asked, Outcome, Refusal};
use crate::config::Config;
use crate::expiry;
use crate::knocking::NOBODY;
use crate::mailbox::{self, NewLetter};
use crate::message::{Push, RefusalCode, Request, Response, Sender};
use crate::outbox::Outbox;
use crate::presence::Presence;
use crate::quota::Quotas;
use crate::rows::{LetterAccount, PushId, PushKey, PushKind, PushRow};
use crate::search::Feed;
use crate::stats::{RequestKind, Stats};
use crate::store::{Batch, Store, StoreError, Write};
use crate::verify::{GroupPart, Verify};

/// When to ask again while the index for searches is made: it takes about a second for 100,000 agents.
const INDEX_REST: Duration = Duration::from_secs(1);

/// A push for the caller to bring: one stream to port 2 of the agent, answered with [`crate::PushAck`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutgoingPush {
    /// For whom.
    pub to: AgentId,
    /// What to name in [`Service::push_acked`] or [`Service::push_failed`].
    pub id: PushId,
    /// What to bring.
    pub push: Push,
}

/// The registry of one rendezvous.
///
/// Each request is planned against the store, written as one batch, and only then answered. `S` keeps the state, `V`
/// checks signatures; sessions, streams and clocks are the caller's.
#[derive(Debug)]
pub struct Service<S: Store, V: Verify> {
    config: Arc<Config>,
    store: S,
    verify: V,
    rng: ChaCha12Rng,
    quotas: Quotas,
    presence: Presence,
    outbox: Outbox,
    feed: Feed,
    stats: Stats,
    /// The caller's clock at the last call.
    now: UnixTime,
    /// Latest time ever acted upon: what ended stays ended.
    floor: UnixTime,
    /// When expiry has work.
    expiry_at: Option<UnixTime>,
}

impl<S: Store, V: Verify> Service<S, V> {
    /// A service on an opened store.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a seed keys one generator and is wiped then"
    )]
    pub fn new(config: Arc<Config>, store: S, verify: V, seed: Seed) -> Self {
        let floor = store.totals().floor;
        Self {
            feed: Feed::new(&config, floor),
            config,
            store,
            verify,
            rng: ChaCha12Rng::from_seed(*seed.expose()),
            quotas: Quotas::default(),
            presence: Presence::default(),
            outbox: Outbox::default(),
            stats: Stats::default(),
            now: floor,
            floor,
            expiry_at: Some(floor),
        }
    }

    /// An agent's session is up, in place of any it had; `observed` is where its packets come from.
    pub fn session_opened(&mut self, now: UnixTime, agent: AgentId, observed: SocketAddr) {
        let time = self.advance(now);
        self.presence.opened(agent, observed);
        self.outbox.open(&self.store, time, agent, &self.config);
    }

    /// An agent's session ended.
    pub fn session_closed(&mut self, now: UnixTime, agent: &AgentId) {
        self.advance(now);
        self.outbox.close(agent);
        self.presence.closed(now, agent, self.config.max_last_seen);
    }

    /// An agent's packets come from another address.
    pub fn observed_changed(&mut self, agent: &AgentId, observed: SocketAddr) {
        self.presence.moved(agent, observed);
    }

    /// The identity log that an agent registered with last; `None` also if the store fails.
    pub fn log(&self, agent: &AgentId) -> Option<Vec<Vec<u8>>> {
        let row = self.store.agent(agent).ok()??;
        Some(row.log)
    }

    /// Answers one request of the agent whose session it came in. What it acknowledges is stored.
    pub fn handle_request(&mut self, now: UnixTime, from: AgentId, request: Request) -> Response {
        self.advance(now);
        let kind = RequestKind::of(&request);
        self.stats.count_request(kind);
        let answered = self
            .plan(from, request)
            .and_then(|outcome| Ok(self.commit(kind, outcome)?));
        answered.unwrap_or_else(|refusal| {
            tracing::debug!(%from, code = refusal.code.name(), "request refused");
            self.stats.count_refusal(refusal.code);
            refusal.into_response()
        })
    }

    /// Counts a request that a relay beside this registry answers.
    ///
    /// # Errors
    /// The refusal to answer with, if the agent asks too much.
    pub fn admit(
        &mut self,
        now: UnixTime,
        from: AgentId,
        kind: RequestKind,
    ) -> Result<(), Response> {
        self.advance(now);
        self.stats.count_request(kind);
        let taken = self.quotas.request(self.now, from, &self.config);
        taken.map_err(|wait| {
            let refusal = Refusal::rate_limited("too many requests", wait);
            self.stats.count_refusal(refusal.code);
            refusal.into_response()
        })
    }

    /// The next push to bring to a connected agent.
    pub fn poll_push(&mut self) -> Option<OutgoingPush> {
        while let Some((key, id)) = self.outbox.next(&self.config) {
            match self.read_push(&key, id) {
                Ok(Some(push)) => {
                    self.stats.pushes_sent += 1;
                    return Some(OutgoingPush {
                        to: key.to,
                        id,
                        push,
                    });
                }
                Ok(None) => drop(self.outbox.done(&key.to, id, &self.config)),
                Err(error) => {
                    tracing::error!(%error, "cannot read a push");
                    self.outbox.failed(self.now, &key.to, id, &self.config);
                }
            }
        }
        None
    }

    /// The agent took a push over: it is deleted.
    pub fn push_acked(&mut self, now: UnixTime, to: &AgentId, id: PushId) {
        self.advance(now);
        let Some(key) = self.outbox.done(to, id, &self.config) else {
            return;
        };
        self.stats.pushes_acked += 1;
        if let Err(error) = self.delete_push(key, id) {
            tracing::error!(%error, "an acknowledged push stays and will be brought again");
        }
    }

    /// A push did not arrive, or was answered with [`crate::PushAck::Later`]: it comes again after a rest.
    pub fn push_failed(&mut self, now: UnixTime, to: &AgentId, id: PushId) {
        self.advance(now);
        self.stats.pushes_failed += 1;
        self.outbox.failed(now, to, id, &self.config);
    }

    /// Ends what ends by time, at most `expiry_batch` agents a call, and lets failed pushes come again.
    pub fn handle_time(&mut self, now: UnixTime) {
        let time = self.advance(now);
        self.outbox.handle_time(&self.store, now, &self.config);
        if self.feed.due().is_some_and(|at| at <= time) {
            self.feed_index(time);
        }
        if self.expiry_at.is_none_or(|at| time < at) {
            return;
        }
        if let Err(error) = self.expire(time) {
            tracing::error!(%error, "expiry failed");
            self.expiry_at = Some(time.plus(self.config.push_retry));
        }
    }

    /// When [`Self::handle_time`] has work.
    #[must_use]
    pub fn poll_timeout_unix(&self) -> Option<UnixTime> {
        let next = [self.expiry_at, self.outbox.next_due(), self.feed.due()];
        next.into_iter().flatten().min()
    }

    /// Figures since the start.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let totals = self.store.totals();
        let letters = self.store.letter_sum(&LetterAccount::All);
        let letters = letters.unwrap_or_default();
        let (searchable, search_left_out) = self.feed.figures();
        Stats {
            searchable,
            search_left_out,
            letters: letters.count,
            letter_bytes: letters.bytes,
            registered: totals.registered,
            agents: totals.agents,
            online: self.presence.online_count() as u64,
            ..self.stats
        }
    }

    /// The store, for reading beside the service.
    #[must_use]
    pub const fn store(&self) -> &S {
        &self.store
    }

    fn plan(&mut self, from: AgentId, request: Request) -> Result<Outcome, Refusal> {
        let taken = self.quotas.request(self.now, from, &self.config);
        taken.map_err(|wait| Refusal::rate_limited("too many requests", wait))?;
        let is_knock = matches!(request, Request::Knock { .. });
        if is_knock {
            let taken = self.quotas.knock(self.now, from, &self.config);
            taken.map_err(|wait| Refusal::rate_limited("too many knocks", wait))?;
        }
        let is_search = matches!(request, Request::Search { .. });
        // Statements of groups cost signatures, lists of members as much as a search.
        let is_dear = matches!(
            request,
            Request::CreateGroup { .. } | Request::PutGroup { .. } | Request::GroupMembers { .. }
        );
        if is_search || is_dear {
            let taken = self.quotas.search(self.now, from, &self.config);
            taken.map_err(|wait| Refusal::rate_limited("too many searches", wait))?;
            if is_search && self.feed.index().is_none() {
                self.feed_index(self.floor);
            }
        }
        request
            .check()
            .map_err(|error| Refusal::invalid(error.to_string()))?;
        let id = PushId::new(self.rng.next_u64());
        let asked = Asked {
            store: &self.store,
            verify: &self.verify,
            config: &self.config,
            now: self.floor,
            from,
        };
        match request {
            Request::Register { log, record } => asked.register(log, record),
            Request::Locate { locator } => asked.locate(locator),
            Request::Lookup { target } => asked.lookup(&target, &self.presence),
            Request::Knock { knock } => asked.knock(knock, id),
            Request::PutGrant { to, grant } => asked.put_grant(to, grant, id),
            Request::Deregister => asked.deregister(),
            Request::Observe => asked.observe(&self.presence),
            // What a relay is asked goes to the relay, where there is one.
            Request::Permit { .. } | Request::Bind { .. } => {
                Err(Refusal::invalid("this rendezvous is no relay"))
            }
            Request::Search { query } => match self.feed.index() {
                Some(index) => asked.search(&query, index, &self.presence),
                None => Err(Refusal {
                    retry_after: INDEX_REST,
                    ..Refusal::new(
                        RefusalCode::Unavailable,
                        "the rendezvous is starting: its index is not complete",
                    )
                }),
            },
            Request::CreateGroup { bundle, wanted } => {
                asked.create_group(&bundle, wanted, &self.presence, id)
            }
            Request::FindGroup { name } => asked.find_group(&name),
            Request::AskGroup { group, request } => {
                asked.ask_group(&group, &request, &self.presence, id)
            }
            Request::PutGroup { group, bundle } => {
                asked.put_group(&group, &bundle, &self.presence, id)
            }
            Request::GroupState { group, after } => asked.group_state(&group, after),
            Request::GroupMembers { group, offset } => {
                asked.group_members(&group, offset, &self.presence)
            }
            Request::Invite { to, invitation } => asked.invite(to, &invitation, id),
            Request::Deposit {
                to,
                id: message,
                not_after,
                sealed,
            } => {
                let letter = NewLetter {
                    to,
                    id: message,
                    not_after,
                    sealed,
                };
                asked.deposit(letter, &self.presence, id)
            }
            Request::FetchLetters { after } => asked.fetch_letters(after),
            Request::TakeLetters { numbers } => asked.take_letters(&numbers),
            Request::Unknown => Err(Refusal::invalid("unknown request")),
        }
    }

    fn commit(&mut self, kind: RequestKind, outcome: Outcome) -> Result<Response, StoreError> {
        let Outcome {
            response,
            changes,
            pushes,
        } = outcome;
        let has_changed = !changes.is_empty();
        let letters_deleted = changes.letters_deleted();
        if has_changed {
            self.apply(changes.into_batch(self.floor))?;
        }
        if kind == RequestKind::Deposit {
            self.stats.letters_deposited += u64::from(has_changed);
            self.stats.letters_unwanted += u64::from(response == Response::NotFound);
        }
        self.stats.letters_taken += letters_deleted;
        for (key, id) in pushes {
            self.stats.knocks_lost += u64::from(key.to == NOBODY);
            self.outbox.notify(key, id, &self.config);
        }
        Ok(response)
    }

    fn apply(&mut self, batch: Batch) -> Result<(), StoreError> {
        let due = batch.writes.iter().filter_map(|write| match write {
            Write::PutDue(at, _) => Some(*at),
            Write::PutLetter(row, _) => Some(row.not_after),
            Write::PutAgent(_)
            | Write::DeleteAgent(_)
            | Write::PutHostname(..)
            | Write::DeleteHostname(_)
            | Write::PutNode(..)
            | Write::DeleteNode(_)
            | Write::PutKey(..)
            | Write::DeleteKey(_)
            | Write::DeleteDue(..)
            | Write::PutGrant(_)
            | Write::DeleteGrant(..)
            | Write::DeleteGrantsBy(_)
            | Write::PutPush(_)
            | Write::DeletePush(_)
            | Write::DeletePushesTo(_)
            | Write::PutGroup(_)
            | Write::DeleteGroup(_)
            | Write::PutGroupName(..)
            | Write::PutGroupNumber(..)
            | Write::PutMember(..)
            | Write::DeleteMember(..)
            | Write::DeleteLetter(_)
            | Write::PutLetterSum(..)
            | Write::Totals(_) => None,
        });
        let earliest = due.chain(self.expiry_at).min();
        self.write(batch)?;
        self.expiry_at = earliest;
        Ok(())
    }

    /// Stores a batch that may change records; the index follows.
    fn write(&mut self, batch: Batch) -> Result<(), StoreError> {
        let noted = self.feed.note(&batch.writes);
        match self.store.apply(batch) {
            Ok(()) => {
                self.feed.take(noted);
                Ok(())
            }
            Err(error) => {
                self.feed.doubt(noted, self.floor, &self.config);
                Err(error)
            }
        }
    }

    fn feed_index(&mut self, time: UnixTime) {
        if let Err(error) = self.feed.step(&self.store, time, &self.config) {
            tracing::error!(%error, "the index for searches cannot be completed now");
        }
    }

    fn expire(&mut self, time: UnixTime) -> Result<(), StoreError> {
        let round = expiry::round(&self.store, time, &self.config)?;
        if !round.changes.is_empty() {
            self.write(round.changes.into_batch(time))?;
        }
        self.stats.records_expired += round.retired;
        self.stats.agents_forgotten += round.dropped;
        let letters = mailbox::expire(&self.store, time, &self.config)?;
        if letters.expired > 0 {
            self.write(letters.changes.into_batch(time))?;
            self.stats.letters_expired += letters.expired;
        }
        self.expiry_at = [round.next, letters.next].into_iter().flatten().min();
        Ok(())
    }

    fn read_push(&self, key: &PushKey, id: PushId) -> Result<Option<Push>, StoreError> {
        let row = self.store.push(key)?.filter(|row| row.id == id);
        let Some(row) = row.filter(|row| self.floor < row.not_after) else {
            return Ok(None);
        };
        let PushRow { raw, .. } = row;
        if key.kind == PushKind::Letters {
            return Ok(Some(Push::LettersWaiting));
        }
        if key.kind == PushKind::Group {
            let group = GroupId::of_log(key.from);
            return Ok(Some(Push::GroupChanged { group }));
        }
        let Some(sender) = self.store.agent(&key.from)? else {
            return Ok(None);
        };
        let shows_record = match key.kind {
            PushKind::Knock | PushKind::GroupRequest | PushKind::Invitation => true,
            PushKind::Group | PushKind::Letters => false,
            PushKind::Grant => {
                let grant = self.store.grant(&key.from, &key.to)?;
                grant.is_some_and(|grant| grant.is_live(self.floor))
            }
        };
        let record = sender.live_record(self.floor).filter(|_| shows_record);
        let entry = Sender {
            record: record.map(|record| record.raw.clone()),
            log: sender.log,
        };
        Ok(Some(match key.kind {
            PushKind::Knock => Push::Knock { knock: raw, entry },
            PushKind::Grant => Push::Grant { grant: raw, entry },
            PushKind::GroupRequest => Push::GroupRequest {
                request: raw,
                entry,
            },
            PushKind::Invitation => return self.read_invitation(raw, entry),
            PushKind::Group | PushKind::Letters => return Ok(None),
        }))
    }

    fn read_invitation(
        &self,
        invitation: SignedBytes,
        entry: Sender,
    ) -> Result<Option<Push>, StoreError> {
        let read = |raw: &SignedBytes| raw.envelope()?.statement::<Invitation>();
        let Ok(Invitation { group, .. }) = read(&invitation) else {
            return Ok(None);
        };
        let Some(row) = self.store.group(&group)? else {
            return Ok(None);
        };
        let policy = self.verify.group_part(&row.state, GroupPart::Policy);
        Ok(policy.map(|(bundle, _)| Push::Invitation {
            invitation,
            network: row.network,
            group: bundle.log,
            entry,
        }))
    }

    fn delete_push(&mut self, key: PushKey, id: PushId) -> Result<(), StoreError> {
        let row = self.store.push(&key)?;
        if row.is_none_or(|row| row.id != id) {
            return Ok(());
        }
        self.store.apply(Batch {
            writes: vec![Write::DeletePush(key)],
        })
    }

    /// Notes the caller's clock and returns the time to act upon, which never goes back.
    fn advance(&mut self, now: UnixTime) -> UnixTime {
        self.now = now;
        self.floor = self.floor.max(now);
        self.floor
    }
}

#[cfg(test)]
mod tests;
