//! The fields that an API gives only when they are named, a few in each request.
//!
//! Read and used as [`super`] says.

use super::{Retriever, Transformation};
use crate::manifest::node::{Node, OneOrMany, Place, Read, Text, component};

component! {
    /// The fields to ask for.
    QueryProperties {
        /// Their names.
        property_list: PropertyList,
        /// Asked for in every request.
        always_include_properties: Option<Vec<String>>,
        /// How many go into one request.
        property_chunking: Option<PropertyChunking>,
        /// Which of them a run wants.
        property_selector: Option<JsonSchemaPropertySelector>,
    }
}

/// Names of fields.
#[derive(Debug, Clone)]
pub enum PropertyList {
    /// In the manifest.
    Given(Vec<String>),
    /// At the vendor's.
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

component! {
    /// Names that the vendor tells.
    PropertiesFromEndpoint {
        /// Where the name stands in a record.
        property_field_path: Vec<Text>,
        /// How the records are fetched.
        retriever: Retriever,
    }
}

component! {
    /// How many names go into one request.
    PropertyChunking {
        /// What is counted: `characters` or `property_count`.
        property_limit_type: String,
        /// So many.
        property_limit: Option<u64>,
        /// Which records of several answers are one.
        record_merge_strategy: Option<GroupByKeyMergeStrategy>,
    }
}

component! {
    /// Those with the same key.
    GroupByKeyMergeStrategy {
        /// Its fields.
        key: OneOrMany<String>,
    }
}

component! {
    /// The fields that the catalog selects.
    JsonSchemaPropertySelector {
        /// What is done to their names first.
        transformations: Option<Vec<Transformation>>,
    }
}
