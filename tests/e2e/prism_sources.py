#!/usr/bin/env python3
"""Proves: `github`, `jira`, `notion` and `shortcut` ask only for what the vendor's own OpenAPI file allows, and take what it says.

Prism serves the examples of tests/specs and, with --errors, refuses every call that breaks a rule of the file. (a) All streams that
the file has are read to the end, and no call breaks a rule or has a parameter that the file does not know. (b) Each record, without
what the manifest adds, is valid by the vendor's schema, and by our baseline. (c) Each field of a baseline is one of the vendor's, of
the same type. (d) Without a token: exit code 20 where the file wants one.

What a file has not, or has wrong, is mended before it is served; see the functions named `mend_`. Notion's file tells of its answers
only that they are objects: there (b) and (c) are not checked, and the answers that lead to further calls are ours.

usage: prism_sources.py [NAME...]

Environment: as prism.py.
"""
import concurrent.futures
import json
import re
import subprocess
import sys
import time

from prism import Prism
from support import ROOT, Checks, dripfeed, folder, messages

sys.path.insert(0, str(ROOT / "tests"))
from vendors.specification import Specification  # noqa: E402

JIRA_TIME, SECOND, MINUTE = "2024-01-31T10:15:30.123+0000", "2024-01-31T10:15:30Z", "2024-01-31T10:15:00.000Z"


# ---------------------------------------------------------------- what is mended

def answers(document):
    """Path and good answer of each call, as the file has it."""
    for path, item in document["paths"].items():
        for method, call in item.items():
            if method != "parameters":
                yield path, next(iter(call["responses"].values()))


def example(document, path, value):
    """Gives an answer another example."""
    body = dict(answers(document))[path]["content"]["application/json"]
    body.pop("examples", None)
    body["example"] = value


def mend_jira(document):
    """Pages that never end, an issue in the form of version 2, and texts that are no times."""
    for _, answer in answers(document):
        shown = answer["content"]["application/json"].get("example")
        if isinstance(shown, dict) and "isLast" in shown:
            shown["isLast"] = True
    issue = dict(answers(document))["/rest/api/3/search/jql"]["content"]["application/json"]["example"]["issues"][0]
    issue["fields"] = {"project": issue["fields"]["project"], "issuelinks": issue["fields"]["issuelinks"], "updated": JIRA_TIME, "timespent": 200}
    schemas = document["components"]["schemas"]
    for name, fields in {"Comment": ["created", "updated"], "Worklog": ["created", "started", "updated"], "Changelog": ["created"]}.items():
        for field in fields:
            schemas[name]["properties"][field]["example"] = JIRA_TIME
    # The list of users ends with an empty page, which a mock never gives: it is served as empty.
    example(document, "/rest/api/3/users/search", [])


def mend_github(document):
    """No links to next pages: they never end, and lead to GitHub. Answers are also of the type that GitHub wants to be asked for."""
    for _, answer in answers(document):
        answer.pop("headers", None)
        answer["content"]["application/vnd.github+json"] = answer["content"]["application/json"]
    # The first kind of field is one that holds no value of its own.
    document["components"]["schemas"]["projects-v2-field"]["properties"]["data_type"]["enum"].sort(key=lambda kind: kind != "number")


def mend_shortcut(document):
    """Examples where Prism cannot make a value that fits: patterns, texts that are times, huge numbers, comments in comments."""
    for definition in document["definitions"].values():
        for field in definition.get("properties", {}).values():
            if "pattern" in field:
                field["example"] = "#ff0000" if "#" in field["pattern"] else "jo"
            if field.get("items", field).get("format") == "double":
                field["example"] = [1] if "items" in field else 1
    definitions = document["definitions"]
    definitions["History"]["properties"]["changed_at"]["example"] = SECOND
    definitions["ThreadedComment"]["properties"]["comments"]["example"] = []


def mend_notion(document):
    """Answers of ours; and rows may be sorted by a timestamp, as developers.notion.com/reference/sort-data-source-entries has it."""
    document["components"]["schemas"]["sortObject"]["required"].remove("property")

    def listed(*rows):
        return {"object": "list", "results": list(rows), "has_more": False, "next_cursor": None}

    date = {"created_time": MINUTE, "last_edited_time": MINUTE}
    page = {"object": "page", "id": "p1", "parent": {"type": "data_source_id", "data_source_id": "s1"}, "properties": {}, **date}
    source = {"object": "data_source", "id": "s1", "parent": {"type": "database_id", "database_id": "b1"}, "title": [], "properties": {}, **date}
    example(document, "/v1/users", listed({"object": "user", "id": "u1", "type": "person", "name": "Jo"}))
    example(document, "/v1/search", listed(source, {**page, "id": "p2", "parent": {"type": "workspace", "workspace": True}}))
    example(document, "/v1/databases/{database_id}", {"object": "database", "id": "b1", "title": [], **date})
    example(document, "/v1/data_sources/{data_source_id}/query", listed(page))
    example(document, "/v1/blocks/{block_id}/children", listed({"object": "block", "id": "c1", "type": "divider", "divider": {}, **date}))


