//! The verb `discover`: the catalog of a source.
//!
//! Input: the options. Output: the catalog in the run's protocol, with declared or inferred schemas. Called by
//! [`super::run`].

use std::borrow::Cow;
use std::sync::Arc;

use clap::Args;

use super::groups::ConnectionArgs;
use crate::base::fault::Result;
use crate::engine::build::StreamPlan;
use crate::protocol::singer_catalog;
use crate::protocol::singer_catalog::Selection;
use crate::protocol::{Protocol, airbyte};
use crate::run::catalog;
use crate::run::context::Context;
use crate::run::infer::{self, InferredSchema, Inferring};
use crate::run::load::Purpose;
use crate::run::options::RunOptions;

/// The arguments of `discover`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct DiscoverArgs {
    #[command(flatten)]
    pub(super) connection: ConnectionArgs,
    /// Infer the schemas from a sample of records
    ///
    /// Types are sets, with formats; every field may be null.
    #[arg(long, help_heading = "Inference")]
    infer: bool,
    /// Only these streams
    #[arg(long, value_name = "A,B", value_delimiter = ',', requires = "infer", help_heading = "Inference")]
    streams: Vec<String>,
    /// How many pages of each stream to read
    #[arg(
        long,
        value_name = "N",
        default_value_t = 3,
        value_parser = clap::value_parser!(u16).range(1..),
        requires = "infer",
        help_heading = "Inference"
    )]
    pages: u16,
    /// Also write the schemas to where the manifest keeps them: its own text, or schemas/STREAM.json beside it
    #[arg(long, requires = "infer", help_heading = "Inference")]
    write: bool,
}

const EXAMPLES: &str = "\
EXAMPLES:
  dripfeed discover --source sandbox > catalog.json
  dripfeed discover --source sandbox --infer --streams tasks --pages 2";

impl DiscoverArgs {
    pub(super) fn fill(&self, asked: &mut RunOptions) {
        self.connection.fill(asked);
        asked.streams.clone_from(&self.streams);
    }

    /// How to infer schemas, if they are inferred.
    pub(super) fn inferring(&self) -> Option<Inferring> {
        self.infer.then_some(Inferring { pages: self.pages.into(), write: self.write })
    }
}

/// Prints the catalog; with `inferring`, that of the sampled streams with inferred schemas.
pub(super) fn discover(context: &Context, inferring: Option<Inferring>) -> Result<()> {
    let inferred = inferring.map(|asked| infer::infer(context, asked)).transpose()?;
    let loaded = context.load(Purpose::Discover)?;
    catalog::warn_of_tables(context, &loaded.plan, |_| true);
    let streams: Vec<Arc<StreamPlan>> = match inferred {
        Some(inferred) => {
            let stream = |InferredSchema { stream, schema, .. }| Ok(loaded.plan.stream(&stream)?.with_evolved(schema));
            inferred.into_iter().map(stream).collect::<Result<_>>()?
        }
        None => {
            let streams = loaded.plan.streams.iter().map(|stream| stream.with_schema(&loaded.shared));
            let streams = streams.collect::<Result<Vec<_>>>()?;
            streams.iter().map(|stream| loaded.evolved(stream, context)).collect::<Result<_>>()?
        }
    };
    match context.protocol {
        Protocol::Singer => {
            let entry = |stream: &Arc<StreamPlan>| {
                let cursor = stream.cursor.as_ref().map(|c| c.field.as_str());
                let schema = stream.wire(&stream.schema, &Selection::default(), context.protocol).schema;
                singer_catalog::entry(
                    (&stream.name, stream.sent_name(context.protocol)),
                    schema,
                    &stream.keys(),
                    cursor,
                )
            };
            context.pretty(&singer_catalog::Catalog { streams: streams.iter().map(entry).collect() })?;
        }
        Protocol::Airbyte => {
            let entry = |stream: &Arc<StreamPlan>| {
                let cursor = stream.cursor.as_ref().map(|c| c.field.as_str());
                let (name, keys) = (&*stream.name, &stream.key_paths[..]);
                let mut schema = Cow::Borrowed(&stream.schema);
                if stream.deletes.as_ref().is_some_and(|deletes| deletes.sends_marks()) {
                    context.protocol.with_deleted_at(schema.to_mut());
                }
                airbyte::StreamEntry { name, schema: &schema, keys, cursor, files: stream.files.is_some() }.json()
            };
            context.message(&airbyte::catalog(streams.iter().map(entry).collect()))?;
        }
    }
    // The process ends here, so a thousand streams need not be freed first.
    std::mem::forget((streams, loaded.plan));
    Ok(())
}
