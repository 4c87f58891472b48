#!/usr/bin/env python3
"""Proves: `sync` behaves, whatever its target does.

(a) Into real targets (target-jsonl and two for PostgreSQL) a first run loads everything, a second one what changed since, with
exit code 0. (b) Targets that die, hang, are late, mix states or print nonsense: the exit code, the state (kept only where the
target has echoed it), how soon it ends, and that the next run with a good target brings what is missing. (c) Signals and
`kill -9`: nothing is left behind, neither process nor lock, and the state is kept. (d) The lock goes on to the target; two tiers
at once merge their states by stream; a plain state file; no argument of the target is ever said.

usage: sync.py [--seed N] [--only PART ...]

Environment: support.py's, and TARGET_POSTGRES_MELTANO and TARGET_POSTGRES_PIPELINEWISE as in warehouse.py.
"""
import argparse
import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import warehouse
from support import (ROOT, STREAMS, Checks, Sandbox, alive, children, comes_true, differences, dripfeed, ends, events,
                     folder, kept_state, rows, sync_command, target_config, target_jsonl, wait_until)

TASKS = 1500
TENANT = "acme"
SECRET = "hunter2-is-no-secret"  # an argument of targets, and a token
LONGEST = 60

# The targets. What a target gets and does stands in its trace; records go to a file for each stream.
TARGET = r"""
import json, os, signal, sys, time

mode, work = sys.argv[1], sys.argv[2]
number = float(sys.argv[3]) if len(sys.argv) > 3 and sys.argv[3][0].isdigit() else 0
trace = open(work + "/trace", "a", buffering=1)
out = os.fdopen(os.dup(1), "wb", buffering=0)

def note(**what):
    trace.write(json.dumps({"pid": os.getpid(), "mode": mode, **what}) + "\n")

def say(line):
    out.write(line if isinstance(line, bytes) else (line + "\n").encode())

def on_signal(got, _):
    note(signal=got)
    if mode == "ignores-sigterm":
        return
    os._exit(128 + got)

for one in (signal.SIGTERM, signal.SIGINT):
    signal.signal(one, on_signal)
note(began=True)
if mode == "dies-at-once":
    sys.exit(3)
if mode in ("hangs", "ignores-sigterm"):
    while True:
        time.sleep(1)
if mode == "closes-stdin":
    os.close(0)
    time.sleep(number)
    sys.exit(0)
if mode == "nonsense":
    say("Loading ... 10%"); say(b"\xff\xfe\x00\x80\n"); say("{"); say('{"bookmarks":'); say("\n\n"); say("[" * 5000); say("1e999")
if mode == "no-state":
    for line in ("[1, 2]", '{"a": 1}', '"x"', "null", "{}", "[]", "true", '{"bookmarks": 5}', '{"bookmarks": {}}',
                 '{"type": "STATE", "value": {"bookmarks": {"tasks": {"modified_at": "2031-01-01T00:00:00Z"}}}}'):
        say(line)
if mode == "endless":
    for _ in range(int(number)):
        say(b"x" * 1_000_000)
    say(b"\n")
if mode == "noisy":
    for _ in range(20_000):
        sys.stderr.write("the target talks and talks " * 20 + "\n")
files, states, lines = {}, [], 0
for line in sys.stdin.buffer:
    lines += 1
    if lines == 1:
        note(first=True)
    if mode == "dies-midway" and lines > number:
        sys.exit(4)
    if mode == "killed-midway" and lines > number:
        os.kill(os.getpid(), signal.SIGKILL)
    if mode == "slow":
        time.sleep(number)
    message = json.loads(line)
    if message["type"] == "RECORD":
        name = message["stream"]
        if name not in files:
            files[name] = open(f"{work}/{name}.jsonl", "a")
        files[name].write(json.dumps(message["record"]) + "\n")
    elif message["type"] == "STATE":
        for file in files.values():
            file.flush()
        states.append(message["value"])
        if mode in ("good", "dies-midway", "killed-midway", "slow", "noisy", "closes-stdout", "rings"):
            say(json.dumps(message["value"]))
        if mode == "closes-stdout" and len(states) == 1:
            out.close(); os.close(1)
            mode = "mute"
        if mode == "forged":
            forged = json.loads(json.dumps(message["value"]))
            forged["bookmarks"].setdefault("tasks", {})["modified_at"] = "2031-01-01T00:00:00Z"
            say(json.dumps(forged))
for file in files.values():
    file.close()
note(end=True, lines=lines, states=len(states))
if mode == "dies-after":
    say(json.dumps(states[-1])); sys.exit(5)
if mode == "swallows":
    time.sleep(600)
while mode == "chatty":
    say("still loading ...")
    time.sleep(0.2)
if mode == "late":
    time.sleep(number)
    for state in states:
        say(json.dumps(state))
if mode in ("nonsense", "endless", "lingers"):
    say(json.dumps(states[-1]))
if mode == "no-newline":
    say(json.dumps(states[-1]).encode())
if mode == "spaced":
    say(json.dumps(states[-1], indent=None, separators=(" , ", " : "), sort_keys=True, ensure_ascii=True))
if mode == "backwards":
    for state in states[::-1]:
        say(json.dumps(state))
if mode == "per-stream":
    # As pipelinewise flushes: of some streams the newest bookmarks, of others older ones.
    mixed = json.loads(json.dumps(states[-1]))
    mixed["bookmarks"]["tasks"] = states[len(states) // 2]["bookmarks"]["tasks"]
    say(json.dumps(mixed)); note(mixed=mixed["bookmarks"]); sys.exit(1)
if mode == "lingers":
    # A grandchild that keeps stdout open.
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        time.sleep(number)
        os._exit(0)
note(last=states[-1]["bookmarks"] if states else None)
"""


