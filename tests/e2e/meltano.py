#!/usr/bin/env python3
"""Proves: the repository's meltano.yml works as it stands, for a person who copies it.

(a) `config test`, `select --list` and `invoke --about` see the tap as it is; the job resolves. (b) The first run into
target-jsonl brings the selected records whole, and only the selected fields, in SCHEMA and RECORD. (c) A run with a wrong token
fails, says why, and leaves the state as it was: the next run brings only what changed. (d) The other environment is another
tenant: its token, its records, its state. (e) --full-refresh brings everything again, with the token by dripfeed's own `env:`.
(f) The sandbox needs no config. (g) No token is in what Meltano says, nor in a file that it leaves; in meltano.yml it changes
nothing but its project_id.

Each tenant's Asana is a vendor of this process (asana_vendor.py), named by TAP_ASANA_API_URL. Tokens are in a file .env, states
in files, to be looked at.

usage: meltano.py      (needs Meltano and target-jsonl)

Environment: MELTANO names Meltano's executable, else the one on PATH; see also support.py.
"""
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from asana_vendor import Asana
from support import ROOT, STREAMS, Checks, Sandbox, executable, dripfeed, folder, messages, rows, target_jsonl

TOKENS = {"acme": "acme-token-59c2", "globex": "globex-token-7d10", "nobody": "nobody-token-c3aa"}
# What meltano.yml selects.
SELECTED = ("tasks", "projects", "users")


def as_selected(stream, record):
    """A record as its selection in meltano.yml leaves it."""
    if stream == "tasks":
        record = {k: v for k, v in record.items() if k != "html_notes"}
        if record["assignee"]:
            record["assignee"] = {"gid": record["assignee"]["gid"]}
    elif stream == "users":
        record = {k: record[k] for k in ("gid", "name", "email")}
    return record


class Project:
    """A copy of the repository's Meltano project, its executables in their places."""

    def __init__(self, at):
        self.at, self.said = at, ""
        shutil.copy(ROOT / "meltano.yml", at)
        (at / ".env").write_text(f"ACME_ASANA_TOKEN={TOKENS['acme']}\nGLOBEX_ASANA_TOKEN={TOKENS['globex']}\n")
        (at / "bin").mkdir()
        (at / "bin" / "dripfeed").symlink_to(dripfeed())
        # Where `meltano install` would put it.
        loader = at / ".meltano" / "loaders" / "target-jsonl" / "venv" / "bin"
        loader.mkdir(parents=True)
        (loader / "target-jsonl").symlink_to(target_jsonl())

    def meltano(self, *arguments, asana=None, **variables):
        """One command of Meltano."""
        mine = {k: v for k, v in os.environ.items() if not re.match("MELTANO|TAP_|TARGET_|DRIPFEED|(ACME|GLOBEX)_", k)}
        settings = {
            "PATH": f"{self.at / 'bin'}{os.pathsep}{mine['PATH']}", "NO_COLOR": "1", "MELTANO_CLI_DISABLE_VERSION_CHECK": "1",
            "MELTANO_STATE_BACKEND_URI": f"file://{self.at / 'state'}", **({"TAP_ASANA_API_URL": asana.url} if asana else {}),
        }
        done = subprocess.run([executable("MELTANO", "meltano"), *arguments], cwd=self.at, env={**mine, **settings, **variables},
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=150)
        done.said = (done.stdout + done.stderr).decode()
        self.said += done.said
        return done

    def of(self, tenant, *arguments, asana, **variables):
        """One command for a tenant."""
        return self.meltano(f"--environment={tenant}", *arguments, asana=asana, **variables)

    def run(self, tenant, *switches, asana, **variables):
        """`meltano run` into target-jsonl; gives how it ended and the rows that it brought, by stream."""
        before = {stream: len(self.rows(tenant, stream)) for stream in SELECTED}
        done = self.of(tenant, "run", "--no-install", *switches, "tap-asana", "target-jsonl", asana=asana, **variables)
        return done, {stream: self.rows(tenant, stream)[before[stream]:] for stream in SELECTED}

    def rows(self, tenant, stream, extractor="tap-asana"):
        """What target-jsonl has written."""
        return rows(self.at / "output" / tenant / extractor, stream)

    def state(self, state_id):
        """A state as Meltano keeps it; None when there is none."""
        path = self.at / "state" / state_id / "state.json"
        return {k: v for k, v in json.loads(path.read_text()).items() if v} if path.exists() else None

    def states(self):
        """The ids of all states."""
        return sorted(path.name for path in (self.at / "state").iterdir())


def state_id(tenant, extractor="tap-asana"):
    """The id that Meltano gives a tenant's state."""
    return f"{tenant}:{extractor}-to-target-jsonl:{tenant}"


def last_words(done):
    """What a failed command said last, for a person to see."""
    return f"{done.returncode} {'' if done.returncode == 0 else ' '.join(done.said.split())[-800:]}"


