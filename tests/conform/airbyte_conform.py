#!/usr/bin/env python3
"""Checks any Airbyte source executable: the standard source tests of airbyte-cdk, re-stated for a program that is not Python.

The last line is `N passed, N failed`.

usage: airbyte_conform.py SOURCE GOOD.json BAD.json      (a Python that has airbyte-cdk)
"""
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from airbyte_cdk.test.entrypoint_wrapper import EntrypointOutput

UNKNOWN = {"streams": [{
    "stream": {"name": "__AIRBYTE__stream_that_does_not_exist", "supported_sync_modes": ["full_refresh"],
               "json_schema": {"type": "object", "properties": {"f1": {"type": "string"}}}},
    "sync_mode": "INVALID", "destination_sync_mode": "INVALID"}]}


class Source:
    """The source, called as Airbyte does."""

    def __init__(self, program):
        self.program, self.passed, self.failed = program, 0, 0

    def run(self, *arguments):
        """Exit code and messages."""
        done = subprocess.run([self.program, *arguments], capture_output=True, text=True, timeout=300)
        return done.returncode, EntrypointOutput(messages=done.stdout.splitlines())

    def ok(self, name, holds, detail=""):
        """Notes one check."""
        self.passed += bool(holds)
        self.failed += not holds
        print(f"{'PASS' if holds else 'FAIL'} {name}" + (f": {detail}" if detail and not holds else ""), flush=True)

    def check(self, config):
        """Exit code of `check` and the statuses that it says."""
        code, output = self.run("check", "--config", config)
        return code, [message.connectionStatus.status.value for message in output.connection_status_messages]

    def streams(self, config):
        """The streams of the catalog as JSON has them."""
        done = subprocess.run([self.program, "discover", "--config", config], capture_output=True, text=True, timeout=300)
        lines = map(json.loads, done.stdout.splitlines())
        return next(line for line in lines if line["type"] == "CATALOG")["catalog"]["streams"]


def configured(stream):
    """A stream as a configured catalog has it."""
    incremental = "incremental" in stream["supported_sync_modes"]
    return {"stream": stream, "sync_mode": "incremental" if incremental else "full_refresh", "destination_sync_mode": "append"}


def reads(source, config, catalog):
    """A whole read, and one of a catalog that is wrong."""
    streams = source.streams(config)
    catalog.write_text(json.dumps({"streams": [configured(stream) for stream in streams]}))
    code, output = source.run("read", "--config", config, "--catalog", str(catalog))
    source.ok("read.records_exit0_no_trace_error", code == 0 and output.records and not output.errors,
              f"exit code {code}, errors {output.errors}")
    for stream in streams:
        statuses = [str(status).rpartition(".")[2] for status in output.get_stream_statuses(stream["name"])]
        source.ok(f"read.{stream['name']}.statuses", statuses == ["STARTED", "RUNNING", "COMPLETE"], statuses)
    told = {message.state.stream.stream_descriptor.name for message in output.state_messages}
    source.ok("read.state_last_per_stream", told == {stream["name"] for stream in streams}, told)
    catalog.write_text(json.dumps(UNKNOWN))
    code, output = source.run("read", "--config", config, "--catalog", str(catalog))
    source.ok("read.bad_catalog_TRACE_ERROR_nonzero", code != 0 and output.errors and output.trace_messages,
              f"exit code {code}, {len(output.errors)} errors")


def main():
    program, good, bad = sys.argv[1:4]
    source = Source(program)
    code, output = source.run("spec")
    source.ok("spec.one_SPEC_exit0", code == 0 and len(output.spec_messages) == 1)
    code, statuses = source.check(good)
    source.ok("check.one_STATUS_succeeded", code == 0 and statuses == ["SUCCEEDED"], statuses)
    code, statuses = source.check(bad)
    source.ok("check.bad_config_FAILED_not_crash", statuses == ["FAILED"], f"exit code {code}, {statuses}")
    code, output = source.run("discover", "--config", good)
    source.ok("discover.catalog_exit0", code == 0 and output.catalog)
    with tempfile.TemporaryDirectory(prefix="conform-") as scratch:
        reads(source, good, Path(scratch) / "catalog.json")
    print(f"{source.passed} passed, {source.failed} failed", flush=True)
    return 1 if source.failed else 0


if __name__ == "__main__":
    sys.exit(main())
