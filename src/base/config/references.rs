//! References: texts of a config that stand for a variable, a file, or what a command prints.
//!
//! Input: a config as written, with `env:NAME`, `file:PATH` and `exec:COMMAND`. Output: the config with their values,
//! each of them a secret; or a fault that names the key of the config. Called by `config::load`. A process has one
//! [`References`], so that each command runs once.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use serde_json::Value as Json;

use super::env_file::{self, EnvFile, Variables};
use super::secret::Secrets;
use super::secret_command;
use crate::base::fault::{Fault, Result};
use crate::base::stop::Stop;

/// The largest file that a config may refer to, in bytes.
const LARGEST: u64 = 1 << 20;
/// The key of a manifest that stands in a config. Its texts are not the config's.
const MANIFEST: &str = "__injected_declarative_manifest";

/// What a text of a config stands for instead of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reference<'a> {
    /// An environment variable.
    Variable(&'a str),
    /// A file.
    File(&'a str),
    /// What a command prints.
    Command(&'a str),
}

/// Is the text a reference?
pub fn reference(text: &str) -> Option<Reference<'_>> {
    let (kind, rest) = text.split_once(':')?;
    match kind {
        "env" => Some(Reference::Variable(rest)),
        "file" => Some(Reference::File(rest)),
        "exec" => Some(Reference::Command(rest)),
        _ => None,
    }
}

/// Every reference of a config.
pub fn references(config: &Json) -> Vec<Reference<'_>> {
    match config {
        Json::String(text) => reference(text).into_iter().collect(),
        Json::Array(items) => items.iter().flat_map(references).collect(),
        Json::Object(map) => map.iter().filter(|(key, _)| *key != MANIFEST).flat_map(|(_, v)| references(v)).collect(),
        _ => Vec::new(),
    }
}

/// Which references must have a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needed {
    /// All: the vendor is called.
    All,
    /// Those that tell the tenant and its state directory.
    Identity,
    /// Only the name of the source.
    Source,
}

impl Needed {
    /// Must the reference at this path have a value?
    fn includes(self, path: &str) -> bool {
        match self {
            Needed::All => true,
            Needed::Identity => {
                ["dripfeed.source", "dripfeed.tenant", "dripfeed.state_dir", "dripfeed.pace.account"].contains(&path)
            }
            Needed::Source => path == "dripfeed.source",
        }
    }

    /// What is needed of this config: a tenant without a name is known by its credentials.
    pub(super) fn of(self, written: &Json) -> Needed {
        let ours = &written["dripfeed"];
        let named = ours["tenant"].is_string() || ours["pace"]["account"].is_string();
        if self == Needed::Identity && !named { Needed::All } else { self }
    }
}

/// Finds the values of references; shared by all configs of a process.
#[derive(Default)]
pub struct References {
    /// The files of `--env-file`; later ones win.
    files: Vec<PathBuf>,
    /// May a config name files and commands?
    trusted: bool,
    stop: Arc<Stop>,
    given: OnceLock<Result<Variables>>,
    outputs: Mutex<BTreeMap<String, secret_command::Output>>,
    warnings: Mutex<Vec<String>>,
}

impl References {
    /// `files` are env files; `trusted` states whether a config may name files and commands of this machine.
    pub fn new(files: Vec<PathBuf>, trusted: bool, stop: Arc<Stop>) -> References {
        References { files, trusted, stop, ..References::default() }
    }

    /// What the user should know about env files, each once.
    pub fn warnings(&self) -> Vec<String> {
        std::mem::take(&mut *self.warnings.lock())
    }

    fn file(&self, path: &Path) -> Result<Variables> {
        let EnvFile { variables, warning } = env_file::read(path)?;
        self.warnings.lock().extend(warning);
        Ok(variables)
    }

    /// The variables of the given files. A file may be a pipe, which can be read only once.
    fn given(&self) -> Result<&Variables> {
        let read = || {
            let mut all = Variables::new();
            for path in &self.files {
                all.extend(self.file(path)?);
            }
            Ok(all)
        };
        self.given.get_or_init(read).as_ref().map_err(Clone::clone)
    }

    /// The output of a command, which is run once.
    fn output(&self, command: &str, words: &[String]) -> Result<secret_command::Output> {
        let mut outputs = self.outputs.lock();
        if let Some(known) = outputs.get(command) {
            return Ok(known.clone());
        }
        let output = secret_command::run(words, &self.stop)?;
        outputs.insert(command.to_owned(), output.clone());
        Ok(output)
    }
}

/// The references of one config.
pub(super) struct Resolver<'r> {
    references: &'r References,
    needed: Needed,
    /// The env files that stand beside the config's files, as `acme.env` beside `acme.json`.
    beside: Vec<PathBuf>,
    read: OnceCell<Variables>,
    secrets: &'r mut Secrets,
}

