//! Crashes and silence: who notices, who comes together again, and what becomes of streams.

mod rendezvous;

use std::time::Duration;

use pilot_node::{DialOptions, Event, QueryError, SessionKey, StreamHandle, Target};
use pilot_sim::{HostId, LinkConfig, Place, Probability, Sim};
use pilot_types::{AgentId, Port, UnixTime};
use pilot_wire::ErrorCode;

use super::world::{Agent, World};
use super::{SECOND, lan, name, ping, seeds, trusted};

/// How soon two agents are connected again after both run again.
const RECONNECTED: Duration = Duration::from_secs(5);
/// How soon streams of an old life have ended.
const ENDED: Duration = Duration::from_secs(10);
/// When the streams to a peer that is gone for good have ended, at the latest.
const GIVEN_UP: Duration = Duration::from_secs(40);

/// The delays of [`lan`] without loss, and with 10 % each way.
fn links() -> [LinkConfig; 2] {
    let lossy = LinkConfig {
        loss: Probability::percent(10.0),
        ..lan()
    };
    [lan(), lossy]
}

/// `test` with many seeds, without and with loss.
fn over_links(test: impl Fn(u64, &LinkConfig)) {
    for (number, link) in links().iter().enumerate() {
        for seed in 0..seeds(8) {
            test(number as u64 * 10_000 + 2000 + seed, link);
        }
    }
}

/// Alice and Bob with a session, and Bob listening on the echo port.
fn connected(seed: u64, link: &LinkConfig) -> (World, HostId, HostId) {
    let (mut world, alice, bob) = trusted(seed, link);
    // One in a thousand first contacts is unlucky for 10 s, and the next one may join its last copy.
    let mut connects = || ping(&mut world, alice, Target::Hostname(name("bob"))).is_ok();
    assert!(connects() || connects() || connects(), "seed {seed}");
    world.with(bob, |agent, _| {
        agent.node.listen(Port::ECHO);
        agent.echo = Some(Port::ECHO);
    });
    // The list for the next start is written at most once a second.
    world.sim.run_for(2 * SECOND);
    (world, alice, bob)
}

/// A stream from Alice to Bob's echo port.
fn open(world: &mut World, from: HostId, to: AgentId) -> StreamHandle {
    let dial = world.with(from, |agent, now| {
        let target = Target::Agent(to);
        agent
            .node
            .dial(now, target, Port::ECHO, DialOptions::default())
            .unwrap()
    });
    let mut stream = None;
    world.until("dialled", 15 * SECOND, |sim| {
        stream = sim[from].log.iter().find_map(|event| match event {
            Event::Dialed {
                dial: id, stream, ..
            } if *id == dial => Some(*stream),
            _ => None,
        });
        stream.is_some()
    });
    stream.unwrap()
}

/// Whether a stream ended with an error.
fn is_broken(agent: &Agent, stream: StreamHandle) -> bool {
    agent.incoming[&stream].error.is_some()
}

/// Waits until both have a session with each other, without a command; then either reaches the other one in it.
fn reconnected(world: &mut World, alice: HostId, bob: HostId) -> Duration {
    let has = |sim: &Sim<Agent>, one: HostId, other: HostId| {
        let peer = sim[other].node.agent();
        sim[one].node.has_live_session(&peer)
    };
    let took = world.until("both are connected again", RECONNECTED, |sim| {
        has(sim, alice, bob) && has(sim, bob, alice)
    });
    for (from, to) in [(alice, bob), (bob, alice)] {
        let target = Target::Agent(world.id(to));
        let pong = ping(world, from, target);
        assert!(pong.is_ok(), "{pong:?} after {took:?}");
    }
    took
}

/// The sessions that ended, and why.
fn ended(agent: &Agent) -> Vec<(SessionKey, ErrorCode)> {
    let closed = agent.log.iter().filter_map(|event| match event {
        Event::SessionClosed { session, code, .. } => Some((*session, *code)),
        _ => None,
    });
    closed.collect()
}

