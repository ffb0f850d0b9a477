//! HTML as Markdown, and what a page says of itself.

use std::rc::Rc;
use std::time::{Duration, Instant};

use htmd::{HtmlToMarkdown, Node};
use html5ever::tendril::TendrilSink;
use html5ever::tree_builder::TreeBuilderOpts;
use html5ever::{ParseOpts, parse_document};
use markup5ever_rcdom::{NodeData, RcDom};
use serde::Serialize;
use url::Url;

/// Elements within each other. The converter goes down a tree by recursion, and an app has 8 MiB of stack.
const MAX_DEPTH: usize = 200;
/// How long a page is parsed. Elements within each other take the parser time by the square of their depth, as HTML's rules have it.
pub const PARSING: Duration = Duration::from_secs(5);
/// What it is fed at a time.
const PIECE: usize = 4096;
/// Links that are listed.
const MAX_LINKS: usize = 500;
/// Longest text of a link, title or description.
const MAX_WORDS: usize = 500;
/// What shows nothing, or is nothing without scripts.
const SKIPPED: [&str; 12] = [
    "script", "style", "noscript", "template", "svg", "canvas", "iframe", "object", "embed",
    "head", "dialog", "select",
];

/// How a document is wanted.
pub struct Wanted<'a> {
    /// Where relative links begin.
    pub base: Option<&'a Url>,
    /// Only the part that is the page's own, where it says which that is.
    pub main: bool,
    /// Longest Markdown, in bytes.
    pub most: usize,
    /// How long it is parsed.
    pub time: Duration,
}

/// A document.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Document {
    /// What it is called.
    pub title: Option<String>,
    /// What it says that it is about.
    pub description: Option<String>,
    /// Its own address, as it says.
    pub canonical: Option<String>,
    /// As it says.
    pub language: Option<String>,
    /// The text.
    pub markdown: String,
    /// Where it leads.
    pub links: Vec<Link>,
    /// Whether something is left out: the page, its Markdown, its links or the depth of its elements are beyond the bound.
    pub truncated: bool,
}

/// A link of a document.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Link {
    text: String,
    url: String,
}

/// A text that is none of HTML's.
pub fn from_text(text: &str, wanted: &Wanted<'_>) -> Document {
    let (markdown, truncated) = cut(text.to_owned(), wanted.most);
    Document {
        markdown,
        truncated,
        ..Document::default()
    }
}

/// Converts a page, however broken it is.
pub fn from_html(html: &str, wanted: &Wanted<'_>) -> Document {
    let (tree, is_whole) = parse(html, Instant::now() + wanted.time);
    let mut survey = Survey::new(wanted);
    survey.walk(&tree);
    let main = survey.main.take().filter(|_| wanted.main);
    let converter = HtmlToMarkdown::builder()
        .skip_tags(SKIPPED.to_vec())
        .build();
    let whole = converter.tree_to_markdown(main.as_ref().unwrap_or(&tree));
    let (markdown, is_cut) = cut(whole, wanted.most);
    let mut document = survey.document;
    document.truncated |= is_cut || !is_whole;
    Document {
        markdown,
        ..document
    }
}

/// The tree, and whether all of the page is in it.
fn parse(html: &str, until: Instant) -> (Rc<Node>, bool) {
    let options = ParseOpts {
        tree_builder: TreeBuilderOpts {
            scripting_enabled: false,
            ..TreeBuilderOpts::default()
        },
        ..ParseOpts::default()
    };
    let mut parser = parse_document(RcDom::default(), options);
    let mut rest = html;
    while !rest.is_empty() && Instant::now() < until {
        let (piece, next) = rest.split_at(rest.floor_char_boundary(PIECE));
        parser.process(piece.into());
        rest = next;
    }
    (parser.finish().document, rest.is_empty())
}

/// One walk over the tree, without recursion: it notes what the page says of itself, makes links whole, and cuts what is too deep.
struct Survey {
    base: Option<Url>,
    document: Document,
    main: Option<Rc<Node>>,
}

impl Survey {
    fn new(wanted: &Wanted<'_>) -> Self {
        Self {
            base: wanted.base.cloned(),
            document: Document::default(),
            main: None,
        }
    }

