//! Searches: what is found, in which order, within which bounds.

use std::time::Duration;

use pilot_types::AgentId;
use pilot_wire::{Capability, Record};

use crate::limits::{MAX_SEARCH_ANSWER, MAX_SEARCH_ENTRIES};
use crate::testing::{DAY, TestAgent, World, private, public};
use crate::{Config, Rate, RefusalCode, Request, Response, SearchQuery};

fn query(text: &str) -> SearchQuery {
    SearchQuery {
        text: text.to_owned(),
        limit: 50,
        ..SearchQuery::default()
    }
}

fn search(world: &mut World, viewer: &TestAgent, query: SearchQuery) -> (Vec<AgentId>, u64) {
    let response = world.ask(viewer, Request::Search { query });
    let Response::SearchResults { entries, total, .. } = &response else {
        panic!("expected results, found {response:?}");
    };
    assert_eq!(Response::decode(&response.encode()).as_ref(), Ok(&response));
    (entries.iter().map(|entry| entry.agent).collect(), *total)
}

fn code(response: &Response) -> Option<RefusalCode> {
    if let Response::Refused { code, .. } = response {
        Some(*code)
    } else {
        None
    }
}

fn numbered(index: usize) -> TestAgent {
    let mut bytes = [0xB0; 32];
    bytes[24..].copy_from_slice(&(index as u64).to_be_bytes());
    bytes[1..5].copy_from_slice(&u32::try_from(index).unwrap().to_be_bytes());
    TestAgent::with_id(AgentId::new(bytes))
}

fn weather(hostname: &str) -> Record {
    Record {
        tags: vec!["gpu".parse().unwrap()],
        capabilities: vec![Capability {
            description: "the weather of tomorrow".to_owned(),
            ..Capability::named("forecast", "1.2.0")
        }],
        ..public(Some(hostname))
    }
}

#[test]
fn name_tag_capability_and_description_are_found() {
    let mut world = World::new();
    let (agent, other, viewer) = (TestAgent::new(1), TestAgent::new(2), TestAgent::new(3));
    world.join(&agent, &weather("oracle"));
    world.join(&other, &public(Some("tax")));
    world.join(&viewer, &private(None));
    let with = |change: fn(&mut SearchQuery)| {
        let mut query = query("");
        change(&mut query);
        query
    };
    let fitting = [
        query("weather"),
        query("ORACLE"),
        query("gpu nothing"),
        query("forec"),
        with(|query| query.tags = vec!["gpu".parse().unwrap()]),
        with(|query| query.capability = Some("forecast".to_owned())),
        with(|query| query.capability = Some("forecast@1.2.0".to_owned())),
        with(|query| query.hostname = "oracle".parse().ok()),
    ];
    for query in fitting {
        assert_eq!(
            search(&mut world, &viewer, query.clone()),
            (vec![agent.id], 1),
            "{query:?}"
        );
    }
    let not_fitting = [
        query("rain"),
        with(|query| query.capability = Some("forecast@1.2.1".to_owned())),
        with(|query| query.tags = vec!["gpu".parse().unwrap(), "fast".parse().unwrap()]),
        with(|query| {
            query.text = "weather".to_owned();
            query.hostname = "tax".parse().ok();
        }),
    ];
    for query in not_fitting {
        assert_eq!(
            search(&mut world, &viewer, query.clone()),
            (vec![], 0),
            "{query:?}"
        );
    }
    assert_eq!(
        search(&mut world, &viewer, query("")).1,
        3,
        "it sees itself"
    );
}

#[test]
fn a_hidden_agent_changes_neither_sum_nor_order() {
    let ask = |has_hidden: bool| {
        let mut world = World::new();
        let viewer = TestAgent::new(9);
        world.join(&viewer, &private(None));
        for (index, name) in [(1, "weather-a"), (2, "weather-b"), (3, "rain")] {
            world.join(&TestAgent::new(index), &public(Some(name)));
        }
        if has_hidden {
            for index in 20..60 {
                let name = format!("rain-{index}");
                world.join(&TestAgent::new(index), &private(Some(&name)));
            }
        }
        let before = world.probe.reads.get();
        let request = Request::Search {
            query: query("weather rain"),
        };
        let answer = world.ask(&viewer, request).encode();
        // The first search of a small store completes the index with one read.
        (answer, world.probe.reads.get() - before)
    };
    assert_eq!(ask(false), ask(true));
}

#[test]
fn what_a_grant_shows_is_found_until_it_ends() {
    let mut world = World::new();
    let (agent, friend) = (TestAgent::new(1), TestAgent::new(2));
    world.join(&agent, &private(Some("worker")));
    world.join(&friend, &private(None));
    assert_eq!(search(&mut world, &friend, query("worker")).1, 0);
    let grant = agent.grant(friend.id, 1, world.now);
    world.ask(&agent, grant);
    assert_eq!(
        search(&mut world, &friend, query("worker")),
        (vec![agent.id], 1)
    );
    let public_only = SearchQuery {
        is_public_only: true,
        ..query("worker")
    };
    assert_eq!(search(&mut world, &friend, public_only).1, 0);
    let revocation = agent.revoke(friend.id, 2, world.now);
    world.ask(&agent, revocation);
    assert_eq!(search(&mut world, &friend, query("worker")).1, 0);
}

