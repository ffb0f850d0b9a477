//! Any value of each format.

use std::net::SocketAddr;

use pilot_types::{AgentId, BootId, Hostname, NetworkId, NodeId, Port, Tag, UnixTime};
use pilot_wire::limits::{MAX_HELLO_ENTRIES, MAX_LOG_ENTRY, MAX_STREAM_METADATA};
use pilot_wire::{
    Authority, Capability, EnvelopeHead, Grant, Hello, HelloAnswer, Inception, KeyStanding, Knock,
    KnockTarget, LogEntry, LogKey, Message, MessageId, MessageType, PortRange, Prekey, Realm,
    Record, Rotation, Scope, StreamHeader, TraceParent, TransportParams, Visibility,
};
use proptest::prelude::*;

pub(crate) fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..max)
}

pub(crate) fn agent() -> impl Strategy<Value = AgentId> {
    any::<[u8; 32]>().prop_map(AgentId::new)
}

pub(crate) fn hostname() -> impl Strategy<Value = Option<Hostname>> {
    proptest::option::of("[a-z][a-z0-9-]{0,20}".prop_map(|text| text.parse().unwrap()))
}

pub(crate) fn endpoints() -> impl Strategy<Value = Vec<SocketAddr>> {
    let v4 = any::<([u8; 4], u16)>().prop_map(SocketAddr::from);
    let v6 = any::<([u8; 16], u16)>().prop_map(SocketAddr::from);
    proptest::collection::vec(prop_oneof![v4, v6], 0..4)
}

pub(crate) fn trace() -> impl Strategy<Value = Option<TraceParent>> {
    let trace = (1u128.., 1u64.., any::<u8>()).prop_map(|(trace, parent, flags)| TraceParent {
        trace_id: trace.to_be_bytes(),
        parent_id: parent.to_be_bytes(),
        flags,
    });
    proptest::option::of(trace)
}

pub(crate) fn params() -> impl Strategy<Value = TransportParams> {
    any::<[u64; 6]>().prop_map(|values| TransportParams {
        max_data: values[0],
        max_stream_data: values[1],
        max_streams: values[2],
        max_datagram: values[3],
        idle_timeout_ms: values[4],
        max_ack_delay_us: values[5],
    })
}

pub(crate) fn hello() -> impl Strategy<Value = Hello> {
    let entries = proptest::collection::vec(bytes(MAX_LOG_ENTRY), 0..=MAX_HELLO_ENTRIES);
    let key = (agent(), any::<u32>(), any::<u32>(), any::<[u8; 32]>());
    let rest = (
        any::<[u8; 16]>(),
        any::<u64>(),
        params(),
        bytes(5),
        any::<Option<[u8; 16]>>(),
    );
    (key, entries, rest).prop_map(|(key, entries, rest)| Hello {
        agent: key.0,
        generation: key.1,
        sequence: key.2,
        head: key.3,
        entries,
        boot: BootId::new(rest.0),
        freshness: rest.1,
        params: rest.2,
        versions: rest.3,
        ticket: rest.4,
    })
}

pub(crate) fn answer() -> impl Strategy<Value = HelloAnswer> {
    let key = (any::<u32>(), any::<u32>(), any::<[u8; 32]>());
    let rest = (any::<[u8; 16]>(), params(), bytes(5), any::<u8>());
    (key, rest).prop_map(|(key, (boot, params, versions, standing))| HelloAnswer {
        generation: key.0,
        sequence: key.1,
        head: key.2,
        boot: BootId::new(boot),
        params,
        versions,
        standing: KeyStanding(standing),
    })
}

pub(crate) fn scope() -> impl Strategy<Value = Scope> {
    let range = any::<(u16, u16)>().prop_map(|(a, b)| PortRange {
        first: Port::new(a.min(b)),
        last: Port::new(a.max(b)),
    });
    let ports = proptest::collection::vec(range, 0..4);
    (ports, any::<bool>(), any::<u64>(), any::<u32>()).prop_map(
        |(ports, is_reply_only, max_size, rate)| Scope {
            ports,
            is_reply_only,
            max_size,
            rate,
        },
    )
}

pub(crate) fn grant() -> impl Strategy<Value = Grant> {
    (agent(), scope(), any::<Option<[u8; 32]>>(), any::<u8>()).prop_map(
        |(grantee, scope, parent, depth)| Grant {
            grantee,
            scope,
            parent,
            depth,
        },
    )
}

pub(crate) fn target() -> impl Strategy<Value = KnockTarget> {
    prop_oneof![
        (0u64..1 << 48).prop_map(|node| KnockTarget::Node(NodeId::new(node).unwrap())),
        "[a-z]{1,9}".prop_map(|text| KnockTarget::Hostname(text.parse().unwrap())),
        agent().prop_map(KnockTarget::Agent),
    ]
}

