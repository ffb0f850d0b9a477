//! The command line, described for programs: what a model needs to choose a command and to fill in its arguments.

use clap::{Arg, ArgAction, Command};
use pilot_api::ErrorCode;
use serde_json::{Map, Value, json};

use crate::context::Context;
use crate::output::{Failure, Reply};

/// Every command with the JSON Schema of its arguments.
pub(crate) fn context(context: &Context) -> Result<Reply, Failure> {
    let program = crate::built_command();
    let mut commands = vec![];
    collect(&program, "", &mut commands);
    let codes: Vec<Value> = ErrorCode::ALL
        .into_iter()
        .map(|code| json!({ "code": code.name(), "exit": code.exit_code() }))
        .collect();
    let style = context.output.style;
    let rows: Vec<[String; 2]> = commands.iter().map(row).collect();
    let words = style.table(["COMMAND", "DOES"], &rows);
    let globals = arguments(&program).filter(|argument| argument.is_global_set());
    let data = json!({
        "program": program.get_name(),
        "version": env!("CARGO_PKG_VERSION"),
        "about": program.get_about().map(ToString::to_string),
        "notes": program.get_after_help().map(ToString::to_string),
        "output": "with --json one document on standard output: {\"status\":\"ok\",\"data\":…} or {\"status\":\"error\",\"code\",\"message\",\"hint\"}",
        "errors": codes,
        "global_parameters": schema(globals),
        "commands": commands,
    });
    Reply::new(&data, words)
}

fn row(command: &Value) -> [String; 2] {
    ["usage", "summary"].map(|field| command[field].as_str().unwrap_or_default().to_owned())
}

/// Every command that does something, with its own arguments.
fn collect(parent: &Command, words: &str, found: &mut Vec<Value>) {
    for command in parent.get_subcommands().filter(|it| !it.is_hide_set()) {
        let name = format!("{words} {}", command.get_name()).trim().to_owned();
        if !command.is_subcommand_required_set() {
            let own = || arguments(command).filter(|argument| !argument.is_global_set());
            found.push(json!({
                "command": name,
                "usage": usage(&name, own()),
                "summary": command.get_about().map(ToString::to_string),
                "example": command.get_after_help().map(ToString::to_string),
                "parameters": schema(own()),
            }));
        }
        collect(command, &name, found);
    }
}

fn arguments(command: &Command) -> impl Iterator<Item = &Arg> {
    let arguments = command.get_arguments().filter(|it| !it.is_hide_set());
    arguments.filter(|argument| !matches!(argument.get_id().as_str(), "help" | "version"))
}

/// `send PEER PORT --data TEXT`: what must be given; `[…]` stands around the rest.
fn usage<'a>(name: &str, arguments: impl Iterator<Item = &'a Arg>) -> String {
    let mut words = vec![name.to_owned()];
    for argument in arguments {
        let value = value_name(argument);
        let word = match (argument.get_long(), is_flag(argument)) {
            (Some(long), true) => format!("--{long}"),
            (Some(long), false) => format!("--{long} {value}"),
            (None, _) => value,
        };
        let many = if is_many(argument) { "…" } else { "" };
        words.push(if argument.is_required_set() {
            format!("{word}{many}")
        } else {
            format!("[{word}]{many}")
        });
    }
    words.join(" ")
}

fn value_name(argument: &Arg) -> String {
    let names = argument.get_value_names().unwrap_or_default();
    let name = names.first().map(ToString::to_string);
    name.unwrap_or_else(|| argument.get_id().as_str().to_uppercase())
}

fn is_flag(argument: &Arg) -> bool {
    !argument.get_action().takes_values()
}

fn is_many(argument: &Arg) -> bool {
    let is_list = argument
        .get_num_args()
        .is_some_and(|range| range.max_values() > 1);
    is_list || matches!(argument.get_action(), ArgAction::Append)
}

/// Arguments as an object of JSON Schema (draft 2020-12). `x-flag` is how an option is written, `x-position` the place of what has none.
fn schema<'a>(arguments: impl Iterator<Item = &'a Arg>) -> Value {
    let mut properties = Map::new();
    let mut required = vec![];
    for argument in arguments {
        let name = argument.get_long().unwrap_or(argument.get_id().as_str());
        if argument.is_required_set() {
            required.push(name.to_owned());
        }
        properties.insert(name.to_owned(), property(argument));
    }
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn property(argument: &Arg) -> Value {
    let one = if is_flag(argument) {
        json!({ "type": "boolean" })
    } else {
        let words: Vec<String> = argument
            .get_possible_values()
            .iter()
            .map(|value| value.get_name().to_owned())
            .collect();
        if words.is_empty() {
            json!({ "type": "string" })
        } else {
            json!({ "type": "string", "enum": words })
        }
    };
    let mut property = if is_many(argument) && !is_flag(argument) {
        json!({ "type": "array", "items": one })
    } else {
        one
    };
    if let Some(help) = argument.get_help() {
        property["description"] = help.to_string().into();
    }
    if let [default] = argument.get_default_values()
        && !is_flag(argument)
    {
        property["default"] = default.to_string_lossy().into_owned().into();
    }
    match (argument.get_long(), argument.get_index()) {
        (Some(long), _) => property["x-flag"] = format!("--{long}").into(),
        (None, Some(index)) => property["x-position"] = index.into(),
        (None, None) => {}
    }
    property
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Value> {
        let program = crate::built_command();
        let mut found = vec![];
        collect(&program, "", &mut found);
        found
    }

    #[test]
    fn every_command_has_a_summary_and_a_schema_of_its_arguments() {
        let all = all();
        assert!(all.len() > 50, "{}", all.len());
        for command in &all {
            let name = command["command"].as_str().unwrap();
            assert!(command["summary"].is_string(), "{name}");
            for (field, property) in command["parameters"]["properties"].as_object().unwrap() {
                let has_place = ["x-flag", "x-position"].map(|key| property.get(key).is_some());
                assert!(has_place.contains(&true), "{name} {field}");
                assert!(property["description"].is_string(), "{name} {field}");
            }
        }
    }

    #[test]
    fn a_schema_says_what_must_be_given_and_of_which_type() {
        let all = all();
        let of = |name: &str| all.iter().find(|it| it["command"] == name).unwrap();
        let send = of("send");
        assert_eq!(
            send["parameters"]["required"],
            json!(["peer", "port", "data"])
        );
        assert_eq!(send["usage"], "send PEER PORT --data TEXT");
        let join = &of("group create")["parameters"]["properties"]["join"];
        assert_eq!(join["enum"], json!(["open", "token", "invite"]));
        let start = &of("daemon start")["parameters"]["properties"];
        assert_eq!(start["public"]["type"], "boolean");
        assert_eq!(start["rendezvous"]["type"], "array");
    }
}
