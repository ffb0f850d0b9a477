//! A request to the best member of a group, and to the next one where that does not answer.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pilot::{AgentId, DialOptions, GroupInfo, Hostname, Node, Port, Target};
use pilot_api::types::{RouteAttempt, RouteOutcome, RouteRequest, Routed};
use pilot_api::{ApiError, ErrorCode, PeerRef};
use pilot_apps::{DataExchange, Delivery, send_message};
use pilot_wire::Message;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::messages::{check_reply, new_head, shown_reply};
use super::{Daemon, view};
use crate::error;
use crate::inbox::StoredInbox;
use crate::routing::{Candidate, End, Memory, Wanted};

/// Members that are asked for one request.
const MAX_ASKED: usize = 8;
/// How long all of it takes where the caller does not say.
const DEFAULT_PATIENCE_MS: u64 = 30_000;
/// Where the caller waits without end: its members do not.
const LONGEST_PATIENCE_MS: u64 = 24 * 3600 * 1000;
/// Before the caller's own deadline, so that the outcome gets there.
const MARGIN_MS: u64 = 100;
/// The least that a member has before the next one is asked too.
const LEAST_TURN: Duration = Duration::from_secs(1);

impl Daemon {
    pub(super) async fn route_to_best(&self, request: RouteRequest) -> Result<Routed, ApiError> {
        let wanted = Wanted::parse(&request.capability).map_err(ApiError::invalid)?;
        let info = self.group(Some(&request.group))?;
        let waiting = self.candidates(&info, &wanted).await?;
        if waiting.is_empty() {
            return Err(no_candidate(&info, &request.capability));
        }
        let until = Instant::now() + patience(request.wait_ms, request.timeout_ms);
        let body: Arc<[u8]> = request.body.into_bytes().into();
        let name = info.policy.name.to_string();
        self.pass_out("the request", name, &body).await?;
        let head = new_head(request.kind, &body);
        let id = head.id;
        let asker = Asker {
            node: self.node.clone(),
            exchange: Arc::clone(self.services.exchange()),
            memory: Arc::clone(&self.memory),
            head,
            body,
            waits: request.wait_ms.is_some(),
        };
        let mut round = Round::new(asker, waiting, until);
        let Some(taken) = round.run().await else {
            return Err(nobody(&info, &round.attempts));
        };
        if let Some(reply) = &taken.reply {
            check_reply(reply)?;
        }
        let reply = taken.reply.map(shown_reply);
        Ok(Routed {
            network_id: info.network,
            target: taken.agent.address(),
            node_id: taken.agent.node(),
            id,
            attempts: round.attempts,
            reply,
        })
    }

    /// Members that are online and say that they can do it, the best first.
    async fn candidates(
        &self,
        info: &GroupInfo,
        wanted: &Wanted,
    ) -> Result<VecDeque<Named>, ApiError> {
        let members = self.node.group_members(info.group).await;
        let members = members.map_err(|error| error::group(&error, info.policy.name.as_str()))?;
        let (peers, us) = (self.node.peers(), self.node.agent());
        let mut names = BTreeMap::new();
        let mut candidates = vec![];
        for member in members {
            let version = wanted.best_of(&member.capabilities);
            let Some(version) = version.filter(|_| member.is_online && member.agent != us) else {
                continue;
            };
            let peer = peers.iter().find(|peer| peer.agent == member.agent);
            candidates.push(Candidate {
                agent: member.agent,
                version,
                rtt: peer.and_then(|peer| peer.rtt),
            });
            names.insert(member.agent, member.hostname);
        }
        let ranked = lock(&self.memory).ranked(now(), candidates);
        let named = ranked.into_iter().map(|candidate| Named {
            agent: candidate.agent,
            hostname: names.remove(&candidate.agent).flatten(),
        });
        Ok(named.take(MAX_ASKED).collect())
    }
}

/// A member that may be asked.
struct Named {
    agent: AgentId,
    hostname: Option<Hostname>,
}

