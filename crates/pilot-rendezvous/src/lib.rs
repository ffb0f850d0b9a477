//! The Pilot rendezvous as a library: run(Config).

pub mod embedded;
