//! Airbyte's protocol: SPEC, CONNECTION_STATUS, CATALOG, and the RECORDs, STATEs and TRACEs of a read.
//!
//! Input: [`Message`]s, or the result of a verb. Output: one JSON object per line. Called by `run` and `cli`.
//! Formats, order and types are those of airbyte-cdk 7.39.1: STARTED, RUNNING before the first record, COMPLETE or
//! INCOMPLETE, and after that the stream's last STATE.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use serde_json::{Map, Value as Json, json};
use time::OffsetDateTime;

use super::{Message, Out, each};
use crate::base::fault::{Failure, Fault, Kind, Result};
use crate::base::stop::Stop;

/// The state of a stream without one.
pub(super) const NO_CURSOR: &str = "__ab_no_cursor_state_message";

/// The data for a catalog entry.
#[derive(Debug, Clone, Copy)]
pub struct StreamEntry<'a> {
    /// The name of the stream.
    pub name: &'a str,
    /// The schema, from the manifest.
    pub schema: &'a Json,
    /// The key fields of the stream.
    pub keys: &'a [Vec<String>],
    /// The cursor field of the stream.
    pub cursor: Option<&'a str>,
    /// Do its records have files?
    pub files: bool,
}

impl StreamEntry<'_> {
    /// The catalog entry.
    pub fn json(&self) -> Json {
        let mut modes = vec!["full_refresh"];
        modes.extend(self.cursor.map(|_| "incremental"));
        let mut entry = json!({"name": self.name, "json_schema": null, "supported_sync_modes": modes});
        entry["json_schema"] = self.schema.clone();
        if let Some(cursor) = self.cursor {
            entry["source_defined_cursor"] = json!(true);
            entry["default_cursor_field"] = json!([cursor]);
        }
        if !self.keys.is_empty() {
            entry["source_defined_primary_key"] = json!(self.keys);
        }
        entry["is_resumable"] = json!(self.cursor.is_some());
        entry["is_file_based"] = json!(self.files);
        entry
    }
}

/// The CATALOG message.
pub fn catalog(entries: Vec<Json>) -> Json {
    let mut message = json!({"type": "CATALOG", "catalog": {"streams": null}});
    message["catalog"]["streams"] = Json::Array(entries);
    message
}

/// The SPEC message.
pub fn spec(connection: &Json, documentation: Option<&str>, advanced_auth: Option<&Json>) -> Json {
    let mut spec = json!({"connectionSpecification": connection, "supportsNormalization": false, "supportsDBT": false});
    if let Some(url) = documentation {
        spec["documentationUrl"] = json!(url);
    }
    if let Some(auth) = advanced_auth {
        spec["advanced_auth"] = auth.clone();
    }
    json!({"type": "SPEC", "spec": spec})
}

/// The CONNECTION_STATUS message, with an error message if the check failed.
pub fn connection_status(failed: Option<&str>) -> Json {
    let status = match failed {
        None => json!({"status": "SUCCEEDED"}),
        Some(message) => json!({"status": "FAILED", "message": message}),
    };
    json!({"type": "CONNECTION_STATUS", "connectionStatus": status})
}

/// The message of a failed check, as in the reference: with the stream in Python's quotes.
pub fn check_message(fault: &Fault) -> String {
    let told = fault.airbyte_text();
    match &fault.stream {
        Some(stream) => {
            let text = format!("Stream {stream} is not available: {told}");
            let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
            let text = text.replace('\\', "\\\\").replace('\n', "\\n");
            format!("{quote}{}{quote}", if quote == '\'' { text.replace('\'', "\\'") } else { text })
        }
        None => told.to_owned(),
    }
}

/// A LOG message.
pub fn log(level: &str, message: &str) -> Json {
    json!({"type": "LOG", "log": {"level": level, "message": message}})
}

/// The CONTROL message that asks the platform to save a changed config.
pub fn config(config: &Json) -> Json {
    json!({"type": "CONTROL", "control": {
        "type": "CONNECTOR_CONFIG", "emitted_at": now(), "connectorConfig": {"config": config},
    }})
}

/// The TRACE message for an error of a stream or of the run.
pub fn error(fault: &Fault) -> Json {
    let message = fault.airbyte_text();
    let mut error =
        json!({"message": message, "internal_message": fault.to_string(), "failure_type": fault.failure().name()});
    if let Some(stream) = &fault.stream {
        error["stream_descriptor"] = json!({"name": &**stream});
    }
    json!({"type": "TRACE", "trace": {"type": "ERROR", "emitted_at": now(), "error": error}})
}

