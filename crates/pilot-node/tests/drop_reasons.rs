//! Every reason for a drop is in the table, and the table in the documentation.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use pilot_node::drop_reasons;

/// The words between `before` and a quotation mark in all sources of a crate.
fn words(krate: &str, before: &str) -> BTreeSet<String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(krate)
        .join("src");
    let mut found = BTreeSet::new();
    for file in fs::read_dir(dir).expect("the crate has sources") {
        let path = file.expect("the folder is readable").path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(path).expect("a source is readable");
            let parts = text.split(before).skip(1);
            found.extend(parts.filter_map(|part| Some(part.split_once('"')?.0.to_owned())));
        }
    }
    found
}

#[test]
fn every_reason_that_the_sources_count_is_in_the_table() {
    let known: BTreeSet<String> = drop_reasons().map(str::to_owned).collect();
    let node = words("pilot-node", "drops.count(\"");
    let shell = words("pilot", "count_drop(\"");
    assert!(node.len() > 15 && shell.len() > 2, "{node:?} {shell:?}");
    let mut counted = node;
    counted.extend(shell);
    for before in ["Err(\"", "ok_or(\"", "map_err(|_| \""] {
        counted.extend(words("pilot-node", before));
    }
    let unknown: Vec<_> = counted.difference(&known).collect();
    assert!(unknown.is_empty(), "not in the table: {unknown:?}");
}

#[test]
fn every_reason_is_named_once_and_explained() {
    let all: Vec<&str> = drop_reasons().collect();
    let set: BTreeSet<&str> = all.iter().copied().collect();
    assert_eq!(all.len(), set.len(), "a reason is named twice");
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operations.md");
    let page = fs::read_to_string(page).expect("the page is there");
    for reason in all {
        assert!(
            page.contains(&format!("\n| `{reason}` | ")),
            "docs/operations.md does not explain {reason}"
        );
    }
}
