//! Groups, and speaking to all of one.

use pilot_api::types::{
    AcceptInvitationRequest, BroadcastRequest, CreateGroupRequest, DeclineInvitationRequest,
    GroupJoined, GroupMember, GroupMembers, GroupMembersRequest, GroupPolicy, GroupPolicyRequest,
    GroupRole, GroupSummary, Groups, GroupsRequest, Invitation, Invitations, InvitationsRequest,
    InviteRequest, JoinGroupRequest, JoinRule, KickRequest, LeaveGroupRequest, MessageKind,
    RouteAttempt, RouteOutcome, RouteRequest, Routed, SetRoleRequest, Speakers,
};
use pilot_api::{ApiError, Payload, PeerRef};
use pilot_types::Hostname;

use super::discovery::{name_of, shown};
use super::message;
use crate::args::{self, BroadcastArgs, CreateGroupArgs, GroupCommand, GroupPolicyArgs, RouteArgs};
use crate::context::Context;
use crate::duration::Deadline;
use crate::output::{Failure, Reply};
use crate::style::{self, Style};

pub(crate) async fn group(context: &Context, command: GroupCommand) -> Result<Reply, Failure> {
    match command {
        GroupCommand::Create(args) => create(context, args).await,
        GroupCommand::List => list(context).await,
        GroupCommand::Join { name, token } => join(context, name.0, token).await,
        GroupCommand::Leave { group } => leave(context, group).await,
        GroupCommand::Members { group } => members(context, group).await,
        GroupCommand::Invite { peer, of } => invite(context, peer, of.group).await,
        GroupCommand::Invites => invites(context).await,
        GroupCommand::Accept { name } => accept(context, name.0).await,
        GroupCommand::Decline { name } => decline(context, name.0).await,
        GroupCommand::Kick { peer, of } => kick(context, peer, of.group).await,
        GroupCommand::Role { peer, role, of } => set_role(context, (peer, role), of.group).await,
        GroupCommand::Policy(args) => policy(context, args).await,
        GroupCommand::Route(args) => route(context, args).await,
    }
}

async fn create(context: &Context, args: CreateGroupArgs) -> Result<Reply, Failure> {
    let request = CreateGroupRequest {
        name: args.name.0,
        join: rule(args.join),
        auto_trust: args.auto_trust,
        timeout_ms: context.timeout_ms(),
    };
    let created = context.client()?.call(&request).await?;
    let style = context.output.style;
    let done = style.done(&format!(
        "group {} is network {}",
        created.name,
        created.network_id.to_u16()
    ));
    let next = match &created.token {
        Some(token) => format!(
            "others join with: pilotctl group join {} --token {token}\n{}",
            created.name,
            style.faint("the token is shown this once")
        ),
        None if request.join == JoinRule::Open => {
            format!("others join with: pilotctl group join {}", created.name)
        }
        None => format!(
            "invite with: pilotctl group invite PEER --group {}",
            created.name
        ),
    };
    Reply::new(&created, format!("{done}\n{next}"))
}

async fn list(context: &Context) -> Result<Reply, Failure> {
    let groups = context.client()?.call(&GroupsRequest {}).await?;
    Reply::new(&groups, list_words(&groups, context.output.style))
}

fn list_words(groups: &Groups, style: Style) -> String {
    if groups.networks.is_empty() {
        return style.faint("this agent is in no group");
    }
    let row = |group: &GroupSummary| {
        [
            group.name.to_string(),
            group.network_id.to_u16().to_string(),
            rule_word(group.join_rule).to_owned(),
            style::or_dash(group.role.map(role_word)),
            group.members.to_string(),
            yes_or_no(group.auto_trust).to_owned(),
        ]
    };
    let rows: Vec<[String; 6]> = groups.networks.iter().map(row).collect();
    style.table(
        ["NAME", "NETWORK", "JOIN", "ROLE", "MEMBERS", "AUTO TRUST"],
        &rows,
    )
}

async fn join(context: &Context, name: Hostname, token: Option<String>) -> Result<Reply, Failure> {
    let request = JoinGroupRequest {
        name,
        token,
        timeout_ms: context.timeout_ms(),
    };
    let joined = context.client()?.call(&request).await?;
    joined_reply(context, &joined)
}

fn joined_reply(context: &Context, joined: &GroupJoined) -> Result<Reply, Failure> {
    let words = format!(
        "a member of {}, network {}",
        joined.name,
        joined.network_id.to_u16()
    );
    Reply::new(joined, context.output.style.done(&words))
}

async fn leave(context: &Context, group: Option<String>) -> Result<Reply, Failure> {
    let left = context.client()?.call(&LeaveGroupRequest { group }).await?;
    let words = format!("no member of {} any more", left.name);
    Reply::new(&left, context.output.style.done(&words))
}

async fn members(context: &Context, group: Option<String>) -> Result<Reply, Failure> {
    let request = GroupMembersRequest {
        group,
        timeout_ms: context.timeout_ms(),
    };
    let members = context.client()?.call(&request).await?;
    let words = members_words(&members, context.output.style);
    Reply::new(&members, words)
}

