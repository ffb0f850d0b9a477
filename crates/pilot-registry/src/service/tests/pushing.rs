//! Knocks and grants on their way.

use std::time::Duration;

use pilot_wire::KnockTarget;

use crate::testing::{DAY, TestAgent, World, name, private, public};
use crate::{Config, OutgoingPush, Push, Rate, RefusalCode, Request, Response};

fn knockers(push: &[OutgoingPush]) -> Vec<Vec<u8>> {
    push.iter()
        .map(|push| {
            let Push::Knock { entry, .. } = &push.push else {
                panic!("expected a knock, found {push:?}");
            };
            entry.log[0].clone()
        })
        .collect()
}

fn knock(world: &mut World, from: &TestAgent, to: &TestAgent) -> Response {
    let request = from.knock(KnockTarget::Agent(to.id), world.now);
    world.ask(from, request)
}

#[test]
fn a_knock_reaches_a_connected_agent_at_once_and_others_when_they_come() {
    let mut world = World::new();
    let (target, knocker) = (TestAgent::new(1), TestAgent::new(2));
    world.join(&target, &private(Some("worker")));
    world.join(&knocker, &private(None));
    let by_name = knocker.knock(KnockTarget::Hostname(name("worker")), world.now);
    assert_eq!(world.ask(&knocker, by_name.clone()), Response::Sent);
    assert_eq!(world.pushes(), [], "nobody is connected");
    world.connect(&target);
    let pushes = world.pushes();
    let Request::Knock { knock: raw } = by_name else {
        unreachable!()
    };
    let Push::Knock { knock, entry } = &pushes[0].push else {
        unreachable!()
    };
    assert_eq!((knock, &entry.log), (&raw, &knocker.log));
    assert!(
        entry.record.is_some(),
        "the record signs the knocker's name"
    );
    assert_eq!(pushes[0].to, target.id);
    world
        .service
        .push_acked(world.now, &target.id, pushes[0].id);

    let by_node = knocker.knock(KnockTarget::Node(target.node()), world.now);
    world.ask(&knocker, by_node);
    assert_eq!(world.deliver().len(), 1);
    world.disconnect(&target);
    world.connect(&target);
    assert_eq!(world.deliver(), [], "acknowledged is gone");
}

#[test]
fn a_knock_costs_the_same_whether_or_not_the_target_exists_or_has_room() {
    let config = Config {
        max_knocks: 3,
        ..Config::default()
    };
    let mut world = World::with_config(config);
    let (target, knocker, nobody) = (TestAgent::new(1), TestAgent::new(2), TestAgent::new(9));
    world.join(&target, &private(Some("worker")));
    world.join(&knocker, &private(None));
    let cost = |world: &mut World, to: KnockTarget| {
        let probe = || {
            let probe = &world.probe;
            (probe.reads.get(), probe.writes.get(), probe.batches.get())
        };
        let before = probe();
        let request = knocker.knock(to, world.now);
        let bytes = world
            .service
            .handle_request(world.now, knocker.id, request)
            .encode();
        let after = probe();
        (
            bytes,
            after.0 - before.0,
            after.1 - before.1,
            after.2 - before.2,
        )
    };
    let present = cost(&mut world, KnockTarget::Node(target.node()));
    let absent = cost(&mut world, KnockTarget::Node(nobody.node()));
    assert_eq!(present, absent);
    let present = cost(&mut world, KnockTarget::Agent(target.id));
    let absent = cost(&mut world, KnockTarget::Agent(nobody.id));
    assert_eq!(present, absent);
    let present = cost(&mut world, KnockTarget::Hostname(name("worker")));
    let absent = cost(&mut world, KnockTarget::Hostname(name("nobody")));
    assert_eq!(present, absent);
    assert_eq!(world.service.stats().knocks_lost, 3);

    world.pass(8 * DAY);
    for index in 10..13 {
        let other = TestAgent::new(index);
        world.join(&other, &private(None));
        knock(&mut world, &other, &target);
    }
    let full = cost(&mut world, KnockTarget::Node(target.node()));
    assert_eq!(
        (&full.0, full.3),
        (&absent.0, absent.3),
        "answer and transactions"
    );
    world.connect(&target);
    assert_eq!(world.deliver().len(), 3);
}

