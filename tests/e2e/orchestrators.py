#!/usr/bin/env python3
"""Proves: Airflow and Dagster run what `schedule` writes, and understand how a run ended.

Four tenants of one sandbox, an hourly tier each: acme is well, evil too (a name full of quotes, its token a reference), late's vendor
asks for a wait of hours (75), revoked has a wrong token (20).

(a) Airflow 3, with `airflow dags test`: two success, late skipped, revoked failed without a second try, its alert told; the token
comes from an Airflow Variable. (b) Dagster: each schedule asks for its tenant's partition; two are materialized, late is observed
and not materialized, revoked fails and its hook tells. (c) Both: each exit code leads to what it should: done, skipped, tried again,
failed; a backfill is tried again after 75 and 76. (d) Both take the definitions of backfills: no schedule, a pool or limit of their own.

usage: orchestrators.py      (needs target-jsonl; takes about five minutes)

Environment: AIRFLOW names Airflow's executable, PYTHON_DAGSTER a Python with dagster; see also support.py.
"""
import json
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

from support import TOKEN, Checks, Sandbox, dripfeed, executable, folder, rows, target_config, target_jsonl

EVIL = "it's \"50%\" \\\\ $(touch evil) '''"
TIERS = {"hourly": {"streams": ["tasks"], "schedule": "H * * * *"}}
CODES = (0, 10, 20, 30, 40, 50, 60, 69, 75, 76)

# In Airflow's Python: what a run of each exit code becomes, in the first try and in the second.
JUDGED_BY_AIRFLOW = """
import importlib.util, json, os, sys
spec = importlib.util.spec_from_file_location("dags", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
class Try:
    def __init__(self, number): self.try_number = number
found = {}
for code in json.loads(sys.argv[2]):
    for number in (1, 2):
        run = dict(module.RUNS[0], command=f"sh -c 'echo error   why; exit {code}'", variables=[])
        module.HERE = "/"
        try:
            module.Sync(task_id=f"sync{code}{number}", run=run).execute({"ti": Try(number)})
            ended = "success"
        except BaseException as error:
            ended = {"AirflowSkipException": "skipped", "AirflowException": "again", "AirflowFailException": "failed"}[type(error).__name__]
            assert "error why" in str(error), error
        found[f"{code} {number}"] = ended
print("FOUND " + json.dumps(found))
"""

# In Dagster's Python: every schedule's tick, and the run that it asks for.
RUN_BY_DAGSTER = """
import datetime, importlib.util, json, sys
import dagster as dg
spec = importlib.util.spec_from_file_location("definitions", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
dg.Definitions.validate_loadable(module.defs)
repository, instance, found = module.defs.get_repository_def(), dg.DagsterInstance.get(), {"runs": {}, "codes": {}}
found["schedules"] = len(repository.schedule_defs)
found["jobs"] = {job.name: dict(job.tags) for job in repository.get_all_jobs() if job.name.endswith("_job")}
at = datetime.datetime(2026, 11, 22, 12, 7, tzinfo=datetime.timezone.utc)
for schedule in repository.schedule_defs:
    with dg.build_schedule_context(instance=instance, scheduled_execution_time=at, repository_def=repository) as context:
        requests = schedule.evaluate_tick(context).run_requests
    for request in requests:
        job = repository.get_job(schedule.job_name)
        done = job.execute_in_process(partition_key=request.partition_key, tags=dict(request.tags), instance=instance, raise_on_error=False)
        failures = [event.event_specific_data.error_display_string for event in done.all_events if event.is_step_failure]
        found["runs"][request.partition_key] = {"success": done.success, "tags": dict(request.tags),
            "events": [event.event_type_value for event in done.all_events], "failures": [text[:300] for text in failures]}
class Context:
    log = type("Log", (), {"info": staticmethod(print), "warning": staticmethod(print)})
    asset_key, partition_key = dg.AssetKey("a"), "p"
    def log_event(self, event): self.event = event
module.HERE = "/"
for code in json.loads(sys.argv[2]):
    try:
        ended = {True: "success", False: "skipped"}[module.sync(Context(), dict(module.RUNS[0], command=f"sh -c 'exit {code}'"))]
    except dg.RetryRequested as error:
        ended = f"again {error.max_retries}"
    except dg.Failure as error:
        ended = "failed" if not error.allow_retries else "failed, with retries"
    found["codes"][code] = ended
print("FOUND " + json.dumps(found))
"""


def found(done):
    """What a program of above found out."""
    line = re.search(r"^FOUND (.*)$", done.stdout, re.MULTILINE)
    return json.loads(line[1]) if line else sys.exit(f"{done.returncode}: {(done.stdout + done.stderr)[-3000:]}")


