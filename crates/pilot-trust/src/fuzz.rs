//! Fuzz body: a function, so that the stable test run replays the committed corpus.
//!
//! Input: what a statement's signature covers. The body signs it, so that a fuzzer gets past signatures.

use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use pilot_types::{AgentId, Seed, UnixTime};
use pilot_wire::{
    AdminProof, Envelope, Grant, GroupPolicy, GroupRequest, Invitation, Knock, Letter, Locator,
    Membership, NetworkConfig, Record, Removal, SignedBytes, Statement, TicketBody,
};

use crate::{
    Config, EnvelopeError, GroupSet, GroupTerms, Identity, IdentityLog, Policy, Ticket, Trust,
    TrustItem, VerifiedLog,
};

/// When statements are verified.
pub const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
/// Bytes between an envelope's context and its body: agent, generation, sequence, serial, both times.
const HEAD: usize = 32 + 4 + 4 + 8 + 8 + 8;

/// Who signs what the fuzzer writes.
#[must_use]
pub fn signer() -> Identity {
    Identity::generate(Seed::new([7; 32]), 0)
}

/// Who receives it.
#[must_use]
pub fn receiver() -> Identity {
    Identity::generate(Seed::new([8; 32]), 0)
}

/// Whatever is signed: verification of each type and both machines that take statements do not panic, what is accepted
/// round-trips, and nothing is accepted that the key did not sign.
///
/// # Panics
/// If that is not so.
pub fn statements(data: &[u8]) {
    let signer = signer();
    unsigned(signer.verified(), data);
    let raw = sign(&signer, data);
    damaged(signer.verified(), &raw);
    each_type(&signer, &raw);
    receive(&signer, &raw);
    group(&signer, &raw);
    let _ = IdentityLog::from_entries(vec![data.to_vec()]).verify(0);
    let text = format!("pilot-ticket:{}", BASE64URL_NOPAD.encode(raw.as_bytes()));
    if let Ok(ticket) = text.parse::<Ticket>() {
        assert_eq!(ticket.to_string(), text, "a ticket is printed as it was");
    }
}

/// `data` with the signer's name in it, if it has a place for one, and a good signature.
fn sign(signer: &Identity, data: &[u8]) -> SignedBytes {
    let mut signed = data.to_vec();
    let unsigned = SignedBytes::new(signed.clone(), &[0; SignedBytes::SIGNATURE]);
    if let Ok(envelope) = unsigned.envelope() {
        let start = signed.len() - envelope.body.len() - HEAD;
        signed[start..start + 32].copy_from_slice(signer.agent().as_bytes());
    }
    let signature = signer.secrets().sign(&signed);
    SignedBytes::new(signed, &signature)
}

/// The fuzzer has no key: whatever it writes as a whole envelope is refused.
fn unsigned(log: &VerifiedLog, data: &[u8]) {
    let raw = SignedBytes::from_bytes(data.to_vec());
    assert!(log.verify_envelope(&raw, NOW).is_err(), "forged");
}

/// One changed bit, at a place that follows from the length, is noticed.
fn damaged(log: &VerifiedLog, raw: &SignedBytes) {
    let mut bytes = raw.as_bytes().to_vec();
    let at = bytes.len() * 7 / 11;
    bytes[at] ^= 1 << (bytes.len() % 8);
    let raw = SignedBytes::from_bytes(bytes);
    assert!(log.verify_envelope(&raw, NOW).is_err(), "damaged");
}

/// Of all types one reads the statement at most: its own.
fn each_type(signer: &Identity, raw: &SignedBytes) {
    let accepted = [
        round_trip::<Record>(signer, raw),
        round_trip::<Locator>(signer, raw),
        round_trip::<Grant>(signer, raw),
        round_trip::<Knock>(signer, raw),
        round_trip::<NetworkConfig>(signer, raw),
        round_trip::<TicketBody>(signer, raw),
        round_trip::<GroupPolicy>(signer, raw),
        round_trip::<Membership>(signer, raw),
        round_trip::<Removal>(signer, raw),
        round_trip::<Invitation>(signer, raw),
        round_trip::<GroupRequest>(signer, raw),
        round_trip::<Letter>(signer, raw),
    ];
    let count = accepted.into_iter().filter(|is_read| *is_read).count();
    assert!(count <= 1, "read as {count} types");
    let envelope = signer.verified().verify_envelope(raw, NOW);
    assert!(count == 0 || envelope.is_ok());
    let forged = matches!(envelope, Err(EnvelopeError::Signature));
    assert!(!forged, "a good signature was refused");
}

