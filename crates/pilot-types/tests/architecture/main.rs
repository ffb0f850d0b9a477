//! The direction of dependencies (`docs/architecture.md`) and what no machine may name, checked on the workspace itself.
//!
//! Clippy reads one `clippy.toml` for a whole workspace: `disallowed-methods` there would hold for the shell as well,
//! which must read clocks. The rules by crate are therefore checked here, on the source text without comments, literals
//! and test code.

mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, TargetKind};

use source::{code_only, names_in_code};

/// What the machines of L1 build on.
const BASE: &[&str] = &["pilot-types", "pilot-wire"];

/// Each crate and which of ours it may depend on beside [`BASE`], from the bottom up.
const ALLOWED: &[(&str, &[&str])] = &[
    ("pilot-session", &[]),
    ("pilot-transport", &[]),
    ("pilot-nat", &[]),
    ("pilot-trust", &[]),
    ("pilot-registry", &[]),
    (
        "pilot-node",
        &[
            "pilot-session",
            "pilot-transport",
            "pilot-nat",
            "pilot-trust",
            "pilot-registry",
        ],
    ),
    ("pilot-store", &["pilot-trust", "pilot-registry"]),
    (
        "pilot",
        &[
            "pilot-nat",
            "pilot-trust",
            "pilot-registry",
            "pilot-node",
            "pilot-store",
        ],
    ),
    ("pilot-api", &[]),
    ("pilot-apps", &["pilot", "pilot-store"]),
    ("pilot-tcp", &["pilot-api"]),
    ("pilot-app", &[]),
    ("pilot-web", &["pilot-app"]),
    ("pilot-adapter", &["pilot-app", "pilot-web"]),
    (
        "pilot-appstore",
        &["pilot-adapter", "pilot-app", "pilot-store", "pilot-trust"],
    ),
    (
        "pilot-rendezvous",
        &[
            "pilot",
            "pilot-api",
            "pilot-apps",
            "pilot-node",
            "pilot-registry",
            "pilot-store",
            "pilot-trust",
        ],
    ),
    (
        "pilot-daemon",
        &[
            "pilot",
            "pilot-api",
            "pilot-apps",
            "pilot-appstore",
            "pilot-rendezvous",
            "pilot-store",
            "pilot-tcp",
            "pilot-trust",
        ],
    ),
    (
        "pilot-cli",
        &[
            "pilot-adapter",
            "pilot-api",
            "pilot-appstore",
            "pilot-daemon",
            "pilot-rendezvous",
            "pilot-store",
            "pilot-trust",
        ],
    ),
    ("pilotctl", &["pilot-cli"]),
    (
        "pilot-daemon-bin",
        &[
            "pilot-api",
            "pilot-appstore",
            "pilot-daemon",
            "pilot-rendezvous",
        ],
    ),
    ("app-aegis", &["pilot-app"]),
    ("app-cosift", &["pilot-app", "pilot-web"]),
    ("app-plainweb", &["pilot-app", "pilot-web"]),
    ("pilot-rendezvous-bin", &["pilot-api", "pilot-rendezvous"]),
    ("pilot-sim", &[]),
    ("pilot-lab", &["pilot-sim"]),
];

/// L0 to L2: no clock, socket, task or randomness of the operating system.
const SANS_IO: &[&str] = &[
    "pilot-types",
    "pilot-wire",
    "pilot-session",
    "pilot-transport",
    "pilot-nat",
    "pilot-trust",
    "pilot-registry",
    "pilot-node",
];

/// Names that stand in no code of [`SANS_IO`].
const FORBIDDEN: &[&str] = &[
    "Instant::now",
    "elapsed()",
    "SystemTime",
    "tokio",
    "async fn",
    "UdpSocket",
    "TcpStream",
    "TcpListener",
    "UnixStream",
    "UnixListener",
    "UnixDatagram",
    "ToSocketAddrs",
    "std::thread",
    "thread::spawn",
    "thread::sleep",
    "std::process",
    "std::env",
    "std::fs",
    "getrandom",
    "SystemRandom",
    "SysRng",
    "OsRng",
    "from_os_rng",
    "ThreadRng",
    "thread_rng",
    "RandomState",
];

