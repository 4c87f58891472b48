//! A stream with everything that its tenant's earlier runs learned about it.
//!
//! Input: a loaded source, a stream, and its read mode. Output: its drift monitor, or its evolved schema. Called by
//! `read`, `discover` and `drift`.

use std::sync::Arc;

use serde_json::json;

use super::LoadedSource;
use crate::base::fault::Result;
use crate::drift::baseline::unmarked;
use crate::drift::monitor::{DriftMonitor, MonitorConfig, RunNames};
use crate::engine::build::StreamPlan;
use crate::protocol::Protocol;
use crate::run::context::Context;
use crate::run::log::Level;

/// How a stream is read, as far as drift depends on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadMode {
    /// Does the run ignore what was read before?
    pub(crate) sweep: bool,
    /// Is the stream read to its end?
    pub(crate) whole: bool,
    /// Is this only a look?
    pub(crate) preview: bool,
    /// May new fields be sent?
    pub(crate) may_grow: bool,
    /// Are values sent verbatim?
    pub(crate) verbatim: bool,
    /// Does a bookmark decide where the next run begins?
    pub(crate) goes_on: bool,
}

impl ReadMode {
    /// No record is asked for: only what the tenant's runs learned is wanted.
    pub(crate) fn look(verbatim: bool) -> ReadMode {
        ReadMode { sweep: false, whole: false, preview: true, may_grow: true, verbatim, goes_on: true }
    }
}

impl LoadedSource {
    /// The drift monitor of a stream, with everything that its tenant's runs learned; `None` if drift is off.
    pub(crate) fn monitor(
        &self,
        stream: &StreamPlan,
        reading: ReadMode,
        context: &Context,
    ) -> Result<Option<Arc<DriftMonitor>>> {
        let config = &self.config.ours.drift;
        if config.off {
            return Ok(None);
        }
        let ReadMode { sweep, whole, preview, may_grow, verbatim, goes_on } = reading;
        let config_of_monitor = MonitorConfig {
            names: RunNames {
                source: self.identity.source.clone(),
                tenant: self.identity.tenant.clone(),
                run_id: self.identity.run_id.clone(),
            },
            stream: &stream.name,
            schema: &stream.schema,
            reviewed: stream.reviewed,
            keys: &stream.key_paths,
            cursor: stream.cursor.as_ref().filter(|_| goes_on).map(|c| c.field.as_str()),
            policies: self.policies.clone(),
            config,
            root: self.identity.root.clone(),
            verbatim,
            sweep,
            whole,
            preview,
            may_grow,
            asked: stream.asked(&self.cx),
        };
        let (monitor, trouble) = DriftMonitor::begin(config_of_monitor)?;
        if let Some(fault) = trouble {
            let message = format!("{}: cannot save drift data and quarantined records: {}", stream.name, fault.message);
            context.log.event(Level::Warning, &message, "drift_trouble", &json!({"stream": *stream.name}));
        }
        Ok(Some(Arc::new(monitor)))
    }

    /// The stream with the current schema of its tenant's data.
    pub(crate) fn evolved(&self, stream: &Arc<StreamPlan>, context: &Context) -> Result<Arc<StreamPlan>> {
        if self.identity.root.is_none() {
            return Ok(stream.clone());
        }
        let Some(monitor) = self.monitor(stream, ReadMode::look(true), context)? else { return Ok(stream.clone()) };
        let schema = monitor.schema();
        if *schema == stream.schema {
            return Ok(stream.clone());
        }
        let schema = schema.as_ref().clone();
        // Readers of Airbyte messages have one column per field.
        Ok(stream.with_evolved(if context.protocol == Protocol::Airbyte { unmarked(schema) } else { schema }))
    }
}
