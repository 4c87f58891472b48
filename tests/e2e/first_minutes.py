#!/usr/bin/env python3
"""Proves: three people come from an empty folder to rows in PostgreSQL, with what `init`, `test` and `discover --infer` tell them.

(a) A built-in source: `init --from shortcut`, against the stateful vendor of tests/vendors. (b) A REST API of their own, the sandbox:
`init --rest` with wrong guesses, each of which `test` names; then `discover --infer --write`, and typed columns. (c) A vendor's
document: `init --openapi` with a list and its child, of GitHub and of Asana, by Prism, which refuses what the document does not allow.

Each command that `init` prints is run as it is printed, and complains of nothing. The rows are counted and compared in the database; a
second sync brings only what changed.

usage: first_minutes.py [builtin] [rest] [openapi]

Environment: as prism.py and warehouse.py; of the targets TARGET_POSTGRES_MELTANO.
"""
import json
import os
import random
import re
import shlex
import subprocess
import sys

import prism
from prism_sources import mend_github
from support import ROOT, TOKEN, Checks, Sandbox, dripfeed, folder
from warehouse import Meltano, Postgres

sys.path.insert(0, str(ROOT / "tests"))
from vendors import shortcut  # noqa: E402
from vendors.core import moment_of  # noqa: E402

LONGEST = 90
SETTLE = 60  # seconds before its bookmark that a run reads again


class Person:
    """Somebody with a shell in an empty folder, a target, and a schema in the database."""

    def __init__(self, checks, scratch, server, name):
        self.checks, self.server, self.name, self.at = checks, server, name, scratch / name
        (self.at / "bin").mkdir(parents=True)
        os.symlink(dripfeed(), self.at / "bin" / "dripfeed")
        self.work = self.at / "work"
        self.work.mkdir()
        self.target = Meltano(server, self.at)
        self.environment = {"PATH": f"{self.at / 'bin'}:{os.environ['PATH']}", "HOME": str(self.at), "LANG": "C.UTF-8"}

    def ok(self, what, holds, detail=""):
        """A check, with the person's name."""
        return self.checks.ok(f"{self.name}: {what}", holds, detail)

    def type(self, line):
        """A command line."""
        return subprocess.run(["bash", "-c", line], cwd=self.work, env=self.environment, stdin=subprocess.DEVNULL, text=True,
                              capture_output=True, timeout=LONGEST, check=False)

    def works(self, line, what=None, quiet=True):
        """A command line that must work, and complain of nothing."""
        done = self.type(line)
        complaints = [said for said in done.stderr.splitlines() if said.startswith(("warning", "error"))]
        self.ok(what or line, done.returncode == 0 and not (quiet and complaints), (complaints or [done.stderr[-300:]])[:2]
                if complaints or done.returncode else "")
        return done

    def init(self, words):
        """Runs `init`; gives the commands that it prints, without the folder's."""
        done = self.works(f"dripfeed init {self.name} {words}")
        printed = re.findall(r"(?m)^  (\S.*)$", done.stdout)
        manifest = self.read(f"{self.name}.yaml")
        asks = len(re.findall(r"(?m)^ *# decide:", manifest))
        said = re.search(r"(\d+) comments? with `decide:`", done.stdout)
        self.ok("`init` counts the decisions", int(said[1] if said else 0) == asks, f"{said and said[0]}, {asks} in the manifest")
        self.ok("`init` prints what to type", [line.split()[1] for line in printed if line.startswith("dripfeed")] ==
                ["validate", "test", "read", "sync"], printed)
        return [line for line in printed if not line.startswith("dripfeed")], [line for line in printed if line.startswith("dripfeed")]

    def read(self, path):
        """A file's text."""
        return (self.work / path).read_text()

    def edit(self, path, *changes):
        """Replaces texts of a file, as with an editor."""
        text = self.read(path)
        for old, new in changes:
            self.ok(f"{path} has `{old.strip()}`", old in text)
            text = text.replace(old, new)
        (self.work / path).write_text(text)

    def configure(self, **values):
        """Writes keys into the config."""
        path = f"{self.name}.json"
        (self.work / path).write_text(json.dumps({**json.loads(self.read(path)), **values}, indent=2))

    def unfilled(self, copies, test, variables):
        """Copies the variables, and forgets to fill them in."""
        for line in copies:
            self.works(line)
        done = self.type(test)
        self.ok("a variable that is not filled in is named", done.returncode == 10 and any(name in done.stderr for name in variables)
                and "empty" in done.stderr, f"exit code {done.returncode}: {done.stderr.strip()[:200]}")
        self.edit(".env", *[(f"{name}=\n", f"{name}={value}\n") for name, value in variables.items()])

    def sync(self, what):
        """Into PostgreSQL; gives how many records of each stream came."""
        (self.work / "pg.json").write_text(json.dumps(self.target.config(self.name, 0)))
        target = shlex.join([self.target.executable, "--config", "pg.json"])
        done = self.works(f"dripfeed sync --source {self.name}.yaml --config {self.name}.json --env-file .env --target {shlex.quote(target)}", what,
                          quiet=False)
        complaints = re.findall(r"(?m)^(?:warning|error) .*", done.stderr)
        self.ok(f"{what}: no complaint", not complaints, complaints[:2] or "")
        found = {name: int(number.replace(",", "")) for name, number in re.findall(r"(?m)^info +(\w+): ([\d,]+) records?$", done.stderr)}
        return found, done

    def tables(self):
        """What the database has."""
        return self.server.tables(self.name)

    def rows(self, what, truth, keys, fields):
        """The tables have the rows of the vendor, and the same in some fields: {stream: records}."""
        tables, wrong = self.tables(), []
        for stream, records in truth.items():
            table = tables.get(stream)
            if table is None or table.count != len(records):
                wrong.append(f"{stream}: {table and table.count} rows for {len(records)} records")
                continue
            kept = [*keys.get(stream, ["id"]), *(name for name in fields if records and name in records[0])]
            have, want = ({tuple(told(row.get(name)) for name in kept) for row in rows} for rows in (table.rows, records))
            if have != want:
                wrong.append(f"{stream}: {sorted(have ^ want, key=str)[:2]}")
        counts = ", ".join(f"{len(records)} {stream}" for stream, records in truth.items())
        self.ok(f"{what}: the rows in PostgreSQL are the vendor's", not wrong, wrong[:3] or counts)


