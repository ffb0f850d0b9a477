//! Mailboxes: who may leave letters, how many, and what becomes of them.

use std::time::Duration;

use pilot_types::{AgentId, UnixTime};
use pilot_wire::MessageId;

use crate::testing::{DAY, TestAgent, TestStore, World, private, public};
use crate::{
    Config, HeldLetter, LetterAccount, Push, Quota, RefusalCode, Request, RequestKind, Response,
    Store,
};

fn id(number: u32) -> MessageId {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    MessageId::new(bytes)
}

fn letter(to: AgentId, number: u32, not_after: UnixTime, len: usize) -> Request {
    let mut sealed = vec![7; len];
    sealed[..4].copy_from_slice(&number.to_be_bytes());
    Request::Deposit {
        to,
        id: id(number),
        not_after,
        sealed,
    }
}

fn leave(world: &mut World, from: &TestAgent, to: &TestAgent, number: u32) -> Response {
    let request = letter(to.id, number, world.now.plus(30 * DAY), 100);
    world.ask(from, request)
}

fn is_left(response: &Response) -> bool {
    matches!(response, Response::Deposited { .. })
}

fn is_full(response: &Response) -> bool {
    let code = RefusalCode::MailboxFull;
    matches!(response, Response::Refused { code: found, .. } if *found == code)
}

fn fetch(world: &mut World, agent: &TestAgent, after: u64) -> (Vec<HeldLetter>, bool) {
    let answer = world.ask(agent, Request::FetchLetters { after });
    let Response::Letters { letters, has_more } = answer else {
        panic!("{answer:?}");
    };
    (letters, has_more)
}

fn take(world: &mut World, agent: &TestAgent, letters: &[HeldLetter]) {
    let numbers = letters.iter().map(|letter| letter.number).collect();
    let taken = world.ask(agent, Request::TakeLetters { numbers });
    assert_eq!(taken, Response::Taken);
}

/// Fetches and takes until nothing is left; gives the numbers that the letters begin with, and from whom they are.
fn empty(world: &mut World, agent: &TestAgent) -> Vec<(AgentId, u32)> {
    let mut all = vec![];
    loop {
        let (letters, has_more) = fetch(world, agent, 0);
        take(world, agent, &letters);
        let number = |bytes: &[u8]| u32::from_be_bytes(*bytes.first_chunk().unwrap());
        all.extend(letters.iter().map(|l| (l.from, number(&l.sealed))));
        if !has_more {
            return all;
        }
    }
}

/// An agent that trusts others, all of them registered.
fn trusting(world: &mut World, others: u8) -> (TestAgent, Vec<TestAgent>) {
    let recipient = TestAgent::new(1);
    world.join(&recipient, &private(None));
    let senders: Vec<_> = (2..2 + others).map(TestAgent::new).collect();
    for sender in &senders {
        world.join(sender, &private(None));
        let grant = recipient.grant(sender.id, 1, world.now);
        assert_eq!(world.ask(&recipient, grant), Response::Stored);
    }
    (recipient, senders)
}

#[test]
fn a_letter_waits_for_its_recipient_and_is_gone_once_it_is_taken() {
    let mut world = World::new();
    let (recipient, senders) = trusting(&mut world, 2);
    for number in 0..5 {
        assert!(is_left(&leave(&mut world, &senders[0], &recipient, number)));
        assert!(is_left(&leave(&mut world, &senders[1], &recipient, number)));
    }
    let (letters, has_more) = fetch(&mut world, &recipient, 0);
    assert_eq!((letters.len(), has_more), (10, false));
    let of_first: Vec<_> = letters.iter().filter(|l| l.from == senders[0].id).collect();
    assert!(
        of_first.windows(2).all(|two| two[0].sealed < two[1].sealed),
        "their order"
    );
    // Not taken, they come again; taken in part, the rest does.
    assert_eq!(fetch(&mut world, &recipient, 0).0, letters);
    take(&mut world, &recipient, &letters[..4]);
    assert_eq!(fetch(&mut world, &recipient, 0).0, letters[4..]);
    assert_eq!(empty(&mut world, &recipient).len(), 6);
    let stats = world.service.stats();
    assert_eq!((stats.letters, stats.letter_bytes), (0, 0));
    assert_eq!((stats.letters_deposited, stats.letters_taken), (10, 10));
    let sums = [
        LetterAccount::To(recipient.id),
        LetterAccount::From(senders[0].id),
        LetterAccount::Between(recipient.id, senders[0].id),
    ];
    for account in sums {
        let sum = world.service.store().letter_sum(&account).unwrap();
        assert_eq!((sum.count, sum.bytes), (0, 0), "{account:?}");
    }
    assert_eq!(stats.requests_of(RequestKind::Deposit), 10);
}

