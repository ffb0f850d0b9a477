//! What each peer may call, and how much of that it has used.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pilot_appstore::AppId;
use pilot_store::replace_file;
use pilot_types::{AgentId, UnixTime};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::watch;

/// The file in the home.
const FILE: &str = "apps-peers.json";
/// Calls of one peer at a time. Each holds arguments of at most 1 MiB and a result of 1 MiB, unless its app asks for more: 16 MiB of
/// one peer, 512 MiB of the 256 streams that the service holds.
const MAX_AT_A_TIME: usize = 8;
/// Refusals of one peer that have entries in the audit log in a minute: 10,000 more do not push others' out.
const REFUSALS_A_MINUTE: u32 = 10;
/// Parts of files of the catalogue, 1 MiB each at most, that one peer may read in a minute.
const PARTS_A_MINUTE: u32 = 600;
const MINUTE: Duration = Duration::from_secs(60);

/// What one peer may call.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct AppTerms {
    /// When the grant was made that these belong to, in milliseconds since 1970: they end with it.
    pub(crate) approved_at_unix_ms: u64,
    /// Which apps.
    pub(crate) apps: BTreeSet<AppId>,
    /// How many questions a minute.
    pub(crate) per_minute: u32,
    /// How many calls in all.
    pub(crate) budget: Option<u64>,
    /// Whether it may read the catalogue that is shown here.
    #[serde(default)]
    pub(crate) catalogue: bool,
    /// How many were made. Only counted where there is a budget.
    #[serde(default)]
    pub(crate) used: u64,
}

impl AppTerms {
    /// Whether they were given with the grant that was made then.
    pub(crate) fn belong_to(&self, approved_at: UnixTime) -> bool {
        self.approved_at_unix_ms == approved_at.as_millis()
    }

    /// The app that a peer means; `None` if it may not call it, whatever is installed.
    fn find(&self, name: &str) -> Option<&AppId> {
        if let Some(whole) = self.apps.iter().find(|id| id.as_str() == name) {
            return Some(whole);
        }
        let mut called = self.apps.iter().filter(|id| id.short() == name);
        let first = called.next()?;
        called.next().is_none().then_some(first)
    }
}

/// Why a peer's question is not answered.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub(crate) enum Refused {
    /// Nothing was granted, or not any more.
    #[error("no app was granted")]
    NoApps,
    /// Not this app.
    #[error("this app was not granted")]
    NotGranted,
    /// The catalogue was not granted.
    #[error("the catalogue was not granted")]
    NoCatalogue,
    /// Too many questions in a minute.
    #[error("{per_minute} questions a minute were granted")]
    Rate { per_minute: u32, wait: Duration },
    /// Too many at a time.
    #[error("at most {MAX_AT_A_TIME} calls at a time")]
    Busy,
    /// The budget is used up.
    #[error("all {0} calls that were granted have been made")]
    Budget(u64),
    /// The count of its calls cannot be kept.
    #[error("the count of calls cannot be kept")]
    NotKept,
}

/// Why what peers may call cannot be read or kept.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum PeerAppsError {
    /// The file cannot be read or written.
    #[error("cannot keep {}", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// It is damaged.
    #[error("{} is damaged: remove it, and say again which apps peers may call", path.display())]
    Damaged {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
}

/// What peers may call. There is an entry for each agent that the owner named apps for.
pub(crate) struct PeerApps {
    path: PathBuf,
    table: Mutex<BTreeMap<AgentId, Entry>>,
    /// Held while the file is replaced: what is written last is what holds.
    file: Mutex<()>,
    changes: watch::Sender<()>,
}

struct Entry {
    terms: AppTerms,
    minute: Instant,
    questions: u32,
    parts: u32,
    refusals: u32,
    at_a_time: usize,
}

impl Entry {
    fn new(terms: AppTerms) -> Self {
        Self {
            terms,
            minute: Instant::now(),
            questions: 0,
            parts: 0,
            refusals: 0,
            at_a_time: 0,
        }
    }

    fn roll(&mut self, now: Instant) {
        if now.saturating_duration_since(self.minute) >= MINUTE {
            (self.minute, self.questions, self.refusals) = (now, 0, 0);
            self.parts = 0;
        }
    }
}

