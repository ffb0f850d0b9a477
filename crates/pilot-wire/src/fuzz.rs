//! Fuzz bodies: functions, so that the stable test run replays the committed corpus.

use crate::{
    Frame, Frames, Hello, HelloAnswer, KeyAnswer, KeyQuery, SignedBytes, StreamHeader,
    decode_data_header, decode_handshake_header,
};

/// Frames decode, encode and decode to the same.
pub fn frames(data: &[u8]) {
    let decoded: Vec<Frame<'_>> = Frames::new(data).map_while(Result::ok).collect();
    let mut encoded = vec![];
    for frame in &decoded {
        frame.encode(&mut encoded);
    }
    let again: Result<Vec<Frame<'_>>, _> = Frames::new(&encoded).collect();
    assert_eq!(
        again.expect("our own encoding decodes").len(),
        decoded.len()
    );
}

/// No header, hello, envelope or stream header panics.
pub fn headers(data: &[u8]) {
    let _ = decode_data_header(data);
    let _ = decode_handshake_header(data);
    let _ = KeyQuery::decode(data);
    let _ = KeyAnswer::decode(data);
    let _ = Hello::decode(data);
    let _ = HelloAnswer::decode(data);
    let _ = SignedBytes::from_bytes(data.to_vec()).envelope();
    if let Ok(Some((header, len))) = StreamHeader::decode(data) {
        assert!(len <= data.len());
        let encoded = header.encode();
        assert_eq!(
            StreamHeader::decode(&encoded),
            Ok(Some((header, encoded.len())))
        );
    }
}
