#!/usr/bin/env python3
"""Proves: status speaks OpenMetrics that the reference parsers read, and alerts are signed as the docs tell a receiver to check.

(a) Two tenants of a sandbox, one of them with a token that is refused, run by tiers; the metrics are read by prometheus_client,
as OpenMetrics and as the older text format (which node_exporter's textfile collector reads), and say what happened. (b) The page
needs nothing from elsewhere. (c) A webhook checks what it gets with the code that stands in docs/src/alerts.md: it takes what
dripfeed sent, and refuses it with another body, another secret, or late.

usage: status.py      (see support.py for the environment; PYTHON_PROMETHEUS is a Python that has prometheus_client)
"""
import http.server
import json
import os
import re
import subprocess
import sys
import threading
import time

from support import ROOT, TOKEN, Checks, Sandbox, dripfeed, folder

SECRET = "whsec-of-this-test"
# Both parsers' view of the metrics: [[name, labels, value], ...].
PARSE = """
import json, sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as text
parse = {"openmetrics": openmetrics, "text": text}[sys.argv[1]]
samples = [[s.name, s.labels, s.value] for family in parse(sys.stdin.read()) for s in family.samples]
print(json.dumps(samples))
"""


class Hook:
    """A webhook that keeps what it gets."""

    def __init__(self):
        self.calls = calls = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                calls.append((self.headers["Dripfeed-Signature"], self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/alerts"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def run(scratch, *args):
    """Runs dripfeed in the scratch folder."""
    env = {**os.environ, "ALERT_SECRET": SECRET}
    return subprocess.run([dripfeed(), *map(str, args)], cwd=scratch, env=env, capture_output=True, text=True, timeout=120)


def metrics(text, form):
    """The samples as a parser reads them, by name and labels."""
    python = os.environ.get("PYTHON_PROMETHEUS", sys.executable)
    parsed = subprocess.run([python, "-c", PARSE, form], input=text, capture_output=True, text=True, timeout=60)
    if parsed.returncode:
        return parsed.stderr[-300:]
    return {(name, *sorted(labels.items())): value for name, labels, value in json.loads(parsed.stdout)}


def receiver():
    """The check of signatures that docs/src/alerts.md gives."""
    page = (ROOT / "docs" / "src" / "alerts.md").read_text()
    code = next(block for block in re.findall(r"```python\n(.*?)```", page, re.S) if "Dripfeed-Signature" in block)
    names = {}
    exec(code, names)  # pylint: disable=exec-used
    return names["is_from_dripfeed"]


def main():
    checks = Checks()
    hook = Hook()
    with folder() as scratch, Sandbox("--tasks", 500) as sandbox:
        (scratch / "tenants").mkdir()
        for name, token in (("acme", TOKEN), ("globex", "refused"), ('odd "name"\\', TOKEN)):
            ours = {"source": "sandbox", "tenant": name, "state_dir": str(scratch / "state"),
                    "alert": {"webhook": hook.url, "secret": "env:ALERT_SECRET"},
                    "tiers": {"hourly": {"streams": ["tasks"], "schedule": "H * * * *"},
                              "daily": {"streams": ["*"], "schedule": "H 2 * * *"}}}
            sandbox.config(scratch / "tenants" / f"{len(name)}.json", token, dripfeed=ours)
        codes = [run(scratch, "read", "-q", "--config", path, "--tier", tier).returncode
                 for path in sorted((scratch / "tenants").iterdir()) for tier in ("hourly", "daily")]
        checks.ok("two tenants end well, one is refused", sorted(codes) == [0, 0, 0, 0, 20, 20], codes)

        ran = run(scratch, "status", "--tenants", "tenants", "--format", "openmetrics")
        both = [metrics(ran.stdout, form) for form in ("openmetrics", "text")]
        checks.ok("both parsers read the metrics", all(isinstance(read, dict) for read in both), both if ran.returncode else len(both[0]))
        checks.ok("they read the same", both[0] == both[1])
        read = both[0]

        def value(name, tenant, **labels):
            return read.get((name, *sorted({"source": "sandbox", "tenant": tenant, **labels}.items())))

        checks.ok("verdicts", [value("dripfeed_tenant_verdict", name) for name in ("acme", "globex", 'odd "name"\\')] == [0, 3, 0])
        checks.ok("latency: how old data is, and may be",
                  0 <= value("dripfeed_stream_freshness_seconds", "acme", stream="tasks", tier="hourly") < 300
                  and value("dripfeed_stream_freshness_objective_seconds", "acme", stream="tasks", tier="hourly") == 3600
                  and value("dripfeed_run_duration_seconds", "acme", tier="daily") > 0)
        checks.ok("traffic: calls, records, bytes",
                  value("dripfeed_records_total", "acme") >= 500 and value("dripfeed_calls_total", "acme") >= 6
                  and value("dripfeed_received_bytes_total", "acme") > 10_000)
        checks.ok("errors: exit codes",
                  value("dripfeed_run_exit_code", "globex", tier="hourly") == 20
                  and value("dripfeed_runs_total", "globex", exit_code="20") == 2)
        checks.ok("saturation: waiting for the pace", value("dripfeed_run_paced_seconds", "acme", tier="hourly") >= 0)
        table = run(scratch, "status", "--tenants", "tenants")
        checks.ok("the table begins with the worst", re.search(r"TENANT.*\n(\S+)", table.stdout)[1] == "globex", table.stdout[:300])
        page = run(scratch, "status", "--tenants", "tenants", "--format", "html").stdout
        checks.ok("the page needs nothing else", not re.search(r'<script|<link|src=|href="[^#]|url\(|@import', page))
        checks.ok("no secret anywhere", not any(secret in text for secret in (TOKEN, SECRET, "refused\"")
                                                 for text in (ran.stdout, page, table.stdout)))

        checks.ok("one alert for the one who is sick", len(hook.calls) == 1, len(hook.calls))
        signature, body = hook.calls[0]
        alert = json.loads(body)
        checks.ok("it says who, what and what to do",
                  (alert["tenant"], alert["event"], alert["exit_code"]) == ("globex", "credentials_refused", 20) and alert["what_to_do"])
        genuine = receiver()
        now = time.time()
        checks.ok("the docs' receiver takes it", genuine(SECRET, {"Dripfeed-Signature": signature}, body, now))
        forged = [(SECRET, signature, body + b" ", now), ("another", signature, body, now), (SECRET, signature, body, now + 3600),
                  (SECRET, signature.replace("v1=", "v1=0"), body, now), (SECRET, "", body, now)]
        checks.ok("and nothing forged", not any(genuine(secret, {"Dripfeed-Signature": sign}, text, at) for secret, sign, text, at in forged))
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
