use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pilot_wire::MessageType;
use tokio::io::{DuplexStream, duplex};

use super::super::PutError;
use super::super::codec::{ReadMessageError, encode_prefixed, read_ack};
use super::*;

const PEER: AgentId = AgentId::new([1; 32]);

#[derive(Default)]
struct Memory {
    kept: Mutex<Vec<Delivery>>,
    is_full: AtomicBool,
}

impl Inbox for Memory {
    fn put(&self, deliveries: &[Delivery]) -> Vec<Result<Outcome, PutError>> {
        deliveries.iter().map(|it| self.put_one(it)).collect()
    }
}

impl Memory {
    fn put_one(&self, delivery: &Delivery) -> Result<Outcome, PutError> {
        if self.is_full.load(Ordering::Relaxed) {
            return Err(PutError::Full);
        }
        let mut kept = lock(&self.kept);
        if kept.iter().any(|other| other.head.id == delivery.head.id) {
            return Ok(Outcome::Duplicate);
        }
        kept.push(delivery.clone());
        Ok(Outcome::Stored)
    }
}

fn exchange(limits: Limits) -> Arc<DataExchange<Memory>> {
    Arc::new(DataExchange::new(Arc::new(Memory::default()), limits))
}

fn head(id: u8, reply_to: Option<u8>) -> Message {
    Message {
        id: MessageId::new([id; 16]),
        kind: MessageType::Text,
        len: 0,
        reply_to: reply_to.map(|id| MessageId::new([id; 16])),
        trace: None,
    }
}

fn served(
    exchange: &Arc<DataExchange<Memory>>,
    stream: DuplexStream,
    terms: Terms,
) -> tokio::task::JoinHandle<Result<Outcome, ServeError>> {
    let exchange = Arc::clone(exchange);
    let sender = Sender {
        agent: PEER,
        hostname: None,
    };
    tokio::spawn(async move { exchange.serve(stream, sender, terms).await })
}

async fn exchanged(
    exchange: &Arc<DataExchange<Memory>>,
    terms: Terms,
    head: &Message,
    body: &[u8],
) -> (
    Result<MessageAck, SendMessageError>,
    Result<Outcome, ServeError>,
) {
    let (ours, theirs) = duplex(256);
    let service = served(exchange, theirs, terms);
    let ack = send_message(ours, head, body).await;
    (ack, service.await.unwrap())
}

#[tokio::test]
async fn a_message_is_stored_before_it_is_acknowledged_and_once() {
    let exchange = exchange(Limits::default());
    let body = vec![7; 10_000];
    let (ack, outcome) = exchanged(&exchange, Terms::default(), &head(1, None), &body).await;
    assert_eq!(
        (ack.unwrap(), outcome.unwrap()),
        (MessageAck::Stored, Outcome::Stored)
    );
    let (ack, outcome) = exchanged(&exchange, Terms::default(), &head(1, None), &body).await;
    assert_eq!(
        (ack.unwrap(), outcome.unwrap()),
        (MessageAck::Duplicate, Outcome::Duplicate)
    );
    let kept = lock(&exchange.inbox().kept);
    assert_eq!(kept.len(), 1);
    assert_eq!(
        (kept[0].head.len, &*kept[0].body),
        (10_000, body.as_slice())
    );
}

#[tokio::test]
async fn what_the_inbox_does_not_take_is_not_acknowledged() {
    let exchange = exchange(Limits::default());
    exchange.inbox().is_full.store(true, Ordering::Relaxed);
    let (ack, outcome) = exchanged(&exchange, Terms::default(), &head(1, None), b"x").await;
    assert_eq!(
        ack.unwrap_err().to_string(),
        "the peer refused the message: the inbox is full"
    );
    assert!(matches!(outcome, Err(ServeError::Inbox(PutError::Full))));
}

#[tokio::test]
async fn a_body_beyond_the_grant_is_refused_by_its_head() {
    let exchange = exchange(Limits::default());
    let terms = Terms {
        max_size: 100,
        ..Terms::default()
    };
    let (ack, outcome) = exchanged(&exchange, terms, &head(1, None), &[0; 10_000]).await;
    let refused = ack.unwrap_err().to_string();
    assert!(refused.contains("at most 100 are allowed"), "{refused}");
    assert!(matches!(
        outcome,
        Err(ServeError::TooLarge {
            len: 10_000,
            limit: 100
        })
    ));
    let (ack, _) = exchanged(&exchange, terms, &head(1, None), &[0; 100]).await;
    assert_eq!(ack.unwrap(), MessageAck::Stored);
}

#[tokio::test]
async fn a_reply_only_sender_brings_one_answer_for_each_message_of_ours() {
    let exchange = exchange(Limits::default());
    let terms = Terms {
        is_reply_only: true,
        ..Terms::default()
    };
    for unasked in [head(2, None), head(2, Some(1))] {
        let (ack, outcome) = exchanged(&exchange, terms, &unasked, b"x").await;
        assert!(matches!(ack, Err(SendMessageError::Refused(_))));
        assert!(matches!(outcome, Err(ServeError::ReplyOnly)));
    }
    let answer = exchange
        .wait_for_answer(PEER, MessageId::new([1; 16]))
        .unwrap();
    let (ack, _) = exchanged(&exchange, terms, &head(2, Some(1)), b"yes").await;
    assert_eq!(ack.unwrap(), MessageAck::Stored);
    assert_eq!(&*answer.await.unwrap().body, b"yes");
    let (ack, _) = exchanged(&exchange, terms, &head(3, Some(1)), b"again").await;
    assert!(matches!(ack, Err(SendMessageError::Refused(_))));
}

