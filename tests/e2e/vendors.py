#!/usr/bin/env python3
"""Proves: a built-in source brings every record of its vendor, whatever the vendor does meanwhile, and asks for no more.

Each source runs against its stateful vendor of tests/vendors. Parts, by the words of --only:
spec       spec and discover need no config; titles, descriptions, order; the baselines describe every property
check      a good config is 0, a wrong token 20, no config 10
whole      the first read is what the vendor has; no unknown path; no call and no answer that its specification (tests/specs)
           does not allow
later      a second read brings only what stands at the bookmarks, a third one what changed
paging     edits while pages are read are lost by no run after that
limited    the vendor's throttle answer is waited for; a wait of hours ends the run with 75
expired    a page token that expired
forbidden  a project, board or the like that is forbidden: skipped with an event (without one where the vendor only leaves it
           out of its lists), all else whole
removed    a removed endpoint (410) is loud, whichever it is
archived   what the vendor hides comes by the switch
kill       SIGKILL at random places; the next runs bring the rest
backfill   the past alone
parity     airbyte-cdk runs the same manifest: the same requests, records and state (of ours without `safety.overlap` where that
           asks for more)
conform    the conformance suites of both protocols
warehouse  the rows in PostgreSQL, counted there, are the vendor's; the SQL of the source's docs page runs there
cap        (only when named) 10,000 tasks, 200 ms away, by the manifest's own limits, at a vendor that counts: share of the cap in
           its busiest window, and 429s; where that is few calls, also what is asked for with a call for each task

usage: vendors.py [NAME...] [--only WORD...]      (without a name all sources but asana, which has asana.py)

Environment: see support.py and warehouse.py; AIRBYTE_CDK names source-declarative-manifest of airbyte-cdk 7.39.1 (its Python is
beside it), PYTHON_JSONSCHEMA a Python with singer-sdk. What is missing is left out, and said.
"""
import argparse
import bisect
import collections
import contextlib
import datetime
import importlib
import inspect
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from support import ROOT, Checks, dripfeed, folder, messages, read_command, start_tap, sync_command

sys.path.insert(0, str(ROOT / "tests"))
from vendors.core import Refused, Vendor, moment_of  # noqa: E402

# The stream that holds a source's tasks, and its documented cap on the lowest plan (Azure DevOps has none in calls: our own).
TASKS = {"jira": ("issues", 100, 1), "clickup": ("tasks", 100, 60), "linear": ("issues", 2500, 3600), "monday": ("items", 1000, 60),
         "notion": ("pages", 180, 60), "github": ("issues", 900, 60), "gitlab": ("issues", 2000, 60), "trello": ("cards", 100, 10),
         "todoist": ("tasks", 450, 900), "shortcut": ("stories", 200, 60), "azure-devops": ("work_items", 600, 60)}
AS_SOLD = {"clickup": {"plan": "free"}, "notion": {"requests_per_second": 3}}  # large accounts of these are on a better plan else
# A stream that is asked for with a call for each task, at sources whose lists of tasks are too few calls for the cap, and tasks.
EACH = {"jira": ("worklogs", 2500), "gitlab": ("issue_notes", 3000), "azure-devops": ("work_item_comments", 2000)}
FASTER = {"todoist": 5}  # so many times as fast goes the clock of a read that would take a quarter of an hour
SOURCES = list(TASKS)
LONGEST = 60
FREE = {"pace": {"limits": [{"calls": 100_000, "per": "PT1S"}]}}  # what is not about pace does not wait for it
TWIN_EPOCH = datetime.datetime(2025, 3, 1, tzinfo=datetime.timezone.utc)


def vendor_of(name):
    """The class of a source's vendor."""
    module = importlib.import_module(f"vendors.{name.replace('-', '_')}")
    return next(kind for _, kind in inspect.getmembers(module, inspect.isclass)
                if issubclass(kind, Vendor) and kind.source == name and kind.__module__ == module.__name__)


# ---------------------------------------------------------------- records

def same(have, want):
    """Whether two values are the same; the tap writes times in UTC with Z."""
    if isinstance(have, dict) and isinstance(want, dict):
        return all(same(have.get(key), want.get(key)) for key in {*have, *want})
    if isinstance(have, list) and isinstance(want, list):
        return len(have) == len(want) and all(map(same, have, want))
    if isinstance(have, bool) or isinstance(want, bool):
        return have is want
    if isinstance(have, str) and isinstance(want, str) and have != want and "T" in have and "T" in want:
        times = moment_of(have), moment_of(want)
        return None not in times and times[0] == times[1]
    return have == want


def different(have, want):
    """The first field in which two records differ, in words."""
    for key in {*have, *want}:
        if not same(have.get(key), want.get(key)):
            return f"{key}: {json.dumps(have.get(key), ensure_ascii=False)[:160]} instead of {json.dumps(want.get(key), ensure_ascii=False)[:160]}"
    return ""


def as_key(key):
    """A key as a tuple; a time in it as seconds, since the tap and the database write it in ways of their own."""
    parts = tuple(key) if isinstance(key, (tuple, list)) else (key,)
    return tuple(moment_of(part) if isinstance(part, str) and re.match(r"\d{4}-\d\d-\d\dT", part) else part for part in parts)


def truth_of(vendor, stream):
    """What the vendor has of a stream, by key."""
    return {as_key(key): record for key, record in vendor.records(stream).items()}


