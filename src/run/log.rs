//! Everything on stderr: log lines, as text or in the format that Meltano parses, and events.
//!
//! Input: messages with a level, and events. Output: lines on stderr and in the `--events` file, without secrets.
//! Called by `cli`. In Singer, stdout carries only messages, so logs never go there.

use parking_lot::Mutex;
use std::fs::File;
use std::io::{IsTerminal as _, Write};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::SystemTime;

use indicatif::ProgressBar;
use serde_json::{Map, Value as Json, json};
use time::OffsetDateTime;

use crate::base::config::secret::{Secrets, SharedSecrets};
use crate::base::display::terminal::{Look, Style};
use crate::base::fault::{Fault, Result};
use crate::base::platform;
use crate::base::timefmt::rfc3339;
use crate::protocol::{Out, airbyte};
use crate::run::options::LogOptions;

/// The severity of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Level {
    Debug,
    Info,
    Warning,
    Error,
}

impl Level {
    fn airbyte(self) -> &'static str {
        match self {
            Level::Debug => "DEBUG",
            Level::Info => "INFO",
            Level::Warning => "WARN",
            Level::Error => "ERROR",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warning => "warning",
            Level::Error => "error",
        }
    }

    fn style(self) -> Style {
        match self {
            Level::Debug => Style::Faint,
            Level::Info => Style::Notice,
            Level::Warning => Style::Warning,
            Level::Error => Style::Bad,
        }
    }
}

/// The width of the level's column.
const LABEL: usize = 8;
/// The width of `  hint: `.
const HINT: usize = 8;

/// Writes log lines.
pub struct Log {
    /// Stdout, for Airbyte's LOG messages.
    messages: Option<Out>,
    json: bool,
    least: Level,
    exchanges: bool,
    secrets: SharedSecrets,
    out: Mutex<Box<dyn Write + Send>>,
    /// The colours of text lines.
    look: Look,
    /// The `--events` file.
    events: Option<Mutex<File>>,
    /// Fields of every event: the source, the tenant.
    names: Mutex<Map<String, Json>>,
    /// The progress line, which log lines must not overwrite.
    bar: OnceLock<ProgressBar>,
}