#[test]
fn knocks_for_nobody_take_bounded_room_and_reach_nobody() {
    let config = Config {
        max_knocks: 4,
        ..Config::default()
    };
    let mut world = World::with_config(config);
    let nobody = TestAgent::new(200);
    for index in 0..20 {
        let knocker = TestAgent::new(index);
        world.join(&knocker, &private(None));
        world.connect(&knocker);
        assert_eq!(knock(&mut world, &knocker, &nobody), Response::Sent);
        assert_eq!(
            knock(&mut world, &knocker, &knocker.clone()),
            Response::Sent
        );
        assert!(world.service.store().push_count() <= 4);
    }
    assert_eq!(world.pushes(), []);
}

#[test]
fn a_targets_queue_is_bounded_and_holds_one_knock_of_each() {
    let mut world = World::new();
    let target = TestAgent::new(200);
    world.join(&target, &private(None));
    for index in 0..70 {
        let knocker = TestAgent::new(index);
        world.join(&knocker, &private(None));
        for _ in 0..2 {
            assert_eq!(knock(&mut world, &knocker, &target), Response::Sent);
            world.now = world.now.plus(Duration::from_millis(1));
        }
    }
    world.connect(&target);
    let came = knockers(&world.deliver());
    let first: Vec<Vec<u8>> = (0..64)
        .map(|index| TestAgent::new(index).log[0].clone())
        .collect();
    assert_eq!(came, first, "oldest first");
    let late = TestAgent::new(69);
    knock(&mut world, &late, &target);
    assert_eq!(world.deliver().len(), 1, "there is room again");
}

#[test]
fn a_knock_is_not_brought_after_its_week() {
    let mut world = World::new();
    let (target, knocker) = (TestAgent::new(1), TestAgent::new(2));
    world.join(&target, &private(None));
    world.join(&knocker, &private(None));
    knock(&mut world, &knocker, &target);
    world.pass(7 * DAY);
    world.connect(&target);
    assert_eq!(world.pushes(), []);
    let long = knocker.sign(
        0,
        world.now,
        8 * DAY,
        &pilot_wire::Knock {
            target: KnockTarget::Agent(target.id),
            justification: String::new(),
            hostname: None,
        },
    );
    let response = world.ask(&knocker, Request::Knock { knock: long });
    assert!(matches!(
        response,
        Response::Refused {
            code: RefusalCode::Invalid,
            ..
        }
    ));
}

#[test]
fn knocks_have_a_rate_of_their_own() {
    let config = Config {
        knocks: Rate {
            burst: 2,
            interval_ms: 60_000,
        },
        ..Config::default()
    };
    let mut world = World::with_config(config);
    let (target, knocker) = (TestAgent::new(1), TestAgent::new(2));
    world.join(&knocker, &private(None));
    assert_eq!(knock(&mut world, &knocker, &target), Response::Sent);
    assert_eq!(knock(&mut world, &knocker, &target), Response::Sent);
    let refused = knock(&mut world, &knocker, &target);
    assert!(matches!(
        refused,
        Response::Refused {
            code: RefusalCode::RateLimited,
            retry_after_ms: 60_000,
            ..
        }
    ));
    world.join(&target, &private(None));
    let refused = knock(&mut world, &knocker, &target);
    assert!(
        matches!(
            refused,
            Response::Refused {
                retry_after_ms: 60_000,
                ..
            }
        ),
        "also now that it exists"
    );
}

#[test]
fn who_is_not_registered_can_neither_knock_nor_grant() {
    let mut world = World::new();
    let (target, knocker) = (TestAgent::new(1), TestAgent::new(2));
    world.join(&target, &private(None));
    let grant = knocker.grant(target.id, 1, world.now);
    for response in [
        knock(&mut world, &knocker, &target),
        world.ask(&knocker, grant),
    ] {
        assert!(matches!(
            response,
            Response::Refused {
                code: RefusalCode::NotRegistered,
                ..
            }
        ));
    }
}

