#!/usr/bin/env python3
"""Proves: the rows in a real database are the vendor's, counted and compared in the database every time.

Three targets (meltanolabs-target-postgres and pipelinewise-target-postgres into a private PostgreSQL, target-duckdb into a file)
by two vendors (the sandbox, and a server shaped like Asana). For each pair, through the pipe documented for cron: (a) a first run
loads every record with every column; (b) a second one, when nothing has changed, transfers of the incremental stream only the
rows at the bookmark and changes nothing in the database; (c) after edits and additions the next run transfers only those and the
rows at the bookmark, and the database equals the vendor again; (d) runs whose tap gets SIGKILL at random moments and places (30
in all, the vendor's data changing meanwhile), each going on from what the target said last, lose nothing: after a run that
nobody kills the database equals the vendor.

usage: warehouse.py [--seed N] [--kills N] [--only TARGET] [--vendor NAME]

Environment: besides support.py's, TARGET_POSTGRES_MELTANO, TARGET_POSTGRES_PIPELINEWISE and TARGET_DUCKDB name the targets'
executables, PYTHON_DUCKDB a Python with the same duckdb. PostgreSQL's server comes from Debian's package `postgresql`; as root it
runs as the user `postgres`.
"""
import argparse
import contextlib
import json
import os
import pwd
import random
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from asana_vendor import Asana
from support import STREAMS, Checks, Sandbox, executable, dripfeed, folder, wait_until

# As in docs/src/running/pipe.md, for cron. What passes is kept beside it, as are the tap's process id and all exit codes.
PIPE = """
set -o pipefail
{ echo $BASHPID > tap.pid; exec "$DRIPFEED" read --source "$SOURCE" --config config.json \
    $([ -s state.json ] && echo --state state.json) 2> tap.log; } |
  tee lines | "$TARGET" --config target.json 2> target.log | tail -1 > state.new
rc=$? codes="${PIPESTATUS[*]}"
[ -s state.new ] && mv state.new state.json
echo "$codes" > codes
exit $rc
"""
LONGEST = 120
# Rows that a target loads at a time while taps are killed, so that it says states in the middle of a run.
BATCH = 100
EDITS, ADDITIONS = 25, 10
# Kills by schema.
ROUND = 5


class Box:
    """The sandbox. It edits by itself, when a page of tasks is served, until `lively` edits are made."""

    source, key, incremental, cursor = "sandbox", "id", "tasks", "modified_at"
    streams = STREAMS
    chosen = ""  # all that there are
    name = "sandbox"

    def __init__(self, lively=0):
        self.total = lively
        self.sandbox = self.start()

    def start(self):
        return Sandbox("--tasks", 1200, "--users", 120, "--projects", 30, "--latency", 40,
                       "--edits", 3, "--edits-total", self.total)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sandbox.close()

    def config(self, path):
        # Its edits have times of years that another window reads: versions of a task must not overtake each other.
        self.sandbox.config(path, **({"concurrency": 1} if self.total else {}))

    def change(self):
        """Edits. Another process with the same seed and more edits is the same vendor, later. (It cannot add tasks.)"""
        self.sandbox.close()
        self.total += EDITS
        self.sandbox = self.start()
        self.settle()

    def stir(self):
        """It edits by itself."""

    def settle(self):
        """Makes the edits that are left."""
        while self.sandbox.stats()["edits"] < self.total:
            self.sandbox.get("/tasks?limit=1")

    def truth(self, stream):
        return self.sandbox.all(stream)

    def parts(self, _):
        """The whole stream has one bookmark."""
        return ("",)


class Office:
    """The server shaped like Asana. A lively one also edits, adds and moves before each later page of tasks."""

    source, key, incremental, cursor = "asana", "gid", "tasks", "modified_at"
    streams = ("workspaces", "teams", "users", "projects", "sections", "tags", "tasks")
    chosen = ",".join(streams)  # the others cost a call for each task; asana.py loads all of them
    name = "asana"

    def __init__(self, lively=0):
        self.asana = Asana(latency=0.04, edits_while_paging=1 if lively else 0)
        # Lines that are longer than what a pipe takes as a whole: only these can be torn.
        for task in [*self.asana.objects["tasks"].values()][::15]:
            task["notes"] = "Über uns, viel zu lang. " * 800

    def __enter__(self):
        self.asana.__enter__()
        return self

    def __exit__(self, *details):
        self.asana.__exit__(*details)

    def config(self, path):
        self.asana.config(path, plan="paid")

    def change(self):
        """Edits and adds."""
        self.asana.edit(EDITS)
        self.asana.add(ADDITIONS)

    def stir(self):
        """Edits and adds a little."""
        self.asana.edit(4)
        self.asana.add(2)

    def settle(self):
        """No edits while paging any more."""
        self.asana.edits_while_paging = 0

    def truth(self, stream):
        return self.asana.truth(stream)

    def parts(self, task):
        """Each project has a bookmark."""
        return [project["gid"] for project in task["projects"]]


