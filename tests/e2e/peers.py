#!/usr/bin/env python3
"""Proves: one read uses nearly all of an account's cap and meets no 429; prints how airbyte-cdk fares with the same manifest.

A sandbox 200 ms away has a bucket of 25 calls that refills 25 a second, and counts. `catalog/sandbox.yaml` cuts 16,000 tasks into
months, so that every reader makes the same calls. Each reads three times. Printed are, of the quickest of them by the wall clock with
the start: seconds, calls, the share of the cap (answered calls against the refill in that time; the bucket's burst may bring it
above 100 %); and the most 429s. By hand only: the figures of docs/src/benchmarks.md.

usage: peers.py [--rounds N]      (see support.py for the environment; AIRBYTE_CDK names source-declarative-manifest of airbyte-cdk
                                  7.39.1, and the Python beside it is to run this, for PyYAML; without it dripfeed alone is measured)
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import time

from support import ROOT, Checks, Sandbox, folder, read_command

TASKS, CALLS = 16_000, 25
LONGEST = 180
LEAST = {"dripfeed, the cap declared as a window": 0.7, "dripfeed, the cap declared as a bucket": 0.85}


def ours(scratch, sandbox, limit):
    """The tap's command."""
    config = sandbox.config(scratch / "ours.json", dripfeed={"pace": {"limits": [limit]}})
    return read_command(config, None, "-q", "--streams", "tasks")


def theirs(scratch, sandbox, command, threads=None, budget=False):
    """The reference's command."""
    manifest = ROOT / "catalog" / "sandbox.yaml"
    if budget:
        import yaml
        about = yaml.safe_load(manifest.read_text())
        about["api_budget"] = {"type": "HTTPAPIBudget", "policies": [
            {"type": "MovingWindowCallRatePolicy", "rates": [{"limit": CALLS, "interval": "PT1S"}], "matchers": []}]}
        manifest = scratch / "budget.yaml"
        manifest.write_text(yaml.safe_dump(about, sort_keys=False))
    config = sandbox.config(scratch / "theirs.json", **({"concurrency": threads} if threads else {}))
    catalog = scratch / "catalog.json"
    catalog.write_text(json.dumps({"streams": [{
        "stream": {"name": "tasks", "json_schema": {}, "supported_sync_modes": ["full_refresh", "incremental"]},
        "sync_mode": "incremental", "destination_sync_mode": "append"}]}))
    return [command, "read", "--config", str(config), "--catalog", str(catalog), "--manifest-path", str(manifest)]


def measured(command, sandbox):
    """One read: exit code, records, seconds, calls, 429s."""
    began = time.monotonic()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=LONGEST)
    took, stats = time.monotonic() - began, sandbox.stats()
    records = sum(b'"RECORD"' in line for line in done.stdout.splitlines())
    return done.returncode, records, took, stats["requests"] - 1, stats["limited"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    checks = Checks()
    cdk = shutil.which(os.environ.get("AIRBYTE_CDK") or "source-declarative-manifest")
    cap = {"calls": CALLS, "per": "PT1S"}
    readers = {
        "dripfeed, the cap declared as a window": lambda scratch, sandbox: ours(scratch, sandbox, cap),
        "dripfeed, the cap declared as a bucket": lambda scratch, sandbox: ours(scratch, sandbox, {**cap, "kind": "bucket", "burst": CALLS}),
    }
    if cdk:
        readers = {
            "airbyte-cdk, four slices at a time": lambda scratch, sandbox: theirs(scratch, sandbox, cdk),
            "airbyte-cdk, ten slices at a time": lambda scratch, sandbox: theirs(scratch, sandbox, cdk, 10),
            "airbyte-cdk, ten and an api_budget": lambda scratch, sandbox: theirs(scratch, sandbox, cdk, 10, budget=True),
            **readers,
        }
    else:
        checks.fact("AIRBYTE_CDK does not name the reference: it is left out")
    with folder() as scratch:
        for name, command in readers.items():
            rounds = []
            for _ in range(options.rounds):
                with Sandbox("--tasks", TASKS, "--latency", 200, "--cap", f"{CALLS}/1:bucket:{CALLS}") as sandbox:
                    rounds.append(measured(command(scratch, sandbox), sandbox))
            codes, records, times, _, refused = zip(*rounds)
            checks.ok(f"{name}: reads the same tasks", set(codes) == {0} and set(records) == {TASKS}, f"{codes}, {records}")
            _, _, took, calls, no = min(rounds, key=lambda one: one[2])
            share = (calls - no) / took / CALLS
            if name in LEAST:
                checks.ok(f"{name}: at least {LEAST[name]:.0%} of the cap and no 429", share >= LEAST[name] and not any(refused), f"{share:.0%}, {refused}")
            checks.fact(f"| {name} | {took:.1f} s (longest {max(times):.1f} s) | {calls} | {share:.0%} | {max(refused)} |")
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
