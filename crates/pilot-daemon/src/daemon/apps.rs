//! Commands about apps.

use std::time::Duration;

use pilot_api::ApiError;
use pilot_api::types::{
    AppAudit, AppAuditRequest, AppCalled, AppCaps, AppInstalled, AppMethod, AppStatus, AppSummary,
    AppUninstalled, AppViewed, Apps, AskedGrant, AuditedEvent, CallAppRequest, CatalogueApp,
    CatalogueListed, GrantHeld, InstallAppRequest, RuleHeld, UninstallAppRequest, ViewAppRequest,
};
use pilot_appstore::{
    AppId, AuditEntry, Bundle, CallRequest, Consent, Grant, Manifest, Publishers, Record, Standing,
    Store,
};
use pilot_types::UnixTime;
use serde_json::json;

use super::Daemon;
use super::commands::blocking;
use crate::apps::{self, Catalogues};
use crate::error::describe;
use crate::filter::{self, FilteredCallError};

/// Entries of the audit log that are shown without a limit, and with any.
const AUDIT: u64 = 100;
const MAX_AUDIT: u64 = 10_000;
/// Why an app has a grant that it does not ask for.
const CHOSEN: &str = "its owner chose it";
/// Who asks over the local API.
const OWNER: &str = "owner";

/// Catalogues that can be used, which of them are not up to date, and those that cannot be used, in words.
#[derive(Default)]
struct Seen {
    urls: Vec<String>,
    stale: Vec<String>,
    gone: Vec<String>,
}

impl Daemon {
    pub(super) async fn list_catalogue(
        &self,
        asked: Option<String>,
    ) -> Result<CatalogueListed, ApiError> {
        let store = self.apps.store().clone();
        let Seen { urls, stale, gone } = self.refresh(asked).await?;
        blocking(move || {
            let catalogues = Catalogues::open(store.home(), &urls)?;
            let publishers = store.publishers();
            let apps = catalogues.newest().into_iter().map(|entry| CatalogueApp {
                id: entry.id.to_string(),
                version: entry.version.to_string(),
                publisher: entry.publisher.to_string(),
                description: entry.description.clone(),
                installed: installed_version(&store, &entry.id),
                trusted: publishers.check(&entry.publisher).is_ok(),
            });
            Ok(CatalogueListed {
                apps: apps.collect(),
                unusable: [gone, catalogues.unusable.clone()].concat(),
                stale,
            })
        })
        .await
    }

    pub(super) async fn view_one_app(&self, asked: ViewAppRequest) -> Result<AppViewed, ApiError> {
        let ViewAppRequest {
            app,
            version,
            catalogue,
        } = asked;
        let (bundle, stale) = self.bundle_of(app, version, catalogue).await?;
        let store = self.apps.store().clone();
        blocking(move || {
            Ok(AppViewed {
                stale,
                ..viewed(bundle.manifest(), &store)
            })
        })
        .await
    }

    /// The catalogues, those of other machines brought up to date as far as they can be reached.
    async fn refresh(&self, asked: Option<String>) -> Result<Seen, ApiError> {
        let home = self.apps.store().home().to_owned();
        let dir = home.clone();
        let urls = blocking(move || apps::catalogue_urls(&dir, asked.as_deref())).await?;
        let is_only = urls.len() == 1;
        let mut seen = Seen::default();
        for url in urls {
            match self.fetcher.refresh(&home, &url).await {
                Ok(words) => {
                    seen.stale.extend(words);
                    seen.urls.push(url);
                }
                Err(error) if is_only => return Err(error),
                Err(error) => seen.gone.push(error.message),
            }
        }
        Ok(seen)
    }

