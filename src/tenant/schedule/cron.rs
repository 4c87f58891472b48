//! A crontab, for one machine.
//!
//! Input: a plan. Output: one line per run, or the commands as comments for backfills. Called by `cli::schedule`.

use super::name::Rule;
use super::{Run, SchedulePlan, Tenant, quote};
use crate::base::fault::{Fault, Result};

/// The naming rule for log files.
const NAMES: Rule = Rule { joint: '-', more: "-_.", upper: true, longest: 100 };
/// Debian's cron refuses longer lines.
const LONGEST: usize = 990;
const HEADER: &str = include_str!("templates/cron/header.txt.tmpl");
const BACKFILLS: &str = include_str!("templates/cron/backfills.txt.tmpl");

/// The shell script that starts a run, as a crontab variable: the length of a crontab line is limited.
const RUN: &str = concat!(
    r#"RUN='cd "$HERE" && mkdir -p "$LOGS" || exit; log="$LOGS/$0.log"; "#,
    r#"set -a; [ ! -r "$1" ] || . "$1"; set +a; shift; "#,
    r#"for wait in 60 600 0; do "$@" >> "$log" 2>&1; code=$?; "#,
    r#"case $code-$wait in 0-*|75-*|76-*) exit 0;; 69-[1-9]*|60-60) sleep $wait;; *) break;; esac; done; "#,
    r#"echo "$0: exit code $code; the end of $LOGS/$0.log:"; tail -n 30 "$log"; exit $code'"#,
);

/// Writes the definitions.
pub fn write(plan: &SchedulePlan) -> Result<String> {
    if plan.backfill { Ok(backfills(plan)) } else { crontab(plan) }
}

fn crontab(plan: &SchedulePlan) -> Result<String> {
    let mut out = plan.header(HEADER, &[]);
    out += "\nSHELL=/bin/sh\nPATH=/usr/local/bin:/usr/bin:/bin\nMAILTO=root\n";
    out += &format!("HERE={}\nLOGS=logs\n{RUN}\n", plan.folder);
    let mut names = plan.names(&NAMES).into_iter();
    for tenant in &plan.tenants {
        out += &format!("\n# {}", tenant.title());
        if !tenant.variables.is_empty() {
            out += &format!("; {} sets {}", environment(tenant), tenant.variables.join(", "));
        }
        out.push('\n');
        for (run, name) in tenant.runs.iter().zip(&mut names) {
            out += &line(tenant, run, (&plan.program, &name))?;
        }
    }
    Ok(out)
}

fn line(tenant: &Tenant, run: &Run, (program, name): (&str, &str)) -> Result<String> {
    let when = run.times.as_ref().map(ToString::to_string).unwrap_or_default();
    let environment = if tenant.variables.is_empty() { "/dev/null".into() } else { environment(tenant) };
    let mut words = vec![name.to_owned(), environment];
    words.extend(tenant.words_with(program, run));
    let line = format!("{when}  sh -c \"$RUN\" {}\n", quote::cron(&words));
    if line.len() > LONGEST {
        return Err(Fault::config(format!("{}: the command is too long for a crontab line", tenant.config))
            .hint("set the target in the config (dripfeed.target) instead of with --target"));
    }
    Ok(line)
}

/// The file with a tenant's environment variables.
fn environment(tenant: &Tenant) -> String {
    let stem = tenant.config.strip_suffix(".json").unwrap_or(&tenant.config);
    format!("{stem}.env")
}

fn backfills(plan: &SchedulePlan) -> String {
    let command = |(tenant, run): (&Tenant, &Run)| {
        let (title, command) = (tenant.title(), quote::command(&tenant.words_with(&plan.program, run)));
        format!("\n{title}\n\n    until {command}; do case $? in 75|76) sleep 60;; *) break;; esac; done\n")
    };
    let commands: String = plan.runs().map(command).collect();
    plan.header(BACKFILLS, &[("folder", &quote::shell(&plan.folder)), ("commands", &commands)])
}
