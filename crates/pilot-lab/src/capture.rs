//! What passes an interface, by `tcpdump`, read back packet by packet.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::lab::{Process, wait};

/// How long tcpdump may take to begin and to end.
const PATIENCE: Duration = Duration::from_secs(10);
const FILE_HEADER: usize = 24;
const PACKET_HEADER: usize = 16;
/// The first bytes of a capture with microseconds, written by a machine of this byte order.
const MAGIC: u32 = 0xa1b2_c3d4;

/// A packet of a capture.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Captured {
    /// When it passed, since the epoch.
    pub at: Duration,
    /// The whole frame.
    pub frame: Vec<u8>,
}

/// A capture that runs.
pub struct Capture {
    process: Process,
    file: PathBuf,
    words: PathBuf,
}

impl Capture {
    /// Starts `tcpdump` with the arguments given and these: whole packets, written at once, into `file`.
    pub(crate) fn start(mut tcpdump: Command, file: PathBuf) -> Self {
        let words = file.with_extension("log");
        let log = File::create(&words).expect("the laboratory's directory is ours");
        // It gives root up to a user who may not write the laboratory's directory, if it is not told otherwise.
        tcpdump.args([
            "--immediate-mode",
            "-n",
            "-p",
            "-U",
            "-s",
            "0",
            "-B",
            "65536",
            "-Z",
            "root",
            "-w",
        ]);
        let process = Process::spawn(tcpdump.arg(&file).stdout(Stdio::null()).stderr(log));
        let capture = Self {
            process,
            file,
            words,
        };
        wait("tcpdump listens", PATIENCE, || {
            capture.words().contains("listening on")
        });
        capture
    }

    fn words(&self) -> String {
        fs::read_to_string(&self.words).unwrap_or_default()
    }

    /// Ends the capture; gives its packets.
    ///
    /// # Panics
    /// If packets passed that were not captured.
    #[must_use]
    pub fn finish(mut self) -> Vec<Captured> {
        crate::lab::signal(self.process.pid(), "INT");
        self.process.wait(PATIENCE);
        let words = self.words();
        assert!(
            words.contains("\n0 packets dropped by kernel"),
            "an incomplete capture: {words}"
        );
        let bytes = fs::read(&self.file).expect("tcpdump has written a file");
        parse(&bytes).unwrap_or_else(|| panic!("no capture: {}", self.file.display()))
    }
}

/// The packets of a capture file (`pcap`, microseconds, of this machine's byte order).
fn parse(bytes: &[u8]) -> Option<Vec<Captured>> {
    let word = |bytes: &[u8], at: usize| {
        let word = bytes.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_ne_bytes(word))
    };
    if word(bytes, 0)? != MAGIC {
        return None;
    }
    let (mut rest, mut packets) = (bytes.get(FILE_HEADER..)?, vec![]);
    while !rest.is_empty() {
        let (seconds, micros) = (word(rest, 0)?, word(rest, 4)?);
        let size = word(rest, 8)? as usize;
        packets.push(Captured {
            at: Duration::new(seconds.into(), micros.checked_mul(1000)?),
            frame: rest.get(PACKET_HEADER..PACKET_HEADER + size)?.to_vec(),
        });
        rest = &rest[PACKET_HEADER + size..];
    }
    Some(packets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(packets: &[(u32, u32, &[u8])]) -> Vec<u8> {
        let mut bytes = MAGIC.to_ne_bytes().to_vec();
        bytes.resize(FILE_HEADER, 0);
        for (seconds, micros, frame) in packets {
            let size = u32::try_from(frame.len()).unwrap();
            for word in [*seconds, *micros, size, size] {
                bytes.extend(word.to_ne_bytes());
            }
            bytes.extend(*frame);
        }
        bytes
    }

    #[test]
    fn packets_are_read_back() {
        let bytes = file(&[(1, 500_000, b"one"), (2, 0, b""), (3, 7, b"three")]);
        let packets = parse(&bytes).unwrap();
        let frames: Vec<_> = packets.iter().map(|it| &it.frame[..]).collect();
        assert_eq!(frames, [&b"one"[..], b"", b"three"]);
        assert_eq!(packets[0].at, Duration::from_millis(1500));
    }

    #[test]
    fn a_file_that_was_cut_or_is_another_is_refused() {
        let bytes = file(&[(1, 0, b"one")]);
        assert_eq!(parse(&bytes[..FILE_HEADER]), Some(vec![]));
        for size in (0..FILE_HEADER).chain(FILE_HEADER + 1..bytes.len()) {
            assert_eq!(parse(&bytes[..size]), None, "{size}");
        }
        assert_eq!(parse(&[0; 100]), None);
    }
}
