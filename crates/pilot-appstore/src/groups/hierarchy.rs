//! Where the daemon's own groups are.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

/// What is used of groups.
const WANTED: [&str; 3] = ["memory", "pids", "cpu"];
/// A v2 group that has a process gives its children nothing (`cgroup-v2.rst`, "No Internal Process Constraint"): a daemon that is
/// alone in its group moves into this child of it.
const LEAF: &str = "pilot-daemon";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Version {
    One,
    Two,
}

/// The daemon's group in one hierarchy: apps' groups are made in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Hierarchy {
    pub(super) version: Version,
    pub(super) dir: PathBuf,
    controllers: Vec<String>,
}

/// Reads `/proc/self/cgroup` and `/proc/self/mountinfo` (`cgroups(7)`, `proc_pid_mountinfo(5)`).
pub(super) fn find(groups: &str, mounts: &str) -> Vec<Hierarchy> {
    let mounts: Vec<Mount> = mounts.lines().filter_map(Mount::parse).collect();
    let hierarchies = groups.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (names, path) = (fields.next()?, Path::new(fields.next()?));
        let version = if names.is_empty() {
            Version::Two
        } else {
            Version::One
        };
        let mut named: Vec<String> = names.split(',').map(str::to_owned).collect();
        let mount = mounts.iter().find(|mount| mount.is_of(version, &named))?;
        let dir = mount.at.join(path.strip_prefix(&mount.root).ok()?);
        named.retain(|name| WANTED.contains(&name.as_str()));
        let is_wanted = version == Version::Two || !named.is_empty();
        is_wanted.then_some(Hierarchy {
            version,
            dir,
            controllers: named,
        })
    });
    hierarchies.collect()
}

struct Mount {
    root: PathBuf,
    at: PathBuf,
    version: Version,
    options: Vec<String>,
}

impl Mount {
    fn parse(line: &str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(3);
        let (root, at) = (before.next()?.into(), before.next()?.into());
        let mut after = after.split(' ');
        let version = match after.next()? {
            "cgroup" => Version::One,
            "cgroup2" => Version::Two,
            _ => return None,
        };
        let options = after.nth(1)?.split(',').map(str::to_owned).collect();
        Some(Self {
            root,
            at,
            version,
            options,
        })
    }

    fn is_of(&self, version: Version, controllers: &[String]) -> bool {
        let has_all = || controllers.iter().all(|name| self.options.contains(name));
        self.version == version && (version == Version::Two || has_all())
    }
}

impl Hierarchy {
    pub(super) fn controls(&self, name: &str) -> bool {
        self.controllers.iter().any(|own| own == name)
    }

    /// The file that counts whom the kernel ended for want of memory.
    pub(super) const fn memory_events(&self) -> &'static str {
        match self.version {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        }
    }

    /// Whether groups can be made here and processes moved to them: asked of the kernel by making one of this name.
    pub(super) fn is_usable(&mut self, name: &str) -> bool {
        if self.version == Version::Two {
            self.enable();
        }
        let may_move = rustix::fs::access(self.dir.join("cgroup.procs"), Access::WRITE_OK).is_ok();
        if self.controllers.is_empty() || !may_move {
            return false;
        }
        let probed = self.dir.join(name);
        if fs::create_dir(&probed).is_err() {
            return false;
        }
        let is_writable = rustix::fs::access(probed.join("cgroup.procs"), Access::WRITE_OK).is_ok();
        let is_removed = fs::remove_dir(&probed).is_ok();
        is_writable && is_removed
    }

    /// What this group gives to its children; it is told to give more, where that may be.
    fn enable(&mut self) {
        let read = |file: &str| fs::read_to_string(self.dir.join(file)).unwrap_or_default();
        let wanted = |text: String| -> Vec<String> {
            let names = text.split_whitespace().map(str::to_owned);
            names.filter(|n| WANTED.contains(&n.as_str())).collect()
        };
        let (here, given) = (
            wanted(read("cgroup.controllers")),
            wanted(read("cgroup.subtree_control")),
        );
        let missing: Vec<String> = here.into_iter().filter(|n| !given.contains(n)).collect();
        if !missing.is_empty() {
            let order: String = missing.iter().map(|name| format!("+{name} ")).collect();
            let give = || fs::write(self.dir.join("cgroup.subtree_control"), order.trim_end());
            if give().is_err() && self.step_down() {
                drop(give());
            }
        }
        self.controllers = wanted(read("cgroup.subtree_control"));
    }

    /// Moves a daemon that is alone in its group into a child of it.
    fn step_down(&self) -> bool {
        let own = std::process::id().to_string();
        let members = fs::read_to_string(self.dir.join("cgroup.procs")).unwrap_or_default();
        let leaf = self.dir.join(LEAF);
        members.trim() == own
            && (leaf.is_dir() || fs::create_dir(&leaf).is_ok())
            && fs::write(leaf.join("cgroup.procs"), own).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hierarchy_a_controller_is_found_below_its_mount() {
        let groups =
            "9:name=systemd:/\n8:pids:/a\n4:memory:/box/b\n3:cpuset:/\n2:cpu,cpuacct:/c\n0::/\n";
        let mounts = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                      32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime shared:5 - cgroup cgroup rw,cpu,cpuacct\n\
                      35 31 0:32 /box /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      39 31 0:36 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n";
        let found = find(groups, mounts);
        let shown: Vec<(&str, &Path)> = found
            .iter()
            .map(|h| (h.controllers[0].as_str(), h.dir.as_path()))
            .collect();
        let at = Path::new;
        assert_eq!(
            shown,
            [
                ("pids", at("/sys/fs/cgroup/pids/a")),
                ("memory", at("/sys/fs/cgroup/memory/b")),
                ("cpu", at("/sys/fs/cgroup/cpu/c")),
            ]
        );
        assert!(found.iter().all(|h| h.version == Version::One));
    }

    #[test]
    fn the_one_of_all_controllers_is_found_too() {
        let mounts = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n";
        let found = find("0::/user.slice/x.service\n", mounts);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].version, Version::Two);
        assert_eq!(
            found[0].dir,
            Path::new("/sys/fs/cgroup/user.slice/x.service")
        );
        assert_eq!(find("0::/x\n", ""), []);
        assert_eq!(find("nonsense\n\n::", mounts).len(), 0);
    }

    /// A directory that is no group's stands for one: what a v2 kernel gives and takes is a matter of files.
    #[test]
    fn what_a_group_gives_to_its_children_is_what_counts() {
        let dir = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| fs::write(dir.path().join(file), text).unwrap();
        write("cgroup.controllers", "cpu memory pids hugetlb\n");
        write("cgroup.subtree_control", "memory pids\n");
        write("cgroup.procs", "1\n2\n");
        let mut hierarchy = Hierarchy {
            version: Version::Two,
            dir: dir.path().to_owned(),
            controllers: vec![],
        };
        hierarchy.enable();
        // The file took the order as it stands, where a kernel would have followed it.
        assert!(hierarchy.controllers.is_empty());
        let order = fs::read_to_string(dir.path().join("cgroup.subtree_control")).unwrap();
        assert_eq!(order, "+cpu");
        write("cgroup.subtree_control", "cpu memory pids\n");
        hierarchy.enable();
        assert!(hierarchy.controls("cpu") && hierarchy.controls("memory"));
        assert!(!hierarchy.step_down(), "others are in the group");
    }
}
