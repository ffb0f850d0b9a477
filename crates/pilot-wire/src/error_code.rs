//! Codes that RESET, STOP and CLOSE carry.

use std::fmt;

/// Why a stream or session ends. Unknown codes are legal and kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ErrorCode(u64);

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $value:literal, $text:literal;)+) => {
        impl ErrorCode {
            $($(#[doc = $doc])+ pub const $name: Self = Self($value);)+

            /// The code's name in words and JSON; `unknown` for one that this version does not know.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self.0 {
                    $($value => $text,)+
                    _ => "unknown",
                }
            }
        }
    };
}

codes! {
    /// Nothing went wrong.
    NO_ERROR = 0x00, "no_error";
    /// Our own fault.
    INTERNAL = 0x01, "internal";
    /// A frame or field that the protocol forbids.
    PROTOCOL_VIOLATION = 0x02, "protocol_violation";
    /// More bytes than were allowed.
    FLOW_CONTROL = 0x03, "flow_control";
    /// More streams than were allowed.
    STREAM_LIMIT = 0x04, "stream_limit";
    /// A frame for a stream in the wrong state.
    STREAM_STATE = 0x05, "stream_state";
    /// The final size of a stream changed.
    FINAL_SIZE = 0x06, "final_size";
    /// The other end lost its state; streams of its old life are gone.
    PEER_RESTARTED = 0x10, "peer_restarted";
    /// Nobody listens on that port.
    REFUSED = 0x11, "refused";
    /// Trust is missing, or does not cover the port.
    NOT_TRUSTED = 0x12, "not_trusted";
    /// Trust was revoked.
    REVOKED = 0x13, "revoked";
    /// Nothing was heard for the idle timeout.
    IDLE_TIMEOUT = 0x14, "idle_timeout";
    /// The other end stops.
    SHUTDOWN = 0x15, "shutdown";
    /// The same identity runs elsewhere and is fresher.
    SUPERSEDED = 0x16, "superseded";
    /// Too much of something; try later.
    BUSY = 0x17, "busy";
    /// The application gave up.
    CANCELLED = 0x18, "cancelled";
}

impl ErrorCode {
    /// From the number on the wire.
    #[must_use]
    pub const fn from_u64(code: u64) -> Self {
        Self(code)
    }

    /// The number on the wire.
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            "unknown" => write!(f, "code {:#x}", self.0),
            name => f.write_str(name),
        }
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ErrorCode({self})")
    }
}
