//! Record selectors: extractors and filters.
//!
//! See [`super`] for how definitions are read and used.

use super::{ResponseToFileExtractor, Retriever};
use crate::manifest::node::{Text, choice, component};

component! {
    /// Selects the records of a response.
    RecordSelector {
        /// The path of the records.
        extractor: Extractor,
        /// Filters the records.
        record_filter: Option<Filter>,
        /// Transforms before it filters.
        transform_before_filtering: Option<bool>,
        /// Casts values to the schema.
        schema_normalization: Option<String>,
    }
}

choice! {
    /// Finds the records.
    Extractor { DpathExtractor, CombinedExtractor, ResponseToFileExtractor } later { KeyValueExtractor }
}

component! {
    /// Records at a path.
    DpathExtractor {
        /// The segments; `*` matches any key.
        field_path: Vec<Text>,
        /// Uses the items of a list in each record instead.
        record_expander: Option<Box<RecordExpander>>,
    }
}

component! {
    /// Uses the items of a list in a record as records.
    RecordExpander {
        /// The path of the list; segments may contain globs.
        expand_records_from_field: Vec<Text>,
        /// Adds the record to each item, as `original_record`.
        remain_original_record: Option<bool>,
        /// Values of the record that are copied to each item.
        parent_fields: Option<Vec<ParentFieldPath>>,
        /// Merges the record's own fields into each item; the item's fields win.
        merge_parent: Option<bool>,
        /// For a record without items: `skip`, or `emit_parent`.
        on_no_records: Option<String>,
        /// The path of the flag that the list is truncated.
        truncation_indicator_path: Option<Vec<Text>>,
        /// Reads the complete list.
        truncated_list_retriever: Option<Retriever>,
    }
}

component! {
    /// A value of a record that is copied to its list items.
    ParentFieldPath {
        /// The path in the record.
        parent_path: Vec<Text>,
        /// The path in the item.
        record_path: Vec<Text>,
    }
}

component! {
    /// Applies several extractors to one response.
    CombinedExtractor {
        /// The extractors.
        extractors: Vec<Extractor>,
        /// Uses all of them (`union`), or the first that finds records (`first_match`).
        mode: Option<String>,
        /// Drops records that are empty.
        skip_empty_records: Option<bool>,
    }
}

choice! {
    /// Filters records.
    Filter { RecordFilter } later {}
}

component! {
    /// Keeps records that satisfy a condition.
    RecordFilter {
        /// The condition.
        condition: Option<Text>,
    }
}
