//! Packet headers and the table of first bytes (`docs/wire.md` §2, §3).

use crate::cursor::{DecodeError, Reader};
use crate::limits::{BASE_DATAGRAM, MACS};

/// The one protocol version.
pub const VERSION: u8 = 1;

/// STUN's magic cookie (RFC 8489 §5), at bytes 4–7.
const STUN_COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];
const STUN_HEADER: usize = 20;

/// What a datagram is, by its first byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PacketKind {
    /// STUN (RFC 8489): 0x00–0x03 and the magic cookie.
    Stun,
    /// Relay channel data: 0x40–0x4F.
    Relay,
    /// First handshake message: 0x80.
    Initiation,
    /// Second handshake message: 0x81.
    Response,
    /// Cookie under load: 0x82.
    Cookie,
    /// Versions that the responder speaks: 0x83.
    VersionList,
    /// Asks a rendezvous for its key: 0x84.
    KeyQuery,
    /// The rendezvous' identity log and network configuration: 0x85.
    KeyAnswer,
    /// Sealed data: 0xC0–0xFF.
    Data,
}

impl PacketKind {
    /// By the table of first bytes; `None` for what no layer takes.
    #[must_use]
    pub fn of(datagram: &[u8]) -> Option<Self> {
        match *datagram.first()? {
            0x00..=0x03 if datagram.len() >= STUN_HEADER && datagram[4..8] == STUN_COOKIE => {
                Some(Self::Stun)
            }
            0x40..=0x4F => Some(Self::Relay),
            0x80 => Some(Self::Initiation),
            0x81 => Some(Self::Response),
            0x82 => Some(Self::Cookie),
            0x83 => Some(Self::VersionList),
            0x84 => Some(Self::KeyQuery),
            0x85 => Some(Self::KeyAnswer),
            0xC0..=0xFF => Some(Self::Data),
            _ => None,
        }
    }

    /// Whether it is between the two ends of a session: a handshake or data.
    #[must_use]
    pub const fn is_of_session(self) -> bool {
        match self {
            Self::Initiation | Self::Response | Self::Cookie | Self::VersionList | Self::Data => {
                true
            }
            Self::Stun | Self::Relay | Self::KeyQuery | Self::KeyAnswer => false,
        }
    }
}

/// Clear header of a data packet, bytes 0–8.
///
/// `| 1: 0b11, 6 flag bits (masked) | 4: receiver index | 4: low packet number (masked) |`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DataHeader {
    /// Six flag bits; all are reserved, sent as 0 and ignored.
    pub flags: u8,
    /// Chosen by the receiver.
    pub receiver: u32,
    /// Low 32 bits of the packet number.
    pub low_number: u32,
}

impl DataHeader {
    /// First byte without flags.
    pub const FIRST_BYTE: u8 = 0xC0;
    /// The bits of the first byte that are masked.
    pub const FLAG_MASK: u8 = 0x3F;

    /// The nine bytes, unmasked.
    #[must_use]
    pub fn encode(&self) -> [u8; 9] {
        let mut bytes = [0; 9];
        bytes[0] = Self::FIRST_BYTE | (self.flags & Self::FLAG_MASK);
        bytes[1..5].copy_from_slice(&self.receiver.to_be_bytes());
        bytes[5..].copy_from_slice(&self.low_number.to_be_bytes());
        bytes
    }
}

/// Reads the header of a data packet; flags and packet number may still be masked.
///
/// # Errors
/// [`DecodeError`] if the packet is shorter than a header and a tag, or of another kind.
pub fn decode_data_header(packet: &[u8]) -> Result<DataHeader, DecodeError> {
    let mut reader = Reader::new(packet);
    let first = reader.u8()?;
    if first & DataHeader::FIRST_BYTE != DataHeader::FIRST_BYTE {
        return Err(DecodeError::UnknownType(first.into()));
    }
    let header = DataHeader {
        flags: first & DataHeader::FLAG_MASK,
        receiver: reader.u32()?,
        low_number: reader.u32()?,
    };
    if reader.rest().len() < crate::limits::TAG {
        return Err(DecodeError::Truncated);
    }
    Ok(header)
}

/// Clear header of a handshake packet.
///
/// `| 1: type | 1: version | 4: sender index | 4: receiver index (all but initiations) | body … | 16: mac1 | 16: mac2 |`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HandshakeHeader {
    /// Initiation, response, cookie or version list.
    pub kind: PacketKind,
    /// The packet's version; the layout of this header is the same in every version.
    pub version: u8,
    /// Chosen by the sender for packets to it.
    pub sender: u32,
    /// The index that the receiver chose in the packet that this one answers; 0 in an initiation.
    pub receiver: u32,
}

impl HandshakeHeader {
    /// Bytes of an initiation's header.
    pub const INITIATION_LEN: usize = 6;
    /// Bytes of any other handshake header.
    pub const ANSWER_LEN: usize = 10;

