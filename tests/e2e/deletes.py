#!/usr/bin/env python3
"""Proves: what is gone at the vendor is marked in real warehouses, and what comes back is not marked any more.

Into both PostgreSQL targets, target-duckdb, target-jsonl and PyAirbyte's cache, from a vendor whose records are deleted between
runs: a stream that is swept, one in which the vendor reports its deletes, one whose rows have versions. Then `sync` into
PostgreSQL, whose target is killed before it acknowledges: the tombstone is loaded by the next run. At the end the cost: a sweep
by ids of 100,000 records against a whole read, in calls and bytes; the memory of a sweep of many keys.

usage: deletes.py [--only NAME] [--keys N]      (see warehouse.py and pyairbyte.py for the environment)
"""
import argparse
import contextlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from memory import MB, peak
from pyairbyte import PyAirbyte
from support import Checks, Sandbox, dripfeed, folder, target_jsonl
from warehouse import DuckDB, Meltano, Pipelinewise, Postgres

STREAMS = ("swept", "reported", "versioned")
COUNT = 30
PAGE = 1000


class Vendor:
    """Serves its streams in one page, or many records in pages; counts calls and bytes."""

    def __init__(self):
        self.records = {stream: {str(n): {"id": str(n), "name": f"name {n}", "is_deleted": False} for n in range(1, COUNT + 1)}
                        for stream in STREAMS}
        self.many, self.calls, self.bytes = 0, 0, 0
        vendor = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                body = json.dumps(vendor.answer(urlsplit(self.path))).encode()
                vendor.calls, vendor.bytes = vendor.calls + 1, vendor.bytes + len(body)
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, asked):
        name = asked.path.strip("/")
        if name in STREAMS:
            return {"data": [*self.records[name].values()], "next": None}
        start = int(parse_qs(asked.query).get("after", ["0"])[0])
        since = parse_qs(asked.query).get("since", [""])[0]
        numbers = range(start, min(start + PAGE, self.many)) if since < "2024-06-01" or name == "ids" else range(0)
        if name == "ids":
            data = [{"id": f"12{n * 7919:014}"} for n in numbers]
        else:
            data = [{"id": f"12{n * 7919:014}", "at": "2024-06-01T00:00:00Z", "name": f"A task with a name, number {n}",
                     "notes": "What there is to say about it. " * 10} for n in numbers]
        more = numbers and numbers[-1] + 1 < self.many
        return {"data": data, "next": numbers[-1] + 1 if more else None}

    def delete(self, key):
        """Deletes a record everywhere."""
        for stream in ("swept", "versioned"):
            del self.records[stream][key]
        self.records["reported"][key]["is_deleted"] = True

    def restore(self, key):
        """Brings it back."""
        for stream in STREAMS:
            self.records[stream][key] = {"id": key, "name": f"back {key}", "is_deleted": False}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def stream(name, properties, **more):
    """A stream of the manifest."""
    token = {"type": "RequestOption", "inject_into": "request_parameter", "field_name": "after"}
    pages = {"type": "CursorPagination", "cursor_value": "{{ response['next'] }}", "stop_condition": "{{ not response['next'] }}"}
    return {
        "type": "DeclarativeStream", "name": name, "primary_key": "id",
        "schema_loader": {"type": "InlineSchemaLoader", "schema": {"type": "object", "properties": properties}},
        "retriever": {
            "type": "SimpleRetriever",
            "requester": {"type": "HttpRequester", "url_base": "{{ config['url'] }}", "path": name},
            "record_selector": {"type": "RecordSelector", "extractor": {"type": "DpathExtractor", "field_path": ["data"]}},
            "paginator": {"type": "DefaultPaginator", "page_token_option": token, "pagination_strategy": pages}}, **more}


def manifest(path):
    """The source, with its deletes."""
    texts = {name: {"type": "string"} for name in ("id", "name")}
    fields = {**texts, "is_deleted": {"type": "boolean"}}
    since = {"type": "RequestOption", "inject_into": "request_parameter", "field_name": "since"}
    cursor = {"type": "DatetimeBasedCursor", "cursor_field": "at", "datetime_format": "%Y-%m-%dT%H:%M:%SZ",
              "start_datetime": "2024-01-01T00:00:00Z", "start_time_option": since}
    many = {**texts, "notes": {"type": "string"}, "at": {"type": "string"}}
    source = {
        "version": "7.39.1", "type": "DeclarativeSource", "check": {"type": "CheckStream", "stream_names": ["swept"]},
        "spec": {"type": "Spec", "connection_specification": {"type": "object", "properties": {"url": {"type": "string"}}}},
        "streams": [*(stream(name, fields) for name in STREAMS), stream("many", many, incremental_sync=cursor),
                    stream("ids", {"id": {"type": "string"}})],
        "metadata": {"dripfeed": {"deletes": {
            "swept": "sweep", "versioned": "activate_version", "reported": {"deleted_when": "{{ record['is_deleted'] }}"},
            "many": {"mode": "sweep", "ids": "ids", "every": "PT0S"}}}}}
    path.write_text(json.dumps(source))