#[test]
fn a_letter_that_is_left_again_is_there_once() {
    let mut world = World::new();
    let (recipient, senders) = trusting(&mut world, 1);
    let first = leave(&mut world, &senders[0], &recipient, 7);
    world.pass(DAY);
    assert_eq!(
        leave(&mut world, &senders[0], &recipient, 7),
        first,
        "also its end is the first one's"
    );
    assert_eq!(empty(&mut world, &recipient).len(), 1);
}

#[test]
fn strangers_and_nobody_get_the_same_answer_at_the_same_cost() {
    let mut world = World::new();
    let (recipient, _) = trusting(&mut world, 1);
    let (stranger, open, nobody) = (TestAgent::new(50), TestAgent::new(51), TestAgent::new(52));
    world.join(&stranger, &private(None));
    world.join(&open, &public(None));
    let cost = |world: &mut World, to: &TestAgent| {
        let probe = |world: &World| {
            let probe = &world.probe;
            (probe.reads.get(), probe.writes.get(), probe.batches.get())
        };
        let before = probe(world);
        assert_eq!(leave(world, &stranger, to, 1), Response::NotFound);
        let after = probe(world);
        (after.0 - before.0, after.1 - before.1, after.2 - before.2)
    };
    let known = cost(&mut world, &recipient);
    assert_eq!(cost(&mut world, &nobody), known);
    assert_eq!(
        cost(&mut world, &open),
        known,
        "to be seen is not to be trusted"
    );
    assert_eq!(world.service.stats().letters_unwanted, 3);
    assert_eq!(world.service.stats().letters, 0);
}

#[test]
fn a_revocation_and_the_end_of_a_grant_close_the_mailbox() {
    let mut world = World::new();
    let (recipient, senders) = trusting(&mut world, 2);
    assert!(is_left(&leave(&mut world, &senders[0], &recipient, 1)));
    let revocation = recipient.revoke(senders[0].id, 2, world.now);
    world.ask(&recipient, revocation);
    assert_eq!(
        leave(&mut world, &senders[0], &recipient, 2),
        Response::NotFound
    );
    assert!(is_left(&leave(&mut world, &senders[1], &recipient, 2)));
    // What was left before stays; whether it counts is the recipient's to decide.
    assert_eq!(fetch(&mut world, &recipient, 0).0.len(), 2);
    let port = pilot_types::Port::DATA_EXCHANGE;
    let ports = vec![pilot_wire::PortRange {
        first: port,
        last: port,
    }];
    let short = recipient.put_grant(senders[1].id, 2, world.now, (ports, 5 * DAY));
    world.ask(&recipient, short);
    assert!(is_left(&leave(&mut world, &senders[1], &recipient, 3)));
    world.pass(5 * DAY);
    assert_eq!(
        leave(&mut world, &senders[1], &recipient, 4),
        Response::NotFound
    );
}

