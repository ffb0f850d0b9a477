//! The command line: every command with its options, and nothing of what they do.

mod app;
mod group;
mod search;
mod start;
mod talk;
mod tcp;
mod traffic;
mod watch;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use pilot_api::PeerRef;
use pilot_types::{Hostname, Tag};
use pilot_wire::{ParsePortsError, PortRange, Scope};

pub(crate) use app::{
    AdaptArgs, AppCommand, CallArgs, FilterCommand, InstallArgs, KeyCommand, PublishAppArgs,
    SecretCommand, ViewArgs, YankArgs,
};
pub(crate) use group::{
    BroadcastArgs, CreateGroupArgs, GroupCommand, GroupPolicyArgs, JoinRule, Role, RouteArgs,
};
pub(crate) use search::{CapabilitiesArgs, FindAgentsArgs};
pub(crate) use start::{LogForm, RendezvousRunArgs, StartArgs};
pub(crate) use talk::{
    ConnectArgs, InboxArgs, InboxCommand, MessageType, PingArgs, RecvArgs, SendArgs,
    SendMessageArgs, Since,
};
pub(crate) use tcp::{ExposeArgs, ForwardArgs, ProxyArgs, ServeArgs};
pub(crate) use traffic::{
    BenchArgs, DgramArgs, ListenArgs, PublishArgs, SendFileArgs, SubscribeArgs,
};
pub(crate) use watch::{Drawing, TopArgs, TopologyArgs, WatchArgs, WebhookCommand};

use crate::duration::{Deadline, Span};

/// An overlay network for AI agents: permanent addresses, encrypted direct paths, trust that both sides granted.
#[derive(Parser, Debug)]
#[command(name = "pilotctl", version, disable_help_subcommand = true)]
#[command(
    after_help = "PEER is a hostname, an address (0:A91F.0000.7C2E), a node_id, a public key in hex, or a ticket.\n\
    Durations are 500ms, 5s, 2m, 12h or 7d."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Args, Debug, Clone, Default)]
