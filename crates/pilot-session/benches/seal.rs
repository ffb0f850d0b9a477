//! Sealing and opening by size of the datagram, and a handshake as its responder.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pilot_session::{Config, Endpoint, LocalKeys, PeerKeys, Rate, Received};
use pilot_types::{AgentId, BootId, PacketNumber, PathId, Seed, StreamId, TransmitBuf};
use pilot_wire::{Hello, HelloAnswer, KeyStanding, TransportParams, VERSION};

const SIZES: [usize; 4] = [64, 1200, 1452, 8192];
const PATH: PathId = PathId::Stream(StreamId::new(0));
const DIALLER: AgentId = AgentId::new([1; 32]);
const DIALLED: AgentId = AgentId::new([2; 32]);
const PARAMS: TransportParams = TransportParams {
    max_data: 1 << 20,
    max_stream_data: 1 << 18,
    max_streams: 100,
    max_datagram: 1200,
    idle_timeout_ms: 30_000,
    max_ack_delay_us: 25_000,
};

fn endpoint(now: Instant, agent: AgentId, seed: [u8; 32]) -> Endpoint {
    // No limit on packets: a benchmark runs for longer than an epoch.
    let config = Config {
        rekey_packets: u64::MAX,
        stop_packets: u64::MAX,
        // No load either, which would have it ask for cookies.
        unproven: Rate {
            burst: u32::MAX,
            per_second: 1_000_000,
        },
        ..Config::default()
    };
    let local = LocalKeys {
        agent,
        dh_secret: (*agent.as_bytes()).into(),
    };
    Endpoint::new(Arc::new(config), local, Seed::new(seed), now)
}

fn hello(agent: AgentId) -> Vec<u8> {
    let hello = Hello {
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
    };
    hello.encode()
}

fn answer() -> Vec<u8> {
    let answer = HelloAnswer {
        generation: 0,
        sequence: 0,
        head: [0; 32],
        boot: BootId::new([2; 16]),
        params: PARAMS,
        versions: vec![VERSION],
        standing: KeyStanding::CURRENT,
    };
    answer.encode()
}

fn transmit(now: Instant, endpoint: &mut Endpoint) -> Vec<u8> {
    let mut out = TransmitBuf::new(1, 1500);
    endpoint
        .poll_transmit(now, &mut out)
        .expect("a packet is queued");
    out.as_slice().to_vec()
}

fn respond(now: Instant, responder: &mut Endpoint, message_1: &mut [u8]) -> Vec<u8> {
    let received = responder.handle_datagram(now, PATH, message_1);
    let Ok(Received::Hello { token, .. }) = received else {
        panic!("not a hello")
    };
    responder
        .accept(now, token, &answer())
        .expect("the answer is short");
    transmit(now, responder)
}

fn message_1(
    now: Instant,
    responder: &Endpoint,
    dialler: AgentId,
    seed: [u8; 32],
) -> (Endpoint, Vec<u8>) {
    let mut initiator = endpoint(now, dialler, seed);
    let peer = PeerKeys {
        agent: DIALLED,
        dh_public: responder.local_dh_public(),
    };
    initiator
        .connect(now, peer, &hello(dialler), &[PATH])
        .expect("the key is good");
    let packet = transmit(now, &mut initiator);
    (initiator, packet)
}

fn connected(now: Instant) -> (Endpoint, Endpoint) {
    let mut responder = endpoint(now, DIALLED, [2; 32]);
    let (mut initiator, mut packet) = message_1(now, &responder, DIALLER, [1; 32]);
    let mut reply = respond(now, &mut responder, &mut packet);
    initiator
        .handle_datagram(now, PATH, &mut reply)
        .expect("message 2 is right");
    (initiator, responder)
}

fn begin(buf: &mut TransmitBuf, size: usize) {
    buf.clear();
    buf.begin(size);
    buf.pad_to(size);
}

fn seal(c: &mut Criterion) {
    let mut group = c.benchmark_group("seal");
    for size in SIZES {
        let now = Instant::now();
        let (mut initiator, _) = connected(now);
        let mut buf = TransmitBuf::new(1, 9000);
        buf.set_overhead(Endpoint::overhead());
        let mut number = 0;
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter(|| {
                begin(&mut buf, size);
                initiator
                    .seal(now, &DIALLED, PacketNumber::new(number), &mut buf)
                    .expect("numbers ascend");
                buf.finish();
                number += 1;
                black_box(buf.as_slice().len())
            });
        });
    }
}

fn open(c: &mut Criterion) {
    let mut group = c.benchmark_group("open");
    for size in SIZES {
        let now = Instant::now();
        let (mut initiator, mut responder) = connected(now);
        let mut number = 0;
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            let sealed = || {
                let mut buf = TransmitBuf::new(1, 9000);
                buf.set_overhead(Endpoint::overhead());
                begin(&mut buf, size);
                initiator
                    .seal(now, &DIALLED, PacketNumber::new(number), &mut buf)
                    .expect("numbers ascend");
                buf.finish();
                number += 1;
                buf.as_slice().to_vec()
            };
            let open = |packet: &mut Vec<u8>| {
                let opened = responder.handle_datagram(now, PATH, packet);
                assert!(opened.is_ok(), "each packet opens once");
            };
            b.iter_batched_ref(sealed, open, BatchSize::SmallInput);
        });
    }
}

fn handshake(c: &mut Criterion) {
    let now = Instant::now();
    let mut responder = endpoint(now, DIALLED, [2; 32]);
    let public = endpoint(now, DIALLED, [2; 32]);
    let mut count = 0_u32;
    let mut group = c.benchmark_group("handshakes_per_second");
    group.throughput(Throughput::Elements(1));
    group.bench_function("responder", |b| {
        let message = || {
            count += 1;
            let mut seed = [7; 32];
            seed[..4].copy_from_slice(&count.to_be_bytes());
            message_1(now, &public, AgentId::new(seed), seed).1
        };
        // Ten milliseconds each: the half-open table never fills, which would be a load.
        let mut clock = now;
        let respond = |packet: &mut Vec<u8>| {
            clock += Duration::from_millis(10);
            responder.handle_timeout(clock);
            respond(clock, &mut responder, packet);
        };
        b.iter_batched_ref(message, respond, BatchSize::SmallInput);
    });
}

criterion_group!(benches, seal, open, handshake);
criterion_main!(benches);
