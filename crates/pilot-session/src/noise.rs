//! One handshake, `Noise_IKpsk2_25519_AESGCM_SHA256`, in typestates: what may come next is what the type offers.

use std::sync::Arc;

use pilot_types::AgentId;
use snow::params::NoiseParams;
use snow::{Builder, HandshakeState};
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

use crate::keys::{KeyPair, LocalKeys, PeerKeys};
use crate::resolver::Resolver;

/// Bytes that message 1 has beside its payload: ephemeral key, static key and its tag, tag.
pub(crate) const MESSAGE_1_OVERHEAD: usize = 32 + 48 + 16;
/// Bytes that message 2 has beside its payload: ephemeral key, tag.
pub(crate) const MESSAGE_2_OVERHEAD: usize = 32 + 16;

/// Binds the handshake to this protocol; the version is in the header beside it.
const PROLOGUE: &[u8] = b"pilot/1";
/// At first contact there is no shared secret: the slot is for a later exchange inside the session.
const NO_PSK: [u8; 32] = [0; 32];

/// The message or a key in it is not acceptable; nothing more is told.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("handshake message refused")]
pub(crate) struct Refused;

/// What a completed handshake leaves behind.
pub(crate) struct SplitKeys {
    /// For packets of the initiator.
    pub(crate) initiator: Zeroizing<[u8; 32]>,
    /// For packets of the responder.
    pub(crate) responder: Zeroizing<[u8; 32]>,
    /// Hash of everything that both ends saw.
    pub(crate) transcript: [u8; 32],
}

/// Makes handshakes of this node.
pub(crate) struct Noise {
    agent: AgentId,
    keys: Arc<KeyPair>,
    params: NoiseParams,
}

impl Noise {
    pub(crate) fn new(local: &LocalKeys) -> Self {
        Self {
            agent: local.agent,
            keys: Arc::new(KeyPair::new(&local.dh_secret)),
            params: "Noise_IKpsk2_25519_AESGCM_SHA256"
                .parse()
                .expect("the name is one that snow knows"),
        }
    }

    pub(crate) const fn agent(&self) -> AgentId {
        self.agent
    }

    pub(crate) fn public(&self) -> [u8; 32] {
        self.keys.public()
    }

    /// Appends message 1 to `packet`, which holds its clear header.
    pub(crate) fn initiate(
        &self,
        ephemeral: Zeroizing<[u8; 32]>,
        to: &PeerKeys,
        payload: &[u8],
        packet: &mut Vec<u8>,
    ) -> Result<AwaitingMessage2, Refused> {
        let prologue = prologue(packet, &to.agent);
        let mut state = self
            .builder(ephemeral, &prologue)
            .and_then(|builder| builder.remote_public_key(&to.dh_public))
            .and_then(Builder::build_initiator)
            .map_err(|_| Refused)?;
        write(&mut state, payload, MESSAGE_1_OVERHEAD, packet)?;
        Ok(AwaitingMessage2(state))
    }

    /// Opens message 1, `header` and `body` of one packet.
    pub(crate) fn respond(
        &self,
        ephemeral: Zeroizing<[u8; 32]>,
        header: &[u8],
        body: &[u8],
    ) -> Result<Message1, Refused> {
        let prologue = prologue(header, &self.agent);
        let mut state = self
            .builder(ephemeral, &prologue)
            .and_then(Builder::build_responder)
            .map_err(|_| Refused)?;
        let payload = read(&mut state, body)?;
        let peer_static = state
            .get_remote_static()
            .and_then(|key| key.try_into().ok())
            .ok_or(Refused)?;
        Ok(Message1 {
            peer_static,
            payload,
            responder: OweMessage2(state),
        })
    }

    fn builder<'a>(
        &'a self,
        ephemeral: Zeroizing<[u8; 32]>,
        prologue: &'a [u8],
    ) -> Result<Builder<'a>, snow::Error> {
        let resolver = Resolver {
            local: Arc::clone(&self.keys),
            ephemeral,
        };
        Builder::with_resolver(self.params.clone(), Box::new(resolver))
            .local_private_key(self.keys.secret_bytes())?
            .psk(2, &NO_PSK)?
            .prologue(prologue)
    }
}

/// Message 1, opened.
pub(crate) struct Message1 {
    /// Who sent it holds this key's secret half.
    pub(crate) peer_static: [u8; 32],
    pub(crate) payload: Vec<u8>,
    pub(crate) responder: OweMessage2,
}

/// The initiator's state after message 1.
pub(crate) struct AwaitingMessage2(HandshakeState);

impl AwaitingMessage2 {
    /// Opens message 2. One that is refused leaves the state as it was, so that a forgery does not end the handshake.
    pub(crate) fn finish(&mut self, body: &[u8]) -> Result<(Vec<u8>, SplitKeys), Refused> {
        let payload = read(&mut self.0, body)?;
        Ok((payload, split(&mut self.0)))
    }
}

/// The responder's state after message 1.
pub(crate) struct OweMessage2(HandshakeState);

impl OweMessage2 {
    /// Appends message 2 to `packet`.
    pub(crate) fn finish(
        mut self,
        payload: &[u8],
        packet: &mut Vec<u8>,
    ) -> Result<SplitKeys, Refused> {
        write(&mut self.0, payload, MESSAGE_2_OVERHEAD, packet)?;
        Ok(split(&mut self.0))
    }
}

/// A node answers only for its own: the target is part of what both ends must agree on.
fn prologue(header: &[u8], target: &AgentId) -> Vec<u8> {
    [PROLOGUE, header, target.as_bytes()].concat()
}

fn write(
    state: &mut HandshakeState,
    payload: &[u8],
    overhead: usize,
    packet: &mut Vec<u8>,
) -> Result<(), Refused> {
    let start = packet.len();
    packet.resize(start + overhead + payload.len(), 0);
    let written = state
        .write_message(payload, &mut packet[start..])
        .map_err(|_| Refused)?;
    packet.truncate(start + written);
    Ok(())
}

fn read(state: &mut HandshakeState, body: &[u8]) -> Result<Vec<u8>, Refused> {
    let mut payload = vec![0; body.len()];
    let len = state
        .read_message(body, &mut payload)
        .map_err(|_| Refused)?;
    payload.truncate(len);
    Ok(payload)
}

fn split(state: &mut HandshakeState) -> SplitKeys {
    let (mut initiator, mut responder) = state.dangerously_get_raw_split();
    let keys = SplitKeys {
        initiator: Zeroizing::new(initiator),
        responder: Zeroizing::new(responder),
        transcript: state
            .get_handshake_hash()
            .try_into()
            .expect("SHA-256 has 32 bytes"),
    };
    initiator.zeroize();
    responder.zeroize();
    keys
}
