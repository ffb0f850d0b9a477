//! Sending a message: on the stream of the question it answers, or on a new one; approved on the way where that is offered.

use std::sync::Arc;
use std::time::Duration;

use pilot::{DialError, DialOptions, Knocked, Port, Stream, Target, Terms};
use pilot_api::types::{MessageKind, MessageReply, MessageSent, SendMessageRequest};
use pilot_api::{ApiError, ErrorCode, PeerRef};
use pilot_apps::{Delivery, Sender, send_message};
use pilot_types::{AgentId, UnixTime};
use pilot_wire::limits::MAX_LETTER_BODY;
use pilot_wire::{Message, MessageAck, MessageId, MessageType};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::{Daemon, target};
use crate::error;
use crate::filter;
use crate::inbox::{filtered, kind_of, now};

/// How long an agent that approves every knock may take for it.
const APPROVAL_PATIENCE: Duration = Duration::from_secs(5);
/// What such an agent reads as the reason.
const JUSTIFICATION: &str = "to send a message";

/// When a rendezvous is asked first, and again, whether an agent that has not answered yet is there at all.
const AWAY_LOOK: Duration = Duration::from_secs(2);
/// How long a message that fits into a mailbox is tried straight: what came all the same is known by its id, and is there once.
const DIRECT_PATIENCE: Duration = Duration::from_secs(8);

/// A message on its way out.
struct Outgoing {
    /// As the user called its receiver.
    peer: PeerRef,
    to: Target,
    head: Message,
    body: Arc<[u8]>,
}

/// What became of a message.
enum Ack {
    /// Its receiver has it.
    Inbox(MessageAck),
    /// Its mailbox has it, until then.
    Mailbox(UnixTime),
}

/// A message that its receiver has, or finds.
struct Sent {
    to: AgentId,
    ack: Ack,
    /// The answer, where it is waited for.
    answer: Option<oneshot::Receiver<Delivery>>,
}

impl Daemon {
    pub(super) async fn send(&self, request: SendMessageRequest) -> Result<MessageSent, ApiError> {
        let body: Arc<[u8]> = request.body.into_bytes().into();
        let filter = self
            .pass_to_peer("the message", &request.peer, &body)
            .await?;
        let message = Outgoing {
            to: target(&request.peer)?,
            peer: request.peer,
            head: Message {
                id: request.id.unwrap_or_else(random_id),
                reply_to: request.reply_to,
                trace: request.traceparent,
                ..new_head(request.kind, &body)
            },
            body,
        };
        let sent = match self.answer_in_place(&message).await {
            Some(sent) => sent?,
            None => {
                self.send_or_leave(&message, request.wait_ms.is_some())
                    .await?
            }
        };
        let reply = match (sent.answer, request.wait_ms) {
            (Some(answer), Some(wait_ms)) => Some(wait(answer, wait_ms, &message.peer).await?),
            (None, _) | (_, None) => None,
        };
        Ok(MessageSent {
            target: sent.to.address(),
            node_id: sent.to.node(),
            kind: request.kind,
            bytes: message.head.len,
            id: message.head.id,
            ack: sent.ack.word().to_owned(),
            kept_until: sent.ack.kept_until(),
            reply,
            filter,
        })
    }

    /// An answer to a question whose sender left its stream open goes there.
    async fn answer_in_place(&self, message: &Outgoing) -> Option<Result<Sent, ApiError>> {
        message.head.reply_to?;
        let to = self.known_agent(&message.to)?;
        let exchange = self.services.exchange();
        let sent = exchange
            .answer(to, &message.head, Arc::clone(&message.body))
            .await?;
        let failed = |error| error::send_message(&error, &message.peer);
        Some(sent.map_err(failed).map(|ack| Sent {
            to,
            ack: Ack::Inbox(ack),
            answer: None,
        }))
    }

    async fn send_anew(&self, message: &Outgoing, is_awaited: bool) -> Result<Sent, ApiError> {
        let Outgoing {
            peer, head, body, ..
        } = message;
        let stream = self.dial_exchange(message).await?;
        let to = stream.peer().agent;
        let exchange = self.services.exchange();
        let answer = self.expect(to, head.id, is_awaited)?;
        let sent = if self.node.admits(&to, Port::DATA_EXCHANGE) {
            send_message(stream, head, body).await
        } else {
            // It may open no stream to us: its answer comes on this one.
            let receiver = Sender {
                agent: to,
                hostname: stream.peer().hostname.clone(),
            };
            exchange.request(stream, receiver, head, body).await
        };
        let ack = sent.map_err(|error| {
            exchange.forget_answer(to, head.id);
            error::send_message(&error, peer)
        })?;
        Ok(Sent {
            to,
            ack: Ack::Inbox(ack),
            answer,
        })
    }

