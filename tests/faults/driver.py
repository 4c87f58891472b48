#!/usr/bin/env python3
"""Runs `table.md`: each listed fault, its exit code, what the next run must bring, and its bounds on time and memory.

Comes in: the table, and the functions of `rows_*.py`, one a row, which make the fault and run the binary at it. Goes out: a line
a check, the table as it came out with `--write FILE`, and a last line that counts. Every id of the list is a row; a row is run
here, in a test that it names, or says why it cannot be run. No run may say that something panicked, tear a line of stdout, or
end with another last message than a STATE once one was written.

usage: driver.py [--jobs N] [--write FILE] [ID...]      (DRIPFEED names the binary)
"""
import argparse
import concurrent.futures
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from vendor import TRUTH, Vendor, good

HERE = Path(__file__).resolve().parent
BINARY = os.environ.get("DRIPFEED", "dripfeed")
LISTED = [f"{letter}{n}" for letter, most in (("N", 20), ("H", 28), ("P", 14), ("R", 15), ("C", 7), ("T", 6), ("K", 4), ("X", 3), ("Y", 12))
          for n in range(1, most + 1)]
ROWS = {}
# Rows that measure memory or time run with no other beside them.
ALONE = set()
SCHEMA = {"id": {"type": "integer"}, "name": {"type": ["null", "string"]},
          "updated_at": {"type": ["null", "string"], "format": "date-time"}}
AT_ONCE = {"type": "DefaultErrorHandler", "max_retries": 2,
           "backoff_strategies": [{"type": "ConstantBackoffStrategy", "backoff_time_in_seconds": 0.05}]}


def row(name, alone=False):
    """Registers a function for a row of the table."""
    def register(function):
        ROWS[name] = function
        if alone:
            ALONE.add(name)
        return function
    return register


def merged(into, changes):
    """A deep merge; a key that is None goes."""
    out = dict(into)
    for key, value in changes.items():
        if value is None:
            out.pop(key, None)
        elif isinstance(value, dict) and isinstance(out.get(key), dict):
            out[key] = merged(out[key], value)
        else:
            out[key] = value
    return out


def manifest(stream=None, retriever=None, requester=None, handler=AT_ONCE, windows=True, top=None):
    """The stream `items`: three windows, two pages each, one after the other; tries again at once, twice. Parts are merged into it."""
    requests = {"type": "HttpRequester", "url_base": "{{ config['url'] }}", "path": "items",
                "authenticator": {"type": "BearerAuthenticator", "api_token": "{{ config['token'] }}"}}
    if handler:
        requests["error_handler"] = handler
    whole = {"type": "DeclarativeStream", "name": "items", "primary_key": "id",
             "schema_loader": {"type": "InlineSchemaLoader", "schema": {"type": "object", "properties": SCHEMA}},
             "retriever": {"type": "SimpleRetriever", "requester": requests,
                           "record_selector": {"type": "RecordSelector", "extractor": {"type": "DpathExtractor", "field_path": ["data"]}},
                           "paginator": {"type": "DefaultPaginator",
                                         "page_token_option": {"type": "RequestOption", "inject_into": "request_parameter", "field_name": "token"},
                                         "pagination_strategy": {"type": "CursorPagination", "cursor_value": "{{ response['next'] }}",
                                                                 "stop_condition": "{{ not response.get('next') }}"}}}}
    if windows:
        option = {"type": "RequestOption", "inject_into": "request_parameter"}
        whole["incremental_sync"] = {
            "type": "DatetimeBasedCursor", "cursor_field": "updated_at", "datetime_format": "%Y-%m-%dT%H:%M:%SZ", "step": "P10D",
            "cursor_granularity": "PT1S", "start_datetime": "2024-01-01T00:00:00Z", "end_datetime": "2024-01-30T23:59:59Z",
            "start_time_option": {**option, "field_name": "since"}, "end_time_option": {**option, "field_name": "until"}}
    whole = merged(whole, stream or {})
    whole["retriever"] = merged(whole["retriever"], retriever or {})
    whole["retriever"]["requester"] = merged(whole["retriever"]["requester"], requester or {})
    spec = {"type": "Spec", "connection_specification": {"type": "object", "properties": {
        "url": {"type": "string"}, "token": {"type": "string", "airbyte_secret": True}}}}
    return merged({"version": "7.39.1", "type": "DeclarativeSource", "check": {"type": "CheckStream", "stream_names": ["items"]},
                   "streams": [whole], "spec": spec, "concurrency_level": {"type": "ConcurrencyLevel", "default_concurrency": 1, "max_concurrency": 1}},
                  top or {})


