use super::*;
use crate::error::{AcceptError, ConnectError};
use crate::event::HelloToken;

#[test]
fn one_round_trip_and_a_packet_make_a_session() {
    let mut pair = Pair::new();
    pair.confirms = false;
    pair.connect(A);
    assert!(pair.nodes[A].endpoint.is_connecting(&pair.id(B)));
    pair.settle();
    assert!(!pair.nodes[A].endpoint.is_connecting(&pair.id(B)));
    assert!(pair.nodes[A].endpoint.can_seal(pair.now, &pair.id(B)));
    assert!(
        !pair.nodes[B].endpoint.can_seal(pair.now, &pair.id(A)),
        "not before it is confirmed"
    );
    assert_eq!(pair.send(B, b"early"), Err(SealError::NoSession));
    assert_eq!(pair.nodes[B].confirmed, 0);
    assert!(pair.talk(A));
    assert_eq!(pair.nodes[B].confirmed, 1);
    assert!(pair.talk(B));
    assert!(pair.talk(A));
    assert_eq!((pair.nodes[B].confirmed, pair.nodes[A].answered), (1, 1));
}

#[test]
fn both_ends_export_the_same_and_other_labels_give_other_keys() {
    let pair = Pair::connected();
    let export = |node: usize, label: &str, context: &[u8]| {
        let mut out = [0; 48];
        let endpoint = &pair.nodes[node].endpoint;
        endpoint
            .export(&pair.id(1 - node), label, context, &mut out)
            .unwrap();
        out
    };
    assert_eq!(export(A, "file", b"1"), export(B, "file", b"1"));
    assert_ne!(export(A, "file", b"1"), export(A, "file", b"2"));
    assert_ne!(export(A, "file", b"1"), export(A, "file1", b""));
    let endpoint = &pair.nodes[A].endpoint;
    let long = "x".repeat(256);
    let export = |peer: &AgentId, label: &str| endpoint.export(peer, label, b"", &mut [0; 32]);
    assert_eq!(export(&pair.id(B), &long), Err(ExportError::TooLong));
    assert_eq!(export(&pair.id(A), "file"), Err(ExportError::NoSession));
}

#[test]
fn message_1_is_repeated_until_it_is_answered() {
    let mut pair = Pair::new();
    pair.connect(A);
    pair.wire.clear();
    pair.advance(Duration::from_millis(299));
    assert_eq!(pair.nodes[A].answered, 0);
    pair.advance(Duration::from_millis(2));
    assert_eq!((pair.nodes[A].answered, pair.nodes[B].confirmed), (1, 1));
}

#[test]
fn a_lost_message_2_is_sent_again_without_a_second_hello() {
    let mut pair = Pair::new();
    pair.connect(A);
    let message_1 = pair.wire.pop_front().unwrap();
    pair.deliver(message_1.clone());
    let first = pair.wire.pop_front().unwrap();
    pair.deliver(Flying {
        path: path(2),
        ..message_1
    });
    let second = pair.wire.pop_front().unwrap();
    assert_eq!(first.bytes, second.bytes);
    assert_eq!((first.path, second.path), (path(1), path(2)));
    assert_eq!(pair.nodes[B].hellos, 1);
    assert_eq!(pair.nodes[B].endpoint.half_open.len(), 1);
    pair.deliver(second);
    pair.settle();
    assert!(pair.talk(B));
    pair.deliver(first);
    assert_eq!(pair.nodes[A].drops, [DropReason::Unexpected]);
}

#[test]
fn copies_that_came_before_the_decision_are_answered_with_it() {
    let mut pair = Pair::new();
    pair.connect_on(A, &[path(1), path(2), path(1)]);
    assert_eq!(
        pair.wire.len(),
        2,
        "a path that is named twice is tried once"
    );
    let mut tokens = vec![];
    for mut packet in std::mem::take(&mut pair.wire) {
        let endpoint = &mut pair.nodes[B].endpoint;
        let received = endpoint.handle_datagram(pair.now, packet.path, &mut packet.bytes);
        if let Ok(Received::Hello { token, .. }) = received {
            tokens.push(token);
        }
    }
    let token = tokens.pop().unwrap();
    assert!(tokens.is_empty());
    let answer = answer(pair.nodes[B].boot, vec![VERSION]).encode();
    pair.nodes[B]
        .endpoint
        .accept(pair.now, token, &answer)
        .unwrap();
    pair.drain(B);
    let paths: Vec<_> = pair.wire.iter().map(|packet| packet.path).collect();
    assert_eq!(paths, [path(1), path(2)]);
    pair.settle();
    assert!(pair.talk(B));
}

