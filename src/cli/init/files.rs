//! Writes the files of a new source: all of them, or none.
//!
//! Input: paths and texts. Output: files. Called by [`super`]. A file that exists is replaced only by force; lines are
//! appended to `.gitignore` and `.env.example`.

use std::path::{Path, PathBuf};

use crate::base::fault::{Fault, Kind, Result};
use crate::base::user_file;

/// A file to write.
struct NewFile {
    path: PathBuf,
    text: String,
    /// May it replace an existing one?
    replaces: bool,
}

/// The files to write.
pub(super) struct NewFiles {
    folder: PathBuf,
    is_forced: bool,
    files: Vec<NewFile>,
}

impl NewFiles {
    pub(super) fn new(folder: &Path, is_forced: bool) -> Self {
        NewFiles { folder: folder.to_path_buf(), is_forced, files: Vec::new() }
    }

    /// Adds a file that must not exist.
    pub(super) fn add(&mut self, path: &str, text: &str) {
        let path = self.folder.join(path);
        self.files.push(NewFile { path, text: text.to_owned(), replaces: self.is_forced });
    }

    /// Adds a file that may be replaced: nobody edits it.
    pub(super) fn derive(&mut self, path: &str, text: &str) {
        self.files.push(NewFile { path: self.folder.join(path), text: text.to_owned(), replaces: true });
    }

    /// Adds what a file lacks of some blocks, each known by its last line. `NAME=` is known with any value.
    pub(super) fn append(&mut self, path: &str, blocks: &[String]) -> Result<()> {
        let path = self.folder.join(path);
        let old = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(Fault::local(format!("cannot read {}", path.display()), &e)),
        };
        let mut text = old.clone();
        for block in blocks {
            let last = block.lines().last().unwrap_or_default();
            let name = last.split_inclusive('=').next().unwrap_or(last);
            let is_there = |line: &str| line.trim() == last || name.ends_with('=') && line.trim().starts_with(name);
            if old.lines().any(is_there) {
                continue;
            }
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            if block.contains('\n') && !text.is_empty() {
                text.push('\n');
            }
            text += block;
            text.push('\n');
        }
        if text != old {
            self.files.push(NewFile { path, text, replaces: true });
        }
        Ok(())
    }

    /// Writes all files, and returns their names.
    pub(super) fn write(self) -> Result<Vec<String>> {
        let existing: Vec<String> =
            self.files.iter().filter(|file| !file.replaces && file.path.exists()).map(NewFile::shown).collect();
        if !existing.is_empty() {
            let (verb, them) = if existing.len() == 1 { ("exists", "it") } else { ("exist", "them") };
            let some = existing.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
            let more = existing.len().saturating_sub(5);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let fault = Fault::new(Kind::Usage, format!("{some}{more} {verb} already"));
            return Err(fault.hint(format!("--force replaces {them}; --dir takes another folder")));
        }
        let drafts =
            self.files.iter().map(|file| user_file::draft(&file.path, &file.text)).collect::<Result<Vec<_>>>()?;
        let mut done: Vec<&Path> = Vec::new();
        for (file, draft) in self.files.iter().zip(drafts) {
            let is_new = !file.path.exists();
            let kept = if file.replaces { draft.persist(&file.path) } else { draft.persist_noclobber(&file.path) };
            if let Err(error) = kept {
                for path in &done {
                    drop(std::fs::remove_file(path));
                }
                return Err(Fault::local(format!("cannot write {}", file.shown()), &error.error));
            }
            if is_new {
                done.push(&file.path);
            }
        }
        Ok(shown(&self.files))
    }
}

/// The files for people; those of a folder of schemas as a number.
fn shown(files: &[NewFile]) -> Vec<String> {
    let is_schema = |file: &&NewFile| file.path.parent().is_some_and(|folder| folder.ends_with("schemas"));
    let mut out: Vec<String> = files.iter().filter(|file| !is_schema(file)).map(NewFile::shown).collect();
    let schemas: Vec<&NewFile> = files.iter().filter(is_schema).collect();
    if let Some(folder) = schemas.first().and_then(|file| file.path.parent()) {
        out.insert(2.min(out.len()), format!("{} schemas in {}", schemas.len(), folder.display()));
    }
    out
}

impl NewFile {
    fn shown(&self) -> String {
        self.path.display().to_string()
    }
}

/// The blocks of a text, which empty lines part.
pub(super) fn blocks(text: &str) -> Vec<String> {
    text.trim_end().split("\n\n").map(str::to_owned).collect()
}

/// Does a block set a variable?
pub(super) fn assigns(block: &str) -> bool {
    block.lines().last().is_some_and(|line| !line.starts_with('#') && line.contains('='))
}
