//! One app, `org.example.aegis`, with one method.

use pilot_api::types::*;
use pilot_api::{ApiError, ErrorCode};
use serde_json::json;

use super::THEN;

const ID: &str = "org.example.aegis";
const VERSION: &str = "1.0.0";

fn key() -> String {
    "ab".repeat(32)
}

/// `words` is what a request made from its schema asks for.
fn find(app: &str) -> Result<(), ApiError> {
    if ["aegis", ID, "words"].contains(&app) {
        return Ok(());
    }
    let words = format!("no app {app} is installed");
    Err(ApiError::new(ErrorCode::NotFound, words))
}

fn summary() -> AppSummary {
    AppSummary {
        id: ID.into(),
        version: VERSION.into(),
        state: "running".into(),
        methods: vec!["aegis.check".into(), "aegis.help".into()],
        reason: None,
    }
}

fn standing() -> AppStatus {
    AppStatus {
        app: summary(),
        previous: None,
        pid: Some(77),
        uptime_secs: Some(61),
        calls: 3,
        starts: 1,
        failures: 0,
        last_end: None,
    }
}

fn installed() -> AppInstalled {
    AppInstalled {
        id: ID.into(),
        version: VERSION.into(),
        previous: None,
        publisher: key(),
        grants: vec!["data".into()],
        problem: None,
        stale: vec![],
    }
}

pub(super) fn apps(_: &AppsRequest) -> Result<Apps, ApiError> {
    let apps = vec![summary()];
    Ok(Apps { apps })
}

pub(super) fn peer_apps(_: &PeerAppsRequest) -> Result<PeerApps, ApiError> {
    let app = PeerApp {
        id: ID.into(),
        version: VERSION.into(),
        methods: vec!["aegis.check".into(), "aegis.help".into()],
    };
    Ok(PeerApps { apps: vec![app] })
}

pub(super) fn catalogue(_: &CatalogueRequest) -> Result<CatalogueListed, ApiError> {
    let app = CatalogueApp {
        id: ID.into(),
        version: VERSION.into(),
        publisher: key(),
        description: "Checks texts".into(),
        installed: None,
        trusted: true,
    };
    Ok(CatalogueListed {
        apps: vec![app],
        unusable: vec![],
        stale: vec![],
    })
}

pub(super) fn view_app(request: &ViewAppRequest) -> Result<AppViewed, ApiError> {
    find(&request.app)?;
    Ok(AppViewed {
        id: ID.into(),
        version: VERSION.into(),
        publisher: key(),
        fingerprint: "abab abab".into(),
        trusted: true,
        description: "Checks texts".into(),
        licence: "MIT".into(),
        methods: vec![AppMethod {
            name: "aegis.check".into(),
            summary: "Checks a text".into(),
            latency: Some("fast".into()),
            params: json!({"type": "object"}),
            result: json!({"type": "object"}),
        }],
        grants: vec![AskedGrant {
            grant: "data".into(),
            words: "keep files of its own".into(),
            reason: "to remember".into(),
            unenforced: None,
        }],
        limits: json!({"memory_mb": 64}),
        installed: None,
        stale: vec![],
    })
}

pub(super) fn install_app(request: &InstallAppRequest) -> Result<AppInstalled, ApiError> {
    find(&request.app)?;
    Ok(installed())
}

pub(super) fn roll_back_app(request: &RollBackAppRequest) -> Result<AppInstalled, ApiError> {
    find(&request.app)?;
    Ok(installed())
}

pub(super) fn uninstall_app(request: &UninstallAppRequest) -> Result<AppUninstalled, ApiError> {
    find(&request.app)?;
    Ok(AppUninstalled {
        id: ID.into(),
        data_kept: request.keep_data,
    })
}

pub(super) fn app_status(request: &AppStatusRequest) -> Result<AppStatus, ApiError> {
    find(&request.app)?;
    Ok(standing())
}

pub(super) fn restart_app(request: &RestartAppRequest) -> Result<AppStatus, ApiError> {
    find(&request.app)?;
    Ok(standing())
}

pub(super) fn app_caps(request: &AppCapsRequest) -> Result<AppCaps, ApiError> {
    find(&request.app)?;
    Ok(AppCaps {
        id: ID.into(),
        grants: vec![GrantHeld {
            grant: "data".into(),
            words: "keep files of its own".into(),
            reason: "to remember".into(),
            granted: true,
            enforced_by: "landlock 6".into(),
        }],
        always: vec![RuleHeld {
            rule: "no other program".into(),
            enforced_by: "seccomp".into(),
        }],
    })
}

pub(super) fn call_app(request: &CallAppRequest) -> Result<AppCalled, ApiError> {
    find(&request.app)?;
    let result = json!({ "method": request.method, "params": request.params });
    Ok(AppCalled {
        result,
        filter: None,
    })
}

pub(super) fn filter() -> FilterState {
    FilterState {
        app: Some(ID.into()),
        stages: vec![FilterStage::Inbox],
        on_failure: FilterOnFailure::Block,
        counts: FilterCounts {
            passed: 3,
            flagged: 1,
            blocked: 1,
            failed: 1,
            last_failure: Some("it did not answer within 3 s".into()),
        },
    }
}

pub(super) fn app_audit(_: &AppAuditRequest) -> Result<AppAudit, ApiError> {
    let entry = AuditedEvent {
        at: THEN,
        app: ID.into(),
        version: Some(VERSION.into()),
        event: "call".into(),
        caller: "owner".into(),
        agent: None,
        method: Some("aegis.check".into()),
        params_sha256: Some(key()),
        target: None,
        outcome: "ok".into(),
        reason: None,
        duration_ms: Some(2),
    };
    Ok(AppAudit {
        entries: vec![entry],
    })
}
