//! What holds for the whole system under loss, attack, crashes, full disks and rest: real daemons on machines of their own. Needs root,
//! `ip` and `tcpdump`; `PILOTCTL` names the program, with `pilot-rendezvous` beside it.

#![allow(clippy::print_stdout, reason = "the figures of a run are its output")]

mod bench;
mod churn;
mod crashes;
mod disk;
mod garbage;
mod idle;
mod secrets;
mod transfer;

use std::fs::File;
use std::path::Path;

use pilot_lab::{Captured, LinkConfig, Machine, Process, run, setting, sha256, write_random};

fn perfect() -> [LinkConfig; 3] {
    [LinkConfig::default(); 3]
}

/// Pipes a file from one agent to another by `connect` and `recv`.
fn pipe(from: &Machine, peer: &str, to: &Machine, (sent, received): (&Path, &Path)) {
    let limit = ["--timeout", "280s"];
    let mut recv = to.pilotctl(&[&["recv", "1000", "--count", "1"], &limit[..]].concat());
    let mut receiver = Process::spawn(recv.stdout(File::create(received).expect("a file")));
    let mut connect = from.pilotctl(&["connect", peer]);
    run(connect.stdin(File::open(sent).expect("a file")));
    let status = receiver.wait(std::time::Duration::from_secs(60));
    assert!(status.success(), "recv: {status}");
}

/// Sends a message; gives its acknowledgement.
fn message(from: &Machine, peer: &str, body: &str) -> String {
    let sent = from.data(&["send-message", peer, "--data", body]);
    sent["ack"].as_str().expect("an acknowledgement").into()
}

/// How often a message with this body lies in the inbox.
fn count_in_inbox(machine: &Machine, body: &str) -> usize {
    let inbox = machine.data(&["inbox", "--limit", "10000"]);
    let messages = inbox["messages"].as_array().expect("messages");
    messages.iter().filter(|it| it["data"] == body).count()
}

/// The datagram in a frame of Ethernet and IPv4, and the port that it goes to.
fn datagram(packet: &Captured) -> Option<(u16, &[u8])> {
    let frame = &packet.frame;
    let is_udp = frame.get(12..14)? == [8, 0] && *frame.get(23)? == 17;
    let header = 14 + usize::from(*frame.get(14)? & 0xf) * 4;
    let port = u16::from_be_bytes(frame.get(header + 2..header + 4)?.try_into().ok()?);
    // The length, because Ethernet fills short frames up.
    let size = u16::from_be_bytes(frame.get(header + 4..header + 6)?.try_into().ok()?);
    let payload = frame.get(header + 8..header + usize::from(size))?;
    is_udp.then_some((port, payload))
}
