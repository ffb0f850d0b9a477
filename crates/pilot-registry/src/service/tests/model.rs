//! Random social graphs against a naive model: nobody learns what the rules deny.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pilot_types::{AgentId, Tag, UnixTime};
use pilot_wire::{KnockTarget, Record, Scope, Visibility};
use proptest::prelude::*;

use crate::testing::{DAY, TestAgent, World, name};
use crate::{Config, LookupTarget, Rate, RefusalCode, Request, Response, SearchQuery};

const AGENTS: u8 = 5;
const NAMES: [&str; 3] = ["alpha", "beta", "gamma"];
const RETENTION: Duration = Duration::from_secs(90 * 24 * 3600);

#[derive(Clone, Debug)]
enum Op {
    Register {
        agent: u8,
        serial: u64,
        is_public: bool,
        name: Option<usize>,
        days: u8,
    },
    Deregister(u8),
    Grant {
        from: u8,
        to: u8,
        serial: u64,
        is_revocation: bool,
        days: u8,
    },
    Lookup {
        viewer: u8,
        target: u8,
        how: u8,
    },
    LookupName {
        viewer: u8,
        name: usize,
    },
    Search {
        viewer: u8,
        how: u8,
        is_public_only: bool,
        limit: u32,
    },
    Knock {
        from: u8,
        to: u8,
    },
    Connect(u8),
    Disconnect(u8),
    Pass {
        hours: u16,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let agent = 0..AGENTS;
    prop_oneof![
        4 => (agent.clone(), 1..8u64, any::<bool>(), prop::option::of(0..NAMES.len()), 1..30u8).prop_map(
            |(agent, serial, is_public, name, days)| Op::Register { agent, serial, is_public, name, days }
        ),
        1 => agent.clone().prop_map(Op::Deregister),
        4 => (agent.clone(), agent.clone(), 1..6u64, any::<bool>(), 1..60u8).prop_map(
            |(from, to, serial, is_revocation, days)| Op::Grant { from, to, serial, is_revocation, days }
        ),
        // One target more than there are agents: nobody.
        6 => (agent.clone(), 0..=AGENTS, 0..3u8).prop_map(|(viewer, target, how)| Op::Lookup { viewer, target, how }),
        3 => (agent.clone(), 0..NAMES.len()).prop_map(|(viewer, name)| Op::LookupName { viewer, name }),
        4 => (agent.clone(), 0..5u8, any::<bool>(), 1..3u32).prop_map(
            |(viewer, how, is_public_only, limit)| Op::Search { viewer, how, is_public_only, limit }
        ),
        2 => (agent.clone(), 0..=AGENTS).prop_map(|(from, to)| Op::Knock { from, to }),
        1 => agent.clone().prop_map(Op::Connect),
        1 => agent.prop_map(Op::Disconnect),
        2 => (1..600u16).prop_map(|hours| Op::Pass { hours }),
        1 => (1000..3000u16).prop_map(|hours| Op::Pass { hours }),
    ]
}

#[derive(Clone, Debug)]
struct Known {
    serial: u64,
    /// One that says the same and is signed later is another one.
    issued: UnixTime,
    record: Option<(bool, Option<usize>, UnixTime)>,
    forget_at: UnixTime,
}

/// Naive: everything in lists, every question answered by looking at all of them.
#[derive(Default)]
struct Model {
    known: BTreeMap<u8, Known>,
    /// Serial, whether it revokes, end, and when it was signed.
    grants: BTreeMap<(u8, u8), (u64, bool, UnixTime, UnixTime)>,
}

impl Model {
    fn pass(&mut self, now: UnixTime) {
        for known in self.known.values_mut() {
            known.record = known.record.filter(|(.., end)| now < *end);
        }
        let gone: Vec<u8> = self
            .known
            .iter()
            .filter(|(_, known)| known.record.is_none() && known.forget_at <= now)
            .map(|(agent, _)| *agent)
            .collect();
        for agent in gone {
            self.known.remove(&agent);
            self.grants.retain(|(from, _), _| *from != agent);
        }
    }

    fn holder(&self, name: usize) -> Option<u8> {
        let holds =
            |known: &Known| matches!(known.record, Some((_, Some(held), _)) if held == name);
        self.known
            .iter()
            .find(|(_, known)| holds(known))
            .map(|(agent, _)| *agent)
    }

