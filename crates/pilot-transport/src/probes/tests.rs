//! The limits of probing hold whatever is called.

use std::net::{Ipv4Addr, SocketAddr};

use pilot_types::{FourTuple, PeerAddr};
use proptest::prelude::*;

use super::*;

fn path(port: u16) -> PathId {
    let address = |port| SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), port));
    PathId::Udp(FourTuple {
        local: address(1),
        remote: PeerAddr(address(port)),
    })
}

/// Asks and sends; `false` if nothing left.
fn probe(probes: &mut Probes, now: Instant, port: u16, data: [u8; 8]) -> bool {
    let is_asked = probes.ask(now, path(port), None);
    assert_eq!(probes.due(now).is_some(), is_asked);
    if is_asked {
        probes.on_sent(now, &path(port), data, PROBE_SIZE);
    }
    is_asked
}

#[test]
fn any_of_the_last_four_challenges_is_answered_once() {
    let (mut probes, now) = (Probes::default(), Instant::now());
    for data in 0..5 {
        probes.on_received(&path(2), PROBE_SIZE);
        assert!(probe(&mut probes, now, 2, [data; 8]));
        probes.on_received(&path(2), PROBE_SIZE);
    }
    let later = now + Duration::from_millis(7);
    assert_eq!(probes.on_response(later, &[0; 8]), None, "forgotten");
    let answer = Some((path(2), Duration::from_millis(7)));
    assert_eq!(probes.on_response(later, &[2; 8]), answer);
    assert_eq!(probes.on_response(later, &[2; 8]), None, "twice");
    assert_eq!(probes.on_response(later, &[1; 8]), None, "older");
    assert_eq!(probes.on_response(later, &[4; 8]), answer);
}

#[test]
fn an_answer_counts_for_half_a_minute() {
    let (mut probes, now) = (Probes::default(), Instant::now());
    probe(&mut probes, now, 2, [1; 8]);
    assert_eq!(probes.fresh_rtt(now, &path(2)), None);
    probes.on_response(now, &[1; 8]);
    let rtt = |after| probes.fresh_rtt(now + after, &path(2));
    assert_eq!(rtt(MAX_AGE), Some(Duration::ZERO));
    assert_eq!(rtt(MAX_AGE + Duration::from_nanos(1)), None);
}

#[test]
fn the_path_asked_for_longest_ago_is_forgotten_but_not_its_limit() {
    let (mut probes, mut now) = (Probes::default(), Instant::now());
    for port in 0..32 {
        assert!(probe(&mut probes, now, 100 + port, [0; 8]));
    }
    assert!(!probe(&mut probes, now, 200, [0; 8]), "all are limited");
    now += UNASKED_PERIOD + Duration::from_millis(1);
    assert!(probe(&mut probes, now, 100, [0; 8]));
    assert!(probe(&mut probes, now, 200, [0; 8]));
    let known: Vec<PathId> = probes.iter().map(|probed| probed.id).collect();
    assert_eq!(known.len(), MAX_PROBED);
    assert!(known.contains(&path(100)) && !known.contains(&path(101)));
}

/// What the driver does next: `(kind, path, argument)`.
fn calls() -> impl Strategy<Value = Vec<(u8, u16, u16)>> {
    proptest::collection::vec((0..4_u8, 0..40_u16, 0..1500_u16), 1..400)
}

/// Datagrams that left on a path, and bytes that came.
#[derive(Default)]
struct Traffic {
    sent: Vec<Instant>,
    received: u64,
}

impl Traffic {
    /// In any five seconds no more left than three and what was brought pays for.
    fn assert_limited(&self, now: Instant) {
        let is_late = |at: &&Instant| now.saturating_duration_since(**at) <= UNASKED_PERIOD;
        let lately = self.sent.iter().filter(is_late).count() as u64;
        let paid = AMPLIFICATION * self.received / PROBE_SIZE;
        assert!(lately <= 3 + paid, "{lately} left, {paid} are paid for");
    }
}

#[test]
fn a_path_that_was_heard_of_first_carries_three_times_what_it_brought() {
    let (mut probes, mut now) = (Probes::default(), Instant::now());
    let mut sent = 0;
    for _ in 0..100 {
        if probes.ask(now, path(2), Some(60)) {
            let (due, size) = probes.due(now).unwrap();
            sent += size;
            probes.on_sent(now, &due, [0; 8], size);
        }
        now += UNASKED_PERIOD;
    }
    assert_eq!(sent, 180);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_path_carries_more_than_three_probes_and_what_it_brought(calls in calls(), paths in 1..40_u16) {
        let (mut probes, mut now) = (Probes::default(), Instant::now());
        let mut traffic: Vec<Traffic> = (0..40).map(|_| Traffic::default()).collect();
        for (kind, port, argument) in calls {
            let port = port % paths;
            let known = &mut traffic[usize::from(port)];
            match kind {
                0 => {
                    probes.ask(now, path(port), None);
                }
                1 => {
                    probes.on_received(&path(port), u64::from(argument));
                    known.received += u64::from(argument);
                }
                2 => now += Duration::from_millis(u64::from(argument)),
                _ => {
                    while let Some((due, size)) = probes.due(now) {
                        probes.on_sent(now, &due, [0; 8], size);
                        let at = (0..40).find(|port| path(*port) == due).expect("a path of ours");
                        let known = &mut traffic[usize::from(at)];
                        known.sent.push(now);
                        known.assert_limited(now);
                    }
                }
            }
            prop_assert!(probes.paths.len() <= MAX_PROBED);
            prop_assert!(probes.iter().all(|probed| probed.outstanding.len() <= MAX_OUTSTANDING));
        }
    }
}