def resident(process):
    """The most memory that a process has had since it is this program, in MB."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0


# A run that takes more is ended, in MB.
MOST_MEMORY = 2500


class Ran:
    """How a run ended: code, lines, stderr, seconds, the most memory in MB."""

    def __init__(self, code, out, err, seconds, memory):
        self.code, self.out, self.err, self.seconds, self.memory = code, out, err, seconds, memory
        self.next_run = None

    @property
    def messages(self):
        return [json.loads(line) for line in self.out.split(b"\n") if line]

    @property
    def records(self):
        return [m["record"] for m in self.messages if m["type"] == "RECORD" and isinstance(m.get("record"), dict) and "data" not in m]

    @property
    def ids(self):
        return {r["id"] for r in self.records}

    @property
    def state(self):
        states = [m["value"] for m in self.messages if m["type"] == "STATE"]
        return states[-1] if states else None


class Trial:
    """What a row may use: a folder of its own, runs, and checks. Every run is judged by the row of the table."""

    def __init__(self, name, expected):
        self.name, self.expected, self.ran, self.faults, self.facts = name, expected, [], [], []
        self.folder = Path(tempfile.mkdtemp(prefix=f"fault-{name}-"))
        self.counter = 0

    def file(self, name, content):
        """Writes a file: text, bytes, or a value as JSON."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    def check(self, name, holds, fact=""):
        """One more check of this row."""
        if not holds:
            self.faults.append(f"{name}: {fact}" if fact != "" else name)

    def command(self, verb="read", source=None, config=None, state=None, catalog=None, args=()):
        """The command line, with its files written."""
        self.counter += 1
        command = [BINARY, *verb.split()]
        source = manifest() if source is None else source
        if source is not False:
            command += ["--source", source if isinstance(source, str) and "\n" not in source and "{" not in source
                        else str(self.file(f"{self.counter}/manifest.yaml", source))]
        for flag, content in (("--config", config), ("--state", state), ("--catalog", catalog)):
            if content is not None:
                path = content if isinstance(content, Path) else self.file(f"{flag[2:]}{self.counter}.json", content)
                command += [flag, str(path)]
        return command + [str(arg) for arg in args]

    def start(self, command, env=None, **options):
        """Starts a process with no settings of the caller's."""
        clean = {k: v for k, v in os.environ.items() if not k.upper().startswith(("DRIPFEED", "HTTP", "ALL_PROXY", "NO_PROXY", "TAP_"))}
        return subprocess.Popen(command, **{
            "stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": self.folder,
            "env": {**clean, **(env or {})}, "start_new_session": True, **options})

    def finish(self, process, began, within=100):
        """Waits for a process; one that does not end is killed and has the code `hangs`."""
        out, err = [], []
        readers = [threading.Thread(target=lambda f=f, into=into: into.append(f.read())) for f, into in
                   ((process.stdout, out), (process.stderr, err)) if f]
        for reader in readers:
            reader.start()
        timer = threading.Timer(within, process.kill)
        timer.start()
        # The kernel's count of a child's memory has this program's own in it: the child's is looked at while it runs.
        memory = 0
        while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
            memory = max(memory, resident(process.pid))
            # Whatever else runs on this machine needs memory too.
            if memory > MOST_MEMORY:
                process.kill()
            time.sleep(0.01)
        _, status = os.waitpid(process.pid, 0)
        seconds = time.monotonic() - began
        timer.cancel()
        process.returncode = code = os.waitstatus_to_exitcode(status)
        for reader in readers:
            reader.join()
        for file in (process.stdout, process.stderr):
            if file:
                file.close()
        if code == -signal.SIGKILL and seconds >= within:
            code = "hangs"
        return Ran(code, (out or [b""])[0], (err or [b""])[0].decode(errors="replace"), seconds, memory)

    def run(self, verb="read", *, env=None, within=100, judged=True, code=None, limits=None, **given):
        """Runs the binary to its end. The row's bounds and code are checked unless it is not `judged`."""
        command = self.command(verb, **given)
        if limits:
            command = ["bash", "-c", f'{limits}; exec "$@"', "bash", *command]
        began = time.monotonic()
        ran = self.finish(self.start(command, env), began, within)
        if judged:
            self.judge(ran, code)
        return ran

    def judge(self, ran, code=None):
        """What every run must be, and what the row says of its code, time and memory."""
        self.ran.append(ran)
        wanted = [str(code)] if code is not None else self.expected["code"].split("/")
        self.check(f"exit code {'/'.join(wanted)}", str(ran.code) in wanted, f"{ran.code}; {ran.err[-700:]}")
        self.check("no panic", "panicked" not in ran.err, ran.err[-400:])
        self.check("whole lines", not ran.out or ran.out.endswith(b"\n"), ran.out[-80:])
        try:
            kinds = [m.get("type") for m in ran.messages]
            if "STATE" in kinds:
                self.check("the last line is a STATE", kinds[-1] == "STATE", kinds[-3:])
        except (ValueError, AttributeError):
            pass
        for bound, value in (("seconds", ran.seconds), ("MB", ran.memory)):
            if self.expected[bound] not in ("-", ""):
                self.check(f"at most {self.expected[bound]} {bound}", value <= float(self.expected[bound]), f"{value:.1f}")

    def broken(self, respond, source=None, truth=TRUTH, **given):
        """Reads a vendor that breaks; then a good one from the last state. By the row, the two bring all rows together."""
        with Vendor(respond, given.pop("tls", None)) as vendor:
            ran = self.run(source=source, config=given.pop("config", None) or self.config(vendor), **given)
            ran.requests = list(vendor.requests)
            ran.connections = vendor.connections
        self.bring_the_rest(ran, source, truth)
        return ran

    def bring_the_rest(self, ran, source=None, truth=TRUTH):
        """Judges what the run and the next one brought together."""
        wanted = self.expected["next run"]
        if wanted == "-":
            return
        if wanted == "nothing":
            self.check("this run brings all", set(truth) <= ran.ids, f"lacks {sorted(set(truth) - ran.ids)[:5]}")
            return
        with Vendor(good) as vendor:
            after = self.run(source=source, config=self.config(vendor), state=ran.state, judged=False)
        self.check("the next run ends with 0", after.code == 0, f"{after.code}; {after.err[-300:]}")
        missing = set(truth) - ran.ids - after.ids
        self.check("both bring all rows", not missing, f"lack {sorted(missing)[:5]}")

    @staticmethod
    def config(vendor, ours=None, **more):
        """A config for a vendor."""
        url = vendor if isinstance(vendor, str) else vendor.url
        return {"url": url, "token": "the-token-of-these-rows", **more, **({"dripfeed": ours} if ours else {})}


