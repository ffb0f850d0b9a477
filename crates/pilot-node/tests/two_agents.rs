//! Whole nodes in the simulator: a rendezvous, agents that find and approve each other, and what strangers see.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails where it cannot go on, and looks for the one event that it waits for"
)]

mod groups;
mod keys;
mod letters;
mod nats;
mod recovery;
mod world;

use std::time::Duration;

use pilot_node::{Answer, DialError, DialOptions, Event, Profile, QueryError, Target};
use pilot_sim::{HostId, LinkConfig};
use pilot_types::{Hostname, NodeId, Port};
use pilot_wire::{ErrorCode, KnockTarget};
use world::World;

const SECOND: Duration = Duration::from_secs(1);

fn name(text: &str) -> Hostname {
    text.parse().unwrap()
}

/// A rendezvous, `alice` and `bob`, registered.
fn registered(seed: u64, link: &LinkConfig) -> (World, HostId, HostId) {
    let mut world = World::new(seed, *link);
    let alice = world.add_agent("alice", Profile::default(), *link);
    let bob = world.add_agent("bob", Profile::default(), *link);
    world.until("both registered", 30 * SECOND, |sim| {
        sim[alice].is_registered() && sim[bob].is_registered()
    });
    (world, alice, bob)
}

/// Alice knocks, Bob approves, both trust.
fn trusted(seed: u64, link: &LinkConfig) -> (World, HostId, HostId) {
    let (mut world, alice, bob) = registered(seed, link);
    befriend(&mut world, alice, bob);
    (world, alice, bob)
}

fn befriend(world: &mut World, alice: HostId, bob: HostId) {
    let (alice_id, bob_id) = (world.id(alice), world.id(bob));
    world.with(alice, |agent, now| {
        agent
            .node
            .knock(now, KnockTarget::Agent(bob_id), "work")
            .unwrap()
    });
    world.until("knock arrived", 10 * SECOND, |sim| {
        sim[bob].node.trust().pending().count() == 1
    });
    world.with(bob, |agent, now| {
        let terms = agent.node.trust().default_terms(now.unix);
        agent.node.approve(now, &alice_id, terms).unwrap();
    });
    world.until("trust holds", 10 * SECOND, |sim| {
        let unix = sim.network.now().unix;
        sim[alice].node.trust().is_mutual(unix, &bob_id)
            && sim[bob].node.trust().is_mutual(unix, &alice_id)
    });
}

fn ping(world: &mut World, from: HostId, to: Target) -> Result<Duration, DialError> {
    let dial = world.with(from, |agent, now| agent.node.ping(now, to, 32).unwrap());
    let mut outcome = None;
    world.until("ping ended", 15 * SECOND, |sim| {
        outcome = sim[from].log.iter().find_map(|event| match event {
            Event::Pong { dial: id, rtt, .. } if *id == dial => Some(Ok(*rtt)),
            Event::DialFailed { dial: id, error } if *id == dial => Some(Err(error.clone())),
            _ => None,
        });
        outcome.is_some()
    });
    outcome.unwrap()
}

