//! Token buckets, a few an agent.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pilot_types::{AgentId, UnixTime};

use crate::config::{Config, Rate};

/// How far a bucket is drawn down: the time at which it will be full again.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    full_at: UnixTime,
}

impl Bucket {
    /// Takes one token, or says how long until there is one.
    fn take(&mut self, now: UnixTime, rate: Rate) -> Result<(), Duration> {
        let span = rate.interval_ms.saturating_mul(u64::from(rate.burst));
        // A bucket is never emptier than empty: what lies beyond is a clock that was set back.
        let latest = now.plus(Duration::from_millis(span));
        let full_at = self.full_at.clamp(now, latest);
        let next = full_at.plus(Duration::from_millis(rate.interval_ms));
        if next <= latest {
            self.full_at = next;
            Ok(())
        } else {
            self.full_at = full_at;
            Err(next.since(latest))
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Quota {
    used: UnixTime,
    requests: Bucket,
    knocks: Bucket,
    searches: Bucket,
}

/// Everybody's buckets. Bounded by `max_quotas`: whoever asked longest ago is forgotten first.
#[derive(Debug, Default)]
pub(crate) struct Quotas {
    by_agent: BTreeMap<AgentId, Quota>,
    by_use: BTreeSet<(UnixTime, AgentId)>,
}

impl Quotas {
    /// Takes one request.
    pub(crate) fn request(
        &mut self,
        now: UnixTime,
        agent: AgentId,
        config: &Config,
    ) -> Result<(), Duration> {
        self.touch(now, agent, config)
            .requests
            .take(now, config.requests)
    }

    /// Takes one knock.
    pub(crate) fn knock(
        &mut self,
        now: UnixTime,
        agent: AgentId,
        config: &Config,
    ) -> Result<(), Duration> {
        self.touch(now, agent, config)
            .knocks
            .take(now, config.knocks)
    }

    /// Takes one search.
    pub(crate) fn search(
        &mut self,
        now: UnixTime,
        agent: AgentId,
        config: &Config,
    ) -> Result<(), Duration> {
        self.touch(now, agent, config)
            .searches
            .take(now, config.searches)
    }

    fn touch(&mut self, now: UnixTime, agent: AgentId, config: &Config) -> &mut Quota {
        if let Some(quota) = self.by_agent.get(&agent) {
            self.by_use.remove(&(quota.used, agent));
        } else if self.by_agent.len() >= config.max_quotas
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.by_agent.remove(&oldest);
        }
        self.by_use.insert((now, agent));
        let quota = self.by_agent.entry(agent).or_default();
        quota.used = now;
        quota
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        burst: 3,
        interval_ms: 100,
    };

    fn at(millis: u64) -> UnixTime {
        UnixTime::from_millis(1_000_000 + millis)
    }

    #[test]
    fn a_burst_passes_and_then_the_steady_rate() {
        let mut bucket = Bucket::default();
        for _ in 0..3 {
            assert_eq!(bucket.take(at(0), RATE), Ok(()));
        }
        assert_eq!(bucket.take(at(0), RATE), Err(Duration::from_millis(100)));
        assert_eq!(bucket.take(at(40), RATE), Err(Duration::from_millis(60)));
        assert_eq!(bucket.take(at(100), RATE), Ok(()));
        assert!(bucket.take(at(100), RATE).is_err());
    }

    #[test]
    fn a_clock_that_is_set_back_locks_nobody_out_for_longer_than_a_whole_bucket() {
        let mut bucket = Bucket::default();
        assert_eq!(bucket.take(at(1_000_000), RATE), Ok(()));
        assert_eq!(bucket.take(at(0), RATE), Err(Duration::from_millis(100)));
        assert_eq!(bucket.take(at(100), RATE), Ok(()));
    }

    #[test]
    fn the_table_is_bounded() {
        let config = Config {
            max_quotas: 4,
            ..Config::default()
        };
        let mut quotas = Quotas::default();
        for index in 0..100 {
            let agent = AgentId::new([index; 32]);
            quotas
                .request(at(u64::from(index)), agent, &config)
                .unwrap();
            quotas.knock(at(u64::from(index)), agent, &config).unwrap();
            assert!(quotas.by_agent.len() <= 4);
            assert_eq!(quotas.by_agent.len(), quotas.by_use.len());
        }
        assert!(quotas.by_agent.contains_key(&AgentId::new([99; 32])));
    }
}
