#!/usr/bin/env python3
"""Proves: runs of one account share its cap, over processes; who goes first is quick whatever else runs; nobody else notices.

A sandbox with a cap, 200 ms away, counts as vendors do (a bucket, any window) and logs every call. A backfill, a daily and an
hourly run of one tenant share its ledger, and a run of another tenant goes beside them. What is judged is the sandbox's log:
the share of the cap that was used, refused calls, and what each run took beside the others and alone. Then runs are killed, a
lock is held by one who dies and by one who is stopped, the ledger is damaged.

usage: pace.py      (see support.py for the environment)
"""
import json
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.request

from support import Checks, Sandbox, folder, read_command, start_tap

LATENCY = 200
TASKS = 40_000
# The cap as the sandbox takes it, as the config says it, calls a second, and the least share of it that must be used.
CAPS = {
    "bucket": ("100/10:bucket:10", {"calls": 100, "per": "PT10S", "kind": "bucket", "burst": 10}, 10, 0.97, 0),
    "window": ("100/10:window", {"calls": 100, "per": "PT10S", "kind": "window"}, 10, 0.90, 0.005),
}
# Where each run begins to read: what is left of two years decides how many calls it makes.
FROM = {"backfill": "2024-01-01T00:00:00Z", "daily": "2025-03-01T00:00:00Z", "hourly": "2025-08-01T00:00:00Z"}


# How much longer a run may take beside others than alone.
MOST = {"daily": 1.2, "hourly": 1.3, "other tenant's": 1.1}


class Run:
    """A run of one tenant, under way."""

    def __init__(self, sandbox, scratch, limit, kind, tenant="sandbox-token", number="", **ours):
        pace = {"limits": [limit]}
        config = sandbox.config(scratch / f"{tenant}-{kind}{number}.json", tenant, start_date=FROM[kind],
                                # Tenants of one account: a stream of one tenant is read by one run at a time.
                                dripfeed={"pace": pace, "state_dir": str(scratch / "state"), "tenant": f"{tenant}-{kind}{number}", **ours})
        self.events = scratch / f"{tenant}-{kind}{number}.events"
        self.events.unlink(missing_ok=True)
        command = read_command(config, None, "-q", "--streams", "tasks", "--priority", kind, "--events", self.events)
        self.began = time.monotonic()
        self.tap = start_tap(command, stdout=subprocess.DEVNULL)
        # It is timed by who waits for it alone: others may be waited for first.
        self.watch = threading.Thread(target=self.wait)
        self.watch.start()

    def wait(self):
        self.code = self.tap.wait()
        self.took = time.monotonic() - self.began

    def ends(self, seconds=300):
        """Its exit code, once it has ended."""
        self.watch.join(seconds)
        if self.watch.is_alive():
            self.tap.kill()
            raise TimeoutError(f"a run does not end within {seconds} s")
        return self.code

    def event(self, name):
        """The events of a name so far."""
        lines = self.events.read_text().splitlines() if self.events.exists() else []
        return [event for event in map(json.loads, lines) if event["event"] == name]


def log(sandbox, tenant="sandbox-token"):
    """The calls of a tenant: milliseconds and status."""
    with urllib.request.urlopen(sandbox.url + "/sandbox/log", timeout=60) as answer:
        lines = [line.split() for line in answer.read().decode().splitlines()]
    return [(int(ms), int(status)) for ms, name, status, _ in lines if name == tenant]


def used(calls, cap, rate, kind):
    """The share of the cap that was used between the first and the last call."""
    seconds = (calls[-1][0] - calls[0][0]) / 1000
    served = sum(status == 200 for _, status in calls)
    return served / (rate * seconds + (10 if kind == "bucket" else 0))


def alone(scratch, kind, limit, cap, run):
    """What a run takes with the account for itself, and its calls."""
    with Sandbox("--tasks", TASKS, "--latency", LATENCY, "--cap", cap) as sandbox, folder() as state:
        it = Run(sandbox, state, limit, run)
        assert it.ends() == 0
        return it.took, len(log(sandbox))


def beside(scratch, kind, lonely):
    """Runs of one account beside each other: their exit codes, the calls of the two tenants, and how much longer runs took."""
    cap, limit, _, _, _ = CAPS[kind]
    with Sandbox("--tasks", TASKS, "--latency", LATENCY, "--cap", cap) as sandbox:
        other = Run(sandbox, scratch, limit, "daily", "sandbox-token-other")
        backfill = Run(sandbox, scratch, limit, "backfill")
        time.sleep(2)
        daily = Run(sandbox, scratch, limit, "daily")
        codes = [daily.ends(), other.ends()]
        hourly = Run(sandbox, scratch, limit, "hourly")
        codes += [hourly.ends(), backfill.ends()]
        ratios = {"daily": daily.took / lonely["daily"][0], "hourly": hourly.took / lonely["hourly"][0],
                  "other tenant's": other.took / lonely["daily"][0]}
        return codes, log(sandbox), log(sandbox, "sandbox-token-other"), ratios


