//! Colours: for people at a terminal, as their environment wants them, and never where a program reads.

use dripfeed::base::display::terminal::ColourVariables;
use serde_json::json;

use crate::support::tap::{Ran, Tap, items};

const ESCAPE: char = '\u{1b}';

#[test]
fn the_environment_decides_about_colours() {
    let shown = |is_terminal: bool, variables: &[(&str, &str)]| {
        let value = |name: &str| variables.iter().find(|(other, _)| *other == name).map(|(_, value)| value.into());
        let variables = ColourVariables {
            no_color: value("NO_COLOR"),
            clicolor_force: value("CLICOLOR_FORCE"),
            clicolor: value("CLICOLOR"),
            term: value("TERM"),
        };
        variables.show(is_terminal)
    };
    assert!(shown(true, &[]) && !shown(false, &[]));
    for (variables, on_terminal, without) in [
        (&[("NO_COLOR", "1")][..], false, false),
        (&[("NO_COLOR", "")], true, false),
        (&[("CLICOLOR", "0")], false, false),
        (&[("CLICOLOR", "1")], true, false),
        (&[("TERM", "dumb")], false, false),
        (&[("TERM", "xterm-256color")], true, false),
        (&[("CLICOLOR_FORCE", "1")], true, true),
        (&[("CLICOLOR_FORCE", "0")], true, false),
        (&[("CLICOLOR_FORCE", "")], true, false),
        (&[("CLICOLOR_FORCE", "1"), ("CLICOLOR", "0")], true, true),
        (&[("CLICOLOR_FORCE", "1"), ("TERM", "dumb")], true, true),
        (&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], false, false),
    ] {
        assert_eq!((shown(true, variables), shown(false, variables)), (on_terminal, without), "{variables:?}");
    }
}

/// Runs with colours forced, and fails unless only the outputs named show them.
fn forced(tap: Tap, code: i32, coloured: (bool, bool)) -> Ran {
    let tap = tap.env("CLICOLOR_FORCE", "1");
    let ran = tap.run();
    ran.expect(code, &[]);
    assert_eq!((ran.out.contains(ESCAPE), ran.err.contains(ESCAPE)), coloured, "{}\n{}", ran.out, ran.err);
    let plain = tap.env("NO_COLOR", "1").run();
    assert!(!plain.out.contains(ESCAPE) && !plain.err.contains(ESCAPE), "{}\n{}", plain.out, plain.err);
    ran
}

#[test]
fn log_lines_are_coloured_and_messages_never() {
    let ran = forced(Tap::new("read --source sandbox --streams users"), 0, (false, true));
    assert!(ran.err.contains("\u{1b}[36minfo\u{1b}[0m    "), "{}", ran.err);
    assert_eq!(ran.counts()["RECORD users"], 50);
    forced(Tap::new("read --source sandbox --streams users --log-format json"), 0, (false, false));
    forced(Tap::new("spec --source sandbox --protocol airbyte"), 0, (false, false));
    let events = tempfile::tempdir().unwrap();
    let path = events.path().join("events.jsonl").display().to_string();
    forced(Tap::new("read --source sandbox --streams users").args(&["--events", &path]), 0, (false, true));
    assert!(!std::fs::read_to_string(path).unwrap().contains(ESCAPE));
}

#[test]
fn an_error_is_one_line_and_its_hint_is_indented() {
    let ran = forced(Tap::new("read -q --source asena"), 10, (false, true));
    let mut lines = ran.err.lines();
    assert!(lines.next().unwrap().starts_with("\u{1b}[1;31merror\u{1b}[0m   "), "{}", ran.err);
    assert!(lines.next().unwrap().starts_with("          \u{1b}[1mhint:\u{1b}[0m "), "{}", ran.err);
    let plain = Tap::new("read -q --source asena").run();
    let [error, hint] = plain.err.lines().collect::<Vec<_>>()[..] else { panic!("{}", plain.err) };
    assert!(error.starts_with("error   ") && hint.starts_with("          hint: "), "{}", plain.err);
    // Usage errors come from clap, which reads the same variables.
    forced(Tap::new("read --nonsense"), 2, (false, true));
    let usage = Tap::new("read --nonsense").run();
    assert!(usage.err.starts_with("error: ") && !usage.err.contains(ESCAPE), "{}", usage.err);
}

#[test]
fn verdicts_are_coloured_and_reports_for_programs_never() {
    let folder = tempfile::tempdir().unwrap();
    let config = json!({"url": "http://127.0.0.1:9", "token": "t", "dripfeed": {
        "source": "sandbox", "tenant": "acme", "state_dir": folder.path()}});
    let tap = |verb: &str| Tap::new(verb).config(&config);
    let table = forced(tap("status"), 0, (true, false));
    assert!(table.out.contains("\u{1b}[32mok\u{1b}[0m "), "{}", table.out);
    for format in ["json", "html", "openmetrics"] {
        forced(tap(&format!("status --format {format}")), 0, (false, false));
    }
    forced(tap("drift check"), 0, (true, false));
    forced(tap("drift show"), 0, (true, false));
    for format in ["json", "html", "markdown"] {
        forced(tap(&format!("drift show --format {format}")), 0, (false, false));
    }
    let bad = items(&json!({}), &json!({"retriever": {"requester": {"path": "{{ nothing }}"}}}), &json!({}));
    let validate = |more: &str| {
        let tap = Tap::new(&format!("validate{more}")).file("", "m.yaml", &bad);
        let path = tap.dir.path().join("m.yaml").display().to_string();
        tap.args(&[&path])
    };
    let ran = validate("").env("CLICOLOR_FORCE", "1").run();
    assert!(ran.err.contains("\u{1b}[1;33mwarning\u{1b}[0m ") && !ran.out.contains(ESCAPE), "{}{}", ran.out, ran.err);
    assert!(!validate(" --format json").env("CLICOLOR_FORCE", "1").run().out.contains(ESCAPE));
}
