//! Which path to a peer is used: tries all pairs of addresses, and keeps to the best that answers.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use pilot_types::{Deadline, FourTuple, PathId, PeerAddr, TimerTable};
use pilot_wire::Mapping;

use crate::candidates::{CandidateSet, is_never_unicast};
use crate::spray::SpraySide;

mod pair;
mod rank;
mod report;
mod spraying;

use pair::Pair;
use rank::{Rank, Standing, class, is_faster};
pub use report::{PathReport, PathState};
use spraying::Spraying;

/// Sockets of ours that are tried: one a family, and one each for a second network.
const MAX_LOCALS: usize = 4;
/// Pairs of a socket and an address that the peer named: all of its 16 from two sockets.
const MAX_NAMED: usize = 32;
/// Addresses that it did not name and was heard from: a peer behind a NAT that maps by address and port has one a
/// socket of ours, and again after each change of network.
const MAX_HEARD: usize = 8;
/// Relays and streams.
const MAX_RELAYS: usize = 4;
/// Pairs start apart, so that a burst of probes fills no small queue.
const STAGGER: Duration = Duration::from_millis(5);
/// Probes in one go: four rounds of 16 candidates, 3 each.
const PROBE_BURST: u32 = 192;
/// After that, one probe in this time, whatever the peer claims: 4 a second.
const PROBE_REFILL: Duration = Duration::from_millis(250);
/// Samples in a row after which the faster of two paths is used.
const FASTER_SAMPLES: u8 = 2;
/// So long after a choice of our own we do not follow the peer's: two ends that choose differently at one moment would
/// swap for ever.
const HOLD: Duration = Duration::from_secs(1);

/// Times of a [`PathAgent`].
#[derive(Clone, Debug)]
pub struct PathConfig {
    /// Pauses between rounds of probing while no direct path works. The last one repeats.
    pub rounds: Vec<Duration>,
    /// How often the best direct path that is not used is probed, so that it is there when it is needed.
    pub standby: Duration,
}

impl Default for PathConfig {
    fn default() -> Self {
        // A round of 4 candidates is 12 packets: in the steady state one in 50 s.
        let rounds = [2, 5, 15, 60, 600].map(Duration::from_secs).to_vec();
        Self {
            rounds,
            standby: Duration::from_secs(20),
        }
    }
}

/// What a [`PathAgent`] asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PathAction {
    /// Send a probe (PATH_CHALLENGE) on this path; tell the answer to [`PathAgent::handle_probed`].
    Probe(PathId),
    /// Send the session's data on this path from now on.
    Use(PathId),
    /// Guess ports by a [`Spray`](crate::Spray): no address that the peer named can work. Asked for once on each network
    /// of either end, and at most once a minute.
    Spray(SpraySide),
}

#[derive(Clone, Copy)]
enum Timer {
    Round,
    Standby,
}

/// Chooses the path to one peer. It sends nothing by itself: probes ride the session.
///
/// After each call the driver drains [`Self::poll_action`] and re-arms its timer by [`Self::poll_timeout`]:
///
/// ```
/// use std::time::{Duration, Instant};
/// use pilot_nat::{Candidate, CandidateKind, CandidateSet, Mapping, PathAction, PathAgent, PathConfig};
/// use pilot_types::{PathId, RelayAddr};
///
/// let mut now = Instant::now();
/// let relay = PathId::Relay { relay: RelayAddr("192.0.2.9:9000".parse()?), channel: 7 };
/// let mut agent = PathAgent::new(now, PathConfig::default(), relay);
/// agent.set_locals(now, &["0.0.0.0:9000".parse()?]);
/// let mut theirs = CandidateSet::new(1, Mapping::Unknown);
/// theirs.insert(Candidate { kind: CandidateKind::Reflexive, addr: "192.0.2.1:40000".parse()? });
/// agent.set_remote(now, &theirs);
/// while agent.current() == relay {
///     now = agent.poll_timeout().expect("it probes").at;
///     agent.handle_timeout(now);
///     while let Some(action) = agent.poll_action() {
///         match action {
///             PathAction::Probe(path) => agent.handle_probed(now, path, Duration::from_millis(20)),
///             PathAction::Use(path) => assert_eq!(path, agent.current()),
///             PathAction::Spray(_) => unreachable!("nothing is known of the NATs"),
///         }
///     }
/// }
/// assert!(agent.current().is_direct());
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, Debug)]
pub struct PathAgent {
    config: PathConfig,
    locals: Vec<SocketAddr>,
    remote: CandidateSet,
    has_remote: bool,
    /// Direct paths: at most [`MAX_NAMED`] and [`MAX_HEARD`], and the one in use.
    pairs: BTreeMap<PathId, Pair>,
    relays: Vec<PathId>,
    current: PathId,
    /// The path in use is silent: the first that answers is used, whatever its rank.
    is_seeking: bool,
    chosen: Option<Instant>,
    round: usize,
    spraying: Spraying,
    budget: Budget,
    timers: TimerTable<2>,
    actions: VecDeque<PathAction>,
    now: Instant,
}

