//! As much of HTTP/1.1 (RFC 9112) as a page takes: one request a connection.

use std::io::{self, BufRead, BufReader, Read, Write};

use thiserror::Error;
use url::{Position, Url};

use crate::stream::Stream;

/// Longest head of an answer, and most fields in it.
const MAX_HEAD: usize = 64 * 1024;
const MAX_FIELDS: usize = 100;
/// Longest line before a chunk (RFC 9112 §7.1.1: extensions are left aside).
const MAX_CHUNK_LINE: u64 = 1024;
const AGENT: &str = concat!("Pilot/", env!("CARGO_PKG_VERSION"));

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum HttpError {
    /// The connection failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is no HTTP.
    #[error("the server's answer is no HTTP: {0}")]
    Malformed(String),
    /// The connection ended before the answer's head did.
    #[error("the server ended the connection before it answered")]
    Ended,
    /// It is packed though nobody asked for that.
    #[error("the server sends the page as {0:?}, which was not asked for")]
    Packed(String),
}

/// An answer.
#[derive(Debug)]
pub struct Response {
    /// As HTTP has it.
    pub status: u16,
    /// What the body is, as it says.
    pub content_type: Option<String>,
    /// Where to look next, as it says.
    pub location: Option<String>,
    /// What came.
    pub body: Vec<u8>,
    /// Whether the body is longer than what is here.
    pub is_cut: bool,
}

/// The head of an answer, as far as it matters here.
#[derive(Default)]
struct Head {
    status: u16,
    content_type: Option<String>,
    location: Option<String>,
    length: Option<u64>,
    is_chunked: bool,
    packed: Option<String>,
}

