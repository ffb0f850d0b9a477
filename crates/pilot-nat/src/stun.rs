//! Binding requests and answers of STUN (RFC 8489): the part that tells an agent its reflexive address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use pilot_wire::{DecodeError, Reader};
use thiserror::Error;

/// RFC 8489 §5.
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];
/// RFC 8489 §5: class request, method binding.
const BINDING_REQUEST: u16 = 0x0001;
/// RFC 8489 §5: class success response, method binding.
const BINDING_SUCCESS: u16 = 0x0101;
/// RFC 5780 §7.2.
const CHANGE_REQUEST: u16 = 0x0003;
/// RFC 5780 §7.2: "change port".
const CHANGE_PORT: u32 = 0x2;
/// RFC 8489 §14.2.
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
/// RFC 8489 §14: types from here may be ignored when unknown.
const FIRST_OPTIONAL: u16 = 0x8000;
const FAMILY_V4: u8 = 1;
const FAMILY_V6: u8 = 2;

/// Why a datagram is not the STUN message that was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StunError {
    /// The bytes end inside a field, or the length field is wrong.
    #[error("truncated stun message")]
    Truncated(#[from] DecodeError),
    /// Another class or method, or no magic cookie.
    #[error("another stun message")]
    Unexpected,
    /// An attribute that must be understood is not.
    #[error("unknown required stun attribute {0:#06x}")]
    UnknownAttribute(u16),
    /// The answer names no address.
    #[error("stun answer without an address")]
    NoAddress,
}

/// Asks for the address that the server sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BindingRequest {
    /// Random; the answer repeats it.
    pub transaction: [u8; 12],
    /// Whether the answer is to come from another port than the one that was asked (RFC 5780 §7.2).
    pub change_port: bool,
}

/// The server's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BindingResponse {
    /// That of the request.
    pub transaction: [u8; 12],
    /// Source address of the request as the server saw it.
    pub mapped: SocketAddr,
}

impl BindingRequest {
    /// The datagram, 20 bytes, or 28 if the port is to change.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        if !self.change_port {
            return encode_header(BINDING_REQUEST, 0, &self.transaction);
        }
        let mut out = encode_header(BINDING_REQUEST, 8, &self.transaction);
        out.extend_from_slice(&CHANGE_REQUEST.to_be_bytes());
        out.extend_from_slice(&4_u16.to_be_bytes());
        out.extend_from_slice(&CHANGE_PORT.to_be_bytes());
        out
    }

    /// Reads a request; optional attributes are ignored.
    ///
    /// # Errors
    /// [`StunError`] for anything else.
    pub fn decode(datagram: &[u8]) -> Result<Self, StunError> {
        let (transaction, mut attributes) = decode_header(datagram, BINDING_REQUEST)?;
        let mut change_port = false;
        while let Some((kind, value)) = next_attribute(&mut attributes)? {
            match kind {
                CHANGE_REQUEST => change_port = is_port_change(value)?,
                FIRST_OPTIONAL.. => {}
                _ => return Err(StunError::UnknownAttribute(kind)),
            }
        }
        Ok(Self {
            transaction,
            change_port,
        })
    }
}

