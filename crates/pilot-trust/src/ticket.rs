//! Tickets: a text that connects two agents without a registry, and the one-time secrets in them.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use data_encoding::BASE64URL_NOPAD;
use pilot_types::{AgentId, Seed, UnixTime};
use pilot_wire::limits::MAX_CANDIDATES;
use pilot_wire::{SignedBytes, TicketBody};
use thiserror::Error;

use crate::hash::hash;
use crate::identity::Identity;
use crate::item::ItemKey;
use crate::log::{IdentityLog, LogError, VerifiedLog};
use crate::machine::Trust;
use crate::statement::{EnvelopeError, Verified};

const PREFIX: &str = "pilot-ticket:";
/// Longest text: an envelope with a long log, in base64.
const MAX_TEXT: usize = 96 * 1024;
/// Longest rendezvous URL: a key in hex and a DNS name of 253 bytes fit twice.
const MAX_RENDEZVOUS: usize = 1024;

/// What goes into a ticket beside the agent's log.
#[derive(Clone)]
pub struct TicketTerms {
    /// Where the agent may be reached, best first, at most [`MAX_CANDIDATES`].
    pub endpoints: Vec<SocketAddr>,
    /// Its rendezvous, as `pilot://KEY@HOST:PORT`.
    pub rendezvous: Option<String>,
    /// From [`Trust::issue_ticket_secret`].
    pub secret: [u8; 16],
    /// When it is made.
    pub issued: UnixTime,
    /// When it ends.
    pub not_after: UnixTime,
}

/// Everything that a stranger needs to reach an agent and be let in to knock. Text: `pilot-ticket:` and base64url.
///
/// Its log and signature were checked, its work and its end were not: see [`VerifiedLog::work_bits`] and `not_after`.
/// Never printed but by `Display`: whoever reads it may use it.
#[derive(Clone)]
pub struct Ticket {
    /// Who made it.
    pub agent: AgentId,
    /// Its log.
    pub log: VerifiedLog,
    /// Where it may be reached, best first.
    pub endpoints: Vec<SocketAddr>,
    /// Its rendezvous, as `pilot://KEY@HOST:PORT`.
    pub rendezvous: Option<String>,
    /// Lets one stranger knock.
    pub secret: [u8; 16],
    /// When it ends.
    pub not_after: UnixTime,
    raw: SignedBytes,
}

/// Why a text is no ticket.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseTicketError {
    /// It does not begin as one, or goes on in another alphabet.
    #[error("invalid ticket: expected {PREFIX} and base64url")]
    Text,
    /// It is longer than any ticket.
    #[error("ticket of {0} characters")]
    TooLong(usize),
    /// The signed statement is not what it should be.
    #[error("ticket")]
    Envelope(#[from] EnvelopeError),
    /// The log breaks a rule.
    #[error("identity log in the ticket")]
    Log(#[from] LogError),
    /// More than [`MAX_CANDIDATES`] endpoints, or too long a rendezvous.
    #[error("ticket with too many endpoints or too long a rendezvous")]
    Bounds,
}

/// Why no ticket or secret was issued.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TicketError {
    /// Too many tickets wait to be used.
    #[error("{0} tickets wait to be used")]
    Full(usize),
    /// The end is not later than the beginning.
    #[error("a ticket ends later than now")]
    Expired,
    /// More than [`MAX_CANDIDATES`] endpoints, or too long a rendezvous.
    #[error("ticket with too many endpoints or too long a rendezvous")]
    Bounds,
}

impl Ticket {
    /// Signs a ticket.
    ///
    /// # Errors
    /// [`TicketError`] if it would not be read back.
    pub fn issue(identity: &Identity, terms: TicketTerms) -> Result<Self, TicketError> {
        let TicketTerms {
            issued, not_after, ..
        } = terms;
        let body = TicketBody {
            entries: identity.log().entries().to_vec(),
            endpoints: terms.endpoints,
            rendezvous: terms.rendezvous,
            secret: terms.secret,
        };
        if not_after <= issued {
            return Err(TicketError::Expired);
        }
        if !is_bounded(&body) {
            return Err(TicketError::Bounds);
        }
        let raw = identity.sign(issued.as_millis(), issued, not_after, &body);
        let log = identity.verified().clone();
        Ok(Self::new(log, body, not_after, raw))
    }

