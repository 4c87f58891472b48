//! Scheduler definitions for the tenants' runs: one run for each tenant and tier, or for each tenant's backfill.
//!
//! Input: a [`SchedulePlan`], built from the tenants' configs. Output: the text of a crontab, of a Python file for
//! Airflow or Dagster, of Kubernetes objects, or of a part of a Meltano project. Called by `cli::schedule`.
//! Deterministic: the same plan gives the same text.
//!
//! Definitions contain no secrets: they refer to the config file, and to the variables that it uses. Their fixed text
//! is in `templates`, with a placeholder for each value.

pub mod airflow;
pub mod cron;
pub mod cron_expr;
pub mod dagster;
pub mod jenkins_hash;
pub mod kubernetes;
mod max_age;
pub mod meltano;
pub mod name;
pub mod quote;
mod template;

use std::time::Duration;

use crate::base::fault::{Fault, Result};
use crate::pace::limiter::Priority;
use cron_expr::Times;

/// How long after its deadline a run may continue, so that the target can load what it has.
const GRACE: Duration = Duration::from_secs(10 * 60);
/// The name part for backfills.
const BACKFILL: &str = "backfill";

/// Everything to define.
#[derive(Debug, Clone)]
pub struct SchedulePlan {
    /// The command that generated it.
    pub made_by: String,
    /// The folder in which it was generated and in which runs start: relative paths refer to it.
    pub folder: String,
    /// The program in commands for this machine.
    pub program: String,
    /// Is it for backfills? Then it contains nothing else.
    pub backfill: bool,
    /// The tenants, sorted by name.
    pub tenants: Vec<Tenant>,
}

/// A tenant and its runs.
#[derive(Debug, Clone)]
pub struct Tenant {
    /// The source's name.
    pub source: String,
    /// The tenant's name.
    pub name: String,
    /// The path of its config.
    pub config: String,
    /// The value of `--source` in its commands, if the config does not have the source.
    pub source_option: Option<String>,
    /// The manifest, if the source is not built in.
    pub manifest: Option<String>,
    /// The value of `--target` in its commands, if the config does not have the target.
    pub target_option: Option<String>,
    /// The target's executable.
    pub target: String,
    /// The environment variables that its config uses.
    pub variables: Vec<String>,
    /// The files that its config uses.
    pub files: Vec<String>,
    /// The state directory in its config.
    pub state_dir: Option<String>,
    /// The longest time that a run reads.
    pub deadline: Option<Duration>,
    /// The scheduled runs.
    pub runs: Vec<Run>,
    /// Tiers without a schedule.
    pub unscheduled: Vec<String>,
}

/// One scheduled run.
#[derive(Debug, Clone)]
pub struct Run {
    /// The name of the tier; `None` for a backfill.
    pub tier: Option<String>,
    /// The schedule; `None` for a backfill.
    pub times: Option<Times>,
    /// The priority.
    pub priority: Priority,
    /// Further command-line options with their values.
    pub options: Vec<(&'static str, String)>,
}

impl Run {
    /// The part of the run's name: tier or backfill.
    fn slot(&self) -> &str {
        self.tier.as_deref().unwrap_or(BACKFILL)
    }
}

impl Tenant {
    /// The command of a run, with the given config path and source.
    fn command(&self, run: &Run, config: &str, source: Option<&str>) -> Vec<String> {
        let options = source.map(|source| ("--source", source)).into_iter();
        let options = options.chain([("--config", config)]);
        let options = options.chain(run.tier.as_deref().map(|tier| ("--tier", tier)));
        let options = options.chain(run.options.iter().map(|(name, value)| (*name, &**value)));
        let options = options.chain(self.target_option.as_deref().map(|target| ("--target", target)));
        let words = options.flat_map(|(name, value)| {
            // A value that begins with `-` would be parsed as an option.
            if value.starts_with('-') { vec![format!("{name}={value}")] } else { vec![name.into(), value.into()] }
        });
        ["dripfeed".to_owned(), "sync".into()].into_iter().chain(words).collect()
    }

    /// The command of a run on a machine with this program, and the configs at their current paths.
    fn words_with(&self, program: &str, run: &Run) -> Vec<String> {
        let mut words = self.words(run);
        program.clone_into(&mut words[0]);
        words
    }

    /// The command of a run on a machine with the configs at their current paths.
    fn words(&self, run: &Run) -> Vec<String> {
        self.command(run, &self.config, self.source_option.as_deref())
    }

    /// Refuses values that would end a line or be invisible in it.
    fn seen(&self) -> Result<()> {
        let own = [&self.source, &self.name, &self.config, &self.target].into_iter();
        let options = [&self.source_option, &self.manifest, &self.target_option, &self.state_dir].into_iter().flatten();
        let runs = self.runs.iter().flat_map(|run| run.tier.iter().chain(run.options.iter().map(|(_, value)| value)));
        let lists = self.files.iter().chain(&self.variables).chain(&self.unscheduled);
        match own.chain(options).chain(runs).chain(lists).find(|text| text.contains(quote::unseen)) {
            Some(text) => {
                Err(Fault::config(format!("{}: {text:?} contains an invisible character or a line break", self.config))
                    .hint("no definition can contain it: remove the character"))
            }
            None => Ok(()),
        }
    }

