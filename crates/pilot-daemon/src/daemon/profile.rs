//! What the agent says of itself, here and in `config.json`.

use std::sync::{Arc, PoisonError};

use pilot::{ProfileChange, ProfileError};
use pilot_api::ApiError;
use pilot_api::types::{CapabilitiesSet, Capability};
use pilot_store::FileConfig;
use tokio::task::spawn_blocking;

use super::Daemon;
use crate::{capabilities, error};

impl Daemon {
    /// Changes the profile at the rendezvous, then in the file, so that it is the same after a restart.
    pub(super) async fn change_profile(
        &self,
        change: ProfileChange,
        write: impl FnOnce(&mut FileConfig) + Send + 'static,
    ) -> Result<(), ApiError> {
        match self.node.set_profile(change).await {
            Ok(()) => self.change_config(write).await,
            // The node keeps the change and sends it later: the file must not say otherwise.
            Err(error @ ProfileError::NoRendezvous) => {
                self.change_config(write).await?;
                Err(error::profile(&error))
            }
            Err(error) => Err(error::profile(&error)),
        }
    }

    /// Replaces what the agent says that it can do.
    pub(super) async fn say_capabilities(
        &self,
        said: Vec<Capability>,
    ) -> Result<CapabilitiesSet, ApiError> {
        let capabilities = capabilities::checked(&said)?;
        let named = capabilities.iter().map(ToString::to_string).collect();
        let change = ProfileChange {
            capabilities: Some(capabilities),
            ..ProfileChange::default()
        };
        let kept = said.iter().map(serde_json::to_value);
        let kept = kept.collect::<Result<_, _>>();
        let kept = kept.map_err(|error| ApiError::internal(error.to_string()))?;
        self.change_profile(change, move |file| file.capabilities = kept)
            .await?;
        Ok(CapabilitiesSet {
            node_id: self.node.agent().node(),
            capabilities: named,
        })
    }

    /// Changes `config.json`.
    pub(crate) async fn change_config(
        &self,
        write: impl FnOnce(&mut FileConfig) + Send + 'static,
    ) -> Result<(), ApiError> {
        let home = self.node.home().clone();
        let file = Arc::clone(&self.config_file);
        let changed = spawn_blocking(move || {
            let _alone = file.lock().unwrap_or_else(PoisonError::into_inner);
            let before = home.load_config()?;
            let mut config = before.clone();
            write(&mut config);
            if config == before {
                Ok(())
            } else {
                home.save_config(&config)
            }
        });
        changed
            .await
            .map_err(|error| ApiError::internal(error.to_string()))?
            .map_err(|error| error::file_config(&error))
    }
}
