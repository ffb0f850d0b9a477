//! What every database does with files that are not what they should be, and what state and inbox keep.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use pilot_store::{
    Home, Inbox, InboxHead, InboxMessage, LastSession, NoRoom, OpenDbError, Put, PutError,
    RegistryDb, RendezvousPin, StateDb,
};
use pilot_trust::{Config, Identity, Trust};
use pilot_types::{AgentId, Seed, UnixTime};
use pilot_wire::{KnockTarget, MessageId, MessageType};
use redb::{Database, TableDefinition};
use tempfile::TempDir;

fn agent(index: u8) -> AgentId {
    AgentId::new([index; 32])
}

fn db() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("some.redb");
    (dir, path)
}

/// Opens the file as each of the three and hands on what goes wrong.
fn open_each(path: &Path) -> [Option<OpenDbError>; 3] {
    [
        RegistryDb::open(path).err(),
        StateDb::open(path).err(),
        Inbox::open(path, 1).err(),
    ]
}

#[test]
fn garbage_is_named_and_left_as_it_is() {
    let (_dir, path) = db();
    for bytes in [b"".as_slice(), b"garbage", &[0; 5000], &[0xFF; 100_000]] {
        fs::write(&path, bytes).unwrap();
        for error in open_each(&path) {
            let error = error.expect("garbage is refused");
            assert!(matches!(error, OpenDbError::Damaged { .. }), "{error:?}");
            let words = error.to_string();
            assert!(
                words.contains(path.to_str().unwrap()) && words.contains("copy"),
                "{words}"
            );
            assert_eq!(fs::read(&path).unwrap(), bytes, "untouched");
        }
    }
}

#[test]
fn a_truncated_database_is_refused() {
    let (_dir, path) = db();
    drop(StateDb::open(&path).unwrap());
    let whole = fs::read(&path).unwrap();
    for len in [100, 4096, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..len]).unwrap();
        let Err(error) = StateDb::open(&path) else {
            panic!("{len} of {} bytes were accepted", whole.len());
        };
        assert!(error.to_string().contains(path.to_str().unwrap()));
        assert_eq!(fs::metadata(&path).unwrap().len(), len as u64);
    }
}

#[test]
fn a_creation_that_was_cut_off_is_begun_again() {
    let (_dir, path) = db();
    fs::write(path.with_extension("redb.new"), b"half a database").unwrap();
    let state = StateDb::open(&path).unwrap();
    assert_eq!(state.next_boot().unwrap(), 1);
    assert!(!path.with_extension("redb.new").exists());
}

#[test]
fn a_later_format_is_refused_by_number() {
    let (_dir, path) = db();
    drop(StateDb::open(&path).unwrap());
    let meta: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("meta");
    let database = Database::open(&path).unwrap();
    let txn = database.begin_write().unwrap();
    let later = 7u64.to_be_bytes();
    txn.open_table(meta)
        .unwrap()
        .insert(b"format".as_slice(), later.as_slice())
        .unwrap();
    txn.commit().unwrap();
    drop(database);
    let error = StateDb::open(&path).err().unwrap();
    assert!(matches!(
        error,
        OpenDbError::Newer {
            found: 7,
            known: 1,
            ..
        }
    ));
    assert!(error.to_string().contains("newer program"));
}

#[test]
fn a_second_opener_is_told_so() {
    let (_dir, path) = db();
    let _first = StateDb::open(&path).unwrap();
    let error = StateDb::open(&path).err().unwrap();
    assert!(matches!(error, OpenDbError::InUse { .. }), "{error:?}");
}

#[test]
fn a_directory_that_is_not_there_is_an_io_error() {
    let (dir, _) = db();
    let error = StateDb::open(&dir.path().join("no/such.redb"))
        .err()
        .unwrap();
    assert!(matches!(error, OpenDbError::Io { .. }));
}

#[test]
fn a_damaged_row_is_named() {
    let (_dir, path) = db();
    let inbox = Inbox::open(&path, 1 << 20).unwrap();
    inbox.put(&message(1, 1, b"hello")).unwrap();
    drop(inbox);
    let heads: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("heads");
    let database = Database::open(&path).unwrap();
    let txn = database.begin_write().unwrap();
    let number = 1u64.to_be_bytes();
    txn.open_table(heads)
        .unwrap()
        .insert(number.as_slice(), b"\xFF".as_slice())
        .unwrap();
    txn.commit().unwrap();
    drop(database);
    let inbox = Inbox::open(&path, 1 << 20).unwrap();
    let words = inbox.list(10, |_| Ok(true)).unwrap_err().to_string();
    assert!(words.contains("a message's head"), "{words}");
}

