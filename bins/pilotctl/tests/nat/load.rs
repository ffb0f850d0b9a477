//! Many agents in one process, without a shell: they get channels through a relay by the protocol, and then send whatever they like in them.

use std::io::IoSliceMut;
use std::net::{SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pilot_node::{
    Config, Event, Node, Now, Persist, Pin, Profile, RendezvousTarget, Restored, Target,
};
use pilot_trust::Identity;
use pilot_types::{AgentId, FourTuple, PathId, PeerAddr, Seed, TransmitBuf, UnixTime, decode_hex};
use pilot_wire::{KnockTarget, RelayFrame};
use quinn_udp::{RecvMeta, UdpSocketState};

/// Zero bits of work of the default network.
const WORK_BITS: u8 = 20;
/// How long a step of getting to know each other may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// With receive offload a buffer holds many datagrams.
const BUFFER: usize = 65_535;
const BUFFERS: usize = 8;

/// One agent and its socket.
struct Agent {
    node: Node,
    socket: UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
    relay: SocketAddr,
    trust_changes: u64,
    pongs: usize,
}

/// A channel between two of the agents.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Channel {
    pub(crate) from: usize,
    number: u32,
}

/// What was sent and what came, of one sender.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Count {
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

/// All agents of one machine.
pub(crate) struct Load {
    agents: Vec<Agent>,
    relay: SocketAddr,
    out: TransmitBuf,
    buffers: Vec<u8>,
}

fn now() -> Now {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = unix.expect("it is after 1970").as_millis();
    Now {
        instant: Instant::now(),
        unix: UnixTime::from_millis(
            u64::try_from(millis).expect("it is before the year 584,000,000"),
        ),
    }
}

impl Load {
    /// So many agents that are registered with a rendezvous and approve everybody.
    pub(crate) fn new(url: &str, count: u8) -> Self {
        Self::numbered(url, 1..=count)
    }

    /// The same with keys by these numbers.
    pub(crate) fn numbered(url: &str, numbers: RangeInclusive<u8>) -> Self {
        let (key, addr) = url
            .strip_prefix("pilot://")
            .and_then(|rest| rest.split_once('@'))
            .expect("a rendezvous' URL");
        let relay: SocketAddr = addr.parse().expect("an address with a port");
        let target = RendezvousTarget {
            url: url.to_owned(),
            addrs: vec![relay],
            pin: Pin::Key(decode_hex(key).expect("a key")),
            is_relay: false,
        };
        let agents = numbers.map(|number| Agent::new(number, &target)).collect();
        let mut load = Self {
            agents,
            relay,
            out: TransmitBuf::new(1, 1500),
            buffers: vec![0; BUFFER * BUFFERS],
        };
        load.drive("all are registered", |agents| {
            agents.iter().all(|agent| {
                let status = agent.node.status();
                status
                    .rendezvous
                    .iter()
                    .all(|(_, state, _)| *state == pilot_node::LinkState::Registered)
            })
        });
        load
    }

    /// Channels through the relay: each pair trusts each other, and pinged once.
    pub(crate) fn channels(&mut self, pairs: &[(usize, usize)]) -> Vec<Channel> {
        let ids: Vec<AgentId> = self.agents.iter().map(|agent| agent.node.agent()).collect();
        for (from, to) in pairs {
            let target = KnockTarget::Agent(ids[*to]);
            let node = &mut self.agents[*from].node;
            node.knock(now(), target, "load").expect("a knock is taken");
        }
        let asked = |from: usize| pairs.iter().filter(move |pair| pair.0 == from).count();
        self.drive("all trust each other", |agents| {
            let trusts = |one: usize, other: usize| {
                let trust = agents[one].node.trust();
                trust.is_mutual(now().unix, &ids[other])
            };
            let mut pairs = pairs.iter();
            pairs.all(|(from, to)| trusts(*from, *to) && trusts(*to, *from))
        });
        for (from, to) in pairs {
            let node = &mut self.agents[*from].node;
            node.ping(now(), Target::Agent(ids[*to]), 8)
                .expect("a ping is taken");
        }
        self.drive("all pings came back", |agents| {
            let mut agents = agents.iter().enumerate();
            agents.all(|(from, agent)| agent.pongs >= asked(from))
        });
        let channel = |(from, to): &(usize, usize)| {
            let report = self.agents[*from].node.path_report(&ids[*to]);
            let number = report.iter().find_map(|path| match path.path {
                PathId::Relay { channel, .. } => Some(channel),
                PathId::Udp(_) | PathId::Stream(_) => None,
            });
            Channel {
                from: *from,
                number: number.unwrap_or_else(|| panic!("no channel: {report:?}")),
            }
        };
        pairs.iter().map(channel).collect()
    }

