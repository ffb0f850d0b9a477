//! The committed corpora of the wire formats run without a fault.

#[path = "../../../fuzz/replay.rs"]
mod replay;

use pilot_types::{AgentId, BootId, PacketNumber, Port, StreamId, UnixTime};
use pilot_wire::{
    Authority, DataHeader, EcnCounts, ErrorCode, EventAnswer, EventFrame, EventRequest, FileAnswer,
    FileHead, FileId, FilePath, FileRefusal, FileRefusalReason, FileVerdict, Frame,
    HandshakeHeader, Hello, HelloAnswer, Inception, KeyAnswer, KeyQuery, KeyStanding, LogEntry,
    LogKey, PacketKind, Rotation, SignedBytes, StreamFrame, StreamHeader, Topic, TopicFilter,
    TransportParams, VERSION, encode_ack, encode_postcard, fuzz,
};

#[test]
fn wire_frames() {
    replay::replay("wire_frames", fuzz::frames);
}

#[test]
fn wire_headers() {
    replay::replay("wire_headers", fuzz::headers);
}

#[test]
fn identity_log() {
    replay::replay("identity_log", fuzz::identity);
}

#[test]
fn files() {
    replay::replay("files", fuzz::files);
}

#[test]
fn events() {
    replay::replay("events", fuzz::events);
}

fn frames() -> Vec<Vec<u8>> {
    let (id, code) = (StreamId::new(4), ErrorCode::CANCELLED);
    let stream = StreamFrame {
        id,
        offset: 70_000,
        is_fin: true,
        data: b"bytes",
    };
    let all = [
        Frame::Padding(3),
        Frame::Ping,
        Frame::Reset {
            id,
            code,
            final_size: 9,
        },
        Frame::Stop { id, code },
        Frame::MaxData(1 << 20),
        Frame::MaxStreamData { id, max: 1 << 18 },
        Frame::MaxStreams(100),
        Frame::DataBlocked(5),
        Frame::StreamDataBlocked { id, max: 6 },
        Frame::StreamsBlocked(7),
        Frame::PathChallenge([1; 8]),
        Frame::PathResponse([2; 8]),
        Frame::NewIndex {
            sequence: 1,
            index: 2,
        },
        Frame::RetireIndex { sequence: 1 },
        Frame::Extension {
            kind: Frame::OBSERVED_ADDRESS,
            body: b"later",
        },
        Frame::Datagram(b"datagram"),
        Frame::Stream(stream),
        Frame::Close {
            code,
            reason: b"done",
        },
    ];
    let mut seeds: Vec<Vec<u8>> = all.iter().map(encoded).collect();
    seeds.push(seeds.concat());
    let number = PacketNumber::new;
    let ranges = [number(90)..=number(100), number(3)..=number(9)];
    for ecn in [
        None,
        Some(EcnCounts {
            ect0: 5,
            ect1: 0,
            ce: 1,
        }),
    ] {
        let mut ack = vec![];
        encode_ack(&mut ack, ranges.iter().cloned(), 25, ecn);
        seeds.push(ack);
    }
    seeds
}

fn encoded(frame: &Frame<'_>) -> Vec<u8> {
    let mut bytes = vec![];
    frame.encode(&mut bytes);
    bytes
}

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

const PARAMS: TransportParams = TransportParams {
    max_data: 1 << 20,
    max_stream_data: 1 << 18,
    max_streams: 100,
    max_datagram: 1200,
    idle_timeout_ms: 30_000,
    max_ack_delay_us: 25_000,
};

fn hellos() -> [Vec<u8>; 3] {
    let hello = Hello {
        agent: AgentId::new([1; 32]),
        generation: 0,
        sequence: 1,
        head: [2; 32],
        entries: vec![vec![3; 40]],
        boot: BootId::new([4; 16]),
        freshness: 5,
        params: PARAMS,
        versions: vec![VERSION],
        ticket: Some([6; 16]),
    };
    let answer = HelloAnswer {
        generation: 0,
        sequence: 1,
        head: [2; 32],
        boot: BootId::new([4; 16]),
        params: PARAMS,
        versions: vec![VERSION],
        standing: KeyStanding::CURRENT,
    };
    let refusal = HelloAnswer {
        standing: KeyStanding::SUPERSEDED,
        ..answer.clone()
    };
    [hello.encode(), answer.encode(), refusal.encode()]
}

fn handshake(kind: PacketKind) -> Vec<u8> {
    let header = HandshakeHeader {
        kind,
        version: VERSION,
        sender: 7,
        receiver: 8,
    };
    let mut packet = vec![];
    header.encode(&mut packet);
    packet.resize(200, 0x55);
    packet
}

