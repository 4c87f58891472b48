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

/// Fails unless the part of a page that code describes is as `text`. The page (from the repository's root) holds it
/// between `<!-- generated: NAME -->` and `<!-- end -->`; `INSTA_UPDATE=always` writes it again, as for snapshots.
pub fn assert_part(page: &str, name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let now = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{page}: {error}"));
    let start = format!("<!-- generated: {name} -->\n");
    let (before, rest) = now.split_once(&start).unwrap_or_else(|| panic!("{page} has no line {start}"));
    let (_, after) = rest.split_once("<!-- end -->").unwrap_or_else(|| panic!("{page}: {name} has no end"));
    let then = format!("{before}{start}\n{}\n\n<!-- end -->{after}", text.trim());
    if now == then {
        return;
    }
    if std::env::var("INSTA_UPDATE").is_ok_and(|how| how == "always") {
        std::fs::write(&path, then).unwrap();
        return;
    }
    let changed: Vec<&str> = then.lines().filter(|line| !now.lines().any(|other| other == *line)).take(20).collect();
    panic!("{page} is out of date; `INSTA_UPDATE=always cargo test docs::` writes it. New:\n{}", changed.join("\n"));
}
