#!/usr/bin/env python3
"""Proves: the tap behaves in a shell's pipe.

(a) When the reader of stdout goes away the tap ends soon, with 60. (b) SIGTERM and SIGINT in the middle of a run end it within
5 s, with 143 and 130 by exit code, stdout in whole lines, the last a STATE; a second signal ends it at once, whatever it waits
for. (c) A run that resumes from that STATE brings the rest: both outputs together are every record. (d) The documented pipe into
target-jsonl brings, run again, only what changed since.

usage: pipe.py      (needs target-jsonl and bash; see support.py for the environment)
"""
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time

from support import (STREAMS, Checks, Sandbox, differences, dripfeed, ends, folder, messages, read_command, records_of, rows, start_tap,
                     target_config, target_jsonl, wait_until)

TASKS = 6000
# As in docs/src/running/pipe.md, for cron.
PIPE = """
set -o pipefail
"$DRIPFEED" read --source sandbox --config config.json $([ -s state.json ] && echo --state state.json) 2> tap.log |
  "$TARGET_JSONL" --config target.json 2> target.log | tail -1 > state.new
rc=$?
[ -s state.new ] && mv state.new state.json
exit $rc
"""


def reader_gone(checks, sandbox, scratch):
    """(a)"""
    config = sandbox.config(scratch / "gone.json")
    for name, lines in (("before the first line", 0), ("after one line, as head -1 does", 1), ("in the middle", 1500)):
        tap = start_tap(read_command(config), stderr=subprocess.PIPE)
        for _ in range(lines):
            tap.stdout.readline()
        tap.stdout.close()
        gone = time.monotonic()
        said = []
        listener = threading.Thread(target=lambda pipe=tap.stderr, into=said: into.append(pipe.read()))
        listener.start()
        code = ends(tap, 10)
        took = time.monotonic() - gone
        listener.join(10)
        tap.stderr.close()
        said = b"".join(said).decode()
        checks.ok(f"reader gone {name}: exit code 60, soon", code == 60 and took < 5, f"{code} after {took:.2f} s")
        checks.ok(f"reader gone {name}: it says so and nothing breaks", "reader of stdout has closed it" in said and "panicked" not in said,
                  said.strip().splitlines()[-1:])
    shell = subprocess.run(["bash", "-c", '"$@" | head -1 > /dev/null; echo "${PIPESTATUS[0]}"', "bash", *read_command(config)],
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=60)
    checks.ok("| head -1 in a shell", shell.stdout.strip() == "60", f"PIPESTATUS {shell.stdout.strip()}")


def interrupted(checks, sandbox, scratch, number, after, truth):
    """(b) and (c): a signal after so many lines, then the rest."""
    name = f"{signal.Signals(number).name} after {after} lines"
    config, state = sandbox.config(scratch / "signal.json"), scratch / "signal-state.json"
    tap = start_tap(read_command(config))
    lines = [tap.stdout.readline() for _ in range(after)]
    tap.send_signal(number)
    sent = time.monotonic()
    timer = threading.Timer(20, tap.kill)
    timer.start()
    lines += tap.stdout.readlines()
    code = tap.wait()
    took = time.monotonic() - sent
    timer.cancel()
    tap.stdout.close()
    checks.ok(f"{name}: exit code {128 + number}, within 5 s", code == 128 + number and took < 5, f"{code} after {took:.2f} s")
    try:
        first = messages(lines)
    except ValueError as torn:
        checks.ok(f"{name}: every line is whole", False, torn)
        return
    states = [m for m in first if m["type"] == "STATE"]
    # Right at the start nothing may be covered yet; then there is nothing to say.
    checks.ok(f"{name}: every line is whole and the last is a STATE", first[-1]["type"] == "STATE" or (after == 1 and not states),
              f"{len(first)} lines, {len(states)} of them STATE")
    found = records_of(first)
    checks.ok(f"{name}: it was in the middle of a run", differences(truth, found), f"{len(found['tasks'])} of {len(truth['tasks'])} tasks")
    if states:
        state.write_text(json.dumps(states[-1]["value"]))
    rest = subprocess.run(read_command(config, state if states else None), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=120)
    second = messages(rest.stdout.splitlines(keepends=True))
    wrong = differences(truth, records_of(second, found))
    checks.ok(f"{name}: the next run brings the rest", rest.returncode == 0 and not wrong, wrong or f"exit code {rest.returncode}")
    one, two, whole = len(records_of(first)["tasks"]), len(records_of(second)["tasks"]), len(truth["tasks"])
    checks.fact(f"{one} tasks, then {two}, of {whole}: {one + two - whole} came twice")
    if after > 1:
        checks.ok(f"{name}: it does not begin again", two < whole, f"{two} of {whole} tasks")


