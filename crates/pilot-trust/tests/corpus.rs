//! The committed corpus of signed statements runs without a fault.

#[path = "../../../fuzz/replay.rs"]
mod replay;

use std::time::Duration;

use pilot_trust::{Ticket, TicketTerms, fuzz};
use pilot_types::{AgentId, UnixTime};
use pilot_wire::{
    Capability, Grant, Knock, KnockTarget, Letter, Locator, Message, MessageId, MessageType,
    NetworkConfig, Prekey, Record, Scope, SignedBytes, Statement, TicketBody, Visibility,
};

fn statement<S: Statement>(body: &S) -> Vec<u8> {
    let end = fuzz::NOW.plus(Duration::from_secs(3600));
    signed(&fuzz::signer().sign(5, fuzz::NOW, end, body))
}

fn signed(raw: &SignedBytes) -> Vec<u8> {
    fuzz::signed_part(raw).expect("our own envelope decodes")
}

fn grant(scope: Scope, parent: Option<[u8; 32]>) -> Grant {
    Grant {
        grantee: fuzz::receiver().agent(),
        scope,
        parent,
        depth: 1,
    }
}

fn knock(target: KnockTarget) -> Knock {
    Knock {
        target,
        justification: "to plan".to_owned(),
        hostname: "planner".parse().ok(),
    }
}

fn ticket() -> Vec<u8> {
    let body = TicketBody {
        entries: fuzz::signer().log().entries().to_vec(),
        endpoints: vec![([192, 0, 2, 1], 4000).into()],
        rendezvous: Some("pilot://00@host:9000".to_owned()),
        secret: [3; 16],
    };
    statement(&body)
}

fn record() -> Record {
    Record {
        hostname: "planner".parse().ok(),
        tags: "gpu".parse().into_iter().collect(),
        capabilities: vec![Capability {
            description: "plans a day".to_owned(),
            output: Some("{}".to_owned()),
            ..Capability::named("plan", "1.0.0")
        }],
        visibility: Visibility::Public,
        auto_approves: true,
        prekey: None,
    }
}

fn letter(to: AgentId) -> Letter {
    Letter {
        to,
        group: None,
        head: Message {
            id: MessageId::new([1; 16]),
            kind: MessageType::Text,
            len: 2,
            reply_to: None,
            trace: None,
        },
        body_hash: [2; 32],
    }
}

#[test]
fn signed_statements() {
    replay::replay("signed_statements", fuzz::statements);
}

#[test]
#[ignore = "writes inputs into the checkout"]
fn write_seeds() {
    let to = fuzz::receiver().agent();
    let locator = Locator {
        boot_counter: 3,
        reflexive: vec![([192, 0, 2, 1], 4000).into()],
    };
    let expired = fuzz::signer().sign(1, fuzz::NOW, UnixTime::from_secs(1), &record());
    let later = fuzz::signer().sign(1, UnixTime::FAR_FUTURE, UnixTime::FAR_FUTURE, &record());
    let seeds = vec![
        statement(&record()),
        statement(&Record::default()),
        statement(&locator),
        statement(&grant(Scope::default_scope(), None)),
        statement(&grant(Scope::default(), Some([1; 32]))),
        statement(&Grant {
            grantee: AgentId::new([1; 32]),
            ..grant(Scope::reply_only(), None)
        }),
        statement(&knock(KnockTarget::Agent(to))),
        statement(&knock(KnockTarget::Node(to.node()))),
        statement(&knock(KnockTarget::Hostname(
            "worker".parse().expect("a name"),
        ))),
        statement(&Record {
            prekey: Some(Prekey {
                public: [9; 32],
                not_after: fuzz::NOW,
            }),
            ..record()
        }),
        statement(&letter(to)),
        statement(&NetworkConfig { work_bits: 20 }),
        ticket(),
        signed(&expired),
        signed(&later),
    ];
    replay::write_seeds("signed_statements", seeds);
}

#[test]
fn a_real_ticket_of_the_signer_is_taken() {
    let terms = TicketTerms {
        endpoints: vec![],
        rendezvous: None,
        secret: [3; 16],
        issued: fuzz::NOW,
        not_after: fuzz::NOW.plus(Duration::from_secs(60)),
    };
    let issued = Ticket::issue(&fuzz::signer(), terms).map(|ticket| ticket.agent);
    assert_eq!(issued, Ok(fuzz::signer().agent()));
    fuzz::statements(&ticket());
}
