//! The root of a manifest, and what it says of the whole source.
//!
//! Read and used as [`super`] says.

use indexmap::IndexMap;
use serde_json::{Map, Value as Json};

use super::{ApiBudget, ConfigNormalizationRules, DynamicDeclarativeStream, Stream};
use crate::manifest::node::{Text, choice, component};

component! {
    /// The root of a manifest.
    DeclarativeSource {
        /// Which streams prove that a connection works.
        check: Check,
        /// The streams.
        streams: Option<Vec<Stream>>,
        /// Streams that are made from templates.
        dynamic_streams: Option<Vec<DynamicDeclarativeStream>>,
        /// What the config must look like.
        spec: Option<Spec>,
        /// How many slices are read at a time.
        concurrency_level: Option<ConcurrencyLevel>,
        /// How often the vendor may be called.
        api_budget: Option<ApiBudget>,
        /// What other tools keep here; of it only `dripfeed` is read.
        metadata: Option<Json>,
        /// How many jobs run at the vendor's at a time.
        max_concurrent_async_job_count: Option<Text>,
        /// Streams that are not read at the same time.
        stream_groups: Option<IndexMap<String, StreamGroup>>,
    }
    later { advanced_auth }
}

choice! {
    /// The streams that prove a connection.
    Check { CheckStream, CheckDynamicStream } later {}
}

impl Check {
    /// What the config says instead while it is checked.
    ///
    /// # Errors
    /// They name what is the platform's.
    pub fn overrides(&self) -> crate::base::fault::Result<Option<&Map<String, Json>>> {
        let (at, overrides) = match self {
            Check::CheckStream(check) => (&check.at, &check.config_overrides),
            Check::CheckDynamicStream(check) => (&check.at, &check.config_overrides),
        };
        let overrides = overrides.as_ref().and_then(Json::as_object);
        if overrides.is_some_and(|all| all.keys().any(|key| key.starts_with("__airbyte"))) {
            let at = at.field("config_overrides", None);
            return Err(at.fault("keys that begin with `__airbyte` are the platform's own"));
        }
        Ok(overrides)
    }
}

component! {
    /// Streams by name.
    CheckStream {
        /// Their names.
        stream_names: Option<Vec<String>>,
        /// And some of those that a template gives.
        dynamic_streams_check_configs: Option<Vec<DynamicStreamCheckConfig>>,
        /// What the config says instead while it is checked.
        config_overrides: Option<Json>,
    }
}

component! {
    /// The first streams of a template.
    DynamicStreamCheckConfig {
        /// The template's name.
        dynamic_stream_name: String,
        /// How many; all when not said.
        stream_count: Option<u64>,
    }
}

component! {
    /// The first streams.
    CheckDynamicStream {
        /// How many.
        stream_count: u64,
        /// Asks for a record of each; else it is enough that there are streams.
        use_check_availability: Option<bool>,
        /// What the config says instead while it is checked.
        config_overrides: Option<Json>,
    }
}

component! {
    /// How many slices are read at a time.
    ConcurrencyLevel {
        /// A number, or a template over config.
        default_concurrency: Text,
        /// The most that a template may give.
        max_concurrency: Option<u64>,
    }
}

component! {
    /// What the config must look like.
    Spec {
        /// A JSON schema.
        connection_specification: Json,
        /// Where its documentation stands.
        documentation_url: Option<String>,
        /// How a form may log in (carried, not acted upon).
        advanced_auth: Option<Json>,
        /// What is done to the config before it is used.
        config_normalization_rules: Option<ConfigNormalizationRules>,
    }
}

component! {
    /// Streams that are not read at the same time.
    StreamGroup {
        /// Them.
        streams: Vec<Stream>,
        /// What is done about them.
        action: GroupAction,
    }
}

choice! {
    /// What is done about a group of streams.
    GroupAction { BlockSimultaneousSyncsAction } later {}
}

component! {
    /// One after the other.
    BlockSimultaneousSyncsAction {}
}