/// A member that has it, with its answer where that was waited for.
struct Taken {
    agent: AgentId,
    reply: Option<Delivery>,
}

/// A member's number among those that were asked, and how asking it ended.
type Ended = (usize, AgentId, Result<Option<Delivery>, ApiError>);

/// One request, as it goes round.
struct Round {
    asker: Asker,
    waiting: VecDeque<Named>,
    attempts: Vec<RouteAttempt>,
    asked: JoinSet<Ended>,
    turn_ends: Instant,
    until: Instant,
}

impl Round {
    fn new(asker: Asker, waiting: VecDeque<Named>, until: Instant) -> Self {
        Self {
            asker,
            waiting,
            attempts: vec![],
            asked: JoinSet::new(),
            turn_ends: Instant::now(),
            until,
        }
    }

    /// Asks one after another. Who was asked before may still answer: the first answer counts.
    async fn run(&mut self) -> Option<Taken> {
        loop {
            if self.asked.is_empty() || Instant::now() >= self.turn_ends {
                self.ask_next();
            }
            if self.asked.is_empty() {
                return None;
            }
            let wakes_at = if self.waiting.is_empty() {
                self.until
            } else {
                self.turn_ends.min(self.until)
            };
            tokio::select! {
                Some(ended) = self.asked.join_next() => {
                    let taken = self.note(ended);
                    if taken.is_some() {
                        return taken;
                    }
                }
                () = sleep_until(wakes_at) => {
                    if Instant::now() >= self.until {
                        return None;
                    }
                }
            }
        }
    }

    fn ask_next(&mut self) {
        let Some(Named { agent, hostname }) = self.waiting.pop_front() else {
            return;
        };
        let left = self.until.saturating_duration_since(Instant::now());
        let shares = u32::try_from(self.waiting.len() + 1).unwrap_or(u32::MAX);
        self.turn_ends = Instant::now() + (left / shares).max(LEAST_TURN);
        if !self.asker.waits {
            // Nobody would learn which of two has it.
            self.asked.abort_all();
        }
        let index = self.attempts.len();
        self.attempts.push(RouteAttempt {
            agent: view::summary(agent, hostname),
            outcome: RouteOutcome::Unanswered,
            message: None,
        });
        let asker = self.asker.clone();
        let turn_ends = self.turn_ends;
        self.asked
            .spawn(async move { (index, agent, asker.ask(agent, turn_ends).await) });
    }

    fn note(&mut self, ended: Result<Ended, JoinError>) -> Option<Taken> {
        // One that was aborted has no outcome.
        let (index, agent, outcome) = ended.ok()?;
        let attempt = &mut self.attempts[index];
        match outcome {
            Ok(reply) => {
                attempt.outcome = if reply.is_some() {
                    RouteOutcome::Answered
                } else {
                    RouteOutcome::Delivered
                };
                Some(Taken { agent, reply })
            }
            Err(error) => {
                attempt.outcome = RouteOutcome::Failed;
                attempt.message = Some(error.message);
                self.turn_ends = Instant::now();
                None
            }
        }
    }
}

/// Asks members, each once.
#[derive(Clone)]
struct Asker {
    node: Node,
    exchange: Arc<DataExchange<StoredInbox>>,
    memory: Arc<Mutex<Memory>>,
    head: Message,
    body: Arc<[u8]>,
    waits: bool,
}

impl Asker {
    /// The member's answer, or nothing once it has the request where no answer is waited for.
    async fn ask(&self, agent: AgentId, turn_ends: Instant) -> Result<Option<Delivery>, ApiError> {
        let mut asked = Asked::new(self, agent, turn_ends);
        let outcome = self.exchange_with(agent).await;
        asked.end = match &outcome {
            Ok(_) => End::Answered(asked.since.elapsed()),
            Err(_) => End::Failed,
        };
        outcome
    }