/// Dials the peer's port and sends `bytes`; gives what came back and the error, if any.
fn exchange(
    world: &mut World,
    from: HostId,
    to: &str,
    port: Port,
    bytes: &[u8],
) -> (Vec<u8>, Option<ErrorCode>) {
    let dial = world.with(from, |agent, now| {
        agent
            .node
            .dial(
                now,
                Target::Hostname(name(to)),
                port,
                DialOptions::default(),
            )
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
    let stream = stream.unwrap();
    world.with(from, |agent, now| agent.send(now, stream, bytes));
    world.until("answered", 600 * SECOND, |sim| {
        let inbox = &sim[from].incoming[&stream];
        inbox.is_ended || inbox.error.is_some()
    });
    let inbox = world.sim[from].incoming.get(&stream).unwrap();
    (inbox.bytes.clone(), inbox.error)
}

fn lan() -> LinkConfig {
    LinkConfig::delay(Duration::from_millis(10))
}

#[test]
fn two_agents_find_approve_and_ping_each_other() {
    let (mut world, alice, bob) = trusted(1, &lan());
    let rtt = ping(&mut world, alice, Target::Hostname(name("bob"))).unwrap();
    assert!(
        rtt >= Duration::from_millis(40),
        "two access links of 10 ms each way: {rtt:?}"
    );
    let bob_node = world.id(bob).node();
    assert!(ping(&mut world, alice, Target::Node(bob_node)).is_ok());
    assert!(ping(&mut world, bob, Target::Hostname(name("alice"))).is_ok());
}

#[test]
fn a_stream_carries_bytes_both_ways_and_half_closes() {
    let (mut world, alice, bob) = trusted(2, &lan());
    world.with(bob, |agent, _| {
        assert!(agent.node.listen(Port::ECHO));
        agent.echo = Some(Port::ECHO);
    });
    let bytes: Vec<u8> = (0..300_000_u32).map(|i| (i % 251) as u8).collect();
    let (answer, error) = exchange(&mut world, alice, "bob", Port::ECHO, &bytes);
    assert_eq!(error, None);
    assert!(
        answer == bytes,
        "{} bytes came back of {}",
        answer.len(),
        bytes.len()
    );
}

#[test]
fn a_stranger_learns_nothing_of_a_private_agent() {
    let (mut world, alice, bob) = registered(3, &lan());
    let bob_node = world.id(bob).node();
    let nobody = NodeId::new(bob_node.to_u64() ^ 1).unwrap();
    for target in [
        Target::Hostname(name("bob")),
        Target::Hostname(name("nobody")),
        Target::Node(bob_node),
        Target::Node(nobody),
    ] {
        assert_eq!(
            ping(&mut world, alice, target.clone()),
            Err(DialError::NotFound),
            "{target:?}"
        );
        let query = world.with(alice, |agent, now| agent.node.lookup(now, target.clone()));
        world.until("answered", 10 * SECOND, |sim| {
            sim[alice]
                .count(|event| matches!(event, Event::Answered { query: id, .. } if *id == query))
                == 1
        });
        let not_found = |event: &Event| matches!(event, Event::Answered { query: id, result: Err(QueryError::NotFound) } if *id == query);
        assert_eq!(world.sim[alice].count(not_found), 1, "{target:?}");
    }
    assert_eq!(
        world.sim[bob].node.sessions(),
        1,
        "only the rendezvous talks to bob"
    );
}

#[test]
fn a_public_agent_is_found_but_not_reached() {
    let mut world = World::new(4, lan());
    let alice = world.add_agent("alice", Profile::default(), lan());
    let open = world.add_agent(
        "open",
        Profile {
            is_public: true,
            ..Profile::default()
        },
        lan(),
    );
    world.until("both registered", 30 * SECOND, |sim| {
        sim[alice].is_registered() && sim[open].is_registered()
    });
    let agent = world.id(open);
    let query = world.with(alice, |agent, now| {
        agent.node.lookup(now, Target::Hostname(name("open")))
    });
    world.until("found", 10 * SECOND, |sim| {
        let found = |event: &Event| match event {
            Event::Answered {
                query: id,
                result: Ok(Answer::Entry(entry)),
            } => *id == query && entry.agent == agent,
            _ => false,
        };
        sim[alice].count(found) == 1
    });
    assert_eq!(
        ping(&mut world, alice, Target::Hostname(name("open"))),
        Err(DialError::NotTrusted { agent })
    );
}

#[test]
fn only_granted_ports_are_reached() {
    let (mut world, alice, bob) = trusted(5, &lan());
    let hidden = Port::new(8080);
    world.with(bob, |agent, _| assert!(agent.node.listen(hidden)));
    let (_, error) = exchange(&mut world, alice, "bob", hidden, b"let me in");
    assert_eq!(error, Some(ErrorCode::NOT_TRUSTED));
    let (_, error) = exchange(&mut world, alice, "bob", Port::STDIO, b"nobody listens");
    assert_eq!(error, Some(ErrorCode::REFUSED));
}

#[test]
fn untrust_closes_the_session_and_ends_what_the_peer_may() {
    let (mut world, alice, bob) = trusted(6, &lan());
    ping(&mut world, alice, Target::Hostname(name("bob"))).unwrap();
    let alice_id = world.id(alice);
    world.with(bob, |agent, now| {
        agent.node.untrust(now, &alice_id).unwrap();
    });
    world.until("alice heard of it", SECOND, |sim| {
        sim[alice].count(|event| {
            matches!(
                event,
                Event::SessionClosed {
                    code: ErrorCode::REVOKED,
                    ..
                }
            )
        }) > 0
    });
    world.sim.run_for(SECOND);
    let error = ping(&mut world, alice, Target::Hostname(name("bob"))).unwrap_err();
    assert!(
        matches!(error, DialError::NotFound | DialError::NotTrusted { .. }),
        "{error:?}"
    );
}

#[test]
fn crossing_knocks_approve_each_other() {
    let (mut world, alice, bob) = registered(7, &lan());
    let (alice_id, bob_id) = (world.id(alice), world.id(bob));
    world.with(alice, |agent, now| {
        agent
            .node
            .knock(now, KnockTarget::Hostname(name("bob")), "")
            .unwrap()
    });
    world.with(bob, |agent, now| {
        agent
            .node
            .knock(now, KnockTarget::Node(alice_id.node()), "")
            .unwrap()
    });
    world.until("trust holds", 10 * SECOND, |sim| {
        let unix = sim.network.now().unix;
        sim[alice].node.trust().is_mutual(unix, &bob_id)
            && sim[bob].node.trust().is_mutual(unix, &alice_id)
    });
}

#[test]
fn knocks_that_cross_by_name_approve_each_other() {
    let (mut world, alice, bob) = registered(11, &lan());
    let (alice_id, bob_id) = (world.id(alice), world.id(bob));
    for (from, to) in [(alice, "bob"), (bob, "alice")] {
        world.with(from, |agent, now| {
            agent
                .node
                .knock(now, KnockTarget::Hostname(name(to)), "")
                .unwrap()
        });
    }
    world.until("trust holds", 10 * SECOND, |sim| {
        let unix = sim.network.now().unix;
        sim[alice].node.trust().is_mutual(unix, &bob_id)
            && sim[bob].node.trust().is_mutual(unix, &alice_id)
    });
}

#[test]
fn a_session_outlives_many_rekeys_and_stays_quiet_between() {
    let (mut world, alice, bob) = trusted(12, &lan());
    for _ in 0..20 {
        ping(&mut world, alice, Target::Hostname(name("bob"))).unwrap();
        world.sim.run_for(100 * SECOND);
    }
    assert!(world.sim[bob].node.trust().pending().count() == 0);
}

#[test]
fn a_taken_hostname_is_refused() {
    let (mut world, alice, _) = registered(8, &lan());
    let thief = world.add_agent("alice", Profile::default(), lan());
    world.until("refused", 10 * SECOND, |sim| {
        let refused = |event: &Event| {
            matches!(
                event,
                Event::Registered {
                    result: Err(QueryError::Refused {
                        code: pilot_registry::RefusalCode::AlreadyExists,
                        ..
                    }),
                    ..
                }
            )
        };
        sim[thief].count(refused) > 0
    });
    assert!(world.sim[alice].is_registered());
}

#[test]
fn a_restarted_agent_keeps_trust_and_is_reached_again() {
    let (mut world, alice, bob) = trusted(9, &lan());
    ping(&mut world, alice, Target::Hostname(name("bob"))).unwrap();
    world.crash_and_restart(bob, 2);
    world.until("registered again", 10 * SECOND, |sim| {
        sim[bob].is_registered()
    });
    assert!(
        ping(&mut world, bob, Target::Hostname(name("alice"))).is_ok(),
        "the restarted one dials"
    );
    assert!(
        ping(&mut world, alice, Target::Hostname(name("bob"))).is_ok(),
        "the survivor dials"
    );
    world.crash_and_restart(alice, 1);
    world.until("registered again", 10 * SECOND, |sim| {
        sim[alice].is_registered()
    });
    assert!(
        ping(&mut world, bob, Target::Hostname(name("alice"))).is_ok(),
        "the survivor dials first"
    );
}

#[test]
fn a_survivor_notices_a_silent_crash() {
    let (mut world, alice, bob) = trusted(10, &lan());
    ping(&mut world, alice, Target::Hostname(name("bob"))).unwrap();
    world.crash_and_restart(bob, 2);
    // Nobody tells alice; her next packets go unanswered, and she shakes hands anew.
    let took = ping(&mut world, alice, Target::Hostname(name("bob")));
    let again = ping(&mut world, alice, Target::Hostname(name("bob")));
    assert!(took.is_ok() || again.is_ok(), "{took:?} then {again:?}");
}

#[test]
fn everything_works_over_bad_links_and_goes_quiet() {
    for seed in 0..seeds(20) {
        let link = LinkConfig {
            loss: pilot_sim::Probability::percent(10.0),
            ..LinkConfig::delay(Duration::from_millis(15))
        };
        let (mut world, alice, bob) = trusted(1000 + seed, &link);
        world.with(bob, |agent, _| {
            agent.node.listen(Port::ECHO);
            agent.echo = Some(Port::ECHO);
        });
        let bytes: Vec<u8> = (0..20_000_u32).map(|i| (i % 241) as u8).collect();
        let (answer, error) = exchange(&mut world, alice, "bob", Port::ECHO, &bytes);
        assert_eq!(error, None, "seed {seed}");
        assert!(
            answer == bytes,
            "seed {seed}: {} of {} bytes",
            answer.len(),
            bytes.len()
        );
        // Keep-alives of the rendezvous sessions go on; between them nothing runs.
        world.sim.run_for(120 * SECOND);
    }
}

/// How many seeds to run; `PILOT_SEEDS` multiplies it for a longer search.
fn seeds(default: u64) -> u64 {
    std::env::var("PILOT_SEEDS")
        .ok()
        .and_then(|text| text.parse::<u64>().ok())
        .map_or(default, |factor| default * factor)
}
