#!/usr/bin/env python3
"""Proves: a tap that is killed at any moment, in a pipe into a real target, loses nothing.

A sandbox edits tasks while they are read. `dripfeed read | target-jsonl` runs against it and gets SIGKILL at 30 random
moments, 5 in the life of each of six tenants, so that first reads and later ones are both hit: three at a vendor that is
slower than the target (kills leave newer states), three at one that is faster (the pipe is full and kills tear lines). Each run
resumes from the state that the target echoed last. When a tenant's edits are all made and a run has ended by itself, one more
run follows; then the last row of each id in the target's files must be what the API gives.

usage: kill.py [--seed N] [--kills N]      (needs target-jsonl; see support.py for the environment)
"""
import argparse
import random
import subprocess
import sys
import time

from support import (STREAMS, TOKEN, Checks, Sandbox, differences, folder, last_state, read_command, rows, start_tap, target_config,
                     target_jsonl)

EDITS = 400
TENANTS = tuple(f"{TOKEN}-{name}" for name in "abc")
LATENCIES = (250, 40)  # milliseconds
SWITCHES = ("--tasks", 3000, "--edits", 3, "--edits-total", EDITS)
LONGEST = 120


class Pipe:
    """The pipe as documented for cron: tap | target-jsonl > state.new, kept only when it is not empty."""

    def __init__(self, scratch, sandbox, token):
        scratch = scratch / f"{len(list(scratch.iterdir()))}-{token}"
        scratch.mkdir()
        self.out, self.state = scratch / "out", scratch / "state.json"
        self.config = sandbox.config(scratch / "config.json", token)
        self.target_config = target_config(scratch / "target.json", self.out)

    def run(self, kill_after=None):
        """One run. Gives the tap's and the target's exit codes, whether a state was echoed, and the tap's seconds."""
        began = time.monotonic()
        tap = start_tap(read_command(self.config, self.state if self.state.exists() else None))
        target = subprocess.Popen([target_jsonl(), "--config", str(self.target_config)],
                                  stdin=tap.stdout, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        tap.stdout.close()
        try:
            # The moment counts from the start of the pipe.
            tap.wait(timeout=LONGEST if kill_after is None else max(0, began + kill_after - time.monotonic()))
        except subprocess.TimeoutExpired:
            tap.kill()
            tap.wait()
        took = time.monotonic() - began
        echoed = last_state(target.communicate(timeout=LONGEST)[0])
        if echoed:
            self.state.write_text(echoed)
        return tap.returncode, target.returncode, bool(echoed), took

    def run_whole(self, checks, name):
        """A run that nobody kills must end with 0 and a state."""
        tap, target, echoed, _ = self.run()
        return checks.ok(f"{name} ends well, with a state", (tap, target, echoed) == (0, 0, True), f"exit codes {tap} and {target}")


def kill(checks, pipe, kills, moments, first, later):
    """Kills that many runs, at moments spread over what a run takes."""
    expected, plan = first, []
    hit = missed = torn = kept = 0
    while hit < kills and missed < kills:
        moment = moments.uniform(0, expected)
        tap, target, echoed, took = pipe.run(moment)
        if tap == -9:
            plan.append(f"{moment:.2f}")
            hit += 1
            torn += target != 0
            kept += echoed
        else:
            missed += 1
            expected = max(took, later)  # less was left to read: the next moments follow
            checks.ok("a run that ended before its kill ended well", (tap, target, echoed) == (0, 0, True), f"exit codes {tap} and {target}")
    checks.fact(f"killed after {' '.join(plan)} s; {missed} more came too late")
    checks.fact(f"{hit} hits: {torn} tore a line, {kept} left a newer state")
    return hit, kept


def finish(checks, pipe, sandbox, token, edits):
    """Runs until all edits are made, once more, and compares."""
    for run in range(1, 61):
        if not pipe.run_whole(checks, f"run {run} after the kills") or sandbox.stats()["edits"] == edits:
            break
    before = {stream: len(rows(pipe.out, stream)) for stream in STREAMS}
    pipe.run_whole(checks, "one more run")
    written = {stream: rows(pipe.out, stream) for stream in STREAMS}
    truth = {stream: sandbox.all(stream, token) for stream in STREAMS}
    checks.ok("all edits were made, none while the API was read to compare", sandbox.stats()["edits"] == edits, sandbox.stats())
    wrong = differences(truth, {stream: {row["id"]: row for row in written[stream]} for stream in STREAMS})
    checks.ok("nothing is lost: the last row of each id is what the API gives", not wrong, wrong)
    for stream in STREAMS:
        versions = {(row["id"], row.get("version")) for row in written[stream]}
        checks.fact(f"{stream}: {len(truth[stream])} records, {len(written[stream])} rows, "
                    f"{len(written[stream]) - len(versions)} of them duplicates, {len(written[stream]) - before[stream]} by the last run")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=30)
    options = parser.parse_args()
    checks, moments = Checks(), random.Random(options.seed)
    rounds = [(latency, token) for latency in LATENCIES for token in TENANTS]
    hits = news = 0
    with folder() as scratch:
        for latency in LATENCIES:
            switches = (*SWITCHES, "--latency", latency)
            with Sandbox(*switches) as twin:
                # The better of two: the target's first start is slow.
                runs = [(pipe.run()[3], pipe.run()[3]) for pipe in (Pipe(scratch, twin, token) for token in TENANTS[:2])]
                first, later = map(min, zip(*runs))
            checks.fact(f"seed {options.seed}, answers after {latency} ms: a first run takes {first:.2f} s, a later one {later:.2f} s")
            with Sandbox(*switches) as sandbox:
                for number, token in enumerate(TENANTS):
                    checks.fact(f"tenant {token}")
                    pipe = Pipe(scratch, sandbox, token)
                    share = len(range(rounds.index((latency, token)), options.kills, len(rounds)))
                    hit, kept = kill(checks, pipe, share, moments, first, later)
                    hits, news = hits + hit, news + kept
                    checks.fact(f"{sandbox.stats()['edits'] - number * EDITS} of {EDITS} edits were made by then")
                    finish(checks, pipe, sandbox, token, (number + 1) * EDITS)
    checks.ok("kills hit a running tap", hits >= options.kills * 5 / 6, f"{hits} of {options.kills}")
    checks.ok("some of them left a newer state to resume from", news >= options.kills / 6, f"{news} of {options.kills}")
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
