//! Files that people keep among their own: manifests, schemas, configs. Each is replaced as a whole.
//!
//! Input: a path and a text. Output: the file. Called by the verbs that write such files. Files of the state directory
//! have locks and an owner of their own: see [`super::store`].

use std::fs::{File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::NamedTempFile;

use super::fault::{Fault, Result};

/// The text in a temporary file of the same folder, which is created if it does not exist. The file gets the
/// permissions of the one that it replaces; those of a new one are for the user's umask to decide.
pub fn draft(path: &Path, text: &str) -> Result<NamedTempFile> {
    let folder = folder_of(path);
    let write = || {
        std::fs::create_dir_all(folder)?;
        let permissions = path.metadata().map_or_else(|_| Permissions::from_mode(0o666), |old| old.permissions());
        let mut draft = tempfile::Builder::new().permissions(permissions).tempfile_in(folder)?;
        draft.write_all(text.as_bytes())?;
        draft.as_file().sync_all()?;
        Ok(draft)
    };
    write().map_err(|e| failed(path, &e))
}

/// Replaces the file, or creates it. After this returns, the new content survives a crash of the machine.
pub fn replace(path: &Path, text: &str) -> Result<()> {
    draft(path, text)?.persist(path).map_err(|e| failed(path, &e.error))?;
    File::open(folder_of(path)).and_then(|folder| folder.sync_all()).map_err(|e| failed(path, &e))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn failed(path: &Path, error: &std::io::Error) -> Fault {
    Fault::local(format!("cannot write {}", path.display()), error)
}
