#!/usr/bin/env python3
"""Measures: many tenants on one machine, two tiers, a bounded number of processes, as cron and a shell loop run them.

A sandbox gives each tenant a cap, and answers after a while as vendors do. The tenants are synced by `xargs -P` into a small
target (TARGET below: it keeps nothing and echoes the last state), a sample of them into target-jsonl. First everything, then,
edited meanwhile, the hourly tier alone, then both tiers at once. Printed: a Markdown table with the wall time, memory, calls,
429s and how fresh the hourly tier is. It is no part of CI: the figures are the machine's.

usage: tenants.py [--tenants N] [--processes N] [--sample N]      (see support.py for the environment)
"""
import argparse
import collections
import contextlib
import json
import os
import re
import shlex
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

from support import TOKEN, Checks, Sandbox, dripfeed, folder, target_config, target_jsonl

TASKS, EDITED = 500, 40
LATENCY = 150  # milliseconds
CAP, LIMIT = "60/60:bucket:10", {"calls": 60, "per": "PT1M", "kind": "bucket", "burst": 10}
TIERS = {"hourly": {"streams": ["tasks"], "schedule": "H * * * *"}, "daily": {"streams": ["*"], "schedule": "H 2 * * *"}}
TARGET = """
import json, sys
last = None
for line in sys.stdin.buffer:
    if line.startswith(b'{"type":"STATE"'):
        last = line
if last:
    print(json.dumps(json.loads(last)["value"]))
"""


class Memory:
    """Looks at the processes of a round: kilobytes of `dripfeed sync`, all at once and the most of one."""

    def __init__(self):
        self.sum = self.one = self.processes = 0
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.look)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.thread.join()

    def look(self):
        while not self.stopped.wait(0.1):
            parents, sizes = {}, {}
            for path in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError, TypeError):
                    command, name = (path / "cmdline").read_bytes(), (path / "comm").read_text().strip()
                    if b"\0sync\0" in command and name == Path(dripfeed()).name[:15]:
                        pid = int(path.name)
                        parents[pid] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
                        sizes[pid] = int(re.search(r"VmRSS:\s+(\d+)", (path / "status").read_text())[1])
            # One that is about to become a target shares its parent's memory.
            sizes = [size for pid, size in sizes.items() if parents[pid] not in sizes]
            self.sum, self.one = max(self.sum, sum(sizes)), max([self.one, *sizes])
            self.processes = max(self.processes, len(sizes))


class Fleet:
    """All tenants: a folder of configs, as `status --tenants` takes it."""

    def __init__(self, scratch, count, processes):
        self.scratch, self.processes = scratch, processes
        self.configs, self.states = scratch / "tenants", scratch / "states"
        self.configs.mkdir()
        self.names = [f"t{number:03}" for number in range(count)]
        (scratch / "echo.py").write_text(TARGET)
        self.echo = shlex.join([sys.executable, "-I", "-S", str(scratch / "echo.py")])

    def point(self, url):
        """Writes the configs."""
        for name in self.names:
            ours = {"source": "sandbox", "tenant": name, "state_dir": str(self.states), "pace": {"limits": [LIMIT]}, "tiers": TIERS,
                    "deadline": "PT10M"}
            (self.configs / f"{name}.json").write_text(json.dumps(
                {"url": url, "token": f"{TOKEN}-{name}", "start_date": "2025-06-01T00:00:00Z", "dripfeed": ours}))

    def round(self, *jobs, target=None, names=None):
        """Runs of tiers by xargs, spread over the tenants; gives its seconds, memory and exit codes, in order of tenants."""
        codes = self.scratch / "codes"
        codes.unlink(missing_ok=True)
        lines = "".join(f"{name} {tier}\n" for name in names or self.names for tier in jobs)
        tap, into = shlex.quote(dripfeed()), shlex.quote(target or self.echo)
        one = f'{tap} sync -q --config {self.configs}/"$0".json --tier "$1" --target {into}; echo "$0 $1 $?" >> {codes}'
        began = time.monotonic()
        with Memory() as memory:
            subprocess.run(["xargs", "-L1", "-P", str(self.processes), "sh", "-c", one], input=lines, text=True, check=True,
                           env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""})
        ended = [line.split() for line in codes.read_text().splitlines()]
        return time.monotonic() - began, memory, collections.Counter(int(code) for *_, code in ended), len(ended)

    def stands(self):
        """How old the tasks of each tenant are now by `status`, what their hourly runs took, what is wrong with any; in seconds,
        with those that `status` took itself."""
        began = time.monotonic()
        done = subprocess.run([dripfeed(), "status", "--tenants", self.configs, "--format", "json"], check=True,
                              stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE)
        asked = time.monotonic() - began
        tenants = json.loads(done.stdout)["tenants"]
        ages = [stream["age_seconds"] for one in tenants for stream in one["streams"] if stream["stream"] == "tasks"]
        took = [run["seconds"] for one in tenants for run in one["runs"] if run["tier"] == "hourly"]
        return ages, took, [one["tenant"] for one in tenants if one["verdict"] != "ok"], asked


