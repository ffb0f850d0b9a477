//! Fuzz body: a function, so that the stable test run replays the committed corpus.
//!
//! Input: a byte of who asks, then a request; an agent whose statements any signature opens stands behind each number.

use std::sync::Arc;

use pilot_types::{AgentId, Seed, UnixTime};
use pilot_wire::{EnvelopeHead, SignedBytes};

use crate::{
    Config, LogFacts, MemoryStore, Push, PushAck, Request, Response, SearchQuery, Service, Verify,
};

/// Takes everything for genuine: what a log says of the agent is its first 32 bytes.
#[derive(Debug)]
struct Credulous;

impl Verify for Credulous {
    fn log(&self, entries: &[Vec<u8>]) -> Result<LogFacts, String> {
        let first = entries.first().and_then(|entry| entry.first_chunk());
        let agent = *first.ok_or("shorter than an id")?;
        Ok(LogFacts {
            agent: AgentId::new(agent),
            sign_key: agent,
            generation: 0,
            sequence: u32::try_from(entries.len()).unwrap_or(u32::MAX),
            head: agent,
        })
    }

    fn follows(&self, _: &[Vec<u8>], _: &[Vec<u8>]) -> bool {
        true
    }

    fn signed(
        &self,
        _: &[Vec<u8>],
        raw: &SignedBytes,
        _: UnixTime,
    ) -> Result<EnvelopeHead, String> {
        let envelope = raw.envelope().map_err(|error| error.to_string())?;
        Ok(envelope.head)
    }
}

/// No bytes make decoders or the service panic; what decodes is written and read back the same; pushes drain.
pub fn messages(data: &[u8]) {
    round_trip(Response::decode(data), Response::encode, Response::decode);
    round_trip(Push::decode(data), Push::encode, Push::decode);
    round_trip(PushAck::decode(data), PushAck::encode, PushAck::decode);
    let Some((who, bytes)) = data.split_first() else {
        return;
    };
    let Ok(request) = Request::decode(bytes) else {
        return;
    };
    round_trip(Ok(request.clone()), Request::encode, Request::decode);
    serve(AgentId::new([*who; 32]), request);
}

fn round_trip<T: PartialEq + std::fmt::Debug, E: std::fmt::Debug + PartialEq>(
    decoded: Result<T, E>,
    encode: fn(&T) -> Vec<u8>,
    decode: fn(&[u8]) -> Result<T, E>,
) {
    if let Ok(value) = decoded {
        assert_eq!(decode(&encode(&value)), Ok(value), "decode after encode");
    }
}

fn serve(from: AgentId, request: Request) {
    let now = UnixTime::from_secs(1_767_225_600);
    let config = Arc::new(Config::default());
    let mut service = Service::new(config, MemoryStore::new(), Credulous, Seed::new([1; 32]));
    service.session_opened(now, from, ([192, 0, 2, 1], 4000).into());
    let first = service.handle_request(now, from, request.clone());
    assert_eq!(
        Response::decode(&first.encode()).as_ref(),
        Ok(&first),
        "our own answer decodes"
    );
    service.handle_request(now, from, request);
    let everything = SearchQuery {
        limit: u32::MAX,
        ..SearchQuery::default()
    };
    let found = service.handle_request(now, from, Request::Search { query: everything });
    let Response::SearchResults { entries, total, .. } = found else {
        unreachable!("a small store is searched at once");
    };
    let registered = service.stats().registered;
    assert_eq!(
        (entries.len() as u64, total),
        (registered, registered),
        "the only agent finds itself"
    );
    while let Some(push) = service.poll_push() {
        service.push_acked(now, &push.to, push.id);
    }
    service.handle_time(UnixTime::FAR_FUTURE);
    assert_eq!(service.stats().registered, 0, "every record ends");
}
