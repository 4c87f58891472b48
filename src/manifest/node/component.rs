//! Macros that declare components and choices between them, with the helpers for reading them.
//!
//! Input: the mapping of a component. Output: its fields, or a fault that names what is unknown, unsupported or
//! custom; if warnings are wanted, one for each unknown key. Used by `model`.

use super::faults::{warn, warnings_wanted};
use super::read::{read_child, wrong};
use super::{Fields, Node, Place, Read};
use crate::base::fault::{Fault, Result, did_you_mean};

/// Reads field `name` of a component.
pub fn field<T: Read>(map: &Fields, name: &str, at: &Place) -> Result<T> {
    match map.get(name) {
        Some(node) => read_child(node, at, || at.field(name, Some(node))),
        None => T::absent(|| at.field(name, None)),
    }
}

/// The mapping of a component; a fault for any other node.
pub fn mapping<'n>(node: &'n Node, at: &Place) -> Result<&'n Fields> {
    node.as_map().map_or_else(|| wrong("a component", node, at), Ok)
}

/// Refuses an unsupported field of the vocabulary if it is set.
pub fn refuse_later(map: &Fields, name: &str, at: &Place) -> Result<()> {
    match map.get(name) {
        Some(node) if !node.is_null() => {
            Err(at.field(name, Some(node)).fault(format!("this version of dripfeed does not support `{name}` yet")))
        }
        _ => Ok(()),
    }
}

/// Keys that are valid in every component, or that authors use for comments.
pub(super) const COMMON_KEYS: [&str; 6] = ["type", "class_name", "description", "title", "comment", "notes"];
/// Keys of older versions, with their current names.
const RENAMED: [(&str, &str); 2] = [("$options", "$parameters"), ("stream_slicer", "partition_router")];
/// Root keys without meaning for any engine.
const ROOT_KEYS: [&str; 3] = ["version", "definitions", "schemas"];

