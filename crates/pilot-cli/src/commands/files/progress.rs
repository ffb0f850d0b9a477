//! A bar for a file that is on its way.

use std::time::{Duration, Instant};

use pilot_api::types::{FileSending, FileSent, FilesSendingRequest, SendFileRequest};
use pilot_api::{ApiError, Client};

use crate::output::Output;
use crate::style;

/// Between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(200);
const WIDTH: usize = 20;
/// Characters of a name that stand before the bar.
const NAME: usize = 28;

/// A number that no other file of this machine has now, for the `index`-th of this process. Process ids have at most 22 bits.
pub(super) fn number(index: usize) -> u64 {
    (u64::from(std::process::id()) << 16) | (index as u64 & 0xffff)
}

/// Sends a file, and shows on a terminal how far it is.
pub(super) async fn with_bar(
    client: &Client,
    output: Output,
    request: &SendFileRequest,
) -> Result<FileSent, ApiError> {
    if !output.has_progress() {
        return client.call(request).await;
    }
    let sending = client.call(request);
    tokio::pin!(sending);
    let mut rate = Rate::new();
    let sent = loop {
        tokio::select! {
            sent = &mut sending => break sent,
            () = tokio::time::sleep(LOOK) => {}
        }
        // A look that fails is no harm: the file's own answer says what is wrong.
        let Ok(all) = client.call(&FilesSendingRequest {}).await else {
            continue;
        };
        let ours = all.files.iter().find(|it| it.transfer == request.transfer);
        if let Some(file) = ours {
            let per_second = rate.update(Instant::now(), file.bytes_sent);
            output.progress(&words(file, per_second));
        }
    };
    output.progress("");
    sent
}

/// Bytes a second over the last seconds.
struct Rate {
    at: Option<(Instant, u64)>,
    per_second: f64,
}

impl Rate {
    const fn new() -> Self {
        Self {
            at: None,
            per_second: 0.0,
        }
    }

    /// An average in which the latest look counts for a fifth.
    fn update(&mut self, now: Instant, sent: u64) -> f64 {
        if let Some((then, before)) = self.at.replace((now, sent)) {
            let seconds = now.duration_since(then).as_secs_f64().max(1e-3);
            let latest = sent.saturating_sub(before) as f64 / seconds;
            self.per_second = if self.per_second == 0.0 {
                latest
            } else {
                self.per_second * 0.8 + latest * 0.2
            };
        }
        self.per_second
    }
}

fn words(file: &FileSending, per_second: f64) -> String {
    let share = if file.bytes == 0 {
        1.0
    } else {
        file.done as f64 / file.bytes as f64
    };
    let full = ((share * WIDTH as f64) as usize).min(WIDTH);
    let bar = "█".repeat(full) + &"░".repeat(WIDTH - full);
    let left = file.bytes.saturating_sub(file.done) as f64;
    let time = if per_second < 1.0 {
        "–".to_owned()
    } else {
        let seconds = (left / per_second).min(8_640_000.0);
        format!("{} left", style::uptime(seconds.ceil() as u64))
    };
    format!(
        "{} {bar} {:>3.0} % · {} of {} · {}/s · {time}",
        shortened(&style::clean(&file.filename)),
        share * 100.0,
        amount(file.done as f64),
        amount(file.bytes as f64),
        amount(per_second),
    )
}

/// The end of a name that is too long says more than its beginning.
fn shortened(name: &str) -> String {
    let len = name.chars().count();
    if len <= NAME {
        return format!("{name:<NAME$}");
    }
    let end: String = name.chars().skip(len - NAME + 1).collect();
    format!("…{end}")
}

/// Bytes in the largest unit that leaves a number to read.
fn amount(bytes: f64) -> String {
    let mut value = bytes;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 999.5 {
            let digits = usize::from(unit != "B" && value < 99.95);
            return format!("{value:.digits$} {unit}");
        }
        value /= 1000.0;
    }
    format!("{value:.1} TB")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(done: u64, bytes: u64, name: &str) -> FileSending {
        FileSending {
            transfer: None,
            path: "/a".into(),
            filename: name.to_owned(),
            bytes,
            done,
            resumed_from: 0,
            bytes_sent: done,
        }
    }

    #[test]
    fn a_bar_says_how_far_how_fast_and_how_long() {
        let words = words(&file(50_000_000, 200_000_000, "d/a.bin"), 2e6);
        assert_eq!(
            words,
            "d/a.bin                      █████░░░░░░░░░░░░░░░  25 % · 50.0 MB of 200 MB · 2.0 MB/s · 1m 15s left"
        );
    }

    #[test]
    fn odd_figures_and_names_are_shown() {
        let empty = words(&file(0, 0, "\u{1b}[31m"), 0.0);
        assert!(empty.starts_with("\\u{1b}[31m "), "{empty}");
        assert!(empty.contains("100 %") && empty.ends_with("–"), "{empty}");
        let grown = words(&file(30, 20, &"x/".repeat(40)), 1e-3);
        assert!(
            grown.starts_with('…') && grown.contains(&"█".repeat(WIDTH)),
            "{grown}"
        );
        assert_eq!(amount(999.0), "999 B");
        assert_eq!(amount(999_950.0), "1.0 MB");
        assert_eq!(amount(3.2e15), "3200.0 TB");
    }

    #[test]
    fn the_rate_is_smooth_and_no_pause_divides_by_nothing() {
        let (mut rate, start) = (Rate::new(), Instant::now());
        assert_eq!(rate.update(start, 0), 0.0);
        let second = start + Duration::from_secs(1);
        assert_eq!(rate.update(second, 1000), 1000.0);
        assert_eq!(rate.update(second, 1000), 800.0);
    }
}
