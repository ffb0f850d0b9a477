//! What a recovery commitment that is set later holds, played by owners and thieves.

use pilot_types::Seed;
use proptest::prelude::*;

use super::*;
use crate::identity::{Identity, KeyChangeError};
use crate::recovery::RecoveryKey;
use crate::testing::NOW;

fn seed(number: u8) -> Seed {
    Seed::new([number; 32])
}

/// An agent that nobody can recover yet.
fn plain() -> Identity {
    Identity::generate(seed(1), 0)
}

fn rotated(identity: &Identity, number: u8) -> Identity {
    identity.rotated(seed(number), NOW).unwrap()
}

fn key_of(identity: &Identity, number: u8) -> RecoveryKey {
    RecoveryKey::generate(seed(number), identity.agent())
}

fn anchored(identity: &Identity, number: u8, key: &RecoveryKey) -> Identity {
    identity
        .with_recovery(seed(number), NOW, key.commitment())
        .unwrap()
}

fn recovered(log: &VerifiedLog, key: &RecoveryKey, number: u8) -> Identity {
    Identity::recovered(log, key, seed(number), NOW, None).unwrap()
}

fn place(log: &VerifiedLog) -> (u32, u32) {
    (log.generation(), log.sequence())
}

#[test]
fn each_change_brings_two_new_keys_and_leaves_the_agent() {
    let first = plain();
    let key = key_of(&first, 9);
    let second = rotated(&first, 2);
    let third = anchored(&second, 3, &key);
    let fourth = recovered(third.verified(), &key, 4);
    let all = [&first, &second, &third, &fourth];
    for (index, one) in all.iter().enumerate() {
        assert_eq!(one.agent(), first.agent());
        for other in &all[index + 1..] {
            assert_ne!(one.sign_public(), other.sign_public());
            assert_ne!(one.dh_public(), other.dh_public());
        }
    }
    assert_eq!(place(fourth.verified()), (1, 0));
    let read = Identity::from_json(&fourth.to_json()).unwrap();
    assert_eq!(read.verified(), fourth.verified());
}

#[test]
fn a_commitment_is_set_once_and_then_only_the_recovery_key_changes_it() {
    let agent = plain();
    assert_eq!(agent.verified().anchor(), None);
    let (key, other) = (key_of(&agent, 9), key_of(&agent, 8));
    let agent = anchored(&rotated(&agent, 2), 3, &key);
    let anchor = agent.verified().anchor().unwrap();
    assert_eq!((anchor.generation, anchor.sequence), (0, 2));
    assert_eq!(
        (anchor.commitment, anchor.issued),
        (key.commitment(), Some(NOW))
    );
    let again = agent.with_recovery(seed(4), NOW, other.commitment());
    assert_eq!(again.err(), Some(KeyChangeError::HasRecovery));
    assert_eq!(rotated(&agent, 4).verified().anchor(), Some(anchor));

    let log = agent.verified();
    let next = Identity::recovered(log, &key, seed(5), NOW, Some(other.commitment())).unwrap();
    let anchor = next.verified().anchor().unwrap();
    assert_eq!((anchor.generation, anchor.sequence), (1, 0));
    let refused = |key| Identity::recovered(next.verified(), key, seed(6), NOW, None).err();
    assert_eq!(refused(&key), Some(KeyChangeError::OtherKey));
    assert_eq!(refused(&other), None);
}

#[test]
fn a_recovery_key_is_good_for_its_agent_and_where_there_is_one() {
    let (agent, other) = (plain(), Identity::generate(seed(2), 0));
    let key = key_of(&agent, 9);
    let refused = |log: &VerifiedLog, key| Identity::recovered(log, key, seed(5), NOW, None).err();
    assert_eq!(
        refused(agent.verified(), &key),
        Some(KeyChangeError::NoRecovery)
    );
    let set = anchored(&agent, 3, &key);
    let foreign = key_of(&other, 9);
    assert_eq!(
        refused(set.verified(), &foreign),
        Some(KeyChangeError::OtherAgent(other.agent()))
    );
}

#[test]
fn a_recovery_keeps_what_was_before_the_anchor_and_drops_what_came_after() {
    let agent = plain();
    let key = key_of(&agent, 9);
    let set = anchored(&rotated(&agent, 2), 3, &key);
    let stolen = rotated(&rotated(&set, 4), 5);
    let back = recovered(stolen.verified(), &key, 6);
    assert_eq!(back.log().entries()[..3], *set.log().entries());
    assert_eq!(back.log().entries().len(), 4);
    assert_eq!(back.log().verify(0).as_ref(), Ok(back.verified()));
    assert!(stolen.verified().is_followed_by(back.verified()));
    assert!(!back.verified().is_followed_by(stolen.verified()));
}

