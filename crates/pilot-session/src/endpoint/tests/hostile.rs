use pilot_wire::limits::MACS;

use super::*;
use crate::mac::MacKey;
use crate::rate::Rate;

#[test]
fn a_replayed_packet_is_dropped_whatever_comes_between() {
    let mut pair = Pair::connected();
    let packet = pair.seal(A, b"once").unwrap();
    let flying = Flying {
        to: B,
        path: path(1),
        bytes: packet,
    };
    pair.deliver(flying.clone());
    assert!(pair.talk(A));
    let before = pair.nodes[B].inbox.len();
    for _ in 0..3 {
        pair.deliver(flying.clone());
    }
    assert_eq!(pair.nodes[B].inbox.len(), before);
    assert_eq!(pair.nodes[B].drops, [DropReason::Replay; 3]);
}

#[test]
fn no_bit_of_any_packet_can_be_flipped() {
    let mut pair = Pair::new();
    pair.confirms = false;
    pair.connect(A);
    for stage in ["message 1", "message 2", "first data"] {
        if stage == "first data" {
            pair.send(A, b"first data").unwrap();
        }
        let packet = pair.wire.pop_front().unwrap();
        // mac2 is ignored in quiet times.
        let covered = if stage == "first data" { 0 } else { MACS / 2 };
        for bit in 0..(packet.bytes.len() - covered) * 8 {
            let bytes = flipped(&packet.bytes, bit);
            pair.deliver(Flying { bytes, ..packet });
            assert!(pair.wire.is_empty(), "{stage} bit {bit} was answered");
        }
        assert_eq!(
            (pair.nodes[B].hellos, pair.nodes[A].answered),
            if stage == "message 1" {
                (0, 0)
            } else {
                (1, usize::from(stage == "first data"))
            }
        );
        assert_eq!(pair.nodes[B].confirmed, 0);
        pair.deliver(packet);
    }
    assert_eq!(
        pair.nodes[B].confirmed, 1,
        "the packets themselves went through"
    );
    assert!(pair.talk(A) && pair.talk(B));
}

/// `mac1` is no secret: who knows both ends' public keys forges it, and only the handshake itself holds then.
#[test]
fn no_bit_can_be_flipped_even_with_the_mac_made_right() {
    // Without a load, which would have none of these opened.
    let mut pair = Pair::with_config(Config {
        unproven: Rate {
            burst: 1 << 20,
            per_second: 1,
        },
        ..Config::default()
    });
    pair.connect(A);
    for stage in ["message 1", "message 2"] {
        let packet = pair.wire.pop_front().unwrap();
        let mac = MacKey::new(&pair.nodes[packet.to].keys.dh_public);
        let covered = packet.bytes.len() - MACS;
        for bit in 0..covered * 8 {
            // The sender index of message 2 is not trusted: the one inside counts.
            if stage == "message 2" && (16..48).contains(&bit) {
                continue;
            }
            let mut bytes = flipped(&packet.bytes, bit);
            bytes.truncate(covered);
            mac.append(&mut bytes);
            pair.deliver(Flying { bytes, ..packet });
        }
        pair.wire.retain(|answer| answer.bytes[0] == 0x83);
        pair.wire.clear();
        assert_eq!(
            (pair.nodes[B].hellos, pair.nodes[A].answered),
            if stage == "message 1" { (0, 0) } else { (1, 0) }
        );
        pair.deliver(packet);
    }
    pair.settle();
    assert!(pair.talk(A) && pair.talk(B));
}

#[test]
fn a_forged_sender_index_in_message_2_misleads_nobody() {
    let mut pair = Pair::new();
    pair.connect(A);
    let message_1 = pair.wire.pop_front().unwrap();
    pair.deliver(message_1);
    let mut message_2 = pair.wire.pop_front().unwrap();
    message_2.bytes[2..6].copy_from_slice(&[9; 4]);
    message_2.bytes.truncate(message_2.bytes.len() - MACS);
    MacKey::new(&pair.nodes[A].keys.dh_public).append(&mut message_2.bytes);
    pair.deliver(message_2);
    pair.settle();
    assert!(pair.talk(A) && pair.talk(B));
}

#[test]
fn who_has_another_identity_or_key_than_was_dialled_cannot_answer() {
    // Message 1 to B's key, but for an agent that B is not.
    let mut pair = Pair::new();
    pair.nodes[B].keys.agent = AgentId::new([0x0D; 32]);
    pair.connect(A);
    pair.settle();
    assert_eq!(
        (pair.nodes[B].hellos, pair.nodes[B].drops.clone()),
        (0, vec![DropReason::BadHandshake])
    );

    // Message 1 to B, but under a key that B does not hold.
    let mut pair = Pair::new();
    let right = pair.nodes[B].keys;
    pair.nodes[B].keys.dh_public = pair.nodes[A].keys.dh_public;
    pair.connect(A);
    let message_1 = pair.wire.pop_front().unwrap();
    pair.deliver(message_1.clone());
    assert_eq!(pair.nodes[B].drops, [DropReason::BadMac]);
    let mut bytes = message_1.bytes.clone();
    bytes.truncate(bytes.len() - MACS);
    MacKey::new(&right.dh_public).append(&mut bytes);
    pair.deliver(Flying { bytes, ..message_1 });
    assert_eq!(
        pair.nodes[B].drops,
        [DropReason::BadMac, DropReason::BadHandshake]
    );
}