def told(value):
    """A value that the database may write in its own way."""
    moment = moment_of(value) if isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\dT", value) else None
    return moment if moment is not None else str(value)


# ---------------------------------------------------------------- a built-in source

def builtin(checks, scratch, server):
    """(a)"""
    person = Person(checks, scratch, server, "crm")
    keys = {"story_history": ["story_id", "id"], "epic_comments": ["id"]}
    with shortcut.Shortcut(size=25) as vendor:
        copies, (validate, test, read, _) = person.init("--from shortcut")
        # What a person of that vendor leaves out: where it is, and that it has no limit.
        person.configure(api_url=vendor.config()["api_url"], calls_per_minute=100_000)
        person.works(validate)
        person.unfilled(copies, test, {"CRM_API_TOKEN": "no-such-token"})
        done = person.type(test)
        person.ok("a wrong token is named", done.returncode == 20 and "token" in done.stderr, done.stderr.strip()[:160])
        person.edit(".env", ("no-such-token", vendor.config()["api_token"]))
        done = person.works(test)
        person.ok("`test` shows a page of records", re.search(r"(?m)^PAGE 1\n  GET .*/workflows$", done.stdout) and
                  "1 record on 1 page" in done.stdout)
        person.works(read)
        count = sum('"RECORD"' in line for line in person.read("messages.jsonl").splitlines())
        person.ok("`read` brings every record", count == sum(len(vendor.records(stream)) for stream in vendor.streams), count)

        def compare(what):
            person.rows(what, {stream: list(vendor.records(stream).values()) for stream in vendor.streams}, keys, ["name", "updated_at"])

        person.sync("sync")
        compare("sync")
        latest = max(moment_of(story["updated_at"]) for story in vendor.records("stories").values())
        changed = {key for stream, key in vendor.edit(random.Random(1)) if stream == "stories"}
        due = [story for story in vendor.records("stories").values() if moment_of(story["updated_at"]) >= latest - SETTLE]
        vendor.reset_calls()
        found, _ = person.sync("second sync")
        compare("second sync")
        person.ok("second sync: only stories that changed, and what stands at the bookmark", len(changed) <= found.get("stories", 0) <= len(due),
                  f"{found.get('stories')} of {len(vendor.records('stories'))}; {len(changed)} changed")
        person.ok("the vendor knows every call", not vendor.unknown, vendor.unknown[:2])


