//! The committed corpus of registry messages runs without a fault.

#[path = "../../../fuzz/replay.rs"]
mod replay;

use std::time::Duration;

use pilot_registry::{
    Entry, HeldLetter, LookupTarget, Push, PushAck, RefusalCode, Request, Response, SearchQuery,
    Sender, fuzz,
};
use pilot_types::{AgentId, UnixTime};
use pilot_wire::{
    Capability, EnvelopeHead, Grant, Knock, KnockTarget, Locator, MessageId, Record, Scope,
    SignedBytes, Statement, Visibility,
};

#[test]
fn registry_messages() {
    replay::replay("registry_messages", fuzz::messages);
}

/// When the body's service runs.
const NOW: UnixTime = UnixTime::from_secs(1_767_225_600);
/// The byte of who asks, and the agent that it stands for.
const WHO: u8 = 3;
const AGENT: AgentId = AgentId::new([WHO; 32]);

/// A statement of the agent; the body takes every signature for good.
fn signed<S: Statement>(body: &S) -> SignedBytes {
    let head = EnvelopeHead {
        agent: AGENT,
        generation: 0,
        sequence: 1,
        serial: 4,
        issued: NOW,
        not_after: NOW.plus(Duration::from_secs(3600)),
    };
    SignedBytes::new(SignedBytes::to_sign(&head, body), &[0; 64])
}

fn record() -> Record {
    Record {
        hostname: "worker".parse().ok(),
        capabilities: vec![Capability {
            description: "plans work".to_owned(),
            input: Some("{}".to_owned()),
            ..Capability::named("plan", "1.0.0")
        }],
        visibility: Visibility::Public,
        ..Record::default()
    }
}

fn log() -> Vec<Vec<u8>> {
    vec![vec![WHO; 40]]
}

fn knock(target: KnockTarget) -> SignedBytes {
    signed(&Knock {
        target,
        justification: "to plan".to_owned(),
        hostname: None,
    })
}

fn grant() -> SignedBytes {
    signed(&Grant {
        grantee: AgentId::new([4; 32]),
        scope: Scope::default_scope(),
        parent: None,
        depth: 0,
    })
}

fn requests() -> Vec<Request> {
    let locator = signed(&Locator {
        boot_counter: 1,
        reflexive: vec![([192, 0, 2, 1], 4000).into()],
    });
    let name = || "worker".parse().expect("a name");
    vec![
        Request::Register {
            log: log(),
            record: signed(&record()),
        },
        Request::Locate { locator },
        Request::Lookup {
            target: LookupTarget::Hostname(name()),
        },
        Request::Lookup {
            target: LookupTarget::Node(AGENT.node()),
        },
        Request::Lookup {
            target: LookupTarget::Key([1; 32]),
        },
        Request::Knock {
            knock: knock(KnockTarget::Hostname(name())),
        },
        Request::Knock {
            knock: knock(KnockTarget::Agent(AgentId::new([4; 32]))),
        },
        Request::PutGrant {
            to: AgentId::new([4; 32]),
            grant: grant(),
        },
        Request::Deposit {
            to: AgentId::new([4; 32]),
            id: MessageId::new([1; 16]),
            not_after: NOW,
            sealed: vec![7; 120],
        },
        Request::FetchLetters { after: 1 },
        Request::TakeLetters {
            numbers: vec![1, 2],
        },
        Request::Deregister,
        Request::Observe,
        Request::Search {
            query: SearchQuery {
                text: "work".to_owned(),
                tags: vec!["gpu".parse().expect("a tag")],
                capability: Some("plan@1.0.0".to_owned()),
                hostname: Some(name()),
                limit: 9,
                ..SearchQuery::default()
            },
        },
    ]
}

fn answers() -> Vec<Vec<u8>> {
    let entry = Entry {
        agent: AGENT,
        log: log(),
        record: signed(&record()),
        locator: Some(signed(&Locator::default())),
        last_seen: Some(NOW),
        online: true,
    };
    let refused = Response::Refused {
        code: RefusalCode::AlreadyExists,
        message: "taken".to_owned(),
        retry_after_ms: 5,
    };
    let sender = Sender {
        log: log(),
        record: Some(signed(&record())),
    };
    vec![
        Response::SearchResults {
            entries: vec![entry.clone()],
            total: 2,
            next: Some(1),
        }
        .encode(),
        Response::Found(Box::new(entry)).encode(),
        Response::Observed(([192, 0, 2, 1], 9).into()).encode(),
        refused.encode(),
        Push::Knock {
            knock: knock(KnockTarget::Agent(AGENT)),
            entry: sender.clone(),
        }
        .encode(),
        Push::Grant {
            grant: grant(),
            entry: sender,
        }
        .encode(),
        Response::Deposited { not_after: NOW }.encode(),
        Response::Letters {
            letters: vec![HeldLetter {
                number: 1,
                from: AGENT,
                sealed: vec![7; 120],
            }],
            has_more: true,
        }
        .encode(),
        Push::LettersWaiting.encode(),
        PushAck::Later.encode(),
    ]
}

#[test]
#[ignore = "writes inputs into the checkout"]
fn write_seeds() {
    let asked = requests()
        .into_iter()
        .map(|request| [&[WHO][..], &request.encode()].concat());
    replay::write_seeds("registry_messages", asked.chain(answers()));
}
