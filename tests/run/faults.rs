//! The text of each class of error: a command for each exit code and each common cause, and what stands on stderr.
//!
//! A case is a folder in `fixtures/faults`, with the exit code before its name: `commands` is a script of the shell,
//! and `expect.snap.txt` is the code with which it ends and what dripfeed says (`INSTA_UPDATE=always cargo test faults`
//! writes that anew). Who reads it must know what happened, where, and what to do.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use dripfeed::base::fault::Kind;
use regex::Regex;
use serde_json::json;

use crate::support::golden;
use crate::support::shell::{Shell, free_port};
use crate::support::tap::{Ran, Tap, items};

/// Cases that run at the same time.
const SIDE_BY_SIDE: usize = 4;

/// What each script may use: a tenant of the sandbox, the sandbox as a server, and a source that tries only once.
const BEFORE: &str = r#"
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
cat > acme.json <<'JSON'
{ "url": "http://127.0.0.1:PORT", "token": "sandbox-token-acme",
  "dripfeed": { "source": "sandbox", "tenant": "acme", "state_dir": "state" } }
JSON
sed s/sandbox-token-acme/sandbox-token-other/ acme.json > other.json
sed s/sandbox-token-acme/an-old-token/ acme.json > expired.json
serve() {
  dripfeed sandbox --port PORT --tasks "${tasks:-60}" --users 5 --projects 2 -q "$@" > /dev/null 2> sandbox.log &
  vendor=$!
  until (exec 3<> /dev/tcp/127.0.0.1/PORT) 2> /dev/null; do sleep 0.1; done
}
again() { kill $vendor; wait $vendor; serve "$@"; }
once() {
  handler='error_handler: {type: DefaultErrorHandler, max_retries: 0}'
  dripfeed sources --show sandbox | sed "s/^\( *\)url_base:/\1$handler\n&/" > once.yaml
}
"#;

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/faults");
    let mut cases: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

/// What differs from run to run, by a word for it.
fn stripped(text: &str, port: u16, folder: &Path) -> String {
    let text = text.replace(&port.to_string(), "PORT").replace(&folder.display().to_string(), "DIR");
    let changing = [
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z (read|sync) starts", "TIME $2 starts"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", "TIME"),
        // Which slice fails first, and how many others were requested by then, is chance.
        (r"modified_(since|before)=[^&)]*", "modified_$1=TIME"),
        (r"\d+ calls?\b", "N calls"),
        (r"\d{8}T\d{6}Z-[0-9a-f]+", "RUN"),
        (r"(PID|pid|process) \d+", "$1 N"),
        (r"\d+(\.\d+)? s\b", "N s"),
        (r", N s waiting for the pace \(all threads\)", ""),
    ];
    changing
        .iter()
        .fold(text, |text, (pattern, word)| Regex::new(pattern).unwrap().replace_all(&text, *word).into_owned())
}

fn run(case: &Path) -> (PathBuf, String) {
    let (shell, port) = (Shell::new(), free_port());
    let script = format!("{BEFORE}\n{}", std::fs::read_to_string(case.join("commands")).unwrap());
    let Ran { code, err, .. } = shell.run(&script.replace("PORT", &port.to_string()));
    let mut text = stripped(&err, port, &shell.folder);
    if script.contains("# The numbers differ from run to run.") {
        text = Regex::new(r"\d+").unwrap().replace_all(&text, "N").into_owned();
    }
    (case.to_owned(), format!("exit code {code}\n{text}"))
}

#[test]
fn each_class_of_error_has_the_text_that_is_recorded() {
    let cases = cases();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut ran = Vec::new();
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            ran.push(run(case));
        }
        ran
    };
    let ran: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..SIDE_BY_SIDE).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    for (case, text) in ran {
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        let code = name.split('-').next().unwrap();
        assert!(text.starts_with(&format!("exit code {code}\n")), "{name}: {text}");
        assert!(!text.contains("an-old-token") && !text.contains("sandbox-token"), "{name}: {text}");
        golden::assert_file(&case, "expect", "txt", &text);
    }
}

/// Nobody can bring about a bug of dripfeed.
#[test]
fn each_exit_code_has_a_case() {
    let names: Vec<String> =
        cases().iter().map(|case| case.file_name().unwrap().to_string_lossy().into_owned()).collect();
    for kind in Kind::ALL.iter().filter(|kind| **kind != Kind::Bug) {
        let code = format!("{}-", kind.exit_code());
        assert!(names.iter().any(|name| name.starts_with(&code)), "no case ends with {code}");
    }
}

/// A misspelt host kept who tested a new source waiting for minutes. How a system words it differs.
#[test]
fn a_host_that_is_unknown_is_tried_twice_where_somebody_waits() {
    let manifest = items(&json!({"id": {"type": "integer"}}), &json!({}), &json!({}));
    for verb in ["check", "test"] {
        let ran = Tap::new(verb).source(&manifest).config(&json!({"url": "http://no-such-host.invalid"})).run();
        ran.expect(69, &[]);
        let shown = format!("{}{}", ran.out, ran.err);
        assert!(shown.contains("after 2 attempts") && shown.contains("this machine's DNS"), "{verb}: {shown}");
    }
}
