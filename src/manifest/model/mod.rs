//! The components of a declarative manifest that dripfeed runs: one definition each.
//!
//! Comes in: nodes, through [`super::node::Read`]. Goes out: typed definitions, which each stage's `build`
//! compiles. The names and fields are those of airbyte-cdk's `declarative_component_schema.yaml`;
//! fields under `later` and components under `later` exist there and are refused here, by name.

mod auth;
mod dynamic;
mod files;
mod http;
mod jobs;
mod properties;
mod rules;

pub use auth::*;
pub use dynamic::*;
pub use files::*;
pub use http::*;
use indexmap::IndexMap;
pub use jobs::*;
pub use properties::*;
pub use rules::*;
use serde_json::{Map, Value as Json};

use super::node::{OneOrMany, Place, Text, choice, component};

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
    /// A stream.
    DeclarativeStream {
        /// Its name.
        name: Option<Text>,
        /// How its records are fetched.
        retriever: Retriever,
        /// Which fields identify a record.
        primary_key: Option<Json>,
        /// What a record looks like.
        schema_loader: Option<OneOrMany<SchemaLoader>>,
        /// What is done to each record.
        transformations: Option<Vec<Transformation>>,
        /// How later runs bring only what changed.
        incremental_sync: Option<IncrementalSync>,
        /// How states of older forms are taken over.
        state_migrations: Option<Vec<StateMigration>>,
        /// How the file of each record is fetched.
        file_uploader: Option<Box<FileUploader>>,
    }
}

choice! {
    /// How a state of an older form is taken over.
    StateMigration { LegacyToPerPartitionStateMigration } later {}
}

component! {
    /// From cursors by a parent's id to cursors by partition.
    LegacyToPerPartitionStateMigration {}
}

choice! {
    /// How records are fetched.
    Retriever { SimpleRetriever, AsyncRetriever: Box } later {}
}

component! {
    /// Requests, page by page, and the records in them.
    SimpleRetriever {
        /// What is requested.
        requester: Requester,
        /// Where the records stand in an answer.
        record_selector: RecordSelector,
        /// How the next page is asked for.
        paginator: Option<Paginator>,
        /// Which requests beside the first there are.
        partition_router: Option<OneOrMany<PartitionRouter>>,
        /// Sends the router's options with the first page only.
        ignore_stream_slicer_parameters_on_paginated_requests: Option<bool>,
        /// What the body of an answer is.
        decoder: Option<Decoder>,
        /// Begins a slice again.
        pagination_reset: Option<PaginationReset>,
        /// Asks for smaller pages.
        page_size_reduction: Option<PageSizeReduction>,
        /// Asks for shorter windows.
        request_window_splitting: Option<RequestWindowSplitting>,
    }
}

component! {
    /// How a slice begins again.
    PaginationReset {
        /// As it was (`RESET`), or from the newest record seen (`SPLIT_USING_CURSOR`).
        action: String,
        /// When it does so without an error.
        limits: Option<PaginationResetLimits>,
    }
}

component! {
    /// What ends a run of pages.
    PaginationResetLimits {
        /// As many records.
        number_of_records: Option<u64>,
    }
}

component! {
    /// How pages become smaller on REDUCE_PAGE_SIZE.
    PageSizeReduction {
        /// What the size is divided by.
        reduction_factor: Option<f64>,
        /// No smaller than that.
        minimum_page_size: Option<u64>,
        /// So often without a page between.
        max_attempts: Option<u64>,
        /// Waits so long after the first, twice after the second.
        backoff_seconds: Option<f64>,
        /// So often is the smallest page asked for again.
        retries_at_minimum_page_size: Option<u64>,
        /// Said when nothing helps.
        failure_message: Option<String>,
        /// `NEVER`, or `AFTER_SUCCESSFUL_PAGE`: when pages are as large as before.
        reset_policy: Option<String>,
    }
}

component! {
    /// How windows become shorter on SPLIT_REQUEST_WINDOW.
    RequestWindowSplitting {
        /// Said when nothing helps.
        failure_message: Option<String>,
        /// No window of this length or less is split.
        min_split_window: Option<String>,
    }
}

choice! {
    /// What the body of an answer is.
    Decoder {
        JsonDecoder, JsonlDecoder, JsonItemsDecoder, CsvDecoder, XmlDecoder, IterableDecoder, GzipDecoder, ZipfileDecoder,
    } later {}
}

component! {
    /// A JSON value a line.
    JsonlDecoder {}
}

component! {
    /// The elements of one list in a large JSON document.
    JsonItemsDecoder {
        /// Where it stands, with dots between.
        items_path: String,
        /// How bytes are text.
        encoding: Option<String>,
    }
}

component! {
    /// A table with names in its first row.
    CsvDecoder {
        /// How bytes are text.
        encoding: Option<String>,
        /// What stands between values.
        delimiter: Option<String>,
        /// Values that mean null.
        set_values_to_none: Option<Vec<String>>,
    }
}

component! {
    /// A body of XML.
    XmlDecoder {}
}

component! {
    /// A text a line.
    IterableDecoder {}
}

component! {
    /// Compressed or not.
    GzipDecoder {
        /// What is inside.
        decoder: Box<Decoder>,
    }
}

component! {
    /// An archive of files.
    ZipfileDecoder {
        /// What each of them is.
        decoder: Box<Decoder>,
    }
}

component! {
    /// A body of JSON.
    JsonDecoder {}
}

