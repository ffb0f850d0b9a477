//! Records, locators, names, addresses, expiry.

use std::time::Duration;

use pilot_types::AgentId;
use pilot_wire::{Capability, Record};

use crate::testing::{DAY, TestAgent, TestKeys, TestStore, World, name, private, public};
use crate::{Config, LookupTarget, Rate, RefusalCode, Request, RequestKind, Response, Verify};

fn code(response: &Response) -> RefusalCode {
    let Response::Refused { code, .. } = response else {
        panic!("expected a refusal, found {response:?}");
    };
    *code
}

fn sign_key(agent: &TestAgent) -> [u8; 32] {
    TestKeys.log(&agent.log).unwrap().sign_key
}

#[test]
fn a_record_sent_again_unchanged_writes_nothing() {
    let (mut world, agent) = (World::new(), TestAgent::new(1));
    let request = agent.register(1, world.now, &private(Some("worker")));
    let first = world.ask(&agent, request.clone());
    assert!(
        matches!(&first, Response::Registered { hostname, renew_after_ms, .. }
        if *hostname == Some(name("worker")) && *renew_after_ms == 15 * 24 * 3_600_000)
    );
    let batches = world.probe.batches.get();
    assert_eq!(world.ask(&agent, request), first);
    assert_eq!(world.probe.batches.get(), batches);
    assert_eq!(world.service.stats().registered, 1);
    assert_eq!(world.service.stats().requests_of(RequestKind::Register), 2);
}

#[test]
fn an_older_or_equal_serial_is_stale() {
    let (mut world, agent) = (World::new(), TestAgent::new(1));
    world.register(&agent, 5, &private(None));
    for serial in [0, 4, 5] {
        let response = world.register(&agent, serial, &public(None));
        assert_eq!(code(&response), RefusalCode::Stale);
    }
    assert!(
        !world.sees(&TestAgent::new(2), &agent),
        "the public record was refused"
    );
    world.ask(&agent, Request::Deregister);
    let response = world.register(&agent, 5, &public(None));
    assert_eq!(code(&response), RefusalCode::Stale, "after a departure too");
}

#[test]
fn a_record_is_refused_unless_its_signer_asks_and_its_times_hold() {
    let (mut world, agent, other) = (World::new(), TestAgent::new(1), TestAgent::new(2));
    let now = world.now;
    let stolen = other.register(1, now, &private(None));
    assert_eq!(code(&world.ask(&agent, stolen)), RefusalCode::Invalid);
    let mixed = Request::Register {
        log: agent.log.clone(),
        record: other.sign(1, now, DAY, &private(None)),
    };
    assert_eq!(code(&world.ask(&agent, mixed)), RefusalCode::Invalid);
    let cases = [
        (now, 31 * DAY),
        (now.plus(2 * DAY), DAY),
        (now, Duration::ZERO),
    ];
    for (issued, life) in cases {
        let record = agent.sign(1, issued, life, &private(None));
        let log = agent.log.clone();
        let response = world.ask(&agent, Request::Register { log, record });
        assert_eq!(code(&response), RefusalCode::Invalid, "{issued} {life:?}");
    }
    let grant = agent.grant(other.id, 1, now);
    let Request::PutGrant { grant, .. } = grant else {
        unreachable!()
    };
    let log = agent.log.clone();
    let response = world.ask(&agent, Request::Register { log, record: grant });
    assert_eq!(
        code(&response),
        RefusalCode::Invalid,
        "a grant is no record"
    );
    assert_eq!(world.service.stats().agents, 0);
}

