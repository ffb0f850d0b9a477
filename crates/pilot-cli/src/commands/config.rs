//! `config.json`: what the daemon is started with when no flag says otherwise.

use std::path::Path;

use pilot_api::{ApiError, ErrorCode};
use pilot_rendezvous::error::{describe, home_code, io_code};
use pilot_store::{ConfigError, FileConfig, FilesFrom, Home, HomeError, RelayFor};
use serde_json::{Map, Value, json};

use crate::args::{ConfigArgs, InitArgs};
use crate::context::Context;
use crate::output::{Failure, Reply};
use crate::style::{self, Style};

const KEYS: [&str; 15] = [
    "rendezvous",
    "hostname",
    "tags",
    "public",
    "auto_approve",
    "listen",
    "port_mapping",
    "relays",
    "relay_for",
    "catalogues",
    "files_from",
    "files_max_size",
    "files_quota",
    "files_names",
    "inbox_keep_days",
];

pub(crate) fn init(context: &Context, args: InitArgs) -> Result<Reply, Failure> {
    let home = open(context)?;
    let mut config = home.load_config().map_err(|error| config_error(&error))?;
    if !args.rendezvous.is_empty() {
        config.rendezvous = args.rendezvous;
    }
    if args.hostname.is_some() {
        config.hostname = args.hostname;
    }
    home.save_config(&config)
        .map_err(|error| config_error(&error))?;
    shown(context, home.dir(), &config)
}

pub(crate) fn config(context: &Context, args: &ConfigArgs) -> Result<Reply, Failure> {
    if args.set.is_empty() && !context.settings.home()?.exists() {
        return shown(context, &context.settings.home()?, &FileConfig::default());
    }
    let home = open(context)?;
    let mut config = home.load_config().map_err(|error| config_error(&error))?;
    if !args.set.is_empty() {
        for assignment in &args.set {
            config = assigned(&config, assignment)?;
        }
        home.save_config(&config)
            .map_err(|error| config_error(&error))?;
        context.output.note("the daemon reads it at its next start");
    }
    shown(context, home.dir(), &config)
}

fn open(context: &Context) -> Result<Home, ApiError> {
    Home::open(context.settings.home()?).map_err(|error| home_error(&error))
}

fn home_error(error: &HomeError) -> ApiError {
    ApiError::new(home_code(error), describe(error))
}

fn config_error(error: &ConfigError) -> ApiError {
    let code = match error {
        ConfigError::Invalid { .. } => ErrorCode::InvalidArgument,
        ConfigError::Read { source, .. } | ConfigError::Write { source, .. } => io_code(source),
        _ => ErrorCode::Internal,
    };
    ApiError::new(code, describe(error))
}

/// The configuration with one `KEY=VALUE` more.
fn assigned(config: &FileConfig, assignment: &str) -> Result<FileConfig, ApiError> {
    let (key, text) = assignment.split_once('=').ok_or_else(|| {
        ApiError::invalid(format!(
            "invalid setting {assignment:?}: expected KEY=VALUE"
        ))
    })?;
    let mut fields = match config.to_value() {
        Value::Object(fields) => fields,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Map::new()
        }
    };
    let value = value(key, text)?;
    if value.is_null() {
        fields.remove(key);
    } else {
        fields.insert(key.to_owned(), value);
    }
    FileConfig::from_json(&Value::Object(fields).to_string())
        .map_err(|words| ApiError::invalid(format!("invalid setting {assignment:?}: {words}")))
}

/// The text as the JSON that the key has; null unsets.
fn value(key: &str, text: &str) -> Result<Value, ApiError> {
    if !KEYS.contains(&key) {
        return Err(ApiError::invalid(format!(
            "unknown setting {key:?}: expected one of {}",
            KEYS.join(", ")
        )));
    }
    if text.is_empty() {
        return Ok(Value::Null);
    }
    let expected =
        |what: &str| ApiError::invalid(format!("invalid {key} {text:?}: expected {what}"));
    match key {
        "rendezvous" | "relays" | "tags" | "catalogues" | "files_names" => {
            Ok(text.split(',').map(Value::from).collect())
        }
        "public" | "auto_approve" | "port_mapping" => text
            .parse::<bool>()
            .map(Value::from)
            .map_err(|_| expected("true or false")),
        "relay_for" => text
            .parse::<RelayFor>()
            .map(|it| Value::from(it.word()))
            .map_err(|_| expected("nobody or trusted")),
        "files_from" => text
            .parse::<FilesFrom>()
            .map(|it| it.to_value())
            .map_err(|_| expected("trusted, nobody or addresses of agents with commas")),
        "files_max_size" | "files_quota" => size(text)
            .map(Value::from)
            .ok_or_else(|| expected("a size, as 500MB or 2GiB")),
        "inbox_keep_days" => text
            .parse::<u32>()
            .ok()
            .filter(|days| *days > 0)
            .map(Value::from)
            .ok_or_else(|| expected("a number of days")),
        "listen" => text
            .parse::<std::net::SocketAddr>()
            .map(|address| Value::from(address.to_string()))
            .map_err(|_| expected("an address with a port, as 0.0.0.0:4000")),
        _ => Ok(text.into()),
    }
}