    /// An app's bundle, fetched if it has to be and checked; and which catalogues are not up to date.
    async fn bundle_of(
        &self,
        app: String,
        version: Option<String>,
        catalogue: Option<String>,
    ) -> Result<(Bundle, Vec<String>), ApiError> {
        let Seen { urls, stale, gone } = self.refresh(catalogue).await?;
        let home = self.apps.store().home().to_owned();
        let dir = home.clone();
        let found = blocking(move || {
            let mut catalogues = Catalogues::open(&dir, &urls)?;
            catalogues.unusable.extend(gone);
            let (url, catalogue, entry) = catalogues.find(&app, version.as_deref())?;
            Ok((url.to_owned(), catalogue.clone(), entry.clone()))
        });
        let (url, catalogue, entry) = found.await?;
        self.fetcher.fetch(&home, &url, &entry).await?;
        let bundle = blocking(move || apps::open_bundle(&catalogue, &entry)).await?;
        Ok((bundle, stale))
    }

    pub(super) async fn install_one_app(
        &self,
        asked: InstallAppRequest,
    ) -> Result<AppInstalled, ApiError> {
        let consent = consent(&asked)?;
        let found = self.bundle_of(asked.app, asked.version, asked.catalogue);
        let (bundle, stale) = found.await?;
        let id = bundle.manifest().id.clone();
        let done = self
            .apps
            .change(&id, move |store| store.install(&bundle, &consent))
            .await;
        self.audit_change(&id, "install", &done);
        done.map_err(|error| apps::store(&error))?;
        let started = self.apps.probe(&id).await;
        let mut installed = self.installed(id).await?;
        installed.problem = started.err().map(|error| describe(&error));
        installed.stale = stale;
        Ok(installed)
    }

    pub(super) async fn roll_back(&self, name: String) -> Result<AppInstalled, ApiError> {
        let id = self.find_app(name).await?;
        let back = id.clone();
        let done = self
            .apps
            .change(&id, move |store| store.roll_back(&back))
            .await;
        self.audit_change(&id, "rollback", &done);
        done.map_err(|error| apps::store(&error))?;
        self.installed(id).await
    }

    pub(super) async fn uninstall(
        &self,
        asked: UninstallAppRequest,
    ) -> Result<AppUninstalled, ApiError> {
        let id = self.find_app(asked.app).await?;
        let (gone, keep) = (id.clone(), asked.keep_data);
        let done = self
            .apps
            .change(&id, move |store| store.uninstall(&gone, keep))
            .await;
        self.audit_change(&id, "uninstall", &done);
        done.map_err(|error| apps::store(&error))?;
        Ok(AppUninstalled {
            id: id.to_string(),
            data_kept: keep,
        })
    }

    pub(super) async fn list_apps(&self) -> Result<Apps, ApiError> {
        let store = self.apps.store().clone();
        let ids = blocking(move || store.list().map_err(|error| apps::store(&error))).await?;
        let mut apps = vec![];
        for id in ids {
            apps.push(self.status_of(id).await?.app);
        }
        Ok(Apps { apps })
    }

    pub(super) async fn status_by_name(&self, name: String) -> Result<AppStatus, ApiError> {
        let id = self.find_app(name).await?;
        self.status_of(id).await
    }

    pub(super) async fn restart(&self, name: String) -> Result<AppStatus, ApiError> {
        let id = self.find_app(name).await?;
        self.apps.stop(&id).await;
        self.apps
            .audit()
            .add(&AuditEntry::of(&id, "restart", OWNER));
        self.status_of(id).await
    }

