//! Bytes as operations on two endpoints: handshakes that cross, packets that are lost, repeated, reordered and damaged.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pilot_types::{AgentId, FourTuple, PacketNumber, PathId, PeerAddr, TransmitBuf};

use super::{answer, damage, endpoint_with, hello};
use crate::{Config, Endpoint, PeerKeys, Received};

/// Packets that wait to be delivered, of both directions; what comes beyond it is lost.
const MAX_FLYING: usize = 64;

/// Runs `data` as operations: whatever happens between them, a payload arrives as it was sealed, once, under the name of
/// who sealed it, and after hours of rest nothing is left to do.
///
/// # Panics
/// If that is not so.
pub fn operations(start: Instant, data: &[u8]) {
    let mut two = Two::new(start);
    let mut rest = data;
    while let [operation, argument, tail @ ..] = rest {
        rest = tail;
        let end = usize::from(operation & 1);
        match (operation >> 1) % 10 {
            0 => two.connect(end),
            1 | 2 => two.seal(end, *argument),
            3 | 4 => two.deliver(*argument, false),
            5 => two.deliver(*argument, true),
            6 => drop(two.take(*argument)),
            7 => {
                let (pattern, tail) = rest.split_at(rest.len().min(usize::from(*argument & 15)));
                rest = tail;
                two.deliver_damaged(*argument, pattern);
            }
            8 => two.wait(Duration::from_millis(u64::from(*argument).pow(2) * 4)),
            _ => two.reply(*argument),
        }
        two.drain();
    }
    two.rest();
}

/// A packet under way.
#[derive(Clone)]
struct Flying {
    to: usize,
    bytes: Vec<u8>,
}

struct Two {
    now: Instant,
    ends: [Endpoint; 2],
    flying: Vec<Flying>,
    sealed: [u64; 2],
    /// Numbers that each end opened.
    opened: [BTreeSet<u64>; 2],
    /// Whether a hello is answered.
    replies: bool,
}

impl Two {
    fn new(now: Instant) -> Self {
        let config = Arc::new(Config {
            rekey_packets: 20,
            stop_packets: 40,
            half_open: 4,
            ..Config::default()
        });
        Self {
            now,
            ends: [1, 2].map(|name| endpoint_with(&config, now, name)),
            flying: vec![],
            sealed: [0; 2],
            opened: [BTreeSet::new(), BTreeSet::new()],
            replies: true,
        }
    }

    fn connect(&mut self, end: usize) {
        let peer = PeerKeys {
            agent: agent(1 - end),
            dh_public: self.ends[1 - end].local_dh_public(),
        };
        let hello = hello(agent(end)).encode();
        self.ends[end]
            .connect(self.now, peer, &hello, &[path(end)])
            .expect("the peer's key is good");
    }

    fn reply(&mut self, argument: u8) {
        match argument {
            0 => self.ends[0].close(&agent(1)),
            1 => self.ends[1].close(&agent(0)),
            _ => self.replies = argument & 1 == 0,
        }
    }

    fn seal(&mut self, end: usize, skip: u8) {
        let number = self.sealed[end] + u64::from(skip >> 6);
        let mut buf = TransmitBuf::new(1, 1200);
        buf.set_overhead(Endpoint::overhead());
        assert!(buf.begin(1200), "an empty buffer has room");
        buf.put_slice(&payload(end, number));
        let to = agent(1 - end);
        let number_of = PacketNumber::new(number);
        if self.ends[end]
            .seal(self.now, &to, number_of, &mut buf)
            .is_ok()
        {
            buf.finish();
            self.sealed[end] = number + 1;
            self.fly(1 - end, buf.as_slice().to_vec());
        }
    }

    fn fly(&mut self, to: usize, bytes: Vec<u8>) {
        if self.flying.len() < MAX_FLYING {
            self.flying.push(Flying { to, bytes });
        }
    }

    fn take(&mut self, argument: u8) -> Option<Flying> {
        let len = self.flying.len();
        (len > 0).then(|| self.flying.remove(usize::from(argument) % len))
    }

    fn deliver(&mut self, argument: u8, stays: bool) {
        if let Some(flying) = self.take(argument) {
            if stays {
                self.flying.push(flying.clone());
            }
            self.receive(flying);
        }
    }

    fn deliver_damaged(&mut self, argument: u8, pattern: &[u8]) {
        if let Some(mut flying) = self.take(argument) {
            flying.bytes = damage(&flying.bytes, pattern);
            self.receive(flying);
        }
    }

    fn receive(&mut self, mut flying: Flying) {
        let end = flying.to;
        let received = self.ends[end].handle_datagram(self.now, path(end), &mut flying.bytes);
        match received {
            Ok(Received::Hello { token, .. }) if self.replies => {
                let _ = self.ends[end].accept(self.now, token, &answer().encode());
            }
            Ok(Received::Hello { token, .. }) => self.ends[end].ignore(token),
            Ok(Received::Answered { peer, .. }) => assert_eq!(peer, agent(1 - end)),
            Ok(Received::Data {
                peer,
                number,
                payload: opened,
                ..
            }) => {
                assert_eq!(peer, agent(1 - end));
                assert_eq!(
                    opened,
                    payload(1 - end, number.to_u64()),
                    "as it was sealed"
                );
                assert!(self.opened[end].insert(number.to_u64()), "opened twice");
            }
            Ok(Received::Handled) | Err(_) => {}
        }
    }

    fn wait(&mut self, span: Duration) {
        self.now += span;
        for end in &mut self.ends {
            end.handle_timeout(self.now);
        }
    }

    fn drain(&mut self) {
        let mut buf = TransmitBuf::new(1, 1500);
        for end in 0..2 {
            while self.ends[end].poll_event().is_some() {}
            buf.clear();
            while self.ends[end].poll_transmit(self.now, &mut buf).is_some() {
                self.fly(1 - end, buf.as_slice().to_vec());
                buf.clear();
            }
        }
    }

    /// Everything on the way is lost, nobody dials any more: timers run out and both ends are empty.
    fn rest(&mut self) {
        let mut turns = 0;
        let deadline = |ends: &[Endpoint; 2]| {
            let of = |end: &Endpoint| end.poll_timeout().map(|deadline| deadline.at);
            ends.iter().filter_map(of).min()
        };
        while let Some(at) = deadline(&self.ends) {
            turns += 1;
            assert!(turns < 10_000, "did not go quiet");
            self.now = self.now.max(at);
            self.wait(Duration::ZERO);
            self.flying.clear();
            self.drain();
        }
        for end in 0..2 {
            assert!(!self.ends[end].can_seal(self.now, &agent(1 - end)));
            assert!(!self.ends[end].is_connecting(&agent(1 - end)));
        }
    }
}

/// Who sealed it, and which: no two payloads are the same.
fn payload(end: usize, number: u64) -> Vec<u8> {
    let mut payload = vec![end as u8; 32];
    payload[..8].copy_from_slice(&number.to_be_bytes());
    payload
}

fn agent(end: usize) -> AgentId {
    AgentId::new([1 + end as u8; 32])
}

fn path(end: usize) -> PathId {
    let address = |end: usize| ([127, 0, 0, 1 + end as u8], 1).into();
    PathId::Udp(FourTuple {
        local: address(end),
        remote: PeerAddr(address(1 - end)),
    })
}