class Table(NamedTuple):
    """A table as its database tells it: how many rows it counts, its columns and their types, the rows."""

    count: int
    columns: dict
    rows: list


class Postgres:
    """A private server on loopback."""

    def __init__(self):
        bins = [Path(found).resolve().parent for found in [shutil.which("initdb")] if found]
        bins += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True)
        if not bins:
            sys.exit("PostgreSQL's server is not there: apt-get install postgresql")
        self.bin, self.user, where = bins[0], {}, None
        if os.geteuid() == 0:
            postgres = pwd.getpwnam("postgres")
            where = postgres.pw_dir
            self.user = {"user": postgres.pw_uid, "group": postgres.pw_gid, "extra_groups": []}
        # As another user it cannot see into our scratch folder.
        self.folder = tempfile.mkdtemp(prefix="dripfeed-e2e-", dir=where)
        self.process = None
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    def start(self):
        if self.user:
            shutil.chown(self.folder, self.user["user"], self.user["group"])
        data = f"{self.folder}/data"
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "cwd": self.folder, **self.user}
        subprocess.run([self.bin / "initdb", "-D", data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-locale",
                        "--no-sync"], check=True, **options)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
        with open(f"{self.folder}/log", "wb") as log:
            self.process = subprocess.Popen(
                [self.bin / "postgres", "-D", data, "-F", "-h", "127.0.0.1", "-p", str(self.port), "-k", "",
                 "-c", "timezone=UTC"], stderr=log, **options)
        ready = [self.bin / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        wait_until(lambda: self.process.poll() is not None or subprocess.run(ready, check=False).returncode == 0, 60,
                   "PostgreSQL")
        if self.process.poll() is not None:
            raise RuntimeError("PostgreSQL does not start: " + Path(f"{self.folder}/log").read_text()[-500:])

    def close(self):
        if self.process:
            self.process.send_signal(signal.SIGINT)  # fast: it disconnects its clients
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGQUIT)
                self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def query(self, sql):
        """The lines of an answer."""
        done = subprocess.run([self.bin / "psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-d", "postgres",
                               "-XAtqc", sql], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                              timeout=LONGEST)
        # A line break in a text is \n in JSON; split at real ones only.
        return [line for line in done.stdout.split("\n") if line]

    def tables(self, schema):
        """All tables of a schema, by name."""
        found = {}
        for line in self.query("select json_build_array(table_name, json_object_agg(column_name, data_type)) "
                               f"from information_schema.columns where table_schema = '{schema}' group by table_name"):
            name, columns = json.loads(line)
            table = f'"{schema}"."{name}"'
            rows = [json.loads(row) for row in self.query(f"select row_to_json(t) from {table} t")]
            found[name] = Table(int(self.query(f"select count(*) from {table}")[0]), columns, rows)
        return found


class Meltano:
    """meltanolabs-target-postgres."""

    name, variable = "meltanolabs-target-postgres", "TARGET_POSTGRES_MELTANO"

    def __init__(self, server, scratch):
        self.server, self.scratch = server, scratch
        self.executable = executable(self.variable, "target-postgres")

    def config(self, schema, batch):
        more = {"batch_size_rows": batch} if batch else {}
        return {"host": "127.0.0.1", "port": self.server.port, "user": "postgres", "password": "-", "database": "postgres",
                "default_target_schema": schema, **more}

    def tables(self, schema):
        return self.server.tables(schema)

    @staticmethod
    def stored(text):
        """What the target makes of a text."""
        return text


class Pipelinewise(Meltano):
    """pipelinewise-target-postgres."""

    name, variable = "pipelinewise-target-postgres", "TARGET_POSTGRES_PIPELINEWISE"

    def config(self, schema, batch):
        # Without flush_all_streams it may say a state before the rows of other streams are loaded.
        more = {"batch_size_rows": batch, "flush_all_streams": True} if batch else {}
        return {"host": "127.0.0.1", "port": self.server.port, "user": "postgres", "password": "-", "dbname": "postgres",
                "default_target_schema": schema, "add_metadata_columns": True, **more}

    @staticmethod
    def stored(text):
        """An empty text becomes NULL, control characters what JSON writes for them: a line break two characters."""
        return "".join(c if c >= " " else json.dumps(c)[1:-1] for c in text) or None


