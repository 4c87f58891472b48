#!/usr/bin/env python3
"""Proves: the binary is an Airbyte source, whatever name it is called by and in whatever order its arguments come.

(a) spec, check, discover and read say the same as `--protocol airbyte --source NAME`, as `source-NAME`, by environment, with
`--manifest-path` and with a manifest in the config; stdout holds nothing but messages of the protocol, stderr nothing. (b) What
is refused is told in messages, without the token. (c) SIGTERM and SIGINT in the middle: 143 and 130 soon, whole lines, INCOMPLETE
for what was open, and the last STATEs lead the next run to the rest. (d) When the reader of stdout goes away the source ends
soon. (e) A wait for a limited rate is told when it begins.

usage: airbyte_form.py [--only WORD]      (see support.py for the environment)
"""
import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time

from asana_vendor import Asana
from pipe import Silent
from support import ROOT, STREAMS, TOKEN, Checks, Sandbox, differences, dripfeed, ends, folder, start_tap

TASKS = 6000
LEVELS = {"FATAL", "ERROR", "WARN", "INFO", "DEBUG", "TRACE"}
STATUSES = {"STARTED", "RUNNING", "COMPLETE", "INCOMPLETE"}
NO_CURSOR = {"__ab_no_cursor_state_message": True}


class Said:
    """What a source said in Airbyte's protocol, and in `wrong` what of it is not as the protocol wants it."""

    def __init__(self, out, code=None, err=b""):
        self.code, self.err = code, err.decode()
        self.messages, self.wrong = [], []
        self.records, self.states, self.statuses, self.limited, self.errors = {}, {}, {}, [], []
        self.unsaved = {}  # records since the stream's last STATE
        for line in out.splitlines(keepends=True) if isinstance(out, bytes) else out:
            try:
                message = json.loads(line)
                self.messages.append(message)
                if not line.endswith(b"\n"):
                    self.wrong.append(f"a torn line: {line[-60:]!r}")
                self.take(message)
            except (ValueError, KeyError, TypeError) as error:
                self.wrong.append(f"{error!r} in {line[:120]!r}")

    def of(self, kind):
        """The messages of a type, without their envelope."""
        names = {"CONNECTION_STATUS": "connectionStatus"}
        return [message[names.get(kind, kind.lower())] for message in self.messages if message["type"] == kind]

    def take(self, message):
        """One message."""
        kind = message["type"]
        if kind == "RECORD":
            record = message["record"]
            stream, at = record["stream"], record["emitted_at"]
            # PyAirbyte drops records whose time has a fraction.
            if type(at) is not int or not isinstance(record["data"], dict):
                self.wrong.append(f"a record without data or a whole number as its time: {message}")
            if self.statuses.get(stream, [])[-1:] != ["RUNNING"]:
                self.wrong.append(f"a record of {stream} after {self.statuses.get(stream)}")
            self.records.setdefault(stream, []).append(record["data"])
            self.unsaved[stream] = self.unsaved.get(stream, 0) + 1
        elif kind == "STATE":
            state = message["state"]
            stream = state["stream"]["stream_descriptor"]["name"]
            if state["type"] != "STREAM" or not isinstance(state["stream"]["stream_state"], dict):
                self.wrong.append(f"not the state of a stream: {message}")
            if state["sourceStats"]["recordCount"] != self.unsaved.pop(stream, 0):
                self.wrong.append(f"a STATE of {stream} that counts its records wrongly: {message}")
            self.states[stream] = state["stream"]["stream_state"]
        elif kind == "TRACE":
            self.trace(message["trace"])
        elif kind == "LOG":
            if message["log"]["level"] not in LEVELS or not isinstance(message["log"]["message"], str):
                self.wrong.append(f"a LOG of an unknown form: {message}")
        elif kind not in ("SPEC", "CONNECTION_STATUS", "CATALOG", "CONTROL"):
            self.wrong.append(f"a message of an unknown type: {message}")

    def trace(self, trace):
        """A TRACE: a stream's status, or an error."""
        if trace["type"] == "ERROR":
            self.errors.append(trace["error"])
            if trace["error"]["failure_type"] not in ("system_error", "config_error", "transient_error"):
                self.wrong.append(f"an unknown type of failure: {trace}")
            return
        told = trace["stream_status"]
        stream, status = told["stream_descriptor"]["name"], told["status"]
        if trace["type"] != "STREAM_STATUS" or status not in STATUSES:
            self.wrong.append(f"an unknown TRACE: {trace}")
        elif "reasons" in told:
            self.limited.append((stream, status, told["reasons"]))
        else:
            before = self.statuses.setdefault(stream, [])
            allowed = {"STARTED": [None], "RUNNING": ["STARTED"], "COMPLETE": ["STARTED", "RUNNING"],
                       "INCOMPLETE": ["STARTED", "RUNNING", None]}
            if (before[-1] if before else None) not in allowed[status]:
                self.wrong.append(f"{stream} is {status} after {before}")
            before.append(status)

    def by_key(self, key="id", into=None, streams=STREAMS):
        """The last record of each key, by stream; adds to `into`."""
        found = into if into is not None else {stream: {} for stream in streams}
        for stream, records in self.records.items():
            found[stream].update((record[key], record) for record in records)
        return found

    def unfinished(self, streams=STREAMS):
        """Streams whose last status is not COMPLETE, with what it is."""
        last = {stream: (self.statuses.get(stream) or [None])[-1] for stream in streams}
        return {stream: status for stream, status in last.items() if status != "COMPLETE"}


