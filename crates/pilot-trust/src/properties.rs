//! What holds after any operations of a few agents, over a network that loses, repeats and reorders.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pilot_types::{AgentId, Port, UnixTime};
use pilot_wire::{Grant, KnockTarget, Scope, SignedBytes, decode_postcard, encode_postcard};
use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use crate::testing::{NOW, agent};
use crate::*;

const AGENTS: usize = 3;
const SCOPES: [&str; 4] = ["7", "7,1000-1002", "80", "all"];

#[derive(Clone, Copy, Debug)]
enum Op {
    Knock(usize, usize),
    Approve(usize, usize, usize),
    Reject(usize, usize),
    Untrust(usize, usize),
    /// Any message ever sent comes to its addressee, again or for the first time.
    Deliver(usize),
    Wait(u32),
    Restart(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let pair = || (0..AGENTS, 1..AGENTS).prop_map(|(a, step)| (a, (a + step) % AGENTS));
    prop_oneof![
        3 => pair().prop_map(|(a, b)| Op::Knock(a, b)),
        3 => (pair(), 0..SCOPES.len()).prop_map(|((a, b), scope)| Op::Approve(a, b, scope)),
        1 => pair().prop_map(|(a, b)| Op::Reject(a, b)),
        2 => pair().prop_map(|(a, b)| Op::Untrust(a, b)),
        8 => any::<usize>().prop_map(Op::Deliver),
        1 => (0u32..10 * 24 * 3600).prop_map(Op::Wait),
        1 => (0..AGENTS).prop_map(Op::Restart),
    ]
}

#[derive(Clone, PartialEq)]
enum Message {
    Knock {
        from: usize,
        to: usize,
        raw: SignedBytes,
    },
    Grant {
        from: usize,
        to: usize,
        raw: SignedBytes,
    },
}

/// What one agent's person has allowed another since the last word on it.
#[derive(Clone, Debug, Default)]
struct Allowed {
    scopes: Vec<Scope>,
}

struct World {
    now: UnixTime,
    identities: Vec<Identity>,
    machines: Vec<Trust>,
    stores: Vec<BTreeMap<Vec<u8>, Vec<u8>>>,
    sent: Vec<Message>,
    allowed: BTreeMap<(usize, usize), Allowed>,
    /// Serials of grants by pair: they must rise.
    serials: BTreeMap<(usize, usize), u64>,
    /// Serials of the grants that an agent holds of another: they do not fall.
    held: BTreeMap<(usize, usize), u64>,
}

impl World {
    fn new(agents: usize) -> Self {
        let identities: Vec<Identity> = (0..agents).map(|n| agent(n as u8 + 1)).collect();
        let machine = |identity: &Identity| Trust::new(Arc::default(), identity.agent());
        Self {
            now: NOW,
            machines: identities.iter().map(machine).collect(),
            stores: vec![BTreeMap::new(); agents],
            identities,
            sent: vec![],
            allowed: BTreeMap::new(),
            serials: BTreeMap::new(),
            held: BTreeMap::new(),
        }
    }

    fn id(&self, side: usize) -> AgentId {
        self.identities[side].agent()
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Knock(from, to) => self.knock(from, to),
            Op::Approve(a, b, scope) => self.approve(a, b, SCOPES[scope]),
            Op::Reject(a, b) => {
                let peer = self.id(b);
                let _ = self.machines[a].reject(self.now, &peer, "");
            }
            Op::Untrust(a, b) => self.untrust(a, b),
            Op::Deliver(which) => {
                if !self.sent.is_empty() {
                    let message = self.sent[which % self.sent.len()].clone();
                    self.deliver(&message);
                }
            }
            Op::Wait(seconds) => {
                self.now = self.now.plus(Duration::from_secs(seconds.into()));
                self.machines
                    .iter_mut()
                    .for_each(|m| m.handle_time(self.now));
            }
            Op::Restart(side) => self.restart(side),
        }
        self.drain();
    }

    fn knock(&mut self, from: usize, to: usize) {
        let target = KnockTarget::Node(self.id(to).node());
        let identity = &self.identities[from];
        let outcome = self.machines[from].knock(self.now, identity, target, "", None);
        let allowed = self.allowed.entry((from, to)).or_default();
        allowed.scopes.push(Scope::default_scope());
        if let Ok(KnockOutcome::Send(raw)) = outcome {
            self.sent.push(Message::Knock { from, to, raw });
        }
    }

