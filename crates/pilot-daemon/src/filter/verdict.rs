//! What a filter says, and what of it is kept.

use pilot_api::types::{Filtered, FilteredVerdict};
use pilot_appstore::AppId;
use serde::Deserialize;
use serde_json::{Value, json};

/// Longest reason that is kept, in characters.
const MAX_REASON: usize = 400;
/// Findings that are kept with a message, in bytes of JSON; more are left out, and the reason stays.
const MAX_FINDINGS: usize = 16 * 1024;

#[derive(Deserialize)]
struct Answer {
    verdict: Verdict,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    findings: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Pass,
    Flag,
    Block,
}

/// `None` if it passes.
///
/// # Errors
/// If the answer is no verdict, in words.
pub(super) fn parse(app: &AppId, answer: &Value) -> Result<Option<Filtered>, String> {
    let answer = Answer::deserialize(answer);
    let answer = answer.map_err(|error| format!("its answer is no verdict: {error}"))?;
    let verdict = match answer.verdict {
        Verdict::Pass => return Ok(None),
        Verdict::Flag => FilteredVerdict::Flag,
        Verdict::Block => FilteredVerdict::Block,
    };
    let plain = answer.reason.chars().filter(|c| !c.is_control());
    let reason: String = plain.take(MAX_REASON).collect();
    let is_kept = answer.findings.is_array() && answer.findings.to_string().len() <= MAX_FINDINGS;
    Ok(Some(Filtered {
        app: app.to_string(),
        verdict,
        reason: if reason.trim().is_empty() {
            "it gave no reason".to_owned()
        } else {
            reason
        },
        findings: if is_kept { answer.findings } else { json!([]) },
    }))
}
