//! Groups, in terms of the node.

use std::time::Duration;

use pilot::{
    AgentId, GroupCallError, GroupId, GroupInfo, GroupTerms, GroupToken, Hostname, NetworkId, Role,
    Scope,
};
use pilot_api::types::{
    CreateGroupRequest, GroupCreated, GroupJoined, GroupLeft, GroupMember, GroupMembers,
    GroupMembersRequest, GroupPolicy, GroupPolicyRequest, GroupRole, GroupSummary, Groups,
    Invitation, Invitations, InviteRequest, JoinGroupRequest, JoinRule, KickRequest, MemberChanged,
    SetRoleRequest, Speakers,
};
use pilot_api::{ApiError, ErrorCode, PeerRef};
use pilot_types::Seed;
use tokio::time::timeout;

use super::messages::random_bytes;
use super::{Daemon, target, view};
use crate::error;

/// How long a call waits that does not say so.
const DEFAULT_PATIENCE_MS: u64 = 30_000;

impl Daemon {
    pub(super) async fn make_group(
        &self,
        request: CreateGroupRequest,
    ) -> Result<GroupCreated, ApiError> {
        let token = (request.join == JoinRule::Token).then(new_token);
        let terms = GroupTerms {
            join: wire_rule(request.join),
            token_key: token.as_ref().map(GroupToken::public_key),
            auto_trust: request.auto_trust,
            ..GroupTerms::new(request.name.clone())
        };
        let created = self.node.create_group(terms).await;
        let info = created.map_err(|error| error::group(&error, request.name.as_str()))?;
        Ok(GroupCreated {
            network_id: info.network,
            name: request.name,
            role: GroupRole::Owner,
            group_id: info.group.to_string(),
            token: token.map(|token| token.expose()),
        })
    }

    pub(super) fn all_groups(&self) -> Groups {
        let networks = self.node.groups().into_iter().map(|info| GroupSummary {
            network_id: info.network,
            role: info.role.map(role),
            members: info.members.len() as u64,
            auto_trust: info.policy.auto_trust,
            join_rule: rule(&info),
            name: info.policy.name,
        });
        Groups {
            networks: networks.collect(),
        }
    }

    pub(crate) async fn join(&self, request: JoinGroupRequest) -> Result<GroupJoined, ApiError> {
        let token = request.token.as_deref().map(str::parse::<GroupToken>);
        let token = token.transpose().map_err(|_| {
            ApiError::invalid(
                "field token: expected the 32 hex digits that `pilotctl group create` showed",
            )
        })?;
        let joining = self.node.join_group(request.name.clone(), token);
        let joined = match patience(request.timeout_ms) {
            None => joining.await,
            Some(patience) => timeout(patience, joining)
                .await
                .map_err(|_| unanswered(&request.name))?,
        };
        let info = joined.map_err(|error| error::group(&error, request.name.as_str()))?;
        Ok(GroupJoined {
            network_id: info.network,
            name: request.name,
            role: info.role.map_or(GroupRole::Member, role),
        })
    }

    /// Whether this agent is a member of a group of that name.
    pub(crate) fn is_in(&self, name: &Hostname) -> bool {
        let groups = self.node.groups();
        let mut named = groups.iter().filter(|info| info.policy.name == *name);
        named.any(|info| info.role.is_some())
    }

    pub(super) async fn leave(&self, group: Option<&str>) -> Result<GroupLeft, ApiError> {
        let info = self.group(group)?;
        let left = self.node.leave_group(info.group).await;
        left.map_err(|error| error::group(&error, info.policy.name.as_str()))?;
        Ok(GroupLeft {
            network_id: info.network,
            name: info.policy.name,
        })
    }

    pub(super) async fn members(
        &self,
        request: GroupMembersRequest,
    ) -> Result<GroupMembers, ApiError> {
        let info = self.group(request.group.as_deref())?;
        let members = self.node.group_members(info.group).await;
        let members = members.map_err(|error| error::group(&error, info.policy.name.as_str()))?;
        let mut members: Vec<GroupMember> = members
            .into_iter()
            .map(|member| GroupMember {
                agent: view::summary(member.agent, member.hostname),
                role: role(member.role),
                online: member.is_online,
            })
            .collect();
        members.sort_by_cached_key(|member| (rank(member.role), view::order(&member.agent)));
        Ok(GroupMembers {
            network_id: info.network,
            name: info.policy.name,
            members,
        })
    }

