use super::*;

#[test]
fn a_stranger_reaches_nothing() {
    let (alice, bob) = (Side::new(1), Side::new(2));
    for port in [Port::ECHO, Port::TRUST, Port::STDIO, Port::new(0)] {
        assert!(!alice.trust.admits(NOW, &bob.id(), port));
    }
    assert!(!alice.trust.has_granted(NOW, &bob.id()));
    assert!(!alice.trust.is_granted_by(NOW, &bob.id()));
}

#[test]
fn the_default_scope_is_echo_stdio_messages_and_events() {
    let (alice, bob) = friends();
    let admitted: Vec<u16> = (0..=u16::MAX)
        .filter(|port| bob.trust.admits(NOW, &alice.id(), Port::new(*port)))
        .collect();
    assert_eq!(admitted, [7, 1000, 1001, 1002]);
}

#[test]
fn trusted_agents_are_shown_with_how_they_were_learnt() {
    let (alice, bob) = friends();
    let shown: Vec<TrustedPeer> = alice.trust.trusted(NOW).collect();
    assert_eq!(shown.len(), 1);
    let peer = &shown[0];
    assert_eq!(
        (peer.agent, peer.learnt_by, peer.mutual),
        (bob.id(), LearntBy::Address, true)
    );
    assert_eq!(peer.fingerprint, fingerprint(&bob.identity.sign_public()));
    assert_eq!(
        (peer.approved_at, peer.expires_at),
        (NOW, UnixTime::FAR_FUTURE)
    );
    assert_eq!(alice.trust.find_node(bob.id().node()), Some(bob.id()));
    assert_eq!(
        alice.trust.peer_log(&bob.id()),
        Some(bob.identity.verified())
    );
}

#[test]
fn a_grant_answers_a_knock_by_name_only_with_that_name_in_the_record() {
    let (mut alice, mut bob) = (Side::new(1), Side::new(2));
    let knock = alice.knock(KnockTarget::Hostname(name("bob")));
    bob.hear_knock(&alice, &knock).unwrap();
    let grant = bob.approve(alice.id());
    let mut hear = |hostname: Option<Hostname>| {
        let log = bob.identity.verified();
        alice
            .trust
            .handle_grant(NOW, &alice.identity, &grant, log, hostname.as_ref())
    };
    assert_eq!(hear(None), Err(GrantRefused::Unsolicited));
    assert_eq!(hear(Some(name("eve"))), Err(GrantRefused::Unsolicited));
    assert_eq!(hear(Some(name("bob"))), Ok(GrantReceived::Trusted));
    assert_eq!(alice.trust.peer_hostname(&bob.id()), Some(&name("bob")));
}

#[test]
fn approve_changes_the_scope_of_a_trusted_agent() {
    let (mut alice, mut bob) = friends();
    let grant = bob.approve_on(alice.id(), terms(ports("80")));
    assert!(bob.trust.admits(NOW, &alice.id(), Port::HTTP));
    assert!(!bob.trust.admits(NOW, &alice.id(), Port::ECHO));
    assert_eq!(alice.hear_grant(&bob, &grant), Ok(GrantReceived::Updated));
    let changed = TrustEvent::ScopeChanged {
        agent: bob.id(),
        by_peer: true,
    };
    assert_eq!(alice.events(), [changed]);
    assert_eq!(
        alice.trust.received_scope(NOW, &bob.id()),
        Some(&ports("80"))
    );
}

#[test]
fn approve_refuses_what_is_no_approval() {
    let (mut alice, bob) = friends();
    let mut approve = |peer, terms| alice.trust.approve(NOW, &alice.identity, &peer, terms);
    assert_eq!(
        approve(nobody(), terms(ports("7"))),
        Err(ApproveError::NotPending)
    );
    assert_eq!(
        approve(bob.id(), terms(Scope::default())),
        Err(ApproveError::Scope)
    );
    let over = Terms {
        not_after: NOW,
        ..terms(ports("7"))
    };
    assert_eq!(approve(bob.id(), over), Err(ApproveError::Expired));
}

