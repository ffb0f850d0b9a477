use std::net::Ipv4Addr;

use pilot_wire::limits::MACS;

use super::*;
use crate::cookie::{LIFETIME, REPLY};
use crate::mac::MacKey;
use crate::rate::Rate;

/// More than anybody sends.
const ENDLESS: Rate = Rate {
    burst: 1 << 30,
    per_second: 1_000_000,
};

/// A path from an address of its own.
fn spoofed(count: u32) -> PathId {
    PathId::Udp(FourTuple {
        local: SocketAddr::from(([0, 0, 0, 0], 4000)),
        remote: PeerAddr(SocketAddr::from((Ipv4Addr::from(0x0A00_0000 + count), 7))),
    })
}

/// Message 1 to B with a right `mac1` and nothing else right; each another.
fn forged(pair: &Pair, count: u32) -> Vec<u8> {
    let mut packet = vec![0x80, VERSION];
    packet.extend_from_slice(&count.to_be_bytes());
    packet.resize(300, 0x55);
    MacKey::new(&pair.nodes[B].keys.dh_public).append(&mut packet);
    packet
}

fn flood(pair: &mut Pair, from: u32, count: u32) {
    for count in from..from + count {
        let bytes = forged(pair, count);
        let path = spoofed(count);
        pair.deliver(Flying { to: B, path, bytes });
        // Nobody is at those addresses.
        pair.wire.clear();
    }
}

/// Messages 1 that B spent Diffie-Hellman on.
fn opened(pair: &Pair) -> u64 {
    pair.nodes[B].endpoint.handshake_stats().opened
}

fn is_loaded(pair: &Pair) -> bool {
    pair.nodes[B].endpoint.gate.is_loaded(pair.now)
}

#[test]
fn a_flood_from_forged_addresses_costs_no_diffie_hellman_and_an_agent_still_connects_at_once() {
    let mut pair = Pair::new();
    flood(&mut pair, 0, 50_000);
    let burst = u64::from(pair.config.unproven.burst);
    assert_eq!(opened(&pair), burst, "the load is noticed by the burst");
    // One millisecond a hundred packets: the flood goes on while the agent connects.
    let start = pair.now;
    pair.connect(A);
    for turn in 0..10 {
        let genuine = std::mem::take(&mut pair.wire);
        flood(&mut pair, 50_000 + turn * 100, 100);
        pair.wire = genuine;
        pair.settle();
        pair.now += Duration::from_millis(1);
    }
    assert!(pair.talk(A) && pair.talk(B));
    assert!(pair.now - start < pair.config.retransmit_first);
    assert_eq!(opened(&pair), burst + 1, "the agent's alone was opened");
    assert_eq!(pair.nodes[A].answered, 1);
    let asked = |reason: &&DropReason| **reason == DropReason::CookieAsked;
    let asked = pair.nodes[B].drops.iter().filter(asked).count();
    assert_eq!(asked as u64, 51_000 + 1 - burst);
    assert_eq!(pair.nodes[B].endpoint.half_open.len(), 1);
}

#[test]
fn without_cookies_every_packet_of_a_flood_costs_diffie_hellman() {
    let mut pair = Pair::with_config(Config {
        unproven: ENDLESS,
        ..Config::default()
    });
    flood(&mut pair, 0, 2000);
    assert_eq!(opened(&pair), 2000);
}

#[test]
fn a_half_open_table_that_fills_is_a_load_too() {
    let mut pair = Pair::with_config(Config {
        half_open: 8,
        unproven: ENDLESS,
        ..Config::default()
    });
    pair.confirms = false;
    pair.connect(A);
    let mac = |node: &Node| node.keys.dh_public;
    let peer = PeerKeys {
        agent: pair.id(B),
        dh_public: mac(&pair.nodes[B]),
    };
    for name in 1..=20_u8 {
        let (mut endpoint, keys) = start(0x40 + name, 0, [0x40 + name; 32], &pair.config, pair.now);
        let hello = hello(keys.agent, BootId::new([name; 16]), 1).encode();
        let path = spoofed(name.into());
        endpoint.connect(pair.now, peer, &hello, &[path]).unwrap();
        let mut out = TransmitBuf::new(1, 1500);
        endpoint.poll_transmit(pair.now, &mut out).unwrap();
        let mut bytes = out.as_slice().to_vec();
        let b = &mut pair.nodes[B].endpoint;
        if let Ok(Received::Hello { hello, token, .. }) =
            b.handle_datagram(pair.now, path, &mut bytes)
        {
            let answer = answer(BootId::new([2; 16]), hello.versions).encode();
            b.accept(pair.now, token, &answer).unwrap();
        }
    }
    assert_eq!(opened(&pair), 6, "three quarters of the table");
    // Who shows a cookie gets one of the other places.
    pair.confirms = true;
    pair.settle();
    assert!(pair.talk(A) && pair.talk(B));
}

