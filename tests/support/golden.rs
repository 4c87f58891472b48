//! Texts that must be as they were, held by `insta`: `INSTA_UPDATE=always cargo test` writes them anew, and `git diff`
//! shows what changed; `cargo insta review` asks for each.

use std::path::Path;

fn settings(folder: &Path) -> insta::Settings {
    let mut settings = insta::Settings::new();
    settings.set_snapshot_path(folder);
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings
}

/// Fails unless `text` is what `<name>.snap` in the folder holds.
pub fn assert_text(folder: &Path, name: &str, text: &str) {
    // `insta` compares no space at the end: it is one newline.
    assert!(
        text.trim_end().len() + 1 == text.len() && text.ends_with('\n'),
        "{name} ends with {:?}",
        text.lines().last()
    );
    assert!(!text.contains('\r'), "{name} holds a carriage return, which `insta` may not compare");
    settings(folder).bind(|| insta::assert_snapshot!(name, text));
}

/// Fails unless `text` is, byte for byte, what `<name>.snap.<extension>` in the folder holds: a file that other
/// programs can read as it is.
pub fn assert_file(folder: &Path, name: &str, extension: &str, text: &str) {
    let file = folder.join(format!("{name}.snap.{extension}"));
    if std::fs::read(&file).ok().as_deref() != Some(text.as_bytes()) {
        // Of files `insta` only says that they differ. Shown where the test fails.
        #[allow(clippy::print_stderr)]
        {
            eprintln!("{} is another now:\n{text}", file.display());
        }
    }
    settings(folder).bind(|| insta::assert_binary_snapshot!(&format!("{name}.{extension}"), text.as_bytes().to_vec()));
}

/// Copies a folder with all that is in it.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &to);
        } else {
            std::fs::copy(&path, &to).unwrap();
        }
    }
}
