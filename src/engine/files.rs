//! Files that belong to records: downloads each file to where a platform picks it up.
//!
//! Input: a record before it is sent. Output: the path of the file, for the record's message. Called by
//! `record_writer` for each record, only in Airbyte's protocol: Singer does not support files. A file appears under
//! its name only when it is complete.

use std::fs::{self, File, Permissions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use ring::rand::SecureRandom as _;
use serde_json::{Map, Value as Json, json};

use super::async_job;
use super::build::Build;
use super::context::EngineContext;
use super::requester::{self, InjectedOptions, RequestContext, RequesterPlan};
use crate::base::fault::{Fault, Result};
use crate::engine::extract::{self, Records};
use crate::engine::fetch::{Outcome, Reply};
use crate::engine::slice::{self, Partition};
use crate::manifest::model::{DeclarativeStream, FileUploader, Requester};
use crate::manifest::template::{Template, Types, Vars};

/// The template name of the file's URL.
const TARGET: &str = "download_target";

/// A compiled file download.
#[derive(Debug, Clone)]
pub struct FilePlan {
    requester: RequesterPlan,
    target: Records,
    name: Option<Template>,
}

/// Compiles the download for a stream with the requester `home`.
pub(super) fn build(
    build: &Build<'_>,
    def: &FileUploader,
    stream: &DeclarativeStream,
    home: &RequesterPlan,
) -> Result<FilePlan> {
    let Requester::HttpRequester(definition) = &def.requester;
    // Records with config values must not carry them to another host.
    let free = !stream.mixes_own_values_in();
    let requester = requester::build(build, definition, &[TARGET.to_owned()], free)?.beside(home);
    if requester.errors.changes_requests() {
        return Err(definition.at.fault("recovery with smaller pages or windows does not work for files"));
    }
    Ok(FilePlan {
        requester,
        target: extract::build(&def.download_target_extractor, build.cx)?,
        name: def.filename_extractor.as_ref().map(|name| Template::compile(name, &["record"])).transpose()?,
    })
}

impl FilePlan {
    /// Downloads the file of a record; returns its description for the record's message. `None` if the manifest
    /// ignores that the file is unavailable.
    pub(super) fn fetch(&self, shared: &EngineContext, stream: &str, record: &Json) -> Result<Option<Json>> {
        let name = match &self.name {
            Some(name) => own_name(name, &Vars { record: Some(record), ..Vars::new(&shared.cx) })?,
            None => random_name()?,
        };
        let place = place(stream, &name)?;
        let target = self.target(record)?;
        let partition = Partition { extra: Map::from_iter([(TARGET.to_owned(), target)]), ..Partition::default() };
        let (slice, extra) = (slice::variable(&partition, &[]), Json::Object(partition.extra));
        let vars = Vars { slice: Some(&slice), extra: Some(&extra), ..Vars::new(&shared.cx) };
        let folder = &shared.files;
        let failed = |e: &std::io::Error| Fault::local(format!("cannot write a file below {}", folder.display()), e);
        fs::create_dir_all(folder).map_err(|e| failed(&e))?;
        // The platform reads it as another user: the umask decides about permissions.
        let mut draft = tempfile::Builder::new();
        draft.prefix(".dripfeed-").permissions(Permissions::from_mode(0o666));
        let draft = draft.tempfile_in(folder).map_err(|e| failed(&e))?;
        let partition = Map::new();
        let of_stream = RequestContext::new(shared, stream, &partition);
        let context = RequestContext { into: Some(draft.as_file()), ..of_stream };
        let reply = match self.requester.ask(context, &vars, &InjectedOptions::default())? {
            Outcome::Page(reply) => reply,
            Outcome::Ignored(_) => return Ok(None),
            Outcome::Recover(_, why) => {
                return Err(Fault::data(format!("cannot download the file of a record: {why}")));
            }
        };
        let size = written(&reply, draft.as_file()).map_err(|e| failed(&e))?;
        let path = folder.join(&place);
        path.parent().map_or(Ok(()), fs::create_dir_all).map_err(|e| unfit(&e).unwrap_or_else(|| failed(&e)))?;
        draft.persist(&path).map_err(|e| unfit(&e.error).unwrap_or_else(|| failed(&e.error)))?;
        Ok(Some(json!({
            "staging_file_url": path.to_string_lossy(), "source_file_relative_path": place, "file_size_bytes": size,
        })))
    }

    /// The URL of a record's file.
    fn target(&self, record: &Json) -> Result<Json> {
        let hint = "check `download_target_extractor`, or filter such records out with a `record_filter`";
        match async_job::extract_values(&self.target, record.to_string().as_bytes())?.into_iter().next() {
            Some(target @ Json::String(_)) => Ok(target),
            Some(_) => Err(Fault::data("the URL of a record's file is not a string").hint(hint)),
            None => Err(Fault::data("a record has no URL of its file").hint(hint)),
        }
    }
}

/// Writes the response to the file, unless it is already there; returns the size.
fn written(reply: &Reply, mut file: &File) -> std::io::Result<u64> {
    if let Some(size) = reply.filed {
        return Ok(size);
    }
    file.write_all(&reply.body)?;
    Ok(reply.body.len() as u64)
}

/// The file name from the manifest: a text as in the reference, other values as written.
fn own_name(name: &Template, vars: &Vars<'_>) -> Result<String> {
    match name.value(vars, Types::Str)? {
        Json::String(name) => Ok(name),
        _ => name.raw_text(vars),
    }
}

/// A unique name.
fn random_name() -> Result<String> {
    let mut bytes = [0; 16];
    ring::rand::SystemRandom::new().fill(&mut bytes).map_err(|_| Fault::bug("cannot get random numbers"))?;
    // A version 4 UUID, by RFC 9562.
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
}

/// The path of a file in the staging directory: below its stream's name.
fn place(stream: &str, name: &str) -> Result<String> {
    let parts = |path: &'static str, text: &str| -> Result<Vec<String>> {
        let parts: Vec<String> =
            text.split('/').filter(|part| !part.is_empty() && *part != ".").map(str::to_owned).collect();
        let leaves = parts.iter().any(|part| part == ".." || part.contains('\0'));
        if leaves || parts.is_empty() {
            let fault = Fault::data(format!("{path} is not inside the staging directory"));
            return Err(fault.hint("a name must not be empty or contain `..`: check `filename_extractor`"));
        }
        Ok(parts)
    };
    let stream = parts("the stream's name", stream)?;
    Ok([stream, parts("the name of a record's file", name)?].concat().join("/"))
}

/// The vendor's name may be invalid as a file name: this fails only the stream.
fn unfit(error: &std::io::Error) -> Option<Fault> {
    let unfit = matches!(
        error.kind(),
        ErrorKind::InvalidFilename | ErrorKind::NotADirectory | ErrorKind::IsADirectory | ErrorKind::AlreadyExists
    );
    unfit.then(|| {
        Fault::data(format!("the name of a record's file is not a valid file name: {}", error.kind()))
            .hint("check `filename_extractor`")
    })
}

/// The staging directory: the one that the platform sets, if it exists, else one in its usual location.
pub fn staging(named: Option<&Path>) -> std::path::PathBuf {
    let named = named.unwrap_or(Path::new("/staging/files"));
    if named.exists() { named.to_owned() } else { "/tmp/airbyte-file-transfer".into() }
}
