//! Groups: creating, joining and keeping them.

use std::collections::{BTreeMap, BTreeSet};

use pilot_node::{Answer, QueryId};
use pilot_trust::{Group, GroupError, GroupTerms, GroupToken, HeldInvitation, Identity};
use pilot_types::{AgentId, GroupId, Hostname, NetworkId, UnixTime};
use pilot_wire::{Capability, GroupPolicy, Role};
use tokio::sync::{broadcast, oneshot};
use tokio::task::spawn_blocking;

use crate::clock;
use crate::error::{DialError, GroupCallError};
use crate::node::Node;
use crate::state::State;
use crate::target::Target;

/// A group that this agent is in.
#[derive(Clone, Debug)]
pub struct GroupInfo {
    /// The hash of its inception.
    pub group: GroupId,
    /// The number that its rendezvous has for it.
    pub network: NetworkId,
    /// What holds in it.
    pub policy: GroupPolicy,
    /// What this agent is; `None` while its certificate has ended and was not renewed.
    pub role: Option<Role>,
    /// All members by id, this agent among them.
    pub members: Vec<(AgentId, Role)>,
}

/// A member, as far as the rendezvous says more of it.
#[derive(Clone, Debug)]
pub struct GroupMember {
    /// Who.
    pub agent: AgentId,
    /// As what.
    pub role: Role,
    /// The name that it is known by.
    pub hostname: Option<Hostname>,
    /// Whether it is connected to the rendezvous, or has a session with us.
    pub is_online: bool,
    /// What it says that it can do, as far as the rendezvous tells.
    pub capabilities: Vec<Capability>,
}

/// An invitation that waits for an answer.
#[derive(Clone, Debug)]
pub struct GroupInvitation {
    /// To which group.
    pub group: GroupId,
    /// Its name.
    pub name: Hostname,
    /// Its number.
    pub network: NetworkId,
    /// Who brought it.
    pub from: AgentId,
    /// That agent's name, if it is known.
    pub from_hostname: Option<Hostname>,
    /// Until when it may be accepted.
    pub expires_at: UnixTime,
}

impl GroupInfo {
    fn of(group: &Group, us: &AgentId) -> Self {
        let (set, now) = (group.set(), clock::unix());
        Self {
            group: set.id(),
            network: group.network(),
            policy: set.policy().clone(),
            role: set.role(now, us),
            members: set.members(now).collect(),
        }
    }
}

impl Node {
    /// Groups that this agent is in, by name.
    #[must_use]
    pub fn groups(&self) -> Vec<GroupInfo> {
        let state = self.shared.lock();
        let groups = state.node.trust().groups().iter();
        let mut groups: Vec<GroupInfo> = groups
            .map(|group| GroupInfo::of(group, &self.facts.agent))
            .collect();
        drop(state);
        groups.sort_by(|a, b| a.policy.name.cmp(&b.policy.name));
        groups
    }

    /// Creates a group; its key is in the home before anybody hears of it, and it is durable when this returns.
    ///
    /// # Errors
    /// [`GroupCallError`].
    pub async fn create_group(&self, terms: GroupTerms) -> Result<GroupInfo, GroupCallError> {
        let home = std::sync::Arc::clone(&self.home);
        let key = spawn_blocking(move || {
            let key = Identity::generate(clock::seed(), 0);
            home.save_group_key(&key).map(|()| key)
        });
        let key = key.await.map_err(|_| GroupCallError::Shutdown)?;
        let key = key.map_err(|error| GroupCallError::Store(error.to_string()))?;
        let signer = key.agent();
        let asked = self
            .ask_group(|state| state.node.create_group(clock::now(), key, terms))
            .await;
        if asked.is_err() {
            let home = std::sync::Arc::clone(&self.home);
            // Nobody heard of it: the key is good for nothing.
            let _ = spawn_blocking(move || home.remove_group_key(signer)).await;
        }
        asked?;
        self.synced().await?;
        self.group(&GroupId::of_log(signer))
    }

