#!/usr/bin/env python3
"""Proves: PyAirbyte runs the binary as it runs any source, and its cache then holds what the vendor has.

With `local_executable`, for `sandbox` and `asana`: the config is validated by the spec, the connection is checked, streams are
discovered and read into DuckDB twice. Row counts and values are the vendor's; the second time only what changed is transferred,
by PyAirbyte's own count and by the vendor's. Refused credentials are an error that says why, nothing of such a run counts, and
the next run brings what it did not. One PyAirbyte process does it all: to import it takes longer than all the rest.

usage: pyairbyte.py      (PYAIRBYTE_PYTHON names a Python that has `airbyte`; see support.py for the environment)
"""
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path

from asana import ALL
from asana import STREAMS as ASANA_STREAMS
from asana_vendor import Asana
from support import STREAMS, TOKEN, Checks, Sandbox, dripfeed, executable, folder

# Who is in two workspaces comes twice, and so does a task of two projects, as from airbyte-cdk. What comes twice in a first read,
# PyAirbyte keeps twice; later reads change every row of a key.
AGAIN = ("users", "tasks")
# Keys of more than one field.
KEYS = {"portfolio_items": [["portfolio"], ["gid"]]}

# What runs in PyAirbyte's Python: a command a line comes in, an answer a line goes out on a pipe of its own.
DRIVER = '''
import datetime, json, os, sys
from pathlib import Path

import airbyte
from airbyte.caches import DuckDBCache
from sqlalchemy import text

answers = os.fdopen(int(sys.argv[1]), "w")
sources, caches = {}, {}


def select(cache, query):
    with caches[cache].get_sql_engine().connect() as connection:
        done = connection.execute(text(query))
        return [dict(zip(done.keys(), row)) for row in done.fetchall()]


def open_source(key, name, path, config, streams="*"):
    sources[key] = airbyte.get_source(name, local_executable=Path(path), config=config, streams=streams)


def validate(key, config):
    sources[key].validate_config(config)


def spec(key, path):
    sources[key].print_config_spec("json", output_file=path)
    sources[key].print_config_spec(stderr=True)


def check(key):
    sources[key].check()


def discover(key):
    return [stream.model_dump(mode="json") for stream in sources[key].discovered_catalog.streams]


def read(key, cache):
    if cache not in caches:
        caches[cache] = DuckDBCache(db_path=cache)
    done = sources[key].read(cache=caches[cache])
    return {"total": done.processed_records, "counts": dict(done._progress_tracker.stream_read_counts)}


def tables(cache):
    tables = select(cache, "select table_name from information_schema.tables where table_schema = 'main'")
    names = [row["table_name"] for row in tables if not row["table_name"].startswith("_airbyte")]
    return {name: select(cache, f'select * from main."{name}"') for name in names}


def states(cache):
    there = select(cache, "select 1 from information_schema.tables where table_name = '_airbyte_state'")
    rows = select(cache, "select stream_name, state_json from main._airbyte_state") if there else []
    return {row["stream_name"]: json.loads(row["state_json"])["stream"]["stream_state"] for row in rows}


def plain(value):
    return value.isoformat() if isinstance(value, (datetime.date, datetime.datetime)) else str(value)


for line in sys.stdin:
    name, arguments = json.loads(line)
    try:
        answer = {"value": globals()[name](*arguments)}
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer, default=plain), file=answers, flush=True)
'''


class Failed(Exception):
    """What PyAirbyte raised."""


