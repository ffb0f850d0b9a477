//! Options of what shows the network as it is and as it changes: `topology`, `top`, `watch`, `webhook`.

use clap::{Args, Subcommand, ValueEnum};
use pilot_api::types::NoticeKind;

use crate::duration::Span;

/// `topology`.
#[derive(Args, Debug)]
#[command(after_help = "Example: pilotctl topology --format svg > network.svg")]
pub(crate) struct TopologyArgs {
    /// How to draw it
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: Drawing,
}

/// How a graph is drawn.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Drawing {
    /// For people at a terminal
    Text,
    /// For Graphviz
    Dot,
    /// An image
    Svg,
    /// Nodes and edges, as with --json but without the envelope
    Json,
}

/// `top`.
#[derive(Args, Debug)]
#[command(after_help = "Example: pilotctl top --once")]
pub(crate) struct TopArgs {
    /// How often to look
    #[arg(long, value_name = "DUR", default_value = "1s")]
    pub(crate) interval: Span,
    /// Look once, and print it; so it is where standard output is no terminal, and with --json
    #[arg(long)]
    pub(crate) once: bool,
}

/// `watch`.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: pilotctl watch --kind message --kind knock --count 1 --timeout 10m"
)]
pub(crate) struct WatchArgs {
    /// What to be told of: message, knock, trusted, untrusted, file, event, group or rendezvous; may be repeated [default: all]
    #[arg(long, value_name = "KIND")]
    pub(crate) kind: Vec<NoticeKind>,
    /// End after so many [default: go on until stopped, or until --timeout]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) count: Option<u32>,
    /// First what is kept of those after this one: the id of the last notice that was seen, or 0 for all that is kept
    #[arg(long, value_name = "ID")]
    pub(crate) after: Option<u64>,
}

/// `webhook …`.
#[derive(Subcommand, Debug)]
pub(crate) enum WebhookCommand {
    /// Post notices to a URL from now on
    #[command(
        after_help = "Example: pilotctl webhook set https://hooks.example/pilot --kind message"
    )]
    Set {
        /// `http://…` or https://…
        url: String,
        /// What signs each post, by HMAC-SHA256 [default: a new one, which is shown once]
        #[arg(
            long,
            value_name = "S",
            env = "PILOT_WEBHOOK_SECRET",
            hide_env_values = true
        )]
        secret: Option<String>,
        /// What to post, as for watch; may be repeated [default: all but events]
        #[arg(long, value_name = "KIND")]
        kind: Vec<NoticeKind>,
    },
    /// Post nothing any more
    Clear,
    /// Post a notice now, and say what the receiver answered
    Test,
    /// Where notices are posted, and whether they arrive
    Status,
}
