//! `init`: what it writes, that each manifest of it is valid and reads a vendor of its kind.

mod documents;
mod files;
mod kinds;

use std::path::Path;

use serde_json::Value as Json;

use crate::support::tap::{Ran, Tap};

/// Runs `init` with its files in a folder.
fn init(folder: &Path, args: &[&str]) -> Ran {
    let tap = Tap::new("init").args(args);
    Ran::of(&tap.command().current_dir(folder).output().unwrap())
}

/// What `validate` finds in a manifest.
fn findings(folder: &Path, manifest: &str) -> Vec<Json> {
    let path = folder.join(manifest).display().to_string();
    let ran = Tap::new("validate --format json").args(&[&path]).run();
    serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {}{}", ran.out, ran.err))
}

fn text(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}
