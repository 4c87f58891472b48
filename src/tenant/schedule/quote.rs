//! Text as others read it: a shell, cron, Python, YAML.
//!
//! Input: any text. Output: the same text, quoted where it must be. Called by the writers of schedules, and by
//! `cli` for commands that a person is to type.

/// A word as a shell takes it.
pub fn shell(word: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "-_./,:@%+=".contains(c);
    if !word.is_empty() && word.chars().all(safe) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Words as a shell takes them.
pub fn command(words: &[String]) -> String {
    words.iter().map(|word| shell(word)).collect::<Vec<_>>().join(" ")
}

/// The same in a crontab, where `%` ends the command. Some crons also take `\\` for `\`: two never stand together.
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

/// A text as Python, JSON and YAML take it.
pub fn string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A list of texts.
pub fn list(texts: &[String]) -> String {
    format!("[{}]", texts.iter().map(|text| string(text)).collect::<Vec<_>>().join(", "))
}

/// A text as YAML takes it, plain where no reader can take it for something else.
pub fn yaml(text: &str) -> String {
    const MEANT: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let begins = text.trim_start_matches("--").starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
    if begins && plain && !MEANT.contains(&text.to_ascii_lowercase().as_str()) { text.to_owned() } else { string(text) }
}

/// Is this a character that people do not see, or that would end a line? It has no place in a definition.
pub fn unseen(c: char) -> bool {
    let is_format = matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    c.is_control() || is_format || matches!(c, '\u{2028}'..='\u{202e}')
}