/// The TRACE message for the status of a stream.
fn status(stream: &str, status: &str, reasons: Option<Json>) -> Json {
    let mut trace = json!({"stream_descriptor": {"name": stream}, "status": status});
    if let Some(reasons) = reasons {
        trace["reasons"] = reasons;
    }
    json!({"type": "TRACE", "trace": {"type": "STREAM_STATUS", "emitted_at": now(), "stream_status": trace}})
}

/// The TRACE message for a stream that begins, sent before its first [`Message`].
pub fn started(stream: &str) -> Json {
    status(stream, "STARTED", None)
}

/// The TRACE message for a requested stream that does not exist.
pub fn missing(stream: &str) -> Json {
    status(stream, "INCOMPLETE", None)
}

/// The TRACE message for a stream that waits for the vendor's rate limit until `reset`.
pub fn rate_limited(stream: &str, reset: OffsetDateTime) -> Json {
    let reset = i64::try_from(reset.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX);
    status(stream, "RUNNING", Some(json!([{"type": "RATE_LIMITED", "rate_limited": {"quota_reset": reset}}])))
}

/// The current time in whole milliseconds since 1970.
fn now() -> i64 {
    i64::try_from(OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

/// A stream while it is written.
#[derive(Debug, Default)]
struct Progress {
    running: bool,
    /// Records since the last STATE.
    count: u64,
    ended: bool,
}

/// Writes until all senders are gone or the run is stopped. `hidden` redacts secrets in a fault.
pub fn drain(messages: &Receiver<Message>, out: &Out, hidden: &dyn Fn(&Fault) -> Fault, stop: &Stop) -> Result<()> {
    let mut streams: BTreeMap<Arc<str>, Progress> = BTreeMap::new();
    let mut failed: Vec<String> = Vec::new();
    each(messages, out, stop, &mut |message, sink| match message {
        None => sink.flush(),
        Some(Message::Begin(stream)) => {
            streams.insert(stream, Progress::default());
            Ok(())
        }
        Some(Message::Schema { .. }) => Ok(()),
        Some(Message::Records { stream, lines, count }) => {
            let progress = streams.entry(stream.clone()).or_default();
            if !std::mem::replace(&mut progress.running, true) {
                sink.json(&status(&stream, "RUNNING", None))?;
            }
            progress.count += count;
            sink.lines(&lines)
        }
        Some(Message::State { stream, state, .. }) => {
            let count = streams.get_mut(&stream).map_or(0, |p| std::mem::take(&mut p.count));
            sink.json(&stream_state(&stream, state, count))?;
            sink.flush()
        }
        Some(Message::Failed(fault)) => {
            if matches!(fault.kind, Kind::Signal(_) | Kind::Downstream) {
                return Ok(());
            }
            let fault = hidden(&fault);
            let stream = fault.stream.as_deref().unwrap_or_default();
            failed.push(format!("{stream}: {}", fault.airbyte_text()));
            sink.json(&error(&fault))
        }
        Some(Message::End { stream, complete }) => {
            sink.json(&status(&stream, if complete { "COMPLETE" } else { "INCOMPLETE" }, None))?;
            streams.entry(stream).or_default().ended = true;
            Ok(())
        }
    })?;
    let mut sink = out.lock();
    for (stream, _) in streams.iter().filter(|(_, progress)| !progress.ended) {
        sink.json(&status(stream, "INCOMPLETE", None))?;
    }
    if !failed.is_empty() {
        let message =
            format!("During the sync, the following streams did not sync successfully: {}", failed.join("; "));
        // The reference reports `config_error` whatever the cause; each stream's own error has the details.
        sink.json(&error(&Fault::data(message.clone()).airbyte_message(message, Failure::Config)))?;
    }
    sink.flush()
}

/// A stream's STATE message, with the number of records since the previous one.
fn stream_state(stream: &str, state: Option<Json>, count: u64) -> Json {
    let state = state.unwrap_or_else(|| Json::Object(Map::from_iter([(NO_CURSOR.to_owned(), json!(true))])));
    #[allow(clippy::cast_precision_loss)]
    let count = count as f64;
    json!({"type": "STATE", "state": {
        "type": "STREAM", "stream": {"stream_descriptor": {"name": stream}, "stream_state": state},
        "sourceStats": {"recordCount": count},
    }})
}

/// Writes one message immediately, between those of the run.
pub fn say(out: &Out, message: &Json) -> Result<()> {
    let mut sink = out.lock();
    sink.json(message)?;
    sink.flush()
}
