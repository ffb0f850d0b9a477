use super::*;

#[test]
fn knock_approve_and_the_grant_back_make_trust() {
    let (mut alice, mut bob) = (Side::new(1), Side::new(2));
    let knock = alice.knock(node(&bob));
    bob.hear_knock(&alice, &knock).unwrap();
    assert_eq!(
        bob.events(),
        [TrustEvent::KnockPending { agent: alice.id() }]
    );
    let pending: Vec<PendingKnock> = bob.trust.pending().collect();
    assert_eq!(pending.len(), 1);
    assert_eq!(
        (pending[0].agent, &*pending[0].justification),
        (alice.id(), "to plan")
    );
    assert!(
        !bob.trust.has_granted(NOW, &alice.id()),
        "a knock alone gives nothing"
    );

    let grant = bob.approve(alice.id());
    assert_eq!(bob.trust.pending().count(), 0);
    assert!(bob.trust.admits(NOW, &alice.id(), Port::ECHO));
    assert!(!bob.trust.is_mutual(NOW, &alice.id()));

    alice.hear_grant(&bob, &grant).unwrap();
    let events = alice.events();
    assert!(matches!(&*events, [
        TrustEvent::GrantIssued { to, raw },
        TrustEvent::Trusted { agent },
    ] if *to == bob.id() && *agent == bob.id() && bob.hear_grant(&alice, raw) == Ok(GrantReceived::Trusted)));
    assert_eq!(bob.events(), [TrustEvent::Trusted { agent: alice.id() }]);
    assert!(bob.trust.is_mutual(NOW, &alice.id()) && alice.trust.is_mutual(NOW, &bob.id()));
}

#[test]
fn knocks_that_cross_approve_each_other() {
    let (mut alice, mut bob) = (Side::new(1), Side::new(2));
    let (to_bob, to_alice) = (alice.knock(node(&bob)), bob.knock(node(&alice)));
    assert_eq!(bob.hear_knock(&alice, &to_bob), Ok(KnockReceived::Approved));
    assert_eq!(
        alice.hear_knock(&bob, &to_alice),
        Ok(KnockReceived::Approved)
    );
    let (from_bob, from_alice) = (bob.issued(), alice.issued());
    assert_eq!(
        alice.hear_grant(&bob, &from_bob),
        Ok(GrantReceived::Trusted)
    );
    assert_eq!(
        bob.hear_grant(&alice, &from_alice),
        Ok(GrantReceived::Trusted)
    );
    assert_eq!(
        alice.events(),
        [TrustEvent::Trusted { agent: bob.id() }],
        "no second grant"
    );
}

#[test]
fn a_knock_to_a_pending_knocker_approves_it() {
    let (mut alice, mut bob) = (Side::new(1), Side::new(2));
    let knock = alice.knock(node(&bob));
    bob.hear_knock(&alice, &knock).unwrap();
    bob.events();
    let outcome = bob.trust.knock(NOW, &bob.identity, node(&alice), "", None);
    assert_eq!(outcome, Ok(KnockOutcome::AlreadyTrusted(alice.id())));
    let grant = bob.issued();
    assert_eq!(alice.hear_grant(&bob, &grant), Ok(GrantReceived::Trusted));
}

#[test]
fn a_claimed_name_alone_approves_nobody() {
    let (mut alice, mut mallory) = (Side::new(1), Side::new(3));
    alice.knock(KnockTarget::Hostname(name("bob")));
    let claims = Some(name("bob"));
    let outcome = mallory
        .trust
        .knock(NOW, &mallory.identity, node(&alice), "", claims);
    let Ok(KnockOutcome::Send(knock)) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(
        alice.hear_knock(&mallory, &knock),
        Ok(KnockReceived::Pending)
    );
    let again = alice.trust.knock(
        NOW,
        &alice.identity,
        KnockTarget::Hostname(name("bob")),
        "",
        None,
    );
    assert!(matches!(again, Ok(KnockOutcome::Send(_))));
    assert_eq!(
        alice.trust.find_hostname(&name("bob")),
        Some(mallory.id()),
        "for people to decide on"
    );
    assert!(!alice.trust.has_granted(NOW, &mallory.id()));
}