#[test]
fn untrust_ends_it_here_and_there() {
    let (mut alice, mut bob) = friends();
    bob.trust.untrust(NOW, &bob.identity, &alice.id()).unwrap();
    assert!(!bob.trust.admits(NOW, &alice.id(), Port::ECHO));
    assert_eq!(bob.trust.trusted(NOW).count(), 0);
    let events = bob.events();
    let [TrustEvent::GrantIssued { raw, .. }, ended] = &*events else {
        panic!("{events:?}")
    };
    let by_us = TrustEvent::Untrusted {
        agent: alice.id(),
        by_peer: false,
    };
    assert_eq!(*ended, by_us);
    assert_eq!(alice.hear_grant(&bob, raw), Ok(GrantReceived::Revoked));
    let by_peer = TrustEvent::Untrusted {
        agent: bob.id(),
        by_peer: true,
    };
    assert_eq!(alice.events(), [by_peer]);
    assert!(!alice.trust.is_granted_by(NOW, &bob.id()));
    let again = bob.trust.untrust(NOW, &bob.identity, &alice.id());
    assert_eq!(again, Err(UntrustError::NotTrusted));
}

#[test]
fn old_grants_and_knocks_do_not_bring_back_what_was_revoked() {
    let (mut alice, mut bob) = (Side::new(1), Side::new(2));
    let knock = alice.knock(node(&bob));
    bob.hear_knock(&alice, &knock).unwrap();
    let grant = bob.approve(alice.id());
    alice.hear_grant(&bob, &grant).unwrap();
    let back = alice.issued();
    bob.hear_grant(&alice, &back).unwrap();
    let revocation = bob.untrust_at(NOW.plus(DAY), alice.id());
    alice
        .hear_grant_at(NOW.plus(DAY), &bob, &revocation)
        .unwrap();
    for _ in 0..2 {
        let now = NOW.plus(DAY);
        assert_eq!(
            bob.hear_knock_at(now, &alice, &knock, Policy::Ask),
            Ok(KnockReceived::Repeated)
        );
        assert!(matches!(
            bob.hear_grant_at(now, &alice, &back),
            Err(GrantRefused::Stale { .. })
        ));
        assert!(matches!(
            alice.hear_grant_at(now, &bob, &grant),
            Err(GrantRefused::Stale { .. })
        ));
        assert!(!bob.trust.has_granted(now, &alice.id()));
        assert!(!alice.trust.is_granted_by(now, &bob.id()));
        assert_eq!(bob.trust.pending().count(), 0);
        alice.restart();
        bob.restart();
    }
}

#[test]
fn a_revocation_that_overtakes_its_grant_wins() {
    let (mut alice, mut bob) = (Side::new(1), Side::new(2));
    let knock = alice.knock(node(&bob));
    bob.hear_knock(&alice, &knock).unwrap();
    let grant = bob.approve(alice.id());
    let revocation = bob.untrust_at(NOW, alice.id());
    assert_eq!(
        alice.hear_grant(&bob, &revocation),
        Ok(GrantReceived::Revoked)
    );
    assert!(matches!(
        alice.hear_grant(&bob, &grant),
        Err(GrantRefused::Stale { .. })
    ));
    assert!(
        !alice.trust.has_granted(NOW, &bob.id()),
        "nothing was granted back"
    );
}

#[test]
fn untrust_takes_back_our_own_knock() {
    let (mut alice, mut bob) = friends();
    let revocation = bob.untrust_at(NOW, alice.id());
    alice.hear_grant(&bob, &revocation).unwrap();
    alice.knock(node(&bob));
    alice.untrust_at(NOW, bob.id());
    let knock = alice.identity.sign(
        u64::MAX,
        NOW,
        NOW.plus(DAY),
        &Knock {
            target: node(&bob),
            justification: String::new(),
            hostname: None,
        },
    );
    bob.hear_knock(&alice, &knock).unwrap();
    let grant = bob.approve(alice.id());
    alice.hear_grant(&bob, &grant).unwrap();
    assert!(!alice.trust.has_granted(NOW, &bob.id()));
}

#[test]
fn a_grant_that_nobody_asked_for_is_dropped() {
    let (mut alice, bob) = (Side::new(1), Side::new(2));
    let grant = |scope: Scope, parent| Grant {
        grantee: agent(1).agent(),
        scope,
        parent,
        depth: 0,
    };
    let sign = |serial, grant: &Grant| bob.identity.sign(serial, NOW, UnixTime::FAR_FUTURE, grant);
    let raw = sign(1, &grant(ports("7"), None));
    assert_eq!(alice.hear_grant(&bob, &raw), Err(GrantRefused::Unsolicited));
    let revocation = sign(2, &grant(Scope::default(), None));
    assert_eq!(
        alice.hear_grant(&bob, &revocation),
        Err(GrantRefused::Unsolicited)
    );
    alice.knock(node(&bob));
    let malformed = Scope {
        is_reply_only: true,
        ..ports("7")
    };
    assert_eq!(
        alice.hear_grant(&bob, &sign(3, &grant(malformed, None))),
        Err(GrantRefused::Scope)
    );
    let delegated = sign(4, &grant(ports("7"), Some([0; 32])));
    assert_eq!(
        alice.hear_grant(&bob, &delegated),
        Err(GrantRefused::Delegated)
    );
    let elsewhere = sign(
        5,
        &Grant {
            grantee: nobody(),
            ..grant(ports("7"), None)
        },
    );
    assert_eq!(
        alice.hear_grant(&bob, &elsewhere),
        Err(GrantRefused::NotForUs)
    );
    assert_eq!(
        alice.trust.peer_log(&bob.id()),
        None,
        "nothing is kept of it"
    );
}

