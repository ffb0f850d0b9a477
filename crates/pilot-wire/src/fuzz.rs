//! Fuzz bodies: functions, so that the stable test run replays the committed corpus.

use crate::limits::MAX_CANDIDATES;
use crate::{
    Candidates, DatagramHeader, EntrySignatures, EventAnswer, EventFrame, EventRequest, FileAnswer,
    FileHead, FileVerdict, Forwards, Frame, Frames, Hello, HelloAnswer, KeepAlive, KeyAnswer,
    KeyQuery, LetterBox, LogEntry, ObservedAddress, RelayFrame, SignedBytes, SignedEntry,
    StreamHeader, decode_data_header, decode_handshake_header, decode_postcard, encode_postcard,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Frames decode, encode and decode to the same.
///
/// # Panics
/// If they do not.
pub fn frames(data: &[u8]) {
    let decoded: Vec<Frame<'_>> = Frames::new(data).map_while(Result::ok).collect();
    let mut encoded = vec![];
    for frame in &decoded {
        frame.encode(&mut encoded);
    }
    let again: Result<Vec<Frame<'_>>, _> = Frames::new(&encoded).collect();
    assert_eq!(again.expect("our own encoding decodes"), decoded);
}

/// Entries of an identity log decode, encode and decode to the same, but for bytes that later versions add.
///
/// # Panics
/// If they do not.
pub fn identity(data: &[u8]) {
    let Ok(decoded) = SignedEntry::decode(data) else {
        return;
    };
    let again = decoded.entry.encode();
    assert_eq!(
        decode_postcard::<LogEntry>(&again, "log entry").as_ref(),
        Ok(&decoded.entry)
    );
    let covered = data.len() - decoded.encoded.len();
    match decoded.signatures {
        EntrySignatures::Own(_) => assert_eq!(covered, SignedBytes::SIGNATURE),
        EntrySignatures::Rotation { .. } => assert_eq!(covered, 2 * SignedBytes::SIGNATURE),
    }
}

/// No header, hello, envelope, list of candidates, relay frame, stream or datagram header panics; all after the
/// envelope decode, encode and decode to the same.
pub fn headers(data: &[u8]) {
    let _ = decode_data_header(data);
    let _ = decode_handshake_header(data);
    let _ = KeyQuery::decode(data);
    let _ = KeyAnswer::decode(data);
    let _ = Hello::decode(data);
    let _ = HelloAnswer::decode(data);
    let _ = SignedBytes::from_bytes(data.to_vec()).envelope();
    paths(data);
    if let Ok((header, rest)) = DatagramHeader::decode(data) {
        let encoded = header.encode(rest);
        assert_eq!(DatagramHeader::decode(&encoded), Ok((header, rest)));
    }
    if let Ok(Some((header, len))) = StreamHeader::decode(data) {
        assert!(len <= data.len());
        let encoded = header.encode();
        assert_eq!(
            StreamHeader::decode(&encoded),
            Ok(Some((header, encoded.len())))
        );
    }
}

fn paths(data: &[u8]) {
    if let Some(body) = round_trip::<Candidates>(data) {
        assert!(body.candidates.len() <= MAX_CANDIDATES);
    }
    round_trip::<ObservedAddress>(data);
    round_trip::<Forwards>(data);
    round_trip::<KeepAlive>(data);
    if let Ok(frame) = RelayFrame::decode(data) {
        let mut head = [0; RelayFrame::HEAD];
        RelayFrame::write_head(&mut head, frame.channel);
        assert_eq!([&head, frame.payload].concat(), data);
    }
}

/// What a file's transfer says, and what is sealed in a letter, decodes, encodes and decodes to the same; names stay in their directory.
///
/// # Panics
/// If they do not.
pub fn files(data: &[u8]) {
    if let Some(head) = round_trip::<FileHead>(data) {
        for n in [0, 1, u32::MAX] {
            let (directories, _) = head.name.split();
            let path = std::path::Path::new("dir").join(head.name.numbered(n).as_str());
            let is_name =
                |it: std::path::Component<'_>| matches!(it, std::path::Component::Normal(_));
            assert!(path.starts_with("dir") && path.components().all(is_name));
            assert_eq!(path.components().count(), 2 + directories.len());
        }
    }
    round_trip::<LetterBox>(data);
    round_trip::<FileAnswer>(data);
    round_trip::<FileVerdict>(data);
}

/// What the event stream says decodes, encodes and decodes to the same; a topic as a filter matches itself.
///
/// # Panics
/// If they do not.
pub fn events(data: &[u8]) {
    round_trip::<EventRequest>(data);
    round_trip::<EventAnswer>(data);
    if let Some(EventFrame::Event { topic, .. }) = round_trip::<EventFrame>(data) {
        let filter: crate::TopicFilter = topic.as_str().parse().expect("a topic is a filter");
        assert!(filter.matches(&topic));
    }
}

fn round_trip<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(
    data: &[u8],
) -> Option<T> {
    let decoded: T = decode_postcard(data, "fuzz").ok()?;
    let again: Result<T, _> = decode_postcard(&encode_postcard(&decoded), "fuzz");
    assert_eq!(again.as_ref(), Ok(&decoded));
    Some(decoded)
}
