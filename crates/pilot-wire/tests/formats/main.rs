//! Headers, hellos, statements and the rest: round trips, every prefix, every changed byte, later versions' bytes.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helper fails like the test that calls it"
)]

mod strategies;

use std::fmt::Debug;

use pilot_types::{AgentId, BootId, GroupId, Hostname, Port, UnixTime};
use pilot_wire::limits::{
    BASE_DATAGRAM, MAX_ENVELOPE, MAX_HELLO_ENTRIES, MAX_LOG_ENTRY, MAX_LOG_KEYS, MAX_STREAM_HEADER,
    MAX_STREAM_METADATA,
};
use pilot_wire::{
    Capability, DataHeader, DecodeError, EntrySignatures, EnvelopeHead, ErrorCode, GroupAsk,
    GroupPolicy, GroupRequest, HandshakeHeader, Hello, HelloAnswer, Inception, Invitation,
    JoinRule, KeyAnswer, KeyQuery, KeyStanding, Locator, LogEntry, LogKey, Membership, MessageAck,
    MessageId, MessageType, NetworkConfig, PacketKind, Record, Removal, RemovalCause, Role, Scope,
    SignedBytes, SignedEntry, Speakers, Statement, StreamHeader, TicketBody, TransportParams,
    VERSION, Visibility, decode_data_header, decode_handshake_header, decode_postcard,
    encode_postcard, fuzz,
};
use proptest::prelude::*;

use crate::strategies::{
    answer, bytes, endpoints, grant, head, hello, knock, message, record, signed_entry,
    stream_header,
};

/// As [`check`]: the last byte is left out where it is 0, and earlier versions do not know it.
fn check_answer(answer: &HelloAnswer) {
    let encoded = answer.encode();
    assert_eq!(HelloAnswer::decode(&encoded).as_ref(), Ok(answer));
    let current = HelloAnswer {
        standing: KeyStanding::CURRENT,
        ..answer.clone()
    };
    let before = current.encode();
    let later = [&*before, &[answer.standing.0], b"later"].concat();
    assert_eq!(HelloAnswer::decode(&later).as_ref(), Ok(answer));
    assert_eq!(HelloAnswer::decode(&before).as_ref(), Ok(&current));
    for len in 0..before.len() {
        let cut = HelloAnswer::decode(&before[..len]);
        assert!(cut.is_err(), "{len} bytes are not enough");
    }
}

/// The value comes back, also before bytes of a later version; prefixes and changed bytes are read without a panic.
fn check<T: PartialEq + Debug>(
    value: &T,
    encoded: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, DecodeError>,
) {
    assert_eq!(decode(encoded).as_ref(), Ok(value));
    let later = [encoded, b"later"].concat();
    assert_eq!(
        decode(&later).as_ref(),
        Ok(value),
        "bytes after it are legal"
    );
    for len in 0..encoded.len() {
        assert!(
            decode(&encoded[..len]).is_err(),
            "{len} bytes are not enough"
        );
    }
    let mut changed = encoded.to_vec();
    for at in 0..changed.len() {
        for mask in [0x01, 0x80, 0xFF] {
            changed[at] ^= mask;
            let _ = decode(&changed);
            fuzz::headers(&changed);
            changed[at] ^= mask;
        }
    }
}

fn check_plain_statement<S: Statement + PartialEq + Debug>(head: &EnvelopeHead, body: &S) {
    check_statement(head, body);
    check(body, &encode_postcard(body), S::decode_body);
}

/// A record grew: what its first version had is one, too.
fn check_record(head: &EnvelopeHead, record: &Record) {
    check_statement(head, record);
    let encoded = encode_postcard(record);
    let later = [&encoded[..], &[1, 2, 3]].concat();
    assert_eq!(Record::decode_body(&later).as_ref(), Ok(record));
    let without_prekey = Record {
        prekey: None,
        ..record.clone()
    };
    let mut first = without_prekey.clone();
    for capability in &mut first.capabilities {
        *capability = Capability::named(&*capability.name, &*capability.version);
    }
    let earlier: Record = decode_postcard(&encoded, "by an earlier reader").unwrap();
    assert_eq!(earlier, first, "it stops where the first version ended");
    let first_len = encode_postcard(&first).len() - 2;
    let details_len = encode_postcard(&without_prekey).len() - 1;
    for len in 0..encoded.len() {
        let decoded = Record::decode_body(&encoded[..len]);
        let expected = match len {
            len if len == first_len => Some(&first),
            len if len == details_len => Some(&without_prekey),
            _ => None,
        };
        assert_eq!(decoded.ok().as_ref(), expected);
    }
}

