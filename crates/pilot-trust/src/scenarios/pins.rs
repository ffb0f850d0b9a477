use super::*;

#[test]
fn trust_survives_a_restart() {
    let (mut alice, mut bob) = friends();
    let before: Vec<TrustedPeer> = bob.trust.trusted(NOW).collect();
    bob.restart();
    assert_eq!(bob.trust.trusted(NOW).collect::<Vec<_>>(), before);
    alice.restart();
    assert!(alice.trust.is_mutual(NOW, &bob.id()));
    let revocation = bob.untrust_at(NOW, alice.id());
    assert_eq!(
        alice.hear_grant(&bob, &revocation),
        Ok(GrantReceived::Revoked),
        "a higher serial"
    );
}

#[test]
fn a_rotation_keeps_trust_and_ends_the_old_key() {
    let (mut alice, mut bob) = friends();
    let old = bob.identity.sign(
        u64::MAX,
        NOW,
        UnixTime::FAR_FUTURE,
        &Grant {
            grantee: alice.id(),
            scope: ports("80"),
            parent: None,
            depth: 0,
        },
    );
    let old_log = bob.log();
    bob.identity = rotated(&bob.identity, 60);
    assert_eq!(alice.trust.update_log(bob.log()), Ok(()));
    assert!(alice.trust.is_mutual(NOW, &bob.id()));
    assert_eq!(alice.trust.update_log(old_log.clone()), Err(PinError::Old));
    let refused = alice
        .trust
        .handle_grant(NOW, &alice.identity, &old, &old_log, None);
    assert_eq!(refused, Err(GrantRefused::Pin(PinError::Old)));
    alice.restart();
    assert_eq!(alice.trust.peer_log(&bob.id()), Some(&bob.log()));
}

#[test]
fn a_recovery_voids_what_older_generations_signed() {
    let (mut alice, mut bob) = friends();
    bob.identity = recovered(&bob.identity, 2, 60);
    alice.trust.update_log(bob.log()).unwrap();
    assert!(!alice.trust.is_granted_by(NOW, &bob.id()));
    let ended = TrustEvent::Untrusted {
        agent: bob.id(),
        by_peer: true,
    };
    assert_eq!(alice.events(), [ended]);
    assert!(
        alice.trust.has_granted(NOW, &bob.id()),
        "ours names the agent, not its key"
    );
    let again = bob.approve(alice.id());
    assert_eq!(alice.hear_grant(&bob, &again), Ok(GrantReceived::Trusted));
}

#[test]
fn a_fork_freezes_an_agent_until_it_recovers() {
    let (mut alice, mut bob) = friends();
    let stolen = rotated(&bob.identity, 61);
    let owner = rotated(&bob.identity, 60);
    alice.trust.update_log(owner.verified().clone()).unwrap();
    let forked = alice.trust.update_log(stolen.verified().clone());
    assert!(matches!(forked, Err(PinError::Log(LogError::Fork { .. }))));
    assert_eq!(alice.events().len(), 1);
    alice.restart();
    assert!(!alice.trust.admits(NOW, &bob.id(), Port::ECHO));
    assert!(!alice.trust.is_granted_by(NOW, &bob.id()));
    bob.identity = owner;
    let grant = bob.approve(alice.id());
    assert_eq!(
        alice.hear_grant(&bob, &grant),
        Err(GrantRefused::Pin(PinError::Frozen))
    );
    let refused = alice
        .trust
        .approve(NOW, &alice.identity, &bob.id(), terms(ports("7")));
    assert_eq!(refused, Err(ApproveError::Frozen));

    bob.identity = recovered(&bob.identity, 2, 62);
    assert_eq!(alice.trust.update_log(bob.log()), Ok(()));
    assert!(alice.trust.admits(NOW, &bob.id(), Port::ECHO));
    let grant = bob.approve(alice.id());
    assert_eq!(alice.hear_grant(&bob, &grant), Ok(GrantReceived::Trusted));
}