/// Warns of unknown keys of a component, if warnings are wanted. Engines ignore them, so a typo in an optional key
/// silently changes what is read.
pub fn warn_of_unknown_keys(map: &Fields, fields: &[&'static str], at: &Place) {
    if !warnings_wanted() {
        return;
    }
    let root = at.location.path.is_empty();
    // Parameters are inherited as fields by every component.
    let inherited = map.get("$parameters").and_then(Node::as_map);
    for (key, value) in map {
        let known = fields.contains(&key.as_str())
            || COMMON_KEYS.contains(&key.as_str())
            || key == "$parameters"
            || key == "$comment"
            || key.starts_with(['_', '.'])
            || key.starts_with("x-")
            || root && ROOT_KEYS.contains(&key.as_str())
            || inherited.is_some_and(|parameters| parameters.contains_key(key));
        if known {
            continue;
        }
        let renamed = RENAMED.iter().find(|(old, _)| old == key).map(|(_, new)| *new);
        // A field that is present was not misspelled.
        let absent = fields.iter().copied().filter(|field| !map.contains_key(*field));
        let near = renamed.or_else(|| did_you_mean(key, absent));
        // In addition to its fields, the root contains whatever its author refers to.
        if root && near.is_none() {
            continue;
        }
        let name = map.get("type").and_then(Node::as_str).map_or_else(String::new, |name| format!(" of {name}"));
        let fault = at.field(key, Some(value)).fault(format!("unknown key `{key}`{name}; it is ignored"));
        warn(match near {
            Some(near) => fault.hint(format!("did you mean `{near}`?")),
            None if fields.is_empty() => fault,
            None => fault.hint(format!("known keys: {}", fields.join(", "))),
        });
    }
}

/// Declares a component from one list of fields: its Rust type, how it is read, and its schema for editors.
macro_rules! component {
    (
        $(#[doc = $doc:literal])* $name:ident { $($(#[doc = $fdoc:literal])* $field:ident : $ty:ty),* $(,)? }
        $(later { $($later:ident),* $(,)? })?
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone)]
        pub struct $name {
            /// The location in the manifest.
            pub at: $crate::manifest::node::Place,
            $($(#[doc = $fdoc])* pub $field: $ty,)*
        }

        impl $crate::manifest::node::Describe for $name {
            const INHERITABLE: bool = false;

            fn schema(all: &mut $crate::manifest::node::Definitions, _: Option<&str>) -> serde_json::Value {
                let fields = [$($crate::manifest::node::Field {
                    name: stringify!($field),
                    doc: concat!($($fdoc),*),
                    schema: <$ty as $crate::manifest::node::Describe>::schema,
                    demanded: !<$ty as $crate::manifest::node::Describe>::OPTIONAL
                        && !<$ty as $crate::manifest::node::Describe>::INHERITABLE,
                }),*];
                let later: &[&str] = &[$($(stringify!($later)),*)?];
                all.component(stringify!($name), concat!($($doc),*), &fields, later)
            }
        }

        impl $crate::manifest::node::Read for $name {
            fn read(
                node: &$crate::manifest::node::Node,
                at: &$crate::manifest::node::Place,
            ) -> $crate::base::fault::Result<Self> {
                let map = $crate::manifest::node::mapping(node, at)?;
                $crate::manifest::node::warn_of_unknown_keys(
                    map,
                    &[$(stringify!($field),)* $($(stringify!($later),)*)?],
                    at,
                );
                $($(let $later = $crate::manifest::node::refuse_later(map, stringify!($later), at);)*)?
                $(let $field: $crate::base::fault::Result<$ty> =
                    $crate::manifest::node::field(map, stringify!($field), at);)*
                if false $($(|| $later.is_err())*)? $(|| $field.is_err())* {
                    $crate::manifest::node::last_of([
                        $($($later.err(),)*)?
                        $($field.as_ref().err().cloned(),)*
                    ])?;
                }
                Ok($name { $($field: $field?,)* at: at.clone() })
            }
        }
    };
}

/// Declares a choice between components by their `type`; those under `later` are refused by name. A variant that is
/// much larger than the others is in a `Box`.
macro_rules! choice {
    (
        $(#[$doc:meta])* $name:ident { $($variant:ident $(: $box:ident)?),* $(,)? }
        later { $($later:ident),* $(,)? }
    ) => {
        impl $crate::manifest::node::Describe for $name {
            const INHERITABLE: bool = false;

            fn schema(all: &mut $crate::manifest::node::Definitions, default: Option<&str>) -> serde_json::Value {
                let branches = vec![
                    $((stringify!($variant), <$variant as $crate::manifest::node::Describe>::schema(all, None))),*
                ];
                all.choice(branches, default)
            }
        }

        $(#[$doc])*
        #[derive(Debug, Clone)]
        #[allow(missing_docs, clippy::large_enum_variant)]
        pub enum $name { $($variant($crate::manifest::node::held!($variant $($box)?))),* }

        impl $crate::manifest::node::Read for $name {
            fn read(
                node: &$crate::manifest::node::Node,
                at: &$crate::manifest::node::Place,
            ) -> $crate::base::fault::Result<Self> {
                let map = $crate::manifest::node::mapping(node, at)?;
                match map.get("type").and_then($crate::manifest::node::Node::as_str) {
                    $(Some(stringify!($variant)) => {
                        $variant::read(node, at).map(|read| $name::$variant(read.into()))
                    })*
                    found => Err($crate::manifest::node::refused(
                        found,
                        &[$(stringify!($variant)),*],
                        &[$(stringify!($later)),*],
                        at,
                    )),
                }
            }
        }
    };
}

/// The type of a variant.
macro_rules! held {
    ($variant:ident) => { $variant };
    ($variant:ident Box) => { Box<$variant> };
}

pub(in crate::manifest) use {choice, component, held};

/// The fault for an unsupported component, with name and location.
pub fn refused(found: Option<&str>, known: &[&str], later: &[&str], at: &Place) -> Fault {
    let Some(found) = found else {
        return at.fault("the component has no `type`").hint(format!("it can be one of {}", known.join(", ")));
    };
    if found.starts_with("Custom") {
        return at
            .fault(format!("`{found}` needs custom Python code, which dripfeed does not run"))
            .hint("replace it with a declarative component, or run this stream with Airbyte's own runtime");
    }
    if later.contains(&found) {
        return at.fault(format!("this version of dripfeed does not support the component `{found}` yet"));
    }
    let fault = at.fault(format!("the component `{found}` does not exist, or is not allowed here"));
    match did_you_mean(found, known.iter().chain(later).copied()) {
        Some(name) => fault.hint(format!("did you mean `{name}`?")),
        None => fault.hint(format!("it can be one of {}", known.join(", "))),
    }
}
