use std::sync::Arc;
use std::time::Duration;

use pilot_types::{AgentId, GroupId, NetworkId, Port, Seed, UnixTime};
use pilot_wire::limits::CERTIFICATE_LIFETIME;
use pilot_wire::{
    AdminProof, GroupPolicy, JoinRule, Membership, RemovalCause, Role, Scope, SignedBytes, Speakers,
};

use super::*;
use crate::testing::{NOW, agent};
use crate::{Config, Identity, Trust, TrustChange, TrustEvent};

const SECOND: Duration = Duration::from_secs(1);

pub(super) fn key(number: u8) -> Identity {
    Identity::generate(Seed::new([number; 32]), 0)
}

pub(super) fn terms(join: JoinRule) -> GroupTerms {
    GroupTerms {
        join,
        auto_trust: true,
        ..GroupTerms::new("trading".parse().unwrap())
    }
}

fn network() -> NetworkId {
    NetworkId::new(7).unwrap()
}

/// The owner's machine with its group.
fn owner(join: JoinRule) -> (Identity, Identity, Trust, GroupId) {
    let (owner, group) = (agent(1), key(100));
    let mut trust = Trust::new(Arc::new(Config::default()), owner.agent());
    let token_key = (join == JoinRule::Token).then(|| token().public_key());
    let terms = GroupTerms {
        token_key,
        ..terms(join)
    };
    let set = GroupSet::create(NOW, &group, owner.agent(), terms).unwrap();
    let id = set.id();
    trust.put_group(NOW, set, network()).unwrap();
    drain(&mut trust);
    (owner, group, trust, id)
}

fn token() -> GroupToken {
    GroupToken::generate(Seed::new([42; 32]))
}

fn set(trust: &Trust, id: GroupId) -> GroupSet {
    trust.groups().get(&id).unwrap().set().clone()
}

fn drain(trust: &mut Trust) -> Vec<TrustEvent> {
    std::iter::from_fn(|| trust.poll_event()).collect()
}

/// A joiner asks, the owner answers, the joiner is told.
fn join(
    owner: (&Identity, &mut Trust),
    joiner: &Identity,
    id: GroupId,
    token: Option<&GroupToken>,
) -> Result<Trust, GroupError> {
    let (group, at_owner) = owner;
    let mut trust = Trust::new(Arc::new(Config::default()), joiner.agent());
    let offer = set(at_owner, id);
    let request = trust.ask_to_join(NOW, joiner, offer, network(), token)?;
    at_owner.answer_group_request(NOW, group, &request, joiner.verified())?;
    let (bundle, _) = set(at_owner, id).part(None);
    trust.merge_group(NOW, &id, &bundle, Origin::Rendezvous)?;
    Ok(trust)
}

#[test]
fn who_joins_an_open_group_trusts_its_members_and_is_trusted() {
    let (owner, group, mut at_owner, id) = owner(JoinRule::Open);
    let bob = agent(2);
    let mut at_bob = join((&group, &mut at_owner), &bob, id, None).unwrap();
    assert_eq!(set(&at_bob, id).role(NOW, &bob.agent()), Some(Role::Member));
    for (trust, other) in [(&at_bob, &owner), (&at_owner, &bob)] {
        assert!(trust.is_mutual(NOW, &other.agent()));
        assert!(trust.admits(NOW, &other.agent(), Port::ECHO));
        assert!(!trust.admits(NOW, &other.agent(), Port::new(80)));
        assert!(!trust.admits(NOW, &agent(9).agent(), Port::ECHO));
    }
    let trusted = |event: &TrustEvent| matches!(event, TrustEvent::Trusted { .. });
    assert!(drain(&mut at_bob).iter().any(trusted));
    assert!(drain(&mut at_owner).iter().any(trusted));
}

#[test]
fn a_token_is_checked_before_and_by_who_signs() {
    let (_, group, mut at_owner, id) = owner(JoinRule::Token);
    let bob = agent(2);
    let none = join((&group, &mut at_owner), &bob, id, None);
    assert_eq!(none.unwrap_err(), GroupError::TokenNeeded);
    let wrong = GroupToken::generate(Seed::new([1; 32]));
    let refused = join((&group, &mut at_owner), &bob, id, Some(&wrong));
    assert_eq!(refused.unwrap_err(), GroupError::WrongToken);
    // A proof is for one agent: who copies it has none.
    let proof = token().proof(&id, &bob.agent());
    let ask = pilot_wire::GroupAsk::Join {
        token: Some(proof),
        invitation: None,
    };
    let request = pilot_wire::GroupRequest { group: id, ask };
    let eve = agent(3);
    let raw = eve.sign(1, NOW, NOW.plus(SECOND), &request);
    let refused = at_owner.answer_group_request(NOW, &group, &raw, eve.verified());
    assert_eq!(refused.unwrap_err(), GroupError::WrongToken);
    assert!(join((&group, &mut at_owner), &bob, id, Some(&token())).is_ok());
    let text = token().expose();
    assert_eq!(text.parse::<GroupToken>().unwrap(), token());
}

