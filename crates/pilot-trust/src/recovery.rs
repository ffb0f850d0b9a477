//! The recovery key: what brings an agent back whose keys were lost or stolen.

use std::fmt::Write as _;

use ed25519_dalek::SigningKey;
use pilot_types::{AgentId, Seed, decode_hex, encode_hex};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::log::{IdentityLog, VerifiedLog, recovery_commitment};

/// Begins the one line of a recovery file that holds the key.
const PREFIX: &str = "pilot-recovery-1";
/// Begins each line that holds an entry of the agent's log.
const LOG_PREFIX: &str = "pilot-recovery-log";
/// Longest file that is read: a whole log in hex is 256 KiB.
const MAX_TEXT: usize = 512 * 1024;

/// Why a text is no recovery file. Nothing that it says shows the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecoveryFileError {
    /// No line begins with the prefix, or there are several.
    #[error("not a recovery file: it has exactly one line that begins with {PREFIX}")]
    NoKey,
    /// The line has another form.
    #[error(
        "damaged recovery file: after {PREFIX} come the agent and the secret, 64 hex digits each"
    )]
    Damaged,
    /// The log in it is not the agent's.
    #[error(
        "damaged recovery file: the lines that begin with {LOG_PREFIX} are no log of its agent"
    )]
    Log,
}

/// The secret that may start the next generation of an agent's log, and whose it is. Never printed but by [`Self::to_text`], wiped when dropped.
///
/// ```
/// use pilot_trust::RecoveryKey;
/// use pilot_types::{AgentId, Seed};
///
/// let key = RecoveryKey::generate(Seed::new([3; 32]), AgentId::new([1; 32]));
/// let (again, log) = RecoveryKey::parse(&key.to_text(None))?;
/// assert_eq!(again.commitment(), key.commitment());
/// assert!(log.is_none());
/// # Ok::<(), pilot_trust::RecoveryFileError>(())
/// ```
pub struct RecoveryKey {
    agent: AgentId,
    secret: SigningKey,
}

