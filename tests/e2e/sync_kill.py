#!/usr/bin/env python3
"""Proves: `kill -9` of `sync`, of its target or of both, at any moment, loses nothing in PostgreSQL.

One tenant, three slots that run again and again at once, as a scheduler would start them: the hourly tier (tasks), the daily tier
(the rest), and a backfill of three years of tasks into the same table. The vendor edits and adds tasks all the time, by the wall
clock. SIGKILL hits sync, its target or both at 50 random moments. All that anybody loads is written down by a trigger.

Checked after each kill: the state is whole and no bookmark of it moves back; whatever a live bookmark has passed was loaded;
while the orphaned target still loads, the next run ends with 76, and once it is gone no lock is left. At the end the vendor is
left alone, and each slot runs once more, undisturbed: then the rows are the vendor's, by key, version and time; the backfill has
moved no live bookmark; and no process is left, living or dead. Before that the backfill ends beside hourly runs, while tasks are
edited: what it sends late must not be the last word.

usage: sync_kill.py [--seed N] [--kills N] [--no-backfill]

Environment: support.py's, and TARGET_POSTGRES_PIPELINEWISE as in warehouse.py.
"""
import argparse
import bisect
import contextlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import warehouse
from support import (Checks, alive, children, comes_true, differences, dripfeed, ends, folder, kept_state, sync_command, wait_until)

TENANT, TOKEN, SCHEMA = "acme", "the-token", "kill"
TASKS, OTHERS = 3000, {"users": 30, "projects": 12}
FROM, LIVE = "2022-01-01", "2025-01-01"  # history; what is live
EDITS_A_SECOND = 60
LATENCY = 0.03  # seconds
PAGE = 40       # so that a run has several
# What no task lacks at the source `sandbox`, and no user and project: nothing of it changes here.
FIELDS = {
    "tasks": {"notes": "", "completed": False, "priority": "low", "project_id": "p1",
              "assignee": {"id": "u1", "email": "1@example.com"},
              "tags": ["a"], "custom_fields": [{"id": "c1", "name": "n", "number": 1.25}], "estimate_hours": 1.125,
              "comment_count": 1,
              "milestone": "m", "parent_id": "t1", "due_on": "2025-01-01", "created_at": "2021-12-01T00:00:00Z"},
    "users": {"email": "1@example.com", "role": "admin", "active": True, "capacity": 1.5, "created_at": "2021-12-01T00:00:00Z"},
    "projects": {"color": "red", "archived": False, "owner": {"id": "u1"}, "created_at": "2021-12-01T00:00:00Z"},
}
# A target that loads once it has everything, as those with large batches do: here when the second file is there.
GATED = """
import os, subprocess, sys, time
told, gate, *command = sys.argv[1:]
given = sys.stdin.buffer.read()
open(told, "w").close()
deadline = time.monotonic() + 120
while not os.path.exists(gate) and time.monotonic() < deadline:
    time.sleep(0.01)
sys.exit(subprocess.run(command, input=given).returncode)
"""
SLOTS = ("hourly", "daily", "backfill")
MORE = {"hourly": ("--tier", "hourly"), "daily": ("--tier", "daily"), "backfill": ("--streams", "tasks", "--backfill")}
WHOLE = f"{FROM}..2025-09-01"  # months of what is live, too
# Backfills go back year by year; those before 2022 are empty.
YEARS = [f"{year}-01-01..{year + 1}-01-01" for year in range(2024, 1999, -1)]
# The share of each slot in the kills.
SHARE = {"hourly": 0.44, "daily": 0.16, "backfill": 0.4}
# The locks' codes: 76 while an orphan loads; 60 for a target that was killed, or met the other slot's rows; 75 as ever.
CALM, LONGEST = (0, 60, 75, 76), 120