def wrong_records(vendor, found, streams=None):
    """What of the streams is not as the vendor has it, in words; empty when all is well."""
    words = []
    for stream in streams or vendor.streams:
        want, have = truth_of(vendor, stream), found.get(stream, {})
        lost, extra = want.keys() - have.keys(), have.keys() - want.keys()
        stale = [key for key in want.keys() & have.keys() if not same(have[key], want[key])]
        words += [f"{stream}: {len(keys)} of {len(want)} {kind}, as {sorted(keys, key=str)[:2]}"
                  for kind, keys in (("lost", lost), ("made up", extra)) if keys]
        if stale:
            words.append(f"{stream}: {len(stale)} of {len(want)} differ, as {stale[0]}: {different(have[stale[0]], want[stale[0]])}")
    return "; ".join(words)[:1200]


class Run:
    """What a run of the tap did."""

    def __init__(self, vendor, code, out, err, took):
        self.vendor, self.code, self.log, self.took = vendor, code, err.decode(errors="replace"), took
        self.said = messages(line for line in out.splitlines(keepends=True) if line.endswith(b"\n"))
        self.records = {stream: [] for stream in vendor.streams}
        for message in self.said:
            if message["type"] == "RECORD":
                self.records.setdefault(message["stream"], []).append(message["record"])
        states = [message["value"] for message in self.said if message["type"] == "STATE"]
        self.state, self.states = states[-1] if states else None, len(states)
        lines = [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]
        self.events = [line["dripfeed"] for line in lines if "dripfeed" in line]

    def found(self, into=None):
        """The last record of each key, by stream; adds to `into`."""
        found = {} if into is None else into
        for stream, records in self.records.items():
            key = self.vendor.streams[stream].key if stream in self.vendor.streams else []
            for record in records:
                found.setdefault(stream, {})[as_key([record.get(name) for name in key])] = record
        return found

    def event(self, name):
        """The events of a name."""
        return [event for event in self.events if event["event"] == name]

    def __str__(self):
        return f"exit code {self.code}, {sum(map(len, self.records.values()))} records, {len(self.vendor.calls)} calls, {self.took:.1f} s"

    def why(self):
        """The end of the log, of a run that failed."""
        return "" if self.code == 0 else f"; {self.log.strip()[-500:]}"


class Case:
    """A vendor, a config and a state, and what runs have brought so far."""

    def __init__(self, scratch, vendor, free=True, **more):
        self.vendor, self.work, self.brought = vendor, scratch, {}
        self.state, self.config = scratch / "state.json", scratch / "config.json"
        self.state.unlink(missing_ok=True)
        self.configure(vendor.config(**more), free)

    def configure(self, config, free=True):
        """Writes a config."""
        if free:
            config = {**config, "dripfeed": {**FREE, **config.get("dripfeed", {})}}
        self.config.write_text(json.dumps(config))

    def command(self, *more):
        """The tap's command line, with the last state."""
        state = self.state if self.state.exists() else None
        return read_command(self.config, state, "--log-format", "json", *more, source=self.vendor.source)

    def run(self, *more, keep=True, longest=LONGEST):
        """One run, its records added to those that were brought; the last STATE is the next run's, as under cron."""
        self.vendor.reset_calls()
        began = time.monotonic()
        try:
            done = subprocess.run(self.command(*more), stdin=subprocess.DEVNULL, capture_output=True, timeout=longest)
            code, out, err = done.returncode, done.stdout, done.stderr
        except subprocess.TimeoutExpired as hung:
            code, out, err = "none, it hangs", hung.stdout or b"", hung.stderr or b""
        run = Run(self.vendor, code, out, err, time.monotonic() - began)
        run.found(self.brought)
        if keep and run.state:
            self.state.write_text(json.dumps(run.state))
        return run

    def wrong(self):
        """What was brought against what the vendor has."""
        return wrong_records(self.vendor, self.brought)


# ---------------------------------------------------------------- the parts