# ---------------------------------------------------------------- the sources

# Of each stream: the call (the first of several is made here), the keys that lead to its records in the answer, what the manifest
# adds, and what it leaves out though the vendor's schema wants it.
PARTS = {
    "jira": {
        "issues": ("/rest/api/3/search/jql", "issues", "custom_fields", ""),
        "comments": ("/rest/api/3/issue/{}/comment", "comments", "issueId", ""),
        "worklogs": ("/rest/api/3/issue/{}/worklog", "worklogs", "", ""),
        "changelogs": ("/rest/api/3/issue/{}/changelog", "values", "issueId", ""),
        "projects": ("/rest/api/3/project/search", "values", "", ""),
        "components": ("/rest/api/3/project/{}/component", "values", "", ""),
        "versions": ("/rest/api/3/project/{}/version", "values", "", ""),
        "project_roles": ("/rest/api/3/project/{}/role/{}", "", "projectId", ""),
        "users": ("/rest/api/3/users/search", "", "", ""), "myself": ("/rest/api/3/myself", "", "", ""),
        "fields": ("/rest/api/3/field", "", "", ""), "statuses": ("/rest/api/3/status", "", "", ""),
        "issue_types": ("/rest/api/3/issuetype", "", "", ""), "priorities": ("/rest/api/3/priority", "", "", ""),
        "resolutions": ("/rest/api/3/resolution", "", "", ""), "labels": ("/rest/api/3/label", "values", "", ""),
    },
    "github": {
        "repositories": ("/user/repos /orgs/{}/repos /repos/{}/{}", "", "", ""), "organizations": ("/user/orgs /orgs/{}", "", "", ""),
        **{name: (f"/repos/{{}}/{{}}/{path}", "", f"repository_full_name {added}", without) for name, path, added, without in (
            ("issues", "issues", "is_pull_request custom_fields", ""), ("issue_comments", "issues/comments", "", ""),
            ("issue_events", "issues/events", "issue_id issue_number", ""), ("pull_requests", "pulls", "head.repository_full_name", "repo"),
            ("review_comments", "pulls/comments", "", ""), ("labels", "labels", "", ""), ("milestones", "milestones", "", ""),
            ("assignees", "assignees", "", ""), ("collaborators", "collaborators", "", ""))},
        **{name: (f"/orgs/{{}}/{path}", "", f"organization_login {added}", without) for name, path, added, without in (
            ("members", "members", "", ""), ("teams", "teams", "", ""), ("team_members", "teams/{}/members", "team_slug", ""),
            ("projects", "projectsV2", "", ""), ("project_fields", "projectsV2/{}/fields", "project_number", ""),
            ("project_items", "projectsV2/{}/items", "project_number", "fields"),
            ("project_item_values", "projectsV2/{}/items", "project_number project_field_id field", "content fields"))},
    },
    "shortcut": {
        "stories": ("/api/v3/stories/search", "", "", ""), "story_comments": ("/api/v3/stories/{}/comments", "", "", ""),
        "tasks": ("/api/v3/stories/{}", "tasks", "", ""), "story_history": ("/api/v3/stories/{}/history", "", "story_id", ""),
        "epic_comments": ("/api/v3/epics/{}/comments", "", "epic_id", ""),
        **{name: (f"/api/v3/{name.replace('_', '-')}", "", "", "") for name in (
            "epics", "epic_workflow", "iterations", "objectives", "categories", "projects", "groups", "members", "labels", "workflows",
            "custom_fields", "files", "linked_files")},
    },
    "notion": {
        "users": ("/v1/users", "results", "", ""), "data_sources": ("/v1/search", "results", "", ""),
        "databases": ("/v1/databases/{}", "", "", ""), "pages": ("/v1/data_sources/{}/query", "results", "", ""),
        "standalone_pages": ("/v1/search", "results", "", ""), "blocks": ("/v1/blocks/{}/children", "results", "", ""),
        "comments": ("/v1/comments", "results", "", ""),
    },
}
CONFIGS = {  # without the address; with a token that breaks a rule, if the file has one
    "jira": {"email": "jo@acme.example", "api_token": "any", "domain": "acme.atlassian.net"},
    "github": {"access_token": "any"},
    "shortcut": {"api_token": "any", "window_days": 3650},
    "notion": {"access_token": "any"},
}
TOKENS = {"shortcut": "api_token", "notion": "access_token"}
# Real answers have these (seen in code of others), the file has them not; and a label is a text only where it is sent.
KNOWN = {"projects.entityId", "fields.untranslatedName", "issue_types.untranslatedName", "issues.labels[]"}
EMPTY = {("jira", "users")}  # see mend_jira
BASES = {"shortcut": "/api/v3", "notion": "/v1"}
NONSENSE = {"jira": "/rest/api/3/project/search?maxResults=many", "github": "/user/repos?sort=nonsense",
            "shortcut": "/api/v3/epics?includes_description=perhaps", "notion": "/v1/comments"}


