//! What this machine's kernel can enforce, asked of the kernel itself.

use std::fs;
use std::path::Path;

use landlock::{ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, Scope};

use crate::grant::Grant;
use crate::groups::Controllers;
use crate::limits::Limits;

/// The latest rules of Landlock that are used here: signals and abstract sockets are scoped from 6 on.
pub(super) const LATEST: ABI = ABI::V6;
/// Where the kernel lists what a filter of system calls may do.
const SECCOMP_ACTIONS: &str = "/proc/sys/kernel/seccomp/actions_avail";

/// What this kernel enforces.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Kernel {
    /// Landlock's version as far as it is used here, 1–6; 0 for none.
    pub landlock: u32,
    /// Whether it filters system calls.
    pub seccomp: bool,
    /// Whether a user other than root gets a namespace of users, in which the kernel counts an app's threads alone.
    pub own_users: bool,
    /// What control groups enforce, where this machine lets the daemon make some.
    pub groups: Controllers,
}

impl Kernel {
    /// Asks the kernel. Control groups are left out: [`crate::Host`] looks for them.
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
            own_users: !rustix::process::geteuid().is_root() && may_have_own_users(),
            groups: Controllers::default(),
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
            Grant::Folders | Grant::Env(_) | Grant::Net(_) | Grant::Overlay(_) => None,
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
            Grant::Folders => format!("{}: nothing but what is named", self.landlock_words()),
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

    /// What an app with these limits is held to, whatever it was granted, and by what.
    #[must_use]
    pub fn always(&self, limits: &Limits) -> Vec<(&'static str, String)> {
        let seccomp = if self.seccomp { "seccomp" } else { "nothing" };
        let with = |else_by: &str, has_group: bool, controller: &str| match (has_group, else_by) {
            (true, "nothing") => format!("cgroup {controller}"),
            (true, other) => format!("{other} and cgroup {controller}"),
            (false, other) => other.to_owned(),
        };
        vec![
            ("no file that was not granted", self.landlock_words()),
            ("no other program or process", seccomp.to_owned()),
            ("no more threads than its limit", self.threads_words(limits)),
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
                with("rlimits", self.groups.memory, "memory"),
            ),
            (
                "a small share of a busy processor",
                with("nothing", self.groups.cpu, "cpu"),
            ),
            (
                "no new privileges, no capabilities",
                "no_new_privs and capset".to_owned(),
            ),
        ]
    }

    fn threads_words(&self, limits: &Limits) -> String {
        let mut by = vec![];
        if limits.threads == 1 && self.seccomp {
            by.push("seccomp");
        }
        if self.groups.pids {
            by.push("cgroup pids");
        }
        if self.own_users {
            by.push("rlimits");
        }
        if by.is_empty() {
            // Nothing of the kernel's: it is looked at from outside.
            by.push("the daemon, which counts them twice a second");
        }
        by.join(" and ")
    }

    fn landlock_words(&self) -> String {
        match self.landlock {
            0 => "nothing".to_owned(),
            version => format!("landlock {version}"),
        }
    }
}

/// Whether this machine's settings let anybody have a namespace of users: the kernel's bound of them, and what Debian and Ubuntu
/// have beside it. A setting that is not there forbids nothing.
fn may_have_own_users() -> bool {
    let setting = |name: &str| fs::read_to_string(Path::new("/proc/sys").join(name));
    let is = |name: &str, value: &str| setting(name).is_ok_and(|text| text.trim() == value);
    !is("user/max_user_namespaces", "0")
        && !is("kernel/unprivileged_userns_clone", "0")
        && !is("kernel/apparmor_restrict_unprivileged_userns", "1")
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
            ..Kernel::default()
        };
        assert_eq!(whole.unenforced([&read, &env, &net]), Vec::<String>::new());
        assert!(whole.enforced_by(&net).contains("broker"));
        let early = Kernel {
            landlock: 2,
            ..whole
        };
        assert!(early.unenforced([&read])[0].contains("empty what it may read"));
        let old = Kernel {
            landlock: 0,
            ..whole
        };
        assert!(old.unenforced([&read])[0].contains("no Landlock"));
        assert_eq!(old.unenforced([&env]), Vec::<String>::new());
        let none = Kernel {
            landlock: 6,
            ..Kernel::default()
        };
        assert!(none.unenforced([])[0].contains("no seccomp"));
        assert_eq!(none.enforced_by(&net), "nothing");
    }

    #[test]
    fn who_counts_the_threads_is_named() {
        let one = Limits::default();
        let four = Limits { threads: 4, ..one };
        let plain = Kernel {
            landlock: 6,
            seccomp: true,
            ..Kernel::default()
        };
        let words = |kernel: &Kernel, limits| {
            let rules = kernel.always(limits);
            let threads = rules.into_iter().find(|(rule, _)| rule.contains("threads"));
            threads.unwrap().1
        };
        assert_eq!(words(&plain, &one), "seccomp");
        assert!(words(&plain, &four).contains("the daemon"));
        let grouped = Kernel {
            groups: Controllers {
                pids: true,
                ..Controllers::default()
            },
            own_users: true,
            ..plain
        };
        assert_eq!(words(&grouped, &four), "cgroup pids and rlimits");
    }

    #[test]
    fn the_kernel_is_asked() {
        let kernel = Kernel::probe();
        assert!(kernel.landlock <= 6);
        assert_eq!(kernel, Kernel::probe());
    }
}