    /// Notes that an agent may answer a message; gives what resolves with the answer where that is waited for.
    fn expect(
        &self,
        to: AgentId,
        id: MessageId,
        is_awaited: bool,
    ) -> Result<Option<oneshot::Receiver<Delivery>>, ApiError> {
        let exchange = self.services.exchange();
        let expected = if is_awaited {
            exchange.wait_for_answer(to, id).map(Some)
        } else {
            exchange.expect_answer(to, id).map(|()| None)
        };
        expected.map_err(error::answers)
    }

    /// Straight to its receiver; into its mailbox, if that is an agent that is known here and away.
    async fn send_or_leave(&self, message: &Outgoing, is_awaited: bool) -> Result<Sent, ApiError> {
        let known = self.known_agent(&message.to);
        let Some(to) = known.filter(|_| message.body.len() <= MAX_LETTER_BODY) else {
            let sent = self.send_anew(message, is_awaited).await;
            return sent.map_err(|error| match known {
                Some(_) if is_away(&error) => error::too_large_for_mailbox(error),
                Some(_) | None => error,
            });
        };
        let tried = tokio::select! {
            sent = self.send_anew(message, is_awaited) => sent,
            () = self.found_away(to) => {
                Err(error::no_answer(&message.peer))
            }
        };
        match tried {
            Err(error) if is_away(&error) => self.leave_for(message, to, is_awaited).await,
            sent => sent,
        }
    }

    /// Resolves when a rendezvous says that an agent is not there, or when it has had time enough to answer.
    async fn found_away(&self, agent: AgentId) {
        let looks = async {
            loop {
                sleep(AWAY_LOOK).await;
                let found = self.node.lookup(Target::Agent(agent)).await;
                if found.is_ok_and(|found| !found.online) {
                    return;
                }
            }
        };
        // Over either way.
        let _ = timeout(DIRECT_PATIENCE, looks).await;
    }

    /// Leaves a message in its receiver's mailbox; the answer may come by ours.
    async fn leave_for(
        &self,
        message: &Outgoing,
        to: AgentId,
        is_awaited: bool,
    ) -> Result<Sent, ApiError> {
        let Outgoing {
            peer, head, body, ..
        } = message;
        let exchange = self.services.exchange();
        let answer = self.expect(to, head.id, is_awaited)?;
        let left = self.node.deposit(to, head.clone(), body.to_vec(), None);
        match left.await {
            Ok(until) => Ok(Sent {
                to,
                ack: Ack::Mailbox(until),
                answer,
            }),
            Err(error) => {
                exchange.forget_answer(to, head.id);
                Err(error::deposit(&error, peer))
            }
        }
    }

    async fn dial_exchange(&self, message: &Outgoing) -> Result<Stream, ApiError> {
        let Outgoing { peer, to, head, .. } = message;
        let options = DialOptions {
            trace: head.trace,
            ..DialOptions::default()
        };
        let dial = || {
            self.node
                .dial_peer(to.clone(), Port::DATA_EXCHANGE, options.clone())
        };
        let failed = |error| error::dial(&error, peer, Port::DATA_EXCHANGE);
        match dial().await {
            Err(DialError::NotTrusted { .. }) => {
                self.get_approved(peer, to).await?;
                dial().await.map_err(failed)
            }
            dialled => dialled.map_err(failed),
        }
    }

    /// Knocks at an agent that approves every knock, and grants back no more than answers.
    async fn get_approved(&self, peer: &PeerRef, to: &Target) -> Result<(), ApiError> {
        let found = self
            .node
            .lookup(to.clone())
            .await
            .map_err(|error| error::lookup(&error, peer))?;
        if !found.auto_approves {
            return Err(error::not_trusted(peer));
        }
        let was_trusted = self
            .node
            .trusted()
            .iter()
            .any(|peer| peer.agent == found.agent);
        // By its full id: what was looked up is what is trusted.
        let to = Target::Agent(found.agent);
        let failed = |error| error::trust(&error, peer);
        let terms = if was_trusted {
            self.node.default_terms()
        } else {
            Terms::reply_only(now())
        };
        let knock = self.node.knock_with(to.clone(), JUSTIFICATION, terms);
        if knock.await.map_err(failed)? == Knocked::Sent {
            timeout(APPROVAL_PATIENCE, self.node.trusted_with(&to))
                .await
                .map_err(|_| error::not_trusted(peer))?
                .map_err(failed)?;
        }
        Ok(())
    }

