//! Letters: leaving messages for agents that are away, and taking those that were left for us (`docs/registry.md` §13).
//!
//! ```text
//!   deposit ─▶ Lookup ─▶ seal to the prekey ─▶ Deposit ─▶ Answer::Deposited
//!
//!   registered, or LettersWaiting ─▶ FetchLetters ─▶ open, check ─▶ Event::Letter … ─▶ shell: on disk
//!                     ▲                                                            │
//!                     └──────────── more ◀── TakeLetters ◀── letter_done ◀─────────┘
//! ```
//!
//! One batch of a rendezvous is in the shell's hands at a time, in the order in which it came; what the shell could not store is asked for
//! again after a rest. What does not open, or is from nobody who may write to us, is taken and counted: it would never become better.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use pilot_registry::{HeldLetter, RefusalCode, Request, RequestError, Response};
use pilot_trust::{
    Draft, OpenError, OpenedLetter, PrekeySecret, Prekeys, SealError, open_letter, seal_letter,
};
use pilot_types::{AgentId, Deadline, GroupId, Port, UnixTime};
use pilot_wire::{Message, Prekey, Record};

use crate::event::{Answer, Event, Persist, PrekeyChange, QueryError, QueryId};
use crate::links::{QueryUse, read_done};
use crate::node::Node;
use crate::now::Now;

/// Why letters that open are refused all the same, in words for the log.
const OLD_KEY: &str = "signed by a key that its sender has no more";
const NO_LEAVE: &str = "from an agent that may not write to us";

type Answered = Result<Response, RequestError>;

/// Rest after a rendezvous gave nothing, or the shell could store nothing.
const REST: Duration = Duration::from_secs(30);

/// A letter that was opened and checked, for the shell to store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReceivedLetter {
    /// Who signed it.
    pub from: AgentId,
    /// The message's head.
    pub head: Message,
    /// Its body.
    pub body: Vec<u8>,
    /// The group to all of which it is said.
    pub group: Option<GroupId>,
    /// When it was left, by its sender's clock.
    pub sent_at: UnixTime,
    /// Until when it might have been delivered.
    pub not_after: UnixTime,
    /// To name in [`Node::letter_done`].
    pub receipt: LetterReceipt,
}

/// Names one letter of one batch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct LetterReceipt {
    link: usize,
    batch: u64,
    number: u64,
}

impl LetterReceipt {
    /// Whether two letters came together: where one could not be stored, those behind it are not to be stored either, for their order.
    #[must_use]
    pub const fn is_of_same_batch(&self, other: &Self) -> bool {
        self.link == other.link && self.batch == other.batch
    }
}

/// A batch of one rendezvous.
#[derive(Debug, Default)]
struct Batch {
    id: u64,
    /// Numbers in the shell's hands.
    open: BTreeSet<u64>,
    /// Numbers that need not come again.
    taken: Vec<u64>,
    /// Whether the shell could not store one.
    has_failed: bool,
    /// Whether there is more, as far as the rendezvous said.
    has_more: bool,
}

/// All of it. Batches are bounded by the links and by what one answer holds, drafts by the clients' bound on requests.
#[derive(Debug, Default)]
pub(crate) struct Mailing {
    /// Whether the shell takes letters.
    is_open: bool,
    prekeys: Prekeys,
    /// One that is not on disk yet.
    unwritten: Option<PrekeySecret>,
    drafts: BTreeMap<QueryId, (AgentId, Draft)>,
    batches: BTreeMap<usize, Batch>,
    last_batch: u64,
    /// When a rendezvous is to be asked again.
    retries: BTreeMap<usize, Instant>,
}

impl Mailing {
    pub(crate) fn poll_timeout(&self) -> Option<Deadline> {
        let at = *self.retries.values().min()?;
        Some(Deadline {
            at,
            timer: "letters",
        })
    }

    /// When our prekey is to be replaced; not while one waits for the disk.
    pub(crate) fn renew_at(&self, now: UnixTime) -> Option<UnixTime> {
        (self.is_open && self.unwritten.is_none()).then(|| self.prekeys.renew_at(now))
    }

