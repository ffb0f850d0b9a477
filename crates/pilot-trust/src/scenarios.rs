//! Knocks and grants between a few agents, told as stories.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pilot_types::{AgentId, Hostname, Port, Seed, UnixTime};
use pilot_wire::{Grant, Knock, KnockTarget, Scope, SignedBytes, decode_postcard, encode_postcard};

use crate::testing::{NOW, agent, nobody, recovered, rotated};
use crate::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

mod bounds;
mod grants;
mod knocks;
mod pins;

/// An agent with its machine and its store.
struct Side {
    identity: Identity,
    trust: Trust,
    store: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Side {
    fn new(number: u8) -> Self {
        let identity = agent(number);
        let trust = Trust::new(Arc::default(), identity.agent());
        Self {
            identity,
            trust,
            store: BTreeMap::new(),
        }
    }

    fn id(&self) -> AgentId {
        self.identity.agent()
    }

    fn log(&self) -> VerifiedLog {
        self.identity.verified().clone()
    }

    fn knock_at(&mut self, now: UnixTime, target: KnockTarget) -> SignedBytes {
        match self
            .trust
            .knock(now, &self.identity, target, "to plan", None)
        {
            Ok(KnockOutcome::Send(raw)) => raw,
            other => panic!("{other:?}"),
        }
    }

    fn knock(&mut self, target: KnockTarget) -> SignedBytes {
        self.knock_at(NOW, target)
    }

    fn hear_knock(
        &mut self,
        from: &Self,
        raw: &SignedBytes,
    ) -> Result<KnockReceived, KnockRefused> {
        self.hear_knock_at(NOW, from, raw, Policy::Ask)
    }

    fn hear_knock_at(
        &mut self,
        now: UnixTime,
        from: &Self,
        raw: &SignedBytes,
        policy: Policy,
    ) -> Result<KnockReceived, KnockRefused> {
        self.trust
            .handle_knock(now, &self.identity, raw, &from.log(), policy)
    }

    fn hear_grant(
        &mut self,
        from: &Self,
        raw: &SignedBytes,
    ) -> Result<GrantReceived, GrantRefused> {
        self.hear_grant_at(NOW, from, raw)
    }

    fn hear_grant_at(
        &mut self,
        now: UnixTime,
        from: &Self,
        raw: &SignedBytes,
    ) -> Result<GrantReceived, GrantRefused> {
        self.trust
            .handle_grant(now, &self.identity, raw, &from.log(), None)
    }

    fn approve(&mut self, peer: AgentId) -> SignedBytes {
        let terms = self.trust.default_terms(NOW);
        self.approve_on(peer, terms)
    }

    fn approve_on(&mut self, peer: AgentId, terms: Terms) -> SignedBytes {
        self.trust
            .approve(NOW, &self.identity, &peer, terms)
            .unwrap();
        self.issued()
    }

    fn untrust_at(&mut self, now: UnixTime, peer: AgentId) -> SignedBytes {
        self.trust.untrust(now, &self.identity, &peer).unwrap();
        self.issued()
    }

    /// The one grant among the events so far.
    fn issued(&mut self) -> SignedBytes {
        let issued = self.events().into_iter().filter_map(|event| match event {
            TrustEvent::GrantIssued { raw, .. } => Some(raw),
            TrustEvent::Trusted { .. }
            | TrustEvent::Untrusted { .. }
            | TrustEvent::KnockPending { .. }
            | TrustEvent::ScopeChanged { .. }
            | TrustEvent::GroupChanged { .. }
            | TrustEvent::GroupEnded { .. }
            | TrustEvent::GroupLeft { .. }
            | TrustEvent::Invited { .. } => None,
        });
        let issued: Vec<SignedBytes> = issued.collect();
        let [raw] = &*issued else {
            panic!("{} grants were issued", issued.len())
        };
        raw.clone()
    }

    fn events(&mut self) -> Vec<TrustEvent> {
        std::iter::from_fn(|| self.trust.poll_event()).collect()
    }

    fn persist(&mut self) {
        while let Some(change) = self.trust.poll_persist() {
            match change {
                TrustChange::Put(key, item) => {
                    self.store.insert(key, encode_postcard(&item));
                }
                TrustChange::Delete(key) => {
                    self.store.remove(&key);
                }
            }
        }
    }

    /// The machine that a restarted program has.
    fn restart(&mut self) {
        self.persist();
        let items = self.store.values();
        let items = items.map(|bytes| decode_postcard::<TrustItem>(bytes, "item").unwrap());
        self.trust = Trust::restore(Arc::default(), self.id(), items);
    }
}

fn node(side: &Side) -> KnockTarget {
    KnockTarget::Node(side.id().node())
}

fn name(text: &str) -> Hostname {
    text.parse().unwrap()
}

fn ports(text: &str) -> Scope {
    Scope::of_ports(Scope::parse_ports(text).unwrap())
}

fn terms(scope: Scope) -> Terms {
    Terms {
        scope,
        not_after: UnixTime::FAR_FUTURE,
        one_way: false,
    }
}

/// Alice knocked by Bob's address, Bob approved, both have both grants; the events are drained.
fn friends() -> (Side, Side) {
    let (mut alice, mut bob) = (Side::new(1), Side::new(2));
    let knock = alice.knock(node(&bob));
    assert_eq!(bob.hear_knock(&alice, &knock), Ok(KnockReceived::Pending));
    let grant = bob.approve(alice.id());
    assert_eq!(alice.hear_grant(&bob, &grant), Ok(GrantReceived::Trusted));
    let grant = alice.issued();
    assert_eq!(bob.hear_grant(&alice, &grant), Ok(GrantReceived::Trusted));
    bob.events();
    (alice, bob)
}
