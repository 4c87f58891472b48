#!/usr/bin/env python3
"""Proves: the `asana` source asks only for what Asana's own OpenAPI file allows, and takes what that file says comes back.

Prism serves the file's examples and, with --errors, refuses every call that breaks the file's rules. (a) All streams bring
records, on a first run and on one with a state; no call breaks a rule; no parameter is one that the file does not know. (b) Each
record is valid by the vendor's schema of the whole object and by ours; each field of ours is one of the vendor's, of the same
type. (c) No token: 401, exit code 20. (d) By the file as it is `next_page` never ends: the loop is seen at the second page, exit
code 40.

The file is tests/specs/asana.json. For (a) to (c) two things are mended: the end of paging, and the lists, which give whole objects,
as `opt_fields` asks for, where the file shows compact ones. prism_sources.py does the same for other sources, with less.

Environment: PRISM names Prism's executable, PYTHON_JSONSCHEMA a Python that has jsonschema, when this one has not; see also
support.py.
"""
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

from support import ROOT, Checks, executable, dripfeed, folder, messages

try:
    import jsonschema
except ImportError:
    other = os.environ.get("PYTHON_JSONSCHEMA", sys.executable)
    if os.path.abspath(other) == sys.executable:
        sys.exit("this Python lacks jsonschema; name one that has it in PYTHON_JSONSCHEMA")
    os.execv(other, [other, *sys.argv])

SPEC = ROOT / "tests" / "specs" / "asana.json"
# What each stream calls, and the vendor's name for its whole object.
LISTS = {
    "workspaces": ("/workspaces", "WorkspaceResponse"),
    "teams": ("/workspaces/{workspace_gid}/teams", "TeamResponse"),
    "users": ("/users", "UserResponse"),
    "projects": ("/projects", "ProjectResponse"),
    "sections": ("/projects/{project_gid}/sections", "SectionResponse"),
    "tags": ("/tags", "TagResponse"),
    "tasks": ("/tasks", "TaskResponse"),
    "assigned_tasks": ("/tasks", "TaskResponse"),
    "subtasks": ("/tasks/{task_gid}/subtasks", "TaskResponse"),
    "stories": ("/tasks/{task_gid}/stories", "StoryResponse"),
    "attachments": ("/attachments", "AttachmentResponse"),
    "time_tracking_entries": ("/tasks/{task_gid}/time_tracking_entries", "TimeTrackingEntryBase"),
    "custom_fields": ("/workspaces/{workspace_gid}/custom_fields", "CustomFieldResponse"),
    "project_memberships": ("/projects/{project_gid}/project_memberships", "ProjectMembershipNormalResponse"),
    "team_memberships": ("/team_memberships", "TeamMembershipResponse"),
    "workspace_memberships": ("/workspaces/{workspace_gid}/workspace_memberships", "WorkspaceMembershipResponse"),
    "status_updates": ("/status_updates", "StatusUpdateResponse"),
    "portfolios": ("/portfolios", "PortfolioResponse"),
    "portfolio_items": ("/portfolios/{portfolio_gid}/items", "ProjectResponse"),
    "goals": ("/goals", "GoalResponse"),
}
# Fields that the manifest adds.
ADDED = {"portfolio_items": {"portfolio"}}


class Prism:
    """Prism on a free port, in a process of its own."""

    def __init__(self, spec, log):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        self.url, self.log = f"http://127.0.0.1:{port}", log
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [executable("PRISM", "prism"), "mock", "--host", "127.0.0.1", "--port", str(port), "--errors", str(spec)],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, env={**os.environ, "NO_COLOR": "1"})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def ready(self, seconds=120):
        """Waits until it answers; then forgets what it said so far."""
        deadline = time.monotonic() + seconds
        while self.status("/") is None:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Prism does not answer: {self.log.read_text()[-500:]}")
            time.sleep(0.1)
        while "Route not resolved" not in self.log.read_text():  # what it says of the last try
            time.sleep(0.01)
        self.begins = self.log.stat().st_size
        return self

    def status(self, path, token="any"):
        """The status of one answer; None when nobody listens."""
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {token}"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return None

    def said(self):
        """What it said since the last call of this, without times."""
        with self.log.open("rb") as log:
            log.seek(self.begins)
            text = log.read().decode()
        self.begins += len(text.encode())
        return [re.sub(r"^\[.*?] ", "", line) for line in text.splitlines()]


