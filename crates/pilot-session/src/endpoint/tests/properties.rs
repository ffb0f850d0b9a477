use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Operation {
    Connect(usize),
    Send(usize, u8),
    /// Delivers the packet at this place on the wire, modulo its length.
    Deliver(usize),
    Duplicate(usize),
    Lose(usize),
    Corrupt(usize, usize),
    Wait(u16),
    Restart(usize),
    Close(usize),
}

fn operation() -> impl Strategy<Value = Operation> {
    let place = any::<u16>().prop_map(usize::from);
    prop_oneof![
        3 => (0usize..2).prop_map(Operation::Connect),
        12 => (0usize..2, any::<u8>()).prop_map(|(node, tag)| Operation::Send(node, tag)),
        24 => (0usize..4).prop_map(Operation::Deliver),
        3 => place.clone().prop_map(Operation::Duplicate),
        3 => place.clone().prop_map(Operation::Lose),
        3 => (place.clone(), place).prop_map(|(at, bit)| Operation::Corrupt(at, bit)),
        4 => (1u16..30_000).prop_map(Operation::Wait),
        1 => (0usize..2).prop_map(Operation::Restart),
        1 => (0usize..2).prop_map(Operation::Close),
    ]
}

/// Counts what was sent and received, with a tag that is never repeated.
#[derive(Default)]
struct Tally {
    sent: u64,
    received: BTreeSet<(usize, Vec<u8>)>,
}

impl Tally {
    fn collect(&mut self, pair: &mut Pair) -> Result<(), TestCaseError> {
        for node in [A, B] {
            for payload in std::mem::take(&mut pair.nodes[node].inbox) {
                if payload.is_empty() {
                    continue;
                }
                prop_assert!(
                    self.received.insert((node, payload)),
                    "a packet opened twice"
                );
            }
        }
        Ok(())
    }
}

fn run(pair: &mut Pair, tally: &mut Tally, operation: Operation) {
    let at = |place: usize, pair: &Pair| place.checked_rem(pair.wire.len());
    match operation {
        Operation::Connect(node) => pair.connect(node),
        Operation::Send(node, filler) => {
            let mut payload = vec![filler; usize::from(filler) * 4 + 8];
            payload[..8].copy_from_slice(&tally.sent.to_be_bytes());
            tally.sent += 1;
            let _ = pair.send(node, &payload);
        }
        Operation::Deliver(place) => {
            if let Some(packet) = at(place, pair).and_then(|at| pair.wire.remove(at)) {
                pair.deliver(packet);
            }
        }
        Operation::Duplicate(place) => {
            if let Some(at) = at(place, pair) {
                let packet = pair.wire[at].clone();
                pair.wire.push_back(packet);
            }
        }
        Operation::Lose(place) => {
            let _ = at(place, pair).and_then(|at| pair.wire.remove(at));
        }
        Operation::Corrupt(place, bit) => {
            if let Some(at) = at(place, pair) {
                let bytes = &pair.wire[at].bytes;
                pair.wire[at].bytes = flipped(bytes, bit % (bytes.len() * 8));
            }
        }
        Operation::Wait(millis) => {
            pair.now += Duration::from_millis(millis.into());
            for node in [A, B] {
                pair.nodes[node].endpoint.handle_timeout(pair.now);
                pair.drain(node);
            }
        }
        Operation::Restart(node) => pair.restart(node),
        Operation::Close(node) => {
            let peer = pair.id(1 - node);
            pair.nodes[node].endpoint.close(&peer);
            pair.nodes[node].peer_boot = None;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    // No nonce twice (checked in `Pair::seal`), no packet twice, no panic, bounded tables; and when the link is good
    // again, one handshake makes both ends talk, after which they go quiet.
    #[test]
    fn whatever_happens_nothing_repeats_and_one_handshake_heals(
        operations in prop::collection::vec(operation(), 1..150),
        dialler in 0usize..2,
    ) {
        let mut pair = Pair::new();
        let mut tally = Tally::default();
        for operation in operations {
            run(&mut pair, &mut tally, operation);
            tally.collect(&mut pair)?;
            for node in [A, B] {
                prop_assert!(pair.epochs(node) <= crate::session::MAX_EPOCHS);
                prop_assert!(pair.nodes[node].endpoint.half_open.len() <= 1024);
            }
        }
        pair.wire.clear();
        pair.connect(dialler);
        pair.settle();
        for node in [A, B] {
            prop_assert!(pair.talk(node), "{} is not heard", ["A", "B"][node]);
        }
        prop_assert_eq!(pair.order(A), pair.order(B));
        pair.rekeys = false;
        pair.advance(Duration::from_secs(2 * 3600));
        for node in [A, B] {
            let endpoint = &pair.nodes[node].endpoint;
            prop_assert_eq!(endpoint.indices.len(), 0);
            prop_assert_eq!(endpoint.poll_timeout(), None);
        }
    }

    // Limits hold whatever the traffic: nothing is sealed under a key beyond its packets or its time.
    #[test]
    fn no_key_is_used_beyond_its_limits(
        steps in prop::collection::vec((0u16..20_000, 0usize..2, 0usize..30, any::<bool>()), 1..60),
    ) {
        let config = Config { rekey_packets: 40, stop_packets: 80, ..Config::default() };
        let mut pair = Pair::with_config(config);
        pair.connect(A);
        pair.settle();
        let mut created = BTreeMap::new();
        for (millis, node, packets, rekeys) in steps {
            pair.rekeys = rekeys;
            pair.advance(Duration::from_millis(millis.into()));
            for _ in 0..packets {
                let id = pair.id(1 - node);
                let session = pair.nodes[node].endpoint.sessions.get(&id);
                let Some(epoch) = session.and_then(Session::current).map(|epoch| epoch.id) else {
                    break;
                };
                let first = (pair.now, None, 0);
                let (since, active, count) = created.entry((node, epoch)).or_insert(first);
                if pair.send(node, &[0; 100]).is_ok() {
                    *count += 1;
                    prop_assert!(*count <= 80);
                    prop_assert!(pair.now < *since + Duration::from_secs(3660));
                    if let Some(active) = active {
                        let end = *since + Duration::from_secs(180);
                        prop_assert!(pair.now < end.max(*active + Duration::from_secs(60)));
                    } else if *count > 8 {
                        *active = Some(pair.now);
                    }
                }
                pair.settle();
            }
        }
    }
}
