//! Transformations of records.
//!
//! Read and used as [`super`] says.

use crate::manifest::node::{Text, choice, component};

choice! {
    /// What is done to a record.
    Transformation {
        AddFields, RemoveFields, KeysToLower, KeysToSnakeCase, KeysReplace, FlattenFields, DpathFlattenFields,
    } later {}
}

component! {
    /// Keys at the top in lower case.
    KeysToLower {}
}

component! {
    /// Keys in snake case.
    KeysToSnakeCase {}
}

component! {
    /// A text in keys becomes another.
    KeysReplace {
        /// The text.
        old: Text,
        /// The other.
        new: Text,
    }
}

component! {
    /// Every leaf at the top.
    FlattenFields {
        /// Lists too; they are when not said.
        flatten_lists: Option<bool>,
    }
}

component! {
    /// The keys of an object beside those at the top.
    DpathFlattenFields {
        /// Where it stands.
        field_path: Vec<Text>,
        /// Removes it from there.
        delete_origin_value: Option<bool>,
        /// It becomes the record.
        replace_record: Option<bool>,
        /// What its keys become.
        key_transformation: Option<KeyTransformation>,
    }
}

component! {
    /// Texts around a key.
    KeyTransformation {
        /// Before it.
        prefix: Option<Text>,
        /// After it.
        suffix: Option<Text>,
    }
}

component! {
    /// Sets fields.
    AddFields {
        /// Each of them.
        fields: Vec<AddedFieldDefinition>,
        /// Only when this holds.
        condition: Option<Text>,
    }
}

component! {
    /// A field to set.
    AddedFieldDefinition {
        /// Where.
        path: Vec<Text>,
        /// To what.
        value: Text,
        /// As which type.
        value_type: Option<String>,
    }
}

component! {
    /// Drops fields.
    RemoveFields {
        /// Their paths; segments may hold globs.
        field_pointers: Vec<Vec<String>>,
        /// Only those for which this holds.
        condition: Option<Text>,
    }
}
