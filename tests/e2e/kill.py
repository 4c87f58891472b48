#!/usr/bin/env python3
"""Proves: a tap that is killed at any moment, in a pipe into a real target, loses nothing.

A sandbox edits tasks while they are read. `dripfeed read | target-jsonl` runs against it and gets SIGKILL at 30 random
moments; each run resumes from the state that the target echoed last. When all edits are made and a run has ended by itself,
one more run follows; then the last row of each id in the target's files must be what the API gives.

usage: kill.py [--seed N] [--kills N]      (needs target-jsonl; see support.py for the environment)
"""
import argparse
import random
import subprocess
import sys
import time

from support import STREAMS, Checks, Sandbox, differences, folder, last_state, read_command, rows, start_tap, target_config, target_jsonl

EDITS = 400
SWITCHES = ("--tasks", 3000, "--edits", 3, "--edits-total", EDITS, "--latency", 40)
LONGEST = 120


class Pipe:
    """The pipe as documented for cron: tap | target-jsonl > state.new, kept only when it is not empty."""

    def __init__(self, scratch, sandbox, name):
        self.out, self.state = scratch / f"{name}-out", scratch / f"{name}-state.json"
        self.config = sandbox.config(scratch / f"{name}.json")
        self.target_config = target_config(scratch / f"{name}-target.json", self.out)

    def run(self, kill_after=None):
        """One run. Gives the tap's and the target's exit codes, whether a state was echoed, and the tap's seconds."""
        state = self.state if self.state.exists() else None
        began = time.monotonic()
        tap = start_tap(read_command(self.config, state))
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


def measure(scratch):
    """Seconds of a run from nothing, and of one that resumes at the end of another, on a sandbox like the real one."""
    with Sandbox(*SWITCHES) as sandbox:
        pipe = Pipe(scratch, sandbox, "measure")
        return pipe.run()[3], pipe.run()[3]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=30)
    options = parser.parse_args()
    checks, moments = Checks(), random.Random(options.seed)
    with folder() as scratch, Sandbox(*SWITCHES) as sandbox:
        first, later = measure(scratch)
        checks.fact(f"seed {options.seed}; a first run takes {first:.2f} s, a later one {later:.2f} s")
        pipe = Pipe(scratch, sandbox, "kill")
        hit = torn = kept = 0
        expected, plan = first, []
        for _ in range(options.kills):
            moment = moments.uniform(0, expected)
            tap, target, echoed, took = pipe.run(moment)
            plan.append(f"{moment:.2f}{'' if tap == -9 else ' (missed)'}")
            hit += tap == -9
            torn += target != 0
            kept += tap == -9 and echoed
            if tap != -9:
                expected = took  # what is left to read got less: the next moments follow
                checks.ok("a run that was not hit ends well", (tap, target) == (0, 0), f"exit codes {tap} and {target}")
            expected = max(expected, later)
        checks.fact("killed at " + ", ".join(plan) + " s")
        edits = sandbox.stats()["edits"]
        checks.fact(f"{hit} of {options.kills} kills hit a running tap; {torn} tore a line, {kept} left a newer state; {edits} edits so far")
        checks.ok("kills hit a running tap", hit >= options.kills * 5 // 6, f"{hit} of {options.kills}")

        runs = 0
        while True:
            tap, target, echoed, _ = pipe.run()
            runs += 1
            if not checks.ok(f"run {runs} after the kills ends with a state", (tap, target, echoed) == (0, 0, True), f"exit codes {tap} and {target}"):
                break
            if sandbox.stats()["edits"] == EDITS:
                break
            if runs == 60:
                checks.ok("the edits come to an end", False, sandbox.stats())
                break
        before = {stream: len(rows(pipe.out, stream)) for stream in STREAMS}
        tap, target, echoed, _ = pipe.run()
        checks.ok("one more run ends with a state", (tap, target, echoed) == (0, 0, True), f"exit codes {tap} and {target}")

        written = {stream: rows(pipe.out, stream) for stream in STREAMS}
        found = {stream: {row["id"]: row for row in written[stream]} for stream in STREAMS}
        truth = {stream: sandbox.all(stream) for stream in STREAMS}
        checks.ok("all edits were made", sandbox.stats()["edits"] == EDITS, sandbox.stats())
        lost = differences(truth, found)
        checks.ok("nothing is lost: the last row of each id is what the API gives", not lost, lost)
        for stream in STREAMS:
            versions = {(row["id"], row.get("version")) for row in written[stream]}
            checks.fact(f"{stream}: {len(truth[stream])} records, {len(written[stream])} rows, {len(written[stream]) - len(versions)} duplicates, {len(written[stream]) - before[stream]} by the last run")
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