#[test]
fn knocks_by_name_cross_once_the_records_name_is_known() {
    let (mut alice, mut bob) = (Side::new(1), Side::new(2));
    alice.knock(KnockTarget::Hostname(name("bob")));
    let knock = bob.knock(node(&alice));
    alice.hear_knock(&bob, &knock).unwrap();
    alice
        .trust
        .set_peer_hostname(NOW, &alice.identity, &bob.id(), Some(&name("bob")));
    assert!(alice.trust.has_granted(NOW, &bob.id()));
    let shown: Vec<TrustedPeer> = alice.trust.trusted(NOW).collect();
    assert_eq!(shown[0].learnt_by, LearntBy::Hostname);
    assert_eq!(alice.trust.find_hostname(&name("bob")), Some(bob.id()));
}

#[test]
fn a_trusted_agents_name_is_not_taken_by_another() {
    let (mut alice, bob) = friends();
    let mut mallory = Side::new(3);
    alice
        .trust
        .set_peer_hostname(NOW, &alice.identity, &bob.id(), Some(&name("bob")));
    let knock = mallory.knock(node(&alice));
    alice.hear_knock(&mallory, &knock).unwrap();
    alice
        .trust
        .set_peer_hostname(NOW, &alice.identity, &mallory.id(), Some(&name("bob")));
    assert_eq!(alice.trust.find_hostname(&name("bob")), Some(bob.id()));
    assert_eq!(alice.trust.peer_hostname(&mallory.id()), None);
}

#[test]
fn a_name_that_two_knocks_claim_is_nobodys() {
    let mut alice = Side::new(1);
    for number in [2, 3] {
        let mut side = Side::new(number);
        let outcome = side
            .trust
            .knock(NOW, &side.identity, node(&alice), "", Some(name("bob")));
        let Ok(KnockOutcome::Send(knock)) = outcome else {
            panic!("{outcome:?}")
        };
        alice.hear_knock(&side, &knock).unwrap();
    }
    assert_eq!(alice.trust.find_hostname(&name("bob")), None);
}

#[test]
fn a_knock_by_key_or_ticket_says_so() {
    let (mut alice, mut bob) = (Side::new(1), Side::new(2));
    let request = KnockRequest {
        target: KnockTarget::Agent(bob.id()),
        justification: "",
        hostname: None,
        terms: alice.trust.default_terms(NOW),
        learnt_by: LearntBy::Ticket,
    };
    let outcome = alice.trust.knock_with(NOW, &alice.identity, request);
    let Ok(KnockOutcome::Send(knock)) = outcome else {
        panic!("{outcome:?}")
    };
    bob.hear_knock(&alice, &knock).unwrap();
    let grant = bob.approve(alice.id());
    alice.hear_grant(&bob, &grant).unwrap();
    assert_eq!(
        alice.trust.trusted(NOW).next().unwrap().learnt_by,
        LearntBy::Ticket
    );
}

#[test]
fn knocks_that_cannot_be_meant_are_not_sent() {
    let mut alice = Side::new(1);
    let (own, identity) = (node(&alice), agent(1));
    let mut knock = |target, text: &str| alice.trust.knock(NOW, &identity, target, text, None);
    assert_eq!(knock(own, ""), Err(KnockError::Myself));
    assert_eq!(
        knock(KnockTarget::Agent(identity.agent()), ""),
        Err(KnockError::Myself)
    );
    let long = "x".repeat(513);
    assert_eq!(
        knock(KnockTarget::Agent(nobody()), &long),
        Err(KnockError::TooLong(513))
    );
}

#[test]
fn knocks_that_are_not_for_us_or_not_as_signed_are_dropped() {
    let (mut alice, mut bob, mut carol) = (Side::new(1), Side::new(2), Side::new(3));
    let knock = alice.knock(node(&bob));
    assert_eq!(
        carol.hear_knock(&alice, &knock),
        Err(KnockRefused::NotForUs)
    );
    let own = bob.knock(node(&alice));
    let refused = bob.trust.handle_knock(
        NOW,
        &bob.identity,
        &own,
        bob.identity.verified(),
        Policy::Ask,
    );
    assert_eq!(refused, Err(KnockRefused::Myself));
    assert_eq!(
        bob.hear_knock(&carol, &knock),
        Err(KnockRefused::Envelope(EnvelopeError::Agent))
    );
    let late = NOW.plus(8 * DAY);
    let refused = bob.hear_knock_at(late, &alice, &knock, Policy::Ask);
    assert!(matches!(
        refused,
        Err(KnockRefused::Envelope(EnvelopeError::Expired(_)))
    ));
    let endless = Knock {
        target: node(&bob),
        justification: String::new(),
        hostname: None,
    };
    let endless = alice.identity.sign(1, NOW, UnixTime::FAR_FUTURE, &endless);
    let refused = bob.hear_knock_at(late, &alice, &endless, Policy::Ask);
    assert_eq!(refused, Err(KnockRefused::Old(NOW)));
}

