//! Which member of a group is asked first: a memory of how each one did, and an order made of it.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use pilot::AgentId;
use pilot_wire::Capability;
use semver::{Version, VersionReq};

/// Members that are remembered; beyond it the one that was asked longest ago is forgotten. With 100 bytes each, 100 KiB.
const MAX_KNOWN: usize = 1024;
/// How long a failure counts.
const FORGIVEN: Duration = Duration::from_secs(60);
/// What is assumed of a member that was never heard from: a round trip across an ocean.
const UNKNOWN: Duration = Duration::from_millis(100);

/// What a member has to be able to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Wanted {
    name: String,
    version: VersionReq,
}

impl Wanted {
    /// `NAME`, or `NAME@VERSION` for that version and later compatible ones.
    ///
    /// # Errors
    /// What was expected.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (name, version) = match text.split_once('@') {
            None => (text, VersionReq::STAR),
            Some((name, version)) => {
                let parsed = version.parse();
                let expected = |_| {
                    format!("invalid version {version:?} of a capability: expected 1.2 or 1.2.0")
                };
                (name, parsed.map_err(expected)?)
            }
        };
        if name.is_empty() {
            return Err("expected the name of a capability".to_owned());
        }
        Ok(Self {
            name: name.to_owned(),
            version,
        })
    }

    /// The highest version that fits, if any does.
    pub(crate) fn best_of(&self, said: &[Capability]) -> Option<Version> {
        let named = said.iter().filter(|it| it.name == self.name);
        let versions = named.filter_map(|it| it.version.parse().ok());
        versions.filter(|it| self.version.matches(it)).max()
    }
}

/// A member that can do it.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) agent: AgentId,
    pub(crate) version: Version,
    /// Of the live session.
    pub(crate) rtt: Option<Duration>,
}

/// Lower is asked sooner. The order of the fields is the policy.
#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Rank {
    failures: u32,
    /// Requests of ours that it has not answered.
    open: u32,
    /// How long it takes, in classes of twice as long: small differences are chance.
    class: u32,
    version: Reverse<Version>,
    /// Equal ones take turns.
    last_asked: Option<Instant>,
    agent: AgentId,
}

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    failures: u32,
    failed_at: Option<Instant>,
    open: u32,
    /// From a request to its answer, smoothed.
    took: Option<Duration>,
    last_asked: Option<Instant>,
}

/// How members did.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    known: BTreeMap<AgentId, Known>,
}

impl Memory {
    /// The candidates, the best first.
    pub(crate) fn ranked(&self, now: Instant, mut candidates: Vec<Candidate>) -> Vec<Candidate> {
        candidates.sort_by_cached_key(|candidate| self.rank(now, candidate));
        candidates
    }

    fn rank(&self, now: Instant, candidate: &Candidate) -> Rank {
        let known = self.known.get(&candidate.agent).copied();
        let known = known.unwrap_or_default();
        let counts = |at: Instant| now.saturating_duration_since(at) < FORGIVEN;
        let took = known.took.or(candidate.rtt).unwrap_or(UNKNOWN);
        Rank {
            failures: if known.failed_at.is_some_and(counts) {
                known.failures
            } else {
                0
            },
            open: known.open,
            class: 128 - took.as_micros().leading_zeros(),
            version: Reverse(candidate.version.clone()),
            last_asked: known.last_asked,
            agent: candidate.agent,
        }
    }

    /// A member is asked; [`Self::ended`] follows.
    pub(crate) fn asked(&mut self, now: Instant, agent: AgentId) {
        if self.known.len() >= MAX_KNOWN && !self.known.contains_key(&agent) {
            self.forget_one();
        }
        let known = self.known.entry(agent).or_default();
        known.open += 1;
        known.last_asked = Some(now);
    }

    fn forget_one(&mut self) {
        let idle = self.known.iter().filter(|(_, known)| known.open == 0);
        let oldest = idle.min_by_key(|(_, known)| known.last_asked);
        if let Some(agent) = oldest.map(|(agent, _)| *agent) {
            self.known.remove(&agent);
        }
    }

    /// How it went: the time to its answer, a failure, or neither.
    pub(crate) fn ended(&mut self, now: Instant, agent: AgentId, end: End) {
        let Some(known) = self.known.get_mut(&agent) else {
            return;
        };
        known.open = known.open.saturating_sub(1);
        match end {
            End::Answered(took) => {
                known.failures = 0;
                // As RFC 6298 smooths round trips.
                known.took = Some(known.took.map_or(took, |before| (before * 7 + took) / 8));
            }
            End::Failed => {
                known.failures = known.failures.saturating_add(1);
                known.failed_at = Some(now);
            }
            End::GivenUp => {}
        }
    }
}

