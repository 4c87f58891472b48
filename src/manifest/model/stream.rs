//! Streams, and how they are selected by state or config.
//!
//! See [`super`] for how definitions are read and used.

use serde_json::Value as Json;

use super::{DynamicSchemaLoader, FileUploader, IncrementalSync, Retriever, Transformation};
use crate::manifest::node::{OneOrMany, Place, Text, choice, component};

component! {
    /// A stream.
    DeclarativeStream {
        /// Its name.
        name: Option<Text>,
        /// How its records are fetched.
        retriever: Retriever,
        /// The fields that identify a record.
        primary_key: Option<Json>,
        /// The schema of a record.
        schema_loader: Option<OneOrMany<SchemaLoader>>,
        /// Transformations of each record.
        transformations: Option<Vec<Transformation>>,
        /// The cursor of an incremental stream.
        incremental_sync: Option<IncrementalSync>,
        /// Migrations of states in older formats.
        state_migrations: Option<Vec<StateMigration>>,
        /// How the file of each record is downloaded.
        file_uploader: Option<Box<FileUploader>>,
    }
}

choice! {
    /// A migration of a state in an older format.
    StateMigration { LegacyToPerPartitionStateMigration } later {}
}

component! {
    /// From cursors by parent id to cursors by partition.
    LegacyToPerPartitionStateMigration {}
}

choice! {
    /// A stream.
    Stream { DeclarativeStream, StateDelegatingStream, ConditionalStreams } later {}
}

impl Stream {
    /// The stream's location in the manifest.
    pub fn at(&self) -> &Place {
        match self {
            Stream::DeclarativeStream(stream) => &stream.at,
            Stream::StateDelegatingStream(stream) => &stream.at,
            Stream::ConditionalStreams(streams) => &streams.at,
        }
    }

    /// The streams that it may resolve to.
    pub fn all(&self) -> Vec<&DeclarativeStream> {
        match self {
            Stream::DeclarativeStream(stream) => vec![stream],
            Stream::StateDelegatingStream(stream) => vec![&stream.full_refresh_stream, &stream.incremental_stream],
            Stream::ConditionalStreams(streams) => streams.streams.iter().collect(),
        }
    }
}

component! {
    /// Two streams: one without a state, another with a state.
    StateDelegatingStream {
        /// The common name.
        name: Text,
        /// The stream without a state.
        full_refresh_stream: Box<DeclarativeStream>,
        /// The stream with a state.
        incremental_stream: Box<DeclarativeStream>,
        /// How long the API keeps changes: an older state is ignored.
        api_retention_period: Option<Text>,
    }
}

component! {
    /// Streams that exist only if a condition on the config holds.
    ConditionalStreams {
        /// The condition.
        condition: Text,
        /// The streams.
        streams: Vec<DeclarativeStream>,
    }
}

choice! {
    /// The schema of a record.
    SchemaLoader { InlineSchemaLoader, JsonFileSchemaLoader, DynamicSchemaLoader } later {}
}

component! {
    /// A schema in the manifest.
    InlineSchemaLoader {
        /// The schema.
        schema: Option<Json>,
    }
}

component! {
    /// A schema in a file next to the manifest.
    JsonFileSchemaLoader {
        /// The path of the file.
        file_path: Option<Text>,
    }
}