fn check_statement<S: Statement + PartialEq + Debug>(head: &EnvelopeHead, body: &S) {
    let raw = SignedBytes::new(SignedBytes::to_sign(head, body), &[7; 64]);
    let envelope = raw.envelope().unwrap();
    assert_eq!((envelope.context, envelope.head), (S::CONTEXT, *head));
    assert_eq!(envelope.statement::<S>().as_ref(), Ok(body));
    assert_eq!(
        [envelope.signed, envelope.signature].concat(),
        raw.as_bytes()
    );
    for len in 0..raw.as_bytes().len() {
        let prefix = SignedBytes::from_bytes(raw.as_bytes()[..len].to_vec());
        let _ = prefix
            .envelope()
            .and_then(|envelope| envelope.statement::<S>());
    }
}

#[test]
fn every_first_byte_is_one_kind_or_none() {
    let mut stun = vec![0; 20];
    stun[4..8].copy_from_slice(&[0x21, 0x12, 0xA4, 0x42]);
    for first in 0..=u8::MAX {
        stun[0] = first;
        let expected = match first {
            0x00..=0x03 => Some(PacketKind::Stun),
            0x40..=0x4F => Some(PacketKind::Relay),
            0x80 => Some(PacketKind::Initiation),
            0x81 => Some(PacketKind::Response),
            0x82 => Some(PacketKind::Cookie),
            0x83 => Some(PacketKind::VersionList),
            0x84 => Some(PacketKind::KeyQuery),
            0x85 => Some(PacketKind::KeyAnswer),
            0xC0..=0xFF => Some(PacketKind::Data),
            _ => None,
        };
        assert_eq!(PacketKind::of(&stun), expected, "{first:#x}");
    }
    stun[0] = 0;
    assert_eq!(PacketKind::of(&stun[..19]), None);
    stun[4] ^= 1;
    assert_eq!(PacketKind::of(&stun), None, "without its cookie");
    assert_eq!(PacketKind::of(&[]), None);
}

#[test]
fn a_data_packet_has_a_header_and_a_tag() {
    let header = DataHeader {
        flags: 0x15,
        receiver: 0x0102_0304,
        low_number: 0x0506_0708,
    };
    let mut packet = header.encode().to_vec();
    assert_eq!(packet, [0xD5, 1, 2, 3, 4, 5, 6, 7, 8]);
    packet.resize(25, 0);
    assert_eq!(decode_data_header(&packet), Ok(header));
    for len in 0..25 {
        assert_eq!(
            decode_data_header(&packet[..len]),
            Err(DecodeError::Truncated)
        );
    }
    packet[0] = 0xBF;
    assert_eq!(
        decode_data_header(&packet),
        Err(DecodeError::UnknownType(0xBF))
    );
}

#[test]
fn handshake_packets_have_their_header_and_two_macs() {
    for kind in [
        PacketKind::Initiation,
        PacketKind::Response,
        PacketKind::Cookie,
        PacketKind::VersionList,
    ] {
        let receiver = if kind == PacketKind::Initiation {
            0
        } else {
            0x0A0B_0C0D
        };
        let header = HandshakeHeader {
            kind,
            version: 9,
            sender: 0x0102_0304,
            receiver,
        };
        let mut packet = vec![];
        header.encode(&mut packet);
        assert_eq!(packet.len(), header.encoded_len());
        packet.extend_from_slice(b"body");
        packet.resize(packet.len() + 32, 0xEE);
        assert_eq!(decode_handshake_header(&packet), Ok((header, &b"body"[..])));
        for len in 1..header.encoded_len() + 32 {
            assert_eq!(
                decode_handshake_header(&packet[..len]),
                Err(DecodeError::Truncated)
            );
        }
    }
    assert_eq!(
        decode_handshake_header(&[]),
        Err(DecodeError::UnknownType(0))
    );
    assert_eq!(
        decode_handshake_header(&[0xC0; 60]),
        Err(DecodeError::UnknownType(0xC0))
    );
}

