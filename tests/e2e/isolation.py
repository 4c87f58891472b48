#!/usr/bin/env python3
"""Proves: a sick tenant harms nobody else, and loses nothing itself.

Twenty tenants are synced into one PostgreSQL, a schema each, every run a process of its own, all at once: first by themselves,
then beside ten sick ones in the same state directory: a revoked token, an exhausted cap, a breaking drift that stops the stream
and one that stops the run, a corrupt state, more poison than the quarantine's budget, a quarantine that cannot be written, a
vendor that never answers, a target that dies and one that hangs. The healthy ones' rows, states and exit codes are those of the
run without the sick, and their times as well, within what a shared machine allows. Each sick one ends with its own exit code, an
event, an alert and a record that say what to do, and a state that is not ahead of its rows; once it is healed, the next run
brings everything that it missed.

usage: isolation.py [--healthy N]

Environment: support.py's, and TARGET_POSTGRES_PIPELINEWISE as in warehouse.py.
"""
import argparse
import hashlib
import hmac
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import warehouse
from support import STREAMS, TOKEN, Checks, Sandbox, differences, ends, events, folder, kept_state, sync_command

TASKS = 400
LATENCY = 150  # milliseconds: what a run waits for, whatever else the machine does
SINCE = "2025-01-01T00:00:00Z"
# How much longer healthy runs may take beside the sick, by the median: half as many processes more on the same few cores.
MOST = 3.0
LONGEST = 120
SECRET = "alert-secret"
COLUMNS = {"tasks": "id, version, modified_at, name", "users": "id, name", "projects": "id, name"}

DYING = """
import sys
for line in sys.stdin.buffer:
    if line.startswith(b'{"type":"RECORD"'):
        sys.exit("the disk is full")
"""
STUCK = """
import time
while True:
    time.sleep(1)
"""