def refused(sandbox):
    """The calls so far, and how many of them were too many."""
    with urllib.request.urlopen(sandbox.url + "/sandbox/log", timeout=60) as answer:
        statuses = [line.split()[2] for line in answer.read().decode().splitlines()]
    return len(statuses), statuses.count("429")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tenants", type=int, default=200)
    parser.add_argument("--processes", type=int, default=24)
    parser.add_argument("--sample", type=int, default=10)
    options = parser.parse_args()
    checks, table = Checks(), []
    switches = ("--tasks", TASKS, "--latency", LATENCY, "--cap", CAP)
    with folder() as scratch:
        fleet = Fleet(scratch, options.tenants, options.processes)
        rounds = (("everything for the first time", 0, ("hourly", "daily")),
                  ("the hourly tier, 40 edits each", EDITED, ("hourly",)),
                  ("both tiers, 40 more edits", 2 * EDITED, ("hourly", "daily")))
        for what, edited, tiers in rounds:
            with Sandbox(*switches, "--edited", edited) as sandbox:
                fleet.point(sandbox.url)
                took, memory, codes, runs = fleet.round(*tiers)
                calls, limited = refused(sandbox)
                ages, times, unwell, asked = fleet.stands()
            checks.ok(f"{what}: all runs end with 0", codes == {0: runs} and runs == len(tiers) * options.tenants, dict(codes))
            checks.ok(f"{what}: no call is refused", limited == 0, f"{limited} of {calls}")
            checks.ok(f"{what}: every tenant is fresh", len(ages) == options.tenants and max(ages) < took + 5,
                      f"{max(ages, default=-1):.0f} s")
            checks.ok(f"{what}: status finds all well", not unwell, f"in {asked:.2f} s" if not unwell else unwell[:5])
            table.append(f"| {what} | {runs} | {took:.0f} s | {calls:,} | {limited} | {statistics.median(times):.1f} s | "
                         f"{max(ages):.0f} s | {memory.one / 1024:.0f} MB | {memory.sum / 1024:.0f} MB ({memory.processes}) |")
        with Sandbox(*switches, "--edited", 3 * EDITED) as sandbox:
            fleet.point(sandbox.url)
            sample = fleet.names[:options.sample]
            config = target_config(scratch / "jsonl.json", scratch / "out")
            (scratch / "out").mkdir()
            took, memory, codes, runs = fleet.round("hourly", target=f"{target_jsonl()} --config {config}", names=sample)
            calls, limited = refused(sandbox)
        rows = sum(1 for _ in (scratch / "out" / "tasks.jsonl").open())
        checks.ok("the sample into target-jsonl: all end with 0, with what was edited",
                  codes == {0: runs} and rows == (EDITED + 1) * len(sample), f"{dict(codes)}, {rows} rows")
        table.append(f"| the hourly tier of {len(sample)} into target-jsonl | {runs} | {took:.0f} s | {calls:,} | {limited} | | | "
                     f"{memory.one / 1024:.0f} MB | {memory.sum / 1024:.0f} MB ({memory.processes}) |")
        checks.fact(f"{options.tenants} tenants of {TASKS} tasks, {LATENCY} ms away, for each a bucket of 10 calls that refills "
                    f"one a second, {options.processes} processes at a time on {os.cpu_count()} cores; load {os.getloadavg()[0]:.1f}")
    print("\n| round | runs | wall time | calls | 429s | an hourly run (median) | oldest data at the end | memory of one "
          "| of all at once |")
    print("|---|---|---|---|---|---|---|---|---|")
    print("\n".join(table) + "\n")
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
