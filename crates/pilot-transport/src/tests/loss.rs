//! Losses, probes, silence, the end.

use std::time::Duration;

use pilot_wire::{ErrorCode, Frame, TransportParams};

use super::{pair, pair_with, pattern};
use crate::KeepAlive;
use crate::pair::Link;
use crate::{Config, Congestion, Event};

const DEAD: Link = Link {
    delay: Duration::from_millis(5),
    jitter: Duration::ZERO,
    loss: 1000,
    duplication: 0,
    rate: 0,
};

#[test]
fn a_lost_packet_in_a_flight_is_repaired_without_a_timeout() {
    let mut pair = pair(Link::default());
    let warm_up = pair.say(0, b"a round trip sample");
    pair.settle();
    pair.read(1, warm_up, &mut vec![]);
    pair.link.loss = 1000;
    let id = pair.ends[0].open_stream(pair.now).unwrap();
    pair.ends[0].write(pair.now, id, &[1; 1000]).unwrap();
    pair.drain();
    pair.link.loss = 0;
    let start = pair.now;
    pair.ends[0]
        .write(pair.now, id, &pattern(8_000, 1))
        .unwrap();
    pair.settle();
    let mut data = vec![];
    pair.read(1, id, &mut data);
    assert_eq!(data.len(), 9_000);
    assert_eq!(pair.ends[0].stats().probe_timeouts, 0);
    assert!(pair.ends[0].stats().packets_lost > 0);
    assert!(pair.now - start < Duration::from_millis(60));
}

#[test]
fn a_lost_tail_is_repaired_by_a_probe() {
    let mut pair = pair(Link::default());
    let warm_up = pair.say(0, b"a round trip sample");
    pair.settle();
    pair.read(1, warm_up, &mut vec![]);
    pair.link.loss = 1000;
    let id = pair.say(0, b"the end");
    pair.drain();
    pair.link.loss = 0;
    let start = pair.now;
    pair.settle();
    assert!(pair.read(1, id, &mut vec![]));
    assert_eq!(pair.ends[0].stats().probe_timeouts, 1);
    assert_eq!(pair.ends[0].silence(), 0, "answered");
    assert!(pair.now - start < Duration::from_millis(150));
}

#[test]
fn a_lost_end_that_carried_no_bytes_is_sent_again() {
    let mut pair = pair(Link::default());
    let id = pair.ends[0].open_stream(pair.now).unwrap();
    pair.ends[0].write(pair.now, id, b"all there is").unwrap();
    pair.settle();
    pair.link.loss = 1000;
    pair.ends[0].finish(pair.now, id).unwrap();
    pair.drain();
    pair.link.loss = 0;
    pair.settle();
    assert!(pair.read(1, id, &mut vec![]));
}

#[test]
fn packets_that_overtake_each_other_a_little_are_not_lost() {
    let mut pair = pair(Link {
        jitter: Duration::from_micros(1_200),
        delay: Duration::from_millis(20),
        rate: 2_000_000,
        ..Link::default()
    });
    let id = pair.ends[0].open_stream(pair.now).unwrap();
    pair.ends[0]
        .write(pair.now, id, &pattern(100_000, 1))
        .unwrap();
    pair.settle();
    assert_eq!(pair.ends[0].stats().packets_lost, 0);
}

#[test]
fn a_ping_leaves_although_the_window_is_full_and_ends_the_wait_for_a_probe() {
    let mut pair = pair(Link::default());
    let warm_up = pair.say(0, b"a round trip sample");
    pair.settle();
    pair.read(1, warm_up, &mut vec![]);
    pair.link = DEAD;
    let id = pair.say(0, &pattern(100_000, 1));
    while pair.ends[0].silence() < 6 {
        pair.turn();
    }
    let stats = pair.ends[0].stats();
    assert!(stats.in_flight >= stats.cwnd, "the window is full");
    pair.link = Link::default();
    let start = pair.now;
    pair.ends[0].ping(pair.now);
    let mut data = vec![];
    pair.settle();
    assert!(pair.read(1, id, &mut data), "it is whole");
    assert_eq!(data.len(), 100_000);
    assert!(pair.now - start < Duration::from_secs(1));
}

