//! Making, signing and publishing apps, and whose apps may run: on files alone, without the daemon.

use std::path::Path;

use pilot_api::{ApiError, ErrorCode};
use pilot_appstore::{
    Bundle, BundleError, CatalogueError, CatalogueUrl, Publishers, PublishersError, SignError,
};
use pilot_rendezvous::error::{describe, home_code, io_code};
use pilot_store::Home;
use pilot_trust::DocumentKey;
use serde_json::{Value, json};

use crate::args::{KeyCommand, PublishAppArgs, YankArgs};
use crate::context::Context;
use crate::output::{Failure, Reply};
use crate::style::clean;

pub(crate) fn key(context: &Context, command: KeyCommand) -> Result<Reply, Failure> {
    let publishers = publishers(context)?;
    let style = context.output.style;
    match command {
        KeyCommand::New => {
            let key = publishers.make_key().map_err(|error| key_error(&error))?;
            let words = style.done(&format!("{key}\n  {}", key.fingerprint()));
            Reply::new(&key_data(&key), words)
        }
        KeyCommand::Show => show(context, &publishers),
        KeyCommand::Trust { key, name } => {
            let trusted = publishers.trust(key.0, &name);
            trusted.map_err(|error| key_error(&error))?;
            let words = style.done(&format!("apps of {} may run here", key.0));
            Reply::new(&key_data(&key.0), words)
        }
        KeyCommand::Revoke { key } => {
            publishers
                .revoke(key.0)
                .map_err(|error| key_error(&error))?;
            let words = style.done(&format!("nothing of {} runs here any more", key.0));
            Reply::new(&key_data(&key.0), words)
        }
    }
}

fn show(context: &Context, publishers: &Publishers) -> Result<Reply, Failure> {
    let own = match publishers.secret() {
        Ok(secret) => Some(secret.public()),
        Err(PublishersError::NoKey) => None,
        Err(error) => return Err(key_error(&error).into()),
    };
    let known = publishers.list().map_err(|error| key_error(&error))?;
    let listed: Vec<Value> = known
        .iter()
        .map(|(key, publisher)| {
            json!({
                "key": key.to_string(),
                "fingerprint": key.fingerprint(),
                "name": publisher.name,
                "revoked": publisher.revoked,
            })
        })
        .collect();
    let data = json!({ "key": own.map(|key| key.to_string()), "publishers": listed });
    let rows: Vec<[String; 3]> = known
        .iter()
        .map(|(key, publisher)| {
            let state = if publisher.revoked {
                "revoked"
            } else {
                "trusted"
            };
            [key.to_string(), state.to_owned(), clean(&publisher.name)]
        })
        .collect();
    let style = context.output.style;
    let own = own.map_or_else(|| style.faint("no key of this home"), |key| key.to_string());
    let table = style.table(["PUBLISHER", "STATE", "NAME"], &rows);
    Reply::new(&data, format!("{own}\n\n{table}"))
}

fn key_data(key: &DocumentKey) -> Value {
    json!({ "key": key.to_string(), "fingerprint": key.fingerprint() })
}

pub(crate) fn new(context: &Context, dir: &Path, is_python: bool) -> Result<Reply, Failure> {
    let made = if is_python {
        pilot_appstore::new_python_app(dir)
    } else {
        pilot_appstore::new_app(dir)
    };
    let made = made.map_err(|error| {
        let code = match &error {
            pilot_appstore::NewAppError::Exists(_) => ErrorCode::AlreadyExists,
            pilot_appstore::NewAppError::Name(_) => ErrorCode::InvalidArgument,
            pilot_appstore::NewAppError::Io { source, .. } => io_code(source),
            _ => ErrorCode::Internal,
        };
        ApiError::new(code, describe(&error))
    })?;
    let shown = dir.display();
    let build = if is_python { "" } else { "sh build.sh && " };
    let words = format!(
        "{}\n  cd {shown} && {build}pilotctl appstore sign bundle",
        context
            .output
            .style
            .done(&format!("{} is in {shown}", made.id))
    );
    let data = json!({ "id": made.id.to_string(), "dir": dir, "files": made.files });
    Reply::new(&data, words)
}

pub(crate) fn sign(context: &Context, dir: &Path) -> Result<Reply, Failure> {
    let secret = publishers(context)?.secret();
    let secret = secret.map_err(|error| key_error(&error))?;
    let bundle = pilot_appstore::sign(dir, &secret).map_err(|error| {
        let code = match &error {
            SignError::Write { source, .. } => io_code(source),
            SignError::Bundle(error) => bundle_code(error),
            SignError::Form(_) | _ => ErrorCode::InvalidArgument,
        };
        ApiError::new(code, describe(&error))
    })?;
    told(context, &bundle, "signed")
}

pub(crate) fn verify(context: &Context, dir: &Path) -> Result<Reply, Failure> {
    let bundle =
        Bundle::open(dir).map_err(|error| ApiError::new(bundle_code(&error), describe(&error)))?;
    told(context, &bundle, "whole, and signed by its publisher")
}

