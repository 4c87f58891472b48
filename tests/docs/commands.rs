//! The shell blocks of README and of each page work as written: all blocks of a page run in order in one shell.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::{Value as Json, json};

use super::{Page, pages};
use crate::support::shell::{Shell, free_port};

/// Pages whose commands run at the same time.
const SIDE_BY_SIDE: usize = 6;

/// What the commands of a page must leave behind.
type Left = fn(&Path);

const LEFT: &[(&str, Left)] = &[
    ("README.md", |folder| {
        assert!(json_of(folder, "sync.json")["bookmarks"]["tasks"]["modified_at"].is_string());
    }),
    ("docs/src/running/pipe.md", |folder| {
        assert!(json_of(folder, "state.json")["bookmarks"]["tasks"]["modified_at"].is_string());
    }),
    ("docs/src/backfill.md", |folder| {
        let past = &json_of(folder, "sync.backfill.json")["bookmarks"]["tasks"]["backfilled"];
        assert_eq!(*past, json!([{"start": "2024-01-01T00:00:00Z", "end": "2024-03-01T00:00:00Z"}]));
    }),
    ("docs/src/running/meltano.md", |folder| {
        assert!(json_of(folder, "about.json")["settings"]["properties"].is_object());
    }),
];

fn json_of(folder: &Path, name: &str) -> Json {
    let text = std::fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    serde_json::from_slice(&text).unwrap()
}

/// The page's blocks as one script. Its sandboxes get ports of their own: other tests may run on this machine.
fn script(page: &Page) -> String {
    let mut script = String::from("set -e\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n");
    for block in page.blocks().iter().filter(|block| block.language == "sh" && block.text != "cargo test\n") {
        let _ = writeln!(script, "# line {}", block.line);
        script += &block.text.replace("cargo run --release --", "dripfeed");
    }
    let ports: BTreeSet<String> = script
        .split("--port ")
        .skip(1)
        .map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>())
        .filter(|port| port.len() == 4)
        .collect();
    for port in ports {
        script = script.replace(&port, &free_port().to_string());
    }
    script + "echo reached the end\n"
}

/// Runs the commands of a page in an empty folder; gives what went wrong.
fn run(page: &Page) -> Option<String> {
    let shell = Shell::new();
    let ran = shell.run(&script(page));
    if ran.code != 0 || !ran.out.ends_with("reached the end\n") {
        return Some(format!("{} ends with {}\n{}\n{}", page.path, ran.code, ran.out, ran.err));
    }
    let left = LEFT.iter().filter(|(path, _)| *path == page.path);
    left.for_each(|(_, left)| left(&shell.folder));
    None
}

#[test]
fn the_commands_of_each_page_work_as_written() {
    let pages: Vec<Page> =
        pages().into_iter().filter(|page| page.blocks().iter().any(|block| block.language == "sh")).collect();
    assert!(pages.len() > 20, "{} pages have commands", pages.len());
    for (path, _) in LEFT {
        assert!(pages.iter().any(|page| page.path == *path), "{path} has no commands");
    }
    let next = AtomicU16::new(0);
    let work = || {
        let mut broken = Vec::new();
        while let Some(page) = pages.get(usize::from(next.fetch_add(1, Ordering::Relaxed))) {
            broken.extend(run(page));
        }
        broken
    };
    let broken: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..SIDE_BY_SIDE).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(broken.is_empty(), "{}", broken.join("\n\n"));
}

#[test]
fn the_readme_begins_with_two_commands() {
    let blocks = Page::read("README.md").blocks();
    let commands: Vec<&str> =
        blocks.iter().filter(|block| block.language == "sh").map(|block| block.text.as_str()).collect();
    assert_eq!(commands[..2], ["cargo run --release -- read --source sandbox\n", "cargo test\n"]);
}
