//! Whatever a user writes or a vendor sends is read, or refused with a fault: it panics nowhere, and takes no minute.
//!
//! Each target takes bytes; a seeded mutator makes them from the recorded fixtures. `cargo test fuzz::` gives each
//! target some seconds; `FUZZ_SECONDS=600 FUZZ_SEED=7 cargo test fuzz::` gives it more, from another seed. A finding is
//! printed with its seed and its input; it becomes an input of [`FOUND`], which each run tries first.

mod mutator;
mod targets;

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mutator::Mutator;

/// Seconds for each target without `FUZZ_SECONDS`.
const SECONDS: u64 = 3;
/// The longest that one input may take, in the unoptimized build of a busy machine.
const SLOW: Duration = Duration::from_secs(10);
/// The stack of a target, as of the threads that read, in bytes.
const STACK: usize = 64 << 20;

/// Inputs that once took too long or broke something, by target: fuzzing found two, trials and reading the others. Each
/// is mended.
const FOUND: &[(&str, &[u8])] = &[
    // Each `join` takes a text apart and makes it twice as long: 62 s and gigabytes, by lists of sixteen million items.
    (
        "template",
        b"{{ [1, none, 'a'] | join('-')| join('-')| join('-')| join('-')| join('-')| join('-')| join('-')| join('-')| \
        join('-')| join('-')| join('-')| join('-')| join('-')| join('-')| join('-')| join('-')| join('-')| join('-')| \
        join('-')| join('-')| join('-')| join('-')| join('-')| join('-')| join('-') }}",
    ),
    (
        "time format",
        b"%f%f%f%f%f%f%f%f%f%f%f%f%f%f%f%f%f%f%f%f%f%f%f%fZ\n111111111111111111111111111111111111111111111111111111111",
    ),
    ("duration", b"P2147483647M"),
    ("duration", "PT1.00000000000é1S".as_bytes()),
    ("state", br#"{"bookmarks": {"items": {"lookback_window": 1000000000000000000000000000000}}}"#),
];

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Tries one input; words for what went wrong.
fn tried(target: &dyn Fn(&[u8]), input: &[u8]) -> Option<String> {
    let began = Instant::now();
    let panicked = catch_unwind(AssertUnwindSafe(|| target(input))).is_err();
    let took = began.elapsed();
    match (panicked, took > SLOW) {
        (true, _) => Some("panics".to_owned()),
        (false, true) => Some(format!("takes {} s", took.as_secs())),
        (false, false) => None,
    }
}

/// Runs a target over what was found before, its corpus, and inputs made of it.
fn fuzz(name: &'static str, corpus: Vec<Vec<u8>>, target: impl Fn(&[u8]) + Send + 'static) {
    let run = move || {
        let (seconds, seed) = (number("FUZZ_SECONDS", SECONDS), number("FUZZ_SEED", 1));
        let until = Instant::now() + Duration::from_secs(seconds);
        let mut inputs: Vec<Vec<u8>> =
            FOUND.iter().filter(|(of, _)| *of == name).map(|(_, input)| input.to_vec()).collect();
        inputs.extend(corpus.iter().cloned());
        let mut mutator = Mutator::new(seed, corpus);
        let mut count = 0_u64;
        while Instant::now() < until || !inputs.is_empty() {
            let input = inputs.pop().unwrap_or_else(|| mutator.input());
            count += 1;
            if let Some(what) = tried(&target, &input) {
                panic!("{name}: input {count} of seed {seed} {what}: {:?}", String::from_utf8_lossy(&input));
            }
        }
        let line = format!("fuzz: {name}: {count} inputs in {seconds} s, seed {seed}, none panics\n");
        std::io::stdout().write_all(line.as_bytes()).unwrap();
        assert!(count > 0);
    };
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(run).unwrap();
    if let Err(finding) = thread.join() {
        std::panic::resume_unwind(finding);
    }
}

/// The fixtures below a folder that end so, every `step`th: a corpus needs variety, not all.
fn corpus(folder: &str, ending: &str, step: usize) -> Vec<Vec<u8>> {
    fn walk(folder: &Path, ending: &str, out: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, ending, out);
            } else if path.to_string_lossy().ends_with(ending) {
                out.push(path);
            }
        }
    }
    let mut paths = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), ending, &mut paths);
    paths.sort();
    assert!(!paths.is_empty(), "{folder} has no {ending}");
    paths.iter().step_by(step).map(|path| std::fs::read(path).unwrap()).collect()
}