    /// Asks to join a group, and waits until this agent is a member: as long as the caller has patience.
    ///
    /// # Errors
    /// [`GroupCallError`].
    pub async fn join_group(
        &self,
        name: Hostname,
        token: Option<GroupToken>,
    ) -> Result<GroupInfo, GroupCallError> {
        let mut changes = self.shared.changes.subscribe();
        let answer = self
            .ask_group(|state| Ok(state.node.join_group(clock::now(), name, token)))
            .await?;
        let Answer::Group(group) = answer else {
            return Err(GroupCallError::NotFound);
        };
        loop {
            if let Ok(info) = self.group(&group)
                && info.role.is_some()
            {
                self.synced().await?;
                return Ok(info);
            }
            if self.shared.lock().is_shutdown {
                return Err(GroupCallError::Shutdown);
            }
            if let Err(broadcast::error::RecvError::Closed) = changes.recv().await {
                return Err(GroupCallError::Shutdown);
            }
        }
    }

    /// Leaves a group; durable when it returns.
    ///
    /// # Errors
    /// [`GroupCallError`].
    pub async fn leave_group(&self, group: GroupId) -> Result<(), GroupCallError> {
        self.change_group(|state| state.node.leave_group(clock::now(), group))
            .await
    }

    /// Removes a member; durable here when it returns, and on its way to all members.
    ///
    /// # Errors
    /// [`GroupCallError`].
    pub async fn kick(&self, group: GroupId, member: AgentId) -> Result<(), GroupCallError> {
        self.change_group(|state| state.node.kick(clock::now(), &group, member))
            .await
    }

    /// Makes a member an admin or a plain member; durable when it returns.
    ///
    /// # Errors
    /// [`GroupCallError`].
    pub async fn set_role(
        &self,
        group: GroupId,
        member: AgentId,
        role: Role,
    ) -> Result<(), GroupCallError> {
        if role == Role::Admin {
            // Others check what an admin signs with its log.
            let _ = self.lookup(Target::Agent(member)).await;
        }
        self.change_group(|state| state.node.set_role(clock::now(), &group, member, role))
            .await
    }

    /// Changes what holds in a group; durable when it returns.
    ///
    /// # Errors
    /// [`GroupCallError`].
    pub async fn set_group_policy(
        &self,
        group: GroupId,
        terms: GroupTerms,
    ) -> Result<GroupInfo, GroupCallError> {
        self.change_group(|state| state.node.set_group_policy(clock::now(), &group, terms))
            .await?;
        self.group(&group)
    }

    /// Invites an agent; whether it exists is not told.
    ///
    /// # Errors
    /// [`GroupCallError`].
    pub async fn invite(&self, group: GroupId, to: AgentId) -> Result<(), GroupCallError> {
        self.ask_group(|state| state.node.invite(clock::now(), &group, to))
            .await?;
        Ok(())
    }

    /// Invitations that wait.
    #[must_use]
    pub fn invitations(&self) -> Vec<GroupInvitation> {
        let state = self.shared.lock();
        let invitations = state.node.trust().groups().invitations(clock::unix());
        let shown = |held: &HeldInvitation| GroupInvitation {
            group: held.group,
            name: held.name.clone(),
            network: held.network,
            from: held.from,
            from_hostname: state.node.hostname_of(&held.from),
            expires_at: held.not_after,
        };
        invitations.map(shown).collect()
    }

    /// Forgets an invitation; durable when it returns. `false` if there was none.
    ///
    /// # Errors
    /// [`GroupCallError`].
    pub async fn decline(&self, group: GroupId) -> Result<bool, GroupCallError> {
        let was_there = self
            .shared
            .with(|state| state.node.decline(clock::now(), &group));
        self.synced().await?;
        Ok(was_there)
    }

