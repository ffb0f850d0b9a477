//! A message's bytes on a stream: prefixed head, body; prefixed acknowledgement back.

use std::io;

use pilot_wire::limits::MAX_MESSAGE_HEAD;
use pilot_wire::{
    DecodeError, Message, MessageAck, Reader, decode_postcard, encode_postcard, put_varint,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Words of a refusal that go to the peer, in characters of at most four bytes.
const MAX_REFUSAL_CHARS: usize = 128;

/// Why what came is not a message or its acknowledgement.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReadMessageError {
    /// The stream broke.
    #[error("the stream broke")]
    Io(#[from] io::Error),
    /// The stream ended inside the message.
    #[error("the stream ended inside the message")]
    Truncated,
    /// The head is longer than any head.
    #[error("head of {len} bytes, at most {max} are allowed")]
    HeadLength {
        /// Bytes announced.
        len: u64,
        /// Bytes allowed.
        max: usize,
    },
    /// The head does not decode.
    #[error("malformed message head")]
    Head(#[from] DecodeError),
}

/// A value with its length before it.
pub(crate) fn encode_prefixed<T: Serialize>(value: &T) -> Vec<u8> {
    let body = encode_postcard(value);
    let mut out = Vec::with_capacity(body.len() + 2);
    put_varint(&mut out, body.len() as u64);
    out.extend_from_slice(&body);
    out
}

/// An acknowledgement, a refusal's words cut to what the receiver reads.
pub(crate) fn encode_ack(ack: MessageAck) -> Vec<u8> {
    let ack = match ack {
        MessageAck::Refused(words) => {
            MessageAck::Refused(words.chars().take(MAX_REFUSAL_CHARS).collect())
        }
        MessageAck::Stored | MessageAck::Duplicate | MessageAck::Unknown => ack,
    };
    encode_prefixed(&ack)
}

/// Reads a message's head from the start of a stream.
///
/// # Errors
/// [`ReadMessageError`].
pub(crate) async fn read_head<R: AsyncRead + Unpin>(
    reader: &mut R,
) -> Result<Message, ReadMessageError> {
    read_value(reader, MAX_MESSAGE_HEAD, "message head").await
}

/// Reads the acknowledgement.
///
/// # Errors
/// [`ReadMessageError`].
pub(crate) async fn read_ack<R: AsyncRead + Unpin>(
    reader: &mut R,
) -> Result<MessageAck, ReadMessageError> {
    read_value(reader, MAX_MESSAGE_HEAD, "message ack").await
}

/// Reads the body that `head` announces, and nothing beyond it.
///
/// # Errors
/// [`ReadMessageError`]; the caller has checked the announced length.
pub(crate) async fn read_body<R: AsyncRead + Unpin>(
    reader: &mut R,
    head: &Message,
) -> Result<Vec<u8>, ReadMessageError> {
    // Nothing is allocated for what is only announced.
    let mut body = vec![];
    reader.take(head.len).read_to_end(&mut body).await?;
    if body.len() as u64 == head.len {
        Ok(body)
    } else {
        Err(ReadMessageError::Truncated)
    }
}

/// Reads a value with its length, at most `max`, before it.
///
/// # Errors
/// [`ReadMessageError`].
pub(crate) async fn read_value<T, R>(
    reader: &mut R,
    max: usize,
    what: &'static str,
) -> Result<T, ReadMessageError>
where
    T: DeserializeOwned,
    R: AsyncRead + Unpin,
{
    Ok(decode_postcard(&read_prefixed(reader, max).await?, what)?)
}

async fn read_prefixed<R: AsyncRead + Unpin>(
    reader: &mut R,
    max: usize,
) -> Result<Vec<u8>, ReadMessageError> {
    let mut prefix = vec![read_u8(reader).await?];
    // RFC 9000 §16: the two most significant bits of the first byte give the length.
    prefix.resize(1 << (prefix[0] >> 6), 0);
    read_exact(reader, &mut prefix[1..]).await?;
    let len = Reader::new(&prefix).varint()?;
    let mut bytes = match usize::try_from(len) {
        Ok(len) if len <= max => vec![0; len],
        Ok(_) | Err(_) => return Err(ReadMessageError::HeadLength { len, max }),
    };
    read_exact(reader, &mut bytes).await?;
    Ok(bytes)
}

async fn read_u8<R: AsyncRead + Unpin>(reader: &mut R) -> Result<u8, ReadMessageError> {
    let mut byte = [0];
    read_exact(reader, &mut byte).await?;
    Ok(byte[0])
}

async fn read_exact<R: AsyncRead + Unpin>(
    reader: &mut R,
    bytes: &mut [u8],
) -> Result<(), ReadMessageError> {
    match reader.read_exact(bytes).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(ReadMessageError::Truncated)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use pilot_wire::{MessageId, MessageType};

    use super::*;

    fn head(len: u64) -> Message {
        Message {
            id: MessageId::new([7; 16]),
            kind: MessageType::Text,
            len,
            reply_to: Some(MessageId::new([8; 16])),
            trace: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
                .parse()
                .ok(),
        }
    }

    async fn read_message(mut bytes: &[u8]) -> Result<(Message, Vec<u8>), ReadMessageError> {
        let head = read_head(&mut bytes).await?;
        let body = read_body(&mut bytes, &head).await?;
        Ok((head, body))
    }

    fn encoded(head: &Message, body: &[u8]) -> Vec<u8> {
        let mut bytes = encode_prefixed(head);
        bytes.extend_from_slice(body);
        bytes
    }

    #[tokio::test]
    async fn a_message_round_trips() {
        let bytes = encoded(&head(5), b"hello");
        let (read, body) = read_message(&bytes).await.unwrap();
        assert_eq!((read, body.as_slice()), (head(5), b"hello".as_slice()));
    }

    #[tokio::test]
    async fn every_prefix_is_truncated() {
        let bytes = encoded(&head(5), b"hello");
        for cut in 0..bytes.len() {
            let read = read_message(&bytes[..cut]).await;
            assert!(
                matches!(read, Err(ReadMessageError::Truncated)),
                "{cut}: {read:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_hostile_length_allocates_nothing() {
        let mut bytes = vec![];
        put_varint(&mut bytes, (1 << 62) - 1);
        let read = read_head(&mut bytes.as_slice()).await;
        assert!(matches!(read, Err(ReadMessageError::HeadLength { .. })));
        let announced = encoded(&head(u64::MAX), b"x");
        let read = read_message(&announced).await;
        assert!(matches!(read, Err(ReadMessageError::Truncated)));
    }

    #[tokio::test]
    async fn flipped_bytes_never_panic() {
        let bytes = encoded(&head(5), b"hello");
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                let _ = read_message(&flipped).await;
            }
        }
    }

    #[tokio::test]
    async fn acknowledgements_round_trip_and_later_words_are_unknown() {
        for ack in [
            MessageAck::Stored,
            MessageAck::Duplicate,
            MessageAck::Refused("full".to_owned()),
        ] {
            let bytes = encode_ack(ack.clone());
            assert_eq!(read_ack(&mut bytes.as_slice()).await.unwrap(), ack);
        }
        let later = [1, 9];
        assert_eq!(
            read_ack(&mut later.as_slice()).await.unwrap(),
            MessageAck::Unknown
        );
        let long = encode_ack(MessageAck::Refused("€".repeat(10_000)));
        assert!(read_ack(&mut long.as_slice()).await.is_ok());
    }
}
