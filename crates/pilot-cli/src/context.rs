//! What every command gets.

use pilot_api::{ApiError, Client};
use pilot_types::UnixTime;

use crate::output::Output;
use crate::settings::Settings;

/// Settings, the way to answer, the way to the daemon.
pub(crate) struct Context {
    pub(crate) settings: Settings,
    pub(crate) output: Output,
}

impl Context {
    /// The daemon's API; nothing is connected yet.
    pub(crate) fn client(&self) -> Result<Client, ApiError> {
        let deadline = self.settings.deadline();
        Ok(Client::new(self.settings.socket()?).with_timeout(deadline.0))
    }

    /// The deadline as requests carry it.
    pub(crate) fn timeout_ms(&self) -> Option<u64> {
        Some(self.settings.deadline().as_millis())
    }
}

/// Wall time.
pub(crate) fn now() -> UnixTime {
    let since_epoch = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    UnixTime::from_millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}