class DuckDB(Meltano):
    """target-duckdb."""

    name, variable = "target-duckdb", "TARGET_DUCKDB"
    reader = """
import duckdb, json, sys
database, schema = duckdb.connect(sys.argv[1], read_only=True), sys.argv[2]
found = {}
columns = "select table_name, column_name, data_type from information_schema.columns where table_schema = ?"
for table, column, kind in database.execute(columns, [schema]).fetchall():
    found.setdefault(table, [0, {}, []])[1][column] = kind.lower()
for table, told in found.items():
    name = f'"{schema}"."{table}"'
    told[0] = database.execute(f"select count(*) from {name}").fetchone()[0]
    rows = database.execute(f"select {', '.join(chr(34) + c + chr(34) for c in told[1])} from {name}").fetchall()
    told[2] = [dict(zip(told[1], row)) for row in rows]
json.dump(found, sys.stdout, default=lambda value: value.isoformat())
"""

    def __init__(self, server, scratch):
        self.scratch = scratch
        self.executable = executable(self.variable, "target-duckdb")
        self.python = executable("PYTHON_DUCKDB", "python3")

    def config(self, schema, batch):
        more = {"batch_size_rows": batch, "flush_all_streams": True} if batch else {}
        return {"path": str(self.scratch / f"file_{schema}.duckdb"), "default_target_schema": schema,
                "add_metadata_columns": True, **more}

    def tables(self, schema):
        path = self.scratch / f"file_{schema}.duckdb"
        done = subprocess.run([self.python, "-c", self.reader, path, schema], check=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, text=True, timeout=LONGEST)
        return {name: Table(*told) for name, told in json.loads(done.stdout).items()}

    @staticmethod
    def stored(text):
        """An empty text becomes NULL."""
        return text or None


class Kill(NamedTuple):
    """When to kill: after so many seconds of the tap, or after so many bytes of its output."""

    seconds: float = LONGEST
    size: float = 0


class Run(NamedTuple):
    """How a run went."""

    code: int        # the pipe's, under pipefail
    codes: str       # all of it
    killed: bool
    life: float      # seconds of the tap
    size: int        # bytes of its output
    torn: bool
    records: dict    # the keys of the records that it wrote, by stream
    kept: bool       # the target said a state


class Pipe:
    """The documented pipe in a folder of its own, into a schema of its own."""

    made = 0

    def __init__(self, scratch, target, vendor, batch=0):
        Pipe.made += 1
        self.schema = f"round_{Pipe.made}"
        self.work, self.target, self.vendor = scratch / self.schema, target, vendor
        self.work.mkdir()
        (self.work / "target.json").write_text(json.dumps(target.config(self.schema, batch)))
        # Targets start three times as fast with compiled modules, which uv does not make.
        self.environment = {**os.environ, "DRIPFEED": dripfeed(), "TARGET": target.executable, "SOURCE": vendor.source,
                            "DRIPFEED_STREAMS": vendor.chosen, "PYTHONDONTWRITEBYTECODE": ""}

    def run(self, kill=None):
        """One run."""
        for name in ("tap.pid", "lines", "codes", "state.new"):
            (self.work / name).unlink(missing_ok=True)
        self.vendor.config(self.work / "config.json")
        before = self.state()
        shell = subprocess.Popen(["bash", "-c", PIPE], cwd=self.work, env=self.environment, stdin=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL, start_new_session=True)  # bash would tell of each kill
        lines = self.work / "lines"
        try:
            killed, life = self.watch(lines, kill or Kill(), 2 if kill else 50)
            code = shell.wait(LONGEST)
        except BaseException:
            os.killpg(shell.pid, signal.SIGKILL)
            raise
        wrote = lines.read_bytes()
        records = {stream: [] for stream in self.vendor.streams}
        for line in wrote.splitlines(keepends=True):
            if line.startswith(b'{"type":"RECORD"') and line.endswith(b"\n"):
                message = json.loads(line)
                records[message["stream"]].append(message["record"][self.vendor.key])
        return Run(code, (self.work / "codes").read_text().strip(), killed, life, len(wrote),
                   bool(wrote) and not wrote.endswith(b"\n"), records, self.state() != before)

    def watch(self, lines, kill, pause):
        """Waits for the tap's end, or ends it; gives whether it was killed, and its seconds. `pause` is in milliseconds."""
        path = self.work / "tap.pid"
        pid = int(wait_until(lambda: path.exists() and path.read_text().endswith("\n") and path.read_text(), 20, "the tap"))
        began = time.monotonic()
        try:
            tap = os.pidfd_open(pid)
        except ProcessLookupError:
            return False, 0.0
        try:
            poll = select.poll()
            poll.register(tap, select.POLLIN)
            while not poll.poll(pause):
                life = time.monotonic() - began
                if life >= kill.seconds or (kill.size and lines.exists() and lines.stat().st_size >= kill.size):
                    signal.pidfd_send_signal(tap, signal.SIGKILL)
                    return True, life
            return False, time.monotonic() - began
        finally:
            os.close(tap)

    def state(self):
        """The state that is kept, if any."""
        path = self.work / "state.json"
        return path.read_text() if path.exists() else None

    def tables(self):
        """The vendor's streams in the database, without what the target adds to them."""
        def own(columns):
            return {name: value for name, value in columns.items() if not name.startswith("_sdc_")}

        return {name: Table(table.count, own(table.columns), {row[self.vendor.key]: own(row) for row in table.rows})
                for name, table in self.target.tables(self.schema).items() if name in self.vendor.streams}


