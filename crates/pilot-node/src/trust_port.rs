//! What agents tell each other on port 444 (`docs/trust.md`).

use pilot_types::GroupId;
use pilot_wire::{GroupBundle, SignedBytes};
use serde::{Deserialize, Serialize};

/// Body of a stream to port 444.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum TrustMessage {
    /// A knock, from the holder of a ticket or to a public agent.
    Knock {
        /// A signed `pilot/knock/1`.
        knock: SignedBytes,
    },
    /// A grant or revocation by the sender.
    Grant {
        /// A signed `pilot/grant/1`.
        grant: SignedBytes,
        /// The sender's own record, so that its name is signed.
        record: Option<SignedBytes>,
    },
    /// What the sender knows of a group that both are in.
    Group {
        /// Which.
        group: GroupId,
        /// Statements, as far as they are new or concern both.
        bundle: GroupBundle,
    },
    /// The sender has other keys. Earlier versions cannot read it, and learn the keys from the registry or the next handshake.
    Identity {
        /// Its whole identity log, oldest first.
        log: Vec<Vec<u8>>,
        /// Its newest `pilot/grant/1` for the receiver, signed by the new key: a recovery voids those before.
        grant: Option<SignedBytes>,
        /// The sender's own record, so that its name is signed.
        record: Option<SignedBytes>,
    },
}

/// The answer: it was read, whatever is made of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum TrustAck {
    /// Read.
    Received,
    /// A later version's word.
    #[serde(other)]
    Unknown,
}