#[test]
fn a_restarted_agent_shakes_hands_with_its_live_peers_without_a_command() {
    over_links(|seed, link| {
        let (mut world, alice, bob) = connected(seed, link);
        let bob_id = world.id(bob);
        let stream = open(&mut world, alice, bob_id);
        world.with(alice, |agent, now| {
            agent.send(now, stream, &vec![7; 5_000_000]);
        });
        world.sim.run_for(SECOND / 10);
        world.crash_and_restart(bob, 2);
        reconnected(&mut world, alice, bob);
        world.until("the old stream ended", ENDED, |sim| {
            is_broken(&sim[alice], stream)
        });
    });
}

#[test]
fn a_restarted_agent_needs_no_rendezvous_to_find_its_peers() {
    over_links(|seed, link| {
        let (mut world, alice, bob) = connected(seed, link);
        world.crash_rendezvous();
        world.crash_and_restart(bob, 2);
        reconnected(&mut world, alice, bob);
        world.crash_and_restart(alice, 1);
        reconnected(&mut world, alice, bob);
    });
}

#[test]
fn two_agents_that_crash_together_find_each_other() {
    over_links(|seed, link| {
        let (mut world, alice, bob) = connected(seed, link);
        let (a, b) = (world.crash(alice), world.crash(bob));
        world.sim.run_for(3 * SECOND);
        world.restart(alice, 1, a);
        world.restart(bob, 2, b);
        reconnected(&mut world, alice, bob);
    });
}

#[test]
fn a_survivor_reconnects_though_the_restarted_one_forgot_its_sessions() {
    over_links(|seed, link| {
        let (mut world, alice, bob) = connected(seed, link);
        let bob_id = world.id(bob);
        let mut crashed = world.crash(bob);
        crashed.forget_sessions();
        // Something is in flight: she notices.
        let stream = open(&mut world, alice, bob_id);
        world.with(alice, |agent, now| agent.send(now, stream, &[7; 1000]));
        world.sim.run_for(20 * SECOND);
        world.restart(bob, 2, crashed);
        reconnected(&mut world, alice, bob);
        world.until("the old stream ended", ENDED, |sim| {
            is_broken(&sim[alice], stream)
        });
    });
}

#[test]
fn a_survivor_goes_on_to_reconnect_for_minutes_and_then_rests() {
    over_links(|seed, link| {
        let (mut world, alice, bob) = connected(seed, link);
        let bob_id = world.id(bob);
        let mut crashed = world.crash(bob);
        crashed.forget_sessions();
        let stream = open(&mut world, alice, bob_id);
        world.with(alice, |agent, now| agent.send(now, stream, &[7; 1000]));
        world.sim.run_for(200 * SECOND);
        assert!(is_broken(&world.sim[alice], stream), "seed {seed}");
        world.restart(bob, 2, crashed);
        reconnected(&mut world, alice, bob);
    });
    let (mut world, alice, bob) = connected(1, &lan());
    let bob_id = world.id(bob);
    drop(world.crash(bob));
    let stream = open(&mut world, alice, bob_id);
    world.with(alice, |agent, now| agent.send(now, stream, &[7; 1000]));
    world.sim.run_for(330 * SECOND);
    let started = world.sim[alice].node.status().handshakes.started;
    world.sim.run_for(3000 * SECOND);
    let more = world.sim[alice].node.status().handshakes.started - started;
    // What is left are the rekeys of the session with the rendezvous; attempts every 2 s would be 1,500.
    assert!(more <= 4, "{more} handshakes after giving up");
}

#[test]
fn a_restarted_agent_elsewhere_is_found_by_the_survivor() {
    over_links(|seed, link| {
        let (mut world, alice, bob) = connected(seed, link);
        let bob_id = world.id(bob);
        let mut crashed = world.crash(bob);
        crashed.forget_sessions();
        let stream = open(&mut world, alice, bob_id);
        world.with(alice, |agent, now| agent.send(now, stream, &[7; 1000]));
        world.sim.run_for(2 * SECOND);
        let from = world.sim.network.address(bob);
        let to = "203.0.113.77".parse().unwrap();
        world
            .sim
            .network
            .move_interface(bob, from, Place::Internet, to);
        world.sim.network.set_link(bob, *link);
        world.restart(bob, 2, crashed);
        world.until("registered at its new address", 10 * SECOND, |sim| {
            sim[bob].is_registered()
        });
        reconnected(&mut world, alice, bob);
    });
}