#[test]
fn who_hears_a_silent_peer_repairs_what_was_lost_without_waiting_for_a_probe() {
    let mut pair = pair(Link::default());
    let warm_up = pair.say(0, b"a round trip sample");
    pair.settle();
    pair.read(1, warm_up, &mut vec![]);
    pair.link = DEAD;
    let id = pair.say(0, &pattern(100_000, 1));
    while pair.ends[0].silence() < 6 {
        pair.turn();
    }
    pair.link = Link::default();
    let start = pair.now;
    pair.ends[1].ping(pair.now);
    let mut data = vec![];
    pair.settle();
    assert!(pair.read(1, id, &mut data), "it is whole");
    assert_eq!(data.len(), 100_000);
    assert!(pair.now - start < Duration::from_secs(1));
}

#[test]
fn silence_is_told_after_half_a_second_to_two_whatever_the_round_trip() {
    for delay_ms in [5, 150, 400, 900] {
        let link = Link {
            delay: Duration::from_millis(delay_ms),
            ..Link::default()
        };
        let mut pair = pair(link);
        let warm_up = pair.say(0, b"a round trip sample");
        pair.settle();
        pair.read(1, warm_up, &mut vec![]);
        pair.take_events(0);
        pair.link = DEAD;
        pair.say(0, b"anybody there?");
        let start = pair.now;
        let mut told = vec![];
        while told.len() < 2 {
            pair.turn();
            let events = pair.take_events(0);
            told.extend(events.contains(&Event::Silent).then(|| pair.now - start));
        }
        let bounds = Duration::from_millis(500)..=Duration::from_millis(2001);
        assert!(bounds.contains(&told[0]), "{delay_ms} ms: {told:?}");
        assert!(
            bounds.contains(&(told[1] - told[0])),
            "{delay_ms} ms: {told:?}"
        );
        pair.link = link;
        pair.ends[0].ping(pair.now);
        pair.settle();
        pair.take_events(0);
        for _ in 0..3 {
            pair.turn();
        }
        assert!(!pair.take_events(0).contains(&Event::Silent), "it answers");
    }
}

#[test]
fn who_only_receives_notices_within_a_second_that_nothing_arrives_any_more() {
    let mut pair = pair(Link::default());
    // A round trip is known.
    pair.ends[1].ping(pair.now);
    pair.settle();
    let id = pair.ends[0].open_stream(pair.now).unwrap();
    pair.ends[0].write(pair.now, id, b"and then").unwrap();
    pair.settle();
    pair.take_events(1);
    pair.link = DEAD;
    let start = pair.now;
    while !pair.take_events(1).contains(&Event::Silent) {
        assert!(pair.turn());
    }
    assert!(pair.now - start < Duration::from_millis(700));
}

#[test]
fn a_pause_of_the_peer_costs_one_ping() {
    let mut pair = pair(Link::default());
    let id = pair.ends[0].open_stream(pair.now).unwrap();
    pair.ends[0].write(pair.now, id, b"and then").unwrap();
    pair.settle();
    let before = pair.ends[1].stats().packets_sent;
    let start = pair.now;
    while pair.now < start + Duration::from_secs(10) {
        pair.turn();
    }
    assert_eq!(pair.ends[1].stats().packets_sent - before, 1);
}

