use pilot_wire::{LogKey, SignedBytes};
use proptest::prelude::*;

use super::*;
use crate::identity::Identity;
use crate::testing::{
    agent, new_secrets, nobody, recovered, recovery, recovery_key, rotated, rotation, signed,
    signed_with_tail,
};

impl VerifiedLog {
    /// The log as it was when its generation got its recovery commitment.
    pub(crate) fn at_anchor(&self) -> Self {
        let root = self.anchor_index().unwrap_or(0);
        let mut log = self.clone();
        log.heads.truncate(root + 1);
        log.log.0.truncate(root + 1);
        log
    }
}

fn commitment(number: u8) -> Option<Hash> {
    Some(recovery_commitment(
        &recovery_key(number).verifying_key().to_bytes(),
    ))
}

/// A good rotation of agent 1, spoilt and signed by its current key.
fn spoilt(identity: &Identity, spoil: impl FnOnce(&mut Rotation)) -> Result<VerifiedLog, LogError> {
    let new = new_secrets(90);
    let mut rotation = rotation(identity.verified(), commitment(1), new.public());
    spoil(&mut rotation);
    let entry = signed(rotation, &identity.secrets().sign, &new.sign);
    identity.verified().extend(&[entry])
}

/// A good recovery of agent 1, spoilt and signed by its recovery key.
fn spoilt_recovery(
    identity: &Identity,
    spoil: impl FnOnce(&mut Rotation),
) -> Result<VerifiedLog, LogError> {
    let (new, key) = (new_secrets(91), recovery_key(1));
    let root = identity.verified().at_anchor();
    let mut recovery = recovery(&root, &key, new.public());
    spoil(&mut recovery);
    identity
        .verified()
        .extend(&[signed(recovery, &key, &new.sign)])
}

fn place(log: &VerifiedLog) -> (u32, u32) {
    (log.generation(), log.sequence())
}

#[test]
fn the_agent_is_the_hash_of_the_inception_and_stays_over_rotations() {
    let first = agent(1);
    let entry = &first.log().entries()[0];
    let encoded = &entry[..entry.len() - SignedBytes::SIGNATURE];
    assert_eq!(*first.agent().as_bytes(), hash("pilot/agent/1", encoded));
    let later = recovered(&rotated(&first, 50), 1, 51);
    assert_eq!(later.agent(), first.agent());
    assert_ne!(later.sign_public(), first.sign_public());
    assert_eq!(place(later.verified()), (1, 0));
}

#[test]
fn a_whole_log_verifies_as_it_was_extended() {
    let identity = rotated(&rotated(&recovered(&rotated(&agent(1), 50), 1, 51), 52), 53);
    let log = IdentityLog::from_entries(identity.log().entries().to_vec());
    assert_eq!(log.verify(0).as_ref(), Ok(identity.verified()));
    assert_eq!(place(identity.verified()), (1, 2));
    assert_eq!(log.newest(2), &log.entries()[2..]);
    assert_eq!(log.newest(99), log.entries());
}

#[test]
fn an_empty_or_endless_log_is_refused() {
    assert_eq!(IdentityLog::default().verify(0), Err(LogError::Empty));
    let entry = agent(1).log().entries()[0].clone();
    let long = IdentityLog::from_entries(vec![entry; MAX_LOG_ENTRIES + 1]);
    assert_eq!(long.verify(0), Err(LogError::TooLong));
}

#[test]
fn a_log_begins_with_its_only_inception() {
    let (one, two) = (agent(1), rotated(&agent(2), 50));
    let later = IdentityLog::from_entries(two.log().newest(1).to_vec());
    assert_eq!(later.verify(0), Err(LogError::Inception));
    let twice = [one.log().entries(), one.log().entries()].concat();
    assert_eq!(
        IdentityLog::from_entries(twice).verify(0),
        Err(LogError::Inception)
    );
    let extended = one.verified().extend(agent(2).log().entries());
    assert_eq!(extended, Err(LogError::Agent));
}

