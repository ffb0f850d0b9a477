//! The registry on disk answers exactly as the one in memory.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use pilot_registry::{
    AgentRow, Batch, GrantRow, GroupMember, GroupRow, LetterAccount, LetterKey, LetterRow,
    LetterSum, LogFacts, MemoryStore, PushId, PushKey, PushKind, PushRow, Store, Totals, Write,
};
use pilot_store::RegistryDb;
use pilot_types::{AgentId, GroupId, Hostname, NetworkId, UnixTime};
use pilot_wire::{MessageId, Role, SignedBytes};
use proptest::prelude::*;

fn agent(index: u8) -> AgentId {
    // The last one has nothing after it: ranges by prefix must not run over.
    AgentId::new([if index == 3 { 0xFF } else { index }; 32])
}

fn row(index: u8, due: u8) -> AgentRow {
    AgentRow {
        log: vec![vec![index; 100], vec![]],
        facts: LogFacts {
            agent: agent(index),
            sign_key: [index; 32],
            generation: 1,
            sequence: 2,
            head: [3; 32],
        },
        is_key_indexed: true,
        serial: 9,
        record: None,
        locator: None,
        due: UnixTime::from_secs(u64::from(due)),
    }
}

fn grant(from: u8, to: u8, serial: u64) -> GrantRow {
    GrantRow {
        grantor: agent(from),
        grantee: agent(to),
        raw: SignedBytes::from_bytes(vec![from, to]),
        serial,
        generation: 0,
        not_after: UnixTime::from_secs(5),
        is_revocation: false,
        remember_until: UnixTime::from_secs(6),
    }
}

fn key(to: u8, kind: PushKind, from: u8) -> PushKey {
    PushKey {
        to: agent(to),
        kind,
        from: agent(from),
    }
}

fn push(key: PushKey, id: u64) -> PushRow {
    PushRow {
        key,
        id: PushId::new(id),
        made: UnixTime::from_secs(1),
        not_after: UnixTime::from_secs(2),
        raw: SignedBytes::from_bytes(vec![1; 20]),
    }
}

#[test]
fn groups_are_found_by_name_number_and_member() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("registry.redb");
    let (group, other) = (GroupId::new([1; 32]), GroupId::new([2; 32]));
    let number = NetworkId::new(7).unwrap();
    let row = GroupRow {
        group,
        name: "trading".parse().unwrap(),
        network: number,
        state: vec![1; 5000],
        members: vec![GroupMember {
            agent: agent(1),
            role: Role::Owner,
            until: UnixTime::from_secs(9),
        }],
        removed: vec![agent(2)],
    };
    let writes = vec![
        Write::PutGroup(Box::new(row.clone())),
        Write::PutGroupName(row.name.clone(), group),
        Write::PutGroupNumber(number, group),
        Write::PutMember(agent(1), group),
        Write::PutMember(agent(1), other),
        Write::PutMember(agent(3), group),
    ];
    let check = |store: &dyn Store| {
        assert_eq!(store.group(&group), Ok(Some(row.clone())));
        assert_eq!(store.group(&other), Ok(None));
        assert_eq!(store.group_name(&row.name), Ok(Some(group)));
        assert_eq!(store.group_number(number), Ok(Some(group)));
        assert_eq!(store.groups_of(&agent(1), 64), Ok(vec![group, other]));
        assert_eq!(store.groups_of(&agent(1), 1), Ok(vec![group]));
        assert_eq!(store.groups_of(&agent(2), 64), Ok(vec![]));
    };
    let mut memory = MemoryStore::new();
    memory
        .apply(Batch {
            writes: writes.clone(),
        })
        .unwrap();
    check(&memory);
    let mut disk = RegistryDb::open(&path).unwrap();
    disk.apply(Batch { writes }).unwrap();
    check(&disk);
    drop(disk);
    let mut disk = RegistryDb::open(&path).unwrap();
    check(&disk);
    let writes = vec![
        Write::DeleteMember(agent(1), group),
        Write::DeleteGroup(group),
    ];
    disk.apply(Batch { writes }).unwrap();
    assert_eq!(disk.groups_of(&agent(1), 64), Ok(vec![other]));
    assert_eq!(disk.group(&group), Ok(None));
}

fn kind() -> impl Strategy<Value = PushKind> {
    prop::sample::select(PushKind::ALL.to_vec())
}

fn name(index: u8) -> Hostname {
    format!("n{}", "x".repeat(usize::from(index)))
        .parse()
        .unwrap()
}

