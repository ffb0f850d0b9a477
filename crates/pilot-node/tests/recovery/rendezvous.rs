//! A rendezvous that is gone, comes back with nothing, or is another one.

use pilot_node::LinkState;

use super::*;

/// The longest pause between two tries of an agent, and what a handshake and two requests may take with losses.
const FOUND_AGAIN: Duration = Duration::from_secs(10);

fn link(world: &World, host: HostId) -> LinkState {
    world.sim[host].node.status().rendezvous[0].1
}

/// Each reaches the other, at once where nothing is lost: one in a thousand first contacts by [`links`]' worse one is unlucky.
fn go_on(world: &mut World, link: &LinkConfig, agents: [(HostId, &str); 2]) {
    let tries = if *link == lan() { 1 } else { 2 };
    for (from, to) in agents {
        let mut answers = (0..tries).map(|_| ping(world, from, Target::Hostname(name(to))));
        let answer = answers.find(Result::is_ok);
        assert!(answer.is_some(), "to {to} over {link:?}");
    }
}

#[test]
fn one_that_was_gone_for_ten_minutes_and_forgot_everything_is_found_again() {
    over_links(|seed, link_config| {
        let (mut world, alice, bob) = connected(seed, link_config);
        world.crash_rendezvous();
        for _ in 0..10 {
            world.sim.run_for(60 * SECOND);
            go_on(&mut world, link_config, [(alice, "bob"), (bob, "alice")]);
        }
        assert_ne!(link(&world, alice), LinkState::Registered, "seed {seed}");
        // With its key and an empty database.
        world.start_rendezvous();
        world.until("both are registered", FOUND_AGAIN, |sim| {
            [alice, bob].iter().all(|host| {
                let status = sim[*host].node.status();
                status.rendezvous[0].1 == LinkState::Registered
            })
        });
        find_each_other(&mut world, alice, bob);
    });
}

#[test]
fn one_with_another_key_is_refused_and_trusted_agents_go_on() {
    over_links(|seed, link_config| {
        let (mut world, alice, bob) = connected(seed, link_config);
        world.crash_rendezvous();
        world.start_impostor();
        world.until("the impostor is told of", 120 * SECOND, |sim| {
            sim[alice].count(|event| matches!(event, Event::KeyMismatch { .. })) > 0
        });
        world.sim.run_for(60 * SECOND);
        assert_ne!(link(&world, alice), LinkState::Registered, "seed {seed}");
        go_on(&mut world, link_config, [(alice, "bob"), (bob, "alice")]);
        // The true one comes back.
        world.crash_rendezvous();
        world.start_rendezvous();
        world.until("both are registered", 3 * FOUND_AGAIN, |sim| {
            [alice, bob].iter().all(|host| {
                let status = sim[*host].node.status();
                status.rendezvous[0].1 == LinkState::Registered
            })
        });
    });
}

#[test]
fn one_that_moved_is_found_where_its_name_leads() {
    over_links(|seed, link_config| {
        let (mut world, alice, bob) = connected(seed, link_config);
        let url = world.sim[alice].node.status().rendezvous[0].0.clone();
        world.crash_rendezvous();
        let moved = world.move_rendezvous([198, 51, 100, 77]);
        world.start_rendezvous();
        let has_asked = |agent: &Agent| {
            agent.count(|event| matches!(event, Event::RendezvousSilent { .. })) > 0
        };
        world.until("both ask for its name", 120 * SECOND, |sim| {
            has_asked(&sim[alice]) && has_asked(&sim[bob])
        });
        for host in [alice, bob] {
            world.with(host, |agent, now| {
                agent.node.set_rendezvous_addrs(now, &url, &[moved]);
            });
        }
        world.until("both are registered", FOUND_AGAIN, |sim| {
            [alice, bob].iter().all(|host| {
                let status = sim[*host].node.status();
                status.rendezvous[0].1 == LinkState::Registered
            })
        });
        find_each_other(&mut world, alice, bob);
    });
}