#[test]
fn too_many_tags_or_odd_capabilities_are_refused() {
    let (mut world, agent) = (World::new(), TestAgent::new(1));
    let tags = |count: usize| Record {
        tags: vec!["gpu".parse().unwrap(); count],
        ..Record::default()
    };
    assert_eq!(
        code(&world.register(&agent, 1, &tags(17))),
        RefusalCode::Invalid
    );
    for (capability, version) in [("", "1"), ("Upper", "1"), ("ok", ""), ("ok", "a b")] {
        let record = Record {
            capabilities: vec![Capability::named(capability, version)],
            ..Record::default()
        };
        assert_eq!(
            code(&world.register(&agent, 1, &record)),
            RefusalCode::Invalid
        );
    }
    let large = Record {
        capabilities: vec![Capability {
            input: Some("x".repeat(13 * 1024)),
            ..Capability::named("large", "1.0.0")
        }],
        ..Record::default()
    };
    assert_eq!(
        code(&world.register(&agent, 1, &large)),
        RefusalCode::Invalid
    );
    world.join(&agent, &tags(16));
}

#[test]
fn a_name_belongs_to_the_first_until_it_stops_claiming_it() {
    let mut world = World::new();
    let (first, second) = (TestAgent::new(1), TestAgent::new(2));
    world.join(&first, &private(Some("worker")));
    let refused = world.register(&second, 1, &private(Some("worker")));
    assert_eq!(code(&refused), RefusalCode::AlreadyExists);
    assert!(format!("{refused:?}").contains("worker"), "refused by name");

    world.register(&first, 2, &private(Some("boss")));
    world.join(&second, &private(Some("worker")));
    assert_eq!(
        code(&world.register(&first, 3, &private(Some("worker")))),
        RefusalCode::AlreadyExists
    );

    world.ask(&second, Request::Deregister);
    let found = world.lookup(&first, LookupTarget::Hostname(name("worker")));
    assert_eq!(found, None);
    let freed = world.register(&first, 3, &private(Some("worker")));
    assert!(matches!(freed, Response::Registered { .. }));
}

#[test]
fn a_name_is_free_at_once_when_its_record_ends() {
    let mut world = World::new();
    let (first, second) = (TestAgent::new(1), TestAgent::new(2));
    world.join(&first, &public(Some("worker")));
    world.now = world.now.plus(30 * DAY);
    world.join(&second, &public(Some("worker")));
    let entry = world
        .lookup(&first, LookupTarget::Hostname(name("worker")))
        .unwrap();
    assert_eq!(entry.agent, second.id);
    world.settle();
    assert_eq!(world.service.stats().registered, 1);
    let entry = world
        .lookup(&first, LookupTarget::Hostname(name("worker")))
        .unwrap();
    assert_eq!(
        entry.agent, second.id,
        "expiry of the first takes nothing from the second"
    );
}

#[test]
fn names_of_services_are_reserved() {
    let (mut world, agent) = (World::new(), TestAgent::new(1));
    let response = world.register(&agent, 1, &private(Some("list-agents")));
    assert_eq!(code(&response), RefusalCode::Reserved);
}

#[test]
fn the_first_agent_keeps_the_48_bits() {
    let (mut world, first) = (World::new(), TestAgent::new(1));
    let mut bytes = *first.id.as_bytes();
    bytes[31] ^= 1;
    let second = TestAgent::with_id(AgentId::new(bytes));
    world.join(&first, &private(None));
    assert_eq!(
        code(&world.register(&second, 1, &private(None))),
        RefusalCode::AddressTaken
    );
    world.ask(&first, Request::Deregister);
    assert_eq!(
        code(&world.register(&second, 1, &private(None))),
        RefusalCode::AddressTaken
    );
    world.pass(90 * DAY);
    world.join(&second, &private(None));
}

#[test]
fn reserved_addresses_are_nobodys() {
    let mut bytes = [9; 32];
    bytes[..6].fill(0);
    let (mut world, agent) = (World::new(), TestAgent::with_id(AgentId::new(bytes)));
    assert_eq!(
        code(&world.register(&agent, 1, &private(None))),
        RefusalCode::Invalid
    );
}

