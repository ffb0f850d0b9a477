//! The status page: what the rendezvous does now, for people. One page without scripts or anything to load.

use std::fmt::Write;
use std::time::Duration;

use pilot_api::html::escaped;
use pilot_registry::{RefusalCode, RequestKind};

use crate::snapshot::{Rates, Snapshot};

/// Light and dark by the reader's setting; a column on a phone.
const STYLE: &str = "
:root { color-scheme: light dark; --edge: #d5d9e0; --dim: #5b6472; --card: #f6f7f9; --text: #15181d; --back: #fff; --good: #14804a }
@media (prefers-color-scheme: dark) { :root { --edge: #333a45; --dim: #9aa4b2; --card: #1b2028; --text: #e8ebf0; --back: #12151a; --good: #4cc38a } }
* { box-sizing: border-box }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--text); background: var(--back); margin: 0 auto; max-width: 60rem; padding: 1.5rem 1rem 3rem }
h1 { font-size: 1.5rem; margin: 0 }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
code { font: .8rem/1.4 ui-monospace, monospace; overflow-wrap: anywhere; color: var(--dim) }
.up { color: var(--good); font-weight: 600 }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .75rem; margin-top: 1.25rem; padding: 0; list-style: none }
.cards li { background: var(--card); border: 1px solid var(--edge); border-radius: .6rem; padding: .75rem 1rem }
.cards b { display: block; font-size: 1.6rem; font-variant-numeric: tabular-nums }
.cards span, .none, footer { color: var(--dim); font-size: .9rem }
.tables { display: grid; grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr)); gap: 0 2rem }
table { border-collapse: collapse; width: 100% }
td, th { text-align: left; padding: .3rem 0; border-bottom: 1px solid var(--edge); font-weight: normal }
td { text-align: right; font-variant-numeric: tabular-nums }
footer { margin-top: 2.5rem }
a { color: inherit }
";

/// A row of a table: what, the metric that says the same, and how much.
type Row = (String, String, u64);

/// The page of a moment.
pub(crate) fn page(now: &Snapshot, rates: &Rates) -> String {
    let mut page = String::with_capacity(8 * 1024);
    page.push_str("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">");
    page.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    page.push_str("<title>Pilot rendezvous</title><style>");
    page.push_str(STYLE);
    page.push_str("</style></head><body>");
    head(&mut page, now);
    cards(&mut page, now, rates);
    page.push_str("<div class=\"tables\">");
    table(&mut page, "Networks", &networks(now));
    table(&mut page, "Requests", &requests(now));
    table(&mut page, "Refused requests", &refusals(now));
    table(&mut page, "Mailboxes", &mailboxes(now));
    table(&mut page, "Relay", &relay(now));
    table(&mut page, "Dropped packets", &drops(now));
    page.push_str("</div>");
    foot(&mut page);
    page
}

fn head(page: &mut String, now: &Snapshot) {
    let _ = write!(
        page,
        "<h1>Pilot rendezvous</h1><p><span class=\"up\">serving</span> for {}<br><code>{}</code></p>",
        duration(now.uptime),
        escaped(&now.url)
    );
}

fn cards(page: &mut String, now: &Snapshot, rates: &Rates) {
    let cards = [
        (grouped(now.sessions), "agents online"),
        (grouped(now.stats.registered), "agents with a record"),
        (decimal(rates.requests), "requests a second"),
        (decimal(rates.refusals), "refused a second"),
        (bits(rates.relay_bits), "relayed"),
        (decimal(rates.relay_datagrams), "packets relayed a second"),
    ];
    page.push_str("<ul class=\"cards\">");
    for (figure, what) in cards {
        let _ = write!(page, "<li><b>{figure}</b><span>{what}</span></li>");
    }
    page.push_str("</ul><p class=\"none\">Figures a second are those of the last minute.</p>");
}

fn networks(now: &Snapshot) -> Vec<Row> {
    let row = |what: &str, metric: &str, count| (what.to_owned(), metric.to_owned(), count);
    vec![
        row(
            "BACKBONE (0): online",
            "pilot_rendezvous_sessions",
            now.sessions,
        ),
        row(
            "with a record",
            "pilot_registry_registered",
            now.stats.registered,
        ),
        row(
            "public, found by searches",
            "pilot_registry_searchable",
            now.stats.searchable,
        ),
        row("known", "pilot_registry_agents", now.stats.agents),
    ]
}

fn requests(now: &Snapshot) -> Vec<Row> {
    let row = |kind: RequestKind| {
        let metric = format!("pilot_registry_requests_total{{kind=\"{}\"}}", kind.name());
        (words(kind.name()), metric, now.stats.requests_of(kind))
    };
    some(RequestKind::ALL.into_iter().map(row))
}

fn refusals(now: &Snapshot) -> Vec<Row> {
    let row = |code: RefusalCode| {
        let metric = format!("pilot_registry_refusals_total{{code=\"{}\"}}", code.name());
        (words(code.name()), metric, now.stats.refusals_of(code))
    };
    some(RefusalCode::ALL.into_iter().map(row))
}

fn mailboxes(now: &Snapshot) -> Vec<Row> {
    let row = |what: &str, metric: &str, count| (what.to_owned(), metric.to_owned(), count);
    let stats = &now.stats;
    vec![
        row("letters that wait", "pilot_mailbox_letters", stats.letters),
        row("their bytes", "pilot_mailbox_bytes", stats.letter_bytes),
        row(
            "left",
            "pilot_mailbox_deposited_total",
            stats.letters_deposited,
        ),
        row("taken", "pilot_mailbox_taken_total", stats.letters_taken),
        row(
            "ended before they were taken",
            "pilot_mailbox_expired_total",
            stats.letters_expired,
        ),
        row(
            "refused: no room",
            "pilot_mailbox_refused_total{reason=\"full\"}",
            stats.refusals_of(RefusalCode::MailboxFull),
        ),
        row(
            "refused: not wanted",
            "pilot_mailbox_refused_total{reason=\"not_wanted\"}",
            stats.letters_unwanted,
        ),
    ]
}

fn relay(now: &Snapshot) -> Vec<Row> {
    let row = |what: &str, metric: &str, count| (what.to_owned(), metric.to_owned(), count);
    vec![
        row(
            "channels now",
            "pilot_relay_channels",
            now.relay.channels as u64,
        ),
        row(
            "packets passed on",
            "pilot_relay_datagrams_total",
            now.relay.datagrams,
        ),
        row(
            "bytes passed on",
            "pilot_relay_bytes_total",
            now.relay.bytes,
        ),
    ]
}

fn drops(now: &Snapshot) -> Vec<Row> {
    let row = |(reason, count): &(&'static str, u64)| {
        let metric = format!("pilot_drops_total{{reason=\"{reason}\"}}");
        (words(reason), metric, *count)
    };
    some(now.drops.iter().map(row))
}

fn some(rows: impl Iterator<Item = Row>) -> Vec<Row> {
    rows.filter(|(_, _, count)| *count > 0).collect()
}

fn table(page: &mut String, title: &str, rows: &[Row]) {
    let _ = write!(page, "<section><h2>{title}</h2>");
    if rows.is_empty() {
        page.push_str("<p class=\"none\">none since the start</p></section>");
        return;
    }
    page.push_str("<table>");
    for (what, metric, count) in rows {
        let _ = write!(
            page,
            "<tr><th>{}</th><td data-metric=\"{}\">{}</td></tr>",
            escaped(what),
            escaped(metric),
            grouped(*count)
        );
    }
    page.push_str("</table></section>");
}

fn foot(page: &mut String) {
    let _ = write!(
        page,
        "<footer>pilot-rendezvous {} · <a href=\"/metrics\">metrics</a> · <a href=\"/plain\">documents as plain text</a> · <a href=\"/healthz\">health</a></footer></body></html>",
        env!("CARGO_PKG_VERSION")
    );
}

fn words(name: &str) -> String {
    name.replace('_', " ")
}

/// Thousands apart, as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn decimal(rate: f64) -> String {
    if rate < 10.0 {
        format!("{rate:.1}")
    } else {
        grouped(rate.round() as u64)
    }
}

