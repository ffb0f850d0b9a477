//! Rust source without comments, the insides of literals and test code, by a small scanner.

/// Names of `names` that stand in the code of `text`, with the lines that they are on.
pub(crate) fn names_in_code<'a>(text: &str, names: &[&'a str]) -> Vec<(usize, &'a str)> {
    let code = without_tests(&code_only(text));
    let mut found = vec![];
    for (number, line) in (1..).zip(code.lines()) {
        let on_line = names.iter().filter(|name| has_word(line, name));
        found.extend(on_line.map(|name| (number, *name)));
    }
    found
}

/// Whether `name` stands in `line` and is no part of a longer name.
fn has_word(line: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(name).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + name.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

/// The text with comments and literals made blank; lines stay where they are.
pub(crate) fn code_only(text: &str) -> String {
    let mut rest = text;
    let mut code = String::with_capacity(text.len());
    while let Some(first) = rest.chars().next() {
        let len = skipped(rest);
        if len == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            let blank = |c: char| if c == '\n' { '\n' } else { ' ' };
            code.extend(rest[..len].chars().map(blank));
            rest = &rest[len..];
        }
    }
    code
}

/// Length of the comment or literal that `text` begins with; 0 if it begins with code.
fn skipped(text: &str) -> usize {
    if text.starts_with("//") {
        text.find('\n').unwrap_or(text.len())
    } else if text.starts_with("/*") {
        block_comment(text)
    } else if text.starts_with('"') {
        quoted(text, '"')
    } else if text.starts_with("r\"") || text.starts_with("r#") {
        raw_string(text)
    } else if is_char(text) {
        quoted(text, '\'')
    } else {
        0
    }
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    loop {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            match rest.chars().next() {
                Some(c) => at += c.len_utf8(),
                None => return at,
            }
        }
    }
}

fn quoted(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if is_escaped {
            is_escaped = false;
        } else if c == '\\' {
            is_escaped = true;
        } else if c == quote {
            return at + 1;
        }
    }
    text.len()
}

fn raw_string(text: &str) -> usize {
    let hashes = text[1..].bytes().take_while(|byte| *byte == b'#').count();
    if !text[1 + hashes..].starts_with('"') {
        return 0;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let body = 2 + hashes;
    text[body..]
        .find(&end)
        .map_or(text.len(), |at| body + at + end.len())
}

/// Whether `text` begins with a character literal; a lifetime has no quote after its first character.
fn is_char(text: &str) -> bool {
    let mut chars = text.chars();
    if chars.next() != Some('\'') {
        return false;
    }
    match chars.next() {
        Some('\\') => true,
        Some(_) => chars.next() == Some('\''),
        None => false,
    }
}

/// The code with items under `#[cfg(test)]` made blank: up to the brace that closes them, or their semicolon.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find(MARK) {
        out.push_str(&rest[..at]);
        let item = &rest[at..];
        let len = item_len(item);
        out.extend(item[..len].chars().filter(|c| *c == '\n'));
        rest = &item[len..];
    }
    out.push_str(rest);
    out
}

fn item_len(item: &str) -> usize {
    let mut depth = 0;
    for (at, c) in item.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    item.len()
}

#[test]
fn a_name_is_found_in_code_and_only_there() {
    let sample = r#"
        //! Instant::now in a comment
        /* tokio /* nested */ UdpSocket */
        fn f<'a>(now: Instant) -> &'static str {
            let quote = '"'; let text: &'a str = "OsRng in a string \" SystemTime";
            std::time::Instant::now(); // the sixth line
            my_tokio_like_name();
            "x"
        }
        #[cfg(test)]
        mod tests {
            fn g() { if true { getrandom(); } }
        }
        #[cfg(test)]
        mod elsewhere;
        use tokio::net;
        #[cfg(not(test))]
        fn h() { thread::spawn(f); }
    "#;
    let names = [
        "Instant::now",
        "tokio",
        "UdpSocket",
        "OsRng",
        "SystemTime",
        "getrandom",
        "thread::spawn",
    ];
    let found = names_in_code(sample, &names);
    let expected = [(6, "Instant::now"), (16, "tokio"), (18, "thread::spawn")];
    assert_eq!(found, expected);
}

#[test]
fn raw_strings_hide_their_text() {
    let sample = "let a = r##\"tokio \"# tokio\"##; tokio();\nlet r#type = 1; let b = br\"tokio\";";
    assert_eq!(names_in_code(sample, &["tokio"]), [(1, "tokio")]);
}
