use super::*;

#[test]
fn grants_end_with_their_time_and_say_so_once() {
    let (mut alice, mut bob) = friends();
    let short = Terms {
        not_after: NOW.plus(DAY),
        ..terms(ports("7"))
    };
    let grant = bob.approve_on(alice.id(), short);
    alice.hear_grant(&bob, &grant).unwrap();
    alice.events();
    let end = bob.trust.poll_timeout_unix().unwrap();
    assert_eq!(end, NOW.plus(DAY).plus(Duration::from_millis(1)));
    bob.trust.handle_time(NOW.plus(DAY));
    assert!(bob.trust.admits(NOW.plus(DAY), &alice.id(), Port::ECHO));
    assert_eq!(bob.events(), []);
    for side in [&mut alice, &mut bob] {
        side.trust.handle_time(end);
    }
    let ended = |agent, by_peer| TrustEvent::Untrusted { agent, by_peer };
    assert_eq!(bob.events(), [ended(alice.id(), false)]);
    assert_eq!(alice.events(), [ended(bob.id(), true)]);
    assert!(!bob.trust.admits(end, &alice.id(), Port::ECHO));
    for side in [&mut alice, &mut bob] {
        side.restart();
        assert_eq!(side.trust.poll_timeout_unix(), None);
        side.trust.handle_time(end.plus(DAY));
        assert_eq!(side.events(), []);
    }
}

#[test]
fn a_grant_that_ended_stays_so_when_the_clock_goes_back() {
    let (mut alice, mut bob) = friends();
    let short = Terms {
        not_after: NOW.plus(DAY),
        ..terms(ports("7"))
    };
    let grant = bob.approve_on(alice.id(), short);
    alice.hear_grant(&bob, &grant).unwrap();
    for side in [&mut alice, &mut bob] {
        side.trust.handle_time(NOW.plus(2 * DAY));
        side.restart();
        side.trust.handle_time(NOW);
    }
    assert!(!bob.trust.admits(NOW, &alice.id(), Port::ECHO));
    assert!(!bob.trust.has_granted(NOW, &alice.id()));
    assert!(!alice.trust.is_granted_by(NOW, &bob.id()));
}

#[test]
fn knocks_are_forgotten_after_their_lifetime() {
    let (mut alice, mut bob) = (Side::new(1), Side::new(2));
    let knock = alice.knock(node(&bob));
    bob.hear_knock(&alice, &knock).unwrap();
    for side in [&mut alice, &mut bob] {
        side.persist();
        assert_eq!(side.store.len(), 1);
        assert_eq!(side.trust.poll_timeout_unix(), Some(NOW.plus(7 * DAY)));
        side.trust.handle_time(NOW.plus(7 * DAY));
        side.persist();
        assert_eq!(side.store.len(), 0);
        assert_eq!(side.trust.poll_timeout_unix(), None);
    }
}

#[test]
fn a_flood_of_knocks_is_bounded_and_pushes_nobody_out() {
    let config = Config {
        max_pending: 8,
        ..Config::default()
    };
    let bob = agent(200);
    let mut trust = Trust::new(Arc::new(config), bob.agent());
    let target = KnockTarget::Node(bob.agent().node());
    let knock = |number: u16| {
        let mut seed = [9; 32];
        seed[..2].copy_from_slice(&number.to_be_bytes());
        let identity = Identity::generate(Seed::new(seed), 0);
        let mut own = Trust::new(Arc::default(), identity.agent());
        let outcome = own.knock(NOW, &identity, target.clone(), "", None);
        let Ok(KnockOutcome::Send(raw)) = outcome else {
            panic!("{outcome:?}")
        };
        (identity, raw)
    };
    let (first, raw) = knock(0);
    trust
        .handle_knock(NOW, &bob, &raw, first.verified(), Policy::Ask)
        .unwrap();
    for number in 1..300 {
        let (identity, raw) = knock(number);
        let received = trust.handle_knock(NOW, &bob, &raw, identity.verified(), Policy::Ask);
        let expected = if number < 8 {
            Ok(KnockReceived::Pending)
        } else {
            Err(KnockRefused::Full(8))
        };
        assert_eq!(received, expected);
    }
    assert_eq!(trust.pending().count(), 8);
    assert!(trust.pending().any(|knock| knock.agent == first.agent()));
    trust.reject(NOW, &first.agent(), "").unwrap();
    let (identity, raw) = knock(300);
    let received = trust.handle_knock(NOW, &bob, &raw, identity.verified(), Policy::Ask);
    assert_eq!(
        received,
        Ok(KnockReceived::Pending),
        "the rejected one makes way"
    );
    assert_eq!(trust.pending.len(), 8);
}