def mended(scratch):
    """The vendor's file as Python has it, and the path of one that Prism can serve to the end."""
    path = scratch / "served.json"
    vendor, served = json.loads(SPEC.read_text()), json.loads(SPEC.read_text())
    served["components"]["schemas"]["NextPage"].update(example=None, nullable=True)
    paths, served["paths"] = served["paths"], {}
    for at, whole in LISTS.values():
        served["paths"][at] = {k: v for k, v in paths[at].items() if k in ("get", "parameters")}
        answer = paths[at]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        answer["properties"]["data"]["items"] = {"$ref": f"#/components/schemas/{whole}"}
    workspace = flat(served, {"$ref": "#/components/schemas/WorkspaceResponse"})["properties"]
    workspace["is_organization"]["example"] = True  # else it has no teams
    workspace["email_domains"]["items"].pop("format", None)  # the file's example, a domain, is not the `uri` that it wants
    path.write_text(json.dumps(served))
    return vendor, path


def flat(spec, schema):
    """A schema of the vendor's with references and `allOf` resolved at its top; its properties are the file's own objects."""
    if "$ref" in schema:
        node = spec
        for part in schema["$ref"].removeprefix("#/").split("/"):
            node = node[part]
        return flat(spec, node)
    merged = {k: v for k, v in schema.items() if k != "allOf"}
    for part in schema.get("allOf", ()):
        part = flat(spec, part)
        properties = {**merged.get("properties", {}), **part.get("properties", {})}
        merged = {**merged, **part, **({"properties": properties} if properties else {})}
    return merged


def json_schema(node):
    """An OpenAPI 3.0 schema as JSON Schema: `nullable` becomes a type."""
    if isinstance(node, list):
        return [json_schema(item) for item in node]
    if not isinstance(node, dict):
        return node
    plain = {k: json_schema(v) for k, v in node.items() if k not in ("nullable", "example")}
    parts = [node, *(part for part in node.get("allOf", ()) if isinstance(part, dict))]
    return {"anyOf": [{"type": "null"}, plain]} if any(part.get("nullable") is True for part in parts) else plain


def strangers(spec, ours, theirs, at=""):
    """Fields of our schema that are not in the vendor's, or not of its type."""
    theirs, types = flat(spec, theirs), ours.get("type", [])
    types = {types} if isinstance(types, str) else set(types)
    kind = theirs.get("type")
    if kind and kind not in types and not (kind == "integer" and "number" in types):
        return [f"{at} is {kind}"]
    if "items" in ours:
        return strangers(spec, ours["items"], theirs.get("items", {}), f"{at}[]")
    found = []
    for name, schema in ours.get("properties", {}).items():
        known = theirs.get("properties", {})
        found += strangers(spec, schema, known[name], f"{at}.{name}") if name in known else [f"{at}.{name} is unknown"]
    return found


def errors(schema, records):
    """What is wrong with records, in words."""
    validator = jsonschema.Draft7Validator(schema)
    return [f"{error.json_path}: {error.message[:120]}" for record in records for error in validator.iter_errors(record)]


class Tap:
    """One run of the tap against Prism."""

    def __init__(self, prism, scratch, state=None, token="any", streams=None):
        config = scratch / "config.json"
        config.write_text(json.dumps({"access_token": token, "api_url": prism.url, "plan": "paid"}))
        command = [dripfeed(), "read", "-v", "--source", "asana", "--config", str(config)]
        command += ["--streams", streams] if streams else []
        if state is not None:
            (scratch / "state.json").write_text(json.dumps(state))
            command += ["--state", str(scratch / "state.json")]
        began = time.monotonic()
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
        self.took, self.code, self.log = time.monotonic() - began, done.returncode, done.stderr.decode()
        self.records = {stream: [] for stream in LISTS}
        self.state = None
        for message in messages(done.stdout.splitlines(keepends=True)):
            if message["type"] == "RECORD":
                self.records[message["stream"]].append(message["record"])
            elif message["type"] == "STATE":
                self.state = message["value"]

    def said(self, level):
        """The log's lines of a level."""
        return [line for line in self.log.splitlines() if line.startswith(level)]

    def calls(self, url):
        """Path and parameters of each call; -v shows those."""
        found = re.findall(rf"GET {re.escape(url)}(/[^\s?]*)\??(\S*)", self.log)
        return [(path, [pair.partition("=")[0] for pair in query.rstrip(":").split("&") if pair]) for path, query in found]


def unknown_parameters(spec, calls):
    """Parameters, with their call, that the file does not have there."""
    found = set()
    for path, names in calls:
        at = next((at for at, _ in LISTS.values() if re.fullmatch(re.sub(r"{\w+}", "[^/]+", at), path)), None)
        item = spec["paths"].get(at, {})
        declared = [*item.get("parameters", ()), *item.get("get", {}).get("parameters", ())]
        known = {flat(spec, parameter)["name"] for parameter in declared}
        found |= {f"{path} {name}" for name in names if name not in known}
    return sorted(found)


