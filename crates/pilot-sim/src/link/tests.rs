use super::*;

const FRAMES: u32 = 100_000;

fn start() -> Instant {
    crate::clock::Clock::new().now()
}

fn frame(size: usize) -> Frame {
    Frame { size, ecn: None }
}

fn percent(percent: f64) -> Probability {
    Probability::percent(percent)
}

/// Sends [`FRAMES`] frames a millisecond apart.
fn send_many(config: LinkConfig) -> Vec<Result<Deliveries, LinkDrop>> {
    let (mut link, mut rng) = (Link::new(config), SimRng::new(42));
    let at = |n| start() + Duration::from_millis(n);
    (0..u64::from(FRAMES))
        .map(|n| link.enqueue(at(n), frame(1000), &mut rng))
        .collect()
}

fn share<T>(items: &[T], is_counted: impl Fn(&T) -> bool) -> f64 {
    items.iter().filter(|item| is_counted(item)).count() as f64 / items.len() as f64
}

/// Five standard deviations of a share of [`FRAMES`] draws: what a right link misses once in millions of seeds.
fn is_near(found: f64, expected: f64) -> bool {
    let deviation = (expected * (1.0 - expected) / f64::from(FRAMES)).sqrt();
    (found - expected).abs() <= 5.0 * deviation
}

#[test]
fn a_perfect_link_delivers_at_once_and_changes_nothing() {
    let outcomes = send_many(LinkConfig::default());
    for (n, outcome) in (0..).zip(outcomes) {
        let delivery = Delivery {
            at: start() + Duration::from_millis(n),
            ecn: None,
            corruption: None,
        };
        let deliveries = Deliveries {
            first: delivery,
            duplicate: None,
        };
        assert_eq!(outcome, Ok(deliveries));
    }
}

#[test]
fn independent_losses_come_at_their_rate_and_do_not_cling_together() {
    let outcomes = send_many(LinkConfig {
        loss: percent(30.0),
        ..LinkConfig::default()
    });
    let is_lost = |outcome: &Result<_, _>| *outcome == Err(LinkDrop::Loss);
    assert!(is_near(share(&outcomes, is_lost), 0.3));
    let pairs: Vec<_> = outcomes.windows(2).collect();
    let both = share(&pairs, |pair| pair.iter().all(is_lost));
    assert!((both - 0.09).abs() < 0.01, "{both}");
}

#[test]
fn bursts_lose_their_share_in_runs_of_their_length() {
    let outcomes = send_many(LinkConfig {
        burst: Some(BurstLoss {
            enter: percent(1.0),
            leave: percent(20.0),
            loss: Probability::ALWAYS,
        }),
        ..LinkConfig::default()
    });
    let is_lost = |outcome: &Result<_, _>| *outcome == Err(LinkDrop::Burst);
    // The bad state holds for 1 / (1 + 20) of the frames …
    let lost = share(&outcomes, is_lost);
    assert!((lost - 1.0 / 21.0).abs() < 0.006, "{lost}");
    // … five in a row.
    let starts = outcomes.windows(2);
    let bursts = starts.filter(|pair| !is_lost(&pair[0]) && is_lost(&pair[1]));
    let length = lost * f64::from(FRAMES) / bursts.count() as f64;
    assert!((length - 5.0).abs() < 0.5, "{length}");
}

#[test]
fn jitter_spreads_arrivals_evenly_and_keeps_their_order() {
    let (delay, jitter) = (Duration::from_millis(20), Duration::from_micros(900));
    let outcomes = send_many(LinkConfig {
        delay,
        jitter,
        ..LinkConfig::default()
    });
    let mut waits = vec![];
    for (n, outcome) in (0..).zip(&outcomes) {
        let sent = start() + Duration::from_millis(n);
        waits.push(outcome.unwrap().first.at - sent - delay);
    }
    assert!(waits.iter().all(|wait| *wait <= jitter));
    let mean = waits.iter().sum::<Duration>() / FRAMES;
    assert!(
        mean.abs_diff(jitter / 2) < Duration::from_micros(10),
        "{mean:?}"
    );
    // Jitter far above the distance of frames does not let one overtake another either.
    let outcomes = send_many(LinkConfig {
        jitter: Duration::from_millis(50),
        ..LinkConfig::default()
    });
    assert!(outcomes.is_sorted_by_key(|outcome| outcome.unwrap().first.at));
}

#[test]
fn reordering_holds_its_share_back_and_the_rest_stays_in_order() {
    let outcomes = send_many(LinkConfig {
        reorder: percent(10.0),
        reorder_by: Duration::from_millis(10),
        ..LinkConfig::default()
    });
    let (mut on_time, mut held) = (vec![], 0);
    for (n, outcome) in (0..).zip(&outcomes) {
        let sent = start() + Duration::from_millis(n);
        let at = outcome.unwrap().first.at;
        assert!(at - sent <= Duration::from_millis(10));
        if at == sent {
            on_time.push(at);
        } else {
            held += 1;
        }
    }
    assert!(is_near(f64::from(held) / f64::from(FRAMES), 0.1), "{held}");
    assert!(on_time.is_sorted());
    let overtaken = outcomes.windows(2);
    let overtaken = overtaken.filter(|pair| pair[0].unwrap().first.at > pair[1].unwrap().first.at);
    assert!(overtaken.count() > FRAMES as usize / 20);
}