#[test]
fn a_clock_that_an_hour_was_taken_from_keeps_nobody_out() {
    over_links(|seed, link| {
        let (mut world, alice, bob) = connected(seed, link);
        let crashed = world.crash(bob);
        let now = world.sim.network.now_at(bob).unix;
        let back = UnixTime::from_millis(now.as_millis() - 3_600_000);
        world.sim.network.set_wall_clock(bob, back);
        world.restart(bob, 2, crashed);
        reconnected(&mut world, alice, bob);
        world.until("registered with that clock", 10 * SECOND, |sim| {
            sim[bob].is_registered()
        });
        // What others sign now is of the future to it.
        find_each_other(&mut world, alice, bob);
    });
}

#[test]
fn a_rendezvous_that_an_hour_was_taken_from_keeps_nobody_out() {
    over_links(|seed, link| {
        let (mut world, alice, bob) = connected(seed, link);
        world.crash_rendezvous();
        let rendezvous = world.rendezvous;
        let now = world.sim.network.now_at(rendezvous).unix;
        let back = UnixTime::from_millis(now.as_millis() - 3_600_000);
        world.sim.network.set_wall_clock(rendezvous, back);
        world.start_rendezvous();
        for (number, host) in [(1, alice), (2, bob)] {
            world.crash_and_restart(host, number);
        }
        world.until("both registered there", 20 * SECOND, |sim| {
            sim[alice].is_registered() && sim[bob].is_registered()
        });
        reconnected(&mut world, alice, bob);
        find_each_other(&mut world, alice, bob);
    });
}

/// Either asks the rendezvous for the other one's record, and believes it, as soon as both told it of their trust.
fn find_each_other(world: &mut World, alice: HostId, bob: HostId) {
    for (from, to) in [(alice, "bob"), (bob, "alice")] {
        let mut answers = (0..10).map(|_| {
            world.sim.run_for(SECOND);
            look_up(world, from, to)
        });
        let found = answers.find(|answer| *answer != Err(QueryError::NotFound));
        assert_eq!(found, Some(Ok(())), "{to}");
    }
}

fn look_up(world: &mut World, from: HostId, hostname: &str) -> Result<(), QueryError> {
    let target = Target::Hostname(name(hostname));
    let asked = world.with(from, |agent, now| agent.node.lookup(now, target));
    let mut answer = None;
    world.until("answered", 15 * SECOND, |sim| {
        answer = sim[from].log.iter().find_map(|event| match event {
            Event::Answered { query, result } if *query == asked => Some(result.clone().map(drop)),
            _ => None,
        });
        answer.is_some()
    });
    answer.unwrap()
}

#[test]
fn streams_to_a_peer_that_never_comes_back_end() {
    over_links(|seed, link| {
        let (mut world, alice, bob) = connected(seed, link);
        let bob_id = world.id(bob);
        let stream = open(&mut world, alice, bob_id);
        world.with(alice, |agent, now| {
            agent.send(now, stream, &vec![7; 50_000_000]);
        });
        world.sim.run_for(SECOND / 2);
        drop(world.crash(bob));
        let took = world.until("the writer learns it", GIVEN_UP, |sim| {
            is_broken(&sim[alice], stream)
        });
        assert!(
            took >= 25 * SECOND,
            "seed {seed}: an outage of {took:?} is not the end"
        );
    });
}

#[test]
fn an_outage_shorter_than_half_a_minute_breaks_no_stream() {
    over_links(|seed, link| {
        let (mut world, alice, bob) = connected(seed, link);
        let bob_id = world.id(bob);
        let stream = open(&mut world, alice, bob_id);
        let bytes: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
        world.with(alice, |agent, now| agent.send(now, stream, &bytes));
        world.sim.run_for(SECOND / 20);
        world.sim.network.set_up(bob, false);
        world.sim.run_for(20 * SECOND);
        world.sim.network.set_up(bob, true);
        world.until("everything came back", 120 * SECOND, |sim| {
            sim[alice].incoming[&stream].is_ended
        });
        assert!(
            world.sim[alice].incoming[&stream].bytes == bytes,
            "seed {seed}"
        );
        let codes = ended(&world.sim[alice]);
        assert!(codes.is_empty(), "seed {seed}: {codes:?}");
    });
}

