//! Rights that an app asks for, beyond computing.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer};
use serde::{Serialize, Serializer};
use thiserror::Error;

use crate::net_grant::{NetGrant, OverlayGrant};

/// Longest text of a grant: a path has at most 4,096 bytes, a host's name 255.
const MAX_GRANT: usize = 4200;
/// Where the kernel keeps what is nobody's file: processes, devices, its own settings.
const KERNEL_ROOTS: [&str; 3] = ["/proc", "/sys", "/dev"];

/// One right. Its text is what `--grant` takes and a manifest has: `read:/etc/hosts`.
///
/// ```
/// use pilot_appstore::Grant;
///
/// let grant: Grant = "read:/srv/texts".parse()?;
/// assert_eq!(grant.words(), "read everything under /srv/texts");
/// # Ok::<(), pilot_appstore::ParseGrantError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Grant {
    /// `read:PATH`: a file, or everything under a directory.
    Read(PathBuf),
    /// `read:*`: folders that its owner names in the place of this, or none. It opens nothing itself.
    Folders,
    /// `write:PATH`: the same, to read, change, make and delete.
    Write(PathBuf),
    /// `data`: files of its own, in a directory of its own, where it starts.
    Data,
    /// `libs`: the machine's shared libraries and their loader.
    Libs,
    /// `python`: to be run by the machine's own interpreter, with its standard library and the libraries that these load.
    Python,
    /// `env:NAME`: one variable of the daemon's environment.
    Env(String),
    /// `net:HOST:PORT`: TCP connections there, by the daemon.
    Net(NetGrant),
    /// `overlay:PEER:PORT`: streams to an agent, by the daemon.
    Overlay(OverlayGrant),
}

/// Why a text is no grant.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseGrantError {
    /// No such kind.
    #[error(
        "unknown grant {0:?}: expected read:PATH, read:*, write:PATH, data, libs, python, env:NAME, net:HOST:PORT or overlay:PEER:PORT"
    )]
    Kind(String),
    /// A path that is not plain.
    #[error(
        "invalid path {0:?} in a grant: expected an absolute path without . and .., and not in /proc, /sys or /dev"
    )]
    Path(String),
    /// No variable's name, or one by which the system's loader takes orders.
    #[error("invalid variable {0:?} in a grant: expected letters, digits and _, and not LD_…")]
    Variable(String),
    /// No host or no port.
    #[error(
        "invalid host {0:?} in a grant: expected HOST:PORT, the host in lower case, an address (IPv6 in brackets), *.NAME or *; the port 1 to 65535 or *"
    )]
    Host(String),
    /// No agent or no port.
    #[error(
        "invalid peer {0:?} in a grant: expected PEER:PORT, a hostname, an address or *; the port 1 to 65535 or *"
    )]
    Peer(String),
}

impl Grant {
    /// What it means, for the person who decides.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Read(path) => format!("read everything under {}", path.display()),
            Self::Folders => "read the folders that you name, none if you name none".to_owned(),
            Self::Write(path) => {
                format!(
                    "read, change and delete everything under {}",
                    path.display()
                )
            }
            Self::Data => "keep files of its own, in a directory of its own".to_owned(),
            Self::Libs => "load this machine's shared libraries".to_owned(),
            Self::Python => {
                "be run by this machine's Python, and load its standard and shared libraries"
                    .to_owned()
            }
            Self::Env(name) => format!("know the daemon's environment variable {name}"),
            Self::Net(net) => net.words(),
            Self::Overlay(overlay) => overlay.words(),
        }
    }

    /// The files that it opens up, beside the app's own.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Read(path) | Self::Write(path) => Some(path),
            Self::Folders
            | Self::Data
            | Self::Libs
            | Self::Python
            | Self::Env(_)
            | Self::Net(_)
            | Self::Overlay(_) => None,
        }
    }

    /// Whether the daemon's broker stands between the app and what it allows.
    pub(crate) const fn is_brokered(&self) -> bool {
        matches!(self, Self::Net(_) | Self::Overlay(_))
    }

    /// Whether it is for more than one place, so that its owner may grant less, or other places.
    pub(crate) const fn is_wide(&self) -> bool {
        match self {
            Self::Folders => true,
            Self::Net(net) => net.is_wide(),
            Self::Read(_)
            | Self::Write(_)
            | Self::Data
            | Self::Libs
            | Self::Python
            | Self::Env(_)
            | Self::Overlay(_) => false,
        }
    }

    /// Whether its owner may grant this to an app that asks for `wide`.
    pub(crate) const fn is_one_of(&self, wide: &Self) -> bool {
        match (self, wide) {
            (Self::Read(_), Self::Folders) => true,
            (Self::Net(_), Self::Net(net)) => net.is_wide(),
            _ => false,
        }
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(path) => write!(f, "read:{}", path.display()),
            Self::Folders => f.write_str("read:*"),
            Self::Write(path) => write!(f, "write:{}", path.display()),
            Self::Data => f.write_str("data"),
            Self::Libs => f.write_str("libs"),
            Self::Python => f.write_str("python"),
            Self::Env(name) => write!(f, "env:{name}"),
            Self::Net(net) => write!(f, "net:{net}"),
            Self::Overlay(overlay) => write!(f, "overlay:{overlay}"),
        }
    }
}

