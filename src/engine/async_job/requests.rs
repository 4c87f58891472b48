//! The requests about a stream's jobs, and the evaluation of their responses.
//!
//! Input: a slice, and the known data of its job. Output: the job's status, or the URLs of its results. Called by
//! [`super::lifecycle`] and [`super::results`].

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Map, Value as Json, json};
use time::OffsetDateTime;

use super::values::extract_values;
use super::{CompletedJob, JobStart};
use crate::base::fault::{Fault, Result};
use crate::engine::answer;
use crate::engine::build::StreamPlan;
use crate::engine::context::EngineContext;
use crate::engine::fetch::{Outcome, Reply};
use crate::engine::job_plan::{JobPlan, JobStatus};
use crate::engine::requester::{InjectedOptions, RequestContext, RequesterPlan};
use crate::engine::slice::Partition;
use crate::engine::stream_slice::StreamSlice;
use crate::manifest::template::{Vars, text_of};

/// Additional template variables by name.
pub(super) type Variables = Map<String, Json>;

/// The requests about a stream's jobs.
pub(super) struct JobRequests<'r> {
    pub(super) engine: &'r EngineContext,
    pub(super) stream: &'r StreamPlan,
    pub(super) plan: &'r JobPlan,
}

impl JobRequests<'_> {
    /// Creates a job.
    pub(super) fn create(&self, slice: &StreamSlice) -> Result<(Json, JobStart)> {
        let (here, now) = (Instant::now(), OffsetDateTime::now_utc());
        let reply = self.send(&self.plan.create, slice, &Variables::new())?;
        let there = reply.asked_at().unwrap_or(now);
        Ok((answer_variable(&reply, &self.decoded(&reply)?)?, JobStart { here, there }))
    }

    /// Requests a job's status; `creation` is the response to its creation request.
    pub(super) fn poll(
        &self,
        slice: &StreamSlice,
        creation: &Json,
        started: JobStart,
    ) -> Result<(JobStatus, CompletedJob)> {
        let reply = self.send(&self.plan.poll, slice, &of_creation(creation))?;
        let body = Arc::new(self.decoded(&reply)?);
        let word = extract_values(&self.plan.status, &body)?.into_iter().next();
        let word = word.map_or_else(|| "None".to_owned(), |word| text_of(&word));
        let Some(status) = self.plan.statuses.get(&word) else {
            // Only a short word from the vendor.
            let word: String = word.chars().filter(|c| c.is_alphanumeric() || "_- ".contains(*c)).take(40).collect();
            let fault = Fault::data(format!("a job has the status `{word}`, which `status_mapping` does not list"));
            return Err(fault.hint("add the status to `status_mapping`"));
        };
        let polling = answer_variable(&reply, &body)?;
        Ok((*status, CompletedJob { creation: creation.clone(), polling, body, started }))
    }

    /// Aborts a job that is no longer needed; a failure is ignored.
    pub(super) fn abort(&self, slice: &StreamSlice, creation: &Json) {
        let Some(abort) = &self.plan.abort else { return };
        if let Err(fault) = self.send(abort, slice, &of_creation(creation)) {
            self.notice(&fault);
        }
    }

    /// The URLs of a job's results.
    pub(super) fn targets(&self, slice: &StreamSlice, job: &CompletedJob) -> Result<Vec<Json>> {
        match (&self.plan.targets, &self.plan.target) {
            (None, _) => Ok(vec![json!("")]),
            (Some(targets), None) => extract_values(targets, &job.body),
            (Some(targets), Some(requester)) => {
                let reply = self.send(requester, slice, &job.variables())?;
                extract_values(targets, &self.decoded(&reply)?)
            }
        }
    }

    /// Deletes a job whose results were read.
    pub(super) fn delete(&self, slice: &StreamSlice, job: &CompletedJob) -> Result<()> {
        let Some(delete) = &self.plan.delete else { return Ok(()) };
        self.send(delete, slice, &of_creation(&job.creation)).map(drop)
    }

    /// Logs a fault that does not end the stream.
    pub(super) fn notice(&self, fault: &Fault) {
        (self.engine.noticed)(&self.stream.name, &fault.to_string());
    }

    fn send(&self, requester: &RequesterPlan, slice: &StreamSlice, more: &Variables) -> Result<Reply> {
        let partition = with_variables(&slice.partition, more);
        let variable = self.stream.slice_variable(&partition, slice.window.as_ref());
        let extra = Json::Object(partition.extra);
        let vars = Vars { slice: Some(&variable), extra: Some(&extra), ..Vars::new(&self.engine.cx) };
        let of_slice = RequestContext::new(self.engine, &self.stream.name, &slice.partition.key);
        let context = RequestContext { json: self.plan.decoder.is_json(), ..of_slice };
        match requester.ask(context, &vars, &InjectedOptions::default())? {
            Outcome::Page(reply) => Ok(reply),
            _ => Err(Fault::data("the request about a job was refused, and the manifest ignores the error")),
        }
    }

    fn decoded(&self, reply: &Reply) -> Result<Vec<u8>> {
        let limit = self.engine.fetcher.max_page_bytes();
        answer::check_end(&self.plan.decoder, reply)?;
        Ok(self.plan.decoder.decode(&reply.body, reply.header("content-type"), limit)?.into_owned())
    }
}

impl CompletedJob {
    /// The variables for templates of later requests.
    pub(super) fn variables(&self) -> Variables {
        let mut variables = of_creation(&self.creation);
        variables.insert("polling_response".to_owned(), self.polling.clone());
        variables
    }
}

fn of_creation(creation: &Json) -> Variables {
    Map::from_iter([("creation_response".to_owned(), creation.clone())])
}

/// The partition with additional extra fields.
pub(super) fn with_variables(partition: &Partition, more: &Variables) -> Partition {
    let mut partition = partition.clone();
    partition.extra.extend(more.clone());
    partition
}

/// A response as a template variable: its fields, headers and URL.
fn answer_variable(reply: &Reply, body: &[u8]) -> Result<Json> {
    let Json::Object(mut object) = answer::parsed(body)? else {
        return Err(Fault::data("the response about a job is not an object").hint("check the path of the request"));
    };
    object.entry("headers").or_insert_with(|| reply.headers_json(false));
    object.entry("request").or_insert_with(|| json!({"url": reply.url}));
    Ok(Json::Object(object))
}