#[test]
fn full_tables_refuse_and_keep_what_they_have() {
    let config = Config {
        max_sent: 1,
        max_peers: 1,
        max_tickets: 1,
        ..Config::default()
    };
    let mut bob = Side::new(2);
    bob.trust = Trust::new(Arc::new(config), bob.id());
    let (mut alice, mut carol) = (Side::new(1), Side::new(3));
    for side in [&mut alice, &mut carol] {
        let knock = side.knock(node(&bob));
        bob.hear_knock(side, &knock).unwrap();
    }
    let short = Terms {
        not_after: NOW.plus(DAY),
        ..terms(ports("7"))
    };
    bob.events();
    bob.approve_on(alice.id(), short.clone());
    let approve =
        |bob: &mut Side, now, terms| bob.trust.approve(now, &bob.identity, &carol.id(), terms);
    assert_eq!(approve(&mut bob, NOW, short), Err(ApproveError::Full(1)));
    assert_eq!(bob.trust.pending().count(), 1);
    let later = NOW.plus(2 * DAY);
    assert_eq!(
        approve(&mut bob, later, terms(ports("7"))),
        Ok(()),
        "an ended grant makes way"
    );

    bob.knock(KnockTarget::Agent(nobody()));
    bob.knock(KnockTarget::Agent(nobody()));
    let other = KnockTarget::Hostname(name("dave"));
    let full = bob.trust.knock(NOW, &bob.identity, other, "", None);
    assert_eq!(full, Err(KnockError::Full(1)));

    let mut secret = |number| {
        bob.trust
            .issue_ticket_secret(NOW, &Seed::new([number; 32]), later)
    };
    assert!(secret(1).is_ok());
    assert_eq!(secret(2), Err(TicketError::Full(1)));
}

#[test]
fn long_logs_do_not_fill_the_memory() {
    let config = Config {
        max_log_entries: 3,
        ..Config::default()
    };
    let mut bob = Side::new(2);
    bob.trust = Trust::new(Arc::new(config), bob.id());
    let (mut alice, mut carol) = (Side::new(1), Side::new(3));
    let knock = alice.knock(node(&bob));
    bob.hear_knock(&alice, &knock).unwrap();
    carol.identity = rotated(&rotated(&carol.identity, 60), 61);
    let knock = carol.knock(node(&bob));
    assert_eq!(bob.hear_knock(&carol, &knock), Err(KnockRefused::Full(1)));
    alice.identity = rotated(&rotated(&alice.identity, 70), 71);
    assert_eq!(bob.trust.update_log(alice.log()), Err(PinError::Full));
    let terms = bob.trust.default_terms(NOW);
    let approved = bob.trust.approve(NOW, &bob.identity, &alice.id(), terms);
    assert_eq!(approved, Ok(()), "what waits may be approved");
}

#[test]
fn a_ticket_secret_works_once_in_its_time() {
    let mut bob = Side::new(2);
    let end = NOW.plus(DAY);
    let mut issue = |number, not_after| {
        bob.trust
            .issue_ticket_secret(NOW, &Seed::new([number; 32]), not_after)
    };
    assert_eq!(issue(1, NOW), Err(TicketError::Expired));
    let (one, two) = (issue(1, end).unwrap(), issue(2, end).unwrap());
    assert_ne!(one, two);
    bob.restart();
    assert!(bob.trust.check_ticket_secret(end, &one));
    assert!(bob.trust.use_ticket_secret(NOW, &one));
    assert!(!bob.trust.use_ticket_secret(NOW, &one));
    bob.restart();
    assert!(!bob.trust.check_ticket_secret(NOW, &one));
    assert!(!bob.trust.check_ticket_secret(NOW, &[0; 16]));
    let late = end.plus(Duration::from_millis(1));
    assert!(!bob.trust.use_ticket_secret(late, &two));
    bob.trust.handle_time(late);
    bob.persist();
    assert!(bob.store.is_empty());
}