#[test]
fn a_mailbox_that_one_sender_filled_takes_others_letters() {
    let mut world = World::with_config(Config {
        max_letters: Quota {
            count: 8,
            bytes: 1 << 20,
        },
        max_letters_between: Quota {
            count: 3,
            bytes: 1 << 20,
        },
        ..Config::default()
    });
    let (recipient, senders) = trusting(&mut world, 4);
    let mut left = 0;
    for number in 0..10 {
        left += u32::from(is_left(&leave(&mut world, &senders[0], &recipient, number)));
    }
    assert_eq!(left, 3);
    assert!(is_full(&leave(&mut world, &senders[0], &recipient, 99)));
    for sender in &senders[1..3] {
        assert!(is_left(&leave(&mut world, sender, &recipient, 1)));
        assert!(is_left(&leave(&mut world, sender, &recipient, 2)));
    }
    assert!(is_left(&leave(&mut world, &senders[3], &recipient, 1)));
    assert!(
        is_full(&leave(&mut world, &senders[3], &recipient, 2)),
        "eight are all"
    );
    assert_eq!(
        world.service.stats().refusals_of(RefusalCode::MailboxFull),
        9
    );
    // Room is there again once the recipient has been there.
    assert_eq!(empty(&mut world, &recipient).len(), 8);
    assert!(is_left(&leave(&mut world, &senders[0], &recipient, 100)));
}

#[test]
fn bytes_are_bounded_for_a_mailbox_a_sender_and_all() {
    let one = 1000 + Quota::OVERHEAD;
    let quota = |letters: u64| Quota {
        count: 1000,
        bytes: letters * one,
    };
    let config = |change: fn(&mut Config, Quota)| {
        let mut config = Config::default();
        change(&mut config, quota(2));
        config
    };
    let configs = [
        config(|config, quota| config.max_letters = quota),
        config(|config, quota| config.max_letters_between = quota),
        config(|config, quota| config.max_letters_from = quota),
        config(|config, quota| config.max_letters_all = quota),
    ];
    for config in configs {
        let mut world = World::with_config(config);
        let (recipient, senders) = trusting(&mut world, 1);
        let end = world.now.plus(DAY);
        let mut leave = |number, len| {
            let request = letter(recipient.id, number, end, len);
            world.ask(&senders[0], request)
        };
        assert!(is_left(&leave(1, 1000)));
        assert!(is_full(&leave(2, 1001)));
        assert!(is_left(&leave(3, 1000)));
        assert!(is_full(&leave(4, 80)));
    }
}

#[test]
fn a_letter_ends_at_its_time_whatever_the_clock_does() {
    let mut world = World::new();
    let (recipient, senders) = trusting(&mut world, 1);
    let request = letter(recipient.id, 1, world.now.plus(2 * DAY), 100);
    world.ask(&senders[0], request);
    let request = letter(recipient.id, 2, world.now.plus(400 * DAY), 100);
    let kept = world.ask(&senders[0], request);
    let not_after = world.now.plus(30 * DAY);
    assert_eq!(
        kept,
        Response::Deposited { not_after },
        "a month is the longest"
    );
    let start = world.now;
    world.pass(3 * DAY);
    assert_eq!(fetch(&mut world, &recipient, 0).0.len(), 1);
    // The clock is set back: what ended stays ended.
    world.now = start;
    world.settle();
    // Its rate is a whole bucket behind.
    let _ = world.ask(&recipient, Request::Observe);
    world.pass(Duration::from_secs(60));
    assert_eq!(fetch(&mut world, &recipient, 0).0.len(), 1);
    let past = letter(recipient.id, 3, start.plus(DAY), 100);
    let refused = world.ask(&senders[0], past);
    assert!(matches!(
        refused,
        Response::Refused {
            code: RefusalCode::Invalid,
            ..
        }
    ));
    world.pass(31 * DAY);
    let stats = world.service.stats();
    assert_eq!((stats.letters, stats.letters_expired), (0, 2));
}

#[test]
fn who_is_connected_is_told_and_who_is_not_asks() {
    let mut world = World::new();
    let (recipient, senders) = trusting(&mut world, 1);
    world.connect(&recipient);
    let _ = world.deliver();
    for number in 0..3 {
        leave(&mut world, &senders[0], &recipient, number);
    }
    let told = world.deliver();
    assert_eq!(told.len(), 1, "one word for all");
    assert_eq!(
        (&told[0].push, told[0].to),
        (&Push::LettersWaiting, recipient.id)
    );
    world.disconnect(&recipient);
    leave(&mut world, &senders[0], &recipient, 9);
    world.connect(&recipient);
    assert_eq!(world.deliver(), [], "it asks with each session anyway");
    assert_eq!(empty(&mut world, &recipient).len(), 4);
}

