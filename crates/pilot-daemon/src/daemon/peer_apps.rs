//! Apps of other agents, and apps that others may call.

use std::collections::BTreeSet;
use std::sync::Arc;

use pilot::{DialError, DialOptions, Scope, Terms};
use pilot_api::types::{
    AppCalled, ApproveRequest, Approved, AppsGranted, CallAppRequest, PeerApps, PeerAppsRequest,
};
use pilot_api::{ApiError, ErrorCode, PeerRef};
use pilot_apps::{AppCall, AppQuestion, ask_app};
use pilot_appstore::AppId;
use pilot_types::{AgentId, Port, UnixTime};
use pilot_wire::PortRange;
use serde_json::Value;

use super::commands::blocking;
use super::{Daemon, target, view};
use crate::apps;
use crate::error::{self, describe};
use crate::inbox::now;
use crate::named;
use crate::peer_apps::{self, AppTerms, PeerAppsError};

/// Questions a minute, where the owner says nothing, and the most that may be said.
const RATE: u32 = 60;
const MAX_RATE: u32 = 6000;
/// Apps of one grant.
const MAX_APPS: usize = 64;
/// The deadline of a request that names none: the API's own.
const DEADLINE_MS: u64 = 30_000;

impl Daemon {
    pub(super) async fn approve_one(&self, request: ApproveRequest) -> Result<Approved, ApiError> {
        let apps = self.named_apps(&request).await?;
        let mut scope = request
            .ports
            .map_or_else(Scope::default_scope, Scope::of_ports);
        if apps.is_some() {
            scope = with_apps(scope)?;
        }
        let shown = view::scope(&scope);
        let until = |millis| now().plus(std::time::Duration::from_millis(millis));
        let terms = Terms {
            scope,
            not_after: request.expires_ms.map_or(UnixTime::FAR_FUTURE, until),
            one_way: request.one_way,
        };
        let claimed = self.claimed_names();
        let agent = self.node.approve(&target(&request.peer)?, terms).await;
        let agent = agent.map_err(|error| error::trust(&error, &request.peer))?;
        let trusted = self.node.trusted_peer(&agent);
        let apps = apps.zip(trusted.as_ref()).map(|(apps, peer)| AppTerms {
            approved_at_unix_ms: peer.approved_at.as_millis(),
            ..apps
        });
        let granted = apps.as_ref().map(granted);
        self.set_peer_apps(agent, apps).await?;
        Ok(Approved {
            status: "approved".to_owned(),
            agent: self.summary_or_claimed(agent, &claimed),
            fingerprint: trusted.map(|peer| peer.fingerprint).unwrap_or_default(),
            scope: shown,
            apps: granted,
        })
    }

    /// What an approval says about apps, with the ids of what was named: a short name means what is installed under it now.
    async fn named_apps(&self, request: &ApproveRequest) -> Result<Option<AppTerms>, ApiError> {
        let names = request.apps.clone();
        if names.is_empty() && !request.catalogue {
            if request.app_rate.is_some() || request.app_budget.is_some() {
                let words = "a rate or a budget of calls needs apps that may be called";
                return Err(ApiError::invalid(words).with_hint("add --apps APP"));
            }
            return Ok(None);
        }
        let per_minute = request.app_rate.unwrap_or(RATE);
        if per_minute == 0 || per_minute > MAX_RATE {
            let words = format!("field app_rate: expected 1 to {MAX_RATE} questions a minute");
            return Err(ApiError::invalid(words));
        }
        if request.app_budget == Some(0) {
            return Err(ApiError::invalid("field app_budget: expected at least 1"));
        }
        let store = self.apps.store().clone();
        let ids = blocking(move || {
            let ids = names.iter().map(|name| match name.parse::<AppId>() {
                Ok(id) if name.contains('.') => Ok(id),
                Ok(_) | Err(_) => store.find(name).map_err(|error| apps::store(&error)),
            });
            ids.collect::<Result<BTreeSet<AppId>, ApiError>>()
        })
        .await?;
        if ids.len() > MAX_APPS {
            let words = format!("field apps: at most {MAX_APPS} apps");
            return Err(ApiError::invalid(words));
        }
        Ok(Some(AppTerms {
            approved_at_unix_ms: 0,
            apps: ids,
            per_minute,
            budget: request.app_budget,
            catalogue: request.catalogue,
            used: 0,
        }))
    }