impl PathAgent {
    /// Data go over `current`, which has been answered.
    #[must_use]
    pub fn new(now: Instant, config: PathConfig, current: PathId) -> Self {
        let mut agent = Self {
            config,
            locals: vec![],
            remote: CandidateSet::default(),
            has_remote: false,
            pairs: BTreeMap::new(),
            relays: vec![],
            current,
            is_seeking: false,
            chosen: None,
            round: 0,
            spraying: Spraying::default(),
            budget: Budget::new(now),
            timers: TimerTable::new(["path round", "path standby"]),
            actions: VecDeque::new(),
            now,
        };
        agent.learn(current);
        if let Some(pair) = agent.pairs.get_mut(&current) {
            pair.status = pair::Status::Answered;
        }
        agent
    }

    /// The path in use.
    #[must_use]
    pub const fn current(&self) -> PathId {
        self.current
    }

    /// Whether a direct path was answered, and nothing says that it does not work any more.
    #[must_use]
    pub fn has_answered(&self, path: &PathId) -> bool {
        self.pairs.get(path).is_some_and(Pair::is_validated)
    }

    /// How the peer's NAT maps, as far as it knows.
    #[must_use]
    pub const fn remote_mapping(&self) -> Mapping {
        self.remote.mapping()
    }

    /// Our sockets: what they are bound to, as it stands in the paths of what they receive. Of more than four the first
    /// are taken.
    pub fn set_locals(&mut self, now: Instant, locals: &[SocketAddr]) {
        self.now = now;
        self.locals = locals.iter().copied().take(MAX_LOCALS).collect();
        self.pair_up(now);
    }

    /// How our NAT maps, as far as is known.
    pub const fn set_mapping(&mut self, mapping: Mapping) {
        self.spraying.own = mapping;
    }

    /// The peer's addresses, past the filter. A set that is not newer than the last is ignored.
    pub fn set_remote(&mut self, now: Instant, remote: &CandidateSet) {
        self.now = now;
        if self.has_remote && remote.generation() <= self.remote.generation() {
            return;
        }
        self.has_remote = true;
        self.remote.clone_from(remote);
        self.spraying.network_changed();
        self.pair_up(now);
    }

    /// A probe on `path` was answered.
    pub fn handle_probed(&mut self, now: Instant, path: PathId, rtt: Duration) {
        self.now = now;
        self.learn(path);
        let current = self.rtt(self.current);
        let is_current = path == self.current;
        if let Some(pair) = self.pairs.get_mut(&path) {
            pair.answer(rtt);
            let is_better = !is_current && current.is_some_and(|current| is_faster(rtt, current));
            pair.faster = if is_better {
                pair.faster.saturating_add(1)
            } else {
                0
            };
            if pair.faster == 1 {
                // One sample may be luck: ask again.
                pair.start(now);
            }
        } else if !self.relays.contains(&path) {
            return;
        }
        if std::mem::take(&mut self.is_seeking) && !is_current {
            self.switch(now, path);
        }
        self.choose(now);
    }

    /// An authenticated packet came from `path`: if it is new, the peer's NAT maps otherwise than it told us.
    ///
    /// Between two hard NATs that let everybody in, each answer to a new address is itself heard from a new address: so
    /// while there are eight such addresses, no ninth is probed until candidates or networks change.
    pub fn handle_heard(&mut self, now: Instant, path: PathId) {
        self.now = now;
        let heard = self.pairs.values().filter(|pair| pair.kind.is_none());
        if heard.count() < MAX_HEARD {
            self.learn(path);
        }
        if let Some(pair) = self.pairs.get_mut(&path) {
            pair.hear(now);
        }
    }