impl BindingResponse {
    /// The datagram, 32 bytes for IPv4 and 44 for IPv6.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut value = vec![0];
        let port = self.mapped.port() ^ u16::from_be_bytes([MAGIC_COOKIE[0], MAGIC_COOKIE[1]]);
        let pad = xor_pad(&self.transaction);
        match self.mapped.ip() {
            IpAddr::V4(ip) => {
                value.push(FAMILY_V4);
                value.extend_from_slice(&port.to_be_bytes());
                value.extend(ip.octets().iter().zip(pad).map(|(byte, pad)| byte ^ pad));
            }
            IpAddr::V6(ip) => {
                value.push(FAMILY_V6);
                value.extend_from_slice(&port.to_be_bytes());
                value.extend(ip.octets().iter().zip(pad).map(|(byte, pad)| byte ^ pad));
            }
        }
        let len = u16::try_from(value.len()).expect("an address is at most 20 bytes");
        let mut out = encode_header(BINDING_SUCCESS, len + 4, &self.transaction);
        out.extend_from_slice(&XOR_MAPPED_ADDRESS.to_be_bytes());
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(&value);
        out
    }

    /// Reads an answer; the caller compares the transaction.
    ///
    /// # Errors
    /// [`StunError`] for anything else.
    pub fn decode(datagram: &[u8]) -> Result<Self, StunError> {
        let (transaction, mut attributes) = decode_header(datagram, BINDING_SUCCESS)?;
        while let Some((kind, value)) = next_attribute(&mut attributes)? {
            if kind == XOR_MAPPED_ADDRESS {
                return Ok(Self {
                    transaction,
                    mapped: decode_address(value, &transaction)?,
                });
            }
        }
        Err(StunError::NoAddress)
    }
}

/// RFC 8489 §14.2: the magic cookie, then the transaction id.
fn xor_pad(transaction: &[u8; 12]) -> [u8; 16] {
    let mut pad = [0; 16];
    pad[..4].copy_from_slice(&MAGIC_COOKIE);
    pad[4..].copy_from_slice(transaction);
    pad
}

fn encode_header(kind: u16, len: u16, transaction: &[u8; 12]) -> Vec<u8> {
    let mut out = Vec::with_capacity(44);
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(&MAGIC_COOKIE);
    out.extend_from_slice(transaction);
    out
}

fn decode_header(datagram: &[u8], expected: u16) -> Result<([u8; 12], Reader<'_>), StunError> {
    let mut reader = Reader::new(datagram);
    let (kind, len) = (reader.u16()?, reader.u16()?);
    if kind != expected || reader.array()? != MAGIC_COOKIE {
        return Err(StunError::Unexpected);
    }
    let transaction = reader.array()?;
    Ok((transaction, Reader::new(reader.bytes(usize::from(len))?)))
}

fn next_attribute<'a>(attributes: &mut Reader<'a>) -> Result<Option<(u16, &'a [u8])>, StunError> {
    if attributes.is_empty() {
        return Ok(None);
    }
    let (kind, len) = (attributes.u16()?, usize::from(attributes.u16()?));
    let value = attributes.bytes(len)?;
    // RFC 8489 §14: values are padded to a multiple of four bytes.
    attributes.bytes(len.next_multiple_of(4) - len)?;
    Ok(Some((kind, value)))
}

/// RFC 5780 §7.2. Another address is not to be had of us.
fn is_port_change(value: &[u8]) -> Result<bool, StunError> {
    match Reader::new(value).u32()? {
        0 => Ok(false),
        CHANGE_PORT => Ok(true),
        _ => Err(StunError::UnknownAttribute(CHANGE_REQUEST)),
    }
}

fn decode_address(value: &[u8], transaction: &[u8; 12]) -> Result<SocketAddr, StunError> {
    let mut reader = Reader::new(value);
    let (_, family) = (reader.u8()?, reader.u8()?);
    let port = reader.u16()? ^ u16::from_be_bytes([MAGIC_COOKIE[0], MAGIC_COOKIE[1]]);
    let pad = xor_pad(transaction);
    let ip = match family {
        FAMILY_V4 => {
            let mut octets: [u8; 4] = reader.array()?;
            octets
                .iter_mut()
                .zip(pad)
                .for_each(|(byte, pad)| *byte ^= pad);
            IpAddr::V4(Ipv4Addr::from(octets))
        }
        FAMILY_V6 => {
            let mut octets: [u8; 16] = reader.array()?;
            octets
                .iter_mut()
                .zip(pad)
                .for_each(|(byte, pad)| *byte ^= pad);
            IpAddr::V6(Ipv6Addr::from(octets))
        }
        _ => return Err(StunError::NoAddress),
    };
    Ok(SocketAddr::new(ip, port))
}