def table():
    """The rows of `table.md`, by id."""
    found, names = {}, None
    for line in (HERE / "table.md").read_text().splitlines():
        cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not cells or set(cells[0]) <= {"-", ":"}:
            continue
        if cells[0] == "id":
            names = cells
        elif names:
            found[cells[0]] = dict(zip(names, cells, strict=True))
    return found


def complete(rows):
    """What is wrong with the table itself."""
    wrong = [f"{listed} has no row" for listed in LISTED if not any(re.fullmatch(listed + "[a-z]?", name) for name in rows)]
    for name, expected in rows.items():
        how = expected["how"]
        if how == "run":
            wrong += [] if name in ROWS else [f"{name} has no function"]
        elif how.startswith("`"):
            test = how.strip("`")
            wrong += [] if tests_have(test) else [f"{name}: there is no test {test}"]
        elif not how.startswith("cannot: "):
            wrong.append(f"{name}: `how` is `run`, a test in code quotes, or `cannot: ` and the reason")
    wrong += [f"{name} has a function and no row that is run" for name in ROWS if rows.get(name, {}).get("how") != "run"]
    return wrong


def tests_have(test):
    """Is there a test with this name, or a script of this path?"""
    root = HERE.parent.parent
    if "/" in test:
        return (root / test.split()[0]).exists()
    named = re.compile(rf"fn {re.escape(test)}\b")
    return any(named.search(path.read_text()) for folder in ("tests", "src") for path in (root / folder).rglob("*.rs"))


