//! Rules that a manifest applies to the config.
//!
//! See [`super`] for how definitions are read and used.

use serde_json::Value as Json;

use super::AddedFieldDefinition;
use crate::manifest::node::{Text, choice, component};

component! {
    /// Rules for the config.
    ConfigNormalizationRules {
        /// Migrate older configs to the current format; the owner of the config is notified.
        config_migrations: Option<Vec<ConfigMigration>>,
        /// Transform the config for this run only.
        transformations: Option<Vec<ConfigTransformation>>,
        /// Validate the config.
        validations: Option<Vec<ConfigValidator>>,
    }
}

component! {
    /// A migration from an older format.
    ConfigMigration {
        /// The purpose.
        description: Option<String>,
        /// The transformations.
        transformations: Vec<ConfigTransformation>,
    }
}

choice! {
    /// A transformation of the config.
    ConfigTransformation { ConfigAddFields, ConfigRemoveFields, ConfigRemapField } later {}
}

component! {
    /// Sets fields.
    ConfigAddFields {
        /// The fields.
        fields: Vec<AddedFieldDefinition>,
        /// Applies only if this condition holds.
        condition: Option<Text>,
    }
}

component! {
    /// Drops fields.
    ConfigRemoveFields {
        /// The paths; segments may contain globs.
        field_pointers: Vec<Vec<String>>,
        /// Applies only if this condition holds.
        condition: Option<Text>,
    }
}

component! {
    /// Replaces a value through a map.
    ConfigRemapField {
        /// Old values and their replacements.
        map: Json,
        /// The path of the value.
        field_path: Vec<Text>,
    }
}

choice! {
    /// A validation of the config.
    ConfigValidator { DpathValidator, PredicateValidator } later {}
}

component! {
    /// Validates all values at a path.
    DpathValidator {
        /// The path; `*` matches any key.
        field_path: Vec<Text>,
        /// The requirement.
        validation_strategy: ValidateAdheresToSchema,
    }
}

component! {
    /// Validates a value.
    PredicateValidator {
        /// The value.
        value: Text,
        /// The requirement.
        validation_strategy: ValidateAdheresToSchema,
    }
}

component! {
    /// The value must match a schema.
    ValidateAdheresToSchema {
        /// The schema.
        base_schema: Json,
    }
}