#[test]
fn a_key_answer_is_never_longer_than_its_query() {
    let query = KeyQuery {
        sender: 7,
        token: [3; 16],
    };
    let packet = query.encode();
    assert_eq!(
        (packet.len(), KeyQuery::decode(&packet)),
        (BASE_DATAGRAM, Ok(query))
    );
    assert_eq!(
        KeyQuery::decode(&packet[..BASE_DATAGRAM - 1]),
        Err(DecodeError::Truncated)
    );
    let mut other = packet.clone();
    other[1] = VERSION + 1;
    assert_eq!(
        KeyQuery::decode(&other),
        Err(DecodeError::Version(VERSION + 1))
    );

    let body = [5; BASE_DATAGRAM - 26 + 1];
    let answer = |len: usize| KeyAnswer {
        receiver: 7,
        token: [3; 16],
        body: &body[..len],
    };
    let longest = answer(body.len() - 1).encode().unwrap();
    assert_eq!(longest.len(), BASE_DATAGRAM);
    assert_eq!(KeyAnswer::decode(&longest), Ok(answer(body.len() - 1)));
    assert_eq!(answer(body.len()).encode(), None);
    for len in 0..26 {
        assert!(KeyAnswer::decode(&longest[..len]).is_err());
    }
    assert_eq!(
        KeyAnswer::decode(&packet),
        Err(DecodeError::UnknownType(0x84))
    );
}

#[test]
fn unknown_arms_of_enums_are_read_as_unknown() {
    assert_eq!(
        decode_postcard(&[99], "visibility"),
        Ok(Visibility::Unknown)
    );
    assert_eq!(decode_postcard(&[99], "type"), Ok(MessageType::Unknown));
    assert_eq!(decode_postcard(&[99, 1, 2], "ack"), Ok(MessageAck::Unknown));
    let refused: Result<LogEntry, _> = decode_postcard(&[2], "log entry");
    assert_eq!(
        refused,
        Err(DecodeError::Malformed("log entry")),
        "nobody can follow an unknown entry"
    );
}

#[test]
fn too_many_or_too_long_entries_of_a_hello_are_refused() {
    let mut hello = Hello {
        agent: AgentId::new([1; 32]),
        generation: 0,
        sequence: 0,
        head: [2; 32],
        entries: vec![vec![0; MAX_LOG_ENTRY]; MAX_HELLO_ENTRIES],
        boot: BootId::new([3; 16]),
        freshness: 1,
        params: TransportParams {
            max_data: 1,
            max_stream_data: 1,
            max_streams: 1,
            max_datagram: 0,
            idle_timeout_ms: 0,
            max_ack_delay_us: 0,
        },
        versions: vec![VERSION],
        ticket: None,
    };
    assert!(Hello::decode(&hello.encode()).is_ok());
    hello.entries[0].push(0);
    assert_eq!(
        Hello::decode(&hello.encode()),
        Err(DecodeError::Range("hello entries"))
    );
    hello.entries = vec![vec![]; MAX_HELLO_ENTRIES + 1];
    assert_eq!(
        Hello::decode(&hello.encode()),
        Err(DecodeError::Range("hello entries"))
    );
}

#[test]
fn log_entries_are_bounded() {
    let keys = |count: usize| {
        vec![
            LogKey {
                algorithm: 9,
                bytes: vec![]
            };
            count
        ]
    };
    let raw = |count: usize, tail: usize| {
        let inception = Inception {
            version: Inception::VERSION,
            keys: keys(count),
            recovery_commitment: None,
            modifier: [0; 16],
        };
        let mut raw = LogEntry::Inception(inception).encode();
        raw.resize(raw.len() + tail + 64, 0);
        raw
    };
    assert!(SignedEntry::decode(&raw(MAX_LOG_KEYS, 0)).is_ok());
    let many = raw(MAX_LOG_KEYS + 1, 0);
    assert_eq!(
        SignedEntry::decode(&many),
        Err(DecodeError::Range("log entry keys"))
    );
    let rest = MAX_LOG_ENTRY - raw(0, 0).len();
    assert!(SignedEntry::decode(&raw(0, rest)).is_ok());
    let long = raw(0, rest + 1);
    assert_eq!(
        SignedEntry::decode(&long),
        Err(DecodeError::Range("log entry length"))
    );
    let mut later = raw(0, 0);
    later[0] = 2;
    assert_eq!(
        SignedEntry::decode(&later),
        Err(DecodeError::UnknownType(2))
    );
}