#[test]
fn a_changed_page_is_an_error_and_no_panic() {
    let (_dir, path) = db();
    let state = StateDb::open(&path).unwrap();
    for _ in 0..5 {
        state.next_boot().unwrap();
    }
    drop(state);
    let whole = fs::read(&path).unwrap();
    let mut refused = 0;
    for place in (0..whole.len())
        .filter(|place| whole[*place] != 0)
        .step_by(211)
    {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x55;
        fs::write(&path, &bytes).unwrap();
        let used = StateDb::open(&path)
            .map_err(|error| error.to_string())
            .and_then(|state| state.next_boot().map_err(|error| error.to_string()));
        if let Err(words) = used {
            assert!(words.contains(path.to_str().unwrap()), "{words}");
            refused += 1;
        }
    }
    assert!(refused > 0, "no place mattered");
}

/// Copies the file of a database that is still open, as a crash would leave it.
fn crash(path: &Path) -> (TempDir, PathBuf) {
    let (dir, copy) = db();
    fs::copy(path, &copy).unwrap();
    (dir, copy)
}

#[test]
fn what_was_acknowledged_is_there_after_a_crash() {
    let (_dir, path) = db();
    let inbox = Inbox::open(&path, 1 << 20).unwrap();
    for index in 0..20 {
        let message = message(1, index, b"hello");
        inbox.put(&message).unwrap();
        let (_dir, copy) = crash(&path);
        let after = Inbox::open(&copy, 1 << 20).unwrap();
        assert_eq!(after.total().unwrap(), u64::from(index) + 1);
        assert_eq!(after.read(&message.head.id).unwrap().unwrap(), message);
    }
}

#[test]
fn a_write_that_was_torn_leaves_the_state_before_it() {
    let (_dir, path) = db();
    let state = StateDb::open(&path).unwrap();
    assert_eq!(state.next_boot().unwrap(), 1);
    let (_copy_dir, before) = crash(&path);
    let old = fs::read(&before).unwrap();
    state.next_boot().unwrap();
    let new = fs::read(&path).unwrap();
    // Everything behind the head page was written, the head page was not: the commit never happened.
    let file = fs::OpenOptions::new().write(true).open(&before).unwrap();
    file.set_len(new.len() as u64).unwrap();
    file.write_all_at(&new[4096..], 4096).unwrap();
    file.write_all_at(&old[..4096], 0).unwrap();
    let restored = StateDb::open(&before).unwrap();
    assert_eq!(restored.next_boot().unwrap(), 2);
}

#[test]
fn freshness_never_repeats_whatever_the_clock_does() {
    let (_dir, path) = db();
    let mut end = 0;
    for now in [1_000_000, 5, 2_000_000_000_000, 3, 0, u64::MAX - 10, 7] {
        let state = StateDb::open(&path).unwrap();
        let block = state.reserve_freshness(now).unwrap();
        assert!(block.start >= end && block.start >= now, "{block:?}");
        end = block.end;
        let again = state.reserve_freshness(now).unwrap();
        assert!(again.start >= end);
        end = again.end;
    }
}

#[test]
fn counters_only_count_up_over_restarts() {
    let (_dir, path) = db();
    for expected in 1..4 {
        let state = StateDb::open(&path).unwrap();
        assert_eq!(state.next_boot().unwrap(), expected);
    }
    let state = StateDb::open(&path).unwrap();
    assert_eq!(state.next_record_serial(0).unwrap(), 1);
    assert_eq!(state.next_record_serial(40).unwrap(), 41);
    assert_eq!(state.next_record_serial(0).unwrap(), 42);
}

#[test]
fn what_is_known_of_peers_is_kept_and_forgotten() {
    let (_dir, path) = db();
    let state = StateDb::open(&path).unwrap();
    state
        .put_peer_freshness(&[(agent(1), 9), (agent(2), 5)])
        .unwrap();
    state
        .put_peer_freshness(&[(agent(1), 7), (agent(2), 6)])
        .unwrap();
    assert_eq!(
        state.peer_freshness().unwrap(),
        [(agent(1), 7), (agent(2), 6)],
        "the newest word, also where it is lower: it is under another key"
    );
    state.put_peer(&agent(1), b"first").unwrap();
    state.put_peer(&agent(1), b"second").unwrap();
    assert_eq!(state.peers().unwrap(), [b"second"]);
    state.forget_peer(&agent(1)).unwrap();
    assert!(state.peers().unwrap().is_empty());
    assert_eq!(state.peer_freshness().unwrap(), [(agent(2), 6)]);
}