pub(crate) struct Global {
    /// Answer with one JSON document on standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// The agent's directory [default: $PILOT_HOME or ~/.pilot]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) home: Option<PathBuf>,
    /// The daemon's socket [default: $PILOT_SOCKET or HOME/pilot.sock]
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// Give up after this long, 0 for never [default: 30s]
    #[arg(long, global = true, value_name = "DUR")]
    pub(crate) timeout: Option<Deadline>,
    /// No words beyond the answer itself
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// More words on standard error
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    pub(crate) verbose: bool,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Start, stop or look at the daemon
    #[command(subcommand)]
    Daemon(DaemonCommand),
    /// Everything about this agent
    Info,
    /// Write a configuration
    Init(InitArgs),
    /// Show the configuration, or change it
    Config(ConfigArgs),
    /// Claim a name
    SetHostname {
        /// 1 to 63 characters, a-z first, then a-z, 0-9 or -
        name: Hostname,
    },
    /// Give the name up
    ClearHostname,
    /// Replace the words that this agent is found by
    SetTags {
        /// 1 to 32 characters each of a-z, 0-9 or -
        #[arg(required = true, value_name = "TAG", num_args = 1..=16)]
        tags: Vec<Tag>,
    },
    /// Remove all tags
    ClearTags,
    /// Say what this agent can do
    SetCapabilities(CapabilitiesArgs),
    /// Say nothing of what this agent can do
    ClearCapabilities,
    /// Show this agent to everybody
    SetPublic,
    /// Show this agent to trusted agents only
    SetPrivate,
    /// New keys for this agent; address, trust and sessions stay
    RotateKey,
    /// The key that brings this agent back when its own is stolen or lost
    #[command(subcommand)]
    Recovery(RecoveryCommand),
    /// Find an agent by its name
    Find {
        /// The name
        name: Hostname,
    },
    /// What is visible of an agent
    Lookup {
        /// The agent
        peer: PeerRef,
    },
    /// Find agents by what they are and can do
    Search(FindAgentsArgs),
    /// Agents with a live session
    Peers(SearchArgs),
    /// Ask an agent for trust
    Handshake(HandshakeArgs),
    /// Requests for trust that wait for an answer
    Pending,
    /// Grant an agent trust
    Approve(ApproveArgs),
    /// Refuse a request for trust
    Reject {
        /// The agent
        peer: PeerRef,
        /// Why
        #[arg(num_args = 0..)]
        reason: Vec<String>,
    },
    /// Take trust back and end what is open
    Untrust {
        /// The agent
        peer: PeerRef,
    },
    /// Agents with which there is trust
    Trust(SearchArgs),
    /// Take this agent out of the registry, until the daemon starts again or the profile is changed
    Deregister,
    /// A ticket that connects its holder to this agent without a registry
    Ticket {
        /// How long it is good for
        #[arg(long, value_name = "DUR")]
        expires: Option<Span>,
    },
    /// Measure the round trip to an agent
    Ping(PingArgs),
    /// Why packets to an agent travel as they do, and what would bring a better path
    Explain {
        /// The agent
        peer: PeerRef,
    },
    /// How long it takes to reach an agent, and by which path
    Traceroute {
        /// The agent
        peer: PeerRef,
    },
    /// Exchange bytes with a port of an agent: a message, or what is piped in
    Connect(ConnectArgs),
    /// Send data to a port of an agent and read the answer
    Send(SendArgs),
    /// Take streams that agents open to a port
    Recv(RecvArgs),
    /// Put a message into an agent's inbox, or its mailbox while it is away
    SendMessage(SendMessageArgs),
    /// Messages that came
    Inbox(InboxArgs),
    /// Send files to an agent
    SendFile(SendFileArgs),
    /// Files that came
    Received {
        /// Delete those that are shown
        #[arg(long)]
        clear: bool,
    },
    /// Publish an event to those who subscribed at an agent
    Publish(PublishArgs),
    /// Take events that are published at an agent
    Subscribe(SubscribeArgs),
    /// What this agent sees of its network, drawn
    Topology(TopologyArgs),
    /// This agent at work: traffic, peers and streams, drawn again every second
    Top(TopArgs),
    /// Tell what happens as it happens: messages, knocks, trust, files, events, groups
    Watch(WatchArgs),
    /// Post what happens to a URL
    #[command(subcommand)]
    Webhook(WebhookCommand),
    /// Send a datagram to a port of an agent
    Dgram(DgramArgs),
    /// Take datagrams that agents send to a port
    Listen(ListenArgs),
    /// Measure how fast bytes go to an agent
    Bench(BenchArgs),
    /// Lead a TCP port of this machine to a port of an agent
    Forward(ForwardArgs),
    /// Lead a port of this agent to a TCP port
    Expose(ExposeArgs),
    /// Serve files of a directory over HTTP on a port of this agent
    Serve(ServeArgs),
    /// Open a SOCKS5 and HTTP proxy that leads to agents: NAME.pilot
    Proxy(ProxyArgs),
    /// Groups of agents: create, join, keep
    #[command(subcommand, visible_alias = "network")]
    Group(GroupCommand),
    /// Put a message into the inbox of every member of a group
    Broadcast(BroadcastArgs),
    /// Open streams
    Connections,
    /// Give an open stream up
    Disconnect {
        /// Its number, as connections shows it
        id: u64,
    },
    /// Apps: find, install, call, make
    #[command(subcommand)]
    Appstore(AppCommand),
    /// Look for what commonly goes wrong, and name the cure
    Doctor,
    /// Whether the daemon answers and is connected to a rendezvous: exit code 0, 4 or 6
    Health,
    /// Every command with the JSON Schema of its arguments, for programs that choose one
    Context,
    /// The version of this program
    Version,
    /// A completion script, for the shell to read
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// The manual: one page, or all of them as files
    #[command(after_help = "Example: pilotctl man send-message | man -l -")]
    Man {
        /// Of which command [default: of pilotctl itself]
        command: Vec<String>,
        /// Write every page into this directory
        #[arg(long, value_name = "DIR", conflicts_with = "command")]
        dir: Option<PathBuf>,
    },
    /// Two agents find, trust and talk to each other, on this machine
    Demo {
        /// Leave everything running and say how to reach it
        #[arg(long)]
        keep: bool,
    },
    /// The embedded rendezvous of this machine
    #[command(subcommand)]
    Rendezvous(RendezvousCommand),
}

/// What to do with the daemon.
#[derive(Subcommand, Debug)]
pub(crate) enum DaemonCommand {
    /// Start it, and return once the agent is registered
    Start(Box<StartArgs>),
    /// Stop it
    Stop,
    /// Whether it runs
    Status {
        /// Print nothing: exit code 0 if it runs, 4 if not
        #[arg(long)]
        check: bool,
    },
}