def spec(checks, kind, scratch):
    """Without a config."""
    def tell(*words):
        return subprocess.run([dripfeed(), *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LONGEST)

    done = tell("spec", "--source", kind.source)
    form = json.loads(done.stdout) if done.returncode == 0 else {}
    form = form.get("connectionSpecification", form.get("connection_specification", form))
    checks.ok("spec needs no config", done.returncode == 0 and form.get("properties"), done.stderr[-300:])
    bad = []

    def walk(properties, path):
        for name, about in properties.items():
            at = f"{path}{name}"
            if "const" in about:
                continue
            description = about.get("description") or ""
            bad.extend(f"{at}: {words}" for words, holds in (
                ("no title", about.get("title")), ("no description with a period", description.endswith(".")),
                ("no order", "order" in about),
                ("no secret", about.get("airbyte_secret") or not re.search("token$|secret|api_key|password", name) or about.get("type") != "string"),
            ) if not holds)
            for choice in about.get("oneOf", []):
                walk(choice.get("properties", {}), f"{at}/")

    walk({name: about for name, about in form.get("properties", {}).items() if name != "dripfeed"}, "")
    checks.ok("spec: titles, descriptions with a period, order, secrets", not bad, "; ".join(bad[:6]))
    checks.ok("spec: api_url is there", "api_url" in form.get("properties", {}))

    done = tell("discover", "--source", kind.source)
    streams = {one["tap_stream_id"]: one for one in json.loads(done.stdout)["streams"]} if done.returncode == 0 else {}
    checks.ok("discover needs no config; its streams are the vendor's, five at least", len(streams) >= 5 and set(streams) == set(kind.streams),
              done.stderr[-300:] or ", ".join(sorted(set(streams) ^ set(kind.streams))) or f"{len(streams)}")
    keys = [name for name, one in streams.items() if not one.get("key_properties")
            or name in kind.streams and set(one["key_properties"]) != set(kind.streams[name].key)]
    checks.ok("discover: each stream has its key", streams and not keys, ", ".join(keys))
    incremental = sum(one["replication_method"] == "INCREMENTAL" for one in streams.values())
    checks.ok("the docs' comparison has the counts of streams and incremental ones", f"({kind.source}.md) | {len(streams)} ({incremental}) |"
              in (ROOT / "docs" / "src" / "sources" / "README.md").read_text(), f"{len(streams)} ({incremental})")
    done = tell("sources", "--source", kind.source)
    checks.ok("sources --source shows the streams", done.returncode == 0 and all(name in done.stdout for name in streams), done.stderr[-200:])
    done = tell("validate", str(ROOT / "catalog" / f"{kind.source}.yaml"))
    told = (done.stdout + done.stderr).strip()
    checks.ok("validate finds nothing to say", done.returncode == 0 and "warning" not in told.lower(), told[:500])
    bad = []
    for name in kind.streams:
        path = ROOT / "schemas" / kind.source / f"{name}.json"
        if not path.exists():
            bad.append(f"{name}: no baseline")
            continue
        about = json.loads(path.read_text())["properties"]
        bad += [f"{name}.{field}: no sentence" for field, one in about.items() if not str(one.get("description") or "").endswith(".")]
        bad += [f"{name}.{field}: not there" for field in (*kind.streams[name].key, kind.streams[name].cursor) if field and field not in about]
    checks.ok("the baselines describe every property, keys and cursors too", not bad, "; ".join(bad[:6]))


def check(checks, kind, scratch):
    """`check`."""
    with kind(size=20) as vendor:
        path = scratch / "check.json"
        for name, config, code in (("a good config", vendor.config(), 0), ("a wrong token", vendor.bad_config(), 20), ("no token", {}, 10)):
            path.write_text(json.dumps(config))
            began = time.monotonic()
            done = subprocess.run([dripfeed(), "check", "--source", kind.source, "--config", str(path)], stdin=subprocess.DEVNULL,
                                  capture_output=True, text=True, timeout=LONGEST)
            checks.ok(f"check with {name}: {code}", done.returncode == code,
                      f"{done.returncode}, {time.monotonic() - began:.1f} s: {done.stderr.strip()[-300:]}")
        case = Case(scratch, vendor)
        case.configure(vendor.bad_config())
        run = case.run()
        checks.ok("a read with a wrong token ends with 20 or 40 and brings nothing", run.code in (20, 40) and not run.state
                  and not any(run.records.values()), str(run))


def whole(checks, kind, scratch):
    """All streams."""
    with kind() as vendor:
        vendor.check_answers = True
        case = Case(scratch, vendor)
        run = case.run()
        wrong = case.wrong()
        checks.ok("the first read is what the vendor has", run.code == 0 and not wrong, (wrong or str(run)) + run.why())
        checks.fact(", ".join(f"{stream} {len(case.brought.get(stream, {}))}" for stream in vendor.streams))
        checks.ok("each stream has records", all(case.brought.get(stream) for stream in vendor.streams),
                  ", ".join(stream for stream in vendor.streams if not case.brought.get(stream)))
        checks.ok("no value was changed to fit its schema", "to fit the schema" not in run.log and "readable cursor" not in run.log,
                  "".join(line for line in run.log.splitlines() if "to fit the schema" in line)[:400])
        undeclared = {stream: sorted({name for record in records for name in record} - set(baseline(kind, stream)))
                      for stream, records in run.records.items()}
        undeclared = {stream: names for stream, names in undeclared.items() if names}
        checks.ok("no field that the baseline does not have", not undeclared, str(undeclared)[:400])
        checks.ok("no unknown path, no fault of the vendor", not vendor.unknown, "; ".join(vendor.unknown[:5]))
        refused = [f"{call['path']} {call['status']}" for call in vendor.calls if call["status"] >= 300]
        checks.ok("every call is answered well, but for what an event tells", len(refused) <= len(run.event("slice_skipped")),
                  ", ".join(refused[:5]) or len(vendor.calls))
        if vendor.specified:
            checks.ok("every call and every answer is as the vendor's specification has it", vendor.compared and not vendor.unfit,
                      "; ".join(vendor.unfit[:5])[:700] or f"{vendor.compared} of {len(vendor.calls)}")
        times = collections.Counter(signature(call) for call in vendor.calls)
        checks.fact(f"{len(times)} different calls, {sum(times.values()) - len(times)} more of the same")


def baseline(kind, stream):
    """The properties of a stream's baseline."""
    path = ROOT / "schemas" / kind.source / f"{stream}.json"
    return json.loads(path.read_text())["properties"] if path.exists() else {}


def allowed(vendor, stream, before):
    """A function: may this record come again, by what was known before?"""
    how = vendor.streams[stream]
    if how.cursor is None or how.loose:
        return lambda record: True
    per = how.per or (lambda record: None)
    newest = {}
    for record in before.values():
        at = moment_of(record.get(how.cursor))
        if at is not None:
            newest[per(record)] = max(newest.get(per(record), at), at)

    def may(record):
        at, mark = moment_of(record.get(how.cursor)), newest.get(per(record))
        if at is None or mark is None:
            return True
        return at > mark - how.overlap if not how.inclusive else at >= mark - how.overlap
    return may


def later(checks, kind, scratch):
    """Later runs."""
    with kind() as vendor:
        case = Case(scratch, vendor)
        case.run()
        cursors = [stream for stream, how in vendor.streams.items() if how.cursor]
        for name in ("nothing changed", "after edits"):
            before = {stream: truth_of(vendor, stream) for stream in vendor.streams}
            changed = set() if name == "nothing changed" else {(stream, as_key(key)) for stream, key in vendor.edit(vendor.random)}
            run = case.run()
            found = run.found()
            more = []
            for stream in cursors:
                may = allowed(vendor, stream, before[stream])
                many = [key for key, record in found.get(stream, {}).items() if (stream, key) not in changed and not may(record)]
                more += [f"{stream}: {len(many)} of {len(before[stream])}, as {many[0]}"] if many else []
            counts = ", ".join(f"{stream} {len(found.get(stream, {}))} of {len(before[stream])}" for stream in cursors)
            checks.ok(f"{name}: incremental streams bring nothing old", run.code == 0 and not more, ("; ".join(more) or counts) + run.why())
            if changed:
                missing = not_come(vendor, changed, found)
                checks.ok(f"{name}: all that changed comes", not missing, str(missing[:3]) if missing else len(changed))
            wrong = wrong_records(vendor, newest_only(vendor, case.brought))
            checks.ok(f"{name}: everything is as the vendor has it", not wrong, wrong or str(run))
        checks.ok("no unknown path", not vendor.unknown, "; ".join(vendor.unknown[:5]))


def newest_only(vendor, brought):
    """What was brought, without what the vendor has no longer (nobody tells of deletions)."""
    there = {stream: truth_of(vendor, stream).keys() for stream in vendor.streams}
    return {stream: {key: record for key, record in records.items() if key in there[stream]} for stream, records in brought.items()
            if stream in there}


def not_come(vendor, changed, found):
    """What changed, is there, and did not come."""
    there = {stream: truth_of(vendor, stream).keys() for stream in {stream for stream, _ in changed}}
    return [(stream, key) for stream, key in changed if key in there[stream] and key not in found.get(stream, {})]


def paging(checks, kind, scratch):
    """Edits while pages are read."""
    with kind() as vendor:
        case = Case(scratch, vendor)
        vendor.edits_while_paging = 4
        first = case.run()
        left = vendor.edits_while_paging
        vendor.edits_while_paging = 0
        second = case.run()
        wrong = wrong_records(vendor, newest_only(vendor, case.brought))
        checks.ok("edits while paging: the run after that has everything", (first.code, second.code) == (0, 0) and not wrong,
                  (wrong or f"{first}; {second}") + first.why() + second.why())
        checks.ok("edits were made between pages", left < 4, f"{4 - left} times")


def limited(checks, kind, scratch):
    """Throttled."""
    def refuse(headers=()):
        answer = vendor.throttle()
        raise Refused(answer.status, answer.body, {**answer.headers, **dict(headers)})

    with kind() as vendor:
        vendor.fail = [{"match": "", "skip": 3, "times": 1, "do": refuse}]
        case = Case(scratch, vendor)
        run = case.run()
        wrong = case.wrong()
        checks.ok("a throttle answer: everything is as the vendor has it", run.code == 0 and not wrong, (wrong or str(run)) + run.why())
        at = next((n for n, call in enumerate(vendor.calls) if n == 3), 0)
        again = [call["at"] for call in vendor.calls[at + 1:] if signature(call) == signature(vendor.calls[at])]
        waited = again[0] - vendor.calls[at]["at"] if again else 0
        checks.ok("a throttle answer: the same is asked again after the wait that it names", 0.9 <= waited < 4, f"{waited:.2f} s")
        checks.ok("a throttle answer: an event tells", run.event("rate_limited"), len(run.event("rate_limited")))
    with kind(size=60) as vendor:
        vendor.limit = (15, 1)
        case = Case(scratch, vendor)
        run = case.run()
        wrong, refused = case.wrong(), len([call for call in vendor.calls if call["status"] >= 400])
        checks.ok("a limit that counts refused calls: everything is as the vendor has it", run.code == 0 and not wrong, (wrong or str(run)) + run.why())
        checks.fact(f"{refused} refused of {len(vendor.calls)}")
    with kind(size=20) as vendor:
        if "Retry-After" in vendor.throttle().headers:
            vendor.fail = [{"match": "", "skip": 3, "do": lambda: refuse({"Retry-After": "20000"})}]
            run = Case(scratch, vendor).run(longest=30)
            checks.ok("a wait of hours: 75, saved", run.code == 75, str(run) + run.why())


def expired(checks, kind, scratch):
    """A page token expires."""
    if not kind.expire_page_token:
        checks.fact("page tokens do not expire")
        return
    with kind() as vendor:
        vendor.expire_page_token()
        case = Case(scratch, vendor)
        run = case.run()
        wrong = case.wrong()
        checks.ok("a page token expires: everything is as the vendor has it", run.code == 0 and not wrong, (wrong or str(run)) + run.why())
        checks.ok("a page token expires: it was used", any(call["status"] >= 400 for call in vendor.calls) or not vendor.token_expires)


def forbidden(checks, kind, scratch):
    """One parent is forbidden."""
    with kind() as vendor:
        case = Case(scratch, vendor)
        case.run()
        kept = json.loads(case.state.read_text()) if case.state.exists() else {}
        gone = {stream: {as_key(key) for key in keys} for stream, keys in vendor.forbid().items()}
        changed = {(stream, as_key(key)) for stream, key in vendor.edit(vendor.random)}
        run = case.run()
        skipped = run.event("slice_skipped")
        checks.ok(f"forbidden: the run ends well and {'no event tells' if kind.vanishes else 'an event tells what was skipped'}",
                  run.code == 0 and bool(skipped) != bool(kind.vanishes),
                  "; ".join(sorted({f"{event['stream']} {event.get('status')}: {event.get('reason')}" for event in skipped}))[:400] or str(run) + run.why())
        if kind.vanishes:
            checks.fact(f"no event: {kind.vanishes}")
        found = run.found()
        missing = not_come(vendor, changed, found)
        checks.ok("forbidden: what changed elsewhere comes", not missing, str(missing[:3]) if missing else len(changed))
        fresh = Case(scratch, vendor)
        run = fresh.run()
        wrong = fresh.wrong()
        still = {stream: len(keys & fresh.brought.get(stream, {}).keys()) for stream, keys in gone.items()}
        checks.ok("forbidden: all else is whole", run.code == 0 and not wrong and not any(still.values()), (wrong or str(run)) + run.why())
        checks.fact(", ".join(f"{len(keys)} {stream} come no longer" for stream, keys in gone.items()))
        del kept


def removed(checks, kind, scratch):
    """An endpoint is gone for good."""
    with kind(size=20) as vendor:
        Case(scratch, vendor).run()
        routes = sorted({(call["method"], call["route"]) for call in vendor.calls if call["route"]})
        quiet = []
        for method, route in routes:
            vendor.fail = [{"match": lambda call: (call.method, call.route) == (method, route), "status": 410,
                            "body": {"message": "The requested API has been removed."}}]
            run = Case(scratch, vendor).run()
            if run.code in (0, 75) or not isinstance(run.code, int):
                quiet.append(f"{method} {route}: {run}")
        checks.ok("a removed endpoint is loud, whichever it is", not quiet, "; ".join(quiet)[:600] or f"{len(routes)} endpoints")


def archived(checks, kind, scratch):
    """The switch for archived things."""
    if not kind.archive:
        checks.fact("the vendor hides nothing")
        return
    with kind() as vendor:
        switch, stream, key = vendor.archive()
        key = as_key(key)
        for name, more in (("without", {}), ("with", switch)):
            case = Case(scratch, vendor, **more)
            run = case.run()
            checks.ok(f"archived, {name} the switch: {stream} {'comes' if more else 'does not come'}",
                      run.code == 0 and (key in case.brought.get(stream, {})) == bool(more), str(run) + run.why())


def kill(checks, kind, scratch, seed=1):
    """SIGKILL in the middle."""
    dice = random.Random(seed)
    with kind(latency=0.01) as vendor:
        lines = sum(map(len, Case(scratch, vendor).run().records.values()))
        hits = 0
        for share in (dice.uniform(0, 0.2), dice.uniform(0.2, 0.6), dice.uniform(0.6, 0.95)):
            case, missing, kept = Case(scratch, vendor), "", 0
            tap = start_tap(case.command())
            out = [tap.stdout.readline() for _ in range(max(1, int(lines * share)))]
            tap.kill()
            out += tap.stdout.readlines()
            tap.wait()
            tap.stdout.close()
            first = Run(vendor, -9, b"".join(out), b"", 0)
            first.found(case.brought)
            missing = case.wrong()
            if first.state:
                kept = first.states
                case.state.write_text(json.dumps(first.state))
            vendor.edit(vendor.random)
            run = case.run()
            wrong = wrong_records(vendor, newest_only(vendor, case.brought))
            hits += bool(missing)
            checks.ok(f"SIGKILL after {share:.0%}: the next run brings the rest", run.code == 0 and not wrong, (wrong or str(run)) + run.why())
            checks.fact(f"{sum(map(len, first.records.values()))} of {lines} records and {kept} states, then {run}")
        checks.ok("kills hit a running tap", hits >= 2, hits)


def backfill(checks, kind, scratch):
    """The past."""
    if not any(how.cursor for how in kind.streams.values()):
        checks.fact("no stream has a cursor")
        return
    start, end = "2023-06-01", "2024-06-01"
    with kind() as vendor:
        case = Case(scratch, vendor)
        run = case.run("--backfill", f"{start}..{end}")
        there = [stream for stream in {message["stream"] for message in run.said if message["type"] == "SCHEMA"}
                 if vendor.streams[stream].cursor]
        words, counts, found = [], [], run.found()
        for stream in sorted(there):
            how, have = vendor.streams[stream], found.get(stream, {})
            want = {key: record for key, record in truth_of(vendor, stream).items()
                    if (at := moment_of(record.get(how.cursor))) is not None and moment_of(start) <= at < moment_of(end)}
            lost = [key for key in want if key not in have or not same(have[key], want[key])]
            extra = [] if how.loose else [key for key in have if key not in want]
            words += [f"{stream}: {len(keys)} {what}, as {keys[0]}" for what, keys in (("lost or stale", lost), ("too many", extra)) if keys]
            counts.append(f"{stream} {len(have)}")
        checks.ok("a backfill brings the past that was asked for", run.code == 0 and there and not words, ("; ".join(words) or ", ".join(counts)) + run.why())
        again = case.run("--backfill", f"{start}..{end}")
        strict = [stream for stream in there if not vendor.streams[stream].loose]
        much = {stream: len(again.records[stream]) for stream in strict if again.records[stream]}
        checks.ok("what was backfilled is not read again", again.code == 0 and not much, str(much or again) + again.why())


# ---------------------------------------------------------------- the reference

def signature(call):
    """A call, to compare."""
    body = call["json"] if call["json"] is not None else call["form"]
    return call["method"], call["path"], json.dumps(sorted(call["many"].items())), json.dumps(body, sort_keys=True)


def comparable(vendor, text):
    """A text without what is of this moment: the vendor's port, times of today."""
    text = text.replace(vendor.url, "<vendor>").replace(vendor.url.removeprefix("http://"), "<vendor>")
    now = time.time()

    def hide(match):
        at = moment_of(match[0])
        return "<now>" if at and abs(now - at) < 2 * 86400 else match[0]
    return re.sub(r"\d{4}-\d\d-\d\d(T[\d:.]+(Z|[+-]\d\d:?\d\d)?)?|\b1\d{9}(\d{3})?\b", hide, text)


def as_text(record):
    """A record to compare: the reference leaves null keys out at the top level."""
    return json.dumps({k: v for k, v in record.items() if v is not None}, sort_keys=True)


def state_text(state):
    """A state to compare: without how long runs took, partitions in order."""
    def plain(value):
        if isinstance(value, list):
            return sorted(map(plain, value), key=json.dumps)
        return {k: plain(v) for k, v in value.items() if k != "lookback_window"} if isinstance(value, dict) else value

    return json.dumps(plain(state), sort_keys=True)


class Source:
    """A source in Airbyte's protocol, its state kept from run to run."""

    def __init__(self, name, scratch, vendor, streams, command, **config):
        self.vendor, self.command, self.states = vendor, command, {}
        self.config, self.catalog, self.state = (scratch / f"{name}-{what}.json" for what in ("config", "catalog", "state"))
        self.config.write_text(json.dumps({**vendor.config(), **config}))
        self.catalog.write_text(json.dumps({"streams": [
            {"stream": {"name": stream, "json_schema": {}, "supported_sync_modes": ["full_refresh", "incremental"]},
             "sync_mode": "incremental", "destination_sync_mode": "append"} for stream in streams]}))

    def run(self):
        """One run: exit code, records by stream, what it said of errors."""
        self.vendor.reset_calls()
        more = []
        if self.states:
            self.state.write_text(json.dumps([{"type": "STREAM", "stream": {"stream_descriptor": {"name": name}, "stream_state": state}}
                                              for name, state in self.states.items()]))
            more = ["--state", str(self.state)]
        done = subprocess.run([*self.command, "--config", str(self.config), "--catalog", str(self.catalog), *more],
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=240)
        records, errors = collections.defaultdict(collections.Counter), []
        for line in done.stdout.splitlines():
            message = json.loads(line)
            if message["type"] == "RECORD":
                records[message["record"]["stream"]][comparable(self.vendor, as_text(message["record"]["data"]))] += 1
            elif message["type"] == "STATE":
                self.states[message["state"]["stream"]["stream_descriptor"]["name"]] = message["state"]["stream"]["stream_state"]
            elif message["type"] == "TRACE" and message["trace"]["type"] == "ERROR":
                errors.append(f"{message['trace']['error'].get('message')} {message['trace']['error'].get('internal_message')}"[:400])
        return done.returncode, records, errors or ([done.stderr.decode(errors="replace")[-300:]] if done.returncode else [])


def without_budget(scratch, name):
    """The manifest without `api_budget`: pace is not what is compared."""
    import yaml
    manifest, path = yaml.safe_load((ROOT / "catalog" / f"{name}.yaml").read_text()), scratch / f"{name}.yaml"
    manifest.pop("api_budget", None)
    path.write_text(yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True))
    return path


