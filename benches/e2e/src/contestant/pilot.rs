//! Crate `pilot`, embedded: two agents that trust each other, and a rendezvous in a process of its own that they found each
//! other by.

use std::time::Duration;

use pilot::{AgentId, Listener, Node, PathKind, Port, Rendezvous, Stream, Target};

use crate::contestant::{self, Duplex};
use crate::setup::{Name, Result, Setup};

/// The serving agent's name.
const HOSTNAME: &str = "server";
/// Where the rendezvous listens.
const RENDEZVOUS_PORT: u16 = 9000;
/// Until two agents talk directly.
const PATIENCE: Duration = Duration::from_secs(20);

impl Duplex for Stream {
    async fn finish(&mut self) -> Result<()> {
        Ok(Self::finish(self)?)
    }
}

/// Runs a rendezvous until the process ends; gives its URL.
pub(crate) async fn rendezvous(setup: &Setup) -> Result<(Rendezvous, String)> {
    let listen = (setup.address, RENDEZVOUS_PORT).into();
    let mut builder = Rendezvous::builder().home(&setup.home).listen(listen);
    if setup.name == Name::Pilot {
        // Keys are made for each run. Daemons take no such network.
        builder = builder.work_bits(0);
    }
    let rendezvous = builder.start().await?;
    let url = rendezvous.url();
    Ok((rendezvous, url))
}

async fn start(setup: &Setup, hostname: &str) -> Result<Node> {
    let builder = Node::builder()
        .home(&setup.home)
        .rendezvous(&setup.ticket)
        .hostname(hostname.parse()?)
        .listen((setup.address, 0).into())
        .port_mapping(false)
        .auto_approve(true)
        .work_bits(0)
        .min_work_bits(0);
    Ok(builder.start().await?)
}

pub(crate) struct Server {
    listener: Listener,
    _node: Node,
}

impl contestant::Server for Server {
    type Stream = Stream;

    /// Its ticket was the rendezvous' URL, and it gives that on.
    async fn listen(setup: &Setup) -> Result<(Self, String)> {
        let node = start(setup, HOSTNAME).await?;
        node.registered().await?;
        let listener = node.listen(Port::STDIO).await?;
        let server = Self {
            listener,
            _node: node,
        };
        Ok((server, setup.ticket.clone()))
    }

    async fn serve<F: Fn(Stream) + Send>(mut self, take: F) -> Result<()> {
        loop {
            take(self.listener.accept().await?.0);
        }
    }
}

pub(crate) struct Client {
    node: Node,
    server: Option<AgentId>,
}

impl contestant::Client for Client {
    type Stream = Stream;

    async fn bind(setup: &Setup) -> Result<Self> {
        let node = start(setup, "client").await?;
        Ok(Self { node, server: None })
    }

    /// Trust first; then packets go by the rendezvous until the direct path is found.
    async fn settle(&mut self) -> Result<()> {
        tokio::time::timeout(PATIENCE, self.settled()).await?
    }

    async fn open(&self) -> Result<Stream> {
        let target = self.target()?;
        let dialled = self
            .node
            .dial_peer(target, Port::STDIO, pilot::DialOptions::default());
        Ok(dialled.await?)
    }

    async fn close(self) {
        self.node.shutdown().await;
    }
}

impl Client {
    fn target(&self) -> Result<Target> {
        Ok(match self.server {
            Some(agent) => Target::Agent(agent),
            None => HOSTNAME.parse()?,
        })
    }

    async fn settled(&mut self) -> Result<()> {
        self.node.registered().await?;
        self.node.knock(self.target()?, "a measurement").await?;
        self.server = Some(self.node.trusted_with(&self.target()?).await?);
        while self.node.ping(self.target()?).await?.path != PathKind::Direct {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}
