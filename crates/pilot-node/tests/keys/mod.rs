//! Other keys while agents run: rotations, recoveries, thieves, and rendezvous that withhold.

use pilot_node::{KeysRefused, LinkState};
use pilot_trust::{Identity, RecoveryKey, VerifiedLog};
use pilot_types::{Seed, UnixTime};
use pilot_wire::KeyStanding;

use super::*;

const ISSUED: UnixTime = UnixTime::from_secs(1_700_000_000);

fn seed(number: u8) -> Seed {
    Seed::new([number; 32])
}

fn rotated(number: u8) -> impl FnOnce(&Identity) -> Identity {
    move |identity| identity.rotated(seed(number), ISSUED).unwrap()
}

/// Gives an agent a recovery key.
fn secure(world: &mut World, host: HostId) -> RecoveryKey {
    let key = RecoveryKey::generate(seed(99), world.id(host));
    let commitment = key.commitment();
    world.change_keys(host, |identity| {
        identity
            .with_recovery(seed(98), ISSUED, commitment)
            .unwrap()
    });
    world.sim.run_for(SECOND);
    key
}

fn recovered(key: &RecoveryKey, number: u8) -> impl FnOnce(&Identity) -> Identity {
    move |identity| {
        Identity::recovered(identity.verified(), key, seed(number), ISSUED, None).unwrap()
    }
}

/// What one agent has pinned of another.
fn pinned(world: &World, at: HostId, of: HostId) -> VerifiedLog {
    let of = world.id(of);
    world.sim[at].node.trust().peer_log(&of).unwrap().clone()
}

fn own(world: &World, host: HostId) -> VerifiedLog {
    world.sim[host].node.identity().verified().clone()
}

fn follows(world: &mut World, at: HostId, of: HostId) {
    let (id, log) = (world.id(of), own(world, of));
    world.until("the peer follows", 30 * SECOND, |sim| {
        sim[at].node.trust().peer_log(&id) == Some(&log)
    });
}

fn link(world: &World, host: HostId) -> LinkState {
    world.sim[host].node.status().rendezvous[0].1
}

fn is_refused(world: &mut World, host: HostId, standing: KeyStanding) {
    world.until("its key is refused", 60 * SECOND, |sim| {
        sim[host]
            .node
            .key_standing()
            .is_some_and(|(_, told)| told == standing)
    });
}

fn both_ping(world: &mut World, alice: HostId, bob: HostId) {
    let (alice_id, bob_id) = (world.id(alice), world.id(bob));
    assert!(ping(world, alice, Target::Agent(bob_id)).is_ok());
    assert!(ping(world, bob, Target::Agent(alice_id)).is_ok());
}

/// Bytes went through a stream that was open before a change of keys and after it.
#[test]
fn a_rotation_leaves_sessions_and_trust_and_connected_peers_learn_it_at_once() {
    let (mut world, alice, bob) = trusted(701, &lan());
    both_ping(&mut world, alice, bob);
    let before = world.sim[alice].node.peers().len();
    let (old, address) = (own(&world, alice), world.id(alice));
    world.change_keys(alice, rotated(1));
    assert_eq!(world.id(alice), address);
    assert_ne!(own(&world, alice).sign_key(), old.sign_key());
    assert_ne!(own(&world, alice).dh_key(), old.dh_key());
    let id = world.id(alice);
    let log = own(&world, alice);
    let took = world.until("bob knows", SECOND, |sim| {
        sim[bob].node.trust().peer_log(&id) == Some(&log)
    });
    assert!(took < SECOND / 2, "{took:?}");
    assert_eq!(world.sim[alice].node.peers().len(), before);
    both_ping(&mut world, alice, bob);
    let closed =
        |sim: &world::Agent| sim.count(|event| matches!(event, Event::SessionClosed { .. }));
    assert_eq!(closed(&world.sim[alice]) + closed(&world.sim[bob]), 0);
    // Rekeys under the new keys, both ways, and hours later.
    world.sim.run_for(2 * 3600 * SECOND);
    both_ping(&mut world, alice, bob);
    assert_eq!(link(&world, alice), LinkState::Registered);
}

