//! Streams that are made from a template, and schemas that the vendor tells.
//!
//! Read and used as [`super`] says.

use serde_json::Value as Json;

use super::{Filter, Retriever, Transformation};
use crate::manifest::node::{OneOrMany, Raw, Text, choice, component};

component! {
    /// Streams from a template.
    DynamicDeclarativeStream {
        /// What checks know them by.
        name: Option<String>,
        /// The template: a stream.
        stream_template: Raw,
        /// What is put into it.
        components_resolver: ComponentsResolver,
        /// Does a parameter of an outer component win over an inner one's? It does when not said.
        use_parent_parameters: Option<bool>,
    }
}

choice! {
    /// Where the values for a template come from.
    ComponentsResolver {
        HttpComponentsResolver, ConfigComponentsResolver, ParametrizedComponentsResolver,
    } later {}
}

component! {
    /// From the vendor: each record is one stream's values.
    HttpComponentsResolver {
        /// How they are fetched.
        retriever: Retriever,
        /// Where they go.
        components_mapping: Vec<ComponentMappingDefinition>,
    }
}

component! {
    /// From the config.
    ConfigComponentsResolver {
        /// Where they stand there.
        stream_config: OneOrMany<StreamConfig>,
        /// Where they go.
        components_mapping: Vec<ComponentMappingDefinition>,
    }
}

component! {
    /// From the manifest.
    ParametrizedComponentsResolver {
        /// Them.
        stream_parameters: StreamParametersDefinition,
        /// Where they go.
        components_mapping: Vec<ComponentMappingDefinition>,
    }
}

component! {
    /// A list in the config.
    StreamConfig {
        /// Where it stands.
        configs_pointer: Vec<Text>,
        /// More of them.
        default_values: Option<Vec<Json>>,
    }
}

component! {
    /// A list in the manifest.
    StreamParametersDefinition {
        /// It.
        list_of_parameters_for_stream: Vec<Json>,
    }
}

component! {
    /// A value and its place in the template.
    ComponentMappingDefinition {
        /// The place; segments may hold globs.
        field_path: Vec<Text>,
        /// The value.
        value: Text,
        /// As which type.
        value_type: Option<String>,
        /// Makes the place when it is not there.
        create_or_update: Option<bool>,
        /// Only when this holds.
        condition: Option<Text>,
    }
}

component! {
    /// A schema that the vendor tells.
    DynamicSchemaLoader {
        /// How its description of the fields is fetched.
        retriever: Retriever,
        /// How that is read.
        schema_type_identifier: SchemaTypeIdentifier,
        /// Which fields count; `record` is one of them.
        schema_filter: Option<Filter>,
        /// What is done to the properties.
        schema_transformations: Option<Vec<Transformation>>,
    }
}

component! {
    /// Where names and types of fields stand.
    SchemaTypeIdentifier {
        /// The fields; the whole record when not said.
        schema_pointer: Option<Vec<Text>>,
        /// The name of one.
        key_pointer: Vec<Text>,
        /// Its type; all are texts when not said.
        type_pointer: Option<Vec<Text>>,
        /// What the vendor's types are.
        types_mapping: Option<Vec<TypesMap>>,
    }
}

component! {
    /// A type of the vendor's.
    TypesMap {
        /// What it is: a type, two of them, or a list of one.
        target_type: Json,
        /// What the vendor calls it.
        current_type: Json,
        /// Only when this holds; `raw_schema` is the field.
        condition: Option<Text>,
    }
}
