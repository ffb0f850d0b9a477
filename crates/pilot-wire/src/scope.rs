//! What a scope allows, and its text.

use pilot_types::Port;
use thiserror::Error;

use crate::limits::MAX_PORT_RANGES;
use crate::statement::{PortRange, Scope};

const ALL: &str = "all";

/// Why a text is no list of ports.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParsePortsError {
    /// A part is neither a port nor a range.
    #[error("invalid ports {0:?}: expected \"all\", or ports and ranges as 7,1000-1002")]
    Syntax(String),
    /// A range ends before it begins.
    #[error("invalid ports {0:?}: the range ends before it begins")]
    Order(String),
    /// More than [`MAX_PORT_RANGES`] ranges.
    #[error("too many port ranges: at most {MAX_PORT_RANGES}")]
    TooMany,
}

impl PortRange {
    /// Both ends included; `None` if `last` is below `first`.
    #[must_use]
    pub fn new(first: Port, last: Port) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }

    /// Whether the range has the port.
    #[must_use]
    pub fn contains(&self, port: Port) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

impl Scope {
    /// What `approve` grants unless told otherwise: echo, stdio, data exchange and event stream (7, 1000–1002).
    #[must_use]
    pub fn default_scope() -> Self {
        let range = |first, last| PortRange { first, last };
        Self::of_ports(vec![
            range(Port::ECHO, Port::ECHO),
            range(Port::STDIO, Port::EVENT_STREAM),
        ])
    }

    /// Every port.
    #[must_use]
    pub fn all_ports() -> Self {
        Self::of_ports(vec![PortRange {
            first: Port::new(0),
            last: Port::new(u16::MAX),
        }])
    }

    /// Answers to outstanding requests and nothing else.
    #[must_use]
    pub fn reply_only() -> Self {
        Self {
            is_reply_only: true,
            ..Self::default()
        }
    }

    /// These ports, with the receiver's own limits of size and rate.
    #[must_use]
    pub fn of_ports(ports: Vec<PortRange>) -> Self {
        Self {
            ports,
            ..Self::default()
        }
    }

    /// Whether it allows nothing at all.
    #[must_use]
    pub const fn is_revocation(&self) -> bool {
        self.ports.is_empty() && !self.is_reply_only
    }

    /// Whether the ranges are few, none ends before it begins, and reply-only names no port.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        self.ports.len() <= MAX_PORT_RANGES
            && self.ports.iter().all(|range| range.first <= range.last)
            && (!self.is_reply_only || self.ports.is_empty())
    }

    /// Whether the grantee may dial the port.
    #[must_use]
    pub fn allows_port(&self, port: Port) -> bool {
        !self.is_reply_only && self.ports.iter().any(|range| range.contains(port))
    }

    /// Whether it allows nothing that `parent` does not: narrower or equal in every field.
    #[must_use]
    pub fn is_within(&self, parent: &Self) -> bool {
        if self.is_revocation() {
            return true;
        }
        let is_kind_within = if self.is_reply_only {
            !parent.is_revocation()
        } else {
            !parent.is_reply_only && self.are_ports_within(parent)
        };
        is_kind_within
            && is_limit_within(self.max_size, parent.max_size)
            && is_limit_within(self.rate.into(), parent.rate.into())
    }

    /// The parent's ranges are joined first, so that a child may span two that touch.
    fn are_ports_within(&self, parent: &Self) -> bool {
        let joined = joined(&parent.ports);
        self.ports.iter().all(|child| {
            let (first, last) = bounds(child);
            joined.iter().any(|(f, l)| *f <= first && last <= *l)
        })
    }

    /// Reads ports as people write them: `7,1000-1002` or `all`.
    ///
    /// # Errors
    /// [`ParsePortsError`].
    pub fn parse_ports(text: &str) -> Result<Vec<PortRange>, ParsePortsError> {
        if text == ALL {
            return Ok(Self::all_ports().ports);
        }
        let ranges: Vec<PortRange> = text.split(',').map(parse_range).collect::<Result<_, _>>()?;
        if ranges.len() > MAX_PORT_RANGES {
            return Err(ParsePortsError::TooMany);
        }
        Ok(ranges)
    }

    /// The ports as people write them; [`Self::parse_ports`] reads it back. Empty if there are none.
    #[must_use]
    pub fn ports_text(&self) -> String {
        if *self.ports == *Self::all_ports().ports {
            return ALL.to_owned();
        }
        let texts: Vec<String> = self.ports.iter().map(range_text).collect();
        texts.join(",")
    }
}

/// Zero is the receiver's own limit, which is wider than any that is named.
const fn is_limit_within(child: u64, parent: u64) -> bool {
    parent == 0 || (child != 0 && child <= parent)
}

fn bounds(range: &PortRange) -> (u16, u16) {
    (range.first.to_u16(), range.last.to_u16())
}

