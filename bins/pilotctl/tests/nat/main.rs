//! Agents behind the kernel's own NATs: real daemons on machines of their own. Needs root, `ip`, `iptables`, `nft` and `miniupnpd`; `PILOTCTL`
//! names the program, with `pilot-rendezvous` beside it.

#![allow(clippy::print_stdout, reason = "the figures of a run are its output")]

mod families;
mod load;
mod mapped;
mod moves;
mod pairs;
mod relay;
mod roaming;
mod sites;