def run(command, timeout=60, **environment):
    """Runs a source; gives what it said."""
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout,
                          env={**os.environ, **environment})
    return Said(done.stdout, done.returncode, done.stderr)


def source(name):
    """The command line of an Airbyte source, up to the verb."""
    return [dripfeed(), "--protocol", "airbyte", "--source", str(name)]


def configured(streams, mode="incremental", **more):
    """A configured catalog of these streams: entries of a CATALOG, or names."""
    entries = [stream if isinstance(stream, dict) else
               {"name": stream, "json_schema": {}, "supported_sync_modes": ["full_refresh", "incremental"]} for stream in streams]
    return {"streams": [{"stream": entry, "sync_mode": mode, "destination_sync_mode": "append", **more} for entry in entries]}


def states_of(states):
    """What a platform gives back: the list of each stream's last STATE, as PyAirbyte writes it."""
    return [{"type": "STREAM", "stream": {"stream_descriptor": {"name": stream, "namespace": None}, "stream_state": state},
             "global_": None, "data": None, "sourceStats": {"recordCount": 1.0}, "destinationStats": None}
            for stream, state in states.items()]


def written(path, content):
    """Writes JSON; gives the path."""
    path.write_text(json.dumps(content))
    return path


def clean(said, code=0):
    """What is wrong with a run that should end with that code, in words; nothing when all is well."""
    return [*(said.wrong[:2]), *([f"exit code {said.code}"] if said.code != code else []),
            *([f"stderr {said.err[-300:]!r}"] if said.err else [])]


def same(said, other, schemas=True):
    """Do two runs say the same, but for moments and the order of streams? Without `schemas`, the catalog's may differ."""
    def told(one):
        streams = [{k: v for k, v in entry.items() if schemas or k != "json_schema"}
                   for catalog in one.of("CATALOG") for entry in catalog["streams"]]
        return (one.of("SPEC"), streams, one.of("CONNECTION_STATUS"), one.statuses, one.states, one.code,
                {stream: sorted(json.dumps(r, sort_keys=True) for r in records) for stream, records in one.records.items()})

    return told(said) == told(other)


# One stream of the sandbox.
OWN = {
    "version": "7.39.1", "type": "DeclarativeSource", "check": {"type": "CheckStream", "stream_names": ["users"]},
    "streams": [{
        "type": "DeclarativeStream", "name": "users", "primary_key": ["id"],
        "schema_loader": {"type": "InlineSchemaLoader", "schema": {
            "$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "additionalProperties": True,
            "properties": {"id": {"type": "string"}, "name": {"type": ["null", "string"]}}}},
        "retriever": {
            "type": "SimpleRetriever",
            "requester": {"type": "HttpRequester", "url_base": "{{ config['url'] }}", "path": "users", "http_method": "GET",
                          "authenticator": {"type": "BearerAuthenticator", "api_token": "{{ config['token'] }}"}},
            "record_selector": {"type": "RecordSelector", "extractor": {"type": "DpathExtractor", "field_path": ["data"]}},
            "paginator": {
                "type": "DefaultPaginator",
                "pagination_strategy": {"type": "CursorPagination", "page_size": 20, "cursor_value": "{{ response['next'] }}",
                                        "stop_condition": "{{ not response['next'] }}"},
                "page_size_option": {"type": "RequestOption", "inject_into": "request_parameter", "field_name": "limit"},
                "page_token_option": {"type": "RequestOption", "inject_into": "request_parameter", "field_name": "after"}}}}],
    "spec": {"type": "Spec", "connection_specification": {
        "$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "additionalProperties": True,
        "required": ["url", "token"], "properties": {"url": {"type": "string"},
                                                     "token": {"type": "string", "airbyte_secret": True}}}},
}


