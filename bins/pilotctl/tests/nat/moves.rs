//! Networks that change, programs that stop, while data are on their way.

use std::thread::sleep;
use std::time::{Duration, Instant};

use pilot_lab::setting;

use super::roaming::{PATIENCE, World};
use super::sites::Behind;

/// Bytes a second of each agent's line, in the moves and while the rendezvous is away.
const FAST: u64 = 5_000_000;
const SLOW: u64 = 2_500_000;

/// A transfer between two homes during which something happens; `PILOT_MOVE_MB` sets its size. It arrives whole, the longest
/// gap is printed, and the path is direct again.
fn moving(what: &str, event: impl FnOnce(&mut World)) {
    moving_at(FAST, what, event);
}

/// [`moving`] by another line; a slow one carries less.
fn moving_at(rate: u64, what: &str, event: impl FnOnce(&mut World)) {
    let megabytes: usize = setting("PILOT_MOVE_MB", 20);
    let size = megabytes * 1_000_000 / (FAST / rate) as usize;
    let mut world = World::new([Behind::Cone; 2], rate);
    world.until_direct();
    let gap = world.pipe_through(size, event);
    let direct = world.until_direct();
    println!(
        "{what}: longest gap {} ms, direct {direct:.0?} after the last byte",
        gap.as_millis()
    );
    assert!(gap <= PATIENCE, "{what}: {gap:?}");
}

#[test]
#[ignore = "needs root for network namespaces; .ci/run runs it"]
fn a_transfer_goes_on_when_its_sender_moves() {
    moving("the sender moves", |world| world.alice.go());
}

#[test]
#[ignore = "needs root for network namespaces; .ci/run runs it"]
fn a_transfer_goes_on_when_its_receiver_moves() {
    moving("the receiver moves", |world| world.bob.go());
}

#[test]
#[ignore = "needs root for network namespaces; .ci/run runs it"]
fn a_transfer_goes_on_when_both_move() {
    moving("both move", |world| {
        world.alice.go();
        world.bob.go();
    });
}

#[test]
#[ignore = "needs root for network namespaces; .ci/run runs it"]
fn a_transfer_goes_on_when_a_router_gets_another_address() {
    // By a slow line the receiver has nothing to say but acknowledgements.
    moving_at(FAST / 8, "the receiver's router moves", |world| {
        world.bob.renumber_router(&world.internet);
    });
}

#[test]
#[ignore = "needs root for network namespaces; .ci/run runs it"]
fn a_transfer_goes_on_when_both_routers_restart() {
    moving("both routers forget", |world| {
        world.alice.restart_router();
        world.bob.restart_router();
    });
}

/// How long something is away, set by `PILOT_OUTAGE_SECONDS`.
fn outage() -> Duration {
    Duration::from_secs(setting("PILOT_OUTAGE_SECONDS", 10))
}

#[test]
#[ignore = "needs root for network namespaces; .ci/run runs it"]
fn a_direct_transfer_does_not_notice_that_the_rendezvous_is_gone() {
    let outage = outage();
    let mut world = World::new([Behind::Cone; 2], SLOW);
    world.until_direct();
    let size = SLOW as usize * (outage.as_secs() as usize + 3);
    let gap = world.pipe_through(size, |world| {
        world.internet.rendezvous.take().expect("it runs").kill();
        sleep(outage);
        assert!(world.is_direct());
        world.internet.rendezvous = Some(world.internet.server.rendezvous());
    });
    println!(
        "the rendezvous is away for {outage:?}: longest gap {} ms",
        gap.as_millis()
    );
    assert!(gap <= Duration::from_secs(3), "{gap:?}");
}

#[test]
#[ignore = "needs root for network namespaces; .ci/run runs it"]
fn a_transfer_goes_on_when_its_sender_comes_to_an_easier_network() {
    let size: usize = setting("PILOT_MOVE_MB", 20);
    let mut world = World::new([Behind::Symmetric, Behind::Cone], FAST);
    // By the relay, or by a port that was guessed by then.
    let [before, _] = world.paths();
    let gap = world.pipe_through(size * 1_000_000, |world| world.alice.go());
    let direct = world.until_direct();
    println!(
        "from {before} to an easier network: longest gap {} ms, direct {direct:.0?} after the last byte",
        gap.as_millis()
    );
    assert!(gap <= PATIENCE, "{gap:?}");
}

#[test]
#[ignore = "needs root for network namespaces; .ci/run runs it"]
fn a_transfer_by_the_relay_goes_on_when_its_receiver_moves() {
    let size: usize = setting("PILOT_MOVE_MB", 20);
    let mut world = World::new([Behind::Symmetric; 2], FAST);
    let gap = world.pipe_through(size * 1_000_000, |world| world.bob.go());
    // Alice's router is a hard one as before: what is direct now was guessed.
    let [after, _] = world.paths();
    println!(
        "by the relay, the receiver moves: longest gap {} ms, {after} at the end",
        gap.as_millis()
    );
    assert!(gap <= PATIENCE, "{gap:?}");
}

#[test]
#[ignore = "needs root for network namespaces; .ci/run runs it"]
fn an_agent_that_restarts_without_a_rendezvous_reaches_whom_it_knew() {
    let mut world = World::new([Behind::Cone, Behind::FullCone], FAST);
    world.until_direct();
    let rendezvous = world.internet.rendezvous.take().expect("it runs");
    let url = rendezvous.url.clone();
    rendezvous.kill();
    let alice = &mut world.alice.site;
    alice.kill(false);
    let daemon = alice.machine.daemon(&["--rendezvous", &url]);
    alice.daemon = Some(daemon);
    let (answer, took) = alice.machine.ask(&["ping", "bob"]).data();
    println!(
        "without a rendezvous: {} after {took:.0?}",
        answer["results"][0]
    );
    assert_eq!(answer["results"][0]["path"], "direct");
}

#[test]
#[ignore = "needs root for network namespaces; .ci/run runs it"]
fn an_agent_that_was_stopped_talks_again_when_it_goes_on() {
    let outage = outage();
    let world = World::new([Behind::Cone; 2], FAST);
    world.until_direct();
    let (alice, bob) = (&world.alice.site, &world.bob.site);
    for (stopped, from, to) in [(bob, alice, "bob"), (alice, alice, "bob")] {
        let daemon = stopped.daemon.as_ref().expect("it runs");
        daemon.suspend();
        sleep(outage);
        daemon.resume();
        let awake = Instant::now();
        let ping = from.machine.data(&["ping", to]);
        let (took, path) = (awake.elapsed(), &ping["results"][0]["path"]);
        let direct = world.until_direct();
        println!(
            "{} stopped for {outage:?}: traffic {} ms after it goes on, by {path}, direct {direct:.0?} later",
            stopped.name,
            took.as_millis()
        );
    }
}
