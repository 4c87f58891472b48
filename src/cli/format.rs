//! How reports are written.
//!
//! Comes in: `--format`. Goes out: one of the formats that a verb can print, or the fault that lists them. Called by
//! the verbs.

use clap::ValueEnum;

use crate::base::fault::{Fault, Kind, Result};

/// How `--about`, reports, `status` and `schedule` print; each takes some of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum ReportFormat {
    Text,
    Table,
    Json,
    Markdown,
    Html,
    Openmetrics,
    Cron,
    Airflow,
    Dagster,
    Kubernetes,
    Meltano,
}

impl ReportFormat {
    /// The first of those that a verb can print is its default.
    pub(super) fn among(asked: Option<ReportFormat>, can: &[ReportFormat]) -> Result<ReportFormat> {
        let format = asked.unwrap_or(can[0]);
        if can.contains(&format) {
            return Ok(format);
        }
        let name =
            |format: &ReportFormat| format.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default();
        let names: Vec<_> = can.iter().map(name).collect();
        Err(Fault::new(Kind::Usage, format!("this is not written as {}", name(&format)))
            .hint(format!("--format takes {}", names.join(", "))))
    }
}
