//! Manifests and configs that are broken in the commonest ways: what is printed, where, and with what cure.
//!
//! A case is a folder in `fixtures/broken`: `manifest.yaml`, perhaps `config.json`, perhaps `args`, and what is
//! printed (`INSTA_UPDATE=always cargo test broken` writes that anew). Who reads it must be able to mend the file from
//! it alone. Nothing is requested.

use std::path::{Path, PathBuf};

use crate::support::golden;
use crate::support::tap::{Ran, Tap};

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/broken");
    let mut cases: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

/// `validate` of a manifest alone; with a config, `check`, which loads both before its first request.
fn words(case: &Path) -> String {
    let own = std::fs::read_to_string(case.join("args")).ok();
    let has_config = case.join("config.json").exists();
    let usual = if has_config { "check --source manifest.yaml --config config.json" } else { "validate manifest.yaml" };
    own.unwrap_or_else(|| usual.to_owned())
}

#[test]
fn each_is_told_where_it_is_broken_and_how_it_is_mended() {
    let cases = cases();
    assert!(cases.len() >= 20, "{} cases", cases.len());
    for case in cases {
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        let ran = Ran::of(&Tap::new(&words(&case)).command().current_dir(&case).output().unwrap());
        assert!(!ran.err.contains("t0ken-of-acme") && !ran.out.contains("t0ken-of-acme"), "{name}: {}", ran.err);
        assert!(!ran.err.contains("failed to lookup"), "{name} sends a request: {}", ran.err);
        golden::assert_file(&case, "expect", "txt", &format!("exit code {}\n{}", ran.code, ran.err));
    }
}