def differences(asana, found, streams=SELECTED):
    """What rows of a whole run have wrong, in words."""
    words = []
    for stream in streams:
        want = {gid: as_selected(stream, record) for gid, record in asana.truth(stream).items()}
        have = {row["gid"]: row for row in found[stream]}
        wrong = [gid for gid in {**want, **have} if want.get(gid) != have.get(gid)]
        words += [f"{stream}: {len(wrong)} of {len(want)} differ, as {have.get(wrong[0])}"[:600]] if wrong else []
    return words


def declared(name):
    """The part of meltano.yml on a plugin."""
    return re.search(rf"\n  - name: {name}\n(.*?)(\n\n|\n  - name|\Z)", (ROOT / "meltano.yml").read_text(), re.DOTALL)[1]


def known(schema, path):
    """Is there a setting of that path, also where the schema gives a choice?"""
    if not path:
        return True
    forms = [schema, *schema.get("oneOf", ())]
    return any(path[0] in form.get("properties", {}) and known(form["properties"][path[0]], path[1:]) for form in forms)


def looks(checks, project, asana):
    """(a)"""
    done = project.of("acme", "config", "test", "tap-asana", asana=asana)
    checks.ok("config test", done.returncode == 0 and "configuration is valid" in done.said, last_words(done))

    done = project.of("acme", "select", "tap-asana", "--list", "--all", asana=asana)
    listed = {name: how for how, name in re.findall(r"\[(\w+)\s*] (\S+)", done.stdout.decode())}
    baselines = {path.stem: json.loads(path.read_text()) for path in (ROOT / "schemas" / "asana").glob("*.json")}
    attributes = [f"{stream}.{name}" for stream, schema in baselines.items() for name in schema["properties"]]
    missing = [name for name in attributes if name not in listed]
    checks.ok("select lists all streams and attributes", done.returncode == 0 and len(baselines) == 20 and not missing,
              missing[:5] or f"{len(listed)}")
    want = {
        "automatic": "tasks.gid tasks.modified_at users.gid",
        "selected": "tasks.name tasks.assignee.gid users.email projects.owner.gid",
        "excluded": "tasks.html_notes tasks.assignee.name users.photo tags.name",
    }
    wrong = {name: listed.get(name) for how, names in want.items() for name in names.split() if listed.get(name) != how}
    checks.ok("select shows what is selected, excluded and automatic", not wrong, wrong or "")

    done = project.of("acme", "invoke", "tap-asana", "--about", "--format=json", asana=asana)
    about, part = json.loads(done.stdout), declared("tap-asana")
    capabilities = sorted(re.search(r"capabilities: \[(.*)]", part)[1].split(", "))
    checks.ok("meltano.yml names the capabilities that the tap has",
              about["name"] == "tap-asana" and about["capabilities"] == capabilities, about["capabilities"])
    listed, schema = re.findall(r"\n    - name: ([\w.]+)", part), about["settings"]
    unknown = [setting for setting in listed if not known(schema, setting.split("."))]
    checks.ok("the settings of meltano.yml are the tap's", "access_token" in listed and not unknown, unknown or len(listed))
    absent = schema["properties"].keys() - {setting.partition(".")[0] for setting in listed}
    checks.ok("meltano.yml lists every key of the source's config", not absent, sorted(absent) or "")

    done = project.meltano("run", "--no-install", "--dry-run", "asana")
    checks.ok("the job resolves", done.returncode == 0 and "would have run block 1/1" in done.said, last_words(done))


def fields(schema):
    """The fields of a SCHEMA, those of objects too."""
    found = set()
    for name, inner in schema.get("properties", {}).items():
        found |= {name, *(f"{name}.{below}" for below in fields(inner))}
    return found


def first_run(checks, project, asana):
    """(b)"""
    done, found = project.run("acme", asana=asana)
    checks.ok("first run: exit code 0", done.returncode == 0, last_words(done))
    wrong = differences(asana, found)
    checks.ok("first run: the selected records are whole, with the selected fields only", not wrong,
              wrong or {stream: len(brought) for stream, brought in found.items()})
    files = sorted(path.stem for path in (project.at / "output" / "acme" / "tap-asana").glob("*"))
    checks.ok("first run: only the selected streams", files == sorted(SELECTED), files)

    done = project.of("acme", "invoke", "tap-asana", asana=asana)
    said = messages(done.stdout.splitlines(keepends=True))
    schemas = {message["stream"]: fields(message["schema"]) for message in said if message["type"] == "SCHEMA"}
    there = {"tasks": {"gid", "modified_at", "name", "assignee", "assignee.gid"}, "users": {"gid", "name", "email"},
             "projects": {"html_notes", "owner.gid"}}
    gone = {"tasks": {"html_notes", "assignee.name"}, "users": {"photo", "workspaces"}}
    wrong = [s for s in SELECTED if not there[s] <= schemas.get(s, set()) or schemas[s] & gone.get(s, set())]
    checks.ok("SCHEMA has the selected fields only", done.returncode == 0 and set(schemas) == set(SELECTED) and not wrong,
              wrong or last_words(done))


