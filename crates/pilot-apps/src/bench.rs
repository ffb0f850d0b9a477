//! A measurement on the echo port: one end sends a known pattern, the other counts, compares and times it.
//!
//! The dialler says in its stream's metadata what it wants (`docs/wire.md` §10); without that metadata the port echoes.

use std::io;
use std::time::{Duration, Instant};

use pilot_wire::Reader;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::ending::end;

/// What the metadata begins with.
const CONTEXT: &[u8; 8] = b"bench/1\0";
/// Length of the pattern: a prime, so that it never lines up with packets, buffers or pages.
const PATTERN: usize = 65_521;
/// What is read at a time.
const CHUNK: usize = 256 * 1024;
/// Bytes of a report.
const REPORT: usize = 17;

/// Most bytes of one measurement: 64 GiB.
pub const MAX_BENCH: u64 = 64 << 30;

/// Who sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BenchDirection {
    /// The dialler sends, the service counts.
    Forward,
    /// The service sends, the dialler counts.
    Reverse,
}

/// What is to be measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BenchRequest {
    /// Who sends.
    pub direction: BenchDirection,
    /// How many bytes, at most [`MAX_BENCH`].
    pub bytes: u64,
}

impl BenchRequest {
    /// As a stream's metadata.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = CONTEXT.to_vec();
        out.push(match self.direction {
            BenchDirection::Forward => 0,
            BenchDirection::Reverse => 1,
        });
        out.extend_from_slice(&self.bytes.to_be_bytes());
        out
    }

    /// Reads a stream's metadata; `None` if it asks for no measurement that we know.
    #[must_use]
    pub fn decode(metadata: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(metadata);
        if reader.array::<8>().ok()? != *CONTEXT {
            return None;
        }
        let direction = match reader.u8().ok()? {
            0 => BenchDirection::Forward,
            1 => BenchDirection::Reverse,
            _ => return None,
        };
        let bytes = u64::from_be_bytes(reader.array().ok()?);
        (bytes <= MAX_BENCH).then_some(Self { direction, bytes })
    }
}

/// What the counting end saw.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BenchReport {
    /// Bytes that came.
    pub bytes: u64,
    /// From the first byte to the last.
    pub duration: Duration,
    /// Whether they were the ones that were sent, all of them, in order.
    pub is_intact: bool,
}

impl BenchReport {
    fn encode(&self) -> [u8; REPORT] {
        let mut out = [0; REPORT];
        let nanos = u64::try_from(self.duration.as_nanos()).unwrap_or(u64::MAX);
        out[..8].copy_from_slice(&self.bytes.to_be_bytes());
        out[8..16].copy_from_slice(&nanos.to_be_bytes());
        out[16] = u8::from(self.is_intact);
        out
    }

    fn decode(bytes: &[u8; REPORT]) -> Self {
        let number = |at: usize| {
            let field: [u8; 8] = bytes[at..at + 8].try_into().expect("8 of 17 bytes");
            u64::from_be_bytes(field)
        };
        Self {
            bytes: number(0),
            duration: Duration::from_nanos(number(8)),
            is_intact: bytes[16] == 1,
        }
    }
}

/// The dialler's part, on a stream whose metadata said `request`.
///
/// # Errors
/// What the stream reports when it breaks, or ends before the report.
pub async fn run_bench<S>(mut stream: S, request: BenchRequest) -> io::Result<BenchReport>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match request.direction {
        BenchDirection::Forward => {
            send(&mut stream, request.bytes).await?;
            end(&mut stream).await?;
            let mut report = [0; REPORT];
            stream.read_exact(&mut report).await?;
            Ok(BenchReport::decode(&report))
        }
        BenchDirection::Reverse => {
            end(&mut stream).await?;
            count(&mut stream, request.bytes).await
        }
    }
}

/// The service's part.
///
/// # Errors
/// What the stream reports when it breaks.
pub async fn serve_bench<S>(mut stream: S, request: BenchRequest) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match request.direction {
        BenchDirection::Forward => {
            let report = count(&mut stream, request.bytes).await?;
            stream.write_all(&report.encode()).await?;
        }
        BenchDirection::Reverse => send(&mut stream, request.bytes).await?,
    }
    end(&mut stream).await
}

async fn send<S: AsyncWrite + Unpin>(stream: &mut S, bytes: u64) -> io::Result<()> {
    let pattern = pattern();
    let mut sent = 0;
    while sent < bytes {
        let at = position(sent);
        let left = usize::try_from(bytes - sent).unwrap_or(usize::MAX);
        let chunk = &pattern[at..pattern.len().min(at.saturating_add(left))];
        stream.write_all(chunk).await?;
        sent += chunk.len() as u64;
    }
    Ok(())
}

