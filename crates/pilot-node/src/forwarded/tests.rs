use pilot_types::{FourTuple, PeerAddr};

use super::*;

fn to(number: u16) -> PathId {
    PathId::Udp(FourTuple {
        local: ([0, 0, 0, 0], 9000).into(),
        remote: PeerAddr(([192, 0, 2, 1], number).into()),
    })
}

/// All that waits, batch by batch: where it goes, and the first byte of each frame.
fn batches(forwarded: &mut Forwarded, frame: usize) -> Vec<(PathId, Vec<u8>)> {
    let mut out = TransmitBuf::new(4, MAX_FRAME);
    std::iter::from_fn(|| {
        out.clear();
        let transmit = forwarded.transmit(&mut out)?;
        let firsts = out.as_slice().chunks(frame).map(|frame| frame[0]);
        Some((transmit.path, firsts.collect()))
    })
    .collect()
}

#[test]
fn frames_of_one_destination_leave_together_and_in_order() {
    let mut forwarded = Forwarded::default();
    for number in 0..6 {
        let frame = [number; 80];
        forwarded
            .push(to(1 + u16::from(number % 2)), None, &frame)
            .unwrap();
    }
    let sent = batches(&mut forwarded, 80);
    assert_eq!(sent, [(to(1), vec![0, 2, 4]), (to(2), vec![1, 3, 5])]);
    assert!(forwarded.is_empty());
    assert_eq!(forwarded.cost, 0);
    assert!(forwarded.queues.is_empty());
}

#[test]
fn a_destination_with_much_to_come_leaves_every_other_one_its_turn() {
    let mut forwarded = Forwarded::default();
    while forwarded.push(to(1), None, &[1; 80]).is_ok() {}
    for other in 2..10 {
        forwarded.push(to(other), None, &[2; 80]).unwrap();
    }
    let sent = batches(&mut forwarded, 80);
    let order: Vec<PathId> = sent.iter().take(10).map(|(path, _)| *path).collect();
    let one_round = (1..10).chain([1]).map(to).collect::<Vec<_>>();
    assert_eq!(order, one_round);
    assert!(sent[10..].iter().all(|(path, _)| *path == to(1)));
}

#[test]
fn whoever_is_sent_too_much_leaves_room_for_others_and_all_together_are_bounded() {
    let mut forwarded = Forwarded::default();
    let mut fill = |number| {
        let before = forwarded.cost;
        while forwarded.push(to(number), None, &[0; 1200]).is_ok() {}
        assert!(forwarded.cost <= MAX_QUEUED);
        forwarded.cost - before
    };
    let alone = fill(1);
    assert!(alone.abs_diff(MAX_QUEUED * 2 / 3) < 10_000, "{alone}");
    let second = fill(2);
    assert!(second > MAX_QUEUED / 5, "{second}");
    // Frames of five bytes are bounded by what they cost, not by what they carry.
    let mut small = Forwarded::default();
    while small.push(to(1), None, &[0; 5]).is_ok() {}
    let frames = small.queues.values().map(|queue| queue.frames.len());
    assert!(frames.sum::<usize>() <= MAX_QUEUED / FRAME_COST);
}

#[test]
fn marks_are_kept_apart_and_no_frame_stays_for_ever() {
    let mut forwarded = Forwarded::default();
    forwarded.push(to(1), Some(Ecn::Ect0), &[1; 80]).unwrap();
    forwarded.push(to(1), Some(Ecn::Ce), &[2; 80]).unwrap();
    forwarded.push(to(1), Some(Ecn::Ce), &[3; 1400]).unwrap();
    forwarded.push(to(1), Some(Ecn::Ce), &[4; 80]).unwrap();
    let long = forwarded.push(to(1), None, &[0; MAX_FRAME + 1]);
    assert_eq!(long, Err(NotQueued::TooLong));
    // The third fits into no batch of these.
    let mut out = TransmitBuf::new(4, 100);
    let marks: Vec<_> = std::iter::from_fn(|| {
        out.clear();
        let transmit = forwarded.transmit(&mut out)?;
        Some((transmit.ecn, out.as_slice()[0]))
    })
    .collect();
    let expected = [(Some(Ecn::Ect0), 1), (Some(Ecn::Ce), 2), (Some(Ecn::Ce), 4)];
    assert_eq!(marks, expected);
    assert!(forwarded.is_empty());
}
