//! Setting the owner's filter, and what it is asked about on the way out.

use std::sync::Arc;

use pilot_api::types::{FilterStage, FilterState, Filtered, SetFilterRequest};
use pilot_api::{ApiError, ErrorCode, PeerRef};
use pilot_appstore::AuditEntry;

use super::Daemon;
use super::commands::blocking;
use crate::error::{self, describe};
use crate::filter::{METHOD, Passing, Setting};
use crate::named;

impl Daemon {
    pub(super) fn filter_state(&self) -> FilterState {
        let setting = self.filter.setting();
        FilterState {
            app: setting.as_ref().map(|setting| setting.app.to_string()),
            stages: setting
                .iter()
                .flat_map(|setting| setting.stages.iter().copied())
                .collect(),
            on_failure: setting
                .map(|setting| setting.on_failure)
                .unwrap_or_default(),
            counts: self.filter.counts(),
        }
    }

    pub(super) async fn change_filter(
        &self,
        asked: SetFilterRequest,
    ) -> Result<FilterState, ApiError> {
        let setting = match asked.app {
            Some(name) => {
                let app = self.find_app(name).await?;
                let Some(first) = asked.stages.first() else {
                    return Err(ApiError::invalid("field stages: expected at least one")
                        .with_hint(
                            "--stages inbox,outbox,events,arguments,results, or some of them",
                        ));
                };
                let answered = self.filter.probe(&app, *first).await;
                answered.map_err(|words| {
                    let words = format!("{app} cannot be the filter: {words}");
                    ApiError::new(ErrorCode::InvalidArgument, words).with_hint(format!(
                        "its method {METHOD} answers what docs/apps.md says: pilotctl appstore call {app} help"
                    ))
                })?;
                Some(Setting {
                    app,
                    stages: asked.stages.into_iter().collect(),
                    on_failure: asked.on_failure,
                })
            }
            None => None,
        };
        let before = self.filter.setting();
        let about = setting.as_ref().or(before.as_deref());
        let entry = about.map(|setting| AuditEntry::of(&setting.app, "filter", "owner"));
        let words = setting.as_ref().map_or_else(
            || "off".to_owned(),
            |setting| {
                let names: Vec<_> = setting.stages.iter().map(|stage| stage.name()).collect();
                format!("on for {}", names.join(", "))
            },
        );
        let filter = Arc::clone(&self.filter);
        blocking(move || {
            let set = filter.set(setting);
            set.map_err(|error| ApiError::internal(describe(&error)))
        })
        .await?;
        if let Some(entry) = entry {
            self.apps.audit().add(&AuditEntry {
                reason: Some(words),
                ..entry
            });
        }
        Ok(self.filter_state())
    }

    /// What goes out passes the filter, or is refused.
    pub(super) async fn pass_out(
        &self,
        what: &str,
        to: String,
        text: &[u8],
    ) -> Result<Option<Filtered>, ApiError> {
        if !self.filter.is_on(FilterStage::Outbox) {
            return Ok(None);
        }
        let passing = Passing {
            from: named::own(&self.node),
            to,
            text,
            ..Passing::default()
        };
        self.filter.pass(FilterStage::Outbox, what, passing).await
    }

    pub(super) async fn pass_to_peer(
        &self,
        what: &str,
        peer: &PeerRef,
        text: &[u8],
    ) -> Result<Option<Filtered>, ApiError> {
        self.pass_out(what, error::name_of(peer), text).await
    }
}
