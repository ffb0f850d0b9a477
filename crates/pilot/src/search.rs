//! Searches: pages of a rendezvous, put together.

use std::collections::BTreeSet;

use pilot_node::Answer;
use pilot_registry::SearchQuery;

use crate::clock;
use crate::error::LookupError;
use crate::node::Node;
use crate::peers::{Found, Searched};

impl Node {
    /// Asks the rendezvous for agents that fit, as many as `query.limit` from `query.offset` on, and checks each entry with the agent's own
    /// key.
    ///
    /// # Errors
    /// [`LookupError`].
    pub async fn search(&self, mut query: SearchQuery) -> Result<Searched, LookupError> {
        query
            .check()
            .map_err(|error| LookupError::Invalid(error.to_string()))?;
        let (mut agents, mut known) = (vec![], BTreeSet::new());
        loop {
            let asked = query.clone();
            let answer = self
                .run_query(|node| node.search(clock::now(), asked))
                .await?;
            let Answer::Page(page) = answer else {
                return Err(LookupError::NotFound);
            };
            for entry in page.entries {
                // Records that change meanwhile move the pages.
                if known.insert(entry.agent) {
                    agents.push(Found::from(entry));
                }
            }
            let Some(next) = page.next.filter(|next| *next > query.offset) else {
                return Ok(Searched {
                    agents,
                    total: page.total,
                });
            };
            query.limit = query.limit.saturating_sub(next - query.offset);
            query.offset = next;
            if query.limit == 0 {
                let total = page.total;
                return Ok(Searched { agents, total });
            }
        }
    }
}