def forms(checks, scratch):
    """(a)"""
    links = {}
    for name in ("sandbox", "asana", "declarative-manifest"):
        links[name] = scratch / f"source-{name}"
        links[name].symlink_to(dripfeed())
    with Sandbox("--tasks", 400) as sandbox:
        config, state = sandbox.config(scratch / "config.json"), written(scratch / "tmpstate.txt", [])
        by_option = source("sandbox")
        by_environment = {"DRIPFEED_PROTOCOL": "airbyte", "DRIPFEED_SOURCE": "sandbox"}
        ways = {
            "source-sandbox": ([links["sandbox"]], {}), "by environment": ([dripfeed()], by_environment),
            "--manifest-path": ([dripfeed(), "--protocol", "airbyte", "--manifest-path", ROOT / "catalog" / "sandbox.yaml"], {}),
        }
        truth = {stream: sandbox.all(stream) for stream in STREAMS}
        verbs = {"spec": ["spec"], "check": ["check", "--config", config], "discover": ["discover", "--config", config]}
        plain = {verb: run(by_option + words) for verb, words in verbs.items()}
        entries = plain["discover"].of("CATALOG")[0]["streams"]
        generation = {"cursor_field": ["modified_at"], "primary_key": [["id"]], "generation_id": 1, "minimum_generation_id": 1,
                      "sync_id": 1}
        catalog = written(scratch / "tmpcatalog.txt", configured(entries, **generation))
        verbs["read"] = ["read", "--config", config, "--catalog", catalog, "--state", state]
        plain["read"] = run(by_option + verbs["read"])
        for verb, said in plain.items():
            kinds = {"spec": "SPEC", "check": "CONNECTION_STATUS", "discover": "CATALOG", "read": "STATE"}
            wrong = clean(said) or (not said.of(kinds[verb]) or verb != "read" and len(said.of(kinds[verb])) != 1)
            checks.ok(f"{verb}: only messages on stdout, one of them what was asked for, nothing on stderr, exit code 0",
                      not wrong, wrong or f"{len(said.messages)} messages")
        spec = plain["spec"].of("SPEC")[0]["connectionSpecification"]
        checks.ok("spec: what is needed, and what is secret", spec["required"] == ["url", "token"] and
                  spec["properties"]["token"]["airbyte_secret"] is True and spec["additionalProperties"] is True)
        checks.ok("check: SUCCEEDED", plain["check"].of("CONNECTION_STATUS") == [{"status": "SUCCEEDED"}])
        tasks = next(entry for entry in entries if entry["name"] == "tasks")
        wanted = {"supported_sync_modes": ["full_refresh", "incremental"], "source_defined_cursor": True, "is_resumable": True,
                  "default_cursor_field": ["modified_at"], "source_defined_primary_key": [["id"]]}
        checks.ok("discover: keys, cursor and modes", [e["name"] for e in entries] == list(STREAMS) and
                  {k: tasks.get(k) for k in wanted} == wanted and tasks["json_schema"]["additionalProperties"] is True)
        wrong = differences(truth, plain["read"].by_key())
        checks.ok("read: every record once, as the API gives it", not wrong and
                  {s: len(r) for s, r in plain["read"].records.items()} == {s: len(r) for s, r in truth.items()}, wrong)
        wrong = {s: v for s, v in plain["read"].statuses.items() if v != ["STARTED", "RUNNING", "COMPLETE"]}
        # The final STATE comes after COMPLETE, and counts every record that none before it has counted.
        checks.ok("read: STARTED, RUNNING, COMPLETE, and then a last STATE that leaves no record uncounted",
                  not wrong and set(plain["read"].states) == set(STREAMS) and not plain["read"].unsaved, wrong)
        checks.ok("read: a stream without a cursor says that it keeps no state", plain["read"].states["users"] == NO_CURSOR)
        for name, (way, environment) in ways.items():
            # A manifest that is named by its path has no baselines, which hold the built-in source's schemas.
            differ = [verb for verb, words in verbs.items()
                      if not same(run(way + words, **environment), plain[verb], name != "--manifest-path")]
            checks.ok(f"{name}: spec, check, discover and read say the same", not differ, differ)

        c, k, s = ["--config", config], ["--catalog", catalog], ["--state", state]
        orders = [
            ["read", *s, *k, *c], ["read", *k, *c, *s], [*c, *k, *s, "read"], [*c, "read", *s, *k],
            ["--debug", "read", *c, *k, *s], ["read", *c, *k, *s, "--debug"], ["read", "--debug", *c, *k],
            ["read", f"--config={config}", f"--catalog={catalog}", f"--state={state}"],
        ]
        odd = []
        for words in orders:
            said = run([links["sandbox"], *words])
            if (wrong := clean(said)) or not same(said, plain["read"]):
                odd.append((" ".join(str(word).replace(str(scratch), "") for word in words), wrong))
        checks.ok(f"read: {len(orders)} orders of the arguments, with and without --debug, say the same", not odd, odd)
        debug = run([links["sandbox"], "check", "--debug", *c])
        checks.ok("--debug: every request as a LOG message, and no token",
                  not clean(debug) and any(log["level"] == "DEBUG" and "/users" in log["message"] for log in debug.of("LOG")) and
                  TOKEN not in json.dumps(debug.messages), clean(debug))

        again = written(scratch / "again.txt", states_of(plain["read"].states))
        said = run([links["sandbox"], "read", *c, *k, "--state", again])
        at = plain["read"].states["tasks"]["modified_at"]
        due = [task for task in truth["tasks"].values() if task["modified_at"] >= at]
        checks.ok("read: from PyAirbyte's states on, only what is due comes", not clean(said) and
                  len(said.records["tasks"]) == len(due) < 10 and said.states == plain["read"].states,
                  clean(said) or f"{len(said.records['tasks'])} tasks, {len(due)} due")
        some = written(scratch / "some.json", configured(["users", "ghosts"], "full_refresh"))
        said = run([links["sandbox"], "read", *c, "--catalog", some])
        checks.ok("read: only what the catalog names; a stream that does not exist is INCOMPLETE, as in the reference",
                  not clean(said) and set(said.records) == {"users"} and
                  said.unfinished(["users", "ghosts"]) == {"ghosts": "INCOMPLETE"}, clean(said) or said.statuses)

        manifest, lone = written(scratch / "own.json", OWN), written(scratch / "lone.json", configured(["users"]))
        given = json.loads(config.read_text())
        injected = written(scratch / "injected.json", {**given, "__injected_declarative_manifest": OWN})
        own = {
            "--manifest-path": ([dripfeed(), "--protocol", "airbyte", "--manifest-path", manifest], config),
            "--manifest-path after the verb": ([links["declarative-manifest"]], config),
            "__injected_declarative_manifest": ([dripfeed(), "--protocol", "airbyte"], injected),
            "__injected_declarative_manifest, as source-declarative-manifest": ([links["declarative-manifest"]], injected),
        }
        told = {}
        for name, (way, file) in own.items():
            more = ["--manifest-path", manifest] if "after" in name else []
            told[name] = [run([*way, verb, "--config", file, *words, *more])
                          for verb, words in (("check", ()), ("discover", ()), ("read", ("--catalog", lone)))]
            wrong = [clean(said) for said in told[name] if clean(said)]
            checks.ok(f"{name}: check, discover, read", not wrong and
                      told[name][0].of("CONNECTION_STATUS") == [{"status": "SUCCEEDED"}] and
                      [e["json_schema"] for e in told[name][1].of("CATALOG")[0]["streams"]] ==
                      [OWN["streams"][0]["schema_loader"]["schema"]] and
                      told[name][2].by_key(streams=["users"]) == {"users": truth["users"]}, wrong[:2])
    said = run([links["asana"], "spec"])
    spec = (said.of("SPEC") or [{}])[0]
    checks.ok("source-asana spec", not clean(said) and spec.get("documentationUrl", "").startswith("https://") and
              {"required": ["access_token"]} in spec["connectionSpecification"]["anyOf"] and
              spec["connectionSpecification"]["properties"]["access_token"]["airbyte_secret"] is True, clean(said))


