#!/usr/bin/env python3
"""Proves: airbyte-cdk and dripfeed go on from each other's states, both ways, and nothing is lost or read again for it.

One manifest with all kinds of incremental streams: flat, flat in windows, a list of partitions, partitions of a parent, with a
parent that is incremental too, and with one cursor for all partitions. Generation after generation the vendor's data changes, in
one of them some slices fail, and the two take turns, each with the other's last STATEs. Whoever's turn it is, both run from the
same states: they send the same requests and give the same records and states (but for how long the run took). Together the turns
have brought what the API gives. The same where the first run is killed in the middle.

usage: exchange.py      (needs AIRBYTE_CDK, as asana.py does; see support.py for the environment)
"""
import argparse
import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from urllib.parse import parse_qsl, urlsplit

from airbyte_form import Said, configured, source, written
from asana import difference, reference
from support import Checks, differences, folder, wait_until

PAGE = 5
# Table -> the field that says which partition a row belongs to.
TABLES = {"boards": None, "items": None, "events": None, "logs": "region", "cards": "board", "notes": "board", "threads": None,
          "replies": "thread"}
STREAMS = ("boards", "items", "events", "logs", "cards", "notes", "replies")
REGIONS = ["ap", "eu", "us"]
PARENTS = ("boards", "threads")
START, END = "2024-01-01T00:00:00Z", "2024-12-31T00:00:00Z"


class Vendor:
    """A vendor with tables, keyset pages and an inclusive lower bound; it can change, refuse and hang."""

    def __init__(self, seed=5):
        self.random, self.rows = Random(seed), {table: {} for table in TABLES}
        self.lock, self.calls = threading.Lock(), []
        self.refuses = self.nothing
        self.hangs_after, self.free = None, threading.Event()
        self.month, self.moment = 0, 0
        for n in range(1, 8):
            self.put("boards", f"b{n}", None)
        for n in range(1, 7):
            self.put("threads", f"t{n}", self.now())
        for table in ("items", "events", "logs", "cards", "notes", "replies"):
            for _ in range(70):
                self.add(table)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads, self.server.vendor = True, self
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.free.set()
        self.server.shutdown()
        self.server.server_close()

    @staticmethod
    def nothing(table, query):
        """Refuses nothing."""
        return False

    # ------------------------------------------------------------ the data

    def now(self):
        """The next moment of the generation: a month, in which time goes on."""
        self.moment += self.random.randrange(1, 12_000 if self.month == 0 else 32_000)
        days, seconds = divmod(self.moment, 86400)
        return f"2024-{self.month + 1:02}-{days + 1:02}T{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}Z"

    def put(self, table, key, at, **more):
        """Adds or changes a row."""
        row = self.rows[table].setdefault(key, {"id": key, "version": 0, **more})
        row["version"] += 1
        if at:
            row["updated_at"] = at
        if table == "replies":  # whoever looks for replies looks at threads that changed
            self.put("threads", row["thread"], at)

    def add(self, table, at=None, only=None):
        """Adds a row."""
        field = TABLES[table]
        homes = {"region": REGIONS, "board": list(self.rows["boards"]), "thread": list(self.rows["threads"])}
        of = {field: only or self.random.choice(homes[field])} if field else {}
        self.put(table, f"{table[0]}{len(self.rows[table]):04}", at or self.now(), **of)

    def change(self):
        """The next generation: edits, additions, and rows that have the very moment of the latest change before."""
        with self.lock:
            self.month, self.moment = self.month + 1, 0
            for table in ("items", "events", "logs", "cards", "notes", "replies"):
                latest = max(row["updated_at"] for row in self.rows[table].values())
                self.add(table, latest)
                for key in self.random.sample(sorted(self.rows[table]), 6):
                    self.put(table, key, self.now())
                for _ in range(8):
                    self.add(table)
            if self.month == 2:  # a partition comes
                self.put("boards", "b9", None)
                self.put("threads", "t9", self.now())
                for table, home in (("cards", "b9"), ("notes", "b9"), ("replies", "t9")):
                    for _ in range(7):
                        self.add(table, only=home)

    def truth(self):
        """What a whole read must bring, by stream and key."""
        with self.lock:
            return json.loads(json.dumps({stream: self.rows[stream] for stream in STREAMS}))

    # ------------------------------------------------------------ what the API gives

    def answer(self, path, query):
        """Status and body of a call."""
        table = path.strip("/")
        with self.lock:
            self.calls.append((table, *sorted(query.items())))
            hangs = self.hangs_after is not None and len(self.calls) > self.hangs_after
        if hangs:
            self.free.wait()
        with self.lock:
            if table not in TABLES:
                return 404, {"error": "no such table"}
            if self.refuses(table, query):
                return 400, {"error": "not now"}
            field = TABLES[table]
            rows = [row for key, row in sorted(self.rows[table].items())
                    if key > query.get("after", "") and (not field or row[field] == query.get(field))
                    and ("updated_at" not in row or query.get("since", "") <= row["updated_at"] <= query.get("until", "3"))]
            page = rows[:PAGE]
            return 200, {"data": page, "next": page[-1]["id"] if len(rows) > PAGE else None}


