//! Messages for agents that are away: left, taken, and what a rendezvous that lies can do.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use pilot_node::{LetterReceipt, LogVerifier, ReceivedLetter, RegistryHost};
use pilot_registry::{
    HeldLetter, MemoryStore, OutgoingPush, PushId, RefusalCode, Request, RequestKind, Response,
    Service, Stats,
};
use pilot_trust::Draft;
use pilot_types::{AgentId, Seed, UnixTime};
use pilot_wire::{Message, MessageId, MessageType};

use super::*;

/// What a rendezvous' registry keeps over a crash, and what it does to letters on their way out.
#[derive(Clone)]
struct Kept {
    service: Arc<Mutex<Service<MemoryStore, LogVerifier>>>,
    lie: Arc<Mutex<Lie>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Lie {
    #[default]
    None,
    /// Letters are never handed out.
    Drop,
    /// Letters that were taken come again.
    Repeat,
    /// Letters are said to be from another agent.
    OtherSender(AgentId),
    /// Bytes change.
    Change,
    /// Whoever asks is given the letters of this agent.
    OtherMailbox(AgentId),
}

impl Kept {
    fn new() -> Self {
        let verify = LogVerifier { work_bits: 0 };
        let store = MemoryStore::default();
        let service = Service::new(Arc::default(), store, verify, Seed::new([77; 32]));
        Self {
            service: Arc::new(Mutex::new(service)),
            lie: Arc::default(),
        }
    }

    fn lies(&self, lie: Lie) {
        *self.lie.lock().unwrap() = lie;
    }

    fn stats(&self) -> Stats {
        self.service.lock().unwrap().stats()
    }