    fn new(log: VerifiedLog, body: TicketBody, not_after: UnixTime, raw: SignedBytes) -> Self {
        Self {
            agent: log.agent(),
            log,
            endpoints: body.endpoints,
            rendezvous: body.rendezvous,
            secret: body.secret,
            not_after,
            raw,
        }
    }

    fn from_raw(raw: SignedBytes) -> Result<Self, ParseTicketError> {
        let envelope = raw.envelope().map_err(EnvelopeError::Malformed)?;
        let body: TicketBody = envelope.statement().map_err(EnvelopeError::Malformed)?;
        let log = IdentityLog::from_entries(body.entries).verify(0)?;
        let Verified { head, statement } = log.verify_timeless::<TicketBody>(&raw)?;
        if !is_bounded(&statement) {
            return Err(ParseTicketError::Bounds);
        }
        Ok(Self::new(log, statement, head.not_after, raw))
    }
}

fn is_bounded(body: &TicketBody) -> bool {
    let rendezvous_len = body.rendezvous.as_ref().map_or(0, String::len);
    body.endpoints.len() <= MAX_CANDIDATES && rendezvous_len <= MAX_RENDEZVOUS
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        f.write_str(&BASE64URL_NOPAD.encode(self.raw.as_bytes()))
    }
}

impl FromStr for Ticket {
    type Err = ParseTicketError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_TEXT {
            return Err(ParseTicketError::TooLong(text.len()));
        }
        let encoded = text.strip_prefix(PREFIX).ok_or(ParseTicketError::Text)?;
        let bytes = BASE64URL_NOPAD.decode(encoded.as_bytes());
        let bytes = bytes.map_err(|_| ParseTicketError::Text)?;
        Self::from_raw(SignedBytes::from_bytes(bytes))
    }
}

impl Trust {
    /// A secret for one ticket, from a seed that is used for nothing else. Only its hash is kept.
    ///
    /// # Errors
    /// [`TicketError`]; nothing changed.
    pub fn issue_ticket_secret(
        &mut self,
        now: UnixTime,
        seed: &Seed,
        not_after: UnixTime,
    ) -> Result<[u8; 16], TicketError> {
        if not_after <= now {
            return Err(TicketError::Expired);
        }
        if self.tickets.len() >= self.config.max_tickets {
            return Err(TicketError::Full(self.tickets.len()));
        }
        let derived = hash("pilot/ticket-seed/1", seed.expose());
        let mut secret = [0; 16];
        secret.copy_from_slice(&derived[..16]);
        let key = secret_hash(&secret);
        self.tickets.insert(key, not_after);
        self.touch(ItemKey::Ticket(key));
        Ok(secret)
    }

    /// Whether a stranger may knock by this secret; it stays valid until [`Self::use_ticket_secret`].
    #[must_use]
    pub fn check_ticket_secret(&self, now: UnixTime, secret: &[u8; 16]) -> bool {
        // Looked up by its hash: how long that takes tells nothing of a secret.
        let not_after = self.tickets.get(&secret_hash(secret));
        not_after.is_some_and(|not_after| now <= *not_after)
    }

    /// Uses a secret up: `true` once for each that is valid.
    pub fn use_ticket_secret(&mut self, now: UnixTime, secret: &[u8; 16]) -> bool {
        let is_valid = self.check_ticket_secret(now, secret);
        let key = secret_hash(secret);
        if self.tickets.remove(&key).is_some() {
            self.touch(ItemKey::Ticket(key));
        }
        is_valid
    }
}

