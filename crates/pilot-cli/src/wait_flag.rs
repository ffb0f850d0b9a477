//! `--wait [DUR]` takes the next word as its duration only if it is one.

use std::ffi::OsString;

use crate::duration::Deadline;

const FLAG: &str = "--wait";
/// Options whose value may be any text, also one that looks like the flag.
const FREE_TEXT: [&str; 2] = ["--data", "--message"];

/// Joins `--wait 5s` into `--wait=5s` and leaves `--wait please` as it is.
pub(crate) fn joined(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut args = args.into_iter().peekable();
    let mut out: Vec<OsString> = vec![];
    while let Some(arg) = args.next() {
        if arg == "--" {
            out.push(arg);
            out.extend(args);
            break;
        }
        let is_text = out
            .last()
            .is_some_and(|last| FREE_TEXT.iter().any(|option| last == option));
        if arg == FLAG
            && !is_text
            && let Some(duration) = args.next_if(is_duration)
        {
            let mut joined = arg;
            joined.push("=");
            joined.push(duration);
            out.push(joined);
        } else {
            out.push(arg);
        }
    }
    out
}

fn is_duration(arg: &OsString) -> bool {
    arg.to_str()
        .is_some_and(|text| text.parse::<Deadline>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(line: &str) -> String {
        let words = line.split(' ').map(OsString::from);
        let joined: Vec<String> = joined(words)
            .into_iter()
            .map(|word| word.into_string().unwrap())
            .collect();
        joined.join(" ")
    }

    #[test]
    fn only_a_duration_is_taken() {
        for (given, expected) in [
            ("handshake bob --wait 5s", "handshake bob --wait=5s"),
            ("handshake bob --wait 0", "handshake bob --wait=0"),
            ("handshake bob --wait please", "handshake bob --wait please"),
            ("handshake --wait bob", "handshake --wait bob"),
            ("handshake bob --wait", "handshake bob --wait"),
            ("x --data --wait 5s", "x --data --wait 5s"),
            ("x -- --wait 5s", "x -- --wait 5s"),
        ] {
            assert_eq!(after(given), expected);
        }
    }
}
