//! What an app says of itself, made from its manifest.

use serde_json::{Value, json};

use crate::id::HELP;
use crate::manifest::Manifest;

/// The result of an app's `help`.
pub(crate) fn of(manifest: &Manifest) -> Value {
    let short = manifest.id.short();
    let methods = manifest.methods.iter().map(|(name, method)| {
        json!({
            "name": format!("{short}.{name}"),
            "summary": method.summary,
            "latency": method.latency,
            "params": method.params.json(),
            "result": method.result.json(),
        })
    });
    let help = json!({
        "name": format!("{short}.{HELP}"),
        "summary": "What can be called",
        "params": {},
        "result": { "type": "object" },
    });
    json!({
        "id": manifest.id,
        "version": manifest.version,
        "description": manifest.description,
        "methods": methods.chain([help]).collect::<Vec<_>>(),
    })
}