def reference():
    """The reference's command, if it is here."""
    found = shutil.which(os.environ.get("AIRBYTE_CDK") or "source-declarative-manifest")
    if not found and "AIRBYTE_CDK" in os.environ:
        sys.exit(f"{os.environ['AIRBYTE_CDK']} is not there; AIRBYTE_CDK must name an executable")
    if found and os.path.basename(found).startswith("python"):
        return [found, "-c", "from airbyte_cdk.cli.source_declarative_manifest import run; run()"]
    return found and [found]


def parity(checks, kind, scratch):
    """The same as airbyte-cdk 7.39.1."""
    command = reference()
    if not command:
        checks.fact("AIRBYTE_CDK does not name the reference: parity is not checked")
        return
    streams = [stream for stream in kind.streams if stream not in kind.parity_skips]
    for stream, reason in kind.parity_skips.items():
        checks.fact(f"parity leaves out {stream}: {reason}")
    settings = FREE
    if kind.overlap_asks_more:
        settings = {**FREE, "safety": {"overlap": "PT0S"}}
        checks.fact(f"parity is without safety.overlap: {kind.overlap_asks_more}")
    with kind() as ours, kind() as theirs:
        tap = Source("tap", scratch, ours, streams, [dripfeed(), "--protocol", "airbyte", "--source", kind.source, "read"], dripfeed=settings)
        other = Source("reference", scratch, theirs, streams, [*command, "read", "--manifest-path", str(without_budget(scratch, kind.source))])
        for name in ("first run", "second run, after edits"):
            code, records, errors = tap.run()
            their_code, their_records, their_errors = other.run()
            checks.ok(f"parity, {name}: both end with 0", (code, their_code) == (0, 0),
                      f"{code} and {their_code}" + "; ".join(["", *errors, *their_errors])[:900])
            asked, theirs_asked = ({tuple(comparable(vendor, part) for part in signature(call)) for call in vendor.calls} for vendor in (ours, theirs))
            wrong = [f"only {who}: {sorted(calls)[:2]}" for who, calls in (("the tap", asked - theirs_asked), ("the reference", theirs_asked - asked)) if calls]
            checks.ok(f"parity, {name}: the same requests", not wrong, "; ".join(wrong)[:900] or f"{len(asked)} different ones, {len(ours.calls)} and {len(theirs.calls)} calls")
            bad = []
            for stream in streams:
                few, many = their_records[stream] - records[stream], records[stream] - their_records[stream]
                if few or many:
                    bad.append(f"{stream}: {sum(few.values())} only the reference's, {sum(many.values())} only the tap's, {apart(kind, stream, few, many)}")
            checks.ok(f"parity, {name}: the same records", not bad, "; ".join(bad)[:1500] or sum(sum(counts.values()) for counts in records.values()))
            bad = []
            for stream in streams:
                have, want = comparable(ours, state_text(tap.states.get(stream))), comparable(theirs, state_text(other.states.get(stream)))
                if kind.streams[stream].cursor and have != want:
                    bad.append(f"{stream}: {have[:300]} instead of {want[:300]}")
            checks.ok(f"parity, {name}: the same states", not bad, "; ".join(bad)[:1500])
            for vendor in (ours, theirs):  # what changes does so well in the past
                vendor.clock = lambda moments=iter(range(10**6)): TWIN_EPOCH + datetime.timedelta(seconds=next(moments))
                vendor.random = random.Random(5)
                vendor.last = TWIN_EPOCH
                vendor.edit(vendor.random)