impl<'r> Resolver<'r> {
    /// For a config of these files.
    pub(super) fn new(
        references: &'r References,
        needed: Needed,
        config: &[String],
        secrets: &'r mut Secrets,
    ) -> Result<Resolver<'r>> {
        // A bad line is reported even if no reference needs the file.
        references.given()?;
        let beside = |path: &String| PathBuf::from(format!("{}.env", path.strip_suffix(".json").unwrap_or(path)));
        let beside = config.iter().filter(|path| *path != "ENV").map(beside).collect();
        Ok(Resolver { references, needed, beside, read: OnceCell::new(), secrets })
    }

    /// Replaces each reference in the value at `path`; those that are not needed stay where they have no value.
    pub(super) fn resolve(&mut self, value: &mut Json, path: &str) -> Result<()> {
        match value {
            Json::String(text) => {
                let Some(reference) = reference(text) else { return Ok(()) };
                let needed = self.needed.includes(path);
                match self.value(reference, path, needed) {
                    Ok(Some(found)) => {
                        self.secrets.add(&found);
                        *text = found;
                    }
                    Err(fault) if needed => return Err(fault),
                    // A duration is read at once, and no reference is one.
                    _ if path == "dripfeed.deadline" || path.starts_with("dripfeed.safety.") => *value = Json::Null,
                    Ok(None) | Err(_) => {}
                }
                Ok(())
            }
            Json::Array(items) => {
                items.iter_mut().enumerate().try_for_each(|(i, item)| self.resolve(item, &format!("{path}[{i}]")))
            }
            Json::Object(map) => map.iter_mut().filter(|(key, _)| *key != MANIFEST).try_for_each(|(key, item)| {
                let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                self.resolve(item, &below)
            }),
            _ => Ok(()),
        }
    }

    /// The value of a reference; `None` if it is not needed and takes a command to find.
    fn value(&self, reference: Reference<'_>, path: &str, needed: bool) -> Result<Option<String>> {
        match reference {
            Reference::Variable(name) => self.variable(name, path).map(Some),
            Reference::File(_) | Reference::Command(_) if !self.references.trusted => {
                let kind = if matches!(reference, Reference::File(_)) { "file:" } else { "exec:" };
                Err(Fault::config(format!(
                    "config `{path}` is a reference with `{kind}`, which is refused in Airbyte's protocol: whoever \
                     fills in a form could read files of this machine and run its programs"
                ))
                .hint("write the value itself; where you alone write the configs, set DRIPFEED_ALLOW_REFERENCES=1"))
            }
            Reference::File(file) => content(file, path).map(Some),
            Reference::Command(_) if !needed => Ok(None),
            Reference::Command(command) => self.printed(command, path).map(Some),
        }
    }

    /// The process environment wins over files, and the given files over those beside the config.
    fn variable(&self, name: &str, path: &str) -> Result<String> {
        let refused = |why: &str| {
            let fault = format!("config `{path}` refers to the environment variable {name}, which {why}");
            Err(Fault::config(fault).hint(format!("set {name} to the value, or write the value itself")))
        };
        match std::env::var(name) {
            Ok(value) if !value.is_empty() => return Ok(value),
            // An empty one is most often a variable of a scheduler that nobody filled in.
            Ok(_) => return refused("is empty"),
            Err(std::env::VarError::NotUnicode(_)) => return refused("is not UTF-8"),
            Err(std::env::VarError::NotPresent) => {}
        }
        let given = self.references.given()?;
        // A line of `.env.example` that nobody filled in is no value.
        if let Some(value) = given.get(name).filter(|value| !value.is_empty()) {
            return Ok(value.clone());
        }
        let read = match self.read.get() {
            Some(read) => read,
            None => {
                let read = self.beside()?;
                self.read.get_or_init(|| read)
            }
        };
        read.get(name).filter(|value| !value.is_empty()).cloned().ok_or_else(|| {
            let is_there = given.contains_key(name) || read.contains_key(name);
            let why = if is_there { "is empty in its env file" } else { "is not set" };
            let fault = format!("config `{path}` refers to the environment variable {name}, which {why}");
            let places = match self.references.files.last().or(self.beside.last()) {
                Some(file) => format!(" or write it into {}", file.display()),
                None => String::new(),
            };
            Fault::config(fault).hint(format!("set {name}{places}; or write the value itself"))
        })
    }

    /// The variables of the env files beside the config that exist.
    fn beside(&self) -> Result<Variables> {
        let mut all = Variables::new();
        for path in self.beside.iter().filter(|path| path.is_file()) {
            all.extend(self.references.file(path)?);
        }
        Ok(all)
    }

    fn printed(&self, command: &str, path: &str) -> Result<String> {
        let words = secret_command::words(command).ok_or_else(|| {
            Fault::config(format!("config `{path}`: `exec:` is followed by no command, or a quote in it has no end"))
                .hint("write it as for a shell: \"exec:op read op://vault/item/field\"")
        })?;
        self.references.output(command, &words)?.map_err(|why| {
            let (program, why) = (&words[0], self.secrets.hide(&why));
            Fault::config(format!("config `{path}` runs the command `{program}`, which gave no value: {why}"))
                .hint("run the command of that key by hand: it must print the value and exit with 0")
        })
    }
}

/// The content of a file without the ends of its last line.
fn content(file: &str, path: &str) -> Result<String> {
    let fault =
        |why: &dyn std::fmt::Display| Fault::config(format!("config `{path}` refers to the file {file}: {why}"));
    // Opening a pipe would wait for its writer.
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let opened: File = OpenOptions::new().read(true).custom_flags(nonblocking).open(file).map_err(|e| fault(&e))?;
    if !opened.metadata().is_ok_and(|of| of.is_file()) {
        return Err(fault(&"it is no regular file"));
    }
    let mut bytes = Vec::new();
    opened.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|e| fault(&e))?;
    if bytes.len() as u64 > LARGEST {
        return Err(fault(&"it is larger than 1 MiB"));
    }
    let text = String::from_utf8(bytes).map_err(|_| fault(&"it is not UTF-8"))?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}