# ---------------------------------------------------------------- schemas

def item_schema(published, path, keys):
    """The vendor's schema of the records of a call, or of several."""
    if " " in path:
        return {"anyOf": [item_schema(published, one, keys) for one in path.split()]}
    call = published.operations.get(("GET", path)) or published.operations["POST", path]
    answer = next(iter(call["responses"].values()))
    node = answer.get("schema") or answer["content"]["application/json"]["schema"]
    for key in keys.split():
        node = published.target(published.target(node)["properties"][key])
    node = published.target(node)
    return node["items"] if "items" in node else node


def as_vendor(published, source, stream, record, added):
    """A record without what the manifest does to it."""
    record = without(record, added)
    if (source, stream) == ("jira", "labels"):
        return record["label"]
    if (source, stream) == ("jira", "issues"):
        top = published.document["components"]["schemas"]["IssueBean"]["properties"]
        return {**{key: value for key, value in record.items() if key in top},
                "fields": {key: value for key, value in record.items() if key not in top}}
    return record


def without(node, paths):
    """An object without these fields, `a` or `a.b`."""
    left = {key: value for key, value in node.items() if key not in paths.split()}
    for path in paths.split():
        parent, dot, name = path.partition(".")
        if dot:
            left[parent] = without(left[parent], name)
    return left


def merged(published, node):
    """Types, properties, items and openness of a schema, those of its alternatives together."""
    node = published.target(node)
    kinds = node.get("type", [])
    kinds = {kinds} if isinstance(kinds, str) else set(kinds)
    names, items, free = {key: [one] for key, one in node.get("properties", {}).items()}, [node["items"]] if "items" in node else [], []
    free.append(bool(node.get("additionalProperties")))
    for part in (*node.get("allOf", ()), *node.get("anyOf", ()), *node.get("oneOf", ())):
        more, others, inner, open_ = merged(published, part)
        kinds, items, free = kinds | more, items + inner, [*free, open_]
        for key, nodes in others.items():
            names[key] = names.get(key, []) + nodes
    return kinds - {"null"}, names, items, any(free)


def strangers(published, ours, theirs, at):
    """Fields of a baseline that are not the vendor's, or not of its type."""
    kinds, names, items, free = merged(published, theirs)
    types = ours.get("type", [])
    types = {types} if isinstance(types, str) else set(types)
    if "integer" in types and re.search("ids?(\[])?$", at):
        kinds = kinds - {"number"}  # of an id it says no more than that it has digits
    if types and kinds - types - ({"integer"} if "number" in types else set()) and at not in KNOWN:
        return [f"{at} is {' or '.join(sorted(kinds))}"]
    found = strangers(published, ours["items"], {"anyOf": items}, f"{at}[]") if items and "items" in ours else []
    for name, schema in ours.get("properties", {}).items():
        if name in names:
            found += strangers(published, schema, {"anyOf": names[name]}, f"{at}.{name}")
        elif names and not free and f"{at}.{name}" not in KNOWN:
            found.append(f"{at}.{name} is unknown")
    return found


# ---------------------------------------------------------------- one source

