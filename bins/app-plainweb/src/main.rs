//! Turns web pages and HTML into Markdown. Nothing of a page is run: what its scripts would have written is not there.

use std::time::Duration;

use pilot_app::{App, Error};
use pilot_web::{Client, Document, Fetched, Limits, Wanted};
use serde::{Deserialize, Serialize};
use url::Url;

/// Longest Markdown of one page, in bytes, unless something else is asked for, and the most that may be.
const CHARS: usize = 200_000;
const MAX_CHARS: usize = 2_000_000;
/// How long a page may take, in milliseconds, unless something else is asked for; the manifest's `call_ms` is beyond the most.
const TIMEOUT_MS: u64 = 15_000;
const MAX_TIMEOUT_MS: u64 = 50_000;
/// Longest page: its tree is some ten times as long, and has to fit into the manifest's `memory_mb`.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// Arguments of `fetch`.
#[derive(Deserialize)]
struct Fetch {
    url: String,
    #[serde(default)]
    main: bool,
    max_chars: Option<usize>,
    timeout_ms: Option<u64>,
}

/// Arguments of `convert`.
#[derive(Deserialize)]
struct Convert {
    html: String,
    url: Option<String>,
    #[serde(default)]
    main: bool,
    max_chars: Option<usize>,
}

/// A page, and how it came.
#[derive(Serialize)]
struct Page {
    /// Where it was in the end.
    url: String,
    status: u16,
    content_type: String,
    charset: &'static str,
    redirects: Vec<String>,
    bytes: usize,
    #[serde(flatten)]
    document: Document,
}

fn main() -> std::io::Result<()> {
    let client = Client::new().map_err(std::io::Error::other)?;
    App::new()
        .method("fetch", move |asked: Fetch| fetch(&client, &asked))
        .method("convert", |asked: Convert| convert(&asked))
        .serve_connected()
}

fn fetch(client: &Client, asked: &Fetch) -> Result<Page, Error> {
    let url = parse(&asked.url)?;
    let millis = asked.timeout_ms.unwrap_or(TIMEOUT_MS).min(MAX_TIMEOUT_MS);
    let limits = Limits {
        time: Duration::from_millis(millis),
        bytes: MAX_BYTES,
    };
    let fetched =
        pilot_web::fetch(client, url, &limits).map_err(|error| Error::from(error.to_string()))?;
    page(fetched, asked.main, asked.max_chars)
}

fn page(fetched: Fetched, main: bool, max_chars: Option<usize>) -> Result<Page, Error> {
    let (text, charset) = pilot_web::decode(&fetched.body, fetched.charset.as_deref());
    let wanted = Wanted {
        base: Some(&fetched.url),
        main,
        most: most(max_chars),
        time: pilot_web::PARSING,
    };
    let mut document = if fetched.is_html() {
        pilot_web::from_html(&text, &wanted)
    } else {
        pilot_web::from_text(&text, &wanted)
    };
    document.truncated |= fetched.is_cut;
    Ok(Page {
        url: fetched.url.into(),
        status: fetched.status,
        content_type: fetched.content_type,
        charset,
        redirects: fetched.redirects,
        bytes: fetched.body.len(),
        document,
    })
}

fn convert(asked: &Convert) -> Result<Document, Error> {
    let base = asked.url.as_deref().map(parse).transpose()?;
    let wanted = Wanted {
        base: base.as_ref(),
        main: asked.main,
        most: most(asked.max_chars),
        time: pilot_web::PARSING,
    };
    Ok(pilot_web::from_html(&asked.html, &wanted))
}

fn most(asked: Option<usize>) -> usize {
    asked.unwrap_or(CHARS).min(MAX_CHARS)
}

fn parse(text: &str) -> Result<Url, Error> {
    Url::parse(text).map_err(|error| Error::from(format!("{text:?} is no URL: {error}")))
}

#[cfg(test)]
mod tests;