    async fn exchange_with(&self, agent: AgentId) -> Result<Option<Delivery>, ApiError> {
        let peer = PeerRef::Address(agent.address());
        let options = DialOptions::default();
        let dialled = self
            .node
            .dial_peer(Target::Agent(agent), Port::DATA_EXCHANGE, options);
        let stream = dialled
            .await
            .map_err(|error| error::dial(&error, &peer, Port::DATA_EXCHANGE))?;
        let answer = self.exchange.wait_for_answer(agent, self.head.id);
        let answer = answer.map_err(error::answers)?;
        send_message(stream, &self.head, &self.body)
            .await
            .map_err(|error| error::send_message(&error, &peer))?;
        if !self.waits {
            return Ok(None);
        }
        let gone = |_| ApiError::internal("the wait for the answer was given up");
        answer.await.map(Some).map_err(gone)
    }
}

/// A member that was asked, until it is known how that went.
struct Asked {
    agent: AgentId,
    asker: Asker,
    since: std::time::Instant,
    turn_ends: Instant,
    end: End,
}

impl Asked {
    fn new(asker: &Asker, agent: AgentId, turn_ends: Instant) -> Self {
        let since = now();
        lock(&asker.memory).asked(since, agent);
        Self {
            agent,
            asker: asker.clone(),
            since,
            turn_ends,
            end: End::GivenUp,
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        // Who let its turn pass does not do now, whoever answered instead.
        let has_failed = self.end == End::GivenUp && Instant::now() >= self.turn_ends;
        let end = if has_failed { End::Failed } else { self.end };
        lock(&self.asker.memory).ended(now(), self.agent, end);
        if !matches!(self.end, End::Answered(_)) {
            self.asker
                .exchange
                .forget_answer(self.agent, self.asker.head.id);
        }
    }
}

fn patience(wait_ms: Option<u64>, timeout_ms: Option<u64>) -> Duration {
    let end = |ms: u64| if ms == 0 { LONGEST_PATIENCE_MS } else { ms };
    let deadline = end(timeout_ms.unwrap_or(DEFAULT_PATIENCE_MS)).saturating_sub(MARGIN_MS);
    let wait = end(wait_ms.unwrap_or(DEFAULT_PATIENCE_MS));
    Duration::from_millis(wait.min(deadline))
}

fn no_candidate(info: &GroupInfo, capability: &str) -> ApiError {
    let group = &info.policy.name;
    let words = format!("no member of {group} is online and can do {capability}");
    ApiError::new(ErrorCode::NotFound, words).with_hint(format!(
        "pilotctl group members {group}; a member says what it can do by set-capabilities"
    ))
}

fn nobody(info: &GroupInfo, attempts: &[RouteAttempt]) -> ApiError {
    let asked: Vec<String> = attempts.iter().map(words).collect();
    let words = format!(
        "no member of {} took it: {}",
        info.policy.name,
        asked.join("; ")
    );
    let is_late = attempts
        .iter()
        .any(|attempt| attempt.outcome == RouteOutcome::Unanswered);
    if is_late {
        return ApiError::timeout(words);
    }
    ApiError::new(ErrorCode::ConnectionFailed, words)
}

fn words(attempt: &RouteAttempt) -> String {
    let said = attempt.message.as_deref().unwrap_or("no answer in time");
    format!("{}: {said}", attempt.agent.address)
}

fn now() -> std::time::Instant {
    std::time::Instant::now()
}

fn lock(memory: &Mutex<Memory>) -> MutexGuard<'_, Memory> {
    // Each entry is whole on its own.
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_comes_before_the_callers_deadline() {
        let patience = |wait, timeout| patience(wait, timeout).as_millis();
        assert_eq!(patience(None, None), 29_900);
        assert_eq!(patience(Some(5_000), Some(30_000)), 5_000);
        assert_eq!(patience(Some(5_000), Some(2_000)), 1_900);
        assert_eq!(patience(Some(0), Some(0)), 24 * 3600 * 1000 - 100);
    }
}
