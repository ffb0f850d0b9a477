//! Groups at the rendezvous: creating, finding, asking for parts, telling what is new.

use pilot_registry::{Request, RequestError, Response};
use pilot_trust::{GroupError, GroupSet, Origin};
use pilot_types::{AgentId, GroupId};

use crate::directory::{PeerEntry, verify_entry};
use crate::event::{Answer, Event, QueryError, QueryId};
use crate::group_work::MAX_LEARNT;
use crate::links::{QueryUse, read_done};
use crate::node::Node;
use crate::now::Now;

type Answered = Result<Response, RequestError>;

impl Node {
    /// A rendezvous has our record: it is asked for every group of ours, and told what it does not know.
    pub(crate) fn sync_groups(&mut self, now: Now, link: usize) {
        let groups = self.trust.groups().iter().map(|group| group.set().id());
        let groups: Vec<GroupId> = groups.collect();
        for group in groups {
            self.fetch_group(now, link, group);
        }
    }

    /// A rendezvous says that a group has changed.
    pub(crate) fn group_is_stale(&mut self, now: Now, group: GroupId) {
        let groups = self.trust.groups();
        if groups.get(&group).is_none() && !groups.expects(&group) {
            return;
        }
        for link in self.links.connected() {
            self.fetch_group(now, link, group);
        }
    }

    fn fetch_group(&mut self, now: Now, link: usize, group: GroupId) {
        if !self.links.is_registry(link) || !self.crew.begin_fetch(link, group) {
            return;
        }
        self.ask_for_part(now, (link, group), None);
    }

    fn ask_for_part(&mut self, now: Now, (link, group): (usize, GroupId), after: Option<AgentId>) {
        let request = Request::GroupState { group, after };
        let use_ = QueryUse::GroupState(link, group);
        self.links.ask_one(now.instant, link, request, use_);
    }

    /// A part of a group, as a rendezvous has it: checked as anybody's word.
    pub(crate) fn group_told(
        &mut self,
        now: Now,
        (link, group): (usize, GroupId),
        response: Answered,
    ) {
        match response {
            Ok(Response::Group {
                network,
                bundle,
                next,
            }) => {
                let merged = self
                    .trust
                    .merge_group(now.unix, &group, &bundle, Origin::Rendezvous);
                self.trust.set_network(&group, network);
                if let Some(fetch) = self.crew.fetch(link, group) {
                    bundle.statements.iter().for_each(|raw| fetch.saw(raw));
                    if merged.as_ref().is_ok_and(pilot_trust::Merged::is_change) {
                        fetch.changed();
                    }
                }
                if merged.is_err() || merged.is_ok_and(|merged| merged.refused > 0) {
                    self.output.drops.count("group_refused");
                }
                match next {
                    Some(_) => self.ask_for_part(now, (link, group), next),
                    None => self.group_fetched(now, link, group),
                }
            }
            Ok(Response::NotFound) => {
                self.crew.end_fetch(link, group);
                self.restore_group(now, link, group);
            }
            Ok(_) | Err(_) => {
                self.crew.end_fetch(link, group);
                if self.links.connected().contains(&link) {
                    self.crew.fetch_later(now.instant, link, group);
                }
            }
        }
    }

    fn group_fetched(&mut self, now: Now, link: usize, group: GroupId) {
        let Some(fetch) = self.crew.end_fetch(link, group) else {
            return;
        };
        if let Some(known) = self.trust.groups().get(&group) {
            let set = known.set();
            let unknown = set.statements().filter(|raw| !fetch.knows(raw));
            let unknown: Vec<_> = unknown.cloned().collect();
            if !unknown.is_empty() {
                self.crew.add_unsent(group, unknown);
                self.put_group(now, group);
            }
        }
        if fetch.is_stale() {
            self.fetch_group(now, link, group);
        }
        if fetch.has_changed() || self.has_unknown_members(now, &group) {
            self.ask_for_members(now, group, 0);
        }
    }

    fn has_unknown_members(&self, now: Now, group: &GroupId) -> bool {
        let known = self.trust.groups().get(group);
        let is_unknown =
            |(agent, _): (AgentId, _)| agent != self.agent() && self.known_log(&agent).is_none();
        known.is_some_and(|group| group.set().members(now.unix).any(is_unknown))
    }

    fn ask_for_members(&mut self, now: Now, group: GroupId, offset: u32) {
        let request = Request::GroupMembers { group, offset };
        self.links
            .ask(now.instant, request, QueryUse::GroupMembers(group));
    }

    /// Logs and names of members: with them they reach us through relays, and we them while the rendezvous is away.
    pub(crate) fn members_told(&mut self, now: Now, group: GroupId, response: Answered) {
        let Ok(Response::SearchResults { entries, next, .. }) = response else {
            return;
        };
        let bits = self.config.min_work_bits;
        let verified = entries
            .iter()
            .filter_map(|entry| verify_entry(entry, bits, now.unix).ok());
        let verified: Vec<PeerEntry> = verified.collect();
        self.learn_members(now, &verified);
        if let Some(next) = next.filter(|next| *next < MAX_LEARNT) {
            self.ask_for_members(now, group, next);
        }
    }