#[test]
fn the_grants_are_signed_anew_and_survive_restarts_of_both() {
    let (mut world, alice, bob) = trusted(702, &lan());
    world.change_keys(alice, rotated(1));
    follows(&mut world, bob, alice);
    world.sim.run_for(5 * SECOND);
    let (alice_id, bob_id) = (world.id(alice), world.id(bob));
    let given = world.sim[alice]
        .node
        .trust()
        .given_grant(&bob_id)
        .unwrap()
        .clone();
    let received = world.sim[bob]
        .node
        .trust()
        .received_grant(&alice_id)
        .unwrap()
        .clone();
    assert_eq!(given, received);
    assert_eq!(given.envelope().unwrap().head.sequence, 1);
    world.crash_and_restart(alice, 1);
    world.crash_and_restart(bob, 2);
    world.sim.run_for(10 * SECOND);
    assert_eq!(own(&world, alice).sequence(), 1);
    both_ping(&mut world, alice, bob);
}

/// The rendezvous has no session with it any more, and its registry has the log.
#[test]
fn an_agent_that_ended_in_order_after_a_rotation_is_known_when_it_comes_back() {
    let (mut world, alice, bob) = trusted(713, &lan());
    world.change_keys(alice, rotated(1));
    world.sim.run_for(2 * SECOND);
    world.with(alice, |agent, now| agent.node.shutdown(now));
    world.sim.run_for(10 * SECOND);
    let crashed = world.crash(alice);
    world.restart(alice, 1, crashed);
    world.until("alice is registered", 5 * SECOND, |sim| {
        sim[alice].is_registered()
    });
    both_ping(&mut world, alice, bob);
}

#[test]
fn keys_that_changed_just_before_a_crash_are_told_after_it() {
    let (mut world, alice, bob) = trusted(703, &lan());
    let bob_id = world.id(bob);
    let mut crashed = world.crash(alice);
    crashed.change_keys(rotated(1));
    world.restart(alice, 1, crashed);
    follows(&mut world, bob, alice);
    world.sim.run_for(5 * SECOND);
    let given = world.sim[alice].node.trust().given_grant(&bob_id).unwrap();
    assert_eq!(given.envelope().unwrap().head.sequence, 1);
    both_ping(&mut world, alice, bob);
}

#[test]
fn a_peer_that_was_away_dials_by_the_old_key_without_a_rendezvous() {
    let (mut world, alice, bob) = trusted(704, &lan());
    both_ping(&mut world, alice, bob);
    let crashed = world.crash(bob);
    world.change_keys(alice, rotated(1));
    world.sim.run_for(5 * SECOND);
    world.crash_rendezvous();
    world.restart(bob, 2, crashed);
    let alice_id = world.id(alice);
    assert!(ping(&mut world, bob, Target::Agent(alice_id)).is_ok());
    follows(&mut world, bob, alice);
}

#[test]
fn a_peer_that_was_away_longer_than_the_old_key_answers_asks_the_rendezvous() {
    let (mut world, alice, bob) = trusted(705, &lan());
    let mut crashed = world.crash(bob);
    crashed.forget_sessions();
    for number in 1..6 {
        world.change_keys(alice, rotated(number));
        world.sim.run_for(2 * SECOND);
    }
    world.sim.run_for(25 * 3600 * SECOND);
    world.restart(bob, 2, crashed);
    world.sim.run_for(2 * SECOND);
    let alice_id = world.id(alice);
    assert!(ping(&mut world, bob, Target::Agent(alice_id)).is_ok());
    follows(&mut world, bob, alice);
    both_ping(&mut world, alice, bob);
}