    /// The agent behind a target, as far as it is trusted here or has a session.
    pub(super) fn known_agent(&self, to: &Target) -> Option<AgentId> {
        let trusted = || self.node.trusted().into_iter();
        match to {
            Target::Agent(agent) => Some(*agent),
            Target::Ticket(_) => None,
            Target::Node(node) => {
                let peers = || self.node.peers().into_iter().map(|peer| peer.agent);
                let mut known = trusted().map(|peer| peer.agent).chain(peers());
                known.find(|agent| agent.node() == *node)
            }
            Target::Hostname(name) => {
                let peers = || {
                    self.node
                        .peers()
                        .into_iter()
                        .map(|peer| (peer.agent, peer.hostname))
                };
                let mut known = trusted()
                    .map(|peer| (peer.agent, peer.hostname))
                    .chain(peers());
                known
                    .find(|(_, hostname)| hostname.as_ref() == Some(name))
                    .map(|(agent, _)| agent)
            }
            Target::Key(key) => {
                let is_its = |agent: &AgentId, sign_key: [u8; 32]| {
                    agent.as_bytes() == key || sign_key == *key
                };
                trusted()
                    .find(|peer| is_its(&peer.agent, peer.log.sign_key()))
                    .map(|peer| peer.agent)
            }
        }
    }
}

async fn wait(
    answer: oneshot::Receiver<Delivery>,
    wait_ms: u64,
    peer: &PeerRef,
) -> Result<MessageReply, ApiError> {
    let delivery = if wait_ms == 0 {
        answer.await
    } else {
        timeout(Duration::from_millis(wait_ms), answer)
            .await
            .map_err(|_| {
                let words = format!(
                    "no answer from {} within {wait_ms} ms",
                    error::name_of(peer)
                );
                ApiError::timeout(words)
                    .with_hint("the answer is in `pilotctl inbox` once it comes")
            })?
    };
    let delivery =
        delivery.map_err(|_| ApiError::internal("the wait for the answer was given up"))?;
    check_reply(&delivery)?;
    Ok(shown_reply(delivery))
}

/// An answer that the owner's filter put into quarantine is none for who waits for it.
pub(super) fn check_reply(delivery: &Delivery) -> Result<(), ApiError> {
    match &delivery.finding {
        Some(finding) if finding.is_blocked => {
            let id = delivery.head.id;
            let error = filter::blocked("the answer", &filtered(finding));
            Err(error.with_hint(format!(
                "it is in quarantine: pilotctl inbox read {id} --quarantined"
            )))
        }
        Some(_) | None => Ok(()),
    }
}

/// An answer, as the API shows it.
pub(super) fn shown_reply(delivery: Delivery) -> MessageReply {
    MessageReply {
        from: delivery.sender.agent.node(),
        from_address: delivery.sender.agent.address(),
        from_hostname: delivery.sender.hostname,
        kind: kind_of(delivery.head.kind),
        id: delivery.head.id,
        body: delivery.body.to_vec().into(),
        filter: delivery.finding.as_ref().map(filtered),
    }
}

const fn wire_kind(kind: MessageKind) -> MessageType {
    match kind {
        MessageKind::Text => MessageType::Text,
        MessageKind::Json => MessageType::Json,
        MessageKind::Binary => MessageType::Binary,
    }
}

impl Ack {
    const fn word(&self) -> &'static str {
        match self {
            Self::Inbox(MessageAck::Duplicate) => "duplicate",
            Self::Inbox(MessageAck::Stored | MessageAck::Refused(_) | MessageAck::Unknown) => {
                "stored"
            }
            Self::Mailbox(_) => "mailbox",
        }
    }

    const fn kept_until(&self) -> Option<UnixTime> {
        match self {
            Self::Mailbox(until) => Some(*until),
            Self::Inbox(_) => None,
        }
    }
}

/// Whether a message did not arrive because nobody was there to take it.
const fn is_away(error: &ApiError) -> bool {
    matches!(error.code, ErrorCode::ConnectionFailed | ErrorCode::Timeout)
}

/// The head of a message that answers none.
pub(super) fn new_head(kind: MessageKind, body: &[u8]) -> Message {
    Message {
        id: random_id(),
        kind: wire_kind(kind),
        len: body.len() as u64,
        reply_to: None,
        trace: None,
    }
}

fn random_id() -> MessageId {
    MessageId::new(random_bytes())
}

/// Bytes of the system's randomness, for names that nobody guesses.
pub(super) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .expect("the system has randomness");
    bytes
}