    /// The peer sends its data from `path` now. We follow at once, for the reason may be that nothing else works for
    /// it; unless we chose a path that is as good a moment ago.
    pub fn handle_moved(&mut self, now: Instant, path: PathId) {
        self.now = now;
        self.learn(path);
        if path == self.current || !self.knows(path) {
            return;
        }
        let (theirs, ours) = (self.rank(path).standing, self.rank(self.current).standing);
        let has_just_chosen = self.chosen.is_some_and(|at| now < at + HOLD);
        if has_just_chosen && theirs <= ours {
            return self.handle_heard(now, path);
        }
        let has_lost = ours.is_direct && !(theirs.is_validated && theirs.is_direct);
        self.actions.push_back(PathAction::Use(path));
        self.follow(now, path, has_lost);
    }

    /// The owner uses `path` now, because a handshake was answered there.
    pub fn handle_switched(&mut self, now: Instant, path: PathId) {
        self.now = now;
        self.learn(path);
        if path == self.current || !self.knows(path) {
            return;
        }
        let has_lost = self.current.is_direct() && !path.is_direct();
        self.chosen = None;
        self.follow(now, path, has_lost);
    }

    /// Goes on by a path that somebody else chose.
    fn follow(&mut self, now: Instant, path: PathId, has_lost: bool) {
        self.current = path;
        self.is_seeking = false;
        if has_lost {
            // A direct path was left: what we knew of the others is of an old place.
            self.restart(now);
        }
        if let Some(pair) = self
            .pairs
            .get_mut(&path)
            .filter(|pair| !pair.is_validated())
        {
            pair.start(now);
        }
        self.rearm(now);
    }

    /// Our addresses changed, or the machine slept: everything is probed again. The path in use stays until it fails or
    /// another answers.
    pub fn handle_network_change(&mut self, now: Instant) {
        self.now = now;
        self.restart(now);
    }

    /// The path in use does not answer: everything is probed, relays too, and the first that answers is used. Repeated
    /// calls do nothing while probes are out.
    pub fn handle_silent(&mut self, now: Instant) {
        self.now = now;
        if self.is_seeking && self.pairs.values().any(Pair::is_probing) {
            return;
        }
        self.restart(now);
        self.is_seeking = true;
        if let Some(pair) = self.pairs.get_mut(&self.current) {
            pair.forget();
            pair.start(now);
        }
        self.rearm(now);
        let relays = self.relays.iter().map(|path| PathAction::Probe(*path));
        self.actions.extend(relays);
    }

    /// A relay or stream that leads to the peer, validated by whoever opened it: a standby. More than four are not
    /// taken.
    pub fn add_path(&mut self, now: Instant, path: PathId) {
        self.now = now;
        self.learn(path);
        self.choose(now);
    }

    /// A channel, stream or socket is gone.
    pub fn remove_path(&mut self, now: Instant, path: PathId) {
        self.now = now;
        self.relays.retain(|relay| *relay != path);
        self.pairs.remove(&path);
        self.actions
            .retain(|action| *action != PathAction::Probe(path));
        self.choose(now);
    }

    /// Early and repeated calls do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        self.begin_round(now);
        self.refresh_standby(now);
        let due = self.pairs.iter().filter(|(_, pair)| pair.is_due(now));
        let mut due: Vec<(Instant, PathId)> = due
            .filter_map(|(path, pair)| Some((pair.deadline()?, *path)))
            .collect();
        due.sort_unstable();
        let mut has_failed = false;
        for (_, path) in due {
            let Some(pair) = self.pairs.get_mut(&path) else {
                continue;
            };
            if pair.is_exhausted() {
                pair.fail();
                has_failed = true;
            } else if let Err(until) = self.budget.take(now) {
                pair.postpone(until);
            } else {
                pair.sent(now);
                self.actions.push_back(PathAction::Probe(path));
            }
        }
        if has_failed {
            self.is_seeking &= self.pairs.values().any(Pair::is_probing);
            self.choose(now);
            self.spray(now);
        }
    }

    /// When [`Self::handle_timeout`] has work to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Deadline> {
        let at = |at, timer| Deadline { at, timer };
        if !self.actions.is_empty() {
            return Some(at(self.now, "path action"));
        }
        let probe = self.pairs.values().filter_map(Pair::deadline).min();
        let probe = probe.map(|when| at(when, "path probe"));
        Deadline::earliest(probe, self.timers.next())
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<PathAction> {
        self.actions.pop_front()
    }
}