pub(crate) fn knock() -> impl Strategy<Value = Knock> {
    (target(), ".{0,40}", hostname()).prop_map(|(target, justification, hostname)| Knock {
        target,
        justification,
        hostname,
    })
}

pub(crate) fn record() -> impl Strategy<Value = Record> {
    let tags = proptest::collection::vec(
        "[a-z0-9-]{1,8}".prop_map(|t| t.parse::<Tag>().unwrap()),
        0..4,
    );
    let schema = || proptest::option::of(".{0,9}");
    let capability = (".{0,9}", ".{0,9}", ".{0,9}", schema(), schema()).prop_map(
        |(name, version, description, input, output)| Capability {
            name,
            version,
            description,
            input,
            output,
        },
    );
    let capabilities = proptest::collection::vec(capability, 0..3);
    let visibility = prop_oneof![Just(Visibility::Trusted), Just(Visibility::Public)];
    let prekey = any::<(bool, [u8; 32], u64)>().prop_map(|(is_some, public, ends)| {
        is_some.then_some(Prekey {
            public,
            not_after: UnixTime::from_millis(ends),
        })
    });
    let flags = (visibility, any::<bool>());
    (hostname(), tags, capabilities, flags, prekey).prop_map(
        |(hostname, tags, capabilities, (visibility, auto_approves), prekey)| Record {
            hostname,
            tags,
            capabilities,
            visibility,
            auto_approves,
            prekey,
        },
    )
}

pub(crate) fn log_keys() -> impl Strategy<Value = Vec<LogKey>> {
    let key = (any::<u16>(), bytes(40)).prop_map(|(algorithm, bytes)| LogKey { algorithm, bytes });
    proptest::collection::vec(key, 0..3)
}

/// An entry with any 64 or 128 bytes where its signatures stand, and bytes of a later version before them.
pub(crate) fn signed_entry() -> impl Strategy<Value = (LogEntry, usize, Vec<u8>)> {
    let inception = (log_keys(), any::<Option<[u8; 32]>>(), any::<[u8; 16]>()).prop_map(
        |(keys, recovery_commitment, modifier)| {
            LogEntry::Inception(Inception {
                version: Inception::VERSION,
                keys,
                recovery_commitment,
                modifier,
            })
        },
    );
    let authority = prop_oneof![
        Just(Authority::Current),
        any::<[u8; 32]>().prop_map(Authority::Recovery),
    ];
    let place = (
        agent(),
        any::<u32>(),
        any::<u32>(),
        any::<[u8; 32]>(),
        any::<u64>(),
    );
    let rotation = (place, log_keys(), any::<Option<[u8; 32]>>(), authority).prop_map(
        |(place, keys, recovery_commitment, authority)| {
            LogEntry::Rotation(Rotation {
                agent: place.0,
                generation: place.1,
                sequence: place.2,
                previous: place.3,
                keys,
                recovery_commitment,
                issued: UnixTime::from_millis(place.4),
                authority,
            })
        },
    );
    (prop_oneof![inception, rotation], bytes(9), any::<u8>()).prop_map(|(entry, tail, fill)| {
        let signatures = if matches!(entry, LogEntry::Inception(_)) {
            64
        } else {
            128
        };
        let mut raw = entry.encode();
        raw.extend_from_slice(&tail);
        let encoded = raw.len();
        raw.resize(encoded + signatures, fill);
        (entry, encoded, raw)
    })
}

pub(crate) fn stream_header() -> impl Strategy<Value = StreamHeader> {
    let realm = prop_oneof![
        (0u16..65535).prop_map(|n| Realm::Network(NetworkId::new(n).unwrap())),
        any::<[u8; 32]>().prop_map(Realm::Group),
    ];
    let ports = any::<(u16, u16)>();
    (ports, realm, trace(), bytes(MAX_STREAM_METADATA)).prop_map(
        |(ports, realm, trace, metadata)| StreamHeader {
            source: Port::new(ports.0),
            destination: Port::new(ports.1),
            realm,
            trace,
            metadata,
        },
    )
}

pub(crate) fn head() -> impl Strategy<Value = EnvelopeHead> {
    (agent(), any::<(u32, u32, u64, u64, u64)>()).prop_map(|(agent, numbers)| EnvelopeHead {
        agent,
        generation: numbers.0,
        sequence: numbers.1,
        serial: numbers.2,
        issued: UnixTime::from_millis(numbers.3),
        not_after: UnixTime::from_millis(numbers.4),
    })
}

pub(crate) fn message() -> impl Strategy<Value = Message> {
    let id = || any::<[u8; 16]>().prop_map(MessageId::new);
    let kind = prop_oneof![
        Just(MessageType::Text),
        Just(MessageType::Json),
        Just(MessageType::Binary)
    ];
    (
        id(),
        kind,
        any::<u64>(),
        proptest::option::of(id()),
        trace(),
    )
        .prop_map(|(id, kind, len, reply_to, trace)| Message {
            id,
            kind,
            len,
            reply_to,
            trace,
        })
}
