//! Calls of apps, with what goes in and comes out looked at.

use pilot_api::types::{FilterStage, Filtered};
use pilot_appstore::{CallError, CallRequest, Host};
use pilot_types::AgentId;
use serde_json::Value;

use super::{Filter, Passing};

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilteredCallError {
    /// The app gave none.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The filter blocked the arguments, or the result.
    #[error("the filter {} blocks {what}: {}", filtered.app, filtered.reason)]
    Blocked {
        what: &'static str,
        filtered: Filtered,
    },
}

impl Filter<Host> {
    /// Calls a method for somebody. A flag on the arguments or the result comes with the result.
    ///
    /// # Errors
    /// [`FilteredCallError`].
    pub(crate) async fn call(
        &self,
        apps: &Host,
        agent: Option<AgentId>,
        request: CallRequest,
    ) -> Result<(Value, Option<Filtered>), FilteredCallError> {
        let about = (request.app.clone(), request.caller.name.clone());
        let into = self
            .look_at(FilterStage::Arguments, &request.params, &about, agent)
            .await?;
        let result = apps.call(request).await?;
        let out = self
            .look_at(FilterStage::Results, &result, &about, agent)
            .await?;
        Ok((result, out.or(into)))
    }

    async fn look_at(
        &self,
        stage: FilterStage,
        value: &Value,
        (app, caller): &(String, String),
        agent: Option<AgentId>,
    ) -> Result<Option<Filtered>, FilteredCallError> {
        if !self.is_on(stage) {
            return Ok(None);
        }
        let text = value.to_string();
        let (what, from, to) = match stage {
            FilterStage::Results => ("the result", app, caller),
            FilterStage::Inbox
            | FilterStage::Outbox
            | FilterStage::Events
            | FilterStage::Arguments => ("the arguments", caller, app),
        };
        let passing = Passing {
            from: from.clone(),
            to: to.clone(),
            agent,
            about: Some(("app", app.clone())),
            text: text.as_bytes(),
        };
        let looked = self.look(stage, passing).await;
        match looked {
            Some(filtered) if filtered.is_blocked() => {
                Err(FilteredCallError::Blocked { what, filtered })
            }
            looked => Ok(looked),
        }
    }
}
