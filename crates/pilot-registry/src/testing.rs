//! Agents, signatures and a store for tests: no cryptography, but the same rules.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use pilot_types::{AgentId, GroupId, Hostname, NetworkId, NodeId, Seed, UnixTime};
use pilot_wire::{
    EnvelopeHead, Grant, Knock, KnockTarget, Locator, MessageId, PortRange, Record, Scope,
    SignedBytes, Statement, Visibility,
};

use crate::{
    AgentRow, Batch, Config, Entry, GrantRow, GroupRow, LetterAccount, LetterKey, LetterRow,
    LetterSum, LogFacts, LookupTarget, MemoryStore, OutgoingPush, PushKey, PushKind, PushRow,
    Request, Response, Service, Store, StoreError, Totals, Verify,
};

pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);
pub(crate) const START: UnixTime = UnixTime::from_secs(1_767_225_600);

/// A log is the agent's id, then entries of generation and sequence; the key is derived from all three.
pub(crate) struct TestKeys;

fn key_of(agent: &AgentId, generation: u32, sequence: u32) -> [u8; 32] {
    let mut key = *agent.as_bytes();
    key.reverse();
    key[0] = generation.to_be_bytes()[3];
    key[1] = sequence.to_be_bytes()[3];
    key
}

impl Verify for TestKeys {
    fn log(&self, entries: &[Vec<u8>]) -> Result<LogFacts, String> {
        let first = entries.first().and_then(|e| e.as_slice().try_into().ok());
        let agent = AgentId::new(first.ok_or("no inception")?);
        let (generation, sequence) = match entries {
            [_] => (0, 0),
            [.., last] => {
                let last: [u8; 3] = last.as_slice().try_into().map_err(|_| "no rotation")?;
                (u32::from(last[0]), u32::from(last[1]))
            }
            [] => return Err("empty".to_owned()),
        };
        let mut head = [0; 32];
        for (byte, from) in head.iter_mut().zip(entries.concat()) {
            *byte ^= from;
        }
        Ok(LogFacts {
            agent,
            sign_key: key_of(&agent, generation, sequence),
            generation,
            sequence,
            head,
        })
    }

    fn follows(&self, _: &[Vec<u8>], _: &[Vec<u8>]) -> bool {
        true
    }

    fn signed(
        &self,
        log: &[Vec<u8>],
        raw: &SignedBytes,
        _: UnixTime,
    ) -> Result<EnvelopeHead, String> {
        let facts = self.log(log)?;
        let envelope = raw.envelope().map_err(|error| error.to_string())?;
        let head = envelope.head;
        let is_genuine = envelope.signature[..32] == facts.sign_key
            && head.agent == facts.agent
            && (head.generation, head.sequence) == (facts.generation, facts.sequence);
        is_genuine
            .then_some(head)
            .ok_or_else(|| "bad signature".to_owned())
    }
}

/// An agent with a log.
#[derive(Clone)]
pub(crate) struct TestAgent {
    pub(crate) id: AgentId,
    pub(crate) log: Vec<Vec<u8>>,
}

impl TestAgent {
    pub(crate) fn new(index: u8) -> Self {
        let mut bytes = [index; 32];
        bytes[0] = 0xA0;
        Self::with_id(AgentId::new(bytes))
    }

    pub(crate) fn with_id(id: AgentId) -> Self {
        Self {
            id,
            log: vec![id.as_bytes().to_vec()],
        }
    }

    pub(crate) fn rotate(&mut self, generation: u8, sequence: u8, fork: u8) {
        self.log.push(vec![generation, sequence, fork]);
    }

    pub(crate) fn node(&self) -> NodeId {
        self.id.node()
    }

    pub(crate) fn sign<T: Statement>(
        &self,
        serial: u64,
        issued: UnixTime,
        life: Duration,
        body: &T,
    ) -> SignedBytes {
        let facts = TestKeys.log(&self.log).unwrap();
        let head = EnvelopeHead {
            agent: self.id,
            generation: facts.generation,
            sequence: facts.sequence,
            serial,
            issued,
            not_after: issued.plus(life),
        };
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&facts.sign_key);
        SignedBytes::new(SignedBytes::to_sign(&head, body), &signature)
    }

    pub(crate) fn register(&self, serial: u64, now: UnixTime, record: &Record) -> Request {
        Request::Register {
            log: self.log.clone(),
            record: self.sign(serial, now, 30 * DAY, record),
        }
    }

    pub(crate) fn locate(&self, boot: u64, serial: u64, now: UnixTime) -> Request {
        let locator = Locator {
            boot_counter: boot,
            reflexive: vec![([192, 0, 2, 7], 7777).into()],
        };
        Request::Locate {
            locator: self.sign(serial, now, DAY, &locator),
        }
    }

    pub(crate) fn knock(&self, target: KnockTarget, now: UnixTime) -> Request {
        let knock = Knock {
            target,
            justification: "let me in".to_owned(),
            hostname: None,
        };
        Request::Knock {
            knock: self.sign(0, now, 7 * DAY, &knock),
        }
    }

    pub(crate) fn grant(&self, to: AgentId, serial: u64, now: UnixTime) -> Request {
        let all = PortRange {
            first: 0.into_port(),
            last: u16::MAX.into_port(),
        };
        self.put_grant(to, serial, now, (vec![all], 365 * DAY))
    }

    pub(crate) fn revoke(&self, to: AgentId, serial: u64, now: UnixTime) -> Request {
        self.put_grant(to, serial, now, (vec![], DAY))
    }

    pub(crate) fn put_grant(
        &self,
        to: AgentId,
        serial: u64,
        now: UnixTime,
        (ports, life): (Vec<PortRange>, Duration),
    ) -> Request {
        let grant = Grant {
            grantee: to,
            scope: Scope {
                ports,
                ..Scope::default()
            },
            parent: None,
            depth: 0,
        };
        Request::PutGrant {
            to,
            grant: self.sign(serial, now, life, &grant),
        }
    }
}