def refused(checks, scratch):
    """(b)"""
    token = "0/9f8e7d6c5b4a39281706f5e4d3c2b1a0"
    with Asana(tasks=60, token="another") as asana:
        empty = written(scratch / "empty.json", {})
        wrong_token = asana.config(scratch / "wrong.json", access_token=token, plan="paid")
        catalog = written(scratch / "seven.json", configured(["workspaces", "users", "tasks"]))
        text = ""
        for name, config, words in (("no token", empty, "access_token"),
                                    ("a wrong token", wrong_token, "Asana refused the access token")):
            said = run([*source("asana"), "check", "--config", config])
            status = (said.of("CONNECTION_STATUS") or [{}])
            checks.ok(f"check, {name}: FAILED, which says why, exit code 0, nothing on stderr",
                      not clean(said) and len(status) == 1 and status[0].get("status") == "FAILED" and
                      words in status[0].get("message", ""), clean(said) or status)
            said_too = run([*source("asana"), "read", "--config", config, "--catalog", catalog])
            told = [error for error in said_too.errors if words.split(":")[-1] in error["message"]]
            checks.ok(f"read, {name}: a TRACE says why, of a config error; exit code 1, no record, nothing on stderr",
                      not clean(said_too, 1) and not said_too.records and told and
                      {error["failure_type"] for error in said_too.errors} == {"config_error"},
                      clean(said_too, 1) or [error["message"] for error in said_too.errors])
            text += json.dumps([said.messages, said_too.messages])
        begun = said_too.unfinished(["workspaces", "users", "tasks"])
        checks.ok("read, a wrong token: what was begun is INCOMPLETE, and the error names its stream",
                  "INCOMPLETE" in begun.values() and set(begun.values()) <= {"INCOMPLETE", None} and
                  {e["stream_descriptor"]["name"] for e in said_too.errors[:-1]} <= set(begun), begun)
        checks.ok("the token is nowhere to be seen", token not in text and token[-32:] not in text)
        for name, path, content in (("catalog", "--catalog", {"streams": [{"stream": {"name": "users"}, "sync_mode": "INVALID",
                                                                           "destination_sync_mode": "append"}]}),
                                    ("state", "--state", {"bookmarks": {}})):
            bad = written(scratch / "bad.json", content)
            words = {"--catalog": catalog, path: bad}
            said = run([*source("asana"), "read", "--config", wrong_token, *[w for pair in words.items() for w in pair]])
            checks.ok(f"read, a bad {name}: a TRACE says so, exit code 1, nobody is asked", not clean(said, 1) and
                      len(said.errors) == 1 and name in said.errors[0]["message"], clean(said, 1) or said.errors)
        said = run([*source("asana"), "discover", "--config", empty])
        # The reference refuses here too.
        checks.ok("discover without a token: a TRACE says why, exit code 1", not clean(said, 1) and said.errors, clean(said, 1))
        said = run([*source("asana"), "read", "--no-such-switch"])
        checks.ok("an unknown argument: exit code 2, as in the reference", said.code == 2, said.err.splitlines()[:1])


