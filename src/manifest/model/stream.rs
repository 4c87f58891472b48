//! Streams, and how they are chosen: by state, by config.
//!
//! Read and used as [`super`] says.

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
