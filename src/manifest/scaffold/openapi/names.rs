//! Names of streams, fields and config keys, from paths and parameters.
//!
//! Input: words as a document writes them. Output: words in snake case. Called by the other files of this folder.

/// Last words of paths that say nothing of the records.
const EMPTY_WORDS: [&str; 8] = ["search", "list", "all", "query", "paginated", "jql", "find", "index"];

/// A name in snake case: `projectIdOrKey` and `project-id` become `project_id_or_key` and `project_id`.
pub(super) fn snake(text: &str) -> String {
    let mut out = String::new();
    let chars: Vec<char> = text.chars().collect();
    for (at, c) in chars.iter().enumerate() {
        if !c.is_ascii_alphanumeric() {
            out.push('_');
            continue;
        }
        let before = at.checked_sub(1).map(|at| chars[at]);
        let after = chars.get(at + 1);
        let starts = before.is_some_and(|b| b.is_ascii_lowercase())
            || before.is_some_and(|b| b.is_ascii_uppercase()) && after.is_some_and(char::is_ascii_lowercase);
        if c.is_ascii_uppercase() && starts {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out.split('_').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("_")
}

/// Only letters and digits, in lower case: `maxResults`, `max_results` and `max-results` are one name.
pub(super) fn squeezed(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// A path without the end `.json`.
fn bare(path: &str) -> &str {
    path.strip_suffix(".json").unwrap_or(path)
}

fn is_variable(step: &str) -> bool {
    step.contains('{')
}

/// The last step of a path that is no variable.
pub(super) fn last_word(path: &str) -> Option<&str> {
    bare(path).rsplit('/').find(|step| !step.is_empty() && !is_variable(step))
}

/// A name for the list at a path; `length` counts the words that it takes, from the end.
pub(super) fn of_path(path: &str, length: usize) -> String {
    let words: Vec<&str> = bare(path).split('/').filter(|step| !step.is_empty() && !is_variable(step)).collect();
    let is_empty = words.last().is_some_and(|last| EMPTY_WORDS.contains(&last.to_ascii_lowercase().as_str()));
    let count = (length + usize::from(is_empty)).min(words.len());
    let name = snake(&words[words.len() - count..].join("_"));
    if name.is_empty() { "items".to_owned() } else { name }
}

/// Does a path end with a variable: is it a single thing?
pub(super) fn is_single(path: &str) -> bool {
    path.trim_end_matches('/').rsplit('/').next().is_some_and(is_variable)
}

/// `tasks` as `task`.
pub(super) fn singular(name: &str) -> String {
    let ends = |end: &str, with: &str| name.strip_suffix(end).map(|stem| format!("{stem}{with}"));
    let found = ends("ies", "y").or_else(|| ends("sses", "ss")).or_else(|| ends("xes", "x"));
    found.or_else(|| ends("s", "").filter(|stem| !stem.ends_with('s'))).unwrap_or_else(|| name.to_owned())
}
