//! Migration.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use pilot_types::{FourTuple, PathId, RelayAddr};

use super::{pair, pair_with, pattern};
use crate::pair::{Link, path};
use crate::{Config, ControlError, Event};

const OLD: [u16; 2] = [1000, 2000];
const NEW: [u16; 2] = [1000, 2001];

pub(super) fn relay() -> PathId {
    PathId::Relay {
        relay: RelayAddr(SocketAddr::from((Ipv4Addr::new(198, 51, 100, 1), 9000))),
        channel: 7,
    }
}

#[test]
fn a_transfer_survives_its_path_and_loses_no_byte() {
    let mut pair = pair(Link::default());
    let data = pattern(400_000, 1);
    let id = pair.say(0, &data);
    for _ in 0..10 {
        pair.turn();
    }
    // The old path dies in both directions; both ends notice and move.
    pair.dead_ports.extend([OLD[0], OLD[1]]);
    pair.ends[0].migrate(pair.now, relay());
    pair.ends[1].migrate(pair.now, relay());
    pair.settle();
    let mut received = vec![];
    assert!(pair.read(1, id, &mut received));
    assert_eq!(received, data);
    assert_eq!(pair.ends[0].path(), relay());
}

#[test]
fn a_new_path_is_validated_and_announced() {
    let mut pair = pair(Link::default());
    pair.ends[0].ping(pair.now);
    pair.settle();
    pair.ends[0].migrate(pair.now, path(0, NEW));
    pair.settle();
    assert_eq!(pair.take_events(0), [Event::PathValidated(path(0, NEW))]);
    assert!(pair.ends[0].paths.previous.is_none());
    assert_eq!(pair.next_timer(0), Some("idle"));
}

#[test]
fn a_path_that_does_not_answer_is_left_again() {
    let mut pair = pair(Link::default());
    pair.ends[0].ping(pair.now);
    pair.settle();
    pair.dead_ports.insert(NEW[1]);
    pair.ends[0].migrate(pair.now, path(0, NEW));
    let id = pair.say(0, b"which way?");
    pair.settle();
    assert!(
        pair.take_events(0)
            .contains(&Event::PathFailed(path(0, NEW)))
    );
    assert_eq!(pair.ends[0].path(), path(0, OLD));
    assert!(pair.read(1, id, &mut vec![]));
}

#[test]
fn after_two_paths_that_do_not_answer_the_last_one_that_did_is_in_use() {
    let mut pair = pair(Link::default());
    pair.ends[0].ping(pair.now);
    pair.settle();
    pair.dead_ports.extend([2001, 2002]);
    pair.ends[0].migrate(pair.now, path(0, NEW));
    pair.turn();
    pair.ends[0].migrate(pair.now, path(0, [1000, 2002]));
    let id = pair.say(0, b"neither way");
    pair.settle();
    assert_eq!(pair.ends[0].path(), path(0, OLD));
    assert!(pair.read(1, id, &mut vec![]));
    assert_eq!(pair.ends[0].stats().in_flight, 0);
}

#[test]
fn an_unvalidated_path_carries_little_more_than_it_brought() {
    let mut pair = pair(Link::default());
    pair.ends[0].ping(pair.now);
    pair.settle();
    pair.dead_ports.insert(NEW[1]);
    pair.ends[0].migrate(pair.now, path(0, NEW));
    let before = pair.ends[0].stats().bytes_sent;
    pair.say(0, &pattern(100_000, 1));
    let start = pair.now;
    while pair.ends[0].path() == path(0, NEW) {
        pair.turn();
        if pair.ends[0].path() == path(0, NEW) {
            assert!(pair.ends[0].stats().bytes_sent - before <= 3 * 1200);
        }
    }
    assert!(pair.now - start < Duration::from_secs(60));
}

#[test]
fn another_port_keeps_what_was_learnt_and_another_machine_does_not() {
    let mut pair = pair(Link::default());
    let id = pair.say(0, &pattern(500_000, 1));
    pair.settle();
    pair.read(1, id, &mut vec![]);
    let learnt = pair.ends[0].stats();
    pair.ends[0].migrate(pair.now, path(0, NEW));
    let moved = pair.ends[0].stats();
    assert_eq!((moved.srtt, moved.cwnd), (learnt.srtt, learnt.cwnd));
    pair.ends[0].migrate(pair.now, relay());
    let fresh = pair.ends[0].stats();
    assert_eq!(fresh.cwnd, 12_000);
    assert!(fresh.srtt > learnt.srtt);
}

#[test]
fn a_challenge_on_another_path_is_answered_there_and_the_session_stays() {
    let mut pair = pair(Link::default());
    pair.ends[0].ping(pair.now);
    pair.settle();
    pair.ends[0].migrate(pair.now, path(0, NEW));
    pair.settle();
    assert_eq!(
        pair.ends[1].path(),
        path(1, OLD),
        "only its owner migrates it"
    );
    assert_eq!(pair.take_events(1), [Event::PeerMoved(path(1, NEW))]);
    let id = pair.say(1, b"on the old path");
    pair.settle();
    assert!(pair.read(0, id, &mut vec![]));
}

#[test]
fn another_interface_of_ours_is_another_path() {
    let mut pair = pair(Link::default());
    let id = pair.say(0, &pattern(500_000, 1));
    pair.settle();
    pair.read(1, id, &mut vec![]);
    let PathId::Udp(tuple) = pair.ends[0].path() else {
        unreachable!("the first path is direct");
    };
    let local = SocketAddr::from((Ipv4Addr::new(10, 0, 0, 1), tuple.local.port()));
    let other = PathId::Udp(FourTuple { local, ..tuple });
    pair.ends[0].migrate(pair.now, other);
    assert_eq!(
        pair.ends[0].stats().cwnd,
        12_000,
        "nothing was learnt of it"
    );
}

#[test]
fn a_relayed_path_keeps_to_the_base_datagram_and_an_extension_on_any_path() {
    let config = Config {
        max_datagram: 1400,
        ..Config::default()
    };
    let mut pair = pair_with(config, Link::default(), 1);
    assert_eq!(pair.ends[0].stats().mtu, 1400);
    let long = pair.ends[0].send_extension(pair.now, 0x40, vec![0; 1200]);
    assert_eq!(long, Err(ControlError::TooLarge));
    let longest = pair.ends[0].send_extension(pair.now, 0x40, vec![7; 1170]);
    assert_eq!(longest, Ok(()));
    pair.ends[0].migrate(pair.now, relay());
    assert_eq!(pair.ends[0].stats().mtu, 1200);
    pair.settle();
    let events = pair.take_events(1);
    let is_whole =
        |event: &Event| matches!(event, Event::Extension { body, .. } if body.len() == 1170);
    assert!(events.iter().any(is_whole), "{events:?}");
}