/// Crates of other people that none of [`SANS_IO`] depends on.
const FORBIDDEN_DEPENDENCIES: &[&str] = &[
    "async-std",
    "getrandom",
    "libc",
    "mio",
    "nix",
    "quinn-udp",
    "rand",
    "redb",
    "rustix",
    "smol",
    "socket2",
    "tempfile",
    "tokio",
];

#[test]
fn crates_depend_on_lower_layers_only() {
    let metadata = workspace();
    let mut wrong = vec![];
    for package in metadata.workspace_packages() {
        let ours = dependencies(package).filter(|name| is_ours(name));
        wrong.extend(ours.filter_map(|name| refusal(&package.name, name)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_dependency_upwards_or_between_siblings_is_refused() {
    assert_eq!(refusal("pilot-wire", "pilot-types"), None);
    assert_eq!(refusal("pilot-node", "pilot-session"), None);
    assert!(refusal("pilot-types", "pilot-wire").is_some());
    assert!(refusal("pilot-session", "pilot-transport").is_some());
    assert!(refusal("pilot-node", "pilot").is_some());
    assert!(refusal("pilot-session", "pilot-sim").is_some());
    assert!(refusal("pilot-unheard-of", "pilot-types").is_some());
}

fn is_ours(name: &str) -> bool {
    name == "pilot" || name.starts_with("pilot-") || name == "pilotctl"
}

fn refusal(package: &str, dependency: &str) -> Option<String> {
    let refused = || Some(format!("{package} must not depend on {dependency}"));
    let allowed: BTreeMap<_, _> = ALLOWED.iter().copied().collect();
    let is_allowed = match (package, allowed.get(package)) {
        ("pilot-types", _) => false,
        ("pilot-wire", _) => dependency == "pilot-types",
        (_, Some(allowed)) => BASE.contains(&dependency) || allowed.contains(&dependency),
        (_, None) => return Some(format!("{package} is not in the table of layers")),
    };
    if is_allowed { None } else { refused() }
}

#[test]
fn machines_depend_on_nothing_that_reaches_the_operating_system() {
    let metadata = workspace();
    let mut wrong = vec![];
    for package in sans_io_packages(&metadata) {
        let forbidden = dependencies(package).filter(|name| FORBIDDEN_DEPENDENCIES.contains(name));
        wrong.extend(forbidden.map(|name| format!("{} depends on {name}", package.name)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn machines_name_no_clock_socket_task_or_randomness_of_the_system() {
    let metadata = workspace();
    let (mut wrong, mut files) = (vec![], 0);
    for package in sans_io_packages(&metadata) {
        for file in rust_files(&source_dir(package)) {
            if is_test_module(&file) {
                continue;
            }
            files += 1;
            let found = names_in_code(&read(&file), FORBIDDEN).into_iter();
            wrong.extend(found.map(|(line, name)| format!("{}:{line}: {name}", file.display())));
        }
    }
    assert!(files > SANS_IO.len(), "found only {files} source files");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Test modules in files of their own: `foo/tests.rs`, or anything below `tests/`.
fn is_test_module(file: &Path) -> bool {
    let name = |part: &std::ffi::OsStr| part == "tests" || part == "tests.rs";
    file.iter().any(name)
}

#[test]
fn every_crate_has_the_workspaces_lints_licence_and_versions() {
    let metadata = workspace();
    let mut wrong = vec![];
    for package in metadata.workspace_packages() {
        let manifest = read(package.manifest_path.as_std_path());
        wrong.extend(manifest_faults(&package.name, &manifest));
        if package.license.as_deref() != Some("MIT OR Apache-2.0") {
            wrong.push(format!("{}: another licence", package.name));
        }
        if package.description.is_none() {
            wrong.push(format!("{}: no description", package.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_manifest_with_a_version_of_its_own_or_without_lints_is_refused() {
    let good = "[dependencies]\nserde = { workspace = true }\n[lints]\nworkspace = true\n";
    assert_eq!(manifest_faults("x", good), Vec::<String>::new());
    let bad = "[dependencies]\nserde = \"1\"\n[dev-dependencies.redb]\nversion = \"4\"\n";
    let faults = manifest_faults("x", bad);
    assert_eq!(faults.len(), 3, "{faults:?}");
}

fn manifest_faults(name: &str, manifest: &str) -> Vec<String> {
    let mut faults = vec![];
    if !manifest.contains("[lints]\nworkspace = true") {
        faults.push(format!("{name}: does not take the workspace's lints"));
    }
    let mut is_in_dependencies = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            is_in_dependencies = header.ends_with("dependencies]");
            if header.contains("dependencies.") {
                faults.push(format!(
                    "{name}: a dependency in a table of its own: {line}"
                ));
            }
        } else if is_in_dependencies && line.contains('=') && !line.contains("workspace = true") {
            faults.push(format!("{name}: a version of its own: {line}"));
        }
    }
    faults
}

/// Names in a manifest's table of dependencies: the bench beside peers is a workspace of its own.
fn dependencies_in(manifest: &str) -> impl Iterator<Item = &str> {
    let lines = manifest.lines().map(str::trim);
    let table = lines.skip_while(|line| *line != "[dependencies]").skip(1);
    let table = table.take_while(|line| !line.starts_with('['));
    table.filter_map(|line| Some(line.split_once('=')?.0.trim()))
}

#[test]
fn every_direct_dependency_has_a_line_in_the_documentation() {
    let metadata = workspace();
    let page = read(
        &metadata
            .workspace_root
            .as_std_path()
            .join("docs/dependencies.md"),
    );
    let named: BTreeSet<_> = page.lines().filter_map(row_name).collect();
    let packages = metadata.workspace_packages().into_iter();
    let used = packages.flat_map(|package| package.dependencies.iter());
    let bench = read(
        &metadata
            .workspace_root
            .as_std_path()
            .join("benches/e2e/Cargo.toml"),
    );
    let used = used.map(|dependency| dependency.name.as_str());
    let used: BTreeSet<_> = used.chain(dependencies_in(&bench)).collect();
    let missing: Vec<_> = used
        .iter()
        .filter(|name| !is_ours(name) && !named.contains(*name))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/dependencies.md says nothing of {missing:?}"
    );
    let unused: Vec<_> = named.difference(&used).collect();
    assert!(
        unused.is_empty(),
        "docs/dependencies.md has lines for {unused:?}, which nobody uses"
    );
}

/// The crate that a row of a table is about.
fn row_name(line: &str) -> Option<&str> {
    line.strip_prefix("| `")?
        .split_once('`')
        .map(|(name, _)| name)
}

/// Exceptions from the lints stand at the item that needs them, with a reason.
#[test]
fn no_file_switches_a_lint_off_as_a_whole() {
    let metadata = workspace();
    let mut wrong = vec![];
    for package in metadata.workspace_packages() {
        for file in rust_files(&source_dir(package)) {
            if code_only(&read(&file)).contains("#![allow(") {
                wrong.push(file.display().to_string());
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn workspace() -> Metadata {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml");
    let mut command = MetadataCommand::new();
    command.manifest_path(root).no_deps();
    command.exec().expect("cargo metadata of this workspace")
}

fn sans_io_packages(metadata: &Metadata) -> Vec<&Package> {
    let mut packages = metadata.workspace_packages();
    packages.retain(|package| SANS_IO.contains(&package.name.as_str()));
    assert!(!packages.is_empty());
    packages
}

/// Names of normal and build dependencies; those of tests may go anywhere.
fn dependencies(package: &Package) -> impl Iterator<Item = &str> {
    let dependencies = package.dependencies.iter();
    dependencies
        .filter(|dependency| dependency.kind != DependencyKind::Development)
        .map(|dependency| dependency.name.as_str())
}

fn source_dir(package: &Package) -> PathBuf {
    let is_code = |kind: &TargetKind| matches!(kind, TargetKind::Lib | TargetKind::Bin);
    let mut targets = package.targets.iter();
    let target = targets.find(|target| target.kind.iter().any(is_code));
    let root = &target.expect("a library or program").src_path;
    root.parent().expect("a file is in a directory").into()
}

fn rust_files(dir: &Path) -> BTreeSet<PathBuf> {
    let mut files = BTreeSet::new();
    for entry in fs::read_dir(dir).expect("a source directory") {
        let path = entry.expect("a directory entry").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.insert(path);
        }
    }
    files
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).expect("a source file in UTF-8")
}
