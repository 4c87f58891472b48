//! Kubernetes objects: a CronJob for each run, or a Job for each backfill.
//!
//! Comes in: a plan. Goes out: YAML. Called by `cli::schedule`.

use std::path::Path;

use super::name::Rule;
use super::{Run, SchedulePlan, Tenant, comment, indented, quote, weight};
use crate::base::fault::{Fault, Result};
use crate::pace::limiter::Priority;

/// A CronJob's Jobs are called by its name and eleven characters more, which makes 63.
const NAMES: Rule = Rule { joint: '-', more: "-", upper: false, longest: 52 };
/// The values of labels.
const LABELS: Rule = Rule { joint: '-', more: "-_.", upper: true, longest: 63 };
/// Keys of a Secret.
const KEYS: Rule = Rule { joint: '-', more: "-_.", upper: true, longest: 200 };
/// Where a tenant's config and manifest are in its pod.
const CONFIGS: &str = "/config";
/// Where its state is, unless the config says so.
const STATES: &str = "/var/lib/dripfeed";

/// Writes it.
pub fn write(plan: &SchedulePlan) -> Result<String> {
    let what = if plan.backfill { "backfills" } else { "runs" };
    let how = if plan.backfill {
        "Each Job goes on until its history is read, beside the live runs, which go first. It needs what their definitions
made: secrets, claims, priority classes."
    } else {
        "Times are UTC. A run that is saved but not finished (75), or that met the last one still at work (76), ends well: the next
one goes on. A vendor that is down (69) and a local fault (60) are tried again, what needs a person (10, 20, 30, 40, 50)
is not: the Job fails, and its pod's termination message says why."
    };
    let image =
        "The image `dripfeed` holds dripfeed, the target and what the target's command names; kustomize names yours:

    images: [{name: dripfeed, newName: registry.example.com/dripfeed, newTag: '1'}]";
    let mut out = comment(&format!(
        "The {what} of {}, for Kubernetes. Made by

    {}

Make and apply it again when a config changes: the same configs make the same file. {how}

{image}

A tenant's runs share its volume: state, locks and the account's pace. So they go to one node. Its config, and what that
refers to as env:NAME or file:PATH, is in a Secret of its own, made by the command beside it.",
        plan.count(),
        plan.made_by
    ));
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

/// What goes first when the cluster is full.
fn classes() -> String {
    let class = |(name, priority)| {
        format!(
            "---
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata:
  name: {name}
value: {}
preemptionPolicy: Never
",
            weight(priority)
        )
    };
    let all = [Priority::Hourly, Priority::Daily, Priority::Backfill];
    all.into_iter().map(|priority| class((class_of(priority), priority))).collect()
}

fn class_of(priority: Priority) -> &'static str {
    match priority {
        Priority::Hourly => "dripfeed-hourly",
        Priority::Daily => "dripfeed-daily",
        Priority::Backfill => "dripfeed-backfill",
    }
}

/// A name by one of the rules.
fn named(rule: &Rule, parts: &[&str]) -> String {
    rule.names(vec![parts.to_vec()]).pop().unwrap_or_default()
}

/// The last part of a path, as a key of a Secret and a name in a folder.
fn file(path: &str) -> String {
    let last = Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or(path);
    named(&KEYS, &[last])
}

/// A tenant's runs, each in a pod.
struct Pod<'p> {
    tenant: &'p Tenant,
    /// The tenant's name here.
    instance: &'p str,
}

