//! Nodes on real sockets and homes on disk.

#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::time::Duration;

use pilot::{
    DialError, Hostname, Knocked, Node, Port, ProfileChange, ProfileError, RegisterError,
    Rendezvous, StartError, Target,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SOON: Duration = Duration::from_secs(10);

struct World {
    homes: TempDir,
    rendezvous: Rendezvous,
}

impl World {
    async fn new() -> Self {
        let homes = tempfile::tempdir().unwrap();
        let builder = Rendezvous::builder()
            .home(homes.path().join("rendezvous"))
            .work_bits(0);
        let rendezvous = builder
            .listen("127.0.0.1:0".parse().unwrap())
            .start()
            .await
            .unwrap();
        Self { homes, rendezvous }
    }

    async fn start(&self, name: &str) -> Node {
        let node = self
            .try_start(name, name, &self.rendezvous.url())
            .await
            .unwrap();
        tokio::time::timeout(SOON, node.registered())
            .await
            .unwrap()
            .unwrap();
        node
    }

    async fn try_start(&self, home: &str, name: &str, url: &str) -> Result<Node, StartError> {
        let builder = Node::builder()
            .home(self.homes.path().join(home))
            .rendezvous(url)
            .hostname(name.parse().unwrap());
        builder
            .listen("127.0.0.1:0".parse().unwrap())
            .work_bits(0)
            .min_work_bits(0)
            .start()
            .await
    }

    /// Both approve each other.
    async fn befriend(&self, asks: &Node, approves: &Node) {
        let target = Target::Agent(approves.agent());
        assert_eq!(asks.knock(target.clone(), "").await.unwrap(), Knocked::Sent);
        let approve = async {
            while approves.pending().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            approves
                .approve(&Target::Agent(asks.agent()), approves.default_terms())
                .await
                .unwrap();
            asks.trusted_with(&target).await.unwrap();
            approves
                .trusted_with(&Target::Agent(asks.agent()))
                .await
                .unwrap();
        };
        tokio::time::timeout(SOON, approve).await.unwrap();
    }
}

fn target(name: &str) -> Target {
    name.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_arrive_whole_and_both_directions_end_by_themselves() {
    let world = World::new().await;
    let (alice, bob) = (world.start("alice").await, world.start("bob").await);
    world.befriend(&alice, &bob).await;
    let mut listener = bob.listen(Port::STDIO).await.unwrap();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    let echo = tokio::spawn(async move {
        let (mut stream, peer) = listener.accept().await.unwrap();
        let mut got = vec![];
        stream.read_to_end(&mut got).await.unwrap();
        stream.write_all(&got).await.unwrap();
        stream.shutdown().await.unwrap();
        // The peer reads to the end before this stream is dropped.
        let mut rest = vec![];
        stream.read_to_end(&mut rest).await.unwrap();
        (peer.agent, got.len())
    });
    let stream = alice.dial("bob:1000").await.unwrap();
    let (mut read, mut write) = tokio::io::split(stream);
    let send = async {
        write.write_all(&bytes).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let mut back = vec![];
    let (_, got) = tokio::join!(send, read.read_to_end(&mut back));
    got.unwrap();
    assert!(
        back == bytes,
        "{} of {} bytes came back",
        back.len(),
        bytes.len()
    );
    assert_eq!(echo.await.unwrap(), (alice.agent(), bytes.len()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_gets_the_same_answer_for_a_private_agent_and_for_none() {
    let world = World::new().await;
    let (alice, _bob) = (world.start("alice").await, world.start("bob").await);
    for name in ["bob", "nobody"] {
        assert_eq!(
            alice.ping(target(name)).await.unwrap_err(),
            DialError::NotFound
        );
        assert_eq!(
            alice.dial(&format!("{name}:1000")).await.err(),
            Some(DialError::NotFound)
        );
        assert!(alice.lookup(target(name)).await.is_err());
        assert_eq!(alice.knock(target(name), "").await.unwrap(), Knocked::Sent);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_key_name_and_trust() {
    let world = World::new().await;
    let (alice, bob) = (world.start("alice").await, world.start("bob").await);
    world.befriend(&alice, &bob).await;
    alice.ping(target("bob")).await.unwrap();
    let agent = bob.agent();
    bob.shutdown().await;
    drop(bob);
    let bob = world
        .try_start("bob", "bob", &world.rendezvous.url())
        .await
        .unwrap();
    tokio::time::timeout(SOON, bob.registered())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(bob.agent(), agent);
    assert!(
        bob.trusted()
            .iter()
            .any(|peer| peer.agent == alice.agent() && peer.mutual)
    );
    alice.ping(target("bob")).await.unwrap();
    bob.ping(target("alice")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_name_is_refused_by_name_and_the_old_one_stays() {
    let world = World::new().await;
    let (_alice, bob) = (world.start("alice").await, world.start("bob").await);
    let alice: Hostname = "alice".parse().unwrap();
    let change = ProfileChange {
        hostname: Some(Some(alice.clone())),
        ..ProfileChange::default()
    };
    assert_eq!(
        bob.set_profile(change).await,
        Err(ProfileError::HostnameTaken(alice))
    );
    assert_eq!(bob.hostname().unwrap().as_str(), "bob");
    let thief = world
        .try_start("thief", "alice", &world.rendezvous.url())
        .await
        .unwrap();
    let refused = tokio::time::timeout(SOON, thief.registered())
        .await
        .unwrap();
    assert_eq!(
        refused,
        Err(RegisterError::HostnameTaken {
            name: "alice".to_owned()
        })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rendezvous_with_another_key_is_refused_with_both() {
    let world = World::new().await;
    let other = "ab".repeat(32);
    let url = format!("pilot://{other}@{}", world.rendezvous.listen());
    let node = world.try_start("alice", "alice", &url).await.unwrap();
    let refused = tokio::time::timeout(SOON, node.registered())
        .await
        .unwrap()
        .unwrap_err();
    let found = world.rendezvous.agent().to_string();
    assert!(
        matches!(&refused, RegisterError::KeyMismatch { expected, found: f, .. } if *expected == other && *f == found),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_node_on_one_home_is_refused() {
    let world = World::new().await;
    let _alice = world.start("alice").await;
    let second = world
        .try_start("alice", "alice", &world.rendezvous.url())
        .await;
    assert!(matches!(
        second.err(),
        Some(StartError::Home(pilot_store::HomeError::Locked { .. }))
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_connects_two_agents_that_know_nothing_of_each_other() {
    let world = World::new().await;
    let (alice, bob) = (world.start("alice").await, world.start("bob").await);
    let ticket: Target = bob.ticket(None).await.unwrap().parse().unwrap();
    assert_eq!(
        alice.knock(ticket, "I hold a ticket").await.unwrap(),
        Knocked::Sent
    );
    let arrived = async {
        while bob.pending().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, arrived).await.unwrap();
    bob.approve(&Target::Agent(alice.agent()), bob.default_terms())
        .await
        .unwrap();
    tokio::time::timeout(SOON, alice.trusted_with(&Target::Agent(bob.agent())))
        .await
        .unwrap()
        .unwrap();
    alice.ping(Target::Agent(bob.agent())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn untrust_ends_streams_and_further_dials() {
    let world = World::new().await;
    let (alice, bob) = (world.start("alice").await, world.start("bob").await);
    world.befriend(&alice, &bob).await;
    let mut listener = bob.listen(Port::STDIO).await.unwrap();
    let mut stream = alice.dial("bob:1000").await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    let (_inbound, _) = listener.accept().await.unwrap();
    bob.untrust(&Target::Agent(alice.agent())).await.unwrap();
    let mut rest = vec![];
    let ended = tokio::time::timeout(SOON, stream.read_to_end(&mut rest))
        .await
        .unwrap();
    assert_eq!(
        ended.unwrap_err().kind(),
        std::io::ErrorKind::PermissionDenied
    );
    let again = tokio::time::timeout(SOON, async {
        while alice.ping(target("bob")).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    again.await.unwrap();
}
