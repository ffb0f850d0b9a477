//! The one place that writes to standard output and standard error.

use std::io::{self, IsTerminal, Write};

use pilot_api::{ApiError, Envelope};
use serde::Serialize;

use crate::settings::Settings;
use crate::style::Style;

/// What a command ends with when it worked.
#[derive(Debug)]
pub(crate) enum Reply {
    /// An answer: `data` in JSON, and words for people.
    Answer {
        /// JSON of the envelope's `data`.
        data: String,
        /// What people read instead.
        words: String,
    },
    /// Everything was written already.
    Written,
    /// An exit code is the whole answer.
    Exit(u8),
}

impl Reply {
    /// An answer with these words.
    ///
    /// # Errors
    /// `internal` if the data cannot be written as JSON.
    pub(crate) fn new(data: &impl Serialize, words: impl Into<String>) -> Result<Self, Failure> {
        Ok(Self::Answer {
            data: to_json(data)?,
            words: words.into(),
        })
    }
}

/// What a command ends with when it did not work.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: ApiError,
    /// JSON of what there is to know all the same.
    pub(crate) data: Option<String>,
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self { error, data: None }
    }
}

/// The data as JSON on one line.
pub(crate) fn to_json(data: &impl Serialize) -> Result<String, ApiError> {
    serde_json::to_string(data)
        .map_err(|error| ApiError::internal(format!("cannot write the answer: {error}")))
}

/// How to write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
    quiet: bool,
    verbose: bool,
    /// Whether a person looks at standard error.
    is_watched: bool,
    /// For words on standard output.
    pub(crate) style: Style,
    error_style: Style,
}

impl Output {
    /// For the process' own standard streams.
    pub(crate) fn new(settings: &Settings) -> Self {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let style = |is_terminal: bool| Style {
            colours: is_terminal && !no_colour,
        };
        Self {
            json: settings.json,
            quiet: settings.quiet,
            verbose: settings.verbose,
            is_watched: io::stderr().is_terminal(),
            style: style(io::stdout().is_terminal()),
            error_style: style(io::stderr().is_terminal()),
        }
    }

    /// Writes how the command ended and gives the exit code.
    pub(crate) fn finish(&self, result: Result<Reply, Failure>) -> u8 {
        match result {
            Ok(Reply::Answer { data, words }) => self.answer(&data, &words),
            Ok(Reply::Written) => 0,
            Ok(Reply::Exit(code)) => code,
            Err(failure) => {
                self.failure(&failure);
                failure.error.code.exit_code()
            }
        }
    }

    fn answer(&self, data: &str, words: &str) -> u8 {
        let text = if self.json {
            format!(r#"{{"status":"ok","data":{data}}}"#)
        } else {
            words.to_owned()
        };
        if text.is_empty() {
            return 0;
        }
        match print(&text) {
            Ok(()) => 0,
            Err(error) => self.unwritable(&error),
        }
    }

    /// A reader who left needs no more; a full disk is an error.
    pub(crate) fn unwritable(&self, error: &io::Error) -> u8 {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return 0;
        }
        let error = ApiError::internal(format!("cannot write to standard output: {error}"));
        self.words_of(&error);
        error.code.exit_code()
    }

    fn failure(&self, failure: &Failure) {
        if self.json {
            let envelope = serde_json::to_string(&Envelope::<()>::Error(failure.error.clone()));
            let mut text = envelope.expect("an error has nothing but strings and a number");
            if let Some(data) = &failure.data {
                text.truncate(text.len() - 1);
                text.push_str(r#","data":"#);
                text.push_str(data);
                text.push('}');
            }
            // Who does not read the error gets the exit code.
            drop(print(&text));
        } else {
            self.words_of(&failure.error);
        }
    }

    fn words_of(&self, error: &ApiError) {
        let style = self.error_style;
        let mut text = style.failed(&crate::style::clean_lines(&error.message));
        if let Some(hint) = &error.hint {
            text.push_str(&format!("\n  {} {}", style.faint("try:"), style.bold(hint)));
        }
        write_error(&text);
    }

    /// What a command that goes on has opened: one envelope on standard output, or a sentence for people on standard error.
    ///
    /// # Errors
    /// `internal` if standard output cannot be written to: whoever waits for the line would wait for ever.
    pub(crate) fn ready(&self, data: &impl Serialize, sentence: &str) -> Result<(), ApiError> {
        if !self.json {
            self.note(&self.error_style.done(sentence));
            return Ok(());
        }
        let data = to_json(data)?;
        print(&format!(r#"{{"status":"ok","data":{data}}}"#)).map_err(|error| {
            ApiError::internal(format!("cannot write to standard output: {error}"))
        })
    }

    /// Words about something that went wrong, for standard error.
    pub(crate) fn failed(&self, text: &str) -> String {
        self.error_style.failed(text)
    }

    /// A word on the way, for people, on standard error.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet && !self.json {
            write_error(text);
        }
    }

    /// Whether standard output has one JSON document.
    pub(crate) const fn is_json(&self) -> bool {
        self.json
    }

    /// Whether somebody sees how far a long work is.
    pub(crate) const fn has_progress(&self) -> bool {
        self.is_watched && !self.quiet && !self.json
    }

    /// How far it is, in the place of what was said before; nothing, to clear that.
    pub(crate) fn progress(&self, text: &str) {
        if self.has_progress() {
            // To the beginning of the line, and from there to its end nothing (ECMA-48 EL); no wrapping meanwhile (DECAWM).
            let line = format!("\x1b[?7l\r\x1b[K{text}\x1b[?7h");
            let mut out = io::stderr().lock();
            drop(out.write_all(line.as_bytes()).and_then(|()| out.flush()));
        }
    }

    /// A word for those who asked for more.
    pub(crate) fn detail(&self, text: &str) {
        if self.verbose {
            write_error(text);
        }
    }

    /// A warning: also beside JSON, which has standard output to itself.
    pub(crate) fn warning(&self, text: &str) {
        if !self.quiet {
            write_error(text);
        }
    }

    /// A line of the answer while the command goes on, for people.
    pub(crate) fn line(&self, text: &str) {
        if !self.json {
            // A reader who left is noticed when the command ends.
            drop(print(text));
        }
    }
}

/// Writes one line to standard output.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Standard error that cannot be written to leaves nobody to tell.
fn write_error(text: &str) {
    let mut out = io::stderr().lock();
    drop(out.write_all(format!("{text}\n").as_bytes()));
}