    /// When a scheduler should kill a run that does not end by itself.
    fn limit(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline + GRACE)
    }

    /// The tenant's name in a comment.
    fn title(&self) -> String {
        let left: String = self.unscheduled.iter().map(|tier| format!(" (not scheduled: {tier})")).collect();
        format!("{} of {}{left}", self.name, self.source)
    }
}

impl SchedulePlan {
    /// Sorts the tenants; refuses values that no definition can contain, and duplicate tenants.
    pub fn new(made_by: String, folder: String, backfill: bool, mut tenants: Vec<Tenant>) -> Result<SchedulePlan> {
        tenants.iter().try_for_each(Tenant::seen)?;
        if folder.contains(quote::unseen) {
            return Err(Fault::config(format!("the name of the folder {folder:?} contains an invisible character"))
                .hint("runs start in the folder in which `schedule` runs: run it in another folder"));
        }
        tenants.sort_by(|a, b| (&a.source, &a.name).cmp(&(&b.source, &b.name)));
        for pair in tenants.windows(2) {
            let [a, b] = pair else { continue };
            if (&a.source, &a.name) == (&b.source, &b.name) {
                return Err(Fault::config(format!(
                    "{} and {} both describe the tenant `{}` of {}: they would share its state",
                    a.config, b.config, a.name, a.source
                ))
                .hint("give one of them another name (dripfeed.tenant)"));
            }
        }
        Ok(SchedulePlan { made_by, folder, program: "dripfeed".into(), backfill, tenants })
    }

    /// Names the program in commands for this machine; refuses one that no line can contain.
    pub fn run_by(self, program: String) -> Result<SchedulePlan> {
        if program.is_empty() || program.contains(quote::unseen) {
            return Err(Fault::config(format!(
                "the program's path {program:?} is empty or holds a line's end or such"
            ))
            .hint("name another with --program"));
        }
        Ok(SchedulePlan { program, ..self })
    }

    /// Each run with its tenant, in order.
    fn runs(&self) -> impl Iterator<Item = (&Tenant, &Run)> {
        self.tenants.iter().flat_map(|tenant| tenant.runs.iter().map(move |run| (tenant, run)))
    }

    /// A name for each run in the scheduler's syntax: source, tenant and slot.
    fn names(&self, rule: &name::Rule) -> Vec<String> {
        let parts = self.runs().map(|(tenant, run)| vec![&*tenant.source, &*tenant.name, run.slot()]);
        rule.names(parts.collect())
    }

    /// A name for each tenant: source and tenant.
    fn tenant_names(&self, rule: &name::Rule) -> Vec<String> {
        rule.names(self.tenants.iter().map(|tenant| vec![&*tenant.source, &*tenant.name]).collect())
    }

    /// The comment at the top of a definition: its content, its tenants, and the command that generated it.
    fn header(&self, template: &str, values: &[(&str, &str)]) -> String {
        let what = if self.backfill { "backfills" } else { "runs" };
        let count = self.count();
        let own = [("what", what), ("tenants", &*count), ("made_by", &*self.made_by)];
        comment(&template::fill(template, &[&own, values].concat()))
    }

    /// `3 tenants`.
    fn count(&self) -> String {
        match self.tenants.len() {
            1 => "one tenant".into(),
            count => format!("{count} tenants"),
        }
    }
}

/// The priority of a run as a number.
fn weight(priority: Priority) -> u32 {
    match priority {
        Priority::Hourly => 100,
        Priority::Daily => 10,
        Priority::Backfill => 1,
    }
}

/// Indents each line by `by`; empty lines stay empty.
fn indented(text: &str, by: &str) -> String {
    text.lines().map(|line| if line.is_empty() { "\n".into() } else { format!("{by}{line}\n") }).collect()
}

/// A text as comment lines: paragraphs are wrapped, indented lines stay as they are.
fn comment(text: &str) -> String {
    const WIDTH: usize = 100;
    let (mut lines, mut filling) = (Vec::<String>::new(), false);
    for line in text.lines() {
        if line.is_empty() || line.starts_with(' ') {
            lines.push(line.to_owned());
            filling = false;
            continue;
        }
        for word in line.split(' ') {
            match lines.last_mut().filter(|last| filling && last.chars().count() + word.chars().count() < WIDTH) {
                Some(last) => *last += &format!(" {word}"),
                None => lines.push(word.to_owned()),
            }
            filling = true;
        }
    }
    lines.iter().map(|line| if line.is_empty() { "#\n".into() } else { format!("# {line}\n") }).collect()
}
