//! What each command does: one function each, which asks the daemon and gives data and words.

mod adapted;
mod apps;
mod config;
mod daemon;
mod discovery;
mod doctor;
mod events;
mod explain;
mod files;
mod group;
mod health;
mod inbox;
mod keys;
mod manual;
mod message;
mod ping;
mod profile;
mod publisher;
mod recv;
mod reference;
mod rendezvous;
mod search;
mod stream;
mod tcp;
mod top;
mod topology;
mod traffic;
mod trust;
mod watch;

use crate::args::{Command, DaemonCommand, RendezvousCommand};
use crate::context::Context;
use crate::output::{Failure, Reply};
use crate::{demo, launch};

pub(crate) use rendezvous::home as embedded_home;

/// Runs a command to its end.
pub(crate) async fn run(context: &Context, command: Command) -> Result<Reply, Failure> {
    match command {
        Command::Daemon(command) => run_daemon(context, command).await,
        Command::Rendezvous(command) => run_rendezvous(context, command).await,
        Command::Info => profile::info(context).await,
        Command::Init(args) => config::init(context, args),
        Command::Config(args) => config::config(context, &args),
        Command::SetHostname { name } => profile::set_hostname(context, Some(name)).await,
        Command::ClearHostname => profile::set_hostname(context, None).await,
        Command::SetTags { tags } => profile::set_tags(context, tags).await,
        Command::ClearTags => profile::set_tags(context, vec![]).await,
        Command::SetCapabilities(args) => search::set_capabilities(context, args).await,
        Command::ClearCapabilities => search::say(context, vec![]).await,
        Command::Search(args) => search::search(context, args).await,
        Command::SetPublic => profile::set_visibility(context, true).await,
        Command::SetPrivate => profile::set_visibility(context, false).await,
        Command::RotateKey => keys::rotate(context).await,
        Command::Recovery(command) => keys::recovery(context, command).await,
        Command::Ticket { expires } => profile::ticket(context, expires).await,
        Command::Find { name } => discovery::find(context, name).await,
        Command::Lookup { peer } => discovery::lookup(context, peer).await,
        Command::Peers(args) => discovery::peers(context, args.search).await,
        Command::Group(command) => group::group(context, command).await,
        Command::Broadcast(args) => group::broadcast(context, args).await,
        Command::Connections => discovery::connections(context).await,
        Command::Disconnect { id } => traffic::disconnect(context, id).await,
        Command::SendFile(args) => files::send_file(context, args).await,
        Command::Received { clear } => files::received(context, clear).await,
        Command::Publish(args) => events::publish(context, args).await,
        Command::Subscribe(args) => events::subscribe(context, args).await,
        Command::Topology(args) => topology::topology(context, args).await,
        Command::Top(args) => top::top(context, args).await,
        Command::Watch(args) => watch::watch(context, args).await,
        Command::Webhook(command) => watch::webhook(context, command).await,
        Command::Dgram(args) => traffic::dgram(context, args).await,
        Command::Listen(args) => traffic::listen(context, &args).await,
        Command::Bench(args) => traffic::bench(context, args).await,
        Command::Forward(args) => tcp::forward(context, args).await,
        Command::Expose(args) => tcp::expose(context, args).await,
        Command::Serve(args) => tcp::serve(context, &args).await,
        Command::Proxy(args) => tcp::proxy(context, &args).await,
        Command::Deregister => profile::deregister(context).await,
        Command::Completions { shell } => profile::completions(shell),
        Command::Handshake(args) => trust::handshake(context, args).await,
        Command::Pending => trust::pending(context).await,
        Command::Approve(args) => trust::approve(context, args).await,
        Command::Reject { peer, reason } => trust::reject(context, peer, &reason).await,
        Command::Untrust { peer } => trust::untrust(context, peer).await,
        Command::Trust(args) => trust::trust(context, args.search).await,
        Command::Ping(args) => ping::ping(context, args).await,
        Command::Explain { peer } => explain::explain(context, peer).await,
        Command::Traceroute { peer } => explain::traceroute(context, peer).await,
        Command::Connect(args) => stream::connect(context, args).await,
        Command::Send(args) => stream::send(context, args).await,
        Command::Recv(args) => recv::recv(context, &args).await,
        Command::SendMessage(args) => message::send_message(context, args).await,
        Command::Inbox(args) => inbox::inbox(context, args).await,
        Command::Appstore(command) => apps::run(context, command).await,
        Command::Doctor => doctor::doctor(context).await,
        Command::Health => health::health(context).await,
        Command::Context => reference::context(context),
        Command::Man { command, dir } => manual::man(&command, dir.as_deref()),
        Command::Version => profile::version(),
        Command::Demo { keep } => demo::run(context, keep).await,
    }
}

async fn run_daemon(context: &Context, command: DaemonCommand) -> Result<Reply, Failure> {
    match command {
        DaemonCommand::Start(args) if args.foreground => launch::foreground(context, &args).await,
        DaemonCommand::Start(args) => daemon::start(context, &args).await,
        DaemonCommand::Stop => daemon::stop(context).await,
        DaemonCommand::Status { check } => daemon::status(context, check).await,
    }
}

async fn run_rendezvous(context: &Context, command: RendezvousCommand) -> Result<Reply, Failure> {
    match command {
        RendezvousCommand::Status => rendezvous::status(context),
        RendezvousCommand::Stop => rendezvous::stop(context).await,
        RendezvousCommand::Run(args) => launch::rendezvous(context, args).await,
    }
}