    fn change(&self, mut letters: Vec<HeldLetter>) -> Vec<HeldLetter> {
        match *self.lie.lock().unwrap() {
            Lie::None | Lie::Repeat | Lie::OtherMailbox(_) => {}
            Lie::Drop => letters.clear(),
            Lie::OtherSender(other) => letters.iter_mut().for_each(|letter| letter.from = other),
            Lie::Change => letters.iter_mut().for_each(|letter| letter.sealed[70] ^= 1),
        }
        letters
    }
}

impl RegistryHost for Kept {
    fn session_opened(&mut self, now: UnixTime, agent: AgentId, observed: SocketAddr) {
        self.service
            .lock()
            .unwrap()
            .session_opened(now, agent, observed);
    }
    fn session_closed(&mut self, now: UnixTime, agent: &AgentId) {
        self.service.lock().unwrap().session_closed(now, agent);
    }
    fn observed_changed(&mut self, agent: &AgentId, observed: SocketAddr) {
        self.service
            .lock()
            .unwrap()
            .observed_changed(agent, observed);
    }
    fn admit(&mut self, now: UnixTime, from: AgentId, kind: RequestKind) -> Result<(), Response> {
        self.service.lock().unwrap().admit(now, from, kind)
    }
    fn log(&mut self, agent: &AgentId) -> Option<Vec<Vec<u8>>> {
        RegistryHost::log(&mut *self.service.lock().unwrap(), agent)
    }
    fn handle_request(&mut self, now: UnixTime, from: AgentId, request: Request) -> Response {
        let lie = *self.lie.lock().unwrap();
        let from = match (&request, lie) {
            (Request::FetchLetters { .. }, Lie::OtherMailbox(whose)) => whose,
            _ => from,
        };
        if lie == Lie::Repeat && matches!(request, Request::TakeLetters { .. }) {
            return Response::Taken;
        }
        match self
            .service
            .lock()
            .unwrap()
            .handle_request(now, from, request)
        {
            Response::Letters { letters, has_more } => Response::Letters {
                letters: self.change(letters),
                has_more,
            },
            other => other,
        }
    }
    fn poll_push(&mut self) -> Option<OutgoingPush> {
        self.service.lock().unwrap().poll_push()
    }
    fn push_acked(&mut self, now: UnixTime, to: &AgentId, id: PushId) {
        self.service.lock().unwrap().push_acked(now, to, id);
    }
    fn push_failed(&mut self, now: UnixTime, to: &AgentId, id: PushId) {
        self.service.lock().unwrap().push_failed(now, to, id);
    }
    fn handle_time(&mut self, now: UnixTime) {
        self.service.lock().unwrap().handle_time(now);
    }
    fn poll_timeout_unix(&self) -> Option<UnixTime> {
        self.service.lock().unwrap().poll_timeout_unix()
    }
    fn stats(&self) -> Stats {
        Self::stats(self)
    }
}

/// Alice and Bob trust each other; both take letters.
fn mailing(seed: u64) -> (World, Kept, HostId, HostId) {
    let link = LinkConfig::default();
    let mut world = World::new(seed, link);
    let kept = Kept::new();
    world.crash_rendezvous();
    world.start_rendezvous_on(Box::new(kept.clone()));
    let alice = world.add_agent("alice", Profile::default(), link);
    let bob = world.add_agent("bob", Profile::default(), link);
    for host in [alice, bob] {
        open(&mut world, host);
    }
    world.until("both registered", 30 * SECOND, |sim| {
        sim[alice].is_registered() && sim[bob].is_registered()
    });
    befriend(&mut world, alice, bob);
    // The grants are with the rendezvous too.
    world.sim.run_for(2 * SECOND);
    (world, kept, alice, bob)
}

fn open(world: &mut World, host: HostId) {
    world.with(host, |agent, now| {
        let prekeys = agent.disk.prekeys.values().cloned().collect();
        agent.node.take_letters(now, prekeys);
    });
}

fn draft(number: u8, body: &[u8]) -> Draft {
    Draft {
        head: Message {
            id: MessageId::new([number; 16]),
            kind: MessageType::Text,
            len: body.len() as u64,
            reply_to: None,
            trace: None,
        },
        body: body.to_vec(),
        group: None,
    }
}

fn deposit(
    world: &mut World,
    from: HostId,
    to: AgentId,
    draft: Draft,
) -> Result<UnixTime, QueryError> {
    let query = world.with(from, |agent, now| agent.node.deposit(now, to, draft));
    let mut outcome = None;
    world.until("the deposit is answered", 30 * SECOND, |sim| {
        outcome = sim[from].log.iter().find_map(|event| match event {
            Event::Answered { query: id, result } if *id == query => Some(result.clone()),
            _ => None,
        });
        outcome.is_some()
    });
    match outcome.unwrap()? {
        Answer::Deposited(until) => Ok(until),
        other => panic!("{other:?}"),
    }
}

fn letters(world: &World, host: HostId) -> Vec<ReceivedLetter> {
    let letter = |event: &Event| match event {
        Event::Letter(letter) => Some((**letter).clone()),
        _ => None,
    };
    world.sim[host].log.iter().filter_map(letter).collect()
}

fn bodies(world: &World, host: HostId) -> Vec<Vec<u8>> {
    letters(world, host)
        .into_iter()
        .map(|letter| letter.body)
        .collect()
}

/// Says of every letter that came since the last call that it is on disk.
fn take_all(world: &mut World, host: HostId, from: usize) -> usize {
    let receipts: Vec<LetterReceipt> = letters(world, host)[from..]
        .iter()
        .map(|l| l.receipt)
        .collect();
    world.with(host, |agent, now| {
        for receipt in &receipts {
            agent.node.letter_done(now, *receipt, true);
        }
    });
    world.sim.run_for(2 * SECOND);
    from + receipts.len()
}

fn restart(world: &mut World, host: HostId, number: u8, crashed: world::Crashed) {
    world.restart(host, number, crashed);
    open(world, host);
    world.until("it is back", 30 * SECOND, |sim| sim[host].is_registered());
    world.sim.run_for(2 * SECOND);
}

fn refused(world: &World, host: HostId) -> u64 {
    let drops = world.sim[host].node.status().drops;
    drops
        .iter()
        .find(|(reason, _)| *reason == "letter_refused")
        .map_or(0, |(_, count)| *count)
}

#[test]
fn a_message_for_an_agent_that_is_away_is_there_when_it_is_back() {
    let (mut world, kept, alice, bob) = mailing(1);
    let (alice_id, bob_id) = (world.id(alice), world.id(bob));
    let crashed = world.crash(bob);
    for number in 1..=5 {
        let until = deposit(&mut world, alice, bob_id, draft(number, &[number])).unwrap();
        let now = world.sim.network.now().unix;
        assert!(
            until > now.plus(22 * 24 * 3600 * SECOND) && until <= now.plus(30 * 24 * 3600 * SECOND)
        );
    }
    assert_eq!(kept.stats().letters, 5);
    restart(&mut world, bob, 2, crashed);
    assert_eq!(bodies(&world, bob), [[1], [2], [3], [4], [5]]);
    let first = &letters(&world, bob)[0];
    assert_eq!(
        (first.from, first.head.id),
        (alice_id, MessageId::new([1; 16]))
    );
    assert_eq!(
        kept.stats().letters,
        5,
        "none is deleted before it is on disk"
    );
    take_all(&mut world, bob, 0);
    assert_eq!((kept.stats().letters, kept.stats().letters_taken), (0, 5));
    assert_eq!(refused(&world, bob), 0);
}

#[test]
fn who_is_connected_gets_a_letter_at_once() {
    let (mut world, kept, alice, bob) = mailing(2);
    let bob_id = world.id(bob);
    let mut taken = 0;
    for number in 1..=3u8 {
        deposit(&mut world, alice, bob_id, draft(number, &[number])).unwrap();
        world.sim.run_for(SECOND);
        assert_eq!(letters(&world, bob).len(), usize::from(number));
        taken = take_all(&mut world, bob, taken);
    }
    assert_eq!(kept.stats().letters, 0);
}

#[test]
fn letters_survive_a_crash_of_the_rendezvous_and_of_their_recipient() {
    let (mut world, kept, alice, bob) = mailing(3);
    let bob_id = world.id(bob);
    let crashed = world.crash(bob);
    deposit(&mut world, alice, bob_id, draft(1, b"kept")).unwrap();
    world.crash_rendezvous();
    world.sim.run_for(20 * SECOND);
    world.start_rendezvous_on(Box::new(kept.clone()));
    restart(&mut world, bob, 2, crashed);
    assert_eq!(bodies(&world, bob), [b"kept"]);
    // It dies with the letter in its hands: it comes again, and again only until it is taken.
    let crashed = world.crash(bob);
    restart(&mut world, bob, 2, crashed);
    assert_eq!(bodies(&world, bob), [b"kept"]);
    take_all(&mut world, bob, 0);
    let crashed = world.crash(bob);
    restart(&mut world, bob, 2, crashed);
    assert_eq!(bodies(&world, bob), Vec::<Vec<u8>>::new());
}

#[test]
fn what_the_shell_could_not_store_comes_again_in_order() {
    let (mut world, kept, alice, bob) = mailing(4);
    let bob_id = world.id(bob);
    let crashed = world.crash(bob);
    for number in 1..=3 {
        deposit(&mut world, alice, bob_id, draft(number, &[number])).unwrap();
    }
    restart(&mut world, bob, 2, crashed);
    let came = letters(&world, bob);
    assert!(came[0].receipt.is_of_same_batch(&came[2].receipt));
    world.with(bob, |agent, now| {
        for (letter, is_taken) in came.iter().zip([true, false, false]) {
            agent.node.letter_done(now, letter.receipt, is_taken);
        }
    });
    world.sim.run_for(10 * SECOND);
    assert_eq!(letters(&world, bob).len(), 3, "after a rest");
    world.sim.run_for(30 * SECOND);
    assert_eq!(bodies(&world, bob), [[1], [2], [3], [2], [3]]);
    take_all(&mut world, bob, 3);
    assert_eq!(kept.stats().letters, 0);
}

#[test]
fn more_letters_than_one_answer_holds_come_one_batch_after_the_other() {
    let (mut world, kept, alice, bob) = mailing(5);
    let bob_id = world.id(bob);
    let crashed = world.crash(bob);
    let body = vec![5; pilot_wire::limits::MAX_LETTER_BODY];
    for number in 1..=3 {
        deposit(&mut world, alice, bob_id, draft(number, &body)).unwrap();
    }
    let longer = deposit(
        &mut world,
        alice,
        bob_id,
        draft(9, &[&body[..], b"x"].concat()),
    );
    assert_eq!(longer, Err(QueryError::LetterTooLarge));
    restart(&mut world, bob, 2, crashed);
    let mut taken = 0;
    for number in 1..=3u8 {
        world.until("a letter came", 20 * SECOND, |sim| {
            sim[bob].count(|event| matches!(event, Event::Letter(_))) == usize::from(number)
        });
        taken = take_all(&mut world, bob, taken);
    }
    assert_eq!(kept.stats().letters, 0);
}

#[test]
fn who_is_not_trusted_leaves_nothing_and_what_was_left_before_counts_no_more() {
    let (mut world, kept, alice, bob) = mailing(6);
    let (alice_id, bob_id) = (world.id(alice), world.id(bob));
    let carol = world.add_agent("carol", Profile::default(), LinkConfig::default());
    open(&mut world, carol);
    world.until("carol registered", 30 * SECOND, |sim| {
        sim[carol].is_registered()
    });
    let stranger = deposit(&mut world, carol, bob_id, draft(1, b"hi"));
    assert_eq!(stranger, Err(QueryError::NotFound));
    // Left while it was trusted, and opened when it is not any more.
    kept.lies(Lie::Drop);
    deposit(&mut world, alice, bob_id, draft(2, b"too late")).unwrap();
    world.sim.run_for(2 * SECOND);
    world.with(bob, |agent, now| {
        agent.node.untrust(now, &alice_id).unwrap();
    });
    world.sim.run_for(2 * SECOND);
    kept.lies(Lie::None);
    let after = deposit(&mut world, alice, bob_id, draft(3, b"no"));
    assert_eq!(after, Err(QueryError::NotFound));
    let crashed = world.crash(bob);
    restart(&mut world, bob, 2, crashed);
    assert_eq!((letters(&world, bob).len(), refused(&world, bob)), (0, 1));
    assert_eq!(kept.stats().letters, 0, "it is not kept for nothing");
}

#[test]
fn an_agent_of_an_earlier_version_has_no_mailbox_and_the_sender_learns_it() {
    let (mut world, _kept, alice, _bob) = mailing(7);
    let dave = world.add_agent("dave", Profile::default(), LinkConfig::default());
    world.until("dave registered", 30 * SECOND, |sim| {
        sim[dave].is_registered()
    });
    befriend(&mut world, alice, dave);
    world.sim.run_for(2 * SECOND);
    let dave_id = world.id(dave);
    assert_eq!(
        deposit(&mut world, alice, dave_id, draft(1, b"x")),
        Err(QueryError::NoPrekey)
    );
}

#[test]
fn a_prekey_is_named_only_once_it_is_on_disk_and_changes_each_week() {
    let (mut world, kept, alice, bob) = mailing(8);
    let (bob_id, day) = (world.id(bob), 24 * 3600 * SECOND);
    let named = |world: &mut World, alice: HostId| {
        let query = world.with(alice, |agent, now| {
            agent.node.lookup(now, Target::Agent(bob_id))
        });
        let found = RefCell::new(None);
        world.until("found", 30 * SECOND, |sim| {
            *found.borrow_mut() = sim[alice].log.iter().find_map(|event| match event {
                Event::Answered {
                    query: id,
                    result: Ok(Answer::Entry(entry)),
                } if *id == query => Some(entry.record.prekey),
                _ => None,
            });
            found.borrow().is_some()
        });
        found.into_inner().unwrap().map(|prekey| prekey.public)
    };
    let first = named(&mut world, alice).unwrap();
    assert!(world.sim[bob].disk.prekeys.contains_key(&first));
    // From now on the disk takes none.
    world.with(bob, |agent, _| agent.disk.refuses_prekeys = true);
    world.sim.run_for(8 * day);
    assert_eq!(world.sim[bob].disk.prekeys.len(), 2);
    assert_eq!(
        named(&mut world, alice),
        Some(first),
        "one that is not on disk is not named"
    );
    world.with(bob, |agent, now| {
        agent.disk.refuses_prekeys = false;
        let written: Vec<[u8; 32]> = agent.disk.prekeys.keys().copied().collect();
        for public in written {
            agent.node.prekey_written(now, &public);
        }
    });
    world.sim.run_for(2 * SECOND);
    let second = named(&mut world, alice).unwrap();
    assert_ne!(first, second);
    // What was sealed to either is opened; after a month the first is destroyed.
    let crashed = world.crash(bob);
    deposit(&mut world, alice, bob_id, draft(1, b"x")).unwrap();
    restart(&mut world, bob, 2, crashed);
    assert_eq!(bodies(&world, bob), [b"x"]);
    take_all(&mut world, bob, 0);
    world.sim.run_for(25 * day);
    let left: Vec<[u8; 32]> = world.sim[bob].disk.prekeys.keys().copied().collect();
    assert!(
        !left.contains(&first) && left.contains(&second) && left.len() <= 6,
        "{left:?}"
    );
    assert_eq!(kept.stats().letters, 0);
}

#[test]
fn a_lying_rendezvous_harms_nobody_but_by_silence() {
    let (mut world, kept, alice, bob) = mailing(9);
    let (alice_id, bob_id) = (world.id(alice), world.id(bob));
    let carol = world.add_agent("carol", Profile::default(), LinkConfig::default());
    open(&mut world, carol);
    world.until("carol registered", 30 * SECOND, |sim| {
        sim[carol].is_registered()
    });
    befriend(&mut world, carol, bob);
    befriend(&mut world, carol, alice);
    world.sim.run_for(2 * SECOND);
    let carol_id = world.id(carol);
    // Each lie is told to an agent that trusts everybody who could be named.
    for (number, lie) in (10..).zip([Lie::OtherSender(carol_id), Lie::Change]) {
        kept.lies(lie);
        let before = refused(&world, bob);
        deposit(&mut world, alice, bob_id, draft(number, b"secret")).unwrap();
        world.sim.run_for(3 * SECOND);
        assert_eq!(letters(&world, bob).len(), 0, "{lie:?}");
        assert_eq!(refused(&world, bob), before + 1, "{lie:?}");
    }
    // Another agent's letter.
    kept.lies(Lie::Drop);
    deposit(&mut world, alice, bob_id, draft(20, b"for bob")).unwrap();
    kept.lies(Lie::OtherMailbox(bob_id));
    deposit(&mut world, alice, carol_id, draft(21, b"for carol")).unwrap();
    world.sim.run_for(3 * SECOND);
    assert_eq!(
        (letters(&world, carol).len(), refused(&world, carol)),
        (0, 1)
    );
    // Repeated: the same id of the same sender, which an inbox takes once.
    kept.lies(Lie::Repeat);
    let crashed = world.crash(bob);
    restart(&mut world, bob, 2, crashed);
    let taken = take_all(&mut world, bob, 0);
    let crashed = world.crash(bob);
    assert_eq!(taken, 1);
    restart(&mut world, bob, 2, crashed);
    let again = letters(&world, bob);
    assert_eq!((again.len(), again[0].from), (1, alice_id));
    assert_eq!(
        (again[0].head.id, &again[0].body[..]),
        (MessageId::new([20; 16]), &b"for bob"[..])
    );
}

#[test]
fn a_full_mailbox_is_said_to_be_full() {
    let (mut world, _kept, alice, bob) = mailing(10);
    let bob_id = world.id(bob);
    let _crashed = world.crash(bob);
    let body = vec![1; 120 * 1024];
    let refusal =
        (1..30).find_map(|number| deposit(&mut world, alice, bob_id, draft(number, &body)).err());
    let Some(QueryError::Refused { code, message, .. }) = refusal else {
        panic!("{refusal:?}");
    };
    assert_eq!(code, RefusalCode::MailboxFull);
    assert!(message.contains("of one sender"), "{message}");
}
