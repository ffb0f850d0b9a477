//! Text in pages.

/// Text as HTML has it, in an element or between quotes: it is never markup. A control character is shown as U+FFFD.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            control if control.is_control() => escaped.push('\u{FFFD}'),
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_never_markup() {
        let text = "<a href='x'>\"&\u{1b}[31m é";
        assert_eq!(
            escaped(text),
            "&lt;a href=&#39;x&#39;&gt;&quot;&amp;\u{fffd}[31m é"
        );
    }
}
