//! Words for people: colours, safe text, aligned tables.

use std::fmt::Write as _;

/// Whether to use colours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Style {
    pub(crate) colours: bool,
}

impl Style {
    fn paint(self, code: &str, text: &str) -> String {
        if self.colours {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// Something was done.
    pub(crate) fn done(self, text: &str) -> String {
        format!("{} {text}", self.paint("32", "✓"))
    }

    /// Something went wrong.
    pub(crate) fn failed(self, text: &str) -> String {
        format!("{} {text}", self.paint("31", "✗"))
    }

    /// Less important than what stands around it.
    pub(crate) fn faint(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// A table with a headline; columns are as wide as their widest cell.
    pub(crate) fn table<const N: usize>(self, heads: [&str; N], rows: &[[String; N]]) -> String {
        let mut widths = heads.map(|head| head.chars().count());
        for row in rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let line = |cells: [&str; N]| {
            let mut line = String::new();
            for (width, cell) in widths.iter().zip(cells) {
                write!(line, "{cell:<width$}  ", width = *width).expect("a String takes it");
            }
            line.trim_end().to_owned()
        };
        let mut lines = vec![self.faint(&line(heads))];
        lines.extend(
            rows.iter()
                .map(|row| line(row.each_ref().map(String::as_str))),
        );
        lines.join("\n")
    }

    /// Names and values, one a line.
    pub(crate) fn facts(self, facts: &[(&str, String)]) -> String {
        let width = facts
            .iter()
            .map(|(name, _)| name.chars().count())
            .max()
            .unwrap_or(0);
        let lines: Vec<String> = facts
            .iter()
            .map(|(name, value)| format!("{}  {value}", self.faint(&format!("{name:<width$}"))))
            .collect();
        lines.join("\n")
    }
}

/// Text of another agent with control characters spelt out, so that it cannot steer the terminal.
pub(crate) fn clean(text: &str) -> String {
    spell_out(text, |_| false)
}

/// The same, with line breaks and tabs kept.
pub(crate) fn clean_lines(text: &str) -> String {
    spell_out(text, |c| matches!(c, '\n' | '\t'))
}

fn spell_out(text: &str, is_kept: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_steering(c) && !is_kept(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// Control characters, and those that reorder what is read (Unicode TR 9).
fn is_steering(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// A round trip with as many digits as mean something.
pub(crate) fn millis(ms: f64) -> String {
    if ms < 1.0 {
        format!("{ms:.2}ms")
    } else if ms < 10.0 {
        format!("{ms:.1}ms")
    } else {
        format!("{ms:.0}ms")
    }
}

/// A count of bytes, or their unit.
pub(crate) fn bytes(count: u64) -> String {
    if count == 1 {
        "1 byte".to_owned()
    } else {
        format!("{count} bytes")
    }
}

/// The value, or a dash.
pub(crate) fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| value.to_string())
}

/// A duration in its two largest units.
pub(crate) fn uptime(secs: u64) -> String {
    let (days, hours, minutes) = (secs / 86_400, secs / 3600 % 24, secs / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{secs}s"),
        (0, 0, _) => format!("{minutes}m {}s", secs % 60),
        (0, _, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_characters() {
        let table = Style { colours: false }.table(
            ["NAME", "N"],
            &[["é".into(), "1".into()], ["longer".into(), "22".into()]],
        );
        assert_eq!(table, "NAME    N\né       1\nlonger  22");
    }

    #[test]
    fn foreign_text_cannot_steer_the_terminal() {
        assert_eq!(clean("a\u{1b}[31mb\n"), "a\\u{1b}[31mb\\u{a}");
        assert_eq!(clean_lines("a\u{1b}\nb"), "a\\u{1b}\nb");
        assert_eq!(clean("\u{202e}x"), "\\u{202e}x");
        assert_eq!(clean("ünchanged 漢字"), "ünchanged 漢字");
    }

    #[test]
    fn figures_are_short() {
        assert_eq!(millis(22.4), "22ms");
        assert_eq!(millis(0.421), "0.42ms");
        assert_eq!(uptime(59), "59s");
        assert_eq!(uptime(61), "1m 1s");
        assert_eq!(uptime(90_061), "1d 1h");
    }

    #[test]
    fn colours_are_used_only_when_asked_for() {
        assert_eq!(Style { colours: false }.done("x"), "✓ x");
        assert_eq!(Style { colours: true }.done("x"), "\x1b[32m✓\x1b[0m x");
    }
}
