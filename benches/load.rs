//! What a manifest costs to load, and a template to run.
//!
//! `cargo bench --bench load` makes a manifest of 1 MB and one of 1,000 streams, and runs `validate` and `discover`
//! over them, each in a process of its own; then it reads the sandbox's tasks with and without added fields. Beside the
//! milliseconds stand ratios to something fixed that is measured in the same run: machines are shared.
#![allow(clippy::print_stdout, missing_docs)]

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

/// The size of the large manifest.
const BYTES: usize = 1 << 20;
const STREAMS: usize = 1000;
const RUNS: usize = 11;
const TASKS: u64 = 200_000;
const ADDED: u64 = 5;
const PAIRS: usize = 5;

const TAP: &str = env!("CARGO_BIN_EXE_dripfeed");

/// What stands before the streams; they share a retriever by reference.
const HEAD: &str = r#"version: 7.39.1
type: DeclarativeSource
check: {type: CheckStream, stream_names: [stream_0]}
definitions:
  retriever:
    type: SimpleRetriever
    requester:
      type: HttpRequester
      url_base: "{{ config['url'] }}"
      path: "{{ parameters['path'] }}"
      authenticator: {type: BearerAuthenticator, api_token: "{{ config['token'] }}"}
      error_handler:
        type: DefaultErrorHandler
        response_filters:
          - {type: HttpResponseFilter, action: IGNORE, http_codes: [404], predicate: "{{ response.error == 'gone' }}"}
    record_selector:
      type: RecordSelector
      extractor: {type: DpathExtractor, field_path: [data]}
    paginator:
      type: DefaultPaginator
      pagination_strategy:
        type: CursorPagination
        cursor_value: "{{ response['next'] }}"
        stop_condition: "{{ not response['next'] }}"
        page_size: 100
      page_size_option: {type: RequestOption, inject_into: request_parameter, field_name: limit}
      page_token_option: {type: RequestOption, inject_into: request_parameter, field_name: after}
streams:
"#;

/// A stream with a cursor and a schema of so many properties.
fn stream(number: usize, properties: usize) -> String {
    let mut text = format!(
        r##"  - type: DeclarativeStream
    name: stream_{number}
    primary_key: [id]
    $parameters: {{path: "v1/things/{number}"}}
    retriever: {{$ref: "#/definitions/retriever"}}
    incremental_sync:
      type: DatetimeBasedCursor
      cursor_field: updated_at
      datetime_format: "%Y-%m-%dT%H:%M:%SZ"
      start_datetime: "{{{{ config.get('start_date', '2024-01-01T00:00:00Z') }}}}"
      start_time_option: {{type: RequestOption, inject_into: request_parameter, field_name: since}}
    transformations:
      - {{type: AddFields, fields: [{{path: [source], value: "{{{{ config['url'] }}}}/{{{{ record['id'] }}}}"}}]}}
    schema_loader:
      type: InlineSchemaLoader
      schema:
        type: object
        properties:
          id: {{type: string}}
          updated_at: {{type: [string, "null"], format: date-time}}
"##
    );
    for property in 0..properties {
        let _ = writeln!(text, "          property_{property}:");
        let _ = writeln!(text, "            type: [string, \"null\"]");
        let _ = writeln!(text, "            description: What the vendor says of property {property}.");
    }
    text
}

/// The shortest and the middle time of a command, in milliseconds of the clock.
fn times(args: &[&str]) -> Result<(f64, f64)> {
    let mut times: Vec<Duration> = Vec::new();
    for _ in 0..RUNS {
        let began = Instant::now();
        let status = Command::new(TAP).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
        times.push(began.elapsed());
        ensure!(status.success(), "{args:?}: {status}");
    }
    times.sort();
    let shown = |time: Duration| time.as_secs_f64() * 1000.0;
    Ok((shown(times[0]), shown(times[RUNS / 2])))
}