def stamp(moment):
    """A time as the sandbox writes it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


class Vendor:
    """A vendor for the source `sandbox` whose tasks change as time goes by."""

    def __init__(self, dice):
        self.dice, self.lock, self.stopped = dice, threading.Lock(), threading.Event()
        begin, end = datetime(2022, 1, 1, tzinfo=timezone.utc), datetime(2025, 10, 1, tzinfo=timezone.utc)
        step = (end - begin) / TASKS
        # Sorted as they are served: by time, then number.
        self.order = [(stamp(begin + step * n), n) for n in range(TASKS)]
        self.tasks = {n: (at, 0) for at, n in self.order}
        self.others = dict.fromkeys(OTHERS, 0)
        self.requests = self.edits = 0
        vendor = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                time.sleep(LATENCY)
                url = urlsplit(self.path)
                body = json.dumps(vendor.answer(url.path.strip("/"), dict(parse_qsl(url.query)))).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def handle(self):
                # A client that is killed is no matter of the vendor's.
                with contextlib.suppress(OSError):
                    super().handle()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.editor = threading.Thread(target=self.edit_on, daemon=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.settle()
        self.server.shutdown()
        self.server.server_close()

    def edit_on(self):
        while not self.stopped.wait(1 / EDITS_A_SECOND):
            self.edit()

    def edit(self, number=None):
        """Edits a task, or adds one."""
        with self.lock:
            now = stamp(datetime.now(timezone.utc))
            if number is None:
                number = len(self.tasks) if self.dice.random() < 0.1 else self.dice.randrange(len(self.tasks))
            at, version = self.tasks.get(number, ("", -1))
            if at:
                del self.order[bisect.bisect_left(self.order, (at, number))]
            bisect.insort(self.order, (now, number))
            self.tasks[number] = (now, version + 1)
            self.edits += 1
            if self.edits % 20 == 0:
                self.others[self.dice.choice(sorted(self.others))] += 1

    def settle(self):
        """No edits any more."""
        self.stopped.set()
        if self.editor.is_alive():
            self.editor.join()

    def answer(self, stream, query):
        """A page."""
        self.requests += 1
        limit = min(PAGE, int(query.get("limit", 100)))
        with self.lock:
            if stream != "tasks":
                count, version = OTHERS[stream], self.others[stream]
                after = int(query.get("after", 0))
                data = [{"id": f"{stream[0]}{n}", "name": f"{stream} {n}", "version": version, **FIELDS[stream]}
                        for n in range(after, min(after + limit, count))]
                return {"data": data, "next": str(after + limit) if after + limit < count else None}
            at = bisect.bisect_left(self.order, (query.get("modified_since", ""), -1))
            if "after" in query:
                moment, number = query["after"].split("_")
                at = max(at, bisect.bisect_right(self.order, (moment, int(number))))
            end = bisect.bisect_right(self.order, (query.get("modified_before", "9"), 1 << 60))
            chosen = self.order[at:min(at + limit, end)]
            more = at + limit < end
            data = [{"id": f"t{n}", "version": self.tasks[n][1], "modified_at": moment, "name": f"task {n}", **FIELDS["tasks"]}
                    for moment, n in chosen]
            return {"data": data, "next": f"{chosen[-1][0]}_{chosen[-1][1]}" if more else None}

    def truth(self, since):
        """Everything, tasks from a day on, by stream and id: version and time."""
        with self.lock:
            found = {"tasks": {f"t{n}": (version, at[:19]) for n, (at, version) in self.tasks.items() if at >= since}}
            for stream, count in OTHERS.items():
                found[stream] = {f"{stream[0]}{n}": (self.others[stream], None) for n in range(count)}
            return found


class Tenant:
    """The tenant's folder, its rows, its state."""

    def __init__(self, scratch, server, vendor, name=TENANT, since=LIVE):
        self.work, self.server, self.vendor = scratch, server, vendor
        self.states = scratch / "states"
        loader = warehouse.Pipelinewise(server, scratch)
        self.pg = scratch / "pg.json"
        self.pg.write_text(json.dumps({**loader.config(SCHEMA, 40), "add_metadata_columns": False}))
        self.target = [loader.executable, "--config", self.pg]
        self.config = scratch / f"{name}.json"
        tiers = {"hourly": {"streams": ["tasks"]}, "daily": {"streams": ["*"]}}
        self.config.write_text(json.dumps({"url": vendor.url, "token": TOKEN, "start_date": f"{since}T00:00:00Z", "concurrency": 2,
                                           "dripfeed": {"tenant": name, "state_dir": str(self.states), "tiers": tiers}}))

    numbers = itertools.count()

    def start(self, slot, *more):
        """Starts a run of a slot."""
        self.log = self.work / f"{slot}-{next(self.numbers)}.log"
        with open(self.log, "wb") as log:
            process = subprocess.Popen(
                sync_command(self.config, self.target, *MORE[slot], *more), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=log, env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""})
        process.log = self.log
        return process

    def bookmark(self):
        """The live bookmark of tasks; "" where there is none yet. A torn state raises."""
        state = json.loads(kept_state(self.states, TENANT) or "{}")
        return state.get("bookmarks", {}).get("tasks", {}).get("replication_key_value") or ""

    def kept(self, slot):
        """The state that a slot keeps, as text."""
        return kept_state(self.states, TENANT, ".backfill" if slot == "backfill" else "")

    def backfilled(self):
        """The parts of the past that are done."""
        state = json.loads(kept_state(self.states, TENANT, ".backfill") or "{}")
        parts = state.get("bookmarks", {}).get("tasks", {}).get("backfilled", [])
        return [(part["start"][:10], part["end"][:10]) for part in parts]

    def watch_loads(self):
        """From now on, whatever is loaded is written down."""
        self.server.query(
            f"create table if not exists {SCHEMA}.loads (id text, version bigint);"
            f"create or replace function {SCHEMA}.note() returns trigger language plpgsql as "
            f"$$ begin insert into {SCHEMA}.loads values (new.id, new.version); return null; end $$;"
            f"create trigger noted after insert or update on {SCHEMA}.tasks for each row execute function {SCHEMA}.note()")

    def loaded(self):
        """The newest version of each task that was ever loaded."""
        lines = self.server.query(f"select json_build_array(id, max(version)) from {SCHEMA}.loads group by id")
        return dict(map(tuple, map(json.loads, lines)))

    def rows(self):
        """What is in the tables now."""
        found = {}
        for stream in ("tasks", *OTHERS):
            at = "modified_at" if stream == "tasks" else "null"
            lines = self.server.query(f"select json_build_array(id, version, {at}) from {SCHEMA}.{stream}")
            found[stream] = {key: (version, when and when[:19]) for key, version, when in map(json.loads, lines)}
        return found

    def left(self):
        """Processes of this trial that are still there: those whose arguments name its folder."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if str(self.work).encode() in path.read_bytes() and int(path.parent.name) != os.getpid():
                    found.append(int(path.parent.name))
        return found


class Slot:
    """A slot: its runs, one after the other, and what is killed of them."""

    def __init__(self, tenant, name, kills, seed, checks):
        self.tenant, self.name, self.kills, self.checks = tenant, name, kills, checks
        self.dice = random.Random(f"{seed} {name}")
        self.codes, self.victims, self.wrong, self.moments = Counter(), Counter(), [], []
        self.expected = 2.0  # seconds of a run
        self.refused = self.newer = 0
        self.years = iter(YEARS)
        self.more = (next(self.years),) if name == "backfill" else ()
        self.thread = threading.Thread(target=self.go)

    def go(self):
        try:
            while sum(self.victims.values()) < self.kills:
                self.one()
        except Exception as fault:  # a thread's fault must not pass for success
            self.wrong.append(f"{self.name}: {fault!r}")

    def note(self, code, log, allowed=CALM):
        """An exit code that nobody asked for is kept, with what was said."""
        self.codes[code] += 1
        if code not in allowed:
            self.wrong.append(f"{self.name}: exit code {code}: {log.read_text(errors='replace')[-400:]}")

    def one(self):
        """A run that is killed, unless it ends before."""
        tenant, moment, victim = self.tenant, self.dice.uniform(0, self.expected), self.dice.choice(("sync", "target", "both"))
        began, before = time.monotonic(), tenant.kept(self.name)
        process = tenant.start(self.name, *self.more)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moment)
        if process.poll() is not None:
            # It was quicker than thought, or did not begin.
            self.note(process.returncode, process.log)
            if process.returncode == 0:
                self.expected = max(1.0, time.monotonic() - began)
                self.more = (next(self.years),) if self.more else ()
            return
        targets = children(process.pid)
        if victim != "sync" and not targets:
            ends(process, LONGEST)
            return  # no target yet: another time
        victims = {"sync": [process.pid], "target": targets, "both": [process.pid, *targets]}[victim]
        for pid in self.dice.sample(victims, len(victims)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        code = ends(process, LONGEST)
        if victim == "target" and code not in (60, 0):
            said = process.log.read_text(errors="replace")[-400:]
            self.wrong.append(f"{self.name}: its target was killed: exit code {code}: {said}")
        self.victims[victim] += 1
        self.newer += tenant.kept(self.name) != before
        self.moments.append(f"{moment:.2f} {victim}")
        orphans = [pid for pid in targets if alive(pid)]
        if orphans and self.dice.random() < 0.7:
            # The lock went on to the target: it is waited for by nobody, and nobody overtakes it.
            again = tenant.start(self.name, *self.more)
            still = alive(orphans[0])
            code = ends(again, LONGEST)
            if still and alive(orphans[0]):
                self.refused += code == 76
                self.note(code, again.log, (76,))
            else:
                self.note(code, again.log)
        if not comes_true(lambda: not any(map(alive, orphans)), 60):
            self.wrong.append(f"{self.name}: an orphaned target does not end")
        self.judge()

    def judge(self):
        """What a bookmark has passed is loaded."""
        tenant = self.tenant
        # The vendor first: what it has is at most what is loaded later. The bookmarks next, then what is loaded.
        with tenant.vendor.lock:
            tasks = dict(tenant.vendor.tasks)
        passed = {"hourly": lambda: [(LIVE, tenant.bookmark())], "daily": list, "backfill": tenant.backfilled}[self.name]()
        if not passed:
            return
        loaded = tenant.loaded()
        missing = [n for n, (at, version) in tasks.items()
                   if any(start <= at < end for start, end in passed) and loaded.get(f"t{n}", -1) < version]
        if missing:
            first = f"t{missing[0]} of {tasks[missing[0]]}"
            self.wrong.append(f"{self.name}: {passed} have {len(missing)} tasks that were never loaded, as {first}")


class Watcher:
    """Looks at the live state all the time: it is whole, and moves on only."""

    def __init__(self, tenant):
        self.tenant, self.stopped, self.wrong, self.seen = tenant, threading.Event(), [], 0
        self.thread = threading.Thread(target=self.look)
        self.thread.start()

    def look(self):
        last = ""
        while not self.stopped.wait(0.01):
            try:
                now = self.tenant.bookmark()
            except ValueError as torn:
                self.wrong.append(f"a torn state: {torn}")
                continue
            if now < last:
                self.wrong.append(f"a bookmark went back from {last} to {now}")
            self.seen += now != last
            last = now

    def stop(self):
        self.stopped.set()
        self.thread.join()


def trial(checks, scratch, server, vendor, options, slots):
    tenant = Tenant(scratch, server, vendor)
    # Somebody else makes the tables, with nothing in them, so that what is loaded can be written down from the first row on.
    other = Tenant(scratch, server, vendor, "other", since="2026-01-01")
    code = ends(process := other.start("hourly"), LONGEST) or ends(process := other.start("daily"), LONGEST)
    checks.ok("tables are made", code == 0, process.log.read_text()[-300:] if code else "")
    tenant.watch_loads()
    vendor.editor.start()
    watcher = Watcher(tenant)
    running = [Slot(tenant, name, round(options.kills * SHARE[name]), options.seed, checks) for name in slots]
    for slot in running:
        slot.thread.start()
    for slot in running:
        slot.thread.join()
    watcher.stop()
    for slot in running:
        checks.fact(f"{slot.name}: killed after {', '.join(slot.moments)}")
        checks.fact(f"{slot.name}: {dict(slot.victims)}, other runs ended with {dict(slot.codes)}, {slot.refused} refused beside "
                    f"an orphan; {slot.newer} of those killed left a newer state")
    hits, refused = sum(sum(slot.victims.values()) for slot in running), sum(slot.refused for slot in running)
    checks.ok(f"{options.kills} kills hit", hits >= options.kills - 2, hits)
    checks.ok("some runs met an orphan that still loaded, and ended with 76", refused > 0, refused)
    wrong = [words for slot in running for words in slot.wrong]
    checks.ok("every run that nobody killed ended with 0, 60, 75 or 76, and no bookmark passed a row that was not loaded",
              not wrong, f"{len(wrong)}: {wrong[:3]}" if wrong else "")
    checks.ok("the live state was whole all the time, and never went back", not watcher.wrong,
              watcher.wrong[:2] or f"{watcher.seen} moves")
    checks.fact(f"{vendor.edits} edits, {vendor.requests} requests")
    if "backfill" in slots:
        beside(checks, tenant)
    vendor.settle()
    left = [pid for pid in tenant.left() if not comes_true(lambda pid=pid: not alive(pid), 30)]
    checks.ok("no process is left", not left, left)
    stale = differences(vendor.truth(FROM if "backfill" in slots else LIVE), tenant.rows())
    checks.fact(f"before the last runs: {stale or 'nothing to do'}")
    finish(checks, tenant, vendor, slots)


def beside(checks, tenant):
    """A backfill ends while tasks are edited and hourly runs come one after the other: nothing that it sends may be the last
    word on a task that a live run has brought in a newer version."""
    for _ in range(5):
        backfill = tenant.start("backfill", WHOLE)
        codes = Counter()
        while backfill.poll() is None:
            codes[ends(tenant.start("hourly"), LONGEST)] += 1
        # Two that insert one task at once: one of the targets fails, and the next run goes on.
        if backfill.returncode == 0:
            break
    checks.ok("a backfill that ends beside hourly runs ends with 0", backfill.returncode == 0,
              backfill.log.read_text()[-300:] if backfill.returncode else "")
    checks.ok("hourly runs beside it go on", codes[0] > 0 and not set(codes) - set(CALM), dict(codes))


def overtaken(checks, tenant, vendor):
    """A task is edited while the backfill's target still holds an older version of it, and a live run brings the new one first."""
    month, script = ("2025-09-01", "2025-10-01"), tenant.work / "gated.py"
    script.write_text(GATED)
    told, gate = tenant.work / "told", tenant.work / "gate"
    number = next(n for n, (at, _) in tenant.vendor.tasks.items() if month[0] <= at < month[1])
    loader, tenant.target = tenant.target, [sys.executable, "-I", script, told, gate, *tenant.target]
    backfill = tenant.start("backfill", "..".join(month))
    tenant.target = loader
    wait_until(told.exists, 60, "the backfill's target has everything")
    vendor.edit(number)
    edited = vendor.tasks[number][0]
    wait_until(lambda: stamp(datetime.now(timezone.utc)) > edited, 5, "the next second")
    vendor.edit(0)  # the row at the bookmark is read again by every run: this one
    beside = ends(tenant.start("hourly"), LONGEST)
    gate.touch()
    code = ends(backfill, LONGEST)
    states = [kept_state(tenant.states, TENANT, slot) for slot in (".backfill", "")]
    after = ends(tenant.start("hourly"), LONGEST)
    checks.ok("a target that holds a backfill's rows back: all runs end with 0, or 76 beside it",
              (code, after) == (0, 0) and beside in (0, 76),
              (code, beside, after))
    key = f"t{number}"
    have, want = tenant.rows()["tasks"].get(key), vendor.truth(FROM)["tasks"][key]
    checks.ok("what a live run brought meanwhile is not overtaken by what the backfill held", have == want,
              f"{key}: {have} in the database, {want} at the vendor")
    if have != want:
        checks.fact(f"before the last run: {states}; the backfill says {backfill.log.read_text()[-900:]}")


