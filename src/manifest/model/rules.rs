//! What a manifest does to the config, and asks of it.
//!
//! Read and used as [`super`] says.

use serde_json::Value as Json;

use super::AddedFieldDefinition;
use crate::manifest::node::{Text, choice, component};

component! {
    /// Rules for the config.
    ConfigNormalizationRules {
        /// Bring older configs to today's form; who keeps the config is told.
        config_migrations: Option<Vec<ConfigMigration>>,
        /// Change it for the run alone.
        transformations: Option<Vec<ConfigTransformation>>,
        /// What must hold.
        validations: Option<Vec<ConfigValidator>>,
    }
}

component! {
    /// One step from an older form.
    ConfigMigration {
        /// What for.
        description: Option<String>,
        /// What it does.
        transformations: Vec<ConfigTransformation>,
    }
}

choice! {
    /// A change of the config.
    ConfigTransformation { ConfigAddFields, ConfigRemoveFields, ConfigRemapField } later {}
}

component! {
    /// Sets fields.
    ConfigAddFields {
        /// Each of them.
        fields: Vec<AddedFieldDefinition>,
        /// Only when this holds.
        condition: Option<Text>,
    }
}

component! {
    /// Drops fields.
    ConfigRemoveFields {
        /// Their paths; segments may hold globs.
        field_pointers: Vec<Vec<String>>,
        /// Only when this holds.
        condition: Option<Text>,
    }
}

component! {
    /// Replaces a value by another.
    ConfigRemapField {
        /// Values and what they become.
        map: Json,
        /// Where the value stands.
        field_path: Vec<Text>,
    }
}

choice! {
    /// Something that must hold.
    ConfigValidator { DpathValidator, PredicateValidator } later {}
}

component! {
    /// Of everything that a path leads to.
    DpathValidator {
        /// The path; `*` is any key.
        field_path: Vec<Text>,
        /// What must hold.
        validation_strategy: ValidateAdheresToSchema,
    }
}

component! {
    /// Of a value.
    PredicateValidator {
        /// The value.
        value: Text,
        /// What must hold.
        validation_strategy: ValidateAdheresToSchema,
    }
}

component! {
    /// It fits a schema.
    ValidateAdheresToSchema {
        /// The schema.
        base_schema: Json,
    }
}
