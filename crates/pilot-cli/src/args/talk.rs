//! Options of the commands that talk.

use clap::{Args, Subcommand, ValueEnum};
use pilot_api::PeerRef;
use pilot_types::{Port, UnixTime};
use pilot_wire::MessageId;

use crate::duration::{Deadline, Span};

/// `ping`.
#[derive(Args, Debug)]
pub(crate) struct PingArgs {
    /// The agent
    pub(crate) peer: PeerRef,
    /// How many round trips, a fifth of a second apart
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) count: u32,
}

/// `connect`.
#[derive(Args, Debug)]
pub(crate) struct ConnectArgs {
    /// The agent
    pub(crate) peer: PeerRef,
    /// Its port
    #[arg(default_value_t = Port::STDIO)]
    pub(crate) port: Port,
    /// Send this and read the answer, instead of what is piped in
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) message: Option<String>,
}

/// `send`.
#[derive(Args, Debug)]
pub(crate) struct SendArgs {
    /// The agent
    pub(crate) peer: PeerRef,
    /// Its port
    pub(crate) port: Port,
    /// What to send
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) data: String,
}

/// `recv`.
#[derive(Args, Debug)]
pub(crate) struct RecvArgs {
    /// The port of this agent
    pub(crate) port: Port,
    /// How many streams, each read to its end
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) count: u32,
}

/// `send-message`.
#[derive(Args, Debug)]
pub(crate) struct SendMessageArgs {
    /// The agent
    pub(crate) peer: PeerRef,
    /// The body: a text, - for standard input, @FILE for a file
    #[arg(long, value_name = "TEXT|-|@FILE", allow_hyphen_values = true)]
    pub(crate) data: String,
    /// How the body is to be read [default: text, or binary if it is none]
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) kind: Option<MessageType>,
    /// Wait for a reply [default: 30s]
    #[arg(long, value_name = "DUR", num_args = 0..=1, require_equals = true, default_missing_value = "30s")]
    pub(crate) wait: Option<Deadline>,
    /// The message that this one answers
    #[arg(long, value_name = "ID")]
    pub(crate) reply_to: Option<MessageId>,
    /// Its name, 32 hex digits: sent again under the same name, it is one message [default: a new one]
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<MessageId>,
}

/// How a message's body is to be read.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum MessageType {
    /// UTF-8 text
    Text,
    /// A JSON document
    Json,
    /// Bytes
    Binary,
}

/// `inbox`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct InboxArgs {
    #[command(subcommand)]
    pub(crate) command: Option<InboxCommand>,
    /// At most so many, the newest [default: 100]
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// Only those since then: a duration, or a time as 2026-01-31T23:59:59Z
    #[arg(long, value_name = "DUR")]
    pub(crate) since: Option<Since>,
    /// Only those of this agent
    #[arg(long, value_name = "PEER")]
    pub(crate) from: Option<PeerRef>,
    /// Only those whose text has these words
    #[arg(long, value_name = "TEXT")]
    pub(crate) search: Option<String>,
    /// Delete those that are shown
    #[arg(long)]
    pub(crate) clear: bool,
}

/// What to do with the inbox.
#[derive(Subcommand, Debug)]
pub(crate) enum InboxCommand {
    /// One message, whole
    Read {
        /// Its id
        id: MessageId,
        /// Also if the filter put it into quarantine
        #[arg(long)]
        quarantined: bool,
    },
}

/// A moment: so long ago, or at that time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Since {
    Ago(Span),
    At(UnixTime),
}

impl std::str::FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse()
            .map(Self::Ago)
            .or_else(|_| text.parse().map(Self::At))
            .map_err(|_| "expected a duration as 2h, or a time as 2026-01-31T23:59:59Z".to_owned())
    }
}
