//! Messages whose senders left their stream open for the answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use pilot_types::AgentId;
use pilot_wire::{Message, MessageAck, MessageId};
use tokio::sync::oneshot;

use super::send::SendMessageError;

/// Streams that wait for an answer of ours. An entry is under 128 bytes, its stream a few KiB: under 2 MiB in all.
const MAX_OPEN: usize = 256;
/// Of one sender, the oldest given up first, so that one cannot push out all others.
const MAX_OPEN_PER_SENDER: usize = 32;

/// An answer on its way to the task that holds the stream.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) head: Message,
    pub(crate) body: Arc<[u8]>,
    pub(crate) done: oneshot::Sender<Result<MessageAck, SendMessageError>>,
}

/// The open streams by sender and id.
#[derive(Debug, Default)]
pub(crate) struct OpenRequests {
    open: BTreeMap<(AgentId, MessageId), Open>,
}

#[derive(Debug)]
struct Open {
    since: Instant,
    hand_over: oneshot::Sender<Answer>,
}

impl OpenRequests {
    /// Notes a stream; what comes out is the answer, or an error when the stream is to be given up.
    pub(crate) fn open(
        &mut self,
        now: Instant,
        sender: AgentId,
        id: MessageId,
    ) -> oneshot::Receiver<Answer> {
        self.open.retain(|_, open| !open.hand_over.is_closed());
        let is_senders = |key: &(AgentId, MessageId)| key.0 == sender;
        if self.open.keys().filter(|key| is_senders(key)).count() >= MAX_OPEN_PER_SENDER {
            self.give_up_oldest(is_senders);
        } else if self.open.len() >= MAX_OPEN {
            self.give_up_oldest(|_| true);
        }
        let (hand_over, answer) = oneshot::channel();
        self.open.insert(
            (sender, id),
            Open {
                since: now,
                hand_over,
            },
        );
        answer
    }

    /// The way to the task that holds the stream of message `id`, once.
    pub(crate) fn take(
        &mut self,
        sender: AgentId,
        id: MessageId,
    ) -> Option<oneshot::Sender<Answer>> {
        let open = self.open.remove(&(sender, id))?;
        (!open.hand_over.is_closed()).then_some(open.hand_over)
    }

    fn give_up_oldest(&mut self, among: impl Fn(&(AgentId, MessageId)) -> bool) {
        let candidates = self.open.iter().filter(|(key, _)| among(key));
        let oldest = candidates.min_by_key(|(_, open)| open.since);
        if let Some(key) = oldest.map(|(key, _)| *key) {
            self.open.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn sender(number: u16) -> AgentId {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        AgentId::new(bytes)
    }

    fn id(number: u8) -> MessageId {
        MessageId::new([number; 16])
    }

    #[test]
    fn a_stream_is_handed_out_once_and_only_while_it_is_held() {
        let (mut requests, now) = (OpenRequests::default(), Instant::now());
        let held = requests.open(now, sender(1), id(1));
        let gone = requests.open(now, sender(1), id(2));
        drop(gone);
        assert!(requests.take(sender(2), id(1)).is_none());
        assert!(requests.take(sender(1), id(2)).is_none());
        assert!(requests.take(sender(1), id(1)).is_some());
        assert!(requests.take(sender(1), id(1)).is_none());
        drop(held);
    }

    #[test]
    fn one_sender_gives_up_its_own_oldest_and_all_are_bounded() {
        let (mut requests, now) = (OpenRequests::default(), Instant::now());
        let mut held = vec![requests.open(now, sender(0), id(0))];
        for number in 1..=u8::try_from(MAX_OPEN_PER_SENDER).unwrap() {
            let later = now + Duration::from_secs(u64::from(number));
            held.push(requests.open(later, sender(1), id(number)));
        }
        held.push(requests.open(now + Duration::from_secs(99), sender(1), id(99)));
        assert!(
            held[1]
                .try_recv()
                .is_err_and(|error| error == oneshot::error::TryRecvError::Closed)
        );
        assert!(
            held[0]
                .try_recv()
                .is_err_and(|error| error == oneshot::error::TryRecvError::Empty)
        );
        for number in 2..300 {
            held.push(requests.open(now + Duration::from_secs(100), sender(number), id(1)));
        }
        assert_eq!(requests.open.len(), MAX_OPEN);
    }
}