def shared(checks, scratch, kind):
    """What the runs of one account get beside each other."""
    cap, limit, rate, least, refusals = CAPS[kind]
    lonely = {run: alone(scratch, kind, limit, cap, run) for run in ("daily", "hourly")}
    codes, calls, others, ratios = beside(scratch, kind, lonely)
    if any(ratios[run] > most for run, most in MOST.items()):
        # A machine that was busy with something else makes runs slow too: once more.
        checks.fact(f"{kind}: {ratios}, again")
        codes, calls, others, ratios = beside(scratch, kind, lonely)
    checks.ok(f"{kind}: every run is whole", codes == [0] * 4, codes)
    refused = sum(status == 429 for _, status in calls)
    checks.ok(f"{kind}: at most {refusals:.1%} of calls refused", refused <= refusals * len(calls), f"{refused} of {len(calls)}")
    share = used(calls, cap, rate, kind)
    checks.ok(f"{kind}: at least {least:.0%} of the cap used", share >= least, f"{share:.1%}")
    for run, most in MOST.items():
        checks.ok(f"{kind}: the {run} run takes at most {most} times what it takes alone", ratios[run] <= most, f"{ratios[run]:.2f}")
    checks.ok(f"{kind}: no call of the other tenant is refused", all(status == 200 for _, status in others), f"{len(others)} calls")
    checks.ok(f"{kind}: no call is wasted", len(others) <= 1.02 * lonely["daily"][1],
              f"{len(others)} calls, alone {lonely['daily'][1]}")


def jittered(checks, scratch):
    """Four runs of one account, and a network that shifts calls by up to 50 ms against a window of one second."""
    limit = {"calls": 25, "per": "PT1S", "kind": "window"}
    with Sandbox("--tasks", TASKS, "--latency", 150, "--jitter", 50, "--cap", "25/1:window") as sandbox:
        runs = [Run(sandbox, scratch, limit, "daily", number=f"-{number}") for number in range(4)]
        codes = [run.ends() for run in runs]
        calls = log(sandbox)
    refused = sum(status == 429 for _, status in calls)
    # Only the time in which all of them run counts.
    busy = calls[: len(calls) * 9 // 10]
    share = used(busy, "25/1:window", 25, "window")
    checks.ok("jitter: every run is whole", codes == [0] * 4, codes)
    checks.ok("jitter: at most 1.0% of calls refused", refused <= 0.01 * len(calls), f"{refused} of {len(calls)}")
    checks.ok("jitter: at least 90% of the cap used", share >= 0.90, f"{share:.1%}")


def killed(checks, scratch):
    """Runs that die at any moment: the cap holds, and those who live go on."""
    cap, limit, _, _, _ = CAPS["bucket"]
    dice = random.Random(7)
    with Sandbox("--tasks", TASKS, "--latency", 20, "--cap", cap) as sandbox:
        living = Run(sandbox, scratch, limit, "hourly")
        deaths = 0
        while living.watch.is_alive():
            doomed = Run(sandbox, scratch, limit, "daily")
            time.sleep(dice.uniform(0.02, 0.9))
            doomed.tap.kill()
            doomed.ends()
            deaths += 1
        living.ends()
        calls = log(sandbox)
        refused = sum(status == 429 for _, status in calls)
        checks.ok("kill -9, again and again, beside a run: no cap crossed, no deadlock", living.code == 0 and refused == 0,
                  f"{deaths} killed, {refused} of {len(calls)} calls refused, {living.took:.0f} s")
        checks.ok("the ledger was whole all the time", not living.event("ledger_trouble"), living.event("ledger_trouble"))


def holder(path):
    """A process that holds the ledger's lock until it dies."""
    code = f"import fcntl, time; f = open({str(path)!r}, 'r+b'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); time.sleep(600)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    return process


def locks(checks, scratch):
    """Whoever holds the lock and dies, or stops, stops nobody."""
    cap, limit, _, _, _ = CAPS["bucket"]
    with Sandbox("--tasks", 3000, "--latency", 20, "--cap", cap) as sandbox:
        Run(sandbox, scratch, limit, "hourly").ends()
        ledger = next((scratch / "state" / "pace").glob("*.ledger"))
        held = holder(ledger)
        run = Run(sandbox, scratch, limit, "hourly")
        time.sleep(0.7)
        held.kill()
        held.wait()
        checks.ok("a holder of the lock that dies is not waited for", run.ends(60) == 0 and not run.event("ledger_trouble"),
                  f"{run.took:.1f} s")
        held = holder(ledger)
        held.send_signal(signal.SIGSTOP)
        run = Run(sandbox, scratch, limit, "hourly")
        run.ends(120)
        refused = sum(status == 429 for _, status in log(sandbox))
        checks.ok("one that is stopped slows a run and is told of, and no cap is crossed",
                  run.code == 0 and len(run.event("ledger_trouble")) == 1 and refused == 0, f"{run.took:.1f} s, {refused} refused")
        held.kill()
        held.wait()
        ledger.write_bytes(ledger.read_bytes()[:70])
        run = Run(sandbox, scratch, limit, "hourly")
        run.ends(60)
        refused = sum(status == 429 for _, status in log(sandbox))
        checks.ok("a torn ledger is told of, and no cap is crossed",
                  run.code == 0 and len(run.event("ledger_trouble")) == 1 and refused == 0, run.event("ledger_trouble"))
        mode = ledger.stat().st_mode & 0o777
        checks.ok("it is its owner's alone", mode == 0o600, oct(mode))


def main():
    checks = Checks()
    for kind in CAPS:
        with folder() as scratch:
            shared(checks, scratch, kind)
    with folder() as scratch:
        jittered(checks, scratch)
    with folder() as scratch:
        killed(checks, scratch)
    with folder() as scratch:
        locks(checks, scratch)
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
