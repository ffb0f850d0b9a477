//! Groups in virtual time: joining, trust by membership, and removals that need no rendezvous.

mod forging;

use pilot_trust::{GroupError, GroupTerms, GroupToken, Identity};
use pilot_types::{GroupId, Seed};
use pilot_wire::{JoinRule, Role, Speakers};

use super::*;

/// How long something may take that goes through the rendezvous: a few round trips.
const SOON: Duration = Duration::from_secs(5);

fn token() -> GroupToken {
    GroupToken::generate(Seed::new([42; 32]))
}

fn terms(join: JoinRule) -> GroupTerms {
    GroupTerms {
        join,
        token_key: (join == JoinRule::Token).then(|| token().public_key()),
        auto_trust: true,
        ..GroupTerms::new(name("trading"))
    }
}

/// A rendezvous and agents of these names, registered.
fn agents(seed: u64, names: &[&str]) -> (World, Vec<HostId>) {
    let mut world = World::new(seed, lan());
    let add = |name: &&str| world.add_agent(name, Profile::default(), lan());
    let hosts: Vec<HostId> = names.iter().map(add).collect();
    world.until("all registered", 30 * SECOND, |sim| {
        hosts.iter().all(|host| sim[*host].is_registered())
    });
    (world, hosts)
}

fn answer(
    world: &mut World,
    host: HostId,
    query: pilot_node::QueryId,
) -> Result<Answer, QueryError> {
    let mut outcome = None;
    world.until("the rendezvous answered", 15 * SECOND, |sim| {
        outcome = sim[host].log.iter().find_map(|event| match event {
            Event::Answered { query: id, result } if *id == query => Some(result.clone()),
            _ => None,
        });
        outcome.is_some()
    });
    outcome.unwrap()
}

fn create(world: &mut World, owner: HostId, terms: GroupTerms) -> GroupId {
    let key = Identity::generate(Seed::new([77; 32]), 0);
    let group = GroupId::of_log(key.agent());
    let query = world.with(owner, |agent, now| {
        agent.disk.group_keys.push(key.to_json());
        agent.node.create_group(now, key, terms).unwrap()
    });
    assert!(matches!(answer(world, owner, query), Ok(Answer::Group(id)) if id == group));
    group
}

fn ask(world: &mut World, host: HostId, token: Option<GroupToken>) -> Result<Answer, QueryError> {
    let query = world.with(host, |agent, now| {
        agent.node.join_group(now, name("trading"), token)
    });
    answer(world, host, query)
}

fn join(world: &mut World, host: HostId, group: GroupId, token: Option<GroupToken>) {
    let asked = ask(world, host, token);
    assert!(
        matches!(asked, Ok(Answer::Group(id)) if id == group),
        "{asked:?}"
    );
    world.until("it is a member", SOON, |sim| is_member(sim, host, group));
}

fn is_member(sim: &pilot_sim::Sim<world::Agent>, host: HostId, group: GroupId) -> bool {
    role_at(sim, host, host, group).is_some()
}

/// What `whom` is in a group as `at` knows it.
fn role_at(
    sim: &pilot_sim::Sim<world::Agent>,
    at: HostId,
    whom: HostId,
    group: GroupId,
) -> Option<Role> {
    let (now, agent) = (sim.network.now().unix, sim[whom].node.agent());
    let known = sim[at].node.trust().groups().get(&group)?;
    known.set().role(now, &agent)
}

/// Until everybody of them knows that everybody of them is a member.
fn until_all_know(world: &mut World, hosts: &[HostId], group: GroupId) {
    world.until("all know all", SOON, |sim| {
        let pairs = hosts
            .iter()
            .flat_map(|at| hosts.iter().map(move |of| (*at, *of)));
        pairs
            .into_iter()
            .all(|(at, of)| role_at(sim, at, of, group).is_some())
    });
}

fn trusts(sim: &pilot_sim::Sim<world::Agent>, at: HostId, whom: HostId) -> bool {
    let (now, agent) = (sim.network.now().unix, sim[whom].node.agent());
    sim[at].node.trust().has_granted(now, &agent)
}