    fn prekey(&self, now: UnixTime) -> Option<Prekey> {
        self.prekeys.current(now).filter(|_| self.is_open)
    }

    fn batch(&mut self, link: usize, id: u64) -> Option<&mut Batch> {
        self.batches.get_mut(&link).filter(|batch| batch.id == id)
    }
}

impl Node {
    /// From now on letters are taken: our record names a prekey, and the shell stores what [`Event::Letter`] brings. `prekeys` are those that
    /// the disk has.
    pub fn take_letters(&mut self, now: Now, prekeys: Vec<PrekeySecret>) {
        self.mailing.is_open = true;
        self.mailing.prekeys = Prekeys::restore(prekeys);
        self.run_prekeys(now);
        self.announce_all(now);
        self.drain(now);
    }

    /// Our record as it is now.
    pub(crate) fn record(&self, now: Now) -> Record {
        Record {
            prekey: self.mailing.prekey(now.unix),
            ..self.profile.current.record()
        }
    }

    /// A new prekey every week; it is named once it is on disk. Those that are over are destroyed.
    pub(crate) fn run_prekeys(&mut self, now: Now) {
        if !self.mailing.is_open {
            return;
        }
        if self.mailing.unwritten.is_none() && self.mailing.prekeys.current(now.unix).is_none() {
            let secret = PrekeySecret::generate(&self.child_seed(), now.unix);
            self.mailing.unwritten = Some(secret.clone());
            let change = PrekeyChange::Put(secret);
            self.output.event(Event::Persist(Persist::Prekey(change)));
        }
        for public in self.mailing.prekeys.take_ended(now.unix, now.instant) {
            let change = PrekeyChange::Destroy(public);
            self.output.event(Event::Persist(Persist::Prekey(change)));
        }
    }

    /// The shell wrote a prekey: the record may name it.
    pub fn prekey_written(&mut self, now: Now, public: &[u8; 32]) {
        let is_it = |secret: &PrekeySecret| secret.prekey().public == *public;
        if let Some(secret) = self.mailing.unwritten.take_if(|secret| is_it(secret)) {
            self.mailing.prekeys.put(secret);
            self.announce_all(now);
            self.drain(now);
        }
    }

    /// Leaves a message in the mailbox of an agent; [`Event::Answered`] follows with [`Answer::Deposited`].
    pub fn deposit(&mut self, now: Now, to: AgentId, draft: Draft) -> QueryId {
        let query = self.links.next_query();
        let request = Request::Lookup {
            target: pilot_registry::LookupTarget::Agent(to),
        };
        if self
            .links
            .ask(now.instant, request, QueryUse::Prekey(query))
        {
            self.mailing.drafts.insert(query, (to, draft));
        } else {
            self.query_failed(query, QueryError::Unreachable);
        }
        self.drain(now);
        query
    }

    fn query_failed(&mut self, query: QueryId, error: QueryError) {
        self.output.event(Event::Answered {
            query,
            result: Err(error),
        });
    }

    /// The record of an agent that we leave a message for.
    pub(crate) fn prekey_told(&mut self, now: Now, query: QueryId, response: Answered) {
        let Some((to, draft)) = self.mailing.drafts.remove(&query) else {
            return;
        };
        match self.seal_for(now, to, draft, response) {
            Ok(request) => {
                let use_ = QueryUse::Deposit(query);
                if !self.links.ask(now.instant, request, use_) {
                    self.query_failed(query, QueryError::Unreachable);
                }
            }
            Err(error) => self.query_failed(query, error),
        }
    }