def attempt(name, expected):
    """Runs a row; gives its trial."""
    trial = Trial(name, expected)
    try:
        ROWS[name](trial)
    except Exception as error:  # A row that cannot be tried does not hold.
        trial.faults.append(f"{type(error).__name__}: {error}")
    shutil.rmtree(trial.folder, ignore_errors=True)
    seconds = max((ran.seconds for ran in trial.ran), default=0)
    memory = max((ran.memory for ran in trial.ran), default=0)
    codes = "/".join(sorted({str(ran.code) for ran in trial.ran}))
    trial.outcome = f"code {codes}, {seconds:.1f} s, {memory:.0f} MB"
    print(f"{'FAIL' if trial.faults else 'ok  '} {name} {expected['fault']}: {trial.outcome}", flush=True)
    for fault in trial.faults:
        print(f"     {fault}".replace("\n", "\n       "), flush=True)
    return trial


def main():
    import importlib
    # The rows register with this module under its own name, also when it is the program.
    sys.modules["driver"] = sys.modules[__name__]
    for path in sorted(HERE.glob("rows_*.py")):
        importlib.import_module(path.stem)
    options = argparse.ArgumentParser()
    options.add_argument("--jobs", type=int, default=8)
    options.add_argument("--write")
    options.add_argument("ids", nargs="*")
    given = options.parse_args()
    began, rows = time.monotonic(), table()
    wrong = complete(rows)
    for text in wrong:
        print(f"FAIL table: {text}")
    chosen = [n for n in rows if rows[n]["how"] == "run" and n in ROWS
              and (not given.ids or any(re.fullmatch(i + "[a-z]?", n) for i in given.ids))]
    trials = {}
    with concurrent.futures.ThreadPoolExecutor(given.jobs) as pool:
        waiting = {n: pool.submit(attempt, n, rows[n]) for n in chosen if n not in ALONE}
        trials.update({n: future.result() for n, future in waiting.items()})
    trials.update({n: attempt(n, rows[n]) for n in chosen if n in ALONE})
    if given.write:
        lines = ["| id | fault | came out | held |", "|---|---|---|---|"]
        lines += [f"| {n} | {rows[n]['fault']} | {t.outcome} | {'yes' if not t.faults else '; '.join(t.faults)[:200]} |"
                  for n, t in trials.items()]
        Path(given.write).write_text("\n".join(lines) + "\n")
    elsewhere = sum(r["how"].startswith("`") for r in rows.values())
    cannot = sum(r["how"].startswith("cannot") for r in rows.values())
    failed = len(wrong) + sum(bool(t.faults) for t in trials.values())
    print(f"{len(trials)} rows run in {time.monotonic() - began:.0f} s; {elsewhere} in tests of their own, {cannot} cannot be run")
    print(f"{len(trials) + len(wrong) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