#[test]
fn work_below_the_networks_is_refused() {
    let identity = Identity::generate(pilot_types::Seed::new([1; 32]), 9);
    let bits = identity.verified().work_bits();
    assert!(bits >= 9);
    assert!(identity.log().verify(bits).is_ok());
    let refused = identity.log().verify(bits + 1);
    assert_eq!(
        refused,
        Err(LogError::Work {
            found: bits,
            needed: bits + 1
        })
    );
}

fn inception(spoil: impl FnOnce(&mut Inception)) -> Result<VerifiedLog, LogError> {
    let secrets = new_secrets(5);
    let mut inception = Inception {
        version: Inception::VERSION,
        keys: secrets.public().to_log_keys(),
        recovery_commitment: None,
        modifier: [0; 16],
    };
    spoil(&mut inception);
    let mut entry = LogEntry::Inception(inception).encode();
    let message = LogEntry::to_sign(LogEntry::INCEPTION_CONTEXT, &entry);
    entry.extend_from_slice(&secrets.sign(&message));
    IdentityLog::from_entries(vec![entry]).verify(0)
}

#[test]
fn an_inception_has_our_version_and_good_keys_of_its_own() {
    assert!(inception(|_| ()).is_ok());
    assert_eq!(inception(|i| i.version = 2), Err(LogError::Version(2)));
    assert_eq!(
        inception(|i| i.keys.clear()),
        Err(LogError::Key(KeyError::Count("Ed25519")))
    );
    let other_key = inception(|i| i.keys = new_secrets(6).public().to_log_keys());
    assert_eq!(other_key, Err(LogError::Signature));
    let weak = inception(|i| i.keys[1].bytes = vec![0; 32]);
    assert_eq!(weak, Err(LogError::Key(KeyError::Weak("X25519"))));
    let weak = inception(|i| i.keys[0].bytes = vec![0; 32]);
    assert_eq!(weak, Err(LogError::Key(KeyError::Weak("Ed25519"))));
}

#[test]
fn keys_of_unknown_algorithms_are_kept_and_ignored() {
    let later = LogKey {
        algorithm: 77,
        bytes: vec![1; 40],
    };
    let log = inception(|i| i.keys.push(later)).unwrap();
    assert_eq!(log.sign_key(), new_secrets(5).public().sign);
    let raw = &log.log().entries()[0];
    let LogEntry::Inception(kept) = SignedEntry::decode(raw).unwrap().entry else {
        panic!("a log begins with its inception")
    };
    assert_eq!(kept.keys.len(), 3);
}

#[test]
fn a_reserved_address_is_refused() {
    let with_start = |start: &[u8]| {
        let mut bytes = [0x11; 32];
        bytes[..start.len()].copy_from_slice(start);
        check_address(AgentId::new(bytes))
    };
    let reserved = Err(LogError::ReservedAddress);
    assert_eq!(with_start(&[0, 0, 0, 0, 0, 1]), reserved);
    assert_eq!(with_start(&[0, 0, 0, 0, 0xFF, 0xFF]), reserved);
    assert_eq!(with_start(&[0xFF; 6]), reserved);
    assert_eq!(with_start(&[0, 0, 0, 1, 0, 0]), Ok(()));
}

#[test]
fn every_changed_byte_of_an_entry_is_noticed() {
    let identity = rotated(&agent(1), 50);
    let entries = identity.log().entries();
    for (index, entry) in entries.iter().enumerate() {
        for at in 0..entry.len() {
            let mut changed = entries.to_vec();
            changed[index][at] ^= 0x01;
            let verified = IdentityLog::from_entries(changed).verify(0);
            // Another inception is another agent; whatever verifies must not be taken for this one.
            let is_same = verified.is_ok_and(|log| log.agent() == identity.agent());
            assert!(!is_same, "entry {index}, byte {at}");
        }
    }
}

