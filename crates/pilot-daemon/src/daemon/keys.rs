//! This agent's keys: other ones, and who may recover it.

use pilot::{KeyStanding, KeyStatus, KeysError, RecoveryKey};
use pilot_api::types::{
    KeyState, KeysChanged, NewRecoveryRequest, PublicKey, RecoveryShown, UseRecoveryRequest,
};
use pilot_api::{ApiError, ErrorCode};
use pilot_types::{decode_hex, encode_hex};

use super::Daemon;
use crate::error;

impl Daemon {
    /// New keys, signed for by those in use.
    pub(super) async fn rotate_keys(&self) -> Result<KeysChanged, ApiError> {
        let changed = self.node.rotate_keys().await;
        changed
            .map(|status| self.keys_changed(&status))
            .map_err(|error| refused(&error))
    }

    /// Lets a key recover this agent.
    pub(super) async fn set_recovery(
        &self,
        request: NewRecoveryRequest,
    ) -> Result<KeysChanged, ApiError> {
        let commitment = commitment(&request.commitment)?;
        let changed = self.node.set_recovery(commitment).await;
        changed
            .map(|status| self.keys_changed(&status))
            .map_err(|error| refused(&error))
    }

    /// New keys by right of the recovery key.
    pub(super) async fn recover(
        &self,
        request: UseRecoveryRequest,
    ) -> Result<KeysChanged, ApiError> {
        let key = RecoveryKey::parse(&request.key);
        let (key, _) = key.map_err(|error| ApiError::invalid(format!("key: {error}")))?;
        let next = request.commitment.as_deref().map(commitment).transpose()?;
        let changed = self.node.recover(key, next).await;
        changed
            .map(|status| self.keys_changed(&status))
            .map_err(|error| refused(&error))
    }

    /// Whether there is a recovery key, and what others make of ours.
    pub(super) fn recovery_shown(&self) -> RecoveryShown {
        let status = self.node.key_status();
        let anchor = status.anchor();
        RecoveryShown {
            agent: self.own_summary(),
            agent_id: self.node.agent().to_string(),
            public_key: PublicKey(status.public_key),
            generation: status.log.generation(),
            seq: status.log.sequence(),
            state: state(&status),
            refused_by: status.refused.map(|(agent, _)| self.summary(agent)),
            recoverable: anchor.is_some(),
            commitment: anchor.map(|anchor| encode_hex(&anchor.commitment)),
            set_in_generation: anchor.map(|anchor| anchor.generation),
            set_in_seq: anchor.map(|anchor| anchor.sequence),
            set_at: anchor.and_then(|anchor| anchor.issued),
        }
    }

    /// What others make of our key.
    pub(super) fn key_state(&self) -> KeyState {
        state(&self.node.key_status())
    }

    fn keys_changed(&self, status: &KeyStatus) -> KeysChanged {
        KeysChanged {
            agent: self.own_summary(),
            public_key: PublicKey(status.public_key),
            fingerprint: pilot_trust::fingerprint(&status.public_key),
            generation: status.log.generation(),
            seq: status.log.sequence(),
            log: status
                .log
                .log()
                .entries()
                .iter()
                .map(|entry| encode_hex(entry))
                .collect(),
        }
    }
}

fn state(status: &KeyStatus) -> KeyState {
    match status.refused {
        None => KeyState::Current,
        Some((_, KeyStanding::SUPERSEDED)) => KeyState::Superseded,
        Some(_) => KeyState::Frozen,
    }
}

fn commitment(hex: &str) -> Result<[u8; 32], ApiError> {
    decode_hex(hex).map_err(|_| ApiError::invalid("commitment: expected 64 hex digits"))
}

fn refused(failure: &KeysError) -> ApiError {
    match failure {
        KeysError::Change(change) => {
            let code = match change {
                pilot::KeyChangeError::HasRecovery => ErrorCode::AlreadyExists,
                pilot::KeyChangeError::NoRecovery => ErrorCode::NotFound,
                pilot::KeyChangeError::OtherAgent(_) => ErrorCode::InvalidArgument,
                pilot::KeyChangeError::OtherKey => ErrorCode::PermissionDenied,
                pilot::KeyChangeError::Full | pilot::KeyChangeError::Log(_) | _ => {
                    ErrorCode::Internal
                }
            };
            let refusal = ApiError::new(code, change.to_string());
            match change.hint() {
                Some(hint) => refusal.with_hint(hint),
                None => refusal,
            }
        }
        KeysError::NotCurrent { .. } => error::key_refused(&failure.to_string()),
        KeysError::Identity(_) => ApiError::internal(format!(
            "{failure}: the keys are as they were, and are changed as soon as the file can be written"
        )),
        KeysError::Refused(_) | KeysError::Trust(_) | KeysError::Shutdown | _ => {
            ApiError::internal(failure.to_string())
        }
    }
}
