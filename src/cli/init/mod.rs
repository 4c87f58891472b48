//! The verb `init`: writes a new source.
//!
//! Input: the arguments, or answers on a terminal. Output: a manifest, a config, `.env.example` and lines of
//! `.gitignore`; the next commands on stdout. Called by [`super::run`]. The texts come from `manifest::scaffold`,
//! [`questions`] asks, [`files`] writes.

mod files;
mod questions;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::base::fault::{Fault, Kind, Result};
use crate::manifest::scaffold::openapi::{self, Description, Wishes};
use crate::manifest::scaffold::rest::{Api, AuthKind, RestPaging};
use crate::manifest::scaffold::{Scaffold, from_builtin, graphql, rest};
use crate::manifest::schema;
use crate::run::context::Context;
use crate::tenant::schedule::quote::shell as quoted;
use questions::Questions;

/// More lists of a document than this are not all taken without a choice.
const MANY: usize = 20;

/// The longest name.
const MAX_NAME: usize = 64;

/// Where editors find the schema of manifests, beside a manifest.
const SCHEMA_FILE: &str = ".dripfeed/manifest.schema.json";

/// The arguments of `init`.
#[derive(Debug, Clone, Args)]
pub struct InitArgs {
    /// The source's name: letters, digits, `-` and `_`
    #[arg(value_parser = name)]
    name: String,
    /// Write into this folder, not into the current one
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Replace files that exist
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    mode: ModeArgs,
    #[command(flatten)]
    api: ApiArgs,
}

/// What a source starts from. Without any of them, questions are asked on a terminal.
#[derive(Debug, Clone, Args)]
#[group(id = "mode", multiple = false)]
struct ModeArgs {
    /// A copy of a built-in source
    #[arg(long, value_name = "SOURCE", help_heading = "Start from")]
    from: Option<String>,
    /// A REST API, by the flags below
    #[arg(long, help_heading = "Start from")]
    rest: bool,
    /// A GraphQL API with connections, by the flags below
    #[arg(long, help_heading = "Start from")]
    graphql: bool,
    /// An OpenAPI 3 or Swagger 2 document, JSON or YAML
    #[arg(long, value_name = "FILE", help_heading = "Start from")]
    openapi: Option<PathBuf>,
}

/// What is known of the API.
#[derive(Debug, Clone, Args)]
struct ApiArgs {
    /// With --openapi: the lists to read [else all, up to 20]
    #[arg(long, value_name = "/A,/B", value_delimiter = ',', requires = "openapi", help_heading = "The API")]
    paths: Vec<String>,
    /// The address that all paths begin with [else a config key]
    #[arg(long, value_name = "URL", value_parser = address, requires = "mode", help_heading = "The API")]
    url: Option<String>,
    /// The path of the list [else items], or of the GraphQL endpoint
    #[arg(long, value_name = "PATH", value_parser = path, requires = "mode", help_heading = "The API")]
    path: Option<String>,
    /// Where the list is in an answer: data.items; `.` is the answer
    #[arg(long, value_name = "A.B", requires = "mode", help_heading = "The API")]
    records: Option<String>,
    /// The field that identifies a record [else id]
    #[arg(long, value_name = "FIELD", value_parser = field, requires = "mode", help_heading = "The API")]
    key: Option<String>,
    /// How the list is paged: page (default), offset, token, link or none
    #[arg(
        long,
        value_enum,
        value_name = "HOW",
        hide_possible_values = true,
        requires = "rest",
        help_heading = "The API"
    )]
    paging: Option<PagingArg>,
    /// The field that tells when a record changed
    #[arg(long, value_name = "FIELD", value_parser = field, requires = "mode", help_heading = "The API")]
    cursor: Option<String>,
    /// The parameter that filters by it, as updated_since
    #[arg(long, value_name = "PARAMETER", requires = "rest", requires = "cursor", help_heading = "The API")]
    since: Option<String>,
    /// Authentication: bearer (default), key, basic, oauth or none
    #[arg(
        long,
        value_enum,
        value_name = "HOW",
        hide_possible_values = true,
        requires = "mode",
        help_heading = "The API"
    )]
    auth: Option<AuthArg>,
}

/// How a list is paged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PagingArg {
    /// Page numbers
    Page,
    /// The number of records so far
    Offset,
    /// A token in the answer
    Token,
    /// A link in the answer
    Link,
    /// One page
    None,
}

/// How requests are authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum AuthArg {
    /// `Authorization: Bearer`
    Bearer,
    /// A key in a header or a parameter
    Key,
    /// User name and password
    Basic,
    /// OAuth 2.0 with a refresh token
    Oauth,
    /// Nothing
    None,
}

