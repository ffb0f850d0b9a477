use super::*;

const LARGE: [u8; 1000] = [0x55; 1000];

fn use_heavily(pair: &mut Pair) {
    for _ in 0..20 {
        pair.send(A, &LARGE).unwrap();
        pair.send(B, &LARGE).unwrap();
    }
    pair.settle();
}

#[test]
fn an_epoch_in_use_is_replaced_after_two_minutes_by_its_initiator() {
    let mut pair = Pair::connected();
    use_heavily(&mut pair);
    pair.advance(Duration::from_secs(119));
    assert_eq!(pair.order(A).unwrap().number, 1);
    pair.advance(Duration::from_secs(2));
    assert_eq!(pair.nodes[A].events, [Event::RekeyDue { peer: pair.id(B) }]);
    assert!(pair.nodes[B].events.is_empty());
    for node in [A, B] {
        assert_eq!(pair.order(node).unwrap().number, 2);
        assert!(pair.talk(node));
    }
}

#[test]
fn the_responder_asks_when_the_initiator_does_not() {
    let mut pair = Pair::connected();
    use_heavily(&mut pair);
    pair.rekeys = false;
    pair.advance(Duration::from_secs(134));
    assert_eq!(pair.nodes[A].events, [Event::RekeyDue { peer: pair.id(B) }]);
    assert!(pair.nodes[B].events.is_empty());
    pair.advance(Duration::from_secs(2));
    assert_eq!(pair.nodes[B].events, [Event::RekeyDue { peer: pair.id(A) }]);
    pair.advance(Duration::from_secs(20));
    assert_eq!(
        pair.nodes[A].events.len() + pair.nodes[B].events.len(),
        2,
        "once each"
    );
}

#[test]
fn sealing_stops_at_three_minutes_and_the_session_ends() {
    let mut pair = Pair::connected();
    use_heavily(&mut pair);
    pair.rekeys = false;
    pair.advance(Duration::from_secs(179));
    assert!(pair.talk(A));
    pair.advance(Duration::from_secs(1));
    assert_eq!(pair.send(A, b"late"), Err(SealError::Expired));
    assert!(!pair.nodes[A].endpoint.can_seal(pair.now, &pair.id(B)));
    pair.advance(Duration::from_secs(11));
    assert_eq!(
        pair.nodes[A].events.last(),
        Some(&Event::SessionExpired { peer: pair.id(B) })
    );
    assert_eq!(pair.send(A, b"late"), Err(SealError::NoSession));
    assert_eq!(
        (
            pair.nodes[A].endpoint.indices.len(),
            pair.nodes[A].endpoint.poll_timeout()
        ),
        (0, None)
    );
}

#[test]
fn an_idle_epoch_with_keep_alives_lasts_an_hour() {
    let mut pair = Pair::connected();
    for _ in 0..140 {
        pair.advance(Duration::from_secs(25));
        assert!(pair.talk(A));
    }
    assert_eq!(pair.order(A).unwrap().number, 1);
    pair.advance(Duration::from_secs(110));
    assert_eq!(pair.order(A).unwrap().number, 2);
}

#[test]
fn an_old_idle_epoch_that_comes_into_use_has_time_to_be_replaced() {
    let mut pair = Pair::connected();
    pair.rekeys = false;
    pair.advance(Duration::from_secs(1000));
    use_heavily(&mut pair);
    pair.fire();
    assert_eq!(pair.nodes[A].events, [Event::RekeyDue { peer: pair.id(B) }]);
    pair.advance(Duration::from_secs(59));
    assert!(pair.talk(A));
    pair.advance(Duration::from_secs(2));
    assert_eq!(pair.send(A, b"late"), Err(SealError::Expired));
}

#[test]
fn packets_are_limited_too() {
    let config = Config {
        rekey_packets: 100,
        stop_packets: 200,
        ..Config::default()
    };
    let mut pair = Pair::with_config(config);
    pair.rekeys = false;
    pair.connect(A);
    pair.settle();
    while pair.nodes[A].next < 99 {
        pair.send(A, b"").unwrap();
    }
    pair.settle();
    assert!(pair.nodes[A].events.is_empty());
    pair.send(A, b"").unwrap();
    assert_eq!(pair.nodes[A].events, [Event::RekeyDue { peer: pair.id(B) }]);
    while pair.nodes[A].next < 200 {
        pair.send(A, b"").unwrap();
        pair.settle();
    }
    assert_eq!(
        pair.nodes[B].events,
        [Event::RekeyDue { peer: pair.id(A) }],
        "at half of what is left"
    );
    assert_eq!(pair.send(A, b""), Err(SealError::Expired));
    assert_eq!(pair.nodes[A].events.len(), 1);
}

#[test]
fn a_failed_rekey_asks_again_as_long_as_there_are_keys() {
    let mut pair = Pair::connected();
    use_heavily(&mut pair);
    pair.accepts = false;
    pair.advance(Duration::from_secs(200));
    let asked = pair.nodes[A]
        .events
        .iter()
        .filter(|e| matches!(e, Event::RekeyDue { .. }));
    assert!(asked.count() >= 5);
    assert_eq!(
        pair.nodes[A].endpoint.poll_timeout(),
        None,
        "quiet after the end"
    );
}

