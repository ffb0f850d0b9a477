//! Fuzz bodies: functions, so that the stable test run replays the committed corpus.

use crate::{
    DatagramHeader, EntrySignatures, Frame, Frames, Hello, HelloAnswer, KeyAnswer, KeyQuery,
    LogEntry, SignedBytes, SignedEntry, StreamHeader, decode_data_header, decode_handshake_header,
    decode_postcard,
};

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

/// No header, hello, envelope, stream or datagram header panics; the last two decode, encode and decode to the same.
pub fn headers(data: &[u8]) {
    let _ = decode_data_header(data);
    let _ = decode_handshake_header(data);
    let _ = KeyQuery::decode(data);
    let _ = KeyAnswer::decode(data);
    let _ = Hello::decode(data);
    let _ = HelloAnswer::decode(data);
    let _ = SignedBytes::from_bytes(data.to_vec()).envelope();
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
