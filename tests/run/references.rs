//! What stands in a config instead of a value: variables, env files, files, and commands of secret managers.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::support::tap::{Ran, Tap};

/// A read of the sandbox in the process, which takes one token only.
fn reads(token: &str) -> Tap {
    Tap::new("read --source sandbox --streams users --limit 1").config(&json!({"token": token}))
}

fn check(config: &Json) -> Tap {
    Tap::new("check --source sandbox").config(config)
}

/// A program in the tap's folder; its path.
fn program(tap: &Tap, name: &str, script: &str) -> String {
    let path = tap.dir.path().join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

#[test]
fn a_command_is_run_without_a_shell_and_its_last_newline_is_cut() {
    assert_eq!(reads("exec:printf '%s\\n' sandbox-token").run().expect(0, &[]).records("users").len(), 1);
    // No variable and no pipe: these are words.
    reads("exec:echo $TOKEN | cat").env("TOKEN", "sandbox-token").run().expect(20, &[]);
    // Its input is empty, not the terminal.
    reads("exec:sh -c 'cat; printf sandbox-token'").run().expect(0, &[]);
}

#[test]
fn a_command_is_run_once_a_run_however_many_keys_use_it() {
    let tap = Tap::new("read --source sandbox --streams users --limit 1");
    let count = tap.dir.path().join("count");
    let vault = program(&tap, "vault", &format!("echo once >> {}; echo sandbox-token", count.display()));
    let command = format!("exec:{vault} kv get");
    let config = json!({"token": command, "dripfeed": {"pace": {"account": command}, "tenant": command}});
    let tap = tap.config(&config);
    tap.run().expect(0, &[]);
    assert_eq!(std::fs::read_to_string(count).unwrap(), "once\n");
}

#[test]
fn a_command_without_a_value_is_told_by_key_and_program_alone() {
    for (command, words) in [
        (
            "exec:sh -c 'echo first >&2; echo the vault is sealed for known-secret-1 >&2; exit 3'",
            "exited with 3: the vault is sealed for ****",
        ),
        ("exec:sh -c 'kill -9 $$'", "a signal ended it"),
        ("exec:true", "it printed nothing"),
        ("exec:sh -c 'head -c 70000 /dev/zero | tr \"\\0\" x'", "more than 64 KiB"),
        ("exec:printf '\\377'", "not UTF-8"),
        ("exec:no-such-program-here --of acme-argument", "cannot be started"),
        ("exec:", "followed by no command"),
        ("exec:sh 'acme-argument", "quote in it has no end"),
    ] {
        let ran = check(&json!({"url": "env:URL", "token": command})).env("URL", "known-secret-1").run();
        ran.expect(10, &["config `token`", words]);
        for hidden in ["acme-argument", "known-secret-1", "sealed for k", "first", "head -c"] {
            assert!(!ran.err.contains(hidden), "{hidden}: {}", ran.err);
        }
    }
    let ran = check(&json!({"token": "exec:sh -c 'exit 1'"})).run();
    ran.expect(10, &["runs the command `sh`", "exited with 1"]);
}

#[test]
fn what_a_command_prints_is_a_secret() {
    let ran = Tap::new("read -v --source sandbox --streams users")
        .config(&json!({"token": "exec:echo another-token-77"}))
        .run();
    ran.expect(20, &[]);
    assert!(!ran.err.contains("another-token-77") && !ran.out.contains("another-token-77"), "{}", ran.err);
}

#[test]
fn a_command_that_hangs_does_not_hold_up_a_stop() {
    let tap = Tap::new("read --source sandbox");
    let begun = tap.dir.path().join("begun");
    let hang = program(&tap, "hang", &format!("echo $$ > {}; sleep 600", begun.display()));
    let tap = tap.config(&json!({"token": format!("exec:{hang}")}));
    let ran = tap.run_and_stop(|| begun.exists());
    assert_eq!(ran.code, 143, "{}", ran.err);
    let pid = std::fs::read_to_string(begun).unwrap();
    assert!(!std::path::Path::new("/proc").join(pid.trim()).exists(), "the command is still there");
}

#[test]
fn a_file_is_regular_and_small_and_its_last_newline_is_cut() {
    let tap = Tap::new("read --source sandbox --streams users --limit 1").file("", "token", "sandbox-token\n");
    let token = tap.dir.path().join("token").display().to_string();
    tap.config(&json!({"token": format!("file:{token}")})).run().expect(0, &[]);
    let tap = Tap::new("check --source sandbox").file("", "large", &"x".repeat((1 << 20) + 1));
    let at = |name: &str| tap.dir.path().join(name).display().to_string();
    assert!(Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
    let at = [
        (at("pipe"), "no regular file"),
        (at(""), "no regular file"),
        (at("large"), "larger than 1 MiB"),
        (at("missing"), "No such file"),
    ];
    for (file, word) in at {
        let ran = check(&json!({"token": format!("file:{file}")})).run_within(Duration::from_secs(20));
        ran.expect("it waits for the file").expect(10, &["config `token`", &file, word]);
    }
}

#[test]
fn a_form_of_airbyte_names_no_file_and_no_command() {
    let tap = |config: &Json| check(config).args(&["--protocol", "airbyte"]);
    let failed = |ran: &Ran, word: &str| {
        let status = ran.messages().into_iter().find(|m| m["type"] == "CONNECTION_STATUS");
        let told = format!("{}{}", ran.out, ran.err);
        assert!(told.contains(word) && told.contains("DRIPFEED_ALLOW_REFERENCES=1"), "{told}");
        status.is_none_or(|status| status["connectionStatus"]["status"] == "FAILED")
    };
    for (kind, reference) in [("`file:`", "file:/etc/hostname"), ("`exec:`", "exec:touch /tmp/never")] {
        assert!(failed(&tap(&json!({"token": reference})).run(), kind));
    }
    let ran = tap(&json!({"token": "exec:echo sandbox-token"})).env("DRIPFEED_ALLOW_REFERENCES", "1").run();
    assert!(ran.out.contains("SUCCEEDED"), "{}", ran.out);
    let ran = tap(&json!({"token": "env:TOKEN"})).env("TOKEN", "sandbox-token").run();
    assert!(ran.out.contains("SUCCEEDED"), "{}", ran.out);
}

#[test]
fn of_several_values_of_a_variable_the_environments_wins_then_the_last_files() {
    let beside = |value: &str| reads("env:TOKEN").file("", "config.env", &format!("export TOKEN='{value}' # acme\n"));
    beside("sandbox-token").run().expect(0, &[]);
    beside("wrong").run().expect(20, &[]);
    let first = |tap: Tap, value: &str| tap.file("--env-file", "first.env", &format!("TOKEN={value}\n"));
    let second = |tap: Tap, value: &str| tap.file("--env-file", "second.env", &format!("TOKEN=\"{value}\"\n"));
    first(beside("wrong"), "sandbox-token").run().expect(0, &[]);
    second(first(beside("wrong"), "wrong"), "sandbox-token").run().expect(0, &[]);
    second(first(beside("wrong"), "sandbox-token"), "wrong").run().expect(20, &[]);
    second(beside("wrong"), "wrong").env("TOKEN", "sandbox-token").run().expect(0, &[]);
    // A line that nobody filled in is no value.
    beside("").run().expect(10, &["TOKEN, which is empty in its env file"]);
    first(beside("sandbox-token"), "").run().expect(0, &[]);
    // The files' variables are values of references, and nothing else.
    let tap = reads("sandbox-token").file("", "config.env", "DRIPFEED_STREAMS=none\n");
    tap.run().expect(0, &[]);
}

#[test]
fn a_bad_line_of_an_env_file_is_told_by_its_number() {
    let bad = "# acme\n\nTOKEN s3cr3t-value\n";
    let ran = reads("env:TOKEN").file("", "config.env", bad).run();
    ran.expect(10, &["config.env:3: the line has no `=`"]);
    let given = reads("sandbox-token").file("--env-file", "given.env", bad).run();
    given.expect(10, &["given.env:3: the line has no `=`"]);
    assert!(!ran.err.contains("s3cr3t-value") && !given.err.contains("s3cr3t-value"));
    reads("x")
        .args(&["--env-file", "/nowhere/acme.env"])
        .run()
        .expect(10, &["cannot read the env file /nowhere/acme.env"]);
    // A file beside the config that no reference needs is not read.
    reads("sandbox-token").file("", "config.env", bad).run().expect(0, &[]);
}

#[test]
fn an_env_file_that_everyone_can_read_is_told_once() {
    let tap = reads("env:TOKEN").file("", "config.env", "TOKEN=sandbox-token\n");
    let path = tap.dir.path().join("config.env");
    let told = |mode: u32| {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        tap.run().expect(0, &[]).err.matches("chmod 600").count()
    };
    assert_eq!((told(0o644), told(0o640), told(0o600)), (1, 0, 0));
}

#[test]
fn status_and_drift_need_no_secret() {
    for verb in ["status", "drift show", "drift check"] {
        let tap = Tap::new(verb);
        let (touched, state) = (tap.dir.path().join("touched"), tap.dir.path().join("state"));
        std::fs::create_dir(&state).unwrap();
        let ours = json!({"tenant": "acme", "source": "sandbox", "state_dir": state, "deadline": "env:NOT_SET_HERE",
            "alert": {"webhook": "env:NOT_SET_HERE", "secret": "file:/nowhere"}});
        let token = format!("exec:touch {}", touched.display());
        let ran = tap.config(&json!({"token": token, "url": "env:NOT_SET_HERE", "dripfeed": ours})).run();
        ran.expect(0, &[]);
        assert!(!touched.exists(), "{verb} runs the command");
    }
    // Without a name the tenant is known by its credentials.
    let ran =
        Tap::new("drift show").config(&json!({"token": "env:NOT_SET_HERE", "dripfeed": {"source": "sandbox"}})).run();
    ran.expect(10, &["config `token`", "NOT_SET_HERE", "dripfeed.tenant"]);
    // What tells the tenant is needed.
    let ran =
        Tap::new("status").config(&json!({"dripfeed": {"source": "sandbox", "tenant": "env:NOT_SET_HERE"}})).run();
    ran.expect(10, &["config `dripfeed.tenant`", "NOT_SET_HERE"]);
}

#[test]
fn spec_asks_for_no_secret() {
    let config = json!({"token": "env:NOT_SET_HERE", "dripfeed": {"source": "sandbox"}});
    Tap::new("spec").config(&config).run().expect(0, &[]);
}

#[test]
fn a_manifest_in_a_config_is_no_place_for_references() {
    let manifest = json!({
        "version": "7.39.1", "type": "DeclarativeSource", "check": {"type": "CheckStream", "stream_names": ["items"]},
        "description": "exec:touch /tmp/never",
        "streams": [{
            "type": "DeclarativeStream", "name": "items", "$parameters": {"note": "env:NOT_SET_HERE"},
            "retriever": {
                "type": "SimpleRetriever",
                "requester": {"type": "HttpRequester", "url_base": "https://api.example.com"},
                "record_selector": {
                    "type": "RecordSelector", "extractor": {"type": "DpathExtractor", "field_path": []},
                },
            },
            "schema_loader": {"type": "InlineSchemaLoader", "schema": {"type": "object", "properties": {}}},
        }],
    });
    Tap::new("discover").config(&json!({"__injected_declarative_manifest": manifest})).run().expect(0, &[]);
}

#[test]
fn names_in_the_targets_command_stay_within_their_words() {
    let tap = Tap::new("sync --source sandbox --streams users --limit 1");
    let seen = tap.dir.path().join("seen");
    let target =
        program(&tap, "target", &format!("for word; do echo \"$word\"; done > {}; cat > /dev/null", seen.display()));
    let state = tap.dir.path().join("state");
    let config = json!({"token": "sandbox-token", "dripfeed": {"tenant": "acme {source}", "state_dir": state}});
    let target = format!("{target} --into={{tenant}}/{{source}} '{{tenant}} {{x}}' {{}}");
    let tap = tap.config(&config).args(&["--target", &target]);
    tap.run().expect(0, &[]);
    assert_eq!(std::fs::read_to_string(seen).unwrap(), "--into=acme {source}/sandbox\nacme {source} {x}\n{}\n");
}