def instant(text):
    """A time; without a zone it is UTC, as targets store it."""
    time_ = datetime.fromisoformat(text)
    return time_ if time_.tzinfo else time_.replace(tzinfo=timezone.utc)


def same(kind, have, want, stored):
    """Whether a column's value is what the vendor gives."""
    if isinstance(want, str) and not kind.startswith("timestamp"):
        return have == stored(want)
    if have is None or want is None:
        return have is want
    if kind.startswith("timestamp"):
        return instant(have) == instant(want)
    if isinstance(want, (dict, list)):
        return (json.loads(have) if isinstance(have, str) else have) == want
    if isinstance(want, bool) or isinstance(have, bool):
        return have is want
    return have == want


def differences(pipe, tables, truth):
    """How the database differs from the vendor, in words; empty when it does not."""
    words = []
    for stream in pipe.vendor.streams:
        table, want = tables.get(stream, Table(0, {}, {})), truth[stream]
        if table.count != len(want):
            words.append(f"{stream}: {table.count} rows of {len(want)}")
        lost, extra = want.keys() - table.rows.keys(), table.rows.keys() - want.keys()
        words += [f"{stream}: {len(keys)} {kind}, as {sorted(keys)[:3]}" for keys, kind in ((lost, "lost"), (extra, "made up"))
                  if keys]
        missing = {name for record in want.values() for name in record} - table.columns.keys()
        if missing:
            words.append(f"{stream}: there is no column for {sorted(missing)}")
        stale = [(key, name, table.rows[key][name], record.get(name))
                 for key, record in want.items() if key in table.rows for name, kind in table.columns.items()
                 if not same(kind, table.rows[key][name], record.get(name), pipe.target.stored)]
        if stale:
            words.append(f"{stream}: {len(stale)} values differ, as {stale[0]}")
    return "; ".join(words)


def compare(checks, name, pipe):
    """The database against the vendor; gives both."""
    truth = {stream: pipe.vendor.truth(stream) for stream in pipe.vendor.streams}
    tables = pipe.tables()
    wrong = differences(pipe, tables, truth)
    counts = ", ".join(f"{stream} {table.count}" for stream, table in sorted(tables.items()))
    checks.ok(f"{name}: the database counts and holds what the vendor gives", not wrong, wrong or counts)
    return tables, truth


def whole(checks, name, pipe):
    """A run that nobody kills must end with 0 and a state."""
    run = pipe.run()
    checks.ok(f"{name}: the pipe ends with 0 and a state", run.code == 0 and pipe.state(),
              f"exit codes {run.codes}, the tap {run.life:.1f} s")
    if run.code:
        for log in ("tap.log", "target.log"):
            checks.fact(f"{log}: {(pipe.work / log).read_text(errors='replace')[-400:]}")
    return run


