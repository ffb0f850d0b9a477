//! Guessing a port: the way between an agent whose NAT gives each destination another port, and one whose NAT gives all
//! the same.
//!
//! The hard side sends one packet from each of 256 sockets to the easy side's endpoint, so that its NAT has 256 ports
//! open towards it; the easy side sends to ports of the hard side's address by chance. With 1,024 guesses among 64,512
//! ports one hits with 1 − (1 − 256/64,512)^1,024 = 98.3 %. The first hit passes both NATs, and its answer too.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use pilot_types::{Deadline, FourTuple, PathId, PeerAddr, Seed};
use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};

/// Sockets of the hard side.
pub const SPRAY_SOCKETS: usize = 256;
/// Guesses of the easy side: 35 KB of UDP payload in two seconds, once on each network of either end.
const GUESSES: usize = 1024;
/// NATs give no port below this to a port above it (RFC 4787 §4.2.2).
const LOWEST_PORT: u16 = 1024;
/// Between two packets.
const PACE: Duration = Duration::from_millis(2);
/// How long answers are waited for after the last packet.
const PATIENCE: Duration = Duration::from_secs(3);

/// One end's part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpraySide {
    /// Our NAT gives each destination another port: many sockets send to this endpoint of the peer.
    Hard(SocketAddr),
    /// The peer's NAT does: one socket sends to many ports of this address.
    Easy(IpAddr),
}

/// Packets to paths of which one may work. Each is to carry a challenge, and to be small.
///
/// ```
/// use std::time::Instant;
/// use pilot_nat::{Spray, SpraySide};
/// use pilot_types::Seed;
///
/// let mut now = Instant::now();
/// let socket = "0.0.0.0:9000".parse()?;
/// let side = SpraySide::Easy("203.0.113.7".parse()?);
/// let mut spray = Spray::new(now, side, &[socket], &Seed::new([7; 32]));
/// let mut guesses = 0;
/// while let Some(deadline) = spray.poll_timeout() {
///     now = deadline.at;
///     while let Some(_path) = spray.poll_path(now) {
///         guesses += 1;
///     }
/// }
/// assert_eq!(guesses, 1024);
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Spray {
    /// What is left; the last is next.
    paths: Vec<PathId>,
    /// When the next one is due, or the wait is over.
    next: Instant,
    is_over: bool,
}

impl Spray {
    /// From these sockets: all of them on the hard side, the first on the easy one.
    #[must_use]
    pub fn new(now: Instant, side: SpraySide, sockets: &[SocketAddr], seed: &Seed) -> Self {
        let mut rng = ChaCha12Rng::from_seed(*seed.expose());
        let path = |local: SocketAddr, remote: SocketAddr| {
            let remote = PeerAddr(remote);
            PathId::Udp(FourTuple { local, remote })
        };
        let paths = match side {
            SpraySide::Hard(to) => {
                let sockets = sockets.iter().take(SPRAY_SOCKETS);
                sockets.map(|local| path(*local, to)).collect()
            }
            SpraySide::Easy(ip) => {
                let ports = distinct_ports(&mut rng);
                let local = sockets.first();
                let paths = local.map(|local| {
                    let to = |port| path(*local, SocketAddr::new(ip, port));
                    ports.into_iter().map(to).collect()
                });
                paths.unwrap_or_default()
            }
        };
        Self {
            paths,
            next: now,
            is_over: false,
        }
    }

    /// The next path to send on.
    pub fn poll_path(&mut self, now: Instant) -> Option<PathId> {
        if self.is_over || now < self.next {
            return None;
        }
        let path = self.paths.pop();
        match path {
            Some(_) if self.paths.is_empty() => self.next = now + PATIENCE,
            Some(_) => self.next += PACE,
            None => self.is_over = true,
        }
        path
    }

    /// When [`Self::poll_path`] has something to do; `None` once it is over.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Deadline> {
        let (at, timer) = (self.next, "spray");
        (!self.is_over).then_some(Deadline { at, timer })
    }
}

/// Different ports by chance.
fn distinct_ports(rng: &mut ChaCha12Rng) -> Vec<u16> {
    let mut ports: Vec<u16> = (LOWEST_PORT..=u16::MAX).collect();
    for at in 0..GUESSES {
        let left = (ports.len() - at) as u64;
        // Biased by less than 2^-48.
        let other = at + (rng.next_u64() % left) as usize;
        ports.swap(at, other);
    }
    ports.truncate(GUESSES);
    ports
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn all(side: SpraySide, sockets: &[SocketAddr]) -> (Vec<PathId>, Duration) {
        let start = Instant::now();
        let mut spray = Spray::new(start, side, sockets, &Seed::new([3; 32]));
        let (mut now, mut paths) = (start, vec![]);
        while let Some(deadline) = spray.poll_timeout() {
            now = deadline.at;
            paths.extend(std::iter::from_fn(|| spray.poll_path(now)));
        }
        (paths, now - start)
    }

    #[test]
    fn the_easy_side_guesses_each_port_once_and_stops() {
        let socket = "0.0.0.0:9000".parse().unwrap();
        let ip: IpAddr = "203.0.113.7".parse().unwrap();
        let (paths, time) = all(SpraySide::Easy(ip), &[socket]);
        let different: BTreeSet<PathId> = paths.iter().copied().collect();
        assert_eq!((paths.len(), different.len()), (GUESSES, GUESSES));
        assert!(paths.iter().all(|path| {
            let remote = path.remote().unwrap();
            remote.ip() == ip && remote.port() >= LOWEST_PORT
        }));
        assert_eq!(time, PACE * (GUESSES as u32 - 1) + PATIENCE);
    }

    #[test]
    fn the_hard_side_sends_once_from_each_socket() {
        let sockets: Vec<SocketAddr> = (0..1000)
            .map(|n| SocketAddr::from(([0, 0, 0, 0], 20_000 + n)))
            .collect();
        let to = "203.0.113.7:4000".parse().unwrap();
        let (paths, _) = all(SpraySide::Hard(to), &sockets);
        assert_eq!(paths.len(), SPRAY_SOCKETS);
        assert!(paths.iter().all(|path| path.remote() == Some(to)));
    }

    #[test]
    fn without_a_socket_nothing_is_sent() {
        let ip: IpAddr = "203.0.113.7".parse().unwrap();
        assert_eq!(all(SpraySide::Easy(ip), &[]).0, []);
    }
}