#[test]
fn several_candidates_get_three_copies_each_and_then_the_handshake_fails() {
    let mut pair = Pair::new();
    let paths: Vec<_> = (1..=20).map(path).collect();
    pair.connect_on(A, &paths);
    let mut sent = std::mem::take(&mut pair.wire).len();
    assert_eq!(sent, 16);
    while pair.nodes[A].events.is_empty() {
        pair.now = pair.nodes[A].endpoint.poll_timeout().unwrap().at;
        pair.nodes[A].endpoint.handle_timeout(pair.now);
        pair.drain(A);
        sent += std::mem::take(&mut pair.wire).len();
    }
    assert_eq!(sent, 3 * 16);
    assert_eq!(
        pair.nodes[A].events,
        [Event::HandshakeFailed { peer: pair.id(B) }]
    );
    assert_eq!(pair.nodes[A].endpoint.indices.len(), 0);
    assert_eq!(pair.nodes[A].endpoint.poll_timeout(), None);
}

#[test]
fn a_lone_path_is_tried_for_ten_seconds() {
    let mut pair = Pair::new();
    let start = pair.now;
    pair.connect(A);
    let mut sent = std::mem::take(&mut pair.wire).len();
    while pair.nodes[A].events.is_empty() {
        pair.now = pair.nodes[A].endpoint.poll_timeout().unwrap().at;
        pair.nodes[A].endpoint.handle_timeout(pair.now);
        pair.drain(A);
        sent += std::mem::take(&mut pair.wire).len();
    }
    // At 0, 0.3, 0.9, 2.1, 4.1, 6.1 and 8.1 s.
    assert_eq!((sent, pair.now - start), (7, Duration::from_secs(10)));
}

#[test]
fn a_path_that_is_added_is_tried_at_once() {
    let mut pair = Pair::new();
    pair.connect_on(A, &[]);
    assert!(pair.wire.is_empty());
    let peer = pair.id(B);
    pair.nodes[A].endpoint.add_path(pair.now, &peer, path(7));
    assert_eq!(
        pair.nodes[A].endpoint.poll_timeout().map(|d| d.at),
        Some(pair.now)
    );
    pair.drain(A);
    assert_eq!(pair.wire[0].path, path(7));
    pair.settle();
    assert!(pair.talk(A));
}

#[test]
fn silence_answers_who_is_not_accepted_and_the_token_expires() {
    let mut pair = Pair::new();
    pair.accepts = false;
    pair.connect(A);
    pair.settle();
    assert_eq!((pair.nodes[B].hellos, pair.wire.len()), (1, 0));
    assert_eq!(pair.nodes[B].endpoint.half_open.len(), 0);
    assert_eq!(pair.nodes[B].endpoint.indices.len(), 0);

    let mut message_1 = {
        pair.connect(A);
        pair.wire.pop_front().unwrap()
    };
    let endpoint = &mut pair.nodes[B].endpoint;
    let received = endpoint.handle_datagram(pair.now, path(1), &mut message_1.bytes);
    let Ok(Received::Hello { token, .. }) = received else {
        panic!("not a hello")
    };
    pair.now += Duration::from_secs(5);
    endpoint.handle_timeout(pair.now);
    assert_eq!(endpoint.poll_timeout(), None);
    let answer = answer(BootId::new([1; 16]), vec![VERSION]).encode();
    assert_eq!(
        endpoint.accept(pair.now, token, &answer),
        Err(AcceptError::Expired)
    );
    assert_eq!(
        endpoint.accept(pair.now, HelloToken::new(99), &answer),
        Err(AcceptError::Expired)
    );
}

#[test]
fn who_was_approved_meanwhile_is_accepted_by_a_repetition() {
    let mut pair = Pair::new();
    pair.accepts = false;
    pair.connect(A);
    pair.settle();
    pair.accepts = true;
    pair.advance(Duration::from_secs(1));
    assert_eq!((pair.nodes[B].hellos, pair.nodes[A].answered), (2, 1));
    assert!(pair.talk(B));
}

#[test]
fn an_answer_longer_than_the_question_is_refused() {
    let mut pair = Pair::new();
    pair.connect(A);
    let mut message_1 = pair.wire.pop_front().unwrap().bytes;
    let len = message_1.len();
    let endpoint = &mut pair.nodes[B].endpoint;
    let received = endpoint.handle_datagram(pair.now, path(1), &mut message_1);
    let Ok(Received::Hello { token, .. }) = received else {
        panic!("not a hello")
    };
    let mut answer = answer(BootId::new([1; 16]), vec![VERSION]).encode();
    answer.resize(len, 0);
    assert_eq!(
        endpoint.accept(pair.now, token, &answer),
        Err(AcceptError::TooLong)
    );
    assert_eq!((endpoint.half_open.len(), endpoint.indices.len()), (0, 0));
}

