//! What the owner of this machine agrees to.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::grant::Grant;
use crate::manifest::Manifest;
use crate::sandbox::Kernel;

/// What was said with an installation.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Consent {
    /// Yes to all that is asked for.
    pub yes: bool,
    /// Yes to these.
    pub grants: BTreeSet<Grant>,
    /// Yes although this machine cannot enforce all of it.
    pub allow_unenforced: bool,
}

/// What was agreed to, kept with the installed version.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agreed {
    /// What the app was granted: all that its manifest asks for.
    pub grants: BTreeSet<Grant>,
    /// Whether it may run where its bounds cannot be enforced.
    pub allow_unenforced: bool,
}

/// Why an app is not installed, or not run.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConsentError {
    /// It asks for more than was agreed to: what, each in words with its reason.
    #[error("it asks for rights that were not granted: {}", words(.0))]
    Missing(Vec<Asked>),
    /// It does not ask for this.
    #[error("it does not ask for {0}")]
    NotAsked(Grant),
    /// The agent's own keys would be among what it reaches.
    #[error("it asks for {0}, which is where this agent keeps its keys: no app gets that")]
    OwnHome(Grant),
    /// This machine does not hold it to what it asks for.
    #[error("this machine cannot enforce all of it: {}", .0.join("; "))]
    Unenforced(Vec<String>),
}

/// A right in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// What.
    pub grant: Grant,
    /// Why, as the publisher says.
    pub reason: String,
}

impl Consent {
    /// Whether this covers what the manifest asks for, beside what was agreed to for an earlier version.
    ///
    /// # Errors
    /// [`ConsentError`] with all that is missing.
    pub fn check(
        &self,
        manifest: &Manifest,
        earlier: Option<&Agreed>,
        place: &Place<'_>,
    ) -> Result<Agreed, ConsentError> {
        let asked = manifest.asked();
        if let Some(other) = self.grants.iter().find(|grant| !asked.contains(grant)) {
            return Err(ConsentError::NotAsked(other.clone()));
        }
        if let Some(grant) = asked.iter().find(|grant| place.is_exposed_by(grant)) {
            return Err(ConsentError::OwnHome(grant.clone()));
        }
        let is_agreed = |grant: &Grant| {
            self.yes
                || self.grants.contains(grant)
                || earlier.is_some_and(|agreed| agreed.grants.contains(grant))
        };
        let missing: Vec<Asked> = manifest
            .grants
            .iter()
            .filter(|ask| !is_agreed(&ask.grant))
            .map(|ask| Asked {
                grant: ask.grant.clone(),
                reason: ask.reason.clone(),
            })
            .collect();
        if !missing.is_empty() {
            return Err(ConsentError::Missing(missing));
        }
        let allow_unenforced = self.allow_unenforced;
        let agreed = Agreed {
            grants: asked,
            allow_unenforced,
        };
        agreed.check(&place.kernel)?;
        Ok(agreed)
    }
}

impl Agreed {
    /// Whether the kernel holds the app to it, or that was waived.
    ///
    /// # Errors
    /// [`ConsentError::Unenforced`].
    pub fn check(&self, kernel: &Kernel) -> Result<(), ConsentError> {
        let unenforced = kernel.unenforced(&self.grants);
        if unenforced.is_empty() || self.allow_unenforced {
            Ok(())
        } else {
            Err(ConsentError::Unenforced(unenforced))
        }
    }
}

/// Where an app is to run.
#[derive(Clone, Debug)]
pub struct Place<'a> {
    /// The agent's home.
    pub home: &'a Path,
    /// What the machine enforces.
    pub kernel: Kernel,
}

impl Place<'_> {
    /// Links are followed on both sides, as the kernel does.
    fn is_exposed_by(&self, grant: &Grant) -> bool {
        let Some(path) = grant.path() else {
            return false;
        };
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let (home, path) = (real(self.home), real(path));
        home.starts_with(&path) || path.starts_with(&home)
    }
}