#[test]
fn a_long_log_reaches_a_rendezvous_that_forgot_everything() {
    let (mut world, alice, bob) = trusted(706, &lan());
    for number in 1..20 {
        world.change_keys(alice, rotated(number));
        world.sim.run_for(SECOND);
    }
    follows(&mut world, bob, alice);
    world.crash_rendezvous();
    world.until("it is missed", 120 * SECOND, |sim| {
        let is_gone = |host| sim[host].node.status().rendezvous[0].1 != LinkState::Registered;
        is_gone(alice) && is_gone(bob)
    });
    world.start_rendezvous();
    let took = world.until("both are back", 300 * SECOND, |sim| {
        let is_back = |host| sim[host].node.status().rendezvous[0].1 == LinkState::Registered;
        is_back(alice) && is_back(bob)
    });
    // 20 entries in parts of three, one part a handshake.
    assert!(took > SECOND, "{took:?}");
    both_ping(&mut world, alice, bob);
}

/// The thief has everything that the owner had, and rotates first.
#[test]
fn a_thief_rotates_first_and_the_owner_recovers() {
    let (mut world, alice, bob) = trusted(707, &lan());
    let key = secure(&mut world, alice);
    follows(&mut world, bob, alice);
    let thief = world.add_copy(alice, lan());
    world.change_keys(thief, rotated(66));
    world.until("the thief is registered", 60 * SECOND, |sim| {
        sim[thief].is_registered()
    });
    is_refused(&mut world, alice, KeyStanding::SUPERSEDED);
    assert_eq!(link(&world, alice), LinkState::Refused);

    world.change_keys(alice, recovered(&key, 50));
    world.until("alice is registered", 30 * SECOND, |sim| {
        sim[alice].node.status().rendezvous[0].1 == LinkState::Registered
    });
    let bob_id = world.id(bob);
    assert!(ping(&mut world, alice, Target::Agent(bob_id)).is_ok());
    follows(&mut world, bob, alice);
    let pin = pinned(&world, bob, alice);
    assert_eq!((pin.generation(), pin.sequence()), (1, 0));
    is_refused(&mut world, thief, KeyStanding::SUPERSEDED);
    assert_eq!(link(&world, thief), LinkState::Refused);
    // Whatever it does, it stays out.
    world.change_keys(thief, rotated(67));
    world.sim.run_for(300 * SECOND);
    assert_eq!(link(&world, thief), LinkState::Refused);
    assert_eq!(pinned(&world, bob, alice), own(&world, alice));
    both_ping(&mut world, alice, bob);
}

#[test]
fn a_home_that_was_copied_sees_that_its_key_is_no_more_the_current_one() {
    let (mut world, alice, bob) = trusted(708, &lan());
    let crashed = world.crash(alice);
    world.restart(alice, 1, crashed);
    world.until("alice is back", 60 * SECOND, |sim| {
        sim[alice].node.status().rendezvous[0].1 == LinkState::Registered
    });
    let copy = world.add_copy(alice, lan());
    world.change_keys(alice, rotated(1));
    is_refused(&mut world, copy, KeyStanding::SUPERSEDED);
    world.sim.run_for(120 * SECOND);
    assert_eq!(link(&world, copy), LinkState::Refused);
    assert_eq!(own(&world, copy).sequence(), 0, "it does not fork");
    assert_eq!(link(&world, alice), LinkState::Registered);
    both_ping(&mut world, alice, bob);
}

