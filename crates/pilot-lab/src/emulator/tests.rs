use std::time::Duration;

use pilot_sim::{BurstLoss, Probability};

use super::*;

const SEED: u64 = 42;

/// IPv4 frames of several sizes and marks, among others that are not IP, at uneven times within a second.
fn recording() -> Vec<(Duration, Vec<u8>)> {
    let mut rng = SimRng::new(1);
    let mut at = Duration::ZERO;
    (0..20_000_u32)
        .map(|number| {
            at += rng.duration_up_to(Duration::from_micros(100));
            let size = 64 + rng.below(1450) as usize;
            let mut frame = vec![0; size];
            frame[12] = 8;
            frame[13] = if rng.chance(Probability::percent(1.0)) {
                6
            } else {
                0
            };
            frame[ETHERNET] = 0x45;
            frame[ETHERNET + 1] = rng.below(4) as u8;
            frame[ETHERNET + 20..ETHERNET + 24].copy_from_slice(&number.to_be_bytes());
            (at, frame)
        })
        .collect()
}

/// Every effect at once.
fn harsh() -> LinkConfig {
    LinkConfig {
        delay: Duration::from_millis(20),
        jitter: Duration::from_millis(2),
        loss: Probability::percent(2.0),
        burst: Some(BurstLoss {
            enter: Probability::percent(0.5),
            leave: Probability::percent(25.0),
            loss: Probability::percent(80.0),
        }),
        reorder: Probability::percent(3.0),
        reorder_by: Duration::from_millis(5),
        duplicate: Probability::percent(1.0),
        corrupt: Probability::percent(1.0),
        rate: Some(120_000_000),
        queue: 60_000,
        mtu: 1480,
        mark_above: Some(30_000),
    }
}

/// What the simulator's link decides of the recording, by time of arrival.
fn decided(start: Instant, frames: &[(Duration, Vec<u8>)]) -> (Vec<(Instant, Vec<u8>)>, [u64; 4]) {
    let (mut link, mut rng) = (Link::new(harsh()), SimRng::new(SEED));
    let (mut arrivals, mut drops) = (vec![], [0; 4]);
    for (at, frame) in frames {
        let is_ip = frame[13] == 0;
        let facts = Frame {
            size: frame.len() - ETHERNET,
            ecn: is_ip.then(|| Ecn::from_bits(frame[ETHERNET + 1])).flatten(),
        };
        match link.enqueue(start + *at, facts, &mut rng) {
            Ok(deliveries) => arrivals.extend(deliveries.into_iter().map(|it| (it, frame.clone()))),
            Err(cause) => drops[cause as usize] += 1,
        }
    }
    arrivals.sort_by_key(|(delivery, _)| delivery.at);
    let applied = arrivals.into_iter().map(|(delivery, mut frame)| {
        if let Some(ecn) = delivery.ecn {
            frame::set_ecn(&mut frame, ecn);
        }
        if let Some(corruption) = delivery.corruption {
            frame[ETHERNET + corruption.offset] ^= corruption.mask;
        }
        (delivery.at, frame)
    });
    (applied.collect(), drops)
}

#[test]
fn a_recording_comes_out_as_the_simulators_link_decides() {
    let (start, frames) = (Instant::now(), recording());
    let mut emulator = Emulator::new(harsh(), SEED);
    let mut found = vec![];
    let mut drain = |emulator: &mut Emulator, until: Option<Instant>| {
        while let Some(due) = emulator.poll_timeout()
            && until.is_none_or(|until| due <= until)
        {
            let frame = emulator.poll_frame(due).unwrap();
            found.push((due, frame.clone()));
            emulator.recycle(frame);
        }
    };
    for (at, frame) in &frames {
        drain(&mut emulator, Some(start + *at));
        emulator.handle_frame(start + *at, frame);
    }
    drain(&mut emulator, None);
    let (expected, drops) = decided(start, &frames);
    let counters = emulator.counters();
    let counted = [
        counters.too_big,
        counters.queue_full,
        counters.lost,
        counters.burst,
    ];
    assert_eq!(counted, drops);
    assert!(
        drops.iter().all(|drop| *drop > 10),
        "an effect is missing: {drops:?}"
    );
    let others = [counters.duplicated, counters.corrupted, counters.marked];
    assert!(
        others.iter().all(|it| *it > 10),
        "an effect is missing: {counters:?}"
    );
    assert_eq!(found.len(), expected.len());
    assert!(
        found == expected,
        "the same count, but other frames or times"
    );
}

#[test]
fn frames_of_one_moment_keep_their_order() {
    let (now, mut emulator) = (Instant::now(), Emulator::new(LinkConfig::default(), SEED));
    for number in 0..100 {
        emulator.handle_frame(now, &[number; 60]);
    }
    let came = std::iter::from_fn(|| emulator.poll_frame(now));
    assert!(came.map(|frame| frame[0]).eq(0..100));
}

#[test]
fn a_link_without_a_queue_of_its_own_holds_a_bounded_number_of_bytes() {
    let config = LinkConfig::delay(Duration::from_secs(1));
    let (now, mut emulator) = (Instant::now(), Emulator::new(config, SEED));
    let frame = vec![0; 1 << 20];
    for _ in 0..200 {
        emulator.handle_frame(now, &frame);
    }
    assert_eq!(emulator.counters().overflow, 200 - (MAX_HELD >> 20) as u64);
    let later = now + Duration::from_secs(1);
    let came = std::iter::from_fn(|| emulator.poll_frame(later)).count();
    assert_eq!(came, MAX_HELD >> 20);
    emulator.handle_frame(later, &frame);
    assert_eq!(emulator.counters().received, 201);
    assert!(emulator.poll_timeout().is_some(), "there is room again");
}

#[test]
fn a_runt_is_carried() {
    let config = LinkConfig {
        corrupt: Probability::ALWAYS,
        ..LinkConfig::default()
    };
    let (now, mut emulator) = (Instant::now(), Emulator::new(config, SEED));
    for size in 0..=ETHERNET {
        emulator.handle_frame(now, &vec![9; size]);
        assert_eq!(emulator.poll_frame(now), Some(vec![9; size]));
    }
}
