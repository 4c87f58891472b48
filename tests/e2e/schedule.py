#!/usr/bin/env python3
"""Proves: what `schedule` writes runs as it stands.

(a) A real cron (Debian's, in a mount namespace of its own) takes every expected crontab, and runs one for minutes: two tenants
with two tiers each, one of them with a name, a folder and a target full of quotes, blanks and `%`, its token in the file beside its
config; one tenant that has no time (75), one whose token is revoked (20). Each of the good ones' runs comes at least twice and
brings everything, the two others hold up nobody, and only the revoked one has mail, which says why. (b) Kubernetes' own schemas
take every object, strictly; one that is broken is refused. (c) Meltano runs the project: two tenants, their schedules, a state
each; 75 ends well, a revoked token does not, and its neighbours go on. No secret is in any definition, log or mail.

usage: schedule.py      (as root; needs cron, unshare, Meltano, target-jsonl; see support.py for the environment)

Environment: MELTANO names Meltano's executable, PYTHON_KUBERNETES a Python with kubernetes-validate, else that on PATH.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from support import ROOT, STREAMS, TOKEN, Checks, Sandbox, dripfeed, executable, folder, rows, target_config, target_jsonl, wait_until

TOKENS = {**{name: f"{TOKEN}-{name}-59c2" for name in ("acme", "evil", "late")}, "revoked": "revoked-token-59c2"}
EVIL = "it's \"50%\" \\\\ $(touch evil)"
TIERS = {"hourly": {"streams": ["tasks"], "schedule": "* * * * *"}, "daily": {"streams": ["*"], "schedule": "* * * * *"}}
CASES = sorted((ROOT / "fixtures" / "schedule").iterdir())


def own_namespace():
    """Starts this script again where its mounts are nobody else's."""
    if os.environ.get("SCHEDULE_NAMESPACE") != "own":
        os.environ["SCHEDULE_NAMESPACE"] = "own"
        os.execvp("unshare", ["unshare", "--mount", sys.executable, *sys.argv])
    mount("--make-rprivate", "/")


def mount(*arguments):
    """One mount."""
    subprocess.run(["mount", *map(str, arguments)], check=True)


def prepare(scratch, mail):
    """cron's places, and those of programs, as empty as on a fresh machine; a sendmail that keeps what it gets."""
    for path in ("/var/spool/cron/crontabs", "/etc/cron.d", "/run"):
        mount("-t", "tmpfs", "none", path)
    mount("--bind", "/dev/null", "/etc/crontab")
    local, system = scratch / "local", scratch / "sbin"
    local.mkdir()
    (local / "dripfeed").symlink_to(dripfeed())
    (local / "target-jsonl").symlink_to(target_jsonl())
    shutil.copytree("/usr/sbin", system, symlinks=True)
    sendmail = system / "sendmail"
    sendmail.unlink(missing_ok=True)
    sendmail.write_text(f'#!/bin/sh\nexec cat > "$(mktemp {mail}/XXXXXX)"\n')
    sendmail.chmod(0o755)
    mount("--bind", local, "/usr/local/bin")
    mount("--bind", system, "/usr/sbin")


class Tenant:
    """A tenant: its vendor, its config, its target."""

    def __init__(self, at, name, vendor, **ours):
        self.name, self.vendor, self.out = name, vendor, at / f"out {name} 100%"
        self.out.mkdir()
        target_config(at / f"target of {name} 50%.json", self.out)
        config = {"url": vendor.url, "token": "env:TOKEN" if name == "evil" else TOKENS[name], "dripfeed": {
            "source": "sandbox", "tenant": EVIL if name == "evil" else name, "state_dir": "state", "tiers": TIERS,
            "target": f'target-jsonl --config "target of {name} 50%.json"', **ours}}
        stem = EVIL.replace("/", "") if name == "evil" else name
        (at / "tenants" / f"{stem}.json").write_text(json.dumps(config))
        if name == "evil":
            (at / "tenants" / f"{stem}.env").write_text(f"TOKEN={TOKENS[name]}\n")

    def record(self, at):
        """What its runs came to."""
        found = [json.loads(path.read_text()) for path in (at / "state" / "runs" / "sandbox").glob("*.json")]
        return next((record for record in found if record["tenant"] in (self.name, EVIL if self.name == "evil" else "")), {})

    def differences(self):
        """What its target has wrong, in words."""
        wrong = []
        for stream in STREAMS:
            truth, have = self.vendor.all(stream, TOKENS[self.name]), {row["id"]: row for row in rows(self.out, stream)}
            wrong += [f"{stream}: {len(have)} of {len(truth)}"] if have != truth else []
        return wrong