def apart(kind, stream, few, many):
    """How two sets of records differ: a record that both have, else one that one has."""
    key = kind.streams[stream].key
    ours, theirs = ({tuple(record.get(name) for name in key): record for record in map(json.loads, texts)} for texts in (many, few))
    for one in ours.keys() & theirs.keys():
        return f"as {one}: {different(ours[one], theirs[one])}"
    return f"as {next(iter([*few, *many]))[:300]}"


def conform(checks, kind, scratch):
    """The conformance suites."""
    pythons = {"singer": os.environ.get("PYTHON_JSONSCHEMA")}
    if command := reference():
        beside = Path(command[0]).resolve() if os.path.basename(command[0]).startswith("python") else Path(command[0]).parent / "python"
        pythons["airbyte"] = str(beside)
    with kind(size=60) as vendor:
        good, bad = scratch / "good.json", scratch / "bad.json"
        for path, config in ((good, vendor.config()), (bad, vendor.bad_config())):
            path.write_text(json.dumps({**config, "dripfeed": FREE}))
        for suite, prefix, arguments in (("singer", "tap-", [good]), ("airbyte", "source-", [good, bad])):
            if not pythons.get(suite):
                checks.fact(f"no Python for the {suite} suite: it is not run")
                continue
            program = scratch / f"{prefix}{kind.source}"
            program.unlink(missing_ok=True)
            program.symlink_to(dripfeed())
            done = subprocess.run([pythons[suite], str(ROOT / "tests" / "conform" / f"{suite}_conform.py"), str(program), *map(str, arguments)],
                                  stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240)
            failed = [line for line in done.stdout.splitlines() if line.startswith("FAIL")
                      and not any(f".{stream}." in line or f" {stream}." in line for stream in kind.conformance_skips)]
            last = done.stdout.strip().splitlines()[-1:] or [done.stderr[-300:]]
            checks.ok(f"{suite} conformance", not failed and "passed" in last[0], "; ".join([*failed[:5], *last])[:900])
    for stream, reason in kind.conformance_skips.items():
        checks.fact(f"conformance leaves out {stream}: {reason}")


