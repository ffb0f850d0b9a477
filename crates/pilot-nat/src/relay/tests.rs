use super::*;

const PERMIT: [u8; 16] = [9; 16];

fn agent(number: u8) -> AgentId {
    AgentId::new([number; 32])
}

fn addr(number: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, number], 4000))
}

/// A relay with this many clients, each of which admits who shows [`PERMIT`].
fn relay(clients: u8, limits: RelayLimits) -> (RelayServer, Instant) {
    let now = Instant::now();
    let mut relay = RelayServer::new(limits, Seed::new([1; 32]));
    for number in 1..=clients {
        relay.client_opened(now, agent(number), addr(number));
        relay.set_permits(&agent(number), false, vec![[7; 16], PERMIT]);
    }
    (relay, now)
}

fn frame(channel: u32, size: usize) -> Vec<u8> {
    let mut bytes = vec![0xC0; RelayFrame::HEAD + size];
    RelayFrame::write_head(bytes.first_chunk_mut().unwrap(), channel);
    bytes
}

#[test]
fn nobody_is_reached_without_a_permit_and_nobody_is_shown_to_exist() {
    let (mut relay, now) = relay(2, RelayLimits::default());
    for (to, permit) in [
        (agent(2), None),
        (agent(2), Some([0; 16])),
        (agent(2), Some([8; 16])),
        (agent(9), Some(PERMIT)),
        (agent(1), Some(PERMIT)),
    ] {
        assert_eq!(
            relay.bind(now, &agent(1), &to, permit),
            Err(BindError::NotFound)
        );
    }
    assert!(relay.bind(now, &agent(9), &agent(2), Some(PERMIT)).is_err());
    assert!(relay.bind(now, &agent(1), &agent(2), Some(PERMIT)).is_ok());
    relay.set_permits(&agent(2), true, vec![]);
    assert!(relay.bind(now, &agent(1), &agent(2), None).is_ok());
}

#[test]
fn a_channel_asked_for_again_is_the_same() {
    let (mut relay, now) = relay(3, RelayLimits::default());
    let mut bind = |from, to| {
        relay
            .bind(now, &agent(from), &agent(to), Some(PERMIT))
            .unwrap()
    };
    let first = bind(1, 2);
    assert_eq!(bind(1, 2), first);
    let others = [bind(2, 1), bind(1, 3)];
    assert!(!others.contains(&first) && others[0] != others[1]);
    assert_eq!(relay.stats().channels, 3);
}

#[test]
fn frames_from_elsewhere_go_nowhere_until_the_session_moves() {
    let (mut relay, now) = relay(2, RelayLimits::default());
    let channel = relay.bind(now, &agent(1), &agent(2), Some(PERMIT)).unwrap();
    let mut data = frame(channel, 100);
    for stranger in [addr(2), addr(77)] {
        let before = data.clone();
        assert_eq!(
            relay.handle_frame(now, stranger, &mut data),
            Err(RelayDrop::Foreign)
        );
        assert_eq!(data, before);
    }
    relay.client_moved(&agent(1), addr(77));
    relay.client_moved(&agent(2), addr(78));
    assert_eq!(relay.handle_frame(now, addr(77), &mut data), Ok(addr(78)));
    assert_eq!(relay.handle_frame(now, addr(78), &mut data), Ok(addr(77)));
}

#[test]
fn a_permit_that_is_withdrawn_ends_its_channels_and_no_others() {
    let (mut relay, now) = relay(3, RelayLimits::default());
    let mut bind = |from, permit| {
        relay
            .bind(now, &agent(from), &agent(3), Some(permit))
            .unwrap()
    };
    let (gone, stays) = (bind(1, [7; 16]), bind(2, PERMIT));
    relay.set_permits(&agent(3), false, vec![PERMIT]);
    let mut to = |from, channel| relay.handle_frame(now, addr(from), &mut frame(channel, 10));
    assert_eq!(to(1, gone), Err(RelayDrop::UnknownChannel));
    assert_eq!(to(2, stays), Ok(addr(3)));
}