#[test]
fn a_grant_brings_the_grantors_record_and_a_revocation_does_not() {
    let mut world = World::new();
    let (grantor, grantee) = (TestAgent::new(1), TestAgent::new(2));
    world.join(&grantor, &private(Some("worker")));
    world.connect(&grantee);
    let grant = grantor.grant(grantee.id, 1, world.now);
    world.ask(&grantor, grant);
    let pushes = world.deliver();
    let [
        OutgoingPush {
            push: Push::Grant { entry, .. },
            ..
        },
    ] = pushes.as_slice()
    else {
        panic!("expected a grant, found {pushes:?}");
    };
    assert!(entry.record.is_some());
    assert_eq!(entry.log, grantor.log);
    let revocation = grantor.revoke(grantee.id, 2, world.now);
    world.ask(&grantor, revocation);
    let pushes = world.deliver();
    let [
        OutgoingPush {
            push: Push::Grant { entry, .. },
            ..
        },
    ] = pushes.as_slice()
    else {
        panic!("expected a revocation, found {pushes:?}");
    };
    assert_eq!(entry.record, None);
}

#[test]
fn a_push_comes_until_it_is_acknowledged() {
    let mut world = World::new();
    let (target, knocker) = (TestAgent::new(1), TestAgent::new(2));
    world.join(&target, &private(None));
    world.join(&knocker, &private(None));
    world.connect(&target);
    knock(&mut world, &knocker, &target);
    let first = world.pushes();
    assert_eq!(first.len(), 1);
    assert_eq!(world.pushes(), [], "one at a time");
    world
        .service
        .push_failed(world.now, &target.id, first[0].id);
    assert_eq!(world.pushes(), [], "it rests");
    world.pass(Duration::from_secs(5));
    assert_eq!(world.pushes(), first);
    world.disconnect(&target);
    world.pass(Duration::from_secs(5));
    assert_eq!(world.pushes(), []);
    world.connect(&target);
    assert_eq!(world.pushes(), first, "a lost session acknowledges nothing");
    world.service.push_acked(world.now, &target.id, first[0].id);
    world.connect(&target);
    assert_eq!(world.pushes(), []);
    let stats = world.service.stats();
    assert_eq!(
        (stats.pushes_sent, stats.pushes_failed, stats.pushes_acked),
        (3, 1, 1)
    );
}

#[test]
fn an_acknowledgement_of_a_replaced_push_leaves_its_successor() {
    let mut world = World::new();
    let (grantor, grantee) = (TestAgent::new(1), TestAgent::new(2));
    world.join(&grantor, &private(None));
    world.connect(&grantee);
    let grant = grantor.grant(grantee.id, 1, world.now);
    world.ask(&grantor, grant);
    let first = world.pushes();
    let revocation = grantor.revoke(grantee.id, 2, world.now);
    world.ask(&grantor, revocation.clone());
    world
        .service
        .push_acked(world.now, &grantee.id, first[0].id);
    world.connect(&grantee);
    let Request::PutGrant { grant: raw, .. } = revocation else {
        unreachable!()
    };
    let second = world.deliver();
    assert_eq!(second.len(), 1);
    assert!(matches!(&second[0].push, Push::Grant { grant, .. } if *grant == raw));
}

#[test]
fn a_failed_read_rests_and_comes_again() {
    let mut world = World::new();
    let (target, knocker) = (TestAgent::new(1), TestAgent::new(2));
    world.join(&target, &public(None));
    world.join(&knocker, &private(None));
    knock(&mut world, &knocker, &target);
    world.probe.fails.set(true);
    world.connect(&target);
    assert_eq!(world.pushes(), []);
    world.probe.fails.set(false);
    world.pass(Duration::from_secs(5));
    world.probe.fails.set(true);
    assert_eq!(world.pushes(), []);
    world.probe.fails.set(false);
    world.pass(Duration::from_secs(5));
    assert_eq!(world.deliver().len(), 1);
}

#[test]
fn pushes_to_one_agent_do_not_hold_up_another() {
    let config = Config {
        max_pushes_in_flight: 2,
        ..Config::default()
    };
    let mut world = World::with_config(config);
    let (slow, quick) = (TestAgent::new(1), TestAgent::new(2));
    world.join(&slow, &private(None));
    world.join(&quick, &private(None));
    world.connect(&slow);
    world.connect(&quick);
    for index in 10..20 {
        let knocker = TestAgent::new(index);
        world.join(&knocker, &private(None));
        knock(&mut world, &knocker, &slow);
        knock(&mut world, &knocker, &quick);
    }
    let under_way = world.pushes();
    assert_eq!(under_way.len(), 4, "two each");
    for push in under_way.iter().filter(|push| push.to == quick.id) {
        world.service.push_acked(world.now, &push.to, push.id);
    }
    let more = world.pushes();
    assert_eq!(more.len(), 2);
    assert!(more.iter().all(|push| push.to == quick.id));
}
