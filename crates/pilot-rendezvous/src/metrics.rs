//! Metrics in the text format of Prometheus, version 0.0.4.

use std::fmt::Write;

use pilot::Rendezvous;
use pilot_registry::{RefusalCode, RequestKind, Stats};

/// The rendezvous as it is now.
pub(crate) fn page(rendezvous: &Rendezvous) -> String {
    let mut page = Page::default();
    page.gauge(
        "pilot_rendezvous_sessions",
        "Agents connected now.",
        rendezvous.sessions() as u64,
    );
    registry(&mut page, &rendezvous.stats());
    let drops = rendezvous.drops();
    page.counters(
        ("pilot_drops_total", "Packets dropped by reason."),
        "reason",
        drops,
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
    ] {
        page.counter(name, help, value);
    }
}

/// A page of metrics, written from top to bottom.
#[derive(Debug, Default)]
pub(crate) struct Page {
    text: String,
}

impl Page {
    /// A number that only grows.
    pub(crate) fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, help, "counter");
        self.sample(name, "", value);
    }

    /// A number that rises and falls.
    pub(crate) fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, help, "gauge");
        self.sample(name, "", value);
    }

    /// A number that only grows, for each value of a label. Names of labels and their values are our own.
    pub(crate) fn counters<'a>(
        &mut self,
        (name, help): (&str, &str),
        label: &str,
        values: impl IntoIterator<Item = (&'a str, u64)>,
    ) {
        self.family(name, help, "counter");
        for (text, value) in values {
            self.sample(name, &format!("{{{label}=\"{text}\"}}"), value);
        }
    }

    /// The whole page.
    pub(crate) fn into_text(self) -> String {
        self.text
    }

    fn family(&mut self, name: &str, help: &str, kind: &str) {
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    fn sample(&mut self, name: &str, labels: &str, value: u64) {
        self.line(format_args!("{name}{labels} {value}"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.text, "{line}").expect("a String takes what is written");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_in_the_text_format() {
        let mut page = Page::default();
        page.gauge("pilot_sessions", "Open sessions.", 3);
        page.counter("pilot_pushes_total", "Pushes.", 1);
        page.counters(
            ("pilot_requests_total", "Requests by kind."),
            "kind",
            [("lookup", 2), ("knock", 0)],
        );
        assert_eq!(
            page.into_text(),
            "# HELP pilot_sessions Open sessions.\n# TYPE pilot_sessions gauge\npilot_sessions 3\n\
             # HELP pilot_pushes_total Pushes.\n# TYPE pilot_pushes_total counter\npilot_pushes_total 1\n\
             # HELP pilot_requests_total Requests by kind.\n# TYPE pilot_requests_total counter\n\
             pilot_requests_total{kind=\"lookup\"} 2\npilot_requests_total{kind=\"knock\"} 0\n"
        );
    }
}