#[test]
fn an_envelope_is_bounded_and_for_one_type() {
    let head = EnvelopeHead {
        agent: AgentId::new([1; 32]),
        generation: 0,
        sequence: 0,
        serial: 1,
        issued: UnixTime::from_secs(1),
        not_after: UnixTime::from_secs(2),
    };
    let raw = SignedBytes::to_sign(&head, &NetworkConfig { work_bits: 20 });
    let mut long = raw.clone();
    long.resize(MAX_ENVELOPE - 64, 0);
    assert!(SignedBytes::new(long.clone(), &[0; 64]).envelope().is_ok());
    long.push(0);
    let long = SignedBytes::new(long, &[0; 64]);
    assert_eq!(long.envelope(), Err(DecodeError::Range("envelope length")));
    let raw = SignedBytes::new(raw, &[0; 64]);
    let other = raw.envelope().unwrap().statement::<Locator>();
    assert_eq!(other, Err(DecodeError::Malformed("context")));
}

#[test]
fn a_stream_header_that_no_more_bytes_make_valid_is_refused() {
    assert_eq!(StreamHeader::decode(&[]), Ok(None));
    assert_eq!(StreamHeader::decode(&[0x40]), Ok(None));
    let long = [
        0x40 | (((MAX_STREAM_HEADER + 1) >> 8) as u8),
        (MAX_STREAM_HEADER + 1) as u8,
    ];
    assert_eq!(
        StreamHeader::decode(&long),
        Err(DecodeError::Range("stream header length"))
    );
    assert_eq!(
        StreamHeader::decode(&[3, 0, 1, 0]),
        Err(DecodeError::Truncated)
    );
    let reserved = [8, 0, 1, 0, 2, 0, 0xFF, 0xFF, 0];
    assert_eq!(
        StreamHeader::decode(&reserved),
        Err(DecodeError::Range("network"))
    );
    let later = [10, 0, 1, 0, 2, 0x80, 0, 0, 0, 0xAA, 0xBB];
    let expected = StreamHeader::new(Port::new(1), Port::new(2));
    assert_eq!(
        StreamHeader::decode(&later),
        Ok(Some((expected, 11))),
        "unknown flags and bytes are passed over"
    );
    let mut metadata = StreamHeader::new(Port::new(1), Port::new(2));
    metadata.metadata = vec![0; MAX_STREAM_METADATA + 1];
    assert_eq!(
        StreamHeader::decode(&metadata.encode()),
        Err(DecodeError::Range("stream metadata"))
    );
}

