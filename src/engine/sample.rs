//! Reads a few pages of a stream, for people who look at them: nothing is written or stored.
//!
//! Input: a stream, and how much of it to read. Output: the slices that were read, with their pages, and the state
//! that would follow. Called by `run::test_read`; [`first_slice`] also by the connection check.

use std::sync::Arc;

use serde_json::{Map, Value as Json};
use time::OffsetDateTime;

use super::async_job;
use super::build::StreamPlan;
use super::collector::{PageTaker, RecordCollector};
use super::context::EngineContext;
use super::parents::ParentReader;
use super::record_sink::PageEnd;
use super::stream_slice::StreamSlice;
use crate::base::fault::{Fault, Result};
use crate::engine::cursor::partitions::{Partitions, identity};
use crate::engine::cursor::{Cursor, CursorPlan, Window};
use crate::engine::slice::Partition;
use crate::manifest::template::Vars;

/// How much of a stream is read.
#[derive(Debug, Clone, Copy)]
pub struct SampleSize {
    /// The pages of a slice.
    pub pages: usize,
    /// The slices to try until one has records.
    pub slices: usize,
}

/// A slice of a sample.
#[derive(Debug, Clone, Default)]
pub struct SampledSlice {
    /// The partition's identity.
    pub partition: Map<String, Json>,
    /// The first and the last value of the window, as they are sent.
    pub window: Option<[(String, Json); 2]>,
    /// Its pages.
    pub pages: Vec<SampledPage>,
    /// Was it read to its end?
    pub complete: bool,
    /// The stream's state after the slice, if the slice ended with these pages; `None` without a cursor.
    pub state: Option<Json>,
}

/// A page of a sample.
#[derive(Debug, Clone)]
pub struct SampledPage {
    /// The records that the extractor found, before any filter.
    pub extracted: u64,
    /// The records that the filter keeps, transformed.
    pub records: Vec<Json>,
    /// The token of the next page; `None` after the last one.
    pub next: Option<Json>,
    /// Is it known how paging continues? It is not after a page with no usable response.
    pub ended: bool,
    /// The number of exchanges with the vendor up to the end of this page.
    pub exchanges: usize,
}

/// A sample of a stream.
#[derive(Debug, Clone, Default)]
pub struct StreamSample {
    /// The slices that were read.
    pub slices: Vec<SampledSlice>,
    /// The fault that ended it early.
    pub fault: Option<Fault>,
}

/// The first slice of a stream; `None` if its parents have no records.
pub fn first_slice(engine: &EngineContext, stream: &StreamPlan) -> Result<Option<(Partition, Option<Window>)>> {
    let parents = ParentReader::new(engine, stream, None);
    let mut first = None;
    let enough = Fault::bug("enough");
    let listed = stream.router.each(&parents, &Vars::new(&engine.cx), &mut |partition| {
        first = Some(partition);
        Err(enough.clone())
    });
    let Some(partition) = first else { return listed.map(|()| None) };
    let window = match &stream.cursor {
        Some(plan) => plan.begin(None, 0)?.windows(plan).into_iter().next(),
        None => None,
    };
    if stream.cursor.is_some() && window.is_none() {
        return Err(Fault::config("there is nothing to read: the start date is not in the past"));
    }
    Ok(Some((partition, window)))
}

/// Reads the first pages of a stream without a state. `exchanges` counts the exchanges with the vendor so far.
pub fn sample(
    engine: &EngineContext,
    stream: &StreamPlan,
    size: SampleSize,
    exchanges: &dyn Fn() -> usize,
) -> Result<StreamSample> {
    let mut sampler = Sampler { engine, stream, size, exchanges, sample: StreamSample::default() };
    let mut cursors = Cursors::begin(stream)?;
    let parents = ParentReader::new(engine, stream, None);
    let mut enough = false;
    let listed = stream.router.each(&parents, &Vars::new(&engine.cx), &mut |partition| {
        let partition = Arc::new(partition);
        for window in cursors.open(stream, &partition)? {
            enough = !sampler.read(StreamSlice { partition: partition.clone(), window }, &mut cursors);
            if enough {
                return Err(Fault::bug("the sample is complete"));
            }
        }
        Ok(())
    });
    let Sampler { mut sample, .. } = sampler;
    // The fault that ends a complete sample's listing is none.
    sample.fault = sample.fault.or(listed.err().filter(|_| !enough));
    Ok(sample)
}

/// The cursors of a sampled stream.
enum Cursors {
    None,
    Single(Cursor),
    PerPartition(Partitions),
}

