//! What a capture of all traffic shows of the agents: nothing.

use std::fs;

use pilot_lab::{Capture, Captured, Lab, Machine, befriend};
use pilot_trust::Identity;

use super::{datagram, message, pipe};

const NAMES: [&str; 2] = ["walrus-of-alice", "ostrich-of-bob"];
const WORDS: [&str; 4] = [
    "let us talk",
    "the secret of the message",
    "the secret of the stream",
    "elephant-tag",
];

/// Bytes that must not be seen, and what they are.
type Needle = (String, Vec<u8>);

/// The agent's names and keys in every form in which they could travel.
fn agent(machine: &Machine) -> Vec<Needle> {
    let text = fs::read_to_string(machine.home().join("identity.json")).expect("an identity");
    let identity = Identity::from_json(&text).expect("an identity");
    let info = machine.data(&["info"]);
    let address = info["address"].as_str().expect("an address");
    let handle = info["node_id"].as_u64().expect("a handle").to_be_bytes()[2..].to_vec();
    let id = identity.agent();
    assert!(
        id.as_bytes().starts_with(&handle),
        "the address is the head of the id"
    );
    let short = address.split_once(':').expect("a network").1;
    vec![
        (format!("address {address}"), short.into()),
        (
            format!("address {address} in lower case"),
            short.to_lowercase().into(),
        ),
        (format!("address {address} as bytes"), handle),
        ("agent id".into(), id.as_bytes().to_vec()),
        ("signing key".into(), identity.sign_public().to_vec()),
        ("exchange key".into(), identity.dh_public().to_vec()),
    ]
}

fn contains(packets: &[Captured], bytes: &[u8]) -> bool {
    let mut frames = packets.iter().map(|packet| &packet.frame);
    frames.any(|frame| frame.windows(bytes.len()).any(|it| it == bytes))
}

#[test]
#[ignore = "needs root for network namespaces; .ci/run runs it"]
fn a_capture_of_all_traffic_shows_no_name_text_address_or_key_of_an_agent() {
    let lab = Lab::new();
    let [server, alice, bob] = ["server", "alice", "bob"].map(|name| lab.machine(name));
    let captures = [&server, &alice, &bob].map(|machine| machine.capture("eth0"));
    let rendezvous = server.rendezvous();
    // One pins the rendezvous' key from its URL, the other one asks for it.
    let asked = format!("{}:9000", server.address());
    for ((machine, name), url) in [&alice, &bob]
        .into_iter()
        .zip(NAMES)
        .zip([&rendezvous.url, &asked])
    {
        machine.daemon(&["--hostname", name, "--rendezvous", url, "--tags", WORDS[3]]);
    }
    alice.data(&["set-public"]);
    bob.data(&["find", NAMES[0]]);
    befriend(&alice, NAMES[1], &bob);
    alice.data(&["ping", NAMES[1]]);
    assert_eq!(message(&alice, NAMES[1], WORDS[1]), "stored");
    let file = |name| lab.directory().join(name);
    fs::write(file("sent"), WORDS[2].repeat(1000)).expect("a file");
    pipe(&alice, NAMES[1], &bob, (&file("sent"), &file("received")));
    let packets: Vec<Captured> = captures.into_iter().flat_map(Capture::finish).collect();

    let words = NAMES
        .iter()
        .chain(&WORDS)
        .map(|it| (format!("`{it}`"), it.as_bytes().to_vec()));
    let needles = words.chain(agent(&alice)).chain(agent(&bob));
    let seen: Vec<_> = needles
        .filter(|(_, bytes)| contains(&packets, bytes))
        .map(|it| it.0)
        .collect();
    assert!(seen.is_empty(), "in the clear: {seen:?}");

    // The capture shows what is in the clear by design: the rendezvous' key, to who asked for it. And it is whole: each
    // interface has seen the pipe or the rendezvous' traffic.
    let key = rendezvous
        .url
        .trim_start_matches("pilot://")
        .split('@')
        .next();
    let key = (0..64)
        .step_by(2)
        .map(|at| u8::from_str_radix(&key.expect("a key")[at..at + 2], 16).expect("hex"));
    assert!(
        contains(&packets, &key.collect::<Vec<_>>()),
        "the search finds nothing"
    );
    let bytes: usize = packets
        .iter()
        .filter_map(datagram)
        .map(|(_, data)| data.len())
        .sum();
    assert!(
        bytes > 2 * WORDS[2].len() * 1000,
        "only {bytes} bytes captured"
    );
    println!(
        "{} packets, {bytes} bytes of datagrams searched",
        packets.len()
    );
}
