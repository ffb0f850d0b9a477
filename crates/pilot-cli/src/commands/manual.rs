//! Manual pages, made from the description of the command line.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Command;
use clap_mangen::Man;
use pilot_api::{ApiError, ErrorCode};
use serde::Serialize;

use crate::output::{Failure, Reply};

#[derive(Serialize)]
struct Page {
    name: String,
    /// In the language of `man`.
    roff: String,
}

#[derive(Serialize)]
struct Written {
    dir: PathBuf,
    pages: Vec<String>,
}

/// One page on standard output, or all in a directory.
pub(crate) fn man(words: &[String], dir: Option<&Path>) -> Result<Reply, Failure> {
    let program = crate::built_command();
    if let Some(dir) = dir {
        return write_all(&program, dir);
    }
    let command = found(&program, words)?;
    let page = page(command)?;
    let words = page.roff.trim_end().to_owned();
    Reply::new(&page, words)
}

fn found<'a>(program: &'a Command, words: &[String]) -> Result<&'a Command, ApiError> {
    words.iter().try_fold(program, |command, word| {
        command.find_subcommand(word).ok_or_else(|| {
            let found = format!("no command {:?}", words.join(" "));
            ApiError::new(ErrorCode::InvalidArgument, found).with_hint("pilotctl --help")
        })
    })
}

fn page(command: &Command) -> Result<Page, ApiError> {
    let man = Man::new(command.clone());
    let mut roff = vec![];
    man.render(&mut roff)
        .map_err(|error| ApiError::internal(format!("the page cannot be made: {error}")))?;
    Ok(Page {
        name: man.get_filename(),
        roff: String::from_utf8_lossy(&roff).into_owned(),
    })
}

fn write_all(program: &Command, dir: &Path) -> Result<Reply, Failure> {
    let failed = |path: &Path, error: &io::Error| {
        let words = format!("cannot write {}: {error}", path.display());
        ApiError::new(pilot_rendezvous::error::io_code(error), words)
    };
    fs::create_dir_all(dir).map_err(|error| failed(dir, &error))?;
    let mut pages = vec![];
    for command in all(program) {
        let page = page(command)?;
        let path = dir.join(&page.name);
        fs::write(&path, page.roff).map_err(|error| failed(&path, &error))?;
        pages.push(page.name);
    }
    let words = format!("{} pages in {}", pages.len(), dir.display());
    let dir = dir.to_owned();
    Reply::new(&Written { dir, pages }, words)
}

/// A command and all below it that are shown.
fn all(command: &Command) -> Vec<&Command> {
    let below = command.get_subcommands().filter(|it| !it.is_hide_set());
    std::iter::once(command)
        .chain(below.flat_map(all))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_of_its_own_name() {
        let dir = tempfile::tempdir().unwrap();
        write_all(&crate::built_command(), dir.path()).unwrap();
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        assert!(read("pilotctl.1").contains("send\\-message"));
        let page = read("pilotctl-send-message.1");
        assert!(
            page.contains("reply") && page.contains("pilotctl"),
            "{page}"
        );
        assert!(read("pilotctl-group-create.1").contains("auto"));
        let pages = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(
            pages,
            all(&crate::built_command()).len(),
            "no two have the same name"
        );
    }

    #[test]
    fn a_page_is_found_by_the_words_of_its_command() {
        let program = crate::built_command();
        let words = ["group".to_owned(), "create".to_owned()];
        assert_eq!(found(&program, &words).unwrap().get_name(), "create");
        assert!(found(&program, &["nothing".to_owned()]).is_err());
    }
}