    pub(super) async fn invite_agent(
        &self,
        request: InviteRequest,
    ) -> Result<MemberChanged, ApiError> {
        let info = self.group(request.group.as_deref())?;
        let agent = self.named_agent(&request.peer).await?;
        let invited = self.node.invite(info.group, agent).await;
        invited.map_err(|error| error::group(&error, info.policy.name.as_str()))?;
        Ok(changed("invited", info, agent))
    }

    pub(super) fn all_invitations(&self) -> Invitations {
        let invites = self.node.invitations().into_iter();
        let mut invites: Vec<Invitation> = invites
            .map(|invitation| Invitation {
                network_id: invitation.network,
                name: invitation.name,
                from: invitation.from.node(),
                from_address: invitation.from.address(),
                from_hostname: invitation.from_hostname,
                expires_at: invitation.expires_at,
            })
            .collect();
        invites.sort_by(|a, b| a.name.cmp(&b.name));
        Invitations { invites }
    }

    /// The invitation to a group of that name.
    pub(super) fn invitation(&self, name: &Hostname) -> Result<(GroupId, NetworkId), ApiError> {
        let invitations = self.node.invitations();
        let mut named = invitations.iter().filter(|it| it.name == *name);
        let found = named.next().map(|it| (it.group, it.network));
        found.ok_or_else(|| {
            ApiError::new(ErrorCode::NotFound, format!("no invitation to {name}"))
                .with_hint("pilotctl group invites")
        })
    }

    pub(super) async fn decline(&self, name: Hostname) -> Result<GroupLeft, ApiError> {
        let (group, network_id) = self.invitation(&name)?;
        let declined = self.node.decline(group).await;
        declined.map_err(|error| error::group(&error, name.as_str()))?;
        Ok(GroupLeft { network_id, name })
    }

    pub(super) async fn kick_member(
        &self,
        request: KickRequest,
    ) -> Result<MemberChanged, ApiError> {
        let info = self.group(request.group.as_deref())?;
        let agent = self.named_agent(&request.peer).await?;
        let kicked = self.node.kick(info.group, agent).await;
        kicked.map_err(|error| error::group(&error, info.policy.name.as_str()))?;
        Ok(changed("kicked", info, agent))
    }

    pub(super) async fn change_role(
        &self,
        request: SetRoleRequest,
    ) -> Result<MemberChanged, ApiError> {
        let info = self.group(request.group.as_deref())?;
        let (becomes, word) = match request.role {
            GroupRole::Admin => (Role::Admin, "admin"),
            GroupRole::Member => (Role::Member, "member"),
            GroupRole::Owner => {
                return Err(ApiError::invalid("field role: expected admin or member"));
            }
        };
        let agent = self.named_agent(&request.peer).await?;
        let set = self.node.set_role(info.group, agent, becomes).await;
        set.map_err(|error| error::group(&error, info.policy.name.as_str()))?;
        Ok(changed(word, info, agent))
    }

    pub(super) async fn change_policy(
        &self,
        request: GroupPolicyRequest,
    ) -> Result<GroupPolicy, ApiError> {
        let mut info = self.group(request.group.as_deref())?;
        let before = GroupTerms::of(&info.policy);
        let mut terms = before.clone();
        if let Some(join) = request.join {
            terms.join = wire_rule(join);
        }
        if let Some(auto_trust) = request.auto_trust {
            terms.auto_trust = auto_trust;
        }
        if let Some(ports) = &request.ports {
            let ports = Scope::parse_ports(ports);
            terms.scope =
                Scope::of_ports(ports.map_err(|error| ApiError::invalid(error.to_string()))?);
        }
        if let Some(speakers) = request.broadcast {
            terms.speakers = wire_speakers(speakers);
        }
        if let Some(mailbox) = request.mailbox {
            terms.mailbox = mailbox;
        }
        let is_missing = request.join == Some(JoinRule::Token) && terms.token_key.is_none();
        let token = (request.new_token || is_missing).then(new_token);
        if let Some(token) = &token {
            terms.token_key = Some(token.public_key());
        }
        if terms != before {
            let name = info.policy.name.clone();
            let set = self.node.set_group_policy(info.group, terms).await;
            info = set.map_err(|error| error::group(&error, name.as_str()))?;
        }
        Ok(GroupPolicy {
            network_id: info.network,
            join_rule: rule(&info),
            auto_trust: info.policy.auto_trust,
            ports: info.policy.scope.ports_text(),
            broadcast: speakers(info.policy.speakers),
            mailbox: info.policy.mailbox,
            name: info.policy.name,
            token: token.map(|token| token.expose()),
        })
    }

