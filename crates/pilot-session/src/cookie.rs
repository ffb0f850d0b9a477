//! Cookies: proof that a message 1 comes from where it says, before it costs more than hashes (WireGuard paper §5.4.7).

use std::time::{Duration, Instant};

use pilot_types::PathId;
use pilot_wire::limits::MACS;
use pilot_wire::{HandshakeHeader, PacketKind, VERSION};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};
use ring::hmac::{HMAC_SHA256, Key, sign};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::entropy::Entropy;
use crate::mac::MAC;
use crate::rate::path_name;

/// How long a secret makes cookies, and how long an initiator uses one. A cookie is taken until the secret after its own is
/// replaced: for 2 to 4 minutes, and never less than it is used.
pub(crate) const LIFETIME: Duration = Duration::from_secs(120);
/// Bytes of a cookie.
pub(crate) const COOKIE: usize = 16;
/// Bytes of a reply's salt: chosen anew for each, it makes the key, so that no nonce repeats.
const SALT: usize = 16;
const TAG: usize = 16;
/// Bytes of a reply's body.
const BODY: usize = SALT + COOKIE + TAG;
/// Bytes of a reply.
pub(crate) const REPLY: usize = HandshakeHeader::ANSWER_LEN + BODY + MACS;

/// A cookie as the initiator holds it.
pub(crate) type Cookie = [u8; COOKIE];

/// The secrets that this node's cookies are made from.
#[derive(Default)]
pub(crate) struct Secrets {
    current: Option<Secret>,
    previous: Option<Secret>,
}

struct Secret {
    key: Zeroizing<[u8; 32]>,
    made: Instant,
}

impl Secrets {
    /// The cookie of a path, from the secret of the moment.
    pub(crate) fn make(&mut self, now: Instant, path: &PathId, entropy: &mut Entropy) -> Cookie {
        self.rotate(now);
        let current = self.current.get_or_insert_with(|| Secret {
            key: entropy.draw(),
            made: now,
        });
        current.cookie(path)
    }

    /// Whether `packet`, which came in on `path`, bears the `mac2` of a cookie that this node gave to that path.
    pub(crate) fn verify(&mut self, now: Instant, path: &PathId, packet: &[u8]) -> bool {
        let Some((covered, claimed)) = packet.split_last_chunk::<MAC>() else {
            return false;
        };
        self.rotate(now);
        let secrets = [&self.current, &self.previous].into_iter().flatten();
        secrets
            .map(|secret| mac2(&secret.cookie(path), covered))
            .any(|mac| mac.ct_eq(claimed).into())
    }

    /// Forgets secrets by which nothing is taken any longer; `None` once there are none, else when to look again.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<Instant> {
        self.rotate(now);
        let newest = self.current.as_ref().or(self.previous.as_ref());
        newest.map(|secret| secret.made + 2 * LIFETIME)
    }

    fn rotate(&mut self, now: Instant) {
        let age = |secret: &Secret| now.saturating_duration_since(secret.made);
        if self.current.as_ref().is_some_and(|s| age(s) >= LIFETIME) {
            self.previous = self.current.take();
        }
        if self
            .previous
            .as_ref()
            .is_some_and(|s| age(s) >= 2 * LIFETIME)
        {
            self.previous = None;
        }
    }
}

impl Secret {
    fn cookie(&self, path: &PathId) -> Cookie {
        mac(&self.key[..], &path_name(path))
    }
}

/// `packet`, a message 1, with the `mac2` that a cookie gives it.
pub(crate) fn with_mac2(packet: &[u8], cookie: &Cookie) -> Vec<u8> {
    let covered = &packet[..packet.len() - MAC];
    [covered, &mac2(cookie, covered)].concat()
}

fn mac2(cookie: &Cookie, covered: &[u8]) -> [u8; MAC] {
    mac(cookie, covered)
}

fn mac(key: &[u8], input: &[u8]) -> [u8; MAC] {
    let tag = sign(&Key::new(HMAC_SHA256, key), input);
    *tag.as_ref()
        .first_chunk()
        .expect("HMAC-SHA256 has 32 bytes")
}

/// Seals and opens cookie replies of the holder of one public key.
pub(crate) struct ReplyKey(Key);

impl ReplyKey {
    pub(crate) fn new(responder: &[u8; 32]) -> Self {
        let input = [&b"pilot/cookie/1"[..], responder].concat();
        Self(Key::new(HMAC_SHA256, digest(&SHA256, &input).as_ref()))
    }