    /// Lets the protocol run until it holds.
    fn drive(&mut self, what: &str, mut holds: impl FnMut(&[Agent]) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds(&self.agents) {
            assert!(Instant::now() < end, "not in time: {what}");
            let mut is_idle = true;
            for agent in &mut self.agents {
                is_idle &= !agent.turn(&mut self.out, &mut self.buffers);
            }
            if is_idle {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Sends `burst` frames of `size` bytes in each channel in turn, again and again, at most `rate` frames a second in all; gives what each
    /// agent sent and what of it came. Nothing that came before counts.
    pub(crate) fn blast(
        &mut self,
        channels: &[Channel],
        (size, burst): (usize, usize),
        rate: Option<u64>,
        time: Duration,
    ) -> Vec<Count> {
        self.settle();
        let mut counts = vec![Count::default(); self.agents.len()];
        let mut frames = vec![0xC0; size * burst];
        let (start, mut sent) = (Instant::now(), 0_u64);
        while start.elapsed() < time {
            for channel in channels {
                let due = rate.map(|rate| rate * start.elapsed().as_micros() as u64 / 1_000_000);
                if due.is_some_and(|due| sent > due) {
                    break;
                }
                for frame in frames.chunks_mut(size) {
                    let head = frame.first_chunk_mut().expect("a frame has a head");
                    RelayFrame::write_head(head, channel.number);
                    // Who sent it, for the receiver's count.
                    frame[RelayFrame::HEAD + 1] = u8::try_from(channel.from).expect("few agents");
                }
                if self.agents[channel.from].send(self.relay, &frames, size) {
                    counts[channel.from].sent += burst as u64;
                    sent += burst as u64;
                }
            }
            self.count(&mut counts, size);
        }
        let end = Instant::now() + Duration::from_millis(300);
        while Instant::now() < end {
            self.count(&mut counts, size);
        }
        counts
    }

    /// Throws away what came.
    fn settle(&mut self) {
        let mut counts = vec![Count::default(); self.agents.len()];
        self.count(&mut counts, 0);
    }

    /// Counts the frames that came. What else did is the protocol's, which goes on, or the relay would think its clients gone.
    fn count(&mut self, counts: &mut [Count], size: usize) {
        for agent in &mut self.agents {
            let mut others = vec![];
            agent.receive(&mut self.buffers, |from, datagram| {
                if datagram.len() != size {
                    others.push((from, datagram.to_vec()));
                } else if let Some(from) = datagram.get(RelayFrame::HEAD + 1)
                    && let Some(count) = counts.get_mut(usize::from(*from))
                {
                    count.received += 1;
                }
            });
            agent.go_on(others, &mut self.out);
        }
    }
}

impl Channel {
    /// A channel that there is not, from the same agent.
    pub(crate) const fn forged(mut self) -> Self {
        self.number ^= 0x5555_5555;
        self
    }

    /// The same channel, from another agent than the one whose it is.
    pub(crate) const fn stolen_by(mut self, from: usize) -> Self {
        self.from = from;
        self
    }
}

impl Agent {
    fn new(number: u8, target: &RendezvousTarget) -> Self {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket can be bound");
        socket
            .set_nonblocking(true)
            .expect("a socket can be told so");
        let state = UdpSocketState::new((&socket).into()).expect("a socket of the system");
        let local = socket.local_addr().expect("it is bound");
        let seed = |purpose| {
            Seed::new(
                [number, purpose, 7].repeat(11)[..32]
                    .try_into()
                    .expect("32"),
            )
        };
        let unix = now().unix.as_millis() * 1_000_000;
        let restored = Restored {
            stamps: unix..unix + 3_600_000_000_000,
            boot_counter: 1,
            ..Restored::default()
        };
        let identity = Identity::generate(seed(1), WORK_BITS);
        let mut node = Node::new(
            Arc::new(Config::default()),
            identity,
            restored,
            &seed(2),
            now(),
        );
        node.init_profile(Profile {
            auto_approve: Some(Node::default_scope()),
            ..Profile::default()
        });
        node.set_sockets(now(), vec![local]);
        node.add_rendezvous(now(), target.clone(), None);
        Self {
            node,
            socket,
            state,
            local,
            relay: target.addrs[0],
            trust_changes: 0,
            pongs: 0,
        }
    }

    /// Whatever there is to do now; whether there was anything.
    fn turn(&mut self, out: &mut TransmitBuf, buffers: &mut [u8]) -> bool {
        let mut came: Vec<(SocketAddr, Vec<u8>)> = vec![];
        self.receive(buffers, |from, datagram| {
            came.push((from, datagram.to_vec()));
        });
        self.go_on(came, out)
    }

    /// Lets the protocol have what came, and its time; whether there was anything to do.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "only what the load waits for is looked at"
    )]
    fn go_on(&mut self, came: Vec<(SocketAddr, Vec<u8>)>, out: &mut TransmitBuf) -> bool {
        let mut has_work = !came.is_empty();
        // As behind a network that lets nothing but the relay through: so they have channels.
        for (from, mut datagram) in came.into_iter().filter(|(from, _)| *from == self.relay) {
            let path = PathId::Udp(FourTuple {
                local: self.local,
                remote: PeerAddr(from),
            });
            self.node.handle_datagram(now(), path, None, &mut datagram);
        }
        if self
            .node
            .poll_timeout()
            .is_some_and(|due| due.at <= Instant::now())
        {
            self.node.handle_timeout(now());
        }
        while let Some(event) = self.node.poll_event() {
            has_work = true;
            match event {
                Event::Persist(Persist::Trust(_)) => self.trust_changes += 1,
                Event::Pong { .. } => self.pongs += 1,
                Event::DialFailed { error, .. } => panic!("a ping failed: {error}"),
                _ => {}
            }
        }
        self.node.trust_written(now(), self.trust_changes);
        while let Some(transmit) = self.node.poll_transmit(now(), out) {
            has_work = true;
            if let Some(to) = transmit.path.destination().filter(|to| *to == self.relay) {
                self.send(
                    to,
                    out.as_slice(),
                    transmit.segment_size.unwrap_or(transmit.size),
                );
            }
        }
        has_work
    }

    /// Whether the system took it.
    fn send(&self, destination: SocketAddr, contents: &[u8], size: usize) -> bool {
        let transmit = quinn_udp::Transmit {
            destination,
            ecn: None,
            contents,
            segment_size: (contents.len() > size).then_some(size),
            src_ip: None,
        };
        self.state
            .try_send((&self.socket).into(), &transmit)
            .is_ok()
    }

    /// Takes all that is there.
    fn receive(&self, buffers: &mut [u8], mut take: impl FnMut(SocketAddr, &[u8])) {
        let mut metas = [RecvMeta::default(); BUFFERS];
        loop {
            let mut slices: Vec<IoSliceMut<'_>> =
                buffers.chunks_mut(BUFFER).map(IoSliceMut::new).collect();
            let received = self
                .state
                .recv((&self.socket).into(), &mut slices, &mut metas);
            drop(slices);
            let Ok(count) = received else { return };
            for (buffer, meta) in buffers.chunks(BUFFER).zip(&metas[..count]) {
                for datagram in buffer[..meta.len].chunks(meta.stride.max(1)) {
                    take(meta.addr, datagram);
                }
            }
        }
    }
}