fn told(context: &Context, bundle: &Bundle, what: &str) -> Result<Reply, Failure> {
    let manifest = bundle.manifest();
    let trusted = publishers(context)?.check(&manifest.publisher).is_ok();
    let data = json!({
        "id": manifest.id.to_string(),
        "version": manifest.version.to_string(),
        "publisher": manifest.publisher.to_string(),
        "trusted": trusted,
        "manifest_sha256": bundle.signed().hash().to_string(),
        "files": manifest.files.len(),
    });
    let words = format!(
        "{} {} is {what}\n  publisher {}{}",
        manifest.id,
        manifest.version,
        manifest.publisher,
        if trusted { "" } else { " (not trusted here)" }
    );
    Reply::new(&data, context.output.style.done(&words))
}

pub(crate) fn publish(context: &Context, args: &PublishAppArgs) -> Result<Reply, Failure> {
    let url = catalogue(context, args.catalogue.as_deref())?;
    let secret = publishers(context)?.secret();
    let secret = secret.map_err(|error| key_error(&error))?;
    let entry = pilot_appstore::publish(&args.dir, &url, &secret)
        .map_err(|error| catalogue_error(&error))?;
    let words = format!(
        "{} {} is in {}",
        entry.id,
        entry.version,
        url.dir().display()
    );
    Reply::new(&entry, context.output.style.done(&words))
}

pub(crate) fn yank(context: &Context, args: &YankArgs) -> Result<Reply, Failure> {
    let url = catalogue(context, args.catalogue.as_deref())?;
    let version = args.version.parse().map_err(|error| {
        ApiError::invalid(format!("invalid version {:?}: {error}", args.version))
    })?;
    let secret = publishers(context)?.secret();
    let secret = secret.map_err(|error| key_error(&error))?;
    let yanked = pilot_appstore::yank(&args.id, &version, &url, &secret);
    if !yanked.map_err(|error| catalogue_error(&error))? {
        let words = format!("the catalogue has no {} {version}", args.id);
        return Err(ApiError::new(ErrorCode::NotFound, words).into());
    }
    let words = format!("{} {version} is withdrawn", args.id);
    let data = json!({ "id": args.id.to_string(), "version": version.to_string(), "yanked": true });
    Reply::new(&data, context.output.style.done(&words))
}

pub(crate) fn home(context: &Context) -> Result<Home, ApiError> {
    Home::open(context.settings.home()?)
        .map_err(|error| ApiError::new(home_code(&error), describe(&error)))
}

fn publishers(context: &Context) -> Result<Publishers, ApiError> {
    Ok(Publishers::new(home(context)?.dir()))
}

/// The one that is asked for, or the first of the configuration.
fn catalogue(context: &Context, asked: Option<&str>) -> Result<CatalogueUrl, ApiError> {
    let parse = |text: &str| {
        let parsed = text.parse::<CatalogueUrl>();
        parsed.map_err(|error| catalogue_error(&error))
    };
    if let Some(text) = asked {
        return parse(text);
    }
    let config = home(context)?.load_config();
    let config = config.map_err(|error| ApiError::invalid(describe(&error)))?;
    match config.catalogues.first() {
        Some(text) => parse(text),
        None => {
            Err(ApiError::invalid("no catalogue is configured")
                .with_hint("--catalogue file:///DIR"))
        }
    }
}

fn key_error(error: &PublishersError) -> ApiError {
    let words = describe(error);
    match error {
        PublishersError::NoKey => {
            ApiError::new(ErrorCode::NotFound, words).with_hint("pilotctl appstore key new")
        }
        PublishersError::Exists(_) => ApiError::new(ErrorCode::AlreadyExists, words),
        PublishersError::Io { source, .. } => ApiError::new(io_code(source), words),
        PublishersError::TooOpen { .. } | PublishersError::Revoked(_) => {
            ApiError::new(ErrorCode::PermissionDenied, words)
        }
        PublishersError::Damaged { .. }
        | PublishersError::NotTrusted(_)
        | PublishersError::Invalid(_)
        | _ => ApiError::invalid(words),
    }
}

fn bundle_code(error: &BundleError) -> ErrorCode {
    match error {
        BundleError::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            ErrorCode::NotFound
        }
        BundleError::Read { source, .. } => io_code(source),
        BundleError::Manifest(_)
        | BundleError::Signature(_)
        | BundleError::Name(_)
        | BundleError::Kind(_)
        | BundleError::TooLarge(_)
        | BundleError::Missing(_)
        | BundleError::Unknown(_)
        | BundleError::Changed(_)
        | BundleError::Entry { .. }
        | _ => ErrorCode::InvalidArgument,
    }
}

fn catalogue_error(error: &CatalogueError) -> ApiError {
    let code = match error {
        CatalogueError::Missing(_) => ErrorCode::NotFound,
        CatalogueError::Io { source, .. } => io_code(source),
        CatalogueError::Foreign(_) | CatalogueError::Taken(..) => ErrorCode::PermissionDenied,
        CatalogueError::Published(..) => ErrorCode::AlreadyExists,
        CatalogueError::Bundle(error) => bundle_code(error),
        CatalogueError::Url(_)
        | CatalogueError::Format { .. }
        | CatalogueError::Signature { .. }
        | CatalogueError::Signer(_)
        | CatalogueError::Full
        | CatalogueError::Stage(_)
        | _ => ErrorCode::InvalidArgument,
    };
    ApiError::new(code, describe(error))
}