/// How asking a member ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// With what was asked for, after so long.
    Answered(Duration),
    /// It does not do now.
    Failed,
    /// Another one was faster, or the caller left.
    GivenUp,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capability(text: &str) -> Capability {
        let (name, version) = text.split_once('@').unwrap();
        Capability {
            name: name.to_owned(),
            version: version.to_owned(),
            description: String::new(),
            input: None,
            output: None,
        }
    }

    fn agent(byte: u8) -> AgentId {
        AgentId::new([byte; 32])
    }

    fn candidate(byte: u8, version: &str, rtt: Option<u64>) -> Candidate {
        Candidate {
            agent: agent(byte),
            version: version.parse().unwrap(),
            rtt: rtt.map(Duration::from_millis),
        }
    }

    fn order(memory: &Memory, now: Instant, candidates: &[Candidate]) -> Vec<u8> {
        let ranked = memory.ranked(now, candidates.to_vec());
        ranked.iter().map(|it| it.agent.as_bytes()[0]).collect()
    }

    #[test]
    fn a_version_takes_itself_and_later_compatible_ones() {
        let said = ["plan@1.2.0", "plan@1.4.1", "plan@2.0.0", "say@9.0.0"].map(capability);
        let best = |text: &str| {
            let wanted = Wanted::parse(text).unwrap();
            wanted.best_of(&said).map(|version| version.to_string())
        };
        assert_eq!(best("plan").as_deref(), Some("2.0.0"));
        assert_eq!(best("plan@1.3").as_deref(), Some("1.4.1"));
        assert_eq!((best("plan@3"), best("plane")), (None, None));
        assert!(Wanted::parse("plan@one").is_err() && Wanted::parse("@1").is_err());
    }

    #[test]
    fn the_nearest_is_asked_first_then_the_newest_then_by_turns() {
        let now = Instant::now();
        let mut memory = Memory::default();
        let near = [
            candidate(1, "1.0.0", Some(80)),
            candidate(2, "1.0.0", Some(3)),
        ];
        assert_eq!(order(&memory, now, &near), [2, 1]);
        let alike = [
            candidate(1, "1.0.0", Some(5)),
            candidate(2, "1.1.0", Some(6)),
        ];
        assert_eq!(order(&memory, now, &alike), [2, 1]);
        let same = [candidate(1, "1.0.0", None), candidate(2, "1.0.0", None)];
        assert_eq!(order(&memory, now, &same), [1, 2]);
        memory.asked(now, agent(1));
        memory.ended(now, agent(1), End::GivenUp);
        assert_eq!(order(&memory, now, &same), [2, 1]);
    }

    #[test]
    fn who_is_busy_or_failed_waits_and_is_forgiven_after_a_minute() {
        let now = Instant::now();
        let both = [
            candidate(1, "1.0.0", Some(1)),
            candidate(2, "1.0.0", Some(50)),
        ];
        let mut memory = Memory::default();
        memory.asked(now, agent(1));
        assert_eq!(order(&memory, now, &both), [2, 1], "it has a request");
        memory.ended(now, agent(1), End::Failed);
        assert_eq!(order(&memory, now, &both), [2, 1], "it failed");
        assert_eq!(order(&memory, now + FORGIVEN, &both), [1, 2]);
        memory.asked(now, agent(1));
        let slow = End::Answered(Duration::from_millis(900));
        memory.ended(now, agent(1), slow);
        assert_eq!(order(&memory, now, &both), [2, 1], "its answers are slow");
    }

    #[test]
    fn memory_is_bounded_and_keeps_who_has_a_request() {
        let now = Instant::now();
        let mut memory = Memory::default();
        let id = |number: u32| {
            let mut bytes = [0; 32];
            bytes[..4].copy_from_slice(&number.to_be_bytes());
            AgentId::new(bytes)
        };
        memory.asked(now, id(0));
        for number in 1..3000 {
            memory.asked(now + Duration::from_secs(number.into()), id(number));
            memory.ended(now, id(number), End::Failed);
        }
        assert_eq!(memory.known.len(), MAX_KNOWN);
        assert_eq!(memory.known[&id(0)].open, 1);
    }
}
