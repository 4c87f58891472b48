//! The tenants' runs as a scheduler's definitions: one run for each tenant and tier, or for each tenant's backfill.
//!
//! Input: a [`SchedulePlan`], made of the tenants' configs. Output: the text of a crontab, of a Python file for
//! Airflow or Dagster, of Kubernetes objects, of a part of a Meltano project. Called by `cli::schedule`. Pure: the same
//! plan gives the same text.
//!
//! Nothing here has seen a secret: definitions name the config's file, and the variables that it refers to. Their fixed
//! text is in `templates`, with a place for each value.

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

/// How long a run may go on after its deadline, for the target to load what it has.
const GRACE: Duration = Duration::from_secs(10 * 60);
/// The name of what belongs to backfills.
const BACKFILL: &str = "backfill";

/// All that is to be defined.
#[derive(Debug, Clone)]
pub struct SchedulePlan {
    /// The command that made it.
    pub made_by: String,
    /// The folder in which it was made, and in which runs start: paths mean the same there.
    pub folder: String,
    /// Is it of backfills? Then it holds nothing else.
    pub backfill: bool,
    /// The tenants, in the order of their names.
    pub tenants: Vec<Tenant>,
}

/// A tenant and its runs.
#[derive(Debug, Clone)]
pub struct Tenant {
    /// The source's name.
    pub source: String,
    /// Its own name.
    pub name: String,
    /// The path of its config.
    pub config: String,
    /// What `--source` says in its commands, where the config does not name the source.
    pub source_option: Option<String>,
    /// Its manifest, where the source is none that is built in.
    pub manifest: Option<String>,
    /// What `--target` says in its commands, where the config does not name the target.
    pub target_option: Option<String>,
    /// The target's executable.
    pub target: String,
    /// The environment variables that its config refers to.
    pub variables: Vec<String>,
    /// The files that its config refers to.
    pub files: Vec<String>,
    /// The state directory that its config names.
    pub state_dir: Option<String>,
    /// How long a run reads at most.
    pub deadline: Option<Duration>,
    /// What is run.
    pub runs: Vec<Run>,
    /// The tiers that have no schedule.
    pub unscheduled: Vec<String>,
}

/// What is run.
#[derive(Debug, Clone)]
pub struct Run {
    /// A tier's name; nothing for a backfill.
    pub tier: Option<String>,
    /// When; nothing for a backfill.
    pub times: Option<Times>,
    /// What goes first.
    pub priority: Priority,
    /// What else its command says: each option with its value.
    pub options: Vec<(&'static str, String)>,
}

impl Run {
    /// The word of it for names.
    fn slot(&self) -> &str {
        self.tier.as_deref().unwrap_or(BACKFILL)
    }
}

impl Tenant {
    /// The command of a run, with the config and the source where it finds them.
    fn command(&self, run: &Run, config: &str, source: Option<&str>) -> Vec<String> {
        let options = source.map(|source| ("--source", source)).into_iter();
        let options = options.chain([("--config", config)]);
        let options = options.chain(run.tier.as_deref().map(|tier| ("--tier", tier)));
        let options = options.chain(run.options.iter().map(|(name, value)| (*name, &**value)));
        let options = options.chain(self.target_option.as_deref().map(|target| ("--target", target)));
        let words = options.flat_map(|(name, value)| {
            // A value that begins with `-` would be taken for an option.
            if value.starts_with('-') { vec![format!("{name}={value}")] } else { vec![name.into(), value.into()] }
        });
        ["dripfeed".to_owned(), "sync".into()].into_iter().chain(words).collect()
    }

    /// The command of a run on a machine that has the configs where they are now.
    fn words(&self, run: &Run) -> Vec<String> {
        self.command(run, &self.config, self.source_option.as_deref())
    }

    /// Refuses what would end a line, or hide in it.
    fn seen(&self) -> Result<()> {
        let own = [&self.source, &self.name, &self.config, &self.target].into_iter();
        let options = [&self.source_option, &self.manifest, &self.target_option, &self.state_dir].into_iter().flatten();
        let runs = self.runs.iter().flat_map(|run| run.tier.iter().chain(run.options.iter().map(|(_, value)| value)));
        let lists = self.files.iter().chain(&self.variables).chain(&self.unscheduled);
        match own.chain(options).chain(runs).chain(lists).find(|text| text.contains(quote::unseen)) {
            Some(text) => Err(Fault::config(format!(
                "{}: {text:?} holds a character that is not seen, or a line's end",
                self.config
            ))
            .hint("no definition can hold it: write it without")),
            None => Ok(()),
        }
    }

    /// When a scheduler should end a run that did not end by itself.
    fn limit(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline + GRACE)
    }

    /// The tenant in a comment.
    fn title(&self) -> String {
        let left: String = self.unscheduled.iter().map(|tier| format!(" (not scheduled: {tier})")).collect();
        format!("{} of {}{left}", self.name, self.source)
    }
}

impl SchedulePlan {
    /// Puts tenants into order; refuses what no definition can hold, and a tenant that comes twice.
    pub fn new(made_by: String, folder: String, backfill: bool, mut tenants: Vec<Tenant>) -> Result<SchedulePlan> {
        tenants.iter().try_for_each(Tenant::seen)?;
        if folder.contains(quote::unseen) {
            return Err(Fault::config(format!("the name of the folder {folder:?} holds a character that is not seen"))
                .hint("runs start in the folder in which `schedule` is called: call it in another"));
        }
        tenants.sort_by(|a, b| (&a.source, &a.name).cmp(&(&b.source, &b.name)));
        for pair in tenants.windows(2) {
            let [a, b] = pair else { continue };
            if (&a.source, &a.name) == (&b.source, &b.name) {
                return Err(Fault::config(format!(
                    "{} and {} are both of the tenant `{}` of {}: they would share its state",
                    a.config, b.config, a.name, a.source
                ))
                .hint("give one of them another name: dripfeed.tenant"));
            }
        }
        Ok(SchedulePlan { made_by, folder, backfill, tenants })
    }

    /// Each run with its tenant, in order.
    fn runs(&self) -> impl Iterator<Item = (&Tenant, &Run)> {
        self.tenants.iter().flat_map(|tenant| tenant.runs.iter().map(move |run| (tenant, run)))
    }

    /// A name for each run, as a scheduler takes it: source, tenant and slot.
    fn names(&self, rule: &name::Rule) -> Vec<String> {
        let parts = self.runs().map(|(tenant, run)| vec![&*tenant.source, &*tenant.name, run.slot()]);
        rule.names(parts.collect())
    }

    /// A name for each tenant: source and tenant.
    fn tenant_names(&self, rule: &name::Rule) -> Vec<String> {
        rule.names(self.tenants.iter().map(|tenant| vec![&*tenant.source, &*tenant.name]).collect())
    }

    /// The comment that a definition begins with; every scheduler's says what is defined, of whom and by which command.
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

/// Which of two runs goes first, as a number.
fn weight(priority: Priority) -> u32 {
    match priority {
        Priority::Hourly => 100,
        Priority::Daily => 10,
        Priority::Backfill => 1,
    }
}

/// Each line with this before it; lines that are empty stay empty.
fn indented(text: &str, by: &str) -> String {
    text.lines().map(|line| if line.is_empty() { "\n".into() } else { format!("{by}{line}\n") }).collect()
}

/// A text as comment lines: paragraphs filled, lines that are indented as they are.
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
