//! A bundle for tests.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use pilot_trust::DocumentSecret;
use pilot_types::Seed;

/// A publisher's key by a number.
pub(crate) fn secret(number: u8) -> DocumentSecret {
    DocumentSecret::from_seed(Seed::new([number; 32]))
}

/// A manifest without what signing puts in.
pub(crate) const DRAFT: &str = r#"# An app.
id = "org.example.echo"
version = "1.2.0"
description = "Says what it is told"
licence = "MIT"
entry = "bin/echo"

[methods.say]
summary = "Says it"
params = { type = "object", properties = { text = { type = "string" } }, required = ["text"] }
result = { type = "object" }

[[grants]]
grant = "libs"
reason = "it is linked dynamically"
"#;

/// Writes an unsigned bundle: its entry is this very test's program.
pub(crate) fn write_draft(dir: &Path, draft: &str) {
    fs::create_dir_all(dir.join("bin")).unwrap();
    fs::write(dir.join("manifest.toml"), draft).unwrap();
    fs::write(dir.join("README.md"), "An app.\n").unwrap();
    let own = fs::read(std::env::current_exe().unwrap()).unwrap();
    // The head says what it is; nothing runs it.
    fs::write(dir.join("bin/echo"), &own[..64 * 1024]).unwrap();
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(dir.join("bin/echo"), mode).unwrap();
}
