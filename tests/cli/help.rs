//! What help prints: short enough to be read, equal to what stands in `fixtures/help`, true in its examples.

use std::path::Path;

use crate::support::golden;
use crate::support::tap::Tap;

/// Every verb, and the most lines its `-h` may have.
const VERBS: [(&str, usize); 22] = [
    ("check", 30),
    ("discover", 30),
    ("read", 40),
    ("sync", 40),
    ("schedule", 40),
    ("status", 30),
    ("drift", 40),
    ("drift show", 40),
    ("drift check", 40),
    ("drift accept", 40),
    ("drift reject", 40),
    ("drift promote", 40),
    ("drift learn", 40),
    ("drift replay", 40),
    ("sources", 30),
    ("spec", 30),
    ("init", 30),
    ("test", 30),
    ("validate", 30),
    ("sandbox", 30),
    ("completions", 30),
    ("man", 30),
];

fn help(args: &str) -> String {
    let ran = Tap::new(args).run();
    ran.expect(0, &[]);
    assert_eq!(ran.err, "", "{args}: help goes to stdout");
    ran.out
}

fn snapshot(name: &str, text: &str) {
    golden::assert_text(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/help"), name, text);
}

#[test]
fn each_verb_has_a_short_help_that_is_as_recorded() {
    for (verb, most) in VERBS {
        let short = help(&format!("{verb} -h"));
        assert!(short.lines().count() <= most, "{verb} -h has {} lines", short.lines().count());
        let widest = short.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(120), "{verb} -h has a line of {widest:?} characters");
        snapshot(&verb.replace(' ', "_"), &short);
    }
}

#[test]
fn alone_it_says_what_it_is_and_which_verbs_there_are() {
    let alone = help("");
    let lines = alone.lines().filter(|line| !line.trim().is_empty()).count();
    assert!(lines <= 10, "{lines} lines");
    let named: Vec<&str> = alone.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    for (verb, _) in VERBS.iter().filter(|(verb, _)| !verb.contains(' ')) {
        assert!(named.contains(verb), "{verb} is not in the overview");
    }
    snapshot("dripfeed", &help("-h"));
}

#[test]
fn the_long_help_has_the_singer_flags_examples_and_exit_codes() {
    let long = help("--help");
    for word in ["--discover", "--about", "--test", "EXAMPLES:", "EXIT CODES:"] {
        assert!(long.contains(word), "{word} is missing");
    }
    for verb in ["check", "discover", "read", "sync", "schedule", "status", "drift", "init", "test", "validate"] {
        assert!(help(&format!("{verb} --help")).contains("EXAMPLES:"), "{verb}");
    }
}

#[test]
fn an_option_that_means_nothing_for_a_verb_is_refused_with_its_usage() {
    for (args, usage) in [
        ("validate m.yaml --backfill 2024-01-01..2024-02-01", "Usage: dripfeed validate"),
        ("validate m.yaml --tier none", "Usage: dripfeed validate"),
        ("check --source sandbox --limit 3", "Usage: dripfeed check"),
        ("discover --source sandbox --streams tasks", "Usage: dripfeed discover"),
        ("status --full-refresh", "Usage: dripfeed status"),
        ("schedule --tenants t --protocol airbyte", "Usage: dripfeed schedule"),
        ("sync --target cat --protocol airbyte", "Usage: dripfeed sync"),
        ("drift show --protocol airbyte", "Usage: dripfeed drift show"),
        ("drift replay --tenants t", "Usage: dripfeed drift replay"),
        ("completions bash --quiet", "Usage: dripfeed completions"),
        ("read --hlep", "Usage: dripfeed read"),
        ("raed", "a similar subcommand exists: 'read'"),
    ] {
        Tap::new(args).run().expect(2, &[usage]);
    }
}

#[test]
fn the_manual_and_the_completions_know_every_verb() {
    let manual = help("man");
    assert!(manual.contains(".TH"));
    for (verb, _) in VERBS.iter().filter(|(verb, _)| !verb.contains(' ')) {
        assert!(manual.contains(verb), "{verb} is not in the manual page");
        for shell in ["bash", "zsh", "fish"] {
            assert!(
                help(&format!("completions {shell}")).contains(verb),
                "{verb} is not in the completions of {shell}"
            );
        }
    }
}