#[test]
fn ten_thousand_letters_come_in_order_a_batch_at_a_time() {
    let many = Quota {
        count: 20_000,
        bytes: 1 << 30,
    };
    let mut world = World::with_config(Config {
        max_letters: many,
        max_letters_between: many,
        ..Config::default()
    });
    let (recipient, senders) = trusting(&mut world, 1);
    for number in 0..10_000 {
        world.now = world.now.plus(Duration::from_millis(10));
        assert!(is_left(&leave(&mut world, &senders[0], &recipient, number)));
    }
    let came: Vec<u32> = empty(&mut world, &recipient)
        .iter()
        .map(|(_, n)| *n)
        .collect();
    assert_eq!(came, (0..10_000).collect::<Vec<_>>());
}

#[test]
fn a_batch_holds_the_largest_letter_and_no_more_than_an_answer() {
    let mut world = World::new();
    let (recipient, senders) = trusting(&mut world, 1);
    for number in 0..4 {
        let len = pilot_wire::limits::MAX_SEALED_LETTER;
        let request = letter(recipient.id, number, world.now.plus(DAY), len);
        assert!(is_left(&world.ask(&senders[0], request)));
    }
    let longer = pilot_wire::limits::MAX_SEALED_LETTER + 1;
    let request = letter(recipient.id, 9, world.now.plus(DAY), longer);
    let refused = world.ask(&senders[0], request);
    assert!(matches!(
        refused,
        Response::Refused {
            code: RefusalCode::Invalid,
            ..
        }
    ));
    let (letters, has_more) = fetch(&mut world, &recipient, 0);
    assert_eq!((letters.len(), has_more), (1, true));
    let answer = Response::Letters { letters, has_more };
    let encoded = answer.encode();
    assert!(encoded.len() < 256 * 1024);
    assert_eq!(Response::decode(&encoded), Ok(answer));
    assert_eq!(empty(&mut world, &recipient).len(), 4);
}

#[test]
fn nobody_takes_anothers_letters() {
    let mut world = World::new();
    let (recipient, senders) = trusting(&mut world, 2);
    leave(&mut world, &senders[0], &recipient, 1);
    let (letters, _) = fetch(&mut world, &recipient, 0);
    assert_eq!(fetch(&mut world, &senders[1], 0).0, []);
    take(&mut world, &senders[1], &letters);
    take(&mut world, &senders[0], &letters);
    assert_eq!(fetch(&mut world, &recipient, 0).0, letters);
}

#[test]
fn what_the_store_refused_is_not_acknowledged_and_what_it_took_survives_the_process() {
    let store = TestStore::default();
    let mut world = World::on_store(Config::default(), store.clone());
    let (recipient, senders) = trusting(&mut world, 1);
    world.probe.fails_to_write.set(true);
    let refused = leave(&mut world, &senders[0], &recipient, 1);
    let is_unavailable = |response: &Response| {
        let code = RefusalCode::Unavailable;
        matches!(response, Response::Refused { code: found, .. } if *found == code)
    };
    assert!(is_unavailable(&refused));
    world.probe.fails_to_write.set(false);
    assert_eq!(fetch(&mut world, &recipient, 0).0, []);
    leave(&mut world, &senders[0], &recipient, 2);
    let (letters, _) = fetch(&mut world, &recipient, 0);
    // An acknowledgement that could not be written leaves the letter where it is.
    world.probe.fails_to_write.set(true);
    let numbers = vec![letters[0].number];
    assert!(is_unavailable(
        &world.ask(&recipient, Request::TakeLetters { numbers })
    ));
    world.probe.fails_to_write.set(false);
    assert_eq!(fetch(&mut world, &recipient, 0).0, letters);
}
