//! Options of `search` and `set-capabilities`.

use clap::Args;
use pilot_types::Tag;

/// `search`.
#[derive(Args, Debug)]
#[command(after_help = "Example: pilotctl search weather --capability forecast --limit 5")]
pub(crate) struct FindAgentsArgs {
    /// Words of names, tags and descriptions; the best come first [default: everybody]
    #[arg(value_name = "TEXT", num_args = 0..)]
    pub(crate) text: Vec<String>,
    /// A tag that it has; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    pub(crate) tags: Vec<Tag>,
    /// A capability that it has, NAME or NAME@VERSION
    #[arg(long, value_name = "CAPABILITY")]
    pub(crate) capability: Option<String>,
    /// How many agents at most, 1 to 500 [default: 20]
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
}

/// `set-capabilities`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples: pilotctl set-capabilities translate@1.0.0 summarise@2.1.0
          pilotctl set-capabilities skills.json
A file holds a JSON list; each item is \"NAME@VERSION\" or {\"name\":…, \"version\":…, \"description\":…,
\"input\": JSON Schema, \"output\": JSON Schema}."
)]
pub(crate) struct CapabilitiesArgs {
    /// NAME@VERSION, or a file with a JSON list of capabilities; - for standard input
    #[arg(required = true, value_name = "FILE|NAME@VERSION")]
    pub(crate) capabilities: Vec<String>,
}
