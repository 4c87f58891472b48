//! What of a stream is read at once: a partition, and a window of it.
//!
//! Made by the scheduler from each partition that is listed, or by whoever reads a single slice; read by
//! [`super::async_job`] and the scheduler.

use std::sync::Arc;

use crate::engine::cursor::Window;
use crate::engine::cursor::partitions::identity;
use crate::engine::slice::Partition;

/// A partition of a stream, and the window of it that is read.
#[derive(Debug, Clone)]
pub(super) struct StreamSlice {
    pub(super) partition: Arc<Partition>,
    /// Nothing where the stream has no cursor.
    pub(super) window: Option<Window>,
}

impl StreamSlice {
    /// The identity of its partition.
    pub(super) fn partition_id(&self) -> String {
        identity(&self.partition.key)
    }
}
