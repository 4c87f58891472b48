#!/usr/bin/env python3
"""Checks any Singer tap executable: the standard tap checks of singer-sdk, re-stated for a program that is not Python.

Each check counts once, however many records it looks at. The last line is `N passed, N failed`.

usage: singer_conform.py TAP CONFIG.json      (a Python that has singer-sdk)
"""
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from singer_sdk.typing import DEFAULT_JSONSCHEMA_VALIDATOR as Validator


class Checks:
    """Whether each check held so far, by name."""

    def __init__(self):
        self.held = {}

    def ok(self, name, holds, detail=""):
        """Notes one check; says so the first time, and when it fails first."""
        before, now = self.held.get(name), bool(holds)
        self.held[name] = now and before is not False
        if before is None or before and not now:
            print(f"{'PASS' if now else 'FAIL'} {name}" + (f": {detail}" if detail and not now else ""), flush=True)

    def finish(self):
        """Prints the last line; gives the exit code."""
        failed = sum(not held for held in self.held.values())
        print(f"{len(self.held) - failed} passed, {failed} failed", flush=True)
        return 1 if failed else 0


class Tap:
    """The tap, called as Singer's orchestrators do."""

    def __init__(self, program, config):
        self.program, self.config = program, config

    def run(self, *arguments):
        """Exit code and stdout."""
        done = subprocess.run([self.program, *arguments], capture_output=True, text=True, timeout=300)
        return done.returncode, done.stdout

    def sync(self, catalog, *arguments):
        """Exit code and stdout of a sync."""
        return self.run("--config", self.config, "--catalog", catalog, *arguments)


def discovery(checks, tap, scratch):
    """The program's own words and its catalog; gives the catalog's path."""
    code, out = tap.run("--version")
    checks.ok("cli_prints.version", code == 0 and out.strip())
    code, out = tap.run("--about", "--format=json")
    checks.ok("cli_prints.about_json", code == 0 and isinstance(json.loads(out), dict))
    code, out = tap.run("--config", tap.config, "--discover")
    catalog = json.loads(out)
    checks.ok("discovery.valid", code == 0 and catalog["streams"])
    for stream in catalog["streams"]:
        name, schema = stream["tap_stream_id"], stream["schema"]
        Validator.check_schema(schema)
        checks.ok(f"discovery.{name}.keys_in_schema", all(key in schema["properties"] for key in stream.get("key_properties") or []))
        checks.ok(f"discovery.{name}.root_metadata", any(entry["breadcrumb"] == [] for entry in stream["metadata"]))
    path = scratch / "catalog.json"
    path.write_text(json.dumps(catalog))
    code, out = tap.run("--config", tap.config, "--catalog", str(path), "--discover")
    checks.ok("discover_wins_over_catalog", code == 0 and json.loads(out) == catalog)
    return str(path)


def messages(checks, out):
    """The SCHEMA messages and the records by stream, and the states in order."""
    schemas, records, states = {}, {}, []
    for line in out.splitlines():
        message = json.loads(line)
        kind = message["type"]
        if kind == "SCHEMA":
            Validator.check_schema(message["schema"])
            schemas[message["stream"]] = message
        elif kind == "RECORD":
            checks.ok("schema_first", message["stream"] in schemas, message["stream"])
            records.setdefault(message["stream"], []).append(message["record"])
        elif kind == "STATE":
            states.append(message["value"])
        else:
            checks.ok("only_known_types", kind in ("ACTIVATE_VERSION", "BATCH"), kind)
    return schemas, records, states


def stream_holds(checks, name, message, records):
    """The records of one stream against its SCHEMA message."""
    declared = set(message["schema"]["properties"])
    validator = Validator(message["schema"], format_checker=Validator.FORMAT_CHECKER)
    errors = [error.message for record in records for error in validator.iter_errors(record)]
    checks.ok(f"{name}.returns_record", records)
    checks.ok(f"{name}.record_matches_schema", not errors, errors[:2])
    seen = set().union(*(record.keys() for record in records))
    checks.ok(f"{name}.no_undeclared_keys", seen <= declared, seen - declared)
    if unused := declared - seen:
        print(f"WARN {name}.all_declared_seen: {unused}", flush=True)
    else:
        checks.ok(f"{name}.all_declared_seen", True)
    keys = [tuple(record.get(key) for key in message["key_properties"]) for record in records]
    checks.ok(f"{name}.primary_keys_unique_nonnull", len(set(keys)) == len(keys) and all(None not in key for key in keys))


def main():
    checks, tap = Checks(), Tap(*sys.argv[1:3])
    with tempfile.TemporaryDirectory(prefix="conform-") as scratch:
        scratch = Path(scratch)
        catalog = discovery(checks, tap, scratch)
        code, out = tap.sync(catalog)
        checks.ok("sync.exit0", code == 0)
        schemas, records, states = messages(checks, out)
        for name, message in schemas.items():
            stream_holds(checks, name, message, records.get(name, []))
        checks.ok("valid_final_state", states and "progress_markers" not in json.dumps(states[-1]))
        (scratch / "state.json").write_text(json.dumps(states[-1]))
        code, _ = tap.sync(catalog, "--state", str(scratch / "state.json"))
        checks.ok("second_run_with_state.exit0", code == 0)
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