/// Knowing paths.
impl PathAgent {
    /// Makes the pairs of our sockets and the peer's addresses, and probes all that has not been answered.
    fn pair_up(&mut self, now: Instant) {
        let mut named = BTreeMap::new();
        for candidate in self.remote.iter() {
            let locals = self.locals.iter();
            for local in locals.filter(|l| l.is_ipv4() == candidate.addr.is_ipv4()) {
                let remote = PeerAddr(candidate.addr);
                let path = PathId::Udp(FourTuple {
                    local: *local,
                    remote,
                });
                if named.len() < MAX_NAMED {
                    named.insert(path, candidate.kind);
                }
            }
        }
        let (locals, current) = (&self.locals, self.current);
        self.pairs.retain(|path, pair| {
            let has_socket = matches!(path, PathId::Udp(udp) if locals.contains(&udp.local));
            let is_kept = named.contains_key(path) || pair.kind.is_none() || pair.is_validated();
            *path == current || (has_socket && is_kept)
        });
        for (path, pair) in &mut self.pairs {
            pair.kind = named.get(path).copied();
        }
        self.bound_heard();
        for (path, kind) in named {
            self.pairs
                .entry(path)
                .or_insert_with(|| Pair::new(Some(kind)));
        }
        self.round = 0;
        self.probe_all(now);
    }

    /// Enters a path that is new.
    fn learn(&mut self, path: PathId) {
        match path {
            PathId::Udp(udp) => {
                if !self.pairs.contains_key(&path) && !is_never_unicast(udp.remote.0) {
                    self.pairs.insert(path, Pair::new(None));
                    self.bound_heard_but(path);
                }
            }
            PathId::Relay { .. } | PathId::Stream(_) => {
                if !self.relays.contains(&path) && self.relays.len() < MAX_RELAYS {
                    self.relays.push(path);
                }
            }
        }
    }

    fn knows(&self, path: PathId) -> bool {
        self.pairs.contains_key(&path) || self.relays.contains(&path)
    }

    fn bound_heard(&mut self) {
        self.bound_heard_but(self.current);
    }

    /// Of too many addresses that the peer did not name, gives up the worst.
    fn bound_heard_but(&mut self, newest: PathId) {
        loop {
            let heard = self.pairs.iter().filter(|(_, pair)| pair.kind.is_none());
            if heard.clone().count() <= MAX_HEARD + 1 {
                return;
            }
            let spare = heard.filter(|(path, _)| **path != newest && **path != self.current);
            let worst = spare
                .min_by_key(|(path, _)| self.rank(**path))
                .map(|(path, _)| *path);
            let Some(worst) = worst else { return };
            self.pairs.remove(&worst);
        }
    }

    fn rtt(&self, path: PathId) -> Option<Duration> {
        self.pairs.get(&path)?.rtt
    }

    fn rank(&self, path: PathId) -> Rank {
        let pair = self.pairs.get(&path);
        let is_relay = self.relays.contains(&path);
        Rank {
            standing: Standing {
                is_validated: is_relay || pair.is_some_and(Pair::is_validated),
                is_direct: path.is_direct(),
                is_host: pair.is_some_and(|p| p.kind == Some(pilot_wire::CandidateKind::Host)),
            },
            rtt: class(self.rtt(path)),
            is_v6: path.remote().is_some_and(|remote| remote.is_ipv6()),
        }
    }
}

/// Probing.
impl PathAgent {
    fn restart(&mut self, now: Instant) {
        self.round = 0;
        self.spraying.network_changed();
        let current = self.current;
        self.pairs
            .retain(|path, pair| pair.kind.is_some() || pair.is_validated() || *path == current);
        for (path, pair) in &mut self.pairs {
            let is_validated = pair.is_validated();
            pair.forget();
            if *path == self.current && is_validated {
                // Until a burst fails or another path answers, it is the best guess.
                pair.status = pair::Status::Answered;
                pair.start(now);
            }
        }
        self.probe_all(now);
    }

    /// Starts a burst on each direct path that is not known to work, IPv6 first.
    fn probe_all(&mut self, now: Instant) {
        let mut order: Vec<_> = self
            .pairs
            .iter()
            .filter(|(_, pair)| !pair.is_validated())
            .collect();
        order.sort_by_key(|(path, pair)| (pair.kind, path.remote().map(|r| r.is_ipv4())));
        let order: Vec<PathId> = order.into_iter().map(|(path, _)| *path).collect();
        let mut at = now;
        for path in order {
            if let Some(pair) = self.pairs.get_mut(&path) {
                pair.start(at);
                at += STAGGER;
            }
        }
        self.rearm(now);
    }

    fn has_direct(&self) -> bool {
        let standing = self.rank(self.current).standing;
        standing.is_direct && standing.is_validated
    }