/// A's message 1 with B's cookie, as it goes out again, while B is under load.
fn challenged(pair: &mut Pair) -> Flying {
    flood(pair, 0, 1000);
    pair.connect(A);
    let plain = pair.wire.pop_front().unwrap();
    pair.deliver(plain.clone());
    let reply = pair.wire.pop_front().unwrap();
    assert_eq!((reply.bytes[0], reply.bytes.len()), (0x82, REPLY));
    assert!(reply.bytes.len() <= plain.bytes.len());
    pair.deliver(reply);
    let again = pair.wire.pop_front().unwrap();
    let covered = plain.bytes.len() - MACS / 2;
    assert_eq!(again.bytes[..covered], plain.bytes[..covered]);
    assert_ne!(again.bytes[covered..], plain.bytes[covered..]);
    again
}

#[test]
fn a_cookie_from_another_address_or_port_is_refused() {
    let mut pair = Pair::new();
    let shown = challenged(&mut pair);
    let before = opened(&pair);
    for path in [spoofed(7), path(2)] {
        pair.deliver(Flying {
            path,
            ..shown.clone()
        });
        assert_eq!(pair.nodes[B].drops.last(), Some(&DropReason::CookieAsked));
        pair.wire.clear();
    }
    assert_eq!(opened(&pair), before);
    pair.deliver(shown);
    assert_eq!(opened(&pair), before + 1);
}

#[test]
fn an_expired_cookie_is_refused_and_not_shown_again() {
    let mut pair = Pair::new();
    let shown = challenged(&mut pair);
    assert_eq!(pair.nodes[A].endpoint.cookies.len(), 1);
    pair.wire.clear();
    pair.accepts = false;
    pair.advance(2 * LIFETIME);
    assert_eq!(pair.nodes[A].endpoint.cookies.len(), 0);
    flood(&mut pair, 5000, 1000);
    let before = opened(&pair);
    pair.deliver(shown);
    assert_eq!(pair.nodes[B].drops.last(), Some(&DropReason::CookieAsked));
    assert_eq!(opened(&pair), before);
}

#[test]
fn a_stored_cookie_saves_the_next_handshake_a_round_trip() {
    let mut pair = Pair::new();
    let shown = challenged(&mut pair);
    pair.deliver(shown);
    pair.settle();
    flood(&mut pair, 5000, 1000);
    assert!(is_loaded(&pair));
    pair.connect(A);
    let message_1 = pair.wire.pop_front().unwrap();
    pair.deliver(message_1);
    assert_eq!(pair.wire[0].bytes[0], 0x81, "answered at once");
}

#[test]
fn a_forged_cookie_changes_nothing() {
    let mut pair = Pair::new();
    flood(&mut pair, 0, 1000);
    pair.connect(A);
    let plain = pair.wire.pop_front().unwrap();
    pair.deliver(plain);
    let reply = pair.wire.pop_front().unwrap();
    for bit in 0..reply.bytes.len() * 8 {
        // mac2 of a cookie means nothing, and its sender index neither, with a right mac1.
        let mut bytes = flipped(&reply.bytes, bit);
        if bit < (REPLY - MACS) * 8 && !(8..48).contains(&bit) {
            bytes.truncate(REPLY - MACS);
            MacKey::new(&pair.nodes[B].keys.dh_public).append(&mut bytes);
        } else if bit >= (REPLY - MACS / 2) * 8 {
            continue;
        }
        pair.deliver(Flying {
            bytes,
            ..reply.clone()
        });
        assert!(pair.wire.is_empty(), "bit {bit}");
    }
    assert_eq!(pair.nodes[A].endpoint.cookies.len(), 0);
    // On a path that message 1 did not take.
    pair.deliver(Flying {
        path: spoofed(9),
        ..reply.clone()
    });
    assert_eq!(pair.nodes[A].endpoint.cookies.len(), 0);
    assert_eq!(pair.nodes[A].drops.last(), Some(&DropReason::BadHandshake));
    // One for an earlier message 1.
    pair.connect(A);
    pair.wire.clear();
    pair.deliver(reply);
    assert_eq!(pair.nodes[A].endpoint.cookies.len(), 0);
}

