//! The owner's filter: an app that is asked about what comes and goes, at the stages that the owner switched it on for.
//!
//! Without a filter, or at a stage that it is not on for, nothing is asked and nothing is copied. What is asked waits for the app at most
//! [`PATIENCE`]; what becomes of it when the app fails is the owner's choice, and by default it is blocked: nothing gets past a filter by
//! making it fail.

mod calls;
mod setting;
#[cfg(test)]
mod tests;
mod verdict;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use pilot::Node;
use pilot_api::types::{FilterCounts, FilterOnFailure, FilterStage, Filtered, FilteredVerdict};
use pilot_api::{ApiError, ErrorCode};
use pilot_appstore::{AppId, AuditEntry, CallRequest, Host};
use pilot_types::AgentId;
use pilot_wire::Topic;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::timeout;

pub(crate) use self::calls::FilteredCallError;
pub(crate) use self::setting::{FilterError, Setting};
use crate::error::describe;
use crate::named;

/// The method that a filter serves.
pub(crate) const METHOD: &str = "filter";
/// How long one question to the filter may take, with the wait for its turn.
const PATIENCE: Duration = Duration::from_secs(3);
/// Questions at a time; the others wait their turn within [`PATIENCE`]. With a text of 512 KiB each, 8 MiB.
const AT_A_TIME: usize = 16;
/// Longest text that a filter is asked about. A longer one counts as a failure of the filter: nothing gets past it by its length.
const MAX_TEXT: usize = 512 * 1024;
/// Who asks, in the audit log.
const DAEMON: &str = "daemon";

/// Who is asked. The apps of a home, or in tests whatever answers.
pub(crate) trait Asked: Send + Sync + 'static {
    /// Calls the app's method `filter`.
    fn ask(&self, app: &AppId, params: Value)
    -> impl Future<Output = Result<Value, String>> + Send;
    /// Keeps an entry.
    fn audit(&self, entry: &AuditEntry);
}

impl Asked for Host {
    async fn ask(&self, app: &AppId, params: Value) -> Result<Value, String> {
        let request = CallRequest {
            app: app.to_string(),
            method: METHOD.to_owned(),
            params,
            caller: DAEMON.into(),
            deadline: Some(PATIENCE),
        };
        let called = self.call(request).await;
        called.map_err(|error| describe(&error))
    }

    fn audit(&self, entry: &AuditEntry) {
        self.audit().add(entry);
    }
}

/// What is to be looked at.
#[derive(Clone, Default)]
pub(crate) struct Passing<'a> {
    /// Who it comes from, and who it goes to, as they are called here.
    pub(crate) from: String,
    pub(crate) to: String,
    /// The other agent, for the audit log.
    pub(crate) agent: Option<AgentId>,
    /// The app and its method, of arguments and results; the topic of an event.
    pub(crate) about: Option<(&'static str, String)>,
    /// What it says, as text.
    pub(crate) text: &'a [u8],
}

/// The filter of a home.
pub(crate) struct Filter<A = Host> {
    asked: Arc<A>,
    path: PathBuf,
    setting: RwLock<Option<Arc<Setting>>>,
    /// Held while the file is replaced.
    file: Mutex<()>,
    places: Semaphore,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    passed: AtomicU64,
    flagged: AtomicU64,
    blocked: AtomicU64,
    failed: AtomicU64,
    last_failure: Mutex<Option<String>>,
}

impl<A: Asked> Filter<A> {
    /// What the home has set. Blocks on the disk.
    ///
    /// # Errors
    /// [`FilterError`]: a daemon that does not know its filter does not start without one.
    pub(crate) fn open(home: &Path, asked: Arc<A>) -> Result<Self, FilterError> {
        let path = home.join(setting::FILE);
        let setting = setting::read(&path)?;
        Ok(Self {
            asked,
            path,
            setting: RwLock::new(setting.map(Arc::new)),
            file: Mutex::default(),
            places: Semaphore::new(AT_A_TIME),
            counts: Counts::default(),
        })
    }

