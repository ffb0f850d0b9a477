//! Command lines that clap refuses, in the form of all other errors.

use std::ffi::OsString;

use clap::error::ErrorKind;
use pilot_api::ApiError;

/// What to do about a command line without a command.
pub(crate) enum Refused {
    /// Help or version was asked for: its text.
    Text(String),
    /// It is wrong.
    Usage(ApiError),
}

/// Turns clap's error into ours.
pub(crate) fn refused(error: &clap::Error) -> Refused {
    let kind = error.kind();
    if matches!(kind, ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        Refused::Text(error.render().to_string())
    } else if kind == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        Refused::Usage(ApiError::invalid("a command is missing").with_hint("pilotctl --help"))
    } else {
        Refused::Usage(usage(error))
    }
}

fn usage(error: &clap::Error) -> ApiError {
    let text = error.render().to_string();
    let message = text
        .split("\n\nUsage:")
        .next()
        .unwrap_or(&text)
        .split("\n\nFor more information")
        .next()
        .unwrap_or(&text)
        .trim_start_matches("error: ");
    let words: Vec<&str> = message.split_whitespace().collect();
    let api_error = ApiError::invalid(words.join(" "));
    match usage_line(&text) {
        Some(line) => api_error.with_hint(line),
        None => api_error.with_hint("pilotctl --help"),
    }
}

fn usage_line(text: &str) -> Option<&str> {
    let (_, usage) = text.split_once("Usage: ")?;
    usage.lines().next().map(str::trim)
}

/// Whether the command line asks for JSON, as far as one that cannot be parsed can ask.
pub(crate) fn wants_json(args: &[OsString]) -> bool {
    args.iter()
        .take_while(|arg| *arg != "--")
        .any(|arg| arg == "--json")
}
