//! Query properties: fields that an API returns only if requests name them, a few per request.
//!
//! See [`super`] for how definitions are read and used.

use super::{Retriever, Transformation};
use crate::manifest::node::{Definitions, Describe, Node, OneOrMany, Place, Read, Text, component};

component! {
    /// The fields to request.
    QueryProperties {
        /// The names of the fields.
        property_list: PropertyList,
        /// Fields in every request.
        always_include_properties: Option<Vec<String>>,
        /// The number of fields per request.
        property_chunking: Option<PropertyChunking>,
        /// Selects the fields that a run needs.
        property_selector: Option<JsonSchemaPropertySelector>,
    }
}

/// The names of fields.
#[derive(Debug, Clone)]
pub enum PropertyList {
    /// A list in the manifest.
    Given(Vec<String>),
    /// From an endpoint of the vendor.
    Endpoint(PropertiesFromEndpoint),
}

impl Read for PropertyList {
    fn read(node: &Node, at: &Place) -> crate::base::fault::Result<Self> {
        if node.is_map() {
            Read::read(node, at).map(PropertyList::Endpoint)
        } else {
            Read::read(node, at).map(PropertyList::Given)
        }
    }
}

impl Describe for PropertyList {
    const INHERITABLE: bool = false;

    fn schema(all: &mut Definitions, default: Option<&str>) -> serde_json::Value {
        let given = Vec::<String>::schema(all, default);
        serde_json::json!({"anyOf": [given, PropertiesFromEndpoint::schema(all, default)]})
    }
}

component! {
    /// Field names from an endpoint of the vendor.
    PropertiesFromEndpoint {
        /// The path of the name in a record.
        property_field_path: Vec<Text>,
        /// How the records are fetched.
        retriever: Retriever,
    }
}

component! {
    /// The number of names per request.
    PropertyChunking {
        /// The unit of the limit: `characters` or `property_count`.
        property_limit_type: String,
        /// The limit.
        property_limit: Option<u64>,
        /// How records of several responses are merged.
        record_merge_strategy: Option<GroupByKeyMergeStrategy>,
    }
}

component! {
    /// Merges records with the same key.
    GroupByKeyMergeStrategy {
        /// The fields of the key.
        key: OneOrMany<String>,
    }
}

component! {
    /// The fields that the catalog selects.
    JsonSchemaPropertySelector {
        /// Transforms the names first.
        transformations: Option<Vec<Transformation>>,
    }
}