def interrupt(command, after, number):
    """A run with a signal after so many lines: what it said, and how long it took from there."""
    tap = start_tap(command, stderr=subprocess.PIPE)
    lines = [tap.stdout.readline() for _ in range(after)]
    tap.send_signal(number)
    sent = time.monotonic()
    timer = threading.Timer(20, tap.kill)
    timer.start()
    lines += tap.stdout.readlines()
    code = tap.wait()
    took = time.monotonic() - sent
    timer.cancel()
    said = Said(lines, code, tap.stderr.read())
    tap.stdout.close()
    tap.stderr.close()
    return said, took


def cut(checks, sandbox, scratch, number, after, truth):
    """(c): a signal after so many lines, then the rest."""
    name = f"{signal.Signals(number).name} after {after} lines"
    config, state = sandbox.config(scratch / "cut.json"), scratch / "cut-state.txt"
    catalog = written(scratch / "cut-catalog.txt", configured(STREAMS))
    command = [*source("sandbox"), "read", "--config", str(config), "--catalog", str(catalog), "--state", str(state)]
    written(state, [])
    first, took = interrupt(command, after, number)
    code = first.code
    checks.ok(f"{name}: exit code {128 + number}, within 5 s", code == 128 + number and took < 5, f"{code} after {took:.2f} s")
    checks.ok(f"{name}: whole lines, and all as the protocol wants it", not clean(first, code), clean(first, code))
    open_streams = first.unfinished()
    checks.ok(f"{name}: what was begun and has not ended is INCOMPLETE", open_streams and
              all(status == "INCOMPLETE" or (status is None and stream not in first.records)
                  for stream, status in open_streams.items()), open_streams)
    checks.ok(f"{name}: there is a STATE of what was begun", after == 1 or "tasks" in first.states,
              f"{len(first.of('STATE'))} of them")
    found = first.by_key()
    missing = differences(truth, found)
    written(state, states_of(first.states))
    rest = run(command)
    wrong = differences(truth, rest.by_key(into=found))
    checks.ok(f"{name}: the next run brings the rest", missing and not clean(rest) and not wrong and not rest.unfinished(),
              wrong or clean(rest) or missing[:80])
    one, two, whole = len(first.by_key()["tasks"]), len(rest.by_key()["tasks"]), len(truth["tasks"])
    checks.fact(f"{one} tasks, then {two}, of {whole}: {one + two - whole} came twice")
    if after > 1:
        checks.ok(f"{name}: it does not begin again", two < whole, f"{two} of {whole} tasks")