#[test]
fn the_index_follows_records() {
    let mut world = World::new();
    let (agent, viewer) = (TestAgent::new(1), TestAgent::new(2));
    world.join(&viewer, &private(None));
    world.join(&agent, &weather("oracle"));
    assert_eq!(search(&mut world, &viewer, query("weather")).1, 1);
    world.register(&agent, 2, &public(Some("pythia")));
    assert_eq!(search(&mut world, &viewer, query("weather oracle")).1, 0);
    assert_eq!(search(&mut world, &viewer, query("pythia")).1, 1);
    world.register(&agent, 3, &private(Some("pythia")));
    assert_eq!(search(&mut world, &viewer, query("pythia")).1, 0);
    world.register(&agent, 4, &public(Some("pythia")));
    world.ask(&agent, Request::Deregister);
    assert_eq!(search(&mut world, &viewer, query("pythia")).1, 0);
    world.register(&agent, 5, &public(Some("pythia")));
    world.pass(29 * DAY);
    assert_eq!(search(&mut world, &viewer, query("pythia")).1, 1);
    world.now = world.now.plus(DAY);
    assert_eq!(
        search(&mut world, &viewer, query("pythia")).1,
        0,
        "before expiry came by"
    );
}

#[test]
fn a_restarted_service_finds_what_is_stored() {
    let mut world = World::new();
    for index in 0..600 {
        world.join(&numbered(index), &public(Some(&format!("n{index}"))));
    }
    let store = world.service.store().clone();
    let mut world = World::on_store(Config::default(), store);
    let viewer = numbered(0);
    let request = Request::Search {
        query: query("n599"),
    };
    let early = world.ask(&viewer, request);
    assert_eq!(code(&early), Some(RefusalCode::Unavailable), "{early:?}");
    world.settle();
    assert_eq!(
        search(&mut world, &viewer, query("n599")),
        (vec![numbered(599).id], 1)
    );
    assert_eq!(world.service.stats().searchable, 600);
}

#[test]
fn a_store_that_fails_is_looked_at_again() {
    let mut world = World::new();
    let (agent, viewer) = (TestAgent::new(1), TestAgent::new(2));
    world.join(&agent, &public(Some("worker")));
    world.join(&viewer, &private(None));
    assert_eq!(search(&mut world, &viewer, query("worker")).1, 1);
    world.probe.fails_to_write.set(true);
    world.register(&agent, 2, &private(Some("worker")));
    world.probe.fails_to_write.set(false);
    assert_eq!(
        search(&mut world, &viewer, query("worker")).1,
        0,
        "what is in doubt is not shown"
    );
    world.pass(Duration::from_secs(10));
    assert_eq!(
        search(&mut world, &viewer, query("worker")).1,
        1,
        "the record was not changed"
    );
}

#[test]
fn pages_are_bounded_by_number_and_by_bytes() {
    let mut world = World::new();
    let viewer = numbered(0);
    let large = Record {
        capabilities: vec![Capability {
            input: Some("x".repeat(12_000)),
            ..Capability::named("large", "1.0.0")
        }],
        ..public(None)
    };
    for index in 0..150 {
        let record = if index < 30 {
            large.clone()
        } else {
            public(None)
        };
        world.join(&numbered(index), &record);
    }
    let (mut offset, mut seen) = (0, vec![]);
    loop {
        let query = SearchQuery {
            offset,
            limit: 1_000_000_000,
            ..SearchQuery::default()
        };
        let response = world.ask(&viewer, Request::Search { query });
        assert!(response.encode().len() <= MAX_SEARCH_ANSWER + 1024);
        let Response::SearchResults {
            entries,
            total,
            next,
        } = response
        else {
            panic!("expected results");
        };
        assert!(!entries.is_empty() && entries.len() <= MAX_SEARCH_ENTRIES);
        assert_eq!(total, 150);
        seen.extend(entries.into_iter().map(|entry| entry.agent));
        match next {
            Some(next) => offset = next,
            None => break,
        }
    }
    let expected: Vec<AgentId> = (0..150).map(|index| numbered(index).id).collect();
    assert_eq!(seen, expected);
    let beyond = SearchQuery {
        offset: 1_000_000_000,
        ..query("")
    };
    assert_eq!(search(&mut world, &viewer, beyond), (vec![], 150));
}

#[test]
fn too_much_is_refused() {
    let mut world = World::with_config(Config {
        searches: Rate {
            burst: 3,
            interval_ms: 1000,
        },
        ..Config::default()
    });
    let viewer = TestAgent::new(1);
    let texts = ["x".repeat(100 * 1024), "x ".repeat(17)];
    for text in texts {
        let query = query(&text);
        let response = world.ask(&viewer, Request::Search { query });
        assert_eq!(code(&response), Some(RefusalCode::Invalid), "{response:?}");
    }
    search(&mut world, &viewer, query("\u{1b}[2J\u{0}"));
    let response = world.ask(&viewer, Request::Search { query: query("x") });
    assert_eq!(
        code(&response),
        Some(RefusalCode::RateLimited),
        "{response:?}"
    );
    world.pass(Duration::from_secs(1));
    search(&mut world, &viewer, query("x"));
}