    fn sees(&self, now: UnixTime, viewer: u8, agent: u8) -> bool {
        let Some((is_public, ..)) = self.known.get(&agent).and_then(|known| known.record) else {
            return false;
        };
        let grant = self.grants.get(&(agent, viewer));
        let is_granted =
            grant.is_some_and(|(_, is_revocation, end, _)| !is_revocation && now < *end);
        viewer == agent || is_public || is_granted
    }
}

fn tag(serial: u64) -> Tag {
    if serial.is_multiple_of(2) {
        "even"
    } else {
        "odd"
    }
    .parse()
    .unwrap()
}

fn days(days: u8) -> Duration {
    DAY * u32::from(days)
}

struct Run {
    world: World,
    model: Model,
    agents: Vec<TestAgent>,
}

impl Run {
    fn new() -> Self {
        Self {
            world: World::with_config(Config {
                searches: Rate {
                    burst: 1000,
                    interval_ms: 1,
                },
                ..Config::default()
            }),
            model: Model::default(),
            agents: (0..=AGENTS).map(TestAgent::new).collect(),
        }
    }

    fn step(&mut self, op: &Op) {
        match *op {
            Op::Register {
                agent,
                serial,
                is_public,
                name,
                days,
            } => {
                self.register(agent, serial, (is_public, name), days);
            }
            Op::Deregister(agent) => {
                let response = self.ask(agent, Request::Deregister);
                assert_eq!(response, Response::Deregistered);
                let forget_at = self.world.now.plus(RETENTION);
                if let Some(known) = self.model.known.get_mut(&agent)
                    && known.record.take().is_some()
                {
                    known.forget_at = forget_at;
                }
            }
            Op::Grant {
                from,
                to,
                serial,
                is_revocation,
                days,
            } => {
                self.grant((from, to), serial, is_revocation, days);
            }
            Op::Lookup {
                viewer,
                target,
                how,
            } => {
                let agent = &self.agents[usize::from(target)];
                let by = match how {
                    0 => LookupTarget::Agent(agent.id),
                    1 => LookupTarget::Node(agent.node()),
                    _ => LookupTarget::Key(*agent.id.as_bytes()),
                };
                self.lookup(viewer, by, Some(target));
            }
            Op::LookupName {
                viewer,
                name: index,
            } => {
                let by = LookupTarget::Hostname(name(NAMES[index]));
                self.lookup(viewer, by, self.model.holder(index));
            }
            Op::Search {
                viewer,
                how,
                is_public_only,
                limit,
            } => self.search(viewer, how, is_public_only, limit),
            Op::Knock { from, to } => self.knock(from, to),
            Op::Connect(agent) => self.world.connect(&self.agents[usize::from(agent)]),
            Op::Disconnect(agent) => self.world.disconnect(&self.agents[usize::from(agent)]),
            Op::Pass { hours } => {
                self.world
                    .pass(Duration::from_secs(3600) * u32::from(hours));
                self.model.pass(self.world.now);
            }
        }
        for push in self.world.deliver() {
            let is_online = self.world.service.presence.is_online(&push.to);
            assert!(is_online, "a push for one who is not there");
        }
    }

    fn ask(&mut self, agent: u8, request: Request) -> Response {
        let agent = self.agents[usize::from(agent)].clone();
        self.world.ask(&agent, request)
    }

    fn register(&mut self, agent: u8, serial: u64, what: (bool, Option<usize>), life: u8) {
        let (is_public, claimed) = what;
        let record = Record {
            hostname: claimed.map(|index| name(NAMES[index])),
            tags: vec![tag(serial)],
            visibility: if is_public {
                Visibility::Public
            } else {
                Visibility::Trusted
            },
            ..Record::default()
        };
        let now = self.world.now;
        let test_agent = self.agents[usize::from(agent)].clone();
        let raw = test_agent.sign(serial, now, days(life), &record);
        let log = test_agent.log.clone();
        let response = self.ask(
            agent,
            Request::Register {
                log,
                record: raw.clone(),
            },
        );
        let end = now.plus(days(life));
        let known = self.model.known.get(&agent);
        let is_same = known.is_some_and(|k| {
            (k.serial, k.issued) == (serial, now) && k.record == Some((is_public, claimed, end))
        });
        let is_stale = known.is_some_and(|k| serial <= k.serial);
        let is_taken = claimed
            .and_then(|index| self.model.holder(index))
            .is_some_and(|holder| holder != agent);
        if let Response::Registered {
            hostname,
            not_after,
            ..
        } = response
        {
            assert!(
                is_same || (!is_stale && !is_taken),
                "taken against the rules"
            );
            assert_eq!((hostname, not_after), (record.hostname, end));
            let known = Known {
                serial,
                issued: now,
                record: Some((is_public, claimed, end)),
                forget_at: end.plus(RETENTION),
            };
            self.model.known.insert(agent, known);
            return;
        }
        assert!(
            !is_same && (is_stale || is_taken),
            "refused against the rules"
        );
        let expected = if is_stale {
            RefusalCode::Stale
        } else {
            RefusalCode::AlreadyExists
        };
        let Response::Refused { code, .. } = response else {
            panic!("expected a refusal, found {response:?}");
        };
        assert_eq!(code, expected);
    }