    fn approve(&mut self, a: usize, b: usize, scope: &str) {
        let peer = self.id(b);
        let scope = Scope::of_ports(Scope::parse_ports(scope).unwrap());
        let terms = Terms {
            scope: scope.clone(),
            not_after: UnixTime::FAR_FUTURE,
            one_way: false,
        };
        let result = self.machines[a].approve(self.now, &self.identities[a], &peer, terms);
        if result.is_ok() {
            self.allowed.insert(
                (a, b),
                Allowed {
                    scopes: vec![scope],
                },
            );
        }
    }

    fn untrust(&mut self, a: usize, b: usize) {
        let peer = self.id(b);
        let result = self.machines[a].untrust(self.now, &self.identities[a], &peer);
        if result.is_ok() {
            self.allowed.insert((a, b), Allowed::default());
        }
    }

    fn deliver(&mut self, message: &Message) {
        match message {
            Message::Knock { from, to, raw } => {
                let (identity, log) = (&self.identities[*to], self.identities[*from].verified());
                let machine = &mut self.machines[*to];
                let _ = machine.handle_knock(self.now, identity, raw, log, Policy::Ask);
            }
            Message::Grant { from, to, raw } => {
                let (identity, log) = (&self.identities[*to], self.identities[*from].verified());
                let machine = &mut self.machines[*to];
                let _ = machine.handle_grant(self.now, identity, raw, log, None);
            }
        }
    }

    fn drain(&mut self) {
        for from in 0..self.machines.len() {
            while let Some(change) = self.machines[from].poll_persist() {
                match change {
                    TrustChange::Put(key, item) => {
                        self.stores[from].insert(key, encode_postcard(&item));
                    }
                    TrustChange::Delete(key) => {
                        self.stores[from].remove(&key);
                    }
                }
            }
            while let Some(event) = self.machines[from].poll_event() {
                if let TrustEvent::GrantIssued { to, raw } = event {
                    let to = self
                        .identities
                        .iter()
                        .position(|i| i.agent() == to)
                        .unwrap();
                    self.check_serial(from, to, &raw);
                    let message = Message::Grant { from, to, raw };
                    if !self.sent.contains(&message) {
                        self.sent.push(message);
                    }
                }
            }
        }
    }

    fn check_serial(&mut self, from: usize, to: usize, raw: &SignedBytes) {
        let serial = raw.envelope().unwrap().head.serial;
        let last = self.serials.insert((from, to), serial).unwrap_or(0);
        let is_again = self.sent.iter().any(|sent| match sent {
            Message::Grant { raw: known, .. } => known == raw,
            Message::Knock { .. } => false,
        });
        assert!(
            serial > last || (serial == last && is_again),
            "serials rise"
        );
    }

    fn restart(&mut self, side: usize) {
        let items = self.stores[side].values();
        let items = items.map(|bytes| decode_postcard::<TrustItem>(bytes, "item").unwrap());
        let restored = Trust::restore(Arc::default(), self.id(side), items);
        let before = &self.machines[side];
        assert_eq!(restored.peers, before.peers);
        assert_eq!(restored.pending, before.pending);
        assert_eq!(restored.sent, before.sent);
        assert_eq!(restored.poll_timeout_unix(), before.poll_timeout_unix());
        self.machines[side] = restored;
    }

    /// No grant allows more than its person's word, and what was revoked stays so.
    fn check(&mut self) {
        for a in 0..self.machines.len() {
            for b in (0..self.machines.len()).filter(|b| *b != a) {
                let Some(given) = self.machines[a].given_scope(self.now, &self.id(b)) else {
                    continue;
                };
                let allowed = self.allowed.get(&(a, b)).cloned().unwrap_or_default();
                let is_allowed = allowed.scopes.iter().any(|scope| given.is_within(scope));
                assert!(
                    is_allowed,
                    "{a} gives {b} {given:?}, allowed {:?}",
                    allowed.scopes
                );
            }
            self.check_received(a);
        }
    }