trait IntoPort {
    fn into_port(self) -> pilot_types::Port;
}

impl IntoPort for u16 {
    fn into_port(self) -> pilot_types::Port {
        self.to_string().parse().unwrap()
    }
}

pub(crate) fn name(text: &str) -> Hostname {
    text.parse().unwrap()
}

pub(crate) fn private(hostname: Option<&str>) -> Record {
    Record {
        hostname: hostname.map(name),
        ..Record::default()
    }
}

pub(crate) fn public(hostname: Option<&str>) -> Record {
    Record {
        visibility: Visibility::Public,
        ..private(hostname)
    }
}

/// A store in memory that counts its work and fails on command.
#[derive(Clone, Default)]
pub(crate) struct TestStore {
    inner: MemoryStore,
    pub(crate) probe: Rc<Probe>,
}

#[derive(Default)]
pub(crate) struct Probe {
    pub(crate) batches: Cell<u64>,
    pub(crate) writes: Cell<u64>,
    pub(crate) reads: Cell<u64>,
    pub(crate) fails: Cell<bool>,
    pub(crate) fails_to_write: Cell<bool>,
}

impl TestStore {
    /// Whether nothing but the sums is left.
    pub(crate) fn is_bare(&self) -> bool {
        self.inner.is_bare()
    }

    pub(crate) fn push_count(&self) -> usize {
        self.inner.push_count()
    }

    fn read<T>(&self, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        self.probe.reads.set(self.probe.reads.get() + 1);
        if self.probe.fails.get() {
            Err(StoreError::new("on command"))
        } else {
            answer
        }
    }
}

impl Store for TestStore {
    fn totals(&self) -> Totals {
        self.inner.totals()
    }

    fn agent(&self, agent: &AgentId) -> Result<Option<AgentRow>, StoreError> {
        self.read(self.inner.agent(agent))
    }

    fn hostname(&self, hostname: &Hostname) -> Result<Option<AgentId>, StoreError> {
        self.read(self.inner.hostname(hostname))
    }

    fn node(&self, node: NodeId) -> Result<Option<AgentId>, StoreError> {
        self.read(self.inner.node(node))
    }

    fn key(&self, key: &[u8; 32]) -> Result<Option<AgentId>, StoreError> {
        self.read(self.inner.key(key))
    }

    fn grant(&self, grantor: &AgentId, grantee: &AgentId) -> Result<Option<GrantRow>, StoreError> {
        self.read(self.inner.grant(grantor, grantee))
    }

    fn grant_count(&self, grantor: &AgentId) -> Result<u64, StoreError> {
        self.read(self.inner.grant_count(grantor))
    }

    fn grants_by(&self, grantor: &AgentId) -> Result<Vec<GrantRow>, StoreError> {
        self.read(self.inner.grants_by(grantor))
    }

    fn grantors_to(&self, grantee: &AgentId, limit: usize) -> Result<Vec<AgentId>, StoreError> {
        self.read(self.inner.grantors_to(grantee, limit))
    }

    fn agents(&self, after: Option<&AgentId>, limit: usize) -> Result<Vec<AgentRow>, StoreError> {
        self.read(self.inner.agents(after, limit))
    }

    fn group(&self, group: &GroupId) -> Result<Option<GroupRow>, StoreError> {
        self.read(self.inner.group(group))
    }

    fn group_name(&self, name: &Hostname) -> Result<Option<GroupId>, StoreError> {
        self.read(self.inner.group_name(name))
    }

    fn group_number(&self, number: NetworkId) -> Result<Option<GroupId>, StoreError> {
        self.read(self.inner.group_number(number))
    }

    fn groups_of(&self, agent: &AgentId, limit: usize) -> Result<Vec<GroupId>, StoreError> {
        self.read(self.inner.groups_of(agent, limit))
    }

