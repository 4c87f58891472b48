//! One typed error for the whole program.
//!
//! Input: an error, described by the stage that detected it. Output: a [`Fault`] whose [`Kind`] alone decides what
//! happens next (whether the stream stops, whether others continue, the exit code). Called by every folder; depends
//! on none of them.
//!
//! A message states what happened, where, and what to do. It never contains a secret or a record's value.

use std::fmt;
use std::io::{ErrorKind, Write as _};
use std::sync::Arc;

/// The kind of a fault; decides what it affects, and the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The command line is invalid. Exit 2.
    Usage,
    /// Config, manifest, catalog or state were refused. Exit 10, no request was sent.
    Config,
    /// The vendor rejected the credentials (401, or 403 before any success). Exit 20.
    Auth,
    /// The vendor's data changed, and the config requires the run to end. Exit 30.
    Drift,
    /// The vendor's response cannot be trusted; ends the stream. Exit 40.
    Data,
    /// The vendor is still down or unreachable after all retries; ends the stream. Exit 69.
    Unavailable,
    /// The deadline passed, or the vendor requested too long a wait: finished work is saved, and the next run
    /// continues. Exit 75.
    Unfinished,
    /// Files or pipes of this machine failed. Exit 60.
    Local,
    /// The reader of stdout is gone. Exit 60; no more output is possible.
    Downstream,
    /// Another run of the tenant reads these streams. Exit 76, no request was sent.
    Busy,
    /// A signal requested a stop; finished work is saved. Exit 128 + signal.
    Signal(i32),
    /// An error in dripfeed itself. Exit 50.
    Bug,
}

impl Kind {
    /// All kinds, by exit code. The signal is SIGTERM, for one.
    pub const ALL: &[Kind] = &[
        Kind::Usage,
        Kind::Config,
        Kind::Auth,
        Kind::Drift,
        Kind::Data,
        Kind::Bug,
        Kind::Local,
        Kind::Downstream,
        Kind::Unavailable,
        Kind::Unfinished,
        Kind::Busy,
        Kind::Signal(15),
    ];

    /// What the exit code means, as the docs list it.
    pub fn meaning(self) -> &'static str {
        match self {
            Kind::Usage => "The command line is wrong.",
            Kind::Config => "The config, manifest, catalog or state was refused. Nothing was requested.",
            Kind::Auth => "The vendor refused the credentials.",
            Kind::Drift => "The vendor changed its data, and a policy of `fail-run` or `drift check` reports it.",
            Kind::Data => "Some streams failed. The others are complete.",
            Kind::Bug => "A bug in dripfeed.",
            Kind::Local => "A local file or a pipe failed, or the target of `sync` failed.",
            Kind::Downstream => "The reader of stdout closed it.",
            Kind::Unavailable => "The vendor stayed down or unreachable after all retries.",
            Kind::Unfinished => "The run reached its deadline, or the vendor asks for a long wait. The state is saved.",
            Kind::Busy => "Another run of the tenant reads one of the streams. Nothing was requested.",
            Kind::Signal(_) => "A signal stopped the run. The state is saved.",
        }
    }

    /// Does a later run succeed although nobody does anything?
    pub fn heals_itself(self) -> &'static str {
        match self {
            Kind::Unavailable | Kind::Unfinished | Kind::Busy | Kind::Signal(_) => "yes",
            Kind::Local | Kind::Downstream => "often",
            Kind::Data => "sometimes",
            Kind::Bug => "rarely",
            Kind::Usage | Kind::Config | Kind::Auth | Kind::Drift => "no",
        }
    }

    /// The exit code of a run that ends with this kind.
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Usage => 2,
            Kind::Config => 10,
            Kind::Auth => 20,
            Kind::Drift => 30,
            Kind::Data => 40,
            Kind::Unavailable => 69,
            Kind::Unfinished => 75,
            Kind::Busy => 76,
            Kind::Local | Kind::Downstream => 60,
            Kind::Signal(n) => u8::try_from(128 + n).unwrap_or(128),
            Kind::Bug => 50,
        }
    }

    /// The rank among the faults of a run: the highest determines the exit code.
    pub fn severity_rank(self) -> u8 {
        match self {
            Kind::Signal(_) => 9,
            Kind::Bug => 8,
            Kind::Local | Kind::Downstream => 7,
            Kind::Usage | Kind::Config => 6,
            Kind::Auth => 5,
            Kind::Drift => 4,
            Kind::Unavailable => 3,
            Kind::Unfinished | Kind::Busy => 2,
            Kind::Data => 1,
        }
    }
}

