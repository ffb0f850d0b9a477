//! What the owner takes: from whom, how large, of which names.

use pilot_apps::Terms;
use pilot_store::{FileConfig, FilesFrom};
use pilot_types::AgentId;
use pilot_wire::limits::MAX_FILE_PATH;
use pilot_wire::{FileHead, FileRefusal, FileRefusalReason};

use super::refusal;

/// Room for what a taken name grows by: ` (10001)`.
const NUMBER: usize = 8;

/// What is taken of what trusted agents send.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FilePolicy {
    from: FilesFrom,
    max_size: Option<u64>,
    /// Any name, if there is none.
    names: Vec<String>,
    /// Bytes of all that came and is kept; the store sees to it.
    quota: Option<u64>,
}

impl FilePolicy {
    /// As the owner's configuration says.
    #[must_use]
    pub fn new(file: &FileConfig) -> Self {
        Self {
            from: file.files_from.clone().unwrap_or_default(),
            max_size: file.files_max_size,
            names: file.files_names.clone(),
            quota: file.files_quota,
        }
    }

    pub(crate) const fn quota(&self) -> Option<u64> {
        self.quota
    }

    /// Whether the file may come, by this and by what its sender was granted.
    pub(super) fn check(
        &self,
        from: AgentId,
        head: &FileHead,
        terms: Terms,
    ) -> Result<(), FileRefusal> {
        use FileRefusalReason::{Name, Sender, Size};
        if terms.is_reply_only {
            let words = "only answers to outstanding messages are allowed";
            return Err(refusal(Sender, words));
        }
        if !self.from.allows(from.address()) {
            return Err(refusal(Sender, "the receiver takes no files from you"));
        }
        if head.name.as_str().len() > MAX_FILE_PATH - NUMBER {
            return Err(refusal(Name, "the path of the file is too long"));
        }
        let granted = (terms.max_size > 0).then_some(terms.max_size);
        let limits = [self.max_size, granted];
        if let Some(limit) = limits.into_iter().flatten().min()
            && head.size > limit
        {
            let words = format!("file of {} bytes, at most {limit} are allowed", head.size);
            return Err(refusal(Size, &words));
        }
        let name = head.name.file_name();
        if !self.names.is_empty() && !self.names.iter().any(|pattern| fits(pattern, name)) {
            return Err(refusal(Name, "the receiver takes no files of that name"));
        }
        Ok(())
    }
}

/// Whether a name fits a pattern: `*` stands for any characters, `?` for one. In time of the product of both lengths.
fn fits(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    // Which beginnings of the pattern the name so far fits.
    let mut fitting = vec![false; pattern.len() + 1];
    fitting[0] = true;
    let skip_stars = |fitting: &mut Vec<bool>| {
        for (at, c) in pattern.iter().enumerate() {
            if fitting[at] && *c == '*' {
                fitting[at + 1] = true;
            }
        }
    };
    skip_stars(&mut fitting);
    for c in name.chars() {
        let mut next = vec![false; pattern.len() + 1];
        for (at, wanted) in pattern.iter().enumerate().filter(|(at, _)| fitting[*at]) {
            match wanted {
                '*' => next[at] = true,
                '?' => next[at + 1] = true,
                wanted => next[at + 1] |= *wanted == c,
            }
        }
        skip_stars(&mut next);
        fitting = next;
    }
    fitting[pattern.len()]
}

#[cfg(test)]
mod tests {
    use pilot_wire::FileId;

    use super::*;

    const FROM: AgentId = AgentId::new([1; 32]);

    fn checked(
        policy: &FilePolicy,
        name: &str,
        size: u64,
        max_size: u64,
    ) -> Result<(), FileRefusal> {
        let head = FileHead {
            id: FileId::new([0; 16]),
            name: name.parse().unwrap(),
            size,
            trace: None,
        };
        let terms = Terms {
            is_reply_only: false,
            max_size,
            rate: 0,
            network: None,
        };
        policy.check(FROM, &head, terms)
    }

    #[test]
    fn patterns_have_stars_and_question_marks() {
        for (pattern, name, is_fit) in [
            ("*", "a", true),
            ("*.pdf", "a.pdf", true),
            ("*.pdf", ".pdf", true),
            ("*.pdf", "a.pdf.exe", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("?.txt", "漢.txt", true),
            ("?.txt", "ab.txt", false),
            ("a", "a", true),
            ("a", "ab", false),
            ("", "a", false),
            ("**", "", true),
        ] {
            assert_eq!(fits(pattern, name), is_fit, "{pattern} {name}");
        }
        // No pattern costs more than the product of the lengths.
        assert!(!fits(&"*a".repeat(60), &"a".repeat(59)));
    }

    #[test]
    fn what_is_taken_is_said_by_sender_size_and_name() {
        let reason = |policy: &FilePolicy, name, size, granted| {
            checked(policy, name, size, granted).map_err(|refusal| refusal.reason)
        };
        use FileRefusalReason::{Name, Sender, Size};
        let any = FilePolicy::default();
        assert_eq!(reason(&any, "d/a.exe", u64::MAX, 0), Ok(()));
        assert_eq!(reason(&any, "a", 11, 10), Err(Size));
        let some = FilePolicy {
            from: FilesFrom::Agents(vec![FROM.address()]),
            max_size: Some(100),
            names: vec!["*.pdf".to_owned(), "*.csv".to_owned()],
            quota: None,
        };
        assert_eq!(reason(&some, "d/a.csv", 100, 0), Ok(()));
        assert_eq!(reason(&some, "a.csv", 101, 0), Err(Size));
        assert_eq!(reason(&some, "a.csv", 11, 10), Err(Size));
        assert_eq!(reason(&some, "a.pdf/b", 1, 0), Err(Name));
        let nobody = FilePolicy {
            from: FilesFrom::Agents(vec![]),
            ..FilePolicy::default()
        };
        assert_eq!(reason(&nobody, "a", 1, 0), Err(Sender));
    }
}
