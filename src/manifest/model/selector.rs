//! Record selectors: extractors and filters.
//!
//! Read and used as [`super`] says.

use super::{ResponseToFileExtractor, Retriever};
use crate::manifest::node::{Text, choice, component};

component! {
    /// The records of an answer.
    RecordSelector {
        /// Where they stand.
        extractor: Extractor,
        /// Which of them count.
        record_filter: Option<Filter>,
        /// Transforms before it filters.
        transform_before_filtering: Option<bool>,
        /// Casts values to the schema.
        schema_normalization: Option<String>,
    }
}

choice! {
    /// Where records stand.
    Extractor { DpathExtractor, CombinedExtractor, ResponseToFileExtractor } later { KeyValueExtractor }
}

component! {
    /// At a path.
    DpathExtractor {
        /// Its segments; `*` is any.
        field_path: Vec<Text>,
        /// Takes the items of a list in each record instead.
        record_expander: Option<Box<RecordExpander>>,
    }
}

component! {
    /// The items of a list in a record, as records.
    RecordExpander {
        /// Where the list stands; segments may hold globs.
        expand_records_from_field: Vec<Text>,
        /// Puts the record into each item, as `original_record`.
        remain_original_record: Option<bool>,
        /// Values of the record that each item gets.
        parent_fields: Option<Vec<ParentFieldPath>>,
        /// Puts the record's own fields under each item's.
        merge_parent: Option<bool>,
        /// A record without items: `skip`, or `emit_parent`.
        on_no_records: Option<String>,
        /// Where a record says that its list is not whole.
        truncation_indicator_path: Option<Vec<Text>>,
        /// Reads the whole list.
        truncated_list_retriever: Option<Retriever>,
    }
}

component! {
    /// A value of a record, for the items of its list.
    ParentFieldPath {
        /// Where it stands.
        parent_path: Vec<Text>,
        /// Where it goes.
        record_path: Vec<Text>,
    }
}

component! {
    /// Several extractors over one answer.
    CombinedExtractor {
        /// They.
        extractors: Vec<Extractor>,
        /// All of them (`union`), or the first that finds records (`first_match`).
        mode: Option<String>,
        /// Drops records that are empty.
        skip_empty_records: Option<bool>,
    }
}

choice! {
    /// Which records count.
    Filter { RecordFilter } later {}
}

component! {
    /// Those for which a condition holds.
    RecordFilter {
        /// The condition.
        condition: Option<Text>,
    }
}