fn write() -> impl Strategy<Value = Write> {
    let index = 0..4u8;
    let at = |secs: u8| UnixTime::from_secs(u64::from(secs));
    let pair = (index.clone(), index.clone());
    prop_oneof![
        (index.clone(), 0..5u8).prop_map(|(a, due)| Write::PutAgent(Box::new(row(a, due)))),
        index.clone().prop_map(|a| Write::DeleteAgent(agent(a))),
        pair.clone()
            .prop_map(|(n, a)| Write::PutHostname(name(n), agent(a))),
        index.clone().prop_map(|n| Write::DeleteHostname(name(n))),
        pair.clone()
            .prop_map(|(n, a)| Write::PutNode(agent(n).node(), agent(a))),
        index
            .clone()
            .prop_map(|n| Write::DeleteNode(agent(n).node())),
        pair.clone()
            .prop_map(|(k, a)| Write::PutKey([k; 32], agent(a))),
        index.clone().prop_map(|k| Write::DeleteKey([k; 32])),
        (0..5u8, index.clone()).prop_map(move |(t, a)| Write::PutDue(at(t), agent(a))),
        (0..5u8, index.clone()).prop_map(move |(t, a)| Write::DeleteDue(at(t), agent(a))),
        (pair.clone(), any::<u64>()).prop_map(|((a, b), s)| Write::PutGrant(grant(a, b, s))),
        pair.clone()
            .prop_map(|(a, b)| Write::DeleteGrant(agent(a), agent(b))),
        index.clone().prop_map(|a| Write::DeleteGrantsBy(agent(a))),
        (pair.clone(), kind(), any::<u64>())
            .prop_map(|((to, from), kind, id)| Write::PutPush(push(key(to, kind, from), id))),
        (pair.clone(), kind())
            .prop_map(|((to, from), kind)| Write::DeletePush(key(to, kind, from))),
        index.clone().prop_map(|a| Write::DeletePushesTo(agent(a))),
        (pair.clone(), 0..3u8).prop_map(|((to, from), n)| {
            // Larger than one piece.
            Write::PutLetter(letter(to, from, n), vec![n; 40_000 * usize::from(n)])
        }),
        (pair.clone(), 0..3u8).prop_map(|((to, from), n)| Write::DeleteLetter(letter(to, from, n))),
        (pair.clone(), 0..4u8, 0..2u64)
            .prop_map(|((a, b), which, n)| Write::PutLetterSum(account(which, a, b), sum(n))),
        any::<u64>().prop_map(|agents| Write::Totals(Totals {
            agents,
            ..Totals::default()
        })),
    ]
}

/// A letter is always the same in its place, as the service has it: numbers are given once.
fn letter(to: u8, from: u8, number: u8) -> LetterRow {
    LetterRow {
        key: LetterKey {
            to: agent(to),
            number: u64::from(from) * 10 + u64::from(number),
        },
        from: agent(from),
        id: MessageId::new([number; 16]),
        not_after: UnixTime::from_secs(u64::from(number)),
        size: 100,
    }
}

fn account(which: u8, a: u8, b: u8) -> LetterAccount {
    match which {
        0 => LetterAccount::All,
        1 => LetterAccount::To(agent(a)),
        2 => LetterAccount::From(agent(a)),
        _ => LetterAccount::Between(agent(a), agent(b)),
    }
}

fn sum(count: u64) -> LetterSum {
    LetterSum {
        count,
        bytes: count * 100,
        last_number: 0,
    }
}

fn assert_same_letters(memory: &MemoryStore, disk: &RegistryDb) {
    for limit in [0, 1, 100] {
        assert_eq!(memory.letters_due(limit), disk.letters_due(limit));
    }
    for a in 0..4 {
        for (after, limit) in [(0, 100), (0, 2), (10, 100), (u64::MAX, 9)] {
            let kept = memory.letters(&agent(a), after, limit);
            assert_eq!(kept, disk.letters(&agent(a), after, limit));
        }
        for b in 0..4 {
            for number in 0..3 {
                let row = letter(a, b, number);
                assert_eq!(memory.letter(&row.key), disk.letter(&row.key));
                let number = memory.letter_number(&agent(a), &agent(b), &row.id);
                assert_eq!(number, disk.letter_number(&agent(a), &agent(b), &row.id));
                // Of an empty letter there is no piece; the service takes none.
                let bytes = memory.letter_bytes(&row.key).map(Option::unwrap_or_default);
                let stored = disk.letter_bytes(&row.key).map(Option::unwrap_or_default);
                assert_eq!(bytes, stored);
            }
            for which in 0..4 {
                let account = account(which, a, b);
                assert_eq!(memory.letter_sum(&account), disk.letter_sum(&account));
            }
        }
    }
}