def documented(checks, scratch, target, vendor):
    """(a), (b) and (c); gives the first run."""
    name = f"{target.name}, {vendor.name}"
    pipe = Pipe(scratch, target, vendor)
    first = whole(checks, f"{name}, first run", pipe)
    tables, truth = compare(checks, f"{name}, first run", pipe)

    stream = vendor.incremental
    second = whole(checks, f"{name}, nothing changed", pipe)
    boundary, got = newest(truth[stream], vendor), set(second.records[stream])
    checks.ok(f"{name}, nothing changed: only rows at the bookmark are transferred", got <= boundary,
              f"{len(got)} of {len(truth[stream])} {stream}, {len(got - boundary)} too many")
    checks.ok(f"{name}, nothing changed: the database is as before", pipe.tables() == tables)

    vendor.change()
    third = whole(checks, f"{name}, after changes", pipe)
    _, later = compare(checks, f"{name}, after changes", pipe)
    changed = {key for key, record in later[stream].items() if truth[stream].get(key) != record}
    got = set(third.records[stream])
    checks.ok(f"{name}, after changes: only what changed and rows at the bookmark are transferred",
              changed and changed <= got <= changed | boundary,
              f"{len(changed)} changed, {len(got & changed)} of them and {len(got - changed)} others came, "
              f"{len(got - changed - boundary)} too many")
    return first


def newest(truth, vendor):
    """The keys of the rows at the bookmark: the newest of their part of the stream."""
    last = {}
    for record in truth.values():
        for part in vendor.parts(record):
            last[part] = max(last.get(part, ""), record[vendor.cursor])
    return {key for key, record in truth.items()
            if any(last[part] == record[vendor.cursor] for part in vendor.parts(record))}


def kill(checks, name, pipe, kills, moments, first):
    """Kills that many runs, each in another part of the tap's life or output. Gives how many, and how many left a state."""
    places = [(number + moments.random()) / kills for number in range(kills)]
    moments.shuffle(places)
    expected, plan, newer, missed = first, [], 0, 0
    while places and missed < kills:
        timed = len(places) % 2
        run = pipe.run(Kill(seconds=places[-1] * expected.life) if timed else Kill(size=max(1, places[-1] * expected.size)))
        rows = sum(map(len, run.records.values()))
        if run.killed:
            places.pop()
            newer += run.kept
            plan.append(f"{run.life:.2f} s, {rows} records{', torn' if run.torn else ''}{', a newer state' if run.kept else ''}")
        else:
            missed += 1
            expected = run  # less was left to read
            places[-1] = moments.random()
            checks.ok(f"{name}: a run that ended before its kill ended well", run.code == 0, f"exit codes {run.codes}")
        pipe.vendor.stir()
    checks.fact(f"{name}: killed at {'; '.join(plan)}; {missed} more came too late")
    return kills - len(places), newer


def pair(checks, scratch, target, maker, kills, seed):
    """All of a target and a vendor; gives how many kills hit and how many of them left a state."""
    name, began = f"{target.name}, {maker.name}", time.monotonic()
    with maker() as vendor:
        first = documented(checks, scratch, target, vendor)
    moments, hits, states = random.Random(f"{seed} {name}"), 0, 0
    # A new schema now and then, so that first loads are hit often.
    for begin in range(0, kills, ROUND):
        part = min(ROUND, kills - begin)
        with maker(lively=200) as vendor:
            pipe = Pipe(scratch, target, vendor, BATCH)
            hit, newer = kill(checks, name, pipe, part, moments, first)
            hits, states = hits + hit, states + newer
            vendor.settle()
            whole(checks, f"{name}, after {hit} kills", pipe)
            compare(checks, f"{name}, after {hit} kills", pipe)
    checks.fact(f"{name}: {time.monotonic() - began:.0f} s")
    return hits, states


def main():
    targets, vendors = (Meltano, Pipelinewise, DuckDB), (Box, Office)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=20, help="by the first target; the others get a quarter of them")
    parser.add_argument("--only", choices=[target.name for target in targets], help="this target only")
    parser.add_argument("--vendor", choices=[vendor.name for vendor in vendors], help="this vendor only")
    options = parser.parse_args()
    checks = Checks()
    # A runner's SIGTERM must not leave a server behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    checks.fact(f"seed {options.seed}")
    makers = [maker for maker in vendors if options.vendor in (None, maker.name)]
    with contextlib.ExitStack() as stack:
        scratch, server = stack.enter_context(folder()), stack.enter_context(Postgres())
        for kind in targets:
            if options.only not in (None, kind.name):
                continue
            target, kills = kind(server, scratch), options.kills if kind is Meltano else options.kills // 4
            shares = [len(range(number, kills, len(makers))) for number in range(len(makers))]
            done = [pair(checks, scratch, target, maker, share, options.seed) for maker, share in zip(makers, shares)]
            hits, states = map(sum, zip(*done))
            checks.ok(f"{target.name}: kills hit a running tap", hits >= kills * 4 / 5, f"{hits} of {kills}")
            checks.ok(f"{target.name}: some of them left a newer state to go on from", states >= kills / 6,
                      f"{states} of {kills}")
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