/// Airbyte's failure type: who must act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The user must act: config and credentials.
    Config,
    /// Nobody must act: a later run may succeed.
    Transient,
    /// The connector's authors or the vendor must act.
    System,
}

impl Failure {
    /// Parses Airbyte's name of the type.
    pub fn of(name: &str) -> Option<Failure> {
        [Failure::Config, Failure::Transient, Failure::System].into_iter().find(|f| f.name() == name)
    }

    /// Airbyte's name of the type.
    pub fn name(self) -> &'static str {
        match self {
            Failure::Config => "config_error",
            Failure::Transient => "transient_error",
            Failure::System => "system_error",
        }
    }
}

/// A location in a text that the user wrote: file, line and path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The file name as the user gave it.
    pub file: Arc<str>,
    /// The line, starting at 1; 0 if unknown (a manifest inside a config).
    pub line: u32,
    /// The path, such as `streams[2].retriever.paginator.page_size`; empty for the whole file.
    pub path: Arc<str>,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if !self.path.is_empty() {
            write!(f, " at `{}`", self.path)?;
        }
        Ok(())
    }
}

/// An error with everything that its reader needs to act.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Decides what happens next.
    pub kind: Kind,
    /// What happened, in the user's terms: lower-case start, no final period.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// The location in the user's files.
    pub location: Option<Box<Location>>,
    /// The affected stream.
    pub stream: Option<Arc<str>>,
    /// The name of the drift rule, if it is drift.
    pub rule: Option<&'static str>,
    /// The HTTP status of a response that rejects the request.
    pub status: Option<u16>,
    /// Is the cause an incomplete body, so that the request may be repeated?
    pub broken_body: bool,
    /// The text and failure type of Airbyte's trace message, if the text is not `message`.
    pub airbyte: Option<Box<(String, Failure)>>,
}

/// Result with a [`Fault`].
pub type Result<T> = std::result::Result<T, Fault>;