def config(path, vendor, scratch, **ours):
    """A tenant's config."""
    path.write_text(json.dumps({"url": vendor.url, "dripfeed": {
        "source": str(scratch / "source.yaml"), "tenant": path.stem, "state_dir": str(scratch / "state" / path.stem), **ours}}))
    return path


class Load:
    """Runs into one target."""

    def __init__(self, scratch, vendor, name, target, settings):
        self.work = scratch / name
        self.work.mkdir()
        (self.work / "target.json").write_text(json.dumps(settings))
        self.target = target
        self.config = config(self.work / f"{name}.json", vendor, scratch)

    def run(self):
        """A run, through a pipe; gives its lines."""
        state = self.work / "state.json"
        command = [dripfeed(), "read", "--config", self.config, "--streams", ",".join(STREAMS)]
        command += ["--state", state] if state.exists() else []
        tap = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        done = subprocess.run([self.target, "--config", self.work / "target.json"], cwd=self.work, check=False, input=tap.stdout,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if done.returncode:
            raise RuntimeError(done.stderr.decode(errors="replace")[-800:])
        state.write_bytes(done.stdout.splitlines()[-1])
        return [json.loads(line) for line in tap.stdout.splitlines()]


def marks(rows):
    """The keys that are marked, and those that are not."""
    dead = {row["id"] for row in rows if row.get("_sdc_deleted_at")}
    return dead, {row["id"] for row in rows} - dead


def loaded(checks, name, load, tables, versions):
    """Three runs into a target that stores rows; `versions` tells whether it knows ACTIVATE_VERSION."""
    everything = {str(n) for n in range(1, COUNT + 1)}
    for step, change, dead in (("first", None, set()), ("deleted", Vendor.delete, {"7"}), ("restored", Vendor.restore, set())):
        if change:
            change(load.vendor, "7")
        load.run()
        for stream_, rows in tables().items():
            expected = dead if stream_ != "versioned" or versions else set()
            got = marks(rows)
            checks.ok(f"{name}, {step}: {stream_}", got == (expected, everything - expected),
                      f"{len(got[1])} living, marked {sorted(got[0])}")


def postgres(checks, scratch, vendor, server, kind):
    """Into a PostgreSQL target or DuckDB."""
    target = kind(server, scratch)
    schema = f"deletes_{target.name.split('-')[0]}"
    load = Load(scratch, vendor, target.name, target.executable, target.config(schema, 0))
    load.vendor = vendor

    def tables():
        return {name: table.rows for name, table in target.tables(schema).items() if name in STREAMS}

    loaded(checks, target.name, load, tables, kind is Meltano)
    if kind is Pipelinewise:
        settings = {**target.config(schema, 0), "hard_delete": True}
        (load.work / "target.json").write_text(json.dumps(settings))
        vendor.delete("9")
        load.run()
        left = {name: {row["id"] for row in rows} for name, rows in tables().items()}
        checks.ok(f"{target.name}, hard_delete: the rows are removed", all("9" not in left[name] for name in ("swept", "reported")),
                  f"{ {name: len(keys) for name, keys in left.items()} }")
        vendor.restore("9")


def jsonl(checks, scratch, vendor):
    """Into target-jsonl: every message as it came."""
    load = Load(scratch, vendor, "target-jsonl", target_jsonl(), {"destination_path": str(scratch / "target-jsonl")})
    load.run()
    vendor.delete("7")
    load.run()
    vendor.restore("7")
    load.run()
    for name in ("swept", "reported"):
        lines = "".join(path.read_text() for path in sorted((scratch / "target-jsonl").glob(f"{name}-*.jsonl")))
        of_key = [record for record in map(json.loads, lines.splitlines()) if record["id"] == "7"]
        fates = [bool(record["_sdc_deleted_at"]) for record in of_key]
        checks.ok(f"target-jsonl: {name} is living, dead, living", fates == [False, True, False], f"{fates}")


def killed(checks, scratch, vendor, server):
    """`sync`: the target is killed before it acknowledges."""
    target, schema = Pipelinewise(server, scratch), "deletes_sync"
    work = scratch / "sync"
    work.mkdir()
    (work / "target.json").write_text(json.dumps(target.config(schema, 0)))
    command = f"{target.executable} --config {work / 'target.json'}"
    dying = work / "dying"
    dying.write_text("#!/bin/sh\ncat > /dev/null\nkill -9 $$\n")
    dying.chmod(0o755)
    tenant = config(work / "acme.json", vendor, scratch, target_id="warehouse")
    sync = [dripfeed(), "sync", "--config", tenant, "--streams", "swept,reported", "--target"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    first = subprocess.run([*sync, command], check=False, **quiet).returncode
    vendor.delete("5")
    died = subprocess.run([*sync, str(dying)], check=False, **quiet).returncode
    again = subprocess.run([*sync, command], check=False, **quiet).returncode
    rows = {name: table.rows for name, table in target.tables(schema).items()}
    dead = {name: sorted(marks(rows[name])[0]) for name in ("swept", "reported")}
    checks.ok("sync: a tombstone that a killed target got is sent again", dead == {"swept": ["5"], "reported": ["5"]}
              and (first, again) == (0, 0) and died != 0, f"{dead}, exit codes {first}, {died}, {again}")
    vendor.restore("5")


def pyairbyte(checks, scratch, vendor):
    """PyAirbyte's cache."""
    link = scratch / "source-deletes"
    link.symlink_to(dripfeed())
    settings = json.loads(config(scratch / "pyairbyte.json", vendor, scratch).read_text())
    # `spec` has no config that names the source.
    os.environ["DRIPFEED_SOURCE"] = str(scratch / "source.yaml")
    with PyAirbyte(scratch) as python:
        python("open_source", "deletes", "source-deletes", link, settings, ["swept", "reported"])
        cache = scratch / "deletes.duckdb"
        for step, change, dead in (("first", None, set()), ("deleted", vendor.delete, {"7"}), ("restored", vendor.restore, set())):
            if change:
                change("7")
            python("read", "deletes", cache)
            for name, rows in python("tables", cache).items():
                marked = {row["id"] for row in rows if row.get("_ab_cdc_deleted_at")}
                keys = {row["id"] for row in rows}
                checks.ok(f"PyAirbyte, {step}: {name}", marked == dead and len(keys) == COUNT,
                          f"{len(rows)} rows of {len(keys)} keys, marked {sorted(marked)}")


def cost(checks, scratch, vendor, keys):
    """What a sweep by ids costs, and the memory of keys."""
    vendor.many = 100_000
    work = scratch / "cost"
    work.mkdir()
    tenant = config(work / "cost.json", vendor, scratch)
    state, costs = work / "state.json", {}
    for what in ("whole read and ids", "changes and ids"):
        vendor.calls = vendor.bytes = 0
        command = [dripfeed(), "read", "--config", tenant, "--streams", "many"] + (["--state", state] if state.exists() else [])
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        last = [json.loads(line) for line in done.stdout.splitlines() if line.startswith(b'{"type":"STATE"')][-1]
        state.write_text(json.dumps(last["value"]))
        costs[what] = (vendor.calls, vendor.bytes)
        checks.fact(f"{what} of {vendor.many} records: {vendor.calls} calls, {vendor.bytes / MB:.1f} MB")
    whole, ids = costs["whole read and ids"], costs["changes and ids"]
    checks.ok("a sweep by ids takes less than a fifth of the bytes of a whole read", ids[1] * 5 < whole[1] - ids[1])
    files = [*(scratch / "state" / "cost" / "deletes").rglob("*.keys")]
    size = max(path.stat().st_size for path in files)
    checks.ok("ids of 16 digits take at most 8 bytes", size <= 8 * vendor.many, f"{size / vendor.many:.1f} bytes a key")
    with open(scratch / "memory.log", "w+") as log:
        peaks = []
        for tasks in (keys // 100, keys):
            with Sandbox("--tasks", tasks, "--no-gzip") as sandbox:
                ours = {"deletes": {"tasks": "sweep"}, "state_dir": str(scratch / f"memory{tasks}")}
                path = sandbox.config(scratch / f"memory{tasks}.json", dripfeed=ours)
                code, most, took = peak([dripfeed(), "read", "--source", "sandbox", "--config", str(path), "--streams", "tasks"], log)
            size = max(path.stat().st_size for path in (scratch / f"memory{tasks}").rglob("*.keys"))
            checks.fact(f"{tasks} keys: peak {most / MB:.1f} MB, file {size / MB:.2f} MB, {took:.1f} s")
            checks.ok(f"{tasks} keys are remembered", code == 0, f"exit code {code}")
            peaks.append(most)
        checks.ok("the memory of a sweep has a bound", peaks[1] < 60 * MB, f"{peaks[1] / MB:.1f} MB")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="one of meltano, pipelinewise, duckdb, jsonl, sync, pyairbyte, cost")
    parser.add_argument("--keys", type=int, default=300_000, help="keys for the measure of memory")
    options = parser.parse_args()
    checks = Checks()
    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(folder())
        manifest(scratch / "source.yaml")
        vendor = stack.enter_context(Vendor())
        server = stack.enter_context(Postgres()) if options.only in (None, "meltano", "pipelinewise", "sync") else None
        steps = {
            "meltano": lambda: postgres(checks, scratch, vendor, server, Meltano),
            "pipelinewise": lambda: postgres(checks, scratch, vendor, server, Pipelinewise),
            "duckdb": lambda: postgres(checks, scratch, vendor, server, DuckDB),
            "jsonl": lambda: jsonl(checks, scratch, vendor),
            "sync": lambda: killed(checks, scratch, vendor, server),
            "pyairbyte": lambda: pyairbyte(checks, scratch, vendor),
            "cost": lambda: cost(checks, scratch, vendor, options.keys),
        }
        for name, step in steps.items():
            if options.only in (None, name):
                step()
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