/// Reads to the end, or to the first byte beyond what was asked for: with it, nothing is intact.
async fn count<S: AsyncRead + Unpin>(stream: &mut S, expected: u64) -> io::Result<BenchReport> {
    let pattern = pattern();
    let mut chunk = vec![0; CHUNK];
    let (mut bytes, mut is_intact) = (0_u64, true);
    let mut first: Option<Instant> = None;
    let mut last = None;
    while bytes <= expected {
        let most = usize::try_from(expected - bytes + 1).map_or(CHUNK, |left| left.min(CHUNK));
        let len = stream.read(&mut chunk[..most]).await?;
        if len == 0 {
            break;
        }
        let now = Instant::now();
        first.get_or_insert(now);
        last = Some(now);
        is_intact &= is_pattern(&pattern, bytes, &chunk[..len]);
        bytes += len as u64;
    }
    let duration = first.zip(last).map(|(first, last)| last - first);
    Ok(BenchReport {
        bytes,
        duration: duration.unwrap_or_default(),
        is_intact: is_intact && bytes == expected,
    })
}

fn is_pattern(pattern: &[u8], mut offset: u64, mut data: &[u8]) -> bool {
    while !data.is_empty() {
        let expected = &pattern[position(offset)..];
        let len = expected.len().min(data.len());
        if data[..len] != expected[..len] {
            return false;
        }
        offset += len as u64;
        data = &data[len..];
    }
    true
}

fn position(offset: u64) -> usize {
    usize::try_from(offset % PATTERN as u64).expect("below the pattern's length")
}

/// Bytes without structure: SplitMix64 (Steele, Lea, Flood 2014) from a fixed seed.
fn pattern() -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)).to_be_bytes()[0]
    };
    (0..PATTERN).map(|_| next()).collect()
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    const MIB: u64 = 1 << 20;

    async fn measure(request: BenchRequest) -> BenchReport {
        let (ours, theirs) = duplex(10_000);
        let asked = BenchRequest::decode(&request.encode()).unwrap();
        let service = tokio::spawn(serve_bench(theirs, asked));
        let report = run_bench(ours, request).await.unwrap();
        service.await.unwrap().unwrap();
        report
    }

    #[tokio::test]
    async fn both_directions_count_every_byte() {
        for direction in [BenchDirection::Forward, BenchDirection::Reverse] {
            for bytes in [0, 1, PATTERN as u64, MIB + 7] {
                let report = measure(BenchRequest { direction, bytes }).await;
                assert_eq!((report.bytes, report.is_intact), (bytes, true));
            }
        }
    }

    #[tokio::test]
    async fn a_changed_missing_or_further_byte_is_told() {
        for (at, keep) in [(Some(70_000), 100_000), (None, 99_999), (None, 100_000)] {
            let mut sent = pattern().repeat(2);
            sent.truncate(keep);
            if let Some(at) = at {
                sent[at] ^= 1;
            }
            let expected = if keep == 100_000 && at.is_none() {
                99_999
            } else {
                100_000
            };
            let report = count(&mut &sent[..], expected).await.unwrap();
            assert!(!report.is_intact, "{at:?} {keep}");
            assert_eq!(report.bytes, keep as u64);
        }
    }

    #[tokio::test]
    async fn a_sender_that_never_ends_is_counted_to_the_first_byte_too_many() {
        for expected in [0, 1000, CHUNK as u64] {
            let report = count(&mut tokio::io::repeat(1), expected).await.unwrap();
            assert_eq!((report.bytes, report.is_intact), (expected + 1, false));
        }
    }

    #[test]
    fn other_metadata_and_too_much_ask_for_nothing() {
        let valid = BenchRequest {
            direction: BenchDirection::Forward,
            bytes: MAX_BENCH,
        };
        assert_eq!(BenchRequest::decode(&valid.encode()), Some(valid));
        let too_much = BenchRequest {
            bytes: MAX_BENCH + 1,
            ..valid
        };
        assert_eq!(BenchRequest::decode(&too_much.encode()), None);
        let mut unknown = valid.encode();
        unknown[8] = 2;
        for metadata in [&b""[..], b"bench/1\0", b"other", &unknown] {
            assert_eq!(BenchRequest::decode(metadata), None);
        }
    }
}