#[test]
fn who_was_kicked_comes_back_only_by_a_new_invitation() {
    let (owner, group, mut at_owner, id) = owner(JoinRule::Open);
    let bob = agent(2);
    let mut at_bob = join((&group, &mut at_owner), &bob, id, None).unwrap();
    let old = at_owner.invite(NOW, &group, &id, agent(8).agent());
    assert!(old.is_ok());
    at_owner.kick(NOW, &group, &id, bob.agent()).unwrap();
    assert!(!at_owner.has_granted(NOW, &bob.agent()));
    let ended = TrustEvent::Untrusted {
        agent: bob.agent(),
        by_peer: false,
    };
    assert!(drain(&mut at_owner).contains(&ended));
    let head = set(&at_owner, id).head(&[bob.agent()]);
    drain(&mut at_bob);
    at_bob.merge_group(NOW, &id, &head, Origin::Member).unwrap();
    assert!(!at_bob.has_granted(NOW, &owner.agent()));
    assert!(drain(&mut at_bob).contains(&TrustEvent::GroupEnded { group: id }));
    let later = NOW.plus(SECOND);
    let mut again = Trust::new(Arc::new(Config::default()), bob.agent());
    let offer = set(&at_owner, id);
    let request = again
        .ask_to_join(later, &bob, offer.clone(), network(), None)
        .unwrap();
    let refused = at_owner.answer_group_request(later, &group, &request, bob.verified());
    assert_eq!(refused.unwrap_err(), GroupError::Removed);
    let invitation = at_owner.invite(later, &group, &id, bob.agent()).unwrap();
    let by = (group.verified(), owner.agent());
    again
        .handle_invitation(later, &invitation, by, network())
        .unwrap();
    assert_eq!(again.groups().invitations(later).count(), 1);
    let request = again
        .ask_to_join(later, &bob, offer, network(), None)
        .unwrap();
    at_owner
        .answer_group_request(later, &group, &request, bob.verified())
        .unwrap();
    let role = set(&at_owner, id).role(later, &bob.agent());
    assert_eq!(role, Some(Role::Member));
}

#[test]
fn an_admin_adds_and_removes_plain_members_and_what_it_said_outlives_it() {
    let (owner, group, mut at_owner, id) = owner(JoinRule::Invite);
    let (admin, carol, dave) = (agent(2), agent(3), agent(4));
    let invite = |trust: &mut Trust, who: &Identity| {
        let invitation = trust.invite(NOW, &group, &id, who.agent()).unwrap();
        let mut joiner = Trust::new(Arc::new(Config::default()), who.agent());
        let by = (group.verified(), owner.agent());
        joiner
            .handle_invitation(NOW, &invitation, by, network())
            .unwrap();
        let offer = set(trust, id);
        let request = joiner
            .ask_to_join(NOW, who, offer, network(), None)
            .unwrap();
        (joiner, request)
    };
    let (mut at_admin, request) = invite(&mut at_owner, &admin);
    at_owner
        .answer_group_request(NOW, &group, &request, admin.verified())
        .unwrap();
    let becomes = (admin.agent(), Role::Admin);
    at_owner
        .set_role(NOW, &group, &id, becomes, Some(admin.verified()))
        .unwrap();
    let (bundle, _) = set(&at_owner, id).part(None);
    at_admin
        .merge_group(NOW, &id, &bundle, Origin::Rendezvous)
        .unwrap();
    for who in [&carol, &dave] {
        let (_, request) = invite(&mut at_owner, who);
        at_admin
            .answer_group_request(NOW, &admin, &request, who.verified())
            .unwrap();
    }
    at_admin.kick(NOW, &admin, &id, dave.agent()).unwrap();
    let forbidden = at_admin.kick(NOW, &admin, &id, owner.agent());
    assert_eq!(forbidden.unwrap_err(), GroupError::OwnerStays);
    let (bundle, _) = set(&at_admin, id).part(None);
    at_owner
        .merge_group(NOW, &id, &bundle, Origin::Rendezvous)
        .unwrap();
    let role = |trust: &Trust, who: &Identity| set(trust, id).role(NOW, &who.agent());
    assert_eq!(role(&at_owner, &carol), Some(Role::Member));
    assert_eq!(role(&at_owner, &dave), None);
    at_owner.kick(NOW, &group, &id, admin.agent()).unwrap();
    assert_eq!(role(&at_owner, &carol), Some(Role::Member));
    assert_eq!(role(&at_owner, &dave), None);
    assert_eq!(role(&at_owner, &admin), None);
    // It signs on; nobody listens.
    let more = at_admin.kick(NOW, &admin, &id, carol.agent());
    assert!(more.is_ok());
    let (bundle, _) = set(&at_admin, id).part(None);
    at_owner
        .merge_group(NOW, &id, &bundle, Origin::Rendezvous)
        .unwrap();
    assert_eq!(role(&at_owner, &carol), Some(Role::Member));
}

