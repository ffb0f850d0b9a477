//! Apps that are made of documents, and their credentials.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use pilot_adapter::{Adapted, Options, from_openapi};
use pilot_api::types::RestartAppRequest;
use pilot_api::{ApiError, ErrorCode};
use pilot_appstore::{AppId, Kernel, Secrets, SecretsError, Store, StoreError};
use pilot_rendezvous::error::{describe, io_code};
use serde_json::json;

use crate::args::{AdaptArgs, SecretCommand};
use crate::commands::publisher;
use crate::context::Context;
use crate::output::{Failure, Reply};
use crate::style::clean;

/// Longest document that is read: a longer one is refused by its length.
const MAX_SPEC: u64 = 16 * 1024 * 1024;
/// Longest credential that is read, and its line's end.
const MAX_SECRET: u64 = 16 * 1024;

pub(crate) fn adapt(context: &Context, args: &AdaptArgs) -> Result<Reply, Failure> {
    let options = Options {
        id: args.id.as_ref().map(ToString::to_string),
        server: args.server.clone(),
        only: args.only.clone(),
    };
    let text = spec(&args.spec)?;
    let adapted =
        from_openapi(&text, &options).map_err(|error| ApiError::invalid(describe(&error)))?;
    let id: AppId = adapted
        .id
        .parse()
        .map_err(|error| ApiError::invalid(describe(&error)))?;
    let dir = args
        .out
        .clone()
        .unwrap_or_else(|| PathBuf::from(id.short()));
    write(&dir, &adapted)?;
    for (name, why) in &adapted.left_out {
        let words = format!("warning: {} is left out: {}", clean(name), clean(why));
        context.output.warning(&words);
    }
    // A bundle that cannot be signed is none: it goes again.
    if let Err(failure) = publisher::sign(context, &dir) {
        drop(fs::remove_dir_all(&dir));
        return Err(failure);
    }
    told(context, &dir, &id, &adapted)
}

fn told(context: &Context, dir: &Path, id: &AppId, adapted: &Adapted) -> Result<Reply, Failure> {
    let shown = dir.display();
    let done = format!("{id} is in {shown}, signed: {}", adapted.methods.join(", "));
    let mut words = context.output.style.done(&done);
    words.push_str(&format!(
        "\n  pilotctl appstore publish {shown}\n  pilotctl appstore install {}",
        id.short()
    ));
    for name in &adapted.credentials {
        words.push_str(&format!(
            "\n  pilotctl appstore secret set {} {name}",
            id.short()
        ));
    }
    let left_out = adapted
        .left_out
        .iter()
        .map(|(name, why)| json!({ "method": name, "reason": why }));
    let data = json!({
        "id": id.to_string(),
        "dir": dir,
        "methods": adapted.methods,
        "credentials": adapted.credentials,
        "left_out": left_out.collect::<Vec<_>>(),
    });
    Reply::new(&data, words)
}

fn spec(path: &Path) -> Result<String, ApiError> {
    let failed = |error: io::Error| {
        ApiError::new(
            io_code(&error),
            format!("cannot read {}: {error}", path.display()),
        )
    };
    let mut text = String::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(MAX_SPEC)
        .read_to_string(&mut text)
        .map_err(failed)?;
    Ok(text)
}

fn write(dir: &Path, adapted: &Adapted) -> Result<(), ApiError> {
    let failed = |error: io::Error| {
        let code = if error.kind() == io::ErrorKind::AlreadyExists {
            ErrorCode::AlreadyExists
        } else {
            io_code(&error)
        };
        ApiError::new(code, format!("cannot make {}: {error}", dir.display()))
    };
    fs::create_dir(dir).map_err(failed)?;
    fs::write(dir.join("manifest.toml"), &adapted.manifest).map_err(failed)?;
    fs::write(dir.join("api.json"), &adapted.description).map_err(failed)
}

pub(crate) async fn secret(context: &Context, command: SecretCommand) -> Result<Reply, Failure> {
    let home = publisher::home(context)?;
    let secrets = Secrets::new(home.dir());
    let find = |app: &str| -> Result<AppId, ApiError> {
        let found = Store::new(home.dir(), Kernel::probe()).find(app);
        found.map_err(|error| {
            let is_missing = matches!(error, StoreError::NotInstalled(_));
            let code = if is_missing {
                ErrorCode::NotFound
            } else {
                ErrorCode::InvalidArgument
            };
            ApiError::new(code, describe(&error))
        })
    };
    let style = context.output.style;
    let (id, words) = match command {
        SecretCommand::List { app } => {
            let id = find(&app)?;
            let names = secrets.names(&id).map_err(|error| secret_error(&error))?;
            let data = json!({ "id": id.to_string(), "names": names });
            return Reply::new(&data, names.join("\n"));
        }
        SecretCommand::Set { app, name } => {
            let id = find(&app)?;
            let value = from_input()?;
            let set = secrets.set(&id, &name, value.trim_end_matches(['\r', '\n']));
            set.map_err(|error| secret_error(&error))?;
            (id, format!("{} is set", clean(&name)))
        }
        SecretCommand::Remove { app, name } => {
            let id = find(&app)?;
            secrets
                .remove(&id, &name)
                .map_err(|error| secret_error(&error))?;
            (id, format!("{} is forgotten", clean(&name)))
        }
    };
    // A running app has the values with which it began; without a daemon none runs.
    let request = RestartAppRequest {
        app: id.to_string(),
    };
    match context.client()?.call(&request).await {
        Err(error) if error.code != ErrorCode::NotRunning => return Err(error.into()),
        Ok(_) | Err(_) => {}
    }
    let names = secrets.names(&id).map_err(|error| secret_error(&error))?;
    let data = json!({ "id": id.to_string(), "names": names });
    Reply::new(&data, style.done(&words))
}

fn from_input() -> Result<String, ApiError> {
    let mut text = String::new();
    let read = io::stdin()
        .lock()
        .take(MAX_SECRET)
        .read_to_string(&mut text);
    read.map_err(|error| ApiError::invalid(format!("cannot read standard input: {error}")))?;
    Ok(text)
}

fn secret_error(error: &SecretsError) -> ApiError {
    let words = describe(error);
    match error {
        SecretsError::Io { source, .. } => ApiError::new(io_code(source), words),
        SecretsError::Unknown(_) => ApiError::new(ErrorCode::NotFound, words),
        SecretsError::Name(_)
        | SecretsError::Value
        | SecretsError::Full
        | SecretsError::Damaged(_)
        | _ => ApiError::invalid(words),
    }
}