class Handler(BaseHTTPRequestHandler):
    """Speaks HTTP for the vendor."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        """One call."""
        url = urlsplit(self.path)
        status, body = self.server.vendor.answer(url.path, dict(parse_qsl(url.query)))
        content = json.dumps(body).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        except OSError:
            self.close_connection = True

    def log_message(self, *_):
        """Says nothing."""


# ---------------------------------------------------------------- the manifest

def parameter(name):
    """A request option."""
    return {"type": "RequestOption", "inject_into": "request_parameter", "field_name": name}


def stream(name, cursor=None, router=None):
    """A stream of the vendor; `cursor` holds what its cursor has beside the usual."""
    made = {
        "type": "DeclarativeStream", "name": name, "primary_key": ["id"],
        "schema_loader": {"type": "InlineSchemaLoader", "schema": {
            "$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "additionalProperties": True,
            "properties": {"id": {"type": "string"}, "updated_at": {"type": ["null", "string"]}}}},
        "retriever": {
            "type": "SimpleRetriever",
            "requester": {"type": "HttpRequester", "url_base": "{{ config['url'] }}", "path": name, "http_method": "GET"},
            "record_selector": {"type": "RecordSelector", "extractor": {"type": "DpathExtractor", "field_path": ["data"]}},
            "paginator": {
                "type": "DefaultPaginator", "page_token_option": parameter("after"),
                "pagination_strategy": {"type": "CursorPagination", "cursor_value": "{{ response['next'] }}",
                                        "stop_condition": "{{ not response['next'] }}"}}}}
    if router:
        made["retriever"]["partition_router"] = router
    if cursor is not None:
        made["incremental_sync"] = {
            "type": "DatetimeBasedCursor", "cursor_field": "updated_at", "datetime_format": "%Y-%m-%dT%H:%M:%SZ",
            "start_datetime": START, "start_time_option": parameter("since"), **cursor}
    return made


def substream(parent, field, **more):
    """A router over a parent's records."""
    return {"type": "SubstreamPartitionRouter", "parent_stream_configs": [{
        "type": "ParentStreamConfig", "stream": parent, "parent_key": "id", "partition_field": field,
        "request_option": parameter(field), **more}]}


BOARDS = stream("boards")
MANIFEST = {
    "version": "7.39.1", "type": "DeclarativeSource", "check": {"type": "CheckStream", "stream_names": ["boards"]},
    "concurrency_level": {"type": "ConcurrencyLevel", "default_concurrency": 4},
    "streams": [
        BOARDS,
        stream("items", {}),
        stream("events", {"step": "P20D", "cursor_granularity": "PT1S", "end_datetime": END,
                          "end_time_option": parameter("until")}),
        stream("logs", {"lookback_window": "PT2H"}, {
            "type": "ListPartitionRouter", "cursor_field": "region", "values": REGIONS, "request_option": parameter("region")}),
        stream("cards", {}, substream(BOARDS, "board")),
        stream("notes", {"global_substream_cursor": True}, substream(BOARDS, "board")),
        stream("replies", {}, substream(stream("threads", {}), "thread", incremental_dependency=True)),
    ],
    "spec": {"type": "Spec", "connection_specification": {
        "$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "additionalProperties": True,
        "required": ["url"], "properties": {"url": {"type": "string"}}}},
}


# ---------------------------------------------------------------- the two