class Tenant:
    """A tenant with a folder of its own: state, traces, what targets were given."""

    numbers = itertools.count()

    def __init__(self, scratch, url, token="sandbox-token", **more):
        self.work = scratch / f"tenant-{next(Tenant.numbers)}"
        self.work.mkdir()
        self.states, self.script = self.work / "states", self.work / "target.py"
        self.script.write_text(TARGET)
        self.set(url, token, **more)

    def set(self, url, token="sandbox-token", tiers=None, **more):
        """(Re)writes its config."""
        self.config = self.work / "config.json"
        ours = {"tenant": TENANT, "state_dir": str(self.states), **({"tiers": tiers} if tiers else {})}
        self.config.write_text(json.dumps({"url": url, "token": token, "start_date": "2025-01-01T00:00:00Z", "concurrency": 1,
                                           **more, "dripfeed": ours}))

    def target(self, mode, *more):
        """The command of a target."""
        return [sys.executable, "-I", "-S", self.script, mode, self.work, *more]

    def start(self, target, *more, source="sandbox", **options):
        """Starts a run; its own words go to a file."""
        self.events = self.work / f"events-{next(Tenant.numbers)}"
        self.log = self.work / "log"
        with open(self.log, "ab") as log:
            log.truncate(0)
            return subprocess.Popen(sync_command(self.config, target, "--events", self.events, *more, source=source),
                                    **{"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": log, **options})

    def run(self, mode, *more, args=(), within=LONGEST):
        """A whole run: its exit code (None when it hung) and its seconds."""
        began = time.monotonic()
        process = self.start(self.target(mode, *args), *more)
        code = ends(process, within)
        return code, time.monotonic() - began

    def said(self):
        """What the last run said."""
        return self.log.read_text(errors="replace")

    def trace(self, key):
        """The traces that hold something."""
        path = self.work / "trace"
        lines = path.read_text().splitlines() if path.exists() else []
        return [one for one in map(json.loads, lines) if key in one]

    def state(self):
        """The bookmarks that are kept."""
        text = kept_state(self.states, TENANT)
        return json.loads(text or "{}").get("bookmarks", {})

    def loaded(self):
        """What all targets were given: the last of each id."""
        return {stream: {row["id"]: row for row in rows(self.work, stream)} for stream in STREAMS}

    def heals(self, checks, name, truth):
        """The next run, with a good target, brings what is missing."""
        code, _ = self.run("good")
        wrong = differences(truth, self.loaded())
        checks.ok(f"{name}: the next run brings the rest", code == 0 and not wrong,
                  wrong or ("" if code == 0 else self.said()[-300:]))


