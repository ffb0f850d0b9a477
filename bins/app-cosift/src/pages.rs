//! Pages and feeds, over the daemon's broker.

use std::time::Duration;

use pilot_web::{Client, Fetched, Limits, Wanted};
use url::Url;

use crate::folder::wanted;
use crate::index::Text;

/// Longest page or feed.
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// Entries of one feed.
const MAX_ENTRIES: usize = 1000;
/// Longest title, and longest name of an entry, in letters.
const MAX_TITLE: usize = 300;
const MAX_NAME: usize = 2000;

/// Fetches a page.
///
/// # Errors
/// In words.
pub(crate) fn page(client: &Client, url: &str, time: Duration) -> Result<Text, String> {
    let fetched = fetch(client, url, time)?;
    let (text, _) = pilot_web::decode(&fetched.body, fetched.charset.as_deref());
    let base = Wanted {
        base: Some(&fetched.url),
        ..wanted()
    };
    let document = if fetched.is_html() {
        pilot_web::from_html(&text, &base)
    } else {
        pilot_web::from_text(&text, &base)
    };
    let title = document.title.unwrap_or_else(|| url.to_owned());
    Ok(Text {
        item: url.to_owned(),
        stamp: stamp(&document.markdown),
        title: cut(&title, MAX_TITLE),
        text: document.markdown,
    })
}

/// Fetches a feed and gives its entries.
///
/// # Errors
/// In words.
pub(crate) fn feed(client: &Client, url: &str, time: Duration) -> Result<Vec<Text>, String> {
    let fetched = fetch(client, url, time)?;
    if fetched.is_cut {
        return Err(format!("{url} is longer than {} MiB", MAX_BYTES >> 20));
    }
    entries(&fetched.body, &fetched.url).map_err(|error| format!("{url}: {error}"))
}

fn fetch(client: &Client, url: &str, time: Duration) -> Result<Fetched, String> {
    let parsed = Url::parse(url).map_err(|error| format!("{url:?} is no URL: {error}"))?;
    let limits = Limits {
        time,
        bytes: MAX_BYTES,
    };
    let fetched = pilot_web::fetch(client, parsed, &limits).map_err(|error| error.to_string())?;
    // What a server says instead of a page is not the page.
    if !(200..300).contains(&fetched.status) {
        return Err(format!("{url} answers with status {}", fetched.status));
    }
    Ok(fetched)
}

/// Atom, RSS or JSON, whichever it is.
fn entries(bytes: &[u8], url: &Url) -> Result<Vec<Text>, String> {
    let parser = feed_rs::parser::Builder::new().base_uri(Some(url.as_str()));
    let feed = parser.build().parse(bytes);
    let feed = feed.map_err(|error| format!("it is no feed: {error}"))?;
    let texts = feed.entries.into_iter().take(MAX_ENTRIES).map(|entry| {
        let link = entry.links.into_iter().next().map(|link| link.href);
        let item = cut(&link.unwrap_or(entry.id), MAX_NAME).replace('\0', "");
        let body = entry.content.and_then(|content| content.body);
        let body = body.or(entry.summary.map(|summary| summary.content));
        let body = pilot_web::from_html(&body.unwrap_or_default(), &wanted()).markdown;
        let title = entry.title.map(|title| title.content).unwrap_or_default();
        let title = pilot_web::from_html(&title, &wanted()).markdown;
        let text = format!("{}\n\n{body}", title.trim());
        Text {
            stamp: stamp(&text),
            title: cut(title.trim(), MAX_TITLE),
            item,
            text,
        }
    });
    Ok(texts.collect())
}

/// Of a text that says nothing of its age: FNV-1a over its bytes, in 64 bits. It tells changes apart and protects nothing.
fn stamp(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}-{}", text.len())
}

fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RSS: &str = "<?xml version=\"1.0\"?><rss version=\"2.0\"><channel><title>News</title>\
        <item><title>First &amp; last</title><link>http://example.org/1</link>\
        <description>&lt;p&gt;About &lt;b&gt;otters&lt;/b&gt;&lt;/p&gt;</description></item>\
        </channel></rss>";
    const ATOM: &str = "<feed xmlns=\"http://www.w3.org/2005/Atom\"><title>T</title><id>urn:x</id>\
        <entry><title>Second</title><id>urn:2</id><link href=\"/2\"/>\
        <updated>2024-01-01T00:00:00Z</updated><content type=\"text\">About beavers</content></entry></feed>";

    #[test]
    fn entries_of_both_kinds_are_texts() {
        let url = Url::parse("http://example.org/feed").unwrap();
        let rss = entries(RSS.as_bytes(), &url).unwrap();
        assert_eq!(rss[0].item, "http://example.org/1");
        assert_eq!(rss[0].title, "First & last");
        assert!(rss[0].text.contains("About **otters**"), "{}", rss[0].text);
        let atom = entries(ATOM.as_bytes(), &url).unwrap();
        assert_eq!(atom[0].item, "http://example.org/2");
        assert!(atom[0].text.contains("beavers"));
    }

    #[test]
    fn what_is_no_feed_is_refused_in_words() {
        let url = Url::parse("http://example.org/feed").unwrap();
        for text in [
            "",
            "<html><p>no",
            "{}",
            "<rss><channel>",
            &"<a>".repeat(100_000),
        ] {
            match entries(text.as_bytes(), &url) {
                Err(words) => assert!(words.starts_with("it is no feed"), "{words}"),
                Ok(entries) => assert!(entries.is_empty(), "{}", text.len()),
            }
        }
        // Entities within entities are not followed.
        let bomb = "<!DOCTYPE x [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;\">]>\
                    <rss version=\"2.0\"><channel><item><title>&b;</title></item></channel></rss>";
        let read = entries(bomb.as_bytes(), &url).unwrap_or_default();
        assert!(read.iter().all(|text| text.text.len() < 100));
    }
}
