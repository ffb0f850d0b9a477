//! Mailboxes: letters that wait for agents that are away (`docs/registry.md` §13).
//!
//! A letter is sealed: what is looked at here is from whom it is, for whom, how large, and until when. It is stored before it is
//! acknowledged to its sender, and deleted when its recipient says that it has it, or at its end.

use std::collections::BTreeMap;
use std::time::Duration;

use pilot_types::{AgentId, UnixTime};
use pilot_wire::limits::LETTER_LIFETIME;
use pilot_wire::{MessageId, SignedBytes};

use crate::asked::{Asked, Outcome, Refusal};
use crate::changes::Changes;
use crate::config::{Config, Quota};
use crate::knocking::NOBODY;
use crate::limits::{MAX_LETTERS, MAX_LETTERS_ANSWER};
use crate::message::{HeldLetter, LookupTarget, RefusalCode, Response};
use crate::presence::Presence;
use crate::rows::{
    AgentRow, LetterAccount, LetterKey, LetterRow, LetterSum, PushId, PushKey, PushKind, PushRow,
};
use crate::store::{Store, StoreError};
use crate::verify::Verify;
use crate::visibility::is_valid;

/// How long a word that there are letters waits for an agent that does not take it: with its next session it asks anyway.
const WORD_LIFETIME: Duration = Duration::from_secs(3600);
/// The shortest sealed letter: two keys and a tag.
const MIN_SEALED: usize = 32 + 32 + 16;

/// A letter to be left.
pub(crate) struct NewLetter {
    pub(crate) to: AgentId,
    pub(crate) id: MessageId,
    pub(crate) not_after: UnixTime,
    pub(crate) sealed: Vec<u8>,
}

impl<S: Store, V: Verify> Asked<'_, S, V> {
    /// Plans `Deposit`. One that is there already is answered as before, so that a sender may ask again.
    pub(crate) fn deposit(
        &self,
        letter: NewLetter,
        presence: &Presence,
        id: PushId,
    ) -> Result<Outcome, Refusal> {
        let to = letter.to;
        if to == self.from {
            return Err(Refusal::invalid("a letter to oneself"));
        }
        if letter.sealed.len() < MIN_SEALED {
            return Err(Refusal::invalid("too short for a sealed letter"));
        }
        if letter.not_after <= self.now {
            return Err(Refusal::invalid("not_after has passed"));
        }
        if !self.may_write_to(&to)? {
            return Ok(self.unchanged(Response::NotFound));
        }
        if let Some(number) = self.store.letter_number(&to, &self.from, &letter.id)?
            && let Some(row) = self.store.letter(&LetterKey { to, number })?
        {
            return Ok(self.unchanged(Response::Deposited {
                not_after: row.not_after,
            }));
        }
        let mut sums = Sums::new(self.store);
        let row = LetterRow {
            key: LetterKey {
                to,
                number: sums.next_number()?,
            },
            from: self.from,
            id: letter.id,
            not_after: letter.not_after.min(self.now.plus(LETTER_LIFETIME)),
            size: letter.sealed.len() as u64 + Quota::OVERHEAD,
        };
        sums.add(&row)?;
        sums.check(&row, self.config)?;
        let not_after = row.not_after;
        let mut outcome = self.unchanged(Response::Deposited { not_after });
        outcome.changes.put_letter(row, letter.sealed);
        sums.finish(&mut outcome.changes);
        if presence.is_online(&to) {
            self.say_so(to, id, &mut outcome);
        }
        Ok(outcome)
    }

    /// Whether an agent takes letters of the asker: it granted it something, or is in a group with it. An agent that is not there costs the
    /// same reads.
    fn may_write_to(&self, to: &AgentId) -> Result<bool, Refusal> {
        let row = self.find(&LookupTarget::Agent(*to))?;
        let owner = row.as_ref().map_or(self.from, AgentRow::agent);
        let grant = self.store.grant(&owner, &self.from)?;
        let is_fellow = self.is_fellow(row.as_ref().map_or(&NOBODY, |_| to))?;
        let Some(row) = row else {
            return Ok(false);
        };
        let is_granted = grant.is_some_and(|grant| is_valid(&grant, &row, self.now));
        Ok(is_granted || is_fellow)
    }

    fn say_so(&self, to: AgentId, id: PushId, outcome: &mut Outcome) {
        let key = PushKey {
            to,
            kind: PushKind::Letters,
            from: to,
        };
        outcome.pushes.push((key, id));
        outcome.changes.put_push(PushRow {
            key,
            id,
            made: self.now,
            not_after: self.now.plus(WORD_LIFETIME),
            raw: SignedBytes::from_bytes(vec![]),
        });
    }

    /// Plans `FetchLetters`.
    pub(crate) fn fetch_letters(&self, after: u64) -> Result<Outcome, Refusal> {
        // One more than fits tells whether there are more.
        let rows = self.store.letters(&self.from, after, MAX_LETTERS + 1)?;
        let (mut letters, mut bytes, mut has_more) = (vec![], 0, false);
        for row in rows {
            let is_full = letters.len() == MAX_LETTERS
                || (!letters.is_empty() && bytes + row.size > MAX_LETTERS_ANSWER as u64);
            if is_full {
                has_more = true;
                break;
            }
            if row.not_after <= self.now {
                continue;
            }
            if let Some(sealed) = self.store.letter_bytes(&row.key)? {
                bytes += row.size;
                letters.push(HeldLetter {
                    number: row.key.number,
                    from: row.from,
                    sealed,
                });
            }
        }
        Ok(self.unchanged(Response::Letters { letters, has_more }))
    }

    /// Plans `TakeLetters`. What is not there is taken already.
    pub(crate) fn take_letters(&self, numbers: &[u64]) -> Result<Outcome, Refusal> {
        let mut outcome = self.unchanged(Response::Taken);
        let mut sums = Sums::new(self.store);
        let numbers: std::collections::BTreeSet<u64> = numbers.iter().copied().collect();
        for number in numbers {
            let key = LetterKey {
                to: self.from,
                number,
            };
            if let Some(row) = self.store.letter(&key)? {
                sums.remove(&row)?;
                outcome.changes.delete_letter(row);
            }
        }
        sums.finish(&mut outcome.changes);
        Ok(outcome)
    }
}