# ---------------------------------------------------------------- the database

SERVER = {}


def wrong_tables(vendor, server, schema, deletions):
    """What of the tables is not as the vendor has it, in words, and how many rows the database counts. With `deletions` rows that
    the vendor has no longer may be there: nobody tells of deletions."""
    words, counts, tables = [], [], server.tables(schema)
    for stream, how in vendor.streams.items():
        table, want = tables.get(stream.replace("-", "_")), truth_of(vendor, stream)
        if table is None:
            words += [f"{stream}: no table"] if want else []
            continue
        have = {as_key([row.get(key) for key in how.key]): {k: v for k, v in row.items() if not k.startswith("_sdc_")} for row in table.rows}
        extra, lost = have.keys() - want.keys(), want.keys() - have.keys()
        stale = [key for key in want.keys() & have.keys() if not same(have[key], want[key])]
        if table.count - (len(extra) if deletions else 0) != len(want) or lost:
            words.append(f"{stream}: {table.count} rows of {len(want)}, {len(lost)} lost, {len(extra)} made up")
        if stale:
            words.append(f"{stream}: {len(stale)} differ, as {stale[0]}: {different(have[stale[0]], want[stale[0]])}")
        counts.append(f"{stream} {table.count}")
    return "; ".join(words)[:1000], ", ".join(counts)