    fn walk(&mut self, tree: &Rc<Node>) {
        let mut left = vec![(Rc::clone(tree), 0)];
        while let Some((node, depth)) = left.pop() {
            if depth > MAX_DEPTH {
                self.document.truncated = true;
                node.children.borrow_mut().clear();
                continue;
            }
            self.visit(&node);
            let children = node.children.borrow();
            left.extend(
                children
                    .iter()
                    .rev()
                    .map(|child| (Rc::clone(child), depth + 1)),
            );
        }
    }

    fn visit(&mut self, node: &Rc<Node>) {
        let NodeData::Element { name, .. } = &node.data else {
            return;
        };
        match &*name.local {
            "html" => self.document.language = attribute(node, "lang"),
            "base" => self.rebase(node),
            "title" if self.document.title.is_none() => {
                self.document.title = Some(words(node)).filter(|title| !title.is_empty());
            }
            "meta" => self.note_meta(node),
            "link" => self.note_link(node),
            "a" => self.note_anchor(node),
            "img" => self.make_whole(node, "src"),
            "main" => self.main = Some(Rc::clone(node)),
            "article" if self.main.is_none() => self.main = Some(Rc::clone(node)),
            _ => {}
        }
    }

    /// HTML §4.2.3: the first one counts.
    fn rebase(&mut self, node: &Node) {
        if let Some(href) = attribute(node, "href")
            && let Some(whole) = self.whole(&href)
        {
            self.base = Some(whole);
        }
    }

    fn note_meta(&mut self, node: &Node) {
        let name = attribute(node, "name").or_else(|| attribute(node, "property"));
        let is_description = name.is_some_and(|name| {
            name.eq_ignore_ascii_case("description") || name == "og:description"
        });
        if is_description && self.document.description.is_none() {
            self.document.description = attribute(node, "content").map(|text| plain(&text));
        }
    }

    fn note_link(&mut self, node: &Node) {
        let is_canonical = attribute(node, "rel").is_some_and(|rel| {
            rel.split_ascii_whitespace()
                .any(|word| word.eq_ignore_ascii_case("canonical"))
        });
        if let Some(href) = attribute(node, "href").filter(|_| is_canonical) {
            self.document.canonical = self.whole(&href).map(Into::into);
        }
    }

    fn note_anchor(&mut self, node: &Node) {
        self.make_whole(node, "href");
        let Some(url) = attribute(node, "href") else {
            return;
        };
        let is_place = url.starts_with("http://") || url.starts_with("https://");
        let is_known = self.document.links.iter().any(|link| link.url == url);
        if !is_place || is_known {
            return;
        }
        if self.document.links.len() == MAX_LINKS {
            self.document.truncated = true;
            return;
        }
        let text = words(node);
        self.document.links.push(Link { text, url });
    }

    fn make_whole(&self, node: &Node, name: &str) {
        let NodeData::Element { attrs, .. } = &node.data else {
            return;
        };
        for attr in attrs.borrow_mut().iter_mut() {
            if &*attr.name.local == name
                && let Some(whole) = self.whole(&attr.value)
            {
                attr.value = whole.as_str().into();
            }
        }
    }

    fn whole(&self, reference: &str) -> Option<Url> {
        match &self.base {
            Some(base) => base.join(reference).ok(),
            None => Url::parse(reference).ok(),
        }
    }
}

