//! The verb `check`: tests whether the streams named by the manifest can be read.
//!
//! Input: the context. Output: a log line or Airbyte's CONNECTION_STATUS; the fault that makes a stream unreadable.
//! Called by `cli`. Each stream is read up to its first record.

use serde_json::Value as Json;

use crate::base::fault::{Failure, Fault, Kind, Result};
use crate::base::json::scan::{self, Scanner};
use crate::engine::async_job;
use crate::engine::build::StreamPlan;
use crate::engine::context::EngineContext;
use crate::engine::extract::WalkError;
use crate::engine::record_sink::RecordSink;
use crate::engine::sample;
use crate::manifest::template::Vars;
use crate::protocol::{Protocol, airbyte};
use crate::run::context::Context;
use crate::run::load::Purpose;
use crate::run::log::Level;

/// Reads until the first record that the stream's filter keeps.
struct FirstRecord<'s> {
    stream: &'s StreamPlan,
    is_found: bool,
}

impl RecordSink for FirstRecord<'_> {
    fn take(&mut self, scanner: &mut Scanner<'_>, vars: &Vars<'_>) -> std::result::Result<bool, WalkError<Fault>> {
        scanner.peek()?;
        let start = scanner.at();
        scanner.skip()?;
        let shape = &self.stream.shape;
        // A template that fails on every record must fail the check, not only the first read.
        let is_kept = shape.is_empty() || {
            let unreadable =
                |e: serde_json::Error| WalkError::Callback(Fault::data(format!("a record is not valid JSON: {e}")));
            let mut record = scan::json(scanner.slice(start..scanner.at())).map_err(unreadable)?;
            shape.apply(&mut record, vars, |_| true).map_err(WalkError::Callback)?
        };
        self.is_found |= is_kept;
        Ok(is_kept)
    }

    fn put(&mut self, _: Json) -> Result<bool> {
        self.is_found = true;
        Ok(true)
    }

    fn page_done(&mut self) -> Result<bool> {
        Ok(!self.is_found)
    }

    fn page_failed(&mut self) {}

    fn last_record(&self) -> Option<Json> {
        None
    }
}

/// Checks on a separate thread, so that a signal ends the check even if the vendor hangs.
pub(crate) fn check(context: &Context) -> Result<()> {
    let checked = context.interruptible(|context| Ok(check_streams(context)))?;
    match (context.protocol, checked) {
        (Protocol::Singer, checked) => checked,
        (Protocol::Airbyte, Ok(())) => context.message(&airbyte::connection_status(None)),
        (Protocol::Airbyte, Err(fault)) if matches!(fault.kind, Kind::Signal(_) | Kind::Downstream) => Err(fault),
        // A failed check has still done its job.
        (Protocol::Airbyte, Err(fault)) => {
            context.log.line(Level::Error, &fault.to_string());
            context.message(&airbyte::connection_status(Some(&airbyte::check_message(&context.log.hidden(&fault)))))
        }
    }
}

/// Reads the first slice of a stream up to its first record.
fn check_stream(shared: &EngineContext, stream: &StreamPlan) -> Result<()> {
    let Some((partition, window)) = sample::first_slice(shared, stream)? else {
        let (message, failure) = ("Cannot attempt to connect to stream", Failure::System);
        let message = format!("{message} {} - no stream slices were found", stream.name);
        return Err(
            Fault::data("it has no partitions: its parent streams have no records").airbyte_message(message, failure)
        );
    };
    let mut sink = FirstRecord { stream, is_found: false };
    async_job::read(shared, stream, &partition, window.as_ref(), &mut sink).map(drop)
}

fn check_streams(context: &Context) -> Result<()> {
    let loaded = context.load(Purpose::Check)?;
    for name in &loaded.plan.check {
        let stream = loaded.plan.stream(name)?;
        check_stream(&loaded.shared, stream).map_err(|f| f.of_stream(&stream.name))?;
    }
    context.log.line(Level::Info, &format!("the connection works: {} can be read", loaded.plan.check.join(", ")));
    Ok(())
}