    /// What an agent believes to have been granted was signed by the other with the serial that it holds.
    fn check_received(&mut self, a: usize) {
        for b in (0..self.machines.len()).filter(|b| *b != a) {
            let Some(received) = self.machines[a].received_grant(&self.id(b)) else {
                continue;
            };
            let serial = received.envelope().unwrap().head.serial;
            let grant: Grant = received.envelope().unwrap().statement().unwrap();
            assert_eq!(grant.grantee, self.id(a));
            assert!(serial <= self.serials[&(b, a)]);
            let before = self.held.insert((a, b), serial);
            assert!(
                before.is_none_or(|before| before <= serial),
                "a grant was replaced by an older one"
            );
        }
    }

    /// Everything that waits is brought again, as sessions do when they begin, until nothing is new.
    fn settle(&mut self) {
        for _ in 0..4 {
            let mut again = vec![];
            for from in 0..self.machines.len() {
                for to in (0..self.machines.len()).filter(|to| *to != from) {
                    let grant = self.machines[from].given_grant(&self.id(to)).cloned();
                    again.extend(grant.map(|raw| Message::Grant { from, to, raw }));
                    let target = KnockTarget::Node(self.id(to).node());
                    let mut knocks = self.machines[from].sent_knocks();
                    let knock = knocks.find(|(known, _)| **known == target);
                    let knock = knock.map(|(_, raw)| raw.clone());
                    again.extend(knock.map(|raw| Message::Knock { from, to, raw }));
                }
            }
            for message in again {
                self.deliver(&message);
                self.drain();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(250))]

    #[test]
    fn no_operations_widen_a_scope_or_bring_back_what_was_revoked(ops in proptest::collection::vec(op(), 0..40)) {
        let mut world = World::new(AGENTS);
        for op in ops {
            world.apply(op);
            world.check();
        }
    }

    /// After any past, both sides agree on what each has granted the other once everything is brought again.
    #[test]
    fn what_was_granted_is_agreed_on_in_the_end(ops in proptest::collection::vec(op(), 0..40)) {
        let mut world = World::new(AGENTS);
        for op in ops {
            world.apply(op);
        }
        world.settle();
        world.check();
        for a in 0..AGENTS {
            for b in (0..AGENTS).filter(|b| *b != a) {
                let (id_a, id_b) = (world.id(a), world.id(b));
                let believes = world.machines[b].received_scope(world.now, &id_a);
                let gives = world.machines[a].given_scope(world.now, &id_b);
                // Who asks for nothing and grants nothing takes no grant either.
                prop_assert!(believes == gives || believes.is_none(), "{:?} against {:?}", believes, gives);
                if gives.is_some() && world.machines[b].has_granted(world.now, &id_a) {
                    prop_assert_eq!(believes, gives);
                }
            }
        }
    }

    /// A random graph of friends over a network that loses two messages of three.
    #[test]
    fn a_random_social_graph_with_lossy_delivery_converges(
        edges in proptest::collection::vec((0usize..6, 1usize..6), 1..12),
        seed: u64,
    ) {
        let mut world = World::new(6);
        let edges = edges.into_iter().map(|(a, step)| (a, (a + step) % 6));
        let edges: Vec<(usize, usize)> = edges.collect();
        let mut fates = ChaCha8Rng::seed_from_u64(seed);
        for (a, b) in &edges {
            world.knock(*a, *b);
            world.drain();
        }
        for round in 0..200 {
            let lossy = world.sent.clone();
            for message in lossy.iter().filter(|_| fates.next_u32() % 3 == 0) {
                world.deliver(message);
                world.drain();
            }
            for (a, b) in &edges {
                if world.machines[*b].pending().any(|knock| knock.agent == world.id(*a)) {
                    world.approve(*b, *a, "7,1000-1002");
                    world.drain();
                }
            }
            let mutual = |(a, b): &(usize, usize)| {
                world.machines[*a].is_mutual(world.now, &world.id(*b))
                    && world.machines[*b].is_mutual(world.now, &world.id(*a))
            };
            if edges.iter().all(mutual) {
                break;
            }
            prop_assert!(round < 199, "did not converge");
        }
        for (a, b) in &edges {
            prop_assert!(world.machines[*a].admits(world.now, &world.id(*b), Port::ECHO));
            prop_assert!(world.machines[*b].admits(world.now, &world.id(*a), Port::ECHO));
        }
        let quiet = world.sent.len();
        for message in world.sent.clone() {
            if let Message::Grant { .. } = message {
                world.deliver(&message);
                world.drain();
            }
        }
        prop_assert_eq!(world.sent.len(), quiet, "grants answer no grants any more");
    }
}