def one_run(checks, prism, tap, vendor, name):
    """(a)"""
    said = prism.said()
    received = sum("Request received" in line for line in said)
    allowed = sum("passed the validation rules" in line for line in said)
    broken = [line.strip()[:160] for line in said if re.search("violat|not valid|error", line, re.IGNORECASE)]
    complaints = tap.said("warning") + tap.said("error")
    checks.ok(f"{name}: exit code 0, no complaint", tap.code == 0 and not complaints, complaints[:2] or "")
    empty = [stream for stream, records in tap.records.items() if not records]
    checks.ok(f"{name}: each of the {len(LISTS)} streams brings records", not empty, empty or "")
    checks.ok(f"{name}: no call breaks a rule of the file", received == allowed > 0 and not broken,
              broken[:2] or f"{allowed} of {received} calls passed")
    calls = tap.calls(prism.url)
    unknown = unknown_parameters(vendor, calls)
    checks.ok(f"{name}: no parameter that the file does not know", calls and not unknown, unknown or f"{len(calls)} calls")
    return calls


def whole(checks, prism, scratch, vendor):
    """(a) and (b)"""
    first = Tap(prism, scratch)
    one_run(checks, prism, first, vendor, "first run")
    second = Tap(prism, scratch, first.state)
    calls = one_run(checks, prism, second, vendor, "second run")
    since = ["modified_since" in names for path, names in calls if path == "/tasks"]
    # Which tasks have subtasks is asked without one, of one project and of one user.
    checks.ok("second run: tasks are asked for since a time", since.count(True) > since.count(False) == 2, f"{len(since)} calls")

    # Last, since its complaints about these come late.
    wrong = ("opt_fields=nonsense", "limit=500", "modified_since=yesterday")
    refused = [prism.status(f"/tasks?project=1&{parameter}") for parameter in wrong]
    checks.ok("Prism refuses what the file does not allow", all(400 <= status < 500 for status in refused), refused)

    theirs = json_schema({"components": {"schemas": vendor["components"]["schemas"]}})
    for stream, (_, name) in LISTS.items():
        records = first.records[stream] + second.records[stream]
        ours = json.loads((ROOT / "schemas" / "asana" / f"{stream}.json").read_text())
        wrong = errors({"$ref": f"#/components/schemas/{name}", **theirs}, records)
        checks.ok(f"{stream}: records are valid by the vendor's {name}", records and not wrong, wrong[:2] or f"{len(records)}")
        wrong = errors(ours, records)
        checks.ok(f"{stream}: records are valid by our schema", records and not wrong, wrong[:2] or "")
        ours["properties"] = {k: v for k, v in ours["properties"].items() if k not in ADDED.get(stream, ())}
        wrong = strangers(vendor, ours, {"$ref": f"#/components/schemas/{name}"}, stream)
        checks.ok(f"{stream}: our schema's fields are the vendor's", not wrong, wrong[:4] or "")


def no_token(checks, prism, scratch):
    """(c)"""
    checks.ok("Prism wants a token", prism.status("/workspaces", token="") == 401)
    tap = Tap(prism, scratch, token="")
    checks.ok("no token: exit code 20, soon", tap.code == 20 and tap.took < 10, f"{tap.code} after {tap.took:.1f} s")
    said = tap.said("error")
    checks.ok("no token: it says so", any("refused the access token" in line for line in said), said[:1])


def no_end(checks, raw, scratch):
    """(d)"""
    for streams in ("workspaces", None):
        tap = Tap(raw, scratch, streams=streams)
        calls = sum("Request received" in line for line in raw.said())
        name = f"paging without end, {streams or 'all streams'}"
        checks.ok(f"{name}: exit code 40, soon", tap.code == 40 and tap.took < 30, f"{tap.code} after {tap.took:.1f} s")
        said = [line for line in tap.said("error") if "the page token repeats" in line]
        checks.ok(f"{name}: each stream says why", len(said) == (1 if streams else len(LISTS)), f"{len(said)} errors")
        # Two pages of each list, and of the parents of each.
        checks.ok(f"{name}: few calls", calls <= (2 if streams else 2 * 3 * len(LISTS)), f"{calls} calls")


def main():
    checks = Checks()
    with folder() as scratch, Prism(SPEC, scratch / "raw.log") as raw:
        vendor, served = mended(scratch)
        with Prism(served, scratch / "served.log") as prism:
            whole(checks, prism.ready(), scratch, vendor)
            no_token(checks, prism, scratch)
        no_end(checks, raw.ready(), scratch)
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
