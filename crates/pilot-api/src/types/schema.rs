//! JSON Schemas of fields whose form in JSON is not their type's own; see [`super::field`].

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

macro_rules! texts {
    ($($(#[doc = $doc:literal])+ $name:ident $schema_name:literal => $schema:tt)+) => {
        $(
            $(#[doc = $doc])+
            pub(crate) struct $name;

            impl JsonSchema for $name {
                fn schema_name() -> Cow<'static, str> {
                    $schema_name.into()
                }

                fn json_schema(_: &mut SchemaGenerator) -> Schema {
                    json_schema!($schema)
                }
            }
        )+
    };
}

texts! {
    /// A [`pilot_types::UnixTime`] by `field::rfc3339`.
    TimeText "Time" => {
        "description": "A time in UTC as RFC 3339 has it.",
        "type": "string",
        "format": "date-time",
        "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{3})?Z$",
        "examples": ["2026-01-01T00:00:00Z"]
    }
    /// A list of [`pilot_wire::PortRange`] by `field::ports_option`.
    PortsText "Ports" => {
        "description": "Ports and ranges of ports with commas between them, at most 32, or all.",
        "type": "string",
        "pattern": "^(all|[0-9]{1,5}(-[0-9]{1,5})?(,[0-9]{1,5}(-[0-9]{1,5})?)*)$",
        "examples": ["7,1000-1002"]
    }
    /// A [`pilot_wire::MessageId`] by `field::text`.
    MessageIdText "MessageId" => {
        "description": "A message's name: 16 bytes in hex.",
        "type": "string",
        "pattern": "^[0-9A-Fa-f]{32}$",
        "examples": ["01010101010101010101010101010101"]
    }
    /// What a recovery key is hashed to.
    CommitmentText "Commitment" => {
        "description": "A SHA-256 in hex.",
        "type": "string",
        "pattern": "^[0-9A-Fa-f]{64}$",
        "examples": ["efefefefefefefefefefefefefefefefefefefefefefefefefefefefefefefef"]
    }
    /// A [`pilot_wire::TraceParent`] by `field::text_option`.
    TraceParentText "TraceParent" => {
        "description": "The application's trace as W3C Trace Context §3.2 has it.",
        "type": "string",
        "pattern": "^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$",
        "examples": ["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"]
    }
    /// A [`pilot_wire::Topic`].
    TopicText "Topic" => {
        "description": "What an event is about: levels of letters, digits, - and _, separated by / or ., at most 256 bytes.",
        "type": "string",
        "maxLength": 256,
        "pattern": r"^[\p{Alphabetic}\p{N}_-]+([/.][\p{Alphabetic}\p{N}_-]+)*$",
        "examples": ["jobs/done"]
    }
    /// A [`pilot_wire::TopicFilter`].
    TopicFilterText "TopicFilter" => {
        "description": "Topics: * stands for one level and #, as the last one, for the rest, at least one level.",
        "type": "string",
        "maxLength": 256,
        "pattern": r"^((\*|[\p{Alphabetic}\p{N}_-]+)[/.])*(\*|#|[\p{Alphabetic}\p{N}_-]+)$",
        "examples": ["jobs/*"]
    }
}