fn secret_hash(secret: &[u8; 16]) -> [u8; 32] {
    hash("pilot/ticket-secret/1", secret)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::testing::{NOW, agent, rotated};

    fn terms() -> TicketTerms {
        TicketTerms {
            endpoints: vec![
                "192.0.2.1:4000".parse().unwrap(),
                "[2001:db8::1]:4000".parse().unwrap(),
            ],
            rendezvous: Some("pilot://00@host:9000".to_owned()),
            secret: [7; 16],
            issued: NOW,
            not_after: NOW.plus(Duration::from_secs(60)),
        }
    }

    fn text(identity: &Identity, terms: TicketTerms) -> String {
        Ticket::issue(identity, terms)
            .map(|t| t.to_string())
            .unwrap()
    }

    #[test]
    fn a_ticket_is_read_back_from_its_text() {
        for identity in [agent(1), rotated(&agent(1), 50)] {
            let text = text(&identity, terms());
            assert!(text.starts_with("pilot-ticket:"));
            let Ok(ticket) = text.parse::<Ticket>() else {
                panic!("our own ticket parses")
            };
            assert_eq!(ticket.agent, identity.agent());
            assert_eq!(ticket.log, *identity.verified());
            assert_eq!(
                (ticket.endpoints.clone(), ticket.secret),
                (terms().endpoints, [7; 16])
            );
            assert_eq!(
                (ticket.rendezvous.clone(), ticket.not_after),
                (terms().rendezvous, terms().not_after)
            );
            assert_eq!(ticket.to_string(), text);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        let good = text(&agent(1), terms());
        let refused = |text: &str| text.parse::<Ticket>().map(|t| t.agent).unwrap_err();
        for bad in [
            "",
            "pilot-ticket:!",
            &good[1..],
            &good.to_uppercase(),
            &format!("{good}="),
            &format!(" {good}"),
        ] {
            assert_eq!(refused(bad), ParseTicketError::Text, "{bad:?}");
        }
        let long = format!("pilot-ticket:{}", "A".repeat(MAX_TEXT));
        assert_eq!(refused(&long), ParseTicketError::TooLong(long.len()));
        assert!(matches!(
            refused("pilot-ticket:"),
            ParseTicketError::Envelope(_)
        ));
        let other = agent(1).sign(1, NOW, NOW, &pilot_wire::Record::default());
        let other = format!("pilot-ticket:{}", BASE64URL_NOPAD.encode(other.as_bytes()));
        assert!(matches!(refused(&other), ParseTicketError::Envelope(_)));
    }

    #[test]
    fn a_ticket_signed_by_another_is_refused() {
        let (one, two) = (agent(1), agent(2));
        let body = TicketBody {
            entries: one.log().entries().to_vec(),
            endpoints: vec![],
            rendezvous: None,
            secret: [0; 16],
        };
        let raw = two.sign(1, NOW, NOW, &body);
        let text = format!("pilot-ticket:{}", BASE64URL_NOPAD.encode(raw.as_bytes()));
        let refused = text.parse::<Ticket>().map(|t| t.agent);
        assert_eq!(
            refused,
            Err(ParseTicketError::Envelope(EnvelopeError::Agent))
        );
    }

    #[test]
    fn parts_beyond_their_bounds_are_not_issued() {
        let issue = |terms| Ticket::issue(&agent(1), terms).map(|t| t.agent);
        let endpoints = vec![terms().endpoints[0]; MAX_CANDIDATES + 1];
        assert_eq!(
            issue(TicketTerms {
                endpoints,
                ..terms()
            }),
            Err(TicketError::Bounds)
        );
        let rendezvous = Some("x".repeat(MAX_RENDEZVOUS + 1));
        assert_eq!(
            issue(TicketTerms {
                rendezvous,
                ..terms()
            }),
            Err(TicketError::Bounds)
        );
        let over = TicketTerms {
            not_after: NOW,
            ..terms()
        };
        assert_eq!(issue(over), Err(TicketError::Expired));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_changed_character_is_noticed(at: prop::sample::Index, other in "[A-Za-z0-9_-]") {
            let good = text(&agent(1), terms());
            let at = PREFIX.len() + at.index(good.len() - PREFIX.len());
            prop_assume!(good[at..=at] != *other);
            let mut changed = good;
            changed.replace_range(at..=at, &other);
            prop_assert!(changed.parse::<Ticket>().is_err());
        }

        #[test]
        fn parsing_never_panics(tail in "[A-Za-z0-9_-]{0,400}") {
            let text = format!("{PREFIX}{tail}");
            prop_assert!(text.parse::<Ticket>().is_err());
        }
    }
}
