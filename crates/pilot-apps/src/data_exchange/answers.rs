//! Messages that we sent and that may be answered, by receiver and id.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use pilot_types::AgentId;
use pilot_wire::MessageId;
use thiserror::Error;
use tokio::sync::oneshot;

use super::delivery::Delivery;

/// Messages that may be answered at once. An entry is under 256 bytes with its place by age, so that all of them are under 1 MiB.
const MAX_OUTSTANDING: usize = 4096;
/// How long an answer may take: as long as a reply-only grant lives (`docs/trust.md`).
pub(crate) const ANSWER_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// Why a message cannot be sent with an answer expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AnswersError {
    /// Somebody waits for each of the messages that are out.
    #[error("{MAX_OUTSTANDING} messages wait for their answers already")]
    Full,
}

/// The messages that are out.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// Keyed by our own ids, never by what a peer chooses; bounded by [`MAX_OUTSTANDING`] all the same.
    outstanding: BTreeMap<Key, Expected>,
    /// The same by age, the oldest first.
    by_age: BTreeSet<(Instant, Key)>,
}

type Key = (AgentId, MessageId);

#[derive(Debug)]
struct Expected {
    since: Instant,
    waiter: Option<oneshot::Sender<Delivery>>,
}

impl Answers {
    /// Remembers that `to` may answer `id`. Beyond the bound the oldest for which nobody waits is forgotten.
    pub(crate) fn expect(
        &mut self,
        now: Instant,
        to: AgentId,
        id: MessageId,
    ) -> Result<(), AnswersError> {
        self.insert(now, to, id, None)
    }

    /// The same, with somebody who waits.
    pub(crate) fn wait(
        &mut self,
        now: Instant,
        to: AgentId,
        id: MessageId,
    ) -> Result<oneshot::Receiver<Delivery>, AnswersError> {
        let (waiter, answer) = oneshot::channel();
        self.insert(now, to, id, Some(waiter))?;
        Ok(answer)
    }

    /// Whether an answer of `from` to `id` is expected.
    pub(crate) fn is_expected(&self, now: Instant, from: AgentId, id: MessageId) -> bool {
        self.outstanding
            .get(&(from, id))
            .is_some_and(|expected| !expected.is_over(now))
    }

    /// Takes the answer: the first one ends the wait.
    pub(crate) fn resolve(&mut self, id: MessageId, answer: &Delivery) {
        let Some(expected) = self.remove((answer.sender.agent, id)) else {
            return;
        };
        if let Some(waiter) = expected.waiter {
            // Whoever waited may have given up; the answer is in the inbox either way.
            let _ = waiter.send(answer.clone());
        }
    }

    /// Forgets a message that was not sent.
    pub(crate) fn forget(&mut self, to: AgentId, id: MessageId) {
        self.remove((to, id));
    }

    fn remove(&mut self, key: Key) -> Option<Expected> {
        let expected = self.outstanding.remove(&key)?;
        self.by_age.remove(&(expected.since, key));
        Some(expected)
    }

    fn insert(
        &mut self,
        now: Instant,
        to: AgentId,
        id: MessageId,
        waiter: Option<oneshot::Sender<Delivery>>,
    ) -> Result<(), AnswersError> {
        // Sent again under the same name, it is a new wait.
        self.remove((to, id));
        if self.outstanding.len() >= MAX_OUTSTANDING {
            self.make_room(now)?;
        }
        let expected = Expected { since: now, waiter };
        self.by_age.insert((now, (to, id)));
        self.outstanding.insert((to, id), expected);
        Ok(())
    }

    /// The oldest that is over or that nobody waits for goes.
    fn make_room(&mut self, now: Instant) -> Result<(), AnswersError> {
        let can_go = |key: &Key| {
            let expected = self.outstanding.get(key);
            expected.is_none_or(|expected| expected.is_over(now) || !expected.is_awaited())
        };
        let mut keys = self.by_age.iter().map(|(_, key)| *key);
        let oldest = keys.find(can_go).ok_or(AnswersError::Full)?;
        self.remove(oldest);
        Ok(())
    }
}

impl Expected {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= ANSWER_LIFETIME
    }

    fn is_awaited(&self) -> bool {
        self.waiter
            .as_ref()
            .is_some_and(|waiter| !waiter.is_closed())
    }
}

#[cfg(test)]
mod tests {
    use super::super::delivery::Sender;
    use super::*;

    const PEER: AgentId = AgentId::new([1; 32]);
    const OTHER: AgentId = AgentId::new([2; 32]);

    fn id(number: u32) -> MessageId {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        MessageId::new(bytes)
    }

    fn answer(from: AgentId) -> Delivery {
        Delivery {
            sender: Sender {
                agent: from,
                hostname: None,
            },
            terms: super::super::delivery::Terms::default(),
            head: pilot_wire::Message {
                id: id(99),
                kind: pilot_wire::MessageType::Text,
                len: 2,
                reply_to: Some(id(1)),
                trace: None,
            },
            body: b"ok".to_vec().into(),
            mailed: None,
            finding: None,
        }
    }

    #[test]
    fn only_the_receiver_of_a_message_answers_it_and_once() {
        let (mut answers, now) = (Answers::default(), Instant::now());
        let mut waiting = answers.wait(now, PEER, id(1)).unwrap();
        answers.resolve(id(1), &answer(OTHER));
        assert!(waiting.try_recv().is_err(), "another agent answered");
        assert!(answers.is_expected(now, PEER, id(1)));
        answers.resolve(id(1), &answer(PEER));
        assert!(answers.by_age.is_empty());
        assert_eq!(&*waiting.try_recv().unwrap().body, b"ok");
        assert!(!answers.is_expected(now, PEER, id(1)));
    }

    #[test]
    fn an_answer_is_not_expected_for_ever() {
        let (mut answers, now) = (Answers::default(), Instant::now());
        answers.expect(now, PEER, id(1)).unwrap();
        assert!(answers.is_expected(now + ANSWER_LIFETIME - Duration::from_secs(1), PEER, id(1)));
        assert!(!answers.is_expected(now + ANSWER_LIFETIME, PEER, id(1)));
    }

    #[test]
    fn the_oldest_that_nobody_awaits_makes_room() {
        let (mut answers, now) = (Answers::default(), Instant::now());
        let _waiting = answers.wait(now, PEER, id(0)).unwrap();
        for number in 1..=u32::try_from(MAX_OUTSTANDING).unwrap() {
            let at = now + Duration::from_millis(u64::from(number));
            answers.expect(at, PEER, id(number)).unwrap();
        }
        assert_eq!(answers.outstanding.len(), MAX_OUTSTANDING);
        assert_eq!(answers.by_age.len(), MAX_OUTSTANDING);
        assert!(
            answers.is_expected(now, PEER, id(0)),
            "somebody waits for it"
        );
        assert!(!answers.is_expected(now, PEER, id(1)));
        assert!(answers.is_expected(now, PEER, id(2)));
    }

    #[test]
    fn when_all_are_awaited_the_next_is_refused() {
        let (mut answers, now) = (Answers::default(), Instant::now());
        let waiting: Vec<_> = (0..u32::try_from(MAX_OUTSTANDING).unwrap())
            .map(|number| answers.wait(now, PEER, id(number)).unwrap())
            .collect();
        assert_eq!(
            answers.expect(now, PEER, id(u32::MAX)),
            Err(AnswersError::Full)
        );
        drop(waiting);
        assert_eq!(answers.expect(now, PEER, id(u32::MAX)), Ok(()));
    }
}
