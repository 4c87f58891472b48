//! The sources that are built into the binary.
//!
//! Input: a source's name. Output: its manifest and its baselines, from `catalog/` and `schemas/`. Called by `run`
//! and `cli`. To add a vendor, add files there: nothing here names one.

use include_dir::{Dir, include_dir};
use serde_json::Value as Json;

static MANIFESTS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/catalog");
static SCHEMAS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/schemas");

/// The names of the built-in sources, sorted.
pub fn names() -> Vec<&'static str> {
    let mut names: Vec<&str> = MANIFESTS.files().filter_map(|f| f.path().to_str()?.strip_suffix(".yaml")).collect();
    names.sort_unstable();
    names
}

/// The manifest of a built-in source.
pub fn manifest(name: &str) -> Option<&'static str> {
    MANIFESTS.get_file(format!("{name}.yaml"))?.contents_utf8()
}

/// The baseline of a built-in stream.
pub fn baseline(source: &str, stream: &str) -> Option<Json> {
    serde_json::from_str(SCHEMAS.get_file(format!("{source}/{stream}.json"))?.contents_utf8()?).ok()
}

/// The baselines of a built-in source: file name and text, sorted.
pub(crate) fn schemas(source: &str) -> Vec<(String, &'static str)> {
    let files = SCHEMAS.get_dir(source).into_iter().flat_map(include_dir::Dir::files);
    let named = files.filter_map(|file| {
        let name = file.path().file_name()?.to_str()?;
        Some((name.to_owned(), file.contents_utf8()?))
    });
    let mut out: Vec<(String, &str)> = named.collect();
    out.sort_unstable();
    out
}
