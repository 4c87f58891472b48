//! Asks a person what a new source starts from.
//!
//! Input: lines of a terminal. Output: the answers. Called by [`super`]. Each question shows its default; the end of
//! the input, or Ctrl-C, ends the verb.

use std::io::{BufRead as _, IsTerminal as _, Write};
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use crate::base::fault::{Fault, Kind, Result};
use crate::base::stop::Stop;
use crate::manifest::builtin;
use crate::manifest::scaffold::rest::{Api, AuthKind, RestPaging};

/// How often a wait for an answer looks for Ctrl-C.
const TICK: Duration = Duration::from_millis(50);

/// Wrong answers to one question, before it gives up.
const MAX_TRIES: usize = 5;

/// What a source starts from.
#[derive(Debug)]
pub(super) enum Start {
    Rest(Api),
    Graphql(Api),
    Builtin(String),
    Openapi(PathBuf),
}

/// The next line; nothing at the end of the input.
type NextLine<'s> = Box<dyn FnMut() -> Result<Option<String>> + 's>;

/// Somebody who answers.
pub(super) struct Questions<'s> {
    next: NextLine<'s>,
    out: Box<dyn Write + 's>,
}

impl<'s> Questions<'s> {
    /// The terminal, if stdin and stderr are one.
    pub(super) fn on_terminal(stop: &'s Stop) -> Option<Questions<'s>> {
        if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
            return None;
        }
        // A thread reads, as a read does not end at a signal.
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines().map_while(std::result::Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let next = move || loop {
            match lines.recv_timeout(TICK) {
                Ok(line) => return Ok(Some(line)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(kind) = stop.asked() {
                        return Err(Fault::new(kind, "stopped"));
                    }
                }
            }
        };
        Some(Questions { next: Box::new(next), out: Box::new(std::io::stderr()) })
    }

    /// Asks once; an empty answer is the default.
    fn ask(&mut self, question: &str, default: &str) -> Result<String> {
        let failed = |e: std::io::Error| Fault::local("cannot ask", &e);
        write!(self.out, "{question} [{default}]: ").map_err(failed)?;
        self.out.flush().map_err(failed)?;
        match (self.next)()? {
            Some(line) if line.trim().is_empty() => Ok(default.to_owned()),
            Some(line) => Ok(line.trim().to_owned()),
            None => {
                let _ = writeln!(self.out);
                Err(Fault::new(Kind::Usage, "the input ended before the last question; nothing was written"))
            }
        }
    }

    /// Asks until the answer is valid.
    fn ask_for<T>(
        &mut self,
        question: &str,
        default: &str,
        parse: impl Fn(&str) -> std::result::Result<T, String>,
    ) -> Result<T> {
        for _ in 0..MAX_TRIES {
            let answer = self.ask(question, default)?;
            match parse(&answer) {
                Ok(value) => return Ok(value),
                Err(why) => writeln!(self.out, "  {why}").map_err(|e| Fault::local("cannot ask", &e))?,
            }
        }
        Err(Fault::new(Kind::Usage, format!("no valid answer to \"{question}\"; nothing was written")))
    }

    /// Asks everything.
    pub(super) fn start(&mut self) -> Result<Start> {
        let names = builtin::names();
        let parse = |answer: &str| match answer {
            "rest" | "graphql" | "openapi" => Ok(answer.to_owned()),
            name if names.contains(&name) => Ok(answer.to_owned()),
            _ => Err(format!("rest, graphql, openapi, or one of {}", names.join(", "))),
        };
        match &*self.ask_for("Start from rest, graphql, openapi, or a built-in source", "rest", parse)? {
            "rest" => self.rest().map(Start::Rest),
            "graphql" => self.graphql().map(Start::Graphql),
            "openapi" => {
                let parse = |answer: &str| {
                    let path = PathBuf::from(answer);
                    if path.is_file() { Ok(path) } else { Err(format!("there is no file {answer}")) }
                };
                self.ask_for("File of the document", "openapi.yaml", parse).map(Start::Openapi)
            }
            name => Ok(Start::Builtin(name.to_owned())),
        }
    }

    fn rest(&mut self) -> Result<Api> {
        let url = self.url()?;
        let path = self.ask_for("Path of the list", "/items", super::path)?;
        let records = self.ask("Where the list is in an answer; . is the answer itself", "data")?;
        let auth = self.auth()?;
        let paging = self.ask_for("Paging: page, offset, token, link, none", "page", |answer| match answer {
            "page" => Ok(RestPaging::Page),
            "offset" => Ok(RestPaging::Offset),
            "token" => Ok(RestPaging::Token),
            "link" => Ok(RestPaging::Link),
            "none" => Ok(RestPaging::None),
            _ => Err("page, offset, token, link or none".to_owned()),
        })?;
        let cursor = self.optional("Field that tells when a record changed")?;
        let since = match &cursor {
            Some(_) => self.optional("Parameter that filters by it")?,
            None => None,
        };
        let key = self.ask_for("Field that identifies a record", "id", super::field)?;
        let (path, records, paging, key) = (Some(path), Some(records), Some(paging), Some(key));
        Ok(Api { url, path, records, key, paging, cursor, since, auth })
    }

    fn graphql(&mut self) -> Result<Api> {
        let url = self.url()?;
        let path = Some(self.ask_for("Path of the endpoint", "/graphql", super::path)?);
        let records = Some(self.ask("Where the nodes of the list are in an answer", "data.items.nodes")?);
        let auth = self.auth()?;
        let cursor = self.optional("Field that tells when a node changed")?;
        let key = Some(self.ask_for("Field that identifies a node", "id", super::field)?);
        Ok(Api { url, path, records, key, paging: None, cursor, since: None, auth })
    }

    fn url(&mut self) -> Result<Option<String>> {
        let parse = |answer: &str| if answer == "config" { Ok(None) } else { super::address(answer).map(Some) };
        self.ask_for("Address that all paths begin with, or config", "config", parse)
    }

    fn auth(&mut self) -> Result<AuthKind> {
        self.ask_for("Authentication: bearer, key, basic, oauth, none", "bearer", |answer| match answer {
            "bearer" => Ok(AuthKind::Bearer),
            "key" => Ok(AuthKind::Key),
            "basic" => Ok(AuthKind::Basic),
            "oauth" => Ok(AuthKind::OAuth),
            "none" => Ok(AuthKind::None),
            _ => Err("bearer, key, basic, oauth or none".to_owned()),
        })
    }

    fn optional(&mut self, question: &str) -> Result<Option<String>> {
        let parse = |answer: &str| if answer == "none" { Ok(None) } else { super::field(answer).map(Some) };
        self.ask_for(question, "none", parse)
    }

    /// Asks which of a document's lists to read.
    pub(super) fn paths(&mut self, lists: &[String]) -> Result<Vec<String>> {
        for path in lists {
            writeln!(self.out, "  {path}").map_err(|e| Fault::local("cannot ask", &e))?;
        }
        let question = format!("Which of these {} lists, with commas, or all", lists.len());
        self.ask_for(&question, "all", |answer| {
            if answer == "all" {
                return Ok(lists.to_vec());
            }
            let chosen: Vec<String> = answer.split(',').map(|path| path.trim().to_owned()).collect();
            match chosen.iter().find(|path| !lists.contains(path)) {
                Some(unknown) => Err(format!("{unknown} is not in the list")),
                None => Ok(chosen),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(lines: &[&str]) -> Questions<'static> {
        let mut lines: Vec<String> = lines.iter().rev().map(|line| (*line).to_owned()).collect();
        Questions { next: Box::new(move || Ok(lines.pop())), out: Box::new(std::io::sink()) }
    }

    #[test]
    fn empty_answers_are_the_defaults() {
        let Start::Rest(api) = answered(&[""; 10]).start().expect("answers") else { panic!("no REST") };
        assert_eq!((api.url, api.path.as_deref(), api.records.as_deref()), (None, Some("/items"), Some("data")));
        assert_eq!((api.auth, api.paging, api.cursor), (AuthKind::Bearer, Some(RestPaging::Page), None));
    }

    #[test]
    fn a_wrong_answer_is_asked_again() {
        let lines = [
            "soap",
            "rest",
            "ftp://x",
            "https://api.example.com/",
            "/tasks",
            ".",
            "basic",
            "link",
            "updated_at",
            "since",
            "gid",
        ];
        let Start::Rest(api) = answered(&lines).start().expect("answers") else { panic!("no REST") };
        assert_eq!(api.url.as_deref(), Some("https://api.example.com"));
        assert_eq!((api.auth, api.since.as_deref(), api.key.as_deref()), (AuthKind::Basic, Some("since"), Some("gid")));
    }

    #[test]
    fn the_end_of_the_input_ends_it() {
        let fault = answered(&["graphql", ""]).start().expect_err("no answer");
        assert_eq!(fault.kind, Kind::Usage);
        assert!(fault.message.contains("nothing was written"), "{fault}");
        assert!(answered(&["x"; 10]).start().expect_err("no answer").message.contains("no valid answer"));
    }
}