#[test]
fn a_silent_peer_is_probed_ever_more_rarely_and_then_given_up() {
    let mut pair = pair(Link::default());
    pair.say(0, b"hello");
    pair.settle();
    pair.take_events(0);
    pair.link = DEAD;
    pair.say(0, b"anybody there?");
    let start = pair.now;
    let mut probes = vec![];
    while !pair.ends[0].is_drained() {
        pair.turn();
        let count = pair.ends[0].silence();
        if count as usize > probes.len() {
            probes.push(pair.now - start);
        }
    }
    assert!((8..=14).contains(&probes.len()), "{probes:?}");
    assert!(probes[0] < Duration::from_millis(100), "{probes:?}");
    for times in probes.windows(3) {
        let (before, after) = (times[1] - times[0], times[2] - times[1]);
        assert_eq!(after.as_millis() / before.as_millis(), 2, "{probes:?}");
    }
    let events = pair.take_events(0);
    let closed = events.iter().any(|event| {
        matches!(event, Event::Closed { code, by_peer: false, .. } if *code == ErrorCode::IDLE_TIMEOUT)
    });
    assert!(closed, "{events:?}");
    assert_eq!(events.last(), Some(&Event::Drained));
    assert_eq!(pair.ends[0].poll_timeout(), None);
}

#[test]
fn a_session_without_streams_ends_after_the_idle_timeout_unless_it_keeps_alive() {
    for (keep_alive, survives) in [(None, false), (Some(Duration::from_secs(20)), true)] {
        let config = Config {
            keep_alive,
            ..Config::default()
        };
        let mut pair = pair_with(config, Link::default(), 1);
        let start = pair.now;
        while pair.now < start + Duration::from_secs(300) && pair.turn() {}
        assert_eq!(!pair.ends[0].is_drained(), survives);
        let sent = pair.ends[0].stats().packets_sent + pair.ends[1].stats().packets_sent;
        assert_eq!(sent > 0, survives);
        assert!(sent <= 4 * 15, "{sent} packets to keep alive");
    }
}

#[test]
fn who_is_to_speak_first_shows_that_the_path_still_lets_it_in() {
    let config = Config {
        keep_alive: Some(Duration::from_secs(20)),
        ..Config::default()
    };
    let mut pair = pair_with(config, Link::default(), 1);
    for (end, seconds) in [(0, 92), (1, 90)] {
        let now = pair.now;
        let keep_alive = KeepAlive::Always(Duration::from_secs(seconds));
        pair.ends[end].set_keep_alive(now, keep_alive);
    }
    let start = pair.now;
    while pair.now < start + Duration::from_secs(900) && pair.turn() {}
    assert!(!pair.ends[0].is_drained(), "the idle timeout of 60 s grew");
    let packets = [0, 1].map(|end| pair.ends[end].stats().packets_sent);
    assert!(packets[0] <= 10 && packets[1] <= 10, "{packets:?}");
    let rests = pair.take_events(0);
    let is_rest = |event: &Event| matches!(event, Event::Rested(rest) if rest.as_secs() == 90);
    assert!(rests.len() >= 8 && rests.iter().all(is_rest), "{rests:?}");
    let unheard = pair.take_events(1);
    assert!(unheard.iter().all(|event| *event == Event::Unheard));
}

#[test]
fn an_open_stream_keeps_its_session_alive() {
    let mut pair = pair(Link::default());
    let id = pair.ends[0].open_stream(pair.now).unwrap();
    pair.ends[0].write(pair.now, id, b"wait for me").unwrap();
    let start = pair.now;
    while pair.now < start + Duration::from_secs(600) {
        assert!(pair.turn());
    }
    assert!(!pair.ends[0].is_closing() && !pair.ends[1].is_closing());
    pair.ends[0].finish(pair.now, id).unwrap();
    pair.settle();
    assert!(pair.read(1, id, &mut vec![]));
}

#[test]
fn the_shorter_idle_timeout_counts_and_zero_is_never() {
    let mut config = Config::default();
    config.params.idle_timeout_ms = 0;
    let mut pair = pair_with(config, Link::default(), 1);
    pair.ends[0].ping(pair.now);
    pair.settle();
    assert_eq!(pair.next_timer(0), None);
    assert!(!pair.turn(), "no timer at all");
}

