//! Cursors: how later runs bring only what changed.
//!
//! Read and used as [`super`] says.

use serde_json::Value as Json;

use super::RequestOption;
use crate::manifest::node::{Node, Place, Read, Text, choice, component};

choice! {
    /// How later runs bring only what changed.
    IncrementalSync { DatetimeBasedCursor, IncrementingCountCursor } later {}
}

impl IncrementalSync {
    /// The field of each record that tells.
    pub fn cursor_field(&self) -> &Text {
        match self {
            IncrementalSync::DatetimeBasedCursor(cursor) => &cursor.cursor_field,
            IncrementalSync::IncrementingCountCursor(cursor) => &cursor.cursor_field,
        }
    }
}

component! {
    /// By a number in each record that only grows.
    IncrementingCountCursor {
        /// Where that number stands.
        cursor_field: Text,
        /// Where the first run starts.
        start_value: Option<Text>,
        /// Where the number goes from which a run reads.
        start_value_option: Option<RequestOption>,
        /// The platform may name another field (whoever reads here names none).
        allow_catalog_defined_cursor_field: Option<bool>,
    }
}

component! {
    /// Windows of whole periods.
    Clamping {
        /// DAY, WEEK or MONTH.
        target: Text,
        /// Of weeks the `weekday` that they begin with.
        target_details: Option<Json>,
    }
}

component! {
    /// By a time in each record.
    DatetimeBasedCursor {
        /// Where that time stands.
        cursor_field: Text,
        /// How requests and state write it.
        datetime_format: String,
        /// How records write it.
        cursor_datetime_formats: Option<Vec<String>>,
        /// Where the first run starts.
        start_datetime: Bound,
        /// Where runs end: now.
        end_datetime: Option<Bound>,
        /// How long a slice is.
        step: Option<Text>,
        /// The smallest step of the API's times.
        cursor_granularity: Option<Text>,
        /// How far back a run looks again.
        lookback_window: Option<Text>,
        /// Where a slice's start goes.
        start_time_option: Option<RequestOption>,
        /// Where a slice's end goes.
        end_time_option: Option<RequestOption>,
        /// Its name in `stream_interval`.
        partition_field_start: Option<Text>,
        /// Its name in `stream_interval`.
        partition_field_end: Option<Text>,
        /// Newest records come first.
        is_data_feed: Option<bool>,
        /// Records outside the slice are dropped here.
        is_client_side_incremental: Option<bool>,
        /// A slice of one point is none.
        is_compare_strictly: Option<bool>,
        /// One cursor for all partitions.
        global_substream_cursor: Option<bool>,
        /// Windows of whole periods.
        clamping: Option<Clamping>,
        /// The platform may name another field (whoever reads here names none).
        allow_catalog_defined_cursor_field: Option<bool>,
    }
}

/// A bound of time: a template, or a template with bounds of its own.
#[derive(Debug, Clone)]
pub enum Bound {
    /// Just a template.
    Text(Text),
    /// With bounds.
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

component! {
    /// A time between two others.
    MinMaxDatetime {
        /// The time.
        datetime: Text,
        /// How it is written; as the cursor when not said.
        datetime_format: Option<String>,
        /// Not before.
        min_datetime: Option<Text>,
        /// Not after.
        max_datetime: Option<Text>,
    }
}
