//! Everything that stderr shows: log lines, as text or in the form that Meltano parses.
//!
//! Comes in: messages with a level. Goes out: lines on stderr, without secrets. Called by `cli`. Singer's stdout
//! carries messages only, so nothing else may write there.

use std::io::Write;
use std::sync::Mutex;
use std::time::SystemTime;

use serde_json::{Value as Json, json};

use crate::config::secret::Secrets;

/// How grave a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Level {
    Debug,
    Info,
    Warning,
    Error,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warning => "warning",
            Level::Error => "error",
        }
    }
}

/// Writes log lines.
pub struct Log {
    json: bool,
    least: Level,
    secrets: Mutex<Secrets>,
    out: Mutex<Box<dyn Write + Send>>,
}

/// What `SINGER_SDK_LOG_CONFIG` asks for: structured lines, and from which level on.
fn asked_by_meltano() -> (bool, Option<Level>) {
    let read = |path| serde_json::from_str::<Json>(&std::fs::read_to_string(path).ok()?).ok();
    let Some(config) = std::env::var_os("SINGER_SDK_LOG_CONFIG").and_then(read) else { return (false, None) };
    let structured = config["formatters"].as_object().into_iter().flatten().any(|(_, f)| {
        f.as_object().into_iter().flatten().any(|(_, v)| v.as_str().is_some_and(|v| v.contains("StructuredFormatter")))
    });
    let level = match config["root"]["level"].as_str().map(str::to_ascii_lowercase).as_deref() {
        Some("debug") => Some(Level::Debug),
        Some("info") => Some(Level::Info),
        Some("warning" | "warn") => Some(Level::Warning),
        Some("error" | "critical") => Some(Level::Error),
        _ => None,
    };
    (structured, level)
}

impl Log {
    /// A log on stderr, as the options or Meltano ask.
    pub fn new(format: Option<super::LogFormat>, verbose: u8, quiet: bool) -> Self {
        let (structured, level) = asked_by_meltano();
        let least = match (quiet, verbose) {
            (true, _) => Level::Warning,
            (_, 1..) => Level::Debug,
            _ => level.unwrap_or(Level::Info),
        };
        Log {
            json: format.map_or(structured, |f| f == super::LogFormat::Json),
            least,
            secrets: Mutex::default(),
            out: Mutex::new(Box::new(std::io::stderr())),
        }
    }

    /// These texts must not be shown from now on.
    pub fn hide(&self, secrets: &Secrets) {
        *self.secrets.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = secrets.clone();
    }

    /// Does a line of this level come out?
    pub fn shows(&self, level: Level) -> bool {
        level >= self.least
    }

    /// Writes a line.
    pub fn line(&self, level: Level, message: &str) {
        self.write(level, message, &json!({}));
    }

    /// Writes a metric, as singer-sdk writes them: `record_count`, `sync_duration`, `http_request_duration`.
    pub fn metric(&self, kind: &str, metric: &str, value: &Json, tags: &Json) {
        if self.json {
            let info = json!({"metric_info": {"type": kind, "metric": metric, "value": value, "tags": tags}});
            self.write(Level::Info, "METRIC", &info);
        } else {
            self.write(Level::Debug, &format!("metric {metric} = {value} {tags}"), &json!({}));
        }
    }

    fn write(&self, level: Level, message: &str, more: &Json) {
        if !self.shows(level) {
            return;
        }
        let message = self.secrets.lock().unwrap_or_else(std::sync::PoisonError::into_inner).hide(message);
        let text = if self.json {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let mut line = json!({
                "level": level.name(), "pid": std::process::id(), "logger_name": "dripfeed", "ts": since.as_secs_f64(),
                "thread_name": "main", "app_name": "dripfeed", "message": message,
            });
            if let (Some(line), Some(more)) = (line.as_object_mut(), more.as_object()) {
                line.extend(more.clone());
            }
            format!("{line}\n")
        } else {
            let mut text = String::new();
            for (i, part) in message.lines().enumerate() {
                let head = if i == 0 { format!("{:<7} ", level.name()) } else { " ".repeat(8) };
                text += &format!("{head}{part}\n");
            }
            text
        };
        // A closed stderr is no reason to stop reading.
        let mut out = self.out.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}