#[test]
fn codes_have_names_and_unknown_ones_are_kept() {
    assert_eq!(ErrorCode::NOT_TRUSTED.to_string(), "not_trusted");
    let later = ErrorCode::from_u64(0x1234);
    assert_eq!((later.name(), later.to_u64()), ("unknown", 0x1234));
    assert_eq!(later.to_string(), "code 0x1234");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn hellos(hello in hello(), answer in answer()) {
        check(&hello, &hello.encode(), Hello::decode);
        check_answer(&answer);
    }

    #[test]
    fn statements(head in head(), record in record(), grant in grant(), knock in knock(), work_bits: u8) {
        check_record(&head, &record);
        check_plain_statement(&head, &grant);
        check_plain_statement(&head, &knock);
        check_plain_statement(&head, &NetworkConfig { work_bits });
    }

    #[test]
    fn statements_of_groups(head in head(), group: [u8; 32], agent: [u8; 32], which in 0u8..3, token in proptest::option::of(bytes(64)), flag: bool) {
        let (group, member) = (GroupId::new(group), AgentId::new(agent));
        let role = [Role::Owner, Role::Admin, Role::Member][usize::from(which)];
        let join = [JoinRule::Open, JoinRule::Token, JoinRule::Invite][usize::from(which)];
        let cause = if flag { RemovalCause::Left } else { RemovalCause::Kicked };
        let name: Hostname = "trading".parse().unwrap();
        let invitation = flag.then(|| SignedBytes::from_bytes(vec![which; 100]));
        let ask = if which == 0 { GroupAsk::Leave } else { GroupAsk::Join { token, invitation } };
        check_plain_statement(&head, &Membership { group, member, role });
        check_plain_statement(&head, &Removal { group, member, cause });
        check_plain_statement(&head, &Invitation { group, invitee: member, name: name.clone() });
        check_plain_statement(&head, &GroupRequest { group, ask });
        let policy = GroupPolicy {
            group, name, join, token_key: flag.then_some(agent), auto_trust: flag,
            scope: Scope::default_scope(), speakers: Speakers::Admins, mailbox: flag,
        };
        check_statement(&head, &policy);
        let encoded = encode_postcard(&policy);
        let earlier = GroupPolicy { mailbox: false, ..policy.clone() };
        let later = [&encoded[..], &[9]].concat();
        prop_assert_eq!(GroupPolicy::decode_body(&later), Ok(policy));
        for len in 0..encoded.len() {
            let decoded = GroupPolicy::decode_body(&encoded[..len]);
            prop_assert_eq!(decoded.ok(), (len == encoded.len() - 1).then(|| earlier.clone()));
        }
    }

    #[test]
    fn statements_with_addresses(head in head(), endpoints in endpoints(), boot_counter: u64, entries in proptest::collection::vec(bytes(40), 0..3), rendezvous: Option<String>, secret: [u8; 16]) {
        check_plain_statement(&head, &Locator { boot_counter, reflexive: endpoints.clone() });
        let ticket = TicketBody { entries, endpoints, rendezvous, secret };
        let encoded = encode_postcard(&ticket);
        let decoded = decode_postcard::<TicketBody>(&encoded, "ticket");
        prop_assert!(decoded.as_ref() == Ok(&ticket));
        for len in 0..encoded.len() {
            prop_assert!(decode_postcard::<TicketBody>(&encoded[..len], "ticket").is_err());
        }
    }

    #[test]
    fn messages(message in message(), why in ".{0,30}") {
        check(&message, &encode_postcard(&message), |bytes| decode_postcard(bytes, "message"));
        for ack in [MessageAck::Stored, MessageAck::Duplicate, MessageAck::Refused(why.clone())] {
            check(&ack, &encode_postcard(&ack), |bytes| decode_postcard(bytes, "ack"));
        }
        prop_assert_eq!(message.id.to_string().parse::<MessageId>(), Ok(message.id));
    }

    #[test]
    fn stream_headers(header in stream_header()) {
        let encoded = header.encode();
        let len = encoded.len();
        prop_assert!(len <= MAX_STREAM_HEADER + 2);
        prop_assert_eq!(StreamHeader::decode(&encoded), Ok(Some((header.clone(), len))));
        let with_data = [&*encoded, b"data"].concat();
        prop_assert_eq!(StreamHeader::decode(&with_data), Ok(Some((header, len))));
        for len in 0..len {
            prop_assert_eq!(StreamHeader::decode(&encoded[..len]), Ok(None));
        }
        let mut changed = encoded;
        for at in 0..changed.len() {
            changed[at] ^= 0xFF;
            fuzz::headers(&changed);
            changed[at] ^= 0xFF;
        }
    }

    #[test]
    fn log_entries(entry in signed_entry(), mask in 1u8..) {
        let (entry, encoded, raw) = entry;
        let decoded = SignedEntry::decode(&raw).unwrap();
        prop_assert_eq!(&decoded.entry, &entry);
        prop_assert_eq!(decoded.encoded, &raw[..encoded]);
        let signatures = match decoded.signatures {
            EntrySignatures::Own(own) => own.to_vec(),
            EntrySignatures::Rotation { authority, possession } => [&authority[..], possession].concat(),
        };
        prop_assert_eq!(&signatures[..], &raw[encoded..]);
        for len in 0..raw.len() {
            fuzz::identity(&raw[..len]);
            let mut changed = raw.clone();
            changed[len] ^= mask;
            fuzz::identity(&changed);
        }
    }

    #[test]
    fn arbitrary_bytes_are_read_without_a_panic(data in bytes(300), first in prop::sample::select(vec![0u8, 1, 0x80, 0x81, 0x84, 0x85, 0xC0])) {
        let with_first = [&[first][..], &data].concat();
        for data in [&data, &with_first] {
            fuzz::headers(data);
            fuzz::identity(data);
        }
    }
}
