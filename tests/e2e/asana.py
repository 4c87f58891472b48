#!/usr/bin/env python3
"""Proves: the source `asana` brings every record of an account, whatever the vendor does meanwhile, and asks for no more.

Against the Asana-shaped vendor of asana_vendor.py, whose calls and objects are as Asana's OpenAPI file has them: all streams
whole; later runs bring what changed and the tasks at each project's bookmark, nothing else; rate limits, pages whose token
expired, refused tokens, plans and projects, projects that come and go, faults, edits while pages are read, and SIGKILL lose
nothing. What belongs to tasks (subtasks down to the fifth level, stories, attachments, time entries) is whole as well, and
later runs ask for it only of tasks that changed. Choosing workspaces and projects, archived ones, and the OAuth login do what
they say. Where the reference is at hand, it sends the same requests and gives the same records and states, of all streams.
Where target-postgres is, its tables hold what the API gives.

The part `cap` (only when named) measures which share of a plan's limit full reads use.

usage: asana.py [--only WORD...]      (see support.py and prism.py for the environment; AIRBYTE_CDK names source-declarative-manifest of
                                    airbyte-cdk 7.39.1, or the Python that it is installed for; without it parity is not checked)
"""
import argparse
import bisect
import functools
import json
import os
import random
import re
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from urllib.parse import quote

from prism import LISTS  # before all else: it looks for a Python that has jsonschema
from asana_vendor import EXPIRED, Asana, moment_of, stamp
from support import ROOT, Checks, differences, ends, folder, messages, read_command, start_tap, sync_command

sys.path.insert(0, str(ROOT / "tests"))
from vendors.specification import specification  # noqa: E402

STREAMS = ("workspaces", "teams", "users", "projects", "sections", "tags", "tasks")
MORE = ("assigned_tasks", "subtasks", "stories", "attachments", "time_tracking_entries", "custom_fields", "project_memberships",
        "team_memberships", "workspace_memberships", "status_updates", "portfolios", "portfolio_items", "goals")
ALL = STREAMS + MORE
OF_TASKS = ("stories", "attachments", "time_tracking_entries")
# Against a vendor on the same machine that counts nothing.
UNPACED = {"pace": {"limits": [{"calls": 1_000_000, "per": "PT1M"}]}}
START = "2008-01-01T00:00:00.000Z"
SETTLE = 60
A_MINUTE = 150  # calls, on the free plan
BURST = 0.05  # of them may go out at once
PACED_FOR = 8
LONGEST = 60


class Run:
    """What a run of the tap did."""

    def __init__(self, code, out, err, took):
        self.code, self.log, self.took, self.out = code, err.decode(), took, out
        self.said = messages(out.splitlines(keepends=True))
        self.counts = Counter(m["record"]["gid"] for m in self.said if m["type"] == "RECORD" and m["stream"] == "tasks")
        states = [m["value"] for m in self.said if m["type"] == "STATE"]
        self.state = states[-1] if states else None
        lines = [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]
        self.events = [line["dripfeed"] for line in lines if "dripfeed" in line]

    def skipped(self, stream, status):
        """Partitions of the slices that were skipped, as the events tell."""
        return [json.dumps(event["partition"]) for event in self.events
                if (event["event"], event.get("stream"), event.get("status")) == ("slice_skipped", stream, status)]

    def bookmarks(self):
        """The projects' bookmarks in the last state."""
        states = (self.state or {}).get("bookmarks", {}).get("tasks", {}).get("states", [])
        return {state["partition"]["project"]: state["cursor"]["modified_at"] for state in states}

    def found(self, into=None):
        """The last record of each key, by stream; adds to `into`."""
        found = into if into is not None else {stream: {} for stream in ALL}
        for message in self.said:
            if message["type"] == "RECORD":
                record = message["record"]
                found[message["stream"]][key_of(message["stream"], record)] = record
        return found


def key_of(stream, record):
    """A record's key."""
    return (record["portfolio"], record["gid"]) if stream == "portfolio_items" else record["gid"]


class Case:
    """A vendor, a tenant's config and state, and what runs have brought so far."""

    def __init__(self, scratch, asana, streams=STREAMS, **config):
        self.asana, self.state, self.streams = asana, scratch / "state.json", streams
        self.state.unlink(missing_ok=True)
        self.config = asana.config(scratch / "config.json", **{"plan": "paid", **config})
        self.brought = {stream: {} for stream in ALL}

    def command(self, *more):
        """The tap's command line, with the last state."""
        state = self.state if self.state.exists() else None
        more = more if "--streams" in more else ("--streams", ",".join(self.streams), *more)
        return read_command(self.config, state, "--log-format", "json", *more, source="asana")

    def run(self, *more, keep=True, longest=LONGEST):
        """One run, its records added to those that were brought; the last STATE is the next run's, as under cron."""
        self.asana.reset_calls()
        began = time.monotonic()
        try:
            done = subprocess.run(self.command(*more), stdin=subprocess.DEVNULL, capture_output=True, timeout=longest)
            code, out, err = done.returncode, done.stdout, done.stderr
        except subprocess.TimeoutExpired as hung:
            code, out, err = "none, it hangs", hung.stdout or b"", hung.stderr or b""
            out, err = out[:out.rfind(b"\n") + 1], err[:err.rfind(b"\n") + 1]
        run = Run(code, out, err, time.monotonic() - began)
        run.found(self.brought)
        if keep and run.state:
            self.state.write_text(json.dumps(run.state))
        return run

    def wrong(self, streams=STREAMS, but=()):
        """What of these streams is not as the API gives it, in words, leaving out those gids."""
        truth = {stream: {gid: r for gid, r in self.asana.truth(stream).items() if gid not in but} for stream in streams}
        return differences(truth, {s: {gid: r for gid, r in self.brought[s].items() if gid not in but} for s in streams})

    def biggest(self, nth=0):
        """The project with the most tasks, or the nth after it."""
        return sorted(self.asana.tasks_of, key=lambda gid: -len(self.asana.tasks_of[gid]))[nth]

    def due(self, since):
        """How often each task is to come when each project is asked for what changed since its time (None: all)."""
        def passes(task, bound):
            return bound is None or (task["modified_at"] > bound if self.asana.strict else task["modified_at"] >= bound)

        return Counter(gid for project in self.asana.open_projects() for gid, task in self.asana.tasks_of[project].items()
                       if passes(task, since.get(project)))

    def latest(self):
        """The last change in each project: where its bookmark is to be."""
        return {project: max((task["modified_at"] for task in tasks.values()), default=None)
                for project, tasks in self.asana.tasks_of.items()}

    def asked(self, what):
        """How often each task was asked for its stories, or whatever else its path names."""
        paths = [call["path"].strip("/").split("/") for call in self.asana.calls]
        return Counter(path[1] for path in paths if path[0] == "tasks" and path[2:] == [what])

    def calls_of(self, project):
        """Calls for the tasks of a project."""
        return [call for call in self.asana.calls if call["path"] == "/tasks" and call["query"].get("project") == project]


