//! A text in passages: what is found and shown.

/// Longest passage, in bytes: some sentences.
const LONGEST: usize = 1000;
/// Paragraphs shorter than this go together with the next.
const SHORTEST: usize = 300;

/// Cuts a text at its paragraphs where they are short enough, else at words.
pub(crate) fn cut(text: &str) -> Vec<String> {
    let mut passages = vec![];
    let mut passage = String::new();
    for paragraph in paragraphs(text) {
        if passage.len() >= SHORTEST || passage.len() + paragraph.len() > LONGEST {
            take(&mut passages, &mut passage);
        }
        for piece in pieces(&paragraph) {
            if passage.len() + piece.len() > LONGEST {
                take(&mut passages, &mut passage);
            }
            if !passage.is_empty() {
                passage.push(' ');
            }
            passage.push_str(piece);
        }
    }
    take(&mut passages, &mut passage);
    passages
}

fn take(passages: &mut Vec<String>, passage: &mut String) {
    if !passage.is_empty() {
        passages.push(std::mem::take(passage));
    }
}

/// Lines up to an empty one, with single spaces.
fn paragraphs(text: &str) -> impl Iterator<Item = String> {
    let mut lines = text.lines();
    std::iter::from_fn(move || {
        let mut paragraph = String::new();
        for line in lines.by_ref() {
            for word in line.split_whitespace() {
                if !paragraph.is_empty() {
                    paragraph.push(' ');
                }
                paragraph.push_str(word);
            }
            if line.trim().is_empty() && !paragraph.is_empty() {
                return Some(paragraph);
            }
        }
        (!paragraph.is_empty()).then_some(paragraph)
    })
}

/// A paragraph in pieces of at most `LONGEST` bytes.
fn pieces(paragraph: &str) -> Vec<&str> {
    let mut pieces = vec![];
    let mut rest = paragraph;
    while rest.len() > LONGEST {
        let most = rest.floor_char_boundary(LONGEST);
        let at = rest[..most].rfind(' ').unwrap_or(most);
        let (piece, next) = rest.split_at(at);
        pieces.push(piece);
        rest = next.trim_start();
    }
    pieces.push(rest);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_paragraphs_go_together_and_long_ones_are_cut_at_words() {
        assert_eq!(cut("one\ntwo\n\n  three "), ["one two three"]);
        assert_eq!(cut(" \n\n "), Vec::<String>::new());
        let long = "word ".repeat(1000);
        let passages = cut(&long);
        assert!(passages.len() >= 5);
        assert!(
            passages
                .iter()
                .all(|p| p.len() <= LONGEST && !p.starts_with(' '))
        );
        let words: usize = passages.iter().map(|p| p.split(' ').count()).sum();
        assert_eq!(words, 1000);
        // A text without spaces, of letters of several bytes.
        let solid = "ü".repeat(5000);
        assert_eq!(cut(&solid).concat(), solid);
    }
}