choice! {
    /// How the next page is asked for.
    Paginator { DefaultPaginator, NoPagination } later {}
}

component! {
    /// One page is all.
    NoPagination {}
}

component! {
    /// Pages, by a token.
    DefaultPaginator {
        /// What the token is.
        pagination_strategy: PaginationStrategy,
        /// Where the page size goes.
        page_size_option: Option<RequestOption>,
        /// Where the token goes.
        page_token_option: Option<PageToken>,
    }
}

choice! {
    /// Where the token goes.
    PageToken { RequestOption, RequestPath } later {}
}

component! {
    /// The token is the path of the next request.
    RequestPath {}
}

choice! {
    /// What the token is.
    PaginationStrategy { PageIncrement, OffsetIncrement, CursorPagination } later {}
}

component! {
    /// Page 0, 1, 2.
    PageIncrement {
        /// Records a page.
        page_size: Option<Text>,
        /// The first page's number.
        start_from_page: Option<u64>,
        /// Says it on the first request too.
        inject_on_first_request: Option<bool>,
    }
}

component! {
    /// How many records were seen.
    OffsetIncrement {
        /// Records a page.
        page_size: Option<Text>,
        /// Says it on the first request too.
        inject_on_first_request: Option<bool>,
    }
}

component! {
    /// What the answer says.
    CursorPagination {
        /// The token.
        cursor_value: Text,
        /// Ends the pages.
        stop_condition: Option<Text>,
        /// Records a page.
        page_size: Option<Text>,
    }
}

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

choice! {
    /// What is done to a record.
    Transformation {
        AddFields, RemoveFields, KeysToLower, KeysToSnakeCase, KeysReplace, FlattenFields, DpathFlattenFields,
    } later {}
}

component! {
    /// Keys at the top in lower case.
    KeysToLower {}
}

component! {
    /// Keys in snake case.
    KeysToSnakeCase {}
}

component! {
    /// A text in keys becomes another.
    KeysReplace {
        /// The text.
        old: Text,
        /// The other.
        new: Text,
    }
}

component! {
    /// Every leaf at the top.
    FlattenFields {
        /// Lists too; they are when not said.
        flatten_lists: Option<bool>,
    }
}

component! {
    /// The keys of an object beside those at the top.
    DpathFlattenFields {
        /// Where it stands.
        field_path: Vec<Text>,
        /// Removes it from there.
        delete_origin_value: Option<bool>,
        /// It becomes the record.
        replace_record: Option<bool>,
        /// What its keys become.
        key_transformation: Option<KeyTransformation>,
    }
}

component! {
    /// Texts around a key.
    KeyTransformation {
        /// Before it.
        prefix: Option<Text>,
        /// After it.
        suffix: Option<Text>,
    }
}

component! {
    /// Sets fields.
    AddFields {
        /// Each of them.
        fields: Vec<AddedFieldDefinition>,
        /// Only when this holds.
        condition: Option<Text>,
    }
}

component! {
    /// A field to set.
    AddedFieldDefinition {
        /// Where.
        path: Vec<Text>,
        /// To what.
        value: Text,
        /// As which type.
        value_type: Option<String>,
    }
}

component! {
    /// Drops fields.
    RemoveFields {
        /// Their paths; segments may hold globs.
        field_pointers: Vec<Vec<String>>,
        /// Only those for which this holds.
        condition: Option<Text>,
    }
}

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

impl super::node::Read for Bound {
    fn read(node: &super::node::Node, at: &super::node::Place) -> crate::base::fault::Result<Self> {
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

choice! {
    /// A stream.
    Stream { DeclarativeStream, StateDelegatingStream, ConditionalStreams } later {}
}

impl Stream {
    /// Where it stands.
    pub fn at(&self) -> &Place {
        match self {
            Stream::DeclarativeStream(stream) => &stream.at,
            Stream::StateDelegatingStream(stream) => &stream.at,
            Stream::ConditionalStreams(streams) => &streams.at,
        }
    }

    /// The streams that it may stand for.
    pub fn all(&self) -> Vec<&DeclarativeStream> {
        match self {
            Stream::DeclarativeStream(stream) => vec![stream],
            Stream::StateDelegatingStream(stream) => vec![&stream.full_refresh_stream, &stream.incremental_stream],
            Stream::ConditionalStreams(streams) => streams.streams.iter().collect(),
        }
    }
}

component! {
    /// One stream without a state, another one with it.
    StateDelegatingStream {
        /// The name of all three.
        name: Text,
        /// Without a state.
        full_refresh_stream: Box<DeclarativeStream>,
        /// With one.
        incremental_stream: Box<DeclarativeStream>,
        /// How long the API remembers changes: a state that is older is none.
        api_retention_period: Option<Text>,
    }
}

component! {
    /// Streams that are there only when a condition over the config holds.
    ConditionalStreams {
        /// It.
        condition: Text,
        /// Them.
        streams: Vec<DeclarativeStream>,
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

choice! {
    /// What a record looks like.
    SchemaLoader { InlineSchemaLoader, JsonFileSchemaLoader, DynamicSchemaLoader } later {}
}

component! {
    /// A schema in the manifest.
    InlineSchemaLoader {
        /// It.
        schema: Option<Json>,
    }
}

component! {
    /// A schema in a file beside the manifest.
    JsonFileSchemaLoader {
        /// Its path.
        file_path: Option<Text>,
    }
}
