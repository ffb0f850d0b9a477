//! Many relays: agents that are relays for those who trust them, and relays that are no registries.

use pilot_trust::Terms;
use pilot_types::PathId;

use super::*;

/// Alice and Bob behind NATs that let nobody through, and Carol, whom both trust, on a public address.
fn three(seed: u64) -> (World, [HostId; 3]) {
    let (mut world, alice, bob) = behind(seed, [Behind::Hard, Behind::Hard]);
    let link = LinkConfig::delay(Duration::from_millis(10));
    let carol = world.add_agent("carol", Profile::default(), link);
    world.until("Carol is registered", 30 * SECOND, |sim| {
        sim[carol].is_registered()
    });
    for host in [alice, bob] {
        befriend(&mut world, host, carol);
    }
    (world, [alice, bob, carol])
}

fn call(world: &mut World, from: HostId, to: &str) -> Result<Duration, DialError> {
    ping(world, from, Target::Hostname(name(to)))
}

/// Both have a session with Carol, none with each other any more, and the rendezvous is gone.
fn alone_with_carol(world: &mut World, [alice, bob, carol]: [HostId; 3]) {
    world.with(carol, |agent, now| agent.node.relay_for_trusted(now, true));
    for host in [alice, bob] {
        call(world, host, "carol").unwrap();
    }
    run(world, 5 * SECOND);
    world.crash_rendezvous();
    // Whatever session Alice and Bob had is over; those with Carol are kept alive.
    run(world, 300 * SECOND);
    for (host, other) in [(alice, bob), (bob, alice)] {
        let peers = world.sim[host].node.peers();
        assert!(peers.iter().all(|peer| peer.agent != world.id(other)));
        assert!(peers.iter().any(|peer| peer.agent == world.id(carol)));
    }
}

#[test]
fn a_trusted_agent_joins_two_others_when_there_is_no_rendezvous() {
    let (mut world, hosts) = three(39_000);
    let [alice, bob, carol] = hosts;
    alone_with_carol(&mut world, hosts);
    let rtt = call(&mut world, alice, "bob").unwrap();
    assert!(rtt < SECOND, "{rtt:?}");
    let carol_addr = SocketAddr::from(([203, 0, 113, 3], AGENT_PORT));
    let bob_id = world.id(bob);
    let report = world.sim[alice].node.path_report(&bob_id);
    let used = report.iter().find(|path| path.state == PathState::InUse);
    let used = used.map(|path| path.path);
    let Some(PathId::Relay { relay, .. }) = used else {
        panic!("{used:?}");
    };
    assert_eq!(relay.0, carol_addr);
    let stats = world.sim[carol].node.relay_stats().unwrap();
    assert!(stats.channels > 0 && stats.datagrams > 0, "{stats:?}");
}

#[test]
fn who_is_no_relay_is_none() {
    let (mut world, [alice, bob, carol]) = three(39_100);
    for host in [alice, bob] {
        call(&mut world, host, "carol").unwrap();
    }
    run(&mut world, 5 * SECOND);
    world.crash_rendezvous();
    run(&mut world, 300 * SECOND);
    assert!(call(&mut world, alice, "bob").is_err());
    assert!(world.sim[carol].node.relay_stats().is_none());
}

#[test]
fn a_relay_serves_whom_it_trusts_and_no_longer() {
    let (mut world, hosts) = three(39_200);
    let [alice, bob, carol] = hosts;
    alone_with_carol(&mut world, hosts);
    call(&mut world, alice, "bob").unwrap();
    let bob_id = world.id(bob);
    world.with(carol, |agent, now| {
        agent.node.untrust(now, &bob_id).unwrap();
    });
    run(&mut world, SECOND);
    assert_eq!(world.sim[carol].node.relay_stats().unwrap().channels, 0);
    run(&mut world, 120 * SECOND);
    assert!(call(&mut world, alice, "bob").is_err());
}

/// As after a message to a public service: the one may answer, the other lets everybody in.
#[test]
fn who_may_only_answer_is_no_relay_and_has_none() {
    for (seed, carol_asks) in [(39_210, false), (39_211, true)] {
        let (mut world, alice, bob) = behind(seed, [Behind::Hard, Behind::Hard]);
        let link = LinkConfig::delay(Duration::from_millis(10));
        let carol = world.add_agent("carol", Profile::default(), link);
        world.until("Carol is registered", 30 * SECOND, |sim| {
            sim[carol].is_registered()
        });
        befriend(&mut world, bob, carol);
        let [asker, asked] = if carol_asks {
            [carol, alice]
        } else {
            [alice, carol]
        };
        let [asker_id, asked_id] = [asker, asked].map(|host| world.id(host));
        world.with(asker, |agent, now| {
            let terms = Terms::reply_only(now.unix);
            let target = KnockTarget::Agent(asked_id);
            agent
                .node
                .knock_with(now, target, "a question", terms)
                .unwrap();
        });
        world.until("knock arrived", 10 * SECOND, |sim| {
            sim[asked].node.trust().pending().count() == 1
        });
        world.with(asked, |agent, now| {
            let terms = agent.node.trust().default_terms(now.unix);
            agent.node.approve(now, &asker_id, terms).unwrap();
        });
        world.until("both grants are there", 10 * SECOND, |sim| {
            let unix = sim.network.now().unix;
            let is_mutual = |host: HostId, other| sim[host].node.trust().is_mutual(unix, &other);
            is_mutual(asker, asked_id) && is_mutual(asked, asker_id)
        });
        world.with(carol, |agent, now| agent.node.relay_for_trusted(now, true));
        call(&mut world, bob, "carol").unwrap();
        call(
            &mut world,
            asker,
            if carol_asks { "alice" } else { "carol" },
        )
        .unwrap();
        run(&mut world, SECOND);
        world.crash_rendezvous();
        let streams = world.sim[carol].node.relay_stats().unwrap();
        assert_eq!(streams.channels, 0);
        run(&mut world, 200 * SECOND);
        assert!(
            call(&mut world, alice, "bob").is_err(),
            "carol asks: {carol_asks}"
        );
        assert_eq!(world.sim[carol].node.relay_stats().unwrap().datagrams, 0);
    }
}

