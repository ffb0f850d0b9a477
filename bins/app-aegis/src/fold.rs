//! A text as a reader takes it: lower case, look-alikes as the letters that they look like, invisible characters gone.

/// The words of a text, folded, each with the bytes of the text that it comes from.
pub(crate) struct Words {
    pub(crate) words: Vec<Word>,
}

pub(crate) struct Word {
    pub(crate) text: String,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Words {
    pub(crate) fn of(text: &str) -> Self {
        let mut words: Vec<Word> = vec![];
        let mut is_inside = false;
        for (start, c) in text.char_indices() {
            if is_invisible(c) {
                continue;
            }
            let folded = folded(c);
            if !folded.is_alphanumeric() {
                is_inside = false;
                continue;
            }
            if !is_inside {
                words.push(Word {
                    text: String::new(),
                    start,
                    end: start,
                });
                is_inside = true;
            }
            if let Some(word) = words.last_mut() {
                word.text.push(folded);
                word.end = start + c.len_utf8();
            }
        }
        Self { words }
    }
}

/// Characters that show nothing: zero-width ones, soft hyphens, tags, variation selectors.
pub(crate) const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2064}' | '\u{feff}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0000}'..='\u{e007f}')
}

/// The Latin letter that a character looks like, or itself in lower case.
pub(crate) fn folded(c: char) -> char {
    // Full-width forms stand in the order of ASCII.
    let c = match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xfee0).unwrap_or(c),
        other => other,
    };
    let c = c.to_lowercase().next().unwrap_or(c);
    LOOK_ALIKES
        .iter()
        .find(|(like, _)| *like == c)
        .map_or(c, |(_, latin)| *latin)
}

/// Cyrillic and Greek letters that look like Latin ones (after Unicode TR 39's table of confusables).
const LOOK_ALIKES: &[(char, char)] = &[
    ('а', 'a'),
    ('е', 'e'),
    ('і', 'i'),
    ('ј', 'j'),
    ('о', 'o'),
    ('р', 'p'),
    ('с', 'c'),
    ('ѕ', 's'),
    ('у', 'y'),
    ('х', 'x'),
    ('һ', 'h'),
    ('ԁ', 'd'),
    ('ν', 'v'),
    ('ο', 'o'),
    ('α', 'a'),
    ('ι', 'i'),
    ('ρ', 'p'),
    ('κ', 'k'),
    ('τ', 't'),
];

/// Whether it is a letter of another script that looks like a Latin one.
pub(crate) fn is_look_alike(c: char) -> bool {
    let lower = c.to_lowercase().next().unwrap_or(c);
    LOOK_ALIKES.iter().any(|(like, _)| *like == lower)
}