impl Fault {
    /// A fault of `kind` with a message.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Fault {
            kind,
            message: message.into(),
            hint: None,
            location: None,
            stream: None,
            rule: None,
            status: None,
            broken_body: false,
            airbyte: None,
        }
    }

    /// Config, manifest, catalog or state refused (exit 10).
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(Kind::Config, message)
    }

    /// The vendor's response cannot be used (exit 40).
    pub fn data(message: impl Into<String>) -> Self {
        Self::new(Kind::Data, message)
    }

    /// A response body is incomplete: the request is repeated, and the vendor counts as down if this persists (exit
    /// 69).
    pub fn broken_body(message: impl Into<String>) -> Self {
        Fault { broken_body: true, ..Self::new(Kind::Unavailable, message) }
    }

    /// An error in dripfeed (exit 50).
    pub fn bug(message: impl Into<String>) -> Self {
        Self::new(Kind::Bug, message)
    }

    /// Adds a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the location, unless a more precise one is set.
    #[must_use]
    pub fn at(mut self, location: &Location) -> Self {
        self.location.get_or_insert_with(|| Box::new(location.clone()));
        self
    }

    /// Adds the stream, unless one is set.
    #[must_use]
    pub fn of_stream(mut self, stream: &Arc<str>) -> Self {
        self.stream.get_or_insert_with(|| stream.clone());
        self
    }

    /// Message and location in one line, without the hint.
    pub fn line(&self) -> String {
        Fault { hint: None, ..self.clone() }.to_string()
    }

    /// Adds the status of the response.
    #[must_use]
    pub fn of_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// Adds the drift rule.
    #[must_use]
    pub fn of_rule(mut self, rule: &'static str) -> Self {
        self.rule = Some(rule).filter(|rule| !rule.is_empty());
        self
    }

    /// Sets the text and failure type of Airbyte's trace message, in the reference's words.
    #[must_use]
    pub fn airbyte_message(mut self, message: impl Into<String>, failure: Failure) -> Self {
        self.airbyte = Some(Box::new((message.into(), failure)));
        self
    }

    /// The text of Airbyte's trace message: [`Fault::message`] unless another was set.
    pub fn airbyte_text(&self) -> &str {
        self.airbyte.as_ref().map_or(&self.message, |airbyte| &airbyte.0)
    }

    /// The failure type of Airbyte's trace message.
    pub fn failure(&self) -> Failure {
        match (&self.airbyte, self.kind) {
            (Some(airbyte), _) => airbyte.1,
            (None, Kind::Usage | Kind::Config | Kind::Auth) => Failure::Config,
            (None, Kind::Unavailable | Kind::Unfinished | Kind::Busy | Kind::Signal(_)) => Failure::Transient,
            (None, Kind::Drift | Kind::Data | Kind::Local | Kind::Downstream | Kind::Bug) => Failure::System,
        }
    }

    /// A fault for a failed read or write of `what` on this machine. The hint is that of the kind of error.
    pub fn local(what: impl fmt::Display, error: &std::io::Error) -> Self {
        let hint = match error.kind() {
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                "give the user that runs dripfeed access to it"
            }
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                "free space on that disk, or raise the limit on its use; the next run continues from the saved state"
            }
            ErrorKind::NotADirectory | ErrorKind::IsADirectory | ErrorKind::AlreadyExists => {
                "a file stands where a folder must be, or a folder where a file must be: move it away"
            }
            ErrorKind::NotFound => "check the path: a folder of it is missing",
            _ => "check this machine: its disk, its limits on open files and threads, and who may use the path",
        };
        Self::new(Kind::Local, format!("{what}: {error}")).hint(hint)
    }
}

/// Runs `work`; a panic in it is a fault of kind [`Kind::Bug`], so that the run still ends as a run does: recorded, and
/// with what it had saved. The text of a panic may quote a record, so only its place is shown: see [`report_panics`].
pub fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(Fault::bug("dripfeed panicked; finished work is saved").hint("report it with the output on stderr"))
    })
}

/// From now on a panic of any thread is a line on stderr with its place in dripfeed's code, and a backtrace if
/// `RUST_BACKTRACE` asks for one. Rust's own line also has the panic's text, which may be a value or a secret.
pub fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        let trace = std::backtrace::Backtrace::capture();
        let trace = match trace.status() {
            std::backtrace::BacktraceStatus::Captured => format!("{trace}\n"),
            _ => String::new(),
        };
        // Nothing is left to do if stderr is closed.
        let _ = write!(std::io::stderr(), "error   a bug in dripfeed: it panicked at {place}\n{trace}");
    }));
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(location) = &self.location {
            write!(f, "{location}: ")?;
        }
        if let Some(stream) = &self.stream {
            write!(f, "stream `{stream}`: ")?;
        }
        f.write_str(&self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Fault {}

/// The name in `known` that was probably meant by `written`.
pub fn did_you_mean<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::normalized_damerau_levenshtein(written, name), name))
        .filter(|(likeness, _)| *likeness > 0.55)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{Kind, guarded};

    #[test]
    fn a_panic_is_a_fault_that_says_nothing_of_its_text() {
        let fault = guarded::<()>(|| panic!("the value of a record")).unwrap_err();
        assert_eq!(fault.kind, Kind::Bug);
        assert_eq!(fault.kind.exit_code(), 50);
        assert!(!fault.to_string().contains("value"), "{fault}");
    }
}
