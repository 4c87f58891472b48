//! What every verb works with: the options, the two outputs, the stop request.
//!
//! Input: the options, stdout. Output: text and JSON on stdout, the source with a tenant's config. Created by `cli`,
//! and passed on through `run`.

use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;

use serde::Serialize;
use serde_json::{Map, Value as Json};

use super::log::{Level, Log};
use super::options::RunOptions;
use crate::base::config::Origin;
use crate::base::config::references::{Needed, References};
use crate::base::fault::{Fault, Kind, Result};
use crate::base::stop::Stop;
use crate::protocol::{Out, Protocol, airbyte};
use crate::tenant::schedule::quote::shell as quoted;

/// What every verb works with.
#[derive(Clone)]
pub struct Context {
    /// The options.
    pub options: RunOptions,
    /// The source from the environment.
    pub environment: Option<String>,
    /// The source from the binary's own name.
    pub named: Option<String>,
    /// The message protocol.
    pub protocol: Protocol,
    /// The stop request.
    pub stop: Arc<Stop>,
    /// Stderr, and the event file.
    pub log: Arc<Log>,
    /// Finds the values of a config's references.
    pub references: Arc<References>,
    /// The references of a config that must have a value.
    pub needed: Needed,
    /// Does the user's own folder serve as the state directory if none is given?
    pub keeps: bool,
    /// Stdout.
    pub out: Out,
}

impl Context {
    /// Reports the fault that ended a verb.
    pub(crate) fn failed(&self, fault: &Fault) {
        if matches!(fault.kind, Kind::Signal(_)) {
            return;
        }
        self.log.line(Level::Error, &fault.to_string());
        if self.protocol == Protocol::Airbyte && fault.kind != Kind::Downstream {
            // If stdout is broken too, only the exit code remains.
            let _ = airbyte::say(&self.out, &airbyte::error(&self.log.hidden(fault)));
        }
    }

    /// Where the values of a config come from; `ENV` stands for `variables`.
    pub(crate) fn origin<'o>(&'o self, variables: &'o Map<String, Json>) -> Origin<'o> {
        Origin { references: &self.references, needed: self.needed, variables }
    }

    /// The source from options or environment, ignoring the config.
    pub(crate) fn named_source(&self) -> Option<&str> {
        self.source_or(None)
    }

    /// The source, if the config has `of_config`: options override it, and it overrides everything else.
    pub(crate) fn source_or<'a>(&'a self, of_config: Option<&'a str>) -> Option<&'a str> {
        let options = self.options.source.as_deref();
        options.or(of_config).or(self.environment.as_deref()).or(self.named.as_deref())
    }

    /// Does work on a thread of its own, so that a signal ends it even if the vendor hangs.
    pub(crate) fn interruptible<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Context) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (sender, answer) = std::sync::mpsc::channel();
        let there = self.clone();
        std::thread::spawn(move || drop(sender.send(work(&there))));
        loop {
            match answer.recv_timeout(std::time::Duration::from_millis(100)) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Disconnected) => return Err(Fault::bug("the work ended without a result")),
                Err(RecvTimeoutError::Timeout) if self.stop.waits_for_critical() => {}
                Err(RecvTimeoutError::Timeout) => self.stop.check()?,
            }
        }
    }

    /// Writes text.
    pub(crate) fn text(&self, text: &str) -> Result<()> {
        self.out.lock().lines(text.as_bytes())
    }

    /// Writes an indented JSON value for people and Singer's consumers.
    pub(crate) fn pretty(&self, value: &impl Serialize) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(value).map_err(|e| Fault::bug(e.to_string()))?;
        text.push(b'\n');
        self.out.lock().lines(&text)
    }

    /// Writes a message.
    pub(crate) fn message(&self, message: &Json) -> Result<()> {
        self.out.lock().json(message)
    }

    /// Command-line arguments that select the same source.
    pub(crate) fn source_arguments(&self) -> Vec<String> {
        let source = self.options.source.as_deref().or(self.environment.as_deref());
        source.map(|source| format!("--source {}", quoted(source))).into_iter().collect()
    }

    /// Command-line arguments that select the same source and tenant.
    pub(crate) fn tenant_arguments(&self) -> String {
        let mut arguments = self.source_arguments();
        arguments.extend(self.options.config.iter().map(|path| format!("--config {}", quoted(path))));
        let env_files = self.options.env_files.iter().map(|path| path.display().to_string());
        arguments.extend(env_files.map(|path| format!("--env-file {}", quoted(&path))));
        let state_dir = self.options.state_dir.as_ref().map(|path| path.display().to_string());
        arguments.extend(state_dir.map(|path| format!("--state-dir {}", quoted(&path))));
        arguments.join(" ")
    }
}
