//! Flows that share one bottleneck, in virtual time.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pilot_transport::{Config, Congestion, Event, Read, Side, Transport};
use pilot_types::{Overhead, PacketNumber, PathId, RelayAddr, Seed, StreamId, TransmitBuf};
use pilot_wire::limits::{DATA_HEAD, TAG};
use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};

/// The path that all flows share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bottleneck {
    /// Without a queue.
    pub(crate) rtt: Duration,
    /// Bytes per second, of datagrams.
    pub(crate) rate: u64,
    /// Bytes of the queue before the link.
    pub(crate) buffer: u64,
    /// Packets of a thousand that vanish after the queue, each way.
    pub(crate) loss: u32,
    /// Up to this much is added to the delay of each packet, each way.
    pub(crate) jitter: Duration,
}

impl Bottleneck {
    /// A path of `rtt_ms` at `mbit` per second, with a queue of `buffer` products of both, that loses `loss` of 1000.
    pub(crate) fn new(rtt_ms: u64, mbit: u64, buffer: f64, loss: u32) -> Self {
        let rate = mbit * 1_000_000 / 8;
        Self {
            rtt: Duration::from_millis(rtt_ms),
            rate,
            buffer: (rate as f64 * rtt_ms as f64 / 1000.0 * buffer) as u64,
            loss,
            jitter: Duration::ZERO,
        }
    }
}

/// A path that needs no validation.
fn path() -> PathId {
    let relay = RelayAddr(SocketAddr::from((Ipv4Addr::LOCALHOST, 9)));
    PathId::Relay { relay, channel: 1 }
}

/// One transfer: an end that always has something to send, and one that always reads.
#[derive(Debug)]
pub(crate) struct Flow {
    /// The sender and the receiver.
    pub(crate) ends: [Transport; 2],
    /// When it begins.
    start: Instant,
    id: Option<StreamId>,
    pub(crate) received: u64,
}

/// A packet on the link.
#[derive(Debug)]
struct Flying {
    flow: usize,
    to: usize,
    number: PacketNumber,
    payload: Vec<u8>,
}

/// All flows and the link.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) now: Instant,
    pub(crate) link: Bottleneck,
    pub(crate) flows: Vec<Flow>,
    flying: BTreeMap<(Instant, u64), Flying>,
    next: u64,
    busy_until: Instant,
    pub(crate) dropped: u64,
    rng: ChaCha12Rng,
    out: TransmitBuf,
    chunk: Vec<u8>,
}

impl Network {
    pub(crate) fn new(link: Bottleneck, seed: u64) -> Self {
        let now = Instant::now();
        let mut out = TransmitBuf::new(1, 1500);
        out.set_overhead(Overhead {
            head: DATA_HEAD,
            tail: TAG,
        });
        Self {
            now,
            link,
            flows: vec![],
            flying: BTreeMap::new(),
            next: 0,
            busy_until: now,
            dropped: 0,
            rng: ChaCha12Rng::seed_from_u64(seed),
            out,
            chunk: vec![7; 1 << 16],
        }
    }

    /// Adds a flow that begins after `delay`.
    pub(crate) fn add(&mut self, congestion: Congestion, delay: Duration) {
        let config = Arc::new(Config {
            congestion,
            ..Config::default()
        });
        let index = self.flows.len() as u8;
        let end = |end: usize, side| {
            let seed = Seed::new([index * 2 + end as u8; 32]);
            let path = path();
            Transport::new(
                Arc::clone(&config),
                side,
                config.params,
                path,
                seed,
                self.now,
            )
        };
        self.flows.push(Flow {
            ends: [end(0, Side::Even), end(1, Side::Odd)],
            start: self.now + delay,
            id: None,
            received: 0,
        });
    }