fn members_words(members: &GroupMembers, style: Style) -> String {
    let row = |member: &GroupMember| {
        [
            name_of(&member.agent),
            member.agent.address.to_string(),
            role_word(member.role).to_owned(),
            yes_or_no(member.online).to_owned(),
        ]
    };
    let rows: Vec<[String; 4]> = members.members.iter().map(row).collect();
    style.table(["NAME", "ADDRESS", "ROLE", "ONLINE"], &rows)
}

async fn invite(context: &Context, peer: PeerRef, group: Option<String>) -> Result<Reply, Failure> {
    let request = InviteRequest {
        peer,
        group,
        timeout_ms: context.timeout_ms(),
    };
    let invited = context.client()?.call(&request).await?;
    let words = format!(
        "invited {} to {}; it accepts with: pilotctl group accept {}",
        invited.address, invited.name, invited.name
    );
    Reply::new(&invited, context.output.style.done(&words))
}

async fn invites(context: &Context) -> Result<Reply, Failure> {
    let invites = context.client()?.call(&InvitationsRequest {}).await?;
    let words = invites_words(&invites, context.output.style);
    Reply::new(&invites, words)
}

fn invites_words(invites: &Invitations, style: Style) -> String {
    if invites.invites.is_empty() {
        return style.faint("no invitation waits");
    }
    let row = |invite: &Invitation| {
        [
            invite.name.to_string(),
            style::or_dash(invite.from_hostname.as_ref()),
            invite.from_address.to_string(),
            invite.expires_at.to_string(),
        ]
    };
    let rows: Vec<[String; 4]> = invites.invites.iter().map(row).collect();
    style.table(["GROUP", "FROM", "ADDRESS", "EXPIRES"], &rows)
}

async fn accept(context: &Context, name: Hostname) -> Result<Reply, Failure> {
    let request = AcceptInvitationRequest {
        name,
        timeout_ms: context.timeout_ms(),
    };
    let joined = context.client()?.call(&request).await?;
    joined_reply(context, &joined)
}

async fn decline(context: &Context, name: Hostname) -> Result<Reply, Failure> {
    let declined = context
        .client()?
        .call(&DeclineInvitationRequest { name })
        .await?;
    let words = format!("the invitation to {} is forgotten", declined.name);
    Reply::new(&declined, context.output.style.done(&words))
}

async fn kick(context: &Context, peer: PeerRef, group: Option<String>) -> Result<Reply, Failure> {
    let request = KickRequest {
        peer,
        group,
        timeout_ms: context.timeout_ms(),
    };
    let kicked = context.client()?.call(&request).await?;
    let words = format!(
        "{} is no member of {} any more",
        kicked.address, kicked.name
    );
    Reply::new(&kicked, context.output.style.done(&words))
}

async fn set_role(
    context: &Context,
    (peer, role): (PeerRef, args::Role),
    group: Option<String>,
) -> Result<Reply, Failure> {
    let request = SetRoleRequest {
        peer,
        role: match role {
            args::Role::Admin => GroupRole::Admin,
            args::Role::Member => GroupRole::Member,
        },
        group,
        timeout_ms: context.timeout_ms(),
    };
    let set = context.client()?.call(&request).await?;
    let words = format!(
        "{} is {} in {}",
        set.address,
        style::clean(&set.status),
        set.name
    );
    Reply::new(&set, context.output.style.done(&words))
}

async fn policy(context: &Context, args: GroupPolicyArgs) -> Result<Reply, Failure> {
    let mut request = GroupPolicyRequest {
        group: args.group,
        ..GroupPolicyRequest::default()
    };
    for text in &args.set {
        set_field(&mut request, text)?;
    }
    let policy = context.client()?.call(&request).await?;
    let words = policy_words(&policy, context.output.style);
    Reply::new(&policy, words)
}

/// One `key=value` of `group policy --set`.
fn set_field(request: &mut GroupPolicyRequest, text: &str) -> Result<(), ApiError> {
    let wrong = |expected: &str| ApiError::invalid(format!("{text:?}: expected {expected}"));
    let Some((key, value)) = text.split_once('=') else {
        return Err(wrong("KEY=VALUE, as auto_trust=true"));
    };
    match key {
        "join" => {
            request.join = Some(match value {
                "open" => JoinRule::Open,
                "token" => JoinRule::Token,
                "invite" => JoinRule::Invite,
                _ => return Err(wrong("open, token or invite")),
            });
        }
        "auto_trust" => {
            let value = value.parse().map_err(|_| wrong("true or false"))?;
            request.auto_trust = Some(value);
        }
        "mailbox" => {
            let value = value.parse().map_err(|_| wrong("true or false"))?;
            request.mailbox = Some(value);
        }
        "ports" => request.ports = Some(value.to_owned()),
        "broadcast" => {
            request.broadcast = Some(match value {
                "members" => Speakers::Members,
                "admins" => Speakers::Admins,
                "owner" => Speakers::Owner,
                "nobody" => Speakers::Nobody,
                _ => return Err(wrong("members, admins, owner or nobody")),
            });
        }
        "token" if value == "new" => request.new_token = true,
        "token" => return Err(wrong("token=new: tokens are drawn at random")),
        _ => {
            return Err(wrong(
                "join, auto_trust, ports, broadcast, mailbox or token",
            ));
        }
    }
    Ok(())
}