    /// A reply to the message 1 whose sender index and `mac1` these are, without its macs. Only who saw that message opens it.
    pub(crate) fn seal(
        &self,
        receiver: u32,
        mac1: &[u8; MAC],
        cookie: &Cookie,
        entropy: &mut Entropy,
    ) -> Vec<u8> {
        let mut packet = Vec::with_capacity(REPLY);
        let header = HandshakeHeader {
            kind: PacketKind::Cookie,
            version: VERSION,
            sender: 0,
            receiver,
        };
        header.encode(&mut packet);
        let salt = &entropy.draw()[..SALT];
        let mut sealed = *cookie;
        let tag = self
            .aead(salt)
            .seal_in_place_separate_tag(no_nonce(), Aad::from(mac1), &mut sealed)
            .expect("sixteen bytes are within AES-GCM's limit");
        packet.extend_from_slice(salt);
        packet.extend_from_slice(&sealed);
        packet.extend_from_slice(tag.as_ref());
        packet
    }

    /// The cookie in a reply's body, if it answers the message 1 with that `mac1`.
    pub(crate) fn open(&self, body: &[u8], mac1: &[u8; MAC]) -> Option<Cookie> {
        let body: &[u8; BODY] = body.try_into().ok()?;
        let (salt, sealed) = body.split_at(SALT);
        let mut sealed = sealed.to_vec();
        let opened = self
            .aead(salt)
            .open_in_place(no_nonce(), Aad::from(mac1), &mut sealed)
            .ok()?;
        (&*opened).try_into().ok()
    }

    fn aead(&self, salt: &[u8]) -> LessSafeKey {
        let key = sign(&self.0, salt);
        let key = UnboundKey::new(&AES_256_GCM, key.as_ref());
        LessSafeKey::new(key.expect("HMAC-SHA256 has AES-256's length"))
    }
}

/// Each reply's key is its own.
fn no_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

#[cfg(test)]
mod tests {
    use pilot_types::{Seed, StreamId};

    use super::*;

    const PATH: PathId = PathId::Stream(StreamId::new(0));
    const OTHER: PathId = PathId::Stream(StreamId::new(4));

    fn entropy() -> Entropy {
        Entropy::new(&Seed::new([3; 32]))
    }

    #[test]
    fn a_cookie_holds_on_its_path_for_two_minutes_at_least_and_four_at_most() {
        let (mut secrets, mut entropy) = (Secrets::default(), entropy());
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let early = secrets.make(start, &PATH, &mut entropy);
        let late = secrets.make(start + LIFETIME - second, &PATH, &mut entropy);
        assert_eq!(early, late, "one secret for two minutes");
        let packet = with_mac2(&[9; 100], &early);
        assert!(!secrets.verify(start, &OTHER, &packet));
        for after in [Duration::ZERO, LIFETIME - second, 2 * LIFETIME - second] {
            assert!(secrets.verify(start + after, &PATH, &packet), "{after:?}");
            secrets.make(start + after, &PATH, &mut entropy);
        }
        assert!(!secrets.verify(start + 2 * LIFETIME, &PATH, &packet));
        let next = secrets.make(start + 2 * LIFETIME, &PATH, &mut entropy);
        assert_ne!(next, early);
    }

    #[test]
    fn secrets_end_by_themselves() {
        let (mut secrets, mut entropy) = (Secrets::default(), entropy());
        let start = Instant::now();
        assert_eq!(secrets.expire(start), None);
        secrets.make(start, &PATH, &mut entropy);
        let at = secrets.expire(start).unwrap();
        assert_eq!(secrets.expire(at), None);
        assert!(secrets.current.is_none() && secrets.previous.is_none());
    }

    #[test]
    fn a_reply_opens_for_its_message_alone_and_no_bit_of_it_can_be_flipped() {
        let (key, mut entropy) = (ReplyKey::new(&[1; 32]), entropy());
        let packet = key.seal(7, &[2; MAC], &[3; COOKIE], &mut entropy);
        assert_eq!(packet.len() + MACS, REPLY);
        let body = &packet[HandshakeHeader::ANSWER_LEN..];
        assert_eq!(key.open(body, &[2; MAC]), Some([3; COOKIE]));
        assert_eq!(key.open(body, &[4; MAC]), None);
        assert_eq!(ReplyKey::new(&[5; 32]).open(body, &[2; MAC]), None);
        for bit in 0..body.len() * 8 {
            let mut body = body.to_vec();
            body[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key.open(&body, &[2; MAC]), None, "bit {bit}");
        }
        assert_eq!(key.open(&body[1..], &[2; MAC]), None);
    }
}