#[test]
fn who_joins_by_token_reaches_members_that_nobody_approved() {
    let (mut world, hosts) = agents(900, &["alice", "bob", "carol"]);
    let [alice, bob, carol] = hosts[..] else {
        unreachable!()
    };
    let group = create(&mut world, alice, terms(JoinRule::Token));
    let refused = ask(&mut world, bob, None).unwrap_err();
    assert_eq!(refused, QueryError::Group(GroupError::TokenNeeded));
    join(&mut world, bob, group, Some(token()));
    assert!(ping(&mut world, bob, Target::Hostname(name("alice"))).is_ok());
    assert!(ping(&mut world, alice, Target::Hostname(name("bob"))).is_ok());
    let stranger = ping(&mut world, carol, Target::Hostname(name("bob")));
    assert_eq!(stranger.unwrap_err(), DialError::NotFound);
    join(&mut world, carol, group, Some(token()));
    until_all_know(&mut world, &hosts, group);
    assert!(ping(&mut world, carol, Target::Hostname(name("bob"))).is_ok());
    // The policy's ports, and no others.
    world.with(bob, |agent, _| {
        assert!(agent.node.listen(Port::ECHO) && agent.node.listen(Port::new(80)));
        agent.echo = Some(Port::ECHO);
    });
    let (echoed, error) = exchange(&mut world, carol, "bob", Port::ECHO, b"hello");
    assert_eq!((echoed.as_slice(), error), (&b"hello"[..], None));
    let (_, error) = exchange(&mut world, carol, "bob", Port::new(80), b"hello");
    assert_eq!(error, Some(ErrorCode::NOT_TRUSTED));
}

#[test]
fn a_kick_spreads_from_member_to_member_within_a_second_without_the_rendezvous() {
    let (mut world, hosts) = agents(901, &["alice", "bob", "carol", "dave"]);
    let [alice, bob, carol, dave] = hosts[..] else {
        unreachable!()
    };
    let group = create(&mut world, alice, terms(JoinRule::Open));
    for host in &hosts[1..] {
        join(&mut world, *host, group, None);
    }
    until_all_know(&mut world, &hosts, group);
    // Alice has a session with Carol, Carol with Dave, Bob with Carol and Dave.
    for (from, to) in [
        (alice, "carol"),
        (carol, "dave"),
        (bob, "carol"),
        (bob, "dave"),
    ] {
        assert!(ping(&mut world, from, Target::Hostname(name(to))).is_ok());
    }
    world.crash_rendezvous();
    let bob_id = world.id(bob);
    world.with(alice, |agent, now| {
        agent.node.kick(now, &group, bob_id).unwrap();
    });
    let took = world.until("everybody knows", SECOND, |sim| {
        [alice, carol, dave]
            .iter()
            .all(|host| !trusts(sim, *host, bob))
    });
    assert!(took <= SECOND, "{took:?}");
    world.until("the sessions with Bob are over", SECOND, |sim| {
        let with_bob = |host: &HostId| {
            let peers: Vec<_> = sim[*host].node.peers().into_iter().collect();
            peers.iter().any(|peer| peer.agent == bob_id)
        };
        ![carol, dave].iter().any(with_bob)
    });
    assert!(ping(&mut world, bob, Target::Hostname(name("dave"))).is_err());
    assert!(ping(&mut world, carol, Target::Hostname(name("dave"))).is_ok());
    // After a restart it is as before.
    world.crash_and_restart(dave, 4);
    assert!(!trusts(&world.sim, dave, bob) && trusts(&world.sim, dave, carol));
    // With the rendezvous back, and its database lost, who was kicked does not get in again.
    world.start_rendezvous();
    world.sim.run_for(30 * SECOND);
    assert!(!trusts(&world.sim, dave, bob));
    let _ = ask(&mut world, bob, None);
    world.sim.run_for(SOON);
    assert!(!trusts(&world.sim, alice, bob) && !trusts(&world.sim, carol, bob));
}

#[test]
fn a_rendezvous_that_lost_a_group_gets_it_back_from_its_owner() {
    let (mut world, hosts) = agents(902, &["alice", "bob", "carol"]);
    let [alice, bob, carol] = hosts[..] else {
        unreachable!()
    };
    let group = create(&mut world, alice, terms(JoinRule::Open));
    join(&mut world, bob, group, None);
    let network = |sim: &pilot_sim::Sim<world::Agent>, host: HostId| {
        sim[host]
            .node
            .trust()
            .groups()
            .get(&group)
            .unwrap()
            .network()
    };
    let before = network(&world.sim, alice);
    world.crash_rendezvous();
    world.start_rendezvous();
    world.sim.run_for(30 * SECOND);
    join(&mut world, carol, group, None);
    until_all_know(&mut world, &hosts, group);
    assert_eq!(network(&world.sim, carol), before);
    assert!(ping(&mut world, carol, Target::Hostname(name("bob"))).is_ok());
}

