//! Dynamic streams, generated from a template, and schemas that the vendor provides.
//!
//! See [`super`] for how definitions are read and used.

use serde_json::Value as Json;

use super::{Filter, Retriever, Transformation};
use crate::manifest::node::{OneOrMany, Raw, Text, choice, component};

component! {
    /// Streams generated from a template.
    DynamicDeclarativeStream {
        /// The name for the connection check.
        name: Option<String>,
        /// The template of a stream.
        stream_template: Raw,
        /// Provides the values for the template.
        components_resolver: ComponentsResolver,
        /// Do parameters of outer components override inner ones? True by default.
        use_parent_parameters: Option<bool>,
    }
}

choice! {
    /// Provides the values for a stream template.
    ComponentsResolver {
        HttpComponentsResolver, ConfigComponentsResolver, ParametrizedComponentsResolver,
    } later {}
}

component! {
    /// Values from the vendor: one stream per record.
    HttpComponentsResolver {
        /// How the records are fetched.
        retriever: Retriever,
        /// Where the values are inserted.
        components_mapping: Vec<ComponentMappingDefinition>,
    }
}

component! {
    /// Values from the config.
    ConfigComponentsResolver {
        /// The lists in the config.
        stream_config: OneOrMany<StreamConfig>,
        /// Where the values are inserted.
        components_mapping: Vec<ComponentMappingDefinition>,
    }
}

component! {
    /// Values from the manifest.
    ParametrizedComponentsResolver {
        /// The values.
        stream_parameters: StreamParametersDefinition,
        /// Where the values are inserted.
        components_mapping: Vec<ComponentMappingDefinition>,
    }
}

component! {
    /// A list in the config.
    StreamConfig {
        /// The path of the list.
        configs_pointer: Vec<Text>,
        /// Additional values.
        default_values: Option<Vec<Json>>,
    }
}

component! {
    /// A list in the manifest.
    StreamParametersDefinition {
        /// The values of each stream.
        list_of_parameters_for_stream: Vec<Json>,
    }
}

component! {
    /// A value and where it is inserted in the template.
    ComponentMappingDefinition {
        /// The path; segments may contain globs.
        field_path: Vec<Text>,
        /// The value.
        value: Text,
        /// The type of the value.
        value_type: Option<String>,
        /// Creates the path if it does not exist.
        create_or_update: Option<bool>,
        /// Inserts the value only if this condition holds.
        condition: Option<Text>,
    }
}

component! {
    /// A schema that the vendor provides.
    DynamicSchemaLoader {
        /// How the description of the fields is fetched.
        retriever: Retriever,
        /// How the description is read.
        schema_type_identifier: SchemaTypeIdentifier,
        /// Filters the fields; the field is `record`.
        schema_filter: Option<Filter>,
        /// Transforms the properties.
        schema_transformations: Option<Vec<Transformation>>,
    }
}

component! {
    /// The paths of field names and types.
    SchemaTypeIdentifier {
        /// The path of the fields; the whole record by default.
        schema_pointer: Option<Vec<Text>>,
        /// The path of a field's name.
        key_pointer: Vec<Text>,
        /// The path of a field's type; without it all fields are strings.
        type_pointer: Option<Vec<Text>>,
        /// Maps the vendor's types.
        types_mapping: Option<Vec<TypesMap>>,
    }
}

component! {
    /// Maps one of the vendor's types.
    TypesMap {
        /// The JSON schema type: one type, two types, or a list of one.
        target_type: Json,
        /// The vendor's type.
        current_type: Json,
        /// Applies only if this condition holds; the field is `raw_schema`.
        condition: Option<Text>,
    }
}
