//! What letters the bytes of a page are (HTML §13.2.3.2, shortened: what the page's first KiB says of itself counts).

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};

/// Bytes of a page that may say how it is written.
const HEAD: usize = 1024;

/// The text, and the name of its encoding.
pub fn decode(bytes: &[u8], told: Option<&str>) -> (String, &'static str) {
    let marked = Encoding::for_bom(bytes).map(|(encoding, _)| encoding);
    let told = told.and_then(|label| Encoding::for_label(label.as_bytes()));
    let encoding = marked.or(told).or_else(|| by_meta(bytes));
    let encoding = encoding.unwrap_or_else(|| {
        if std::str::from_utf8(bytes).is_ok() {
            UTF_8
        } else {
            WINDOWS_1252
        }
    });
    let (text, encoding, _) = encoding.decode(bytes);
    (text.into_owned(), encoding.name())
}

/// `<meta charset=…>`, or the same in `http-equiv`: the word behind the first `charset=` within a `<meta`.
fn by_meta(bytes: &[u8]) -> Option<&'static Encoding> {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(HEAD)]).to_ascii_lowercase();
    for tag in head.split("<meta").skip(1) {
        let tag = tag.split('>').next().unwrap_or(tag);
        if let Some((_, value)) = tag.split_once("charset=") {
            let value = value.trim_start_matches(['"', '\'', ' ']);
            let end = value
                .find(['"', '\'', ' ', ';', '/'])
                .unwrap_or(value.len());
            let encoding = Encoding::for_label(&value.as_bytes()[..end])?;
            // A page that can be read so far is not in UTF-16, whatever it says.
            return Some(if encoding.is_ascii_compatible() {
                encoding
            } else {
                UTF_8
            });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_the_page_and_the_bytes_say_how_it_is_written() {
        let latin = b"<meta charset=\"iso-8859-1\">Gr\xfc\xdfe";
        assert!(decode(latin, None).0.ends_with("Grüße"));
        assert_eq!(decode("Grüße".as_bytes(), None), ("Grüße".into(), "UTF-8"));
        assert_eq!(
            decode(b"Gr\xfc\xdfe", None),
            ("Grüße".into(), "windows-1252")
        );
        assert_eq!(decode(b"\x93\xfa\x96\x7b", Some("shift_jis")).0, "日本");
        assert_eq!(decode(b"\xff\xfeA\x00", Some("utf-8")).0, "A");
        let equiv = b"<META http-equiv=Content-Type content='text/html; charset=koi8-r'>\xf0";
        assert!(decode(equiv, None).0.ends_with('П'));
        let lying = b"<meta charset=utf-16>abc";
        assert!(decode(lying, None).0.ends_with("abc"));
        assert_eq!(decode(b"abc", Some("no-such")).1, "UTF-8");
    }
}
