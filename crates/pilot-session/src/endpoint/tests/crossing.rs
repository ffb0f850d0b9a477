use super::*;

#[test]
fn handshakes_that_cross_both_complete_and_the_smaller_agents_is_used() {
    let mut pair = Pair::new();
    pair.connect(A);
    pair.connect(B);
    pair.settle();
    for node in [A, B] {
        assert!(pair.talk(node));
        assert!(pair.order(node).unwrap().by_smaller);
    }
    assert_eq!(pair.order(A), pair.order(B));
}

#[test]
fn crossing_rekeys_end_under_one_epoch_and_the_old_ones_are_wiped() {
    let mut pair = Pair::connected();
    pair.connect(A);
    pair.connect(B);
    pair.settle();
    for _ in 0..3 {
        assert!(pair.talk(A) && pair.talk(B));
    }
    assert_eq!(pair.order(A), pair.order(B));
    assert!(pair.order(A).unwrap().by_smaller);
    assert_eq!(pair.order(A).unwrap().number, 2);
    pair.advance(Duration::from_secs(11));
    assert_eq!((pair.epochs(A), pair.epochs(B)), (1, 1));
    assert!(pair.talk(A) && pair.talk(B));
}

/// Whatever the order in which the packets of two handshakes arrive, the ends agree in the end.
#[test]
fn every_interleaving_of_crossing_handshakes_converges() {
    let mut interleavings = 0;
    for choices in 0..1u32 << 10 {
        let mut pair = Pair::connected();
        pair.connect(A);
        pair.connect(B);
        let mut bits = choices;
        while !pair.wire.is_empty() {
            // Any of the first two packets on the wire may come next.
            let next = usize::min((bits & 1) as usize, pair.wire.len() - 1);
            bits >>= 1;
            let packet = pair.wire.remove(next).unwrap();
            pair.deliver(packet);
        }
        for _ in 0..2 {
            assert!(pair.talk(A) && pair.talk(B), "choices {choices:#b}");
        }
        assert_eq!(pair.order(A), pair.order(B), "choices {choices:#b}");
        pair.advance(Duration::from_secs(11));
        assert_eq!(
            (pair.epochs(A), pair.epochs(B)),
            (1, 1),
            "choices {choices:#b}"
        );
        assert!(pair.talk(A) && pair.talk(B));
        interleavings += 1;
    }
    assert_eq!(interleavings, 1024);
}

#[test]
fn an_end_that_forgot_the_session_agrees_on_an_order_above_all_before() {
    let mut pair = Pair::connected();
    for _ in 0..5 {
        pair.connect(B);
        pair.settle();
    }
    let (a, b) = (pair.id(A), pair.id(B));
    pair.nodes[A].endpoint.close(&b);
    pair.connect(A);
    pair.settle();
    assert_eq!(pair.order(A), pair.order(B));
    assert!(pair.talk(A) && pair.talk(B));
    pair.nodes[B].endpoint.close(&a);
    pair.connect(A);
    pair.settle();
    assert!(pair.talk(A) && pair.talk(B));
}

#[test]
fn a_new_handshake_does_not_displace_the_session_before_it_is_confirmed() {
    let mut pair = Pair::connected();
    pair.confirms = false;
    let before = pair.order(B);
    pair.connect(A);
    pair.settle();
    assert_eq!(pair.order(B), before);
    // The responder goes on under the old epoch, which the initiator opens still, however long it stays silent.
    for _ in 0..100 {
        pair.advance(Duration::from_secs(1));
        assert!(pair.talk(B));
    }
}

#[test]
fn a_restarted_peer_supersedes_all_epochs_of_its_old_boot() {
    for dialler in [A, B] {
        let mut pair = Pair::connected();
        let late = pair.seal(A, b"from the old life").unwrap();
        pair.restart(A);
        assert!(!pair.talk(A));
        assert!(!pair.talk(B), "the restarted end has no keys of before");
        pair.connect(dialler);
        pair.settle();
        assert!(pair.talk(A) && pair.talk(B));
        assert_eq!((pair.epochs(A), pair.epochs(B)), (1, 1));
        pair.deliver(Flying {
            to: B,
            path: path(1),
            bytes: late,
        });
        assert_eq!(pair.nodes[B].drops.last(), Some(&DropReason::UnknownIndex));
        assert!(pair.talk(A));
    }
}

#[test]
fn an_answered_handshake_of_an_older_life_does_not_come_back() {
    let mut pair = Pair::connected();
    // A dials and is answered, but its confirming packet is late.
    pair.connect(A);
    let message_1 = pair.wire.pop_front().unwrap();
    pair.deliver(message_1);
    let message_2 = pair.wire.pop_front().unwrap();
    pair.deliver(message_2);
    let late = pair.wire.pop_front().unwrap();
    pair.restart(A);
    pair.nodes[A].freshness += 10;
    pair.connect(A);
    pair.settle();
    assert!(pair.talk(A) && pair.talk(B));
    pair.deliver(late);
    assert_eq!(pair.nodes[B].drops.last(), Some(&DropReason::UnknownIndex));
    assert!(pair.talk(A) && pair.talk(B));
}

#[test]
fn an_unconfirmed_epoch_of_an_older_life_is_stale() {
    let mut pair = Pair::new();
    pair.connect(A);
    let old_message_1 = pair.wire.pop_front().unwrap();
    let old_endpoint = {
        // The old life goes on at the side, as a delayed network would have it.
        let (fresh, keys) = start(0x0A, 7, [0x0A; 32], &pair.config, pair.now);
        pair.nodes[A].keys = keys;
        std::mem::replace(&mut pair.nodes[A].endpoint, fresh)
    };
    let old_boot = std::mem::replace(&mut pair.nodes[A].boot, BootId::new([0x77; 16]));
    pair.connect(A);
    pair.settle();
    assert!(pair.talk(A) && pair.talk(B));

    // Only now the old life's message 1 arrives, and is accepted by a careless caller.
    pair.nodes[B].peer_boot = Some(old_boot);
    pair.deliver(old_message_1);
    let new_endpoint = std::mem::replace(&mut pair.nodes[A].endpoint, old_endpoint);
    pair.settle();
    assert_eq!(pair.nodes[B].drops.last(), Some(&DropReason::Stale));
    pair.nodes[A].endpoint = new_endpoint;
    assert!(pair.talk(A) && pair.talk(B));
}

#[test]
fn an_answer_of_an_older_life_does_not_replace_the_newer_one() {
    let mut pair = Pair::new();
    // B dials A's old life, whose answer is late.
    pair.connect(B);
    let message_1 = pair.wire.pop_front().unwrap();
    pair.deliver(message_1);
    let late_message_2 = pair.wire.pop_front().unwrap();
    pair.restart(A);
    pair.connect(A);
    pair.settle();
    assert!(pair.talk(A) && pair.talk(B));
    pair.deliver(late_message_2);
    pair.settle();
    assert!(pair.talk(A) && pair.talk(B));
}