fn assert_same(memory: &MemoryStore, disk: &RegistryDb) {
    assert_eq!(memory.totals(), disk.totals());
    assert_same_letters(memory, disk);
    for limit in [0, 1, 100] {
        assert_eq!(memory.due(limit), disk.due(limit));
    }
    for a in 0..4 {
        assert_eq!(memory.agent(&agent(a)), disk.agent(&agent(a)));
        assert_eq!(memory.hostname(&name(a)), disk.hostname(&name(a)));
        assert_eq!(memory.node(agent(a).node()), disk.node(agent(a).node()));
        assert_eq!(memory.key(&[a; 32]), disk.key(&[a; 32]));
        assert_eq!(memory.grant_count(&agent(a)), disk.grant_count(&agent(a)));
        assert_eq!(memory.grants_by(&agent(a)), disk.grants_by(&agent(a)));
        for limit in [0, 2, 100] {
            let (kept, stored) = (
                memory.grantors_to(&agent(a), limit),
                disk.grantors_to(&agent(a), limit),
            );
            assert_eq!(kept, stored);
            let after = agent(a);
            for after in [None, Some(&after)] {
                assert_eq!(memory.agents(after, limit), disk.agents(after, limit));
            }
        }
        for kind in [PushKind::Knock, PushKind::Grant] {
            assert_eq!(memory.pushes(&agent(a), kind), disk.pushes(&agent(a), kind));
            assert_eq!(memory.push(&key(a, kind, 1)), disk.push(&key(a, kind, 1)));
        }
        for b in 0..4 {
            assert_eq!(
                memory.grant(&agent(a), &agent(b)),
                disk.grant(&agent(a), &agent(b))
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn disk_and_memory_agree_also_after_a_restart(
        batches in prop::collection::vec(prop::collection::vec(write(), 0..12), 1..8)
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("registry.redb");
        let mut memory = MemoryStore::new();
        let mut disk = RegistryDb::open(&path).unwrap();
        for writes in batches {
            memory.apply(Batch { writes: writes.clone() }).unwrap();
            disk.apply(Batch { writes }).unwrap();
            assert_same(&memory, &disk);
        }
        drop(disk);
        assert_same(&memory, &RegistryDb::open(&path).unwrap());
    }
}

#[test]
fn a_file_of_an_earlier_program_gets_its_mailboxes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("registry.redb");
    drop(RegistryDb::open(&path).unwrap());
    let database = redb::Database::open(&path).unwrap();
    let txn = database.begin_write().unwrap();
    for name in [
        "letters",
        "letter_bytes",
        "letter_numbers",
        "letters_due",
        "letter_sums",
    ] {
        let table = redb::TableDefinition::<&[u8], &[u8]>::new(name);
        assert!(txn.delete_table(table).unwrap());
    }
    txn.commit().unwrap();
    drop(database);
    let mut disk = RegistryDb::open(&path).unwrap();
    assert_eq!(disk.letters(&agent(1), 0, 9), Ok(vec![]));
    assert_eq!(disk.letters_due(9), Ok(vec![]));
    assert_eq!(disk.letter_sum(&LetterAccount::All), Ok(LetterSum::EMPTY));
    let row = letter(1, 2, 1);
    let writes = vec![Write::PutLetter(row, vec![1; 100_000])];
    disk.apply(Batch { writes }).unwrap();
    assert_eq!(disk.letters(&agent(1), 0, 9), Ok(vec![row]));
    assert_eq!(disk.letter_bytes(&row.key), Ok(Some(vec![1; 100_000])));
}

#[test]
fn a_file_of_an_earlier_program_gets_its_index_by_grantee() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("registry.redb");
    let writes = vec![
        Write::PutGrant(grant(1, 2, 1)),
        Write::PutGrant(grant(0, 2, 1)),
    ];
    RegistryDb::open(&path)
        .unwrap()
        .apply(Batch { writes })
        .unwrap();
    let table = redb::TableDefinition::<&[u8], &[u8]>::new("grantees");
    let change = |change: &dyn Fn(&redb::WriteTransaction)| {
        let database = redb::Database::open(&path).unwrap();
        let txn = database.begin_write().unwrap();
        change(&txn);
        txn.commit().unwrap();
    };
    let grantors = || {
        RegistryDb::open(&path)
            .unwrap()
            .grantors_to(&agent(2), 9)
            .unwrap()
    };
    change(&|txn| assert!(txn.delete_table(table).unwrap()));
    assert_eq!(grantors(), [agent(0), agent(1)]);
    // It ran once more, and wrote grants that the index does not have.
    change(&|txn| drop(txn.open_table(table).unwrap().pop_first().unwrap()));
    assert_eq!(grantors(), [agent(0), agent(1)]);
}
