//! Environment files in dotenv syntax: `KEY=VALUE` lines.
//!
//! Input: the path of a file. Output: its variables, or a fault with file and line and never a value. Called by
//! `references`, which takes the values of `env:NAME` from them.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::str::Chars;

use crate::base::fault::{Fault, Location, Result};

/// The variables of a file.
pub(super) type Variables = BTreeMap<String, String>;

/// The largest file that is read, in bytes.
const LARGEST: u64 = 1 << 20;

/// A file's variables, and what its owner should know about it.
#[derive(Debug, Clone, Default)]
pub(super) struct EnvFile {
    pub(super) variables: Variables,
    pub(super) warning: Option<String>,
}

/// Reads a file.
pub(super) fn read(path: &Path) -> Result<EnvFile> {
    let shown = path.display();
    let unreadable = |e: std::io::Error| Fault::config(format!("cannot read the env file {shown}: {e}"));
    let file = File::open(path).map_err(unreadable)?;
    let warning = file.metadata().ok().filter(others_read).map(|_| {
        format!("every user of this machine can read the secrets in {shown}: change that with `chmod 600 {shown}`")
    });
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > LARGEST {
        return Err(Fault::config(format!("the env file {shown} is larger than 1 MiB")));
    }
    let text = String::from_utf8(bytes).map_err(|_| Fault::config(format!("the env file {shown} is not UTF-8")))?;
    Ok(EnvFile { variables: parse(&text, &shown.to_string())?, warning })
}

/// Can every user of the machine read the file, and can its owner, who runs this, change that?
fn others_read(file: &Metadata) -> bool {
    file.is_file() && file.mode() & 0o004 != 0 && file.uid() == rustix::process::geteuid().as_raw()
}

/// The variables in a text; a later line wins.
fn parse(text: &str, shown: &str) -> Result<Variables> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
    let mut lines = text.split('\n').zip(1..);
    let mut variables = Variables::new();
    while let Some((line, number)) = lines.next() {
        let written = line.trim();
        if written.is_empty() || written.starts_with('#') {
            continue;
        }
        let fault = |what: &str| {
            let location = Location { file: shown.into(), line: number, path: "".into() };
            Fault::config(what).at(&location).hint("write NAME=value; quote a value with spaces, `#` or quotes")
        };
        let written = written.strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t'])).unwrap_or(written);
        let (name, value) = written.split_once('=').ok_or_else(|| fault("the line has no `=`"))?;
        let name = name.trim();
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(is_name) || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(fault("what stands before `=` is not the name of a variable"));
        }
        let value = value.trim_start();
        let value = match value.chars().next().filter(|c| matches!(c, '\'' | '"')) {
            Some(quote) => {
                // A quoted value may span lines.
                let mut quoted = value[1..].to_owned();
                loop {
                    match closed(&quoted, quote) {
                        Some((value, rest)) if rest.is_empty() || rest.starts_with('#') => break value,
                        Some(_) => return Err(fault("the value goes on after its closing quote")),
                        None => match lines.next() {
                            Some((line, _)) => quoted += &format!("\n{line}"),
                            None => return Err(fault("the value's closing quote is missing")),
                        },
                    }
                }
            }
            None => plain(value).to_owned(),
        };
        if value.contains('\0') {
            return Err(fault("the value holds a NUL"));
        }
        variables.insert(name.to_owned(), value);
    }
    Ok(variables)
}

/// A value without quotes ends at a comment.
fn plain(value: &str) -> &str {
    let comment = value.match_indices('#').find(|(at, _)| *at == 0 || value[..*at].ends_with([' ', '\t']));
    value[..comment.map_or(value.len(), |(at, _)| at)].trim_end()
}

/// A value up to its closing quote, and what follows it; `None` if nothing closes it. Single quotes keep every
/// character; double quotes have the usual escapes.
fn closed(text: &str, quote: char) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut rest: Chars<'_> = text.chars();
    while let Some(c) = rest.next() {
        match c {
            c if c == quote => return Some((value, rest.as_str().trim())),
            '\\' if quote == '"' => match rest.next()? {
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                't' => value.push('\t'),
                c @ ('"' | '\\' | '$' | '`') => value.push(c),
                c => value.extend(['\\', c]),
            },
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::parse;

    #[test]
    fn lines_are_read_as_dotenv_has_them() {
        let text = concat!(
            "\u{feff}# a comment\r\n\nA=plain\r\nexport B = spaced words # comment\nC='it is # \"all\" $A \\n'\n",
            "D=\"a\\\"b\\\\c\\nd $A\" # comment\nE=\nF=a#b\n",
            "G=\"-----BEGIN\nline=2\n-----END\"\nexporter=1\nA=later\nH=#x\n"
        );
        let read = parse(text, "x.env").unwrap();
        let wanted = [
            ("A", "later"),
            ("B", "spaced words"),
            ("C", "it is # \"all\" $A \\n"),
            ("D", "a\"b\\c\nd $A"),
            ("E", ""),
            ("F", "a#b"),
            ("G", "-----BEGIN\nline=2\n-----END"),
            ("H", ""),
            ("exporter", "1"),
        ];
        assert_eq!(read.iter().map(|(k, v)| (&**k, &**v)).collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn a_bad_line_is_named_without_its_value() {
        for (text, line, word) in [
            ("A=1\ns3cr3t\n", 2, "no `=`"),
            ("1A=s3cr3t", 1, "not the name of a variable"),
            ("A B=s3cr3t", 1, "not the name of a variable"),
            ("# x\n\nA='s3cr3t\nB=2", 3, "closing quote is missing"),
            ("A='s3'cr3t", 1, "goes on after its closing quote"),
        ] {
            let fault = parse(text, "x.env").unwrap_err();
            assert_eq!(fault.location.as_ref().map(|at| at.line), Some(line), "{text}");
            let shown = fault.to_string();
            assert!(shown.contains(word) && !shown.contains("s3cr3t"), "{shown}");
        }
    }
}