impl From<PagingArg> for RestPaging {
    fn from(paging: PagingArg) -> Self {
        match paging {
            PagingArg::Page => RestPaging::Page,
            PagingArg::Offset => RestPaging::Offset,
            PagingArg::Token => RestPaging::Token,
            PagingArg::Link => RestPaging::Link,
            PagingArg::None => RestPaging::None,
        }
    }
}

impl From<AuthArg> for AuthKind {
    fn from(auth: AuthArg) -> Self {
        match auth {
            AuthArg::Bearer => AuthKind::Bearer,
            AuthArg::Key => AuthKind::Key,
            AuthArg::Basic => AuthKind::Basic,
            AuthArg::Oauth => AuthKind::OAuth,
            AuthArg::None => AuthKind::None,
        }
    }
}

/// Parses a name, which becomes a file name and a part of variables.
fn name(text: &str) -> std::result::Result<String, String> {
    let is_plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    if is_plain && starts && text.len() <= MAX_NAME {
        return Ok(text.to_owned());
    }
    Err("a name has letters, digits, `-` and `_`, and starts with a letter or digit; --dir takes a folder".to_owned())
}

/// Parses an address.
fn address(text: &str) -> std::result::Result<String, String> {
    let is_url = text.starts_with("https://") || text.starts_with("http://");
    let is_plain = !text.contains(|c: char| c.is_whitespace() || "'\"{}\\".contains(c));
    let url = text.trim_end_matches('/').to_owned();
    if is_url && is_plain { Ok(url) } else { Err("an address is like https://api.example.com/v1".to_owned()) }
}

/// Parses a path.
fn path(text: &str) -> std::result::Result<String, String> {
    let is_plain = !text.contains(|c: char| c.is_whitespace() || "'\"{}\\".contains(c)) && !text.contains("://");
    if is_plain {
        Ok(text.to_owned())
    } else {
        Err("a path is like /tasks; --url takes the address before it".to_owned())
    }
}

/// Parses the name of a field.
fn field(text: &str) -> std::result::Result<String, String> {
    let is_plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-$@".contains(&b));
    if is_plain { Ok(text.to_owned()) } else { Err("a field of a record is like updated_at".to_owned()) }
}

/// Writes a new source.
pub(super) fn init(context: &Context, asked: &InitArgs) -> Result<()> {
    let scaffold = scaffold(context, asked)?;
    let folder = asked.dir.as_deref().unwrap_or(Path::new(""));
    let name = &asked.name;
    let mut files = files::NewFiles::new(folder, asked.force);
    let comment = format!("# yaml-language-server: $schema={SCHEMA_FILE}\n");
    files.add(&format!("{name}.yaml"), &format!("{comment}{}", scaffold.manifest));
    files.add(&format!("{name}.json"), &scaffold.config);
    for (path, text) in &scaffold.schemas {
        files.add(path, text);
    }
    files.derive(SCHEMA_FILE, &format!("{:#}\n", schema::schema()));
    let blocks = files::blocks(&scaffold.env_example);
    let has_variables = blocks.iter().any(|block| files::assigns(block));
    if has_variables {
        files.append(".env.example", &blocks)?;
    }
    files.append(".gitignore", &[".env", "state*.json", "messages.jsonl"].map(str::to_owned))?;
    // Whoever pressed Ctrl-C wants no files.
    if let Some(kind @ Kind::Signal(_)) = context.stop.asked() {
        return Err(Fault::new(kind, "stopped"));
    }
    let written = files.write()?;
    context.text(&report(asked, &scaffold, &written, has_variables))
}

/// The texts of the new source.
fn scaffold(context: &Context, asked: &InitArgs) -> Result<Scaffold> {
    let (name, mode) = (&asked.name, &asked.mode);
    if let Some(source) = &mode.from {
        refuse_with(asked, "--from", &[])?;
        return from_builtin::scaffold(name, source);
    }
    if mode.rest {
        return Ok(Scaffold::of(&rest::plan(name, &asked.api.api())?));
    }
    if mode.graphql {
        return Ok(Scaffold::of(&graphql::plan(name, &asked.api.api())?));
    }
    if let Some(file) = &mode.openapi {
        refuse_with(asked, "--openapi", &["--url", "--auth"])?;
        let wishes = Wishes {
            paths: asked.api.paths.clone(),
            url: asked.api.url.clone(),
            auth: asked.api.auth.map(AuthKind::from),
            ..Wishes::default()
        };
        return from_document(context, name, file, wishes);
    }
    let Some(mut questions) = Questions::on_terminal(&context.stop) else {
        let fault = Fault::new(Kind::Usage, "there is no terminal to ask on, and no flag tells what to start from");
        return Err(
            fault.hint("give --from SOURCE, --rest, --graphql or --openapi FILE; `dripfeed init -h` has the others")
        );
    };
    match questions.start()? {
        questions::Start::Rest(api) => Ok(Scaffold::of(&rest::plan(name, &api)?)),
        questions::Start::Graphql(api) => Ok(Scaffold::of(&graphql::plan(name, &api)?)),
        questions::Start::Builtin(source) => from_builtin::scaffold(name, &source),
        questions::Start::Openapi(file) => from_document(context, name, &file, Wishes::default()),
    }
}