# ---------------------------------------------------------------- a REST API

def rest(checks, scratch, server):
    """(b)"""
    person = Person(checks, scratch, server, "tickets")
    with Sandbox("--tasks", 300, "--users", 20) as sandbox:
        copies, (validate, test, read, _) = person.init(
            f"--rest --url {sandbox.url} --path /tasks --records items --paging token --cursor modified_at --auth bearer")
        person.works(validate)
        person.unfilled(copies, test, {"TICKETS_TOKEN": TOKEN})

        done = person.type(test)
        person.ok("wrong `--records`: `test` names the right place", done.returncode == 40 and "at `data`" in done.stderr and
                  "`field_path`" in done.stderr, done.stderr.strip()[:160])
        person.edit("tickets.yaml", ("field_path: [items]", "field_path: [data]"))

        done = person.type(test)
        said = " ".join(done.stdout.partition("SUSPICIOUS")[2].split())
        person.ok("wrong field of the token: `test` is suspicious", done.returncode == 0 and "next_cursor" in said and
                  "full page" in said, said[:200])
        person.ok("fields without a type: `test` is suspicious", "the schema lacks 15 fields" in said)
        person.edit("tickets.yaml", ("get('next_cursor')", "get('next')"))

        done = person.type(test)
        person.ok("wrong parameter of the token: `test` says where it is sent", done.returncode == 40 and "repeats" in done.stderr and
                  "page_token_option" in done.stderr and "sent as request_parameter `cursor`" in done.stdout, done.stderr.strip()[:200])
        person.edit("tickets.yaml", ("field_name: cursor", "field_name: after"))

        done = person.works(test)
        person.ok("`test` reads on", "next page: 100" in done.stdout and "200 records on 2 pages; there are more" in done.stdout)
        source = "--source tickets.yaml --config tickets.json --env-file .env"
        person.works(f"dripfeed discover {source} --infer --write > catalog.json", "discover --infer --write")
        properties = json.loads(person.read("catalog.json"))["streams"][0]["schema"]["properties"]
        person.ok("each field has a type", len(properties) == 17, len(properties))
        person.works(validate)
        done = person.works(test)
        person.ok("`test` has no suspicion left", "SUSPICIOUS" not in done.stdout, done.stdout.partition("SUSPICIOUS")[2].strip()[:200])
        person.works(read)
        count = sum('"RECORD"' in line for line in person.read("messages.jsonl").splitlines())
        person.ok("`read` brings every record", count == 300, count)

        before = sandbox.all("tasks")
        fields = ["name", "modified_at", "created_at", "estimate_hours", "completed", "comment_count"]
        found, _ = person.sync("sync")
        person.rows("sync", {"tasks": list(before.values())}, {}, fields)
        person.ok("sync: each task once", found == {"tasks": 300}, found)
        columns = person.tables()["tasks"].columns
        kinds = {"modified_at": "timestamp", "created_at": "timestamp", "due_on": "date", "estimate_hours": "numeric|double", "completed": "boolean",
                 "comment_count": "integer|bigint", "assignee": "json", "tags": "json|ARRAY", "name": "text|character"}
        wrong = {name: columns.get(name) for name, kind in kinds.items() if not re.match(kind, columns.get(name, ""))}
        person.ok("the columns have types", not wrong, wrong or {name: columns[name] for name in kinds})

    # The same vendor, later.
    with Sandbox("--tasks", 300, "--users", 20, "--edited", 12) as sandbox:
        person.configure(url=sandbox.url)
        after = sandbox.all("tasks")
        changed = [task for key, task in after.items() if task != before.get(key)]
        latest = max(moment_of(task["modified_at"]) for task in before.values())
        due = [task for task in after.values() if moment_of(task["modified_at"]) >= latest - SETTLE]
        found, _ = person.sync("second sync")
        person.rows("second sync", {"tasks": list(after.values())}, {}, fields)
        person.ok("second sync: only tasks that changed, and what stands at the bookmark",
                  0 < len(changed) <= found.get("tasks", 0) <= len(due), f"{found.get('tasks')} of {len(after)}; {len(changed)} changed")


