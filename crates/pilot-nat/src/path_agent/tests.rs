use pilot_types::RelayAddr;
use pilot_wire::{Candidate, CandidateKind, Mapping};

use super::*;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn relay() -> PathId {
    PathId::Relay {
        relay: RelayAddr("192.0.2.9:9000".parse().unwrap()),
        channel: 7,
    }
}

fn direct(n: u8) -> PathId {
    PathId::Udp(FourTuple {
        local: "0.0.0.0:9000".parse().unwrap(),
        remote: PeerAddr(SocketAddr::from(([198, 51, 100, n], 1))),
    })
}

/// On a relay, with reflexive candidates 1 to 3.
fn agent(now: Instant) -> PathAgent {
    let mut agent = PathAgent::new(now, PathConfig::default(), relay());
    agent.set_locals(now, &["0.0.0.0:9000".parse().unwrap()]);
    let mut set = CandidateSet::new(1, Mapping::Unknown);
    for n in 1..=3 {
        let addr = direct(n).remote().unwrap();
        let kind = CandidateKind::Reflexive;
        set.insert(Candidate { kind, addr });
    }
    agent.set_remote(now, &set);
    agent
}

fn actions(agent: &mut PathAgent) -> Vec<PathAction> {
    std::iter::from_fn(|| agent.poll_action()).collect()
}

#[test]
fn a_faster_path_is_used_after_two_samples() {
    let now = Instant::now();
    let mut agent = agent(now);
    agent.handle_probed(now, direct(1), ms(50));
    assert_eq!(actions(&mut agent), [PathAction::Use(direct(1))]);
    agent.handle_probed(now, direct(2), ms(49));
    agent.handle_probed(now, direct(2), ms(49));
    assert_eq!(agent.current(), direct(1), "not enough faster");
    agent.handle_probed(now, direct(3), ms(20));
    assert_eq!(agent.current(), direct(1), "seen once");
    agent.handle_timeout(now);
    assert!(actions(&mut agent).contains(&PathAction::Probe(direct(3))));
    agent.handle_probed(now, direct(3), ms(20));
    assert_eq!(actions(&mut agent), [PathAction::Use(direct(3))]);
}

#[test]
fn when_the_path_is_silent_the_first_answer_is_used_and_then_the_best() {
    let now = Instant::now();
    let mut agent = agent(now);
    agent.handle_probed(now, direct(1), ms(50));
    actions(&mut agent);
    agent.handle_silent(now);
    assert_eq!(actions(&mut agent), [PathAction::Probe(relay())]);
    agent.handle_silent(now);
    assert_eq!(actions(&mut agent), []);
    agent.handle_probed(now, relay(), ms(80));
    assert_eq!(actions(&mut agent), [PathAction::Use(relay())]);
}

#[test]
fn a_direct_path_that_fails_after_a_change_of_network_is_left_for_the_relay() {
    let now = Instant::now();
    let mut agent = agent(now);
    agent.handle_probed(now, direct(1), ms(50));
    agent.handle_network_change(now);
    assert_eq!(agent.current(), direct(1));
    while agent.current() == direct(1) {
        let at = agent.poll_timeout().unwrap().at;
        assert!(at <= now + ms(1700), "a burst and its patience");
        agent.handle_timeout(at);
        actions(&mut agent);
    }
    assert_eq!(agent.current(), relay());
}

#[test]
fn the_peer_is_followed_unless_we_have_just_chosen_as_well() {
    let now = Instant::now();
    let mut agent = agent(now);
    agent.handle_probed(now, direct(1), ms(50));
    agent.handle_probed(now, direct(2), ms(50));
    actions(&mut agent);
    agent.handle_moved(now, direct(2));
    assert_eq!(actions(&mut agent), []);
    agent.handle_moved(now + HOLD, direct(2));
    assert_eq!(actions(&mut agent), [PathAction::Use(direct(2))]);
    // From an address that nobody named: it has moved, and nothing else is known to work.
    agent.handle_moved(now + HOLD * 2, direct(99));
    assert_eq!(actions(&mut agent), [PathAction::Use(direct(99))]);
    agent.handle_timeout(now + HOLD * 2);
    assert!(actions(&mut agent).contains(&PathAction::Probe(direct(99))));
}

#[test]
fn addresses_that_are_heard_are_bounded() {
    let now = Instant::now();
    let mut agent = agent(now);
    for n in 4..=255 {
        agent.handle_heard(now, direct(n));
        agent.handle_moved(now, direct(n));
    }
    assert!(
        agent.pairs.len() <= 3 + MAX_HEARD + 1,
        "{}",
        agent.pairs.len()
    );
    agent.handle_heard(
        now,
        PathId::Udp(FourTuple {
            local: "0.0.0.0:9000".parse().unwrap(),
            remote: PeerAddr("224.0.0.1:1".parse().unwrap()),
        }),
    );
    assert!(
        agent
            .pairs
            .keys()
            .all(|path| !path.remote().unwrap().ip().is_multicast())
    );
}

#[test]
fn an_older_list_is_ignored_and_the_report_says_why() {
    let now = Instant::now();
    let mut agent = agent(now);
    agent.set_remote(now, &CandidateSet::new(1, Mapping::Unknown));
    agent.handle_probed(now, direct(1), ms(50));
    let report = agent.report();
    let states: Vec<_> = report.iter().map(|line| (line.path, line.state)).collect();
    let expected = [
        (direct(1), PathState::InUse),
        (direct(2), PathState::Probing),
        (direct(3), PathState::Probing),
        (relay(), PathState::Answered),
    ];
    assert_eq!(states, expected);
}
