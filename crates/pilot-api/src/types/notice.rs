//! What happens, as it happens: to clients that watch, and to a webhook.

use pilot_types::{Hostname, NetworkId, UnixTime};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::agent::AgentSummary;
use super::message::InboxMessage;
use super::{event::Event, field, file::ReceivedFile, schema};

/// A kind of notice.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, JsonSchema, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// A message came into the inbox.
    Message,
    /// An agent asks for trust.
    Knock,
    /// Trust with an agent holds in both directions.
    Trusted,
    /// Trust with an agent ended.
    Untrusted,
    /// A file came.
    File,
    /// An event was published at this agent's broker.
    Event,
    /// A group, or an invitation to one, came, changed or went.
    Group,
    /// A rendezvous changed its state.
    Rendezvous,
    /// `webhook test` asked for it.
    Test,
    /// Notices are missing here.
    Missed,
}

impl NoticeKind {
    /// Those that can be asked for: `Test` and `Missed` come unasked.
    pub const ALL: [Self; 8] = [
        Self::Message,
        Self::Knock,
        Self::Trusted,
        Self::Untrusted,
        Self::File,
        Self::Event,
        Self::Group,
        Self::Rendezvous,
    ];

    /// As JSON has it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Knock => "knock",
            Self::Trusted => "trusted",
            Self::Untrusted => "untrusted",
            Self::File => "file",
            Self::Event => "event",
            Self::Group => "group",
            Self::Rendezvous => "rendezvous",
            Self::Test => "test",
            Self::Missed => "missed",
        }
    }

    /// Whether one who asked for these kinds, or for all by naming none, is told of this one.
    #[must_use]
    pub fn is_among(self, wanted: &[Self]) -> bool {
        matches!(self, Self::Test | Self::Missed) || wanted.is_empty() || wanted.contains(&self)
    }
}

impl std::str::FromStr for NoticeKind {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|kind| kind.word() == word);
        found.ok_or_else(|| {
            let all = Self::ALL.map(Self::word).join(", ");
            format!("unknown kind {word:?}: expected some of {all}")
        })
    }
}

/// `GET /v1/watch`: what happens, as server-sent events (`text/event-stream`): each has the notice's kind as its type, its number as its
/// id where it has one, and a `Notice` as its data.
///
/// The last 256 notices of this run of the daemon are kept: who comes back with the header `Last-Event-ID` gets those after it. A
/// comment comes every 15 s when nothing else does.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchRequest {
    /// Kinds with commas between them; none for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kinds: Option<String>,
    /// Those after this number that are kept, first; zero for all that are kept. The header `Last-Event-ID` does the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
}

/// Something that happened.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Notice {
    /// Its number: the next one's is higher. Events of the broker, `test` and `missed` have none, and are not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// When.
    #[serde(with = "field::rfc3339")]
    #[schemars(with = "schema::TimeText")]
    pub at: UnixTime,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum What {
    /// A message came into the inbox.
    Message {
        /// The message; its body only up to 16 KiB: `inbox read` has all of it.
        message: InboxMessage,
    },
    /// An agent asks for trust: `pilotctl pending`.
    Knock {
        /// Who, and the name that it claims.
        agent: AgentSummary,
    },
    /// Trust with an agent holds in both directions.
    Trusted {
        /// With whom.
        agent: AgentSummary,
    },
    /// Trust with an agent ended.
    Untrusted {
        /// With whom.
        agent: AgentSummary,
    },
    /// A file came.
    File {
        /// The file.
        file: ReceivedFile,
    },
    /// An event was published at this agent's broker.
    Event {
        /// The event.
        event: Event,
    },
    /// A group, or an invitation to one, came, changed or went.
    Group {
        /// Its number and name here; none if it went.
        network_id: Option<NetworkId>,
        /// Its name.
        name: Option<Hostname>,
    },
    /// A rendezvous changed its state.
    Rendezvous {
        /// Which.
        url: String,
        /// `connecting`, `connected` (with this agent's record) or `refused`.
        state: String,
    },
    /// `webhook test` asked for it.
    Test {
        /// This agent.
        agent: AgentSummary,
    },
    /// Notices are missing here: whoever is told was too slow, or away too long.
    Missed {
        /// How many, where that is known.
        count: Option<u64>,
    },
}

impl What {
    /// Of which kind it is.
    #[must_use]
    pub const fn kind(&self) -> NoticeKind {
        match self {
            Self::Message { .. } => NoticeKind::Message,
            Self::Knock { .. } => NoticeKind::Knock,
            Self::Trusted { .. } => NoticeKind::Trusted,
            Self::Untrusted { .. } => NoticeKind::Untrusted,
            Self::File { .. } => NoticeKind::File,
            Self::Event { .. } => NoticeKind::Event,
            Self::Group { .. } => NoticeKind::Group,
            Self::Rendezvous { .. } => NoticeKind::Rendezvous,
            Self::Test { .. } => NoticeKind::Test,
            Self::Missed { .. } => NoticeKind::Missed,
        }
    }
}

/// `POST /v1/webhook/set`: where notices are posted from now on, and after a restart.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetWebhookRequest {
    /// `http://…` or `https://…`; none for nowhere.
    #[serde(default)]
    pub url: Option<String>,
    /// What signatures are made with (HMAC-SHA256), at least 16 bytes; none: a new one is made and answered.
    #[serde(default)]
    pub secret: Option<String>,
    /// Kinds that are posted; empty for all but events.
    #[serde(default)]
    pub kinds: Vec<NoticeKind>,
}

/// The webhook as it is.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct WebhookSet {
    /// Where notices are posted.
    pub url: Option<String>,
    /// Whether this is in effect: always, once it is answered.
    pub applied: bool,
    /// The secret, where it was made just now. It is not shown again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Kinds that are posted.
    pub kinds: Vec<NoticeKind>,
}

/// `POST /v1/webhook/test`: post a notice of kind `test` now, and tell what the answer was.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestWebhookRequest {
    /// The deadline in milliseconds: none for 30 s, zero for without end.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
}

/// What became of a test.
#[derive(Clone, PartialEq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct WebhookTested {
    /// Where it was posted.
    pub url: String,
    /// The answer's HTTP status, 200 to 299.
    pub status: u16,
    /// How long it took.
    pub duration_ms: f64,
}

/// `GET /v1/webhook`: how the webhook does.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookRequest {}

/// How the webhook does.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Webhook {
    /// Where notices are posted; none for nowhere.
    pub url: Option<String>,
    /// Kinds that are posted.
    pub kinds: Vec<NoticeKind>,
    /// `off`, `working`, `retrying`, or `paused` after several failures in a row.
    pub state: String,
    /// Notices that the receiver took.
    pub delivered: u64,
    /// Notices that were given up, after their tries or because too many waited.
    pub lost: u64,
    /// Notices that wait.
    pub waiting: u64,
    /// What the last failure was.
    pub last_error: Option<String>,
}
