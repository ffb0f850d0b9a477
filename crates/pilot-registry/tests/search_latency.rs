//! How long searches take over 250,000 public records: `just search-latency`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pilot_registry::{
    Config, LogFacts, MemoryStore, Rate, Request, Response, SearchQuery, Service, Verify,
};
use pilot_types::{AgentId, Seed, UnixTime};
use pilot_wire::{Capability, EnvelopeHead, Record, SignedBytes, Visibility};

const AGENTS: u64 = 250_000;
const SEARCHES: usize = 2_000;
const WORDS: u64 = 5_000;
const NOW: UnixTime = UnixTime::from_secs(1_767_225_600);

/// Signatures are not what is measured.
struct Credulous;

impl Verify for Credulous {
    fn log(&self, entries: &[Vec<u8>]) -> Result<LogFacts, String> {
        let agent = *entries[0].first_chunk().ok_or("shorter than an id")?;
        Ok(LogFacts {
            agent: AgentId::new(agent),
            sign_key: agent,
            generation: 0,
            sequence: 0,
            head: agent,
        })
    }

    fn follows(&self, _: &[Vec<u8>], _: &[Vec<u8>]) -> bool {
        true
    }

    fn signed(
        &self,
        _: &[Vec<u8>],
        raw: &SignedBytes,
        _: UnixTime,
    ) -> Result<EnvelopeHead, String> {
        raw.envelope()
            .map(|envelope| envelope.head)
            .map_err(|error| error.to_string())
    }
}

/// SplitMix64.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Words as languages have them: the first ones are in most texts, the last ones in few.
    fn word(&mut self) -> String {
        let (one, other) = (self.next() % WORDS, self.next() % WORDS);
        let mut left = one * other / WORDS;
        let mut word = String::new();
        for _ in 0..3 {
            word.push(char::from(
                b"bdfgklmnprstvz"[usize::try_from(left % 14).unwrap_or(0)],
            ));
            word.push(char::from(
                b"aeiou"[usize::try_from(left / 14 % 5).unwrap_or(0)],
            ));
            left /= 70;
        }
        word
    }

    fn text(&mut self, words: usize) -> String {
        (0..words)
            .map(|_| self.word())
            .collect::<Vec<_>>()
            .join(" ")
    }
}

fn agent(number: u64) -> AgentId {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&Numbers(number).next().to_be_bytes());
    bytes[8..16].copy_from_slice(&number.to_be_bytes());
    AgentId::new(bytes)
}

fn register(number: u64, numbers: &mut Numbers) -> Request {
    let record = Record {
        hostname: format!("{}-{}-{number}", numbers.word(), numbers.word())
            .parse()
            .ok(),
        tags: (0..3).filter_map(|_| numbers.word().parse().ok()).collect(),
        capabilities: (0..2)
            .map(|index| Capability {
                description: numbers.text(12),
                ..Capability::named(format!("{}.{index}", numbers.word()), "1.0.0")
            })
            .collect(),
        visibility: Visibility::Public,
        auto_approves: true,
        prekey: None,
    };
    let head = EnvelopeHead {
        agent: agent(number),
        generation: 0,
        sequence: 0,
        serial: 1,
        issued: NOW,
        not_after: NOW.plus(Duration::from_secs(24 * 3600)),
    };
    Request::Register {
        log: vec![agent(number).as_bytes().to_vec()],
        record: SignedBytes::new(SignedBytes::to_sign(&head, &record), &[0; 64]),
    }
}

fn question(numbers: &mut Numbers) -> SearchQuery {
    let words = 1 + usize::try_from(numbers.next() % 3).unwrap_or(0);
    let mut query = SearchQuery {
        text: numbers.text(words),
        limit: 50,
        ..SearchQuery::default()
    };
    match numbers.next() % 8 {
        0 => query.tags = numbers.word().parse().into_iter().collect(),
        1 => query.capability = Some(format!("{}.0", numbers.word())),
        2 => query.text.truncate(4),
        3 => query.text.clear(),
        _ => {}
    }
    query
}

/// How long this thread has run so far: what others do on the machine does not count. The system may count in ticks of some ms.
fn on_processor() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux counts it");
    let nanos = stat.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.expect("the first number"))
}

#[test]
#[ignore = "a measurement: `just search-latency`"]
fn searches_over_many_records() {
    let config = Config {
        searches: Rate {
            burst: u32::MAX,
            interval_ms: 1,
        },
        ..Config::default()
    };
    let mut numbers = Numbers(1);
    let mut service = Service::new(
        Arc::new(config),
        MemoryStore::new(),
        Credulous,
        Seed::new([1; 32]),
    );
    let began = Instant::now();
    service.handle_time(NOW);
    for number in 0..AGENTS {
        let request = register(number, &mut numbers);
        let response = service.handle_request(NOW, agent(number), request);
        assert!(
            matches!(response, Response::Registered { .. }),
            "{response:?}"
        );
    }
    let registered = began.elapsed();
    assert_eq!(service.stats().searchable, AGENTS);
    let mut times = vec![];
    let mut found = 0;
    for index in 0..SEARCHES {
        let query = question(&mut numbers);
        // Askers in turn, each within its quotas.
        let from = agent(index as u64 % 100);
        let began = on_processor();
        let response = service.handle_request(NOW, from, Request::Search { query });
        let bytes = response.encode().len();
        times.push(on_processor().saturating_sub(began));
        let Response::SearchResults { total, .. } = response else {
            panic!("expected results, found {response:?}");
        };
        found += total;
        assert!(bytes > 0);
    }
    times.sort();
    let at = |share: usize| {
        times[(times.len() * share / 1000).min(times.len() - 1)].as_secs_f64() * 1000.0
    };
    println!(
        "{AGENTS} records (registered in {:.1} s), {SEARCHES} searches, {} hits each: p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, longest {:.1} ms",
        registered.as_secs_f64(),
        found / SEARCHES as u64,
        at(500),
        at(900),
        at(990),
        at(1000),
    );
}