    /// Takes entries of members that are not known yet, as [`Self::group_entries`] gave them.
    pub fn learn_members(&mut self, now: Now, entries: &[PeerEntry]) {
        for entry in entries {
            let is_known = self.directory.peer(&entry.agent).is_some();
            if !is_known && entry.agent != self.agent() {
                self.learn(now, entry);
                self.relaying.changed();
            }
        }
        self.drain(now);
    }

    /// Tells the rendezvous what is new of a group.
    pub(crate) fn put_group(&mut self, now: Now, group: GroupId) {
        let Some(known) = self.trust.groups().get(&group) else {
            self.crew.forget(&group);
            return;
        };
        let Some(part) = self.crew.take_unsent(&group) else {
            return;
        };
        let request = Request::PutGroup {
            group,
            bundle: Box::new(known.set().with(part)),
        };
        if !self
            .links
            .ask(now.instant, request, QueryUse::PutGroup(group))
        {
            // It is told when it asks for what it has.
            self.crew.put_done(now.instant, &group, false);
        }
    }

    pub(crate) fn group_put(&mut self, now: Now, group: GroupId, response: &Answered) {
        let is_again = matches!(
            response,
            Ok(Response::Refused {
                code: pilot_registry::RefusalCode::RateLimited
                    | pilot_registry::RefusalCode::Unavailable,
                ..
            })
        );
        self.crew.put_done(now.instant, &group, is_again);
        if !is_again {
            self.put_group(now, group);
        }
    }

    /// A rendezvous does not know a group: its owner brings it back.
    fn restore_group(&mut self, now: Now, link: usize, group: GroupId) {
        let known = self.trust.groups().get(&group);
        let Some(known) = known.filter(|_| self.crew.keys.contains_key(&group)) else {
            return;
        };
        let (bundle, _) = known.set().part(None);
        let request = Request::CreateGroup {
            bundle: Box::new(bundle),
            wanted: Some(known.network()),
        };
        let use_ = QueryUse::RestoreGroup(link, group);
        self.links.ask_one(now.instant, link, request, use_);
    }

    pub(crate) fn group_restored(
        &mut self,
        now: Now,
        link: usize,
        group: GroupId,
        response: &Answered,
    ) {
        match response {
            // Now it is told the rest.
            Ok(Response::GroupCreated(_)) => self.fetch_group(now, link, group),
            Ok(Response::Refused { code, message, .. }) => {
                tracing::warn!(%group, ?code, message, "the rendezvous does not take the group back");
            }
            Ok(_) | Err(_) => {}
        }
    }

    pub(crate) fn group_created(&mut self, now: Now, query: QueryId, response: Answered) {
        let Some(set) = self.crew.creating.remove(&query) else {
            return;
        };
        let group = set.id();
        let result = match response {
            Ok(Response::GroupCreated(network)) => self
                .trust
                .put_group(now.unix, set, network)
                .map(|()| Answer::Group(group))
                .map_err(QueryError::Group),
            other => Err(read_done(other).err().unwrap_or(QueryError::Unreachable)),
        };
        if result.is_err() {
            self.crew.keys.remove(&group);
        }
        self.output.event(Event::Answered { query, result });
    }

    /// A group that we want to join: what it asks for is checked here first.
    pub(crate) fn group_found(&mut self, now: Now, query: QueryId, response: Answered) {
        let Some(token) = self.crew.finding.remove(&query) else {
            return;
        };
        let asked = match response {
            Ok(Response::Group {
                network, bundle, ..
            }) => GroupSet::verify(now.unix, &bundle)
                .and_then(|offer| {
                    let group = offer.id();
                    let request = self.trust.ask_to_join(
                        now.unix,
                        &self.identity,
                        offer,
                        network,
                        token.as_ref(),
                    )?;
                    Ok((group, request))
                })
                .map_err(QueryError::Group),
            other => Err(read_done(other).err().unwrap_or(QueryError::Unreachable)),
        };
        match asked {
            Ok((group, request)) => {
                let request = Request::AskGroup { group, request };
                self.ask_for(now, query, request, QueryUse::AskGroup(query, group));
            }
            Err(error) => self.output.event(Event::Answered {
                query,
                result: Err(error),
            }),
        }
    }

    /// What waited for a rest, and certificates that end soon.
    pub(crate) fn handle_group_time(&mut self, now: Now) {
        if let Some((unsent, missed)) = self.crew.take_retries(now.instant) {
            for group in unsent {
                self.put_group(now, group);
            }
            for (link, group) in missed {
                self.fetch_group(now, link, group);
            }
        }
        if !self.crew.keys.is_empty() && self.crew.is_renewal_due(now.unix) {
            for (group, key) in &self.crew.keys {
                match self.trust.renew_certificates(now.unix, key, group) {
                    // One that is being created, or was left behind by a crash.
                    Ok(()) | Err(GroupError::NotMember) => {}
                    Err(error) => tracing::warn!(%group, %error, "certificates not renewed"),
                }
            }
        }
    }
}
