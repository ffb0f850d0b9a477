//! What a rendezvous tells monitoring.

use pilot_api::metrics::Page;
use pilot_registry::{RefusalCode, RequestKind, Stats};

use crate::snapshot::Snapshot;

/// The rendezvous as it was then.
pub(crate) fn page(now: &Snapshot) -> String {
    let mut page = Page::default();
    page.gauge(
        "pilot_rendezvous_uptime_seconds",
        "Since the start.",
        now.uptime.as_secs(),
    );
    page.gauge(
        "pilot_rendezvous_sessions",
        "Agents connected now.",
        now.sessions,
    );
    let relay = &now.relay;
    page.relay(relay.channels as u64, relay.datagrams, relay.bytes);
    registry(&mut page, &now.stats);
    page.counters(
        ("pilot_drops_total", "Packets dropped by reason."),
        "reason",
        now.drops.iter().copied(),
    );
    page.into_text()
}

fn registry(page: &mut Page, stats: &Stats) {
    page.gauge(
        "pilot_registry_registered",
        "Agents with a record.",
        stats.registered,
    );
    page.gauge("pilot_registry_agents", "Agents known.", stats.agents);
    page.gauge(
        "pilot_registry_searchable",
        "Public records that searches find.",
        stats.searchable,
    );
    page.gauge(
        "pilot_mailbox_letters",
        "Letters that wait for agents that are away.",
        stats.letters,
    );
    page.gauge(
        "pilot_mailbox_bytes",
        "Their bytes, with what their rows cost.",
        stats.letter_bytes,
    );
    page.counters(
        ("pilot_registry_requests_total", "Requests by kind."),
        "kind",
        RequestKind::ALL.map(|kind| (kind.name(), stats.requests_of(kind))),
    );
    page.counters(
        ("pilot_registry_refusals_total", "Refused requests by code."),
        "code",
        RefusalCode::ALL.map(|code| (code.name(), stats.refusals_of(code))),
    );
    page.counters(
        (
            "pilot_mailbox_refused_total",
            "Letters that were not taken, by reason.",
        ),
        "reason",
        [
            ("full", stats.refusals_of(RefusalCode::MailboxFull)),
            ("not_wanted", stats.letters_unwanted),
        ],
    );
    for (name, help, value) in [
        (
            "pilot_registry_knocks_lost_total",
            "Knocks for nobody or for a full queue.",
            stats.knocks_lost,
        ),
        (
            "pilot_registry_pushes_sent_total",
            "Pushes handed out, repetitions included.",
            stats.pushes_sent,
        ),
        (
            "pilot_registry_pushes_acked_total",
            "Pushes acknowledged.",
            stats.pushes_acked,
        ),
        (
            "pilot_registry_pushes_failed_total",
            "Pushes that failed and come again.",
            stats.pushes_failed,
        ),
        (
            "pilot_registry_records_expired_total",
            "Records that ended.",
            stats.records_expired,
        ),
        (
            "pilot_registry_agents_forgotten_total",
            "Agents forgotten.",
            stats.agents_forgotten,
        ),
        (
            "pilot_mailbox_deposited_total",
            "Letters that were left.",
            stats.letters_deposited,
        ),
        (
            "pilot_mailbox_taken_total",
            "Letters that their recipients took.",
            stats.letters_taken,
        ),
        (
            "pilot_mailbox_expired_total",
            "Letters that ended before they were taken.",
            stats.letters_expired,
        ),
        (
            "pilot_registry_search_left_out_total",
            "Public records without room in the index for searches.",
            stats.search_left_out,
        ),
    ] {
        page.counter(name, help, value);
    }
}
