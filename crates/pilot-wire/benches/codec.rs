//! How fast frames, acknowledgements, headers and statements are written and read.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pilot_types::{AgentId, PacketNumber, StreamId, UnixTime};
use pilot_wire::{
    DataHeader, EnvelopeHead, Frame, Frames, Grant, Scope, SignedBytes, StreamPrefix,
    decode_data_header, encode_ack,
};

/// One full packet of a bulk stream.
fn stream_frames(c: &mut Criterion) {
    let mut group = c.benchmark_group("stream_frame");
    for size in [64usize, 1200, 1400] {
        let data = vec![7; size];
        let prefix = StreamPrefix {
            id: StreamId::new(4),
            offset: 1 << 30,
            len: size,
            is_fin: false,
        };
        let mut packet = Vec::with_capacity(size + 32);
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new("encode", size), |b| {
            b.iter(|| {
                packet.clear();
                black_box(&prefix).encode(&mut packet);
                packet.extend_from_slice(black_box(&data));
            });
        });
        group.bench_function(BenchmarkId::new("decode", size), |b| {
            b.iter(|| Frames::new(black_box(&packet)).map(black_box).count());
        });
    }
    group.finish();
}

/// Acknowledgements of a path that loses every other packet.
fn acks(c: &mut Criterion) {
    let mut group = c.benchmark_group("ack");
    for count in [1u64, 8, 64] {
        let range = |n: u64| PacketNumber::new(3 * n)..=PacketNumber::new(3 * n + 1);
        let ranges: Vec<_> = (0..count).rev().map(|n| range(n + 1000)).collect();
        let mut packet = Vec::with_capacity(512);
        let encode = |packet: &mut Vec<u8>| encode_ack(packet, ranges.iter().cloned(), 25, None);
        encode(&mut packet);
        group.throughput(Throughput::Bytes(packet.len() as u64));
        let mut out = Vec::with_capacity(512);
        group.bench_function(BenchmarkId::new("encode", count), |b| {
            b.iter(|| {
                out.clear();
                encode(black_box(&mut out));
            });
        });
        group.bench_function(BenchmarkId::new("decode", count), |b| {
            b.iter(|| count_ranges(black_box(&packet)));
        });
    }
    group.finish();
}

fn count_ranges(packet: &[u8]) -> usize {
    let ranges = Frames::new(packet).map(|frame| match frame {
        Ok(Frame::Ack(ack)) => ack.ranges().count(),
        Ok(_) | Err(_) => 0,
    });
    ranges.sum()
}

fn headers(c: &mut Criterion) {
    let header = DataHeader {
        flags: 0,
        receiver: 7,
        low_number: 9,
    };
    let mut packet = header.encode().to_vec();
    packet.resize(1200, 0);
    let mut group = c.benchmark_group("data_header");
    group.throughput(Throughput::Bytes(packet.len() as u64));
    group.bench_function("decode", |b| {
        b.iter(|| decode_data_header(black_box(&packet)));
    });
    group.finish();
}

fn statements(c: &mut Criterion) {
    let head = EnvelopeHead {
        agent: AgentId::new([1; 32]),
        generation: 0,
        sequence: 0,
        serial: 1,
        issued: UnixTime::from_secs(1),
        not_after: UnixTime::from_secs(2),
    };
    let grant = Grant {
        grantee: AgentId::new([2; 32]),
        scope: Scope::default_scope(),
        parent: None,
        depth: 0,
    };
    let raw = SignedBytes::new(SignedBytes::to_sign(&head, &grant), &[3; 64]);
    let mut group = c.benchmark_group("statement");
    group.throughput(Throughput::Bytes(raw.as_bytes().len() as u64));
    group.bench_function("encode", |b| {
        b.iter(|| SignedBytes::to_sign(black_box(&head), black_box(&grant)));
    });
    group.bench_function("decode", |b| {
        b.iter(|| {
            black_box(&raw)
                .envelope()
                .and_then(|envelope| envelope.statement::<Grant>())
        });
    });
    group.finish();
}

criterion_group!(codec, stream_frames, acks, headers, statements);
criterion_main!(codec);