#[test]
fn trailing_bytes_are_legal_and_signed() {
    let (identity, new) = (agent(1), new_secrets(50));
    let next = rotation(identity.verified(), commitment(1), new.public());
    let old = &identity.secrets().sign;
    let entry = signed_with_tail(next, b"later", old, &new.sign);
    let log = identity
        .verified()
        .extend(std::slice::from_ref(&entry))
        .unwrap();
    assert_eq!(log.log().newest(1), std::slice::from_ref(&entry));
    let mut changed = entry.clone();
    let tail = entry.len() - 2 * SignedBytes::SIGNATURE - 1;
    changed[tail] ^= 1;
    assert_eq!(
        identity.verified().extend(&[changed]),
        Err(LogError::Signature)
    );
}

#[test]
fn a_rotation_by_the_current_key_leaves_the_recovery_commitment_alone() {
    let identity = agent(1);
    assert!(spoilt(&identity, |_| ()).is_ok());
    let changed = spoilt(&identity, |r| r.recovery_commitment = commitment(2));
    assert_eq!(changed, Err(LogError::Commitment));
    let removed = spoilt(&identity, |r| r.recovery_commitment = None);
    assert_eq!(removed, Err(LogError::Commitment));
}

#[test]
fn a_rotation_follows_its_predecessor() {
    let identity = agent(1);
    assert_eq!(
        spoilt(&identity, |r| r.previous[0] ^= 1),
        Err(LogError::Chain)
    );
    assert_eq!(
        spoilt(&identity, |r| r.agent = nobody()),
        Err(LogError::Agent)
    );
    let skipped = spoilt(&identity, |r| r.sequence = 2);
    assert_eq!(
        skipped,
        Err(LogError::Gap {
            generation: 0,
            sequence: 2
        })
    );
    let next_generation = spoilt(&identity, |r| r.generation = 1);
    assert_eq!(
        next_generation,
        Err(LogError::Gap {
            generation: 1,
            sequence: 1
        })
    );
    let recovery_without_its_key = spoilt(&identity, |r| (r.generation, r.sequence) = (1, 0));
    assert_eq!(recovery_without_its_key, Err(LogError::Authority));
    let weak = spoilt(&identity, |r| r.keys[1].bytes = vec![0; 32]);
    assert_eq!(weak, Err(LogError::Key(KeyError::Weak("X25519"))));
}

#[test]
fn both_signatures_of_a_rotation_are_needed() {
    let (identity, new, other) = (agent(1), new_secrets(50), new_secrets(60));
    let next = rotation(identity.verified(), commitment(1), new.public());
    let old = &identity.secrets().sign;
    let extend = |entry| identity.verified().extend(&[entry]);
    assert!(extend(signed(next.clone(), old, &new.sign)).is_ok());
    let not_by_the_authority = signed(next.clone(), &other.sign, &new.sign);
    assert_eq!(extend(not_by_the_authority), Err(LogError::Signature));
    let without_possession = signed(next.clone(), old, &other.sign);
    assert_eq!(extend(without_possession), Err(LogError::Signature));
    let mut swapped = signed(next, old, &new.sign);
    let middle = swapped.len() - SignedBytes::SIGNATURE;
    let first = middle - SignedBytes::SIGNATURE;
    let (a, b) = swapped[first..].split_at_mut(SignedBytes::SIGNATURE);
    a.swap_with_slice(b);
    assert_eq!(extend(swapped), Err(LogError::Signature));
}

#[test]
fn the_recovery_key_raises_the_generation_and_may_change_the_commitment() {
    let identity = agent(1);
    let log = spoilt_recovery(&identity, |r| r.recovery_commitment = commitment(2)).unwrap();
    assert_eq!(place(&log), (1, 0));
    assert_eq!(log.recovery_commitment(), commitment(2));
    let back = spoilt_recovery(&identity, |r| r.generation = 0);
    assert_eq!(
        back,
        Err(LogError::Inception),
        "that place is the inception's"
    );
    let skipped = spoilt_recovery(&identity, |r| r.generation = 2);
    assert_eq!(
        skipped,
        Err(LogError::Gap {
            generation: 2,
            sequence: 0
        })
    );
    let not_first = spoilt_recovery(&identity, |r| r.sequence = 1);
    assert_eq!(not_first, Err(LogError::Authority));
    assert_eq!(
        spoilt_recovery(&identity, |r| r.previous[0] ^= 1),
        Err(LogError::Chain)
    );
}

