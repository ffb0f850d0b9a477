//! A service that keeps nothing: each message is answered at once, on the stream that brought it.

use std::time::Duration;

use pilot_wire::{Message, MessageId, MessageType};
use tokio::io::{AsyncRead, AsyncWrite, split};
use tokio::time::timeout;

use super::codec::{read_body, read_head};
use super::delivery::{Outcome, ServeError};
use super::send::{Direction, exchange};
use super::service::{acknowledge, refuse};

/// An answer to a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// Its name, random.
    pub id: MessageId,
    /// How it is to be read.
    pub kind: MessageType,
    /// Its body.
    pub body: Vec<u8>,
}

/// Takes one message of at most `max_len` bytes from a stream, acknowledges it, and sends what `answer` makes of its body. All of it takes
/// `patience` at most. A sender that does not wait for the answer gets none.
///
/// # Errors
/// [`ServeError`]; the sender was told where it can act on it.
pub async fn answer_one<S: AsyncRead + AsyncWrite>(
    stream: S,
    max_len: u64,
    patience: Duration,
    answer: impl FnOnce(&[u8]) -> Reply,
) -> Result<(), ServeError> {
    let (mut reader, mut writer) = split(stream);
    let taken = timeout(patience, async {
        let head = read_head(&mut reader).await?;
        if head.len > max_len {
            return Err(ServeError::TooLarge {
                len: head.len,
                limit: max_len,
            });
        }
        let body = read_body(&mut reader, &head).await?;
        Ok((head, body))
    });
    let (head, body) = match taken.await.unwrap_or(Err(ServeError::TooSlow)) {
        Ok(taken) => taken,
        Err(error) => {
            refuse(&mut writer, &error).await;
            return Err(error);
        }
    };
    let Reply { id, kind, body } = answer(&body);
    let sent = timeout(patience, async {
        acknowledge(&mut writer, Outcome::Stored).await?;
        let answer = Message {
            id,
            kind,
            len: body.len() as u64,
            reply_to: Some(head.id),
            trace: head.trace,
        };
        // Whoever asked may have gone, or waits for nothing.
        let sent = exchange(&mut reader, &mut writer, (&answer, &body), Direction::End).await;
        if let Err(error) = sent {
            tracing::debug!(%error, "the answer was not taken");
        }
        Ok(())
    });
    sent.await.unwrap_or(Err(ServeError::TooSlow))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use pilot_types::AgentId;
    use pilot_wire::MessageAck;
    use tokio::io::duplex;

    use super::super::{
        DataExchange, Delivery, Inbox, Limits, PutError, SendMessageError, Sender, send_message,
    };
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);
    const SERVICE: AgentId = AgentId::new([4; 32]);

    #[derive(Default)]
    struct Kept(Mutex<Vec<Delivery>>);

    impl Inbox for Kept {
        fn put(&self, deliveries: &[Delivery]) -> Vec<Result<Outcome, PutError>> {
            self.0.lock().unwrap().extend_from_slice(deliveries);
            deliveries.iter().map(|_| Ok(Outcome::Stored)).collect()
        }
    }

    fn message(len: usize) -> Message {
        Message {
            id: MessageId::new([1; 16]),
            kind: MessageType::Text,
            len: len as u64,
            reply_to: None,
            trace: None,
        }
    }

    fn echo(body: &[u8]) -> Reply {
        Reply {
            id: MessageId::new([2; 16]),
            kind: MessageType::Json,
            body: body.to_ascii_uppercase(),
        }
    }

    #[tokio::test]
    async fn the_answer_comes_on_the_stream_of_the_question() {
        let exchange = Arc::new(DataExchange::new(
            Arc::new(Kept::default()),
            Limits::default(),
        ));
        let (near, far) = duplex(64);
        let service = tokio::spawn(answer_one(far, 100, PATIENCE, echo));
        let (to, head) = (
            Sender {
                agent: SERVICE,
                hostname: None,
            },
            message(3),
        );
        let answer = exchange.wait_for_answer(SERVICE, head.id).unwrap();
        let ack = exchange.request(near, to, &head, b"abc").await.unwrap();
        assert_eq!(ack, MessageAck::Stored);
        let answer = answer.await.unwrap();
        assert_eq!(&*answer.body, b"ABC");
        assert_eq!(answer.head.reply_to, Some(head.id));
        service.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn too_long_a_message_is_refused_in_words() {
        let (near, far) = duplex(64);
        let service = tokio::spawn(answer_one(far, 2, PATIENCE, echo));
        let refused = send_message(near, &message(3), b"abc").await.unwrap_err();
        assert!(
            matches!(&refused, SendMessageError::Refused(words) if words.contains("at most 2")),
            "{refused}"
        );
        assert!(matches!(
            service.await.unwrap(),
            Err(ServeError::TooLarge { .. })
        ));
    }

    #[tokio::test]
    async fn who_does_not_wait_has_sent_all_the_same() {
        let (near, far) = duplex(64);
        let service = tokio::spawn(answer_one(far, 100, PATIENCE, echo));
        send_message(near, &message(3), b"abc").await.unwrap();
        service.await.unwrap().unwrap();
    }
}