    fn push(&self, key: &PushKey) -> Result<Option<PushRow>, StoreError> {
        self.read(self.inner.push(key))
    }

    fn pushes(&self, to: &AgentId, kind: PushKind) -> Result<Vec<PushRow>, StoreError> {
        self.read(self.inner.pushes(to, kind))
    }

    fn due(&self, limit: usize) -> Result<Vec<(UnixTime, AgentId)>, StoreError> {
        self.read(self.inner.due(limit))
    }

    fn letter(&self, key: &LetterKey) -> Result<Option<LetterRow>, StoreError> {
        self.read(self.inner.letter(key))
    }

    fn letter_bytes(&self, key: &LetterKey) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(self.inner.letter_bytes(key))
    }

    fn letters(
        &self,
        to: &AgentId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<LetterRow>, StoreError> {
        self.read(self.inner.letters(to, after, limit))
    }

    fn letter_number(
        &self,
        to: &AgentId,
        from: &AgentId,
        id: &MessageId,
    ) -> Result<Option<u64>, StoreError> {
        self.read(self.inner.letter_number(to, from, id))
    }

    fn letter_sum(&self, account: &LetterAccount) -> Result<LetterSum, StoreError> {
        self.read(self.inner.letter_sum(account))
    }

    fn letters_due(&self, limit: usize) -> Result<Vec<(UnixTime, LetterKey)>, StoreError> {
        self.read(self.inner.letters_due(limit))
    }

    fn apply(&mut self, batch: Batch) -> Result<(), StoreError> {
        if self.probe.fails.get() || self.probe.fails_to_write.get() {
            return Err(StoreError::new("on command"));
        }
        self.probe.batches.set(self.probe.batches.get() + 1);
        let writes = self.probe.writes.get() + batch.writes.len() as u64;
        self.probe.writes.set(writes);
        self.inner.apply(batch)
    }
}

/// A service, its clock and what one does with it.
pub(crate) struct World {
    pub(crate) service: Service<TestStore, TestKeys>,
    pub(crate) probe: Rc<Probe>,
    pub(crate) now: UnixTime,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with_config(Config::default())
    }

    pub(crate) fn with_config(config: Config) -> Self {
        Self::on_store(config, TestStore::default())
    }

    pub(crate) fn on_store(config: Config, store: TestStore) -> Self {
        let probe = Rc::clone(&store.probe);
        let seed = Seed::new([3; 32]);
        let service = Service::new(Arc::new(config), store, TestKeys, seed);
        Self {
            service,
            probe,
            now: START,
        }
    }

    pub(crate) fn ask(&mut self, agent: &TestAgent, request: Request) -> Response {
        self.service.handle_request(self.now, agent.id, request)
    }

    pub(crate) fn register(&mut self, agent: &TestAgent, serial: u64, record: &Record) -> Response {
        let request = agent.register(serial, self.now, record);
        self.ask(agent, request)
    }

    pub(crate) fn join(&mut self, agent: &TestAgent, record: &Record) {
        let response = self.register(agent, 1, record);
        assert!(
            matches!(response, Response::Registered { .. }),
            "{response:?}"
        );
    }

    pub(crate) fn lookup(&mut self, viewer: &TestAgent, target: LookupTarget) -> Option<Entry> {
        let response = self.ask(viewer, Request::Lookup { target });
        if let Response::Found(entry) = response {
            return Some(*entry);
        }
        assert_eq!(response, Response::NotFound);
        None
    }

    pub(crate) fn sees(&mut self, viewer: &TestAgent, agent: &TestAgent) -> bool {
        self.lookup(viewer, LookupTarget::Agent(agent.id)).is_some()
    }

    pub(crate) fn connect(&mut self, agent: &TestAgent) {
        let observed = ([192, 0, 2, 1], 1000).into();
        self.service.session_opened(self.now, agent.id, observed);
    }

    pub(crate) fn disconnect(&mut self, agent: &TestAgent) {
        self.service.session_closed(self.now, &agent.id);
    }

    pub(crate) fn pushes(&mut self) -> Vec<OutgoingPush> {
        std::iter::from_fn(|| self.service.poll_push()).collect()
    }

    /// Brings everything that waits and acknowledges it.
    pub(crate) fn deliver(&mut self) -> Vec<OutgoingPush> {
        let mut all = vec![];
        while let Some(push) = self.service.poll_push() {
            self.service.push_acked(self.now, &push.to, push.id);
            all.push(push);
            assert!(all.len() < 10_000, "did not go quiet");
        }
        all
    }

    /// Lets time pass and everything happen that is due.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.now = self.now.plus(time);
        self.settle();
    }

    pub(crate) fn settle(&mut self) {
        for _ in 0..10_000 {
            match self.service.poll_timeout_unix() {
                Some(at) if at <= self.now => self.service.handle_time(self.now),
                Some(_) | None => return,
            }
        }
        panic!("did not go quiet");
    }
}
