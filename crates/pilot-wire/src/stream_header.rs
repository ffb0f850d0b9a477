//! The first bytes of every stream (`docs/wire.md` §5).

use pilot_types::{NetworkId, Port};

use crate::cursor::{DecodeError, Reader};
use crate::limits::{MAX_STREAM_HEADER, MAX_STREAM_METADATA};
use crate::traceparent::TraceParent;
use crate::varint::put_varint;

const HAS_GROUP: u8 = 0x01;
const HAS_TRACE: u8 = 0x02;

/// On whose behalf a stream is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Realm {
    /// A network by its local number; 0 is the backbone.
    Network(NetworkId),
    /// A group by the hash of its inception.
    Group([u8; 32]),
}

/// What the opener of a stream says before its data.
///
/// `| varint: length of the rest | 2: source port | 2: destination port | 1: flags | 2: network or 32: group | 25: traceparent (if flagged) | varint: length, metadata | unknown bytes |`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamHeader {
    /// The opener's port, ephemeral.
    pub source: Port,
    /// The port that is dialled.
    pub destination: Port,
    /// On whose behalf.
    pub realm: Realm,
    /// The application's trace.
    pub trace: Option<TraceParent>,
    /// At most [`MAX_STREAM_METADATA`] bytes for the service on the port.
    pub metadata: Vec<u8>,
}

impl StreamHeader {
    /// A header from and to ports of the backbone, with nothing else.
    #[must_use]
    pub const fn new(source: Port, destination: Port) -> Self {
        Self {
            source,
            destination,
            realm: Realm::Network(NetworkId::BACKBONE),
            trace: None,
            metadata: vec![],
        }
    }

    /// The bytes that start the stream.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut body = vec![];
        body.extend_from_slice(&self.source.to_u16().to_be_bytes());
        body.extend_from_slice(&self.destination.to_u16().to_be_bytes());
        let group = matches!(self.realm, Realm::Group(_));
        body.push(
            if group { HAS_GROUP } else { 0 } | if self.trace.is_some() { HAS_TRACE } else { 0 },
        );
        match &self.realm {
            Realm::Network(network) => body.extend_from_slice(&network.to_u16().to_be_bytes()),
            Realm::Group(group) => body.extend_from_slice(group),
        }
        if let Some(trace) = self.trace {
            body.extend_from_slice(&trace.to_bytes());
        }
        put_varint(&mut body, self.metadata.len() as u64);
        body.extend_from_slice(&self.metadata);
        let mut out = vec![];
        put_varint(&mut out, body.len() as u64);
        out.extend_from_slice(&body);
        out
    }

    /// Reads a header from the first bytes of a stream; gives it and its length, or `None` while bytes are missing.
    ///
    /// # Errors
    /// [`DecodeError`] if no bytes that follow could make it valid.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, DecodeError> {
        let mut reader = Reader::new(bytes);
        let Ok(len) = reader.varint() else {
            return Ok(None);
        };
        if len > MAX_STREAM_HEADER as u64 {
            return Err(DecodeError::Range("stream header length"));
        }
        let prefix = bytes.len() - reader.rest().len();
        let Ok(body) = reader.bytes(len as usize) else {
            return Ok(None);
        };
        Ok(Some((Self::decode_body(body)?, prefix + body.len())))
    }

    fn decode_body(body: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let (source, destination) = (Port::new(reader.u16()?), Port::new(reader.u16()?));
        let flags = reader.u8()?;
        let realm = if flags & HAS_GROUP != 0 {
            Realm::Group(reader.array()?)
        } else {
            Realm::Network(NetworkId::new(reader.u16()?).ok_or(DecodeError::Range("network"))?)
        };
        let trace = if flags & HAS_TRACE != 0 {
            TraceParent::from_bytes(reader.array()?)
        } else {
            None
        };
        let metadata = reader.prefixed()?;
        if metadata.len() > MAX_STREAM_METADATA {
            return Err(DecodeError::Range("stream metadata"));
        }
        Ok(Self {
            source,
            destination,
            realm,
            trace,
            metadata: metadata.to_vec(),
        })
    }
}
