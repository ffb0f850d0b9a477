//! Where things are and how to answer: flags before environment before defaults.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use pilot_api::ApiError;

use crate::args::Global;
use crate::duration::Deadline;

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// The environment, as a function so that tests have their own.
pub(crate) type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// What holds for every command.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    home: Option<PathBuf>,
    socket: Option<PathBuf>,
    /// The deadline that was asked for.
    pub(crate) timeout: Option<Deadline>,
    pub(crate) json: bool,
    pub(crate) quiet: bool,
    pub(crate) verbose: bool,
}

impl Settings {
    pub(crate) fn new(global: &Global, environment: Environment<'_>) -> Self {
        let path = |name: &str| {
            environment(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let default_home = || path("HOME").map(|home| home.join(".pilot"));
        Self {
            home: global
                .home
                .clone()
                .or_else(|| path("PILOT_HOME"))
                .or_else(default_home),
            socket: global.socket.clone().or_else(|| path("PILOT_SOCKET")),
            timeout: global.timeout,
            json: global.json,
            quiet: global.quiet,
            verbose: global.verbose,
        }
    }

    /// The agent's directory.
    pub(crate) fn home(&self) -> Result<PathBuf, ApiError> {
        self.home.clone().ok_or_else(|| {
            ApiError::invalid("there is no home: neither --home nor $PILOT_HOME nor $HOME is set")
                .with_hint("--home DIR")
        })
    }

    /// The daemon's socket.
    pub(crate) fn socket(&self) -> Result<PathBuf, ApiError> {
        match &self.socket {
            Some(socket) => Ok(socket.clone()),
            None => Ok(self.home()?.join("pilot.sock")),
        }
    }

    /// The deadline of a command.
    pub(crate) fn deadline(&self) -> Deadline {
        self.timeout.unwrap_or(Deadline(Some(DEFAULT_TIMEOUT)))
    }

    /// The deadline of a command that waits for an answer of people: the wait comes on top, unless a deadline was asked for.
    pub(crate) fn deadline_with(&self, wait: Option<Deadline>) -> Deadline {
        match (self.timeout, wait) {
            (Some(deadline), _) => deadline,
            (None, None) => self.deadline(),
            (None, Some(Deadline(wait))) => Deadline(wait.map(|wait| wait + DEFAULT_TIMEOUT)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn global() -> Global {
        Global::default()
    }

    #[test]
    fn flags_go_before_the_environment_and_that_before_the_default() {
        let full = |name: &str| Some(OsString::from(format!("/env/{name}")));
        let with_flags = Global {
            home: Some("/flag".into()),
            ..global()
        };
        let settings = Settings::new(&with_flags, &full);
        assert_eq!(settings.home().unwrap(), PathBuf::from("/flag"));
        assert_eq!(
            settings.socket().unwrap(),
            PathBuf::from("/env/PILOT_SOCKET")
        );
        let settings = Settings::new(&global(), &full);
        assert_eq!(settings.home().unwrap(), PathBuf::from("/env/PILOT_HOME"));
        let only_home = |name: &str| (name == "HOME").then(|| "/me".into());
        let settings = Settings::new(&global(), &only_home);
        assert_eq!(
            settings.socket().unwrap(),
            PathBuf::from("/me/.pilot/pilot.sock")
        );
        let empty = |name: &str| Some(OsString::from(if name == "HOME" { "/me" } else { "" }));
        assert_eq!(
            Settings::new(&global(), &empty).home().unwrap(),
            PathBuf::from("/me/.pilot")
        );
    }

    #[test]
    fn without_any_home_the_error_says_what_to_set() {
        let error = Settings::new(&global(), &|_| None).socket().unwrap_err();
        assert!(error.message.contains("$PILOT_HOME"));
    }

    #[test]
    fn a_wait_extends_the_default_deadline_but_not_one_that_was_asked_for() {
        let wait = Some(Deadline(Some(Duration::from_secs(60))));
        let settings = Settings::new(&global(), &|_| None);
        assert_eq!(settings.deadline_with(wait).as_millis(), 90_000);
        assert_eq!(settings.deadline_with(Some(Deadline(None))).as_millis(), 0);
        let short = Global {
            timeout: Some(Deadline(Some(Duration::from_secs(1)))),
            ..global()
        };
        let settings = Settings::new(&short, &|_| None);
        assert_eq!(settings.deadline_with(wait).as_millis(), 1000);
    }
}
