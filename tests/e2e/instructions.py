#!/usr/bin/env python3
"""Holds: what a record and a start cost does not grow unseen.

Counts instructions with callgrind, which other processes of the machine do not change, and compares them with
`benches/instructions.json`: each may differ by 3 percent. A record's cost is that of 8,000 more in a read of the sandbox's
tasks. The counts are those of one build, the tests', and one compiler: with another they are recorded anew, by --record.

usage: instructions.py [--record]      (needs valgrind; see support.py for the environment)
"""
import argparse
import json
import os
import re
import subprocess
import sys

from support import ROOT, Checks, Sandbox, dripfeed, folder

RECORDED = ROOT / "benches" / "instructions.json"
MOST = 0.03
FEW, MANY = 2_000, 10_000

# What is read: its name, and what differs from a read by a Singer tap with the drift watch on.
READS = {
    "a record, Singer": ({}, [], {}),
    "a record, Airbyte": ({}, ["--protocol", "airbyte"], {}),
    "a record, no drift watch": ({"drift": {"off": True}}, [], {}),
    "a record, general walk": ({}, [], {"DRIPFEED_TRACK": "off"}),
}


def count(scratch, arguments, **variables):
    """The instructions of one run of the tap."""
    out = scratch / "callgrind"
    run = subprocess.run(
        ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", dripfeed(), *map(str, arguments)],
        env={**os.environ, **variables}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    found = re.search(r"Collected : (\d+)", run.stderr)
    if run.returncode or not found:
        raise RuntimeError(f"exit code {run.returncode}: {run.stderr[-2000:]}")
    return int(found[1])


def measure(scratch):
    """All counts, by name."""
    counts, config = {}, scratch / "config.json"
    config.write_text("{}")
    for verb in ("spec", "discover"):
        counts[verb] = count(scratch, [verb, "--source", "sandbox", *(["--config", config] if verb == "discover" else [])])
    # Most configs have settings of dripfeed's own.
    config.write_text(json.dumps({"dripfeed": {"tenant": "acme"}}))
    counts["discover, a config with settings"] = count(scratch, ["discover", "--source", "sandbox", "--config", config])
    with Sandbox("--tasks", FEW, "--no-gzip") as few, Sandbox("--tasks", MANY, "--no-gzip") as many:
        for name, (ours, switches, variables) in READS.items():
            costs = []
            for vendor in (few, many):
                config.write_text(json.dumps({"url": vendor.url, "token": "sandbox-token", "dripfeed": ours}))
                arguments = ["read", "-q", "--source", "sandbox", "--streams", "tasks", "--config", config, *switches]
                costs.append(count(scratch, arguments, **variables))
            counts[name] = (costs[1] - costs[0]) // (MANY - FEW)
    return counts


def compiler():
    """The compiler's version and the machine's kind, as the counts depend on both."""
    said = subprocess.run(["rustc", "-vV"], capture_output=True, text=True, check=True).stdout
    return ", ".join(re.findall(r"^(?:host|release): (.*)$", said, re.M))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help="write the counts instead of comparing them")
    options = parser.parse_args()
    checks = Checks()
    with folder() as scratch:
        counts = measure(scratch)
    if options.record:
        RECORDED.write_text(json.dumps({"compiler": compiler(), "instructions": counts}, indent=2) + "\n")
    recorded = json.loads(RECORDED.read_text())
    if recorded["compiler"] != compiler():
        print(f"recorded with {recorded['compiler']}, this is {compiler()}: only what no compiler explains is a failure, 30 percent")
    most = MOST if recorded["compiler"] == compiler() else 10 * MOST
    checks.ok("each count has its record", counts.keys() == recorded["instructions"].keys())
    for name, instructions in counts.items():
        before = recorded["instructions"].get(name, 0)
        change = instructions / before - 1 if before else 1
        checks.ok(f"{name}: within {most:.0%} of what is recorded", abs(change) <= most, f"{instructions:,}, {change:+.1%}")
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
