//! Landlock: the files that were granted and no others, no TCP port, no signals to others.

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, Scope, path_beneath_rules,
};

use super::Plan;
use super::kernel::LATEST;
use crate::grant::Grant;

/// Where systems keep shared libraries and their loader, and the loader's list of them.
const LIBRARIES: [&str; 6] = [
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/etc/ld.so.cache",
];

/// Holds this process and all that it becomes to the plan's files.
pub(super) fn restrict(plan: &Plan, interpreter: Option<&Path>) -> Result<(), RulesetError> {
    let rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(LATEST))?
        .handle_access(AccessNet::from_all(LATEST))?
        .scope(Scope::from_all(LATEST))?
        .create()?;
    granted(rules, plan, interpreter)?.restrict_self()?;
    Ok(())
}

fn granted(
    mut rules: RulesetCreated,
    plan: &Plan,
    interpreter: Option<&Path>,
) -> Result<RulesetCreated, RulesetError> {
    // Execution is for the loader alone: to read is not to run.
    let read = AccessFs::from_read(LATEST) & !AccessFs::Execute;
    let libraries = read | AccessFs::Execute;
    let write = AccessFs::from_all(LATEST)
        & !(AccessFs::Execute | AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev);
    for grant in &plan.grants {
        rules = match grant {
            Grant::Read(path) => beneath(rules, &[path], read)?,
            Grant::Write(path) => beneath(rules, &[path], write)?,
            Grant::Libs | Grant::Python => beneath(rules, &LIBRARIES, libraries)?,
            Grant::Folders | Grant::Data | Grant::Env(_) | Grant::Net(_) | Grant::Overlay(_) => {
                rules
            }
        };
    }
    if let Some(interpreter) = interpreter {
        rules = beneath(rules, &[interpreter], libraries)?;
    }
    match &plan.data {
        Some(data) => beneath(rules, &[data], write),
        None => Ok(rules),
    }
}

/// A path that is not there grants nothing.
fn beneath<P: AsRef<Path>>(
    rules: RulesetCreated,
    paths: &[P],
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    rules.add_rules(path_beneath_rules(paths, access))
}

/// What is named above needs no later version than this.
const _: () = assert!(LATEST as u32 <= ABI::V6 as u32);