def cursor(bookmarks, stream="tasks"):
    """How far a stream's bookmark is."""
    return (bookmarks or {}).get(stream, {}).get("replication_key_value")


def good_targets(checks, scratch):
    """(a)"""
    with warehouse.Postgres() as server:
        kinds = [kind(server, scratch) for kind in (warehouse.Meltano, warehouse.Pipelinewise)]
        for kind in (*kinds, None):
            name = kind.name if kind else "target-jsonl"
            with Sandbox("--tasks", TASKS) as sandbox:
                tenant = Tenant(scratch, sandbox.url)
                path = tenant.work / "real.json"
                schema = f"good_{kinds.index(kind)}" if kind else ""
                if kind:
                    path.write_text(json.dumps(kind.config(schema, 100)))
                else:
                    target_config(path, tenant.work)
                command = [kind.executable if kind else target_jsonl(), "--config", path]
                code = ends(tenant.start(command, env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""}), 120)
                checks.ok(f"{name}: a first run ends with 0", code == 0, "" if code == 0 else f"{code}: {tenant.said()[-300:]}")
                first = cursor(tenant.state())
                newest = max(task["modified_at"] for task in sandbox.all("tasks").values())
                checks.ok(f"{name}: the state that it echoed is kept", first == newest, f"{first}, the newest task is of {newest}")
            with Sandbox("--tasks", TASKS, "--edited", 40) as sandbox:
                tenant.set(sandbox.url)
                code = ends(tenant.start(command, env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""}), 120)
                done = events(tenant.events, "stream_done")
                brought = {event["stream"]: event["records"] for event in done}
                due = [task for task in sandbox.all("tasks").values() if task["modified_at"] >= first]
                checks.ok(f"{name}: a second one brings what changed", code == 0 and brought.get("tasks") == len(due),
                          f"{brought} of {len(due)}, exit code {code}")
                truth = {stream: sandbox.all(stream) for stream in STREAMS}
                truth["tasks"] = {key: task for key, task in truth["tasks"].items() if task["modified_at"] >= "2025"}
                if kind:
                    tables = kind.tables(schema)
                    found = {stream: {row["id"]: (row.get("version"), row.get("name")) for row in tables[stream].rows}
                             for stream in STREAMS}
                    want = {stream: {key: (one.get("version"), one.get("name")) for key, one in records.items()}
                            for stream, records in truth.items()}
                    wrong = differences(want, found)
                else:
                    wrong = differences(truth, tenant.loaded())
                checks.ok(f"{name}: it holds what the API gives", not wrong, wrong)


# What a target does; with which arguments of it and of sync; the exit code; does the state move; within how many seconds.
NASTY = (
    ("dies-at-once", (), (), 60, False, 20),
    ("dies-midway", (700,), (), 60, True, 20),
    ("killed-midway", (700,), (), 60, True, 20),
    ("dies-after", (), (), 60, True, 30),
    ("hangs", (), ("--target-timeout", "PT3S"), 60, False, 30),
    ("ignores-sigterm", (), ("--target-timeout", "PT3S"), 60, False, 30),
    ("swallows", (), ("--target-timeout", "PT3S"), 60, False, 30),
    ("closes-stdin", (0.5,), (), 60, False, 20),
    ("nonsense", (), (), 0, True, 30),
    ("no-state", (), (), None, False, 30),
    ("forged", (), (), None, False, 30),
    ("endless", (300,), (), None, None, 60),
    ("mute", (), (), None, False, 30),
    ("noisy", (), (), 0, True, 60),
    ("late", (1.5,), (), 0, True, 30),
    ("backwards", (), (), 0, None, 30),
    ("no-newline", (), (), 0, True, 30),
    ("spaced", (), (), 0, True, 30),
    ("closes-stdout", (), (), None, True, 30),
    ("per-stream", (), (), 60, True, 30),
    ("lingers", (40,), (), 0, True, 30),
    ("slow", (0.002,), ("--target-timeout", "PT2S"), 0, True, 60),
)