def schedule(at, form, *more):
    """The definitions."""
    return subprocess.run([dripfeed(), "schedule", "--tenants", "tenants", "--format", form, *more], cwd=at, check=True,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout


def crontabs(checks):
    """(a) cron's own parser takes them."""
    for case in CASES:
        done = subprocess.run(["crontab", case / "expected-cron.snap.crontab"], capture_output=True, text=True)
        checks.ok(f"crontab takes {case.name}", done.returncode == 0, done.stderr.strip()[-200:])


def under_cron(checks, at, mail, tenants, meanwhile):
    """(a)"""
    definitions = schedule(at, "cron")
    texts = [definitions, schedule(at, "airflow"), schedule(at, "dagster")]
    checks.ok("no token in a definition", not any(token in text for token in TOKENS.values() for text in texts))
    (at / "dripfeed.cron").write_text(definitions)
    subprocess.run(["crontab", "dripfeed.cron"], cwd=at, check=True)
    with open(at / "cron.log", "w") as log:
        cron = subprocess.Popen(["/usr/sbin/cron", "-f", "-L", "15"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        began = time.monotonic()
        meanwhile()
        good = [tenants["acme"], tenants["evil"]]

        def each_ran_twice():
            runs = [tenant.record(at) for tenant in good]
            twice = all(run.get("totals", {}).get("by_exit", {}).get("0", 0) >= 4 and len(run["runs"]) == 2 for run in runs)
            others = [tenants[name].record(at).get("totals", {}).get("runs", 0) for name in ("late", "revoked")]
            return twice and min(others) >= 2 and list(mail.iterdir())

        try:
            wait_until(each_ran_twice, 200, "two runs of each tenant and tier")
        except TimeoutError as error:
            checks.ok("cron runs what it is given", False, f"{error}; {(at / 'cron.log').read_text()[-800:]}")
        Checks.fact(f"cron ran for {time.monotonic() - began:.0f} s")
        time.sleep(2)
    finally:
        cron.terminate()
        cron.wait(20)
        subprocess.run(["crontab", "-r"], check=False)
    for tenant in good:
        record = tenant.record(at)
        checks.ok(f"cron: {tenant.name}: every run of both tiers ended with 0", set(record["totals"]["by_exit"]) == {"0"}
                  and sorted(record["runs"]) == ["daily", "hourly"], record["totals"]["by_exit"])
        wrong = tenant.differences()
        checks.ok(f"cron: {tenant.name}: its target has everything", not wrong, wrong or "")
    ends = {name: tenants[name].record(at)["totals"]["by_exit"] for name in ("late", "revoked")}
    checks.ok("cron: the one without time ended with 75, the revoked one with 20",
              [set(by) for by in ends.values()] == [{"75"}, {"20"}], ends)
    letters = [path.read_text(errors="replace") for path in mail.iterdir()]
    subjects = [line for letter in letters for line in letter.splitlines() if line.startswith("Subject:")]
    checks.ok("cron: only the revoked tenant has mail", letters and all("sandbox-revoked-" in letter for letter in letters)
              and not any(f"-{name}-" in letter for letter in letters for name in ("acme", "late")), f"{len(letters)} letters, {subjects[:1]}")
    body = letters[0].partition("\n\n")[2] if letters else ""
    checks.ok("cron: the mail says the code and why", "exit code 20" in body and "token" in body, body.strip()[:500])
    logs = {path.name: path.read_text() for path in (at / "logs").iterdir()}
    checks.ok("cron: a log for each tenant and tier", len(logs) == 8, sorted(logs))
    checks.ok("cron: nothing in a name was run", not list(at.rglob("evil")))
    leaks = [name for name, text in {**logs, **{f"letter {n}": t for n, t in enumerate(letters)}}.items() if any(t in text for t in TOKENS.values())]
    checks.ok("cron: no token in logs and mail", not leaks, leaks)


def kubernetes(checks, at):
    """(b)"""
    python = executable("PYTHON_KUBERNETES", "python3")

    def refused(path):
        done = subprocess.run([python, "-m", "kubernetes_validate", "--strict", path], capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    for case in CASES:
        path = case / "expected-kubernetes.snap.yaml"
        code, said = refused(path)
        objects = len(re.findall("^kind:", path.read_text(), re.MULTILINE))
        checks.ok(f"Kubernetes takes {case.name}", code == 0 and said.count("passed") == objects, f"{objects} objects" if code == 0 else said[-400:])
    text = (CASES[-1] / "expected-kubernetes.snap.yaml").read_text()
    for name, broken in (("an unknown key", text.replace("concurrencyPolicy:", "concurencyPolicy:")), ("a wrong type", text.replace("backoffLimit: 2", "backoffLimit: two"))):
        (at / "broken.yaml").write_text(broken)
        checks.ok(f"{name} would be seen", broken != text and refused(at / "broken.yaml")[0] != 0)


def meltano(checks, at, tenants):
    """(c)"""
    project = at / "project"
    project.mkdir()
    shutil.copytree(at / "tenants", project / "tenants")
    for path in project.glob("tenants/*.env"):
        shutil.copy(path, project / ".env")
    for path in project.glob("tenants/*$*.json"):  # Meltano expands `$`, so that such a name is refused
        path.rename(path.with_name("evil.json"))
    (project / "meltano.yml").write_text("""\
send_anonymous_usage_stats: false
default_environment: prod
environments: [{name: prod}]
include_paths: [dripfeed.meltano.yml]
plugins:
  loaders:
  - name: target-jsonl
    namespace: target_jsonl
    executable: target-jsonl
    settings: [{name: destination_path}, {name: do_timestamp_file, kind: boolean}]
    config: {destination_path: output/$MELTANO_EXTRACTOR_NAME, do_timestamp_file: false}
""")
    (project / "dripfeed.meltano.yml").write_text(schedule(project, "meltano"))
    environment = {k: v for k, v in os.environ.items() if not re.match("MELTANO_|TAP_|TARGET_|DRIPFEED", k)}
    environment |= {"PATH": f"/usr/local/bin:{os.environ['PATH']}", "NO_COLOR": "1", "MELTANO_CLI_DISABLE_VERSION_CHECK": "1",
                    "MELTANO_STATE_BACKEND_URI": f"file://{project / 'states'}"}
    said = ""

    def run(*arguments):
        nonlocal said
        done = subprocess.run([executable("MELTANO", "meltano"), *arguments], cwd=project, env=environment, timeout=150,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True)
        said += done.stdout + done.stderr
        return done

    listed = run("schedule", "list", "--format", "json")
    names = {}
    if listed.returncode == 0:
        names = {entry["name"]: entry["cron_interval"] for entry in json.loads(listed.stdout)["schedules"]["job"]}
    evil = next((name for name in names if re.fullmatch(r"sandbox-it-s-.*-hourly-\w{6}", name)), "none")
    checks.ok("Meltano lists a schedule for each tenant and tier", len(names) == 8 and "sandbox-acme-hourly" in names
              and evil != "none" and set(names.values()) == {"* * * * *"}, names or listed.stderr[-500:])
    for name, tenant in (("sandbox-acme-hourly", "acme"), (evil, "evil")):
        done = run("schedule", "run", name)
        have = {row["id"] for row in rows(project / "output" / f"tap-{name}", "tasks")}
        want = set(tenants[tenant].vendor.all("tasks", TOKENS[tenant]))
        streams = sorted(path.stem for path in (project / "output" / f"tap-{name}").glob("*"))
        checks.ok(f"Meltano runs {tenant}'s hourly tier, and no other stream", done.returncode == 0 and have == want and streams == ["tasks"],
                  f"{len(have)} tasks, {streams}" if done.returncode == 0 else (done.stdout + done.stderr)[-800:])
    before = len(rows(project / "output" / "tap-sandbox-acme-hourly", "tasks"))
    done = run("run", "sandbox-acme-hourly")
    more = len(rows(project / "output" / "tap-sandbox-acme-hourly", "tasks")) - before
    checks.ok("Meltano goes on from the tenant's own state", done.returncode == 0 and 0 < more < before, f"{before} rows, then {more}")
    states = sorted(path.name for path in (project / "states").iterdir())
    checks.ok("Meltano keeps a state for each", len(states) == 2 and all(state.startswith("prod:tap-sandbox-") for state in states), states)
    done = run("run", "sandbox-late-daily")
    checks.ok("Meltano: 75 ends well", done.returncode == 0 and "run_done" not in done.stdout, done.returncode)
    done = run("run", "sandbox-revoked-daily")
    checks.ok("Meltano: a revoked token fails, and says so", done.returncode != 0 and "token" in done.stdout + done.stderr, done.returncode)
    leaks = [name for name, token in TOKENS.items() if token in said]
    checks.ok("Meltano says no token", not leaks, leaks or f"{len(said)} characters")


def main():
    own_namespace()
    checks = Checks()
    with folder() as scratch:
        scratch.chmod(0o755)
        at, mail = scratch / "50% of dripfeed's", scratch / "mail"
        for path in (at / "tenants", mail):
            path.mkdir(parents=True)
        prepare(scratch, mail)
        # The one of the tenant without time: after the first call it asks for a wait of hours.
        with Sandbox("--tasks", 150) as vendor, Sandbox("--cap", "1/36000") as slow:
            tenants = {name: Tenant(at, name, vendor) for name in ("acme", "evil")}
            tenants["late"] = Tenant(at, "late", slow, deadline="PT50M")
            tenants["revoked"] = Tenant(at, "revoked", vendor)
            crontabs(checks)

            def meanwhile():
                kubernetes(checks, scratch)
                meltano(checks, at, tenants)

            under_cron(checks, at, mail, tenants, meanwhile)
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
