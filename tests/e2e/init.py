#!/usr/bin/env python3
"""Proves: what `dripfeed init` writes runs unchanged on airbyte-cdk, and both send the same requests and give the same records.

Each kind of paging with each kind of cursor, each authenticator, GraphQL, and an OpenAPI document with a parent and its children,
against a vendor that answers each in its way.

usage: init.py      (needs AIRBYTE_CDK, as asana.py does; see support.py for the environment)
"""
import itertools
import json
import subprocess
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from asana import reference
from support import ROOT, Checks, dripfeed, folder

FIRST = 100
PAGING = ("page", "offset", "token", "link", "none")
AUTH = ("bearer", "key", "basic", "oauth", "none")
CURSOR = ((), ("--cursor", "updated_at"), ("--cursor", "updated_at", "--since", "updated_since"))
CHANGED = "2024-06-01T00:00:00Z"


class Vendor(BaseHTTPRequestHandler):
    """Two pages of each list, however they are asked for."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """Logs nothing."""

    def do_GET(self):
        """Answers a request."""
        at = urlsplit(self.path)
        query = dict(parse_qsl(at.query))
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length).decode()
        # Moments differ from run to run.
        shown = sorted((k, v) for k, v in query.items())
        self.server.asked.append((self.command, at.path, json.dumps(shown), body, self.headers.get("Authorization"),
                                  self.headers.get("X-Api-Key")))
        self.answer(at.path, query, body)

    do_POST = do_GET

    def answer(self, path, query, body):
        """The answer to a request."""
        headers = {}
        second = (query.get("page") == "2" or query.get("offset") == str(FIRST) or "cursor" in query or "link" in query
                  or '"after"' in body)
        rows = [{"id": n, "updated_at": CHANGED} for n in (range(FIRST, FIRST + 3) if second else range(FIRST))]
        if path == "/oauth/token":
            said = {"access_token": "fresh", "expires_in": 3600}
        elif path == "/projects":
            said = [] if second else [{"id": 7}, {"id": 8}]
        elif path.startswith("/projects/"):
            said = [] if second else [{"id": int(path.split("/")[2]) * 10, "updated_at": CHANGED}]
        elif path == "/graphql":
            said = {"data": {"items": {"nodes": rows, "pageInfo": {"hasNextPage": not second, "endCursor": "c2"}}}}
        elif path.startswith("/plain/") or "link" in query:
            said = rows
            if not second:
                headers["Link"] = f'<http://{self.headers["Host"]}/items?link=2>; rel="next"'
        else:
            said = {"data": rows, "next_cursor": None if second else "c2"}
        text = json.dumps(said).encode()
        self.send_response(200)
        for name, value in {**headers, "Content-Type": "application/json", "Content-Length": str(len(text))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)


def run(command, place, server):
    """What a run gives: its exit code, records by stream, requests, log."""
    server.asked.clear()
    done = subprocess.run(list(map(str, command)), cwd=place, capture_output=True, text=True, timeout=120, check=False)
    records = Counter()
    for line in done.stdout.splitlines():
        if line.startswith("{") and (said := json.loads(line)).get("type") == "RECORD":
            record = said["record"]
            records[(record["stream"], json.dumps(record["data"], sort_keys=True))] += 1
    return done.returncode, records, Counter(server.asked), done.stdout[-2000:] + done.stderr[-2000:]


def compare(checks, command, server, args, base=""):
    """Reads with both; the same must come of it."""
    name = " ".join(map(str, args))
    url = f"http://127.0.0.1:{server.server_port}"
    with folder() as place:
        done = subprocess.run([dripfeed(), "init", "crm", *args], cwd=place, capture_output=True, text=True, check=False)
        if not checks.ok(f"{name}: init", done.returncode == 0, done.stderr):
            return
        config = json.loads((place / "crm.json").read_text())
        values = {"url": url + base, "token_url": f"{url}/oauth/token"}
        config = {key: values.get(key, "a-" + key if isinstance(value, str) and value.startswith(("env:", "<")) else value)
                  for key, value in config.items()}
        (place / "config.json").write_text(json.dumps(config))
        found = subprocess.run([dripfeed(), "discover", "--protocol", "airbyte", "--source", "crm.yaml", "--config", "config.json"],
                               cwd=place, capture_output=True, text=True, check=False)
        if not checks.ok(f"{name}: discover", found.returncode == 0, found.stderr):
            return
        catalogs = [json.loads(line)["catalog"] for line in found.stdout.splitlines() if '"CATALOG"' in line]
        streams = [{"stream": stream, "sync_mode": "incremental" if "incremental" in stream["supported_sync_modes"] else
                    "full_refresh", "destination_sync_mode": "append"} for stream in catalogs[0]["streams"]]
        (place / "catalog.json").write_text(json.dumps({"streams": streams}))
        ours = run([dripfeed(), "read", "--protocol", "airbyte", "--source", "crm.yaml", "--config", "config.json", "--catalog",
                    "catalog.json"], place, server)
        theirs = run([*command, "read", "--config", "config.json", "--manifest-path", "crm.yaml", "--catalog", "catalog.json"],
                     place, server)
        checks.ok(f"{name}: both end well", (ours[0], theirs[0]) == (0, 0), "" if theirs[0] == 0 == ours[0] else ours[3] + theirs[3])
        checks.ok(f"{name}: the same records", ours[1] == theirs[1] and ours[1], f"{ours[1].total()} and {theirs[1].total()}")
        ours_only, theirs_only = ours[2] - theirs[2], theirs[2] - ours[2]
        checks.ok(f"{name}: the same requests", not ours_only and not theirs_only,
                  "" if not ours_only and not theirs_only else f"{ours_only} and {theirs_only}")


def main():
    """Runs all of it."""
    command = reference()
    if not command:
        sys.exit("AIRBYTE_CDK must name source-declarative-manifest of airbyte-cdk 7.39.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Vendor)
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    checks = Checks()
    for paging, cursor in itertools.product(PAGING, CURSOR):
        compare(checks, command, server, ["--rest", "--paging", paging, *cursor], "/plain" if paging == "link" else "")
    for auth in AUTH:
        compare(checks, command, server, ["--rest", "--auth", auth])
    for cursor in CURSOR[:2]:
        compare(checks, command, server, ["--graphql", *cursor])
    compare(checks, command, server, ["--openapi", ROOT / "fixtures" / "openapi" / "parents.yaml", "--paths",
                                      "/projects,/projects/{project_id}/tasks"])
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
