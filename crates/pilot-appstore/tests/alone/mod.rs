//! A test alone in its program, without a harness: this very program is also the one that becomes an app.

use std::io::{Write, stdout};
use std::process::ExitCode;

use pilot_appstore::{WORD, enter};

/// Runs the test, names it to what runs tests, or becomes the app, as the arguments say.
pub(crate) fn run(name: &str, test: impl Future<Output = ()>) -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let first = args.next().unwrap_or_default();
    if first == WORD {
        return enter(args.next()).into();
    }
    // What runs tests asks for their names first; none of them is ignored.
    let words: Vec<_> = std::env::args().collect();
    let has = |word: &str| words.iter().any(|other| other == word);
    if has("--list") {
        if !has("--ignored") {
            let mut list = stdout().lock();
            writeln!(list, "{name}: test").unwrap();
        }
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(test);
    ExitCode::SUCCESS
}
