//! The unit of reading: a partition and a window.
//!
//! Created by the scheduler from each listed partition, or by code that reads a single slice; read by
//! [`super::async_job`] and the scheduler.

use std::sync::Arc;

use crate::engine::cursor::Window;
use crate::engine::cursor::partitions::identity;
use crate::engine::slice::Partition;

/// A partition of a stream, and the window to read.
#[derive(Debug, Clone)]
pub(super) struct StreamSlice {
    pub(super) partition: Arc<Partition>,
    /// `None` if the stream has no cursor.
    pub(super) window: Option<Window>,
}

impl StreamSlice {
    /// The identity of its partition.
    pub(super) fn partition_id(&self) -> String {
        identity(&self.partition.key)
    }
}
