//! What a daemon is told, and what `config.json` adds to it.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use pilot_api::ApiError;
use pilot_api::types::Capability;
use pilot_rendezvous::embedded::EmbeddedHome;
use pilot_store::{FileConfig, RelayFor};
use pilot_types::{Hostname, Tag};

use crate::capabilities;
use crate::files::FilePolicy;
use crate::log::LogFormat;
use crate::webhook::WebhookSettings;

/// Settings of a daemon. What is given here goes before `HOME/config.json`.
#[derive(Clone, Debug)]
pub struct Config {
    /// The agent's directory.
    pub home: PathBuf,
    /// Where the API listens.
    pub socket: PathBuf,
    /// The name to claim.
    pub hostname: Option<Hostname>,
    /// `pilot://KEY@host:port` or `host:port`; with none here or in the file, the embedded rendezvous.
    pub rendezvous: Vec<String>,
    /// Relays that are no registries, by URL.
    pub relays: Vec<String>,
    /// Where it listens for UDP; any address and port by default.
    pub listen: Option<SocketAddr>,
    /// Where it serves health and metrics over HTTP; nowhere by default.
    pub metrics: Option<SocketAddr>,
    /// Whether everybody is shown the agent's record.
    pub public: bool,
    /// Whether every knock is approved.
    pub auto_approve: bool,
    /// Whether a router in front is asked to hold the UDP port open; by default it is.
    pub port_mapping: Option<bool>,
    /// For whom the agent is a relay; by default for nobody.
    pub relay_for: Option<RelayFor>,
    /// Words to be found by.
    pub tags: Vec<Tag>,
    /// What it says that it can do.
    pub capabilities: Vec<pilot_wire::Capability>,
    /// What is taken of files that others send.
    pub files: FilePolicy,
    /// Days after which a message in the inbox is removed; by default none is.
    pub inbox_keep_days: Option<u32>,
    /// Where notices are posted.
    pub webhook: Option<WebhookSettings>,
    /// A group to join, unless the agent is in it.
    pub group: Option<Hostname>,
    /// The token to join it with.
    pub group_token: Option<String>,
    /// How a line of the log looks.
    pub log_format: LogFormat,
    /// Where it logs; standard error by default.
    pub log_file: Option<PathBuf>,
    /// Program and arguments that run the embedded rendezvous; without them one that runs already is used.
    pub rendezvous_command: Option<Vec<OsString>>,
    /// Program and arguments that become an app when [`pilot_appstore::WORD`] and a plan follow; without them no app runs.
    pub app_command: Option<Vec<OsString>>,
    /// Where the embedded rendezvous lives; by default as [`EmbeddedHome::from_environment`] says.
    pub embedded_home: Option<PathBuf>,
    /// Zero bits of work of keys, for networks of one's own; the default network's otherwise.
    pub work_bits: Option<u8>,
}

impl Config {
    /// Everything else by default: the socket is `pilot.sock` in the home.
    #[must_use]
    pub fn new(home: PathBuf) -> Self {
        Self {
            socket: home.join("pilot.sock"),
            home,
            hostname: None,
            rendezvous: vec![],
            relays: vec![],
            listen: None,
            metrics: None,
            public: false,
            auto_approve: false,
            port_mapping: None,
            relay_for: None,
            tags: vec![],
            capabilities: vec![],
            files: FilePolicy::default(),
            inbox_keep_days: None,
            webhook: None,
            group: None,
            group_token: None,
            log_format: LogFormat::Text,
            log_file: None,
            rendezvous_command: None,
            app_command: None,
            embedded_home: None,
            work_bits: None,
        }
    }

    /// This, with what the file says where this says nothing.
    ///
    /// # Errors
    /// `invalid_argument` with the field that is wrong.
    pub(crate) fn with_file(mut self, file: &FileConfig) -> Result<Self, ApiError> {
        self.hostname = self.hostname.or_else(|| file.hostname.clone());
        if let Some(name) = self.hostname.as_ref().filter(|name| name.is_reserved()) {
            return Err(ApiError::invalid(format!(
                "hostname {name} is reserved for a service"
            )));
        }
        if self.rendezvous.is_empty() {
            self.rendezvous.clone_from(&file.rendezvous);
        }
        if self.relays.is_empty() {
            self.relays.clone_from(&file.relays);
        }
        if self.tags.is_empty() {
            self.tags.clone_from(&file.tags);
        }
        let limit = pilot_wire::limits::MAX_TAGS;
        if self.tags.len() > limit {
            return Err(ApiError::invalid(format!(
                "{} tags, at most {limit} are allowed",
                self.tags.len()
            )));
        }
        if self.capabilities.is_empty() {
            let wrong = |words: String| {
                ApiError::invalid(format!("config.json: field capabilities: {words}"))
            };
            let read = file.capabilities.iter().cloned();
            let read = read
                .map(Capability::from_json)
                .collect::<Result<Vec<_>, _>>();
            self.capabilities = capabilities::checked(&read.map_err(wrong)?)?;
        }
        capabilities::check(&self.capabilities)?;
        self.public |= file.public;
        self.auto_approve |= file.auto_approve;
        self.port_mapping = self.port_mapping.or(file.port_mapping);
        self.relay_for = self.relay_for.or(file.relay_for);
        if self.files == FilePolicy::default() {
            self.files = FilePolicy::new(file);
        }
        self.inbox_keep_days = self.inbox_keep_days.or(file.inbox_keep_days);
        if self.inbox_keep_days == Some(0) {
            return Err(ApiError::invalid(
                "config.json: field inbox_keep_days: expected 1 or more days",
            ));
        }
        self.webhook = WebhookSettings::of_file(file)?;
        if let Some(text) = &file.listen {
            let addr = text.parse().map_err(|_| {
                let words =
                    format!("config.json: field listen: expected ADDRESS:PORT, found {text:?}");
                ApiError::invalid(words)
            })?;
            self.listen = self.listen.or(Some(addr));
        }
        if let Some(text) = &file.metrics {
            let addr = text.parse().map_err(|_| {
                let words =
                    format!("config.json: field metrics: expected ADDRESS:PORT, found {text:?}");
                ApiError::invalid(words)
            })?;
            self.metrics = self.metrics.or(Some(addr));
        }
        Ok(self)
    }

