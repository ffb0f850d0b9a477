//! Publishing and subscribing, at other agents' brokers and at one's own.

use std::sync::Arc;

use pilot::{AgentId, DialError, DialOptions, Node, Stream};
use pilot_api::types::{
    Event, EventLine, EventPublished, PublishRequest, SubscribeRequest, Subscribed,
};
use pilot_api::{ApiError, BoxStream, ErrorCode, Payload, PeerRef};
use pilot_apps::{EventError, Published, RemoteSubscription, Subscription, publish_event};
use pilot_types::Port;
use pilot_wire::EventFrame;

use super::{Daemon, target};
use crate::error;
use crate::json_lines::{JsonLines, Lines};

impl Daemon {
    pub(super) async fn publish_one(
        &self,
        request: PublishRequest,
    ) -> Result<EventPublished, ApiError> {
        let PublishRequest {
            peer, topic, body, ..
        } = request;
        let body = body.into_bytes();
        let bytes = body.len() as u64;
        let (agent, subscribers) = match self.dial_broker(&peer).await? {
            Some(stream) => {
                let agent = stream.peer().agent;
                let published = publish_event(stream, topic.clone(), body).await;
                (agent, published.map_err(|error| failed(&error, &peer))?)
            }
            None => {
                let own = self.node.agent();
                let broker = self.services.broker();
                let published = broker.publish(own, topic.clone(), body);
                let published = published.map_err(|error| ApiError::invalid(error.to_string()))?;
                (own, published)
            }
        };
        Ok(EventPublished {
            target: agent.address(),
            node_id: agent.node(),
            topic,
            bytes,
            subscribers,
        })
    }

    pub(super) async fn open_subscription(
        &self,
        request: SubscribeRequest,
    ) -> Result<(Subscribed, BoxStream), ApiError> {
        let SubscribeRequest {
            peer,
            topic,
            replay,
            ..
        } = request;
        let (lines, stream) = JsonLines::new();
        let node = self.node.clone();
        let agent = match self.dial_broker(&peer).await? {
            Some(stream) => {
                let agent = stream.peer().agent;
                let remote = RemoteSubscription::open(stream, topic.clone(), replay).await;
                let remote = remote.map_err(|error| failed(&error, &peer))?;
                tokio::spawn(pass_remote(node, remote, peer, lines));
                agent
            }
            None => {
                let own = self.node.agent();
                let local = {
                    let last = usize::try_from(replay).unwrap_or(usize::MAX);
                    let broker = self.services.broker();
                    broker.subscribe_after(own, topic.clone(), last)
                };
                let local = local.map_err(|error| {
                    ApiError::new(ErrorCode::RateLimited, error.to_string())
                        .with_retry_after_ms(1000)
                })?;
                tokio::spawn(pass_local(node, local, lines));
                own
            }
        };
        let info = Subscribed {
            target: agent.address(),
            node_id: agent.node(),
            topic,
        };
        Ok((info, Box::new(stream)))
    }

    /// A stream to the broker of another agent; `None` for our own.
    async fn dial_broker(&self, peer: &PeerRef) -> Result<Option<Stream>, ApiError> {
        let options = DialOptions::default();
        let dialled = self
            .node
            .dial_peer(target(peer)?, Port::EVENT_STREAM, options)
            .await;
        match dialled {
            Ok(stream) => Ok(Some(stream)),
            Err(DialError::Own) => Ok(None),
            Err(error) => Err(error::dial(&error, peer, Port::EVENT_STREAM)),
        }
    }
}

fn failed(error: &EventError, peer: &PeerRef) -> ApiError {
    match error {
        EventError::Refused(words) => ApiError::new(ErrorCode::PermissionDenied, words.clone()),
        EventError::Stream(source)
        | EventError::Frame(pilot_apps::ReadMessageError::Io(source)) => error::code_of(source)
            .map_or_else(
                || ApiError::new(ErrorCode::ConnectionFailed, error::describe(error)),
                |code| error::stream_code(code, &error::name_of(peer), Port::EVENT_STREAM),
            ),
        EventError::Frame(_) | _ => {
            ApiError::new(ErrorCode::ConnectionFailed, error::describe(error))
        }
    }
}

/// Until the subscription breaks or nobody reads any more.
async fn pass_remote(
    node: Node,
    mut remote: RemoteSubscription<Stream>,
    peer: PeerRef,
    lines: Lines<EventLine>,
) {
    loop {
        let next = tokio::select! {
            next = remote.next() => next,
            () = lines.closed() => return,
        };
        let line = match next {
            Ok(EventFrame::Event { topic, from, body }) => {
                Ok(EventLine::Event(event(&node, topic, from, body)))
            }
            Ok(EventFrame::Dropped(dropped)) => Ok(EventLine::Dropped { dropped }),
            Ok(EventFrame::Unknown) => continue,
            Err(error) => Err(failed(&error, &peer)),
        };
        let is_last = line.is_err();
        if lines.send(line).await.is_err() || is_last {
            return;
        }
    }
}

async fn pass_local(node: Node, mut local: Subscription, lines: Lines<EventLine>) {
    loop {
        let next = tokio::select! {
            next = local.next() => next,
            () = lines.closed() => return,
        };
        let line = match next {
            Published::Event(published) => {
                let published = Arc::unwrap_or_clone(published);
                let (topic, from) = (published.topic, published.from);
                EventLine::Event(event(&node, topic, from, published.body))
            }
            Published::Dropped(dropped) => EventLine::Dropped { dropped },
        };
        if lines.send(Ok(line)).await.is_err() {
            return;
        }
    }
}

/// An event as the API shows it.
pub(crate) fn event(node: &Node, topic: pilot_wire::Topic, from: AgentId, body: Vec<u8>) -> Event {
    let from_hostname = if from == node.agent() {
        node.hostname()
    } else {
        node.hostname_of(&from)
    };
    Event {
        topic,
        from: from.node(),
        from_address: from.address(),
        from_hostname,
        bytes: body.len() as u64,
        body: Payload::new(body),
    }
}