    /// What an agent may call here, for who asks.
    pub(super) fn granted_apps(
        &self,
        agent: &AgentId,
        approved_at: UnixTime,
    ) -> Option<AppsGranted> {
        let terms = self.peer_apps.terms(agent)?;
        terms.belong_to(approved_at).then(|| granted(&terms))
    }

    /// Lets an agent call these apps and no others.
    pub(super) async fn set_peer_apps(
        &self,
        agent: AgentId,
        terms: Option<AppTerms>,
    ) -> Result<(), ApiError> {
        let peers = Arc::clone(&self.peer_apps);
        blocking(move || {
            let set = peers.set(agent, terms);
            set.map_err(|error| not_kept(&error))
        })
        .await
    }

    pub(super) async fn call_of_peer(
        &self,
        peer: &PeerRef,
        asked: CallAppRequest,
    ) -> Result<AppCalled, ApiError> {
        let app = asked.app.clone();
        let text = asked.params.to_string();
        self.pass_to_peer("the arguments", peer, text.as_bytes())
            .await?;
        let question = AppQuestion::Call(AppCall {
            app: asked.app,
            method: asked.method,
            params: asked.params,
            timeout_ms: Some(asked.timeout_ms.unwrap_or(DEADLINE_MS)),
        });
        let result = self.ask_peer(peer, &app, &question).await?;
        Ok(AppCalled {
            result,
            filter: None,
        })
    }

    pub(super) async fn apps_of_peer(&self, asked: PeerAppsRequest) -> Result<PeerApps, ApiError> {
        let question = AppQuestion::List {};
        let listed = self.ask_peer(&asked.peer, "APP", &question).await?;
        serde_json::from_value(listed).map_err(|error| {
            let words = format!(
                "{}: not a list of apps: {error}",
                error::name_of(&asked.peer)
            );
            ApiError::new(ErrorCode::ConnectionFailed, words)
        })
    }

    /// `app` is for the hint of a refusal. Dropping the future takes the question back.
    async fn ask_peer(
        &self,
        peer: &PeerRef,
        app: &str,
        question: &AppQuestion,
    ) -> Result<Value, ApiError> {
        let name = error::name_of(peer);
        let options = DialOptions::default();
        let dialled = self
            .node
            .dial_peer(target(peer)?, Port::APPS, options)
            .await;
        let stream = dialled.map_err(|error| {
            if matches!(error, DialError::Own) {
                return ApiError::invalid(format!("{name} is this agent itself"))
                    .with_hint(format!("pilotctl appstore call {app} METHOD"));
            }
            error::dial(&error, peer, Port::APPS)
        })?;
        let asked = ask_app(stream, question).await;
        asked.map_err(|error| peer_apps::unanswered(&error, &name, app, &named::own(&self.node)))
    }
}

/// The scope with the port of apps in it.
fn with_apps(scope: Scope) -> Result<Scope, ApiError> {
    if scope.allows_port(Port::APPS) {
        return Ok(scope);
    }
    let mut ports = scope.ports;
    match ports
        .iter_mut()
        .find(|range| range.last.to_u16() == Port::APPS.to_u16() - 1)
    {
        Some(before) => before.last = Port::APPS,
        None => ports.extend(PortRange::new(Port::APPS, Port::APPS)),
    }
    let scope = Scope::of_ports(ports);
    if scope.is_well_formed() {
        return Ok(scope);
    }
    let words = format!("field ports: with port {} too many ranges", Port::APPS);
    Err(ApiError::invalid(words))
}

fn granted(terms: &AppTerms) -> AppsGranted {
    AppsGranted {
        ids: terms.apps.iter().map(ToString::to_string).collect(),
        catalogue: terms.catalogue,
        per_minute: terms.per_minute,
        budget: terms.budget,
        used: terms.used,
    }
}

fn not_kept(error: &PeerAppsError) -> ApiError {
    let words = format!("the peer may call no app: {}", describe(error));
    ApiError::internal(words).with_hint("check that the disk has space left, and approve it again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_of_apps_comes_to_those_that_are_named() {
        let of = |text: &str| Scope::of_ports(Scope::parse_ports(text).unwrap());
        for (before, after) in [
            ("7,1000-1002", "7,1000-1003"),
            ("7", "7,1003"),
            ("1003", "1003"),
            ("all", "all"),
            ("65535", "65535,1003"),
        ] {
            assert_eq!(with_apps(of(before)).unwrap().ports_text(), after);
        }
        let many: Vec<String> = (0..32).map(|port| (port * 2).to_string()).collect();
        assert!(with_apps(of(&many.join(","))).is_err());
    }
}
