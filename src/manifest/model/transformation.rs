//! Transformations of records.
//!
//! See [`super`] for how definitions are read and used.

use crate::manifest::node::{Text, choice, component};

choice! {
    /// A transformation of a record.
    Transformation {
        AddFields, RemoveFields, KeysToLower, KeysToSnakeCase, KeysReplace, FlattenFields, DpathFlattenFields,
    } later {}
}

component! {
    /// Converts top-level keys to lower case.
    KeysToLower {}
}

component! {
    /// Converts keys to snake case.
    KeysToSnakeCase {}
}

component! {
    /// Replaces a text in keys.
    KeysReplace {
        /// The text to replace.
        old: Text,
        /// The replacement.
        new: Text,
    }
}

component! {
    /// Flattens nested objects into top-level fields.
    FlattenFields {
        /// Also flattens lists; true by default.
        flatten_lists: Option<bool>,
    }
}

component! {
    /// Copies the keys of an object to the top level.
    DpathFlattenFields {
        /// The path of the object.
        field_path: Vec<Text>,
        /// Removes the object from its original place.
        delete_origin_value: Option<bool>,
        /// Replaces the record with the object.
        replace_record: Option<bool>,
        /// Transforms the keys.
        key_transformation: Option<KeyTransformation>,
    }
}

component! {
    /// Adds texts to a key.
    KeyTransformation {
        /// The prefix.
        prefix: Option<Text>,
        /// The suffix.
        suffix: Option<Text>,
    }
}

component! {
    /// Sets fields.
    AddFields {
        /// The fields.
        fields: Vec<AddedFieldDefinition>,
        /// Applies only if this condition holds.
        condition: Option<Text>,
    }
}

component! {
    /// A field to set.
    AddedFieldDefinition {
        /// The path.
        path: Vec<Text>,
        /// The value.
        value: Text,
        /// The type of the value.
        value_type: Option<String>,
    }
}

component! {
    /// Drops fields.
    RemoveFields {
        /// The paths; segments may contain globs.
        field_pointers: Vec<Vec<String>>,
        /// Removes only fields for which this condition holds.
        condition: Option<Text>,
    }
}
