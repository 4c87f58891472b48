#!/usr/bin/env python3
"""Proves: each kind of drift, D1 to D34, comes to what fixtures/drift/expected.md says, counted in real warehouses.

Seven runs read an unchanged sandbox; then, for each row of the table, the sandbox has edited all tasks and changes its API, and
a run reads on. Checked: the exit code, the findings of the events, of `drift show` and of `drift check`, the lines of the
quarantine file, the bookmark, and in the warehouses how many tasks are as the changed vendor has them, that all their values
are, and that everything else is as before. What was observed is printed as a table, which must be the expected one.

What goes where: a row's run is made once, by itself, and what it printed is given to each target in a process of its own.
target-jsonl loads every row; meltanolabs-target-postgres and pipelinewise-target-postgres those in which tasks are loaded, into
tables that are copies of what they made of the runs before. PyAirbyte has the binary read all rows but `feed` by itself, into
copies of its DuckDB cache, with what the runs before have learned; there a run that fails loads nothing.

usage: drift.py [--only CHANGE ...]

Environment: as support.py's, warehouse.py's (without target-duckdb) and pyairbyte.py's.
"""
import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pyairbyte
import warehouse
from pyairbyte import PyAirbyte
from support import ROOT, STREAMS, TOKEN, Checks, Sandbox, dripfeed, executable, folder, last_state, rows, target_config

EXPECTED = ROOT / "fixtures" / "drift" / "expected.md"
COLUMNS = ("change", "run", "rule", "pointer", "severity", "policy", "exit", "loaded", "quarantined", "note")
TASKS, OTHERS = 300, {"users": 50, "projects": 20}
CALM = 7  # runs before the change: so many with rows make an empty one a surprise
TENANT = "acme"
LONGEST = 120
UNREADABLE = ("D24", "D27", "D28", "D32")  # a client that knows nothing of the change cannot read its lists


class Row(NamedTuple):
    """A row of the table, with those that go with it."""

    change: str
    run: str
    findings: tuple    # of rule, pointer, severity, policy
    exit: int
    loaded: int
    quarantined: int
    notes: tuple       # one more or as many as findings

    @property
    def name(self):
        return f"{self.change}, {self.run}"

    def lines(self, loaded=None):
        """As in the document."""
        numbers = (self.exit, self.loaded if loaded is None else loaded, self.quarantined)
        said = []
        for at, finding in enumerate(self.findings or (("–", "", "", ""),)):
            first = at == 0
            cells = [*((self.change, self.run) if first else ("", "")), *finding, *(map(str, numbers) if first else ("",) * 3),
                     self.notes[at] if at < len(self.notes) else ""]
            said.append(re.sub(" +", " ", "| " + " | ".join(cells) + " |"))
        return said


def table():
    """The lines of the expected table, and its rows."""
    lines = [re.sub(" +", " ", line) for line in EXPECTED.read_text().splitlines() if line.startswith("| ")]
    assert tuple(cell.strip() for cell in lines[0].split("|")[1:-1]) == COLUMNS, lines[0]
    lines, found = lines[1:], []
    for line in lines:
        change, run, *finding, code, loaded, quarantined, note = (cell.strip() for cell in line.split("|")[1:-1])
        finding = () if finding[0] == "–" else (tuple(finding),)
        if change:
            found.append(Row(change, run, finding, int(code), int(loaded), int(quarantined), (note,)))
        else:
            found[-1] = found[-1]._replace(findings=found[-1].findings + finding, notes=(*found[-1].notes, note))
    return lines, found


def vendor(change="none", edited=0):
    """A sandbox after so many edits, and after a change."""
    return Sandbox("--tasks", TASKS, "--edited", edited, *(() if change == "none" else ("--change", change)))