def partitioned(checks, scratch):
    """(c): a stream that has a bookmark for each of its projects."""
    with Asana(tasks=2000, projects=20, latency=0.03) as asana:
        config = asana.config(scratch / "cut.json", plan="paid")
        catalog = written(scratch / "cut-catalog.txt", configured(["tasks"]))
        state = written(scratch / "cut-state.txt", [])
        command = [*source("asana"), "read", "--config", str(config), "--catalog", str(catalog), "--state", str(state)]
        first, took = interrupt(command, 1300, signal.SIGTERM)
        found = first.by_key("gid", streams=["tasks"])
        name, missing = "SIGTERM in a stream of projects", differences({"tasks": asana.truth("tasks")}, found)
        checks.ok(f"{name}: 143 within 5 s, in messages only, INCOMPLETE", not clean(first, 143) and took < 5 and
                  first.unfinished(["tasks"]) == {"tasks": "INCOMPLETE"}, clean(first, 143) or f"after {took:.2f} s")
        read = {project for project, tasks in asana.tasks_of.items()
                if sum(c["count"] for c in asana.calls if c["query"].get("project") == project) == len(tasks) > 0}
        written(state, states_of(first.states))
        asana.reset_calls()
        rest = run(command)
        wrong = differences({"tasks": asana.truth("tasks")}, rest.by_key("gid", found))
        checks.ok(f"{name}: the next run brings the rest", missing and not clean(rest) and not wrong,
                  wrong or clean(rest) or missing[:80])
        since = {c["query"]["project"]: c["query"]["modified_since"] for c in asana.calls if c["path"] == "/tasks"}
        again = [project for project in read if since[project] == min(since.values())]
        # Whose last page was on its way when the signal came may have to be read again.
        checks.ok(f"{name}: projects that were read wholly before it are not read from their start again",
                  len(read) > 4 and len(again) <= 2, f"{len(again)} of {len(read)} are")


def stopped(checks, scratch):
    """(c)"""
    with Sandbox("--tasks", TASKS, "--latency", 50) as sandbox:
        truth = {stream: sandbox.all(stream) for stream in STREAMS}
        for number, after in ((signal.SIGTERM, 1), (signal.SIGTERM, 700), (signal.SIGTERM, 3000), (signal.SIGINT, 1500)):
            cut(checks, sandbox, scratch, number, after, truth)
    partitioned(checks, scratch)
    vendor = Silent()
    config = written(scratch / "silent.json", {"url": vendor.url, "token": "any"})
    given = {"tasks": {"modified_at": "2025-03-01T00:00:00Z"}, "users": NO_CURSOR}
    state = written(scratch / "silent-state.txt", states_of(given))
    catalog = written(scratch / "silent-catalog.txt", configured(STREAMS))
    tap = start_tap([*source("sandbox"), "read", "--config", str(config), "--catalog", str(catalog), "--state", str(state)],
                    stderr=subprocess.PIPE)
    connection = vendor.asked()
    tap.terminate()
    sent = time.monotonic()
    out, err = tap.communicate(timeout=30)
    took = time.monotonic() - sent
    connection.close()
    said = Said(out, tap.returncode, err)
    checks.ok("SIGTERM while the vendor is silent: 143 within 5 s, in messages only", not clean(said, 143) and took < 5,
              clean(said, 143) or f"after {took:.2f} s")
    # A stream without a cursor may have ended before the process did; then it says that it keeps no state, as in the reference.
    moved = {stream: state for stream, state in said.states.items() if state != given.get(stream, NO_CURSOR)}
    checks.ok("SIGTERM while the vendor is silent: INCOMPLETE, and no state has moved",
              said.statuses.get("tasks") == ["STARTED", "INCOMPLETE"] and not moved, moved or said.statuses)