#[test]
fn a_grant_after_the_knocks_lifetime_is_dropped() {
    let (mut alice, mut bob) = (Side::new(1), Side::new(2));
    let knock = alice.knock(node(&bob));
    bob.hear_knock(&alice, &knock).unwrap();
    let grant = bob.approve(alice.id());
    let last = NOW.plus(7 * DAY);
    let late = last.plus(Duration::from_millis(1));
    assert_eq!(
        alice.hear_grant_at(late, &bob, &grant),
        Err(GrantRefused::Unsolicited)
    );
    assert_eq!(
        alice.hear_grant_at(last, &bob, &grant),
        Ok(GrantReceived::Trusted)
    );
}

#[test]
fn a_one_way_approval_wants_nothing_back() {
    let (mut alice, mut bob) = (Side::new(1), Side::new(2));
    let knock = alice.knock(node(&bob));
    bob.hear_knock(&alice, &knock).unwrap();
    let one_way = Terms {
        one_way: true,
        ..terms(ports("7"))
    };
    let grant = bob.approve_on(alice.id(), one_way);
    alice.hear_grant(&bob, &grant).unwrap();
    let back = alice.issued();
    assert_eq!(bob.hear_grant(&alice, &back), Err(GrantRefused::OneWay));
    assert!(!bob.trust.is_mutual(NOW, &alice.id()));
    assert!(bob.trust.admits(NOW, &alice.id(), Port::ECHO));
}

#[test]
fn a_dial_grants_back_answers_only() {
    let (mut alice, mut bob) = (Side::new(1), Side::new(2));
    let request = |side: &Side, terms| KnockRequest {
        target: node(side),
        justification: "",
        hostname: None,
        terms,
        learnt_by: LearntBy::Address,
    };
    let outcome =
        alice
            .trust
            .knock_with(NOW, &alice.identity, request(&bob, Terms::reply_only(NOW)));
    let Ok(KnockOutcome::Send(knock)) = outcome else {
        panic!("{outcome:?}")
    };
    let policy = Policy::Approve(bob.trust.default_terms(NOW));
    bob.hear_knock_at(NOW, &alice, &knock, policy).unwrap();
    let grant = bob.issued();
    assert_eq!(alice.hear_grant(&bob, &grant), Ok(GrantReceived::Trusted));
    assert!(alice.trust.has_granted(NOW, &bob.id()));
    assert!((0..=u16::MAX).all(|port| !alice.trust.admits(NOW, &bob.id(), Port::new(port))));
    assert!(
        !alice.trust.has_granted(NOW.plus(2 * DAY), &bob.id()),
        "for a day"
    );
    alice.events();

    let whole = alice.trust.default_terms(NOW);
    let outcome = alice
        .trust
        .knock_with(NOW, &alice.identity, request(&bob, whole));
    assert_eq!(outcome, Ok(KnockOutcome::AlreadyTrusted(bob.id())));
    assert!(
        alice.trust.admits(NOW, &bob.id(), Port::ECHO),
        "a person asked for more"
    );
}

#[test]
fn untrust_drops_a_knock_that_waits() {
    let (alice, mut bob) = friends();
    let short = Terms {
        not_after: NOW.plus(DAY),
        ..terms(ports("7"))
    };
    bob.approve_on(alice.id(), short);
    let later = NOW.plus(2 * DAY);
    let knock = alice.identity.sign(
        u64::MAX,
        later,
        later.plus(DAY),
        &Knock {
            target: node(&bob),
            justification: String::new(),
            hostname: None,
        },
    );
    let knocked = bob.hear_knock_at(later, &alice, &knock, Policy::Ask);
    assert_eq!(knocked, Ok(KnockReceived::Pending));
    bob.untrust_at(later, alice.id());
    assert_eq!(bob.trust.pending().count(), 0);
    let knocked = bob.hear_knock_at(later, &alice, &knock, Policy::Ask);
    assert_eq!(knocked, Ok(KnockReceived::Repeated));
}
