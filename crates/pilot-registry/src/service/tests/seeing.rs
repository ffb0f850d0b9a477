//! Who is shown what.

use std::time::Duration;

use pilot_wire::{Scope, Visibility};

use crate::testing::{DAY, TestAgent, World, name, private, public};
use crate::{Config, LookupTarget, RefusalCode, Request, Response};

fn targets(agent: &TestAgent) -> [LookupTarget; 3] {
    [
        LookupTarget::Agent(agent.id),
        LookupTarget::Node(agent.node()),
        LookupTarget::Key(*agent.id.as_bytes()),
    ]
}

#[test]
fn a_private_agent_is_shown_to_itself_and_those_it_granted() {
    let mut world = World::new();
    let (agent, friend, stranger) = (TestAgent::new(1), TestAgent::new(2), TestAgent::new(3));
    world.join(&agent, &private(Some("worker")));
    world.join(&friend, &private(None));
    world.join(&stranger, &private(None));
    let grant = agent.grant(friend.id, 1, world.now);
    assert_eq!(world.ask(&agent, grant), Response::Stored);
    let mut all = targets(&agent).to_vec();
    all.push(LookupTarget::Hostname(name("worker")));
    for target in all {
        assert!(world.lookup(&agent, target.clone()).is_some());
        assert!(world.lookup(&friend, target.clone()).is_some());
        assert_eq!(world.lookup(&stranger, target), None);
    }
    assert!(
        !world.sees(&agent, &friend),
        "a grant shows the grantor, not the grantee"
    );
}

#[test]
fn unknown_and_not_allowed_have_the_same_bytes_after_the_same_reads() {
    let mut world = World::new();
    let (agent, stranger, nobody) = (TestAgent::new(1), TestAgent::new(2), TestAgent::new(9));
    world.join(&agent, &private(Some("worker")));
    world.join(&stranger, &private(None));
    let mut cost = |target: LookupTarget| {
        let before = world.probe.reads.get();
        let bytes = world.ask(&stranger, Request::Lookup { target }).encode();
        (bytes, world.probe.reads.get() - before)
    };
    let hidden = cost(LookupTarget::Hostname(name("worker")));
    let absent = cost(LookupTarget::Hostname(name("nobody")));
    assert_eq!(hidden, absent);
    let (hidden, absent) = (targets(&agent), targets(&nobody));
    for (hidden, absent) in hidden.into_iter().zip(absent) {
        assert_eq!(cost(hidden), cost(absent));
    }
}

#[test]
fn a_public_agent_is_shown_to_everybody_with_its_presence() {
    let mut world = World::new();
    let (agent, stranger) = (TestAgent::new(1), TestAgent::new(2));
    world.join(&agent, &public(None));
    let target = LookupTarget::Agent(agent.id);
    let entry = world.lookup(&stranger, target.clone()).unwrap();
    assert_eq!((entry.online, entry.last_seen), (false, None));
    assert_eq!(entry.log, agent.log);
    world.connect(&agent);
    let entry = world.lookup(&stranger, target.clone()).unwrap();
    assert_eq!((entry.online, entry.last_seen), (true, Some(world.now)));
    let left = world.now;
    world.disconnect(&agent);
    world.pass(Duration::from_secs(60));
    let entry = world.lookup(&stranger, target).unwrap();
    assert_eq!((entry.online, entry.last_seen), (false, Some(left)));
    let batches = world.probe.batches.get();
    world.connect(&agent);
    world.disconnect(&agent);
    assert_eq!(
        world.probe.batches.get(),
        batches,
        "liveness is never a write"
    );
}

#[test]
fn a_visibility_of_a_later_version_is_private() {
    let mut record = private(None);
    record.visibility = Visibility::Unknown;
    let (mut world, agent) = (World::new(), TestAgent::new(1));
    world.join(&agent, &record);
    assert!(!world.sees(&TestAgent::new(2), &agent));
}