/// One round of expiry.
pub(crate) struct Ended {
    pub(crate) changes: Changes,
    /// Letters that ended.
    pub(crate) expired: u64,
    /// When the next round has work.
    pub(crate) next: Option<UnixTime>,
}

/// Plans a round of at most `expiry_batch` letters.
pub(crate) fn expire<S: Store>(
    store: &S,
    now: UnixTime,
    config: &Config,
) -> Result<Ended, StoreError> {
    let mut ended = Ended {
        changes: Changes::new(store.totals()),
        expired: 0,
        next: None,
    };
    let mut sums = Sums::new(store);
    for (index, (at, key)) in store
        .letters_due(config.expiry_batch + 1)?
        .into_iter()
        .enumerate()
    {
        if at > now || index == config.expiry_batch {
            ended.next = Some(at);
            break;
        }
        let row = store.letter(&key)?.filter(|row| row.not_after == at);
        match &row {
            Some(row) => sums.remove(row)?,
            // Only a damaged store has a time without its letter.
            None => tracing::error!(number = key.number, "a letter is gone from the store"),
        }
        let nothing = LetterRow {
            key,
            from: NOBODY,
            id: MessageId::new([0; 16]),
            not_after: at,
            size: 0,
        };
        ended.changes.delete_letter(row.unwrap_or(nothing));
        ended.expired += 1;
    }
    sums.finish(&mut ended.changes);
    Ok(ended)
}

/// The sums that a batch changes; each letter counts in four.
struct Sums<'s, S> {
    store: &'s S,
    changed: BTreeMap<LetterAccount, LetterSum>,
}

impl<'s, S: Store> Sums<'s, S> {
    const fn new(store: &'s S) -> Self {
        Self {
            store,
            changed: BTreeMap::new(),
        }
    }

    fn of(&mut self, account: LetterAccount) -> Result<&mut LetterSum, StoreError> {
        match self.changed.entry(account) {
            std::collections::btree_map::Entry::Occupied(known) => Ok(known.into_mut()),
            std::collections::btree_map::Entry::Vacant(free) => {
                Ok(free.insert(self.store.letter_sum(&account)?))
            }
        }
    }

    /// Numbers are given once, so that a word that one is taken never means a later letter.
    fn next_number(&mut self) -> Result<u64, StoreError> {
        let all = self.of(LetterAccount::All)?;
        all.last_number += 1;
        Ok(all.last_number)
    }

    fn add(&mut self, row: &LetterRow) -> Result<(), StoreError> {
        for account in accounts(row) {
            let sum = self.of(account)?;
            sum.count += 1;
            sum.bytes += row.size;
        }
        Ok(())
    }

    fn remove(&mut self, row: &LetterRow) -> Result<(), StoreError> {
        for account in accounts(row) {
            let sum = self.of(account)?;
            sum.count = sum.count.saturating_sub(1);
            sum.bytes = sum.bytes.saturating_sub(row.size);
        }
        Ok(())
    }

    /// Refuses a letter for which one of the accounts has no room.
    fn check(&mut self, row: &LetterRow, config: &Config) -> Result<(), Refusal> {
        let quotas = [
            (
                config.max_letters_between,
                "the mailbox holds as many of your letters as it takes of one sender",
            ),
            (config.max_letters, "the mailbox is full"),
            (
                config.max_letters_from,
                "too many of your letters wait in mailboxes",
            ),
            (
                config.max_letters_all,
                "the mailboxes of this rendezvous are full",
            ),
        ];
        for (account, (quota, words)) in accounts(row).into_iter().zip(quotas) {
            let sum = self.of(account)?;
            if sum.count > quota.count || sum.bytes > quota.bytes {
                return Err(Refusal::new(RefusalCode::MailboxFull, words));
            }
        }
        Ok(())
    }

    fn finish(self, changes: &mut Changes) {
        for (account, sum) in self.changed {
            changes.put_letter_sum(account, sum);
        }
    }
}

fn accounts(row: &LetterRow) -> [LetterAccount; 4] {
    let (to, from) = (row.key.to, row.from);
    [
        LetterAccount::Between(to, from),
        LetterAccount::To(to),
        LetterAccount::From(from),
        LetterAccount::All,
    ]
}
