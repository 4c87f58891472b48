//! The supported YAML tags.
//!
//! Input: a tag as written. Output: its meaning. Called by `yaml` and `scalar`.

use granit_parser::Tag as Written;

/// The meaning of a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    /// No tag.
    None,
    /// `!`: a scalar is text.
    NonSpecific,
    Str,
    Int,
    Float,
    Bool,
    Null,
    Seq,
    Map,
    /// Base64.
    Binary,
    /// A merge key.
    Merge,
    /// Valid only on scalars; changes nothing.
    Scalar,
    /// A scalar that JSON cannot represent.
    Unread,
    /// Any other tag; changes nothing.
    Other,
}

/// A collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Seq,
    Map,
}

impl Tag {
    /// `!int` is `!!int`, as in other parsers.
    pub(super) fn of(tag: &Written) -> Self {
        let global = tag.suffix_in_namespace("tag:yaml.org,2002:");
        let Some(name) = global.clone().or_else(|| tag.suffix_in_namespace("!")) else {
            return Tag::Other;
        };
        match name.strip_prefix('!').unwrap_or(&name) {
            "" if global.is_none() => Tag::NonSpecific,
            "merge" if global.is_some() => Tag::Merge,
            "value" if global.is_some() => Tag::Scalar,
            "include" => Tag::Scalar,
            "str" => Tag::Str,
            "int" => Tag::Int,
            "float" => Tag::Float,
            "bool" => Tag::Bool,
            "null" => Tag::Null,
            "seq" => Tag::Seq,
            "map" => Tag::Map,
            "binary" => Tag::Binary,
            "timestamp" | "time" | "degrees" | "radians" => Tag::Unread,
            _ => Tag::Other,
        }
    }

    /// Is it valid on a collection of this shape, or on a scalar?
    pub(super) fn fits(self, shape: Option<Shape>) -> bool {
        match self {
            Tag::None | Tag::NonSpecific | Tag::Other => true,
            Tag::Seq => shape == Some(Shape::Seq),
            Tag::Map => shape == Some(Shape::Map),
            _ => shape.is_none(),
        }
    }

    /// Does it make every scalar a text?
    pub(super) fn is_text(self) -> bool {
        matches!(self, Tag::Str | Tag::NonSpecific)
    }
}
