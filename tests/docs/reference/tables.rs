//! Command line, environment, exit codes, metrics, drift rules, compatibility: a table for each.

use std::collections::BTreeSet;

use dripfeed::base::environment::VARIABLES;
use dripfeed::base::fault::Kind;
use dripfeed::drift::rules::Rule;
use dripfeed::tenant::status::openmetrics;

use super::{Page, code, read, root, style, table};
use crate::support::golden::assert_part;
use crate::support::tap::Tap;

#[test]
fn the_command_line_is_what_help_prints() {
    let mut text = String::new();
    for verb in style::VERBS {
        let ran = Tap::new(&format!("{verb} --help")).run();
        let help: Vec<&str> = ran.expect(0, &[]).out.lines().map(str::trim_end).collect();
        text += &format!("## {}\n\n```text\n{}\n```\n\n", format!("dripfeed {verb}").trim(), help.join("\n"));
    }
    assert_part("docs/src/reference/command-line.md", "help", &text);
}

#[test]
fn the_environment_is_what_the_code_reads() {
    let row = |v: &dripfeed::base::environment::Variable| {
        vec![code(v.name), code(v.stands_for.unwrap_or_default()), v.what.to_owned()]
    };
    let text = table(&["variable", "option", "what it does"], VARIABLES.iter().map(row));
    assert_part("docs/src/reference/environment.md", "variables", &text);
}

/// The files of `src` with their text, but for the list of variables itself.
fn sources() -> Vec<String> {
    fn collect(folder: &std::path::Path, out: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, out);
            } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("base/environment.rs") {
                out.push(std::fs::read_to_string(path).unwrap());
            }
        }
    }
    let mut out = Vec::new();
    collect(&root().join("src"), &mut out);
    out
}

#[test]
fn each_variable_that_is_read_is_listed() {
    let mut named: BTreeSet<String> = BTreeSet::new();
    for source in sources() {
        let reads = |line: &&str| ["env::var", "of_environment(", "absolute("].iter().any(|word| line.contains(word));
        let upper = |text: &&str| {
            text.len() > 1 && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'_') && !text.starts_with("CARGO_")
        };
        let literals = |line: &str| -> Vec<String> {
            line.split('"').skip(1).step_by(2).filter(upper).map(str::to_owned).collect()
        };
        let own = source.lines().flat_map(literals).filter(|name| name.starts_with("DRIPFEED_"));
        named.extend(own.collect::<Vec<_>>());
        named.extend(source.lines().filter(reads).flat_map(literals));
    }
    // What libraries read, and names that are made of others.
    let elsewhere = ["HTTPS_PROXY", "http_proxy", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "TAP_<SOURCE>_<SETTING>"];
    let listed: BTreeSet<String> =
        VARIABLES.iter().map(|v| v.name.to_owned()).filter(|name| !elsewhere.contains(&name.as_str())).collect();
    assert_eq!(named, listed, "what src reads, and what src/base/environment.rs lists");
}

#[test]
fn the_exit_codes_are_those_of_faults() {
    let name = |kind: &Kind| format!("{kind:?}").split('(').next().unwrap().to_lowercase();
    let exit_code = |kind: &Kind| match kind {
        Kind::Signal(_) => "128 + signal".to_owned(),
        kind => kind.exit_code().to_string(),
    };
    let done = ["0", "done", "Everything was read.", ""].map(str::to_owned).to_vec();
    let row =
        |kind: &Kind| vec![exit_code(kind), name(kind), kind.meaning().to_owned(), kind.heals_itself().to_owned()];
    let rows = std::iter::once(done).chain(Kind::ALL.iter().map(row));
    let text = table(&["code", "kind", "meaning", "heals by itself?"], rows);
    assert_part("docs/src/reference/exit-codes.md", "codes", &text);
    let runbook = read("docs/src/runbook.md");
    for kind in Kind::ALL {
        let code = kind.exit_code();
        let row = runbook
            .lines()
            .find(|line| line.starts_with(&format!("| [{code}]")) || line.starts_with("| [130, 143]") && code == 143);
        let row = row.unwrap_or_else(|| panic!("the runbook has no row for {code}"));
        assert!(row.ends_with(&format!("| {} |", kind.heals_itself())), "the runbook says otherwise: {row}");
    }
}

#[test]
fn the_metrics_are_those_that_are_written() {
    let rows = openmetrics::names().into_iter().map(|(name, kind, help)| {
        let labels = match name.as_str() {
            "dripfeed_status_timestamp_seconds" => "",
            "dripfeed_runs_total" => "`source`, `tenant`, `exit_code`",
            "dripfeed_drift_open" => "`source`, `tenant`, `severity`",
            name if name.starts_with("dripfeed_run_") => "`source`, `tenant`, `tier`",
            name if name.starts_with("dripfeed_stream_") || name.starts_with("dripfeed_backfill_") => {
                "`source`, `tenant`, `stream`, `tier`"
            }
            _ => "`source`, `tenant`",
        };
        vec![code(&name), kind.to_owned(), labels.to_owned(), help.to_owned()]
    });
    let text = table(&["metric", "type", "labels", "help"], rows);
    assert_part("docs/src/reference/metrics.md", "metrics", &text);
}

#[test]
fn the_labels_of_metrics_are_those_that_are_written() {
    let page = Page::read("docs/src/reference/metrics.md");
    let recorded = read("fixtures/status/night/expected.prom.snap");
    let samples = recorded.lines().filter(|line| line.starts_with("dripfeed_"));
    let mut count = 0;
    for sample in samples {
        count += 1;
        let (name, rest) = sample.split_once(['{', ' ']).unwrap();
        let row = page.text.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
        let row = row.unwrap_or_else(|| panic!("{name} is not on the page"));
        for label in rest.split("=\"").map(|part| part.rsplit(['{', ',']).next().unwrap()) {
            if sample.contains(&format!("{label}=\"")) && label != "state_dir" {
                assert!(row.contains(&format!("`{label}`")), "{name} has the label {label}: {row}");
            }
        }
    }
    assert!(count > 30, "{count} samples");
}

#[test]
fn the_drift_rules_are_those_of_the_code() {
    let row = |rule: &Rule| {
        let (severity, policy) = (rule.severity().name().to_owned(), rule.policy().name().to_owned());
        vec![code(rule.id()), rule.number().to_owned(), rule.what().to_owned(), severity, policy]
    };
    let text = table(&["rule", "number", "what", "severity", "by default"], Rule::ALL.iter().map(row));
    assert_part("docs/src/reference/drift-rules.md", "rules", &text);
}

#[test]
fn the_table_of_compatibility_is_that_of_its_file() {
    let file = read("COMPATIBILITY.md");
    let part = file.split("## Every component and field\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows: Vec<&str> = part.lines().skip_while(|line| !line.starts_with("| component")).collect();
    assert!(rows.len() > 130, "{} rows", rows.len());
    assert_part("docs/src/compatibility.md", "components", &rows.join("\n"));
}