def nasty(checks, scratch, sandbox, truth):
    """(b)"""
    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(bad_target, checks, scratch, sandbox, truth, *row) for row in NASTY]:
            done.result()


def bad_target(checks, scratch, sandbox, truth, mode, args, more, expected, moves, within):
    """One of them."""
    tenant = Tenant(scratch, sandbox.url)
    process = tenant.start(tenant.target(mode, *args, "--password", SECRET), *more)
    peak, began = 0, time.monotonic()
    while process.poll() is None and time.monotonic() < began + within:
        peak = max(peak, resident(process.pid))
        time.sleep(0.02)
    code, took = ends(process, 0.01), time.monotonic() - began
    said = tenant.said()
    told = events(tenant.events, "run_done")
    checks.ok(f"{mode}: " + (f"exit code {expected}" if expected is not None else "it ends by itself"),
              code == expected if expected is not None else code is not None,
              f"{code} after {took:.1f} s" + (f": {said[-400:]}" if expected is not None and code != expected else ""))
    if mode in ("no-state", "forged", "mute", "closes-stdout"):
        checks.ok(f"{mode}: 0, and it says that the last state was not echoed", code == 0 and "did not echo" in said,
                  said.strip()[-300:])
    if expected is None:
        checks.fact(f"{mode}: exit code {code}; it says: {said.strip().splitlines()[-2:]}")
    state = cursor(tenant.state())
    if moves is not None:
        checks.ok(f"{mode}: the state " + ("moves to what was echoed" if moves else "does not move"), bool(state) == moves, state)
    if moves:
        lasts = [*tenant.trace("last"), *tenant.trace("mixed")]
        last = lasts[-1].get("last") or lasts[-1].get("mixed") if lasts else None
        if last and mode not in ("closes-stdout", "backwards"):
            checks.ok(f"{mode}: it is the echoed one", state == cursor(last), f"{state}, echoed {cursor(last)}")
    if code == 60:
        named = {"dies-at-once": "3", "dies-midway": "4", "dies-after": "5", "per-stream": "1", "killed-midway": "signal 9"}
        word = named.get(mode)
        checks.ok(f"{mode}: it says what became of the target, and what to do",
                  "target" in said and "hint" in said and (word is None or re.search(rf"\b{word}\b", said)), said.strip()[-300:])
    if code is not None:
        checks.ok(f"{mode}: run_done tells the exit code", len(told) == 1 and told[0].get("exit_code") == code, told[-1:])
    everything = said + "".join(path.read_text(errors="replace") for path in tenant.work.rglob("*")
                                if path.is_file() and path.suffix != ".py" and path.name != "log" and path.stat().st_size < 5e6)
    checks.ok(f"{mode}: no argument of the target is said", SECRET not in everything)
    checks.ok(f"{mode}: it stays small", peak < 150_000, f"{peak // 1000} MB")
    left = [one["pid"] for one in tenant.trace("began") if alive(one["pid"])]
    checks.ok(f"{mode}: no target is left", not left, left)
    if mode != "lingers":
        tenant.heals(checks, mode, truth)


def resident(pid):
    """Kilobytes of a process."""
    try:
        return int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1])
    except (OSError, TypeError):
        return 0