    fn rearm(&mut self, now: Instant) {
        let rounds = &self.config.rounds;
        let pause = rounds.get(self.round).or(rounds.last());
        match pause.filter(|_| !self.has_direct() && !self.pairs.is_empty()) {
            Some(pause) => self.timers.set(Timer::Round as usize, now + *pause),
            None => self.timers.stop(Timer::Round as usize),
        }
        if self.standby().is_none() {
            self.timers.stop(Timer::Standby as usize);
        } else if self.timers.get(Timer::Standby as usize).is_none() {
            self.timers
                .set(Timer::Standby as usize, now + self.config.standby);
        }
    }

    fn begin_round(&mut self, now: Instant) {
        if self.timers.take_if_due(Timer::Round as usize, now) {
            self.round += 1;
            self.probe_all(now);
        }
    }

    /// The best direct path that works and is not used.
    fn standby(&self) -> Option<PathId> {
        self.best().filter(PathId::is_direct)
    }

    fn refresh_standby(&mut self, now: Instant) {
        if !self.timers.take_if_due(Timer::Standby as usize, now) {
            return;
        }
        let standby = self.standby();
        if let Some(pair) = standby.and_then(|path| self.pairs.get_mut(&path)) {
            pair.start(now);
            self.timers
                .set(Timer::Standby as usize, now + self.config.standby);
        }
    }
}

/// Choosing.
impl PathAgent {
    /// The best path that works and is not used; of equals always the same.
    fn best(&self) -> Option<PathId> {
        let paths = self.pairs.keys().chain(&self.relays).copied();
        let others = paths.filter(|path| *path != self.current);
        let ranked = others.map(|path| (self.rank(path), Reverse(path)));
        let working = ranked.filter(|(rank, _)| rank.standing.is_validated);
        working.max().map(|(_, Reverse(path))| path)
    }

    fn choose(&mut self, now: Instant) {
        if !self.is_seeking
            && let Some(better) = self.better()
        {
            self.switch(now, better);
        }
        self.rearm_kept(now);
    }

    /// A path that is worth leaving the one in use for.
    fn better(&self) -> Option<PathId> {
        let best = self.best()?;
        let (challenger, current) = (self.rank(best).standing, self.rank(self.current).standing);
        if challenger != current {
            return (challenger > current).then_some(best);
        }
        let is_fast = |path: &PathId| {
            self.rank(*path).standing == current
                && self
                    .pairs
                    .get(path)
                    .is_some_and(|pair| pair.faster >= FASTER_SAMPLES)
        };
        let fast = self.pairs.keys().copied().filter(is_fast);
        fast.max_by_key(|path| (self.rank(*path), Reverse(*path)))
    }

    fn switch(&mut self, now: Instant, path: PathId) {
        let was_direct = self.current.is_direct();
        self.current = path;
        self.chosen = Some(now);
        self.actions.push_back(PathAction::Use(path));
        for pair in self.pairs.values_mut() {
            pair.faster = 0;
        }
        if was_direct && !path.is_direct() {
            self.round = 0;
            self.timers.stop(Timer::Round as usize);
        }
    }

    /// As [`Self::rearm`], but a round that is waited for comes when it was to come.
    fn rearm_kept(&mut self, now: Instant) {
        let round = self.timers.get(Timer::Round as usize);
        self.rearm(now);
        if let Some(at) = round.filter(|_| self.timers.get(Timer::Round as usize).is_some()) {
            self.timers.set(Timer::Round as usize, at);
        }
    }
}

/// How many probes may go out, whatever the peer claims.
#[derive(Clone, Debug)]
struct Budget {
    tokens: u32,
    refilled: Instant,
}

impl Budget {
    const fn new(now: Instant) -> Self {
        Self {
            tokens: PROBE_BURST,
            refilled: now,
        }
    }

    /// Takes one, or says when there is one.
    fn take(&mut self, now: Instant) -> Result<(), Instant> {
        let since = now.saturating_duration_since(self.refilled);
        let new = u32::try_from(since.as_millis() / PROBE_REFILL.as_millis()).unwrap_or(u32::MAX);
        self.tokens = self.tokens.saturating_add(new).min(PROBE_BURST);
        self.refilled = if self.tokens == PROBE_BURST {
            now
        } else {
            self.refilled + PROBE_REFILL * new
        };
        self.tokens = self
            .tokens
            .checked_sub(1)
            .ok_or(self.refilled + PROBE_REFILL)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