#[test]
fn a_commitment_in_the_inception_is_an_anchor_as_it_always_was() {
    let key = key_of(&plain(), 9);
    let agent = Identity::generate_with_recovery(seed(1), 0, Some(key.commitment()));
    let key = key_of(&agent, 9);
    let anchor = agent.verified().anchor().unwrap();
    assert_eq!(
        (anchor.generation, anchor.sequence, anchor.issued),
        (0, 0, None)
    );
    let back = recovered(rotated(&agent, 2).verified(), &key, 3);
    assert_eq!(back.log().entries().len(), 2);
}

#[test]
fn a_recovery_whose_anchor_is_missing_leaves_a_gap() {
    let agent = plain();
    let key = key_of(&agent, 9);
    let set = anchored(&rotated(&agent, 2), 3, &key);
    let back = recovered(set.verified(), &key, 6);
    let gap = LogError::Gap {
        generation: 1,
        sequence: 0,
    };
    assert_eq!(agent.verified().extend(back.log().newest(1)), Err(gap));
    let whole = agent.verified().extend(back.log().newest(3));
    assert_eq!(whole.as_ref(), Ok(back.verified()));
}

#[test]
fn a_replaced_key_that_forks_at_the_anchor_freezes_and_is_passed_over_after_a_recovery() {
    let agent = plain();
    let (key, thief_key) = (key_of(&agent, 9), key_of(&agent, 8));
    let set = anchored(&agent, 2, &key);
    let thief = anchored(&agent, 3, &thief_key);
    let fork = LogError::Fork {
        generation: 0,
        sequence: 1,
    };
    assert_eq!(set.verified().merged(thief.verified()), Err(fork.clone()));
    // The thief's own recovery does not win over an anchor that is known.
    let taken = recovered(thief.verified(), &thief_key, 4);
    assert_eq!(set.verified().merged(taken.verified()), Err(fork));
    let back = recovered(set.verified(), &key, 5);
    assert_eq!(
        back.verified().merged(thief.verified()).as_ref(),
        Ok(back.verified())
    );
    assert_eq!(
        back.verified().merged(taken.verified()),
        Err(LogError::Chain)
    );
}

#[test]
fn a_recovery_among_the_entries_ends_the_fork_before_it() {
    let agent = plain();
    let key = key_of(&agent, 9);
    let set = anchored(&agent, 2, &key);
    let (one, two) = (rotated(&set, 3), rotated(&rotated(&set, 4), 5));
    let back = recovered(set.verified(), &key, 6);
    let mut entries = two.log().entries().to_vec();
    let fork = LogError::Fork {
        generation: 0,
        sequence: 2,
    };
    assert_eq!(one.verified().extend(&entries), Err(fork));
    entries.extend_from_slice(back.log().newest(1));
    assert_eq!(
        one.verified().extend(&entries).as_ref(),
        Ok(back.verified())
    );
}

#[test]
fn a_thief_who_fills_the_log_leaves_room_for_the_recovery() {
    let agent = plain();
    let key = key_of(&agent, 9);
    let mut stolen = anchored(&rotated(&agent, 2), 3, &key);
    let full = loop {
        match stolen.rotated(seed(4), NOW) {
            Ok(next) => stolen = next,
            Err(error) => break error,
        }
    };
    assert_eq!(full, KeyChangeError::Full);
    assert_eq!(
        stolen.log().entries().len(),
        MAX_LOG_ENTRIES - RECOVERY_ENTRIES
    );
    let mut back = recovered(stolen.verified(), &key, 5);
    assert_eq!(back.log().entries().len(), 4);
    for _ in 1..RECOVERY_ENTRIES {
        back = recovered(rotated(&back, 6).verified(), &key, 7);
    }
    assert_eq!(back.log().entries().len(), 3 + RECOVERY_ENTRIES);
}

#[test]
fn an_anchor_in_the_last_place_for_rotations_still_has_room_for_recoveries() {
    let mut agent = plain();
    let key = key_of(&agent, 9);
    while agent.log().entries().len() < MAX_LOG_ENTRIES - RECOVERY_ENTRIES - 1 {
        agent = rotated(&agent, 2);
    }
    let mut agent = anchored(&agent, 3, &key);
    for _ in 0..RECOVERY_ENTRIES {
        agent = recovered(agent.verified(), &key, 4);
    }
    assert_eq!(agent.log().entries().len(), MAX_LOG_ENTRIES);
    let full = Identity::recovered(agent.verified(), &key, seed(5), NOW, None);
    assert_eq!(full.err(), Some(KeyChangeError::Full));
}

