//! Why a rendezvous does not run.

use std::io;
use std::net::SocketAddr;

use pilot::StartError;
use pilot_api::{ApiError, ErrorCode};
use pilot_store::{HomeError, IdentityError};
use thiserror::Error;

use crate::embedded::{LockError, StateError};

/// Why a rendezvous does not start or cannot go on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// Key, registry or UDP socket cannot be used.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The home cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The key cannot be read or made.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The HTTP socket cannot be bound.
    #[error("cannot listen on {addr} for HTTP")]
    Http {
        /// Where.
        addr: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The embedded rendezvous of this user runs already.
    #[error("the embedded rendezvous runs already")]
    AlreadyRunning,
    /// The embedded rendezvous' lock cannot be used.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The embedded rendezvous' state cannot be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// The system's signals cannot be waited for.
    #[error("cannot wait for signals")]
    Signals(#[source] io::Error),
}

impl RunError {
    /// Code, words and what to do next.
    #[must_use]
    pub fn to_api(&self) -> ApiError {
        let error = ApiError::new(self.code(), describe(self));
        match self.hint() {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }

    fn code(&self) -> ErrorCode {
        match self {
            Self::Start(error) => start_code(error),
            Self::Home(error) => home_code(error),
            Self::Identity(error) => identity_code(error),
            Self::Http { source, .. } => io_code(source),
            Self::AlreadyRunning => ErrorCode::AlreadyExists,
            Self::Lock(_) | Self::State(_) | Self::Signals(_) => ErrorCode::Internal,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Start(StartError::Bind { .. }) => {
                Some("stop the program that uses the port, or choose another with --listen")
            }
            Self::Http { .. } => {
                Some("stop the program that uses the port, or choose another with --http")
            }
            Self::AlreadyRunning => Some("pilotctl rendezvous status"),
            Self::Start(_)
            | Self::Home(_)
            | Self::Identity(_)
            | Self::Lock(_)
            | Self::State(_)
            | Self::Signals(_) => None,
        }
    }
}

/// The code for a node that does not start.
#[must_use]
pub fn start_code(error: &StartError) -> ErrorCode {
    match error {
        StartError::Bind { source, .. } => io_code(source),
        StartError::Home(error) => home_code(error),
        StartError::Identity(error) => identity_code(error),
        StartError::Url(_) | StartError::NoHome => ErrorCode::InvalidArgument,
        StartError::Resolve { .. } => ErrorCode::ConnectionFailed,
        StartError::State(_) | StartError::Db(_) | StartError::Thread { .. } | _ => {
            ErrorCode::Internal
        }
    }
}

/// The code for a home that cannot be used.
#[must_use]
pub fn home_code(error: &HomeError) -> ErrorCode {
    match error {
        HomeError::Locked { .. } => ErrorCode::AlreadyExists,
        HomeError::Directory { source, .. } | HomeError::Lock { source, .. } => io_code(source),
        _ => ErrorCode::Internal,
    }
}

/// The code for an identity that cannot be used.
#[must_use]
pub fn identity_code(error: &IdentityError) -> ErrorCode {
    match error {
        IdentityError::TooOpen { .. } => ErrorCode::PermissionDenied,
        IdentityError::Damaged { .. } => ErrorCode::InvalidArgument,
        IdentityError::Exists { .. } => ErrorCode::AlreadyExists,
        IdentityError::Read { source, .. } | IdentityError::Write { source, .. } => io_code(source),
        _ => ErrorCode::Internal,
    }
}

/// The code for what the system refused.
#[must_use]
pub fn io_code(error: &io::Error) -> ErrorCode {
    use io::ErrorKind;
    const TABLE: [(ErrorKind, ErrorCode); 6] = [
        (ErrorKind::AddrInUse, ErrorCode::AlreadyExists),
        (ErrorKind::PermissionDenied, ErrorCode::PermissionDenied),
        (ErrorKind::ReadOnlyFilesystem, ErrorCode::PermissionDenied),
        (ErrorKind::AddrNotAvailable, ErrorCode::InvalidArgument),
        (ErrorKind::InvalidInput, ErrorCode::InvalidArgument),
        (ErrorKind::NotADirectory, ErrorCode::InvalidArgument),
    ];
    let row = TABLE.iter().find(|(kind, _)| *kind == error.kind());
    row.map_or(ErrorCode::Internal, |(_, code)| *code)
}

/// An error and its causes on one line.
#[must_use]
pub fn describe(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named_with_a_way_out() {
        let addr = "0.0.0.0:9000".parse().unwrap();
        let source = io::Error::from(io::ErrorKind::AddrInUse);
        let error = RunError::Start(StartError::Bind { addr, source }).to_api();
        assert_eq!(error.code, ErrorCode::AlreadyExists);
        assert!(
            error.message.starts_with("cannot listen on 0.0.0.0:9000: "),
            "{error}"
        );
        assert!(error.hint.unwrap().contains("--listen"));
    }
}