def edits(row):
    """How many edits there were before each run of a row."""
    if row.change == "D26":
        # A filter that is ignored shows in tasks that were not edited for long.
        return (TASKS // 3,)
    return (TASKS * CALM, TASKS * (CALM + 1)) if row.run in ("twice", "witness") else (TASKS * CALM,)


def settings(url, states, row=None, token=f"{TOKEN}-{TENANT}"):
    """A tenant's config."""
    ours = {"tenant": TENANT}
    if not row or row.run != "no directory":
        ours["state_dir"] = str(states)
    if not row or row.run == "witness":
        ours["drift"] = {"witness": {"tasks": "/tasks/{id}"}}
    return {"url": url, "token": token, "dripfeed": ours}


def truth(sandbox):
    """Tasks as the vendor gives them, by id, as far as they can be read."""
    found, after = {}, ""
    while True:
        request = urllib.request.Request(f"{sandbox.url}/tasks?limit=100{after}",
                                         headers={"Authorization": f"Bearer {TOKEN}-{TENANT}"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            page = json.loads(answer.read().decode(errors="replace"))
        found.update((task["id"], task) for task in page["data"] if isinstance(task, dict) and isinstance(task["id"], str))
        if not page["next"]:
            return found
        after = f"&after={page['next']}"


class Ran(NamedTuple):
    """What runs came to."""

    code: int
    printed: bytes     # of all
    events: list       # of all
    state: dict        # the last
    given: str         # the bookmark that the last one was given
    log: str


def bookmark(state):
    """That of tasks."""
    return state.get("bookmarks", {}).get("tasks", {}).get("modified_at", "")


def feed(path):
    """Writes the sandbox's manifest as that of a vendor whose newest tasks come first, and of whom nobody can ask for the new
    ones only; gives the path."""
    text = (ROOT / "catalog" / "sandbox.yaml").read_text()
    for stream in STREAMS:
        schema = json.dumps(json.loads((ROOT / "schemas" / "sandbox" / f"{stream}.json").read_text()))
        loader = f"schema_loader: {{type: InlineSchemaLoader, schema: {schema}}}"
        text = text.replace(f"name: {stream}\n", f"name: {stream}\n    {loader}\n")
    text = text.replace("      http_method: GET\n", "      http_method: GET\n      request_parameters: {sort: -modified_at}\n")
    path.write_text(re.sub(r"      step: P1M\n(      .*\n)+", "      is_data_feed: true\n", text))
    return path


def read(work, source, config, state, *more):
    """One run."""
    (work / "config.json").write_text(json.dumps(config))
    command = [dripfeed(), "read", "--source", str(source), "--config", "config.json", "--events", "events", *more]
    if state:
        (work / "state.json").write_text(json.dumps(state))
        command += ["--state", "state.json"]
    (work / "events").unlink(missing_ok=True)
    done = subprocess.run(command, cwd=work, stdin=subprocess.DEVNULL, capture_output=True, timeout=LONGEST)
    path = work / "events"
    events = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    states = [line for line in done.stdout.splitlines() if line.startswith(b'{"type":"STATE"')]
    after = json.loads(states[-1])["value"] if states else state or {}
    return Ran(done.returncode, done.stdout, events, after, bookmark(state or {}), done.stderr.decode(errors="replace"))


def drift(work, source, verb, *more):
    """A verb of `drift`: its exit code, what it prints."""
    done = subprocess.run([dripfeed(), "drift", verb, "--source", str(source), "--config", "config.json", *more], cwd=work,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LONGEST)
    return done.returncode, done.stdout


def findings(told):
    """What events or reports tell, as in the table."""
    return tuple(sorted((f["rule"], f["pointer"], f["severity"], f["policy"]) for f in told))


def put_aside(states):
    """For each line of the quarantine file the rules that it names."""
    path = states / "quarantine" / "sandbox" / TENANT / "tasks.jsonl"
    lines = path.read_bytes().splitlines() if path.exists() else []
    return [{cause["rule"] for cause in json.loads(line)["causes"]} for line in lines]


class Jsonl:
    """target-jsonl."""

    name = "target-jsonl"

    def __init__(self, scratch):
        self.scratch, self.executable = scratch, executable("TARGET_JSONL", "target-jsonl")

    def begin(self, case):
        out = self.scratch / case
        out.mkdir()
        return target_config(self.scratch / f"{case}.json", out)

    def tables(self, case):
        """It keeps every version: the last of each key."""
        found = {}
        for stream in STREAMS:
            kept = {row["id"]: row for row in rows(self.scratch / case, stream)}
            found[stream] = warehouse.Table(len(kept), {}, kept)
        return found

    @staticmethod
    def same(_, have, want):
        return have == want


class Database:
    """One of the targets for PostgreSQL."""

    def __init__(self, kind, server, scratch):
        self.target, self.server, self.scratch = kind(server, scratch), server, scratch
        self.name, self.executable = kind.name, self.target.executable
        self.short = self.name.split("-")[0]

    def begin(self, case):
        """A schema with copies of the tables of the runs before; gives the target's config."""
        schema = f"{self.short}_{case}"
        copies = "".join(f'create table "{schema}".{stream} (like {self.short}_first.{stream} including all);'
                         f'insert into "{schema}".{stream} select * from {self.short}_first.{stream};' for stream in STREAMS)
        if case != "first":
            self.server.query(f'create schema "{schema}"; {copies}')
        path = self.scratch / f"{schema}.json"
        path.write_text(json.dumps(self.target.config(schema, 0)))
        return path

    def tables(self, case):
        return {name: table._replace(rows={row["id"]: row for row in table.rows})
                for name, table in self.target.tables(f"{self.short}_{case}").items() if name in STREAMS}

    def same(self, kind, have, want):
        return warehouse.same(kind, have, want, self.target.stored)


def load(target, case, printed):
    """Gives a target what a run printed; its exit code, whether it said a state, the end of its log."""
    done = subprocess.run([target.executable, "--config", str(target.begin(case))], input=printed, capture_output=True,
                          timeout=LONGEST, env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""})
    return done.returncode, bool(last_state(done.stdout.decode())), done.stderr.decode(errors="replace")[-300:]


def fresh(tables, since):
    """The tasks that were changed since."""
    return {key: row for key, row in tables["tasks"].rows.items() if (row.get("modified_at") or "")[:19] > since[:19]}


def wrong_values(target, tables, loaded, want, nulled):
    """Values of loaded tasks that are not the vendor's, in words; and how many are null because they were put aside."""
    columns, aside, words = tables["tasks"].columns, 0, []
    for key, row in loaded.items():
        for name in want.get(key, {}):
            # Some targets write all names small.
            column, given = name if name in row else name.lower(), want[key][name]
            if row.get(column) is None and f"{column}__number" in row:
                column += "__number"  # what the column cannot hold stands beside it
            have = row.get(column)
            if not target.same(columns.get(column, ""), have, given):
                if have is None and name in nulled:
                    aside += 1
                else:
                    words.append(f"{key}.{name}: {have!r} instead of {given!r}")
    return (f"{len(words)} values, as {words[0][:160]}" if words else ""), aside


class Suite:
    """What all rows share."""

    def __init__(self, scratch, server):
        self.scratch = scratch
        databases = [Database(kind, server, scratch) for kind in (warehouse.Meltano, warehouse.Pipelinewise)]
        self.targets = [Jsonl(scratch), *databases]
        self.states, self.feed = scratch / "states", feed(scratch / "sandbox.yaml")
        self.first = self.calm("sandbox", self.states)
        self.first_feed = self.calm(self.feed, scratch / "states_feed")
        with ThreadPoolExecutor(2) as pool:
            self.loaded = list(pool.map(lambda target: load(target, "first" if target in databases else "jsonl_first",
                                                            self.first.printed), self.targets))

    def calm(self, source, states):
        """The runs before the change, as one; it fails when any of them does."""
        work = self.scratch / f"{states.name}_first"
        work.mkdir()
        state, ran = None, []
        for number in range(CALM):
            with vendor(edited=TASKS * number) as sandbox:
                ran.append(read(work, source, settings(sandbox.url, states), state))
            state = ran[-1].state
        return ran[-1]._replace(code=max(one.code for one in ran), printed=b"".join(one.printed for one in ran),
                                events=[event for one in ran for event in one.events])

    def begin(self, checks):
        """The calm runs must have gone well."""
        for first in (self.first, self.first_feed):
            told = findings(e for e in first.events if e["event"] == "schema_drift")
            checks.ok(f"{CALM} calm runs end with 0 and find nothing", first.code == 0 and not told, told or first.code)
        for target, (code, state, log) in zip(self.targets, self.loaded):
            tables = target.tables("jsonl_first" if isinstance(target, Jsonl) else "first")
            counts = {name: table.count for name, table in tables.items()}
            checks.ok(f"what they printed in {target.name}", code == 0 and state and counts == {"tasks": TASKS, **OTHERS},
                      counts if code == 0 else log)

    def row(self, row, case):
        """All of a row but PyAirbyte; gives what to check, and the row as it was observed."""
        work, states, found = self.scratch / f"row_{case}", self.scratch / f"states_{case}", []
        work.mkdir()
        first, source = (self.first_feed, self.feed) if row.run == "feed" else (self.first, "sandbox")
        shutil.copytree(self.scratch / ("states_feed" if row.run == "feed" else "states"), states)
        more = ["--full-refresh"] if row.run == "full" else []
        state, printed, events = first.state, b"", []
        for edited in edits(row):
            with vendor(row.change, edited) as sandbox:
                ran = read(work, source, settings(sandbox.url, states, row), state, *more)
                want = truth(sandbox) if row.change.split(":")[0] not in UNREADABLE else {}
            state, printed, events = ran.state, printed + ran.printed, events + ran.events
        told = [event for event in events if event["event"] == "schema_drift"]
        news = findings(event for event in told if not event.get("repeat"))
        aside = put_aside(states)
        seen = row._replace(findings=tuple(sorted(news, key=lambda one: row.findings.index(one) if one in row.findings else 99)),
                            exit=ran.code, quarantined=len(aside))
        found.append(("the exit code", ran.code == row.exit, ran.code if ran.code == row.exit else f"{ran.code}: {ran.log[-300:]}"))
        found.append(("the events tell what was found, once and of tasks", news == tuple(sorted(row.findings)) and
                      all((event["stream"], event["tenant"]) == ("tasks", TENANT) for event in told), news))
        found.append(("the quarantine file, and why", len(aside) == row.quarantined and
                      all(rules & {rule for rule, *_ in row.findings} for rules in aside), f"{len(aside)} lines"))
        stays = row.loaded + row.quarantined < TASKS
        found.append(("the bookmark " + ("stays" if stays else "moves"), bookmark(ran.state) <= ran.given if stays else
                      bookmark(ran.state) > ran.given, f"from {ran.given} to {bookmark(ran.state)}"))
        if row.run != "no directory":
            shown = findings(json.loads(drift(work, source, "show", "--format", "json")[1])["findings"])
            found.append(("`drift show` tells the same", shown == tuple(sorted(row.findings)), shown))
            code = drift(work, source, "check")[0]
            grave = any(severity in ("break", "extraction") for _, _, severity, _ in row.findings)
            found.append(("`drift check` " + ("refuses" if grave else "passes"), code == (30 if grave else 0), f"exit code {code}"))
        counts = {}
        for target in self.targets:
            if not row.loaded and target is not self.targets[0]:
                continue
            code, said, log = load(target, f"case_{case}", printed)
            tables = target.tables(f"case_{case}")
            loaded = fresh(tables, ran.given or bookmark(self.first.state))
            nulled = {pointer[1:] for _, pointer, _, policy in row.findings if policy == "null-value"}
            wrong, nulls = wrong_values(target, tables, loaded, want, nulled)
            others = {stream: tables[stream].count for stream in OTHERS}
            counts[target.name] = len(loaded)
            total = tables["tasks"].count
            found.append((f"{target.name} takes it all and says a state", code == 0 and said, log if code else ""))
            found.append((f"{target.name} has {row.loaded} tasks as the vendor has them", len(loaded) == row.loaded and not wrong
                          and loaded.keys() <= want.keys() and nulls == (row.quarantined if nulled else 0),
                          wrong or f"{len(loaded)}, {nulls} values NULL"))
            found.append((f"{target.name} has all other rows", others == OTHERS and
                          total == (TASKS if target is not self.targets[0] else row.loaded), {"tasks": total, **others}))
        different = set(counts.values())
        observed = str(different.pop()) if len(different) == 1 else ", ".join(f"{n} ({name})" for name, n in counts.items())
        return found, seen.lines(observed)


def neighbours(work, states):
    """Has a tenant no finding that has not what another has? And what it finds, if it does."""
    work.mkdir()
    with vendor() as sandbox:
        config = settings(sandbox.url, states, token=TOKEN)
        config["dripfeed"]["tenant"] = "other"
        first = read(work, "sandbox", config, None)
    with vendor(f"D29@{TENANT}", TASKS) as sandbox:
        config["url"] = sandbox.url
        ran = read(work, "sandbox", config, first.state)
    told = [event for event in ran.events if event["event"] == "schema_drift"]
    return ran.code == 0 and not told and drift(work, "sandbox", "check")[0] == 0, told


class Airbyte:
    """All rows through PyAirbyte, in one process of it, with what the calm runs learned."""

    def __init__(self, suite, needed):
        self.scratch, self.suite, self.needed = suite.scratch / "airbyte", suite, needed
        self.scratch.mkdir()
        self.link = self.scratch / "source-sandbox"
        self.link.symlink_to(dripfeed())

    def rows(self):
        """What to check of each row."""
        with PyAirbyte(self.scratch) as airbyte:
            cache = self.scratch / "first.duckdb"
            with vendor(edited=TASKS * (CALM - 1)) as sandbox:
                airbyte("open_source", "first", "source-sandbox", self.link, settings(sandbox.url, self.scratch / "states"))
                catalog = airbyte("discover", "first")
                done = airbyte("read", "first", cache)
                last = airbyte("states", cache)["tasks"]["modified_at"]
            yield "the first read", done["counts"] == {"tasks": TASKS, **OTHERS}, done["counts"]
            for case, row in enumerate(row for row in self.needed if row.run != "feed"):
                yield self.row(airbyte, row, case, catalog, last)

    def row(self, airbyte, row, case, catalog, last):
        states, cache, key = self.scratch / f"states_{case}", self.scratch / f"case_{case}.duckdb", f"row {case}"
        shutil.copytree(self.suite.states, states)
        # A cache without a state is read into from the beginning.
        if row.run != "full":
            shutil.copyfile(self.scratch / "first.duckdb", cache)
        raised = []
        for edited in edits(row):
            with vendor(row.change, edited) as sandbox:
                airbyte("open_source", key, "source-sandbox", self.link, settings(sandbox.url, states, row))
                before = airbyte("states", cache)["tasks"]["modified_at"] if raised else last
                raised.append(airbyte.refusal("read", key, cache))
                want = truth(sandbox) if row.loaded and not row.exit else {}
        found = airbyte("tables", cache) if cache.exists() else {}
        tasks = {task["id"]: task for task in found.get("tasks", [])}
        loaded = {key: task for key, task in tasks.items() if task["modified_at"] and task["modified_at"] > before[:19]}
        expected = 0 if row.exit else row.loaded
        nulled = {pointer[1:] for _, pointer, _, policy in row.findings if policy == "null-value"}
        # In Airbyte's protocol values go out as the vendor has them, and a column that is BIGINT in the cache rounds them.
        rounded = {pointer[1:] for rule, pointer, *_ in row.findings if rule == "field_type_widened"}
        properties = next(stream for stream in catalog if stream["name"] == "tasks")["json_schema"]["properties"]
        wrong = [(key, name, task[name], want[key].get(name)) for key, task in loaded.items() if key in want
                 for name, schema in properties.items()
                 if not pyairbyte.same(task[name], want[key].get(name), schema) and not (task[name] is None and name in nulled)
                 and not (name in rounded and abs(task[name] - want[key][name]) <= 0.5)]
        counts = {name: len(table) for name, table in found.items()}
        # Without a directory nothing is taken out: the value goes on, as from airbyte-cdk, and PyAirbyte cannot store it.
        error = ("SQLRuntimeError" if row.run == "no directory" else "AirbyteConnectorFailedError") if row.exit else ""
        right = error in raised[-1] if error else not any(raised)
        right &= len(loaded) == expected and not wrong
        right &= counts.get("tasks", 0) == (expected if row.run == "full" else TASKS)
        return f"{row.name}: PyAirbyte " + ("raises, and keeps nothing of it" if row.exit else f"has {row.loaded} tasks as the "
                "vendor has them"), right, f"{raised[-1].split(chr(10))[0][:100]} {wrong[:1] or ''} {len(loaded)} of {counts}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="CHANGE", help="these rows only, as D6 or D6:every=50")
    options = parser.parse_args()
    checks = Checks()
    # A runner's SIGTERM must not leave a server behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    expected, all_rows = table()
    needed = [row for row in all_rows if not options.only or row.change in options.only or row.change.split(":")[0] in options.only]
    observed = []
    with contextlib.ExitStack() as stack:
        scratch, server = stack.enter_context(folder()), stack.enter_context(warehouse.Postgres())
        pool = stack.enter_context(ThreadPoolExecutor(3))
        suite = Suite(scratch, server)
        airbyte = pool.submit(lambda: list(Airbyte(suite, needed).rows()))
        suite.begin(checks)
        for row, (found, lines) in zip(needed, pool.map(suite.row, needed, range(len(needed)))):
            for name, holds, detail in found:
                checks.ok(f"{row.name}: {name}", holds, detail)
            observed += lines
        checks.ok("D29: a tenant without the field has no finding", *neighbours(scratch / "other", scratch / "states_other"))
        for name, holds, detail in airbyte.result():
            checks.ok(name, holds, detail)
    print("\n".join(["", "| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|", *observed, ""]))
    if not options.only:
        apart = [line for line in observed if line not in expected] + [line for line in expected if line not in observed]
        checks.ok("the table as it was observed is the expected one", observed == expected, apart[:3])
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