def finish(checks, tenant, vendor, slots):
    """One run more of each, undisturbed."""
    for slot in slots:
        before = kept_state(tenant.states, TENANT)
        more, asked = (WHOLE,) if slot == "backfill" else (), vendor.requests
        code = ends(process := tenant.start(slot, *more), LONGEST)
        checks.ok(f"{slot}: no lock is left, and the run ends with 0", code == 0,
                  f"{code}: {process.log.read_text()[-400:]}" if code else "")
        if slot == "backfill":
            checks.ok("the backfill moves no live bookmark: the live state is the same, byte by byte",
                      kept_state(tenant.states, TENANT) == before)
            checks.ok("a backfill that is done asks for nothing", vendor.requests == asked, f"{vendor.requests - asked} requests")
            done = tenant.backfilled()
            checks.ok("adjacent parts became one", len(done) == 1 and done[0][0] <= FROM and done[0][1] == WHOLE[-10:], done)
    wrong = differences(vendor.truth(FROM if "backfill" in slots else LIVE), tenant.rows())
    checks.ok("nothing is lost: the rows are the vendor's, by key, version and time", not wrong, wrong)
    if "backfill" in slots:
        overtaken(checks, tenant, vendor)
    replaced = int(tenant.server.query(
        f"select count(*) from (select version < max(version) over (partition by id) as old from {SCHEMA}.loads) l where old")[0])
    checks.fact(f"{len(tenant.rows()['tasks'])} tasks, {replaced} loads of versions that were replaced")
    zombies = [pid for pid in children(os.getpid()) if not alive(pid)]
    checks.ok("no process is left, living or dead", not zombies and not tenant.left(), (zombies, tenant.left()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--no-backfill", action="store_true", help="the tiers alone")
    options = parser.parse_args()
    checks = Checks()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    checks.fact(f"seed {options.seed}")
    slots = [slot for slot in SLOTS if slot != "backfill" or not options.no_backfill]
    if options.no_backfill:
        SHARE.update(hourly=0.7, daily=0.3)
    with folder() as scratch, warehouse.Postgres() as server, Vendor(random.Random(f"{options.seed} vendor")) as vendor:
        trial(checks, scratch, server, vendor, options, slots)
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