#[test]
fn nobody_else_adds_removes_or_changes_the_policy() {
    let (owner, group, at_owner, id) = owner(JoinRule::Open);
    let eve = agent(9);
    let before = set(&at_owner, id);
    let membership = |role| Membership {
        group: id,
        member: eve.agent(),
        role,
    };
    let sign = |role| eve.sign(NOW.as_millis(), NOW, NOW.plus(SECOND), &membership(role));
    let removal = pilot_wire::Removal {
        group: id,
        member: owner.agent(),
        cause: RemovalCause::Kicked,
    };
    let removal = eve.sign(
        NOW.as_millis(),
        NOW,
        NOW.plus(CERTIFICATE_LIFETIME),
        &removal,
    );
    let mut bundle = before.with(vec![sign(Role::Member), sign(Role::Owner), removal]);
    bundle.admins.push(AdminProof {
        log: eve.log().entries().to_vec(),
        certificate: sign(Role::Admin),
    });
    let policy = GroupPolicy {
        auto_trust: true,
        scope: Scope::all_ports(),
        ..before.policy().clone()
    };
    bundle.policy = eve.sign(u64::MAX, NOW, UnixTime::FAR_FUTURE, &policy);
    let mut after = before.clone();
    let merged = after.merge(NOW, &bundle).unwrap();
    assert_eq!((after, merged.is_change()), (before.clone(), false));
    assert!(merged.refused >= 5, "{merged:?}");
    // Nor does a certificate of another group, or one that lasts too long.
    let other = Membership {
        group: GroupId::new([1; 32]),
        ..membership(Role::Member)
    };
    let serial = NOW.as_millis();
    let foreign = group.sign(serial, NOW, NOW.plus(SECOND), &other);
    let long = NOW.plus(CERTIFICATE_LIFETIME + SECOND);
    let long = group.sign(serial, NOW, long, &membership(Role::Member));
    let ahead = group.sign(u64::MAX, NOW, NOW.plus(SECOND), &membership(Role::Member));
    let mut after = before.clone();
    let merged = after.merge(NOW, &before.with(vec![foreign, long, ahead]));
    assert_eq!(merged.unwrap().refused, 3);
    assert_eq!(after, before);
}

#[test]
fn certificates_end_and_are_renewed_in_time() {
    let (_, group, mut at_owner, id) = owner(JoinRule::Open);
    let bob = agent(2);
    join((&group, &mut at_owner), &bob, id, None).unwrap();
    let half = NOW.plus(CERTIFICATE_LIFETIME / 2 + SECOND);
    let mut lazy = at_owner.clone();
    at_owner.renew_certificates(half, &group, &id).unwrap();
    let end = NOW.plus(CERTIFICATE_LIFETIME + SECOND);
    at_owner.handle_time(end);
    lazy.handle_time(end);
    assert!(at_owner.has_granted(end, &bob.agent()));
    assert!(!lazy.has_granted(end, &bob.agent()));
    let ended = |event: &TrustEvent| matches!(event, TrustEvent::Untrusted { .. });
    assert!(drain(&mut lazy).iter().any(ended));
    // Nothing is left to do: the next end lies ahead.
    assert!(at_owner.poll_timeout_unix().is_none_or(|at| at > end));
}

#[test]
fn groups_are_kept_over_restarts_and_ends_are_told_afterwards() {
    let (owner, group, mut at_owner, id) = owner(JoinRule::Open);
    let bob = agent(2);
    join((&group, &mut at_owner), &bob, id, None).unwrap();
    let mut items = std::collections::BTreeMap::new();
    while let Some(change) = at_owner.poll_persist() {
        match change {
            TrustChange::Put(key, item) => drop(items.insert(key, item)),
            TrustChange::Delete(key) => drop(items.remove(&key)),
        }
    }
    let config = Arc::new(Config::default());
    let mut again = Trust::restore(config, owner.agent(), items.into_values());
    assert_eq!(set(&again, id), set(&at_owner, id));
    assert!(again.has_granted(NOW, &bob.agent()));
    again.kick(NOW, &group, &id, bob.agent()).unwrap();
    let ended = TrustEvent::Untrusted {
        agent: bob.agent(),
        by_peer: false,
    };
    assert!(drain(&mut again).contains(&ended));
}