#[test]
fn copies_of_a_cookie_draw_one_packet() {
    let mut pair = Pair::new();
    flood(&mut pair, 0, 1000);
    pair.connect(A);
    let plain = pair.wire.pop_front().unwrap();
    pair.deliver(plain);
    let reply = pair.wire.pop_front().unwrap();
    for _ in 0..50 {
        pair.deliver(reply.clone());
    }
    assert_eq!(pair.wire.len(), 1);
}

#[test]
fn who_is_named_as_the_source_of_a_flood_gets_no_flood_of_cookies() {
    let mut pair = Pair::new();
    let victim = spoofed(1);
    let mut answers = 0;
    for count in 0..50_000 {
        let bytes = forged(&pair, count);
        pair.deliver(Flying {
            to: B,
            path: victim,
            bytes,
        });
        answers += std::mem::take(&mut pair.wire).len();
    }
    assert_eq!(answers, pair.config.per_source.burst as usize);
    assert_eq!(
        pair.nodes[B].drops.last(),
        Some(&DropReason::HandshakeLimited)
    );
    // Others are not refused with it.
    pair.connect(A);
    pair.settle();
    assert!(pair.talk(A));
}

#[test]
fn a_fleet_behind_one_address_gets_in_at_once_also_under_a_flood() {
    for under_flood in [false, true] {
        let mut pair = Pair::new();
        if under_flood {
            flood(&mut pair, 0, 5000);
        }
        let peer = pair.nodes[B].keys;
        for count in 0..500_u16 {
            let seed: [u8; 32] = std::array::from_fn(|i| count.to_be_bytes()[i % 2] ^ 0x5A);
            let local = LocalKeys {
                agent: AgentId::new(seed),
                dh_secret: Zeroizing::new(seed),
            };
            let config = Arc::clone(&pair.config);
            let mut agent = Endpoint::new(config, local, Seed::new(seed), pair.now);
            let hello = hello(AgentId::new(seed), BootId::new([1; 16]), 1).encode();
            let path = path(1000 + count);
            agent.connect(pair.now, peer, &hello, &[path]).unwrap();
            assert!(connects(&mut pair, &mut agent, path), "agent {count}");
        }
    }
}

/// Carries packets between an agent and B until the agent is answered; no time passes.
fn connects(pair: &mut Pair, agent: &mut Endpoint, path: PathId) -> bool {
    let mut out = TransmitBuf::new(1, 1500);
    for _ in 0..2 {
        out.clear();
        if agent.poll_transmit(pair.now, &mut out).is_none() {
            return false;
        }
        let bytes = out.as_slice().to_vec();
        pair.accepts = true;
        let to_b = &mut pair.nodes[B].endpoint;
        let mut packet = bytes;
        if let Ok(Received::Hello { hello, token, .. }) =
            to_b.handle_datagram(pair.now, path, &mut packet)
        {
            let answer = answer(BootId::new([2; 16]), hello.versions).encode();
            to_b.accept(pair.now, token, &answer).unwrap();
        }
        out.clear();
        if to_b.poll_transmit(pair.now, &mut out).is_none() {
            return false;
        }
        let mut packet = out.as_slice().to_vec();
        if let Ok(Received::Answered { .. }) = agent.handle_datagram(pair.now, path, &mut packet) {
            return true;
        }
    }
    false
}

#[test]
fn one_key_from_one_source_starts_so_many_handshakes_and_no_more() {
    let mut pair = Pair::new();
    pair.confirms = false;
    for _ in 0..100 {
        pair.connect(A);
        pair.settle();
    }
    let burst = pair.config.per_key.burst as usize;
    assert_eq!(pair.nodes[B].hellos, burst);
    assert_eq!(
        pair.nodes[B].drops.last(),
        Some(&DropReason::HandshakeLimited)
    );
    pair.advance(Duration::from_secs(3));
    assert!(pair.nodes[B].hellos > burst, "it goes on later");
}

#[test]
fn after_a_flood_both_ends_go_quiet() {
    let mut pair = Pair::new();
    let shown = challenged(&mut pair);
    pair.deliver(shown);
    pair.settle();
    let peer = pair.id(B);
    pair.nodes[A].endpoint.close(&peer);
    let peer = pair.id(A);
    pair.nodes[B].endpoint.close(&peer);
    pair.advance(3 * LIFETIME);
    for node in &mut pair.nodes {
        assert_eq!(node.endpoint.poll_timeout(), None);
    }
    assert!(!is_loaded(&pair));
    let before = opened(&pair);
    flood(&mut pair, 90_000, 1);
    assert_eq!(opened(&pair), before + 1, "no cookie is asked of anybody");
}