/// The settings of `SINGER_SDK_LOG_CONFIG`: structured lines, and the minimum level.
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
    /// A log on stderr, configured by the options or Meltano, or of LOG messages on stdout.
    pub fn new(options: &LogOptions, messages: Option<Out>) -> Result<Self> {
        let (structured, level) = asked_by_meltano();
        let least = match (options.quiet, options.verbose > 0) {
            (true, _) => Level::Warning,
            (_, true) => Level::Debug,
            _ => level.unwrap_or(Level::Info),
        };
        let open = |path: &PathBuf| {
            File::options()
                .create(true)
                .append(true)
                // Whoever made the file decides who reads it; a new one is its owner's, as all that a run leaves.
                .mode(0o600)
                .open(path)
                .map(Mutex::new)
                .map_err(|e| Fault::config(format!("cannot write events to {}: {e}", path.display())))
        };
        Ok(Log {
            messages,
            json: options.json.unwrap_or(structured),
            least,
            exchanges: options.verbose > 1 && least == Level::Debug,
            secrets: SharedSecrets::default(),
            out: Mutex::new(Box::new(std::io::stderr())),
            look: Look::of(&std::io::stderr()),
            events: options.events.as_ref().map(open).transpose()?,
            names: Mutex::default(),
            bar: OnceLock::new(),
        })
    }

    /// Is stderr a terminal that a person watches?
    pub fn for_people(&self) -> bool {
        self.messages.is_none()
            && !self.json
            && self.shows(Level::Info)
            && std::io::stderr().is_terminal()
            && !std::io::stdout().is_terminal()
    }

    /// Are log lines kept: in the file or pipe of a scheduler, or by the reader of messages?
    pub fn is_kept(&self) -> bool {
        self.messages.is_some() || !std::io::stderr().is_terminal()
    }

    /// Are log lines structured, for programs?
    pub fn is_structured(&self) -> bool {
        self.json
    }

    /// The file to which stderr goes, for example that of a crontab's line. `None` if stderr is no file, if log lines
    /// go elsewhere, or if this system does not say.
    pub fn file(&self) -> Option<String> {
        let stderr = std::io::stderr().as_fd().try_clone_to_owned().map(File::from).ok()?;
        let is_file = self.messages.is_none() && stderr.metadata().is_ok_and(|of| of.is_file());
        let path = platform::path_of_stderr().filter(|path| is_file && path.is_file())?;
        path.to_str().map(str::to_owned)
    }

    /// From now on log lines are printed above this progress line.
    pub fn draw_around(&self, bar: ProgressBar) {
        drop(self.bar.set(bar));
    }

    /// From now on events contain this source and tenant.
    pub fn names(&self, source: &str, tenant: Option<&str>) {
        let mut names = self.names.lock();
        names.insert("source".into(), json!(source));
        names.extend(tenant.map(|t| ("tenant".into(), json!(t))));
    }

    /// From now on these texts are redacted.
    pub fn hide(&self, secrets: &Secrets) {
        *self.secrets.lock() = secrets.clone();
    }

    /// The secrets, for others that quote what they read.
    pub fn secrets(&self) -> SharedSecrets {
        self.secrets.clone()
    }

    /// Redacts one more text.
    pub fn hide_too(&self, secret: &str) {
        self.secrets.lock().learn(secret);
    }

    /// A fault with secrets redacted.
    pub fn hidden(&self, fault: &Fault) -> Fault {
        let secrets = self.secrets.lock();
        let mut fault = fault.clone();
        fault.message = secrets.hide(&fault.message);
        fault.hint = fault.hint.map(|hint| secrets.hide(&hint));
        fault.airbyte = fault.airbyte.map(|text| Box::new((secrets.hide(&text.0), text.1)));
        fault
    }

    /// A text with secrets redacted.
    pub fn masked(&self, text: &str) -> String {
        self.secrets.lock().hide(text)
    }

    /// A value with secrets redacted in its texts.
    pub fn masked_json(&self, value: Json) -> Json {
        hidden(value, &self.secrets.lock())
    }

    /// Are requests and responses printed whole?
    pub fn shows_exchanges(&self) -> bool {
        self.exchanges
    }

    /// Is this level printed?
    pub fn shows(&self, level: Level) -> bool {
        level >= self.least
    }

    /// Writes a line.
    pub fn line(&self, level: Level, message: &str) {
        self.write(level, message, &json!({}));
    }

    /// Writes a metric in singer-sdk's format: `record_count`, `sync_duration`, `http_request_duration`.
    pub fn metric(&self, kind: &str, metric: &str, value: &Json, tags: &Json) {
        if self.json {
            let info = json!({"metric_info": {"type": kind, "metric": metric, "value": value, "tags": tags}});
            self.write(Level::Info, "METRIC", &info);
        } else {
            self.write(Level::Debug, &format!("metric {metric} = {value} {tags}"), &json!({}));
        }
    }

    /// Writes an event: a JSON object in the `--events` file, and a log line, which in structured form contains the
    /// same object under `dripfeed`. `event` holds the name, `v` the version of its format.
    pub fn event(&self, level: Level, message: &str, name: &str, fields: &Json) {
        let mut event = Map::from_iter([("v".into(), json!(1)), ("event".into(), json!(name))]);
        event.extend(self.names.lock().clone());
        event.extend(fields.as_object().into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())));
        if let Some(file) = &self.events {
            let mut line = Map::from_iter([("ts".into(), json!(rfc3339(OffsetDateTime::now_utc())))]);
            line.extend(event.clone());
            line.insert("message".into(), json!(message));
            let line = format!("{}\n", hidden(Json::Object(line), &self.secrets.lock()));
            // Events describe the run; they do not stop it.
            let _ = file.lock().write_all(line.as_bytes());
        }
        // Under a separate key: Meltano interprets the keys of a line, and breaks on `event`.
        self.write(level, message, &json!({"dripfeed": event}));
    }

    /// The lines of a message for people: the level, then the first line; the other lines are indented below it.
    fn text(&self, level: Level, message: &str) -> String {
        let mut text = String::new();
        for (i, part) in message.lines().enumerate() {
            if i == 0 {
                let pad = LABEL.saturating_sub(level.name().len());
                text += &format!("{}{:pad$}", self.look.paint(level.style(), level.name()), "");
                text += &self.wrapped(part, LABEL);
            } else if let Some(hint) = part.strip_prefix("  hint: ") {
                text += &format!("{:LABEL$}  {} ", "", self.look.paint(Style::Strong, "hint:"));
                text += &self.wrapped(hint, LABEL + HINT);
            } else {
                text += &format!("{:LABEL$}{part}\n", "");
            }
        }
        text
    }

    /// Words that begin in this column, wrapped where the terminal ends.
    fn wrapped(&self, text: &str, column: usize) -> String {
        let words: Vec<_> = text.split(' ').map(|word| (Style::Plain, word.to_owned())).collect();
        self.look.flow(&words, 1, column, column)
    }

    fn write(&self, level: Level, message: &str, more: &Json) {
        if !self.shows(level) {
            return;
        }
        let message = self.secrets.lock().hide(message);
        if let Some(out) = &self.messages {
            // The writer handles a broken stdout.
            drop(airbyte::say(out, &airbyte::log(level.airbyte(), &message)));
            return;
        }
        let text = if self.json {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let mut line = json!({
                "level": level.name(), "pid": std::process::id(), "logger_name": "dripfeed", "ts": since.as_secs_f64(),
                "thread_name": "main", "app_name": "dripfeed", "message": message,
            });
            if let (Some(line), Some(more)) = (line.as_object_mut(), more.as_object()) {
                line.extend(more.clone());
            }
            format!("{}\n", hidden(line, &self.secrets.lock()))
        } else {
            self.text(level, &message)
        };
        // Reading continues if stderr is closed.
        let write = || {
            let mut out = self.out.lock();
            let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        };
        match self.bar.get() {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }
}

/// The value with every secret in its texts redacted.
fn hidden(value: Json, secrets: &Secrets) -> Json {
    match value {
        Json::String(text) => Json::String(secrets.hide(&text)),
        Json::Array(items) => items.into_iter().map(|item| hidden(item, secrets)).collect(),
        Json::Object(map) => map.into_iter().map(|(key, value)| (key, hidden(value, secrets))).collect(),
        other => other,
    }
}