    /// The embedded rendezvous' home.
    ///
    /// # Errors
    /// `invalid_argument` if neither it nor `$HOME` is known.
    pub(crate) fn embedded_home(&self) -> Result<EmbeddedHome, ApiError> {
        let given = self.embedded_home.clone().map(EmbeddedHome::new);
        given.or_else(EmbeddedHome::from_environment).ok_or_else(|| {
            ApiError::invalid("no rendezvous is configured, and neither $PILOT_RENDEZVOUS_HOME nor $HOME says where the embedded one lives")
                .with_hint("give one with --rendezvous, or set PILOT_RENDEZVOUS_HOME")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config::new(PathBuf::from("/nonexistent"))
    }

    #[test]
    fn flags_go_before_the_file_and_the_file_before_defaults() {
        let file = FileConfig {
            rendezvous: vec!["file:9000".to_owned()],
            hostname: "from-file".parse().ok(),
            public: true,
            listen: Some("127.0.0.1:4000".to_owned()),
            port_mapping: Some(false),
            relay_for: Some(RelayFor::Trusted),
            metrics: Some("127.0.0.1:4001".to_owned()),
            ..FileConfig::default()
        };
        let by_file = config().with_file(&file).unwrap();
        assert_eq!(by_file.rendezvous, ["file:9000"]);
        assert_eq!(by_file.hostname, "from-file".parse().ok());
        assert_eq!(by_file.listen, "127.0.0.1:4000".parse().ok());
        assert_eq!(by_file.metrics, "127.0.0.1:4001".parse().ok());
        assert!(by_file.public && !by_file.auto_approve);
        assert_eq!(by_file.port_mapping, Some(false));
        assert_eq!(by_file.relay_for, Some(RelayFor::Trusted));
        let flags = Config {
            rendezvous: vec!["flag:9000".to_owned()],
            hostname: "from-flag".parse().ok(),
            listen: "127.0.0.1:5000".parse().ok(),
            port_mapping: Some(true),
            relay_for: Some(RelayFor::Nobody),
            ..config()
        };
        let by_flags = flags.with_file(&file).unwrap();
        assert_eq!(by_flags.rendezvous, ["flag:9000"]);
        assert_eq!(by_flags.hostname, "from-flag".parse().ok());
        assert_eq!(by_flags.listen, "127.0.0.1:5000".parse().ok());
        assert_eq!(by_flags.port_mapping, Some(true));
        assert_eq!(by_flags.relay_for, Some(RelayFor::Nobody));
    }

    #[test]
    fn capabilities_come_from_flags_or_from_the_file() {
        let file = FileConfig {
            capabilities: vec![
                serde_json::json!("plan@1.0.0"),
                serde_json::json!({"name": "route", "version": "0.1.0", "input": {"type": "object"}}),
            ],
            ..FileConfig::default()
        };
        let by_file = config().with_file(&file).unwrap().capabilities;
        assert_eq!(
            (by_file.len(), by_file[1].input.as_deref()),
            (2, Some("{\"type\":\"object\"}"))
        );
        let flags = Config {
            capabilities: vec!["say@1.0.0".parse().unwrap()],
            ..config()
        };
        assert_eq!(flags.with_file(&file).unwrap().capabilities.len(), 1);
        for wrong in [
            serde_json::json!("plan"),
            serde_json::json!({"name": "plan"}),
            serde_json::json!(7),
        ] {
            let file = FileConfig {
                capabilities: vec![wrong],
                ..FileConfig::default()
            };
            let error = config().with_file(&file).unwrap_err();
            assert!(error.message.contains("field capabilities: "), "{error}");
        }
    }

    #[test]
    fn a_wrong_field_is_named() {
        let file = FileConfig {
            listen: Some("here".to_owned()),
            ..FileConfig::default()
        };
        let error = config().with_file(&file).unwrap_err();
        assert!(error.message.contains("field listen"), "{error}");
        let file = FileConfig {
            metrics: Some("9100".to_owned()),
            ..FileConfig::default()
        };
        let error = config().with_file(&file).unwrap_err();
        assert!(error.message.contains("field metrics"), "{error}");
        let reserved = Config {
            hostname: "registry".parse().ok(),
            ..config()
        };
        let error = reserved.with_file(&FileConfig::default()).unwrap_err();
        assert_eq!(error.message, "hostname registry is reserved for a service");
    }
}