def signals(checks, scratch, sandbox, truth):
    """(c)"""
    cases = itertools.product((signal.SIGTERM, signal.SIGINT), ("good", "hangs", "ignores-sigterm", "chatty"))
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(signalled, checks, scratch, sandbox, truth, *case) for case in cases]:
            done.result()
    ctrl_c(checks, scratch, sandbox, truth)
    killed(checks, scratch, sandbox, truth)


def signalled(checks, scratch, sandbox, truth, number, mode):
    """A signal to sync, with a target of some kind."""
    name = f"{number.name} to sync, a target: {mode}"
    tenant = Tenant(scratch, sandbox.url)
    process = tenant.start(tenant.target(mode))
    if mode == "good":
        wait_until(lambda: tenant.state(), 30, "a state is kept")
    else:
        wait_until(lambda: tenant.trace("end" if mode == "chatty" else "began"), 30, "the target starts")
    target = tenant.trace("began")[0]["pid"]
    before = cursor(tenant.state())
    process.send_signal(number)
    sent = time.monotonic()
    code = ends(process, 40)
    took = time.monotonic() - sent
    checks.ok(f"{name}: exit code {128 + number}, within 20 s", code == 128 + number and took < 20, f"{code} after {took:.1f} s")
    checks.ok(f"{name}: the target is gone", comes_true(lambda: not alive(target), 20))
    if mode == "good":
        after = cursor(tenant.state())
        checks.ok(f"{name}: the target saw the end of its input, or the signal", tenant.trace("end") or tenant.trace("signal"),
                  f"state {before}, then {after}")
        checks.ok(f"{name}: the state is kept", after >= before)
    if alive(target):
        os.kill(target, signal.SIGKILL)
    tenant.heals(checks, name, truth)


def ctrl_c(checks, scratch, sandbox, truth):
    """Ctrl-C at a terminal goes to both at once; and twice."""
    tenant = Tenant(scratch, sandbox.url)
    process = tenant.start(tenant.target("good"), start_new_session=True)
    wait_until(lambda: tenant.state(), 30, "a state is kept")
    os.killpg(process.pid, signal.SIGINT)
    code = ends(process, 30)
    checks.ok("SIGINT to both: exit code 130", code == 130, code)
    tenant.heals(checks, "SIGINT to both", truth)

    tenant = Tenant(scratch, sandbox.url)
    process = tenant.start(tenant.target("ignores-sigterm"))
    wait_until(lambda: tenant.trace("began"), 30, "the target starts")
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    code = ends(process, 20)
    took = time.monotonic() - began
    target = tenant.trace("began")[0]["pid"]
    checks.ok("a second signal ends it soon", code in (130, 143) and took < 3, f"{code} after {took:.2f} s")
    checks.ok("a second signal leaves no target", comes_true(lambda: not alive(target), 20))


def killed(checks, scratch, sandbox, truth):
    """`kill -9` of sync: the target sees the end of its input, and keeps the lock as long as it loads."""
    tenant = Tenant(scratch, sandbox.url)
    process = tenant.start(tenant.target("late", 3))
    wait_until(lambda: tenant.trace("first"), 30, "the target is fed")
    target = tenant.trace("began")[0]["pid"]
    process.kill()
    process.wait()
    checks.ok("kill -9 of sync: the target sees the end of its input", comes_true(lambda: tenant.trace("end"), 20))
    code, _ = tenant.run("good")
    checks.ok("kill -9 of sync: while its target still loads, the next run ends with 76", code == 76 and alive(target),
              f"{code}, {tenant.said()[-200:]}")
    wait_until(lambda: not alive(target), 20, "the orphan ends")
    code, _ = tenant.run("good")
    wrong = differences(truth, tenant.loaded())
    checks.ok("kill -9 of sync: once it has ended, the next run goes on", code == 0 and not wrong, wrong or code)

    tenant = Tenant(scratch, sandbox.url)
    process = tenant.start(tenant.target("slow", 0.01))
    wait_until(lambda: tenant.trace("first"), 30, "the target is fed")
    target = tenant.trace("began")[0]["pid"]
    os.kill(target, signal.SIGKILL)
    began = time.monotonic()
    code = ends(process, 30)
    checks.ok("kill -9 of the target: 60, soon", code == 60 and time.monotonic() - began < 10, f"{code}: {tenant.said()[-200:]}")
    tenant.heals(checks, "kill -9 of the target", truth)