    pub(super) async fn caps(&self, name: String) -> Result<AppCaps, ApiError> {
        let id = self.find_app(name).await?;
        let (store, opened) = (self.apps.store().clone(), id.clone());
        let app = blocking(move || store.open(&opened).map_err(|error| apps::store(&error)));
        let app = app.await?;
        let kernel = self.apps.store().kernel();
        let held = |grant: &Grant, reason: &str| GrantHeld {
            grant: grant.to_string(),
            words: grant.words(),
            reason: reason.to_owned(),
            granted: app.agreed.grants.contains(grant),
            enforced_by: kernel.enforced_by(grant),
        };
        let asked = app.bundle.manifest().asked();
        let asks = app.bundle.manifest().grants.iter();
        let chosen = app.agreed.grants.difference(&asked);
        let grants = asks
            .map(|ask| held(&ask.grant, &ask.reason))
            .chain(chosen.map(|grant| held(grant, CHOSEN)));
        let always = kernel
            .always(&app.bundle.manifest().limits)
            .into_iter()
            .map(|(rule, enforced_by)| RuleHeld {
                rule: rule.to_owned(),
                enforced_by,
            });
        Ok(AppCaps {
            id: id.to_string(),
            grants: grants.collect(),
            always: always.collect(),
        })
    }

    pub(super) async fn call(&self, asked: CallAppRequest) -> Result<AppCalled, ApiError> {
        if let Some(peer) = asked.peer.clone() {
            return self.call_of_peer(&peer, asked).await;
        }
        let name = asked.app.clone();
        let deadline = asked.timeout_ms.filter(|millis| *millis > 0);
        let request = CallRequest {
            app: asked.app,
            method: asked.method,
            params: asked.params,
            caller: OWNER.into(),
            deadline: deadline.map(Duration::from_millis),
        };
        let called = self.filter.call(&self.apps, None, request).await;
        let (result, filter) = called.map_err(|error| match &error {
            FilteredCallError::Call(error) => apps::call(&name, error),
            FilteredCallError::Blocked { what, filtered } => filter::blocked(what, filtered),
        })?;
        Ok(AppCalled { result, filter })
    }

    pub(super) async fn audit(&self, asked: AppAuditRequest) -> Result<AppAudit, ApiError> {
        let id = match asked.app {
            // What was removed has entries still.
            Some(name) => match name.parse() {
                Ok(id) if name.contains('.') => Some(id),
                Ok(_) | Err(_) => Some(self.find_app(name).await?),
            },
            None => None,
        };
        let most = asked.limit.unwrap_or(AUDIT).min(MAX_AUDIT);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let home = self.apps.store().home().to_owned();
        let read = blocking(move || {
            let audit = pilot_appstore::Audit::new(&home);
            let entries = audit.last(id.as_ref(), most);
            entries.map_err(|error| ApiError::internal(format!("the audit log: {error}")))
        });
        let entries = read.await?.into_iter().map(audited).collect();
        Ok(AppAudit { entries })
    }

    pub(super) async fn find_app(&self, name: String) -> Result<AppId, ApiError> {
        let store = self.apps.store().clone();
        blocking(move || store.find(&name).map_err(|error| apps::store(&error))).await
    }

    async fn installed(&self, id: AppId) -> Result<AppInstalled, ApiError> {
        let (store, of) = (self.apps.store().clone(), id.clone());
        let record = blocking(move || store.record(&of).map_err(|error| apps::store(&error)));
        let Record {
            current,
            previous,
            publisher,
            agreed,
        } = record.await?;
        let granted = agreed
            .get(&current)
            .into_iter()
            .flat_map(|agreed| &agreed.grants);
        Ok(AppInstalled {
            id: id.to_string(),
            grants: granted.map(Grant::to_string).collect(),
            version: current.to_string(),
            previous: previous.map(|version| version.to_string()),
            publisher,
            problem: None,
            stale: vec![],
        })
    }

    async fn status_of(&self, id: AppId) -> Result<AppStatus, ApiError> {
        let standing = self.apps.standing(&id).await;
        let store = self.apps.store().clone();
        blocking(move || status(&store, &id, &standing)).await
    }

    fn audit_change<T>(
        &self,
        id: &AppId,
        event: &str,
        done: &Result<T, pilot_appstore::StoreError>,
    ) {
        let mut entry = AuditEntry::of(id, event, OWNER);
        if let Err(error) = done {
            "refused".clone_into(&mut entry.outcome);
            entry.reason = Some(describe(error));
        }
        self.apps.audit().add(&entry);
    }
}