#[test]
fn a_log_only_grows_and_a_recovery_beats_it() {
    let (mut world, old) = (World::new(), TestAgent::new(1));
    world.join(&old, &private(None));
    let mut rotated = old.clone();
    rotated.rotate(0, 1, 0);
    let response = world.register(&rotated, 2, &private(None));
    assert!(matches!(response, Response::Registered { .. }));
    assert_eq!(
        code(&world.register(&old, 3, &private(None))),
        RefusalCode::Stale
    );

    let mut forked = old.clone();
    forked.rotate(0, 1, 7);
    forked.rotate(0, 2, 7);
    assert_eq!(
        code(&world.register(&forked, 3, &private(None))),
        RefusalCode::Invalid
    );

    let mut recovered = old.clone();
    recovered.rotate(1, 0, 0);
    let response = world.register(&recovered, 3, &private(None));
    assert!(matches!(response, Response::Registered { .. }));
}

#[test]
fn a_rotation_moves_the_key_and_drops_the_locator() {
    let (mut world, old) = (World::new(), TestAgent::new(1));
    world.join(&old, &public(None));
    let request = old.locate(1, 1, world.now);
    assert_eq!(world.ask(&old, request), Response::Located);
    let old_key = sign_key(&old);
    let mut rotated = old.clone();
    rotated.rotate(0, 1, 0);
    let new_key = sign_key(&rotated);
    world.register(&rotated, 2, &public(None));
    let viewer = TestAgent::new(2);
    assert_eq!(world.lookup(&viewer, LookupTarget::Key(old_key)), None);
    let entry = world.lookup(&viewer, LookupTarget::Key(new_key)).unwrap();
    assert_eq!((entry.agent, entry.locator), (old.id, None));
    let by_id = LookupTarget::Key(*old.id.as_bytes());
    assert!(world.lookup(&viewer, by_id).is_some());
}

#[test]
fn locators_are_ordered_by_boot_and_serial_and_end() {
    let (mut world, agent) = (World::new(), TestAgent::new(1));
    let request = agent.locate(2, 2, world.now);
    assert_eq!(
        code(&world.ask(&agent, request.clone())),
        RefusalCode::NotRegistered
    );
    world.join(&agent, &public(None));
    assert_eq!(world.ask(&agent, request.clone()), Response::Located);
    let batches = world.probe.batches.get();
    assert_eq!(world.ask(&agent, request), Response::Located);
    assert_eq!(
        world.probe.batches.get(),
        batches,
        "unchanged writes nothing"
    );
    for (boot, serial) in [(1, 9), (2, 1), (2, 2)] {
        let request = agent.locate(boot, serial, world.now.plus(Duration::from_secs(1)));
        assert_eq!(code(&world.ask(&agent, request)), RefusalCode::Stale);
    }
    let request = agent.locate(3, 0, world.now);
    assert_eq!(world.ask(&agent, request), Response::Located);
    let viewer = TestAgent::new(2);
    let target = LookupTarget::Agent(agent.id);
    assert!(
        world
            .lookup(&viewer, target.clone())
            .unwrap()
            .locator
            .is_some()
    );
    world.pass(DAY);
    assert!(world.lookup(&viewer, target).unwrap().locator.is_none());
}

#[test]
fn what_ended_stays_ended_when_the_clock_is_set_back_over_a_restart() {
    let (mut world, agent, other) = (World::new(), TestAgent::new(1), TestAgent::new(2));
    world.join(&agent, &public(None));
    world.pass(31 * DAY);
    assert!(!world.sees(&other, &agent));
    world.join(&other, &private(None));
    let store: TestStore = world.service.store().clone();
    let mut restarted = World::on_store(Config::default(), store);
    restarted.settle();
    assert!(
        !restarted.sees(&other, &agent),
        "31 days earlier by the clock"
    );
}

