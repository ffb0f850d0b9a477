//! The service on port 1003.

use std::sync::Arc;
use std::time::Duration;

use pilot::{ErrorCode as StreamCode, ListenError, Node, Peer, Stream};
use pilot_api::ErrorCode;
use pilot_apps::{AppCall, AppCalls, AppQuestion, AppRefusal, FilePart, serve_app_call};
use pilot_appstore::{AppId, AuditEntry, CallRequest, Caller, HELP, Host};
use pilot_types::{AgentId, Port, UnixTime};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use super::shown;
use super::terms::{AppTerms, PeerApps, Refused};
use super::words;
use crate::error::describe;
use crate::filter::{Filter, FilteredCallError};
use crate::services::serve;

/// The longest that a peer's call may take: as long as any app may.
const LONGEST_CALL: Duration = Duration::from_secs(600);

/// Answers peers' questions about apps.
pub(crate) struct AppService {
    node: Node,
    apps: Arc<Host>,
    peers: Arc<PeerApps>,
    filter: Arc<Filter>,
}

impl AppService {
    /// Takes the port. It ends with the node.
    pub(crate) async fn start(
        node: Node,
        apps: Arc<Host>,
        peers: Arc<PeerApps>,
        filter: Arc<Filter>,
    ) -> Result<(), ListenError> {
        let listener = node.listen(Port::APPS).await?;
        let service = Arc::new(Self {
            node,
            apps,
            peers,
            filter,
        });
        tokio::spawn(serve(listener, move |stream, peer| {
            Arc::clone(&service).answer_one(stream, peer)
        }));
        Ok(())
    }

    /// A peer whose grant names no app learns what one learns whose grant has no such port.
    async fn answer_one(self: Arc<Self>, stream: Stream, peer: Peer) {
        if peer.group.is_some() || !self.peers.knows(&peer.agent) {
            stream.reset(StreamCode::NOT_TRUSTED);
            return;
        }
        let from = peer.agent.address();
        let asking = Asking {
            service: &self,
            agent: peer.agent,
        };
        match serve_app_call(stream, &asking).await {
            Ok(()) => tracing::debug!(%from, "a question about apps"),
            Err(error) => tracing::info!(%from, error = describe(&error), "a question about apps"),
        }
    }

    /// What the peer may call now, and since when.
    fn granted(&self, agent: &AgentId) -> Option<(AppTerms, UnixTime)> {
        let terms = self.peers.terms(agent)?;
        let peer = self.node.trusted_peer(agent)?;
        let holds = peer.scope.allows_port(Port::APPS) && terms.belong_to(peer.approved_at);
        holds.then_some((terms, peer.approved_at))
    }
}

/// A peer that asks.
struct Asking<'a> {
    service: &'a AppService,
    agent: AgentId,
}

impl AppCalls for Asking<'_> {
    async fn answer(&self, question: AppQuestion) -> Result<Value, AppRefusal> {
        let (agent, peers) = (self.agent, &self.service.peers);
        if let AppQuestion::File(part) = question {
            return self.file(part).await;
        }
        let admitted = peers.admit(&agent);
        let granted = admitted.and_then(|()| self.service.granted(&agent).ok_or(Refused::NoApps));
        match (granted, question) {
            (Ok((_, since)), AppQuestion::Call(call)) => self.call(call, since).await,
            (Ok((terms, _)), AppQuestion::List {}) => self.list(terms).await,
            (Err(refused), AppQuestion::Call(call)) => Err(self.refuse(&call, &refused)),
            (Err(refused), AppQuestion::List {} | AppQuestion::File(_)) => {
                Err(words::refused(&refused))
            }
            (Ok(_), AppQuestion::File(part)) => self.file(part).await,
        }
    }
}

impl Asking<'_> {
    async fn call(&self, call: AppCall, since: UnixTime) -> Result<Value, AppRefusal> {
        let peers = &self.service.peers;
        let begun = peers.begin(self.agent, &call.app);
        let (app, _place) = begun.map_err(|refused| self.refuse(&call, &refused))?;
        if !is_help(&app, &call.method) {
            let (peers, agent) = (Arc::clone(peers), self.agent);
            let spent = spawn_blocking(move || peers.spend(&agent)).await;
            let spent = spent.unwrap_or(Err(Refused::NotKept));
            spent.map_err(|refused| self.refuse(&call, &refused))?;
        }
        let millis = call.timeout_ms.filter(|millis| *millis > 0);
        let deadline = millis.map(|millis| Duration::from_millis(millis).min(LONGEST_CALL));
        let request = CallRequest {
            app: app.to_string(),
            method: call.method,
            params: call.params,
            caller: caller(&self.agent),
            deadline,
        };
        tokio::select! {
            called = self.service.filter.call(&self.service.apps, Some(self.agent), request) => {
                match called {
                    Ok((result, _)) => Ok(result),
                    Err(FilteredCallError::Call(error)) => Err(words::failed(&error)),
                    Err(FilteredCallError::Blocked { what, .. }) => Err(words::blocked(what)),
                }
            }
            () = peers.ended(&self.agent, &app, since) => Err(words::refused(&Refused::NoApps)),
        }
    }

    /// The granted apps that are there, with their methods.
    async fn list(&self, terms: AppTerms) -> Result<Value, AppRefusal> {
        let store = self.service.apps.store().clone();
        let listed = spawn_blocking(move || {
            let apps = terms.apps.iter().filter_map(|id| {
                let app = store.open(id).ok()?;
                let manifest = app.bundle.manifest();
                let methods = crate::apps::methods(manifest);
                let version = manifest.version.to_string();
                Some(json!({ "id": id, "version": version, "methods": methods }))
            });
            json!({ "apps": apps.collect::<Vec<_>>() })
        });
        let failed = |_| AppRefusal::new(ErrorCode::Internal.name(), "the list was not made");
        listed.await.map_err(failed)
    }

    /// A part of a file of the catalogue, for a peer that may read it.
    async fn file(&self, part: FilePart) -> Result<Value, AppRefusal> {
        let admitted = self.service.peers.admit_part(&self.agent);
        let granted = admitted.and_then(|()| {
            let granted = self.service.granted(&self.agent);
            granted.ok_or(Refused::NoApps)
        });
        granted.map_err(|refused| words::refused(&refused))?;
        let home = self.service.apps.store().home().to_owned();
        let read = spawn_blocking(move || shown::read(&home, &part)).await;
        let failed = |_| AppRefusal::new(ErrorCode::Internal.name(), "the file was not read");
        read.map_err(failed)?
    }

    /// What the peer is told; a refusal of an app that can be named is in the audit log, as far as there is room for it.
    fn refuse(&self, call: &AppCall, refused: &Refused) -> AppRefusal {
        let refusal = words::refused(refused);
        let app = call.app.parse::<AppId>();
        if let Ok(app) = app
            && self.service.peers.is_told(&self.agent)
        {
            let Caller { name, agent } = caller(&self.agent);
            self.service.apps.audit().add(&AuditEntry {
                agent,
                method: Some(call.method.chars().take(200).collect()),
                outcome: refusal.code.clone(),
                reason: Some(refused.to_string()),
                ..AuditEntry::of(&app, "call", &name)
            });
        }
        refusal
    }
}

fn caller(agent: &AgentId) -> Caller {
    Caller {
        name: agent.address().to_string(),
        agent: Some(agent.to_string()),
    }
}

/// `help` is answered from the manifest, without the app.
fn is_help(app: &AppId, method: &str) -> bool {
    method == HELP || method.rsplit_once('.') == Some((app.short(), HELP))
}