#[test]
fn a_relay_that_stops_being_one_is_asked_no_more() {
    let (mut world, hosts) = three(39_300);
    let [alice, _, carol] = hosts;
    alone_with_carol(&mut world, hosts);
    call(&mut world, alice, "bob").unwrap();
    world.with(carol, |agent, now| {
        agent.node.relay_for_trusted(now, false);
    });
    run(&mut world, 200 * SECOND);
    assert!(call(&mut world, alice, "bob").is_err());
}

/// The transfer goes on by the second relay when the first one falls silent.
#[test]
fn a_relay_that_dies_is_replaced_without_losing_a_byte() {
    let (mut world, alice, bob) = transferring_between(39_400, [Behind::Hard, Behind::Hard]);
    let link = LinkConfig::delay(Duration::from_millis(30));
    let carol = world.add_agent("carol", Profile::default(), link);
    world.until("Carol is registered", 30 * SECOND, |sim| {
        sim[carol].is_registered()
    });
    world.with(carol, |agent, now| agent.node.relay_for_trusted(now, true));
    for host in [alice, bob] {
        befriend(&mut world, host, carol);
        call(&mut world, host, "carol").unwrap();
    }
    run(&mut world, SECOND);
    assert!(
        received(&world.sim, bob) < SIZE,
        "there is something left to send"
    );
    world.crash_rendezvous();
    let gap = finish(&mut world, bob);
    assert!(gap < 3 * SECOND, "{gap:?}");
    let inbox = world.sim[bob]
        .incoming
        .values()
        .max_by_key(|it| it.bytes.len());
    assert!(inbox.unwrap().bytes == pattern());
    assert!(world.sim[carol].node.relay_stats().unwrap().bytes > 100_000);
}

fn relay_in_use(world: &World, from: HostId, to: HostId) -> Option<SocketAddr> {
    let report = world.sim[from].node.path_report(&world.id(to));
    let used = report.iter().find(|path| path.state == PathState::InUse)?;
    match used.path {
        PathId::Relay { relay, .. } => Some(relay.0),
        PathId::Udp(_) | PathId::Stream(_) => None,
    }
}

/// Of two relays the one that answers first is used; what is on its way goes on by the other when that one dies.
#[test]
fn a_relay_of_its_own_is_used_where_it_is_nearer_and_replaced_when_it_dies() {
    let slow = LinkConfig::delay(Duration::from_millis(60));
    let (mut world, alice, bob) = behind(39_500, [Behind::Hard, Behind::Hard]);
    let rendezvous = world.rendezvous;
    world.sim.network.set_link(rendezvous, slow);
    let near = LinkConfig::delay(Duration::from_millis(1));
    let relay = world.add_relay(near, &[alice, bob]);
    world.until("both use the relay", 10 * SECOND, |sim| {
        sim[relay].node.status().sessions == 2
    });
    run(&mut world, SECOND);
    for host in [alice, bob] {
        let status = world.sim[host].node.status();
        assert_eq!(status.relays.len(), 1);
        assert!(status.relays[0].2.unwrap() < Duration::from_millis(60));
        assert_eq!(status.rendezvous.len(), 1, "it is no registry");
    }
    // A session that there may be is over.
    run(&mut world, 120 * SECOND);
    call(&mut world, alice, "bob").unwrap();
    let near = SocketAddr::from(([198, 51, 100, 2], 9000));
    assert_eq!(relay_in_use(&world, alice, bob), Some(near));
    world.sim.remove(relay).unwrap();
    let rtt = call(&mut world, alice, "bob").unwrap();
    assert!(rtt < 3 * SECOND, "{rtt:?}");
    let far = SocketAddr::from(([198, 51, 100, 1], 9000));
    assert_eq!(relay_in_use(&world, alice, bob), Some(far));
}

#[test]
fn a_relay_alone_is_told_nothing_that_a_registry_is() {
    let (mut world, alice, bob) = behind(39_600, [Behind::Nothing, Behind::Nothing]);
    let link = LinkConfig::delay(Duration::from_millis(1));
    let relay = world.add_relay(link, &[alice, bob]);
    run(&mut world, 5 * SECOND);
    world.crash_rendezvous();
    run(&mut world, 120 * SECOND);
    // It is not asked where Bob is, but is a way to him.
    call(&mut world, alice, "bob").unwrap();
    assert!(world.sim[relay].node.relay_stats().unwrap().datagrams > 0);
    let refused =
        world.sim[alice].count(|event| matches!(event, Event::Registered { result: Err(_), .. }));
    assert_eq!(refused, 0, "no record was offered to it");
}