class Run:
    """One run of the tap against Prism."""

    def __init__(self, source, url, scratch, config, streams):
        path = scratch / f"{source}.config.json"
        path.write_text(json.dumps({**config, "api_url": url + BASES.get(source, ""), "dripfeed": {"pace": {"limits": [
            {"calls": 100_000, "per": "PT1S"}]}}}))
        began = time.monotonic()
        done = subprocess.run([dripfeed(), "read", "-v", "--source", source, "--config", str(path), "--streams", ",".join(streams)],
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
        self.took, self.code, self.log = time.monotonic() - began, done.returncode, done.stderr.decode()
        self.records = {stream: [] for stream in streams}
        for message in messages(done.stdout.splitlines(keepends=True)):
            if message["type"] == "RECORD":
                self.records[message["stream"]].append(message["record"])
        self.calls = re.findall(rf"(?m)^debug .*(GET|POST) {re.escape(url)}(/[^\s?:]*)\??(\S*)", self.log)

    def complaints(self):
        """What the log warns of."""
        return [line for line in self.log.splitlines() if line.startswith(("warning", "error"))]


def unknown_parameters(published, calls):
    """Parameters of calls that the file does not have there."""
    found = set()
    for method, path, query in calls:
        operation = published.find(method, path)
        declared = [published.target(parameter)["name"] for parameter in operation["parameters"]] if operation else []
        names = [pair.partition("=")[0] for pair in query.rstrip(":").split("&") if pair]
        found |= {f"{path} {name}" for name in names if name not in declared} if operation else {f"{path} is not there"}
    return sorted(found)


def one(source, scratch):
    """All checks of a source: name, whether it holds, and details of each."""
    began = time.monotonic()
    document = json.loads((ROOT / "tests" / "specs" / f"{source}.json").read_text())
    published, streams, found = Specification(document), PARTS[source], []
    check = lambda name, holds, detail="": found.append((f"{source}: {name}", holds, detail))
    globals()[f"mend_{source}"](document)
    served = scratch / f"{source}.json"
    served.write_text(json.dumps(document))
    with Prism(served, scratch / f"{source}.log") as prism:
        prism.ready()
        run = Run(source, prism.url, scratch, CONFIGS[source], streams)
        said = prism.said()
        check("exit code 0, no complaint", run.code == 0 and not run.complaints(), run.complaints()[:2] or f"{run.took:.1f} s")
        received, passed = (sum(words in line for line in said) for words in ("Request received", "passed the validation rules"))
        broken = [line.strip()[:200] for line in said if re.search("violat|not valid|error", line, re.IGNORECASE)]
        check("no call breaks a rule of the file", received == passed > 0 and not broken, broken[:2] or f"{passed} of {received}")
        unknown = unknown_parameters(published, run.calls)
        check("no parameter that the file does not know", run.calls and not unknown, unknown[:4] or f"{len(run.calls)} calls")
        status = prism.status(NONSENSE[source])
        check("Prism refuses what the file does not allow", status is not None and 400 <= status < 500, status)
        if document.get("security"):
            refused = Run(source, prism.url, scratch, {**CONFIGS[source], TOKENS[source]: ""}, streams)
            check("no token: exit code 20", refused.code == 20, refused.code)
    for stream, (path, keys, added, without) in streams.items():
        records = run.records[stream]
        if (source, stream) not in EMPTY:
            check(f"{stream}: brings records", records, len(records))
        ours = json.loads((ROOT / "schemas" / source / f"{stream}.json").read_text())
        wrong = [words for record in records for words in published.unfit((stream, "ours"), ours, record)]
        check(f"{stream}: records are valid by our schema", not wrong, wrong[:3] or "")
        if source == "notion":
            continue
        schema = item_schema(published, path, keys)
        wrong = [words for record in records
                 for words in published.unfit(stream, schema, as_vendor(published, source, stream, record, added))
                 if not re.search(rf"'({'|'.join(without.split()) or 'no field'})' is a required property", words)]
        check(f"{stream}: records are valid by the vendor's schema", not wrong, wrong[:3] or "")
        for name in added.split():
            *parents, last = name.split(".")
            (ours["properties"][parents[0]] if parents else ours)["properties"].pop(last)
        if (source, stream) not in (("jira", "issues"), ("jira", "labels")):
            wrong = strangers(published, ours, schema, stream)
            check(f"{stream}: our schema's fields are the vendor's", not wrong, wrong[:6] or "")
    found.append((None, None, f"{source}: {time.monotonic() - began:.0f} s"))
    return found


def main():
    checks = Checks()
    with folder() as scratch, concurrent.futures.ThreadPoolExecutor(2) as pool:
        for found in pool.map(lambda source: one(source, scratch), sys.argv[1:] or PARTS):
            for name, holds, detail in found:
                checks.ok(name, holds, detail) if name else checks.fact(detail)
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
