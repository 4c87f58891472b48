//! Partition routers.
//!
//! See [`super`] for how definitions are read and used.

use super::{RequestOption, Stream};
use crate::manifest::node::{Text, choice, component};

choice! {
    /// Splits a stream into partitions.
    PartitionRouter {
        ListPartitionRouter, SubstreamPartitionRouter, GroupingPartitionRouter, UnionPartitionRouter,
    } later {}
}

impl PartitionRouter {
    /// Can a partition contain values of the config?
    pub fn reads_config(&self) -> bool {
        match self {
            PartitionRouter::ListPartitionRouter(def) => def.values.reads_config() || def.cursor_field.reads_config(),
            PartitionRouter::SubstreamPartitionRouter(_) => false,
            PartitionRouter::GroupingPartitionRouter(def) => def.underlying_partition_router.reads_config(),
            PartitionRouter::UnionPartitionRouter(def) => {
                def.partition_routers.iter().any(PartitionRouter::reads_config)
            }
        }
    }

    /// The parent streams, in order.
    pub fn parents(&self) -> Vec<&ParentStreamConfig> {
        match self {
            PartitionRouter::ListPartitionRouter(_) => Vec::new(),
            PartitionRouter::SubstreamPartitionRouter(router) => router.parent_stream_configs.iter().collect(),
            PartitionRouter::GroupingPartitionRouter(router) => router.underlying_partition_router.parents(),
            PartitionRouter::UnionPartitionRouter(router) => {
                router.partition_routers.iter().flat_map(PartitionRouter::parents).collect()
            }
        }
    }
}

component! {
    /// Groups partitions of another router.
    GroupingPartitionRouter {
        /// The number of partitions per group.
        group_size: u64,
        /// The other router.
        underlying_partition_router: Box<PartitionRouter>,
        /// Drops duplicate values; true by default.
        deduplicate: Option<bool>,
    }
}

component! {
    /// The partitions of several routers, without duplicate values.
    UnionPartitionRouter {
        /// The common name of the partition field.
        partition_field: Text,
        /// The routers.
        partition_routers: Vec<PartitionRouter>,
    }
}

component! {
    /// One partition per value.
    ListPartitionRouter {
        /// The values, or a template that evaluates to them.
        values: Text,
        /// The field name in `stream_partition`.
        cursor_field: Text,
        /// Where the value is injected.
        request_option: Option<RequestOption>,
    }
}

component! {
    /// One partition per record of parent streams.
    SubstreamPartitionRouter {
        /// The parent streams.
        parent_stream_configs: Vec<ParentStreamConfig>,
    }
}

component! {
    /// A parent stream, whose records are partitions.
    ParentStreamConfig {
        /// The stream.
        stream: Stream,
        /// The field of the parent record.
        parent_key: Text,
        /// The field name in `stream_partition`.
        partition_field: Text,
        /// Where the value is injected.
        request_option: Option<RequestOption>,
        /// Additional fields of the parent record.
        extra_fields: Option<Vec<Vec<String>>>,
        /// Reads only parent records that changed.
        incremental_dependency: Option<bool>,
        /// The path of the child's first page in a parent record, used without a state.
        lazy_read_pointer: Option<Vec<Text>>,
    }
}