class PyAirbyte:
    """A process of it."""

    def __init__(self, scratch):
        self.scratch, self.log = scratch, scratch / "pyairbyte.log"
        driver = scratch / "driver.py"
        driver.write_text(DRIVER)
        reader, writer = os.pipe()
        environment = {
            **os.environ, "AIRBYTE_OFFLINE_MODE": "1", "DO_NOT_TRACK": "1", "NO_COLOR": "1", "COLUMNS": "200",
            "AIRBYTE_LOGGING_ROOT": str(scratch / "logs"), "AIRBYTE_CACHE_ROOT": str(scratch / "cache"), "HOME": str(scratch)}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [executable("PYAIRBYTE_PYTHON", "python-with-airbyte"), "-W", "ignore", str(driver), str(writer)], cwd=scratch,
                env=environment, stdin=subprocess.PIPE, stdout=log, stderr=log, text=True, pass_fds=[writer])
        os.close(writer)
        self.answers = os.fdopen(reader)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        timer = threading.Timer(20, self.process.kill)
        timer.start()
        self.process.wait()
        timer.cancel()
        self.answers.close()

    def __call__(self, name, *arguments):
        """Has it do something; gives what comes of it, or raises what it raised."""
        timer = threading.Timer(120, self.process.kill)
        timer.start()
        print(json.dumps([name, [str(a) if isinstance(a, Path) else a for a in arguments]]), file=self.process.stdin, flush=True)
        line = self.answers.readline()
        timer.cancel()
        if not line:
            raise RuntimeError(f"PyAirbyte ended: {self.log.read_text()[-2000:]}")
        answer = json.loads(line)
        if "error" in answer:
            raise Failed(answer["error"])
        return answer["value"]

    def shown(self, name, *arguments):
        """Has it do something; gives what it shows meanwhile, and what it raises, if it does."""
        before = self.log.stat().st_size
        raised = self.refusal(name, *arguments)
        return self.log.read_bytes()[before:].decode(), raised

    def refusal(self, name, *arguments):
        """What it raises; nothing when all goes well."""
        try:
            self(name, *arguments)
        except Failed as failed:
            return str(failed)
        return ""


def moment(text):
    """A time as DuckDB keeps it: UTC, without a zone."""
    at = datetime.fromisoformat(text)
    return at.astimezone(timezone.utc).replace(tzinfo=None) if at.tzinfo else at


def same(kept, given, schema):
    """Is a value of the cache the one that the vendor gave?"""
    if kept is None or given is None:
        return kept is None and given is None
    types = schema.get("type", [])
    kind = next((t for t in ([types] if isinstance(types, str) else types) if t != "null"), None)
    if kind in ("object", "array", None):
        return (json.loads(kept) if isinstance(kept, str) else kept) == given
    if kind == "number":
        return Decimal(str(kept)) == Decimal(str(given)).quantize(Decimal("1e-9"))
    if kind == "string" and schema.get("format") == "date-time":
        return moment(kept) == moment(given)
    return type(kept) is type(given) and kept == given


def apart(tables, truth, catalog, key, again=()):
    """What of the cache is not as the vendor has it, in words; nothing when all is well. Every row counts; only tables in
    `again` may have more than one of a key."""
    words = []
    for stream in catalog:
        name, properties = stream["name"], stream["json_schema"]["properties"]
        rows, records = tables.get(name, []), truth[name]
        keys = {row[key] for row in rows}
        if keys != records.keys() or len(rows) != len(keys) and name not in again:
            words.append(f"{name}: {len(rows)} rows, {len(keys)} keys, instead of {len(records)}")
        if unknown := {field for record in records.values() for field in record} - properties.keys():
            words.append(f"{name}: the catalog does not know {sorted(unknown)}")
        wrong = [(field, row.get(field), records[row[key]].get(field)) for row in rows if row[key] in records
                 for field, schema in properties.items()
                 if field not in row or not same(row[field], records[row[key]].get(field), schema)]
        if wrong:
            words.append(f"{name}: {len(wrong)} values differ, as {wrong[0]}")
    return "; ".join(words)


def first_read(checks, airbyte, key, config, truth, named):
    """Spec, validation, check, discovery and a first read; gives the catalog, of the streams that are read."""
    source, streams, chosen, id_field, secret, mistakes, again = named
    link = airbyte.scratch / f"source-{source}"
    link.symlink_to(dripfeed())
    airbyte("open_source", key, f"source-{source}", link, config, *chosen)
    printed = airbyte.scratch / f"{source}-spec.json"
    shown, raised = airbyte.shown("spec", key, printed)
    spec = json.loads(printed.read_text())
    checks.ok(f"{source}: print_config_spec prints the spec", not raised and secret in shown and
              "dripfeed" in spec["properties"] and spec["properties"][secret]["airbyte_secret"] is True, raised)
    refused = {name: airbyte.refusal("validate", key, {k: v for k, v in {**config, **change}.items() if v is not None})
               for name, change in mistakes.items()}
    right = airbyte.refusal("validate", key, config)
    checks.ok(f"{source}: the spec tells a good config from {len(mistakes)} bad ones", not right and
              all("AirbyteConnectorValidationFailedError" in text and name in text for name, text in refused.items()),
              right or [name for name, text in refused.items() if name not in text])
    checks.ok(f"{source}: the connection is checked", not (text := airbyte.refusal("check", key)), text)
    catalog = airbyte("discover", key)
    wrong = [s["name"] for s in catalog
             if s["source_defined_primary_key"] != KEYS.get(s["name"], [[id_field]]) or not s["json_schema"]["properties"]]
    checks.ok(f"{source}: the streams are discovered, with their keys",
              [s["name"] for s in catalog] == list(streams) and not wrong, wrong)
    catalog = [s for s in catalog if s["name"] in (chosen[0] if chosen else streams)]
    began = time.monotonic()
    done = airbyte("read", key, airbyte.scratch / f"{source}.duckdb")
    took = time.monotonic() - began
    tables = airbyte("tables", airbyte.scratch / f"{source}.duckdb")
    wrong = apart(tables, truth(), catalog, id_field, again)
    checks.ok(f"{source}: after the first read the cache holds every record, with every value", not wrong,
              wrong or f"{done['total']} records in {took:.1f} s")
    checks.ok(f"{source}: PyAirbyte has counted as many records as there are rows",
              done["counts"] == {name: len(rows) for name, rows in tables.items()}, done["counts"])
    return catalog, done


