//! A directory as a page.

use super::directory::Entries;
use super::path::{RequestPath, encoded};
use pilot_api::html::escaped;

/// Links to everything in a directory. Names are text there, whatever is in them.
pub(super) fn page(path: &RequestPath, entries: &Entries) -> String {
    let title = escaped(&format!("{path}/"));
    let mut page = format!(
        "<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"><title>{title}</title></head>\n<body><h1>{title}</h1>\n<ul>\n"
    );
    if !path.is_root() {
        page.push_str("<li><a href=\"../\">../</a></li>\n");
    }
    for entry in &entries.entries {
        let slash = if entry.is_directory { "/" } else { "" };
        let name = escaped(&String::from_utf8_lossy(&entry.name));
        // A segment with a colon could be read as a scheme (RFC 3986 §4.2).
        let link = encoded(&entry.name);
        page.push_str(&format!(
            "<li><a href=\"./{link}{slash}\">{name}{slash}</a></li>\n"
        ));
    }
    if entries.is_cut {
        page.push_str("<li>… and more</li>\n");
    }
    page.push_str("</ul></body></html>\n");
    page
}

#[cfg(test)]
mod tests {
    use super::super::directory::Entry;
    use super::*;

    #[test]
    fn names_are_text_and_links_are_escaped() {
        let entry = |name: &[u8], is_directory| Entry {
            name: name.to_owned(),
            is_directory,
        };
        let entries = Entries {
            entries: vec![
                entry(b"<script>alert(1)</script>\"'&", false),
                entry(b"javascript:alert(1)", false),
                entry(b"sub", true),
                entry(b"\xFF\x1b[31m", false),
            ],
            is_cut: true,
        };
        let page = page(&RequestPath::parse("/a%3Cb/").unwrap(), &entries);
        assert!(!page.contains("<script"), "{page}");
        assert!(page.contains("&lt;script&gt;"), "{page}");
        assert!(
            page.contains("href=\"./javascript%3Aalert%281%29\""),
            "{page}"
        );
        assert!(page.contains("href=\"./sub/\">sub/<"), "{page}");
        assert!(page.contains("href=\"./%FF%1B%5B31m\""), "{page}");
        assert!(!page.contains('\u{1b}'), "{page}");
        assert!(
            page.contains("href=\"../\"") && page.contains("and more"),
            "{page}"
        );
    }
}
