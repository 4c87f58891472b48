//! The examples of each verb's `--help` work as written: all of them run in one shell, in the order of the verbs.

use super::style::VERBS;
use crate::support::shell::{Shell, free_port};
use crate::support::tap::Tap;

/// The widest line of an example: a terminal of 80 columns does not break it.
const WIDEST: usize = 80;

/// What the examples begin with: a vendor, a tenant that has read it once, and then a change of the vendor.
const BEFORE: &str = r#"set -e
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
cat > acme.json <<'JSON'
{ "url": "http://127.0.0.1:PORT", "token": "sandbox-token",
  "dripfeed": { "source": "my.yaml", "tenant": "acme", "state_dir": "state",
                "tiers": { "hourly": {"streams": ["tasks"], "schedule": "H * * * *"} } } }
JSON
serve() {
  dripfeed sandbox --port PORT --tasks 60 -q "$@" > /dev/null &
  until dripfeed check -q --source sandbox --config acme.json 2> /dev/null; do sleep 0.1; done
}
mkdir tenants && cp acme.json tenants
echo '{}' > pg.json
dripfeed init my --from sandbox
serve
dripfeed read --source my.yaml --config acme.json > before.jsonl
sed -n 's/^{"type":"STATE","value":\(.*\)}$/\1/p' before.jsonl | tail -1 > state.json
kill $! && wait $! || true
serve --change D1
echo '{"streams": [{"stream": {"name": "tasks", "json_schema": {}, "supported_sync_modes": ["full_refresh"]},
  "sync_mode": "full_refresh", "destination_sync_mode": "append"}]}' > configured.json
cat > openapi.yaml <<'YAML'
openapi: 3.0.3
info: {title: Tracker}
servers: [{url: https://api.example.com/v2}]
paths:
  /projects: &list
    get:
      responses:
        "200":
          description: A list.
          content:
            application/json: {schema: {type: array, items: {type: object, properties: {id: {type: string}}}}}
  /projects/{project_id}/tasks: *list
YAML
mkdir new && cp openapi.yaml new
"#;

/// The commands of the examples in a help text; a line that ends with `\` goes on.
fn examples(help: &str) -> Vec<String> {
    let Some((_, text)) = help.split_once("EXAMPLES:\n") else { return Vec::new() };
    let text = text.split("EXIT CODES:").next().unwrap_or_default();
    let mut commands: Vec<String> = Vec::new();
    for line in text.lines() {
        let goes_on = commands.last().is_some_and(|command| command.ends_with('\\'));
        if goes_on {
            let last = commands.last_mut().unwrap();
            last.push('\n');
            last.push_str(line);
        } else if line.trim_start().starts_with("dripfeed ") {
            commands.push(line.trim_start().to_owned());
        }
    }
    commands
}

#[test]
fn the_examples_of_each_help_work_as_written() {
    let mut script = BEFORE.replace("PORT", &free_port().to_string());
    let mut verbs = 0;
    for verb in VERBS {
        let help = Tap::new(&format!("{verb} --help")).run().out;
        let commands = examples(&help);
        verbs += usize::from(!commands.is_empty());
        for command in commands {
            let widest = command.lines().map(|line| line.chars().count()).max();
            assert!(widest <= Some(WIDEST), "{verb} --help: too wide: {command}");
            // It asks on a terminal, and there is none.
            if command == "dripfeed init crm" {
                continue;
            }
            // New sources have schemas of their own, in a folder of their own.
            let command = if *verb == "init" { format!("(cd new\n{command})") } else { command };
            let title = command.lines().next().unwrap_or_default().replace(['\'', '\\', '|', '>', '(', ')'], "");
            script += &format!("echo {title}: >&2\n{command}\n");
        }
    }
    assert!(verbs >= 10, "{verbs} verbs have examples");
    let ran = Shell::new().run(&(script + "echo reached the end\n"));
    assert!(ran.code == 0 && ran.out.ends_with("reached the end\n"), "{}\n{}\n{}", ran.code, ran.out, ran.err);
}