fn policy_words(policy: &GroupPolicy, style: Style) -> String {
    let speakers = match policy.broadcast {
        Speakers::Members => "members",
        Speakers::Admins => "admins",
        Speakers::Owner => "owner",
        Speakers::Nobody => "nobody",
    };
    let mut facts = vec![
        ("name", policy.name.to_string()),
        ("network", policy.network_id.to_u16().to_string()),
        ("join", rule_word(policy.join_rule).to_owned()),
        ("auto trust", yes_or_no(policy.auto_trust).to_owned()),
        ("ports", style::clean(&policy.ports)),
        ("broadcast", speakers.to_owned()),
        ("mailbox", yes_or_no(policy.mailbox).to_owned()),
    ];
    if let Some(token) = &policy.token {
        facts.push(("token", style::clean(token)));
    }
    style.facts(&facts)
}

async fn route(context: &Context, args: RouteArgs) -> Result<Reply, Failure> {
    let body = message::body(&args.data)?;
    let request = RouteRequest {
        group: args.group,
        capability: args.capability,
        kind: message::kind(args.kind, &body)?,
        body,
        wait_ms: args.wait.map(Deadline::as_millis),
        timeout_ms: Some(context.settings.deadline_with(args.wait).as_millis()),
    };
    let routed = context.client()?.call(&request).await?;
    Reply::new(&routed, routed_words(&routed, context.output.style))
}

fn routed_words(routed: &Routed, style: Style) -> String {
    let mut lines: Vec<String> = routed
        .attempts
        .iter()
        .map(|attempt| attempt_words(attempt, style))
        .collect();
    lines.extend(routed.reply.as_ref().map(message::reply_words));
    lines.join("\n")
}

fn attempt_words(attempt: &RouteAttempt, style: Style) -> String {
    let name = shown(&attempt.agent);
    match attempt.outcome {
        RouteOutcome::Answered => style.done(&format!("{name} answered")),
        RouteOutcome::Delivered => style.done(&format!("in the inbox of {name}")),
        RouteOutcome::Unanswered => style.failed(&format!("{name} did not answer")),
        RouteOutcome::Failed => {
            let why = attempt.message.as_deref().unwrap_or_default();
            style.failed(&format!("{name}: {}", style::clean(why)))
        }
    }
}

pub(crate) async fn broadcast(context: &Context, args: BroadcastArgs) -> Result<Reply, Failure> {
    let request = BroadcastRequest {
        group: args.group,
        kind: MessageKind::Text,
        body: Payload::new(args.message.into_bytes()),
        timeout_ms: context.timeout_ms(),
    };
    let sent = context.client()?.call(&request).await?;
    let mut words = format!(
        "delivered to {} of {} members online",
        sent.delivered, sent.sent
    );
    if sent.deposited > 0 {
        words = format!("{words}, left in {} mailboxes", sent.deposited);
    }
    let style = context.output.style;
    let words = if sent.delivered + sent.deposited >= sent.sent {
        style.done(&words)
    } else {
        style.failed(&words)
    };
    Reply::new(&sent, words)
}

const fn yes_or_no(is_so: bool) -> &'static str {
    if is_so { "yes" } else { "no" }
}

const fn rule(rule: args::JoinRule) -> JoinRule {
    match rule {
        args::JoinRule::Open => JoinRule::Open,
        args::JoinRule::Token => JoinRule::Token,
        args::JoinRule::Invite => JoinRule::Invite,
    }
}

const fn rule_word(rule: JoinRule) -> &'static str {
    match rule {
        JoinRule::Open => "open",
        JoinRule::Token => "token",
        JoinRule::Invite => "invite",
    }
}

const fn role_word(role: GroupRole) -> &'static str {
    match role {
        GroupRole::Owner => "owner",
        GroupRole::Admin => "admin",
        GroupRole::Member => "member",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_policy_are_read_and_wrong_ones_named() {
        let mut request = GroupPolicyRequest::default();
        for text in [
            "join=token",
            "auto_trust=true",
            "ports=7",
            "broadcast=owner",
            "mailbox=false",
            "token=new",
        ] {
            set_field(&mut request, text).unwrap();
        }
        assert_eq!(request.join, Some(JoinRule::Token));
        assert_eq!(request.auto_trust, Some(true));
        assert_eq!(request.broadcast, Some(Speakers::Owner));
        assert_eq!(request.mailbox, Some(false));
        assert!(request.new_token);
        for wrong in [
            "join",
            "join=all",
            "auto_trust=1",
            "broadcast=x",
            "token=secret",
            "x=y",
        ] {
            let error = set_field(&mut request, wrong).unwrap_err();
            assert!(error.message.contains("expected"), "{wrong}: {error}");
        }
    }
}
