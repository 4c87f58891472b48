//! Kubernetes objects: one CronJob per run, or one Job per backfill.
//!
//! Input: a plan. Output: YAML. Called by `cli::schedule`.

use std::path::Path;

use super::name::Rule;
use super::template::fill;
use super::{Run, SchedulePlan, Tenant, quote, weight};
use crate::base::fault::{Fault, Result};
use crate::pace::limiter::Priority;

/// A CronJob's Jobs have its name plus eleven characters, at most 63 in total.
const NAMES: Rule = Rule { joint: '-', more: "-", upper: false, longest: 52 };
/// The rule for label values.
const LABELS: Rule = Rule { joint: '-', more: "-_.", upper: true, longest: 63 };
/// The rule for Secret keys.
const KEYS: Rule = Rule { joint: '-', more: "-_.", upper: true, longest: 200 };
/// The folder of a tenant's config and manifest in its pod.
const CONFIGS: &str = "/config";
/// The default state directory in the pod.
const STATES: &str = "/var/lib/dripfeed";

const HEADER: &str = include_str!("templates/kubernetes/header.txt.tmpl");
const RUNS: &str = include_str!("templates/kubernetes/runs.txt.tmpl");
const BACKFILLS: &str = include_str!("templates/kubernetes/backfills.txt.tmpl");
const PRIORITY_CLASS: &str = include_str!("templates/kubernetes/priority_class.yaml.tmpl");
const VOLUME_CLAIM: &str = include_str!("templates/kubernetes/volume_claim.yaml.tmpl");
const CRON_JOB: &str = include_str!("templates/kubernetes/cron_job.yaml.tmpl");
const JOB: &str = include_str!("templates/kubernetes/job.yaml.tmpl");
const LABELS_OF_RUN: &str = include_str!("templates/kubernetes/labels.yaml.tmpl");
const POD: &str = include_str!("templates/kubernetes/pod.yaml.tmpl");

/// Writes the definitions.
pub fn write(plan: &SchedulePlan) -> Result<String> {
    let mut out = plan.header(HEADER, &[("how", if plan.backfill { BACKFILLS } else { RUNS })]);
    if !plan.backfill {
        out += &classes();
    }
    let names = plan.names(&NAMES);
    let tenants = plan.tenant_names(&NAMES);
    let mut names = names.iter();
    for (tenant, instance) in plan.tenants.iter().zip(&tenants) {
        let pod = Pod { tenant, instance };
        pod.check()?;
        out += &format!("---\n# {}\n#   {}\n", tenant.title(), pod.secret());
        if !plan.backfill {
            out += &pod.claim();
        }
        for (run, name) in tenant.runs.iter().zip(&mut names) {
            if !plan.backfill || tenant.runs.len() > 1 {
                out += "---\n";
            }
            out += &pod.definition(run, name);
        }
    }
    Ok(out)
}

/// The priority classes for a full cluster.
fn classes() -> String {
    let class =
        |priority| fill(PRIORITY_CLASS, &[("name", class_of(priority)), ("value", &weight(priority).to_string())]);
    [Priority::Hourly, Priority::Daily, Priority::Backfill].into_iter().map(class).collect()
}

fn class_of(priority: Priority) -> &'static str {
    match priority {
        Priority::Hourly => "dripfeed-hourly",
        Priority::Daily => "dripfeed-daily",
        Priority::Backfill => "dripfeed-backfill",
    }
}

/// A name that follows a rule.
fn named(rule: &Rule, parts: &[&str]) -> String {
    rule.names(vec![parts.to_vec()]).pop().unwrap_or_default()
}

/// The last part of a path, as a Secret key and as a file name.
fn file(path: &str) -> String {
    let last = Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or(path);
    named(&KEYS, &[last])
}

/// A tenant's runs, each in a pod.
struct Pod<'p> {
    tenant: &'p Tenant,
    /// The tenant's name in these objects.
    instance: &'p str,
}

