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
    /// What the app was granted: all that its manifest asks for, with other hosts in the place of those in `narrowed`.
    pub grants: BTreeSet<Grant>,
    /// What it asks for and did not get: hosts at large, because its owner chose some instead, and what it does without.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub narrowed: BTreeSet<Grant>,
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
    /// It can be granted folders only by their names.
    #[error("{0} stands for folders that are named: grant read:/PATH instead")]
    Unnamed(Grant),
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
    /// An app that asks for many hosts or ports gets those that are named here instead, if any are; one that asks for folders gets those
    /// that are named, or none; and what is optional is left out unless it is granted.
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
        let is_chosen = |grant: &&Grant| is_choice(grant, &asked);
        let refused = |grant: &&Grant| !asked.contains(*grant) && !is_chosen(grant);
        if self.grants.contains(&Grant::Folders) {
            return Err(ConsentError::Unnamed(Grant::Folders));
        }
        if let Some(other) = self.grants.iter().find(refused) {
            return Err(ConsentError::NotAsked(other.clone()));
        }
        let all = asked.union(&self.grants);
        if let Some(grant) = all.into_iter().find(|grant| place.is_exposed_by(grant)) {
            return Err(ConsentError::OwnHome(grant.clone()));
        }
        let missing: Vec<Asked> = manifest
            .grants
            .iter()
            .filter(|ask| {
                let is_left_out = ask.optional || self.narrows(&ask.grant, earlier);
                !self.grants_it(&ask.grant, earlier) && !is_left_out
            })
            .map(|ask| Asked {
                grant: ask.grant.clone(),
                reason: ask.reason.clone(),
            })
            .collect();
        if !missing.is_empty() {
            return Err(ConsentError::Missing(missing));
        }
        let before = earlier.map(|agreed| agreed.grants.clone());
        let before = before.unwrap_or_default();
        let chosen = self.grants.union(&before).cloned();
        let (granted, narrowed): (BTreeSet<_>, _) = asked
            .iter()
            .cloned()
            .partition(|grant| self.grants_it(grant, earlier));
        let agreed = Agreed {
            grants: chosen
                .filter(|grant| is_choice(grant, &asked))
                .chain(granted)
                .collect(),
            narrowed,
            allow_unenforced: self.allow_unenforced,
        };
        agreed.check(&place.kernel)?;
        Ok(agreed)
    }

    fn grants_it(&self, grant: &Grant, earlier: Option<&Agreed>) -> bool {
        let was_narrowed = earlier.is_some_and(|agreed| agreed.narrowed.contains(grant));
        if *grant == Grant::Folders {
            return false;
        }
        let is_named = self.grants.contains(grant);
        let is_by_yes = self.yes && !was_narrowed;
        is_named || is_by_yes || earlier.is_some_and(|agreed| agreed.grants.contains(grant))
    }

    /// Whether the owner named hosts, now or before, instead of granting what is asked for of the network at large. Folders are only
    /// ever named, and none is enough.
    fn narrows(&self, grant: &Grant, earlier: Option<&Agreed>) -> bool {
        let names_hosts = self.grants.iter().any(|g| matches!(g, Grant::Net(_)));
        let was_narrowed = earlier.is_some_and(|agreed| agreed.narrowed.contains(grant));
        *grant == Grant::Folders || (grant.is_wide() && (names_hosts || was_narrowed))
    }
}

/// Whether an app runs without this right that it asks for.
fn is_left_out(grant: &Grant, manifest: &Manifest) -> bool {
    let mut asks = manifest.grants.iter();
    asks.any(|ask| ask.grant == *grant && (ask.optional || grant.is_wide()))
}

/// Whether an owner may grant this though it is not asked for: hosts, to an app that asks for many, and folders.
fn is_choice(grant: &Grant, asked: &BTreeSet<Grant>) -> bool {
    !asked.contains(grant) && asked.iter().any(|wide| grant.is_one_of(wide))
}

impl Agreed {
    /// Whether this is an answer to all that a manifest asks for, and to nothing else.
    #[must_use]
    pub fn answers(&self, manifest: &Manifest) -> bool {
        let asked = manifest.asked();
        let mut granted = self.grants.iter();
        granted.all(|grant| asked.contains(grant) || is_choice(grant, &asked))
            && self.narrowed.iter().all(|g| is_left_out(g, manifest))
            && asked
                .iter()
                .all(|g| self.grants.contains(g) || self.narrowed.contains(g))
    }

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
            ..Kernel::default()
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
            narrowed: BTreeSet::new(),
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
    fn hosts_that_are_named_take_the_place_of_the_internet() {
        let asks = ["net:*:443", "net:127.0.0.1:*"];
        let named = |texts: &[&str]| Consent {
            grants: grants(texts),
            ..Consent::default()
        };
        let less = named(&["libs", "net:*.example.org:443"]);
        let agreed = check(&less, &asks).unwrap();
        assert_eq!(agreed.grants, grants(&["libs", "net:*.example.org:443"]));
        assert_eq!(agreed.narrowed, grants(&asks));
        assert!(agreed.answers(&manifest(&asks)));
        assert!(!agreed.answers(&manifest(&["net:*:443"])));
        let one_of_them = check(&named(&["libs", "net:*:443"]), &asks).unwrap();
        assert_eq!(one_of_them.narrowed, grants(&["net:127.0.0.1:*"]));
        let other = check(&named(&["libs", "net:192.168.1.5:80"]), &asks).unwrap();
        assert!(
            other
                .grants
                .contains(&"net:192.168.1.5:80".parse().unwrap())
        );
        // An app that names its one host gets this one and no other.
        let exact = ["net:api.example.org:443"];
        let missing = check(&named(&["libs"]), &exact).unwrap_err();
        assert!(matches!(missing, ConsentError::Missing(_)), "{missing}");
        let instead = check(&named(&["libs", "net:example.net:443"]), &exact).unwrap_err();
        assert!(matches!(instead, ConsentError::NotAsked(_)), "{instead}");
    }

