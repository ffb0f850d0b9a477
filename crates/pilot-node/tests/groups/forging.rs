//! A rendezvous whose store has forged certificates: members refuse them.

use pilot_node::LogVerifier;
use pilot_registry::{GroupFacts, GroupPart, LogFacts, Verify};
use pilot_types::{AgentId, UnixTime};
use pilot_wire::{
    AdminProof, EnvelopeHead, GroupBundle, GroupPolicy, Membership, Removal, RemovalCause, Scope,
    SignedBytes,
};

use super::*;

/// Hands out what Eve signed beside what is stored.
struct Forger {
    eve: Identity,
    /// Whom it would like to be removed.
    victim: AgentId,
}

impl Forger {
    fn add_to(&self, bundle: &mut GroupBundle) {
        let policy = bundle.policy.envelope().unwrap();
        let policy: GroupPolicy = policy.statement().unwrap();
        let issued = bundle.policy.envelope().unwrap().head.issued;
        let group = policy.group;
        let end = issued.plus(Duration::from_secs(3600));
        let serial = issued.as_millis() + 1;
        let member = |role| {
            let membership = Membership {
                group,
                member: self.eve.agent(),
                role,
            };
            self.eve.sign(serial, issued, end, &membership)
        };
        bundle.admins.push(AdminProof {
            log: self.eve.log().entries().to_vec(),
            certificate: member(Role::Admin),
        });
        let removal = Removal {
            group,
            member: self.victim,
            cause: RemovalCause::Kicked,
        };
        let thirty_days = pilot_wire::limits::CERTIFICATE_LIFETIME;
        let end = UnixTime::from_millis(serial).plus(thirty_days);
        let removal = self.eve.sign(serial, issued, end, &removal);
        bundle
            .statements
            .extend([member(Role::Member), member(Role::Owner), removal]);
        let wide = GroupPolicy {
            scope: Scope::all_ports(),
            ..policy
        };
        if self.victim == AgentId::new([0; 32]) {
            bundle.policy = self.eve.sign(serial, issued, UnixTime::FAR_FUTURE, &wide);
        }
    }
}

impl Verify for Forger {
    fn log(&self, entries: &[Vec<u8>]) -> Result<LogFacts, String> {
        LogVerifier { work_bits: 0 }.log(entries)
    }

    fn follows(&self, known: &[Vec<u8>], log: &[Vec<u8>]) -> bool {
        LogVerifier { work_bits: 0 }.follows(known, log)
    }

    fn signed(
        &self,
        log: &[Vec<u8>],
        raw: &SignedBytes,
        now: UnixTime,
    ) -> Result<EnvelopeHead, String> {
        LogVerifier { work_bits: 0 }.signed(log, raw, now)
    }

    fn group(
        &self,
        state: Option<&[u8]>,
        bundle: &GroupBundle,
        now: UnixTime,
    ) -> Result<GroupFacts, String> {
        LogVerifier { work_bits: 0 }.group(state, bundle, now)
    }

    fn group_part(&self, state: &[u8], part: GroupPart) -> Option<(GroupBundle, Option<AgentId>)> {
        let (mut bundle, next) = LogVerifier { work_bits: 0 }.group_part(state, part)?;
        self.add_to(&mut bundle);
        Some((bundle, next))
    }
}

#[test]
fn a_rendezvous_with_forged_certificates_adds_and_removes_nobody() {
    let (mut world, hosts) = agents(910, &["alice", "bob", "eve"]);
    let [alice, bob, eve] = hosts[..] else {
        unreachable!()
    };
    let keys = |world: &World, host: HostId| {
        let json = world.sim[host].node.identity().to_json();
        Identity::from_json(&json).unwrap()
    };
    world.crash_rendezvous();
    let forger = Forger {
        eve: keys(&world, eve),
        victim: world.id(bob),
    };
    world.start_rendezvous_with(200, forger);
    world.sim.run_for(30 * SECOND);
    let group = create(&mut world, alice, terms(JoinRule::Open));
    join(&mut world, bob, group, None);
    until_all_know(&mut world, &[alice, bob], group);
    for host in [alice, bob] {
        assert_eq!(role_at(&world.sim, host, eve, group), None);
        assert!(!trusts(&world.sim, host, eve));
        let drops = world.sim[host].node.status().drops;
        let refused = drops.iter().find(|(reason, _)| *reason == "group_refused");
        assert!(refused.is_some_and(|(_, count)| *count > 0) || host == alice);
    }
    assert!(ping(&mut world, eve, Target::Hostname(name("bob"))).is_err());
    assert!(ping(&mut world, bob, Target::Hostname(name("alice"))).is_ok());
}

#[test]
fn a_forged_policy_widens_nothing() {
    let (mut world, hosts) = agents(911, &["alice", "bob", "eve"]);
    let [alice, bob, eve] = hosts[..] else {
        unreachable!()
    };
    let group = create(&mut world, alice, terms(JoinRule::Open));
    join(&mut world, bob, group, None);
    let json = world.sim[eve].node.identity().to_json();
    let forger = Forger {
        eve: Identity::from_json(&json).unwrap(),
        victim: AgentId::new([0; 32]),
    };
    world.crash_rendezvous();
    world.start_rendezvous_with(200, forger);
    world.sim.run_for(60 * SECOND);
    for host in [alice, bob] {
        let known = world.sim[host].node.trust().groups().get(&group).unwrap();
        assert_eq!(known.set().policy().scope, Scope::default_scope());
        assert_eq!(role_at(&world.sim, host, eve, group), None);
    }
}