fn consent(asked: &InstallAppRequest) -> Result<Consent, ApiError> {
    let grant = |text: &String| {
        let parsed = text.parse::<Grant>();
        parsed.map_err(|error| ApiError::invalid(format!("field grants: {error}")))
    };
    Ok(Consent {
        yes: asked.yes,
        grants: asked.grants.iter().map(grant).collect::<Result<_, _>>()?,
        allow_unenforced: asked.allow_unenforced,
    })
}

fn installed_version(store: &Store, id: &AppId) -> Option<String> {
    store
        .record(id)
        .ok()
        .map(|record| record.current.to_string())
}

fn viewed(manifest: &Manifest, store: &Store) -> AppViewed {
    let publishers = Publishers::new(store.home());
    let short = manifest.id.short();
    let method =
        |(name, method): (&pilot_appstore::MethodName, &pilot_appstore::Method)| AppMethod {
            name: format!("{short}.{name}"),
            summary: method.summary.clone(),
            latency: method.latency.map(|latency| latency.name().to_owned()),
            params: method.params.json().clone(),
            result: method.result.json().clone(),
        };
    let grants = manifest.grants.iter().map(|ask| {
        let unenforced = store.kernel().unenforced([&ask.grant]);
        AskedGrant {
            grant: ask.grant.to_string(),
            words: if ask.optional {
                format!("{}, if you grant it", ask.grant.words())
            } else {
                ask.grant.words()
            },
            reason: ask.reason.clone(),
            unenforced: (!unenforced.is_empty()).then(|| unenforced.join("; ")),
        }
    });
    AppViewed {
        id: manifest.id.to_string(),
        version: manifest.version.to_string(),
        publisher: manifest.publisher.to_string(),
        fingerprint: manifest.publisher.fingerprint(),
        trusted: publishers.check(&manifest.publisher).is_ok(),
        description: manifest.description.clone(),
        licence: manifest.licence.clone(),
        methods: manifest.methods.iter().map(method).collect(),
        grants: grants.collect(),
        limits: json!(manifest.limits),
        installed: installed_version(store, &manifest.id),
        stale: vec![],
    }
}

/// An app that may not run is shown all the same, with the reason. Blocks on the disk.
fn status(store: &Store, id: &AppId, standing: &Standing) -> Result<AppStatus, ApiError> {
    let record = store.record(id).map_err(|error| apps::store(&error))?;
    let opened = store.open(id);
    let state = match &opened {
        Ok(_) => standing.state,
        Err(_) => "refused",
    };
    let app = AppSummary {
        id: id.to_string(),
        version: record.current.to_string(),
        state: state.to_owned(),
        methods: opened
            .as_ref()
            .map(|app| apps::methods(app.bundle.manifest()))
            .unwrap_or_default(),
        reason: opened.err().map(|error| describe(&error)),
    };
    Ok(AppStatus {
        app,
        previous: record.previous.map(|version| version.to_string()),
        pid: standing.pid,
        uptime_secs: standing.uptime.map(|uptime| uptime.as_secs()),
        calls: standing.calls,
        starts: standing.starts,
        failures: standing.failures,
        last_end: standing.last_ending.as_ref().map(ToString::to_string),
    })
}

fn audited(entry: AuditEntry) -> AuditedEvent {
    AuditedEvent {
        at: UnixTime::from_millis(entry.at_unix_ms),
        app: entry.app.to_string(),
        version: entry.version.map(|version| version.to_string()),
        event: entry.event,
        caller: entry.caller,
        agent: entry.agent,
        method: entry.method,
        params_sha256: entry.params_sha256.map(|hash| hash.to_string()),
        target: entry.target,
        outcome: entry.outcome,
        reason: entry.reason,
        duration_ms: entry.duration_ms,
    }
}