    /// Bytes of this header.
    #[must_use]
    pub const fn encoded_len(&self) -> usize {
        if matches!(self.kind, PacketKind::Initiation) {
            Self::INITIATION_LEN
        } else {
            Self::ANSWER_LEN
        }
    }

    /// Appends the header.
    ///
    /// # Panics
    /// If `kind` is not that of a handshake packet.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let first = match self.kind {
            PacketKind::Initiation => 0x80,
            PacketKind::Response => 0x81,
            PacketKind::Cookie => 0x82,
            PacketKind::VersionList => 0x83,
            PacketKind::Stun
            | PacketKind::Relay
            | PacketKind::KeyQuery
            | PacketKind::KeyAnswer
            | PacketKind::Data => {
                panic!("not a handshake packet")
            }
        };
        out.extend_from_slice(&[first, self.version]);
        out.extend_from_slice(&self.sender.to_be_bytes());
        if self.kind != PacketKind::Initiation {
            out.extend_from_slice(&self.receiver.to_be_bytes());
        }
    }
}

/// Reads a handshake header; gives it and the body between it and the two macs.
///
/// The version is not judged here: a version list answers one that is not ours.
///
/// # Errors
/// [`DecodeError`] if the packet is too short or of another kind.
pub fn decode_handshake_header(packet: &[u8]) -> Result<(HandshakeHeader, &[u8]), DecodeError> {
    let Some(
        kind @ (PacketKind::Initiation
        | PacketKind::Response
        | PacketKind::Cookie
        | PacketKind::VersionList),
    ) = PacketKind::of(packet)
    else {
        let first = packet.first().copied().unwrap_or_default();
        return Err(DecodeError::UnknownType(first.into()));
    };
    let mut reader = Reader::new(packet);
    reader.u8()?;
    let (version, sender) = (reader.u8()?, reader.u32()?);
    let receiver = if kind == PacketKind::Initiation {
        0
    } else {
        reader.u32()?
    };
    let body = reader
        .rest()
        .len()
        .checked_sub(MACS)
        .ok_or(DecodeError::Truncated)?;
    Ok((
        HandshakeHeader {
            kind,
            version,
            sender,
            receiver,
        },
        reader.bytes(body)?,
    ))
}

/// Asks whoever listens at an address for the key of the rendezvous there.
///
/// `| 1: 0x84 | 1: version | 4: sender index | 16: token | zeros to 1200 bytes |`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyQuery {
    /// Comes back as the answer's receiver index.
    pub sender: u32,
    /// Random; comes back, so that only who saw the query can answer.
    pub token: [u8; 16],
}

impl KeyQuery {
    /// The padded packet.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut packet = vec![0x84, VERSION];
        packet.extend_from_slice(&self.sender.to_be_bytes());
        packet.extend_from_slice(&self.token);
        packet.resize(BASE_DATAGRAM, 0);
        packet
    }

    /// Reads a query.
    ///
    /// # Errors
    /// [`DecodeError`] if it is of another kind or version, or not padded: an answer must never be longer than it.
    pub fn decode(packet: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(packet);
        let query = Self {
            sender: read_key_head(&mut reader, 0x84)?,
            token: reader.array()?,
        };
        if packet.len() < BASE_DATAGRAM {
            return Err(DecodeError::Truncated);
        }
        Ok(query)
    }
}

/// Answers a [`KeyQuery`].
///
/// `| 1: 0x85 | 1: version | 4: 0 | 4: receiver index | 16: token | body … |`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyAnswer<'a> {
    /// The query's sender index.
    pub receiver: u32,
    /// The query's token.
    pub token: [u8; 16],
    /// Postcard: the identity log's entries and the signed network configuration.
    pub body: &'a [u8],
}

impl<'a> KeyAnswer<'a> {
    /// The packet; `None` if it would be longer than a query.
    #[must_use]
    pub fn encode(&self) -> Option<Vec<u8>> {
        let mut packet = vec![0x85, VERSION, 0, 0, 0, 0];
        packet.extend_from_slice(&self.receiver.to_be_bytes());
        packet.extend_from_slice(&self.token);
        packet.extend_from_slice(self.body);
        (packet.len() <= BASE_DATAGRAM).then_some(packet)
    }

    /// Reads an answer.
    ///
    /// # Errors
    /// [`DecodeError`] if it is of another kind or version, or too short.
    pub fn decode(packet: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(packet);
        read_key_head(&mut reader, 0x85)?;
        Ok(Self {
            receiver: reader.u32()?,
            token: reader.array()?,
            body: reader.rest(),
        })
    }
}

fn read_key_head(reader: &mut Reader<'_>, kind: u8) -> Result<u32, DecodeError> {
    let (first, version) = (reader.u8()?, reader.u8()?);
    if first != kind {
        return Err(DecodeError::UnknownType(first.into()));
    }
    if version != VERSION {
        return Err(DecodeError::Version(version));
    }
    reader.u32()
}
