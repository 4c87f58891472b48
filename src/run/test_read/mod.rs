//! A test read: one slice of a stream, a few pages, nothing stored.
//!
//! Input: the options, and how much to read. Output: a [`TestReport`]: each request and response, what the selector
//! found, how paging continues, the cursor, the state that would follow, the schema, and what is suspicious. Called by
//! the verbs `test` and `discover --infer`. The report's keys are those of the `test_read` of Airbyte's Connector
//! Builder, with our own beside them.

mod suspicion;
mod text;

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value as Json};

pub(crate) use self::suspicion::Suspicion;
use crate::base::fault::{Fault, Result};
use crate::engine::build::StreamPlan;
use crate::engine::cursor::CursorPlan;
use crate::engine::sample::{self, SampleSize, SampledPage, SampledSlice, StreamSample};
use crate::run::context::Context;
use crate::run::exchange::{self, Exchange, ExchangeLog};
use crate::run::load::{LoadedSource, Purpose};
use crate::run::schema_sample::SchemaSample;

/// The result of a test read. All texts are free of secrets.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct TestReport {
    pub(crate) source: String,
    pub(crate) stream: String,
    /// What was asked before the stream itself: logins, parents.
    pub(crate) auxiliary_requests: Vec<Exchange>,
    pub(crate) slices: Vec<TestSlice>,
    /// Requests of a page that was not read to its end.
    pub(crate) failed_requests: Vec<Exchange>,
    pub(crate) error: Option<TestError>,
    pub(crate) declared_schema: Json,
    pub(crate) inferred_schema: Json,
    /// The fields of records: as declared, and as seen.
    pub(crate) fields: Vec<FieldTypes>,
    /// The limits in response headers.
    pub(crate) limits: Map<String, Json>,
    pub(crate) suspicious: Vec<Suspicion>,
    /// Are there more pages or slices than were read?
    pub(crate) test_read_limit_reached: bool,
}

/// A slice of a test read.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct TestSlice {
    /// The partition, and the window under the names of its bounds.
    pub(crate) slice_descriptor: Map<String, Json>,
    pub(crate) pages: Vec<TestPage>,
    /// The state that would follow; `None` without a cursor.
    pub(crate) state: Option<Json>,
    /// Was the slice read to its end?
    pub(crate) complete: bool,
}

/// A page of a test read.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct TestPage {
    /// The attempts before the last request of the page.
    pub(crate) earlier_requests: Vec<Exchange>,
    #[serde(flatten)]
    pub(crate) exchange: Option<Exchange>,
    /// The path of the records in the response.
    pub(crate) records_at: String,
    /// The records there, before any filter.
    pub(crate) extracted: u64,
    /// The records that are kept, transformed.
    pub(crate) records: Vec<Json>,
    /// How paging continues; `None` where the stream has no paging.
    pub(crate) next_page: Option<NextToken>,
    pub(crate) cursor: Option<CursorRange>,
}

/// How paging continues.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct NextToken {
    /// The next token; `None` after the last page.
    pub(crate) token: Option<Json>,
    /// Where it comes from: the template, or what is counted.
    pub(crate) from: String,
    /// Where it is sent.
    pub(crate) into: String,
}

/// The cursor values of a page.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct CursorRange {
    pub(crate) field: String,
    pub(crate) lowest: Option<Json>,
    pub(crate) highest: Option<Json>,
    /// The format of the first value that fits one, as the manifest writes it.
    pub(crate) format: Option<String>,
    /// Records without a readable value.
    pub(crate) unreadable: u64,
}

/// The fault that ended a test read.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct TestError {
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    #[serde(skip)]
    pub(crate) fault: Fault,
}

/// The types of a field.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct FieldTypes {
    pub(crate) name: String,
    /// As declared, with the format; empty if the schema lacks the field.
    pub(crate) declared: String,
    /// As seen, with the format; empty if no record has a value.
    pub(crate) seen: String,
}

/// What to read.
#[derive(Debug, Clone)]
pub(crate) struct TestOptions {
    /// The stream; the first of the connection check if none is named.
    pub(crate) stream: Option<String>,
    /// How much of it.
    pub(crate) size: SampleSize,
}

/// Reads a few pages of a stream.
pub(crate) fn test_read(context: &Context, asked: &TestOptions) -> Result<TestReport> {
    let asked = asked.clone();
    context.interruptible(move |context| {
        let reader = TestReader::load(context)?;
        reader.read(reader.stream(asked.stream.as_deref())?, asked.size)
    })
}

/// A loaded source that is read for people: requests and notices are collected, not logged.
pub(crate) struct TestReader<'c> {
    context: &'c Context,
    loaded: LoadedSource,
    exchanges: Arc<ExchangeLog>,
}

impl<'c> TestReader<'c> {
    /// Loads the source.
    pub(crate) fn load(context: &'c Context) -> Result<Self> {
        let loaded = context.load(Purpose::Test)?;
        let exchanges = Arc::new(ExchangeLog::default());
        loaded.reporter.collect(exchanges.clone());
        Ok(TestReader { context, loaded, exchanges })
    }

    /// Every stream, in manifest order.
    pub(crate) fn streams(&self) -> &[Arc<StreamPlan>] {
        &self.loaded.plan.streams
    }

