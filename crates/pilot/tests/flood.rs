//! Garbage at the UDP ports of a rendezvous and an agent.

#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};

use pilot::{Node, Rendezvous, Target};

/// To each of the two ports.
const PACKETS: u32 = 50_000;
/// Packets between two moments in which the receiver gets its turn.
const BATCH: u32 = 50;

/// Packets of every kind whose contents are random; equal seeds make equal packets.
struct Garbage(u64);

impl Garbage {
    /// Steele, Lea, Flood: Fast splittable pseudorandom number generators (2014), `SplitMix64`.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn packet(&mut self) -> Vec<u8> {
        const FIRST: [u8; 12] = [
            0x00, 0x01, 0x40, 0x7F, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0xC0, 0xFF,
        ];
        let len = usize::try_from(self.next() % 1300).unwrap();
        let mut packet: Vec<u8> = (0..=len / 8)
            .flat_map(|_| self.next().to_be_bytes())
            .collect();
        packet.truncate(len);
        let first = FIRST[usize::try_from(self.next() % 12).unwrap()];
        if let Some(byte) = packet.first_mut() {
            *byte = first;
        }
        // Half of them of our version, so that they go on to the next check.
        if self.next().is_multiple_of(2)
            && let Some(byte) = packet.get_mut(1)
        {
            *byte = 1;
        }
        if first < 4 && len > 8 {
            packet[4..8].copy_from_slice(&[0x21, 0x12, 0xA4, 0x42]);
        }
        packet
    }
}

async fn flood(target: SocketAddr, seed: u64) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut garbage = Garbage(seed);
    for count in 0..PACKETS {
        socket.send_to(&garbage.packet(), target).unwrap();
        if count % BATCH == 0 {
            tokio::task::yield_now().await;
        }
    }
}

fn by_reason(drops: Vec<(&'static str, u64)>) -> BTreeMap<&'static str, u64> {
    drops.into_iter().collect()
}

#[tokio::test]
async fn garbage_leaves_a_rendezvous_and_its_agent_serving_and_is_counted_by_reason() {
    let homes = tempfile::tempdir().unwrap();
    let rendezvous = Rendezvous::builder()
        .home(homes.path().join("rendezvous"))
        .work_bits(0)
        .listen("127.0.0.1:0".parse().unwrap())
        .start()
        .await
        .unwrap();
    let start = async |name: &str| {
        let builder = Node::builder()
            .home(homes.path().join(name))
            .rendezvous(rendezvous.url())
            .hostname(name.parse().unwrap())
            .listen("127.0.0.1:0".parse().unwrap());
        let node = builder.work_bits(0).min_work_bits(0).start().await.unwrap();
        node.registered().await.unwrap();
        node
    };
    let node = start("steady").await;
    let agent_addr = node.status().endpoints[0];

    flood(rendezvous.listen(), 1).await;
    flood(agent_addr, 2).await;

    // Both go on: a new agent gets in, and the old one is found by it and finds.
    let late = start("late").await;
    late.knock(Target::Agent(node.agent()), "").await.unwrap();
    while node.pending().is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(
        rendezvous.sessions(),
        2,
        "no packet of the flood began a session"
    );
    assert_eq!(node.status().sessions, 1);
    assert_eq!(
        node.status().handshakes_opened,
        0,
        "no key exchange was spent"
    );
    for (who, of_relays, drops) in [
        (
            "rendezvous",
            "relay_channel_unknown",
            by_reason(rendezvous.drops()),
        ),
        ("agent", "relay_unknown", by_reason(node.status().drops)),
    ] {
        for reason in [
            "unknown_first_byte",
            of_relays,
            "bad_mac",
            "unknown_index",
            "malformed",
        ] {
            assert!(drops.contains_key(reason), "{who}, {reason}: {drops:?}");
        }
        assert!(
            drops.values().sum::<u64>() <= u64::from(PACKETS),
            "{who}: {drops:?}"
        );
    }
    node.shutdown().await;
    late.shutdown().await;
    rendezvous.shutdown().await;
}