#[test]
fn who_left_in_order_is_not_dialled_by_the_one_that_stayed() {
    over_links(|seed, link| {
        let (mut world, alice, bob) = connected(seed, link);
        world.with(bob, |agent, now| agent.node.shutdown(now));
        world.sim.run_for(3 * SECOND);
        let crashed = world.crash(bob);
        // A CLOSE is not repeated: where it is lost, the peer is one that went without a word.
        let has_heard = world.sim[alice].node.peers().is_empty();
        let started = world.sim[alice].node.status().handshakes.started;
        world.sim.run_for(30 * SECOND);
        let more = world.sim[alice].node.status().handshakes.started - started;
        assert!(more == 0 || !has_heard, "seed {seed}: {more}");
        world.restart(bob, 2, crashed);
        reconnected(&mut world, alice, bob);
    });
}

#[test]
fn a_session_that_we_close_tells_its_code_once_and_keeps_it() {
    over_links(|seed, link| {
        let (mut world, alice, bob) = connected(seed, link);
        let bob_id = world.id(bob);
        let stream = open(&mut world, alice, bob_id);
        let codes = |world: &mut World| {
            world.with(alice, |agent, now| {
                let read = agent.node.read(now, stream, &mut [0; 8]);
                let written = agent.node.write(now, stream, b"late");
                [read.unwrap_err().code, written.unwrap_err().code]
            })
        };
        world.with(alice, |agent, now| {
            agent.node.untrust(now, &bob_id).unwrap();
        });
        let revoked = [ErrorCode::REVOKED; 2];
        assert_eq!(codes(&mut world), revoked, "seed {seed}, while it drains");
        world.sim.run_for(10 * SECOND);
        assert_eq!(codes(&mut world), revoked, "seed {seed}, after it drained");
        let told: Vec<ErrorCode> = ended(&world.sim[alice])
            .into_iter()
            .filter(|(session, _)| *session == stream.session)
            .map(|(_, code)| code)
            .collect();
        assert_eq!(told, [ErrorCode::REVOKED], "seed {seed}");
    });
}

#[test]
fn what_was_finished_is_delivered_or_said_not_to_be() {
    over_links(|seed, link| {
        let (mut world, alice, bob) = connected(seed, link);
        let bob_id = world.id(bob);
        let bytes = vec![7; 50_000];
        let delivered = |sim: &Sim<Agent>, stream| sim[alice].node.is_delivered(stream);
        let stream = open(&mut world, alice, bob_id);
        world.with(alice, |agent, now| agent.send(now, stream, &bytes));
        assert_eq!(delivered(&world.sim, stream), Ok(false), "seed {seed}");
        let told = world.sim[alice].node.undelivered();
        assert_eq!((told.streams, told.silent), (1, 0), "seed {seed}");
        assert!(told.bytes > 40_000, "seed {seed}: {told:?}");
        world.until("delivered", 30 * SECOND, |sim| {
            delivered(sim, stream) == Ok(true)
        });
        let told = world.sim[alice].node.undelivered();
        assert_eq!(told.streams, 0, "seed {seed}: {told:?}");

        // Bob is gone before the next one arrives, for good.
        let stream = open(&mut world, alice, bob_id);
        world.crash(bob);
        world.with(alice, |agent, now| agent.send(now, stream, &bytes));
        world.sim.run_for(SECOND * 3);
        assert_eq!(delivered(&world.sim, stream), Ok(false), "seed {seed}");
        let told = world.sim[alice].node.undelivered();
        assert_eq!((told.streams, told.silent), (1, 1), "seed {seed}");
        world.until("told", GIVEN_UP, |sim| delivered(sim, stream).is_err());
    });
}
