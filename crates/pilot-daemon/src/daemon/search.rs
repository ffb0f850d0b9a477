//! Who is there for what.

use pilot::{Capability, Found, MAX_SEARCH_TEXT, MAX_SEARCH_WORDS, SearchQuery};
use pilot_api::ApiError;
use pilot_api::types::{AgentFound, SearchFound, SearchRequest};

use super::{Daemon, view};
use crate::error;

/// Agents that a search gives unless told otherwise.
const DEFAULT_LIMIT: u64 = 20;
/// Agents that it gives at most.
const MAX_LIMIT: u64 = 500;

impl Daemon {
    pub(super) async fn search_agents(
        &self,
        request: SearchRequest,
    ) -> Result<SearchFound, ApiError> {
        let searched = self.node.search(query(request)?).await;
        let searched = searched.map_err(|error| error::search(&error))?;
        Ok(SearchFound {
            agents: searched.agents.iter().map(agent_found).collect(),
            total: searched.total,
        })
    }
}

/// The request as the registry understands it.
fn query(request: SearchRequest) -> Result<SearchQuery, ApiError> {
    let limit = request.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        let words = format!("limit {limit}: expected 1 to {MAX_LIMIT}");
        return Err(ApiError::invalid(words));
    }
    let query = SearchQuery {
        text: request.text.unwrap_or_default(),
        tags: request.tags,
        capability: request.capability,
        limit: u32::try_from(limit).unwrap_or(u32::MAX),
        ..SearchQuery::default()
    };
    query.check().map_err(|error| {
        let words = format!(
            "{error}: a search has at most {MAX_SEARCH_TEXT} bytes and {MAX_SEARCH_WORDS} words of text, 16 tags and one capability"
        );
        ApiError::invalid(words)
    })?;
    Ok(query)
}

fn agent_found(found: &Found) -> AgentFound {
    AgentFound {
        found: view::found(found),
        capabilities: found
            .capabilities
            .iter()
            .map(Capability::to_string)
            .collect(),
        description: pilot_wire::describe(&found.capabilities),
    }
}