/// What to do with the recovery key.
#[derive(Subcommand, Debug)]
pub(crate) enum RecoveryCommand {
    /// Make one, and write it to a file that is to leave this machine
    #[command(
        after_help = "Example: pilotctl recovery new /media/stick/worker.recovery\n\
                      Whoever has the file can take the agent over; without it nobody can bring it back. There is one at a time."
    )]
    New {
        /// Where: a file that is not there yet and not in the home, or - for standard output
        file: PathBuf,
        /// The recovery key of before, which alone sets another one
        #[arg(long, value_name = "OLD_FILE")]
        with: Option<PathBuf>,
    },
    /// Whether there is one, since when, and what others make of this agent's own key
    Show,
    /// Take the agent back: new keys, and every key since the recovery key was set is void
    #[command(
        after_help = "Example: pilotctl recovery use /media/stick/worker.recovery\n\
                      With the daemon running or not; without an identity in the home, the agent moves into it."
    )]
    Use {
        /// The file that `recovery new` wrote, or - for standard input
        file: PathBuf,
    },
}

/// What to do with the embedded rendezvous.
#[derive(Subcommand, Debug)]
pub(crate) enum RendezvousCommand {
    /// Whether it runs, and where
    Status,
    /// Stop it; daemons that use it start it again
    Stop,
    /// Run one in the foreground: what daemons start as the embedded one
    #[command(hide = true)]
    Run(RendezvousRunArgs),
}

/// `init`.
#[derive(Args, Debug)]
pub(crate) struct InitArgs {
    /// A rendezvous, pilot://KEY@host:port or host:port; may be repeated
    #[arg(long, value_name = "URL")]
    pub(crate) rendezvous: Vec<String>,
    /// The name to claim
    #[arg(long, value_name = "NAME")]
    pub(crate) hostname: Option<Hostname>,
}

/// `config`.
#[derive(Args, Debug)]
pub(crate) struct ConfigArgs {
    /// rendezvous, hostname, tags, public, auto_approve, listen, port_mapping, relays, relay_for or catalogues; lists with commas; an empty value
    /// unsets
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

/// A list that can be narrowed.
#[derive(Args, Debug)]
pub(crate) struct SearchArgs {
    /// Only agents whose name or address contains this
    #[arg(long, value_name = "TEXT")]
    pub(crate) search: Option<String>,
}

/// `handshake`.
#[derive(Args, Debug)]
pub(crate) struct HandshakeArgs {
    /// The agent
    pub(crate) peer: PeerRef,
    /// Why, for those who decide
    #[arg(num_args = 0..)]
    pub(crate) reason: Vec<String>,
    /// Wait until trust holds [default: 30s]
    #[arg(long, value_name = "DUR", num_args = 0..=1, require_equals = true, default_missing_value = "30s")]
    pub(crate) wait: Option<Deadline>,
}

/// `approve`.
#[derive(Args, Debug)]
pub(crate) struct ApproveArgs {
    /// The agent
    pub(crate) peer: PeerRef,
    /// Ports that it may dial, as 7,1000-1002, or all [default: 7,1000-1002]
    #[arg(long, value_name = "PORTS")]
    pub(crate) ports: Option<Ports>,
    /// How long [default: without end]
    #[arg(long, value_name = "DUR")]
    pub(crate) expires: Option<Span>,
    /// Grant only: take no trust in return
    #[arg(long)]
    pub(crate) one_way: bool,
    /// Apps that it may call, as weather,org.example.hello; they take the place of those before [default: none]
    #[arg(long, value_name = "APPS", value_delimiter = ',')]
    pub(crate) apps: Vec<String>,
    /// Let it read the catalogue of apps that this agent has
    #[arg(long)]
    pub(crate) catalogue: bool,
    /// How many questions about apps it may ask a minute [default: 60]
    #[arg(long, value_name = "N", requires = "apps")]
    pub(crate) app_rate: Option<u32>,
    /// How many calls of apps it may make in all [default: any number]
    #[arg(long, value_name = "N", requires = "apps")]
    pub(crate) app_budget: Option<u64>,
}

/// Ports from the command line. A type of its own, as a list would mean a repeated option.
#[derive(Clone, Debug)]
pub(crate) struct Ports(pub(crate) Vec<PortRange>);

impl std::str::FromStr for Ports {
    type Err = ParsePortsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Scope::parse_ports(text).map(Self)
    }
}