def locked(checks, scratch, sandbox):
    """(d): who holds what."""
    tiers = {"hourly": {"streams": ["tasks"]}, "daily": {"streams": ["*"]}}
    tenant = Tenant(scratch, sandbox.url, tiers=tiers)
    process = tenant.start(tenant.target("slow", 0.01))
    wait_until(lambda: tenant.trace("first"), 30, "the target is fed")
    requests = sandbox.stats()["requests"]
    idle = Tenant(scratch, sandbox.url)  # for another log file
    idle.config, idle.states = tenant.config, tenant.states
    for more, expected in (((), 76), (("--tier", "hourly"), 76), (("--tier", "daily"), 76), (("--streams", "users"), 76)):
        began = time.monotonic()
        code, took = idle.run("good", *more)
        checks.ok(f"a run {' '.join(more) or 'of everything'} beside one of everything: 76 at once", code == expected and took < 5,
                  f"{code} after {time.monotonic() - began:.2f} s; {idle.said().strip()[-200:]}")
    checks.ok("they start no target", not idle.trace("began"))
    read = subprocess.run([dripfeed(), "read", "--source", "sandbox", "--config", str(tenant.config)], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=LONGEST)
    checks.ok("read, too: 76, and not a byte", (read.returncode, read.stdout) == (76, b""), read.returncode)
    preview = subprocess.run([dripfeed(), "read", "--source", "sandbox", "--config", str(tenant.config), "--limit", "3"],
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=LONGEST)
    checks.ok("a preview takes no lock", preview.returncode == 0, preview.returncode)
    process.kill()
    process.wait()
    target = tenant.trace("began")[0]["pid"]
    os.kill(target, signal.SIGKILL)
    wait_until(lambda: not alive(target), 20, "the orphan ends")
    code, _ = idle.run("good", "--tier", "hourly")
    checks.ok("no lock outlives them", code == 0, code)
    checks.fact(f"{sandbox.stats()['requests'] - requests} requests meanwhile")


def tiers(checks, scratch, dice):
    """(d): two tiers at once, each with a bookmark of its own in one file."""
    manifest = scratch / "twice.yaml"
    text = (ROOT / "catalog" / "sandbox.yaml").read_text()
    head, streams = text.split("\nstreams:\n")
    tasks = streams.split("\n  - type: DeclarativeStream\n")[0]
    tail = streams[len(tasks):]
    again = tasks.replace("name: tasks", "name: history")
    schemas = {name: json.loads((ROOT / "schemas" / "sandbox" / f"{name}.json").read_text()) for name in STREAMS}

    def inline(part, name, schema):
        return part.replace(f"name: {name}\n", f"name: {name}\n    schema_loader: {{type: InlineSchemaLoader, schema: "
                            f"{json.dumps(schemas[schema])}}}\n")

    for name in ("users", "projects"):
        tail = inline(tail, name, name)
    manifest.write_text(f"{head}\nstreams:\n{inline(tasks, 'tasks', 'tasks')}\n{inline(again, 'history', 'tasks')}{tail}")
    asked = {"hourly": {"streams": ["tasks"]}, "daily": {"streams": ["history"]}}
    with Sandbox("--tasks", 400, "--latency", 3) as sandbox:
        newest = max(task["modified_at"] for task in sandbox.all("tasks").values())
        torn, stop = [], threading.Event()
        tenant = Tenant(scratch, sandbox.url, tiers=asked)

        def watch():
            while not stop.wait(0.002):
                text = kept_state(tenant.states, TENANT)
                try:
                    json.loads(text or "{}")
                except ValueError:
                    torn.append(text[-60:])

        watcher = threading.Thread(target=watch)
        watcher.start()
        codes, wrong = [], []
        for _ in range(12):
            shutil.rmtree(tenant.states / "state", ignore_errors=True)
            both = []
            for tier in dice.sample(sorted(asked), 2):
                both.append(tenant.start(tenant.target("good"), "--tier", tier, source=manifest))
                time.sleep(dice.uniform(0, 0.05))  # only spreads them: the outcome is the same for any
            codes += [ends(process, LONGEST) for process in both]
            state = tenant.state()
            if [cursor(state, name) for name in ("tasks", "history")] != [newest] * 2:
                wrong.append({name: cursor(state, name) for name in state})
        stop.set()
        watcher.join()
        checks.ok("two tiers at once, 12 times: both end with 0", not any(codes), codes if any(codes) else "")
        checks.ok("… and neither overwrites the other's bookmark", not wrong, wrong[:2])
        checks.ok("… nobody ever sees a torn state", not torn, torn[:1])