impl RecoveryKey {
    /// A key from 32 random bytes, for an agent.
    #[must_use]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the seed is used up: its owner must not draw other keys from it"
    )]
    pub fn generate(seed: Seed, agent: AgentId) -> Self {
        let secret = SigningKey::from_bytes(seed.expose());
        Self { agent, secret }
    }

    /// Whose it is.
    #[must_use]
    pub const fn agent(&self) -> AgentId {
        self.agent
    }

    /// What the agent's log holds of it.
    #[must_use]
    pub fn commitment(&self) -> [u8; 32] {
        recovery_commitment(&self.public())
    }

    pub(crate) fn public(&self) -> [u8; 32] {
        self.secret.verifying_key().to_bytes()
    }

    pub(crate) const fn signing_key(&self) -> &SigningKey {
        &self.secret
    }

    /// The file: in words what it is, the key, and the agent's log up to where the key was set, with which it recovers the agent also where
    /// nothing else is left of it.
    #[must_use]
    pub fn to_text(&self, log: Option<&VerifiedLog>) -> Zeroizing<String> {
        let (agent, address) = (self.agent, self.agent.address());
        let secret = Zeroizing::new(encode_hex(self.secret.as_bytes()));
        let entries = log.map(VerifiedLog::up_to_anchor).unwrap_or_default();
        let len: usize = entries.iter().map(|entry| 2 * entry.len() + 64).sum();
        // Room at once: a text that grows leaves copies of the secret behind.
        let mut text = Zeroizing::new(String::with_capacity(2048 + len));
        let _ = write!(
            text,
            "# The recovery key of the agent {address}.\n\
             #\n\
             # Whoever has this file can take the agent over, for good, whatever key it has by then. It is the only way back if the agent's\n\
             # own key is stolen or lost. Keep it where the agent is not: on paper, in a safe, on a disk that is not connected.\n\
             # Never leave it on the agent's machine.\n\
             #\n\
             # If the key was stolen or lost:   pilotctl recovery use THIS_FILE\n\
             # To make another recovery key:    pilotctl recovery new NEW_FILE --with THIS_FILE\n\
             #\n\
             {PREFIX} {agent} {}\n",
            *secret
        );
        for entry in entries {
            let _ = writeln!(text, "{LOG_PREFIX} {}", encode_hex(entry));
        }
        text
    }

    /// Reads a file: the key, and the log if it has one; lines of other beginnings are for people.
    ///
    /// # Errors
    /// [`RecoveryFileError`] if it is none, or damaged.
    pub fn parse(text: &str) -> Result<(Self, Option<VerifiedLog>), RecoveryFileError> {
        if text.len() > MAX_TEXT {
            return Err(RecoveryFileError::NoKey);
        }
        let lines = || text.lines().map(str::trim);
        let mut keys = lines().filter_map(|line| line.strip_prefix(PREFIX));
        let (Some(line), None) = (keys.next(), keys.next()) else {
            return Err(RecoveryFileError::NoKey);
        };
        let mut words = line.split_ascii_whitespace();
        let (Some(agent), Some(secret), None) = (words.next(), words.next(), words.next()) else {
            return Err(RecoveryFileError::Damaged);
        };
        let bytes = |hex| decode_hex::<32>(hex).map_err(|_| RecoveryFileError::Damaged);
        let secret = Zeroizing::new(bytes(secret)?);
        let key = Self {
            agent: AgentId::new(bytes(agent)?),
            secret: SigningKey::from_bytes(&secret),
        };
        let entries = lines().filter_map(|line| line.strip_prefix(LOG_PREFIX));
        let log = key.log_of(entries)?;
        Ok((key, log))
    }

    fn log_of<'a>(
        &self,
        entries: impl Iterator<Item = &'a str>,
    ) -> Result<Option<VerifiedLog>, RecoveryFileError> {
        let bytes = entries.map(|hex| data_encoding::HEXLOWER.decode(hex.trim().as_bytes()));
        let entries: Result<Vec<_>, _> = bytes.collect();
        let entries = entries.map_err(|_| RecoveryFileError::Log)?;
        if entries.is_empty() {
            return Ok(None);
        }
        let log = IdentityLog::from_entries(entries).verify(0);
        let log = log.ok().filter(|log| log.agent() == self.agent);
        log.map(Some).ok_or(RecoveryFileError::Log)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;

    fn key() -> RecoveryKey {
        RecoveryKey::generate(Seed::new([3; 32]), AgentId::new([0xA9; 32]))
    }

    #[test]
    fn the_file_says_what_it_is_and_is_read_back() {
        let text = key().to_text(None);
        assert!(text.contains("Whoever has this file can take the agent over"));
        assert!(text.lines().all(|line| line.len() < 160));
        for edited in [
            text.to_string(),
            text.replace('\n', "\r\n"),
            format!("\n  {}", *text),
        ] {
            let (again, log) = RecoveryKey::parse(&edited).unwrap();
            assert_eq!(again.agent(), key().agent());
            assert_eq!(again.public(), key().public());
            assert_eq!(log, None);
        }
    }

    #[test]
    fn a_file_with_its_log_recovers_where_nothing_else_is_left() {
        let now = crate::testing::NOW;
        let first = Identity::generate(Seed::new([1; 32]), 0);
        let key = RecoveryKey::generate(Seed::new([3; 32]), first.agent());
        let set = first.with_recovery(Seed::new([4; 32]), now, key.commitment());
        let set = set.unwrap();
        let later = set.rotated(Seed::new([5; 32]), now).unwrap();
        let text = key.to_text(Some(later.verified()));
        let (read, log) = RecoveryKey::parse(&text).unwrap();
        let log = log.unwrap();
        assert_eq!(log, *set.verified(), "up to where the key was set");
        let back = Identity::recovered(&log, &read, Seed::new([6; 32]), now, None).unwrap();
        assert!(later.verified().is_followed_by(back.verified()));
        let other = text.replace(&first.agent().to_string(), &"ab".repeat(32));
        assert_eq!(
            RecoveryKey::parse(&other).err(),
            Some(RecoveryFileError::Log)
        );
        let cut = text.trim_end().strip_suffix(char::is_alphanumeric).unwrap();
        assert_eq!(RecoveryKey::parse(cut).err(), Some(RecoveryFileError::Log));
    }

    #[test]
    fn a_damaged_file_is_refused_without_its_secret() {
        let text = key().to_text(None);
        let refused = |text: &str| RecoveryKey::parse(text).map(|_| ()).unwrap_err();
        assert_eq!(refused(""), RecoveryFileError::NoKey);
        assert_eq!(refused(&"x".repeat(MAX_TEXT + 1)), RecoveryFileError::NoKey);
        assert_eq!(
            refused(&format!("{}{}", *text, *text)),
            RecoveryFileError::NoKey
        );
        let start = text.find(PREFIX).unwrap();
        for end in start + PREFIX.len()..text.len() - 1 {
            assert_eq!(refused(&text[..end]), RecoveryFileError::Damaged, "{end}");
        }
        assert_eq!(
            refused(&text.replace("03", "zz")),
            RecoveryFileError::Damaged
        );
    }
}
