//! The Pilot daemon as a library: run(Config).
