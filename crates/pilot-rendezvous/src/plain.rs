//! All documents as one plain text, for agents that read rather than click.

/// The name of each and its text.
const DOCUMENTS: &[(&str, &str)] = &[
    ("README.md", include_str!("../../../README.md")),
    ("docs/cli.md", include_str!("../../../docs/cli.md")),
    ("docs/api.md", include_str!("../../../docs/api.md")),
    ("docs/apps.md", include_str!("../../../docs/apps.md")),
    ("docs/trust.md", include_str!("../../../docs/trust.md")),
    ("docs/nat.md", include_str!("../../../docs/nat.md")),
    (
        "docs/operations.md",
        include_str!("../../../docs/operations.md"),
    ),
    (
        "docs/registry.md",
        include_str!("../../../docs/registry.md"),
    ),
    ("docs/crypto.md", include_str!("../../../docs/crypto.md")),
    ("docs/wire.md", include_str!("../../../docs/wire.md")),
    (
        "docs/transport.md",
        include_str!("../../../docs/transport.md"),
    ),
    (
        "docs/architecture.md",
        include_str!("../../../docs/architecture.md"),
    ),
    (
        "docs/performance.md",
        include_str!("../../../docs/performance.md"),
    ),
    ("docs/testing.md", include_str!("../../../docs/testing.md")),
    (
        "docs/dependencies.md",
        include_str!("../../../docs/dependencies.md"),
    ),
];

/// Their names first, then one after the other.
pub(crate) fn page() -> String {
    let mut page = String::from("Pilot: all documents, one after the other.\n\n");
    for (name, _) in DOCUMENTS {
        page.extend(["- ", name, "\n"]);
    }
    for (name, text) in DOCUMENTS {
        page.extend(["\n\n==== ", name, " ====\n\n", text]);
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_document_is_there() {
        let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs");
        let page = page();
        for entry in std::fs::read_dir(docs).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let is_missing =
                name.ends_with(".md") && !page.contains(&format!("==== docs/{name} ===="));
            assert!(!is_missing, "{name}");
        }
    }
}