    fn seal_for(
        &mut self,
        now: Now,
        to: AgentId,
        draft: Draft,
        response: Answered,
    ) -> Result<Request, QueryError> {
        let entry = self.read_entry(now, response)?;
        if entry.agent != to {
            return Err(QueryError::Invalid("another agent's entry".to_owned()));
        }
        let prekey = entry.record.prekey.ok_or(QueryError::NoPrekey)?;
        let id = draft.head.id;
        let when = (now.unix, self.child_seed());
        let (sealed, not_after) =
            seal_letter(&self.identity, to, &prekey, draft, when).map_err(|error| match error {
                SealError::TooLarge => QueryError::LetterTooLarge,
                SealError::Prekey | _ => QueryError::NoPrekey,
            })?;
        Ok(Request::Deposit {
            to,
            id,
            not_after,
            sealed,
        })
    }

    pub(crate) fn deposit_told(&mut self, query: QueryId, response: Answered) {
        let result = match response {
            Ok(Response::Deposited { not_after }) => Ok(Answer::Deposited(not_after)),
            other => Err(read_done(other).err().unwrap_or(QueryError::Unreachable)),
        };
        self.output.event(Event::Answered { query, result });
    }

    /// A rendezvous has our record, or says that there are letters.
    pub(crate) fn fetch_letters(&mut self, now: Now, link: usize) {
        if !self.mailing.is_open || !self.links.is_registry(link) {
            return;
        }
        self.mailing.retries.remove(&link);
        if let Some(batch) = self.mailing.batches.get_mut(&link) {
            batch.has_more = true;
            return;
        }
        self.mailing.last_batch += 1;
        let id = self.mailing.last_batch;
        let batch = Batch {
            id,
            ..Batch::default()
        };
        self.mailing.batches.insert(link, batch);
        let request = Request::FetchLetters { after: 0 };
        let use_ = QueryUse::Letters(link, id);
        self.links.ask_one(now.instant, link, request, use_);
    }

    /// A rendezvous says that there are letters.
    pub(crate) fn letters_waiting(&mut self, now: Now) {
        for link in self.links.connected() {
            self.fetch_letters(now, link);
        }
    }

    /// The session with a rendezvous ended: what it brought and was not taken comes again.
    pub(crate) fn letters_lost(&mut self, link: usize) {
        self.mailing.batches.remove(&link);
        self.mailing.retries.remove(&link);
    }

    pub(crate) fn letters_told(&mut self, now: Now, (link, id): (usize, u64), response: Answered) {
        if self.mailing.batch(link, id).is_none() {
            return;
        }
        match response {
            Ok(Response::Letters { letters, has_more }) => {
                let (mut open, mut taken) = (BTreeSet::new(), vec![]);
                for letter in letters {
                    let number = letter.number;
                    let receipt = LetterReceipt {
                        link,
                        batch: id,
                        number,
                    };
                    if self.open_one(now, &letter, receipt) {
                        open.insert(number);
                    } else {
                        taken.push(number);
                    }
                }
                if let Some(batch) = self.mailing.batch(link, id) {
                    (batch.open, batch.taken) = (open, taken);
                    batch.has_more |= has_more;
                }
                self.batch_progressed(now, link);
            }
            Ok(Response::Refused {
                code: RefusalCode::RateLimited | RefusalCode::Unavailable,
                ..
            })
            | Err(_) => self.fetch_later(now, link),
            // One of an earlier version has no mailboxes.
            Ok(_) => drop(self.mailing.batches.remove(&link)),
        }
    }

    /// Whether the shell has it now.
    fn open_one(&mut self, now: Now, letter: &HeldLetter, receipt: LetterReceipt) -> bool {
        let from = letter.from;
        let opened = self.open_letter(now, letter);
        let letter = match opened {
            Ok(letter) => letter,
            Err(reason) => {
                tracing::info!(from = %from.address(), reason, "letter refused");
                self.output.drops.count("letter_refused");
                return false;
            }
        };
        let OpenedLetter {
            head,
            body,
            group,
            sent_at,
            not_after,
            ..
        } = letter;
        self.output.event(Event::Letter(Box::new(ReceivedLetter {
            from,
            head,
            body,
            group,
            sent_at,
            not_after,
            receipt,
        })));
        true
    }

