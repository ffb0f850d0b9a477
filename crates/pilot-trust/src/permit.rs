//! Permits: secrets of two agents, by which one reaches the other through a relay that knows neither why nor whom else.

use pilot_types::AgentId;
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use x25519_dalek::{PublicKey, StaticSecret};

use crate::identity::Identity;
use crate::log::VerifiedLog;

const CONTEXT: &[u8] = b"pilot/permit/1";

/// 16 bytes that a grantee shows to the grantor's relay.
pub type Permit = [u8; 16];

struct PermitLen;

impl KeyType for PermitLen {
    fn len(&self) -> usize {
        size_of::<Permit>()
    }
}

impl Identity {
    /// What `grantee` shows to our relay to reach us. Both ends derive it from their static keys, so that it need not be
    /// handed over: HKDF-SHA-256 (RFC 5869) with the context as salt, X25519 of both `dh` keys, and grantor ‖ grantee.
    #[must_use]
    pub fn permit_for(&self, grantee: &VerifiedLog) -> Permit {
        self.permit(grantee, &self.agent(), &grantee.agent())
    }

    /// What we show to the relay of `grantor` to reach it.
    #[must_use]
    pub fn permit_of(&self, grantor: &VerifiedLog) -> Permit {
        self.permit(grantor, &grantor.agent(), &self.agent())
    }

    fn permit(&self, peer: &VerifiedLog, grantor: &AgentId, grantee: &AgentId) -> Permit {
        let secret = StaticSecret::from(*self.dh_secret());
        // A verified log holds no key of small order.
        let shared = secret.diffie_hellman(&PublicKey::from(peer.dh_key()));
        let salt = Salt::new(HKDF_SHA256, CONTEXT);
        let info: [&[u8]; 2] = [grantor.as_bytes(), grantee.as_bytes()];
        let mut permit = Permit::default();
        salt.extract(shared.as_bytes())
            .expand(&info, PermitLen)
            .and_then(|okm| okm.fill(&mut permit))
            .expect("sixteen bytes are less than 255 hashes");
        permit
    }
}

#[cfg(test)]
mod tests {
    use pilot_types::Seed;

    use super::*;

    #[test]
    fn both_ends_derive_the_same_permit_for_each_direction() {
        let [alice, bob, eve] = [1, 2, 3].map(|it| Identity::generate(Seed::new([it; 32]), 0));
        let to_bob = alice.permit_of(bob.verified());
        assert_eq!(to_bob, bob.permit_for(alice.verified()));
        assert_eq!(
            bob.permit_of(alice.verified()),
            alice.permit_for(bob.verified())
        );
        assert_ne!(to_bob, alice.permit_for(bob.verified()));
        assert_ne!(to_bob, eve.permit_of(bob.verified()));
        assert_ne!(to_bob, bob.permit_for(eve.verified()));
    }
}