def warehouse(checks, kind, scratch):
    """PostgreSQL."""
    import warehouse as database
    if not os.environ.get("TARGET_POSTGRES_MELTANO"):
        checks.fact("TARGET_POSTGRES_MELTANO names no target: the database is not checked")
        return
    if "server" not in SERVER:
        SERVER["server"] = SERVER["stack"].enter_context(database.Postgres())
    target, schema = database.Meltano(SERVER["server"], scratch), f"v_{kind.source.replace('-', '_')}"
    with kind() as vendor:
        case, settings = Case(scratch, vendor), scratch / "target.json"
        settings.write_text(json.dumps(target.config(schema, 0)))
        state = scratch / "sync-state.json"
        state.unlink(missing_ok=True)
        for name in ("first load", "after edits"):
            done = subprocess.run(sync_command(case.config, [target.executable, "--config", settings], "--state", state, source=kind.source),
                                  stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LONGEST * 2)
            wrong, counts = wrong_tables(vendor, target.server, schema, name == "after edits")
            checks.ok(f"PostgreSQL, {name}: counts and contents are the vendor's", done.returncode == 0 and not wrong,
                      (wrong or counts) + ("" if done.returncode == 0 else f"; exit code {done.returncode}: {done.stderr[-500:]}"))
            vendor.edit(vendor.random)
    text, bad, rows = (ROOT / "docs" / "src" / "sources" / f"{kind.source}.md").read_text(), [], []
    for block in text.split("```sql\n")[1:]:
        try:
            rows.append(len(target.server.query(f"SET search_path TO {schema}; {block.split('```')[0]}")))
        except subprocess.CalledProcessError as failed:
            bad.append(f"{failed.stderr or failed}")
    checks.ok("PostgreSQL: the queries of the docs page run", rows and not bad, "; ".join(bad)[:600] or f"{rows} rows")


