//! The one place where data packets are sealed and opened: AES-256-GCM in place, under keys that exist for one direction of
//! one epoch.
//!
//! A nonce is never reused under a key, by construction: [`Sealer`] owns its key, takes numbers in ascending order only, and
//! the nonce is the number.

use pilot_types::{PacketNumber, TransmitBuf};
use pilot_wire::DataHeader;
use pilot_wire::limits::{DATA_HEAD, TAG};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::mask::HeaderMask;
use crate::noise::SplitKeys;

const AEAD_LABEL: &[u8] = b"pilot/1 aead";
const MASK_LABEL: &[u8] = b"pilot/1 mask";
const EXPORTER_LABEL: &[u8] = b"pilot/1 exporter";

/// The number is not above all that were sealed before, or beyond the largest.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("packet number out of order")]
pub(crate) struct NumberRefused;

/// The packet was not sealed under this key with this number.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("packet does not authenticate")]
pub(crate) struct BadTag;

/// Keys of an epoch.
pub(crate) struct EpochKeys {
    pub(crate) sealer: Sealer,
    pub(crate) opener: Opener,
    pub(crate) exporter: Exporter,
}

impl EpochKeys {
    /// For the end that `is_initiator`.
    pub(crate) fn derive(split: &SplitKeys, is_initiator: bool) -> Self {
        let (ours, theirs) = if is_initiator {
            (&split.initiator, &split.responder)
        } else {
            (&split.responder, &split.initiator)
        };
        Self {
            sealer: Sealer::new(ours),
            opener: Opener::new(theirs),
            exporter: Exporter::new(split),
        }
    }
}

/// Seals what this end sends in one epoch.
pub(crate) struct Sealer {
    key: LessSafeKey,
    mask: HeaderMask,
    /// No number below was or will be sealed again.
    next: u64,
    /// Packets sealed.
    count: u64,
}

impl Sealer {
    pub(crate) fn new(direction: &[u8; 32]) -> Self {
        let (key, mask) = direction_keys(direction);
        Self {
            key,
            mask,
            next: 0,
            count: 0,
        }
    }

    /// Packets sealed under this key.
    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    /// Completes the datagram under construction: header, ciphertext in place of the payload, tag, masks.
    pub(crate) fn seal(
        &mut self,
        receiver: u32,
        number: PacketNumber,
        buf: &mut TransmitBuf,
    ) -> Result<(), NumberRefused> {
        if number.to_u64() < self.next || number > PacketNumber::MAX {
            return Err(NumberRefused);
        }
        self.next = number.to_u64() + 1;
        self.count += 1;
        let header = DataHeader {
            flags: 0,
            receiver,
            low_number: number.truncated(),
        };
        let header = header.encode();
        let (head, payload) = buf.datagram_mut().split_at_mut(DATA_HEAD);
        head.copy_from_slice(&header);
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce(number), Aad::from(header), payload)
            .expect("a datagram is far below AES-GCM's limit of 2^36 bytes");
        buf.put_tail(tag.as_ref());
        self.mask.apply(buf.datagram_mut());
        Ok(())
    }
}

/// Opens what the other end sends in one epoch.
pub(crate) struct Opener {
    key: LessSafeKey,
    mask: HeaderMask,
}

impl Opener {
    pub(crate) fn new(direction: &[u8; 32]) -> Self {
        let (key, mask) = direction_keys(direction);
        Self { key, mask }
    }

    /// Takes the mask off the header of `packet`, which holds at least a header and a tag.
    pub(crate) fn unmask(&self, packet: &mut [u8]) {
        self.mask.apply(packet);
    }

    /// Gives the payload of an unmasked packet.
    pub(crate) fn open<'a>(
        &self,
        number: PacketNumber,
        packet: &'a mut [u8],
    ) -> Result<&'a mut [u8], BadTag> {
        let (header, sealed) = packet.split_first_chunk_mut::<DATA_HEAD>().ok_or(BadTag)?;
        let (body, tag) = sealed.split_last_chunk_mut::<TAG>().ok_or(BadTag)?;
        self.key
            .open_in_place_separate_tag(nonce(number), Aad::from(*header), (*tag).into(), body, 0..)
            .map_err(|_| BadTag)
    }
}

/// Gives keys to protocols above that are bound to one epoch.
pub(crate) struct Exporter(Zeroizing<[u8; 32]>);

impl Exporter {
    fn new(split: &SplitKeys) -> Self {
        let mut both = Zeroizing::new([0; 64]);
        both[..32].copy_from_slice(&split.initiator[..]);
        both[32..].copy_from_slice(&split.responder[..]);
        let secret = Salt::new(HKDF_SHA256, &split.transcript).extract(&both[..]);
        Self(expand(&secret, &[EXPORTER_LABEL]))
    }

    /// Fills `out`; `None` if the label is longer than 255 bytes or `out` than HKDF can give (255 blocks of 32 bytes).
    pub(crate) fn export(&self, label: &str, context: &[u8], out: &mut [u8]) -> Option<()> {
        let label_len = [u8::try_from(label.len()).ok()?];
        let secret = Prk::new_less_safe(HKDF_SHA256, &self.0[..]);
        // The label's length goes before it, so that no two pairs of label and context read the same.
        let info = [&label_len, label.as_bytes(), context];
        let okm = secret.expand(&info, Len(out.len())).ok()?;
        okm.fill(out).ok()
    }
}

fn direction_keys(direction: &[u8; 32]) -> (LessSafeKey, HeaderMask) {
    let secret = Prk::new_less_safe(HKDF_SHA256, direction);
    let (aead, mask) = (
        expand(&secret, &[AEAD_LABEL]),
        expand(&secret, &[MASK_LABEL]),
    );
    let aead = UnboundKey::new(&AES_256_GCM, &aead[..]).expect("the key has AES-256's length");
    (LessSafeKey::new(aead), HeaderMask::new(&mask))
}

fn expand(secret: &Prk, info: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut out = Zeroizing::new([0; 32]);
    secret
        .expand(info, Len(out.len()))
        .and_then(|okm| okm.fill(&mut out[..]))
        .expect("one block is within HKDF's limit");
    out
}

struct Len(usize);

impl KeyType for Len {
    fn len(&self) -> usize {
        self.0
    }
}

/// 32 zero bits and the packet number in big-endian.
fn nonce(number: PacketNumber) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&number.to_u64().to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

#[cfg(test)]
mod tests;
