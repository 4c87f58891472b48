//! Partition routers.
//!
//! Read and used as [`super`] says.

use super::{RequestOption, Stream};
use crate::manifest::node::{Text, choice, component};

choice! {
    /// Which requests there are.
    PartitionRouter {
        ListPartitionRouter, SubstreamPartitionRouter, GroupingPartitionRouter, UnionPartitionRouter,
    } later {}
}

impl PartitionRouter {
    /// May a partition hold something of the config?
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

    /// The streams that it reads, in order.
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
    /// One for so many partitions of another router.
    GroupingPartitionRouter {
        /// How many.
        group_size: u64,
        /// The other.
        underlying_partition_router: Box<PartitionRouter>,
        /// Leaves out a value that came before; it does when not said.
        deduplicate: Option<bool>,
    }
}

component! {
    /// The partitions of several routers, each value once.
    UnionPartitionRouter {
        /// The name that all of them give their value.
        partition_field: Text,
        /// Them.
        partition_routers: Vec<PartitionRouter>,
    }
}

component! {
    /// One for each value.
    ListPartitionRouter {
        /// The values, or a template that gives them.
        values: Text,
        /// Their name in `stream_partition`.
        cursor_field: Text,
        /// Where one goes.
        request_option: Option<RequestOption>,
    }
}

component! {
    /// One for each record of other streams.
    SubstreamPartitionRouter {
        /// Those streams.
        parent_stream_configs: Vec<ParentStreamConfig>,
    }
}

component! {
    /// A stream whose records are partitions.
    ParentStreamConfig {
        /// The stream.
        stream: Stream,
        /// Which field of its records.
        parent_key: Text,
        /// Its name in `stream_partition`.
        partition_field: Text,
        /// Where it goes.
        request_option: Option<RequestOption>,
        /// Other fields of it.
        extra_fields: Option<Vec<Vec<String>>>,
        /// Reads only parents that changed.
        incremental_dependency: Option<bool>,
        /// Where the child's first page stands in a record, when no state is given.
        lazy_read_pointer: Option<Vec<Text>>,
    }
}