#[test]
fn a_revocation_hides_and_no_older_grant_comes_back() {
    let mut world = World::new();
    let (agent, friend) = (TestAgent::new(1), TestAgent::new(2));
    world.join(&agent, &private(None));
    let first = agent.grant(friend.id, 1, world.now);
    let second = agent.grant(friend.id, 2, world.now);
    let revocation = agent.revoke(friend.id, 3, world.now);
    world.ask(&agent, first.clone());
    world.ask(&agent, second.clone());
    assert!(world.sees(&friend, &agent));
    assert_eq!(world.ask(&agent, revocation), Response::Stored);
    assert!(!world.sees(&friend, &agent));
    world.pass(2 * DAY);
    for old in [first.clone(), second.clone()] {
        let response = world.ask(&agent, old);
        assert!(matches!(
            response,
            Response::Refused {
                code: RefusalCode::Stale,
                ..
            }
        ));
    }
    world.ask(&agent, Request::Deregister);
    world.pass(30 * DAY);
    world.register(&agent, 2, &private(None));
    assert!(matches!(world.ask(&agent, first), Response::Refused { .. }));
    assert!(
        !world.sees(&friend, &agent),
        "the revocation outlived the departure"
    );
    let again = agent.grant(friend.id, 4, world.now);
    world.ask(&agent, again);
    assert!(world.sees(&friend, &agent));
}

#[test]
fn a_grant_ends_by_its_date() {
    let mut world = World::new();
    let (agent, friend) = (TestAgent::new(1), TestAgent::new(2));
    world.join(&agent, &private(None));
    let ports = Scope::default_scope().ports;
    let grant = agent.put_grant(friend.id, 1, world.now, (ports, DAY));
    world.ask(&agent, grant);
    world.pass(DAY - Duration::from_millis(1));
    assert!(world.sees(&friend, &agent));
    world.pass(Duration::from_millis(1));
    assert!(!world.sees(&friend, &agent));
}

#[test]
fn a_recovery_voids_what_the_lost_key_granted() {
    let mut world = World::new();
    let (agent, thief) = (TestAgent::new(1), TestAgent::new(2));
    world.join(&agent, &private(None));
    let grant = agent.grant(thief.id, 1, world.now);
    world.ask(&agent, grant);
    assert!(world.sees(&thief, &agent));
    let mut recovered = agent.clone();
    recovered.rotate(1, 0, 0);
    world.register(&recovered, 2, &private(None));
    assert!(!world.sees(&thief, &agent));
    let again = recovered.grant(thief.id, 2, world.now);
    world.ask(&recovered, again);
    assert!(world.sees(&thief, &agent));
}

#[test]
fn grants_are_the_grantors_and_bounded() {
    let config = Config {
        max_grants_per_agent: 3,
        ..Config::default()
    };
    let mut world = World::with_config(config);
    let (agent, other) = (TestAgent::new(1), TestAgent::new(2));
    world.join(&agent, &private(None));
    world.join(&other, &private(None));
    let forged = agent.grant(other.id, 1, world.now);
    assert!(matches!(
        world.ask(&other, forged),
        Response::Refused { .. }
    ));
    let Request::PutGrant { grant, .. } = agent.grant(other.id, 1, world.now) else {
        unreachable!()
    };
    let to = TestAgent::new(7).id;
    let renamed = world.ask(&agent, Request::PutGrant { to, grant });
    assert!(matches!(
        renamed,
        Response::Refused {
            code: RefusalCode::Invalid,
            ..
        }
    ));
    let own = agent.grant(agent.id, 1, world.now);
    let own = world.ask(&agent, own);
    assert!(matches!(
        own,
        Response::Refused {
            code: RefusalCode::Invalid,
            ..
        }
    ));

    let ports = Scope::default_scope().ports;
    for index in 10..13 {
        let to = TestAgent::new(index).id;
        let grant = agent.put_grant(to, 1, world.now, (ports.clone(), DAY));
        assert_eq!(world.ask(&agent, grant), Response::Stored);
    }
    let more = agent.grant(other.id, 1, world.now);
    assert!(matches!(world.ask(&agent, more), Response::Refused { .. }));
    world.pass(DAY);
    let more = agent.grant(other.id, 1, world.now);
    assert_eq!(world.ask(&agent, more), Response::Stored, "ended ones left");
}
