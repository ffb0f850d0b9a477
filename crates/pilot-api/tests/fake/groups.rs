//! One group, `trading`, number 7, that the fake owns and `planner` is a member of.

use pilot_api::types::*;
use pilot_api::{ApiError, ErrorCode};
use pilot_types::{Hostname, NetworkId};

use super::{THEN, own, peer, summary};

fn number() -> NetworkId {
    NetworkId::new(7).unwrap()
}

fn name() -> Hostname {
    "trading".parse().unwrap()
}

fn changed(status: &str) -> Result<MemberChanged, ApiError> {
    Ok(MemberChanged {
        status: status.into(),
        network_id: number(),
        name: name(),
        node_id: peer().node_id,
        address: peer().address,
    })
}

pub(super) fn create_group(request: &CreateGroupRequest) -> Result<GroupCreated, ApiError> {
    if request.name == name() {
        return Err(ApiError::new(
            ErrorCode::AlreadyExists,
            "there is a group trading already",
        ));
    }
    Ok(GroupCreated {
        network_id: number(),
        name: request.name.clone(),
        role: GroupRole::Owner,
        group_id: "ab".repeat(32),
        token: (request.join == JoinRule::Token).then(|| "cd".repeat(16)),
    })
}

pub(super) fn groups(_: &GroupsRequest) -> Result<Groups, ApiError> {
    Ok(Groups {
        networks: vec![GroupSummary {
            network_id: number(),
            name: name(),
            join_rule: JoinRule::Token,
            role: Some(GroupRole::Owner),
            members: 2,
            auto_trust: true,
        }],
    })
}

fn joined(name: &Hostname) -> Result<GroupJoined, ApiError> {
    Ok(GroupJoined {
        network_id: number(),
        name: name.clone(),
        role: GroupRole::Member,
    })
}

pub(super) fn join_group(request: &JoinGroupRequest) -> Result<GroupJoined, ApiError> {
    joined(&request.name)
}

pub(super) fn accept_invitation(
    request: &AcceptInvitationRequest,
) -> Result<GroupJoined, ApiError> {
    joined(&request.name)
}

fn left() -> Result<GroupLeft, ApiError> {
    Ok(GroupLeft {
        network_id: number(),
        name: name(),
    })
}

pub(super) fn leave_group(_: &LeaveGroupRequest) -> Result<GroupLeft, ApiError> {
    left()
}

pub(super) fn decline_invitation(_: &DeclineInvitationRequest) -> Result<GroupLeft, ApiError> {
    left()
}

pub(super) fn group_members(_: &GroupMembersRequest) -> Result<GroupMembers, ApiError> {
    let member = |agent, role| GroupMember {
        agent,
        role,
        online: true,
    };
    Ok(GroupMembers {
        network_id: number(),
        name: name(),
        members: vec![
            member(own(), GroupRole::Owner),
            member(peer(), GroupRole::Member),
        ],
    })
}

pub(super) fn invite(_: &InviteRequest) -> Result<MemberChanged, ApiError> {
    changed("invited")
}

pub(super) fn invitations(_: &InvitationsRequest) -> Result<Invitations, ApiError> {
    Ok(Invitations {
        invites: vec![Invitation {
            network_id: number(),
            name: name(),
            from: peer().node_id,
            from_address: peer().address,
            from_hostname: peer().hostname,
            expires_at: THEN,
        }],
    })
}

pub(super) fn kick(_: &KickRequest) -> Result<MemberChanged, ApiError> {
    changed("kicked")
}

pub(super) fn set_role(request: &SetRoleRequest) -> Result<MemberChanged, ApiError> {
    changed(match request.role {
        GroupRole::Owner | GroupRole::Admin => "admin",
        GroupRole::Member => "member",
    })
}

pub(super) fn group_policy(request: &GroupPolicyRequest) -> Result<GroupPolicy, ApiError> {
    Ok(GroupPolicy {
        network_id: number(),
        name: name(),
        join_rule: request.join.unwrap_or_default(),
        auto_trust: request.auto_trust.unwrap_or(true),
        ports: request
            .ports
            .clone()
            .unwrap_or_else(|| "7,1000-1002".into()),
        broadcast: request.broadcast.unwrap_or(Speakers::Members),
        mailbox: request.mailbox.unwrap_or(true),
        token: request.new_token.then(|| "cd".repeat(16)),
    })
}

pub(super) fn broadcast(_: &BroadcastRequest) -> Result<BroadcastSent, ApiError> {
    Ok(BroadcastSent {
        network_id: number(),
        sent: 2,
        delivered: 1,
        deposited: 1,
    })
}

/// The second of two members takes it, and repeats it where an answer is waited for.
pub(super) fn route(request: RouteRequest) -> Result<Routed, ApiError> {
    if request.capability == "nothing" {
        let words = format!(
            "no member of trading is online and can do {}",
            request.capability
        );
        return Err(ApiError::new(ErrorCode::NotFound, words));
    }
    let id = "00112233445566778899aabbccddeeff".parse().unwrap();
    let waits = request.wait_ms.is_some();
    let attempt = |agent, outcome, message: Option<&str>| RouteAttempt {
        agent,
        outcome,
        message: message.map(str::to_owned),
    };
    let last = if waits {
        RouteOutcome::Answered
    } else {
        RouteOutcome::Delivered
    };
    Ok(Routed {
        network_id: number(),
        target: peer().address,
        node_id: peer().node_id,
        id,
        attempts: vec![
            attempt(
                summary(0x5C3F_0000_0001, "busy"),
                RouteOutcome::Failed,
                Some("it is gone"),
            ),
            attempt(peer(), last, None),
        ],
        reply: waits.then(|| MessageReply {
            from: peer().node_id,
            from_address: peer().address,
            from_hostname: peer().hostname,
            kind: request.kind,
            id,
            body: request.body,
            filter: None,
        }),
    })
}