def cap(checks, kind, scratch):
    """The manifest's own limits, at a vendor that is far away and counts."""
    stream, calls, seconds = TASKS[kind.source]
    faster = FASTER.get(kind.source, 1)
    sped_up = {"dripfeed": {"pace": {"limits": [{"calls": calls, "per": f"PT{seconds // faster}S"}]}}} if faster > 1 else {}
    for stream, size in [(stream, 10_000), *([EACH[kind.source]] if kind.source in EACH else [])]:
        with kind(size=size, latency=0.2 / faster) as vendor:
            vendor.limit = (calls, seconds / faster)
            case = Case(scratch, vendor, free=False, **AS_SOLD.get(kind.source, {}), **sped_up)
            run = case.run("--streams", stream, longest=900)
            wrong = wrong_records(vendor, case.brought, [stream])
            checks.ok(f"{size:,} tasks, 200 ms away: {stream} are the vendor's", run.code == 0 and not wrong, (wrong or str(run)) + run.why())
            times = sorted(call["at"] for call in vendor.calls)
            busiest = max(bisect.bisect_left(times, at + seconds / faster) - nth for nth, at in enumerate(times))
            refused = len(run.event("rate_limited"))
            checks.ok(f"{size:,} tasks, 200 ms away: no call too many", not refused and busiest <= calls, f"{refused} refused")
            span, done = max(call["until"] for call in vendor.calls) - times[0], (run.event("run_done") or [{}])[-1]
            answers = [call["until"] - call["at"] for call in vendor.calls]
            checks.fact(f"{kind.source}: an answer takes {faster * sum(answers) / len(times):.2f} s; {sum(answers) / span:.1f} are awaited at a time; "
                        f"threads waited {faster * done.get('paced_seconds', 0):.0f} s for the pace; {len(times) / span / calls * seconds / faster:.0%} of "
                        f"the cap's rate from the first call to the last; the clock goes {faster} times as fast")
            checks.fact(f"| {kind.source} | {calls} in {seconds} s | {len(case.brought[stream])} {stream} | {len(times)} | {faster * run.took:.1f} s | "
                        f"{busiest / calls:.0%} | {refused} |")


PARTS = {part.__name__: part for part in (spec, check, whole, later, paging, limited, expired, forbidden, removed, archived, kill, backfill,
                                          parity, conform, warehouse)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=SOURCES, metavar="NAME")
    parser.add_argument("--only", nargs="+", metavar="WORD", choices=[*PARTS, "cap"], help="only these parts")
    options = parser.parse_args()
    checks = Checks()
    with contextlib.ExitStack() as SERVER["stack"], folder() as scratch:
        for name in options.names:
            kind = vendor_of(name)
            for part in [*PARTS.values(), cap]:
                if part.__name__ not in (options.only or PARTS):
                    continue
                began = time.monotonic()
                print(f"--- {name}: {part.__name__}", flush=True)
                try:
                    part(checks, kind, scratch)
                except Exception as failed:  # the other parts tell more
                    checks.ok(f"{part.__name__} runs", False, repr(failed)[:600])
                checks.fact(f"{part.__name__}: {time.monotonic() - began:.1f} s")
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