def sandbox_source(checks, airbyte):
    """The sandbox."""
    edits = 60
    with Sandbox("--tasks", 1500, "--edits", 1, "--edits-total", edits) as sandbox:
        config, cache = {"url": sandbox.url, "token": TOKEN}, airbyte.scratch / "sandbox.duckdb"
        mistakes = {"token": {"token": None}, "url": {"url": 5}, "start_date": {"start_date": "yesterday"},
                    "burst": {"dripfeed": {"pace": {"burst": 1}}}}

        def truth():
            return {stream: sandbox.all(stream) for stream in STREAMS}

        def settled():
            """What the vendor has once all edits are made: while they are, nobody can read it as it is."""
            while sandbox.stats()["edits"] < edits:
                sandbox.get("/tasks?limit=1")  # each page of tasks that is served edits one
            return truth()

        # It edits while it is read, so the first read is of another, which has the same tasks and lets them be.
        with Sandbox("--tasks", 1500) as still:
            given = {"url": still.url, "token": TOKEN}
            catalog, done = first_read(checks, airbyte, "sandbox", given, lambda: {s: still.all(s) for s in STREAMS},
                                       ("sandbox", STREAMS, (), "id", "token", mistakes, ()))
            checks.ok("sandbox: nothing is transferred twice", done["counts"] == {"tasks": 1500, "users": 50, "projects": 20},
                      done["counts"])
            state = airbyte("states", cache)
        airbyte("open_source", "sandbox", "source-sandbox", airbyte.scratch / "source-sandbox", config)
        now = settled()
        due = [task for task in now["tasks"].values() if task["modified_at"] >= state["tasks"]["modified_at"]]
        done = airbyte("read", "sandbox", cache)
        wrong = apart(airbyte("tables", cache), now, catalog, "id")
        checks.ok("sandbox: after the second read the cache holds the edits", not wrong, wrong)
        checks.ok("sandbox: the second read transfers what changed, and the task at the bookmark", 1 < len(due) < 100 and
                  done["counts"] == {"tasks": len(due), "users": 50, "projects": 20}, f"{done['counts']}, {len(due)} tasks due")
        state = airbyte("states", cache)
        checks.ok("sandbox: the bookmark is the last change", state["tasks"]["modified_at"] ==
                  max(task["modified_at"] for task in now["tasks"].values()), state["tasks"])
        refused(checks, airbyte, "sandbox", {**config, "token": "0123-abcd"}, cache, "HTTP Status Code: 401. Error: Unauthorized")


def refused(checks, airbyte, source, config, cache, words):
    """Bad credentials, with a cache that has rows and with a new one."""
    key, new = f"{source} refused", airbyte.scratch / f"{source}-new.duckdb"
    airbyte("open_source", key, f"source-{source}", airbyte.scratch / f"source-{source}", config)
    text = airbyte.refusal("check", key)
    checks.ok(f"{source}, bad credentials: check raises, and says why",
              "AirbyteConnectorCheckFailedError" in text and words in text, [line for line in text.splitlines() if words in line])
    before, rows = airbyte("states", cache), {name: len(table) for name, table in airbyte("tables", cache).items()}
    for name, into in (("a cache with rows", cache), ("a new cache", new)):
        shown, text = airbyte.shown("read", key, into)
        checks.ok(f"{source}, bad credentials, {name}: read raises, and what we say is shown",
                  "AirbyteConnectorFailedError" in text and f"ERROR: {words}" in shown,
                  [line for line in shown.splitlines() if "ERROR" in line][:1] or text)
    after = {name: len(table) for name, table in airbyte("tables", cache).items()}
    checks.ok(f"{source}, bad credentials: rows and states stay as they were",
              (airbyte("states", cache), after) == (before, rows), after)
    checks.ok(f"{source}, bad credentials: a new cache has no row and no state", not any(airbyte("tables", new).values()) and
              not airbyte("states", new))