/// What one entry of the play is signed by.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The owner rotates.
    Owner,
    /// Whoever has the keys of one of the states since the anchor rotates from there.
    Thief(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![1 => Just(Step::Owner), 3 => any::<usize>().prop_map(Step::Thief)]
}

/// All states of an agent since its anchor, the owner's newest last, and the recovery key.
fn play(before: usize, steps: &[Step]) -> (Vec<Identity>, RecoveryKey, Identity) {
    let mut owner = plain();
    for number in 0..before {
        owner = rotated(&owner, 10 + number as u8);
    }
    let key = key_of(&owner, 9);
    let set = anchored(&owner, 20, &key);
    let mut states = vec![set.rotated(seed(21), NOW).unwrap(), set];
    for (number, step) in steps.iter().enumerate() {
        let number = 100 + number as u8;
        let from = match step {
            Step::Owner => states.len() - 1,
            Step::Thief(which) => which % states.len(),
        };
        let next = rotated(&states[from], number);
        match step {
            Step::Owner => states.push(next),
            Step::Thief(_) => states.insert(0, next),
        }
    }
    let back = recovered(states[states.len() - 1].verified(), &key, 200);
    (states, key, back)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// A thief has every key since the anchor and chooses what each peer sees, when, and in which order: whoever sees the recovery with the
    /// entries before it ends with the owner's log, and nothing that the thief shows then changes it.
    #[test]
    fn every_peer_that_learns_the_recovery_has_the_owners_log(before in 0usize..3, steps in proptest::collection::vec(step(), 0..6), shown in proptest::collection::vec((any::<usize>(), any::<usize>(), any::<bool>()), 0..8)) {
        let (states, _, back) = play(before, &steps);
        let known = plain();
        let mut peer = known.verified().clone();
        let show = |peer: &VerifiedLog, (which, cut, reversed): (usize, usize, bool)| {
            let entries = states[which % states.len()].log().entries();
            let mut part = entries[cut % entries.len()..].to_vec();
            if reversed { part.reverse(); }
            peer.extend(&part)
        };
        for which in &shown {
            // What is refused changes nothing; a fork freezes, and the recovery is taken all the same.
            if let Ok(log) = show(&peer, *which) { peer = log; }
        }
        peer = peer.merged(back.verified()).unwrap();
        prop_assert_eq!(&peer, back.verified());
        for which in &shown {
            if let Ok(log) = show(&peer, *which) { prop_assert_eq!(&log, back.verified()); }
        }
        prop_assert_eq!(peer.log().verify(0), Ok(peer.clone()));
    }

    /// Nothing that is signed with the keys since the anchor raises the generation, sets another recovery key, or follows the recovery.
    #[test]
    fn a_thief_with_the_current_key_cannot_keep_the_identity(before in 0usize..3, steps in proptest::collection::vec(step(), 0..6), which: usize, generation in 0u32..3, sequence in 0u32..12, previous in 0usize..16, other: bool) {
        let (states, key, back) = play(before, &steps);
        let stolen = &states[which % states.len()];
        let new = crate::testing::new_secrets(250);
        let thief_key = key_of(stolen, 8);
        let hashes: Vec<Hash> = stolen.verified().heads.iter().chain(&back.verified().heads).map(|head| head.hash).collect();
        let rotation = Rotation {
            generation,
            sequence,
            previous: hashes[previous % hashes.len()],
            recovery_commitment: Some(if other { thief_key.commitment() } else { key.commitment() }),
            authority: if sequence == 0 { Authority::Recovery(key.public()) } else { Authority::Current },
            ..crate::testing::rotation(stolen.verified(), None, new.public())
        };
        let entry = crate::testing::signed(rotation, &stolen.secrets().sign, &new.sign);
        if let Ok(log) = stolen.verified().extend(std::slice::from_ref(&entry)) {
            prop_assert_eq!(log.generation(), 0);
            prop_assert_eq!(log.anchor(), stolen.verified().anchor());
            let merged = log.merged(back.verified());
            prop_assert_eq!(merged.as_ref(), Ok(back.verified()));
        }
        if let Ok(log) = back.verified().extend(&[entry]) {
            prop_assert_eq!(&log, back.verified());
        }
    }
}
