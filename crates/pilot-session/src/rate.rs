//! Limits by rate: one for everybody, and one for each of many names in memory that nobody can make grow.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use pilot_types::{PathId, RelayAddr};
use ring::hmac::{HMAC_SHA256, Key, sign};

/// So many at once, and so many a second from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// At once, after a rest; at least 1.
    pub burst: u32,
    /// A second; at least 1.
    pub per_second: u32,
}

impl Rate {
    /// Microseconds until one that was taken is back.
    const fn interval(self) -> u64 {
        // Both stand for at least one: a rate of nothing would be a lock.
        1_000_000
            / if self.per_second == 0 {
                1
            } else {
                self.per_second
            } as u64
    }

    /// Microseconds until an empty bucket is full.
    const fn span(self) -> u64 {
        self.interval() * if self.burst == 0 { 1 } else { self.burst } as u64
    }
}

/// A token bucket in one number: the time, in microseconds, at which it is full again.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket(u64);

impl Bucket {
    fn has_token(self, now: u64, rate: Rate) -> bool {
        self.0.max(now) + rate.interval() <= now + rate.span()
    }

    /// Takes a token, or empties the bucket: it never owes more than its burst.
    fn take(&mut self, now: u64, rate: Rate) {
        self.0 = (self.0.max(now) + rate.interval()).min(now + rate.span());
    }
}

/// One token bucket.
#[derive(Clone, Debug)]
pub struct RateLimit {
    rate: Rate,
    since: Instant,
    bucket: Bucket,
}

impl RateLimit {
    /// A full bucket.
    #[must_use]
    pub const fn new(rate: Rate, now: Instant) -> Self {
        Self {
            rate,
            since: now,
            bucket: Bucket(0),
        }
    }

    /// Takes a token; `false` if there was none.
    pub fn take(&mut self, now: Instant) -> bool {
        let now = micros(self.since, now);
        let has_token = self.bucket.has_token(now, self.rate);
        if has_token {
            self.bucket.take(now, self.rate);
        }
        has_token
    }
}

/// Rows of buckets: a name is refused only if its bucket is empty in each.
const ROWS: usize = 2;
/// Buckets of a row; 8 bytes each, so 64 KiB a limit.
const COLUMNS: usize = 4096;

/// A token bucket for each name, in memory of a fixed size.
///
/// A name has one bucket in each of two rows, by a keyed hash; names share buckets, and nothing is ever evicted: there is no
/// way to win a fresh bucket by filling a table. Who empties the buckets of one name empties those of another only where both
/// rows agree: of 4,096² places, for `n` names that are over their limit, about `(n / 4096)²` of all others are refused with
/// them: 1 in 1,700 at 100 names, 1 in 16 at 1,000. A flood of `m` packets a second from ever new names takes `m / 4096` a
/// second from each bucket: below the rate, nobody is refused for it.
pub struct NameLimit {
    rate: Rate,
    since: Instant,
    key: Key,
    /// Empty until the first name comes.
    buckets: Vec<Bucket>,
}

impl NameLimit {
    /// Full buckets; which names share one follows from `key`, which must be a secret.
    #[must_use]
    pub fn new(rate: Rate, key: &[u8; 32], now: Instant) -> Self {
        Self {
            rate,
            since: now,
            key: Key::new(HMAC_SHA256, key),
            buckets: vec![],
        }
    }

    /// Takes a token of `name`; `false` if there was none.
    pub fn take(&mut self, now: Instant, name: &[u8]) -> bool {
        if self.buckets.is_empty() {
            self.buckets = vec![Bucket::default(); ROWS * COLUMNS];
        }
        let now = micros(self.since, now);
        let tag = sign(&self.key, name);
        let places: [usize; ROWS] = std::array::from_fn(|row| {
            let column = u16::from_be_bytes([tag.as_ref()[2 * row], tag.as_ref()[2 * row + 1]]);
            row * COLUMNS + usize::from(column) % COLUMNS
        });
        // What is refused takes nothing: who keeps asking is not locked out for it.
        let has_token = places
            .iter()
            .any(|place| self.buckets[*place].has_token(now, self.rate));
        if has_token {
            for place in places {
                self.buckets[place].take(now, self.rate);
            }
        }
        has_token
    }

    /// Bytes that it holds.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.buckets.capacity() * size_of::<Bucket>()
    }
}

fn micros(since: Instant, now: Instant) -> u64 {
    let elapsed: Duration = now.saturating_duration_since(since);
    // 584,000 years.
    u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX / 2)
}

