//! Counters of what was dropped, by reason: nothing disappears silently.

use std::collections::BTreeMap;

use pilot_session::DropReason;

/// The reasons of nodes and of the shells around them, beside those of [`DropReason`]; `docs/operations.md` explains each.
const REASONS: [&str; 56] = [
    "accept_failed",
    "answer_unexpected",
    "candidates_malformed",
    "datagram_malformed",
    "datagram_not_trusted",
    "datagram_port_closed",
    "datagram_queue_full",
    "forwards_malformed",
    "grant_refused",
    "group_refused",
    "handshake_queue_full",
    "hello_forked",
    "hello_frozen",
    "hello_key",
    "hello_log",
    "hello_replayed",
    "hello_stranger",
    "hello_superseded",
    "hello_unconfirmed",
    "hello_version",
    "identity_refused",
    "keep_alive_malformed",
    "key_answer_log",
    "key_answer_malformed",
    "key_answer_network",
    "key_answer_too_long",
    "key_answer_unasked",
    "key_answer_work",
    "key_query_limited",
    "key_query_malformed",
    "key_query_to_agent",
    "knock_refused",
    "letter_refused",
    "no_transport",
    "protocol_violation",
    "push_log",
    "raw_queue_full",
    "raw_too_long",
    "receive_failed",
    "relay_channel_unknown",
    "relay_limited",
    "relay_malformed",
    "relay_payload",
    "relay_queue_full",
    "relay_source",
    "relay_too_long",
    "relay_unknown",
    "send_failed",
    "sessions_full",
    "strangers_full",
    "stun_limited",
    "stun_malformed",
    "stun_unexpected",
    "unknown_first_byte",
    "version_refused",
    "wrong_path",
];

/// Every reason that [`crate::Status::drops`] may name, in no order.
pub fn drop_reasons() -> impl Iterator<Item = &'static str> {
    REASONS
        .into_iter()
        .chain(DropReason::ALL.iter().map(DropReason::name))
}

/// Packets dropped, by reason. Reasons are our own words, so the table is bounded by the source.
#[derive(Debug, Default)]
pub(crate) struct Drops {
    counts: BTreeMap<&'static str, u64>,
}

impl Drops {
    pub(crate) fn count(&mut self, reason: &'static str) {
        debug_assert!(
            drop_reasons().any(|known| known == reason),
            "{reason} is in the table of reasons"
        );
        tracing::trace!(reason, "packet dropped");
        *self.counts.entry(reason).or_default() += 1;
    }

    /// The counts, with those that `lost` in the session's output.
    pub(crate) fn counts(&self, lost: u64) -> Vec<(&'static str, u64)> {
        let mut counts = self.counts.clone();
        if lost > 0 {
            counts.insert("handshake_queue_full", lost);
        }
        counts.into_iter().collect()
    }
}
