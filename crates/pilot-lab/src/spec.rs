//! A link's configuration as text: `delay=20ms,jitter=2ms,loss=2%,rate=200mbit,queue=256k`.

use std::time::Duration;

use pilot_sim::{BurstLoss, LinkConfig, Probability};

/// Why a text is no link.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpecError {
    /// A part without `=`.
    #[error("`{0}` is not NAME=VALUE")]
    NotAPair(String),
    /// A name that no link has.
    #[error(
        "a link has no `{0}`; it has delay, jitter, loss, burst, reorder, duplicate, corrupt, rate, queue, mtu, mark"
    )]
    UnknownName(String),
    /// A value that does not parse.
    #[error("`{value}` is no value of `{name}`: {expected}")]
    Value {
        /// Of which setting.
        name: String,
        /// What was given.
        value: String,
        /// What it should look like.
        expected: &'static str,
    },
}

/// Reads a link's configuration; the empty text is a perfect link.
///
/// | setting | example | meaning |
/// |---|---|---|
/// | `delay`, `jitter` | `20ms`, `500us`, `1s` | time on the wire; evenly more |
/// | `loss`, `duplicate`, `corrupt` | `2%` | per frame |
/// | `burst` | `1%/20%/100%` | enter, leave, loss inside |
/// | `reorder` | `3%/5ms` | share held back, and by how much at most |
/// | `rate` | `200mbit`, `1gbit`, `64kbit` | bits per second |
/// | `queue`, `mark` | `256k`, `2m`, `9000` | bytes that wait; from which on ECN marks |
/// | `mtu` | `1500` | bytes of the network's packet |
///
/// # Errors
/// [`SpecError`] names the part that is wrong.
pub fn parse_link(text: &str) -> Result<LinkConfig, SpecError> {
    let mut config = LinkConfig::default();
    for part in text.split(',').map(str::trim).filter(|it| !it.is_empty()) {
        let (name, value) = part
            .split_once('=')
            .ok_or_else(|| SpecError::NotAPair(part.into()))?;
        set(&mut config, name, value)?;
    }
    Ok(config)
}

fn set(config: &mut LinkConfig, name: &str, value: &str) -> Result<(), SpecError> {
    let wrong = |expected| {
        move || SpecError::Value {
            name: name.into(),
            value: value.into(),
            expected,
        }
    };
    let time = || duration(value).ok_or_else(wrong("a time such as 20ms"));
    let share = || percent(value).ok_or_else(wrong("0% to 100%"));
    let size = || bytes(value).ok_or_else(wrong("bytes such as 256k"));
    match name {
        "delay" => config.delay = time()?,
        "jitter" => config.jitter = time()?,
        "loss" => config.loss = share()?,
        "duplicate" => config.duplicate = share()?,
        "corrupt" => config.corrupt = share()?,
        "queue" => config.queue = size()?,
        "mark" => config.mark_above = Some(size()?),
        "mtu" => config.mtu = size()?,
        "rate" => config.rate = Some(rate(value).ok_or_else(wrong("a rate such as 200mbit"))?),
        "burst" => config.burst = Some(burst(value).ok_or_else(wrong("ENTER%/LEAVE%/LOSS%"))?),
        "reorder" => {
            let (share, by) = reorder(value).ok_or_else(wrong("SHARE%/TIME"))?;
            (config.reorder, config.reorder_by) = (share, by);
        }
        _ => return Err(SpecError::UnknownName(name.into())),
    }
    Ok(())
}

/// The number before one of these units, times the unit. The first unit that fits is taken.
fn scaled(value: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (number, unit) = units
        .iter()
        .find_map(|(name, unit)| Some((value.strip_suffix(name)?, *unit)))?;
    number.parse::<u64>().ok()?.checked_mul(unit)
}

fn duration(value: &str) -> Option<Duration> {
    let units = [("us", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000)];
    scaled(value, &units).map(Duration::from_nanos)
}

fn percent(value: &str) -> Option<Probability> {
    let percent: f64 = value.strip_suffix('%')?.parse().ok()?;
    (0.0..=100.0)
        .contains(&percent)
        .then(|| Probability::percent(percent))
}

fn bytes(value: &str) -> Option<usize> {
    let units = [("k", 1 << 10), ("m", 1 << 20), ("", 1)];
    scaled(value, &units)?.try_into().ok()
}

fn rate(value: &str) -> Option<u64> {
    let units = [
        ("kbit", 1_000),
        ("mbit", 1_000_000),
        ("gbit", 1_000_000_000),
    ];
    scaled(value, &units).filter(|rate| *rate > 0)
}

fn burst(value: &str) -> Option<BurstLoss> {
    let mut parts = value.split('/').map(percent);
    let burst = BurstLoss {
        enter: parts.next()??,
        leave: parts.next()??,
        loss: parts.next()??,
    };
    parts.next().is_none().then_some(burst)
}

fn reorder(value: &str) -> Option<(Probability, Duration)> {
    let (share, by) = value.split_once('/')?;
    Some((percent(share)?, duration(by)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_read() {
        let text = "delay=20ms, jitter=500us,loss=2%,burst=1%/20%/100%,reorder=3%/5ms,duplicate=0.5%,corrupt=0.1%,\
                    rate=200mbit,queue=256k,mtu=1500,mark=9000";
        let percent = Probability::percent;
        let expected = LinkConfig {
            delay: Duration::from_millis(20),
            jitter: Duration::from_micros(500),
            loss: percent(2.0),
            burst: Some(BurstLoss {
                enter: percent(1.0),
                leave: percent(20.0),
                loss: Probability::ALWAYS,
            }),
            reorder: percent(3.0),
            reorder_by: Duration::from_millis(5),
            duplicate: percent(0.5),
            corrupt: percent(0.1),
            rate: Some(200_000_000),
            queue: 256 << 10,
            mtu: 1500,
            mark_above: Some(9000),
        };
        assert_eq!(parse_link(text), Ok(expected));
        assert_eq!(parse_link(""), Ok(LinkConfig::default()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, part) in [
            ("delay", "`delay` is not"),
            ("latency=1ms", "`latency`"),
            ("delay=20", "`20`"),
            ("loss=101%", "`101%`"),
            ("loss=-1%", "`-1%`"),
            ("loss=NaN%", "`NaN%`"),
            ("rate=0mbit", "`0mbit`"),
            ("burst=1%/2%", "ENTER%"),
            ("burst=1%/2%/3%/4%", "ENTER%"),
            ("queue=99999999999999999999k", "bytes"),
            ("delay=20ms,,mtu=x", "`x`"),
        ] {
            let error = parse_link(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
