//! The command line.
//!
//! Input: arguments ([`args`]). Output: what a verb prints, and an exit code. Called by `main`. Each verb has a file;
//! `run` and the other wings do the work. Start reading at [`run`].

pub mod args;
mod discover;
pub mod drift;
pub mod groups;
mod init;
pub mod schedule;
mod sources;
mod spec;
pub mod status;
mod sync;
mod test;
mod validate;

use parking_lot::Mutex;
use std::io::Write;
use std::sync::Arc;

use clap::CommandFactory as _;

use crate::base::config::references::{Needed, References};
use crate::base::display::number_of;
use crate::base::display::terminal::{Look, Style};
use crate::base::fault::{Fault, Kind, Result, guarded};
use crate::base::stop::Stop;
use crate::protocol::{Out, Protocol, Sink};
use crate::run::check;
use crate::run::context::Context;
use crate::run::log::{Level, Log};
use crate::run::read::read;
use crate::sandbox::Sandbox;
pub use args::{Cli, Named, Verb, parse};

/// Runs a command; returns its exit code. `pipe` states whether `out` is a pipe.
pub fn run(cli: &Cli, named: Option<&Named>, stop: &Arc<Stop>, out: Box<dyn Write + Send>, pipe: bool) -> u8 {
    let mut options = cli.run_options();
    // Schedulers that generate the arguments themselves pass the tenant's config in a variable.
    let tenant = std::env::var("DRIPFEED_CONFIG").ok().filter(|path| !path.is_empty());
    options.config.splice(0..0, tenant);
    let unfinished_ok = cli.unfinished_ok();
    let protocol = cli.protocol().or(named.map(|n| n.protocol)).map_or(Protocol::Singer, Protocol::from);
    let out: Out = Arc::new(Mutex::new(Sink::new(out, pipe)));
    let to = (protocol == Protocol::Airbyte).then(|| out.clone());
    let log = match Log::new(&options.log, to) {
        Ok(log) => Arc::new(log),
        Err(fault) => {
            let label = Look::of(&std::io::stderr()).paint(Style::Bad, "error");
            let _ = writeln!(std::io::stderr(), "{label}   {fault}");
            return fault.kind.exit_code();
        }
    };
    let named = named.and_then(|n| n.source.clone());
    let environment = std::env::var("DRIPFEED_SOURCE").ok().filter(|source| !source.is_empty());
    let keeps = matches!(cli.verb, Some(Verb::Sync(_)));
    // The verbs that look at earlier runs call no vendor.
    let looks = matches!(cli.verb, Some(Verb::Status(_) | Verb::Drift(_)));
    let needed = if looks { Needed::Identity } else { Needed::All };
    // In Airbyte's protocol whoever fills in a form writes the config.
    let trusted = protocol == Protocol::Singer || std::env::var("DRIPFEED_ALLOW_REFERENCES").is_ok_and(|v| v == "1");
    let references = Arc::new(References::new(options.env_files.clone(), trusted, stop.clone()));
    let stop = stop.clone();
    let context = Context { options, environment, named, protocol, stop, log, references, needed, keeps, out };
    let done = guarded(|| verb(cli, &context)).and_then(|code| context.out.lock().flush().map(|()| code));
    let goes_on = [Kind::Unfinished, Kind::Busy];
    let kind = match done {
        Ok(0) => return 0,
        Ok(code) if unfinished_ok && goes_on.iter().any(|kind| kind.exit_code() == code) => return 0,
        Ok(code) if protocol == Protocol::Singer || code == Kind::Usage.exit_code() || code > 128 => return code,
        // The platform distinguishes only success and failure.
        Ok(_) => return 1,
        Err(fault) if fault.kind == Kind::Downstream && cli.only_prints() => return 0,
        Err(fault) => {
            context.failed(&fault);
            fault.kind
        }
    };
    match (protocol, kind) {
        _ if unfinished_ok && goes_on.contains(&kind) => 0,
        (Protocol::Singer, _) | (_, Kind::Signal(_) | Kind::Usage) => kind.exit_code(),
        (Protocol::Airbyte, _) => 1,
    }
}

/// The look of stdout.
pub(super) fn look() -> Look {
    Look::of(&std::io::stdout())
}

fn verb(cli: &Cli, context: &Context) -> Result<u8> {
    let singer = &cli.singer;
    let done = |()| 0;
    if singer.version {
        return context.text(concat!("dripfeed ", env!("CARGO_PKG_VERSION"), "\n")).map(done);
    }
    if singer.about {
        return spec::about(context, singer.format.unwrap_or_default()).map(done);
    }
    match &cli.verb {
        Some(Verb::Spec(asked)) => spec::spec(context, asked).map(done),
        Some(Verb::Check(_)) => check::check(context).map(done),
        Some(Verb::Discover(asked)) => discover::discover(context, asked.inferring()).map(done),
        Some(Verb::Read(_)) => read(context),
        Some(Verb::Sync(asked)) => sync::run(context, &asked.target),
        Some(Verb::Status(asked)) => status::run(context, asked),
        Some(Verb::Schedule(asked)) => schedule::run(context, asked).map(done),
        Some(Verb::Drift(asked)) => drift::run(context, asked),
        Some(Verb::Sources(asked)) => sources::sources(context, asked).map(done),
        Some(Verb::Test(asked)) => test::test(context, asked),
        Some(Verb::Init(asked)) => init::init(context, asked).map(done),
        Some(Verb::Validate(asked)) => validate::validate(context, asked).map(done),
        Some(Verb::Sandbox(asked)) => {
            let settings = &asked.settings;
            let sandbox = Sandbox::start(settings)?;
            context.text(&format!("{}\n", sandbox.url()))?;
            context.out.lock().flush()?;
            let (tasks, url, token) = (settings.tasks, sandbox.url(), crate::sandbox::TOKEN);
            context
                .log
                .line(Level::Info, &format!("the sandbox serves {} at {url}, token {token}", number_of(tasks, "task")));
            context.stop.sleep(std::time::Duration::from_secs(u64::from(u32::MAX)))?;
            Ok(0)
        }
        Some(Verb::Completions { shell }) => {
            let mut text = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "dripfeed", &mut text);
            context.out.lock().lines(&text).map(done)
        }
        Some(Verb::Man) => {
            let mut text = Vec::new();
            clap_mangen::Man::new(Cli::command())
                .render(&mut text)
                .map_err(|e| Fault::local("cannot write the manual page", &e))?;
            context.out.lock().lines(&text).map(done)
        }
        // The Singer flag form. Discovery and test take precedence over a sync, whatever else is passed.
        None if singer.discover => discover::discover(context, None).map(done),
        None if singer.test.is_some() => check::check(context).map(done),
        None if context.options.config.is_empty() && context.named_source().is_none() => {
            if cli.is_bare {
                return context.text(&args::overview()).map(done);
            }
            let fault = Fault::new(Kind::Usage, "no verb is given, and the Singer flags need a source or a config");
            Err(fault.hint("try `dripfeed read --source sandbox`, or pass --config; `dripfeed -h` lists the verbs"))
        }
        None => read(context),
    }
}
