use proptest::prelude::*;

use super::*;
use crate::fuzz;
use crate::testing::{START, TestAgent, private};

fn agent() -> TestAgent {
    TestAgent::new(1)
}

fn requests() -> Vec<Request> {
    let agent = agent();
    vec![
        agent.register(1, START, &private(Some("worker"))),
        agent.locate(1, 1, START),
        Request::Lookup {
            target: LookupTarget::Hostname("worker".parse().unwrap()),
        },
        Request::Lookup {
            target: LookupTarget::Node(agent.node()),
        },
        Request::Lookup {
            target: LookupTarget::Agent(agent.id),
        },
        Request::Lookup {
            target: LookupTarget::Key([7; 32]),
        },
        agent.knock(pilot_wire::KnockTarget::Agent(agent.id), START),
        agent.grant(TestAgent::new(2).id, 1, START),
        Request::Deregister,
        Request::Observe,
        Request::Permit {
            is_open: true,
            permits: vec![[3; 16], [4; 16]],
        },
        Request::Bind {
            to: AgentId::new([9; 32]),
            permit: Some([3; 16]),
        },
        Request::CreateGroup {
            bundle: Box::new(bundle(1)),
            wanted: NetworkId::new(7),
        },
        Request::FindGroup {
            name: "trading".parse().unwrap(),
        },
        Request::AskGroup {
            group: group(),
            request: SignedBytes::from_bytes(vec![1; 70]),
        },
        Request::PutGroup {
            group: group(),
            bundle: Box::new(bundle(3)),
        },
        Request::GroupState {
            group: group(),
            after: Some(AgentId::new([9; 32])),
        },
        Request::GroupMembers {
            group: group(),
            offset: 100,
        },
        Request::Invite {
            to: AgentId::new([9; 32]),
            invitation: SignedBytes::from_bytes(vec![2; 70]),
        },
    ]
}

fn group() -> GroupId {
    GroupId::new([5; 32])
}

fn bundle(statements: usize) -> GroupBundle {
    GroupBundle {
        log: vec![vec![1; 150]],
        policy: SignedBytes::from_bytes(vec![2; 200]),
        admins: vec![pilot_wire::AdminProof {
            log: vec![vec![3; 150]],
            certificate: SignedBytes::from_bytes(vec![4; 208]),
        }],
        statements: vec![SignedBytes::from_bytes(vec![5; 208]); statements],
    }
}

fn pushes() -> Vec<Push> {
    let entry = || Sender {
        log: vec![vec![1; 150]],
        record: None,
    };
    vec![
        Push::Superseded,
        Push::GroupChanged { group: group() },
        Push::GroupRequest {
            request: SignedBytes::from_bytes(vec![1; 70]),
            entry: entry(),
        },
        Push::Invitation {
            invitation: SignedBytes::from_bytes(vec![1; 70]),
            network: NetworkId::new(7).unwrap(),
            group: vec![vec![1; 150]],
            entry: entry(),
        },
    ]
}

fn responses() -> Vec<Response> {
    let agent = agent();
    let signed = agent.sign(1, START, crate::testing::DAY, &private(None));
    vec![
        Response::Registered {
            hostname: Some("worker".parse().unwrap()),
            not_after: START,
            renew_after_ms: 5,
        },
        Response::Located,
        Response::Found(Box::new(Entry {
            agent: agent.id,
            log: agent.log,
            record: signed.clone(),
            locator: Some(signed),
            last_seen: Some(START),
            online: true,
        })),
        Response::NotFound,
        Response::Sent,
        Response::Stored,
        Response::Deregistered,
        Response::Observed("[2001:db8::1]:9".parse().unwrap()),
        Response::Permitted,
        Response::Bound(0xA1B2_C3D4),
        Response::GroupCreated(NetworkId::new(65_534).unwrap()),
        Response::Group {
            network: NetworkId::new(7).unwrap(),
            bundle: Box::new(bundle(2)),
            next: Some(AgentId::new([9; 32])),
        },
        Response::Refused {
            code: RefusalCode::AlreadyExists,
            message: "hostname worker is taken".to_owned(),
            retry_after_ms: 0,
        },
    ]
}

#[test]
fn messages_round_trip_and_trailing_bytes_are_legal() {
    for request in requests() {
        let mut bytes = request.encode();
        bytes.extend([1, 2, 3]);
        assert_eq!(Request::decode(&bytes), Ok(request));
    }
    for response in responses() {
        let mut bytes = response.encode();
        bytes.push(0);
        assert_eq!(Response::decode(&bytes), Ok(response));
    }
    for push in pushes() {
        let mut bytes = push.encode();
        bytes.push(0);
        assert_eq!(Push::decode(&bytes), Ok(push));
    }
    for ack in [PushAck::Taken, PushAck::Later] {
        assert_eq!(PushAck::decode(&ack.encode()), Ok(ack));
    }
}

