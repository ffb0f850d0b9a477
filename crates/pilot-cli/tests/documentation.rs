//! `docs/cli.md` and the program say the same.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail their test")]

use std::collections::{BTreeMap, BTreeSet};

use clap::Command;

/// What every command has.
const EVERYWHERE: [&str; 4] = ["json", "home", "socket", "timeout"];

fn document() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cli.md");
    std::fs::read_to_string(path).unwrap()
}

/// The text under each heading of a command.
fn sections(document: &str) -> BTreeMap<String, String> {
    let mut sections = BTreeMap::new();
    let mut current: Option<String> = None;
    for line in document.lines() {
        if line.starts_with('#') {
            let name = line.strip_prefix("### `").and_then(|l| l.strip_suffix('`'));
            current = name.map(str::to_owned);
        }
        if let Some(name) = &current {
            let text: &mut String = sections.entry(name.clone()).or_default();
            text.push_str(line);
            text.push('\n');
        }
    }
    sections
}

/// Every visible command that does something, by its words.
fn commands(command: &Command, words: &str, found: &mut BTreeMap<String, Command>) {
    for child in command
        .get_subcommands()
        .filter(|child| !child.is_hide_set())
    {
        let name = format!("{words} {}", child.get_name()).trim().to_owned();
        if !child.is_subcommand_required_set() {
            found.insert(name.clone(), child.clone());
        }
        commands(child, &name, found);
    }
}

/// Words of a text that are long options.
fn options_in(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
        .filter_map(|word| word.strip_prefix("--"))
        .filter(|name| !name.is_empty() && !name.starts_with('-'))
        .map(str::to_owned)
        .collect()
}

/// The options of its own that help shows.
fn options_of(command: &Command) -> BTreeSet<String> {
    command
        .get_arguments()
        .filter(|argument| !argument.is_hide_set())
        .filter_map(|argument| argument.get_long().map(str::to_owned))
        .filter(|option| option != "help")
        .collect()
}

#[test]
fn every_command_and_option_is_documented_and_nothing_else() {
    let mut found = BTreeMap::new();
    commands(&pilot_cli::command(), "", &mut found);
    let sections = sections(&document());
    let (documented, existing): (BTreeSet<_>, BTreeSet<_>) =
        (sections.keys().collect(), found.keys().collect());
    assert_eq!(documented, existing);
    for (name, command) in &found {
        let (text, options) = (&sections[name], options_of(command));
        let mentioned = options_in(text);
        let is_known = |option: &str| {
            options.contains(option)
                || EVERYWHERE.contains(&option)
                // A section may refer to another command's option by that command's name.
                || text.contains(&format!("`connect --{option}`"))
        };
        let unknown: Vec<_> = mentioned.iter().filter(|o| !is_known(o)).collect();
        assert!(unknown.is_empty(), "{name} has no {unknown:?}");
        let missing: Vec<_> = options.difference(&mentioned).collect();
        assert!(missing.is_empty(), "{name}: {missing:?} are not documented");
    }
}

#[test]
fn the_table_of_codes_is_the_programs() {
    let document = document();
    for code in pilot_api::ErrorCode::ALL {
        let row = format!("| `{}` | {} |", code.name(), code.exit_code());
        assert!(document.contains(&row), "{row} is missing");
    }
}

#[test]
fn clap_finds_no_fault_with_the_definitions() {
    pilot_cli::command().debug_assert();
}