def due_since_last_run(asana):
    """The bookmark that a run of now leaves for each project; gives a function that says which tasks are due by them."""
    tasks = asana.tasks_of
    bookmarks = {p: max((task["modified_at"] for task in tasks[p].values()), default="") for p in asana.open_projects()}
    return lambda: {gid for p, at in bookmarks.items() for gid, task in tasks[p].items() if task["modified_at"] >= at}


def later_runs(checks, project, asana):
    """(c)"""
    due, before = due_since_last_run(asana), project.state(state_id("acme"))
    changed = set(asana.edit(7))
    done, found = project.run("acme", asana=asana, TAP_ASANA_ACCESS_TOKEN=TOKENS["nobody"])
    checks.ok("wrong token: the run fails and says why", done.returncode != 0 and "refused the access token" in done.said,
              f"{done.returncode}")
    checks.ok("wrong token: no rows, the state as it was",
              before and project.state(state_id("acme")) == before and not any(found.values()))

    asana.reset_calls()
    done, found = project.run("acme", asana=asana)
    brought = {row["gid"] for row in found["tasks"]}
    checks.ok("second run: exit code 0", done.returncode == 0, last_words(done))
    checks.ok("second run: exactly what changed, and the rows at the bookmarks", changed <= brought == due(),
              f"{len(brought)} tasks, {len(changed)} changed, {len(due())} due of {len(asana.truth('tasks'))}")
    calls = [call for call in asana.calls if call["path"] == "/tasks"]
    checks.ok("second run: tasks are asked for since a time", any("modified_since" in call["query"] for call in calls),
              f"{len(calls)} calls")
    everything = {stream: project.rows("acme", stream) for stream in SELECTED}
    wrong = differences(asana, everything)
    checks.ok("second run: the target holds what the vendor has", not wrong, wrong or "")


def other_tenant(checks, project, acme, globex):
    """(d)"""
    before = project.state(state_id("acme"))
    done, found = project.run("globex", asana=globex)
    checks.ok("other tenant: exit code 0", done.returncode == 0, last_words(done))
    wrong = differences(globex, found)
    strangers = {row["gid"] for row in found["tasks"]} & set(acme.truth("tasks"))
    checks.ok("other tenant: its own records, whole", not wrong and not strangers,
              wrong or {stream: len(brought) for stream, brought in found.items()})
    states = {name: project.state(name) for name in project.states()}
    checks.ok("other tenant: a state of its own", list(states) == [state_id("acme"), state_id("globex")]
              and states[state_id("acme")] == before != states[state_id("globex")], list(states))


def refresh(checks, project, asana):
    """(e)"""
    done, found = project.run("acme", "--full-refresh", asana=asana, TAP_ASANA_ACCESS_TOKEN="env:ACME_ASANA_TOKEN")
    wrong = differences(asana, found)
    checks.ok("--full-refresh brings everything again", done.returncode == 0 and not wrong, wrong or last_words(done))


def sandbox(checks, project):
    """(f)"""
    done = project.meltano("run", "--no-install", "tap-sandbox", "target-jsonl")
    with Sandbox() as vendor:
        wrong = [s for s in STREAMS if vendor.all(s) != {row["id"]: row for row in project.rows("acme", s, "tap-sandbox")}]
    checks.ok("the sandbox needs no config", done.returncode == 0 and not wrong, wrong or last_words(done))


def kept_quiet(checks, project):
    """(g)"""
    files = [path for path in project.at.rglob("*") if path.is_file() and not path.is_symlink() and path.name != ".env"]
    said = [name for name, token in TOKENS.items() if token in project.said]
    left = [path.name for path in files if any(token.encode() in path.read_bytes() for token in TOKENS.values())]
    checks.ok("no token in what Meltano says", not said, said or f"{len(project.said)} characters")
    checks.ok("no token in a file that it leaves", not left, left or f"{len(files)} files")
    mine, now = [(at / "meltano.yml").read_text().splitlines() for at in (ROOT, project.at)]
    checks.ok("meltano.yml stays as it is", [line for line in now if not line.startswith("project_id:")] == mine)


def main():
    checks = Checks()
    with folder() as scratch, Asana(seed=1, tasks=300, token=TOKENS["acme"]) as acme, \
            Asana(seed=2, tasks=40, projects=3, workspaces=1, token=TOKENS["globex"]) as globex:
        project = Project(Path(scratch))
        looks(checks, project, acme)
        first_run(checks, project, acme)
        later_runs(checks, project, acme)
        other_tenant(checks, project, acme, globex)
        refresh(checks, project, acme)
        sandbox(checks, project)
        kept_quiet(checks, project)
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