/// Refuses flags that mean nothing in a mode.
fn refuse_with(asked: &InitArgs, mode: &str, allowed: &[&str]) -> Result<()> {
    let api = &asked.api;
    let given = [
        ("--url", api.url.is_some()),
        ("--path", api.path.is_some()),
        ("--records", api.records.is_some()),
        ("--key", api.key.is_some()),
        ("--cursor", api.cursor.is_some()),
        ("--auth", api.auth.is_some()),
    ];
    match given.into_iter().find(|(flag, is_given)| *is_given && !allowed.contains(flag)) {
        Some((flag, _)) => Err(Fault::new(Kind::Usage, format!("{flag} means nothing with {mode}"))),
        None => Ok(()),
    }
}

/// The source of a document; without chosen paths, that of its lists.
fn from_document(context: &Context, name: &str, file: &Path, wishes: Wishes) -> Result<Scaffold> {
    let shown = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|e| Fault::config(format!("cannot read {shown}: {e}")))?;
    let document = Description::read(&text, &shown)?;
    let mut wishes = Wishes { file: file.file_name().unwrap_or_default().to_string_lossy().into_owned(), ..wishes };
    if wishes.paths.is_empty() {
        wishes.paths = chosen_lists(context, &document, &shown)?;
    }
    Ok(Scaffold::of(&openapi::plan(name, &document, &wishes)?))
}

/// The lists to read, if no flag names them.
fn chosen_lists(context: &Context, document: &Description, shown: &str) -> Result<Vec<String>> {
    let lists = openapi::lists(document);
    if lists.is_empty() {
        let fault = Fault::new(Kind::Usage, format!("no GET of {shown} is recognized as a list of records"));
        return Err(fault.hint("name paths with --paths"));
    }
    if lists.len() <= MANY {
        return Ok(lists);
    }
    if let Some(mut questions) = Questions::on_terminal(&context.stop) {
        return questions.paths(&lists);
    }
    let text: String = lists.iter().map(|path| format!("{path}\n")).collect();
    context.text(&text)?;
    context.out.lock().flush()?;
    let fault = Fault::new(Kind::Usage, format!("{shown} has {} lists, and --paths chooses none", lists.len()));
    Err(fault.hint(format!("choose from the list on stdout: --paths {}", lists[..2].join(","))))
}

impl ApiArgs {
    fn api(&self) -> Api {
        Api {
            url: self.url.clone(),
            path: self.path.clone(),
            records: self.records.clone(),
            key: self.key.clone(),
            paging: self.paging.map(RestPaging::from),
            cursor: self.cursor.clone(),
            since: self.since.clone(),
            auth: self.auth.map_or(AuthKind::Bearer, AuthKind::from),
        }
    }
}

/// What was written, and what to type next.
fn report(asked: &InitArgs, scaffold: &Scaffold, written: &[String], has_variables: bool) -> String {
    let folder = asked.dir.as_deref().unwrap_or(Path::new(""));
    let file = |end: &str| quoted(&folder.join(format!("{}{end}", asked.name)).display().to_string());
    let in_folder = |name: &str| quoted(&folder.join(name).display().to_string());
    let (manifest, config) = (file(".yaml"), file(".json"));
    let mut out = format!("wrote {}\n", written.join(", "));
    let count = scaffold.decisions();
    if count > 0 {
        let comments = if count == 1 { "1 comment" } else { &format!("{count} comments") };
        out += &format!("\n{comments} with `decide:` in {manifest} mark what you must look at.\n");
    }
    if !scaffold.open_keys.is_empty() {
        let keys = scaffold.open_keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
        out += &format!("\nFill in {keys} in {config}.\n");
    }
    let mut environment = String::new();
    if has_variables {
        let (example, env) = (in_folder(".env.example"), in_folder(".env"));
        // Others on the machine must not read what is filled in.
        out += &format!("\nFill in the secrets in {env}:\n  cp {example} {env} && chmod 600 {env}\n");
        environment = format!(" --env-file {env}");
    }
    let arguments = format!("--source {manifest} --config {config}{environment}");
    out + &format!(
        "\nNext:\n  dripfeed validate {manifest}\n  dripfeed test {arguments}\n  \
         dripfeed read {arguments} > messages.jsonl\n  \
         dripfeed sync {arguments} --target target-jsonl\n"
    )
}