def asana_source(checks, airbyte):
    """Asana."""
    with Asana(tasks=700) as asana:
        config = {"access_token": asana.token, "api_url": asana.url, "plan": "paid"}
        cache = airbyte.scratch / "asana.duckdb"
        mistakes = {"access_token": {"access_token": None}, "plan": {"plan": 3}, "api_url": {"api_url": "elsewhere"}}

        def truth():
            return {stream: asana.truth(stream) for stream in ASANA_STREAMS}

        def due(bookmarks):
            """How often each task is to come."""
            return Counter(gid for project in asana.open_projects() for gid, task in asana.tasks_of[project].items()
                           if task["modified_at"] >= bookmarks.get(project, ""))

        catalog, done = first_read(checks, airbyte, "asana", config, truth,
                                   ("asana", ALL, (ASANA_STREAMS,), "gid", "access_token", mistakes, AGAIN))

        def bookmarks():
            states = airbyte("states", cache)["tasks"]["states"]
            return {state["partition"]["project"]: state["cursor"]["modified_at"] for state in states}

        for name, change in (("nothing changed", lambda: None), ("edits, additions and a new project", lambda: more(asana))):
            change()
            wanted = due(bookmarks())
            asana.reset_calls()
            done = airbyte("read", "asana", cache)
            wrong = apart(airbyte("tables", cache), truth(), catalog, "gid", AGAIN)
            checks.ok(f"asana, {name}: after the next read the cache holds what the API gives", not wrong, wrong)
            given = sum(call["count"] for call in asana.calls if call["path"] == "/tasks")
            checks.ok(f"asana, {name}: only the tasks that are due are transferred, by the vendor's count and by PyAirbyte's",
                      given == done["counts"]["tasks"] == sum(wanted.values()) < 300,
                      f"{given}, {done['counts']['tasks']}, {sum(wanted.values())} of {len(asana.in_view())}")
        refused(checks, airbyte, "asana", {**config, "access_token": "0123-abcd"}, cache, "Asana refused the access token")

        before, rows = bookmarks(), airbyte("tables", cache)["tasks"]
        asana.edit(60)
        asana.fail = [{"match": "^/tasks", "skip": 5, "status": 401}]
        text = airbyte.refusal("read", "asana", cache)
        checks.ok("asana, a token that is revoked in the middle: read raises", bool(text), text.splitlines()[:1])
        kept = {row["gid"]: row["modified_at"] for row in airbyte("tables", cache)["tasks"]}
        moved = {project for project, at in bookmarks().items() if at != before.get(project)}
        stale = [gid for project in moved for gid, task in asana.tasks_of[project].items()
                 if moment(kept.get(gid, "1970-01-01")) != moment(task["modified_at"])]
        checks.ok("asana, a token that is revoked in the middle: no bookmark moves past rows that did not come", not stale and
                  kept.keys() == {row["gid"] for row in rows}, f"{len(moved)} bookmarks moved")
        asana.fail = []
        wanted = due(bookmarks())
        done = airbyte("read", "asana", cache)
        wrong = apart(airbyte("tables", cache), truth(), catalog, "gid", AGAIN)
        checks.ok("asana, the token is good again: the next read brings the rest", not wrong and
                  done["counts"]["tasks"] == sum(wanted.values()), wrong or f"{done['counts']['tasks']} tasks")


def more(asana):
    """Edits, additions, and a project that comes into view."""
    asana.edit(25)
    asana.add(12)
    with asana.lock:
        asana.project(90, next(iter(asana.objects["workspaces"].values())))
        asana.add(9, list(asana.tasks_of)[-1])


def main():
    checks = Checks()
    with folder() as scratch, PyAirbyte(scratch) as airbyte:
        for part in (sandbox_source, asana_source):
            began = time.monotonic()
            part(checks, airbyte)
            checks.fact(f"{part.__name__}: {time.monotonic() - began:.1f} s")
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
