//! The command line of a target.
//!
//! Input: a text, as `--target` or a config gives it. Output: its words, and what tells it from other targets.
//! Called by `run::sync`, which starts the target, and by `cli::schedule`.

use sha2::{Digest as _, Sha256};

use crate::base::fault::{Fault, Result};

/// A target's command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetCommand {
    program: String,
    args: Vec<String>,
}

impl TargetCommand {
    /// Splits a command line as a shell does.
    pub fn parse(text: &str) -> Result<TargetCommand> {
        let words = shlex::split(text).ok_or_else(|| {
            Fault::config("the target's command line has a quote without its end")
                .hint("see --target or dripfeed.target")
        })?;
        let mut words = words.into_iter();
        let program = words.next().filter(|program| !program.is_empty());
        let program = program.ok_or_else(|| {
            Fault::config("the target's command line is empty").hint("see --target or dripfeed.target")
        })?;
        Ok(TargetCommand { program, args: words.collect() })
    }

    /// Its executable.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// What follows the executable. It may hold secrets.
    pub fn args(&self) -> &[String] {
        &self.args
    }

    /// What tells it from other targets, the same every time: its program's file name, and a hash of its arguments,
    /// passwords and what `hidden` hides aside.
    pub fn id(&self, hidden: impl Fn(&str) -> String) -> String {
        let mut args = Vec::with_capacity(self.args.len());
        let mut is_value = false;
        for arg in &self.args {
            let secret = std::mem::replace(&mut is_value, arg.starts_with('-') && is_secret(arg));
            args.push(if secret { String::new() } else { without_secrets(&hidden(arg)) });
        }
        let hash = Sha256::digest(serde_json::json!(args).to_string().as_bytes());
        let hash: String = hash.iter().take(6).map(|b| format!("{b:02x}")).collect();
        format!("{}-{hash}", self.name())
    }

    /// Its name for people: the executable's, without its folder and arguments.
    pub fn name(&self) -> &str {
        self.program.rsplit('/').next().unwrap_or_default()
    }
}

/// Is that the name of a password, a token or a key?
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('_', "-");
    ["password", "passwd", "pwd", "passphrase", "secret", "token", "apikey", "api-key", "access-key", "private-key"]
        .iter()
        .any(|word| name.ends_with(word))
}

/// A word of a command line without passwords: values of `name=value`, also within an address, and its user's.
fn without_secrets(word: &str) -> String {
    let pieces = word.split_inclusive(['?', '&', ';', ' ']).map(|piece| match piece.split_once('=') {
        Some((name, _)) if is_secret(name) => format!("{name}="),
        _ => piece.to_owned(),
    });
    let word: String = pieces.collect();
    let Some((scheme, rest)) = word.split_once("://") else { return word };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rsplit_once('@') {
        Some((user, host)) => {
            let user = user.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}@{host}{}", &rest[end..])
        }
        None => word,
    }
}
