#!/usr/bin/env python3
"""Proves: memory does not grow with what is read.

`dripfeed read` of a sandbox with 10 thousand tasks and of one with a million, stdout to nowhere: the peak resident memory of
the two (ru_maxrss of wait4) must be within 5 MB of each other and under 34 MB (the build of the tests; the release build takes 7 MB less).

usage: memory.py [--tasks SMALL LARGE]      (needs the release binary; see support.py for the environment)
"""
import argparse
import shutil
import subprocess
import sys
import time

from support import Checks, Sandbox, folder, read_command

MB = 1 << 20
APART, MOST = 5 * MB, 34 * MB


# A new process counts the memory of the one that started it, until exec; so a bare interpreter of a few MB starts the tap.
LAUNCH = """
import posix, sys
child = posix.posix_spawn(sys.argv[1], sys.argv[1:], posix.environ, file_actions=[(posix.POSIX_SPAWN_OPEN, 1, "/dev/null", 1, 0)])
_, status, usage = posix.wait4(child, 0)
print(posix.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024)
"""


def peak(command, log):
    """Runs a command; gives its exit code, its peak resident bytes and its seconds."""
    began = time.monotonic()
    run = subprocess.run([sys.executable, "-I", "-S", "-c", LAUNCH, *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=log, text=True, check=True)
    code, most = map(int, run.stdout.split())
    return code, most, time.monotonic() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, nargs=2, default=(10_000, 1_000_000))
    options = parser.parse_args()
    checks, peaks = Checks(), []
    with folder() as scratch, open(scratch / "log", "w+") as log:
        floor = peak([shutil.which("true")], log)[1]
        for tasks in options.tasks:
            with Sandbox("--tasks", tasks, "--no-gzip") as sandbox:
                code, most, took = peak(read_command(sandbox.config(scratch / "config.json")), log)
            peaks.append(most)
            log.seek(0)
            said = [line.strip() for line in log if " streams complete" in line][-1:]
            checks.fact(f"{tasks} tasks: peak {most / MB:.1f} MB, {took:.1f} s; the tap says: {' '.join(said)}")
            checks.ok(f"{tasks} tasks are all read", code == 0 and said and f"{tasks + 70:,} records, 3 of 3 streams complete" in said[0], f"exit code {code}")
            checks.ok(f"{tasks} tasks take under {MOST / MB:.0f} MB", most < MOST, f"{most / MB:.1f} MB")
    checks.fact(f"an empty process counts {floor / MB:.1f} MB")
    checks.ok("the measure is the tap's own", min(peaks) > floor, f"{min(peaks) / MB:.1f} MB over {floor / MB:.1f} MB")
    checks.ok(f"the peaks are within {APART / MB:.0f} MB", abs(peaks[0] - peaks[1]) <= APART, f"{abs(peaks[0] - peaks[1]) / MB:.1f} MB apart")
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