#[test]
fn two_keys_at_one_place_freeze_the_agent_until_it_recovers() {
    let (mut world, alice, bob) = trusted(709, &lan());
    both_ping(&mut world, alice, bob);
    let key = secure(&mut world, alice);
    follows(&mut world, bob, alice);
    let thief = world.add_copy(alice, lan());
    world.change_keys(alice, rotated(1));
    follows(&mut world, bob, alice);
    world.change_keys(thief, rotated(2));
    let (alice_id, bob_id) = (world.id(alice), world.id(bob));
    let _ = ping(&mut world, thief, Target::Agent(bob_id));
    world.until("bob sees the fork", 60 * SECOND, |sim| {
        sim[bob].node.trust().is_frozen(&alice_id)
    });
    is_refused(&mut world, thief, KeyStanding::FORKED);
    // Neither is believed, and both are told.
    let refused = DialError::KeyRefused {
        standing: KeyStanding::FORKED,
    };
    assert_eq!(ping(&mut world, alice, Target::Agent(bob_id)), Err(refused));
    is_refused(&mut world, alice, KeyStanding::FORKED);
    let now = world.sim.network.now().unix;
    let bobs = world.sim[bob].node.trust();
    assert!(!bobs.has_granted(now, &alice_id) && !bobs.is_granted_by(now, &alice_id));
    assert_eq!(bobs.frozen(now).count(), 1);

    world.change_keys(alice, recovered(&key, 50));
    world.sim.run_for(5 * SECOND);
    assert!(ping(&mut world, alice, Target::Agent(bob_id)).is_ok());
    assert!(!world.sim[bob].node.trust().is_frozen(&alice_id));
    follows(&mut world, bob, alice);
    both_ping(&mut world, alice, bob);
}

/// The rendezvous goes on to hand out what it knew before; the owner reaches her peers without it.
#[test]
fn a_rendezvous_that_withholds_the_recovery_keeps_no_peer_from_it() {
    let (mut world, alice, bob) = trusted(710, &lan());
    both_ping(&mut world, alice, bob);
    let key = secure(&mut world, alice);
    follows(&mut world, bob, alice);
    let thief = world.add_copy(alice, lan());
    world.change_keys(thief, rotated(66));
    world.until("the thief is registered", 60 * SECOND, |sim| {
        sim[thief].is_registered()
    });
    // From here on nobody hears of anything new from it.
    world.crash_rendezvous();
    world.change_keys(alice, recovered(&key, 50));
    let (alice_id, bob_id) = (world.id(alice), world.id(bob));
    assert!(ping(&mut world, alice, Target::Agent(bob_id)).is_ok());
    follows(&mut world, bob, alice);
    let _ = ping(&mut world, thief, Target::Agent(bob_id));
    is_refused(&mut world, thief, KeyStanding::SUPERSEDED);
    assert_eq!(pinned(&world, bob, alice), own(&world, alice));
    assert!(ping(&mut world, bob, Target::Agent(alice_id)).is_ok());
}

#[test]
fn what_a_thief_signed_before_a_recovery_is_void_and_what_the_owner_gives_anew_holds() {
    let (mut world, alice, bob) = trusted(711, &lan());
    let key = secure(&mut world, alice);
    follows(&mut world, bob, alice);
    world.change_keys(alice, recovered(&key, 50));
    follows(&mut world, bob, alice);
    let (alice_id, bob_id) = (world.id(alice), world.id(bob));
    world.until("the grant under the new key is there", 10 * SECOND, |sim| {
        let now = sim.network.now().unix;
        sim[bob].node.trust().is_mutual(now, &alice_id)
    });
    let received = world.sim[bob]
        .node
        .trust()
        .received_grant(&alice_id)
        .unwrap();
    assert_eq!(received.envelope().unwrap().head.generation, 1);
    assert!(ping(&mut world, bob, Target::Agent(alice_id)).is_ok());
    assert!(ping(&mut world, alice, Target::Agent(bob_id)).is_ok());
}

#[test]
fn nothing_but_a_following_log_of_the_same_agent_is_taken() {
    let (mut world, alice, _) = registered(712, &lan());
    let refused = |agent: &mut world::Agent, now, identity| {
        agent.node.change_keys(now, identity).unwrap_err()
    };
    world.with(alice, |agent, now| {
        let other = Identity::generate(seed(5), 0);
        assert_eq!(refused(agent, now, other), KeysRefused::OtherAgent);
        let same = Identity::from_json(&agent.node.identity().to_json()).unwrap();
        let later = same.rotated(seed(6), ISSUED).unwrap();
        assert_eq!(refused(agent, now, same), KeysRefused::NotNewer);
        agent.node.change_keys(now, later).unwrap();
    });
}
