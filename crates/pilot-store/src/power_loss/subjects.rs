//! The databases that are tried, each with operations that a number determines.

use pilot_registry::{
    AgentRow, Batch, GrantRow, LetterAccount, LetterKey, LetterRow, LetterSum, LogFacts, PushId,
    PushKey, PushKind, PushRow, Store, Totals, Write,
};
use pilot_sim::SimRng;
use pilot_trust::{Config, Identity, Trust, TrustChange};
use pilot_types::{AgentId, Seed, UnixTime};
use pilot_wire::{KnockTarget, MessageId, MessageType, SignedBytes};

use crate::db::{Db, Layout};
use crate::inbox::{self, Inbox, InboxHead, InboxMessage, Mailed};
use crate::registry_db::{self, RegistryDb};
use crate::state_db::{self, LastSession, RendezvousPin, StateDb};

/// A database with operations.
pub(super) trait Subject: Sized {
    const LAYOUT: Layout;

    fn over(db: Db) -> Self;

    /// Does what `rng` says, whatever is stored.
    fn act(&mut self, rng: SimRng) -> Result<(), String>;
}

fn agent(rng: &mut SimRng) -> AgentId {
    AgentId::new([u8::try_from(rng.below(12)).unwrap(); 32])
}

/// Mostly small, at times large enough that the file grows.
fn bytes(rng: &mut SimRng) -> Vec<u8> {
    let most = if rng.below(8) == 0 { 60_000 } else { 600 };
    let len = usize::try_from(rng.below(most)).unwrap();
    (0..len.div_ceil(32))
        .flat_map(|_| rng.seed())
        .take(len)
        .collect()
}

impl Subject for StateDb {
    const LAYOUT: Layout = state_db::LAYOUT;

    fn over(db: Db) -> Self {
        Self::over(db)
    }

    fn act(&mut self, mut rng: SimRng) -> Result<(), String> {
        let rng = &mut rng;
        let done = match rng.below(9) {
            0 => self.next_boot().map(drop),
            1 => self.next_record_serial(rng.below(100)).map(drop),
            2 => self.reserve_freshness(rng.below(1 << 40)).map(drop),
            3 => {
                let stamps: Vec<_> = (0..5).map(|_| (agent(rng), rng.below(1000))).collect();
                self.put_peer_freshness(&stamps)
            }
            4 => self.put_peer(&agent(rng), &bytes(rng)),
            5 => self.forget_peer(&agent(rng)),
            6 => {
                let (agent, log, work_bits) = (agent(rng), vec![bytes(rng)], 16);
                self.put_pin(
                    "host:9000",
                    &RendezvousPin {
                        agent,
                        log,
                        work_bits,
                    },
                )
            }
            7 => {
                let count = rng.below(200);
                let sessions: Vec<_> = (0..count)
                    .map(|_| LastSession {
                        agent: agent(rng),
                        address: None,
                    })
                    .collect();
                self.put_last_sessions(&sessions)
            }
            _ => self.apply_trust(&trust_changes(rng)),
        };
        done.map_err(|error| error.to_string())
    }
}

fn trust_changes(rng: &mut SimRng) -> Vec<TrustChange> {
    let own = Identity::generate(Seed::new([1; 32]), 0);
    let mut trust = Trust::new(Config::default().into(), own.agent());
    for _ in 0..=rng.below(4) {
        let target = KnockTarget::Agent(agent(rng));
        let now = UnixTime::from_secs(1_767_225_600);
        // A second knock at the same agent is refused.
        let _ = trust.knock(now, &own, target, "let us talk", None);
    }
    let changes = std::iter::from_fn(|| trust.poll_persist());
    changes
        .map(|change| match change {
            TrustChange::Put(key, _) if rng.below(3) == 0 => TrustChange::Delete(key),
            change @ (TrustChange::Put(..) | TrustChange::Delete(_)) => change,
        })
        .collect()
}

impl Subject for Inbox {
    const LAYOUT: Layout = inbox::LAYOUT;

    fn over(db: Db) -> Self {
        Self::over(db, 1 << 30)
    }