/// A number of bytes, or of one of their units: `kB` and the like count by 1000, `KiB` by 1024.
fn size(text: &str) -> Option<u64> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit {
        "" | "B" => 1,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

fn shown(context: &Context, home: &Path, config: &FileConfig) -> Result<Reply, Failure> {
    let mut data = json!({
        "home": home,
        "socket": context.settings.socket()?,
        "rendezvous": [],
        "hostname": null,
        "tags": [],
        "public": false,
        "auto_approve": false,
        "listen": null,
        "port_mapping": true,
        "relays": [],
        "relay_for": "nobody",
        "catalogues": [],
        "files_from": "trusted",
        "files_max_size": null,
        "files_quota": null,
        "files_names": [],
        "inbox_keep_days": null,
    });
    if let (Some(data), Value::Object(set)) = (data.as_object_mut(), config.to_value()) {
        data.extend(set);
        // It signs what is posted: nobody reads it here.
        data.remove("webhook_secret");
    }
    Reply::new(&data, words(&data, context.output.style))
}

fn words(data: &Value, style: Style) -> String {
    let facts: Vec<(&str, String)> = data
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.as_str(), value_words(value)))
        .collect();
    style.facts(&facts)
}

fn value_words(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::String(text) => style::clean(text),
        Value::Array(items) if items.is_empty() => "–".to_owned(),
        Value::Array(items) => {
            let texts: Vec<String> = items.iter().map(value_words).collect();
            texts.join(", ")
        }
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(assignments: &[&str]) -> Result<Value, ApiError> {
        let mut config = FileConfig::default();
        for assignment in assignments {
            config = assigned(&config, assignment)?;
        }
        Ok(config.to_value())
    }

    #[test]
    fn settings_are_set_and_unset() {
        let set = after(&[
            "hostname=worker",
            "tags=gpu,fast",
            "public=true",
            "rendezvous=pilot://ab@h:9000",
            "listen=0.0.0.0:4000",
            "port_mapping=false",
            "relay_for=trusted",
            "files_from=0:A91F.0000.7C2E",
            "files_max_size=500MB",
            "files_quota=2GiB",
            "files_names=*.pdf,*.csv",
        ])
        .unwrap();
        assert_eq!(
            set,
            json!({"hostname":"worker","tags":["gpu","fast"],"public":true,
                   "rendezvous":["pilot://ab@h:9000"],"listen":"0.0.0.0:4000","port_mapping":false,"relay_for":"trusted",
                   "files_from":["0:A91F.0000.7C2E"],"files_max_size":500_000_000,"files_quota":2_147_483_648_u64,
                   "files_names":["*.pdf","*.csv"]})
        );
        assert_eq!(after(&["tags=gpu", "tags="]).unwrap(), json!({}));
    }

    #[test]
    fn what_is_no_setting_is_named() {
        for (assignment, words) in [
            ("public", "expected KEY=VALUE"),
            ("colour=red", "unknown setting \"colour\""),
            ("public=yes", "expected true or false"),
            ("port_mapping=1", "expected true or false"),
            ("relay_for=all", "expected nobody or trusted"),
            ("hostname=A b", "invalid hostname"),
            ("tags=a,B", "invalid tag"),
            ("listen=here", "expected an address"),
            ("files_from=all", "expected trusted, nobody or addresses"),
            ("files_max_size=many", "expected a size"),
            ("files_max_size=-1", "expected a size"),
            ("files_quota=99999999999999999999", "expected a size"),
            ("files_quota=99999999TB", "expected a size"),
        ] {
            let error = after(&[assignment]).unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidArgument);
            assert!(error.message.contains(words), "{}", error.message);
        }
    }
}
