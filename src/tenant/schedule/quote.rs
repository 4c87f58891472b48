//! Quotes text for its reader: a shell, cron, Python, YAML.
//!
//! Input: any text. Output: the same text, quoted if necessary. Called by the schedule writers, and by `cli` for
//! commands that a person types.

/// A word quoted for a shell.
pub fn shell(word: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "-_./,:@%+=".contains(c);
    if !word.is_empty() && word.chars().all(safe) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Words quoted for a shell.
pub fn command(words: &[String]) -> String {
    words.iter().map(|word| shell(word)).collect::<Vec<_>>().join(" ")
}

/// A command line for a crontab, where `%` ends the command. Some crons also interpret `\\` as `\`, so two are never
/// adjacent.
pub fn cron(words: &[String]) -> String {
    let one = |word: &String| {
        if word.contains('\\') {
            format!("'{}'", word.replace('\'', r#"'"'"'"#).replace('\\', r"\''"))
        } else {
            shell(word)
        }
    };
    words.iter().map(one).collect::<Vec<_>>().join(" ").replace('%', r"\%")
}

/// A text quoted for Python, JSON and YAML.
pub fn string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A list of texts.
pub fn list(texts: &[String]) -> String {
    format!("[{}]", texts.iter().map(|text| string(text)).collect::<Vec<_>>().join(", "))
}

/// A text quoted for YAML; plain if no parser can misread it.
pub fn yaml(text: &str) -> String {
    const MEANT: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let begins = text.trim_start_matches("--").starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
    if begins && plain && !MEANT.contains(&text.to_ascii_lowercase().as_str()) { text.to_owned() } else { string(text) }
}

/// Is this character invisible, or would it end a line? Such characters are refused in definitions.
pub fn unseen(c: char) -> bool {
    let is_format = matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    c.is_control() || is_format || matches!(c, '\u{2028}'..='\u{202e}')
}