#[test]
fn duplicates_come_at_their_rate_and_not_before_the_frame() {
    let outcomes = send_many(LinkConfig {
        duplicate: percent(5.0),
        jitter: Duration::from_micros(500),
        ..LinkConfig::default()
    });
    let is_duplicated = |outcome: &Result<Deliveries, _>| outcome.unwrap().duplicate.is_some();
    assert!(is_near(share(&outcomes, is_duplicated), 0.05));
    for outcome in outcomes {
        let copies: Vec<_> = outcome.unwrap().into_iter().collect();
        assert!(copies.is_sorted_by_key(|copy| copy.at));
    }
}

#[test]
fn corruption_flips_something_inside_of_the_frame_at_its_rate() {
    let outcomes = send_many(LinkConfig {
        corrupt: percent(5.0),
        ..LinkConfig::default()
    });
    let found = outcomes
        .iter()
        .filter_map(|outcome| outcome.unwrap().first.corruption);
    let found: Vec<_> = found.collect();
    assert!(is_near(found.len() as f64 / f64::from(FRAMES), 0.05));
    assert!(found.iter().all(|c| c.offset < 1000 && c.mask != 0));
    let in_first_half = share(&found, |c| c.offset < 500);
    assert!((in_first_half - 0.5).abs() < 0.05, "{in_first_half}");
}

#[test]
fn a_rate_spaces_frames_by_their_size() {
    // 8 Mbit/s are a byte per microsecond.
    let config = LinkConfig {
        rate: Some(8_000_000),
        delay: Duration::from_millis(5),
        ..LinkConfig::default()
    };
    let (mut link, mut rng) = (Link::new(config), SimRng::new(1));
    let mut arrival = |at, size| {
        let outcome = link.enqueue(start() + at, frame(size), &mut rng);
        outcome.unwrap().first.at - start()
    };
    let (ms, us) = (Duration::from_millis, Duration::from_micros);
    assert_eq!(arrival(ms(0), 1000), ms(6));
    assert_eq!(arrival(ms(0), 500), us(6500));
    assert_eq!(arrival(ms(1), 500), ms(7), "behind the two before it");
    assert_eq!(arrival(ms(10), 1000), ms(16), "the link was idle");
}

#[test]
fn a_queue_holds_its_bytes_and_drops_what_comes_then() {
    let config = LinkConfig {
        rate: Some(8_000_000),
        queue: 3000,
        ..LinkConfig::default()
    };
    let (mut link, mut rng) = (Link::new(config), SimRng::new(1));
    let mut send = |at| link.enqueue(at, frame(1000), &mut rng).map(|_| ());
    assert_eq!([send(start()), send(start()), send(start())], [Ok(()); 3]);
    assert_eq!(send(start()), Err(LinkDrop::QueueFull));
    let later = start() + Duration::from_millis(1);
    assert_eq!(send(later), Ok(()), "one has left");
    assert_eq!(send(later), Err(LinkDrop::QueueFull));
    assert_eq!(link.backlog(later), 3000);
    assert_eq!(link.backlog(later + Duration::from_secs(1)), 0);
}

#[test]
fn a_long_queue_marks_what_is_capable_of_it() {
    let config = LinkConfig {
        rate: Some(8_000_000),
        mark_above: Some(1500),
        ..LinkConfig::default()
    };
    let (mut link, mut rng) = (Link::new(config), SimRng::new(1));
    let mut send = |ecn| {
        let frame = Frame { size: 1000, ecn };
        link.enqueue(start(), frame, &mut rng).unwrap().first.ecn
    };
    assert_eq!(send(Some(Ecn::Ect0)), Some(Ecn::Ect0));
    assert_eq!(send(Some(Ecn::Ect0)), Some(Ecn::Ect0), "1,000 bytes wait");
    assert_eq!(send(Some(Ecn::Ect0)), Some(Ecn::Ce), "2,000 bytes wait");
    assert_eq!(send(Some(Ecn::Ect1)), Some(Ecn::Ce));
    assert_eq!(send(None), None);
}

#[test]
fn a_frame_above_the_mtu_is_dropped() {
    let config = LinkConfig {
        mtu: 1280,
        ..LinkConfig::default()
    };
    let (mut link, mut rng) = (Link::new(config), SimRng::new(1));
    assert!(link.enqueue(start(), frame(1280), &mut rng).is_ok());
    let outcome = link.enqueue(start(), frame(1281), &mut rng);
    assert_eq!(outcome, Err(LinkDrop::TooBig));
}

#[test]
fn what_the_wire_loses_has_used_the_rate() {
    let config = LinkConfig {
        rate: Some(8_000_000),
        loss: Probability::ALWAYS,
        ..LinkConfig::default()
    };
    let (mut link, mut rng) = (Link::new(config), SimRng::new(1));
    assert!(link.enqueue(start(), frame(1000), &mut rng).is_err());
    assert_eq!(link.backlog(start()), 1000);
}

#[test]
fn an_effect_that_is_off_draws_nothing() {
    let lossy = LinkConfig {
        loss: percent(30.0),
        ..LinkConfig::default()
    };
    let limited = LinkConfig {
        mtu: 1500,
        queue: 1 << 20,
        ..lossy
    };
    assert_eq!(send_many(lossy), send_many(limited));
}
