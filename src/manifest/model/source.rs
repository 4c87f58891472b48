//! The root of a manifest: settings for the whole source.
//!
//! See [`super`] for how definitions are read and used.

use indexmap::IndexMap;
use serde_json::{Map, Value as Json};

use super::{ApiBudget, ConfigNormalizationRules, DynamicDeclarativeStream, Stream};
use crate::manifest::node::{Text, choice, component};

component! {
    /// The root of a manifest.
    DeclarativeSource {
        /// The streams of the connection check.
        check: Check,
        /// The streams.
        streams: Option<Vec<Stream>>,
        /// Streams generated from templates.
        dynamic_streams: Option<Vec<DynamicDeclarativeStream>>,
        /// The specification of the config.
        spec: Option<Spec>,
        /// The number of slices read in parallel.
        concurrency_level: Option<ConcurrencyLevel>,
        /// The rate limits of the vendor.
        api_budget: Option<ApiBudget>,
        /// Data of other tools; only `dripfeed` in it is read.
        metadata: Option<Json>,
        /// The maximum number of concurrent jobs at the vendor.
        max_concurrent_async_job_count: Option<Text>,
        /// Streams that must not be read at the same time.
        stream_groups: Option<IndexMap<String, StreamGroup>>,
    }
    later { advanced_auth }
}

choice! {
    /// The connection check.
    Check { CheckStream, CheckDynamicStream } later {}
}

impl Check {
    /// Config values for the check only.
    ///
    /// # Errors
    /// An override of a key that belongs to the platform.
    pub fn overrides(&self) -> crate::base::fault::Result<Option<&Map<String, Json>>> {
        let (at, overrides) = match self {
            Check::CheckStream(check) => (&check.at, &check.config_overrides),
            Check::CheckDynamicStream(check) => (&check.at, &check.config_overrides),
        };
        let overrides = overrides.as_ref().and_then(Json::as_object);
        if overrides.is_some_and(|all| all.keys().any(|key| key.starts_with("__airbyte"))) {
            let at = at.field("config_overrides", None);
            return Err(at.fault("keys that begin with `__airbyte` are reserved for Airbyte's platform"));
        }
        Ok(overrides)
    }
}

component! {
    /// Checks streams by name.
    CheckStream {
        /// The names of the streams.
        stream_names: Option<Vec<String>>,
        /// Also checks generated streams.
        dynamic_streams_check_configs: Option<Vec<DynamicStreamCheckConfig>>,
        /// Config values for the check only.
        config_overrides: Option<Json>,
    }
}

component! {
    /// The first streams of a dynamic stream.
    DynamicStreamCheckConfig {
        /// The name of the dynamic stream.
        dynamic_stream_name: String,
        /// The number of streams; all by default.
        stream_count: Option<u64>,
    }
}

component! {
    /// Checks the first generated streams.
    CheckDynamicStream {
        /// The number of streams.
        stream_count: u64,
        /// Reads a record of each; otherwise it is enough that streams exist.
        use_check_availability: Option<bool>,
        /// Config values for the check only.
        config_overrides: Option<Json>,
    }
}

component! {
    /// The number of slices read in parallel.
    ConcurrencyLevel {
        /// A number, or a template over the config.
        default_concurrency: Text,
        /// The upper limit for a template.
        max_concurrency: Option<u64>,
    }
}

component! {
    /// The specification of the config.
    Spec {
        /// A JSON schema.
        connection_specification: Json,
        /// The URL of the documentation.
        documentation_url: Option<String>,
        /// OAuth settings for forms (passed on, not used).
        advanced_auth: Option<Json>,
        /// Rules that are applied to the config before use.
        config_normalization_rules: Option<ConfigNormalizationRules>,
    }
}

component! {
    /// Streams that must not be read at the same time.
    StreamGroup {
        /// The streams.
        streams: Vec<Stream>,
        /// The action for the group.
        action: GroupAction,
    }
}

choice! {
    /// The action for a group of streams.
    GroupAction { BlockSimultaneousSyncsAction } later {}
}

component! {
    /// Reads the streams one after another.
    BlockSimultaneousSyncsAction {}
}
