//! Searches at the rendezvous, and the directory agent that each of them is.

use pilot_registry::{Request, RequestError, Response, SearchQuery};
use pilot_types::{AgentId, Hostname, NodeId, Port};

use crate::dials::{DialPurpose, Stage, Target};
use crate::directory::verify_entry;
use crate::event::{Answer, DialError, DialId, Event, QueryError, QueryId, SearchPage};
use crate::links::{QueryUse, read_done};
use crate::node::Node;
use crate::now::Now;

/// Ports of a rendezvous that its agents reach beside the registry's, as far as it listens there.
pub(crate) const RENDEZVOUS_PORTS: [Port; 1] = [Port::DATA_EXCHANGE];

impl Node {
    /// Asks the registry for agents that fit; [`Event::Answered`] follows.
    pub fn search(&mut self, now: Now, query: SearchQuery) -> QueryId {
        let id = self.links.next_query();
        self.ask_for(now, id, Request::Search { query }, QueryUse::Search(id));
        id
    }

    pub(crate) fn search_answered(
        &mut self,
        now: Now,
        query: QueryId,
        response: Result<Response, RequestError>,
    ) {
        let result = match response {
            Ok(Response::SearchResults {
                entries,
                total,
                next,
            }) => {
                let bits = self.config.min_work_bits;
                let verified = entries
                    .iter()
                    .filter_map(|entry| verify_entry(entry, bits, now.unix).ok());
                Ok(Answer::Page(SearchPage {
                    entries: verified.collect(),
                    total,
                    next,
                }))
            }
            other => Err(read_done(other).err().unwrap_or(QueryError::Unreachable)),
        };
        self.output.event(Event::Answered { query, result });
    }

    /// Whether a target is the directory agent: every rendezvous is one, under an alias that nobody can claim.
    pub(crate) fn is_directory(target: &Target) -> bool {
        match target {
            Target::Node(node) => *node == NodeId::DIRECTORY,
            Target::Hostname(name) => *name == Hostname::directory(),
            Target::Agent(_) | Target::Key(_) => false,
        }
    }

    /// Dials the directory agent in the session that we have with our rendezvous, or as soon as we have it again.
    pub(crate) fn dial_directory(&mut self, now: Now, id: DialId) {
        let is_stream = |purpose: &DialPurpose| matches!(purpose, DialPurpose::Stream { .. });
        let Some(dial) = self.dials.get_mut(id) else {
            return;
        };
        if !is_stream(&dial.purpose) {
            // It answers messages, and nothing else: to all other dials it is nobody.
            self.fail_dial(id, DialError::NotFound);
            return;
        }
        let Some(agent) = self.links.best_agent() else {
            self.fail_dial(id, DialError::NoRendezvous);
            return;
        };
        dial.stage = Stage::Connecting(agent);
        if let Some(key) = self.live_session(&agent) {
            self.open_for_dial(now, key, id);
        }
    }

    /// The name of an agent that is a rendezvous of ours.
    pub(crate) fn directory_name(&self, agent: &AgentId) -> Option<Hostname> {
        self.links.find(agent).map(|_| Hostname::directory())
    }
}