#[test]
fn late_packets_of_the_old_epoch_open_for_ten_seconds() {
    let mut pair = Pair::connected();
    let late: Vec<_> = (0..2).map(|_| pair.seal(B, b"late").unwrap()).collect();
    pair.connect(A);
    pair.settle();
    assert!(pair.talk(A) && pair.talk(B));
    assert_eq!((pair.epochs(A), pair.epochs(B)), (2, 2));
    pair.advance(Duration::from_secs(9));
    pair.deliver(Flying {
        to: A,
        path: path(1),
        bytes: late[0].clone(),
    });
    assert_eq!(pair.nodes[A].inbox.last().unwrap(), b"late");
    pair.advance(Duration::from_secs(1));
    pair.deliver(Flying {
        to: A,
        path: path(1),
        bytes: late[1].clone(),
    });
    assert_eq!(pair.nodes[A].drops, [DropReason::UnknownIndex]);
    assert_eq!((pair.epochs(A), pair.epochs(B)), (1, 1));
    // Its index and those of the old epoch.
    assert_eq!(pair.nodes[A].endpoint.indices.len(), 1);
}

#[test]
fn numbers_run_on_over_epochs_and_packets_arrive_in_any_order_across_them() {
    let mut pair = Pair::connected();
    let mut flying = vec![];
    for round in 0..4u8 {
        for _ in 0..50 {
            let bytes = pair.seal(A, &[round; 80]).unwrap();
            flying.push(Flying {
                to: B,
                path: path(1),
                bytes,
            });
        }
        pair.connect(A);
        pair.settle();
    }
    let expected = flying.len();
    let before = pair.nodes[B].inbox.len();
    // Backwards, of each epoch that can be open at once.
    for packet in flying.drain(..).rev() {
        pair.deliver(packet);
    }
    let opened = pair.nodes[B].inbox.len() - before;
    assert_eq!(
        opened,
        expected - 50,
        "all but those of the epoch that had to make room"
    );
}

#[test]
fn a_busy_epoch_opens_packets_that_are_tens_of_thousands_late() {
    let mut pair = Pair::connected();
    for _ in 0..1100 {
        pair.send(A, &LARGE).unwrap();
    }
    pair.settle();
    let late = pair.seal(A, b"late").unwrap();
    pair.nodes[A].next += 60_000;
    assert!(pair.talk(A));
    pair.deliver(Flying {
        to: B,
        path: path(1),
        bytes: late,
    });
    assert_eq!(pair.nodes[B].inbox.last().unwrap(), b"late");
    // When it is quiet again, the window is small again.
    pair.advance(Duration::from_secs(31));
    let late = pair.seal(A, b"late").unwrap();
    pair.nodes[A].next += 60_000;
    assert!(pair.talk(A));
    pair.deliver(Flying {
        to: B,
        path: path(1),
        bytes: late,
    });
    assert_eq!(pair.nodes[B].drops, [DropReason::Replay]);
}

#[test]
fn a_number_is_never_sealed_twice_nor_out_of_order() {
    let mut pair = Pair::connected();
    pair.nodes[A].next = 100;
    assert!(pair.talk(A));
    for again in [100, 99, 0] {
        pair.nodes[A].next = again;
        assert_eq!(pair.send(A, b"again"), Err(SealError::NumberOutOfOrder));
    }
    pair.nodes[A].next = PacketNumber::MAX.to_u64() + 1;
    assert_eq!(pair.send(A, b"beyond"), Err(SealError::NumberOutOfOrder));
}

#[test]
fn a_migration_uses_a_fresh_index_and_the_old_one_dies() {
    let mut pair = Pair::connected();
    let (a, b) = (pair.id(A), pair.id(B));
    assert!(!pair.nodes[A].endpoint.use_fresh_index(&b));
    let issued: Vec<_> = (0..5)
        .map(|_| pair.nodes[B].endpoint.issue_index(&a))
        .collect();
    assert!(issued[..4].iter().all(Option::is_some) && issued[4].is_none());
    for (sequence, index) in issued.into_iter().flatten() {
        pair.nodes[A].endpoint.handle_new_index(&b, sequence, index);
    }
    let before = pair.seal(A, b"old index").unwrap();
    assert!(pair.nodes[A].endpoint.use_fresh_index(&b));
    let after = pair.seal(A, b"new index").unwrap();
    assert_ne!(before[1..5], after[1..5]);
    let retired = pair.nodes[A].endpoint.next_retired_index(&b).unwrap();
    assert_eq!(pair.nodes[A].endpoint.next_retired_index(&b), None);
    pair.nodes[B].endpoint.handle_retire_index(&a, retired);
    pair.deliver(Flying {
        to: B,
        path: path(1),
        bytes: before,
    });
    assert_eq!(pair.nodes[B].drops, [DropReason::UnknownIndex]);
    pair.deliver(Flying {
        to: B,
        path: path(2),
        bytes: after,
    });
    assert_eq!(pair.nodes[B].inbox.last().unwrap(), b"new index");
    assert!(
        pair.nodes[B].endpoint.issue_index(&a).is_some(),
        "the retired one made room"
    );
    pair.nodes[B].endpoint.close(&a);
    assert_eq!(pair.nodes[B].endpoint.indices.len(), 0);
}
