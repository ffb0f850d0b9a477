//! The identity file: JSON that holds an agent's log and secrets.

use ed25519_dalek::SigningKey;
use pilot_types::{AgentId, decode_hex, encode_hex};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::identity::{Identity, Secrets};
use crate::log::{IdentityLog, LogError};

/// The one version of the file.
const VERSION: u32 = 1;

/// Why a text is no identity file. Nothing that it says shows a secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IdentityFileError {
    /// It is not JSON of this shape.
    #[error("not an identity file: line {line}, column {column}")]
    Json {
        /// Where reading stopped, from 1.
        line: usize,
        /// Where reading stopped, from 1.
        column: usize,
    },
    /// A later version of the program wrote it.
    #[error("identity file of version {0}, this program reads version 1")]
    Version(u32),
    /// A field is not in hex.
    #[error("field {0} of the identity file is not in hex of its length")]
    Hex(&'static str),
    /// The log breaks a rule.
    #[error("identity log in the identity file")]
    Log(#[source] LogError),
    /// The secrets are not those of the log's current keys.
    #[error("the secrets in the identity file do not match its log")]
    Keys,
    /// The id or address for people is not the log's.
    #[error("field {0} of the identity file does not match its log")]
    Mismatch(&'static str),
}

/// What is read first, whatever else a later version has.
#[derive(Deserialize)]
struct Head {
    version: u32,
}

/// Hex of a secret, wiped when dropped.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
struct SecretText(String);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    agent_id: String,
    address: String,
    log: Vec<String>,
    sign_secret: SecretText,
    dh_secret: SecretText,
}

impl Identity {
    /// The identity file, secrets included: to be written with mode 0600 and wiped from memory.
    ///
    /// # Panics
    /// Never: strings and a number are JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        let file = File {
            version: VERSION,
            agent_id: self.agent().to_string(),
            address: self.agent().address().to_string(),
            log: self.log().entries().iter().map(|e| encode_hex(e)).collect(),
            sign_secret: SecretText(encode_hex(self.secrets().sign.as_bytes())),
            dh_secret: SecretText(encode_hex(&*self.secrets().dh)),
        };
        let mut text = serde_json::to_string_pretty(&file).expect("strings and a number");
        text.push('\n');
        text
    }

    /// Reads an identity file and verifies all of it again: the log, that the secrets are its current keys', the id.
    ///
    /// # Errors
    /// [`IdentityFileError`] for the first thing that is wrong.
    pub fn from_json(text: &str) -> Result<Self, IdentityFileError> {
        let head: Head = parse(text)?;
        if head.version != VERSION {
            return Err(IdentityFileError::Version(head.version));
        }
        let file: File = parse(text)?;
        let entries: Option<Vec<Vec<u8>>> = file.log.iter().map(|e| decode_entry(e)).collect();
        let entries = entries.ok_or(IdentityFileError::Hex("log"))?;
        let log = IdentityLog::from_entries(entries)
            .verify(0)
            .map_err(IdentityFileError::Log)?;
        check_names(&file, log.agent())?;
        let secrets = Secrets {
            sign: SigningKey::from_bytes(&*secret(&file.sign_secret.0, "sign_secret")?),
            dh: secret(&file.dh_secret.0, "dh_secret")?,
        };
        Self::from_parts(secrets, log).ok_or(IdentityFileError::Keys)
    }
}

/// The error keeps the place only: serde's own words may quote a secret.
fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, IdentityFileError> {
    serde_json::from_str(text).map_err(|error| IdentityFileError::Json {
        line: error.line(),
        column: error.column(),
    })
}

fn check_names(file: &File, agent: AgentId) -> Result<(), IdentityFileError> {
    if file.agent_id != agent.to_string() {
        return Err(IdentityFileError::Mismatch("agent_id"));
    }
    if file.address != agent.address().to_string() {
        return Err(IdentityFileError::Mismatch("address"));
    }
    Ok(())
}