#[test]
fn an_agent_is_forgotten_after_the_retention_a_few_at_a_time() {
    let config = Config {
        expiry_batch: 2,
        ..Config::default()
    };
    let mut world = World::with_config(config);
    for index in 0..7 {
        world.join(&TestAgent::new(index), &private(Some(&format!("w{index}"))));
    }
    world.settle();
    world.now = world.now.plus(30 * DAY);
    world.service.handle_time(world.now);
    assert_eq!(world.service.stats().registered, 5, "two a call");
    assert!(world.service.poll_timeout_unix().unwrap() <= world.now);
    world.settle();
    let stats = world.service.stats();
    assert_eq!(
        (stats.registered, stats.agents, stats.records_expired),
        (0, 7, 7)
    );
    world.pass(90 * DAY);
    let stats = world.service.stats();
    assert_eq!((stats.agents, stats.agents_forgotten), (0, 7));
    assert_eq!(world.service.poll_timeout_unix(), None, "quiet");
    assert!(world.service.store().is_bare(), "nothing is left behind");
}

#[test]
fn a_full_registry_refuses_newcomers_and_serves_the_others() {
    let config = Config {
        max_agents: 2,
        ..Config::default()
    };
    let mut world = World::with_config(config);
    world.join(&TestAgent::new(1), &private(None));
    world.join(&TestAgent::new(2), &private(None));
    let refused = world.register(&TestAgent::new(3), 1, &private(None));
    assert_eq!(code(&refused), RefusalCode::RateLimited);
    let renewed = world.register(&TestAgent::new(1), 2, &private(None));
    assert!(matches!(renewed, Response::Registered { .. }));
}

#[test]
fn what_the_store_did_not_take_is_not_acknowledged() {
    let (mut world, agent, other) = (World::new(), TestAgent::new(1), TestAgent::new(2));
    world.join(&other, &private(None));
    world.probe.fails.set(true);
    let requests = [
        agent.register(1, world.now, &public(None)),
        other.grant(agent.id, 1, world.now),
        other.locate(1, 1, world.now),
        Request::Deregister,
        Request::Lookup {
            target: LookupTarget::Agent(other.id),
        },
    ];
    for request in requests {
        let response = world.ask(&other, request);
        assert_eq!(code(&response), RefusalCode::Unavailable);
    }
    world.probe.fails.set(false);
    assert!(!world.sees(&agent, &other));
    assert!(world.sees(&other, &other));
    world.join(&agent, &public(None));
    assert_eq!(
        world.service.stats().refusals_of(RefusalCode::Unavailable),
        5
    );
}

#[test]
fn one_agents_flood_is_refused_and_does_not_touch_another() {
    let config = Config {
        requests: Rate {
            burst: 5,
            interval_ms: 100,
        },
        ..Config::default()
    };
    let mut world = World::with_config(config);
    let (noisy, quiet) = (TestAgent::new(1), TestAgent::new(2));
    let mut refused = 0;
    for _ in 0..20 {
        let target = LookupTarget::Agent(quiet.id);
        if let Response::Refused {
            code,
            retry_after_ms,
            ..
        } = world.ask(&noisy, Request::Lookup { target })
        {
            assert_eq!((code, retry_after_ms), (RefusalCode::RateLimited, 100));
            refused += 1;
        }
    }
    assert_eq!(refused, 15);
    world.join(&quiet, &private(None));
    world.now = world.now.plus(Duration::from_millis(100));
    assert!(!world.sees(&noisy, &quiet), "answered again");
}

#[test]
fn an_agent_learns_where_it_is_seen() {
    let (mut world, agent) = (World::new(), TestAgent::new(1));
    assert_eq!(
        code(&world.ask(&agent, Request::Observe)),
        RefusalCode::NotRegistered
    );
    world.connect(&agent);
    let before = ([192, 0, 2, 1], 1000).into();
    assert_eq!(
        world.ask(&agent, Request::Observe),
        Response::Observed(before)
    );
    let after = ([192, 0, 2, 2], 2000).into();
    world.service.observed_changed(&agent.id, after);
    assert_eq!(
        world.ask(&agent, Request::Observe),
        Response::Observed(after)
    );
    assert_eq!(
        code(&world.ask(&agent, Request::Unknown)),
        RefusalCode::Invalid
    );
}