class House:
    """A folder with tenants, and a PATH with what runs need."""

    def __init__(self, at, vendor, slow):
        self.at = at
        for path in ("tenants", "bin", "dagster"):
            (at / path).mkdir(parents=True)
        # Airflow's own folder can hold no `%`.
        (at.parent / "airflow" / "dags").mkdir(parents=True, exist_ok=True)
        (at / "bin" / "dripfeed").symlink_to(dripfeed())
        (at / "bin" / "target-jsonl").symlink_to(target_jsonl())
        for name in ("acme", "evil", "late", "revoked"):
            (at / f"out {name}").mkdir()
            target_config(at / f"target {name}.json", at / f"out {name}")
            token = {"evil": "env:EVIL_TOKEN", "revoked": "revoked-token-c3aa"}.get(name, f"{TOKEN}-{name}-59c2")
            ours = {"source": "sandbox", "state_dir": "state", "tiers": TIERS, "target": f"target-jsonl --config 'target {name}.json'",
                    "deadline": "PT50M", **({"tenant": EVIL} if name == "evil" else {})}
            (at / "tenants" / f"{name}.json").write_text(json.dumps({"url": (slow if name == "late" else vendor).url, "token": token, "dripfeed": ours}))
        keep = {k: v for k, v in os.environ.items() if not re.match("AIRFLOW|DAGSTER|DRIPFEED|EVIL", k)}
        self.environment = {**keep, "PATH": f"{at / 'bin'}:{keep['PATH']}", "AIRFLOW_HOME": str(at.parent / "airflow"), "NO_COLOR": "1",
                            "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "AIRFLOW__CORE__DAGS_FOLDER": str(at.parent / "airflow" / "dags"),
                            "DAGSTER_HOME": str(at / "dagster")}

    def schedule(self, form, *more):
        """The definitions."""
        return subprocess.run([dripfeed(), "schedule", "--tenants", "tenants", "--format", form, *more], cwd=self.at, check=True,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout

    def run(self, *command, **variables):
        """One command of an orchestrator."""
        return subprocess.run(list(map(str, command)), cwd=self.at, env={**self.environment, **variables}, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=300)

    def rows(self, name):
        """How many tasks came to a target; what there was goes away."""
        path = self.at / f"out {name}" / "tasks.jsonl"
        count = len({row["id"] for row in rows(path.parent, "tasks")})
        path.unlink(missing_ok=True)
        return count


def airflow(checks, house):
    """(a), (c), (d)"""
    program = executable("AIRFLOW", "airflow")
    home = house.at.parent / "airflow"
    dags = home / "dags" / "dripfeed_runs.py"
    dags.write_text(house.schedule("airflow"))
    (home / "dags" / "dripfeed_backfills.py").write_text(house.schedule("airflow", "--backfill", "2024-01-01..2024-02-01"))
    for command in (("db", "migrate"), ("pools", "set", "dripfeed", 32, "runs"), ("pools", "set", "dripfeed_backfill", 2, "backfills"),
                    ("variables", "set", "EVIL_TOKEN", f"{TOKEN}-evil-59c2")):
        done = house.run(program, *command)
        if done.returncode:
            sys.exit(f"airflow {command}: {(done.stdout + done.stderr)[-2000:]}")
    names = re.findall(r'dag_id="(\w[^"]*)"', dags.read_text())
    said = {name: house.run(program, "dags", "test", name) for name in names}
    by_tenant = {next((t for t in ("acme", "late", "revoked") if f"_{t}_" in name), "evil"): name for name in names}
    database = sqlite3.connect(home / "airflow.db")
    states = dict(database.execute("select dag_id, state from task_instance"))
    tries = dict(database.execute("select dag_id, try_number from task_instance"))
    states, tries = ({tenant: of.get(name) for tenant, name in by_tenant.items()} for of in (states, tries))
    checks.ok("Airflow: success, skipped and failed, tenant by tenant", states == {
        "acme": "success", "evil": "success", "late": "skipped", "revoked": "failed"}, states)
    checks.ok("Airflow: what needs a person is not tried again", tries["revoked"] in (0, 1), tries)
    brought = {name: house.rows(name) for name in ("acme", "evil", "revoked")}
    checks.ok("Airflow: the good ones' targets have everything", brought == {"acme": 80, "evil": 80, "revoked": 0}, brought)
    alerts = re.findall(r"ALERT [^\[]*", "".join(done.stdout + done.stderr for done in said.values()))
    checks.ok("Airflow: one alert, which says who, what and why", len(alerts) == 1 and "tenant revoked, hourly: exit code 20" in alerts[0]
              and "token" in alerts[0], alerts[:2])
    checks.ok("Airflow: no token is told", not any(t in done.stdout + done.stderr for done in said.values() for t in (f"{TOKEN}-", "revoked-token")))
    judged = found(house.run(Path(program).parent / "python", "-c", JUDGED_BY_AIRFLOW, dags, json.dumps(CODES)))
    want = {f"{code} {number}": "success" if code == 0 else "skipped" if code in (75, 76) else
            "again" if code == 69 or (code, number) == (60, 1) else "failed" for code in CODES for number in (1, 2)}
    checks.ok("Airflow: every exit code leads to what it should", judged == want, {k: v for k, v in judged.items() if v != want[k]} or "")
    past = found(house.run(Path(program).parent / "python", "-c", JUDGED_BY_AIRFLOW, home / "dags" / "dripfeed_backfills.py", json.dumps((75, 76))))
    checks.ok("Airflow: a backfill is tried again after 75 and 76", set(past.values()) == {"again"}, past)
    done = house.run(program, "dags", "reserialize")
    database = sqlite3.connect(home / "airflow.db")
    backfills = dict(database.execute("select dag_id, timetable_summary from dag where dag_id like '%backfill%'"))
    checks.ok("Airflow: backfills have no schedule", len(backfills) == 4 and set(backfills.values()) <= {None, "None"},
              backfills or done.stderr[-300:])


def dagster(checks, house):
    """(b), (c), (d)"""
    python = executable("PYTHON_DAGSTER", "python3")
    definitions = house.schedule("dagster")
    (house.at / "runs.py").write_text(definitions)
    (house.at / "backfills.py").write_text(house.schedule("dagster", "--backfill", "2024-01-01..2024-02-01"))
    # As the definitions' own head says.
    instance = definitions.partition("In dagster.yaml:\n#\n")[2].partition("#\n")[0]
    (house.at / "dagster" / "dagster.yaml").write_text(re.sub(r"^#     ", "", instance, flags=re.MULTILINE))
    done = house.run(python, "-c", RUN_BY_DAGSTER, "runs.py", json.dumps(CODES), EVIL_TOKEN=f"{TOKEN}-evil-59c2")
    result = found(done)
    runs = {next((t for t in ("acme", "late", "revoked") if t == name), "evil"): run for name, run in result["runs"].items()}
    state = {name: (run["success"], "ASSET_MATERIALIZATION" in run["events"], "ASSET_OBSERVATION" in run["events"]) for name, run in runs.items()}
    checks.ok("Dagster: materialized, observed and failed, partition by partition", state == {
        "acme": (True, True, False), "evil": (True, True, False), "late": (True, False, True), "revoked": (False, False, False)}, state)
    brought = {name: house.rows(name) for name in ("acme", "evil", "revoked")}
    checks.ok("Dagster: the good ones' targets have everything", brought == {"acme": 80, "evil": 80, "revoked": 0}, brought)
    why = runs["revoked"]["failures"]
    checks.ok("Dagster: the failure says who, what and why", why and "tenant revoked, hourly: exit code 20" in why[0], why)
    alerts = re.findall(r"ALERT .*", done.stdout + done.stderr)
    checks.ok("Dagster: one alert, by the hook", len(alerts) == 1 and "HOOK_COMPLETED" in runs["revoked"]["events"], alerts)
    tags = runs["acme"]["tags"]
    checks.ok("Dagster: tags for limits, priority and time", tags["dripfeed/slot"] == "sandbox_acme_hourly" and tags["dagster/priority"] == "100"
              and tags["dagster/max_runtime"] == "3600", tags)
    want = {str(code): "success" if code == 0 else "skipped" if code in (75, 76) else "again 2" if code == 69 else "again 1" if code == 60
            else "failed" for code in CODES}
    checks.ok("Dagster: every exit code leads to what it should", result["codes"] == want, result["codes"])
    checks.ok("Dagster: no token is told", not any(t in done.stdout + done.stderr for t in (f"{TOKEN}-", "revoked-token")))
    past = found(house.run(python, "-c", RUN_BY_DAGSTER, "backfills.py", json.dumps((75, 76))))
    checks.ok("Dagster: a backfill is tried again after 75 and 76", set(past["codes"].values()) == {"again 1000"}, past["codes"])
    checks.ok("Dagster: backfills have no schedule, and a limit of their own", past["schedules"] == 0
              and past["jobs"] == {"sandbox_backfill_job": {"dripfeed/backfill": "true", "dagster/priority": "-10"}}, past)


def main():
    checks = Checks()
    with folder() as scratch, Sandbox("--tasks", 80) as vendor, Sandbox("--cap", "1/36000") as slow:
        for name, proof in (("airflow", airflow), ("dagster", dagster)):
            proof(checks, House(scratch / f"{name}'s 50%", vendor, slow))
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
