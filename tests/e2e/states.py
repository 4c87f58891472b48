#!/usr/bin/env python3
"""Proves: every STATE of a run is a valid place to resume, wherever the run is cut off.

One run reads a sandbox in which tasks are edited meanwhile. For each STATE that it printed, the run is taken to have died right
after that line: what came up to it, and what a run that resumes from it brings, must together be what the API gives. (A target
such as target-jsonl echoes few of them, so that kill.py alone would forgive a STATE written before its records.)

usage: states.py      (see support.py for the environment)
"""
import json
import subprocess
import sys

from support import STREAMS, Checks, Sandbox, differences, folder, messages, read_command, records_of

EDITS = 60
RUNS = (("--latency", 0), ("--latency", 20), ("--latency", 5, "--fault", "slow:9"))


def main():
    checks = Checks()
    with folder() as scratch:
        for switches in RUNS:
            name, state = " ".join(map(str, switches)), scratch / "state.json"
            with Sandbox("--tasks", 3000, "--edits", 3, "--edits-total", EDITS, *switches) as sandbox:
                config = sandbox.config(scratch / "config.json")

                def run(*given):
                    done = subprocess.run(read_command(config, *given), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                          stderr=subprocess.DEVNULL, timeout=120)
                    return done.returncode, messages(done.stdout.splitlines(keepends=True))

                code, said = run()
                places = [n for n, message in enumerate(said) if message["type"] == "STATE"]
                different = {json.dumps(said[n]["value"], sort_keys=True) for n in places}
                checks.ok(f"{name}: the run ends with 0 and made all edits", code == 0 and sandbox.stats()["edits"] == EDITS, f"exit code {code}")
                truth = {stream: sandbox.all(stream) for stream in STREAMS}
                checks.ok(f"{name}: it says often where it is", len(different) >= 5, f"{len(places)} STATEs, {len(different)} of them different")
                bad, most = [], 0
                for n in places:
                    state.write_text(json.dumps(said[n]["value"]))
                    code, rest = run(state)
                    found = records_of(rest, records_of(said[:n]))
                    wrong = differences(truth, found)
                    most = max(most, len(records_of(rest)["tasks"]))
                    if code or wrong:
                        bad.append(f"the STATE in line {n + 1} (exit code {code}): {wrong}")
                checks.ok(f"{name}: nothing is lost after any of them", not bad, bad[0] if bad else f"the longest rest is {most} of {len(truth['tasks'])} tasks")
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