def stores(checks, scratch, sandbox, truth):
    """(d): a plain file as the store; without any; what is refused before anything starts."""
    tenant = Tenant(scratch, sandbox.url)
    path = tenant.work / "mine.json"
    code, _ = tenant.run("good", "--state", path)
    kept = json.loads(path.read_text()) if path.exists() else {}
    checks.ok("--state FILE: kept there, and nowhere else", code == 0 and kept.get("bookmarks") and not tenant.state(), code)
    mode = path.stat().st_mode & 0o777 if path.exists() else 0
    checks.fact(f"--state FILE: mode {mode:o}")
    before = path.read_text() if kept else ""
    given = subprocess.run([dripfeed(), "read", "--source", "sandbox", "--config", str(tenant.config), "--state", str(path)],
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=LONGEST)
    checks.ok("it is a plain Singer state: read takes it", given.returncode == 0, given.stderr[-200:] if given.returncode else "")
    code, _ = tenant.run("good", "--state", path)
    records = {event["stream"]: event["records"] for event in events(tenant.events, "stream_done")}
    checks.ok("the next run goes on from it", code == 0 and records.get("tasks") == 1, records)
    checks.ok("nothing changed, nothing moved", json.loads(path.read_text())["bookmarks"] == json.loads(before)["bookmarks"])
    checks.ok("no file is left beside it",
              sorted(p.name for p in tenant.work.glob("mine*") if "lock" not in p.name) == ["mine.json"],
              sorted(p.name for p in tenant.work.glob("*mine*")))
    for name, text in (("torn", before[:40]), ("empty", ""), ("of another source", before.replace('"sandbox"', '"asana"'))):
        path.write_text(text)
        code, _ = tenant.run("good", "--state", path)
        checks.ok(f"a state that is {name}: 10, and it stays as it is", code == 10 and path.read_text() == text,
                  f"{code}: {tenant.said().strip()[-200:]}")
    path.write_text("{}")
    code, _ = tenant.run("good", "--state", path)
    checks.ok("an empty object means no state", code == 0, code)

    # Where no state can be written.
    tenant = Tenant(scratch, sandbox.url)
    code, _ = tenant.run("good", "--state", tenant.work / "no" / "such" / "folder" / "s.json")
    checks.fact(f"--state in a folder that is not there: {code}, {tenant.said().strip().splitlines()[-2:]}")
    (tenant.states / "state").parent.mkdir(parents=True, exist_ok=True)
    (tenant.states / "state").write_text("a file where the folder should be")
    began = sandbox.stats()["requests"]
    code, _ = tenant.run("good")
    checks.ok("a state directory that takes nothing: 10 before any request",
              code == 10 and sandbox.stats()["requests"] == began + 1,
              f"{code}, {sandbox.stats()['requests'] - began - 1} requests: {tenant.said().strip()[-200:]}")

    # Not started at all.
    tenant = Tenant(scratch, sandbox.url)
    plain = [dripfeed(), "sync", "--source", "sandbox", "--config", str(tenant.config)]
    refused = (("no target", plain, (2, 10)), ("an open quote", [*plain, "--target", "sh -c 'oops"], (2, 10)),
               ("an empty target", [*plain, "--target", ""], (2, 10)),
               ("a target that is not there", [*plain, "--target", f"/no/such/target --password {SECRET}"], (10, 60)),
               ("a target that is no program", [*plain, "--target", f"{tenant.config} --password {SECRET}"], (10, 60)),
               ("Airbyte's protocol", [*plain, "--target", "cat", "--protocol", "airbyte"], (2,)))
    before = sandbox.stats()["requests"]
    for name, command, codes in refused:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LONGEST)
        checks.ok(f"{name}: {' or '.join(map(str, codes))}, with a hint, before any request",
                  done.returncode in codes and re.search("hint|try '--help'", done.stderr) and
                  SECRET not in done.stderr + done.stdout,
                  f"{done.returncode}: {done.stderr.strip()[-200:]}")
    checks.ok("none of these asked the vendor for anything", sandbox.stats()["requests"] == before + 1,
              sandbox.stats()["requests"] - before - 1)

    # The config's target; a preview.
    config = json.loads(tenant.config.read_text())
    config["dripfeed"]["target"] = " ".join(map(str, tenant.target("good")))
    tenant.config.write_text(json.dumps(config))
    done = subprocess.run(plain, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LONGEST)
    wrong = differences(truth, tenant.loaded())
    checks.ok("the config's target is taken", done.returncode == 0 and not wrong, wrong or done.stderr[-200:])
    checks.ok("stdout stays empty", not done.stdout, done.stdout[:100])
    preview = Tenant(scratch, sandbox.url)
    code, _ = preview.run("good", "--limit", "3")
    checks.ok("a preview saves no state", code == 0 and not preview.state() and len(rows(preview.work, "tasks")) == 3,
              f"{code}, {preview.state()}, {len(rows(preview.work, 'tasks'))} tasks")


