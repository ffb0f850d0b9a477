//! JSON Schemas (draft 2020-12) of the types that have a form of their own in JSON.
//!
//! A pattern says the same as the type's parser, as far as a regular expression can.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::{Address, Hostname, NetworkId, NodeId, Port, Tag};

macro_rules! schemas {
    ($($name:literal $type:ty => $schema:tt)+) => {
        $(impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        })+
    };
}

schemas! {
    "NodeId" NodeId => {
        "description": "An agent's 48 bits as a number.",
        "type": "integer",
        "minimum": 0,
        "maximum": 281_474_976_710_655_u64,
        "examples": [82_566_562_323_005_u64]
    }
    "NetworkId" NetworkId => {
        "description": "A network's number; 0 is the one that every agent is in.",
        "type": "integer",
        "minimum": 0,
        "maximum": 65_534,
        "examples": [0]
    }
    "Address" Address => {
        "description": "Where an agent is reached: its network, a colon, and its 48 bits in hex.",
        "type": "string",
        "pattern": r"^(0|[1-9][0-9]{0,4}):[0-9A-F]{4}\.[0-9A-F]{4}\.[0-9A-F]{4}$",
        "examples": ["0:4B2E.0000.1A3D"]
    }
    "Port" Port => {
        "description": "A port of an agent.",
        "type": "integer",
        "minimum": 0,
        "maximum": 65_535,
        "examples": [1000]
    }
    "Hostname" Hostname => {
        "description": "The name that an agent claims.",
        "type": "string",
        "pattern": "^[a-z][a-z0-9-]{0,62}$",
        "examples": ["planner"]
    }
    "Tag" Tag => {
        "description": "A word that an agent is found by.",
        "type": "string",
        "pattern": "^[a-z0-9-]{1,32}$",
        "examples": ["gpu"]
    }
}