#[test]
fn pins_and_the_last_sessions_are_kept() {
    let (_dir, path) = db();
    let state = StateDb::open(&path).unwrap();
    let pin = RendezvousPin {
        agent: agent(1),
        log: vec![vec![7; 300]],
        work_bits: 20,
    };
    state.put_pin("192.0.2.1:9000", &pin).unwrap();
    let sessions = [
        LastSession {
            agent: agent(1),
            address: Some(([192, 0, 2, 1], 5).into()),
        },
        LastSession {
            agent: agent(2),
            address: None,
        },
    ];
    state.put_last_sessions(&sessions).unwrap();
    drop(state);
    let state = StateDb::open(&path).unwrap();
    assert_eq!(state.pin("192.0.2.1:9000").unwrap(), Some(pin));
    assert_eq!(state.pin("192.0.2.1:9001").unwrap(), None);
    assert_eq!(state.last_sessions().unwrap(), sessions);
    state.put_last_sessions(&[]).unwrap();
    assert_eq!(state.last_sessions().unwrap(), []);
    state.delete_pin("192.0.2.1:9000").unwrap();
    assert_eq!(state.pin("192.0.2.1:9000").unwrap(), None);
    let many = vec![
        LastSession {
            agent: agent(3),
            address: None
        };
        5000
    ];
    state.put_last_sessions(&many).unwrap();
    assert_eq!(state.last_sessions().unwrap().len(), 1024);
}

#[test]
fn trust_is_restored_as_it_was() {
    let now = UnixTime::from_secs(1_767_225_600);
    let (a, b) = (
        Identity::generate(Seed::new([1; 32]), 0),
        Identity::generate(Seed::new([2; 32]), 0),
    );
    let config = std::sync::Arc::new(Config::default());
    let (_dir, path) = db();
    let state = StateDb::open(&path).unwrap();
    let mut trust = Trust::new(std::sync::Arc::clone(&config), a.agent());
    trust
        .knock(now, &a, KnockTarget::Agent(b.agent()), "hello", None)
        .unwrap();
    let changes: Vec<_> = std::iter::from_fn(|| trust.poll_persist()).collect();
    assert!(!changes.is_empty());
    state.apply_trust(&changes).unwrap();
    drop(state);
    let items = StateDb::open(&path).unwrap().trust_items().unwrap();
    assert_eq!(items.len(), changes.len());
    let mut restored = Trust::restore(config, a.agent(), items);
    assert!(restored.poll_persist().is_none(), "nothing is new");
}

fn message(from: u8, id: u8, body: &[u8]) -> InboxMessage {
    let head = InboxHead {
        id: MessageId::new([id; 16]),
        from: agent(from),
        from_address: agent(from).address(),
        from_hostname: Some("worker".parse().unwrap()),
        kind: MessageType::Text,
        len: body.len() as u64,
        received_at: UnixTime::from_secs(1000 + u64::from(id)),
        reply_to: Some(MessageId::new([9; 16])),
        trace: None,
        trust: "mutual".to_owned(),
        network: None,
        mailed: None,
        finding: None,
    };
    InboxMessage {
        head,
        body: body.to_vec(),
    }
}

#[test]
fn a_message_is_stored_once() {
    let (_dir, path) = db();
    let inbox = Inbox::open(&path, 1 << 20).unwrap();
    let first = message(1, 1, b"hello");
    assert_eq!(inbox.put(&first).unwrap(), Put::Stored);
    assert_eq!(inbox.put(&first).unwrap(), Put::Duplicate);
    assert_eq!(
        inbox.put(&message(1, 1, b"other words")).unwrap(),
        Put::Duplicate
    );
    let by_other = message(2, 1, b"mine");
    assert_eq!(inbox.put(&by_other).unwrap(), Put::Stored);
    assert_eq!(inbox.total().unwrap(), 2);
    assert_eq!(inbox.read(&first.head.id).unwrap(), Some(first.clone()));
    let read = inbox.read_from(&agent(2), &first.head.id).unwrap();
    assert_eq!(read, Some(by_other));
    assert_eq!(inbox.read(&MessageId::new([77; 16])).unwrap(), None);
    assert_eq!(inbox.clear().unwrap(), 2);
    assert_eq!(
        inbox.put(&first).unwrap(),
        Put::Duplicate,
        "after a clearance too"
    );
    assert_eq!(inbox.read(&first.head.id).unwrap(), None);
    assert_eq!(
        (inbox.total().unwrap(), inbox.list(9, |_| Ok(true)).unwrap()),
        (0, vec![])
    );
}