def hidden(checks, scratch, sandbox):
    """(d): what other users of the machine may see."""
    tenant = Tenant(scratch, sandbox.url)
    config = json.loads(tenant.config.read_text())
    config["token"] = "env:THE_TOKEN"
    tenant.config.write_text(json.dumps(config))
    process = tenant.start(tenant.target("slow", 0.01), env={**os.environ, "THE_TOKEN": "sandbox-token-visible"})
    wait_until(lambda: tenant.trace("first"), 30, "the target is fed")
    seen = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in (process.pid, *children(process.pid))]
    checks.ok("the token is in nobody's arguments", len(seen) > 1 and not any(b"sandbox-token" in line for line in seen))
    process.terminate()
    ends(process, 30)


PARTS = ("targets", "nasty", "signals", "locks", "tiers", "stores", "hidden")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    options = parser.parse_args()
    checks = Checks()
    checks.fact(f"seed {options.seed}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with folder() as scratch:
        if "targets" in options.only:
            good_targets(checks, scratch)
        with Sandbox("--tasks", TASKS, "--latency", 20) as sandbox:
            truth = {stream: sandbox.all(stream) for stream in STREAMS}
            truth["tasks"] = {key: task for key, task in truth["tasks"].items() if task["modified_at"] >= "2025"}
            parts = {"nasty": lambda: nasty(checks, scratch, sandbox, truth),
                     "signals": lambda: signals(checks, scratch, sandbox, truth),
                     "locks": lambda: locked(checks, scratch, sandbox),
                     "tiers": lambda: tiers(checks, scratch, random.Random(options.seed)),
                     "stores": lambda: stores(checks, scratch, sandbox, truth), "hidden": lambda: hidden(checks, scratch, sandbox)}
            for name, part in parts.items():
                if name in options.only:
                    part()
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
