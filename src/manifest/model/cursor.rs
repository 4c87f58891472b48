//! Cursors for incremental reads.
//!
//! See [`super`] for how definitions are read and used.

use serde_json::Value as Json;

use super::RequestOption;
use crate::manifest::node::{Definitions, Describe, Node, Place, Read, Text, choice, component};

choice! {
    /// The cursor of an incremental stream.
    IncrementalSync { DatetimeBasedCursor, IncrementingCountCursor } later {}
}

impl IncrementalSync {
    /// The cursor field of each record.
    pub fn cursor_field(&self) -> &Text {
        match self {
            IncrementalSync::DatetimeBasedCursor(cursor) => &cursor.cursor_field,
            IncrementalSync::IncrementingCountCursor(cursor) => &cursor.cursor_field,
        }
    }
}

component! {
    /// A cursor over a number that only grows.
    IncrementingCountCursor {
        /// The field with the number.
        cursor_field: Text,
        /// The start value of the first run.
        start_value: Option<Text>,
        /// Where the start value is injected.
        start_value_option: Option<RequestOption>,
        /// Allows the platform to set another cursor field (dripfeed never does).
        allow_catalog_defined_cursor_field: Option<bool>,
    }
}

component! {
    /// Clamps windows to whole periods.
    Clamping {
        /// The unit: DAY, WEEK or MONTH.
        target: Text,
        /// For WEEK: the `weekday` on which weeks begin.
        target_details: Option<Json>,
    }
}

component! {
    /// A cursor over a time field.
    DatetimeBasedCursor {
        /// The field with the time.
        cursor_field: Text,
        /// The time format in requests and state.
        datetime_format: String,
        /// The time formats in records.
        cursor_datetime_formats: Option<Vec<String>>,
        /// The start of the first run.
        start_datetime: Bound,
        /// The end of each run; now by default.
        end_datetime: Option<Bound>,
        /// The length of a slice.
        step: Option<Text>,
        /// The smallest time step of the API.
        cursor_granularity: Option<Text>,
        /// How far before the bookmark a run starts.
        lookback_window: Option<Text>,
        /// Where the start of a slice is injected.
        start_time_option: Option<RequestOption>,
        /// Where the end of a slice is injected.
        end_time_option: Option<RequestOption>,
        /// The name of the start in `stream_interval`.
        partition_field_start: Option<Text>,
        /// The name of the end in `stream_interval`.
        partition_field_end: Option<Text>,
        /// Records are sorted newest first.
        is_data_feed: Option<bool>,
        /// Records outside the slice are dropped by the client.
        is_client_side_incremental: Option<bool>,
        /// A slice with equal start and end is skipped.
        is_compare_strictly: Option<bool>,
        /// Uses one cursor for all partitions.
        global_substream_cursor: Option<bool>,
        /// Clamps windows to whole periods.
        clamping: Option<Clamping>,
        /// Allows the platform to set another cursor field (dripfeed never does).
        allow_catalog_defined_cursor_field: Option<bool>,
    }
}

/// A time bound: a template, or a template with limits.
#[derive(Debug, Clone)]
pub enum Bound {
    /// A template.
    Text(Text),
    /// A template with limits.
    MinMax(Box<MinMaxDatetime>),
}

impl Read for Bound {
    fn read(node: &Node, at: &Place) -> crate::base::fault::Result<Self> {
        if node.as_map().is_some() {
            MinMaxDatetime::read(node, at).map(|b| Bound::MinMax(Box::new(b)))
        } else {
            Text::read(node, at).map(Bound::Text)
        }
    }
}

impl Describe for Bound {
    fn schema(all: &mut Definitions, default: Option<&str>) -> Json {
        serde_json::json!({"anyOf": [{"type": ["string", "number"]}, MinMaxDatetime::schema(all, default)]})
    }
}

component! {
    /// A time limited to a range.
    MinMaxDatetime {
        /// The time.
        datetime: Text,
        /// The format of the time; that of the cursor by default.
        datetime_format: Option<String>,
        /// The earliest time.
        min_datetime: Option<Text>,
        /// The latest time.
        max_datetime: Option<Text>,
    }
}