impl Pod<'_> {
    /// A pod has no working folder for relative paths.
    fn check(&self) -> Result<()> {
        let tenant = self.tenant;
        match tenant.files.iter().chain(&tenant.state_dir).find(|path| !Path::new(path).is_absolute()) {
            Some(path) => Err(Fault::config(format!("{}: the path {path} is not absolute", tenant.config))
                .hint("in a pod, a relative path leads elsewhere: write the absolute path")),
            None => Ok(()),
        }
    }

    /// The Secret keys of the files that the config uses.
    fn keys(&self) -> impl Iterator<Item = (String, &String)> {
        self.tenant.files.iter().map(|path| (named(&KEYS, &["file", path.trim_start_matches('/')]), path))
    }

    /// The command that creates the Secret.
    fn secret(&self) -> String {
        let tenant = self.tenant;
        let mut parts = vec![format!("{}={}", file(&tenant.config), tenant.config)];
        parts.extend(tenant.manifest.iter().map(|path| format!("{}={path}", file(path))));
        parts.extend(self.keys().map(|(key, path)| format!("{key}={path}")));
        let files = parts.iter().map(|part| format!(" --from-file={}", quote::shell(part)));
        let variables = tenant.variables.iter().map(|name| format!(" --from-literal={name}=\"${name}\""));
        let all: String = files.chain(variables).collect();
        format!("kubectl create secret generic {}{all}", self.instance)
    }

    /// The persistent volume claim.
    fn claim(&self) -> String {
        fill(VOLUME_CLAIM, &[("instance", &quote::yaml(self.instance))])
    }

    fn labels(&self, run: &Run) -> String {
        let slot = quote::yaml(&named(&LABELS, &[run.slot()]));
        fill(LABELS_OF_RUN, &[("instance", &quote::yaml(self.instance)), ("slot", &slot)])
    }

    /// The CronJob, or the Job of a backfill. A backfill has no deadline: it continues in a new pod until it is done.
    fn definition(&self, run: &Run, name: &str) -> String {
        let (name, tenant) = (quote::yaml(name), quote::yaml(&self.tenant.name));
        let (labels, pod) = (self.labels(run), self.pod(run));
        let values = [("name", &*name), ("labels", &*labels), ("tenant", &*tenant), ("pod", &*pod)];
        let Some(times) = &run.times else { return fill(JOB, &values) };
        let deadline = self.tenant.limit().map(|limit| format!("activeDeadlineSeconds: {}", limit.as_secs()));
        let (schedule, deadline) = (quote::string(&times.to_string()), deadline.unwrap_or_default());
        fill(CRON_JOB, &[&values[..], &[("schedule", &*schedule), ("deadline", &*deadline)]].concat())
    }

    fn pod(&self, run: &Run) -> String {
        let states = self.tenant.state_dir.as_deref().unwrap_or(STATES);
        fill(
            POD,
            &[
                ("class", class_of(run.priority)),
                ("instance", &quote::yaml(self.instance)),
                ("command", &self.command(run)),
                ("env", &self.env(states)),
                ("mounts", &self.mounts(states)),
            ],
        )
    }

    /// The items of the container's `command`.
    fn command(&self, run: &Run) -> String {
        let tenant = self.tenant;
        let config = format!("{CONFIGS}/{}", file(&tenant.config));
        let source = tenant.manifest.as_deref().map(|path| format!("{CONFIGS}/{}", file(path)));
        let mut words = tenant.command(run, &config, source.as_deref().or(tenant.source_option.as_deref()));
        if run.times.is_some() {
            words.insert(2, "--unfinished-ok".into());
        }
        // Kubernetes would expand `$(NAME)` as a variable.
        let words = words.iter().map(|word| quote::yaml(&word.replace("$(", "$$(")));
        words.map(|word| format!("- {word}\n")).collect()
    }

    /// The container's `env`; empty if it needs none.
    fn env(&self, states: &str) -> String {
        let mut env = String::new();
        if self.tenant.state_dir.is_none() {
            env += &format!("  - {{name: DRIPFEED_STATE_DIR, value: {}}}\n", quote::yaml(states));
        }
        for name in &self.tenant.variables {
            let (key, secret) = (quote::yaml(name), quote::yaml(self.instance));
            env += &format!("  - name: {key}\n    valueFrom: {{secretKeyRef: {{name: {secret}, key: {key}}}}}\n");
        }
        if env.is_empty() { env } else { format!("env:\n{env}") }
    }

    /// The items of the container's `volumeMounts`.
    fn mounts(&self, states: &str) -> String {
        let mut mounts = format!("- {{name: state, mountPath: {}}}\n", quote::yaml(states));
        mounts += &format!("- {{name: config, mountPath: {CONFIGS}, readOnly: true}}\n");
        for (key, path) in self.keys() {
            let (key, path) = (quote::yaml(&key), quote::yaml(path));
            mounts += &format!("- {{name: config, mountPath: {path}, subPath: {key}, readOnly: true}}\n");
        }
        mounts
    }
}
