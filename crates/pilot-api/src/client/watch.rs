//! Notices as they come: server-sent events, read.

use bytes::BytesMut;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::{broken, foreign};
use crate::error::ApiError;
use crate::types::Notice;

/// Longest event: a message's 16 KiB or an event's 64 KiB take at most six times that where each byte is escaped, and the rest is short.
const MAX_EVENT: usize = 1024 * 1024;

/// What happens at a daemon, as it happens. Dropping it ends it.
#[derive(Debug)]
pub struct Watching {
    body: Incoming,
    /// What came and is no whole line yet.
    rest: BytesMut,
}

impl Watching {
    pub(super) fn new(body: Incoming) -> Self {
        Self {
            body,
            rest: BytesMut::new(),
        }
    }

    /// The next notice; `None` once the daemon has ended. Cancel safe.
    ///
    /// # Errors
    /// `internal` if what comes is no notice.
    pub async fn next(&mut self) -> Result<Option<Notice>, ApiError> {
        loop {
            while let Some(line) = self.line() {
                // The one field that is read: its notice has the others' content too.
                let Some(data) = line.strip_prefix(b"data: ") else {
                    continue;
                };
                let notice = serde_json::from_slice(data);
                return notice
                    .map(Some)
                    .map_err(|error| foreign(&error.to_string()));
            }
            let Some(frame) = self.body.frame().await else {
                return Ok(None);
            };
            if let Ok(data) = frame.map_err(|error| broken(&error))?.into_data() {
                self.rest.extend_from_slice(&data);
            }
            if self.rest.len() > MAX_EVENT {
                return Err(foreign("a notice without end"));
            }
        }
    }

    /// The next whole line, without its end.
    fn line(&mut self) -> Option<BytesMut> {
        let end = self.rest.iter().position(|byte| *byte == b'\n')?;
        let line = self.rest.split_to(end + 1);
        Some(BytesMut::from(&line[..end]))
    }
}
