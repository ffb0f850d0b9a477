//! From a URL to a page, over redirects.

use std::io;
use std::time::{Duration, Instant};

use thiserror::Error;
use url::Url;

use crate::http::{self, HttpError, Response};
use crate::stream::Client;

/// Redirects that are followed.
const MAX_REDIRECTS: usize = 5;
/// Content that is a page or a text.
const TEXTS: [&str; 5] = [
    "application/json",
    "application/xml",
    "application/javascript",
    "application/yaml",
    "application/toml",
];

/// How much a page may take.
pub struct Limits {
    /// For the page and all redirects before it.
    pub time: Duration,
    /// Longest page; the rest is left out.
    pub bytes: usize,
}

/// Why there is no page.
#[derive(Debug, Error)]
pub enum FetchError {
    /// Not a page's address.
    #[error("{0} is no page: expected http:// or https://")]
    Scheme(String),
    /// Names and passwords are not for pages that others read.
    #[error("a URL with a user or a password is not fetched")]
    Credentials,
    /// The daemon lets it through only where that was granted; its words say how.
    #[error("{0}")]
    NotGranted(io::Error),
    /// A redirect leads where nothing was granted.
    #[error("{from} leads on to {to}: {source}")]
    RedirectNotGranted {
        /// What sent it on.
        from: String,
        /// Where to.
        to: String,
        /// The daemon's words.
        source: io::Error,
    },
    /// It took too long.
    #[error("{url} did not answer within {millis} ms")]
    Timeout {
        /// Which page.
        url: String,
        /// How long was waited.
        millis: u128,
    },
    /// No connection, or one that failed.
    #[error("{url} is not reached: {source}")]
    Unreachable {
        /// Which page.
        url: String,
        /// Why.
        source: io::Error,
    },
    /// An answer that is none.
    #[error("{url}: {words}")]
    Answer {
        /// Which page.
        url: String,
        /// What is wrong with it.
        words: String,
    },
    /// A circle, most likely.
    #[error("more than {MAX_REDIRECTS} redirects; the last leads to {0}")]
    Redirects(String),
    /// A picture, a program, an archive.
    #[error("{url} is {content_type}, which is neither a page nor a text")]
    Content {
        /// Which page.
        url: String,
        /// What it says that it is.
        content_type: String,
    },
}

/// A page as it came.
#[derive(Debug)]
pub struct Fetched {
    /// Where it was in the end.
    pub url: Url,
    /// As HTTP has it.
    pub status: u16,
    /// In lower case, without parameters.
    pub content_type: String,
    /// The letters that its server says it is written in.
    pub charset: Option<String>,
    /// Where it was looked for before.
    pub redirects: Vec<String>,
    /// The page.
    pub body: Vec<u8>,
    /// Whether it is longer than that.
    pub is_cut: bool,
}

impl Fetched {
    /// Whether it is HTML; what does not say what it is may well be.
    pub fn is_html(&self) -> bool {
        matches!(
            self.content_type.as_str(),
            "text/html" | "application/xhtml+xml" | ""
        )
    }
}

/// Fetches a page.
///
/// # Errors
/// [`FetchError`].
pub fn fetch(client: &Client, mut url: Url, limits: &Limits) -> Result<Fetched, FetchError> {
    let deadline = Instant::now() + limits.time;
    let mut redirects = vec![];
    loop {
        check(&url)?;
        let answered = ask(client, &url, deadline, limits);
        let response = answered.map_err(|error| named(error, &redirects, &url, limits))?;
        let Some(next) = leads_on(&response, &url) else {
            return fetched(url, response, redirects);
        };
        if redirects.len() == MAX_REDIRECTS {
            return Err(FetchError::Redirects(next.into()));
        }
        redirects.push(url.into());
        url = next;
    }
}

fn check(url: &Url) -> Result<(), FetchError> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(FetchError::Scheme(url.to_string()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(FetchError::Credentials);
    }
    Ok(())
}

fn ask(
    client: &Client,
    url: &Url,
    deadline: Instant,
    limits: &Limits,
) -> Result<Response, HttpError> {
    let stream = client.open(url, deadline)?;
    http::get(stream, url, limits.bytes)
}

fn named(error: HttpError, redirects: &[String], url: &Url, limits: &Limits) -> FetchError {
    let url = url.to_string();
    match (error, redirects.last()) {
        (HttpError::Io(source), from) if source.kind() == io::ErrorKind::PermissionDenied => {
            match from {
                Some(from) => FetchError::RedirectNotGranted {
                    from: from.clone(),
                    to: url,
                    source,
                },
                None => FetchError::NotGranted(source),
            }
        }
        (HttpError::Io(source), _) if source.kind() == io::ErrorKind::TimedOut => {
            FetchError::Timeout {
                url,
                millis: limits.time.as_millis(),
            }
        }
        (HttpError::Io(source), _) => FetchError::Unreachable { url, source },
        (error @ (HttpError::Malformed(_) | HttpError::Ended | HttpError::Packed(_)), _) => {
            FetchError::Answer {
                url,
                words: error.to_string(),
            }
        }
    }
}

/// Where a redirect leads. Without a place it is a page like others.
fn leads_on(response: &Response, url: &Url) -> Option<Url> {
    let is_redirect = matches!(response.status, 301 | 302 | 303 | 307 | 308);
    let location = response.location.as_deref().filter(|_| is_redirect)?;
    url.join(location).ok()
}

fn fetched(url: Url, response: Response, redirects: Vec<String>) -> Result<Fetched, FetchError> {
    let told = response.content_type.unwrap_or_default();
    let mut parts = told.split(';');
    let content_type = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
    let charset = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        let is_it = name.trim().eq_ignore_ascii_case("charset");
        is_it.then(|| value.trim().trim_matches('"').to_owned())
    });
    let is_text = content_type.is_empty()
        || content_type.starts_with("text/")
        || content_type.ends_with("+xml")
        || content_type.ends_with("+json")
        || TEXTS.contains(&content_type.as_str());
    if !is_text {
        let url = url.into();
        return Err(FetchError::Content { url, content_type });
    }
    Ok(Fetched {
        url,
        status: response.status,
        content_type,
        charset,
        redirects,
        body: response.body,
        is_cut: response.is_cut,
    })
}
