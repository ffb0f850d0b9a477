//! Publishing and subscribing, at other agents' brokers and at one's own.

use std::sync::Arc;

use pilot::{AgentId, DialError, DialOptions, GroupId, GroupInfo, Node, Stream, Target};
use pilot_api::types::{
    Event, EventLine, EventPublished, MembersReached, PublishRequest, SubscribeRequest, Subscribed,
};
use pilot_api::{ApiError, BoxStream, ErrorCode, Payload, PeerRef};
use pilot_apps::{Broker, EventError, Published, RemoteSubscription, Subscription, publish_event};
use pilot_types::{Address, NodeId, Port};
use pilot_wire::{EventFrame, Topic, TopicFilter};

use super::each::each;
use super::{Daemon, target};
use crate::error;
use crate::filter::{self, Filter};
use crate::json_lines::{JsonLines, Lines};

impl Daemon {
    pub(super) async fn publish_one(
        &self,
        request: PublishRequest,
    ) -> Result<EventPublished, ApiError> {
        if let Some(group) = self.group_called(&request.peer) {
            return self.publish_to_all(&group, request).await;
        }
        let PublishRequest {
            peer, topic, body, ..
        } = request;
        let body = body.into_bytes();
        let bytes = body.len() as u64;
        self.pass_to_peer("the event", &peer, &body).await?;
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
            members: None,
        })
    }

    /// To the broker of every member that is online, our own among them.
    async fn publish_to_all(
        &self,
        info: &GroupInfo,
        request: PublishRequest,
    ) -> Result<EventPublished, ApiError> {
        let name = &info.policy.name;
        let us = self.node.agent();
        if !self.node.may_broadcast(&info.group, &us) {
            return Err(error::may_not_broadcast(name));
        }
        let members = self.node.group_members(info.group).await;
        let members = members.map_err(|error| error::group(&error, name.as_str()))?;
        let (topic, body) = (request.topic, request.body.into_bytes());
        let bytes = body.len() as u64;
        self.pass_out("the event", name.to_string(), &body).await?;
        let own = self.own_broker_of(info)?;
        let own = own.publish(us, topic.clone(), body.clone());
        let own = own.map_err(|error| ApiError::invalid(error.to_string()))?;
        let online = members
            .into_iter()
            .filter(|it| it.is_online && it.agent != us);
        let tasks = online.map(|member| {
            let event = (topic.clone(), body.clone());
            hand_over(self.node.clone(), member.agent, info.group, event)
        });
        let (mut sent, mut delivered, mut subscribers) = (0, 0, own);
        for reached in each(tasks).await {
            sent += 1;
            delivered += u64::from(reached.is_some());
            subscribers += reached.unwrap_or(0);
        }
        Ok(EventPublished {
            target: all_of(info),
            node_id: NodeId::BROADCAST,
            topic,
            bytes,
            subscribers,
            members: Some(MembersReached { sent, delivered }),
        })
    }

    fn own_broker_of(&self, info: &GroupInfo) -> Result<Arc<Broker>, ApiError> {
        let broker = self.services.broker_of(info.group);
        // It was left meanwhile.
        broker.ok_or_else(|| {
            let words = format!("this agent is in no group {}", info.policy.name);
            ApiError::new(ErrorCode::NotFound, words)
        })
    }

    /// The group that is meant, where no agent is: a name of a group of ours that no agent known here has.
    fn group_called(&self, peer: &PeerRef) -> Option<GroupInfo> {
        let PeerRef::Hostname(name) = peer else {
            return None;
        };
        let is_agent = self.node.hostname().as_ref() == Some(name)
            || self.known_agent(&Target::Hostname(name.clone())).is_some();
        let mut groups = self.node.groups().into_iter();
        groups.find(|info| !is_agent && info.policy.name.as_str() == name.as_str())
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
        if let Some(group) = self.group_called(&peer) {
            let broker = self.own_broker_of(&group)?;
            let local = subscribed(&broker, self.node.agent(), topic.clone(), replay)?;
            tokio::spawn(pass_local(node, local, lines));
            let info = Subscribed {
                target: all_of(&group),
                node_id: NodeId::BROADCAST,
                topic,
            };
            return Ok((info, Box::new(stream)));
        }
        let agent = match self.dial_broker(&peer).await? {
            Some(stream) => {
                let agent = stream.peer().agent;
                let remote = RemoteSubscription::open(stream, topic.clone(), replay).await;
                let remote = remote.map_err(|error| failed(&error, &peer))?;
                let filter = Arc::clone(&self.filter);
                tokio::spawn(pass_remote((node, filter), remote, peer, lines));
                agent
            }
            None => {
                let own = self.node.agent();
                let local = subscribed(self.services.broker(), own, topic.clone(), replay)?;
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

/// The address that stands for all members.
const fn all_of(info: &GroupInfo) -> Address {
    Address::new(info.network, NodeId::BROADCAST)
}

fn subscribed(
    broker: &Broker,
    own: AgentId,
    topic: TopicFilter,
    replay: u32,
) -> Result<Subscription, ApiError> {
    let last = usize::try_from(replay).unwrap_or(usize::MAX);
    broker.subscribe_after(own, topic, last).map_err(|error| {
        ApiError::new(ErrorCode::RateLimited, error.to_string()).with_retry_after_ms(1000)
    })
}

/// Publishes at a member's broker; gives its subscribers, or nothing if it was not reached.
async fn hand_over(
    node: Node,
    to: AgentId,
    group: GroupId,
    (topic, body): (Topic, Vec<u8>),
) -> Option<u64> {
    let options = DialOptions {
        group: Some(group),
        ..DialOptions::default()
    };
    let dialled = node.dial_peer(Target::Agent(to), Port::EVENT_STREAM, options);
    let published = match dialled.await {
        Ok(stream) => publish_event(stream, topic, body).await,
        Err(error) => {
            tracing::info!(to = %to.address(), %error, "an event did not reach a member");
            return None;
        }
    };
    if let Err(error) = &published {
        tracing::info!(to = %to.address(), error = error::describe(error), "an event was not taken by a member");
    }
    published.ok()
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
    (node, filter): (Node, Arc<Filter>),
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
                let looked = filter::look_at_event(&filter, &node, (from, &topic, &body)).await;
                match looked {
                    // The log says which; whoever reads the events learns that one is missing.
                    Some(filtered) if filtered.is_blocked() => {
                        Ok(EventLine::Dropped { dropped: 1 })
                    }
                    Some(_) | None => Ok(EventLine::Event(event(&node, topic, from, body))),
                }
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
pub(crate) fn event(node: &Node, topic: Topic, from: AgentId, body: Vec<u8>) -> Event {
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
