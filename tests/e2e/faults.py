#!/usr/bin/env python3
"""Proves: a vendor that breaks answers costs no record, and says in the exit code what it was.

Answers of a sandbox are broken in every way it knows. What passes by itself is retried, and the run is whole with 0. What does
not costs the stream (40), or the run when the token is refused (20) or the vendor is down (69); then the last line is still a
STATE, and a run at a healed vendor that resumes from it brings the rest. A run that fails at once gives back the state that it
was given. A signal ends the wait for a rate limit.

usage: faults.py      (see support.py for the environment)
"""
import json
import queue
import subprocess
import sys
import threading
import time

from support import STREAMS, Checks, Sandbox, differences, folder, messages, read_command, records_of, start_tap

TASKS = 2000
PASSING = (
    ("--fault", "reset:7"), ("--fault", "cut:7"), ("--fault", "cut:7", "--no-gzip"), ("--fault", "slow:5"), ("--fault", "5xx:7"),
    ("--fault", "cut:13", "--fault", "5xx:17", "--fault", "reset:19", "--no-gzip"), ("--paging", "offset"), ("--no-gzip",))
LASTING = ((("--fault", "html:2"), 40), (("--fault", "html:9"), 40), (("--fault", "html:20"), 40), (("--fault", "401:5"), 20),
           (("--fault", "401:17"), 20))
AT_ONCE = ((("--fault", "html:1"), 40), (("--fault", "401:1"), 20), (("--fault", "5xx:1"), 69))


def run(config, state=None):
    """One run: exit code, messages, stderr, seconds."""
    began = time.monotonic()
    done = subprocess.run(read_command(config, state), stdin=subprocess.DEVNULL, capture_output=True, timeout=300)
    return done.returncode, messages(done.stdout.splitlines(keepends=True)), done.stderr.decode(), time.monotonic() - began


def passing(checks, scratch, truth, switches):
    """What may pass is retried."""
    with Sandbox("--tasks", TASKS, *switches) as sandbox:
        code, said, log, took = run(sandbox.config(scratch / "config.json"))
    wrong = differences(truth, records_of(said))
    checks.ok(f"{' '.join(switches)}: the run is whole, with 0", code == 0 and not wrong, wrong or f"exit code {code}, {log.count('retrying in')} retries, {took:.1f} s")
    records = sum(m["type"] == "RECORD" for m in said)
    whole = sum(map(len, truth.values()))
    checks.ok(f"{' '.join(switches)}: no record comes twice", records == whole, f"{records} records of {whole}")


def lasting(checks, scratch, good, truth, switches, expected):
    """What lasts costs the stream or the run, and no record."""
    with Sandbox("--tasks", TASKS, *switches) as sandbox:
        code, said, log, _ = run(sandbox.config(scratch / "config.json"))
    name = " ".join(switches)
    found = records_of(said)
    checks.ok(f"{name}: exit code {expected}, and the run says which stream", code == expected and "error   stream `" in log,
              f"{code}, {len(found['tasks'])} tasks")
    # What breaks is not always the same: when nothing is covered yet there may be no STATE at all.
    states = [m["value"] for m in said if m["type"] == "STATE"]
    checks.ok(f"{name}: the last line is a STATE", not states or said[-1]["type"] == "STATE", f"{len(states)} of them")
    state = scratch / "state.json"
    if states:
        state.write_text(json.dumps(states[-1]))
    code, said, _, _ = run(good, state if states else None)
    rest = len(records_of(said)["tasks"])
    wrong = differences(truth, records_of(said, found))
    checks.ok(f"{name}: the next run brings the rest", code == 0 and not wrong, wrong or f"exit code {code}, {rest} tasks")


def at_once(checks, scratch, given, switches, expected):
    """A run that gets nothing gives back the state that it was given."""
    state = scratch / "given.json"
    state.write_text(json.dumps(given))
    with Sandbox("--tasks", TASKS, *switches) as sandbox:
        code, said, _, took = run(sandbox.config(scratch / "config.json"), state)
    name = " ".join(switches)
    records = sum(m["type"] == "RECORD" for m in said)
    checks.ok(f"{name}: exit code {expected}, no record", code == expected and not records, f"{code}, {records} records, {took:.1f} s")
    kept = bool(said) and said[-1]["type"] == "STATE" and said[-1]["value"]["bookmarks"] == given["bookmarks"]
    checks.ok(f"{name}: the last line is the state as given", kept, "" if kept else said[-1:])


def limited(checks, scratch):
    """A signal ends the wait for a rate limit, which lasts up to a minute."""
    with Sandbox("--tasks", TASKS, "--cap", "20/60:window") as sandbox:
        tap = start_tap(read_command(sandbox.config(scratch / "config.json")), stderr=subprocess.PIPE)
        out, waits = [], queue.Queue()
        readers = [threading.Thread(target=lambda: out.extend(tap.stdout)),
                   threading.Thread(target=lambda: [waits.put(line) for line in tap.stderr if b"limits its rate" in line])]
        for reader in readers:
            reader.start()
        try:
            waits.get(timeout=20)
            sent = time.monotonic()
            tap.terminate()
            code = tap.wait(timeout=20)
            took = time.monotonic() - sent
        except (queue.Empty, subprocess.TimeoutExpired) as hung:
            tap.kill()
            code, took = tap.wait(), float("nan")
            checks.fact(f"{type(hung).__name__} while it waits for the rate limit")
        for reader in readers:
            reader.join()
        tap.stdout.close()
        tap.stderr.close()
        said = messages(out)
        checks.ok("SIGTERM while it waits for a rate limit: 143 within 5 s, the last line a STATE",
                  code == 143 and took < 5 and said[-1]["type"] == "STATE", f"{code} after {took:.2f} s, {len(said)} lines")


def main():
    checks = Checks()
    with folder() as scratch, Sandbox("--tasks", TASKS) as healthy:
        truth = {stream: healthy.all(stream) for stream in STREAMS}
        good = healthy.config(scratch / "good.json")
        given = run(good)[1][-1]["value"]
        for switches in PASSING:
            passing(checks, scratch, truth, switches)
        for switches, expected in LASTING:
            lasting(checks, scratch, good, truth, switches, expected)
        for switches, expected in AT_ONCE:
            at_once(checks, scratch, given, switches, expected)
        limited(checks, scratch)
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