impl Pod<'_> {
    /// A pod has no folder in which paths could begin.
    fn check(&self) -> Result<()> {
        let tenant = self.tenant;
        match tenant.files.iter().chain(&tenant.state_dir).find(|path| !Path::new(path).is_absolute()) {
            Some(path) => Err(Fault::config(format!("{}: the path {path} does not begin with /", tenant.config))
                .hint("in a pod it would be another: write it whole")),
            None => Ok(()),
        }
    }

    /// The keys of the files that the config refers to.
    fn keys(&self) -> impl Iterator<Item = (String, &String)> {
        self.tenant.files.iter().map(|path| (named(&KEYS, &["file", path.trim_start_matches('/')]), path))
    }

    /// The command that makes its Secret.
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

    /// Its disk.
    fn claim(&self) -> String {
        format!(
            "apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: {0}
  labels:
    app.kubernetes.io/name: dripfeed
    app.kubernetes.io/instance: {0}
spec:
  accessModes: [ReadWriteOnce]
  resources:
    requests:
      storage: 1Gi
",
            quote::yaml(self.instance)
        )
    }

    fn labels(&self, run: &Run) -> String {
        format!(
            "app.kubernetes.io/name: dripfeed
app.kubernetes.io/instance: {}
dripfeed/slot: {}
",
            quote::yaml(self.instance),
            quote::yaml(&named(&LABELS, &[run.slot()]))
        )
    }

    /// The CronJob or the Job.
    fn definition(&self, run: &Run, name: &str) -> String {
        let metadata = format!(
            "metadata:
  name: {}
  labels:
{}  annotations:
    dripfeed/tenant: {}
",
            quote::yaml(name),
            indented(&self.labels(run), "    "),
            quote::yaml(&self.tenant.name)
        );
        match &run.times {
            None => format!("apiVersion: batch/v1\nkind: Job\n{metadata}spec:\n{}", indented(&self.job(run), "  ")),
            Some(times) => format!(
                "apiVersion: batch/v1
kind: CronJob
{metadata}spec:
  schedule: {}
  timeZone: Etc/UTC
  concurrencyPolicy: Forbid
  startingDeadlineSeconds: 600
  successfulJobsHistoryLimit: 1
  failedJobsHistoryLimit: 3
  jobTemplate:
    spec:
{}",
                quote::string(&times.to_string()),
                indented(&self.job(run), "      ")
            ),
        }
    }

    /// What a Job is, one of a CronJob or one alone.
    fn job(&self, run: &Run) -> String {
        let live = run.times.is_some();
        // A backfill has no deadline: it goes on in a new pod until it is done.
        let limit = self.tenant.limit().filter(|_| live);
        let limit = limit.map(|limit| format!("activeDeadlineSeconds: {}\n", limit.as_secs())).unwrap_or_default();
        let again = if live {
            ""
        } else {
            "    - action: Ignore # time was up, or the last try's target still loads: a new pod goes on
      onExitCodes: {containerName: sync, operator: In, values: [75, 76]}
"
        };
        format!(
            "{limit}backoffLimit: 2
podFailurePolicy:
  rules:
    - action: Ignore # the node went away
      onPodConditions: [{{type: DisruptionTarget}}]
{again}    - action: FailJob # a person is needed
      onExitCodes: {{containerName: sync, operator: In, values: [2, 10, 20, 30, 40, 50]}}
template:
  metadata:
    labels:
{}  spec:
{}",
            indented(&self.labels(run), "      "),
            indented(&self.pod(run), "    ")
        )
    }

    fn pod(&self, run: &Run) -> String {
        let tenant = self.tenant;
        let config = format!("{CONFIGS}/{}", file(&tenant.config));
        let source = tenant.manifest.as_deref().map(|path| format!("{CONFIGS}/{}", file(path)));
        let mut words = tenant.command(run, &config, source.as_deref().or(tenant.source_option.as_deref()));
        if run.times.is_some() {
            words.insert(2, "--unfinished-ok".into());
        }
        // Kubernetes would put a variable in the place of `$(NAME)`.
        let words = words.iter().map(|word| quote::yaml(&word.replace("$(", "$$(")));
        let words: String = words.map(|word| format!("      - {word}\n")).collect();
        let states = tenant.state_dir.as_deref().unwrap_or(STATES);
        let mut env = String::new();
        if tenant.state_dir.is_none() {
            env += &format!("      - {{name: DRIPFEED_STATE_DIR, value: {}}}\n", quote::yaml(states));
        }
        for name in &tenant.variables {
            let key = quote::yaml(name);
            let secret = quote::yaml(self.instance);
            env +=
                &format!("      - name: {key}\n        valueFrom: {{secretKeyRef: {{name: {secret}, key: {key}}}}}\n");
        }
        if !env.is_empty() {
            env.insert_str(0, "    env:\n");
        }
        let mut mounts = format!("      - {{name: state, mountPath: {}}}\n", quote::yaml(states));
        mounts += &format!("      - {{name: config, mountPath: {CONFIGS}, readOnly: true}}\n");
        for (key, path) in self.keys() {
            let (key, path) = (quote::yaml(&key), quote::yaml(path));
            mounts += &format!("      - {{name: config, mountPath: {path}, subPath: {key}, readOnly: true}}\n");
        }
        format!(
            "restartPolicy: Never
priorityClassName: {class}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  fsGroup: 65532
  seccompProfile: {{type: RuntimeDefault}}
affinity:
  podAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      - topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels:
            app.kubernetes.io/name: dripfeed
            app.kubernetes.io/instance: {instance}
containers:
  - name: sync
    image: dripfeed
    command:
{words}{env}    resources:
      requests: {{cpu: 100m, memory: 128Mi}}
    securityContext:
      allowPrivilegeEscalation: false
      capabilities: {{drop: [ALL]}}
    terminationMessagePolicy: FallbackToLogsOnError
    volumeMounts:
{mounts}volumes:
  - name: state
    persistentVolumeClaim: {{claimName: {instance}}}
  - name: config
    secret: {{secretName: {instance}, defaultMode: 288}} # 0440
",
            class = class_of(run.priority),
            instance = quote::yaml(self.instance),
        )
    }
}