    /// Members of a group with names and presence, as far as the rendezvous tells; without one, as far as we know.
    ///
    /// # Errors
    /// [`GroupCallError::NotFound`] if this agent is not in it.
    pub async fn group_members(&self, group: GroupId) -> Result<Vec<GroupMember>, GroupCallError> {
        let info = self.group(&group)?;
        let (mut online, mut capabilities) = self.members_seen(group).await;
        let state = self.shared.lock();
        let live = state.node.peers().into_iter().map(|peer| peer.agent);
        online.extend(live);
        online.insert(self.facts.agent);
        let members = info.members.into_iter().map(|(agent, role)| GroupMember {
            agent,
            role,
            hostname: if agent == self.facts.agent {
                state.node.profile().hostname.clone()
            } else {
                state.node.hostname_of(&agent)
            },
            is_online: online.contains(&agent),
            capabilities: capabilities.remove(&agent).unwrap_or_default(),
        });
        Ok(members.collect())
    }

    /// Who of the members is online, and what each one can do.
    async fn members_seen(
        &self,
        group: GroupId,
    ) -> (BTreeSet<AgentId>, BTreeMap<AgentId, Vec<Capability>>) {
        let (mut online, mut capabilities) = (BTreeSet::new(), BTreeMap::new());
        let mut offset = 0;
        loop {
            let ask = |state: &mut State| Ok(state.node.group_entries(clock::now(), group, offset));
            let Ok(Answer::Page(page)) = self.ask_group(ask).await else {
                return (online, capabilities);
            };
            let connected = page.entries.iter().filter(|entry| entry.is_online);
            online.extend(connected.map(|entry| entry.agent));
            self.shared
                .with(|state| state.node.learn_members(clock::now(), &page.entries));
            let said = page.entries.into_iter();
            capabilities.extend(said.map(|entry| (entry.agent, entry.record.capabilities)));
            match page.next.filter(|next| *next > offset) {
                Some(next) => offset = next,
                None => return (online, capabilities),
            }
        }
    }

    /// Whether an agent may speak to us as to a whole group.
    #[must_use]
    pub fn may_broadcast(&self, group: &GroupId, agent: &AgentId) -> bool {
        let state = self.shared.lock();
        state
            .node
            .trust()
            .may_broadcast(clock::unix(), group, agent)
    }

    /// Whether an agent is trusted here, by a grant or by a group.
    #[must_use]
    pub fn has_granted(&self, agent: &AgentId) -> bool {
        let state = self.shared.lock();
        state.node.trust().has_granted(clock::unix(), agent)
    }

    /// The agent that a target names, from what is known here or at the rendezvous.
    ///
    /// # Errors
    /// [`GroupCallError`] if there is none to see.
    pub async fn agent_of(&self, target: Target) -> Result<AgentId, GroupCallError> {
        let known = self.node_target(target.clone());
        let known = known.map_err(|error: DialError| GroupCallError::Store(error.to_string()))?;
        if let Some(agent) = self.shared.lock().node.resolve(&known) {
            return Ok(agent);
        }
        let found = self.lookup(target).await;
        Ok(found.map_err(GroupCallError::Rendezvous)?.agent)
    }

    fn group(&self, group: &GroupId) -> Result<GroupInfo, GroupCallError> {
        let state = self.shared.lock();
        let known = state.node.trust().groups().get(group);
        let known = known.ok_or(GroupCallError::NotFound)?;
        Ok(GroupInfo::of(known, &self.facts.agent))
    }

    async fn change_group(
        &self,
        change: impl FnOnce(&mut State) -> Result<(), GroupError>,
    ) -> Result<(), GroupCallError> {
        self.shared.with(change)?;
        self.synced().await?;
        Ok(())
    }

    async fn ask_group(
        &self,
        ask: impl FnOnce(&mut State) -> Result<QueryId, GroupError>,
    ) -> Result<Answer, GroupCallError> {
        let receiver = self.shared.with(|state| {
            let query = ask(state)?;
            let (sender, receiver) = oneshot::channel();
            state.waiters.queries.insert(query, sender);
            Ok::<_, GroupError>(receiver)
        })?;
        let answer = receiver.await.map_err(|_| GroupCallError::Shutdown)?;
        Ok(answer?)
    }
}