fn headers() -> Vec<Vec<u8>> {
    let data = DataHeader {
        flags: 1,
        receiver: 2,
        low_number: 3,
    };
    let token = [9; 16];
    let query = KeyQuery { sender: 1, token };
    let answer = KeyAnswer {
        receiver: 1,
        token,
        body: b"a key",
    };
    let stream = StreamHeader {
        trace: TRACE.parse().ok(),
        metadata: b"metadata".to_vec(),
        ..StreamHeader::new(Port::new(50_000), Port::STDIO)
    };
    let mut seeds = vec![
        [&data.encode()[..], &[0; 40]].concat(),
        handshake(PacketKind::Initiation),
        handshake(PacketKind::Response),
        query.encode(),
        answer.encode().expect("a short body"),
        StreamHeader::new(Port::new(50_000), Port::ECHO).encode(),
        stream.encode(),
    ];
    seeds.extend(hellos());
    seeds
}

fn entries() -> Vec<Vec<u8>> {
    let keys = |number| {
        [LogKey::ED25519, LogKey::X25519, 99].map(|algorithm| LogKey {
            algorithm,
            bytes: vec![number; 32],
        })
    };
    let inception = |recovery_commitment| {
        LogEntry::Inception(Inception {
            version: Inception::VERSION,
            keys: keys(1).to_vec(),
            recovery_commitment,
            modifier: [2; 16],
        })
    };
    let rotation = |authority| {
        LogEntry::Rotation(Rotation {
            agent: AgentId::new([3; 32]),
            generation: 1,
            sequence: 2,
            previous: [4; 32],
            keys: keys(5).to_vec(),
            recovery_commitment: Some([6; 32]),
            issued: UnixTime::from_secs(1_800_000_000),
            authority,
        })
    };
    let signed = |entry: LogEntry, signatures: usize| {
        let mut bytes = entry.encode();
        bytes.resize(bytes.len() + signatures * SignedBytes::SIGNATURE, 7);
        bytes
    };
    vec![
        signed(inception(None), 1),
        signed(inception(Some([8; 32])), 1),
        signed(rotation(Authority::Current), 2),
        signed(rotation(Authority::Recovery([9; 32])), 2),
        signed(rotation(Authority::Current), 1),
        signed(inception(None), 0),
    ]
}

fn file_words() -> Vec<Vec<u8>> {
    let name = |text: &str| text.parse::<FilePath>().expect("a file's name");
    let head = |text, trace: &str| FileHead {
        id: FileId::new([1; 16]),
        name: name(text),
        size: 70_000,
        trace: trace.parse().ok(),
    };
    let refusal = |reason| FileRefusal {
        reason,
        words: "no room".to_owned(),
    };
    vec![
        encode_postcard(&head("report.pdf", TRACE)),
        encode_postcard(&head("archive.tar.gz", "")),
        encode_postcard(&head("name without an extension", "")),
        encode_postcard(&head("photos/2026/march.jpg", "")),
        encode_postcard(&FileAnswer::Accepted { held: 300 }),
        encode_postcard(&FileAnswer::Refused(refusal(FileRefusalReason::Space))),
        encode_postcard(&FileAnswer::Stored {
            name: name("report.pdf"),
            sha256: [2; 32],
        }),
        encode_postcard(&FileVerdict::Stored {
            name: name("report (1).pdf"),
        }),
        encode_postcard(&FileVerdict::Refused(refusal(FileRefusalReason::Broken))),
    ]
}

fn event_words() -> Vec<Vec<u8>> {
    let topic = || "build.done".parse::<Topic>().expect("a topic");
    let body = || b"{}".to_vec();
    let subscribe = |filter: &str| {
        encode_postcard(&EventRequest::Subscribe {
            filter: filter.parse::<TopicFilter>().expect("a filter"),
        })
    };
    vec![
        encode_postcard(&EventRequest::Publish {
            topic: topic(),
            body: body(),
        }),
        subscribe("build.done"),
        subscribe("*"),
        encode_postcard(&EventRequest::Replay {
            filter: "build.*".parse().expect("a filter"),
            last: 10,
        }),
        encode_postcard(&EventAnswer::Accepted { subscribers: 3 }),
        encode_postcard(&EventAnswer::Refused("too many".to_owned())),
        encode_postcard(&EventFrame::Event {
            topic: topic(),
            from: AgentId::new([1; 32]),
            body: body(),
        }),
        encode_postcard(&EventFrame::Dropped(300)),
    ]
}

#[test]
#[ignore = "writes inputs into the checkout"]
fn write_seeds() {
    replay::write_seeds("wire_frames", frames());
    replay::write_seeds("wire_headers", headers());
    replay::write_seeds("identity_log", entries());
    replay::write_seeds("files", file_words());
    replay::write_seeds("events", event_words());
}