    /// The group of a name or number; the only one there is, if none is given.
    pub(super) fn group(&self, wanted: Option<&str>) -> Result<GroupInfo, ApiError> {
        let mut groups = self.node.groups();
        let Some(wanted) = wanted else {
            return match groups.len() {
                1 => Ok(groups.remove(0)),
                0 => Err(no_group("this agent is in no group")),
                count => Err(ApiError::invalid(format!(
                    "this agent is in {count} groups: say which one"
                ))
                .with_hint("add --group NAME, or the name; pilotctl group list shows them")),
            };
        };
        let wanted = wanted.to_ascii_lowercase();
        let is_it = |info: &GroupInfo| {
            info.policy.name.as_str() == wanted || info.network.to_u16().to_string() == wanted
        };
        groups.retain(is_it);
        groups
            .pop()
            .ok_or_else(|| no_group(&format!("this agent is in no group {wanted}")))
    }

    async fn named_agent(&self, peer: &PeerRef) -> Result<AgentId, ApiError> {
        let agent = self.node.agent_of(target(peer)?).await;
        agent.map_err(|error| {
            let GroupCallError::Rendezvous(error) = &error else {
                return error::group(&error, "");
            };
            let error = error::lookup(error, peer);
            if error.code == ErrorCode::NotFound {
                error.with_hint(
                    "an agent that does not show itself is named by a ticket: run `pilotctl ticket` there",
                )
            } else {
                error
            }
        })
    }
}

/// A little less than the caller's: it is told why.
fn patience(timeout_ms: Option<u64>) -> Option<Duration> {
    let millis = timeout_ms.unwrap_or(DEFAULT_PATIENCE_MS);
    (millis > 0).then(|| Duration::from_millis(millis.saturating_sub(millis.min(2000) / 4)))
}

fn unanswered(name: &Hostname) -> ApiError {
    ApiError::timeout(format!("{name} was asked, and no certificate came")).with_hint(format!(
        "who was removed needs an invitation: its owner runs `pilotctl group invite PEER --group {name}`"
    ))
}

fn no_group(words: &str) -> ApiError {
    ApiError::new(ErrorCode::NotFound, words)
        .with_hint("pilotctl group list, or pilotctl group join NAME")
}

fn new_token() -> GroupToken {
    GroupToken::generate(Seed::new(random_bytes()))
}

fn changed(status: &str, info: GroupInfo, agent: AgentId) -> MemberChanged {
    MemberChanged {
        status: status.to_owned(),
        network_id: info.network,
        name: info.policy.name,
        node_id: agent.node(),
        address: agent.address(),
    }
}

const fn rank(role: GroupRole) -> u8 {
    match role {
        GroupRole::Owner => 0,
        GroupRole::Admin => 1,
        GroupRole::Member => 2,
    }
}

const fn role(role: Role) -> GroupRole {
    match role {
        Role::Owner => GroupRole::Owner,
        Role::Admin => GroupRole::Admin,
        Role::Member | Role::Unknown => GroupRole::Member,
    }
}

const fn wire_rule(rule: JoinRule) -> pilot::JoinRule {
    match rule {
        JoinRule::Open => pilot::JoinRule::Open,
        JoinRule::Token => pilot::JoinRule::Token,
        JoinRule::Invite => pilot::JoinRule::Invite,
    }
}

/// A later version's rule lets nobody in without an invitation.
const fn rule(info: &GroupInfo) -> JoinRule {
    match info.policy.join {
        pilot::JoinRule::Open => JoinRule::Open,
        pilot::JoinRule::Token => JoinRule::Token,
        pilot::JoinRule::Invite | pilot::JoinRule::Unknown => JoinRule::Invite,
    }
}

const fn wire_speakers(speakers: Speakers) -> pilot::Speakers {
    match speakers {
        Speakers::Members => pilot::Speakers::Members,
        Speakers::Admins => pilot::Speakers::Admins,
        Speakers::Owner => pilot::Speakers::Owner,
        Speakers::Nobody => pilot::Speakers::Nobody,
    }
}

const fn speakers(speakers: pilot::Speakers) -> Speakers {
    match speakers {
        pilot::Speakers::Members => Speakers::Members,
        pilot::Speakers::Admins => Speakers::Admins,
        pilot::Speakers::Owner => Speakers::Owner,
        pilot::Speakers::Nobody => Speakers::Nobody,
    }
}