fn secret(text: &str, field: &'static str) -> Result<Zeroizing<[u8; 32]>, IdentityFileError> {
    decode_hex(text)
        .map(Zeroizing::new)
        .map_err(|_| IdentityFileError::Hex(field))
}

fn decode_entry(text: &str) -> Option<Vec<u8>> {
    data_encoding::HEXLOWER.decode(text.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{agent, recovered, rotated};

    fn with(text: &str, field: &str, value: &str) -> String {
        let mut file: serde_json::Value = serde_json::from_str(text).unwrap();
        file[field] = serde_json::from_str(value).unwrap();
        file.to_string()
    }

    fn read(text: &str) -> Result<AgentId, IdentityFileError> {
        Identity::from_json(text).map(|identity| identity.agent())
    }

    #[test]
    fn a_file_is_read_back_with_its_whole_log() {
        for identity in [agent(1), rotated(&recovered(&agent(1), 1, 50), 51)] {
            let again = Identity::from_json(&identity.to_json()).unwrap();
            assert_eq!(again.verified(), identity.verified());
            assert_eq!(again.dh_secret(), identity.dh_secret());
            assert_eq!(again.to_json(), identity.to_json());
        }
    }

    #[test]
    fn people_find_their_address_in_it() {
        let identity = agent(1);
        let address = format!("\"address\": \"{}\"", identity.agent().address());
        assert!(identity.to_json().contains(&address));
    }

    #[test]
    fn a_damaged_file_is_refused_with_its_place_and_no_secret() {
        let text = agent(1).to_json();
        for len in 0..text.len() - 2 {
            let refused = read(&text[..len]).unwrap_err();
            assert!(
                matches!(refused, IdentityFileError::Json { .. }),
                "{len}: {refused}"
            );
        }
        let unknown = with(&text, "sign_secrets", "\"00\"");
        assert!(matches!(
            read(&unknown),
            Err(IdentityFileError::Json { .. })
        ));
        let number = with(&text, "sign_secret", "17");
        let Err(error) = read(&number) else {
            panic!("a number is no secret")
        };
        assert!(!error.to_string().contains("17"), "{error}");
    }

    #[test]
    fn what_does_not_belong_together_is_refused() {
        let (text, other) = (agent(1).to_json(), agent(2));
        let later = read(&with(&text, "version", "2"));
        assert_eq!(later, Err(IdentityFileError::Version(2)));
        let id = read(&with(&text, "agent_id", &format!("\"{}\"", other.agent())));
        assert_eq!(id, Err(IdentityFileError::Mismatch("agent_id")));
        let address = read(&with(&text, "address", "\"0:0000.0000.0001\""));
        assert_eq!(address, Err(IdentityFileError::Mismatch("address")));
        let secret = encode_hex(other.secrets().sign.as_bytes());
        for field in ["sign_secret", "dh_secret"] {
            let foreign = read(&with(&text, field, &format!("\"{secret}\"")));
            assert_eq!(foreign, Err(IdentityFileError::Keys));
            let short = read(&with(&text, field, "\"00\""));
            assert_eq!(short, Err(IdentityFileError::Hex(field)));
        }
        let log = read(&with(&text, "log", "[\"zz\"]"));
        assert_eq!(log, Err(IdentityFileError::Hex("log")));
        let empty = read(&with(&text, "log", "[]"));
        assert_eq!(empty, Err(IdentityFileError::Log(LogError::Empty)));
    }

    #[test]
    fn the_keys_before_a_rotation_are_not_the_current_ones() {
        let old = agent(1);
        let new = rotated(&old, 50);
        let secret = format!("\"{}\"", encode_hex(old.secrets().sign.as_bytes()));
        let mixed = with(&new.to_json(), "sign_secret", &secret);
        assert_eq!(read(&mixed), Err(IdentityFileError::Keys));
    }
}