#[test]
fn channels_end_with_their_clients_and_with_silence() {
    let limits = RelayLimits::default();
    let (mut relay, mut now) = relay(3, limits);
    let mut bind = |from, to| {
        relay
            .bind(now, &agent(from), &agent(to), Some(PERMIT))
            .unwrap()
    };
    let (to_one, used, unused) = (bind(2, 1), bind(2, 3), bind(3, 2));
    relay.client_opened(now, agent(1), addr(1));
    assert!(relay.channels.side(to_one).is_none());
    assert_eq!(relay.stats().channels, 2);
    for _ in 0..5 {
        now += limits.idle / 2;
        relay
            .handle_frame(now, addr(2), &mut frame(used, 10))
            .unwrap();
        while relay
            .poll_timeout()
            .is_some_and(|deadline| deadline.at <= now)
        {
            relay.handle_timeout(now);
        }
    }
    assert!(relay.channels.side(unused).is_none());
    assert!(relay.channels.side(used).is_some());
    now += limits.idle * 2;
    relay.handle_timeout(now);
    relay.handle_timeout(now + limits.idle);
    assert_eq!(relay.stats().channels, 0);
    assert!(relay.poll_timeout().is_none(), "an empty relay goes quiet");
}

#[test]
fn who_sends_too_much_slows_nobody_else() {
    let limits = RelayLimits {
        client: RelayRate {
            bytes: 100_000,
            datagrams: 50,
        },
        ..RelayLimits::default()
    };
    let (mut relay, mut now) = relay(3, limits);
    let mut bind = |from| {
        relay
            .bind(now, &agent(from), &agent(3), Some(PERMIT))
            .unwrap()
    };
    let (loud, quiet) = (bind(1), bind(2));
    let mut forwarded = [0, 0];
    for _ in 0..1000 {
        now += Duration::from_millis(1);
        for _ in 0..10 {
            let is_sent = relay.handle_frame(now, addr(1), &mut frame(loud, 1000));
            forwarded[0] += u32::from(is_sent.is_ok());
        }
        if forwarded[1] < 40 {
            let is_sent = relay.handle_frame(now, addr(2), &mut frame(quiet, 1000));
            forwarded[1] += u32::from(is_sent.is_ok());
        }
    }
    assert!(forwarded[0] <= 100, "{forwarded:?}");
    assert_eq!(forwarded[1], 40);
}

#[test]
fn channels_are_bounded_for_each_client_and_in_all() {
    let limits = RelayLimits {
        max_channels: 5,
        max_channels_per_client: 3,
        ..RelayLimits::default()
    };
    let (mut relay, now) = relay(9, limits);
    let mut bind = |from, to| relay.bind(now, &agent(from), &agent(to), Some(PERMIT));
    for to in 2..5 {
        bind(1, to).unwrap();
    }
    assert_eq!(bind(1, 5), Err(BindError::Full));
    bind(2, 9).unwrap();
    bind(3, 9).unwrap();
    assert_eq!(bind(4, 9), Err(BindError::Full));
    assert_eq!(relay.stats().channels, 5);
}

#[test]
fn the_state_of_a_channel_is_small() {
    assert!(Channels::side_size() <= 64, "{}", Channels::side_size());
}

#[test]
fn garbage_is_dropped() {
    let (mut relay, now) = relay(2, RelayLimits::default());
    for mut garbage in [vec![], vec![0x40], frame(0, 10), vec![0x41, 0, 0, 0, 1, 2]] {
        let result = relay.handle_frame(now, addr(1), &mut garbage);
        assert_eq!(result, Err(RelayDrop::Malformed));
    }
    let result = relay.handle_frame(now, addr(1), &mut frame(12345, 10));
    assert_eq!(result, Err(RelayDrop::UnknownChannel));
}
