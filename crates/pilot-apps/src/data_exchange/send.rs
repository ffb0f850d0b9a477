//! The sender's side of a message.

use pilot_wire::limits::MAX_MESSAGE;
use pilot_wire::{Message, MessageAck};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, split};

use super::codec::{ReadMessageError, encode_prefixed, read_ack};

/// Why a message is not known to have been stored.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SendMessageError {
    /// The body is longer than any receiver takes.
    #[error("message of {0} bytes, at most {MAX_MESSAGE} are allowed")]
    TooLarge(usize),
    /// The receiver's inbox refused it, in its words.
    #[error("the peer refused the message: {0}")]
    Refused(String),
    /// The receiver answered with a word of a later version.
    #[error("the peer answered with a word that this version does not know")]
    UnknownAnswer,
    /// The stream ended or broke before the acknowledgement: the message may or may not have arrived.
    #[error("no acknowledgement came")]
    NoAck(#[source] ReadMessageError),
}

/// Sends a message on a fresh stream to port 1001 and waits until the receiver stored it.
///
/// `head.len` is set to the body's length. Gives [`MessageAck::Stored`] or [`MessageAck::Duplicate`].
///
/// # Errors
/// [`SendMessageError`].
pub async fn send_message<S: AsyncRead + AsyncWrite>(
    stream: S,
    head: &Message,
    body: &[u8],
) -> Result<MessageAck, SendMessageError> {
    let (mut reader, mut writer) = split(stream);
    exchange(&mut reader, &mut writer, (head, body), Direction::End).await
}

/// What becomes of our direction after the body.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// It ends.
    End,
    /// It stays open: an answer may come on this stream.
    StayOpen,
}

/// Writes a message and reads its acknowledgement.
///
/// # Errors
/// [`SendMessageError`].
pub(crate) async fn exchange<R, W>(
    reader: &mut R,
    writer: &mut W,
    (head, body): (&Message, &[u8]),
    direction: Direction,
) -> Result<MessageAck, SendMessageError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    if body.len() > MAX_MESSAGE {
        return Err(SendMessageError::TooLarge(body.len()));
    }
    let head = Message {
        len: body.len() as u64,
        ..head.clone()
    };
    let write = async {
        writer.write_all(&encode_prefixed(&head)).await?;
        writer.write_all(body).await?;
        match direction {
            Direction::End => writer.shutdown().await,
            Direction::StayOpen => writer.flush().await,
        }
    };
    // A receiver may refuse by the head alone and stop reading: its answer counts, not our broken write.
    let (written, ack) = tokio::join!(write, read_ack(reader));
    match ack {
        Ok(MessageAck::Stored) => Ok(MessageAck::Stored),
        Ok(MessageAck::Duplicate) => Ok(MessageAck::Duplicate),
        Ok(MessageAck::Refused(words)) => Err(SendMessageError::Refused(words)),
        Ok(MessageAck::Unknown) => Err(SendMessageError::UnknownAnswer),
        Err(error) => Err(SendMessageError::NoAck(match written {
            Err(write_error) => write_error.into(),
            Ok(()) => error,
        })),
    }
}