fn bits(rate: f64) -> String {
    match rate {
        rate if rate < 1e3 => format!("{rate:.0} bit/s"),
        rate if rate < 1e6 => format!("{:.1} kbit/s", rate / 1e3),
        rate if rate < 1e9 => format!("{:.1} Mbit/s", rate / 1e6),
        rate => format!("{:.2} Gbit/s", rate / 1e9),
    }
}

fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics;

    fn busy() -> Snapshot {
        let mut now = Snapshot {
            url: "pilot://ab@h:9000\"><script>alert(1)</script>".to_owned(),
            uptime: Duration::from_secs(90_061),
            sessions: 1234,
            drops: vec![("replay", 7), ("malformed", 0)],
            ..Snapshot::default()
        };
        now.stats.registered = 56_789;
        now.stats.agents = 60_000;
        now.stats.searchable = 12;
        for (at, count) in now.stats.requests.iter_mut().enumerate() {
            *count = at as u64 * 1000;
        }
        now.stats.refusals[0] = 3;
        now.stats.letters = 5;
        now.stats.letter_bytes = 6000;
        now.stats.letters_unwanted = 7;
        now.relay.channels = 4;
        now.relay.datagrams = 1_000_000;
        now.relay.bytes = 1_200_000_000;
        now
    }

    /// Every figure of the page that names a metric, with what it says.
    fn figures(page: &str) -> Vec<(String, u64)> {
        let mut figures = vec![];
        for part in page.split("data-metric=\"").skip(1) {
            let (metric, rest) = part.split_once("\">").unwrap();
            let (figure, _) = rest.split_once("</td>").unwrap();
            let number = figure.replace(',', "").parse().unwrap();
            figures.push((metric.replace("&quot;", "\""), number));
        }
        figures
    }

    #[test]
    fn every_figure_is_the_one_of_the_metrics() {
        let now = busy();
        let metrics = metrics::page(&now);
        let figures = figures(&page(&now, &Rates::default()));
        assert!(figures.len() > 15, "{figures:?}");
        for (metric, figure) in figures {
            let line = format!("{metric} {figure}");
            assert!(metrics.lines().any(|it| it == line), "{line}\n{metrics}");
        }
    }

    #[test]
    fn the_page_stands_alone_and_takes_no_text_for_markup() {
        let page = page(&busy(), &Rates::default());
        assert!(!page.contains("<script"), "{page}");
        for outside in ["src=", "@import", "url(", "http://", "https://"] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(page.contains("serving</span> for 1 d 1 h"), "{page}");
        assert!(!page.contains("malformed"), "what is zero is left out");
    }

    #[test]
    fn figures_read_well() {
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(grouped),
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!([0.0, 9.94, 1234.4].map(decimal), ["0.0", "9.9", "1,234"]);
        assert_eq!(
            [0.0, 1500.0, 2.5e6, 3.21e9].map(bits),
            ["0 bit/s", "1.5 kbit/s", "2.5 Mbit/s", "3.21 Gbit/s"]
        );
        let times = [5, 65, 3700, 90_061].map(|seconds| duration(Duration::from_secs(seconds)));
        assert_eq!(times, ["5 s", "1 min", "1 h 1 min", "1 d 1 h"]);
    }
}
