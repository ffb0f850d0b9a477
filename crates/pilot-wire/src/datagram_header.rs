//! The first bytes of every DATAGRAM frame's body (`docs/wire.md` §5).

use pilot_types::{NetworkId, Port};

use crate::cursor::{DecodeError, Reader};
use crate::stream_header::Realm;

const HAS_GROUP: u8 = 0x01;

/// Between which ports a datagram goes, and on whose behalf; its data follow at once, to the end of the body.
///
/// `| 2: source port | 2: destination port | 1: flags | 2: network or 32: group | data … |`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DatagramHeader {
    /// The sender's port.
    pub source: Port,
    /// The port that it is for.
    pub destination: Port,
    /// On whose behalf.
    pub realm: Realm,
}

impl DatagramHeader {
    /// Bytes of a header of the backbone.
    pub const LEN: usize = 7;

    /// A header from and to ports of the backbone.
    #[must_use]
    pub const fn new(source: Port, destination: Port) -> Self {
        Self {
            source,
            destination,
            realm: Realm::Network(NetworkId::BACKBONE),
        }
    }

    /// The body of a DATAGRAM frame.
    #[must_use]
    pub fn encode(&self, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::LEN + data.len());
        out.extend_from_slice(&self.source.to_u16().to_be_bytes());
        out.extend_from_slice(&self.destination.to_u16().to_be_bytes());
        match &self.realm {
            Realm::Network(network) => {
                out.push(0);
                out.extend_from_slice(&network.to_u16().to_be_bytes());
            }
            Realm::Group(group) => {
                out.push(HAS_GROUP);
                out.extend_from_slice(group);
            }
        }
        out.extend_from_slice(data);
        out
    }

    /// Reads a body: the header, and the data after it.
    ///
    /// # Errors
    /// [`DecodeError`] if the header is cut short or names a reserved network.
    pub fn decode(body: &[u8]) -> Result<(Self, &[u8]), DecodeError> {
        let mut reader = Reader::new(body);
        let (source, destination) = (Port::new(reader.u16()?), Port::new(reader.u16()?));
        let realm = if reader.u8()? & HAS_GROUP == 0 {
            Realm::Network(NetworkId::new(reader.u16()?).ok_or(DecodeError::Range("network"))?)
        } else {
            Realm::Group(reader.array()?)
        };
        let header = Self {
            source,
            destination,
            realm,
        };
        Ok((header, reader.rest()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_is_read_as_it_was_written() {
        let backbone = DatagramHeader::new(Port::new(50_000), Port::new(5000));
        let group = DatagramHeader {
            realm: Realm::Group([7; 32]),
            ..backbone
        };
        for header in [backbone, group] {
            let body = header.encode(b"data");
            assert_eq!(DatagramHeader::decode(&body), Ok((header, &b"data"[..])));
            let shortest = body.len() - 4;
            for cut in 0..shortest {
                assert!(DatagramHeader::decode(&body[..cut]).is_err(), "{cut}");
            }
            assert_eq!(
                DatagramHeader::decode(&body[..shortest]),
                Ok((header, &[][..]))
            );
        }
        assert_eq!(backbone.encode(b"").len(), DatagramHeader::LEN);
    }

    #[test]
    fn unknown_flags_are_ignored_and_the_reserved_network_is_refused() {
        let mut body = DatagramHeader::new(Port::ECHO, Port::ECHO).encode(b"x");
        body[4] = 0xFE;
        assert!(DatagramHeader::decode(&body).is_ok());
        body[5..7].copy_from_slice(&[0xFF, 0xFF]);
        assert!(DatagramHeader::decode(&body).is_err());
    }
}
