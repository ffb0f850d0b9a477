//! Settings of tests, and files that they carry.

use std::path::Path;
use std::process::Command;
use std::str::FromStr;

use pilot_sim::SimRng;

use super::run;

/// A number from the environment, or else the one that keeps the run short.
///
/// # Panics
/// If it is no number.
#[must_use]
pub fn setting<T: FromStr>(name: &str, default: T) -> T {
    let given = std::env::var(name).ok();
    given.map_or(default, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number"))
    })
}

/// Writes a file of so many bytes that nothing can compress.
///
/// # Panics
/// If it cannot be written.
pub fn write_random(path: &Path, size: usize) {
    let mut rng = SimRng::new(size as u64);
    let blocks = (0..size.div_ceil(32)).flat_map(|_| rng.seed());
    let bytes: Vec<u8> = blocks.take(size).collect();
    std::fs::write(path, bytes).expect("the laboratory's directory is ours");
}

/// A file's SHA-256, in hexadecimal.
///
/// # Panics
/// If there is no such file.
#[must_use]
pub fn sha256(path: &Path) -> Vec<u8> {
    run(Command::new("sha256sum").arg(path)).stdout[..64].to_vec()
}
