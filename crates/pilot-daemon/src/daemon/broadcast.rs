//! One message into the inbox of every member that is online.

use std::sync::Arc;

use pilot::{AgentId, DialOptions, GroupId, Port, Target};
use pilot_api::types::{BroadcastRequest, BroadcastSent};
use pilot_api::{ApiError, ErrorCode};
use pilot_apps::send_message;
use pilot_wire::Message;
use tokio::task::JoinSet;

use super::Daemon;
use super::messages::{random_id, wire_kind};
use crate::error;

/// Members that are sent to at a time: each is a dial and a stream.
const AT_A_TIME: usize = 64;

impl Daemon {
    pub(super) async fn broadcast_to(
        &self,
        request: BroadcastRequest,
    ) -> Result<BroadcastSent, ApiError> {
        let info = self.group(Some(&request.group))?;
        let name = info.policy.name.clone();
        if !self.node.may_broadcast(&info.group, &self.node.agent()) {
            let words = format!("the policy of {name} does not let you broadcast");
            return Err(
                ApiError::new(ErrorCode::PermissionDenied, words).with_hint(format!(
                    "its owner changes that: pilotctl group policy {name} --set broadcast=members"
                )),
            );
        }
        let members = self.node.group_members(info.group).await;
        let members = members.map_err(|error| error::group(&error, name.as_str()))?;
        let us = self.node.agent();
        let mut waiting = members
            .into_iter()
            .filter(|member| member.is_online && member.agent != us)
            .map(|member| member.agent);
        let body: Arc<[u8]> = request.body.into_bytes().into();
        let head = Message {
            id: random_id(),
            kind: wire_kind(request.kind),
            len: body.len() as u64,
            reply_to: None,
            trace: None,
        };
        let (mut sending, mut sent, mut delivered) = (JoinSet::new(), 0, 0);
        let mut start = |sending: &mut JoinSet<bool>| {
            let member = waiting.next()?;
            let word = (info.group, head.clone(), Arc::clone(&body));
            sending.spawn(deliver(self.node.clone(), member, word));
            Some(())
        };
        while sending.len() < AT_A_TIME && start(&mut sending).is_some() {
            sent += 1;
        }
        while let Some(ended) = sending.join_next().await {
            delivered += u64::from(ended.unwrap_or(false));
            sent += u64::from(start(&mut sending).is_some());
        }
        Ok(BroadcastSent {
            network_id: info.network,
            sent,
            delivered,
        })
    }
}

/// Whether the message is in the member's inbox.
async fn deliver(
    node: pilot::Node,
    to: AgentId,
    (group, head, body): (GroupId, Message, Arc<[u8]>),
) -> bool {
    let options = DialOptions {
        group: Some(group),
        ..DialOptions::default()
    };
    let dialled = node.dial_peer(Target::Agent(to), Port::DATA_EXCHANGE, options);
    let stream = match dialled.await {
        Ok(stream) => stream,
        Err(error) => {
            tracing::info!(to = %to.address(), %error, "broadcast did not reach a member");
            return false;
        }
    };
    match send_message(stream, &head, &body).await {
        Ok(_) => true,
        Err(error) => {
            tracing::info!(to = %to.address(), error = error::describe(&error), "broadcast not taken by a member");
            false
        }
    }
}