fn words(missing: &[Asked]) -> String {
    let each = missing.iter().map(|asked| {
        format!(
            "{} ({}; {})",
            asked.grant,
            asked.grant.words(),
            asked.reason
        )
    });
    each.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{DRAFT, secret};

    fn manifest(grants: &[&str]) -> Manifest {
        let mut text = format!("publisher = \"{}\"\n{DRAFT}", secret(1).public());
        for grant in grants {
            text.push_str(&format!(
                "[[grants]]\ngrant = \"{grant}\"\nreason = \"because\"\n"
            ));
        }
        let hash = "ab".repeat(32);
        Manifest::parse(&format!("{text}[files]\n\"bin/echo\" = \"{hash}\"\n")).unwrap()
    }

    fn place(home: &Path) -> Place<'_> {
        let kernel = Kernel {
            landlock: 6,
            seccomp: true,
        };
        Place { home, kernel }
    }

    fn check(consent: &Consent, grants: &[&str]) -> Result<Agreed, ConsentError> {
        consent.check(
            &manifest(grants),
            None,
            &place(Path::new("/home/me/.pilot")),
        )
    }

    fn grants(texts: &[&str]) -> BTreeSet<Grant> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn everything_is_agreed_to_or_nothing_is() {
        let none = Consent::default();
        let missing = check(&none, &["read:/srv"]).unwrap_err();
        let words = missing.to_string();
        assert!(
            words.contains("libs") && words.contains("under /srv; because"),
            "{words}"
        );
        let some = Consent {
            grants: grants(&["libs"]),
            ..Consent::default()
        };
        assert!(
            matches!(check(&some, &["read:/srv"]), Err(ConsentError::Missing(m)) if m.len() == 1)
        );
        let yes = Consent {
            yes: true,
            ..Consent::default()
        };
        assert_eq!(
            check(&yes, &["read:/srv"]).unwrap().grants,
            grants(&["libs", "read:/srv"])
        );
        let other = Consent {
            grants: grants(&["libs", "data"]),
            ..Consent::default()
        };
        assert!(matches!(
            check(&other, &[]),
            Err(ConsentError::NotAsked(Grant::Data))
        ));
    }

    #[test]
    fn an_upgrade_is_asked_only_for_what_grew() {
        let earlier = Agreed {
            grants: grants(&["libs"]),
            allow_unenforced: false,
        };
        let place = place(Path::new("/home/me/.pilot"));
        let none = Consent::default();
        assert!(none.check(&manifest(&[]), Some(&earlier), &place).is_ok());
        let grown = none
            .check(&manifest(&["data"]), Some(&earlier), &place)
            .unwrap_err();
        assert!(
            matches!(grown, ConsentError::Missing(m) if m[0].grant == Grant::Data && m.len() == 1)
        );
    }

    #[test]
    fn no_app_gets_the_agents_own_directory() {
        let yes = Consent {
            yes: true,
            ..Consent::default()
        };
        for path in [
            "read:/",
            "read:/home",
            "write:/home/me/.pilot",
            "read:/home/me/.pilot/x",
        ] {
            let refused = check(&yes, &[path]).unwrap_err();
            assert!(matches!(refused, ConsentError::OwnHome(_)), "{path}");
        }
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        std::fs::create_dir(&home).unwrap();
        std::os::unix::fs::symlink(&home, dir.path().join("link")).unwrap();
        let grant = format!("read:{}", dir.path().join("link").display());
        let refused = yes.check(&manifest(&[&grant]), None, &place(&home));
        assert!(matches!(refused, Err(ConsentError::OwnHome(_))));
    }

    #[test]
    fn what_cannot_be_enforced_needs_a_word_of_its_own() {
        let yes = Consent {
            yes: true,
            ..Consent::default()
        };
        let refused = check(&yes, &["net:example.org:443"]).unwrap_err();
        assert!(
            refused.to_string().contains("not to example.org"),
            "{refused}"
        );
        let waived = Consent {
            allow_unenforced: true,
            ..yes
        };
        assert!(check(&waived, &["net:example.org:443"]).is_ok());
    }
}
