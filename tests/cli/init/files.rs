//! Files of `init`: all or none, nothing lost, names that stay in the folder.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value as Json;

use super::{findings, init, text};
use crate::support::tap::{Ran, Tap};

#[test]
fn a_source_is_a_manifest_a_config_and_its_variables() {
    let dir = tempfile::tempdir().unwrap();
    let ran = init(dir.path(), &["my-crm", "--rest", "--url", "https://api.example.com/v1/", "--path", "/tasks"]);
    assert_eq!(ran.expect(0, &[]).err, "");
    let manifest = text(dir.path(), "my-crm.yaml");
    assert!(manifest.contains("config.get('url') or 'https://api.example.com/v1'"), "{manifest}");
    let config: Json = serde_json::from_str(&text(dir.path(), "my-crm.json")).unwrap();
    assert_eq!(config["token"], "env:MY_CRM_TOKEN");
    let variables = text(dir.path(), ".env.example");
    assert!(variables.contains("\n# ") && variables.contains("\nMY_CRM_TOKEN=\n"), "{variables}");
    assert_eq!(text(dir.path(), ".gitignore"), ".env\nstate*.json\nmessages.jsonl\n");
    for command in [
        "wrote my-crm.yaml, my-crm.json, .dripfeed/manifest.schema.json, .env.example, .gitignore",
        "  cp .env.example .env && chmod 600 .env\n",
        "  dripfeed validate my-crm.yaml\n",
        "  dripfeed test --source my-crm.yaml --config my-crm.json --env-file .env\n",
        "  dripfeed read --source my-crm.yaml --config my-crm.json --env-file .env > messages.jsonl\n",
        "  dripfeed sync --source my-crm.yaml --config my-crm.json --env-file .env --target target-jsonl\n",
        "decide:",
    ] {
        assert!(ran.out.contains(command), "{command} is not in\n{}", ran.out);
    }
    let mode = std::fs::metadata(dir.path().join("my-crm.yaml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o600, 0o600);
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 5, "{left:?}");
}

#[test]
fn a_file_is_replaced_only_by_force() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("crm.json"), "mine").unwrap();
    let ran = init(dir.path(), &["crm", "--rest"]);
    ran.expect(2, &["crm.json exists already", "--force replaces it"]);
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["crm.json"], "nothing else was written");
    assert_eq!(text(dir.path(), "crm.json"), "mine");
    init(dir.path(), &["crm", "--rest", "--force"]).expect(0, &[]);
    assert_ne!(text(dir.path(), "crm.json"), "mine");
}

#[test]
fn a_second_source_adds_its_lines_once() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(".gitignore"), "target\n.env").unwrap();
    init(dir.path(), &["a", "--rest"]).expect(0, &[]);
    init(dir.path(), &["b", "--rest", "--auth", "key"]).expect(0, &[]);
    init(dir.path(), &["b", "--rest", "--auth", "key", "--force"]).expect(0, &[]);
    assert_eq!(text(dir.path(), ".gitignore"), "target\n.env\nstate*.json\nmessages.jsonl\n");
    let variables = text(dir.path(), ".env.example");
    for name in ["A_TOKEN=", "B_API_KEY="] {
        assert_eq!(variables.matches(name).count(), 1, "{name}: {variables}");
    }
}

/// Each value that only the user knows was a variable, and so was hidden in all that `test` showed.
#[test]
fn only_secrets_become_variables() {
    let dir = tempfile::tempdir().unwrap();
    let ran = init(dir.path(), &["crm", "--rest", "--auth", "basic"]);
    ran.expect(0, &[]);
    assert!(ran.out.contains("\nFill in `url`, `username` in crm.json.\n"), "{}", ran.out);
    let config: Json = serde_json::from_str(&text(dir.path(), "crm.json")).unwrap();
    assert_eq!(config["url"], "https://api.example.com/v1");
    assert_eq!((&config["username"], &config["password"]), (&"<username>".into(), &"env:CRM_PASSWORD".into()));
    assert!(!text(dir.path(), ".env.example").contains("USERNAME"));
}

#[test]
fn another_folder_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let ran = init(dir.path(), &["crm", "--rest", "--dir", "new/one"]);
    let shown = &ran.expect(0, &[]).out;
    assert!(shown.contains("dripfeed validate new/one/crm.yaml\n"), "{shown}");
    assert_eq!(findings(&dir.path().join("new/one"), "crm.yaml"), Vec::<Json>::new());
}

#[test]
fn a_name_is_no_path() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["../x", "a/b", ".x", "-x", "a b", "", "é", "a.yaml"] {
        init(dir.path(), &["--rest", "--", name]).expect(2, &[]);
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn flags_that_do_not_go_together_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for (args, words) in [
        (&["crm"][..], "there is no terminal to ask on"),
        (&["crm", "--rest", "--graphql"], "cannot be used with"),
        (&["crm", "--url", "https://x.example"], "--from <SOURCE>|--rest|--graphql|--openapi <FILE>"),
        (&["crm", "--from", "asana", "--cursor", "a"], "--cursor means nothing with --from"),
        (&["crm", "--from", "asna"], "did you mean `asana`?"),
        (&["crm", "--rest", "--since", "a"], "--cursor"),
        (&["crm", "--rest", "--url", "ftp://x"], "an address is like"),
        (&["crm", "--rest", "--path", "/a/{{ b }}"], "a path is like"),
        (&["crm", "--rest", "--paging", "token", "--records", "."], "no place for a page token"),
        (&["crm", "--graphql", "--records", "data"], "does not lead to the nodes"),
    ] {
        init(dir.path(), args).expect(2, &[words]);
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_built_in_source_is_copied_with_its_schemas() {
    for source in String::from_utf8(Tap::new("sources").command().output().unwrap().stdout).unwrap().lines() {
        let dir = tempfile::tempdir().unwrap();
        init(dir.path(), &["mine", "--from", source]).expect(0, &[]);
        let shown = Tap::new("sources").args(&["--show", source]).run().out;
        let manifest = text(dir.path(), "mine.yaml");
        assert!(manifest.ends_with(&shown), "{source}");
        let errors: Vec<Json> = findings(dir.path(), "mine.yaml");
        assert!(errors.iter().all(|finding| finding["severity"] != "error"), "{source}: {errors:?}");
        // With the variables set, config and schemas are those of the built-in source.
        let variables = text(dir.path(), ".env.example");
        let mut tap = Tap::new("discover --source mine.yaml --config mine.json");
        for line in variables.lines().filter(|line| !line.starts_with('#')) {
            let Some((name, example)) = line.split_once('=') else { continue };
            tap = tap.env(name, if example.is_empty() { "x-value" } else { example });
        }
        let own = Ran::of(&tap.command().current_dir(dir.path()).output().unwrap());
        let config = dir.path().join("mine.json").display().to_string();
        let tap = Tap { args: Vec::new(), ..tap }.args(&["discover", "--source", source, "--config", &config]);
        let built_in = tap.run();
        let catalog = |ran: &Ran| serde_json::from_str::<Json>(&ran.expect(0, &[]).out).unwrap()["streams"].clone();
        assert_eq!(catalog(&own), catalog(&built_in), "{source}");
    }
}