/// Asks for a page and reads at most `most` bytes of it.
///
/// # Errors
/// [`HttpError`].
pub(crate) fn get(stream: Box<dyn Stream>, url: &Url, most: usize) -> Result<Response, HttpError> {
    // What `url` writes has no spaces or line ends in it.
    let host = &url[Position::BeforeHost..Position::AfterPort];
    let target = &url[Position::BeforePath..Position::AfterQuery];
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {AGENT}\r\n\
         Accept: text/html, application/xhtml+xml, text/markdown, text/plain;q=0.9, */*;q=0.5\r\n\
         Accept-Encoding: identity\r\nConnection: close\r\n\r\n"
    );
    exchange(stream, request.as_bytes(), &[], false, most)
}

/// Sends a request as it is, `head` with its last empty line, and reads at most `most` bytes of the answer's body. The answer to `HEAD`
/// (`is_head`) has none.
///
/// # Errors
/// [`HttpError`].
pub fn exchange(
    mut stream: Box<dyn Stream>,
    head: &[u8],
    body: &[u8],
    is_head: bool,
    most: usize,
) -> Result<Response, HttpError> {
    stream.write_all(head)?;
    stream.write_all(body)?;
    stream.flush()?;
    let mut answer = BufReader::new(stream);
    let head = final_head(&mut answer)?;
    if let Some(packed) = head.packed {
        return Err(HttpError::Packed(packed));
    }
    let has_body = !is_head && !matches!(head.status, 204 | 304);
    let (body, is_cut) = match head.length {
        _ if !has_body => (vec![], false),
        _ if head.is_chunked => chunked(&mut answer, most)?,
        Some(length) => sized(&mut answer, length, most)?,
        None => to_the_end(&mut answer, most)?,
    };
    Ok(Response {
        status: head.status,
        content_type: head.content_type,
        location: head.location,
        body,
        is_cut,
    })
}

/// The head behind those that only say that it is coming.
fn final_head(answer: &mut impl BufRead) -> Result<Head, HttpError> {
    let mut left = MAX_HEAD;
    loop {
        let bytes = head_bytes(answer, left)?;
        left -= bytes.len();
        let head = parse(&bytes)?;
        if !(100..200).contains(&head.status) {
            return Ok(head);
        }
    }
}

/// Up to the first empty line.
fn head_bytes(answer: &mut impl BufRead, most: usize) -> Result<Vec<u8>, HttpError> {
    let mut bytes = vec![];
    loop {
        let left = most - bytes.len();
        let count = answer
            .by_ref()
            .take(left as u64)
            .read_until(b'\n', &mut bytes)?;
        if count == 0 || !bytes.ends_with(b"\n") {
            if left > count {
                return Err(HttpError::Ended);
            }
            return Err(HttpError::Malformed("its head is too long".to_owned()));
        }
        if bytes.ends_with(b"\n\r\n") || bytes.ends_with(b"\n\n") {
            return Ok(bytes);
        }
    }
}

fn parse(bytes: &[u8]) -> Result<Head, HttpError> {
    let malformed = |words: &str| HttpError::Malformed(words.to_owned());
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let parsed = response.parse(bytes);
    let parsed = parsed.map_err(|error| HttpError::Malformed(error.to_string()))?;
    let status = response.code.filter(|_| parsed.is_complete());
    let mut head = Head {
        status: status.ok_or_else(|| malformed("its head is not whole"))?,
        ..Head::default()
    };
    for field in response.headers.iter() {
        let value = String::from_utf8_lossy(field.value).trim().to_owned();
        match field.name.to_ascii_lowercase().as_str() {
            "content-type" => head.content_type = Some(value),
            "location" => head.location = Some(value),
            "content-length" => {
                let length = value.parse().map_err(|_| malformed("its length is none"))?;
                if head.length.is_some_and(|other| other != length) {
                    return Err(malformed("it has two lengths"));
                }
                head.length = Some(length);
            }
            "transfer-encoding" if value.eq_ignore_ascii_case("chunked") => head.is_chunked = true,
            "transfer-encoding" => return Err(HttpError::Packed(value)),
            "content-encoding" if !value.eq_ignore_ascii_case("identity") => {
                head.packed = Some(value);
            }
            _ => {}
        }
    }
    Ok(head)
}

fn sized(answer: &mut impl Read, length: u64, most: usize) -> Result<(Vec<u8>, bool), HttpError> {
    let mut body = vec![];
    answer
        .take(length.min(most as u64))
        .read_to_end(&mut body)?;
    // A connection that ends before is a page that was cut.
    let is_cut = (body.len() as u64) < length;
    Ok((body, is_cut))
}

fn to_the_end(answer: &mut impl Read, most: usize) -> Result<(Vec<u8>, bool), HttpError> {
    let mut body = vec![];
    let read = answer.take(most as u64 + 1).read_to_end(&mut body);
    let is_cut = match read {
        Ok(_) => body.len() > most,
        // A TLS connection that is not ended by its own word: more may have been to come.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => true,
        Err(error) => return Err(error.into()),
    };
    body.truncate(most);
    Ok((body, is_cut))
}

fn chunked(answer: &mut impl BufRead, most: usize) -> Result<(Vec<u8>, bool), HttpError> {
    let malformed = || HttpError::Malformed("a chunk of it is none".to_owned());
    let mut body = vec![];
    loop {
        let mut line = vec![];
        answer
            .by_ref()
            .take(MAX_CHUNK_LINE)
            .read_until(b'\n', &mut line)?;
        let size = match httparse::parse_chunk_size(&line) {
            Ok(httparse::Status::Complete((_, size))) => size,
            Ok(httparse::Status::Partial) | Err(_) => return Err(malformed()),
        };
        if size == 0 {
            return Ok((body, false));
        }
        let room = (most - body.len()) as u64;
        let taken = answer
            .by_ref()
            .take(size.min(room))
            .read_to_end(&mut body)?;
        if size > room {
            return Ok((body, true));
        }
        let mut end = [0; 2];
        if (taken as u64) < size || answer.read_exact(&mut end).is_err() || end != *b"\r\n" {
            return Err(malformed());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// What a server says, whatever it is asked.
    struct Said(Cursor<Vec<u8>>);

    impl Read for Said {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            // In small pieces, as a network may.
            let most = buffer.len().min(7);
            self.0.read(&mut buffer[..most])
        }
    }

    impl Write for Said {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn answer(text: &str) -> Result<Response, HttpError> {
        let url = Url::parse("http://example.org/").unwrap();
        let said = Said(Cursor::new(text.as_bytes().to_vec()));
        get(Box::new(said), &url, 20)
    }

    #[test]
    fn bodies_are_read_by_length_by_chunks_or_to_the_end() {
        for (text, body, is_cut) in [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello more",
                "hello",
                false,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",
                "hello",
                true,
            ),
            ("HTTP/1.0 200 OK\n\nhello", "hello", false),
            (
                "HTTP/1.1 200 OK\r\n\r\n0123456789012345678901234",
                "01234567890123456789",
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
                "hello",
                false,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n1e\r\n012345678901234567890123456789\r\n0\r\n\r\n",
                "01234567890123456789",
                true,
            ),
            (
                "HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 204 No\r\n\r\n",
                "",
                false,
            ),
        ] {
            let response = answer(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let read = String::from_utf8(response.body).unwrap();
            assert_eq!((read.as_str(), response.is_cut), (body, is_cut), "{text}");
        }
    }

    #[test]
    fn what_is_no_answer_is_refused_in_words() {
        let endless = format!("HTTP/1.1 200 OK\r\n{}", "X: y\r\n".repeat(20_000));
        let line = format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(100_000));
        for text in [
            "",
            "SSH-2.0-x\r\n",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhelXX0\r\n",
            &endless,
            &line,
            &"HTTP/1.1 100 Go on\r\n\r\n".repeat(10_000),
        ] {
            let error = answer(text).unwrap_err();
            let is_malformed = matches!(error, HttpError::Malformed(_) | HttpError::Ended);
            assert!(is_malformed, "{}: {error}", &text[..text.len().min(60)]);
        }
        let packed = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n";
        assert!(matches!(answer(packed), Err(HttpError::Packed(_))));
    }
}