    /// Runs for `time`; gives what each flow received in it, in bytes.
    pub(crate) fn run(&mut self, time: Duration) -> Vec<u64> {
        let before: Vec<u64> = self.flows.iter().map(|flow| flow.received).collect();
        let end = self.now + time;
        for flow in 0..self.flows.len() {
            self.serve(flow);
        }
        while let Some(at) = self.next_turn().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.turn();
        }
        self.now = end;
        let received = self.flows.iter().map(|flow| flow.received);
        received
            .zip(before)
            .map(|(after, before)| after - before)
            .collect()
    }

    fn next_turn(&self) -> Option<Instant> {
        let arrival = self.flying.keys().next().map(|(at, _)| *at);
        let timers = self.flows.iter().flat_map(|flow| {
            let starts = flow.id.is_none().then_some(flow.start);
            let deadlines = flow.ends.iter().filter_map(Transport::poll_timeout);
            deadlines.map(|deadline| deadline.at).chain(starts)
        });
        arrival.into_iter().chain(timers).min()
    }

    fn turn(&mut self) {
        while let Some(entry) = self.flying.first_entry()
            && entry.key().0 <= self.now
        {
            let flying = entry.remove();
            let end = &mut self.flows[flying.flow].ends[flying.to];
            let size = flying.payload.len() + DATA_HEAD + TAG;
            let path = end.path();
            end.handle_packet(self.now, path, flying.number, None, size, &flying.payload)
                .expect("our own packets follow the protocol");
            self.serve(flying.flow);
        }
        for flow in 0..self.flows.len() {
            let is_due = |end: &Transport| end.poll_timeout().is_some_and(|d| d.at <= self.now);
            let starts = self.flows[flow].id.is_none() && self.flows[flow].start <= self.now;
            if starts || self.flows[flow].ends.iter().any(is_due) {
                for end in &mut self.flows[flow].ends {
                    end.handle_timeout(self.now);
                }
                self.serve(flow);
            }
        }
    }

    /// The applications of a flow do what they can, and its packets leave.
    fn serve(&mut self, index: usize) {
        let (now, flow) = (self.now, &mut self.flows[index]);
        if flow.id.is_none() && flow.start <= now {
            flow.id = Some(flow.ends[0].open_stream(now).expect("the first stream"));
        }
        let Some(id) = flow.id else {
            return;
        };
        while flow.ends[0]
            .write(now, id, &self.chunk)
            .expect("the stream is open")
            > 0
        {}
        while let Some(event) = flow.ends[0].poll_event() {
            assert!(matches!(event, Event::Writable(_)), "{event:?}");
        }
        while let Some(event) = flow.ends[1].poll_event() {
            if matches!(event, Event::Readable(_)) {
                while let Read::Bytes(len) = flow.ends[1]
                    .read(now, id, &mut self.chunk)
                    .expect("the stream is open")
                {
                    flow.received += len as u64;
                }
            }
        }
        for from in [1, 0] {
            self.transmit(index, from);
        }
    }

    fn transmit(&mut self, flow: usize, from: usize) {
        loop {
            self.out.clear();
            let end = &mut self.flows[flow].ends[from];
            let Some(packet) = end.poll_transmit(self.now, &mut self.out) else {
                return;
            };
            let payload = self.out.payload().to_vec();
            self.out.put_tail(&[0; TAG]);
            self.out.finish();
            let flying = Flying {
                flow,
                to: 1 - from,
                number: packet.number,
                payload,
            };
            self.carry(flying);
        }
    }

    /// Only data meets the bottleneck; acknowledgements are merely delayed and lost.
    fn carry(&mut self, flying: Flying) {
        let size = (flying.payload.len() + DATA_HEAD + TAG) as u64;
        let nanos = |bytes: u64| Duration::from_nanos(bytes * 1_000_000_000 / self.link.rate);
        let mut sent_at = self.now;
        if flying.to == 1 {
            let free_at = self.busy_until.max(self.now);
            if free_at - self.now > nanos(self.link.buffer) {
                self.dropped += 1;
                return;
            }
            sent_at = free_at + nanos(size);
            self.busy_until = sent_at;
        }
        if self.rng.next_u32() % 1000 < self.link.loss {
            return;
        }
        let jitter = self.link.jitter.as_nanos() as u64;
        let jitter = Duration::from_nanos(self.rng.next_u64() % (jitter + 1));
        let at = sent_at + self.link.rtt / 2 + jitter;
        self.flying.insert((at, self.next), flying);
        self.next += 1;
    }
}