#[test]
fn who_joins_while_nobody_can_sign_is_told_so() {
    let (mut world, hosts) = agents(903, &["alice", "bob", "carol"]);
    let [alice, bob, carol] = hosts[..] else {
        unreachable!()
    };
    let group = create(&mut world, alice, terms(JoinRule::Open));
    join(&mut world, bob, group, None);
    let bob_id = world.id(bob);
    world.with(alice, |agent, now| {
        agent
            .node
            .set_role(now, &group, bob_id, Role::Admin)
            .unwrap();
    });
    world.until("bob is an admin", SOON, |sim| {
        role_at(sim, bob, bob, group) == Some(Role::Admin)
    });
    let old = world.crash(alice);
    world.sim.run_for(120 * SECOND);
    // An admin is enough.
    join(&mut world, carol, group, None);
    world.until("carol knows of bob", SOON, |sim| trusts(sim, carol, bob));
    let _ = world.crash(bob);
    let dave = world.add_agent("dave", Profile::default(), lan());
    world.until("dave is registered", 30 * SECOND, |sim| {
        sim[dave].is_registered()
    });
    world.sim.run_for(120 * SECOND);
    let refused = ask(&mut world, dave, None).unwrap_err();
    let is_it = matches!(
        refused,
        QueryError::Refused {
            code: pilot_registry::RefusalCode::NobodyOnline,
            ..
        }
    );
    assert!(is_it, "{refused:?}");
    world.restart(alice, 1, old);
    world.until("alice is back", 60 * SECOND, |sim| {
        sim[alice].is_registered()
    });
    join(&mut world, dave, group, None);
}

#[test]
fn who_is_invited_joins_and_who_leaves_is_a_member_no_more() {
    let (mut world, hosts) = agents(904, &["alice", "bob", "carol"]);
    let [alice, bob, carol] = hosts[..] else {
        unreachable!()
    };
    let group = create(&mut world, alice, terms(JoinRule::Invite));
    let refused = ask(&mut world, carol, None).unwrap_err();
    assert_eq!(refused, QueryError::Group(GroupError::NotInvited));
    let bob_id = world.id(bob);
    let query = world.with(alice, |agent, now| {
        agent.node.invite(now, &group, bob_id).unwrap()
    });
    assert!(answer(&mut world, alice, query).is_ok());
    world.until("bob has it", SOON, |sim| {
        let now = sim.network.now().unix;
        sim[bob].node.trust().groups().invitations(now).count() == 1
    });
    join(&mut world, bob, group, None);
    until_all_know(&mut world, &[alice, bob], group);
    world.with(bob, |agent, now| {
        agent.node.leave_group(now, group).unwrap();
    });
    assert!(!trusts(&world.sim, bob, alice));
    world.until("alice has signed it", SOON, |sim| {
        role_at(sim, alice, bob, group).is_none()
    });
}

#[test]
fn who_speaks_for_a_group_reaches_the_message_service_without_trust() {
    let (mut world, hosts) = agents(905, &["alice", "bob"]);
    let [alice, bob] = hosts[..] else {
        unreachable!()
    };
    let quiet = GroupTerms {
        auto_trust: false,
        speakers: Speakers::Owner,
        mailbox: false,
        ..terms(JoinRule::Open)
    };
    let group = create(&mut world, alice, quiet);
    join(&mut world, bob, group, None);
    for host in [alice, bob] {
        world.with(host, |agent, _| {
            assert!(agent.node.listen(Port::DATA_EXCHANGE));
            agent.echo = Some(Port::DATA_EXCHANGE);
        });
    }
    let speak = |world: &mut World, from: HostId, to: HostId, group: Option<GroupId>| {
        let to = world.id(to);
        let options = DialOptions {
            group,
            ..DialOptions::default()
        };
        let dial = world.with(from, |agent, now| {
            let target = Target::Agent(to);
            agent
                .node
                .dial(now, target, Port::DATA_EXCHANGE, options)
                .unwrap()
        });
        let mut outcome = None;
        world.until("dialled", 15 * SECOND, |sim| {
            outcome = sim[from].log.iter().find_map(|event| match event {
                Event::Dialed {
                    dial: id, stream, ..
                } if *id == dial => Some(Ok(*stream)),
                Event::DialFailed { dial: id, error } if *id == dial => Some(Err(error.clone())),
                _ => None,
            });
            outcome.is_some()
        });
        outcome.unwrap()
    };
    let stream = speak(&mut world, alice, bob, Some(group)).unwrap();
    world.with(alice, |agent, now| agent.send(now, stream, b"all"));
    world.until("echoed", SOON, |sim| sim[alice].incoming[&stream].is_ended);
    assert_eq!(world.sim[alice].incoming[&stream].bytes, b"all");
    assert!(speak(&mut world, alice, bob, None).is_err());
    assert!(speak(&mut world, bob, alice, Some(group)).is_err());
}