# ---------------------------------------------------------------- a vendor's document

def mend_asana(document):
    """Pages that never end."""
    document["components"]["schemas"]["NextPage"].update(example=None, nullable=True)


DOCUMENTS = {
    # The document, a list and its child, the key of both, more words for `init`, what the variables are, and other values.
    "gh": ("github", {"teams": "/orgs/{org}/teams", "members": "/orgs/{org}/teams/{team_slug}/members"}, "id", "--auth bearer",
           {"GH_TOKEN": "any-token"}, {"org": "octo-org"}),
    "board": ("asana", {"projects": "/projects", "sections": "/projects/{project_gid}/sections"}, "gid", "", {"BOARD_TOKEN": "any-token"}, {}),
}


def openapi(checks, scratch, server):
    """(c)"""
    for name, (document, lists, key, words, variables, values) in DOCUMENTS.items():
        person, path = Person(checks, scratch, server, name), ROOT / "tests" / "specs" / f"{document}.json"
        served = json.loads(path.read_text())
        {"github": mend_github, "asana": mend_asana}[document](served)
        (scratch / f"served-{name}.json").write_text(json.dumps(served))
        with prism.Prism(scratch / f"served-{name}.json", scratch / f"{name}.log") as vendor:
            one_document(person, vendor, f"--openapi {path} --paths {shlex.quote(','.join(lists.values()))} {words}".rstrip(), list(lists), key,
                         variables, values)


def one_document(person, vendor, words, streams, key, variables, values):
    """One document; the second stream is the child of the first."""
    copies, (validate, test, read, _) = person.init(words)
    person.configure(url=vendor.url, **values)
    person.works(validate)
    person.unfilled(copies, test, variables)
    vendor.ready()
    done = person.works(test)
    person.ok("`test` shows a record, and nothing is suspicious", "1 record on 1 page" in done.stdout and "SUSPICIOUS" not in done.stdout,
              done.stdout.partition("SUSPICIOUS")[2].strip()[:300])
    done = person.works(f"{test} --stream {streams[1]}")
    person.ok("`test` shows a record of the child", "1 record on 1 page" in done.stdout and "SUSPICIOUS" not in done.stdout,
              done.stdout.partition("SUSPICIOUS")[2].strip()[:300])
    person.works(read)

    records, each = {}, {stream: 1 for stream in streams}
    for line in map(json.loads, person.read("messages.jsonl").splitlines()):
        if line["type"] == "RECORD":
            records.setdefault(line["stream"], []).append(line["record"])
    person.ok("`read` brings both streams", {name: len(rows) for name, rows in records.items()} == each,
              {name: len(rows) for name, rows in records.items()})
    for what in ("sync", "second sync"):
        found, _ = person.sync(what)
        person.ok(f"{what}: both streams", found == each, found)
        person.rows(what, records, {stream: [key] for stream in streams}, ["name", "slug", "login"])

    said = vendor.said()
    received, passed = (sum(text in line for line in said) for text in ("Request received", "passed the validation rules"))
    broken = [line.strip()[:160] for line in said if re.search("violat|not valid|error", line, re.IGNORECASE)]
    person.ok("no call breaks a rule of the document", received == passed > 0 and not broken, broken[:2] or f"{passed} of {received} calls passed")


PATHS = {"builtin": builtin, "rest": rest, "openapi": openapi}


def main():
    checks = Checks()
    with folder() as scratch, Postgres() as server:
        for name in sys.argv[1:] or PATHS:
            PATHS[name](checks, scratch, server)
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
