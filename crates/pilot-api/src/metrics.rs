//! Health and metrics of a program over HTTP, in the text format of Prometheus, version 0.0.4.

mod http;

use std::fmt::Write;

pub use http::{Content, Site, serve};

/// A page of metrics, written from top to bottom.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
}

impl Page {
    /// A number that only grows.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, help, "counter");
        self.sample(name, "", value);
    }

    /// A number that rises and falls.
    pub fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, help, "gauge");
        self.sample(name, "", value);
    }

    /// What a relay does now, and did since its start.
    pub fn relay(&mut self, channels: u64, datagrams: u64, bytes: u64) {
        self.gauge(
            "pilot_relay_channels",
            "Channels of the relay now.",
            channels,
        );
        self.counter(
            "pilot_relay_datagrams_total",
            "Datagrams passed on.",
            datagrams,
        );
        self.counter("pilot_relay_bytes_total", "Bytes passed on.", bytes);
    }

    /// A number that only grows, for each value of a label. Names of labels and their values are our own.
    pub fn counters<'a>(
        &mut self,
        (name, help): (&str, &str),
        label: &str,
        values: impl IntoIterator<Item = (&'a str, u64)>,
    ) {
        self.family(name, help, "counter");
        self.samples(name, label, values);
    }

    /// A number that rises and falls, for each value of a label.
    pub fn gauges<'a>(
        &mut self,
        (name, help): (&str, &str),
        label: &str,
        values: impl IntoIterator<Item = (&'a str, u64)>,
    ) {
        self.family(name, help, "gauge");
        self.samples(name, label, values);
    }

    fn samples<'a>(
        &mut self,
        name: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'a str, u64)>,
    ) {
        for (text, value) in values {
            self.sample(name, &format!("{{{label}=\"{text}\"}}"), value);
        }
    }

    /// The whole page.
    #[must_use]
    pub fn into_text(self) -> String {
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