class Silent:
    """A vendor that takes requests and never answers."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(20)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def asked(self):
        """Waits for a request; gives its connection, to be kept open."""
        connection = self.listener.accept()[0]
        connection.settimeout(20)
        connection.recv(1)
        return connection


def silent_vendor(checks, sandbox, scratch):
    """(b): a signal while a resumed run waits for its first answer keeps the state it was given."""
    config, state = sandbox.config(scratch / "resume.json"), scratch / "resume-state.json"
    done = subprocess.run(read_command(config), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=120)
    given = messages(done.stdout.splitlines(keepends=True))[-1]["value"]
    state.write_text(json.dumps(given))
    vendor = Silent()
    config.write_text(json.dumps({"url": vendor.url, "token": "any"}))

    tap = start_tap(read_command(config, state))
    connection = vendor.asked()
    tap.terminate()
    sent = time.monotonic()
    out = tap.communicate(timeout=30)[0]
    took = time.monotonic() - sent
    connection.close()
    said = messages(out.splitlines(keepends=True))
    checks.ok("SIGTERM while the vendor is silent: 143 within 5 s", tap.returncode == 143 and took < 5, f"{tap.returncode} after {took:.2f} s")
    kept = bool(said) and said[-1]["type"] == "STATE" and said[-1]["value"]["bookmarks"] == given["bookmarks"]
    checks.ok("SIGTERM while the vendor is silent: the last line is the state as given", kept, "" if kept else said[-1:])

    vendor = Silent()
    config.write_text(json.dumps({"url": vendor.url, "token": "any"}))
    tap = start_tap(read_command(config, state))
    connection = vendor.asked()
    twice(checks, tap, "while the vendor is silent")
    tap.stdout.close()
    connection.close()


def twice(checks, tap, where):
    """Two signals: the second ends the process at once."""
    tap.terminate()
    tap.send_signal(signal.SIGINT)
    began = time.monotonic()
    code = ends(tap, 10)
    took = time.monotonic() - began
    checks.ok(f"a second signal {where} ends it at once, by exit code", code in (130, 143) and took < 0.5, f"{code} after {took:.2f} s")


def full_pipe(command):
    """A tap whose pipe is full, and the pipe's two ends."""
    reader, writer = os.pipe()
    tap = start_tap(command, stdout=writer)
    wait_until(lambda: not select.select([], [writer], [], 0)[1], 30, "a full pipe")
    return tap, reader, writer


def blocked(checks, sandbox, scratch):
    """(b): signals while nobody reads stdout and the pipe is full."""
    command = read_command(sandbox.config(scratch / "blocked.json"))
    tap, reader, writer = full_pipe(command)
    twice(checks, tap, "while stdout is full")
    os.close(reader)
    os.close(writer)

    tap, reader, writer = full_pipe(command)
    os.close(writer)
    tap.terminate()
    with open(reader, "rb") as out:
        lines = out.readlines()
    code = ends(tap, 10)
    try:
        states = [m["type"] for m in messages(lines) if m["type"] != "SCHEMA"]
        checks.ok("SIGTERM while stdout is full, then it is read: 143 and whole lines", code == 143, f"{code}, {len(lines)} lines, the last a {states[-1]}")
    except ValueError as torn:
        checks.ok("SIGTERM while stdout is full, then it is read: 143 and whole lines", False, f"{code}, {torn}")


def shell_pipe(checks, scratch):
    """(d)"""
    work = scratch / "pipe"
    work.mkdir()
    environment = {**os.environ, "DRIPFEED": dripfeed(), "TARGET_JSONL": target_jsonl()}

    def run(name):
        done = subprocess.run(["bash", "-c", PIPE], cwd=work, env=environment, stdin=subprocess.DEVNULL, timeout=120)
        checks.ok(f"pipe, {name}: exit code 0 and a state", done.returncode == 0 and (work / "state.json").stat().st_size > 2, f"{done.returncode}")
        return json.loads((work / "state.json").read_text())["bookmarks"]["tasks"]["replication_key_value"]

    edits = 80
    with Sandbox("--tasks", 2000, "--edits", 1, "--edits-total", edits) as sandbox:
        sandbox.config(work / "config.json")
        target_config(work / "target.json", work)
        bookmark = run("first run")
        before, made = len(rows(work, "tasks")), sandbox.stats()["edits"]
        while sandbox.stats()["edits"] < edits:
            sandbox.get("/tasks?limit=1")  # each page of tasks that is served edits one
        truth = {stream: sandbox.all(stream) for stream in STREAMS}
        due = [t for t in truth["tasks"].values() if t["modified_at"] >= bookmark]
        checks.ok("pipe: tasks change between the runs", made < edits and len(due) > 1, f"{made} edits by the first run, {edits - made} after it")
        bookmark = run("second run")
        second = rows(work, "tasks")[before:]
        checks.fact(f"first run {before} rows of tasks, second run {len(second)}")
        checks.ok("pipe: the second run brings exactly what changed since, and the row at the bookmark",
                  sorted(r["id"] for r in second) == sorted(t["id"] for t in due), f"{len(second)} rows, {len(due)} due")
        wrong = differences(truth, {stream: {row["id"]: row for row in rows(work, stream)} for stream in STREAMS})
        checks.ok("pipe: the target holds what the API gives", not wrong, wrong)
        total = len(rows(work, "tasks"))
        run("third run")
        third = rows(work, "tasks")[total:]
        checks.ok("pipe: nothing changed, nothing but the row at the bookmark comes", [r["modified_at"] for r in third] == [bookmark], f"{len(third)} rows")


def main():
    checks = Checks()
    with folder() as scratch:
        with Sandbox("--tasks", TASKS, "--latency", 50) as sandbox:
            reader_gone(checks, sandbox, scratch)
            truth = {stream: sandbox.all(stream) for stream in STREAMS}
            for number in (signal.SIGTERM, signal.SIGINT):
                for after in (1, 700, 3000):
                    interrupted(checks, sandbox, scratch, number, after, truth)
            silent_vendor(checks, sandbox, scratch)
            blocked(checks, sandbox, scratch)
        shell_pipe(checks, scratch)
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
