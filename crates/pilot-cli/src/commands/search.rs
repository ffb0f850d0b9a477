//! Who can do what, and what this agent says that it can do.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use pilot_api::ApiError;
use pilot_api::types::{
    AgentFound, Capability, SearchFound, SearchRequest, SetCapabilitiesRequest,
};
use pilot_wire::check_capabilities;
use serde_json::Value;

use super::discovery::name_of;
use crate::args::{CapabilitiesArgs, FindAgentsArgs};
use crate::context::Context;
use crate::output::{Failure, Reply};
use crate::style::{self, Style};

/// Longest file of capabilities: with white space, some times what a record holds.
const MAX_FILE: u64 = 256 * 1024;

pub(crate) async fn search(context: &Context, args: FindAgentsArgs) -> Result<Reply, Failure> {
    let text = args.text.join(" ");
    let request = SearchRequest {
        text: Some(text).filter(|text| !text.is_empty()),
        tags: args.tags,
        capability: args.capability,
        limit: args.limit,
        timeout_ms: context.timeout_ms(),
    };
    let found = context.client()?.call(&request).await?;
    Reply::new(&found, found_words(&found, context.output.style))
}

fn found_words(found: &SearchFound, style: Style) -> String {
    if found.agents.is_empty() {
        return style.faint("nobody that you may see fits");
    }
    let row = |agent: &AgentFound| {
        let tags: Vec<&str> = agent
            .found
            .tags
            .iter()
            .map(pilot_types::Tag::as_str)
            .collect();
        let or_dash = |text: String| {
            if text.is_empty() {
                "–".to_owned()
            } else {
                text
            }
        };
        [
            name_of(&agent.found.agent),
            agent.found.agent.address.to_string(),
            or_dash(tags.join(", ")),
            or_dash(style::clean(&agent.capabilities.join(", "))),
            style::or_dash(agent.description.as_deref().map(style::clean)),
        ]
    };
    let rows: Vec<[String; 5]> = found.agents.iter().map(row).collect();
    let table = style.table(["NAME", "ADDRESS", "TAGS", "CAN DO", "DESCRIPTION"], &rows);
    let left = found.total.saturating_sub(found.agents.len() as u64);
    if left == 0 {
        return table;
    }
    let more = format!("and {left} more: --limit, or words that fit fewer");
    format!("{table}\n{}", style.faint(&more))
}

pub(crate) async fn set_capabilities(
    context: &Context,
    args: CapabilitiesArgs,
) -> Result<Reply, Failure> {
    let mut capabilities = vec![];
    for text in &args.capabilities {
        capabilities.extend(named(text)?);
    }
    let wire: Vec<_> = capabilities.iter().map(Capability::to_wire).collect();
    check_capabilities(&wire).map_err(|error| ApiError::invalid(error.to_string()))?;
    say(context, capabilities).await
}

pub(crate) async fn say(
    context: &Context,
    capabilities: Vec<Capability>,
) -> Result<Reply, Failure> {
    let request = SetCapabilitiesRequest { capabilities };
    let set = context.client()?.call(&request).await?;
    let all = set.capabilities.join(", ");
    let words = if all.is_empty() {
        "this agent says nothing of what it can do".to_owned()
    } else {
        format!("this agent can do: {all}")
    };
    Reply::new(&set, context.output.style.done(&words))
}

/// What one argument names: a capability, or a file of them.
fn named(text: &str) -> Result<Vec<Capability>, ApiError> {
    if text == "-" {
        return listed(
            &read(io::stdin().lock(), "standard input")?,
            "standard input",
        );
    }
    let is_file = Path::new(text).is_file();
    match text.parse::<pilot_wire::Capability>() {
        Ok(capability) => Ok(vec![Capability::from(&capability)]),
        Err(_) if is_file => {
            let file = File::open(text).map_err(|error| unreadable(text, &error))?;
            listed(&read(file, text)?, text)
        }
        Err(error) if text.contains('@') => Err(ApiError::invalid(error.to_string())),
        Err(_) => {
            let words = format!("{text:?} is neither NAME@VERSION, as translate@1.0.0, nor a file");
            Err(ApiError::invalid(words))
        }
    }
}

fn read(from: impl Read, name: &str) -> Result<Vec<u8>, ApiError> {
    let mut bytes = vec![];
    from.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(name, &error))?;
    if bytes.len() as u64 > MAX_FILE {
        let most = pilot_wire::limits::MAX_CAPABILITIES_LEN;
        let words = format!(
            "{name} has more than {MAX_FILE} bytes: the capabilities of an agent take at most {most}"
        );
        return Err(ApiError::invalid(words));
    }
    Ok(bytes)
}

fn listed(json: &[u8], name: &str) -> Result<Vec<Capability>, ApiError> {
    let wrong = |words: String| ApiError::invalid(format!("{name}: {words}"));
    let list: Value = serde_json::from_slice(json)
        .map_err(|error| wrong(format!("expected a JSON list of capabilities: {error}")))?;
    let Value::Array(items) = list else {
        return Err(wrong("expected a JSON list of capabilities".to_owned()));
    };
    let items = items.into_iter().map(Capability::from_json);
    items.collect::<Result<_, _>>().map_err(wrong)
}

fn unreadable(name: &str, error: &io::Error) -> ApiError {
    ApiError::invalid(format!("cannot read {name}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_names_and_objects() {
        let json = br#"["say@1.0.0", {"name": "plan", "version": "0.1.0", "description": "plans", "input": {"type": "object"}}]"#;
        let list = listed(json, "it").unwrap();
        assert_eq!(
            (list.len(), list[1].description.as_deref()),
            (2, Some("plans"))
        );
        for wrong in [
            "{}",
            "[7]",
            "[\"say\"]",
            "[{\"name\":\"a\"}]",
            "[{\"name\":\"a\",\"version\":\"1.0.0\",\"x\":1}]",
            "nothing",
        ] {
            let error = listed(wrong.as_bytes(), "it").unwrap_err();
            assert!(error.message.starts_with("it: "), "{wrong}: {error}");
        }
    }

    #[test]
    fn what_is_neither_is_said() {
        let error = named("no-such-file.json").unwrap_err();
        assert!(error.message.contains("neither NAME@VERSION"), "{error}");
        let error = named("say@one").unwrap_err();
        assert!(error.message.contains("semantic version"), "{error}");
        let large = vec![b' '; 1 << 20];
        let error = read(large.as_slice(), "it").unwrap_err();
        assert!(error.message.contains("at most 12288"), "{error}");
    }
}
