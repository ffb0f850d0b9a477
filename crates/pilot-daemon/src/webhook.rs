//! Notices, posted to a URL: tried again, and left alone for a while where that fails on and on.
//!
//! ```text
//!            taken                             given up, `BREAKS_AT` tries in a row have failed
//! working ◀──────── retrying ──────────────────────────────────────────▶ paused
//!    │                 ▲                                                    │ one try after the pause
//!    └─────────────────┘ a try fails                  working ◀── taken ────┴──── failed ──▶ paused, twice as long
//! ```

mod post;
mod settings;
mod tries;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pilot::Node;
use pilot_api::ApiError;
use pilot_api::types::{AgentSummary, Notice, Webhook, WebhookTested, What};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use self::post::{PostError, Poster};
pub use self::settings::WebhookSettings;
use self::tries::{Next, Tries};
use crate::daemon::{millis, summary};
use crate::error;
use crate::inbox::now;
use crate::notices::{Board, Reader};
use crate::services::Services;

/// How a webhook does.
#[derive(Clone, Debug, Default)]
struct Stats {
    state: State,
    delivered: u64,
    lost: u64,
    last_error: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum State {
    #[default]
    Working,
    Retrying,
    Paused,
}

impl State {
    const fn word(self) -> &'static str {
        match self {
            Self::Working => "working",
            Self::Retrying => "retrying",
            Self::Paused => "paused",
        }
    }
}

/// A notice as it is posted.
#[derive(Serialize)]
struct Posted<'a> {
    /// Whose notice it is: one receiver may serve many agents.
    to: AgentSummary,
    #[serde(flatten)]
    notice: &'a Notice,
}

/// The webhook of an agent. What is set is in effect at once.
pub(crate) struct Webhooks {
    node: Node,
    board: Arc<Board>,
    settings: watch::Sender<Option<WebhookSettings>>,
    /// The newest notice that was done with.
    cursor: Mutex<u64>,
    stats: Mutex<Stats>,
}

impl Webhooks {
    pub(crate) fn new(node: Node, board: Arc<Board>, settings: Option<WebhookSettings>) -> Self {
        Self {
            node,
            cursor: Mutex::new(board.newest()),
            board,
            settings: watch::Sender::new(settings),
            stats: Mutex::default(),
        }
    }

    /// What happened of late.
    pub(crate) const fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// From now on these, or none.
    pub(crate) fn set(&self, settings: Option<WebhookSettings>) {
        *lock(&self.stats) = Stats::default();
        *lock(&self.cursor) = self.board.newest();
        self.settings.send_replace(settings);
    }

    /// How it does.
    pub(crate) fn status(&self) -> Webhook {
        let settings = self.settings.borrow().clone();
        let stats = lock(&self.stats).clone();
        let cursor = match settings {
            Some(_) => *lock(&self.cursor),
            None => self.board.newest(),
        };
        Webhook {
            state: match settings {
                Some(_) => stats.state.word(),
                None => "off",
            }
            .to_owned(),
            waiting: self.board.waiting(cursor),
            delivered: stats.delivered,
            lost: stats.lost,
            last_error: stats.last_error,
            kinds: settings
                .as_ref()
                .map_or_else(Vec::new, WebhookSettings::kinds),
            url: settings.map(|settings| settings.url),
        }
    }

    /// Posts notices until the node ends.
    pub(crate) async fn run(&self, services: &Services) {
        let mut changed = self.settings.subscribe();
        loop {
            let settings = changed.borrow_and_update().clone();
            tokio::select! {
                () = self.post_all(services, settings) => {}
                gone = changed.changed() => if gone.is_err() { return },
            }
        }
    }

    async fn post_all(&self, services: &Services, settings: Option<WebhookSettings>) {
        let Some(settings) = settings else {
            return std::future::pending().await;
        };
        let poster = Poster::new(&settings);
        let mut reader = loop {
            let (board, node) = (Arc::clone(&self.board), self.node.clone());
            let after = Some(*lock(&self.cursor));
            match Reader::new(board, node, services.broker(), settings.kinds(), after) {
                Ok(reader) => break reader,
                // Others have all places of the broker.
                Err(error) => {
                    lock(&self.stats).last_error = Some(error.to_string());
                    sleep(tries::LONGEST_WAIT).await;
                }
            }
        };
        let mut tries = Tries::default();
        loop {
            *lock(&self.cursor) = reader.cursor();
            let notice = reader.next().await;
            if let What::Missed { count } = &notice.what {
                lock(&self.stats).lost += count.unwrap_or(1);
            }
            self.deliver(&poster, &notice, &mut tries).await;
        }
    }

    /// Posts a notice until it is taken or given up.
    async fn deliver(&self, poster: &Poster, notice: &Notice, tries: &mut Tries) {
        let Ok(body) = self.body(notice) else {
            return;
        };
        tries.begin();
        loop {
            let Err(error) = poster.post(&body).await else {
                tries.succeeded();
                let mut stats = lock(&self.stats);
                stats.delivered += 1;
                stats.state = State::Working;
                return;
            };
            let next = tries.failed(&error);
            self.note(&error, next);
            match next {
                Next::Again(wait) => sleep(wait).await,
                Next::GiveUp => return,
                Next::Pause(wait) => {
                    sleep(wait).await;
                    return;
                }
            }
        }
    }

    fn note(&self, failure: &PostError, next: Next) {
        let words = error::describe(failure);
        tracing::info!(error = words, ?next, "the webhook failed");
        let mut stats = lock(&self.stats);
        stats.last_error = Some(words);
        match next {
            Next::Again(_) => stats.state = State::Retrying,
            Next::GiveUp => stats.lost += 1,
            Next::Pause(_) => {
                stats.lost += 1;
                stats.state = State::Paused;
            }
        }
    }

    /// Posts a notice now, once.
    pub(crate) async fn test(&self) -> Result<WebhookTested, ApiError> {
        let settings = self.settings.borrow().clone();
        let settings = settings.ok_or_else(|| {
            ApiError::invalid("there is no webhook").with_hint("pilotctl webhook set URL")
        })?;
        let notice = Notice {
            id: None,
            at: now(),
            what: What::Test {
                agent: self.summary(),
            },
        };
        let body = self.body(&notice)?;
        let started = Instant::now();
        let posted = Poster::new(&settings).post(&body).await;
        let status = posted.map_err(|error| failed(&settings.url, &error))?;
        Ok(WebhookTested {
            url: settings.url,
            status,
            duration_ms: millis(started.elapsed()),
        })
    }

    fn body(&self, notice: &Notice) -> Result<Vec<u8>, ApiError> {
        let posted = Posted {
            to: self.summary(),
            notice,
        };
        serde_json::to_vec(&posted).map_err(|error| ApiError::internal(error.to_string()))
    }

    fn summary(&self) -> AgentSummary {
        summary(self.node.agent(), self.node.hostname())
    }
}

fn failed(url: &str, failure: &PostError) -> ApiError {
    let words = format!("the webhook {url}: {}", error::describe(failure));
    let code = match failure {
        PostError::Timeout => pilot_api::ErrorCode::Timeout,
        PostError::Ask(_) | PostError::Status { .. } => pilot_api::ErrorCode::ConnectionFailed,
    };
    ApiError::new(code, words)
        .with_hint("its receiver has to answer a POST with a status of 200 to 299")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Counters and words: each is whole on its own.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