impl Cursors {
    fn begin(stream: &StreamPlan) -> Result<Cursors> {
        Ok(match &stream.cursor {
            None => Cursors::None,
            Some(plan) if stream.router.is_some() => {
                Cursors::PerPartition(Partitions::begin(plan, None, stream.router.tells_parents())?)
            }
            Some(plan) => Cursors::Single(plan.begin(None, 0)?),
        })
    }

    /// The windows of a partition; a single one without bounds if the stream has no cursor.
    fn open(&mut self, stream: &StreamPlan, partition: &Partition) -> Result<Vec<Option<Window>>> {
        let windows = match (self, &stream.cursor) {
            (Cursors::Single(cursor), Some(plan)) => cursor.windows(plan),
            (Cursors::PerPartition(partitions), Some(plan)) => partitions.open(plan, &partition.key)?,
            _ => return Ok(vec![None]),
        };
        Ok(windows.into_iter().map(Some).collect())
    }

    /// The cursor that filters the records of a partition.
    fn of(&self, partition: &Partition) -> Option<Cursor> {
        match self {
            Cursors::None => None,
            Cursors::Single(cursor) => Some(cursor.clone()),
            Cursors::PerPartition(partitions) => partitions.cursor(&identity(&partition.key)).cloned(),
        }
    }

    /// The state after a slice.
    fn close(&mut self, plan: &CursorPlan, slice: &StreamSlice, newest: Option<OffsetDateTime>) -> Option<Json> {
        let window = slice.window.as_ref()?;
        match self {
            Cursors::None => None,
            Cursors::Single(cursor) => {
                cursor.close(plan, window, newest);
                Some(Json::Object(cursor.state(plan)))
            }
            Cursors::PerPartition(partitions) => {
                partitions.close(plan, &slice.partition_id(), window, newest);
                Some(partitions.state(plan))
            }
        }
    }
}

/// Reads slices until the sample is large enough.
struct Sampler<'r> {
    engine: &'r EngineContext,
    stream: &'r StreamPlan,
    size: SampleSize,
    exchanges: &'r dyn Fn() -> usize,
    sample: StreamSample,
}

impl Sampler<'_> {
    /// Reads a slice; returns false if the sample is complete.
    fn read(&mut self, slice: StreamSlice, cursors: &mut Cursors) -> bool {
        let cursor = cursors.of(&slice.partition);
        let (stream, window) = (self.stream, slice.window.as_ref());
        let mut sampling = Sampling { pages: Vec::new(), most: self.size.pages, exchanges: self.exchanges };
        let mut sink = RecordCollector::new(stream, cursor.as_ref(), window, &mut sampling);
        let outcome = async_job::read(self.engine, stream, &slice.partition, window, &mut sink);
        let newest = sink.highest().newest;
        let mut sampled = SampledSlice {
            partition: slice.partition.key.clone(),
            window: stream.cursor.as_ref().zip(window).map(|(plan, window)| plan.names(window)),
            pages: sampling.pages,
            ..SampledSlice::default()
        };
        let has_records = sampled.pages.iter().any(|page| page.extracted > 0);
        let outcome = outcome.map(|outcome| {
            sampled.complete = !outcome.enough && !outcome.incomplete;
            let newest = stream.cursor.as_ref().and_then(|cursor| cursor.settled(newest, outcome.began));
            sampled.state = stream.cursor.as_ref().and_then(|plan| cursors.close(plan, &slice, newest));
            outcome.fault
        });
        self.sample.slices.push(sampled);
        match outcome {
            Ok(None) => !has_records && self.sample.slices.len() < self.size.slices,
            Ok(Some(fault)) | Err(fault) => {
                self.sample.fault = Some(fault);
                false
            }
        }
    }
}

/// Stores the pages of a slice.
struct Sampling<'r> {
    pages: Vec<SampledPage>,
    /// The pages that are wanted.
    most: usize,
    exchanges: &'r dyn Fn() -> usize,
}

impl PageTaker for Sampling<'_> {
    fn take(&mut self, records: Vec<Json>) -> Result<bool> {
        let exchanges = (self.exchanges)();
        self.pages.push(SampledPage { extracted: 0, records, next: None, ended: false, exchanges });
        Ok(true)
    }

    fn ended(&mut self, end: &PageEnd) -> bool {
        if let Some(page) = self.pages.last_mut() {
            page.extracted = end.extracted;
            page.next.clone_from(&end.next);
            page.ended = true;
        }
        self.pages.len() < self.most
    }
}