    #[test]
    fn what_is_optional_is_left_out_unless_it_is_granted() {
        let with = |optional: &str| {
            let asks = manifest(&["data", "net:*:443"]);
            let mut grants = asks.grants.clone();
            for ask in &mut grants {
                ask.optional = optional.contains(&ask.grant.to_string());
            }
            Manifest { grants, ..asks }
        };
        let asks = with("data net:*:443");
        let place = place(Path::new("/home/me/.pilot"));
        let named = |texts: &[&str]| Consent {
            grants: grants(texts),
            ..Consent::default()
        };
        let least = named(&["libs"]).check(&asks, None, &place).unwrap();
        assert_eq!(least.grants, grants(&["libs"]));
        assert_eq!(least.narrowed, grants(&["data", "net:*:443"]));
        assert!(least.answers(&asks));
        // What an app no longer does without is asked for.
        assert!(!least.answers(&with("net:*:443")));
        let now = named(&[]).check(&with("net:*:443"), Some(&least), &place);
        assert!(matches!(now, Err(ConsentError::Missing(m)) if m[0].grant == Grant::Data));
        let some = named(&["libs", "data"]).check(&asks, None, &place).unwrap();
        assert_eq!(some.grants, grants(&["libs", "data"]));
        let yes = Consent {
            yes: true,
            ..Consent::default()
        };
        let all = yes.check(&asks, None, &place).unwrap();
        assert_eq!(all.grants, asks.asked());
    }

    #[test]
    fn folders_are_granted_by_their_names_and_none_is_enough() {
        let asks = ["read:*", "data"];
        let yes = Consent {
            yes: true,
            ..Consent::default()
        };
        let named = |texts: &[&str]| Consent {
            grants: grants(texts),
            ..yes.clone()
        };
        let none = check(&yes, &asks).unwrap();
        assert_eq!(none.grants, grants(&["libs", "data"]));
        assert!(none.answers(&manifest(&asks)));
        let two = check(&named(&["read:/srv/a", "read:/srv/b"]), &asks).unwrap();
        let all = grants(&["libs", "data", "read:/srv/a", "read:/srv/b"]);
        assert_eq!(two.grants, all);
        assert!(two.answers(&manifest(&asks)) && !two.answers(&manifest(&["data"])));
        // An upgrade keeps them, and further ones are added.
        let place = place(Path::new("/home/me/.pilot"));
        let more = named(&["read:/srv/c"]).check(&manifest(&asks), Some(&two), &place);
        let more = more.unwrap().grants;
        assert!(more.is_superset(&all) && more.len() == 5);
        for (refused, asks) in [
            ("read:*", &asks[..]),
            ("write:/srv/a", &asks),
            ("net:example.org:443", &asks),
            ("read:/srv/a", &["data"]),
            ("read:/srv/a", &["net:*:443"]),
            ("read:/home/me", &asks),
            ("read:/home/me/.pilot/apps", &asks),
        ] {
            assert!(check(&named(&[refused]), asks).is_err(), "{refused}");
        }
    }

    #[test]
    fn what_was_narrowed_stays_so_until_it_is_named() {
        let asks = ["net:*:443"];
        let place = place(Path::new("/home/me/.pilot"));
        let earlier = check(
            &Consent {
                grants: grants(&["libs", "net:example.org:443"]),
                ..Consent::default()
            },
            &asks,
        )
        .unwrap();
        let yes = Consent {
            yes: true,
            ..Consent::default()
        };
        let again = |consent: &Consent| {
            let checked = consent.check(&manifest(&asks), Some(&earlier), &place);
            checked.unwrap()
        };
        assert_eq!(again(&yes), earlier);
        assert_eq!(again(&Consent::default()), earlier);
        let widened = Consent {
            grants: grants(&["net:*:443"]),
            ..Consent::default()
        };
        let all = grants(&["libs", "net:*:443", "net:example.org:443"]);
        assert_eq!(again(&widened).grants, all);
    }

    #[test]
    fn what_cannot_be_enforced_needs_a_word_of_its_own() {
        let yes = Consent {
            yes: true,
            ..Consent::default()
        };
        let home = Path::new("/home/me/.pilot");
        let old = Place {
            kernel: Kernel {
                landlock: 0,
                seccomp: true,
                ..Kernel::default()
            },
            ..place(home)
        };
        let asks = manifest(&["read:/srv"]);
        let refused = yes.check(&asks, None, &old).unwrap_err();
        assert!(refused.to_string().contains("no Landlock"), "{refused}");
        let waived = Consent {
            allow_unenforced: true,
            ..yes.clone()
        };
        assert!(waived.check(&asks, None, &old).is_ok());
        assert!(check(&yes, &["net:example.org:443"]).is_ok());
    }
}
