//! Single values in a response: a job's status, the URLs of its results.
//!
//! Input: an extractor and a body. Output: the values found. Called by [`super::requests`]; by `files` for the URL of
//! a record's file.

use serde_json::Value as Json;

use crate::base::fault::{Fault, Result};
use crate::engine::answer;
use crate::engine::extract::dom_extract::Lists;
use crate::engine::extract::{self, Records};

/// The values that an extractor finds in a response.
pub(in crate::engine) fn extract_values(records: &Records, body: &[u8]) -> Result<Vec<Json>> {
    let invalid = |error| Fault::data(format!("the response about a job is not valid JSON: {error}"));
    match records {
        Records::Walk(path) => {
            let mut all = Vec::new();
            let walked = extract::walk(body, path, &[], &mut |scanner| {
                all.push(answer::record_json(scanner)?);
                Ok(())
            });
            walked.map_err(|stop| match stop {
                extract::WalkError::Json(error) => invalid(error),
                extract::WalkError::Callback(fault) => fault,
            })?;
            Ok(all)
        }
        Records::DomExtractor(extractor) => Ok(extractor.page(&answer::parsed(body)?, &WholeLists)?.records),
    }
}

/// Responses about jobs always contain complete lists.
struct WholeLists;

impl Lists for WholeLists {
    fn whole(&self, _: &Json) -> Result<Vec<Json>> {
        Ok(Vec::new())
    }

    fn incomplete(&self, _: &str) {}
}
