//! Fuzz bodies: functions, so that the stable test run replays the committed corpora.

mod operations;

use std::sync::Arc;
use std::time::Instant;

use pilot_types::{AgentId, BootId, FourTuple, PacketNumber, PathId, PeerAddr, Seed, TransmitBuf};
use pilot_wire::{Hello, HelloAnswer, KeyStanding, TransportParams, VERSION};
use zeroize::Zeroizing;

use crate::mac::MacKey;
use crate::{Config, Endpoint, LocalKeys, PeerKeys, Received};

pub use operations::operations;

/// Garbage, and genuine packets that `data` damages, into an endpoint with a live session: nothing panics, everything is
/// dropped, and the session goes on.
///
/// # Panics
/// If that is not so.
pub fn receive(now: Instant, data: &[u8]) {
    let mut live = Live::start(now);
    live.refuses(data.to_vec(), "garbage");

    let genuine = live.seal(1);
    for packet in [&genuine, &live.message_1.clone(), &live.message_2.clone()] {
        let damaged = damage(packet, data);
        // mac2 is ignored in quiet times, and an undamaged handshake packet is a repetition.
        if damaged[..packet.len() - 16] != packet[..packet.len() - 16] {
            live.refuses(damaged, "damaged");
        }
    }
    // With a right mac, so that the handshake itself has to refuse it.
    let mut initiation = [&[0x80, VERSION, 0, 0, 0, 1], data].concat();
    MacKey::new(&live.responder.local_dh_public()).append(&mut initiation);
    live.refuses(initiation, "forged");
    // With the receiver's index, so that the keys have to.
    let mut sealed = [&genuine[..5], data].concat();
    sealed.resize(sealed.len().max(25), 0);
    if sealed != genuine {
        live.refuses(sealed, "addressed");
    }

    let mut again = genuine;
    let path = live.path;
    assert!(
        live.responder
            .handle_datagram(now, path, &mut again)
            .is_ok(),
        "the genuine packet opens"
    );
    assert!(
        live.responder.can_seal(now, &live.dialler),
        "the session goes on"
    );
}

/// A session, and the packets that made it.
struct Live {
    now: Instant,
    path: PathId,
    initiator: Endpoint,
    responder: Endpoint,
    dialler: AgentId,
    dialled: AgentId,
    message_1: Vec<u8>,
    message_2: Vec<u8>,
}

impl Live {
    fn start(now: Instant) -> Self {
        let path = PathId::Udp(FourTuple {
            local: ([127, 0, 0, 1], 1).into(),
            remote: PeerAddr(([127, 0, 0, 1], 2).into()),
        });
        let (mut initiator, dialler) = (endpoint(now, 1), AgentId::new([1; 32]));
        let (mut responder, dialled) = (endpoint(now, 2), AgentId::new([2; 32]));
        let peer = PeerKeys {
            agent: dialled,
            dh_public: responder.local_dh_public(),
        };
        initiator
            .connect(now, peer, &hello(dialler).encode(), &[path])
            .expect("the peer's key is good");
        let message_1 = handshake_packet(now, &mut initiator);
        let mut packet = message_1.clone();
        let received = responder.handle_datagram(now, path, &mut packet);
        let Ok(Received::Hello { token, .. }) = received else {
            panic!("message 1 was not opened")
        };
        responder
            .accept(now, token, &answer().encode())
            .expect("the answer is short");
        let message_2 = handshake_packet(now, &mut responder);
        let mut packet = message_2.clone();
        let received = initiator.handle_datagram(now, path, &mut packet);
        assert!(matches!(received, Ok(Received::Answered { .. })));
        let mut live = Self {
            now,
            path,
            initiator,
            responder,
            dialler,
            dialled,
            message_1,
            message_2,
        };
        let mut first = live.seal(0);
        let confirmed = live.responder.handle_datagram(now, path, &mut first);
        assert!(matches!(confirmed, Ok(Received::Data { .. })));
        live
    }

    fn seal(&mut self, number: u64) -> Vec<u8> {
        let mut buf = TransmitBuf::new(1, 1200);
        buf.set_overhead(Endpoint::overhead());
        assert!(buf.begin(1200), "an empty buffer has room");
        buf.put_slice(b"a payload that is longer than the sample");
        self.initiator
            .seal(self.now, &self.dialled, PacketNumber::new(number), &mut buf)
            .expect("the epoch is fresh");
        buf.finish();
        buf.as_slice().to_vec()
    }

    fn refuses(&mut self, mut packet: Vec<u8>, what: &str) {
        let received = self
            .responder
            .handle_datagram(self.now, self.path, &mut packet);
        assert!(received.is_err(), "{what} was taken: {received:?}");
    }
}

fn endpoint(now: Instant, name: u8) -> Endpoint {
    endpoint_with(&Arc::default(), now, name)
}

fn endpoint_with(config: &Arc<Config>, now: Instant, name: u8) -> Endpoint {
    let local = LocalKeys {
        agent: AgentId::new([name; 32]),
        dh_secret: Zeroizing::new([name; 32]),
    };
    Endpoint::new(Arc::clone(config), local, Seed::new([name; 32]), now)
}

fn handshake_packet(now: Instant, endpoint: &mut Endpoint) -> Vec<u8> {
    let mut buf = TransmitBuf::new(1, 1200);
    endpoint
        .poll_transmit(now, &mut buf)
        .expect("a handshake packet is queued");
    buf.as_slice().to_vec()
}

/// XORs `data` over the packet, from a place that its first byte names.
fn damage(packet: &[u8], data: &[u8]) -> Vec<u8> {
    let mut damaged = packet.to_vec();
    let (start, pattern) = data.split_first().map_or((0, data), |(start, rest)| {
        (usize::from(*start) % packet.len(), rest)
    });
    for (byte, flip) in damaged[start..].iter_mut().zip(pattern) {
        *byte ^= flip;
    }
    damaged
}

const PARAMS: TransportParams = TransportParams {
    max_data: 1 << 20,
    max_stream_data: 1 << 18,
    max_streams: 100,
    max_datagram: 1200,
    idle_timeout_ms: 30_000,
    max_ack_delay_us: 25_000,
};

fn hello(agent: AgentId) -> Hello {
    Hello {
        agent,
        generation: 0,
        sequence: 0,
        head: [0; 32],
        entries: vec![],
        boot: BootId::new([1; 16]),
        freshness: 1,
        params: PARAMS,
        versions: vec![VERSION],
        ticket: None,
    }
}

fn answer() -> HelloAnswer {
    HelloAnswer {
        generation: 0,
        sequence: 0,
        head: [0; 32],
        boot: BootId::new([2; 16]),
        params: PARAMS,
        versions: vec![VERSION],
        standing: KeyStanding::CURRENT,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn nothing_changes_a_live_session(data in prop::collection::vec(any::<u8>(), 0..300)) {
            receive(Instant::now(), &data);
        }

        #[test]
        fn payloads_arrive_once_as_they_were_sealed(data in prop::collection::vec(any::<u8>(), 0..300)) {
            operations(Instant::now(), &data);
        }
    }
}