#[test]
fn after_a_transfer_only_the_idle_timer_is_left() {
    let mut pair = pair(Link::default());
    let id = pair.say(0, &pattern(100_000, 1));
    pair.settle();
    pair.read(1, id, &mut vec![]);
    pair.ends[1].finish(pair.now, id).unwrap();
    pair.settle();
    pair.read(0, id, &mut vec![]);
    pair.settle();
    assert_eq!(
        (pair.next_timer(0), pair.next_timer(1)),
        (Some("idle"), Some("idle"))
    );
    let before = pair.now;
    pair.turn();
    assert!(pair.now - before > Duration::from_secs(50));
}

#[test]
fn a_close_is_repeated_to_who_did_not_hear_it_and_both_drain() {
    let mut pair = pair(Link::default());
    pair.ends[0].ping(pair.now);
    pair.settle();
    pair.link.loss = 1000;
    pair.ends[0].close(pair.now, ErrorCode::SHUTDOWN, "going home");
    pair.drain();
    pair.link.loss = 0;
    pair.ends[1].ping(pair.now);
    pair.settle();
    let closed = Event::Closed {
        code: ErrorCode::SHUTDOWN,
        reason: "going home".to_owned(),
        by_peer: true,
    };
    assert_eq!(pair.take_events(1), [closed, Event::Drained]);
    assert!(pair.ends.iter().all(crate::Transport::is_drained));
}

#[test]
fn closes_are_not_answered_one_by_one() {
    let mut pair = pair(Link::default());
    pair.ends[0].close(pair.now, ErrorCode::SHUTDOWN, "");
    pair.drain();
    let before = pair.ends[0].stats().packets_sent;
    for _ in 0..1_000 {
        pair.inject_frames(0, &[Frame::Ping]).unwrap();
        pair.drain();
    }
    assert!(pair.ends[0].stats().packets_sent - before <= 10);
}

/// Who only receives learns, by a PING now and then, what its peer knows: neither side's state grows.
#[test]
fn a_receiver_forgets_ranges_that_its_peer_knows() {
    let mut config = Config::default();
    config.params = TransportParams {
        // No MAX_DATA or MAX_STREAM_DATA brings an acknowledgement by the way.
        max_data: 64 << 20,
        max_stream_data: 64 << 20,
        ..config.params
    };
    let mut pair = pair_with(
        config,
        Link {
            loss: 50,
            ..Link::default()
        },
        4,
    );
    let id = pair.ends[0].open_stream(pair.now).unwrap();
    let mut sink = vec![];
    for _ in 0..40 {
        pair.ends[0]
            .write(pair.now, id, &pattern(50_000, 1))
            .unwrap();
        pair.settle();
        pair.read(1, id, &mut sink);
    }
    assert!(pair.ends[1].acks.ranges().count() < 40);
    assert!(pair.ends[1].loss.sent.is_empty());
}

#[test]
fn everything_lost_for_long_shrinks_the_window_to_its_minimum() {
    let config = |congestion| Config {
        congestion,
        ..Config::default()
    };
    let cubic = smallest_window_after_an_outage(config(Congestion::Cubic));
    assert_eq!(cubic, 2_400);
    let bbr = smallest_window_after_an_outage(config(Congestion::Bbr));
    assert_eq!(bbr, 4_800);
}

fn smallest_window_after_an_outage(config: Config) -> u64 {
    let mut pair = pair_with(config, Link::default(), 1);
    let id = pair.ends[0].open_stream(pair.now).unwrap();
    pair.ends[0]
        .write(pair.now, id, &pattern(500_000, 1))
        .unwrap();
    for _ in 0..20 {
        pair.turn();
    }
    let before = pair.ends[0].stats().cwnd;
    pair.link.loss = 1000;
    let cut = pair.now;
    while pair.now < cut + Duration::from_secs(3) {
        pair.turn();
    }
    pair.link.loss = 0;
    let mut smallest = before;
    while pair.ends[0].stats().in_flight > 0 {
        pair.turn();
        smallest = smallest.min(pair.ends[0].stats().cwnd);
    }
    assert!(before > 12_000);
    smallest
}