#[test]
fn a_hello_comes_with_the_key_of_who_sent_it() {
    let mut pair = Pair::new();
    pair.connect(A);
    let mut bytes = pair.wire.pop_front().unwrap().bytes;
    let expected = pair.nodes[A].keys.dh_public;
    let received = pair.nodes[B]
        .endpoint
        .handle_datagram(pair.now, path(1), &mut bytes);
    let Ok(Received::Hello { peer_static, .. }) = received else {
        panic!("not a hello")
    };
    assert_eq!(peer_static, expected);
}

#[test]
fn an_answer_that_echoes_other_versions_aborts() {
    let mut pair = Pair::new();
    pair.connect(A);
    let mut bytes = pair.wire.pop_front().unwrap().bytes;
    let endpoint = &mut pair.nodes[B].endpoint;
    let Ok(Received::Hello { token, .. }) = endpoint.handle_datagram(pair.now, path(1), &mut bytes)
    else {
        panic!("not a hello")
    };
    let answer = answer(BootId::new([1; 16]), vec![VERSION, 0]).encode();
    endpoint.accept(pair.now, token, &answer).unwrap();
    pair.drain(B);
    pair.settle();
    assert_eq!(pair.nodes[A].drops, [DropReason::BadHandshake]);
    assert_eq!(
        pair.nodes[A].events,
        [Event::HandshakeFailed { peer: pair.id(B) }]
    );
    assert_eq!(pair.nodes[A].endpoint.indices.len(), 0);
}

/// A message 1 of another version, with the right mac.
fn foreign(pair: &Pair, len: usize) -> Vec<u8> {
    let mut packet = vec![0x80, VERSION + 1, 1, 2, 3, 4];
    packet.resize(len - MACS, 0);
    MacKey::new(&pair.nodes[B].keys.dh_public).append(&mut packet);
    packet
}

#[test]
fn a_version_list_answers_only_a_right_mac_and_is_never_longer() {
    let mut pair = Pair::new();
    let list_len = 10 + 1 + MACS;
    for len in MACS + 6..list_len + 5 {
        let bytes = foreign(&pair, len);
        pair.deliver(Flying {
            to: B,
            path: path(1),
            bytes: flipped(&bytes, len * 4),
        });
        assert!(pair.wire.is_empty());
        pair.deliver(Flying {
            to: B,
            path: path(1),
            bytes,
        });
        assert_eq!(pair.wire.len(), usize::from(len >= list_len));
        if let Some(list) = pair.wire.pop_front() {
            assert_eq!(list.bytes.len(), list_len);
            assert_eq!(
                list.bytes[..11],
                [0x83, VERSION + 1, 0, 0, 0, 0, 1, 2, 3, 4, VERSION]
            );
        }
    }
}

#[test]
fn a_version_list_tells_but_never_stops_nor_downgrades_a_handshake() {
    let mut pair = Pair::new();
    pair.connect(A);
    let index = pair.wire[0].bytes[2..6].to_vec();
    let list = |version: u8, offered: &[u8]| {
        let mut packet = vec![0x83, version, 0, 0, 0, 0];
        packet.extend_from_slice(&index);
        packet.extend_from_slice(offered);
        packet
    };
    let mac = MacKey::new(&pair.nodes[B].keys.dh_public);
    let offered: Vec<u8> = (2..40).collect();
    let mut packets = [
        list(VERSION, &offered),
        list(VERSION, &[0, VERSION]),
        list(9, &[2]),
    ];
    packets.iter_mut().for_each(|packet| mac.append(packet));
    let mut unmasked = list(VERSION, &[2]);
    unmasked.resize(unmasked.len() + MACS, 0);
    for bytes in packets.into_iter().chain([unmasked]) {
        for _ in 0..2 {
            pair.deliver(Flying {
                to: A,
                path: path(1),
                bytes: bytes.clone(),
            });
        }
    }
    let told = Event::VersionRefused {
        peer: pair.id(B),
        offered: offered[..16].to_vec(),
    };
    assert_eq!(pair.nodes[A].events, [told]);
    pair.settle();
    assert!(pair.talk(A) && pair.talk(B));
}

#[test]
fn other_kinds_and_garbage_are_dropped_by_name() {
    let mut pair = Pair::connected();
    let index = pair.seal(A, b"").unwrap()[1..5].to_vec();
    let mut unknown = vec![0xC0, 0, 0, 0, 1];
    unknown.resize(25, 0);
    let mut wrong = vec![0xC0];
    wrong.extend_from_slice(&index);
    wrong.resize(40, 0);
    let cases: [(&[u8], DropReason, &str); 7] = [
        (&[], DropReason::Malformed, "malformed"),
        (&[0x20; 100], DropReason::Malformed, "malformed"),
        (&[0x45; 100], DropReason::Unexpected, "unexpected"),
        (&[0x80; 100], DropReason::BadMac, "bad_mac"),
        (&[0xC0; 24], DropReason::Malformed, "malformed"),
        (&unknown, DropReason::UnknownIndex, "unknown_index"),
        (&wrong, DropReason::BadTag, "bad_tag"),
    ];
    for (bytes, reason, name) in cases {
        pair.deliver(Flying {
            to: B,
            path: path(1),
            bytes: bytes.to_vec(),
        });
        assert_eq!(pair.nodes[B].drops.pop(), Some(reason));
        assert_eq!(reason.to_string(), name);
    }
    assert!(pair.wire.is_empty());
    assert!(pair.talk(A) && pair.talk(B));
}
