//! One message to every member: into its inbox, or into its mailbox where the group's policy says so and it is away.

use std::sync::Arc;

use pilot::{AgentId, DialOptions, GroupId, Port, Target};
use pilot_api::ApiError;
use pilot_api::types::{BroadcastRequest, BroadcastSent};
use pilot_apps::send_message;
use pilot_wire::Message;

use super::Daemon;
use super::each::each;
use super::messages::new_head;
use crate::error;

impl Daemon {
    pub(super) async fn broadcast_to(
        &self,
        request: BroadcastRequest,
    ) -> Result<BroadcastSent, ApiError> {
        let info = self.group(Some(&request.group))?;
        let name = info.policy.name.clone();
        if !self.node.may_broadcast(&info.group, &self.node.agent()) {
            return Err(error::may_not_broadcast(&name));
        }
        let members = self.node.group_members(info.group).await;
        let members = members.map_err(|error| error::group(&error, name.as_str()))?;
        let us = self.node.agent();
        let leaves = info.policy.mailbox;
        let body: Arc<[u8]> = request.body.into_bytes().into();
        self.pass_out("the message", name.to_string(), &body)
            .await?;
        let head = new_head(request.kind, &body);
        let wanted: Vec<_> = (members.into_iter())
            .filter(|member| (member.is_online || leaves) && member.agent != us)
            .collect();
        let sent = wanted.iter().filter(|member| member.is_online).count();
        let outcomes = each(wanted.into_iter().map(|member| {
            let word = (info.group, head.clone(), Arc::clone(&body));
            let member = Member {
                agent: member.agent,
                is_online: member.is_online,
                leaves,
            };
            reach(self.node.clone(), member, word)
        }));
        let mut reached = Reached::default();
        for outcome in outcomes.await {
            reached.count(outcome);
        }
        Ok(BroadcastSent {
            network_id: info.network,
            sent: sent as u64,
            delivered: reached.inboxes,
            deposited: reached.mailboxes,
        })
    }
}

/// A member to reach.
struct Member {
    agent: AgentId,
    is_online: bool,
    /// Whether its mailbox may be used.
    leaves: bool,
}

/// How a member was reached.
#[derive(Clone, Copy)]
enum Outcome {
    Inbox,
    Mailbox,
    Missed,
}

/// How many were.
#[derive(Default)]
struct Reached {
    inboxes: u64,
    mailboxes: u64,
}

impl Reached {
    const fn count(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Inbox => self.inboxes += 1,
            Outcome::Mailbox => self.mailboxes += 1,
            Outcome::Missed => {}
        }
    }
}

type Word = (GroupId, Message, Arc<[u8]>);

async fn reach(node: pilot::Node, member: Member, word: Word) -> Outcome {
    if member.is_online && deliver(node.clone(), member.agent, word.clone()).await {
        return Outcome::Inbox;
    }
    if !member.leaves {
        return Outcome::Missed;
    }
    let (group, head, body) = word;
    let left = node.deposit(member.agent, head, body.to_vec(), Some(group));
    match left.await {
        Ok(_) => Outcome::Mailbox,
        Err(error) => {
            tracing::info!(to = %member.agent.address(), %error, "broadcast not left for a member");
            Outcome::Missed
        }
    }
}

/// Whether the message is in the member's inbox.
async fn deliver(node: pilot::Node, to: AgentId, (group, head, body): Word) -> bool {
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
