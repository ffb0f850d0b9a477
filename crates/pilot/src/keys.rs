//! Other keys for the same agent, while it runs.

use std::sync::Arc;

use pilot_node::KeysRefused;
use pilot_store::IdentityError;
use pilot_trust::{Anchor, Identity, KeyChangeError, RecoveryKey, VerifiedLog};
use pilot_types::{AgentId, Seed, UnixTime};
use pilot_wire::KeyStanding;
use thiserror::Error;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use crate::clock;
use crate::error::{TrustError, key_words};
use crate::node::Node;

/// Keys that could not be written with certainty: the file has these or the ones in use. No others may take their place, for two entries at
/// one place of the log would freeze the agent.
pub(crate) type Unwritten = Arc<Mutex<Option<Identity>>>;

/// The keys in use, and what others make of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyStatus {
    /// The signing key.
    pub public_key: [u8; 32],
    /// The identity log: how often the agent was recovered, how often it rotated since, and who may recover it.
    pub log: VerifiedLog,
    /// Who refused the key, and why; the worst that was said.
    pub refused: Option<(AgentId, KeyStanding)>,
}

impl KeyStatus {
    /// Who may recover the agent, and since when.
    #[must_use]
    pub fn anchor(&self) -> Option<Anchor> {
        self.log.anchor()
    }
}

/// Why the keys are as they were.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeysError {
    /// The key in use is not believed: what it signs would only contradict what others know.
    #[error("{}", key_words(*standing))]
    NotCurrent {
        /// Why.
        standing: KeyStanding,
    },
    /// The log does not allow it.
    #[error(transparent)]
    Change(#[from] KeyChangeError),
    /// They could not be written.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The node does not take them: a bug.
    #[error(transparent)]
    Refused(#[from] KeysRefused),
    /// What was signed anew could not be written; it is tried again.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The node was shut down.
    #[error("the node was shut down")]
    Shutdown,
}

impl Node {
    /// The keys in use.
    #[must_use]
    pub fn key_status(&self) -> KeyStatus {
        let state = self.shared.lock();
        let identity = state.node.identity();
        KeyStatus {
            public_key: identity.sign_public(),
            log: identity.verified().clone(),
            refused: state.node.key_standing(),
        }
    }

    /// New keys, signed for by those in use. They are on disk before anybody hears of them, and told to everybody when this returns; sessions
    /// go on.
    ///
    /// # Errors
    /// [`KeysError`].
    pub async fn rotate_keys(&self) -> Result<KeyStatus, KeysError> {
        self.change_by_current(Identity::rotated).await
    }

    /// As [`Self::rotate_keys`]; the key behind `commitment` may recover the agent from now on. It must be kept where this agent is not, and be
    /// there already.
    ///
    /// # Errors
    /// [`KeysError`], if there is such a key already among others.
    pub async fn set_recovery(&self, commitment: [u8; 32]) -> Result<KeyStatus, KeysError> {
        self.change_by_current(move |identity, seed, now| {
            identity.with_recovery(seed, now, commitment)
        })
        .await
    }

    /// New keys by right of the recovery key, which end all that were made since it was set. `next` is what another recovery key is hashed to;
    /// without it the same one stays.
    ///
    /// # Errors
    /// [`KeysError`].
    pub async fn recover(
        &self,
        key: RecoveryKey,
        next: Option<[u8; 32]>,
    ) -> Result<KeyStatus, KeysError> {
        self.change_keys(move |identity, seed, now| {
            Identity::recovered(identity.verified(), &key, seed, now, next)
        })
        .await
    }

    async fn change_by_current(
        &self,
        make: impl FnOnce(&Identity, Seed, UnixTime) -> Result<Identity, KeyChangeError>
        + Send
        + 'static,
    ) -> Result<KeyStatus, KeysError> {
        let refusal = self.shared.lock().node.refusing_rendezvous();
        match refusal {
            Some(standing) => Err(KeysError::NotCurrent { standing }),
            None => self.change_keys(make).await,
        }
    }

    /// One change at a time, to its end also if the caller does not wait: keys on disk are the ones in use.
    async fn change_keys(
        &self,
        make: impl FnOnce(&Identity, Seed, UnixTime) -> Result<Identity, KeyChangeError>
        + Send
        + 'static,
    ) -> Result<KeyStatus, KeysError> {
        let node = self.clone();
        let changed = tokio::spawn(async move {
            let mut unwritten = node.unwritten.lock().await;
            if let Some(identity) = unwritten.take() {
                node.write_and_use(identity, &mut unwritten).await?;
            }
            let next = {
                let state = node.shared.lock();
                if state.is_shutdown {
                    return Err(KeysError::Shutdown);
                }
                make(state.node.identity(), clock::seed(), clock::unix())?
            };
            node.write_and_use(next, &mut unwritten).await
        });
        changed.await.map_err(|_| KeysError::Shutdown)??;
        self.synced().await?;
        Ok(self.key_status())
    }

    async fn write_and_use(
        &self,
        identity: Identity,
        unwritten: &mut Option<Identity>,
    ) -> Result<(), KeysError> {
        let home = Arc::clone(&self.home);
        let writing = spawn_blocking(move || {
            let written = home.replace_identity(&identity);
            (identity, written)
        });
        let (identity, written) = writing.await.map_err(|_| KeysError::Shutdown)?;
        if let Err(error) = written {
            *unwritten = Some(identity);
            return Err(error.into());
        }
        self.shared
            .with(|state| state.node.change_keys(clock::now(), identity))?;
        let status = self.key_status();
        tracing::info!(
            generation = status.log.generation(),
            sequence = status.log.sequence(),
            "other keys from now on"
        );
        Ok(())
    }
}