def closed(checks, scratch):
    """(d)"""
    with Sandbox("--tasks", TASKS, "--latency", 50) as sandbox:
        config = sandbox.config(scratch / "gone.json")
        catalog = written(scratch / "gone-catalog.txt", configured(STREAMS))
        command = [*source("sandbox"), "read", "--config", str(config), "--catalog", str(catalog)]
        for name, lines in (("before the first line", 0), ("after one line", 1), ("in the middle", 1500)):
            tap = start_tap(command, stderr=subprocess.PIPE)
            for _ in range(lines):
                tap.stdout.readline()
            tap.stdout.close()
            gone = time.monotonic()
            code = ends(tap, 10)
            took = time.monotonic() - gone
            said = tap.stderr.read().decode()
            tap.stderr.close()
            checks.ok(f"reader gone {name}: exit code 1, soon, and nothing breaks",
                      code == 1 and took < 5 and "panicked" not in said, f"{code} after {took:.2f} s {said[-200:]}")
        shell = subprocess.run(["bash", "-c", '"$@" | head -1 > /dev/null; echo "${PIPESTATUS[0]}"', "bash", *command],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=60)
        checks.ok("| head -1 in a shell", shell.stdout.strip() == "1", f"PIPESTATUS {shell.stdout.strip()}")


def limited(checks, scratch):
    """(e)"""
    wait = 3
    rule = {"match": "^/tasks", "skip": 2, "times": 1, "status": 429, "headers": {"Retry-After": str(wait)}}
    with Asana(tasks=300, fail=[rule]) as asana:
        config = asana.config(scratch / "limited.json", plan="paid")
        catalog = written(scratch / "limited-catalog.txt", configured(["tasks"]))
        tap = start_tap([*source("asana"), "read", "--config", str(config), "--catalog", str(catalog)], stderr=subprocess.PIPE)
        lines, arrived = [], {}
        for line in tap.stdout:
            lines.append(line)
            if b"RATE_LIMITED" in line:
                arrived[len(arrived)] = time.time()
        code = tap.wait()
        said = Said(lines, code, tap.stderr.read())
        tap.stdout.close()
        tap.stderr.close()
        at = next(n for n, call in enumerate(asana.calls) if call["status"] == 429)
        answered = asana.calls[at]["answered"]
        again = next((call["time"] for call in asana.calls[at + 1:] if call["query"] == asana.calls[at]["query"]), 0)
        checks.ok("a 429: it is waited for, and the run ends well", not clean(said) and again - answered >= wait and
                  not said.unfinished(["tasks"]) and {r["gid"] for r in said.records["tasks"]} == set(asana.in_view()),
                  clean(said) or f"{again - answered:.2f} s")
        checks.ok("a 429: one STREAM_STATUS tells it: RUNNING, because of RATE_LIMITED", [
            (stream, status, [reason["type"] for reason in reasons]) for stream, status, reasons in said.limited
        ] == [("tasks", "RUNNING", ["RATE_LIMITED"])], said.limited)
        late = arrived.get(0, 0) - answered
        checks.ok("a 429: it is told at once, not when the wait is over", 0 <= late < 1, f"{late:.2f} s after the answer")
        reset = said.limited[0][2][0]["rate_limited"]["quota_reset"] if said.limited else None
        ahead = reset / 1000 - answered if type(reset) is int else 0
        # A busy machine may let the call go later than it could, never earlier.
        late = again - (reset or 0) / 1000
        checks.ok("a 429: quota_reset is the moment at which it is asked again, in whole milliseconds",
                  wait <= ahead < wait * 1.1 + 0.5 and -0.05 < late < 5,
                  f"{ahead:.2f} s after the answer, asked again {late:.2f} s later")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="run the parts whose name has this word")
    options = parser.parse_args()
    checks = Checks()
    with folder() as scratch:
        for part in (forms, refused, stopped, closed, limited):
            if options.only in part.__name__:
                began = time.monotonic()
                part(checks, scratch)
                checks.fact(f"{part.__name__}: {time.monotonic() - began:.1f} s")
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