    fn grant(&mut self, (from, to): (u8, u8), serial: u64, is_revocation: bool, life: u8) {
        let now = self.world.now;
        let to_id = self.agents[usize::from(to)].id;
        let ports = if is_revocation {
            vec![]
        } else {
            Scope::default_scope().ports
        };
        let request =
            self.agents[usize::from(from)].put_grant(to_id, serial, now, (ports, days(life)));
        let response = self.ask(from, request);
        let grant = (serial, is_revocation, now.plus(days(life)), now);
        let known = self.model.grants.get(&(from, to));
        let is_new = known.is_none_or(|(highest, ..)| *highest < serial);
        let is_allowed = self.model.known.contains_key(&from) && from != to;
        if is_allowed && (is_new || known == Some(&grant)) {
            assert_eq!(response, Response::Stored);
            self.model.grants.insert((from, to), grant);
        } else {
            assert!(matches!(response, Response::Refused { .. }), "{response:?}");
        }
    }

    fn lookup(&mut self, viewer: u8, by: LookupTarget, target: Option<u8>) {
        let response = self.ask(viewer, Request::Lookup { target: by });
        let now = self.world.now;
        let shown = target.filter(|target| self.model.sees(now, viewer, *target));
        match (shown, response) {
            (Some(target), Response::Found(entry)) => {
                assert_eq!(entry.agent, self.agents[usize::from(target)].id);
            }
            (None, response) => assert_eq!(response.encode(), Response::NotFound.encode()),
            (Some(_), response) => panic!("not shown: {response:?}"),
        }
    }

    /// Page by page, exactly those that it sees and that fit come, each once, and the sum is theirs.
    fn search(&mut self, viewer: u8, how: u8, is_public_only: bool, limit: u32) {
        let mut query = SearchQuery {
            is_public_only,
            limit,
            ..SearchQuery::default()
        };
        match how {
            0 => {}
            1 => query.text = "alpha nothing".to_owned(),
            2 => query.text = "GAM".to_owned(),
            3 => query.tags = vec![tag(0)],
            _ => query.hostname = Some(name("beta")),
        }
        let now = self.world.now;
        let fits = |known: &Known, held: Option<usize>| match how {
            0 => true,
            1 => held == Some(0),
            2 => held == Some(2),
            3 => tag(known.serial) == tag(0),
            _ => held == Some(1),
        };
        let expected: BTreeSet<AgentId> = self
            .model
            .known
            .iter()
            .filter(|(agent, known)| {
                let record = known.record;
                record.is_some_and(|(is_public, held, _)| {
                    let is_shown = self.model.sees(now, viewer, **agent);
                    (is_public || !is_public_only) && is_shown && fits(known, held)
                })
            })
            .map(|(agent, _)| self.agents[usize::from(*agent)].id)
            .collect();
        let mut found = BTreeSet::new();
        loop {
            let request = Request::Search {
                query: query.clone(),
            };
            let response = self.ask(viewer, request);
            let Response::SearchResults {
                entries,
                total,
                next,
            } = response
            else {
                panic!("expected results, found {response:?}");
            };
            assert_eq!(total, expected.len() as u64, "{query:?}");
            assert!(entries.len() <= limit as usize);
            for entry in entries {
                assert!(found.insert(entry.agent), "twice on the pages");
            }
            match next {
                Some(next) => query.offset = next,
                None => break,
            }
        }
        assert_eq!(found, expected, "{query:?}");
    }

    fn knock(&mut self, from: u8, to: u8) {
        let target = KnockTarget::Agent(self.agents[usize::from(to)].id);
        let request = self.agents[usize::from(from)].knock(target, self.world.now);
        let response = self.ask(from, request);
        if self.model.known.contains_key(&from) {
            assert_eq!(response.encode(), Response::Sent.encode());
        } else {
            assert!(matches!(
                response,
                Response::Refused {
                    code: RefusalCode::NotRegistered,
                    ..
                }
            ));
        }
    }

    /// Figures agree with the model, and the machine goes quiet.
    fn finish(mut self) {
        let stats = self.world.service.stats();
        let registered = self
            .model
            .known
            .values()
            .filter(|known| known.record.is_some());
        assert_eq!(stats.agents, self.model.known.len() as u64);
        assert_eq!(stats.registered, registered.count() as u64);
        let later = 200 * DAY;
        self.world.pass(later);
        assert_eq!(self.world.service.stats().agents, 0);
        assert_eq!(self.world.service.poll_timeout_unix(), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn nobody_learns_what_the_rules_deny(ops in prop::collection::vec(op(), 1..80)) {
        let mut run = Run::new();
        for op in &ops {
            run.step(op);
        }
        run.finish();
    }
}