def for_tasks_of(project, later=None):
    """A rule's match: calls for a project's tasks; only first or only later pages, if said."""
    return lambda path, query: (path == "/tasks" and query.get("project") == project and later in (None, "offset" in query))


def tasks_only_in(asana, *projects):
    """Tasks that are in no other project."""
    return {gid for project in projects for gid, task in asana.tasks_of[project].items()
            if {p.gid for p in task["projects"]} <= set(projects)}


def said(run):
    """A run in a few words."""
    return f"exit code {run.code}, {sum(run.counts.values())} tasks, {run.took:.1f} s"


def difference(want, have):
    """Two counters, in words; empty when they are the same."""
    few, more = (dict(list(counter.items())[:3]) for counter in (want - have, have - want))
    return "" if want == have else f"too few {few}, too many {more}"


def whole(checks, scratch):
    """All streams, and how they are asked for."""
    with Asana() as asana:
        case = Case(scratch, asana)
        run = case.run()
        wrong = case.wrong()
        checks.ok("all seven streams are what the API gives", run.code == 0 and not wrong, wrong or said(run))
        checks.fact(", ".join(f"{stream} {len(records)}" for stream, records in case.brought.items()))
        checks.ok("each task comes once for each of its projects", not (wrong := difference(case.due({}), run.counts)), wrong)
        checks.ok("no value was changed to fit its schema", "to fit the schema" not in run.log and "readable cursor" not in run.log)
        statuses = Counter(call["status"] for call in asana.calls)
        checks.ok("every call is answered with 200, so nobody asks for teams where there are none", set(statuses) == {200},
                  dict(statuses))
        queries = [call["query"] for call in asana.calls]
        plain = [query for query in queries if query.get("limit") != "100" or "name" not in query.get("opt_fields", "")]
        checks.ok("every call asks for 100 a page and names its fields", not plain, plain[:1] or f"{len(asana.calls)} calls")
        pages = {gid: max(1, -(-len(tasks) // 100)) for gid, tasks in asana.tasks_of.items()}
        asked = {gid: len(case.calls_of(gid)) for gid in pages}
        checks.ok("the tasks of every project are asked for page by page", asked == pages and max(pages.values()) > 1,
                  sorted(asked.values()))
        since = {call["query"].get("modified_since") for call in asana.calls if call["path"] == "/tasks"}
        checks.ok("the first run asks for tasks from the start date on", since == {START}, since)
        twice = Counter((call["path"], *sorted(call["query"].items())) for call in asana.calls)
        twice = [(key[0], n) for key, n in twice.items() if n > 1]
        checks.ok("no page is asked for twice", not twice, twice)
        checks.ok("each project's bookmark is its last change", {k: v for k, v in case.latest().items() if v} ==
                  {k: v for k, v in run.bookmarks().items() if v > START}, len(run.bookmarks()))


def published(checks, scratch):
    """All streams: each call is as Asana's OpenAPI file has it, and so is each object of the vendor here."""
    with Asana(tasks=60) as asana:
        run = Case(scratch, asana, ALL, dripfeed=UNPACED).run()
        file = specification("asana")
        wrong = [words for call in asana.calls for words in file.wrong_call(
            "GET", call["path"], {name: [value] for name, value in call["query"].items()}, None, {})]
        checks.ok("every call is as Asana's OpenAPI file has it", run.code == 0 and asana.calls and not wrong, wrong[:3] or len(asana.calls))
        for stream, (_, name) in LISTS.items():
            records = [set_only(record) for record in asana.truth(stream).values()]
            schema = {"$ref": f"#/components/schemas/{name}"}
            wrong = [words for record in records for words in file.unfit(stream, schema, record)]
            checks.ok(f"{stream}: every object is as Asana's OpenAPI file has it", records and not wrong, wrong[:3] or len(records))


def set_only(value):
    """A value without what is null: the file hardly tells which fields may be."""
    if isinstance(value, list):
        return [set_only(item) for item in value]
    return {name: set_only(item) for name, item in value.items() if item is not None} if isinstance(value, dict) else value


def twice(asana):
    """Pages that were asked for twice."""
    calls = Counter((call["path"], *sorted(call["query"].items())) for call in asana.calls)
    return [(key[0], n) for key, n in calls.items() if n > 1][:4]


def everything(checks, scratch):
    """All streams, and what a later run asks for."""
    with Asana(tasks=300) as asana:
        case, tasks = Case(scratch, asana, ALL, dripfeed=UNPACED), asana.objects["tasks"]
        run = case.run()
        wrong = case.wrong(ALL)
        checks.ok("all twenty streams are what the API gives", run.code == 0 and not wrong, wrong or said(run))
        checks.fact(", ".join(f"{stream} {len(records)}" for stream, records in case.brought.items() if stream in MORE))

        def depth(gid):
            return 1 + depth(tasks[gid]["parent"].gid) if tasks[gid]["parent"] else 0

        depths = Counter(map(depth, case.brought["subtasks"]))
        checks.ok("subtasks come from all five levels", set(depths) == {1, 2, 3, 4, 5}, dict(depths))
        found = {gid for stream in ("tasks", "assigned_tasks", "subtasks") for gid in case.brought[stream]}
        left = [tasks[gid] for gid in tasks if gid not in found]
        lost = [task for task in left if task["projects"] or task["parent"] and task["parent"].gid in found]
        checks.ok("no task is left out but those that the API lists nowhere", left and not lost,
                  f"{len(left)} of {len(tasks)} have no project, and no assignee in their workspace")
        statuses = Counter(call["status"] for call in asana.calls)
        checks.ok("every call is answered with 200", set(statuses) == {200}, dict(statuses))
        checks.ok("no page is asked for twice", not twice(asana), twice(asana))
        asked = case.asked("subtasks")
        parents = {task["parent"].gid for task in tasks.values() if task["parent"]}
        checks.ok("only tasks with subtasks are asked for them", set(asked) <= parents, len(asked))
        asked = case.asked("stories")
        checks.ok("each task is asked for its stories, once", set(asked) == found and set(asked.values()) == {1}, len(asked))
        asked = case.asked("time_tracking_entries")
        tracked = {gid for gid in found if tasks[gid]["actual_time_minutes"]}
        checks.ok("only tasks with time on them are asked for time entries", set(asked) == tracked, len(asked))
        checks.fact(f"first run: {len(asana.calls)} calls")
        checks.ok("no value was changed to fit its schema", "to fit the schema" not in run.log and "readable cursor" not in run.log)

        run = case.run()
        again = case.asked("stories")
        checks.ok("nothing changed: hardly a task is asked for its stories", run.code == 0 and len(again) < len(found) / 3,
                  f"{len(again)} of {len(found)}, {len(asana.calls)} calls")
        subtasks, listed = sorted(case.brought["subtasks"]), sorted(asana.in_view())
        deep = [gid for gid in subtasks if depth(gid) == 5]
        alone = sorted(gid for gid, task in asana.assigned().items() if not task["projects"] and not task["parent"])
        touched = [(listed[0], "comment"), (listed[1], "time"), (listed[2], "subtask"), (subtasks[0], "comment"),
                   (subtasks[1], "subtask"), (deep[0], "time"), (deep[-1], "attachment"), (alone[0], "attachment"),
                   (alone[1], "time"), (alone[2], "comment"), (alone[3], "subtask")]
        for gid, kind in touched:
            asana.touch(gid, kind)
        run = case.run()
        # A new subtask does not stamp its parent, whose `num_subtasks` lags until it changes.
        lagging = [gid for gid, kind in touched if kind == "subtask" and gid not in subtasks]
        wrong = case.wrong(ALL, but=lagging)
        checks.ok("comments, time, attachments and subtasks are added to tasks of all kinds: all of it comes",
                  run.code == 0 and not wrong, wrong or said(run))
        asked = case.asked("stories")
        missed = [gid for gid, kind in touched if kind != "subtask" and gid not in asked]
        checks.ok("each task that changed is asked for its stories, and few others", not missed and len(asked) < len(found) / 3,
                  missed or f"{len(asked)}, {len(asana.calls)} calls")
        asana.edit(9)
        asana.add(4)
        run = case.run()
        wrong = case.wrong(ALL, but=lagging)
        checks.ok("tasks are edited and added: everything is as the API gives it", run.code == 0 and not wrong, wrong or said(run))

        quiet = sorted(tracked & set(listed))[5]
        asana.time_entry(tasks[quiet], None, "2024-05-05")
        case.run()
        checks.ok("a time entry that stamps no task does not come", case.wrong(["time_tracking_entries"]))
        asana.config(case.config, plan="paid", dripfeed=UNPACED, recheck_time_tracking=True)
        run = case.run()
        wrong = case.wrong(ALL, but=lagging)
        checks.ok("… but with recheck_time_tracking", run.code == 0 and not wrong, wrong or said(run))


def missing(checks, scratch):
    """What not every plan and token has, and tasks that go while they are read."""
    with Asana(tasks=120) as asana:
        gone = sorted(asana.in_view())[3]
        asana.fail = [{"match": "^/goals", "status": 402}, {"match": "^/portfolios[?]", "status": 403},
                      {"match": "^/workspaces/[0-9]+/custom_fields", "status": 403},
                      {"match": f"^/tasks/{gone}/", "status": 404}, {"match": f"^/attachments.*parent={gone}", "status": 404}]
        case = Case(scratch, asana, ALL, dripfeed=UNPACED)
        run = case.run()
        without = {"goals", "portfolios", "portfolio_items", "custom_fields", "status_updates"}
        lost = {thing["gid"] for kind in OF_TASKS for thing in asana.those(kind, gone)} | {
            task["gid"] for task in asana.objects["tasks"].values() if task["parent"] and task["parent"].gid == gone}
        wrong = case.wrong([stream for stream in ALL if stream not in without], but=lost)
        checks.ok("402, 403 and a task that is gone: everything else is whole, with 0", run.code == 0 and not wrong, wrong or said(run))
        updates = {gid for gid, update in asana.objects["status_updates"].items() if update["parent"].stream == "projects"}
        checks.ok("no goals and portfolios: the projects' status updates come", set(case.brought["status_updates"]) == updates,
                  len(updates))
        told = {name: set(run.skipped(name, status)) for name, status in
                (("goals", 402), ("portfolios", 403), ("custom_fields", 403), ("stories", 404), ("attachments", 404))}
        checks.ok("events tell what was skipped", list(map(len, told.values())) == [2, 2, 2, 1, 1], list(map(len, told.values())))
        asana.fail = [{"match": "^/tasks/[0-9]+/stories", "skip": 30, "status": 500, "headers": {"Retry-After": "1"}, "times": 40}]
        case = Case(scratch, asana, ALL, dripfeed=UNPACED)
        first = case.run()
        before = case.wrong(["stories"])
        asana.fail = []
        run = case.run()
        wrong = case.wrong(ALL)
        checks.ok("500 on stories: the next run brings the rest", first.code in (40, 69) and before and run.code == 0 and not wrong,
                  wrong or f"{first.code}, then {run.code}")


def chosen(checks, scratch):
    """Workspaces and projects that are named, or left out."""
    with Asana(tasks=200) as asana:
        homes, projects = sorted(asana.objects["workspaces"]), sorted(asana.objects["projects"])
        archived = {gid for gid, project in asana.objects["projects"].items() if project["archived"]}

        def of(home):
            return {gid for gid, project in asana.objects["projects"].items() if project["workspace"].gid == home}

        for name, config, want in (
                ("workspaces", {"workspaces": homes[:1]}, of(homes[0])),
                ("exclude_workspaces", {"exclude_workspaces": homes[:1]}, of(homes[1])),
                ("projects", {"projects": projects[2:5]}, set(projects[2:5])),
                ("exclude_projects", {"exclude_projects": projects[2:5]}, set(projects) - set(projects[2:5])),
                ("projects and exclude_projects", {"projects": projects[2:5], "exclude_projects": projects[4:]}, set(projects[2:4])),
                ("include_archived false", {"include_archived": False}, set(projects) - archived)):
            case = Case(scratch, asana, ALL, dripfeed=UNPACED, **config)
            run = case.run()
            have = set(case.brought["projects"])
            checks.ok(f"{name}: these projects come", run.code == 0 and have == want != set(projects), f"{len(have)} of {len(projects)}")
            tasks, brought = {gid for project in want for gid in asana.tasks_of[project]}, case.brought
            strange = [gid for gid, task in {**brought["assigned_tasks"], **brought["subtasks"]}.items()
                       if (task["workspace"]["gid"] not in {asana.objects["projects"][gid]["workspace"].gid for gid in want}
                           if "workspaces" in config or "exclude_workspaces" in config else task["projects"] and gid not in tasks)]
            checks.ok(f"{name}: their tasks come, and no others", set(brought["tasks"]) == tasks and not strange,
                      f"{len(tasks)} tasks, {len(strange)} strangers")
            below = {record["parent"]["gid"] for record in brought["project_memberships"].values()} | {
                record["project"]["gid"] for record in brought["sections"].values()}
            asked = set(case.asked("stories")) - tasks - set(brought["subtasks"]) - set(brought["assigned_tasks"])
            checks.ok(f"{name}: what belongs to them comes, and nothing else", below == want and not asked, len(below))


def login(checks, scratch):
    """OAuth."""
    with Asana(tasks=120) as asana:
        def case(**credentials):
            made = Case(scratch, asana, ("workspaces", "users", "tasks"), dripfeed=UNPACED,
                        credentials={"auth_type": "oauth", **asana.app, **credentials})
            config = json.loads(made.config.read_text())
            del config["access_token"]
            made.config.write_text(json.dumps(config))
            return made

        def logins():
            return [call for call in asana.calls if call["path"] == "/-/oauth_token"]

        one = case()
        run = one.run()
        wrong = one.wrong(one.streams)
        checks.ok("OAuth: everything comes, by one access token", run.code == 0 and not wrong and len(logins()) == 1, wrong or said(run))
        checks.ok("OAuth: the form is as documented", [call["query"] for call in logins()] == [{"grant_type": "refresh_token", **asana.app}])
        asana.fail = [{"match": "^/tasks", "skip": 3, "times": 1, "do": asana.expire_access_tokens}]
        asana.app["redirect_uri"] = "https://example.com/callback"
        one = case()
        run = one.run()
        wrong, statuses = one.wrong(one.streams), [call["status"] for call in logins()]
        checks.ok("an access token runs out in the middle: another is fetched, nothing is lost, and the redirect URI is sent",
                  run.code == 0 and not wrong and statuses == [200, 200], wrong or statuses)
        one = case(refresh_token="2/revoked-token")
        run = one.run("-v")
        text = run.log + run.out.decode()
        checks.ok("a revoked refresh token: exit code 20, no secret is shown",
                  run.code == 20 and "revoked-token" not in text and asana.app["client_secret"] not in text, said(run))
        one = Case(scratch, asana, ("workspaces",), credentials={"auth_type": "token"})
        checks.ok("credentials that name the access token: it counts", one.run().code == 0)
        one.config.write_text(json.dumps({"api_url": asana.url}))
        run = one.run()
        checks.ok("neither token nor credentials: exit code 10, nothing is asked", run.code == 10 and not asana.calls, said(run))


def many(checks, scratch):
    """Lists of parents that have pages."""
    all_but_sections = tuple(stream for stream in STREAMS if stream != "sections")
    for name, switches, streams in (
            ("130 workspaces", {"workspaces": 130, "projects": 140}, ("workspaces", "projects")),
            ("130 projects", {"projects": 130, "users": 240, "tags": 210, "teams": 220}, all_but_sections)):
        with Asana(seed=9, **switches) as asana:
            case = Case(scratch, asana)
            run = case.run("--streams", ",".join(streams))
            wrong = case.wrong(streams)
            checks.ok(f"lists of parents with several pages, {name}: all whole", run.code == 0 and not wrong, wrong or said(run))
            checks.fact(f"{len(asana.calls)} calls")


def later(checks, scratch, strict):
    """What later runs bring."""
    name = "modified_since leaves out its bound" if strict else "modified_since includes its bound"
    with Asana(strict=strict) as asana:
        case = Case(scratch, asana)
        case.run()
        latest = case.latest()
        run = case.run()
        due = case.due(latest)
        wrong = difference(due, run.counts)
        checks.ok(f"{name}: nothing changed, nothing but the tasks at the bookmarks comes", run.code == 0 and not wrong,
                  wrong or f"{sum(run.counts.values())} of {len(asana.in_view())} tasks")
        bounds = {c["query"]["project"]: c["query"].get("modified_since") for c in asana.calls if c["path"] == "/tasks"}
        checks.ok(f"{name}: each project is asked from its own bookmark on",
                  all(bounds[project] == (at or START) for project, at in latest.items()))
        edited = asana.edit(7)
        run = case.run()
        wrong = difference(case.due(latest), run.counts)
        checks.ok(f"{name}: 7 edits, these and the tasks at the bookmarks come",
                  run.code == 0 and not wrong and set(edited) <= set(run.counts), wrong or said(run))
        wrong = case.wrong()
        checks.ok(f"{name}: everything is as the API gives it", not wrong, wrong)


def limited(checks, scratch):
    """429."""
    with Asana(fail=[{"match": "^/tasks", "skip": 2, "times": 1, "status": 429, "headers": {"Retry-After": "3"}}]) as asana:
        case = Case(scratch, asana)
        run = case.run()
        wrong = case.wrong()
        checks.ok("a 429 in the middle: everything is as the API gives it", run.code == 0 and not wrong, wrong or said(run))
        at = next((n for n, call in enumerate(asana.calls) if call["status"] == 429), None)
        again = [call["time"] for call in asana.calls[at + 1:] if call["query"] == asana.calls[at]["query"]]
        waited = again[0] - asana.calls[at]["time"] if again else 0
        checks.ok("a 429: the same is asked again after Retry-After, not before", len(again) == 1 and 3 <= waited < 5,
                  f"{waited:.2f} s")
        told = [event for event in run.events if event["event"] == "rate_limited"]
        checks.ok("a 429: an event tells", [event["stream"] for event in told] == ["tasks"], len(told))
    with Asana(limit_per_minute=25, limit_window=3) as asana:
        case = Case(scratch, asana)
        run = case.run()
        wrong, refused = case.wrong(), sum(call["status"] == 429 for call in asana.calls)
        checks.ok("a limit that counts refused calls: everything is as the API gives it", run.code == 0 and not wrong,
                  wrong or said(run))
        checks.ok("a limit that counts refused calls: few are refused", 0 < refused <= 40, f"{refused} of {len(asana.calls)}")


def paced(checks, scratch):
    """The plan's calls a minute, spread evenly."""
    with Asana(projects=90, tasks=300) as asana:
        case = Case(scratch, asana)
        paid = case.run(keep=False)
        checks.ok("a paid plan: more than 150 calls at once", paid.code == 0 and len(asana.calls) > A_MINUTE and paid.took < 20,
                  f"{len(asana.calls)} calls, {paid.took:.1f} s")
        asana.config(case.config)
        run = case.run("--streams", "workspaces,users", keep=False)
        done = next((event for event in run.events if event["event"] == "run_done"), {})
        checks.ok("no plan named, few calls: nothing waits", run.code == 0 and done.get("paced_seconds") == 0 and run.took < 3,
                  f"{len(asana.calls)} calls, {run.took:.1f} s")
        asana.reset_calls()
        tap = start_tap(case.command())
        out = []
        reader = threading.Thread(target=lambda: out.extend(tap.stdout))
        reader.start()
        time.sleep(PACED_FOR)
        running, times = tap.poll() is None, [call["time"] for call in asana.calls]
        tap.terminate()
        sent = time.monotonic()
        code = ends(tap, 10)
        took = time.monotonic() - sent
        reader.join()
        tap.stdout.close()
        # What 150 calls a minute allow in so many seconds, beside a small burst.
        most = [(n, times[b] - times[a]) for a in range(len(times)) for b in range(a, len(times))
                if (n := b - a + 1) > A_MINUTE * (BURST + (times[b] - times[a]) / 60) + 1]
        checks.ok("no plan named: never more than 150 calls a minute allow", running and not most and len(times) > PACED_FOR,
                  most[:1] or f"{len(times)} calls in {PACED_FOR} s")
        checks.ok("SIGTERM while it waits for its pace: 143 within 5 s, the last line a STATE",
                  code == 143 and took < 5 and messages(out)[-1]["type"] == "STATE", f"{code} after {took:.2f} s")


def cap(checks, scratch):
    """The plan's own limit, at a vendor that is 200 ms away and counts: 10,000 tasks, and the stories of some, a call for each."""
    for plan, a_minute, stream, tasks in (("free", A_MINUTE, "tasks", 10_000), ("paid", 1500, "tasks", 10_000), ("paid", 1500, "stories", 3000)):
        with Asana(tasks=tasks, subtasks=0, latency=0.2, limit_per_minute=a_minute) as asana:
            case = Case(scratch, asana, streams=(stream,), plan=plan)
            run = case.run(longest=600)
            wrong = case.wrong((stream,))
            checks.ok(f"{tasks:,} tasks, 200 ms away, {plan}: {stream} are as the API gives them", run.code == 0 and not wrong, wrong or said(run))
            times = sorted(call["time"] for call in asana.calls)
            busiest = max(bisect.bisect_left(times, at + 60) - nth for nth, at in enumerate(times))
            refused = sum(call["status"] == 429 for call in asana.calls)
            checks.ok(f"{tasks:,} tasks, 200 ms away, {plan}: no call too many", not refused and busiest <= a_minute, f"{refused} refused")
            answers, span = [call["answered"] - call["time"] for call in asana.calls], max(call["answered"] for call in asana.calls) - times[0]
            done = next((event for event in run.events if event["event"] == "run_done"), {})
            checks.fact(f"asana, {plan}: an answer takes {sum(answers) / len(times):.2f} s; {sum(answers) / span:.1f} are awaited at a time; threads waited "
                        f"{done.get('paced_seconds', 0):.0f} s for the pace; {len(times) / span / a_minute * 60:.0%} of the cap's rate")
            checks.fact(f"| asana, {plan} | {a_minute} in 60 s | {len(case.brought[stream])} {stream} | {len(times)} | {run.took:.1f} s | "
                        f"{busiest / a_minute:.0%} | {refused} |")


def expired(checks, scratch):
    """Tokens of pages that are too old."""
    with Asana(tasks=1500) as asana:
        case = Case(scratch, asana)
        project = case.biggest()
        rule = {"match": for_tasks_of(project, True), "times": 1, "do": lambda: asana.expire_offsets(project)}
        asana.fail = [{**rule, "skip": 2}]
        run = case.run()
        wrong = case.wrong()
        checks.ok("a token expires in the middle of a project: everything is as the API gives it", run.code == 0 and not wrong,
                  wrong or said(run))
        pages = -(-len(asana.tasks_of[project]) // 100)
        calls = [(call["status"], "offset" in call["query"]) for call in case.calls_of(project)]
        again = [(200, False)] + [(200, True)] * (pages - 1)
        checks.ok("a token expires: the project is read from its first page again", calls == again[:3] + [(400, True)] + again,
                  f"{len(calls)} calls for {pages} pages")
        since = {call["query"]["modified_since"] for call in case.calls_of(project)}
        checks.ok("a token expires: the window stays the same", since == {START}, since)
        edited = asana.edit(150, project)
        asana.fail = [rule]
        run = case.run()
        wrong = case.wrong()
        lost = set(edited) - set(run.counts)
        checks.ok("a token expires in a later run: nothing is lost", run.code == 0 and not wrong and not lost, wrong or said(run))
    with Asana(tasks=1500) as asana:
        case = Case(scratch, asana)
        project = case.biggest()
        asana.fail.append({"match": for_tasks_of(project, True), "status": 400, "message": EXPIRED})
        run = case.run()
        calls = len(case.calls_of(project))
        checks.ok("every token expires: the stream fails, with 40", run.code == 40 and "`tasks`" in run.log, said(run))
        checks.ok("every token expires: it does not ask for ever", calls <= 50, f"{calls} calls")
        wrong = case.wrong(STREAMS[:-1])
        checks.ok("every token expires: the other streams are whole", not wrong, wrong)
        checks.ok("every token expires: the project's bookmark does not move", run.bookmarks().get(project, START) <= START,
                  f"{len(run.bookmarks())} projects have one")
        asana.fail.clear()
        run = case.run()
        wrong = case.wrong()
        checks.ok("every token expired: the next run brings the rest", run.code == 0 and not wrong, wrong or said(run))


def refused(checks, scratch):
    """401."""
    token = "2/1200000000000042/1200000000000077:9f8e7d6c5b4a39281706f5e4d3c2b1a0"
    with Asana(token=token) as asana:
        wrong = token[:-1] + "1"
        echo = {"errors": [{"message": f"Not Authorized: Bearer {wrong} ({quote(wrong, '')})", "help": f"?token={quote(wrong)}"}]}
        for name, rules in (("401", []), ("401 that repeats the token", [{"match": "", "status": 401, "body": echo}])):
            asana.fail = rules
            for more in ((), ("-v",)):
                case = Case(scratch, asana, access_token=wrong)
                run = case.run(*more)
                text = run.log + run.out.decode()
                shown = [part for part in (wrong, quote(wrong, ""), quote(wrong), wrong[-32:]) if part in text]
                what = " ".join((name, *more))
                checks.ok(f"{what}: exit code 20, no record, the log names the access token",
                          run.code == 20 and not any(run.found().values()) and "access token" in run.log, said(run))
                checks.ok(f"{what}: the token is nowhere to be seen", not shown, shown)
        asana.fail = []
        case = Case(scratch, asana)
        given = case.run().bookmarks()
        asana.fail = [{"match": "^/tasks", "skip": 3, "status": 401, "body": {"errors": [{"message": f"gone: {token}"}]}}]
        run = case.run("-v")
        checks.ok("a token that is revoked in the middle: exit code 20, the token is nowhere to be seen",
                  run.code == 20 and token not in run.log + run.out.decode(), said(run))
        checks.ok("a token that is revoked in the middle: the last line is a STATE, with every bookmark",
                  run.said[-1]["type"] == "STATE" and run.bookmarks() == given, f"{len(given)} projects")


def paid_only(checks, scratch):
    """402."""
    with Asana(fail=[{"match": "^/tags", "status": 402}]) as asana:
        case = Case(scratch, asana)
        run = case.run()
        wrong = case.wrong([stream for stream in STREAMS if stream != "tags"])
        checks.ok("402 on tags: the other streams are whole, exit code 0", run.code == 0 and not wrong, wrong or said(run))
        told = run.skipped("tags", 402)
        checks.ok("402 on tags: an event for each workspace", len(told) == len(asana.objects["workspaces"]), told)


def come_and_go(checks, scratch):
    """403, 404, and projects that come back."""
    with Asana(tasks=900) as asana:
        case = Case(scratch, asana)
        hidden, deleted, other = case.biggest(0), case.biggest(1), case.biggest(2)
        asana.hide_project(hidden)
        asana.delete_project(deleted, listed=True)
        run = case.run()
        name, wrong = "403 on a project and 404 on another", case.wrong()
        checks.ok(f"{name}: everything else is whole, with 0", run.code == 0 and not wrong, wrong or said(run))
        for stream in ("tasks", "sections"):
            told = [run.skipped(stream, status) for status in (403, 404)]
            checks.ok(f"{name}: events of {stream} say so",
                      [len(partitions) for partitions in told] == [1, 1] and hidden in told[0][0] and deleted in told[1][0], told)
        before = run.bookmarks()
        skipped = {project: at for project, at in before.items() if project in (hidden, deleted) and at > START}
        checks.ok(f"{name}: no bookmark for what was skipped", not skipped, skipped)

        asana.show_project(hidden)
        asana.hide_project(other)
        asana.edit(5, hidden)
        edited = asana.edit(5, other)
        run = case.run()
        out_of_view = tasks_only_in(asana, other) | set(asana.sections_of[other]) | set(edited)
        wrong = case.wrong(but=out_of_view)
        checks.ok("a project comes back: all of its tasks come",
                  run.code == 0 and not wrong and set(asana.tasks_of[hidden]) <= set(run.counts), wrong or said(run))
        name, at = "a project is hidden after its first run", run.bookmarks().get(other)
        checks.ok(f"{name}: an event says so", any(other in told for told in run.skipped("tasks", 403)))
        checks.ok(f"{name}: its bookmark stays", at == before[other], at)
        asana.show_project(other)
        run = case.run()
        wrong = case.wrong()
        checks.ok("it comes back: what changed meanwhile comes", run.code == 0 and not wrong and set(edited) <= set(run.counts),
                  wrong or said(run))
        since = {call["query"].get("modified_since") for call in case.calls_of(other)}
        checks.ok("it comes back: it is read from its bookmark on", since == {before[other]}, since)


def new_projects(checks, scratch):
    """Projects that come into view later."""
    with Asana() as asana:
        case = Case(scratch, asana)
        project = case.biggest(1)
        asana.hide_project(project, listed=False)
        run = case.run()
        wrong = case.wrong()
        checks.ok("before a project comes into view: everything else is whole", run.code == 0 and not wrong, wrong or said(run))
        old = max(task["modified_at"] for task in asana.tasks_of[project].values()) < max(run.bookmarks().values())
        asana.show_project(project)
        run = case.run()
        wrong = case.wrong()
        checks.ok("a project comes into view with tasks older than the bookmark: all of them come",
                  old and run.code == 0 and not wrong, wrong or said(run))
        since = {call["query"].get("modified_since") for call in case.calls_of(project)}
        checks.ok("a project comes into view: it is read from the start date on", since == {START}, since)


def faults(checks, scratch):
    """500."""
    passing = [{"match": "^/tasks", "skip": 4, "times": 2, "status": 500}, {"match": "^/projects", "times": 1, "status": 503}]
    with Asana(fail=passing) as asana:
        case = Case(scratch, asana)
        run = case.run()
        wrong = case.wrong()
        checks.ok("500 and 503 that pass: everything is as the API gives it", run.code == 0 and not wrong, wrong or said(run))
    with Asana() as asana:
        case = Case(scratch, asana)
        project = case.biggest(1)
        alone = tasks_only_in(asana, project)
        rule = {"match": for_tasks_of(project), "status": 500, "headers": {"Retry-After": "1"}}
        asana.fail = [rule]
        run = case.run()
        tried = len(case.calls_of(project))
        checks.ok("500 for ever on one project: the run fails, with 40 or 69", run.code in (40, 69), said(run))
        checks.ok("500 for ever: asked again some times", 3 < tried < 15, f"{tried} calls")
        wrong = case.wrong(STREAMS[:-1])
        checks.ok("500 for ever: the other streams are whole", not wrong, wrong)
        wrong = case.wrong(but=alone)
        checks.ok("500 for ever: the other projects are whole", not wrong, wrong)
        latest, kept = case.latest(), run.bookmarks()
        others = {p: at for p, at in latest.items() if p != project and at}
        checks.ok("500 for ever: the state keeps what the others got to",
                  {p: kept.get(p) for p in others} == others and kept.get(project, START) == START, f"{len(kept)} projects")
        asana.fail = []
        run = case.run()
        wrong = case.wrong()
        checks.ok("healed: the next run brings the rest", run.code == 0 and not wrong, wrong or said(run))
        wrong = difference(case.due(others), run.counts)
        checks.ok("healed: and nothing else but the tasks at the bookmarks", not wrong, wrong)
        # Now that the project has a bookmark: it stays where it is.
        asana.edit(9, project)
        asana.fail = [rule]
        run = case.run()
        checks.ok("500 for ever in a later run: the project's bookmark stays",
                  run.code in (40, 69) and run.bookmarks().get(project) == latest[project], said(run))
        asana.fail = []
        run = case.run()
        wrong = case.wrong()
        checks.ok("healed again: nothing is lost", run.code == 0 and not wrong, wrong or said(run))


def edited(checks, scratch):
    """Edits, additions and moves while pages are read."""
    for seed in range(1, 6):
        strict = seed % 2 == 0
        with Asana(seed=seed, projects=6, tasks=1000, edits_while_paging=4, strict=strict) as asana:
            case = Case(scratch, asana)
            first = case.run()
            name = f"edits while paging, seed {seed}"
            # The tap knows the vendor's clock from its first answer.
            began = {project: case.calls_of(project)[0]["answered"] for project in asana.open_projects()}
            late = [project for project, at in first.bookmarks().items() if at > stamp(began[project] - SETTLE)]
            checks.ok(f"{name}: no bookmark is less than a minute older than its reading", first.bookmarks() and not late,
                      f"{len(late)} of {len(first.bookmarks())} are")
            missed = case.wrong(["tasks"])
            second = case.run()
            between = asana.edits
            asana.edits_while_paging = 0
            last = case.run()
            wrong = case.wrong()
            checks.ok(f"{name}: after a run without edits everything is as the API gives it",
                      (first.code, second.code, last.code) == (0, 0, 0) and not wrong, wrong or f"{between} edits")
            checks.ok(f"{name}: the first run alone could not know", missed, missed[:80])
            checks.fact(f"{sum(first.counts.values())}, {sum(second.counts.values())}, then {sum(last.counts.values())} tasks")


def killed(checks, scratch):
    """SIGKILL in the middle."""
    moments = random.Random(7)
    with Asana(tasks=1500, projects=20, latency=0.02) as asana:
        for lines in (1, moments.randrange(100, 700), moments.randrange(700, 1300), moments.randrange(1300, 1700)):
            case = Case(scratch, asana)
            tap = start_tap(case.command())
            out = [tap.stdout.readline() for _ in range(lines)]
            tap.kill()
            out += tap.stdout.readlines()
            tap.wait()
            tap.stdout.close()
            out = [line for line in out if line.endswith(b"\n")]
            first = messages(out)
            Run(None, b"".join(out), b"", 0).found(case.brought)
            missing = case.wrong()
            states = [m["value"] for m in first if m["type"] == "STATE"]
            if states:
                case.state.write_text(json.dumps(states[-1]))
            run = case.run()
            wrong = case.wrong()
            checks.ok(f"SIGKILL after {lines} lines: the next run brings the rest", missing and run.code == 0 and not wrong,
                      wrong or missing[-80:])
            checks.fact(f"{sum(m['type'] == 'RECORD' for m in first)} records and {len(states)} states, then {said(run)}")


def reference():
    """The reference's command, if it is here."""
    given = os.environ.get("AIRBYTE_CDK") or "source-declarative-manifest"
    found = shutil.which(given)
    if not found and "AIRBYTE_CDK" in os.environ:
        sys.exit(f"{given} is not there; AIRBYTE_CDK must name an executable")
    if found and os.path.basename(found).startswith("python"):
        return [found, "-c", "from airbyte_cdk.cli.source_declarative_manifest import run; run()"]
    return found and [found]


class Reference:
    """Runs the same manifest in airbyte-cdk."""

    def __init__(self, scratch, asana, command, streams=STREAMS):
        self.asana, self.command, self.streams, self.state = asana, command, streams, {}
        self.config, self.catalog, self.states = (scratch / f"reference-{name}.json" for name in ("config", "catalog", "state"))
        asana.config(self.config, plan="paid")
        self.catalog.write_text(json.dumps({"streams": [
            {"stream": {"name": stream, "json_schema": {}, "supported_sync_modes": ["full_refresh", "incremental"]},
             "sync_mode": "incremental", "destination_sync_mode": "append"} for stream in streams]}))

    def run(self):
        """One run: exit code, records by stream."""
        self.asana.reset_calls()
        more = []
        if self.state:
            streams = [{"stream_descriptor": {"name": name}, "stream_state": state} for name, state in self.state.items()]
            self.states.write_text(json.dumps([{"type": "STREAM", "stream": stream} for stream in streams]))
            more = ["--state", str(self.states)]
        done = subprocess.run([*self.command, "read", "--config", str(self.config), "--catalog", str(self.catalog), *more,
                               "--manifest-path", str(ROOT / "catalog" / "asana.yaml")],
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
        records = {stream: Counter() for stream in self.streams}
        for line in done.stdout.splitlines():
            message = json.loads(line)
            if message["type"] == "RECORD":
                records[message["record"]["stream"]][as_text(message["record"]["data"])] += 1
            elif message["type"] == "STATE":
                stream = message["state"]["stream"]
                if "__ab_no_cursor_state_message" not in stream["stream_state"]:
                    self.state[stream["stream_descriptor"]["name"]] = stream["stream_state"]
        return done.returncode, records


def as_text(record):
    """A record to compare: the reference leaves null keys out at the top level."""
    return json.dumps({k: v for k, v in record.items() if v is not None}, sort_keys=True)


def state_of(state):
    """A state to compare: without the run's duration and Singer's own keys, projects in order."""
    kept = {k: v for k, v in state.items() if k not in ("lookback_window", "replication_key", "replication_key_value")}
    if kept.get("parent_state"):
        kept["parent_state"] = {name: state_of(parent) for name, parent in kept["parent_state"].items()}
    return {**kept, "states": sorted(kept.get("states", []), key=lambda one: json.dumps(one, sort_keys=True))}


def requests(asana):
    """The calls: those that only one stream makes, and those of parents, which the reference keeps for some of the others."""
    calls = Counter((call["path"], *sorted(call["query"].items())) for call in asana.calls)
    parents = Counter({call: n for call, n in calls.items() if call[0] in ("/workspaces", "/projects")})
    return calls - parents, parents


def parity(checks, scratch):
    """The same as airbyte-cdk 7.39.1."""
    command = reference()
    if not command:
        checks.fact("AIRBYTE_CDK does not name the reference: parity is not checked")
        return
    with Asana(tasks=800) as ours, Asana(tasks=800) as theirs:
        case, other = Case(scratch, ours), Reference(scratch, theirs, command)
        project, hidden = case.biggest(), case.biggest(3)
        for asana in (ours, theirs):
            expire = functools.partial(asana.expire_offsets, project)
            asana.fail = [{"match": for_tasks_of(project, True), "skip": 1, "times": 1, "do": expire}]
        for name in ("first run, in which a token expires", "second run, without a right it had"):
            run, (code, records) = case.run(), other.run()
            checks.ok(f"parity, {name}: both end with 0", (run.code, code) == (0, 0), f"{run.code} and {code}")
            (children, parents), (their_children, their_parents) = requests(ours), requests(theirs)
            wrong = difference(their_children, children)[:900]
            checks.ok(f"parity, {name}: the same requests", not wrong, wrong or f"{sum(children.values())} of them")
            # The reference's threads may ask for a parent's page at the same time; how often is a matter of luck.
            checks.ok(f"parity, {name}: the same requests for parents, no more often",
                      set(parents) == set(their_parents) and sum(parents.values()) <= sum(their_parents.values()),
                      f"{sum(parents.values())} and {sum(their_parents.values())}")
            for stream in STREAMS:
                have = Counter(as_text(m["record"]) for m in run.said if m["type"] == "RECORD" and m["stream"] == stream)
                wrong = difference(records[stream], have)
                checks.ok(f"parity, {name}: the same records of {stream}", not wrong,
                          wrong[:300] or f"{sum(have.values())} of them")
            have, want = state_of(run.state["bookmarks"]["tasks"]), state_of(other.state["tasks"])
            checks.ok(f"parity, {name}: the same state of tasks", have == want,
                      "" if have == want else f"{have} instead of {want}"[:600])
            for asana in (ours, theirs):  # what changes does so well in the past
                asana.clock = lambda moments=iter(range(10**6)): 1_740_000_000.123 + next(moments)
                asana.edit(9)
                asana.add(5)
                asana.hide_project(hidden)


def parity_of_all(checks, scratch):
    """The same as airbyte-cdk 7.39.1, all streams."""
    command = reference()
    if not command:
        checks.fact("AIRBYTE_CDK does not name the reference: parity is not checked")
        return
    switches = {"tasks": 60, "projects": 5, "users": 6, "tags": 3, "teams": 2}
    with Asana(**switches) as ours, Asana(**switches) as theirs:
        case, other = Case(scratch, ours, ALL, dripfeed=UNPACED), Reference(scratch, theirs, command, ALL)
        for name in ("first run", "second run"):
            run, (code, records) = case.run(), other.run()
            checks.ok(f"parity of all, {name}: both end with 0", (run.code, code) == (0, 0), f"{run.code} and {code}")
            mine, its = (Counter((call["path"], *sorted(call["query"].items())) for call in asana.calls) for asana in (ours, theirs))
            checks.ok(f"parity of all, {name}: the same requests, none more often", set(mine) == set(its) and not mine - its,
                      f"{difference(Counter(set(its)), Counter(set(mine)))[:600]} {sum(mine.values())} and {sum(its.values())}")
            wrong = []
            for stream in ALL:
                have = Counter(as_text(m["record"]) for m in run.said if m["type"] == "RECORD" and m["stream"] == stream)
                wrong += [f"{stream}: {difference(records[stream], have)[:200]}"] if records[stream] != have else []
            checks.ok(f"parity of all, {name}: the same records", not wrong, wrong or sum(sum(n.values()) for n in records.values()))
            states = {stream: (state_of(run.state["bookmarks"][stream]), state_of(state)) for stream, state in other.state.items()}
            wrong = [f"{stream}: {have} instead of {want}"[:900] for stream, (have, want) in states.items() if have != want]
            checks.ok(f"parity of all, {name}: the same states", len(states) == 5 and not wrong, wrong or len(states))
            for asana in (ours, theirs):
                asana.clock = lambda moments=iter(range(10**6)): 1_740_000_000.123 + next(moments)
                for n, gid in enumerate(sorted(asana.known_tasks())[::7]):
                    asana.touch(gid, ("comment", "time", "attachment", "subtask")[n % 4])
                asana.edit(5)


def equal(have, want):
    """Are a row's value and a record's the same? The database has times without a zone, and null where the vendor says nothing."""
    if isinstance(want, dict) and isinstance(have, dict):
        return all(equal(have.get(key), want.get(key)) for key in {*have, *want})
    if isinstance(want, list) and isinstance(have, list):
        return len(have) == len(want) and all(map(equal, have, want))
    if isinstance(want, str) and isinstance(have, str) and re.match(r"\d{4}-\d\d-\d\dT", want):
        return moment_of(have) == moment_of(want)
    return have == want


def warehouse(checks, scratch):
    """PostgreSQL."""
    if "TARGET_POSTGRES_MELTANO" not in os.environ:
        checks.fact("TARGET_POSTGRES_MELTANO does not name target-postgres: the database is not checked")
        return
    import warehouse as databases
    with Asana(tasks=150, odd=()) as asana, databases.Postgres() as server:
        target = databases.Meltano(server, scratch)
        settings, config = scratch / "target.json", asana.config(scratch / "config.json", dripfeed=UNPACED)
        settings.write_text(json.dumps(target.config("asana", 0)))
        for name in ("first load", "after changes"):
            done = subprocess.run(sync_command(config, [target.executable, "--config", settings], "--state", scratch / "kept.json",
                                               source="asana"),
                                  stdin=subprocess.DEVNULL, capture_output=True, timeout=2 * LONGEST)
            wrong, tables = [], target.tables("asana")
            for stream in ALL:
                want, table = asana.truth(stream), tables[stream]
                have = {key_of(stream, row): row for row in table.rows}
                fields = {field for record in want.values() for field in record}
                stale = [key for key in want.keys() & have.keys()
                         if not all(equal(have[key].get(field), want[key].get(field)) for field in fields)]
                if table.count != len(want) or have.keys() != want.keys() or stale:
                    wrong.append(f"{stream}: {table.count} rows of {len(want)}, {len(stale)} stale")
            checks.ok(f"PostgreSQL, {name}: counts and contents of all tables are the vendor's", done.returncode == 0 and not wrong,
                      wrong or ", ".join(f"{stream} {tables[stream].count}" for stream in ALL))
            if name == "first load":
                asana.edit(9)
                asana.add(3)
                for n, gid in enumerate(sorted(asana.known_tasks())[::9]):
                    asana.touch(gid, ("comment", "time", "attachment")[n % 3])
        # The view of docs/src/sources/asana.md.
        text = (ROOT / "docs" / "src" / "sources" / "asana.md").read_text()
        view, pivot = (part.split("```")[0] for part in text.split("```sql\n")[1:3])
        server.query("SET search_path TO asana; " + view)
        count = int(server.query("SELECT count(*) FROM asana.all_tasks")[0])
        checks.ok("the view of the docs has every task once", count == len(asana.known_tasks()), count)
        rows = server.query("SET search_path TO asana; " + pivot.replace("'Priority'", "'Priorität'"))
        checks.ok("the query of the docs pivots custom fields", len(rows) == len(asana.in_view()) and any("Hoch" in row for row in rows),
                  len(rows))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[""], metavar="WORD", help="run the parts whose name has one of these words")
    options = parser.parse_args()
    checks = Checks()
    parts = {
        "whole": whole, "published": published, "everything": everything, "missing": missing, "chosen": chosen, "login": login, "many": many, "later": functools.partial(later, strict=False),
        "later strict": functools.partial(later, strict=True), "limited": limited, "paced": paced, "expired": expired,
        "refused": refused, "paid_only": paid_only, "come_and_go": come_and_go, "new_projects": new_projects, "faults": faults,
        "edited": edited, "killed": killed, "parity": parity,
        "parity_of_all": parity_of_all, "warehouse": warehouse, "cap": cap,
    }
    with folder() as scratch:
        for name, part in parts.items():
            if (any(word in name for word in options.only) if name != "cap" else "cap" in options.only):  # a benchmark
                began = time.monotonic()
                part(checks, scratch)
                checks.fact(f"{name}: {time.monotonic() - began:.1f} s")
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