/// Fuzz body: no datagram panics, and what decodes round-trips.
///
/// # Panics
/// If it does not.
pub fn fuzz(data: &[u8]) {
    if let Ok(request) = BindingRequest::decode(data) {
        assert_eq!(BindingRequest::decode(&request.encode()), Ok(request));
    }
    if let Ok(response) = BindingResponse::decode(data) {
        assert_eq!(BindingResponse::decode(&response.encode()), Ok(response));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 5769 §2.2, its attributes cut down to XOR-MAPPED-ADDRESS: 192.0.2.1, port 32853.
    #[test]
    fn the_sample_of_rfc_5769_decodes_and_encodes() {
        let transaction = [
            0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae,
        ];
        let mut sample = vec![0x01, 0x01, 0x00, 0x0c, 0x21, 0x12, 0xa4, 0x42];
        sample.extend_from_slice(&transaction);
        sample.extend_from_slice(&[
            0x00, 0x20, 0x00, 0x08, 0x00, 0x01, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43,
        ]);
        let expected = BindingResponse {
            transaction,
            mapped: "192.0.2.1:32853".parse().unwrap(),
        };
        assert_eq!(BindingResponse::decode(&sample), Ok(expected));
        assert_eq!(expected.encode(), sample);
    }

    /// RFC 5769 §2.3: 2001:db8:1234:5678:11:2233:4455:6677, port 32853.
    #[test]
    fn the_v6_sample_of_rfc_5769_decodes() {
        let transaction = [
            0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae,
        ];
        let mut sample = vec![0x01, 0x01, 0x00, 0x18, 0x21, 0x12, 0xa4, 0x42];
        sample.extend_from_slice(&transaction);
        sample.extend_from_slice(&[
            0x00, 0x20, 0x00, 0x14, 0x00, 0x02, 0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3,
            0xf1, 0x79, 0xbc, 0x25, 0xf4, 0xb5, 0xbe, 0xd2, 0xb9, 0xd9,
        ]);
        let expected = "[2001:db8:1234:5678:11:2233:4455:6677]:32853"
            .parse()
            .unwrap();
        assert_eq!(
            BindingResponse::decode(&sample),
            Ok(BindingResponse {
                transaction,
                mapped: expected
            })
        );
    }

    #[test]
    fn a_request_with_an_unknown_required_attribute_is_refused() {
        let mut request = BindingRequest {
            transaction: [1; 12],
            change_port: false,
        }
        .encode();
        request[3] = 4;
        request.extend_from_slice(&[0x00, 0x04, 0x00, 0x00]);
        assert_eq!(
            BindingRequest::decode(&request),
            Err(StunError::UnknownAttribute(4))
        );
        request[20] = 0x80;
        assert!(BindingRequest::decode(&request).is_ok());
    }

    #[test]
    fn a_change_of_port_can_be_asked_for_and_no_other() {
        let request = BindingRequest {
            transaction: [1; 12],
            change_port: true,
        };
        let mut bytes = request.encode();
        assert_eq!(BindingRequest::decode(&bytes), Ok(request));
        // RFC 5780 §7.2: "change IP".
        bytes[27] = 4;
        let error = BindingRequest::decode(&bytes);
        assert_eq!(error, Err(StunError::UnknownAttribute(CHANGE_REQUEST)));
    }

    proptest! {
        #[test]
        fn answers_round_trip(transaction: [u8; 12], ip: IpAddr, port: u16) {
            let response = BindingResponse { transaction, mapped: SocketAddr::new(ip, port) };
            prop_assert_eq!(BindingResponse::decode(&response.encode()), Ok(response));
        }

        #[test]
        fn hostile_bytes_never_panic(data in proptest::collection::vec(any::<u8>(), 0..100)) {
            fuzz(&data);
        }
    }
}