#[test]
fn misuse_is_refused_without_a_trace() {
    let mut pair = Pair::new();
    let (ours, theirs) = (pair.nodes[A].keys, pair.nodes[B].keys);
    let mut hello = hello(ours.agent, pair.nodes[A].boot, 1);
    let bytes = hello.encode();
    let (now, endpoint) = (pair.now, &mut pair.nodes[A].endpoint);
    assert_eq!(
        endpoint.connect(now, ours, &bytes, &[]),
        Err(ConnectError::Oneself)
    );
    let weak = PeerKeys {
        dh_public: [0; 32],
        ..theirs
    };
    assert_eq!(
        endpoint.connect(now, weak, &bytes, &[]),
        Err(ConnectError::WeakKey)
    );
    let broken = endpoint.connect(now, theirs, &bytes[..40], &[]);
    assert!(matches!(broken, Err(ConnectError::Hello(_))));
    hello.entries = vec![vec![0; 512]; 3];
    let long = endpoint.connect(now, theirs, &hello.encode(), &[]);
    assert!(
        matches!(long, Err(ConnectError::HelloTooLong { .. })),
        "{long:?}"
    );
    assert_eq!((endpoint.indices.len(), endpoint.poll_timeout()), (0, None));
}

#[test]
fn the_table_of_sessions_is_bounded() {
    let mut pair = Pair::with_config(Config {
        sessions: 0,
        ..Config::default()
    });
    pair.connect(A);
    let mut message_1 = pair.wire.pop_front().unwrap().bytes;
    let endpoint = &mut pair.nodes[B].endpoint;
    let received = endpoint.handle_datagram(pair.now, path(1), &mut message_1);
    let Ok(Received::Hello { token, .. }) = received else {
        panic!("not a hello")
    };
    let answer = answer(BootId::new([1; 16]), vec![VERSION]).encode();
    assert_eq!(
        endpoint.accept(pair.now, token, &answer),
        Err(AcceptError::TableFull)
    );
}

#[test]
fn the_half_open_table_is_bounded_in_number_and_in_time() {
    let mut pair = Pair::with_config(Config {
        half_open: 8,
        ..Config::default()
    });
    pair.confirms = false;
    for _ in 0..50 {
        pair.connect(A);
        pair.settle();
        assert!(pair.nodes[B].endpoint.half_open.len() <= 8);
        let pending = pair.nodes[B].endpoint.half_open.pending_ids(&pair.id(A));
        assert!(pending.len() <= 2);
        // At most two unconfirmed epochs, each with one index.
        assert!(pair.nodes[B].endpoint.indices.len() <= 2);
    }
    // The last one was asked for a cookie, for the table was three quarters full: it comes again.
    pair.advance(Duration::from_secs(300));
    assert_eq!(pair.nodes[B].endpoint.half_open.len(), 0);
    assert_eq!(pair.nodes[B].endpoint.indices.len(), 0);
    assert_eq!(pair.nodes[B].endpoint.poll_timeout(), None);
}

#[test]
fn strangers_claiming_to_be_a_peer_do_not_displace_it() {
    let mut pair = Pair::new();
    pair.confirms = false;
    pair.connect(A);
    pair.settle();
    let (claimed, target) = (pair.id(A), pair.nodes[B].keys);
    for life in 0..20 {
        let (mut thief, _) = start(0x0C, life, [0x0C; 32], &pair.config, pair.now);
        let claim = hello(claimed, BootId::new([9; 16]), 999).encode();
        thief
            .connect(pair.now, target, &claim, &[path(66)])
            .unwrap();
        let mut out = TransmitBuf::new(1, 1500);
        thief.poll_transmit(pair.now, &mut out).unwrap();
        pair.deliver(Flying {
            to: B,
            path: path(66),
            bytes: out.as_slice().to_vec(),
        });
    }
    assert_eq!(pair.nodes[B].hellos, 21);
    assert!(pair.talk(A), "the one that was answered still confirms");
}

#[test]
fn closing_forgets_everything_about_a_peer() {
    let mut pair = Pair::connected();
    pair.connect(A);
    let (a, b) = (pair.id(A), pair.id(B));
    pair.nodes[A].endpoint.close(&b);
    assert!(!pair.nodes[A].endpoint.is_connecting(&b));
    assert!(!pair.nodes[A].endpoint.can_seal(pair.now, &b));
    assert_eq!(pair.nodes[A].endpoint.indices.len(), 0);
    pair.confirms = false;
    pair.settle();
    pair.nodes[B].endpoint.close(&a);
    assert_eq!(pair.nodes[B].endpoint.indices.len(), 0);
    assert_eq!(pair.nodes[A].endpoint.poll_timeout(), None);
}