fn attribute(node: &Node, name: &str) -> Option<String> {
    let NodeData::Element { attrs, .. } = &node.data else {
        return None;
    };
    let attrs = attrs.borrow();
    let found = attrs.iter().find(|attr| &*attr.name.local == name)?;
    Some(found.value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// The texts in a node, without recursion, shortened.
fn words(node: &Node) -> String {
    let mut text = String::new();
    let mut left: Vec<Rc<Node>> = node.children.borrow().iter().rev().cloned().collect();
    while let Some(node) = left.pop() {
        if text.len() > MAX_WORDS * 4 {
            break;
        }
        if let NodeData::Text { contents } = &node.data {
            text.push_str(&contents.borrow());
        }
        left.extend(node.children.borrow().iter().rev().cloned());
    }
    plain(&text)
}

/// One line of at most [`MAX_WORDS`] letters.
fn plain(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(MAX_WORDS).collect()
}

/// At most so many bytes, of whole letters.
fn cut(mut text: String, most: usize) -> (String, bool) {
    let is_beyond = text.len() > most;
    if is_beyond {
        text.truncate(text.floor_char_boundary(most));
    }
    (text, is_beyond)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(html: &str, main: bool) -> Document {
        let base = Url::parse("http://example.org/a/b.html").unwrap();
        let wanted = Wanted {
            base: Some(&base),
            main,
            most: 100_000,
            time: PARSING,
        };
        from_html(html, &wanted)
    }

    #[test]
    fn a_page_is_its_text_with_links_lists_tables_and_code() {
        let page = document(
            "<html lang=en><head><title> A \n page </title><meta name=description content='What it says'>\
             <link rel='canonical' href='/canon'><style>p{}</style></head><body><h1>Head</h1>\
             <p>Some <b>bold</b> text, <a href='c.html'>a link</a>.<script>alert(1)</script></p>\
             <ul><li>one<li>two</ul><pre><code>let x;</code></pre>\
             <table><tr><th>k<th>v<tr><td>1<td>2</table><img src='/i.png' alt=pic></body>",
            false,
        );
        assert_eq!(page.title.as_deref(), Some("A page"));
        assert_eq!(page.description.as_deref(), Some("What it says"));
        assert_eq!(page.canonical.as_deref(), Some("http://example.org/canon"));
        assert_eq!(page.language.as_deref(), Some("en"));
        for part in [
            "# Head",
            "**bold**",
            "[a link](http://example.org/a/c.html)",
            "one",
            "let x;",
            "| k",
            "![pic](http://example.org/i.png)",
        ] {
            assert!(page.markdown.contains(part), "{part}: {}", page.markdown);
        }
        for part in ["alert", "p{}", "A page"] {
            assert!(!page.markdown.contains(part), "{part}: {}", page.markdown);
        }
        let url = "http://example.org/a/c.html".to_owned();
        let text = "a link".to_owned();
        assert_eq!(page.links, [Link { text, url }]);
        assert!(!page.truncated);
    }

    #[test]
    fn the_main_part_is_taken_where_it_is_told() {
        let html = "<nav>menu</nav><main><p>said</p></main><footer>foot</footer>";
        assert_eq!(document(html, true).markdown, "said");
        assert!(document(html, false).markdown.contains("menu"));
        assert_eq!(document("<p>all</p>", true).markdown, "all");
    }

    #[test]
    fn a_base_moves_relative_links() {
        let html =
            "<base href='https://cdn.example/x/'><a href=y>y</a><a href='javascript:z()'>z</a>";
        let page = document(html, false);
        assert_eq!(page.links.len(), 1);
        assert_eq!(page.links[0].url, "https://cdn.example/x/y");
    }

    #[test]
    fn what_is_too_deep_too_long_or_too_much_is_left_out_and_that_is_said() {
        let deep = format!("<p>top</p>{}bottom", "<div>".repeat(5_000));
        let page = document(&deep, false);
        assert!(page.truncated && page.markdown.contains("top"));
        assert!(!page.markdown.contains("bottom"));
        let lists = document(&"<ul><li>".repeat(2_000), false);
        assert!(lists.truncated);
        let many: String = (0..2000)
            .map(|n| format!("<a href=/{n}>{n}</a> "))
            .collect();
        let page = document(&many, false);
        assert_eq!((page.links.len(), page.truncated), (MAX_LINKS, true));
        let wanted = Wanted {
            base: None,
            main: false,
            most: 5,
            time: PARSING,
        };
        let page = from_html("<p>Grüße an alle</p>", &wanted);
        assert_eq!((page.markdown.as_str(), page.truncated), ("Grü", true));
        assert_eq!(from_text("abcdefg", &wanted).markdown, "abcde");
    }

    #[test]
    fn a_page_that_takes_the_parser_for_ever_is_left_when_its_time_is_over() {
        let wanted = Wanted {
            base: None,
            main: false,
            most: 1000,
            time: Duration::from_millis(50),
        };
        let page = from_html(&format!("<p>top</p>{}", "<div>".repeat(300_000)), &wanted);
        assert!(page.truncated && page.markdown.starts_with("top"));
    }

    #[test]
    fn broken_html_is_a_page_too() {
        for html in [
            "",
            "<",
            "<a",
            "<p><b>x</p></b>",
            "\0",
            "<table><p>x",
            "</html></p>",
            "&#x0;&#xD800;",
        ] {
            let _ = document(html, true);
        }
    }
}
