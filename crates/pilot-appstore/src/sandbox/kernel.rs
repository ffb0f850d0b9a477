//! What this machine's kernel can enforce, asked of the kernel itself.

use std::fs;

use landlock::{ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, Scope};

use crate::grant::Grant;

/// The latest rules of Landlock that are used here: signals and abstract sockets are scoped from 6 on.
pub(super) const LATEST: ABI = ABI::V6;
/// Where the kernel lists what a filter of system calls may do.
const SECCOMP_ACTIONS: &str = "/proc/sys/kernel/seccomp/actions_avail";

/// What this kernel enforces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kernel {
    /// Landlock's version as far as it is used here, 1–6; 0 for none.
    pub landlock: u32,
    /// Whether it filters system calls.
    pub seccomp: bool,
}

impl Kernel {
    /// Asks the kernel.
    #[must_use]
    pub fn probe() -> Self {
        let versions = [ABI::V1, ABI::V2, ABI::V3, ABI::V4, ABI::V5, ABI::V6];
        let landlock = versions.into_iter().take_while(|abi| has(*abi)).count();
        let actions = fs::read_to_string(SECCOMP_ACTIONS).unwrap_or_default();
        Self {
            landlock: u32::try_from(landlock).unwrap_or_default(),
            seccomp: actions
                .split_whitespace()
                .any(|word| word == "kill_process"),
        }
    }

    /// What of an app's grants, and of what it must not do without any, cannot be enforced here.
    #[must_use]
    pub fn unenforced<'a>(&self, grants: impl IntoIterator<Item = &'a Grant>) -> Vec<String> {
        let mut words = vec![];
        if !self.seccomp {
            let nothing = "system calls: this kernel has no seccomp, so that nothing is enforced";
            words.push(nothing.to_owned());
        }
        words.extend(grants.into_iter().filter_map(|grant| self.gap(grant)));
        words
    }

    /// What of one grant cannot be enforced.
    fn gap(&self, grant: &Grant) -> Option<String> {
        match grant {
            Grant::Env(_) | Grant::Net(_) | Grant::Overlay(_) => None,
            Grant::Read(_) | Grant::Write(_) | Grant::Data | Grant::Libs | Grant::Python
                if self.landlock == 0 =>
            {
                Some(format!(
                    "{grant}: this kernel has no Landlock: it could open any file of the daemon's user"
                ))
            }
            // Before its version 3 Landlock does not see that a file is emptied as it is opened.
            Grant::Read(_) | Grant::Libs | Grant::Python if self.landlock < 3 => Some(format!(
                "{grant}: this kernel's Landlock would let it empty what it may read"
            )),
            Grant::Read(_) | Grant::Write(_) | Grant::Data | Grant::Libs | Grant::Python => None,
        }
    }

    /// What enforces a grant's bounds.
    #[must_use]
    pub fn enforced_by(&self, grant: &Grant) -> String {
        match grant {
            Grant::Read(_) | Grant::Write(_) | Grant::Libs => self.landlock_words(),
            Grant::Python => format!(
                "{}; the daemon: the interpreter is one that root alone may change",
                self.landlock_words()
            ),
            Grant::Data => format!(
                "{}; its size is watched by the daemon",
                self.landlock_words()
            ),
            Grant::Env(_) => "the daemon: the environment holds nothing else".to_owned(),
            Grant::Net(_) | Grant::Overlay(_) if self.seccomp => {
                "the daemon's broker: the app has no other way out".to_owned()
            }
            Grant::Net(_) | Grant::Overlay(_) => "nothing".to_owned(),
        }
    }

    /// What every app is held to, whatever it was granted, and by what.
    #[must_use]
    pub fn always(&self) -> Vec<(&'static str, String)> {
        let seccomp = if self.seccomp { "seccomp" } else { "nothing" };
        vec![
            ("no file that was not granted", self.landlock_words()),
            ("no other program, process or thread", seccomp.to_owned()),
            (
                "no socket but those that the daemon gives it",
                seccomp.to_owned(),
            ),
            (
                "no signal to and no sight of others' memory",
                seccomp.to_owned(),
            ),
            (
                "memory, CPU time, open files, file size",
                "rlimits".to_owned(),
            ),
            (
                "no new privileges, no capabilities",
                "no_new_privs and capset".to_owned(),
            ),
        ]
    }

    fn landlock_words(&self) -> String {
        match self.landlock {
            0 => "nothing".to_owned(),
            version => format!("landlock {version}"),
        }
    }
}

/// Whether the kernel takes a rule set with all that this version has.
fn has(abi: ABI) -> bool {
    let rules = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    let rules = rules.handle_access(AccessFs::from_all(abi));
    let rules = match rules {
        Ok(rules) if abi as u32 >= 6 => rules.scope(Scope::from_all(abi)),
        other => other,
    };
    rules.and_then(Ruleset::create).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_enforced_is_named() {
        let read: Grant = "read:/srv".parse().unwrap();
        let net: Grant = "net:example.org:443".parse().unwrap();
        let env: Grant = "env:LANG".parse().unwrap();
        let whole = Kernel {
            landlock: 6,
            seccomp: true,
        };
        assert_eq!(whole.unenforced([&read, &env, &net]), Vec::<String>::new());
        assert!(whole.enforced_by(&net).contains("broker"));
        let early = Kernel {
            landlock: 2,
            seccomp: true,
        };
        assert!(early.unenforced([&read])[0].contains("empty what it may read"));
        let old = Kernel {
            landlock: 0,
            seccomp: true,
        };
        assert!(old.unenforced([&read])[0].contains("no Landlock"));
        assert_eq!(old.unenforced([&env]), Vec::<String>::new());
        let none = Kernel {
            landlock: 6,
            seccomp: false,
        };
        assert!(none.unenforced([])[0].contains("no seccomp"));
        assert_eq!(none.enforced_by(&net), "nothing");
    }

    #[test]
    fn the_kernel_is_asked() {
        let kernel = Kernel::probe();
        assert!(kernel.landlock <= 6);
        assert_eq!(kernel, Kernel::probe());
    }
}