#[test]
fn who_may_broadcast_is_the_policys_affair() {
    let (owner, group, mut at_owner, id) = owner(JoinRule::Open);
    let bob = agent(2);
    join((&group, &mut at_owner), &bob, id, None).unwrap();
    let may = |trust: &Trust, who: AgentId| trust.may_broadcast(NOW, &id, &who);
    assert!(may(&at_owner, bob.agent()) && !may(&at_owner, agent(9).agent()));
    let quiet = GroupTerms {
        speakers: Speakers::Admins,
        mailbox: true,
        auto_trust: false,
        ..terms(JoinRule::Open)
    };
    at_owner.set_policy(NOW, &group, &id, quiet).unwrap();
    assert!(!may(&at_owner, bob.agent()) && may(&at_owner, owner.agent()));
    assert!(!at_owner.has_granted(NOW, &bob.agent()));
    assert!(at_owner.is_fellow(NOW, &bob.agent()));
}

#[test]
fn a_large_group_travels_in_parts() {
    let (owner, group) = (agent(1), key(100));
    let mut set = GroupSet::create(NOW, &group, owner.agent(), terms(JoinRule::Open)).unwrap();
    for number in 0..700_u32 {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        let member = (AgentId::new(bytes), Role::Member);
        set.certify(NOW, &group, member, None).unwrap();
    }
    let (first, mut next) = set.part(None);
    let mut copy = GroupSet::verify(NOW, &first).unwrap();
    while let Some(after) = next {
        let (part, following) = set.part(Some(after));
        assert!(part.check().is_ok());
        copy.merge(NOW, &part).unwrap();
        next = following;
    }
    assert_eq!(copy, set);
    let raw: Vec<SignedBytes> = set.statements().cloned().collect();
    assert_eq!(raw.len(), 701);
}

/// An admin's certificates after its rotation are read by who knows nothing but its newest log.
#[test]
fn an_admin_with_other_keys_signs_anew_what_it_said() {
    let (_, group, mut at_owner, id) = owner(JoinRule::Open);
    let (bob, carol, dave) = (agent(2), agent(3), agent(4));
    let _ = join((&group, &mut at_owner), &bob, id, None).unwrap();
    let admin = (bob.agent(), Role::Admin);
    at_owner
        .set_role(NOW, &group, &id, admin, Some(bob.verified()))
        .unwrap();
    let mut at_bob = Trust::new(Arc::new(Config::default()), bob.agent());
    at_bob
        .put_group(NOW, set(&at_owner, id), network())
        .unwrap();
    for joiner in [&carol, &dave] {
        let _ = join((&bob, &mut at_bob), joiner, id, None).unwrap();
    }
    at_bob.kick(NOW, &bob, &id, dave.agent()).unwrap();
    drain(&mut at_bob);

    let bob = bob.rotated(Seed::new([77; 32]), NOW).unwrap();
    at_bob.sign_again(NOW, &bob);
    let told = drain(&mut at_bob).into_iter().find_map(|event| {
        if let TrustEvent::GroupChanged { fresh, .. } = event {
            return Some(fresh);
        }
        None
    });
    assert_eq!(told.unwrap().len(), 2, "a certificate and a removal");
    let (bundle, _) = set(&at_bob, id).part(None);
    let fresh = GroupSet::verify(NOW, &bundle).unwrap();
    assert_eq!(fresh.role(NOW, &carol.agent()), Some(Role::Member));
    assert_eq!(fresh.role(NOW, &dave.agent()), None);
    assert!(fresh.removal(NOW, &dave.agent()).is_some());
    at_owner
        .merge_group(NOW, &id, &bundle, Origin::Rendezvous)
        .unwrap();
    let erin = agent(5);
    let _ = join((&bob, &mut at_bob), &erin, id, None).unwrap();
    let (bundle, _) = set(&at_bob, id).part(None);
    at_owner
        .merge_group(NOW, &id, &bundle, Origin::Rendezvous)
        .unwrap();
    assert_eq!(
        set(&at_owner, id).role(NOW, &erin.agent()),
        Some(Role::Member)
    );
    drain(&mut at_bob);
    at_bob.sign_again(NOW, &bob);
    assert!(
        drain(&mut at_bob)
            .iter()
            .all(|event| !matches!(event, TrustEvent::GroupChanged { .. })),
        "once"
    );
}