/// A manifest's loading: in milliseconds, and against reading the same document as JSON.
fn loading(folder: &Path, what: &str, text: &str, verb: &str, goal: u32) -> Result<()> {
    let file = folder.join("manifest.yaml");
    std::fs::write(&file, text)?;
    let file = file.to_str().context("the temporary folder has a name that is no text")?;
    let args: Vec<&str> = if verb == "validate" { vec![verb, file] } else { vec![verb, "--source", file] };
    let (least, middle) = times(&args)?;
    let start = times(&["spec", "--source", "sandbox"])?.1;
    let json = dripfeed::manifest::yaml::parse_yaml(text, "manifest.yaml")?.to_json().to_string();
    let began = Instant::now();
    for _ in 0..RUNS {
        ensure!(serde_json::from_str::<serde_json::Value>(&json)?.is_object(), "a manifest is an object");
    }
    #[allow(clippy::cast_precision_loss)]
    let parsed = began.elapsed().as_secs_f64() * 1000.0 / RUNS as f64;
    println!(
        "{verb} of {what}, {} KB: {middle:.0} ms (shortest {least:.0}, goal {goal}); {:.1} times `spec` \
        ({start:.0} ms), {:.1} times its JSON ({parsed:.1} ms)",
        text.len() >> 10,
        middle / start,
        (middle - start) / parsed,
    );
    Ok(())
}

/// CPU time of the children that ended so far, in clock ticks of 10 ms (fields 16 and 17 of `/proc/self/stat`).
fn ticks() -> Result<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat").context("this bench needs Linux's /proc")?;
    let fields: Vec<&str> = stat.rsplit_once(") ").context("/proc/self/stat has another form")?.1.split(' ').collect();
    Ok(fields[13].parse::<u64>()? + fields[14].parse::<u64>()?)
}

/// The sandbox's manifest with additional fields of tasks.
fn sandbox(added: u64) -> Result<String> {
    let text = include_str!("../catalog/sandbox.yaml");
    let mut fields = String::new();
    for number in 0..added {
        let _ = writeln!(fields, "          - {{path: [added_{number}], value: \"{{{{ record['id'] }}}}-{number}\"}}");
    }
    let name = "    name: tasks\n";
    // One field is there in any case: what a record costs that is taken apart at all is another matter.
    let first = "          - {path: [added], value: \"{{ record['id'] }}\"}\n";
    ensure!(text.contains(name), "the sandbox has no stream of that name");
    let transformations =
        format!("{name}    transformations:\n      - type: AddFields\n        fields:\n{first}{fields}");
    Ok(text.replacen(name, &transformations, 1))
}

/// What an added field costs a record, in microseconds of CPU: against one that costs the same but for them.
fn added(folder: &Path) -> Result<()> {
    let mut vendor = Command::new(TAP)
        .args(["sandbox", "-q", "--no-gzip", "--tasks", &TASKS.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .context("the sandbox does not start")?;
    let mut url = String::new();
    BufReader::new(vendor.stdout.as_mut().context("the sandbox has no stdout")?).read_line(&mut url)?;
    let config = folder.join("config.json");
    std::fs::write(&config, format!("{{\"url\": \"{}\", \"token\": \"sandbox-token\"}}", url.trim()))?;
    let cpu = |fields: u64| -> Result<u64> {
        let file = folder.join("sandbox.yaml");
        std::fs::write(&file, sandbox(fields)?)?;
        let before = ticks()?;
        let mut read = Command::new(TAP);
        read.args(["read", "-q", "--streams", "tasks", "--source"]).arg(&file).arg("--config").arg(&config);
        let status = read.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
        ensure!(status.success(), "{read:?}: {status}");
        Ok(ticks()? - before)
    };
    #[allow(clippy::cast_precision_loss)]
    let mut pairs: Vec<(f64, u64, u64)> = (0..PAIRS)
        .map(|_| {
            let (without, with) = (cpu(0)?, cpu(ADDED)?);
            let each = (with as f64 - without as f64) * 10_000.0 / (ADDED * TASKS) as f64;
            Ok((each, without * 10, with * 10))
        })
        .collect::<Result<_>>()?;
    let _ = vendor.kill();
    let _ = vendor.wait();
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (each, without, with) = pairs[PAIRS / 2];
    println!(
        "an added field: {each:.2} µs a record (goal 2); {TASKS} records: {without} ms CPU with one, {with} ms with {} \
        ({PAIRS} pairs)",
        1 + ADDED
    );
    Ok(())
}

fn main() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("dripfeed-load-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let mut large = HEAD.to_owned();
    let mut number = 0;
    while large.len() < BYTES {
        large += &stream(number, 100);
        number += 1;
    }
    loading(&folder, &format!("{number} streams"), &large, "validate", 150)?;
    loading(&folder, &format!("{number} streams"), &large, "discover", 150)?;
    let many: String = (0..STREAMS).map(|number| stream(number, 0)).collect();
    loading(&folder, &format!("{STREAMS} streams"), &(HEAD.to_owned() + &many), "discover", 300)?;
    added(&folder)?;
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