    /// A stream by name; without a name the first of the connection check.
    pub(crate) fn stream(&self, name: Option<&str>) -> Result<&Arc<StreamPlan>> {
        let plan = &self.loaded.plan;
        match name.or_else(|| plan.check.first().map(String::as_str)) {
            Some(name) => plan.stream(name),
            None => plan.streams.first().ok_or_else(|| Fault::config("the manifest has no stream to read")),
        }
    }

    /// Reads a few pages of a stream.
    pub(crate) fn read(&self, stream: &Arc<StreamPlan>, size: SampleSize) -> Result<TestReport> {
        let stream = stream.with_schema(&self.loaded.shared)?;
        let sample = sample::sample(&self.loaded.shared, &stream, size, &|| self.exchanges.count())?;
        let (exchanges, notices) = self.exchanges.take();
        let masked = |exchange: Exchange| exchange.masked(&|text| self.context.log.masked(text));
        let exchanges = exchanges.into_iter().map(masked).collect();
        let report = Reading { stream: &stream, source: &self.loaded.plan.source, context: self.context };
        Ok(report.report(sample, exchanges, &notices))
    }
}

/// A test read that is over.
struct Reading<'r> {
    stream: &'r StreamPlan,
    source: &'r str,
    context: &'r Context,
}

impl Reading<'_> {
    fn report(&self, sample: StreamSample, exchanges: Vec<Exchange>, notices: &[String]) -> TestReport {
        let mut schema = SchemaSample::default();
        let pages = || sample.slices.iter().flat_map(|slice| &slice.pages);
        pages().flat_map(|page| &page.records).for_each(|record| schema.add(record));
        let mut suspicious = suspicion::of(self.stream, &sample, &schema, &exchanges);
        suspicious.extend(notices.iter().map(|text| Suspicion::new("notice", self.context.log.masked(text))));
        let mut limits = Map::new();
        for exchange in &exchanges {
            let headers = exchange.response.headers.iter().filter(|(name, _)| exchange::is_limit(name));
            limits.extend(headers.map(|(name, value)| (name.clone(), value.clone())));
        }
        let limit_reached = sample.slices.last().is_some_and(|slice| !slice.complete) && sample.fault.is_none();
        let mut exchanges = exchanges.into_iter().enumerate().peekable();
        let mut auxiliary_requests = Vec::new();
        let mut slices = Vec::new();
        for slice in &sample.slices {
            let mut pages = Vec::new();
            for page in &slice.pages {
                let mut own = Vec::new();
                while let Some((_, exchange)) = exchanges.next_if(|(position, _)| *position < page.exchanges) {
                    let of = if exchange.is_of(&self.stream.name) { &mut own } else { &mut auxiliary_requests };
                    of.push(exchange);
                }
                pages.push(self.page(page, own));
            }
            slices.push(self.slice(slice, pages));
        }
        let error = sample.fault.map(|fault| {
            let fault = self.context.log.hidden(&fault);
            TestError { message: fault.message.clone(), hint: fault.hint.clone(), fault }
        });
        let (failed_requests, more): (Vec<_>, Vec<_>) =
            exchanges.map(|(_, exchange)| exchange).partition(|exchange| exchange.is_of(&self.stream.name));
        auxiliary_requests.extend(more);
        TestReport {
            source: self.source.to_owned(),
            stream: self.stream.name.to_string(),
            auxiliary_requests,
            slices,
            failed_requests,
            error,
            fields: suspicion::fields(&self.stream.schema, &schema),
            declared_schema: self.stream.schema.clone(),
            inferred_schema: schema.schema(),
            limits,
            suspicious,
            test_read_limit_reached: limit_reached,
        }
    }

    fn slice(&self, slice: &SampledSlice, pages: Vec<TestPage>) -> TestSlice {
        let mut slice_descriptor = slice.partition.clone();
        slice_descriptor.extend(slice.window.clone().into_iter().flatten());
        TestSlice {
            slice_descriptor,
            pages,
            state: slice.state.clone().map(|state| self.context.log.masked_json(state)),
            complete: slice.complete,
        }
    }

    fn page(&self, page: &SampledPage, mut own: Vec<Exchange>) -> TestPage {
        let exchange = own.pop();
        let next_page = self.stream.pages.described().filter(|_| page.ended).map(|(from, into)| NextToken {
            token: page.next.clone().map(|token| self.context.log.masked_json(token)),
            from,
            into,
        });
        TestPage {
            earlier_requests: own,
            exchange,
            records_at: self.stream.records.shown(),
            extracted: page.extracted,
            records: page.records.iter().map(|record| self.context.log.masked_json(record.clone())).collect(),
            next_page,
            cursor: self.stream.cursor.as_ref().map(|plan| cursor(plan, page)),
        }
    }
}

/// The cursor values of a page.
fn cursor(plan: &CursorPlan, page: &SampledPage) -> CursorRange {
    let values = || page.records.iter().filter_map(|record| record.get(&plan.field));
    let timed = || values().filter_map(|value| Some((plan.read(value)?, value)));
    let readable = u64::try_from(timed().count()).unwrap_or(u64::MAX);
    CursorRange {
        field: plan.field.clone(),
        lowest: timed().min_by_key(|(time, _)| *time).map(|(_, value)| value.clone()),
        highest: timed().max_by_key(|(time, _)| *time).map(|(_, value)| value.clone()),
        format: values().find_map(|value| plan.format_of(value)).map(str::to_owned),
        unreadable: u64::try_from(page.records.len()).unwrap_or(u64::MAX).saturating_sub(readable),
    }
}