class Silent:
    """A vendor that takes requests and never answers."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.taken = []
        threading.Thread(target=self.take, daemon=True).start()

    def take(self):
        while True:
            try:
                self.taken.append(self.listener.accept()[0])
            except OSError:
                return

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()
        for connection in self.taken:
            connection.close()


class Duty:
    """Whoever is on call: a webhook that keeps what it is told."""

    def __init__(self):
        self.told, duty = [], self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                duty.told.append((self.headers.get("Dripfeed-Signature", ""), body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/alerts"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def of(self, tenant):
        """The alerts of a tenant."""
        return [body for _, text in self.told if (body := json.loads(text)).get("tenant") == tenant]

    def signed(self):
        """Whether each is signed as documented."""
        for header, text in self.told:
            parts = dict(part.split("=", 1) for part in header.split(",") if "=" in part)
            want = hmac.new(SECRET.encode(), f"{parts.get('t', '')}.".encode() + text, hashlib.sha256).hexdigest()
            if parts.get("v1") != want:
                return False
        return True


class Tenant:
    """A customer: a config, a schema, runs."""

    def __init__(self, trial, name, round_name="trial"):
        self.trial, self.name, self.token = trial, name, f"{TOKEN}-{name}"
        self.schema = f"{round_name}_{name}"
        self.states = trial.scratch / round_name
        self.work = trial.scratch / f"{round_name}_{name}"
        self.work.mkdir()
        self.config, self.events, self.log = self.work / "config.json", self.work / "events", self.work / "log"
        self.ours, self.more, self.target = {}, (), None
        pg = self.work / "pg.json"
        pg.write_text(json.dumps({**trial.loader.config(self.schema, 50), "add_metadata_columns": False}))
        self.loader = [trial.loader.executable, "--config", pg]

    def start(self, url, token=None):
        """Starts a run at a vendor."""
        self.config.write_text(json.dumps({
            "url": url, "token": token or self.token, "start_date": SINCE, "concurrency": 1,
            "dripfeed": {"tenant": self.name, "target_id": "warehouse", "state_dir": str(self.states), "deadline": "PT1M",
                         "alert": {"webhook": self.trial.duty.url, "secret": SECRET}, **self.ours}}))
        self.events.unlink(missing_ok=True)
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                sync_command(self.config, self.target or self.loader, "--events", self.events, *self.more),
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log,
                # Targets start three times as fast with compiled modules, which uv does not make.
                env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""})
        self.began = time.monotonic()
        self.watch = threading.Thread(target=self.wait)
        self.watch.start()
        return self

    def wait(self):
        self.code = ends(self.process, LONGEST)
        self.took = time.monotonic() - self.began

    def ended(self):
        """Its exit code, once it has ended; none when it hung."""
        self.watch.join()
        return self.code

    def run(self, url):
        """A whole run."""
        return self.start(url).ended()

    def said(self):
        """The end of what it said."""
        return self.log.read_text(errors="replace").strip()[-400:]

    def state(self):
        """What is kept, as text."""
        return kept_state(self.states, self.name)

    def bookmark(self):
        """How far the tasks are."""
        try:
            return json.loads(self.state() or "{}").get("bookmarks", {}).get("tasks", {}).get("replication_key_value") or ""
        except ValueError:
            return None

    def record(self):
        """What `status` knows of its last run."""
        found = [*self.states.glob(f"runs/*/{self.name}.json")]
        return json.loads(found[0].read_text())["runs"].get("all", {}) if found else {}

    def rows(self):
        """Its rows in the database, by stream and id."""
        found = {}
        for stream in STREAMS:
            lines = self.trial.server.query(f"select json_build_array({COLUMNS[stream]}) from {self.schema}.{stream}")
            found[stream] = {row[0]: plain(row) for row in map(json.loads, lines)}
        return found

    def truth(self, vendor):
        """The same at the vendor."""
        found = {}
        for stream in STREAMS:
            names = COLUMNS[stream].split(", ")
            found[stream] = {one["id"]: plain([one[name] for name in names]) for one in vendor.all(stream, self.token).values()
                             if one.get("modified_at", SINCE) >= SINCE}
        return found


def plain(row):
    """Times without their zones, which are UTC everywhere."""
    return [value[:19] if isinstance(value, str) and value[4:5] == "-" else value for value in row]


class Trial:
    """What all share."""

    def __init__(self, scratch, server, duty):
        self.scratch, self.server, self.duty = scratch, server, duty
        self.loader = warehouse.Pipelinewise(server, scratch)

    def same(self, names):
        """Tenants whose rows differ between the two rounds, or are none."""
        wrong = []
        for name in names:
            parts = []
            for stream in STREAMS:
                one, other = f"base_{name}.{stream}", f"trial_{name}.{stream}"
                parts.append(f"select (select count(*) from {one}) = 0 or exists (table {one} except table {other}) "
                             f"or exists (table {other} except table {one}) "
                             f"or (select count(*) from {one}) <> (select count(*) from {other})")
            if "t" in self.server.query(" union all ".join(parts)):
                wrong.append(name)
        return wrong


def round_of(tenants, vendor):
    """All of them at once."""
    for tenant in tenants:
        tenant.start(vendor.url)
    return [tenant.ended() for tenant in tenants]


# What is wrong with each; the exit codes it may end with; the event that tells of it; does the bookmark of tasks stay?
SICK = {
    "revoked": ({20}, "credentials_refused", True),
    "capped": ({75}, "budget_exhausted", False),
    "drifting": ({40}, "schema_drift", True),
    "stopping": ({30}, "schema_drift", True),
    "corrupt": ({10}, None, True),
    "poisoned": ({40}, "schema_drift", True),
    "unwritable": ({60}, None, True),
    "silent": ({69, 75}, None, True),
    "dying": ({60}, None, True),
    "stuck": ({60}, None, True),
}
CHANGES = ("D21@drifting", "D21@stopping", "D6@poisoned", "D6@unwritable:every=40")


def sicken(tenants, vendor, capped, silent, scratch):
    """Makes each of them sick; gives what starts it."""
    (scratch / "dying.py").write_text(DYING)
    (scratch / "stuck.py").write_text(STUCK)
    starts = {name: (vendor.url, None) for name in SICK}
    starts["revoked"] = (vendor.url, "revoked-token")
    starts["capped"], starts["silent"] = (capped.url, None), (silent.url, None)
    tenants["capped"].ours = {"deadline": "PT10S"}
    tenants["silent"].ours = {"deadline": "PT30S"}
    tenants["stopping"].ours = {"drift": {"rules": [{"rule": "key_type_changed", "policy": "fail-run"}]}}
    corrupt = next(tenants["corrupt"].states.glob("state/*/corrupt.json"))
    shutil.copyfile(corrupt, scratch / "backup.json")
    corrupt.write_text(corrupt.read_text()[: corrupt.stat().st_size // 2])
    aside = tenants["unwritable"].states / "quarantine" / "sandbox" / "unwritable"
    shutil.rmtree(aside, ignore_errors=True)
    aside.parent.mkdir(parents=True, exist_ok=True)
    aside.write_text("a file where the folder should be")
    tenants["dying"].target = [sys.executable, "-I", "-S", scratch / "dying.py"]
    tenants["stuck"].target = [sys.executable, "-I", "-S", scratch / "stuck.py"]
    tenants["stuck"].more = ("--target-timeout", "PT5S")
    return starts


def heal(tenants, scratch):
    """Takes away what was wrong on our side."""
    shutil.copyfile(scratch / "backup.json", next(tenants["corrupt"].states.glob("state/*/corrupt.json")))
    (tenants["unwritable"].states / "quarantine" / "sandbox" / "unwritable").unlink()
    for name in SICK:
        tenants[name].target, tenants[name].more, tenants[name].ours = None, (), {}


def judge(checks, trial, tenants, before, vendor):
    """The sick, one by one, as they are after the trial."""
    for name, (codes, event, stays) in SICK.items():
        tenant = tenants[name]
        checks.ok(f"{name}: exit code {' or '.join(map(str, sorted(codes)))}", tenant.code in codes,
                  f"{tenant.code} after {tenant.took:.1f} s" + ("" if tenant.code in codes else f": {tenant.said()}"))
        if name == "corrupt":
            whole = (trial.scratch / "backup.json").read_text()
            checks.ok("corrupt: the state is as it was found", tenant.state() == whole[: len(whole) // 2])
        elif stays:
            checks.ok(f"{name}: the bookmark of its tasks stays", tenant.bookmark() == before[name],
                      f"{before[name]}, {tenant.bookmark()}")
        if name != "corrupt":
            have, truth, until = tenant.rows()["tasks"], tenant.truth(vendor)["tasks"], (tenant.bookmark() or "")[:19]
            ahead = [key for key, row in truth.items() if row[2] < until and have.get(key) != row]
            checks.ok(f"{name}: its state is not ahead of its rows", not ahead, ahead[:3])
        told = events(tenant.events)
        if event:
            checks.ok(f"{name}: an event tells of it", any(one["event"] == event for one in told), [one["event"] for one in told])
        record = tenant.record()
        checks.ok(f"{name}: the record says why, and what to do",
                  record.get("exit_code") == tenant.code and record.get("why") and record.get("hint"), record.get("why"))
        checks.fact(f"{name}: {record.get('why')} / {record.get('hint')}")
        alerts = trial.duty.of(name)
        checks.ok(f"{name}: an alert says what to do", len(alerts) >= 1 and all(one.get("what_to_do") for one in alerts),
                  [(one.get("exit_code"), one.get("what_to_do")) for one in alerts][:2])


def recover(checks, trial, tenants, capped, twin):
    """The sick are healed: the next run brings what they missed."""
    heal(tenants, trial.scratch)
    with Sandbox("--tasks", TASKS, "--edited", 150) as vendor, ThreadPoolExecutor(4) as pool:
        well = {name: pool.submit(tenants[name].run, vendor.url) for name in SICK if name != "capped"}
        for name, code in well.items():
            checks.ok(f"{name}: once healed, the next run ends with 0", code.result() == 0, code.result() or "")
            if code.result():
                checks.fact(tenants[name].said())
            wrong = differences(tenants[name].truth(vendor), tenants[name].rows())
            checks.ok(f"{name}: nothing is lost", not wrong, wrong)
    tenant, runs = tenants["capped"], 0
    tenant.ours = {"deadline": "PT1M"}  # it may wait for the vendor now
    deadline = time.monotonic() + LONGEST
    while tenant.code == 75 and time.monotonic() < deadline:
        # As a scheduler would: again later, here when the record says that it can go on.
        again = tenant.record().get("resume_at")
        wait = (datetime.fromisoformat(again) - datetime.now(timezone.utc)).total_seconds() if again else 5
        time.sleep(max(0, min(wait, 60)) + 0.1)
        tenant.run(capped.url)
        runs += 1
    checks.ok("capped: once it may wait for the vendor, a run ends with 0", tenant.code == 0,
              f"after {runs} more runs: {tenant.code}")
    wrong = differences(tenant.truth(twin), tenant.rows())
    checks.ok("capped: nothing is lost", not wrong, wrong)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--healthy", type=int, default=20)
    options = parser.parse_args()
    checks = Checks()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    names = [f"well{number:02}" for number in range(options.healthy)]
    switches = ("--tasks", TASKS, "--latency", LATENCY)
    with folder() as scratch, warehouse.Postgres() as server, Duty() as duty, Silent() as silent:
        trial = Trial(scratch, server, duty)
        sick = {name: Tenant(trial, name) for name in SICK}
        with Sandbox("--tasks", TASKS) as yesterday, ThreadPoolExecutor(4) as pool:
            codes = [*pool.map(lambda tenant: tenant.run(yesterday.url), sick.values())]
        checks.ok("yesterday the sick were well", not any(codes), codes if any(codes) else "")
        before = {name: tenant.bookmark() for name, tenant in sick.items()}
        changes = [part for change in CHANGES for part in ("--change", change)]
        with Sandbox(*switches, "--edited", 100, *changes) as vendor, \
                Sandbox(*switches, "--edited", 100, "--cap", "8/25") as capped, \
                Sandbox("--tasks", TASKS, "--edited", 100) as twin:  # the same vendor, unchanged and without a cap: the truth
            starts = sicken(sick, vendor, capped, silent, scratch)
            base = [Tenant(trial, name, "base") for name in names]
            codes = round_of(base, vendor)
            checks.ok(f"{len(base)} tenants by themselves: all end with 0", not any(codes), codes if any(codes) else "")
            alone = statistics.median(tenant.took for tenant in base)
            well = [Tenant(trial, name) for name in names]
            queue = list(SICK)
            for number, tenant in enumerate(well):
                tenant.start(vendor.url)
                if number % 2 and queue:  # a sick one after each two
                    name = queue.pop(0)
                    sick[name].start(*starts[name])
            for name in queue:
                sick[name].start(*starts[name])
            codes = [tenant.ended() for tenant in well]
            beside, longest = statistics.median(tenant.took for tenant in well), max(tenant.took for tenant in well)
            for tenant in sick.values():
                tenant.ended()
            checks.ok("the same beside the sick: all end with 0", not any(codes), codes if any(codes) else "")
            ratio = beside / alone
            checks.ok(f"they take at most {MOST} times as long", ratio <= MOST,
                      f"{ratio:.2f}: a median of {beside:.1f} s, alone {alone:.1f} s; the slowest {longest:.1f} s")
            wrong = trial.same(names)
            checks.ok("their rows are the same, all of them", not wrong, wrong[:3])
            states = [(one.state(), other.state()) for one, other in zip(base, well)]
            checks.ok("their states are the same", all(one and one == other for one, other in states),
                      states[:1] if states[0][0] != states[0][1] else "")
            wrong = [words for tenant in well[:3] if (words := differences(tenant.truth(twin), tenant.rows()))]
            checks.ok("they are what the vendor gives", not wrong, wrong)
            checks.ok("nobody is alerted for them", not any(duty.of(name) for name in names), len(duty.told))
            checks.ok("all alerts are signed", duty.signed(), len(duty.told))
            judge(checks, trial, sick, before, twin)
            codes = [tenant.run(vendor.url) for tenant in well[:3]]
            done = [event for tenant in well[:3] for event in events(tenant.events, "stream_done")]
            brought = [event["records"] for event in done if event["stream"] == "tasks"]
            checks.ok("the next runs of healthy ones bring what is new: nothing but the row at the bookmark",
                      codes == [0] * 3 and brought == [1] * 3, f"{codes}, {brought}")
            recover(checks, trial, sick, capped, twin)
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