    /// What is set.
    pub(crate) fn setting(&self) -> Option<Arc<Setting>> {
        let setting = self.setting.read();
        setting.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the app is asked at this stage.
    pub(crate) fn is_on(&self, stage: FilterStage) -> bool {
        let setting = self.setting.read();
        let setting = setting.unwrap_or_else(PoisonError::into_inner);
        setting
            .as_ref()
            .is_some_and(|setting| setting.stages.contains(&stage))
    }

    /// Sets another one, or none. Blocks on the disk.
    ///
    /// # Errors
    /// [`FilterError`]; it is as it was then.
    pub(crate) fn set(&self, setting: Option<Setting>) -> Result<(), FilterError> {
        let _file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        setting::write(&self.path, setting.as_ref())?;
        let mut held = self.setting.write().unwrap_or_else(PoisonError::into_inner);
        *held = setting.map(Arc::new);
        Ok(())
    }

    /// Asks an app that is to be the filter about an empty text.
    ///
    /// # Errors
    /// Why it cannot be the filter, in words.
    pub(crate) async fn probe(&self, app: &AppId, stage: FilterStage) -> Result<(), String> {
        let question = params(stage, &Passing::default());
        let answer = timeout(PATIENCE, self.asked.ask(app, question));
        let answer = answer.await.map_err(|_| too_slow())??;
        verdict::parse(app, &answer).map(drop)
    }

    /// What the filter says. `None` where it is not asked, or lets it pass.
    pub(crate) async fn look(&self, stage: FilterStage, passing: Passing<'_>) -> Option<Filtered> {
        let setting = self.setting()?;
        if !setting.stages.contains(&stage) || passing.is_of(&setting.app) {
            return None;
        }
        let asked = timeout(PATIENCE, self.ask(&setting.app, stage, &passing));
        let said = asked.await.unwrap_or_else(|_| Err(too_slow()));
        let filtered = match said {
            Ok(said) => said,
            Err(words) => self.failed(&setting, words),
        };
        self.count(filtered.as_ref());
        if let Some(filtered) = &filtered {
            self.tell(&setting.app, stage, &passing, filtered);
        }
        filtered
    }

    async fn ask(
        &self,
        app: &AppId,
        stage: FilterStage,
        passing: &Passing<'_>,
    ) -> Result<Option<Filtered>, String> {
        if passing.text.len() > MAX_TEXT {
            let kib = MAX_TEXT / 1024;
            return Err(format!(
                "a text of more than {kib} KiB, which no filter is asked about"
            ));
        }
        let _place = self
            .places
            .acquire()
            .await
            .map_err(|error| error.to_string())?;
        let answer = self.asked.ask(app, params(stage, passing)).await?;
        verdict::parse(app, &answer)
    }

    fn failed(&self, setting: &Setting, words: String) -> Option<Filtered> {
        self.counts.failed.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(app = %setting.app, error = words, "the filter failed");
        let reason = format!("the filter failed: {words}");
        let last = self.counts.last_failure.lock();
        *last.unwrap_or_else(PoisonError::into_inner) = Some(words);
        let verdict = match setting.on_failure {
            FilterOnFailure::Block => FilteredVerdict::Block,
            FilterOnFailure::Flag => FilteredVerdict::Flag,
            FilterOnFailure::Pass => return None,
        };
        Some(Filtered {
            app: setting.app.to_string(),
            verdict,
            reason,
            findings: json!([]),
        })
    }

    fn count(&self, filtered: Option<&Filtered>) {
        let count = match filtered.map(|filtered| filtered.verdict) {
            None => &self.counts.passed,
            Some(FilteredVerdict::Flag) => &self.counts.flagged,
            Some(FilteredVerdict::Block) => &self.counts.blocked,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// What did not just pass is in the audit log, beside the call of the app itself.
    fn tell(&self, app: &AppId, stage: FilterStage, passing: &Passing<'_>, filtered: &Filtered) {
        let outcome = match filtered.verdict {
            FilteredVerdict::Flag => "flag",
            FilteredVerdict::Block => "block",
        };
        self.asked.audit(&AuditEntry {
            agent: passing.agent.map(|agent| agent.to_string()),
            target: Some(stage.name().to_owned()),
            outcome: outcome.to_owned(),
            reason: Some(filtered.reason.clone()),
            ..AuditEntry::of(app, METHOD, DAEMON)
        });
    }

    /// What was asked since the daemon started.
    pub(crate) fn counts(&self) -> FilterCounts {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let last = self.counts.last_failure.lock();
        FilterCounts {
            passed: of(&self.counts.passed),
            flagged: of(&self.counts.flagged),
            blocked: of(&self.counts.blocked),
            failed: of(&self.counts.failed),
            last_failure: last.unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// The same as [`Self::look`], and what is blocked is an error. `what` is what does not go on, for people.
    ///
    /// # Errors
    /// `permission_denied`.
    pub(crate) async fn pass(
        &self,
        stage: FilterStage,
        what: &str,
        passing: Passing<'_>,
    ) -> Result<Option<Filtered>, ApiError> {
        match self.look(stage, passing).await {
            Some(filtered) if filtered.is_blocked() => Err(blocked(what, &filtered)),
            looked => Ok(looked),
        }
    }
}

/// What the filter says of an event that came from an agent.
pub(crate) async fn look_at_event(
    filter: &Filter,
    node: &Node,
    (from, topic, body): (AgentId, &Topic, &[u8]),
) -> Option<Filtered> {
    if from == node.agent() || !filter.is_on(FilterStage::Events) {
        return None;
    }
    let passing = Passing {
        from: named::agent(node.hostname_of(&from).as_ref(), from.address()),
        to: named::own(node),
        agent: Some(from),
        about: Some(("topic", topic.to_string())),
        text: body,
    };
    filter.look(FilterStage::Events, passing).await
}

/// What did not go on, for people.
pub(crate) fn blocked(what: &str, filtered: &Filtered) -> ApiError {
    let words = format!(
        "the filter {} blocks {what}: {}",
        filtered.app, filtered.reason
    );
    ApiError::new(ErrorCode::PermissionDenied, words)
        .with_hint("its owner changes that: pilotctl appstore filter status")
}

impl Passing<'_> {
    /// What a filter itself is asked, and answers, is not filtered.
    fn is_of(&self, app: &AppId) -> bool {
        matches!(&self.about, Some(("app", name)) if app.is_called(name))
    }
}

fn params(stage: FilterStage, passing: &Passing<'_>) -> Value {
    let mut params = json!({
        "stage": stage.name(),
        "from": passing.from,
        "to": passing.to,
        "text": String::from_utf8_lossy(passing.text),
    });
    if let Some((key, value)) = &passing.about {
        params[*key] = json!(value);
    }
    params
}

fn too_slow() -> String {
    format!("it did not answer within {} s", PATIENCE.as_secs())
}
