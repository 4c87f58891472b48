//! The command line of a target.
//!
//! Input: a text from `--target` or a config. Output: its words, and an id that distinguishes targets. Called by
//! `run::sync`, which starts the target, and by `cli::schedule`.

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
            Fault::config("the target's command line has an unclosed quote").hint("check --target or dripfeed.target")
        })?;
        let mut words = words.into_iter();
        let program = words.next().filter(|program| !program.is_empty());
        let program = program.ok_or_else(|| {
            Fault::config("the target's command line is empty").hint("check --target or dripfeed.target")
        })?;
        Ok(TargetCommand { program, args: words.collect() })
    }

    /// Replaces `{tenant}` and `{source}` in each word, so that a name with a space stays within its word.
    #[must_use]
    pub fn filled(self, tenant: &str, source: &str) -> TargetCommand {
        let fill = |word: String| {
            // Piece by piece: what a name itself holds is not replaced.
            let pieces: Vec<String> = word.split("{tenant}").map(|piece| piece.replace("{source}", source)).collect();
            pieces.join(tenant)
        };
        TargetCommand { program: fill(self.program), args: self.args.into_iter().map(fill).collect() }
    }

    /// Its executable.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// The arguments. They may contain secrets.
    pub fn args(&self) -> &[String] {
        &self.args
    }

    /// A stable id that distinguishes targets: the file name of the program, and a hash of its arguments without
    /// passwords and without what `hidden` redacts.
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

    /// The name in messages: the executable's, without folder and arguments.
    pub fn name(&self) -> &str {
        self.program.rsplit('/').next().unwrap_or_default()
    }
}

/// Is this the name of a password, a token or a key?
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('_', "-");
    ["password", "passwd", "pwd", "passphrase", "secret", "token", "apikey", "api-key", "access-key", "private-key"]
        .iter()
        .any(|word| name.ends_with(word))
}

/// A command-line word without passwords: neither values of `name=value`, also inside a URL, nor a URL's user info.
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