    fn act(&mut self, mut rng: SimRng) -> Result<(), String> {
        let rng = &mut rng;
        match rng.below(12) {
            0 => return self.clear().map(drop).map_err(|error| error.to_string()),
            1 => {
                let end = UnixTime::from_secs(rng.below(100));
                let removed = self.remove_before(end, 3);
                return removed.map(drop).map_err(|error| error.to_string());
            }
            _ => {}
        }
        let (from, body) = (agent(rng), bytes(rng));
        let id = u8::try_from(rng.below(30)).unwrap();
        let head = InboxHead {
            id: MessageId::new([id; 16]),
            from,
            from_address: from.address(),
            from_hostname: None,
            kind: MessageType::Text,
            len: body.len() as u64,
            received_at: UnixTime::from_secs(rng.below(100)),
            reply_to: None,
            trace: None,
            trust: "trusted".to_owned(),
            network: None,
            mailed: (rng.below(2) == 0).then(|| Mailed {
                sent_at: UnixTime::from_secs(1),
                not_after: UnixTime::from_secs(rng.below(200_000)),
            }),
            finding: None,
        };
        let messages = (0..=rng.below(3)).map(|number| InboxMessage {
            head: InboxHead {
                id: MessageId::new([id.wrapping_add(u8::try_from(number).unwrap()); 16]),
                ..head.clone()
            },
            body: body.clone(),
        });
        let put = self.put_all(&messages.collect::<Vec<_>>());
        for put in put.map_err(|error| error.to_string())? {
            put.expect("there is room");
        }
        Ok(())
    }
}

impl Subject for RegistryDb {
    const LAYOUT: Layout = registry_db::LAYOUT;

    fn over(db: Db) -> Self {
        Self::over(db).unwrap()
    }

    fn act(&mut self, mut rng: SimRng) -> Result<(), String> {
        let rng = &mut rng;
        // As the service does before it makes a batch.
        let _ = self.totals();
        let writes = (0..=rng.below(12)).map(|_| write(rng)).collect();
        self.apply(Batch { writes })
            .map_err(|error| error.to_string())?;
        assert!(self.are_sums_stored());
        Ok(())
    }
}

fn write(rng: &mut SimRng) -> Write {
    let (one, other, number) = (agent(rng), agent(rng), rng.below(50));
    let at = UnixTime::from_secs(number);
    let name = || format!("n{number}").parse().unwrap();
    let key = PushKey {
        to: one,
        kind: PushKind::Knock,
        from: other,
    };
    match rng.below(15) {
        0 => Write::PutAgent(Box::new(row(one, bytes(rng)))),
        1 => Write::DeleteAgent(one),
        2 => Write::PutHostname(name(), one),
        3 => Write::DeleteHostname(name()),
        4 => Write::PutNode(one.node(), one),
        5 => Write::PutDue(at, one),
        6 => Write::DeleteDue(at, one),
        7 => Write::PutGrant(grant(one, other, bytes(rng))),
        8 => Write::DeleteGrantsBy(one),
        9 => Write::PutPush(PushRow {
            key,
            id: PushId::new(number),
            made: at,
            not_after: at,
            raw: SignedBytes::from_bytes(bytes(rng)),
        }),
        10 => Write::DeletePush(key),
        11 => Write::PutLetter(letter(one, other, number), bytes(rng)),
        12 => Write::DeleteLetter(letter(one, other, number)),
        13 => Write::PutLetterSum(
            LetterAccount::To(one),
            LetterSum {
                count: number,
                ..LetterSum::EMPTY
            },
        ),
        _ => Write::Totals(Totals {
            agents: number,
            ..Totals::default()
        }),
    }
}

fn letter(to: AgentId, from: AgentId, number: u64) -> LetterRow {
    LetterRow {
        key: LetterKey { to, number },
        from,
        id: MessageId::new([u8::try_from(number).unwrap(); 16]),
        not_after: UnixTime::from_secs(number),
        size: 1,
    }
}

fn row(agent: AgentId, log: Vec<u8>) -> AgentRow {
    AgentRow {
        log: vec![log],
        facts: LogFacts {
            agent,
            sign_key: [1; 32],
            generation: 1,
            sequence: 2,
            head: [3; 32],
        },
        is_key_indexed: true,
        serial: 9,
        record: None,
        locator: None,
        due: UnixTime::from_secs(5),
    }
}

fn grant(grantor: AgentId, grantee: AgentId, raw: Vec<u8>) -> GrantRow {
    GrantRow {
        grantor,
        grantee,
        raw: SignedBytes::from_bytes(raw),
        serial: 1,
        generation: 0,
        not_after: UnixTime::from_secs(5),
        is_revocation: false,
        remember_until: UnixTime::from_secs(6),
    }
}