fn joined(ranges: &[PortRange]) -> Vec<(u16, u16)> {
    let mut sorted: Vec<(u16, u16)> = ranges.iter().map(bounds).collect();
    sorted.sort_unstable();
    let mut joined: Vec<(u16, u16)> = vec![];
    for (first, last) in sorted {
        match joined.last_mut() {
            Some(open) if first <= open.1.saturating_add(1) => open.1 = open.1.max(last),
            Some(_) | None => joined.push((first, last)),
        }
    }
    joined
}

fn parse_range(text: &str) -> Result<PortRange, ParsePortsError> {
    let port = |part: &str| {
        part.parse::<Port>()
            .map_err(|_| ParsePortsError::Syntax(text.to_owned()))
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (port(first)?, port(last)?),
        None => (port(text)?, port(text)?),
    };
    PortRange::new(first, last).ok_or_else(|| ParsePortsError::Order(text.to_owned()))
}

fn range_text(range: &PortRange) -> String {
    if range.first == range.last {
        range.first.to_string()
    } else {
        format!("{}-{}", range.first, range.last)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scope() -> impl Strategy<Value = Scope> {
        let range = (0..40u16, 0..8u16).prop_map(|(first, len)| PortRange {
            first: Port::new(first),
            last: Port::new(first + len),
        });
        let ports = proptest::collection::vec(range, 0..4);
        (ports, any::<bool>(), 0..3u64, 0..3u32).prop_map(
            |(ports, is_reply_only, max_size, rate)| Scope {
                ports: if is_reply_only { vec![] } else { ports },
                is_reply_only,
                max_size,
                rate,
            },
        )
    }

    #[test]
    fn ports_are_read_and_printed_back() {
        for text in ["all", "7", "7,1000-1002", "0-5,65535"] {
            let ports = Scope::parse_ports(text).unwrap();
            assert_eq!(Scope::of_ports(ports).ports_text(), text);
        }
        assert_eq!(Scope::default_scope().ports_text(), "7,1000-1002");
        assert_eq!(Scope::reply_only().ports_text(), "");
    }

    #[test]
    fn anything_else_is_no_list_of_ports() {
        for text in [
            "", ",", "7,", "7,,8", "a", "7-", "-7", "7-8-9", "65536", "All", " 7", "+7",
        ] {
            let parsed = Scope::parse_ports(text);
            assert!(
                matches!(parsed, Err(ParsePortsError::Syntax(_))),
                "{text:?}: {parsed:?}"
            );
        }
        assert!(matches!(
            Scope::parse_ports("9-8"),
            Err(ParsePortsError::Order(_))
        ));
        let many = vec!["7"; MAX_PORT_RANGES + 1].join(",");
        assert_eq!(Scope::parse_ports(&many), Err(ParsePortsError::TooMany));
    }

    #[test]
    fn a_child_may_span_ranges_of_its_parent_that_touch() {
        let of = |text| Scope::of_ports(Scope::parse_ports(text).unwrap());
        assert!(of("1-10").is_within(&of("6-10,1-5")));
        assert!(!of("1-10").is_within(&of("1-5,7-10")));
        assert!(of("65535").is_within(&Scope::all_ports()));
        assert!(Scope::reply_only().is_within(&of("7")));
        assert!(!of("7").is_within(&Scope::reply_only()));
        assert!(!Scope::reply_only().is_within(&Scope::default()));
        assert!(Scope::default().is_within(&Scope::default()));
    }

    #[test]
    fn an_unlimited_child_is_not_within_a_limited_parent() {
        let limited = Scope {
            max_size: 10,
            rate: 5,
            ..Scope::default_scope()
        };
        assert!(!Scope::default_scope().is_within(&limited));
        assert!(limited.is_within(&Scope::default_scope()));
        assert!(
            !Scope {
                max_size: 11,
                ..limited.clone()
            }
            .is_within(&limited)
        );
        assert!(
            !Scope {
                rate: 6,
                ..limited.clone()
            }
            .is_within(&limited)
        );
    }

    proptest! {
        #[test]
        fn within_is_reflexive_and_allows_no_port_more(a in scope(), b in scope()) {
            prop_assert!(a.is_within(&a));
            if a.is_within(&b) {
                for port in 0..50 {
                    prop_assert!(!a.allows_port(Port::new(port)) || b.allows_port(Port::new(port)));
                }
            }
        }

        #[test]
        fn within_is_transitive(a in scope(), b in scope(), c in scope()) {
            prop_assert!(!(a.is_within(&b) && b.is_within(&c)) || a.is_within(&c));
        }

        #[test]
        fn printed_ports_are_read_back(scope in scope()) {
            if !scope.ports.is_empty() {
                prop_assert_eq!(Scope::parse_ports(&scope.ports_text()).unwrap(), scope.ports);
            }
        }
    }
}
