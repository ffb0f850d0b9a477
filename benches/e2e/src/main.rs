//! Pilot beside its peers: the same payload and sink, each contestant as two processes in two network namespaces, in turn.
//! What the figures mean stands in `docs/performance.md`. For Linux, and for root.

mod child;
mod contestant;
mod modes;
mod place;
mod setup;
mod table;

use std::os::unix::fs::MetadataExt;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use child::Role;
use place::Wire;
use setup::{Bounds, Mode, Name, Result, Setup};
use table::{Table, word};

/// Measures pilot beside its peers.
#[derive(Debug, Parser)]
#[command(name = "pilot-e2e-bench", args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Who is measured, in this order within each round
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "pilot,quinn,iroh,tcp,udp"
    )]
    contestants: Vec<Name>,
    /// What is measured
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "bulk,streams,rtt,rtt64,requests,connect"
    )]
    modes: Vec<Mode>,
    /// What joins the two sides: `veth`, `wan-lossy`, `wan`, `far-lossy`, or a link such as
    /// `delay=25ms,loss=1%,rate=200mbit,queue=1220k`; may be given several times
    #[arg(long, default_value = "veth")]
    link: Vec<Wire>,
    /// Runs of each contestant
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    #[command(flatten)]
    bounds: Bounds,
    /// One JSON document with every run instead of tables
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// One process of a measurement
    #[command(hide = true)]
    Child { role: Role, setup: String },
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pilot-e2e-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    if let Some(Command::Child { role, setup }) = &args.command {
        let setup: Setup = serde_json::from_str(setup)?;
        return child::main(*role, &setup);
    }
    if std::fs::metadata("/proc/self")?.uid() != 0 {
        return Err("network namespaces need root: run it with sudo".into());
    }
    let mut tables = vec![];
    for link in &args.link {
        for mode in &args.modes {
            let table = fill(args, link, *mode);
            if !args.json {
                println!("{}", table.markdown());
            }
            tables.push(table.json());
        }
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&tables)?);
    }
    Ok(())
}

/// All rounds of one mode: each contestant once in each, so that what changes on the machine changes for all.
fn fill(args: &Args, link: &Wire, mode: Mode) -> Table {
    let names = args
        .contestants
        .iter()
        .filter(|name| child::has(**name, mode));
    let names: Vec<_> = names.copied().collect();
    let mut table = Table::new(&link.text, mode, &names);
    for round in 1..=args.rounds {
        for name in &names {
            eprintln!("{} {}/{} {}", word(mode), round, args.rounds, word(*name));
            match place::measure(link, *name, mode, args.bounds) {
                Ok(run) => table.add(*name, run),
                Err(error) => table.fail(*name, &error.to_string()),
            }
        }
    }
    table
}