#[test]
fn a_repeated_knock_waits_once() {
    let (mut alice, mut bob) = (Side::new(1), Side::new(2));
    let first = alice.knock(node(&bob));
    let second = alice.knock(node(&bob));
    bob.hear_knock(&alice, &second).unwrap();
    bob.events();
    for raw in [&first, &second] {
        assert_eq!(bob.hear_knock(&alice, raw), Ok(KnockReceived::Repeated));
    }
    let third = alice.knock(node(&bob));
    assert_eq!(bob.hear_knock(&alice, &third), Ok(KnockReceived::Repeated));
    assert_eq!(bob.events(), []);
    assert_eq!(bob.trust.pending().count(), 1);
}

#[test]
fn a_rejected_knock_does_not_come_back_but_a_new_one_does() {
    let (mut alice, mut bob) = (Side::new(1), Side::new(2));
    let knock = alice.knock(node(&bob));
    bob.hear_knock(&alice, &knock).unwrap();
    bob.trust.reject(NOW, &alice.id(), "not now").unwrap();
    assert_eq!(bob.trust.pending().count(), 0);
    assert_eq!(
        bob.trust.reject(NOW, &alice.id(), ""),
        Err(RejectError::NotPending)
    );
    bob.restart();
    assert_eq!(bob.hear_knock(&alice, &knock), Ok(KnockReceived::Repeated));
    assert_eq!(bob.trust.pending().count(), 0);
    let terms = bob.trust.default_terms(NOW);
    let refused = bob.trust.approve(NOW, &bob.identity, &alice.id(), terms);
    assert_eq!(refused, Err(ApproveError::NotPending));
    let later = alice.knock(node(&bob));
    assert_eq!(bob.hear_knock(&alice, &later), Ok(KnockReceived::Pending));
}

#[test]
fn a_policy_approves_on_its_terms() {
    let (mut alice, mut bob) = (Side::new(1), Side::new(2));
    let knock = alice.knock(node(&bob));
    let policy = Policy::Approve(terms(ports("7")));
    assert_eq!(
        bob.hear_knock_at(NOW, &alice, &knock, policy),
        Ok(KnockReceived::Approved)
    );
    assert!(bob.trust.admits(NOW, &alice.id(), Port::ECHO));
    assert!(!bob.trust.admits(NOW, &alice.id(), Port::STDIO));
}

#[test]
fn a_policy_does_not_undo_what_was_ended_by_hand() {
    let (mut alice, mut bob) = friends();
    let revocation = bob.untrust_at(NOW, alice.id());
    alice.hear_grant(&bob, &revocation).unwrap();
    let knock = alice.knock(node(&bob));
    let policy = Policy::Approve(terms(ports("7")));
    assert_eq!(
        bob.hear_knock_at(NOW, &alice, &knock, policy),
        Ok(KnockReceived::Pending)
    );
}

#[test]
fn a_knock_by_one_who_is_trusted_gets_the_grant_again() {
    let (mut alice, mut bob) = (Side::new(1), Side::new(2));
    let knock = alice.knock(node(&bob));
    bob.hear_knock(&alice, &knock).unwrap();
    let lost = bob.approve(alice.id());
    assert_eq!(bob.hear_knock(&alice, &knock), Ok(KnockReceived::Approved));
    assert_eq!(bob.issued(), lost, "the very same bytes");
    assert_eq!(alice.hear_grant(&bob, &lost), Ok(GrantReceived::Trusted));
}

#[test]
fn a_grant_by_name_answers_the_knock_that_waits_too() {
    let (mut alice, mut bob) = (Side::new(1), Side::new(2));
    let to_bob = alice.knock(KnockTarget::Hostname(name("bob")));
    let to_alice = bob.knock(node(&alice));
    assert_eq!(
        alice.hear_knock(&bob, &to_alice),
        Ok(KnockReceived::Pending)
    );
    bob.hear_knock(&alice, &to_bob).unwrap();
    let grant = bob.issued();
    let log = bob.identity.verified();
    let hostname = name("bob");
    let received = alice
        .trust
        .handle_grant(NOW, &alice.identity, &grant, log, Some(&hostname));
    assert_eq!(received, Ok(GrantReceived::Trusted));
    assert_eq!(alice.trust.pending().count(), 0);
}