impl FromStr for Grant {
    type Err = ParseGrantError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || ParseGrantError::Kind(text.chars().take(80).collect());
        if text.len() > MAX_GRANT || text.contains(char::is_control) {
            return Err(unknown());
        }
        match text.split_once(':') {
            None if text == "data" => Ok(Self::Data),
            None if text == "libs" => Ok(Self::Libs),
            None if text == "python" => Ok(Self::Python),
            Some(("read", "*")) => Ok(Self::Folders),
            Some(("read", path)) => Ok(Self::Read(plain(path)?)),
            Some(("write", path)) => Ok(Self::Write(plain(path)?)),
            Some(("env", name)) => Ok(Self::Env(variable(name)?)),
            Some(("net", rest)) => NetGrant::parse(rest)
                .map(Self::Net)
                .ok_or_else(|| ParseGrantError::Host(rest.to_owned())),
            Some(("overlay", rest)) => OverlayGrant::parse(rest)
                .map(Self::Overlay)
                .ok_or_else(|| ParseGrantError::Peer(rest.to_owned())),
            Some(_) | None => Err(unknown()),
        }
    }
}

/// An absolute path in its one spelling.
fn plain(text: &str) -> Result<PathBuf, ParseGrantError> {
    let refused = || ParseGrantError::Path(text.to_owned());
    let path: PathBuf = Path::new(text).components().collect();
    let is_plain = path
        .components()
        .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    let is_kernels = KERNEL_ROOTS.iter().any(|root| path.starts_with(root));
    // `components` folds `a//b` and `a/./b`: such a text is not the path's one spelling.
    if !path.is_absolute() || !is_plain || is_kernels || path.as_os_str() != text {
        return Err(refused());
    }
    Ok(path)
}

fn variable(name: &str) -> Result<String, ParseGrantError> {
    let is_name = !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.starts_with("LD_");
    if is_name {
        Ok(name.to_owned())
    } else {
        Err(ParseGrantError::Variable(name.to_owned()))
    }
}

impl Serialize for Grant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Grant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_round_trip() {
        for text in [
            "read:/etc/hosts",
            "read:*",
            "write:/srv/a b",
            "data",
            "libs",
            "python",
            "env:LANG",
            "net:example.org:443",
            "net:[::1]:80",
            "net:*:443",
            "overlay:worker:1001",
        ] {
            assert_eq!(text.parse::<Grant>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_climbs_or_is_the_kernels_is_refused() {
        for text in [
            "read:etc",
            "read:/srv/*/..",
            "write:*",
            "read:/a/../b",
            "read:/a/./b",
            "read:/a//b",
            "read:/a/",
            "read:/proc/1",
            "write:/dev",
            "env:LD_PRELOAD",
            "env:A=B",
            "env:",
            "net:host",
            "net::80",
            "net:host:0",
            "net:a b:1",
            "net:Host:1",
            "overlay:worker",
            "overlay:worker:0",
            "exec:/bin/sh",
            "read:/a\n",
            "",
        ] {
            assert!(text.parse::<Grant>().is_err(), "{text:?}");
        }
    }
}