#[test]
fn the_newest_messages_are_listed_last() {
    let (_dir, path) = db();
    let inbox = Inbox::open(&path, 1 << 20).unwrap();
    for id in 0..10 {
        inbox.put(&message(1, id, b"x")).unwrap();
    }
    let ids = |heads: Vec<InboxHead>| {
        heads
            .iter()
            .map(|head| head.id.as_bytes()[0])
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(inbox.list(3, |_| Ok(true)).unwrap()), [7, 8, 9]);
    assert!(inbox.list(0, |_| Ok(true)).unwrap().is_empty());
    let since = UnixTime::from_secs(1008);
    let young = inbox.list(100, |head| Ok(since <= head.received_at));
    assert_eq!(ids(young.unwrap()), [8, 9]);
}

#[test]
fn the_quota_counts_bodies_and_heads() {
    let (_dir, path) = db();
    let inbox = Inbox::open(&path, 10_000).unwrap();
    assert_eq!(inbox.put(&message(1, 1, &[7; 6000])).unwrap(), Put::Stored);
    let full = inbox.put(&message(2, 2, &[7; 6000])).unwrap_err();
    assert!(
        matches!(
            full,
            PutError::NoRoom(NoRoom::Full {
                used: 7024,
                quota: 10_000
            })
        ),
        "{full:?}"
    );
    assert!(full.to_string().contains("pilotctl inbox --clear"));
    assert_eq!(
        inbox.put(&message(1, 1, &[7; 6000])).unwrap(),
        Put::Duplicate,
        "known is no question of room"
    );
    assert_eq!(inbox.put(&message(2, 3, b"small")).unwrap(), Put::Stored);
    inbox.clear().unwrap();
    assert_eq!(inbox.put(&message(1, 2, &[7; 6000])).unwrap(), Put::Stored);
    let empty = (100..).map(|id| inbox.put(&message(2, id, b"")));
    assert!(
        empty.take(10).any(|put| put.is_err()),
        "empty messages are bounded too"
    );
}

#[test]
fn one_sender_fills_half_of_the_inbox_and_leaves_the_rest_to_others() {
    let (_dir, path) = db();
    let inbox = Inbox::open(&path, 20_000).unwrap();
    let flood: Vec<_> = (0..20).map(|id| message(1, id, &[7; 1000])).collect();
    let put = inbox.put_all(&flood).unwrap();
    let stored = put.iter().filter(|put| **put == Ok(Put::Stored)).count();
    assert_eq!(stored, 4, "{put:?}");
    let share = NoRoom::Share {
        used: 4 * 2024,
        share: 10_000,
    };
    assert_eq!(put.last(), Some(&Err(share)));
    assert_eq!(inbox.put(&message(2, 1, &[7; 8000])).unwrap(), Put::Stored);
    let end = UnixTime::from_secs(1002);
    let removed = inbox.remove_before(end, 9).unwrap();
    assert_eq!(removed, 3, "two of the one and one of the other");
    assert_eq!(inbox.put(&flood[19]).unwrap(), Put::Stored, "room again");
}

#[test]
fn old_messages_go_the_oldest_first_and_are_still_known() {
    let (_dir, path) = db();
    let inbox = Inbox::open(&path, 1 << 20).unwrap();
    let messages: Vec<_> = (0..10).map(|id| message(1, id, b"x")).collect();
    inbox.put_all(&messages).unwrap();
    let end = UnixTime::from_secs(1006);
    assert_eq!(inbox.remove_before(end, 4).unwrap(), 4);
    assert_eq!(inbox.remove_before(end, 4).unwrap(), 2);
    assert_eq!(inbox.remove_before(end, 4).unwrap(), 0);
    assert_eq!(inbox.total().unwrap(), 4);
    let kept = inbox.list(9, |_| Ok(true)).unwrap();
    assert_eq!(kept[0].id, messages[6].head.id);
    assert_eq!(inbox.put(&messages[0]).unwrap(), Put::Duplicate);
    assert_eq!(inbox.read(&messages[0].head.id).unwrap(), None);
    assert!(inbox.read(&messages[9].head.id).unwrap().is_some());
}

#[test]
fn the_largest_body_is_kept_whole() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::open(dir.path()).unwrap();
    let inbox = home.open_inbox(1 << 30).unwrap();
    let pattern = (0u32..).flat_map(u32::to_le_bytes);
    let body: Vec<u8> = pattern.take(pilot_wire::limits::MAX_MESSAGE).collect();
    let large = message(1, 1, &body);
    inbox.put(&large).unwrap();
    inbox.put(&message(1, 2, b"")).unwrap();
    assert!(inbox.read(&large.head.id).unwrap().unwrap() == large);
    let empty = inbox.read(&MessageId::new([2; 16])).unwrap().unwrap();
    assert_eq!(empty.body, b"");
}