impl PeerApps {
    /// Reads what is kept. Blocks on the disk.
    ///
    /// # Errors
    /// [`PeerAppsError`].
    pub(crate) fn open(home: &Path) -> Result<Self, PeerAppsError> {
        let path = home.join(FILE);
        let terms = match std::fs::read(&path) {
            Ok(text) => parse(&text).map_err(|source| PeerAppsError::Damaged {
                path: path.clone(),
                source,
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(source) => return Err(PeerAppsError::Io { path, source }),
        };
        let table = terms
            .into_iter()
            .map(|(agent, terms)| (agent, Entry::new(terms)));
        Ok(Self {
            table: Mutex::new(table.collect()),
            path,
            file: Mutex::default(),
            changes: watch::Sender::new(()),
        })
    }

    /// What a peer may call, if anything.
    pub(crate) fn terms(&self, agent: &AgentId) -> Option<AppTerms> {
        self.lock().get(agent).map(|entry| entry.terms.clone())
    }

    /// Whether a peer may ask anything.
    pub(crate) fn knows(&self, agent: &AgentId) -> bool {
        self.lock().contains_key(agent)
    }

    /// Replaces what a peer may call; calls that go on and are not allowed any more end. Blocks on the disk.
    ///
    /// # Errors
    /// [`PeerAppsError`]; nothing that was not kept is allowed then.
    pub(crate) fn set(&self, agent: AgentId, terms: Option<AppTerms>) -> Result<(), PeerAppsError> {
        let changed = {
            let mut table = self.lock();
            let had = table.get(&agent).map(|entry| entry.terms.clone());
            let changed = had != terms;
            match terms {
                // Those who are in the middle of a call keep their places.
                Some(terms) => match table.get_mut(&agent) {
                    Some(entry) => entry.terms = terms,
                    None => drop(table.insert(agent, Entry::new(terms))),
                },
                None => drop(table.remove(&agent)),
            }
            changed
        };
        if !changed {
            return Ok(());
        }
        self.changes.send_replace(());
        self.keep().inspect_err(|_| {
            self.lock().remove(&agent);
            self.changes.send_replace(());
        })
    }

    /// Takes one question of a peer into account.
    pub(crate) fn admit(&self, agent: &AgentId) -> Result<(), Refused> {
        let now = Instant::now();
        let mut table = self.lock();
        let entry = table.get_mut(agent).ok_or(Refused::NoApps)?;
        entry.roll(now);
        let per_minute = entry.terms.per_minute;
        if entry.questions >= per_minute {
            let passed = now.saturating_duration_since(entry.minute);
            let wait = MINUTE.saturating_sub(passed);
            return Err(Refused::Rate { per_minute, wait });
        }
        entry.questions += 1;
        Ok(())
    }

    /// Takes one part of a file of the catalogue into account.
    pub(crate) fn admit_part(&self, agent: &AgentId) -> Result<(), Refused> {
        let mut table = self.lock();
        let entry = table.get_mut(agent).ok_or(Refused::NoApps)?;
        if !entry.terms.catalogue {
            return Err(Refused::NoCatalogue);
        }
        let now = Instant::now();
        entry.roll(now);
        if entry.parts >= PARTS_A_MINUTE {
            let passed = now.saturating_duration_since(entry.minute);
            return Err(Refused::Rate {
                per_minute: PARTS_A_MINUTE,
                wait: MINUTE.saturating_sub(passed),
            });
        }
        entry.parts += 1;
        Ok(())
    }

    /// The app that a peer means, and a place for its call.
    pub(crate) fn begin(
        self: &Arc<Self>,
        agent: AgentId,
        name: &str,
    ) -> Result<(AppId, Place), Refused> {
        let mut table = self.lock();
        let entry = table.get_mut(&agent).ok_or(Refused::NoApps)?;
        let app = entry.terms.find(name).ok_or(Refused::NotGranted)?.clone();
        if entry.at_a_time >= MAX_AT_A_TIME {
            return Err(Refused::Busy);
        }
        entry.at_a_time += 1;
        let peers = Arc::clone(self);
        Ok((app, Place { peers, agent }))
    }

    /// Counts a call against the peer's budget, if it has one, and keeps the count before the call is made: no end of the daemon fills
    /// it up again. Blocks on the disk.
    pub(crate) fn spend(&self, agent: &AgentId) -> Result<(), Refused> {
        {
            let mut table = self.lock();
            let entry = table.get_mut(agent).ok_or(Refused::NoApps)?;
            let Some(budget) = entry.terms.budget else {
                return Ok(());
            };
            if entry.terms.used >= budget {
                return Err(Refused::Budget(budget));
            }
            entry.terms.used += 1;
        }
        self.keep().map_err(|error| {
            tracing::error!(error = crate::error::describe(&error), "no call of a peer");
            Refused::NotKept
        })
    }

    /// Whether a refusal has a place in the audit log.
    pub(crate) fn is_told(&self, agent: &AgentId) -> bool {
        let mut table = self.lock();
        let Some(entry) = table.get_mut(agent) else {
            return false;
        };
        entry.roll(Instant::now());
        entry.refusals = entry.refusals.saturating_add(1);
        entry.refusals <= REFUSALS_A_MINUTE
    }

    /// Resolves once the app is not allowed any more.
    pub(crate) async fn ended(&self, agent: &AgentId, app: &AppId, approved_at: UnixTime) {
        let mut changes = self.changes.subscribe();
        // An error would say that the sender is gone, which is borrowed here.
        let holds = |terms: AppTerms| terms.belong_to(approved_at) && terms.apps.contains(app);
        let ended = |(): &()| !self.terms(agent).is_some_and(holds);
        let _ = changes.wait_for(ended).await;
    }

    fn keep(&self) -> Result<(), PeerAppsError> {
        let _file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let kept: BTreeMap<String, AppTerms> = {
            let table = self.lock();
            let kept = table.iter();
            kept.map(|(agent, entry)| (agent.to_string(), entry.terms.clone()))
                .collect()
        };
        let text = serde_json::to_vec_pretty(&kept).unwrap_or_default();
        replace_file(&self.path, &text).map_err(|source| PeerAppsError::Io {
            path: self.path.clone(),
            source,
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AgentId, Entry>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parse(text: &[u8]) -> Result<BTreeMap<AgentId, AppTerms>, serde_json::Error> {
    let kept: BTreeMap<String, AppTerms> = serde_json::from_slice(text)?;
    let agents = kept.into_iter().map(|(agent, terms)| {
        let agent: AgentId = agent.parse().map_err(serde::de::Error::custom)?;
        Ok((agent, terms))
    });
    agents.collect()
}

/// A call's place among those of its peer.
pub(crate) struct Place {
    peers: Arc<PeerApps>,
    agent: AgentId,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(entry) = self.peers.lock().get_mut(&self.agent) {
            entry.at_a_time = entry.at_a_time.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests;