class Turns:
    """A vendor, and the two that read it."""

    def __init__(self, scratch, vendor, command):
        self.vendor, self.manifest = vendor, written(scratch / "manifest.json", MANIFEST)
        self.state = scratch / "state.json"
        files = ["--config", str(written(scratch / "config.json", {"url": vendor.url})),
                 "--catalog", str(written(scratch / "catalog.json", configured(STREAMS))), "--state", str(self.state)]
        self.commands = {
            "dripfeed": [*source(self.manifest), "read", *files],
            "airbyte-cdk": [*command, "read", *files, "--manifest-path", str(self.manifest)],
        }

    def read(self, who, states, cut=None):
        """One run from these states; `cut` is the signal that ends it once the vendor hangs."""
        written(self.state, [{"type": "STREAM", "stream": {"stream_descriptor": {"name": name}, "stream_state": state}}
                             for name, state in states.items()])
        with self.vendor.lock:
            self.vendor.calls = []
        tap = subprocess.Popen(self.commands[who], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        timer = threading.Timer(90, tap.kill)
        timer.start()
        lines = []
        reader = threading.Thread(target=lambda: lines.extend(tap.stdout))
        reader.start()
        if cut:
            wait_until(lambda: len(self.vendor.calls) > self.vendor.hangs_after, 60, "a vendor that hangs")
            before = None
            while before != (before := len(lines)):  # what was read comes out
                time.sleep(1)
            tap.send_signal(cut)
        code = tap.wait()
        reader.join()
        timer.cancel()
        tap.stdout.close()
        said = Said([line for line in lines if line.endswith(b"\n")], code)
        with self.vendor.lock:
            said.calls = self.vendor.calls
        return said


def of_stream(said, name):
    """A stream's requests, records and state. Its state without the time that the run took; partitions in order."""
    state = {k: v for k, v in said.states.get(name, {}).items() if k != "lookback_window"}
    if "states" in state:
        state["states"] = sorted(state["states"], key=lambda one: json.dumps(one, sort_keys=True))
    return (Counter(call for call in said.calls if call[0] == name),
            Counter(json.dumps(record, sort_keys=True) for record in said.records.get(name, [])), state)


REFUSALS = {"items": "after", "logs": ("region", "eu"), "cards": ("board", "b2"), "notes": ("board", "b4"),
            "replies": ("thread", "t3"), "events": None}


def refusing(day):
    """What refuses some slices of each stream: second pages, a partition, or the window with that day."""
    def refuses(table, query):
        if table == "events":
            return query["since"] <= day <= query["until"]
        rule = REFUSALS.get(table)
        return rule in query if isinstance(rule, str) else bool(rule) and query.get(rule[0]) == rule[1]

    return refuses


def compare(checks, name, ours, theirs):
    """Both runs did the same."""
    for stream_name in STREAMS:
        (calls, records, state), (their_calls, their_records, their_state) = (of_stream(s, stream_name) for s in (ours, theirs))
        # Pages of parents are read for several streams; how often the reference asks for them is a matter of luck.
        wrong = "" if stream_name in PARENTS else difference(their_calls, calls) and f"requests: {difference(their_calls, calls)}"
        wrong = wrong or difference(their_records, records) and f"records: {difference(their_records, records)}"
        apart = [key for key in {**state, **their_state} if state.get(key) != their_state.get(key)]
        wrong = wrong or "; ".join(f"state: {key} {state.get(key)} instead of {their_state.get(key)}" for key in apart)
        checks.ok(f"{name}, {stream_name}: both send the same requests and give the same records and state", not wrong,
                  wrong[:900] or f"{sum(calls.values())} requests, {sum(records.values())} records")
    parents, their_parents = ({call for call in said.calls if call[0] in PARENTS} for said in (ours, theirs))
    checks.ok(f"{name}: both send the same requests for parents", parents == their_parents,
              sorted(parents ^ their_parents)[:4] or f"{len(parents)} of them")
    ended = [{s: statuses[-1] for s, statuses in said.statuses.items()} for said in (ours, theirs)]
    checks.ok(f"{name}: the same exit code, and the same streams are complete",
              (ours.code, ended[0]) == (theirs.code, ended[1]) and not ours.wrong,
              ours.wrong[:2] or f"{ours.code}, {ended[0]}" + (f" and {theirs.code}, {ended[1]}" if ended[0] != ended[1] else ""))


def take_turns(checks, scratch, command):
    """Generation after generation, in both orders."""
    with Vendor() as vendor:
        turns = Turns(scratch, vendor, command)
        first = {who: turns.read(who, {}) for who in turns.commands}
        compare(checks, "first run", first["dripfeed"], first["airbyte-cdk"])
        brought = {who: said.by_key(streams=STREAMS) for who, said in first.items()}
        states = {who: said.states for who, said in first.items()}
        for begun, found in brought.items():
            wrong = differences(vendor.truth(), found)
            checks.ok(f"first run of {begun}: everything is as the API gives it", not wrong, wrong)
        for generation in range(2, 6):
            vendor.change()
            fails = generation == 3
            vendor.refuses = refusing("2024-03-04") if fails else Vendor.nothing
            for begun, found in brought.items():
                other = next(who for who in turns.commands if who != begun)
                who = other if generation % 2 == 0 else begun
                name = f"{begun} first, turn {generation} by {who}{', in which slices fail' if fails else ''}"
                given = states[begun]
                said = {one: turns.read(one, given) for one in turns.commands}
                compare(checks, name, said["dripfeed"], said["airbyte-cdk"])
                mine, truth = said[who], vendor.truth()
                mine.by_key(into=found)
                # A stream whose first slices failed may have said none: then the platform keeps what it has.
                states[begun] = {**given, **mine.states}
                much = [s for s in STREAMS[1:] if len(mine.records.get(s, [])) > len(truth[s]) / 2]
                checks.ok(f"{name}: it goes on, and does not begin again", not much or fails, much)
                wrong = differences(truth, found)
                if fails:
                    lacks = {words.split(":")[0] for words in wrong.split("; ")}
                    checks.ok(f"{name}: it ends with 1, and each stream lacks something", mine.code == 1 and
                              lacks == set(REFUSALS), wrong)
                else:
                    checks.ok(f"{name}: everything is as the API gives it", mine.code == 0 and not wrong, wrong)


def fail_at_once(checks, scratch, command):
    """Slices fail in the first run already."""
    with Vendor(seed=7) as vendor:
        turns = Turns(scratch, vendor, command)
        vendor.refuses = refusing("2024-01-10")
        first = {who: turns.read(who, {}) for who in turns.commands}
        compare(checks, "first run, in which slices fail", first["dripfeed"], first["airbyte-cdk"])
        vendor.refuses = Vendor.nothing
        for who, begun in first.items():
            said = {one: turns.read(one, begun.states) for one in turns.commands}
            compare(checks, f"{who} fails in its first run, then the rest", said["dripfeed"], said["airbyte-cdk"])
            other = next(one for one in turns.commands if one != who)
            missing = differences(vendor.truth(), brought := begun.by_key(streams=STREAMS))
            wrong = differences(vendor.truth(), said[other].by_key(into=brought))
            checks.ok(f"{who} fails in its first run: {other} brings the rest", missing and said[other].code == 0 and not wrong,
                      wrong or missing[:80])


def cut_short(checks, scratch, command):
    """The first run ends in the middle."""
    with Vendor(seed=6) as vendor:
        turns = Turns(scratch, vendor, command)
        whole = len(turns.read("dripfeed", {}).calls)
        for who, number, share in (("airbyte-cdk", signal.SIGKILL, 0.6), ("dripfeed", signal.SIGTERM, 0.6),
                                   ("dripfeed", signal.SIGKILL, 0.9)):
            name = f"{who}, {signal.Signals(number).name} after {share:.0%}"
            vendor.free.clear()
            vendor.hangs_after = round(whole * share)
            first = turns.read(who, {}, number)
            vendor.hangs_after = None
            vendor.free.set()
            brought = first.by_key(streams=STREAMS)
            missing = differences(vendor.truth(), brought)
            said = {one: turns.read(one, first.states) for one in turns.commands}
            checks.ok(f"{name}: it was in the middle, and there are states", missing and first.states, list(first.states))
            compare(checks, f"{name}, then the rest", said["dripfeed"], said["airbyte-cdk"])
            other = next(one for one in turns.commands if one != who)
            wrong = differences(vendor.truth(), said[other].by_key(into=brought))
            checks.ok(f"{name}: {other} brings the rest", said[other].code == 0 and not wrong, wrong or missing[:80])
            sums = [sum(len(r) for r in one.records.values()) for one in (first, said[other])]
            checks.fact(f"{sums[0]} records, then {sums[1]}, of {sum(len(rows) for rows in vendor.truth().values())}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="run the parts whose name has this word")
    options = parser.parse_args()
    command = reference()
    if not command:
        sys.exit("AIRBYTE_CDK must name source-declarative-manifest of airbyte-cdk 7.39.1")
    checks = Checks()
    with folder() as scratch:
        for part in (take_turns, fail_at_once, cut_short):
            if options.only in part.__name__:
                began = time.monotonic()
                part(checks, scratch, command)
                checks.fact(f"{part.__name__}: {time.monotonic() - began:.1f} s")
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