/// Whether the statement is read as `S`; then signing what was read gives a statement that reads the same.
fn round_trip<S: Statement>(signer: &Identity, raw: &SignedBytes) -> bool {
    let log = signer.verified();
    let Ok(first) = log.verify::<S>(raw, NOW) else {
        return false;
    };
    let again = sign(signer, &SignedBytes::to_sign(&first.head, &first.statement));
    let second = log.verify::<S>(&again, NOW);
    let second = second.expect("what was accepted is accepted again");
    assert_eq!(second.head, first.head);
    let bytes = |statement: &S| SignedBytes::to_sign(&first.head, statement);
    assert_eq!(bytes(&second.statement), bytes(&first.statement));
    true
}

/// As knock and as grant to a machine that asked for trust by id and by name; nobody else can be let in by it, and what
/// is to be written restores to the same.
fn receive(signer: &Identity, raw: &SignedBytes) {
    let (own, log) = (receiver(), signer.verified());
    let mut trust = Trust::new(Arc::new(Config::default()), own.agent());
    let target = pilot_wire::KnockTarget::Agent(signer.agent());
    let asked = trust.knock(NOW, &own, target, "", None);
    assert!(asked.is_ok(), "an empty machine has room for a knock");
    let _ = trust.handle_knock(NOW, &own, raw, log, Policy::Ask);
    let _ = trust.handle_grant(NOW, &own, raw, log, None);
    let is_mutual = trust.is_mutual(NOW, &signer.agent());
    assert!(!trust.is_mutual(NOW, &AgentId::new([9; 32])));
    let mut written = std::collections::BTreeMap::new();
    while let Some(change) = trust.poll_persist() {
        match change {
            crate::TrustChange::Put(key, item) => drop(written.insert(key, item)),
            crate::TrustChange::Delete(key) => drop(written.remove(&key)),
        }
    }
    while trust.poll_event().is_some() {}
    let items: Vec<TrustItem> = written.into_values().collect();
    let restored = Trust::restore(Arc::new(Config::default()), own.agent(), items);
    assert_eq!(restored.is_mutual(NOW, &signer.agent()), is_mutual);
    trust.handle_time(UnixTime::FAR_FUTURE);
}

/// As all that a group is made of, where the signer is the group: what is taken is taken once, and by others as it is.
fn group(signer: &Identity, raw: &SignedBytes) {
    let owner = receiver().agent();
    let terms = GroupTerms::new("fuzz".parse().expect("a name"));
    let mut set = GroupSet::create(NOW, signer, owner, terms).expect("terms that are good");
    let mut bundle = set.with(vec![raw.clone()]);
    bundle.admins.push(AdminProof {
        log: signer.log().entries().to_vec(),
        certificate: raw.clone(),
    });
    if set.merge(NOW, &bundle).is_ok() {
        let again = set.merge(NOW, &bundle);
        assert!(!again.expect("it was taken").is_change());
        let (part, _) = set.part(None);
        assert_eq!(GroupSet::verify(NOW, &part), Ok(set.clone()));
    }
    bundle.policy = raw.clone();
    let _ = GroupSet::verify(NOW, &bundle);
}

/// The envelope of `bytes`, for seeds: what a fuzzer's input is made of.
#[must_use]
pub fn signed_part(raw: &SignedBytes) -> Option<Vec<u8>> {
    Envelope::decode(raw.as_bytes())
        .ok()
        .map(|envelope| envelope.signed.to_vec())
}
