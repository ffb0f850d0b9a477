//! Acknowledgement ranges, the send path, the receive path.

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use pilot_transport::{Config, Read, Side, Transport};
use pilot_types::{Overhead, PacketNumber, PathId, RelayAddr, Seed, StreamId, TransmitBuf};
use pilot_wire::{Frames, encode_ack};

const BYTES: usize = 1 << 20;

/// A transport whose windows never hold it back.
fn transport(side: Side, now: Instant) -> Transport {
    let mut config = Config {
        send_buffer: 4 * BYTES,
        // So short a round trip that neither the window's growth nor the pacer is what is measured.
        initial_rtt: Duration::from_nanos(1),
        ..Config::default()
    };
    config.params.max_data = 1 << 40;
    config.params.max_stream_data = 1 << 40;
    let relay = RelayAddr(SocketAddr::from((Ipv4Addr::LOCALHOST, 9)));
    let path = PathId::Relay { relay, channel: 1 };
    let params = config.params;
    let seed = Seed::new([7; 32]);
    Transport::new(Arc::new(config), side, params, path, seed, now)
}

fn buffer() -> TransmitBuf {
    let mut out = TransmitBuf::new(10, 1200);
    out.set_overhead(Overhead { head: 9, tail: 16 });
    out
}

/// A packet as the session hands it over.
type Packet = (PacketNumber, Vec<u8>);

/// Writes all that may leave; gives the packets.
fn transmit(from: &mut Transport, now: Instant, out: &mut TransmitBuf) -> Vec<Packet> {
    let mut packets = vec![];
    loop {
        out.clear();
        while let Some(sent) = from.poll_transmit(now, out) {
            packets.push((sent.number, out.payload().to_vec()));
            out.put_tail(&[0; 16]);
            out.finish();
        }
        if out.is_empty() {
            return packets;
        }
    }
}

fn receive(to: &mut Transport, now: Instant, packets: &[Packet]) {
    let path = to.path();
    for (number, payload) in packets {
        to.handle_packet(now, path, *number, None, payload.len() + 25, payload)
            .expect("our own packets follow the protocol");
    }
}

/// A megabyte written, sent, received, read and acknowledged.
fn bench_both_paths(c: &mut Criterion) {
    let mut group = c.benchmark_group("transfer");
    group.throughput(Throughput::Bytes(BYTES as u64));
    let data = vec![7; BYTES];
    group.bench_function("send, receive and acknowledge", |b| {
        let mut now = Instant::now();
        let (mut sender, mut receiver) = (transport(Side::Even, now), transport(Side::Odd, now));
        let id = sender.open_stream(now).expect("the first stream");
        let (mut out, mut chunk) = (buffer(), vec![0; 65_536]);
        b.iter(|| {
            sender.write(now, id, &data).expect("an open stream");
            while sender.stream_stats(id).is_some_and(|s| s.buffered > 0) {
                let packets = transmit(&mut sender, now, &mut out);
                now += Duration::from_micros(10);
                receive(&mut receiver, now, &packets);
                while let Ok(Read::Bytes(len)) = receiver.read(now, id, &mut chunk) {
                    black_box(&chunk[..len]);
                }
                while receiver.poll_event().is_some() {}
                now += Duration::from_millis(20);
                receiver.handle_timeout(now);
                let acks = transmit(&mut receiver, now, &mut out);
                receive(&mut sender, now, &acks);
                sender.handle_timeout(now);
                while sender.poll_event().is_some() {}
            }
        });
    });
    group.finish();
}

/// `poll_transmit` of one initial window of full packets.
fn bench_send(c: &mut Criterion) {
    let mut group = c.benchmark_group("poll_transmit");
    group.throughput(Throughput::Bytes(12_000));
    let (now, data) = (Instant::now(), vec![7; 12_000]);
    group.bench_function("ten full packets", |b| {
        let mut out = buffer();
        let ready = || {
            let mut sender = transport(Side::Even, now);
            let id = sender.open_stream(now).expect("the first stream");
            sender.write(now, id, &data).expect("an open stream");
            sender
        };
        b.iter_batched_ref(
            ready,
            |sender| {
                out.clear();
                while sender.poll_transmit(now, &mut out).is_some() {
                    out.put_tail(&[0; 16]);
                    out.finish();
                }
                black_box(out.as_slice().len())
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

/// `handle_packet` of ten full packets, and reading them.
fn bench_receive(c: &mut Criterion) {
    let mut group = c.benchmark_group("handle_packet");
    group.throughput(Throughput::Bytes(12_000));
    let now = Instant::now();
    let mut sender = transport(Side::Even, now);
    let id: StreamId = sender.open_stream(now).expect("the first stream");
    sender.write(now, id, &[7; 12_000]).expect("an open stream");
    let packets = transmit(&mut sender, now, &mut buffer());
    group.bench_function("ten full packets", |b| {
        let mut chunk = [0; 16_384];
        b.iter_batched_ref(
            || transport(Side::Odd, now),
            |receiver| {
                receive(receiver, now, &packets);
                receiver.read(now, id, &mut chunk)
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

/// An ACK of 64 ranges: written, read, and taken in by a transport that every other packet of is missing.
fn bench_acks(c: &mut Criterion) {
    let mut group = c.benchmark_group("ack of 64 ranges");
    let runs = (0..64u64).rev().map(|i| {
        let number = PacketNumber::new(1_000 + i * 2);
        number..=number
    });
    let mut payload = vec![];
    encode_ack(&mut payload, runs.clone(), 100, None);
    group.throughput(Throughput::Bytes(payload.len() as u64));
    group.bench_function("encode", |b| {
        let mut out = Vec::with_capacity(1024);
        b.iter(|| {
            out.clear();
            encode_ack(&mut out, runs.clone(), 100, None);
            black_box(out.len())
        });
    });
    group.bench_function("decode", |b| {
        b.iter(|| Frames::new(black_box(&payload)).count());
    });
    let now = Instant::now();
    group.bench_function("insert of 128 packets with gaps", |b| {
        b.iter_batched_ref(
            || transport(Side::Odd, now),
            |receiver| {
                let pings = |i: u64| (PacketNumber::new(i * 2), vec![0x01]);
                let packets: Vec<Packet> = (0..128).map(pings).collect();
                receive(receiver, now, &packets);
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(
    benches,
    bench_acks,
    bench_send,
    bench_receive,
    bench_both_paths
);
criterion_main!(benches);
