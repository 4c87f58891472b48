//! What every verb works with: what was asked, the two outputs, the wish to stop.
//!
//! Input: the options, stdout. Output: texts and JSON on stdout, the source with a tenant's config. Made by `cli`,
//! and handed on through `run`.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value as Json;

use super::log::{Level, Log};
use super::options::RunOptions;
use crate::base::fault::{Fault, Kind, Result};
use crate::base::stop::Stop;
use crate::protocol::{Out, Protocol, airbyte};
use crate::tenant::schedule::quote::shell as quoted;

/// What every verb works with.
#[derive(Clone)]
pub struct Context {
    /// What was asked.
    pub options: RunOptions,
    /// The source that the environment names.
    pub environment: Option<String>,
    /// The source in the binary's own name.
    pub named: Option<String>,
    /// How messages are written.
    pub protocol: Protocol,
    /// The wish to stop.
    pub stop: Arc<Stop>,
    /// Stderr, and the file of events.
    pub log: Arc<Log>,
    /// Is the user's own folder the state directory where none is named?
    pub keeps: bool,
    /// Stdout.
    pub out: Out,
}

impl Context {
    /// Reports what ended a verb.
    pub(crate) fn failed(&self, fault: &Fault) {
        if matches!(fault.kind, Kind::Signal(_)) {
            return;
        }
        self.log.line(Level::Error, &fault.to_string());
        if self.protocol == Protocol::Airbyte && fault.kind != Kind::Downstream {
            // If stdout is broken too, the exit code is all that is left.
            let _ = airbyte::say(&self.out, &airbyte::error(&self.log.hidden(fault)));
        }
    }

    /// The source that is named, the config aside.
    pub(crate) fn named_source(&self) -> Option<&str> {
        self.source_or(None)
    }

    /// The source that is named, where the config names `of_config`: the options go before it, all else comes after it.
    pub(crate) fn source_or<'a>(&'a self, of_config: Option<&'a str>) -> Option<&'a str> {
        let options = self.options.source.as_deref();
        options.or(of_config).or(self.environment.as_deref()).or(self.named.as_deref())
    }

    /// Writes text.
    pub(crate) fn text(&self, text: &str) -> Result<()> {
        self.out.lock().lines(text.as_bytes())
    }

    /// Writes a JSON value for people and Singer's consumers.
    pub(crate) fn pretty(&self, value: &impl Serialize) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(value).map_err(|e| Fault::bug(e.to_string()))?;
        text.push(b'\n');
        self.out.lock().lines(&text)
    }

    /// Writes a message.
    pub(crate) fn message(&self, message: &Json) -> Result<()> {
        self.out.lock().json(message)
    }

    /// The arguments that name the source, for a command that means the same.
    pub(crate) fn source_arguments(&self) -> Vec<String> {
        let source = self.options.source.as_deref().or(self.environment.as_deref());
        source.map(|source| format!("--source {}", quoted(source))).into_iter().collect()
    }

    /// The arguments that name the source and the tenant, for a command that means the same.
    pub(crate) fn tenant_arguments(&self) -> String {
        let mut arguments = self.source_arguments();
        arguments.extend(self.options.config.iter().map(|path| format!("--config {}", quoted(path))));
        let state_dir = self.options.state_dir.as_ref().map(|path| path.display().to_string());
        arguments.extend(state_dir.map(|path| format!("--state-dir {}", quoted(&path))));
        arguments.join(" ")
    }
}
