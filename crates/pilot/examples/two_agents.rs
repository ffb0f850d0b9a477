//! A rendezvous and two agents in one process: find, knock, approve, talk.
//!
//! `cargo run --release -p pilot --example two_agents`

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use pilot::{Node, Rendezvous, Target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let homes = tempfile::tempdir()?;
    let loopback = "127.0.0.1:0".parse()?;
    let rendezvous = Rendezvous::builder()
        .home(homes.path().join("rendezvous"))
        .listen(loopback)
        .start()
        .await?;
    println!("rendezvous {}", rendezvous.url());

    let start = |name: &'static str| {
        let builder = Node::builder()
            .home(homes.path().join(name))
            .rendezvous(rendezvous.url())
            .listen(loopback);
        async move {
            builder
                .hostname(name.parse().expect("a hostname"))
                .start()
                .await
        }
    };
    let (planner, worker) = (start("planner").await?, start("worker").await?);
    planner.registered().await?;
    worker.registered().await?;
    println!("planner {}  worker {}", planner.address(), worker.address());

    // The worker asks, the planner approves; then both trust each other.
    let target: Target = "planner".parse()?;
    worker.knock(target.clone(), "I take jobs").await?;
    let knock = loop {
        if let Some(knock) = planner.pending().into_iter().next() {
            break knock;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    };
    println!("{} knocks: {}", knock.agent.address(), knock.justification);
    planner
        .approve(&Target::Agent(knock.agent), planner.default_terms())
        .await?;
    worker.trusted_with(&target).await?;

    // An ordinary stream with half-close.
    let mut listener = planner.listen(pilot::Port::STDIO).await?;
    let answering = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await?;
        let mut question = String::new();
        stream.read_to_string(&mut question).await?;
        stream.write_all(question.to_uppercase().as_bytes()).await?;
        stream.shutdown().await?;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    });
    let mut stream = worker.dial("planner:1000").await?;
    stream.write_all(b"hello over the overlay").await?;
    stream.shutdown().await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    answering.await?.map_err(|error| error.to_string())?;
    println!(
        "answer: {answer}   ping: {:?}",
        worker.ping(target).await?.rtt
    );
    assert_eq!(answer, "HELLO OVER THE OVERLAY");

    worker.shutdown().await;
    planner.shutdown().await;
    rendezvous.shutdown().await;
    Ok(())
}
