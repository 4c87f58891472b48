#!/usr/bin/env python3
"""Proves: a backfill beside live runs, both killed at any moment, ends with every record in its newest version.

A sandbox edits tasks while they are read. Live runs read what is new, one after the other; beside them a backfill reads the
past and gets SIGKILL at random moments, and so do some of the live runs. Both load into one warehouse (a table in this process:
what is loaded last counts), the backfill by a slow target that loads in batches, echoes states only then, and sometimes loses
what it has not loaded yet: so old versions of edited tasks are loaded after the new ones of the live runs. When all edits are made, the backfill is run to its
end. Then the table must be what the API gives, and no bookmark of a live run was in a state of the backfill.

usage: backfill.py [--seed N] [--kills N]      (needs only the binary; see support.py)
"""
import argparse
import json
import os
import random
import sys
import threading
import time

from support import Checks, Sandbox, differences, folder, read_command, start_tap

EDITS = 600
SWITCHES = ("--tasks", 4000, "--edits", 2, "--edits-total", EDITS, "--latency", 25)
# The sandbox's edits are made in the first minutes of 2026.
NOW = {"DRIPFEED_NOW": "2026-01-01T02:00:00Z"}
SPLIT = "2025-07-01T00:00:00Z"


class Pipe:
    """A tap and a target that loads into the table."""

    def __init__(self, name, table, config, state, batch, pause, *more):
        self.name, self.table, self.config, self.state, self.more = name, table, config, state, more
        self.batch, self.pause = batch, pause
        self.states = []

    def run(self, kill_after=None, lose=False):
        """One run. Gives the tap's exit code."""
        tap = start_tap(read_command(self.config, self.state if self.state.exists() else None, "--streams", "tasks", *self.more),
                        env=os.environ | NOW)
        timer = threading.Timer(3600 if kill_after is None else kill_after, tap.kill)
        timer.start()
        waiting, echo = [], None
        for line in tap.stdout:
            if not line.endswith(b"\n"):
                break
            message = json.loads(line)
            if message["type"] == "RECORD":
                waiting.append(message["record"])
            elif message["type"] == "STATE":
                echo = message["value"]
                self.states.append(echo)
            if len(waiting) >= self.batch:
                self.load(waiting, echo)
                waiting, echo = [], None
        timer.cancel()
        tap.stdout.close()
        code = tap.wait()
        if not lose:
            self.load(waiting, echo)
        return code

    def is_closed(self):
        """Does the state that is kept say that all of the past was read?"""
        return self.state.exists() and "open" not in json.loads(self.state.read_text())["bookmarks"]["tasks"]

    def load(self, waiting, echo):
        """Loads a batch; only then is the state kept that came before its end."""
        time.sleep(self.pause)
        for record in waiting:
            self.table[record["id"]] = record
        if echo:
            new = self.state.with_suffix(".new")
            new.write_text(json.dumps(echo))
            new.rename(self.state)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=30)
    options = parser.parse_args()
    checks, dice = Checks(), random.Random(options.seed)
    table, stop, codes = {}, threading.Event(), []
    with folder() as scratch, Sandbox(*SWITCHES) as sandbox:
        live = Pipe("live", table, sandbox.config(scratch / "live.json", start_date=SPLIT), scratch / "live-state.json", 50, 0)
        past = Pipe("backfill", table,
                    sandbox.config(scratch / "past.json", dripfeed={"safety": {"settle": "PT3H"}}, concurrency=1),
                    scratch / "past-state.json", 300, 0.3, "--backfill", f"2024-01-01..{SPLIT}")

        def live_runs():
            chance = random.Random(options.seed + 1)
            while not stop.is_set():
                codes.append(live.run(chance.uniform(0, 1) if chance.random() < 0.3 else None))

        beside = threading.Thread(target=live_runs)
        beside.start()
        killed = ended = 0
        while killed < options.kills and ended < options.kills:
            code = past.run(dice.uniform(0.05, 1.5), lose=dice.random() < 0.5)
            killed += code == -9
            ended += code == 0
            if past.is_closed():
                # It is read anew, as the next tenant's.
                past.state.unlink()
        deadline = time.monotonic() + 120
        while sandbox.stats()["edits"] < EDITS and time.monotonic() < deadline:
            time.sleep(0.05)
        early = {record["id"] for record in table.values() if record["modified_at"] < SPLIT}
        code = past.run()
        stop.set()
        beside.join()
        last = live.run()
        checks.fact(f"seed {options.seed}: the backfill was killed {killed} times and ended {ended} times, live runs: "
                    f"{codes.count(-9)} killed, {codes.count(0)} ended; {len(early)} tasks of the past were loaded before the last run")
        checks.ok("kills hit a running backfill", killed >= options.kills / 2, killed)
        checks.ok("the last runs end well", (code, last) == (0, 0), (code, last))
        checks.ok("live runs end well or are killed", set(codes) <= {0, -9}, set(codes))
        checks.ok("all edits were made", sandbox.stats()["edits"] == EDITS, sandbox.stats()["edits"])
        wrong = differences({"tasks": sandbox.all("tasks")}, {"tasks": table})
        checks.ok("nothing is lost, nothing stays old", not wrong, wrong)
        marks = past.states[-1]["bookmarks"]["tasks"]
        checks.ok("the past is closed", "open" not in marks and len(marks["backfilled"]) == 1, marks)
        checks.ok("no state of the backfill has a live bookmark", all(
            set(state["bookmarks"].get("tasks", {})) <= {"backfilled", "open"} and state["dripfeed"]["backfill"] for state in past.states))
        checks.ok("no state of a live run has the past", not any("backfilled" in state["bookmarks"].get("tasks", {}) for state in live.states))
        times = [state["bookmarks"]["tasks"]["modified_at"] for state in live.states if "modified_at" in state["bookmarks"].get("tasks", {})]
        checks.fact(f"live bookmarks: {len(times)}, from {min(times)} to {max(times)}")
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