#[test]
fn only_the_committed_key_recovers() {
    let (identity, new, thief) = (agent(1), new_secrets(50), recovery_key(2));
    let stolen = signed(
        recovery(identity.verified(), &thief, new.public()),
        &thief,
        &new.sign,
    );
    assert_eq!(
        identity.verified().extend(&[stolen]),
        Err(LogError::Authority)
    );
    let named = recovery(identity.verified(), &recovery_key(1), new.public());
    let forged = signed(named, &thief, &new.sign);
    assert_eq!(
        identity.verified().extend(&[forged]),
        Err(LogError::Signature)
    );
    let without = Identity::generate(pilot_types::Seed::new([8; 32]), 0);
    let key = recovery_key(8);
    let entry = signed(
        recovery(without.verified(), &key, new.public()),
        &key,
        &new.sign,
    );
    let gap = LogError::Gap {
        generation: 1,
        sequence: 0,
    };
    assert_eq!(
        without.verified().extend(&[entry]),
        Err(gap),
        "the entry that commits to the key may be missing"
    );
}

#[test]
fn a_recovery_beats_every_chain_of_the_lost_key() {
    let owner = agent(1);
    let stolen = rotated(&rotated(&rotated(&owner, 50), 51), 52);
    let recovered_after_one = recovered(&rotated(&owner, 60), 1, 61);
    let entries = recovered_after_one.log().newest(1);
    let log = stolen.verified().extend(entries).unwrap();
    assert_eq!(log, *recovered_after_one.verified());
    assert_eq!(
        log.log().entries().len(),
        2,
        "entries of the lost key are dropped"
    );
}

#[test]
fn what_a_recovery_ended_does_not_come_back() {
    let owner = agent(1);
    let recovered = recovered(&owner, 1, 60);
    let stolen = rotated(&rotated(&owner, 50), 51);
    let log = recovered.verified().extend(stolen.log().entries());
    assert_eq!(log.as_ref(), Ok(recovered.verified()));
}

#[test]
fn two_entries_at_one_place_are_a_fork() {
    let owner = agent(1);
    let (one, two) = (rotated(&owner, 50), rotated(&rotated(&owner, 51), 52));
    let fork = Err(LogError::Fork {
        generation: 0,
        sequence: 1,
    });
    assert_eq!(one.verified().extend(two.log().entries()), fork);
    assert_eq!(two.verified().merged(one.verified()), fork);
    let (one, two) = (recovered(&owner, 1, 50), recovered(&owner, 1, 51));
    let fork = Err(LogError::Fork {
        generation: 1,
        sequence: 0,
    });
    assert_eq!(one.verified().merged(two.verified()), fork);
}

#[test]
fn a_forged_entry_at_a_known_place_is_no_fork() {
    let owner = agent(1);
    let pinned = rotated(&owner, 50);
    let (new, thief) = (new_secrets(60), new_secrets(61));
    let next = rotation(owner.verified(), commitment(1), new.public());
    let forged = signed(next, &thief.sign, &new.sign);
    assert_eq!(
        pinned.verified().extend(&[forged]),
        Err(LogError::Signature)
    );
}

#[test]
fn a_log_of_fewer_entries_adds_nothing() {
    let owner = agent(1);
    let newer = rotated(&owner, 50);
    assert_eq!(
        newer.verified().merged(owner.verified()).as_ref(),
        Ok(newer.verified())
    );
    assert_eq!(
        owner.verified().merged(newer.verified()).as_ref(),
        Ok(newer.verified())
    );
}