#[tokio::test]
async fn a_sender_beyond_its_rate_is_told_to_wait() {
    let exchange = exchange(Limits::default());
    let terms = Terms {
        rate: 1,
        ..Terms::default()
    };
    let (ack, _) = exchanged(&exchange, terms, &head(1, None), b"x").await;
    assert_eq!(ack.unwrap(), MessageAck::Stored);
    let (ack, outcome) = exchanged(&exchange, terms, &head(2, None), b"x").await;
    assert!(matches!(ack, Err(SendMessageError::Refused(_))));
    assert!(matches!(outcome, Err(ServeError::RateLimited)));
}

#[tokio::test]
async fn a_sender_that_stalls_is_dropped_and_its_share_freed() {
    let exchange = exchange(Limits {
        in_flight: 2048,
        patience: Duration::from_millis(20),
        ..Limits::default()
    });
    let (mut ours, theirs) = duplex(256);
    let service = served(&exchange, theirs, Terms::default());
    let announced = Message {
        len: 2000,
        ..head(1, None)
    };
    ours.write_all(&encode_prefixed(&announced)).await.unwrap();
    assert!(matches!(service.await.unwrap(), Err(ServeError::TooSlow)));
    assert!(matches!(
        read_ack(&mut ours).await,
        Ok(MessageAck::Refused(_))
    ));
    let (ack, _) = exchanged(&exchange, Terms::default(), &head(2, None), &[0; 2000]).await;
    assert_eq!(ack.unwrap(), MessageAck::Stored);
}

#[tokio::test]
async fn a_message_cut_short_is_not_stored() {
    let exchange = exchange(Limits::default());
    let (mut ours, theirs) = duplex(256);
    let service = served(&exchange, theirs, Terms::default());
    let announced = Message {
        len: 10,
        ..head(1, None)
    };
    ours.write_all(&encode_prefixed(&announced)).await.unwrap();
    ours.write_all(b"half").await.unwrap();
    ours.shutdown().await.unwrap();
    let mut answer = vec![];
    ours.read_to_end(&mut answer).await.unwrap();
    assert!(matches!(
        read_ack(&mut answer.as_slice()).await,
        Ok(MessageAck::Refused(_))
    ));
    assert!(matches!(
        service.await.unwrap(),
        Err(ServeError::Read(ReadMessageError::Truncated))
    ));
    assert!(lock(&exchange.inbox().kept).is_empty());
}

fn sender() -> Sender {
    Sender {
        agent: PEER,
        hostname: None,
    }
}

/// The two ends of one exchange, each the other's `PEER`: the first may send nothing but answers to the second.
fn pair() -> (Arc<DataExchange<Memory>>, Arc<DataExchange<Memory>>) {
    (exchange(Limits::default()), exchange(Limits::default()))
}

#[tokio::test]
async fn an_agent_that_may_open_no_stream_answers_on_the_one_that_was_left_open() {
    let (asker, answerer) = pair();
    let (ours, theirs) = duplex(256);
    let service = served(&answerer, theirs, Terms::default());
    let question = head(1, None);
    let answer = asker.wait_for_answer(PEER, question.id).unwrap();
    let ack = asker
        .request(ours, sender(), &question, b"how are you")
        .await;
    assert_eq!(ack.unwrap(), MessageAck::Stored);

    let wrong = answerer
        .answer(PEER, &head(2, Some(9)), Arc::from(*b"?"))
        .await;
    assert!(wrong.is_none(), "there is no such question");
    let body: Arc<[u8]> = vec![7; 5000].into();
    let sent = answerer
        .answer(PEER, &head(2, Some(1)), Arc::clone(&body))
        .await;
    assert_eq!(sent.unwrap().unwrap(), MessageAck::Stored);
    assert_eq!(answer.await.unwrap().body, body);
    assert_eq!(lock(&asker.inbox().kept).len(), 1, "the answer is kept too");
    assert!(
        answerer
            .answer(PEER, &head(3, Some(1)), body)
            .await
            .is_none(),
        "one answer"
    );
    assert_eq!(service.await.unwrap().unwrap(), Outcome::Stored);
}

#[tokio::test]
async fn what_is_not_the_answer_is_refused_on_a_stream_left_open() {
    let (asker, answerer) = pair();
    let (ours, theirs) = duplex(256);
    let service = served(&answerer, theirs, Terms::default());
    let ack = asker
        .request(ours, sender(), &head(1, None), b"nothing expected")
        .await;
    assert_eq!(ack.unwrap(), MessageAck::Stored);
    let sent = answerer
        .answer(PEER, &head(2, Some(1)), Arc::from(*b"unasked"))
        .await;
    assert!(matches!(sent.unwrap(), Err(SendMessageError::Refused(_))));
    assert!(lock(&asker.inbox().kept).is_empty());
    service.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stream_that_its_sender_ended_takes_no_answer() {
    let exchange = exchange(Limits::default());
    let (ack, _) = exchanged(&exchange, Terms::default(), &head(1, None), b"x").await;
    assert_eq!(ack.unwrap(), MessageAck::Stored);
    let sent = exchange
        .answer(PEER, &head(2, Some(1)), Arc::from(*b"y"))
        .await;
    assert!(sent.is_none());
}