/// Who is to answer for what comes in on a path: an IPv4 address, the first 64 bits of an IPv6 address (what one customer has
/// at least), a channel of a relay, a stream.
#[must_use]
pub fn source_name(path: &PathId) -> Vec<u8> {
    match path {
        PathId::Udp(tuple) => host(tuple.remote.0.ip()),
        PathId::Relay { relay, channel } => [
            &b"relay"[..],
            &host(relay.0.ip()),
            &relay.0.port().to_be_bytes(),
            &channel.to_be_bytes(),
        ]
        .concat(),
        PathId::Stream(stream) => [&b"stream"[..], &stream.to_u64().to_be_bytes()].concat(),
    }
}

fn host(ip: IpAddr) -> Vec<u8> {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets()[..8].to_vec(),
    }
}

/// A path, to the last bit that its other end shows: what a cookie is bound to.
pub(crate) fn path_name(path: &PathId) -> Vec<u8> {
    let address = |addr: SocketAddr| {
        let ip: Vec<u8> = match addr.ip().to_canonical() {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        [&ip[..], &addr.port().to_be_bytes()].concat()
    };
    match path {
        PathId::Udp(tuple) => [&b"udp"[..], &address(tuple.remote.0)].concat(),
        PathId::Relay {
            relay: RelayAddr(relay),
            channel,
        } => [&b"relay"[..], &address(*relay), &channel.to_be_bytes()].concat(),
        PathId::Stream(_) => source_name(path),
    }
}

#[cfg(test)]
mod tests {
    use pilot_types::{FourTuple, PeerAddr, StreamId};

    use super::*;

    const RATE: Rate = Rate {
        burst: 5,
        per_second: 10,
    };

    fn udp(addr: &str) -> PathId {
        PathId::Udp(FourTuple {
            local: ([0, 0, 0, 0], 1).into(),
            remote: PeerAddr(addr.parse().unwrap()),
        })
    }

    #[test]
    fn a_burst_passes_and_then_the_steady_rate() {
        let start = Instant::now();
        let mut limit = RateLimit::new(RATE, start);
        assert_eq!((0..20).filter(|_| limit.take(start)).count(), 5);
        let later = start + Duration::from_millis(100);
        assert!(limit.take(later) && !limit.take(later));
        let rested = later + Duration::from_secs(9);
        assert_eq!((0..20).filter(|_| limit.take(rested)).count(), 5);
    }

    #[test]
    fn a_name_over_its_limit_stays_so_whatever_other_names_do() {
        let now = Instant::now();
        let mut limit = NameLimit::new(RATE, &[7; 32], now);
        assert_eq!((0..20).filter(|_| limit.take(now, b"loud")).count(), 5);
        for name in 0..1_000_000_u32 {
            limit.take(now, &name.to_be_bytes());
        }
        assert!(!limit.take(now, b"loud"), "no flood wins a fresh bucket");
        assert_eq!(limit.memory(), 65_536);
    }

    #[test]
    fn a_hundred_loud_names_take_nothing_from_the_others() {
        let now = Instant::now();
        let mut limit = NameLimit::new(RATE, &[7; 32], now);
        for name in 0..100_u32 {
            for _ in 0..1000 {
                limit.take(now, &[&b"loud"[..], &name.to_be_bytes()].concat());
            }
        }
        let refused = (0..1000_u32)
            .filter(|name| !limit.take(now, &name.to_be_bytes()))
            .count();
        assert!(refused <= 5, "{refused} of 1000 quiet names refused");
    }

    #[test]
    fn a_source_is_an_address_a_customers_prefix_a_channel_or_a_stream() {
        let name = |addr: &str| source_name(&udp(addr));
        assert_eq!(name("192.0.2.1:1"), name("192.0.2.1:2"));
        assert_ne!(name("192.0.2.1:1"), name("192.0.2.2:1"));
        assert_eq!(name("[::ffff:192.0.2.1]:1"), name("192.0.2.1:1"));
        assert_eq!(name("[2001:db8::1]:1"), name("[2001:db8::ffff:2]:9"));
        assert_ne!(name("[2001:db8::1]:1"), name("[2001:db8:0:1::1]:1"));
        let channel = |channel| {
            source_name(&PathId::Relay {
                relay: RelayAddr("192.0.2.1:1".parse().unwrap()),
                channel,
            })
        };
        assert_ne!(channel(1), channel(2));
        assert_ne!(channel(1), name("192.0.2.1:1"));
        let stream = |id| source_name(&PathId::Stream(StreamId::new(id)));
        assert_ne!(stream(0), stream(4));
        assert_ne!(
            path_name(&udp("192.0.2.1:1")),
            path_name(&udp("192.0.2.1:2"))
        );
    }
}
