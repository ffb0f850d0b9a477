//! Port 1003: apps that another agent's owner lets us call. One stream is one question and its answer, JSON documents with their
//! length before them (`docs/wire.md` §13). Who asks keeps its direction open until the answer is there: its end, before that,
//! takes the question back.
//!
//! Which apps a peer may call, how often, and what an app answers is the business of whoever implements [`AppCalls`].

mod codec;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::time::timeout;

use self::codec::{read_document, write_document};
use crate::ending::end;

pub use self::codec::{MAX_APP_ANSWER, MAX_APP_QUESTION, ReadDocumentError};

/// How long a question may take to come, and an answer to be read.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest words of an error that are taken from a peer, in characters.
const MAX_WORDS: usize = 1000;

/// What a peer asks. Fields that are not known are left aside; a question that is not known is answered with an error.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AppQuestion {
    /// To call a method.
    Call(AppCall),
    /// Which apps it may call.
    List {},
    /// A part of a file of the catalogue that the other end shows.
    File(FilePart),
}

/// A part of a file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FilePart {
    /// The file, from the catalogue's directory on.
    pub path: String,
    /// The first byte.
    #[serde(default)]
    pub offset: u64,
}

/// A call.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct AppCall {
    /// The app, by its id or the last part of it.
    pub app: String,
    /// The method.
    pub method: String,
    /// The arguments.
    #[serde(default)]
    pub params: Value,
    /// How long the caller waits, in milliseconds; the app's own limit holds beside it.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
}

/// Why there is no result.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, Error)]
#[error("{message}")]
pub struct AppRefusal {
    /// One word, as the local API's errors have it.
    pub code: String,
    /// In words.
    pub message: String,
    /// When to try again, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl AppRefusal {
    /// A refusal with this code.
    #[must_use]
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
            retry_after_ms: None,
        }
    }
}

/// The answer as it travels.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Result(Value),
    Error(AppRefusal),
}

/// Who answers.
pub trait AppCalls: Sync {
    /// Answers a question. Dropped when the peer takes it back.
    fn answer(
        &self,
        question: AppQuestion,
    ) -> impl Future<Output = Result<Value, AppRefusal>> + Send;
}

/// Why a question has no result.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AskAppError {
    /// It is longer than [`MAX_APP_QUESTION`].
    #[error("the arguments are too long: a question takes at most {MAX_APP_QUESTION} bytes")]
    TooLarge,
    /// The stream broke.
    #[error("the stream broke")]
    Stream(#[source] io::Error),
    /// What came is no answer.
    #[error("the answer is none")]
    Answer(#[source] ReadDocumentError),
    /// The peer says no.
    #[error(transparent)]
    Refused(AppRefusal),
}

/// How a stream to port 1003 ended.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeAppsError {
    /// What came is no question.
    #[error("no question came")]
    Question(#[source] ReadDocumentError),
    /// It took too long to come.
    #[error("the question did not come in time")]
    TooSlow,
    /// The peer took it back, or is gone.
    #[error("the question was taken back")]
    TakenBack,
    /// The answer was not read in time, or not at all.
    #[error("the answer was not read")]
    NotRead,
}

/// Asks one question on a fresh stream. Dropping the future takes it back.
///
/// # Errors
/// [`AskAppError`].
pub async fn ask_app<S>(stream: S, question: &AppQuestion) -> Result<Value, AskAppError>
where
    S: AsyncRead + AsyncWrite,
{
    let document = serde_json::to_vec(question).unwrap_or_default();
    if document.len() > MAX_APP_QUESTION {
        return Err(AskAppError::TooLarge);
    }
    let (mut reader, mut writer) = split(stream);
    let written = write_document(&mut writer, &document).await;
    // Who refuses early has answered already, or says why by how the stream ends.
    let answer = read_document(&mut reader, MAX_APP_ANSWER).await;
    let answer = match (answer, written) {
        (Err(ReadDocumentError::Io(error)), _) | (Err(_), Err(error)) => {
            return Err(AskAppError::Stream(error));
        }
        (Err(error), Ok(())) => return Err(AskAppError::Answer(error)),
        (Ok(answer), _) => answer,
    };
    // The peer has answered: whether it hears of our end is of no matter.
    let _ = end(&mut writer).await;
    let malformed = |error| AskAppError::Answer(ReadDocumentError::Json(error));
    match serde_json::from_slice(&answer).map_err(malformed)? {
        Answer::Result(result) => Ok(result),
        Answer::Error(refusal) => Err(AskAppError::Refused(bounded(refusal))),
    }
}

/// A peer's words, as much of them as is shown.
fn bounded(refusal: AppRefusal) -> AppRefusal {
    let cut = |text: String| {
        text.chars()
            .filter(|c| !c.is_control())
            .take(MAX_WORDS)
            .collect()
    };
    AppRefusal {
        code: refusal.code,
        message: cut(refusal.message),
        retry_after_ms: refusal.retry_after_ms,
    }
}

/// Serves one stream: reads the question, has it answered, writes the answer.
///
/// # Errors
/// [`ServeAppsError`]; whatever could be answered was.
pub async fn serve_app_call<S, A>(stream: S, apps: &A) -> Result<(), ServeAppsError>
where
    S: AsyncRead + AsyncWrite,
    A: AppCalls,
{
    let (mut reader, mut writer) = split(stream);
    let question = timeout(PATIENCE, read_document(&mut reader, MAX_APP_QUESTION));
    let document = match question.await {
        Err(_) => return Err(ServeAppsError::TooSlow),
        Ok(Err(error @ ReadDocumentError::TooLong { .. })) => {
            let refusal = AppRefusal::new("invalid_argument", error.to_string());
            write_answer(&mut writer, &Answer::Error(refusal)).await?;
            return Err(ServeAppsError::Question(error));
        }
        Ok(Err(error)) => return Err(ServeAppsError::Question(error)),
        Ok(Ok(document)) => document,
    };
    let answer = match serde_json::from_slice(&document) {
        Ok(question) => {
            drop(document);
            tokio::select! {
                answer = apps.answer(question) => answer,
                () = taken_back(&mut reader) => return Err(ServeAppsError::TakenBack),
            }
        }
        Err(error) => {
            let words = format!("not a question that is known here: {error}");
            Err(AppRefusal::new("invalid_argument", words))
        }
    };
    let answer = match answer {
        Ok(result) => Answer::Result(result),
        Err(refusal) => Answer::Error(refusal),
    };
    write_answer(&mut writer, &answer).await
}

/// Resolves at the end of the peer's direction, however it comes; bytes that nothing asked for are one too.
async fn taken_back<R: AsyncRead + Unpin>(reader: &mut R) {
    let mut beyond = [0];
    // Whatever it is, the question does not stand any more.
    let _ = reader.read(&mut beyond).await;
}

async fn write_answer<W: AsyncWrite + Unpin>(
    writer: &mut W,
    answer: &Answer,
) -> Result<(), ServeAppsError> {
    let document = serde_json::to_vec(answer).unwrap_or_default();
    let written = async {
        write_document(writer, &document).await?;
        end(writer).await
    };
    match timeout(PATIENCE, written).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(ServeAppsError::NotRead),
    }
}

/// Writes without flushing: the stream's own buffer is on its way at once.
async fn write_all<W: AsyncWrite + Unpin>(writer: &mut W, bytes: &[u8]) -> io::Result<()> {
    writer.write_all(bytes).await?;
    writer.flush().await
}
