//! `pilot-link`: joins two new TAP devices in two network namespaces by an emulated link, until it is told to end.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use pilot_lab::{Cable, End, SpecError, TapName, parse_link};
use pilot_sim::LinkConfig;

/// Joins two new TAP devices in two network namespaces by an emulated link, until its input ends.
///
/// A link is written `delay=20ms,jitter=2ms,loss=2%,burst=1%/20%/100%,reorder=3%/5ms,duplicate=1%,corrupt=0.1%,
/// rate=200mbit,queue=256k,mtu=1500,mark=64k`; what is left out does nothing. Needs root.
#[derive(Debug, Parser)]
#[command(name = "pilot-link", version)]
struct Args {
    /// The first device
    #[arg(long, value_name = "NETNS/TAP")]
    a: TapName,
    /// The second device
    #[arg(long, value_name = "NETNS/TAP")]
    b: TapName,
    /// The link in both directions
    #[arg(long, value_name = "LINK", default_value = "", value_parser = link)]
    link: LinkConfig,
    /// The link from B to A, where it is another one
    #[arg(long, value_name = "LINK", value_parser = link)]
    back: Option<LinkConfig>,
    /// What decides every draw
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn link(text: &str) -> Result<LinkConfig, SpecError> {
    parse_link(text)
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "pilot-link: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> io::Result<()> {
    let back = args.back.unwrap_or(args.link);
    let cable = Cable::new(&args.a, &args.b, args.link, back, args.seed)?;
    let mut out = io::stdout();
    writeln!(out, "ready")?;
    out.flush()?;
    io::copy(&mut io::stdin(), &mut io::sink())?;
    for (name, end) in [("a to b", End::B), ("b to a", End::A)] {
        writeln!(out, "{name}: {:?}", cable.counters_towards(end))?;
    }
    Ok(())
}
