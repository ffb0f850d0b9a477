//! Over any operations: the order of merging does not matter, and nobody comes back without a newer certificate.

use std::time::Duration;

use pilot_types::{AgentId, UnixTime};
use pilot_wire::{GroupBundle, JoinRule, RemovalCause, Role};
use proptest::prelude::*;

use super::set::{GroupSet, Says};
use super::tests::{key, terms};
use crate::Identity;
use crate::testing::{NOW, agent};

/// Who acts, upon whom, and what it does.
#[derive(Clone, Copy, Debug)]
struct Step {
    signer: u8,
    member: u8,
    act: u8,
}

const AGENTS: u8 = 6;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..AGENTS, 1..AGENTS, 0_u8..4);
    let step = step.prop_map(|(signer, member, act)| Step {
        signer,
        member,
        act,
    });
    prop::collection::vec(step, 1..24)
}

/// The set of somebody who sees everything, and what each step told the others.
fn played(steps: &[Step]) -> (GroupSet, GroupBundle, Vec<GroupBundle>, UnixTime) {
    let group = key(100);
    let agents: Vec<Identity> = (0..AGENTS).map(|number| agent(number + 1)).collect();
    let mut set = GroupSet::create(NOW, &group, agents[0].agent(), terms(JoinRule::Open)).unwrap();
    let (first, _) = set.part(None);
    let mut now = NOW;
    let mut told = vec![];
    for step in steps {
        now = now.plus(Duration::from_millis(1));
        // The owner signs with the group's key.
        let signer = match step.signer {
            0 => &group,
            number => &agents[usize::from(number)],
        };
        let other = &agents[usize::from(step.member)];
        let member = other.agent();
        let fresh = match step.act {
            0 => set.certify(now, signer, (member, Role::Member), None),
            1 => set.certify(now, signer, (member, Role::Admin), Some(other.verified())),
            2 => set.demote(now, signer, member),
            _ => set.remove(now, signer, (member, RemovalCause::Kicked)),
        };
        if let Ok(fresh) = fresh {
            told.push(set.with(fresh));
        }
    }
    (set, first, told, now)
}

fn members(set: &GroupSet, now: UnixTime) -> Vec<(AgentId, Role)> {
    set.members(now).collect()
}

/// Whoever is a member in spite of a removal has a certificate with a higher serial.
fn check_removals(set: &GroupSet, now: UnixTime) -> Result<(), TestCaseError> {
    for member in set.agents() {
        let (Some(role), Some((removed, _))) = (set.role(now, &member), set.removal(now, &member))
        else {
            continue;
        };
        let is_newer =
            |held: &super::set::Held| matches!(held.says, Says::Is(_)) && held.serial > removed;
        // An admin's removal of an owner or admin says nothing.
        let is_plain = role == Role::Member;
        prop_assert!(!is_plain || set.of(&member).any(|(_, held)| is_newer(held)));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_order_of_merging_gives_the_same_set(
        steps in steps(),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..64),
    ) {
        let (all, first, told, now) = played(&steps);
        let mut forward = GroupSet::verify(now, &first).unwrap();
        let mut mixed = forward.clone();
        for bundle in &told {
            forward.merge(now, bundle).unwrap();
            check_removals(&forward, now)?;
        }
        for index in order.iter().filter(|_| !told.is_empty()) {
            mixed.merge(now, &told[index.index(told.len())]).unwrap();
            check_removals(&mixed, now)?;
        }
        for bundle in told.iter().rev() {
            mixed.merge(now, bundle).unwrap();
        }
        prop_assert_eq!(&forward, &mixed);
        prop_assert_eq!(members(&forward, now), members(&all, now));
        let again = forward.clone();
        for bundle in &told {
            prop_assert!(!forward.merge(now, bundle).unwrap().is_change());
        }
        prop_assert_eq!(forward, again);
    }

    #[test]
    fn who_the_owner_removed_comes_back_only_by_a_newer_certificate(
        steps in steps(),
        victim in 1..AGENTS,
    ) {
        let (mut set, _, told, now) = played(&steps);
        let (group, member) = (key(100), agent(victim + 1).agent());
        let later = now.plus(Duration::from_secs(1));
        if set.remove(later, &group, (member, RemovalCause::Kicked)).is_ok() {
            prop_assert_eq!(set.role(later, &member), None);
            // Everything that was said before says nothing now.
            for bundle in told.iter().chain(told.iter().rev()) {
                set.merge(later, bundle).unwrap();
                prop_assert_eq!(set.role(later, &member), None);
            }
        }
    }

    #[test]
    fn only_the_groups_key_and_admins_add(steps in steps(), stranger in 20_u8..40) {
        let (set, _, _, now) = played(&steps);
        let stranger = agent(stranger);
        let mut changed = set.clone();
        let added = changed.certify(now, &stranger, (stranger.agent(), Role::Member), None);
        prop_assert!(added.is_err());
        for (member, role) in set.members(now) {
            let is_admin = role == Role::Admin;
            prop_assert_eq!(set.may_sign(now, &member), is_admin);
        }
    }
}