#[test]
fn a_superseded_rotation_in_a_whole_log_is_verified_and_dropped() {
    let owner = agent(1);
    let rotated = rotated(&owner, 50);
    let recovered = recovered(&rotated, 1, 51);
    let whole = [rotated.log().entries(), recovered.log().newest(1)].concat();
    let log = IdentityLog::from_entries(whole.clone()).verify(0);
    assert_eq!(log.as_ref(), Ok(recovered.verified()));
    let mut forged = whole;
    let at = forged[1].len() - 1;
    forged[1][at] ^= 1;
    assert_eq!(
        IdentityLog::from_entries(forged).verify(0),
        Err(LogError::Signature)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whoever sees any entries of one honest log, in any order and part, is at a place of that log or misses some.
    #[test]
    fn any_part_of_an_honest_log_extends_or_leaves_a_gap(steps in proptest::collection::vec(any::<bool>(), 0..5), seen in 0usize..6, skipped in 0usize..6) {
        let mut owner = agent(1);
        let mut logs = vec![owner.verified().clone()];
        for (step, is_recovery) in steps.iter().enumerate() {
            let number = 100 + step as u8;
            owner = if *is_recovery { recovered(&owner, 1, number) } else { rotated(&owner, number) };
            logs.push(owner.verified().clone());
        }
        let pinned = &logs[seen.min(logs.len() - 1)];
        let newest = owner.log().newest(owner.log().entries().len().saturating_sub(skipped));
        match pinned.extend(newest) {
            Ok(log) => prop_assert!(log == *owner.verified() || newest.is_empty()),
            Err(error) => {
                let is_gap = matches!(error, LogError::Gap { .. });
                prop_assert!(is_gap, "{}", error);
            }
        }
    }

    /// The owner of all keys can sign anything; nobody panics, and what is accepted verifies as a whole log too.
    #[test]
    fn entries_signed_at_any_place_never_panic(generation in 0u32..4, sequence in 0u32..4, is_recovery: bool, by_recovery_key: bool, previous in 0usize..5, steps in proptest::collection::vec(any::<bool>(), 0..4)) {
        let mut owner = agent(1);
        for (step, is_recovery) in steps.iter().enumerate() {
            let number = 100 + step as u8;
            owner = if *is_recovery { recovered(&owner, 1, number) } else { rotated(&owner, number) };
        }
        let log = owner.verified();
        let (new, key) = (new_secrets(200), recovery_key(1));
        let mut entry = recovery(log, &key, new.public());
        (entry.generation, entry.sequence) = (generation, sequence);
        entry.previous = log.heads[previous % log.heads.len()].hash;
        if !is_recovery {
            entry.authority = Authority::Current;
        }
        let authority = if by_recovery_key { &key } else { &owner.secrets().sign };
        if let Ok(extended) = log.extend(&[signed(entry, authority, &new.sign)]) {
            prop_assert_eq!(extended.log().verify(0), Ok(extended.clone()));
            prop_assert!(place(&extended) >= place(log));
        }
    }

    #[test]
    fn arbitrary_entries_never_panic(entries in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..4)) {
        prop_assert!(IdentityLog::from_entries(entries.clone()).verify(0).is_err());
        prop_assert!(entries.is_empty() || agent(1).verified().extend(&entries).is_err());
    }
}

/// The arithmetic beside `MAX_HELLO_ENTRIES`.
#[test]
fn entries_are_as_long_as_the_limits_say() {
    let owner = agent(1);
    let len = |identity: &Identity| identity.log().newest(1)[0].len();
    let without = Identity::generate(pilot_types::Seed::new([8; 32]), 0);
    assert_eq!((len(&without), len(&owner)), (152, 184));
    assert_eq!(len(&rotated(&owner, 50)), 304);
    assert_eq!(len(&recovered(&owner, 1, 50)), 336);
}