#[test]
fn what_a_later_version_says_is_unknown_and_no_error() {
    let later = [99, 1, 2, 3];
    assert_eq!(Request::decode(&later), Ok(Request::Unknown));
    assert_eq!(Response::decode(&later), Ok(Response::Unknown));
    assert_eq!(Push::decode(&later), Ok(Push::Unknown));
    assert_eq!(PushAck::decode(&later), Ok(PushAck::Unknown));
}

#[test]
fn parts_beyond_their_bounds_are_refused() {
    let signed = |len: usize| SignedBytes::from_bytes(vec![0; len]);
    let entry = |len: usize| vec![vec![0; len]];
    let too_long = [
        Request::Register {
            log: entry(MAX_LOG_ENTRY + 1),
            record: signed(10),
        },
        Request::Register {
            log: vec![vec![]; MAX_LOG_ENTRIES + 1],
            record: signed(10),
        },
        Request::Register {
            log: entry(1),
            record: signed(MAX_RECORD + 1),
        },
        Request::Locate {
            locator: signed(MAX_LOCATOR + 1),
        },
        Request::Knock {
            knock: signed(MAX_KNOCK + 1),
        },
        Request::PutGrant {
            to: agent().id,
            grant: signed(MAX_GRANT + 1),
        },
        Request::PutGroup {
            group: group(),
            bundle: Box::new(bundle(pilot_wire::limits::MAX_GROUP_PART + 1)),
        },
        Request::CreateGroup {
            bundle: Box::new(GroupBundle {
                statements: vec![signed(pilot_wire::limits::MAX_GROUP_STATEMENT + 1)],
                ..bundle(0)
            }),
            wanted: None,
        },
        Request::AskGroup {
            group: group(),
            request: signed(MAX_GROUP_REQUEST + 1),
        },
    ];
    for request in too_long {
        let decoded = Request::decode(&request.encode());
        assert!(matches!(decoded, Err(DecodeError::Range(_))), "{decoded:?}");
    }
    let longest = Request::Register {
        log: vec![vec![0; MAX_LOG_ENTRY]; MAX_LOG_ENTRIES],
        record: signed(MAX_RECORD),
    };
    assert_eq!(Request::decode(&longest.encode()), Ok(longest));
    let refusal = Response::Refused {
        code: RefusalCode::Invalid,
        message: "x".repeat(MAX_REFUSAL + 1),
        retry_after_ms: 0,
    };
    assert!(Response::decode(&refusal.encode()).is_err());
    let push = Push::Grant {
        grant: signed(1),
        entry: Sender {
            log: entry(MAX_LOG_ENTRY + 1),
            record: None,
        },
    };
    assert!(Push::decode(&push.encode()).is_err());
    assert!(Request::decode(&vec![6; MAX_MESSAGE + 1]).is_err());
}

#[test]
fn the_largest_entry_fits_a_message() {
    let entry = Entry {
        agent: agent().id,
        log: vec![vec![0; MAX_LOG_ENTRY]; MAX_LOG_ENTRIES],
        record: SignedBytes::from_bytes(vec![0; MAX_RECORD]),
        locator: Some(SignedBytes::from_bytes(vec![0; MAX_LOCATOR])),
        last_seen: Some(START),
        online: true,
    };
    let response = Response::Found(Box::new(entry));
    assert_eq!(Response::decode(&response.encode()), Ok(response));
}

#[test]
fn every_code_has_a_name_of_its_own() {
    let mut names: Vec<&str> = RefusalCode::ALL.iter().map(|code| code.name()).collect();
    names.push(RefusalCode::Unknown.name());
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), RefusalCode::ALL.len() + 1);
}

/// The fuzz body's input: who asks, and a request.
fn seeds() -> Vec<Vec<u8>> {
    let asked = requests().into_iter().map(|request| request.encode());
    asked
        .map(|bytes| [&[0xA0], bytes.as_slice()].concat())
        .chain(responses().iter().map(Response::encode))
        .collect()
}

#[test]
fn no_prefix_and_no_flipped_byte_is_too_much() {
    for seed in seeds() {
        for len in 0..=seed.len() {
            fuzz::messages(&seed[..len]);
        }
        for index in 0..seed.len() {
            let mut bytes = seed.clone();
            bytes[index] ^= 0xFF;
            fuzz::messages(&bytes);
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_are_too_much(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        fuzz::messages(&bytes);
    }
}