    /// Opens a letter, and looks whether its sender may write to us now: trust that ended meanwhile counts.
    fn open_letter(&mut self, now: Now, letter: &HeldLetter) -> Result<OpenedLetter, &'static str> {
        let from = letter.from;
        let us = self.agent();
        let bits = (now.unix, self.config.min_work_bits);
        let opened = open_letter(us, from, &self.mailing.prekeys, &letter.sealed, bits);
        let opened = opened.map_err(|error| match error {
            OpenError::Prekey => "sealed to a key that is gone",
            OpenError::Sealed => "does not open",
            OpenError::Malformed => "malformed",
            OpenError::Signature => "not signed by its sender",
            OpenError::Recipient => "for another agent",
            OpenError::Time => "its time is over",
            OpenError::Body => "another body than was signed",
            _ => "refused",
        })?;
        self.trust
            .update_log(opened.log.clone())
            .map_err(|_| OLD_KEY)?;
        let is_wanted = match &opened.group {
            Some(group) => self.trust.may_broadcast(now.unix, group, &from),
            None => {
                let scope = self.trust.given_scope(now.unix, &from);
                let may_answer = scope.is_some_and(|scope| scope.is_reply_only);
                may_answer || self.trust.admits(now.unix, &from, Port::DATA_EXCHANGE)
            }
        };
        if is_wanted { Ok(opened) } else { Err(NO_LEAVE) }
    }

    /// Whether letters are asked for, or in the shell's hands.
    #[must_use]
    pub fn is_fetching_letters(&self) -> bool {
        !self.mailing.batches.is_empty()
    }

    /// The shell has a letter on disk, or has no use for it; or it could not store it, and it comes again.
    pub fn letter_done(&mut self, now: Now, receipt: LetterReceipt, is_taken: bool) {
        let LetterReceipt {
            link,
            batch,
            number,
        } = receipt;
        let Some(batch) = self.mailing.batch(link, batch) else {
            return;
        };
        if !batch.open.remove(&number) {
            return;
        }
        if is_taken {
            batch.taken.push(number);
        } else {
            batch.has_failed = true;
        }
        self.batch_progressed(now, link);
        self.drain(now);
    }

    fn batch_progressed(&mut self, now: Now, link: usize) {
        let Some(batch) = self.mailing.batches.get_mut(&link) else {
            return;
        };
        if !batch.open.is_empty() {
            return;
        }
        let numbers = std::mem::take(&mut batch.taken);
        if numbers.is_empty() {
            self.batch_ended(now, link);
            return;
        }
        let use_ = QueryUse::LettersTaken(link, batch.id);
        let request = Request::TakeLetters { numbers };
        self.links.ask_one(now.instant, link, request, use_);
    }

    pub(crate) fn letters_taken(
        &mut self,
        now: Now,
        (link, id): (usize, u64),
        response: &Answered,
    ) {
        if self.mailing.batch(link, id).is_none() {
            return;
        }
        match response {
            Ok(Response::Taken) => self.batch_ended(now, link),
            Ok(_) | Err(_) => self.fetch_later(now, link),
        }
    }

    fn batch_ended(&mut self, now: Now, link: usize) {
        let Some(batch) = self.mailing.batches.remove(&link) else {
            return;
        };
        if batch.has_failed {
            self.fetch_later(now, link);
        } else if batch.has_more {
            self.fetch_letters(now, link);
        }
    }

    fn fetch_later(&mut self, now: Now, link: usize) {
        self.mailing.batches.remove(&link);
        if self.links.connected().contains(&link) {
            self.mailing.retries.insert(link, now.instant + REST);
        }
    }

    pub(crate) fn handle_letter_time(&mut self, now: Now) {
        self.run_prekeys(now);
        let due = |(link, at): (&usize, &Instant)| (*at <= now.instant).then_some(*link);
        let due: Vec<usize> = self.mailing.retries.iter().filter_map(due).collect();
        for link in due {
            self.fetch_letters(now, link);
        }
    }
}
