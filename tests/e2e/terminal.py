#!/usr/bin/env python3
"""Proves: a person at a terminal sees a progress line and a summary, and a pipe sees nothing of the former.

(a) stderr a terminal, stdout a file: one line that is drawn over and over, with records, streams, calls, rate and what is waited
for; log lines stand whole between; at the end the line is gone and the summary stays. (b) stderr a pipe, or --quiet, or
--log-format json, or stdout the terminal itself: no line is drawn. (c) -v says every request and answer, without the token. (d)
Levels are coloured on a terminal; NO_COLOR, CLICOLOR=0 and TERM=dumb turn that off; CLICOLOR_FORCE turns it on in a pipe too, and
never in messages.

usage: terminal.py      (see support.py for the environment)
"""
import json
import os
import pty
import re
import subprocess
import sys

from support import TOKEN, Checks, Sandbox, folder, read_command

# What moves the cursor, erases or colours: a drawn line has it, a log line has not.
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r(?!\n)")


def environment(**variables):
    """This environment with these variables of colours, and no others."""
    own = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE")}
    return {**own, "TERM": "xterm", **variables}


def at_terminal(command, out, stdout_too=False, **variables):
    """Runs a command with stderr on a terminal of its own; gives exit code and all that the terminal was sent."""
    master, slave = pty.openpty()
    variables = variables or {"NO_COLOR": "1"}
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=slave if stdout_too else out, stderr=slave,
                               env=environment(**variables))
    os.close(slave)
    shown = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # The other side is closed.
            break
        if not part:
            break
        shown += part
    os.close(master)
    return process.wait(timeout=60), shown.decode()


def main():
    checks = Checks()
    with folder() as scratch, Sandbox("--tasks", 3000, "--latency", 40) as sandbox:
        config = scratch / "config.json"
        pace = {"limits": [{"calls": 10, "per": "PT1S"}]}
        config.write_text(json.dumps({"url": sandbox.url, "token": TOKEN, "dripfeed": {"pace": pace}}))
        with (scratch / "out.jsonl").open("wb") as out:
            code, shown = at_terminal(read_command(config), out)
            lines = [CONTROL.sub("", line) for line in re.split(r"[\r\n]+", shown)]
            drawn = [line for line in lines if re.search(r"[\d,]+ records · .* · \d of 3 streams done", line)]
            checks.ok("a terminal: the run ends well", code == 0, shown[-300:] if code else "")
            checks.ok("a terminal: the line is drawn again and again", len(drawn) > 5 and CONTROL.search(shown), f"{len(drawn)} times")
            checks.ok("a terminal: it counts records, calls and their rate",
                      any(re.search(r"records · [\d,]+ calls, \d+\.\d/s .* done · tasks [\d,]+", line) for line in drawn), drawn[-1:])
            moved = [int(re.search(r"([\d,]+) records", line)[1].replace(",", "")) for line in drawn]
            checks.ok("a terminal: records only grow", moved == sorted(moved) and moved[-1] > moved[0], moved[:3] + moved[-1:])
            checks.ok("a terminal: the summary is what remains",
                      re.search(r"3,070 records, 3 of 3 streams complete, [\d,]+ calls, .* s waiting for the pace \(all threads\)$", lines[-2] or lines[-1]),
                      lines[-2:])
            # A wait of more than a second is worth a word.
            pace["limits"] = [{"calls": 1, "per": "PT3S"}]
            config.write_text(json.dumps({"url": sandbox.url, "token": TOKEN, "dripfeed": {"pace": pace}}))
            code, shown = at_terminal(read_command(config, None, "--streams", "projects,users", "--limit", 1), out)
            checks.ok("a terminal: it says what is waited for", re.search(r"waiting \d s \(pace\)", shown), "" if code == 0 else shown[-300:])
            pace["limits"] = [{"calls": 10_000, "per": "PT1S"}]
            config.write_text(json.dumps({"url": sandbox.url, "token": TOKEN, "dripfeed": {"pace": pace}}))
            for name, more in (("--quiet", ["--quiet"]), ("--log-format json", ["--log-format", "json"])):
                code, shown = at_terminal(read_command(config, None, *more), out)
                checks.ok(f"{name}: nothing is drawn", code == 0 and not CONTROL.search(shown) and "streams done" not in shown)
            code, shown = at_terminal(read_command(config, None, "--limit", 3), out, stdout_too=True)
            checks.ok("stdout on the same terminal: nothing is drawn between records",
                      code == 0 and "streams done" not in shown and not CONTROL.search(shown))
            short = read_command(config, None, "--limit", 3)
            for variables, coloured in (({"CLICOLOR": "1"}, True), ({"CLICOLOR": "0"}, False), ({"TERM": "dumb"}, False),
                                        ({"NO_COLOR": "1"}, False)):
                code, shown = at_terminal(short, out, stdout_too=True, **variables)
                checks.ok(f"colours with {variables}: {coloured}", code == 0 and ("\x1b[36minfo\x1b[0m" in shown) == coloured)
        forced = subprocess.run(short, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, env=environment(CLICOLOR_FORCE="1"))
        checks.ok("CLICOLOR_FORCE: colours in a pipe, and none in messages", "\x1b[36minfo" in forced.stderr and "\x1b" not in forced.stdout)
        piped = subprocess.run(read_command(config, None, "-v"), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        checks.ok("a pipe: nothing is drawn", piped.returncode == 0 and not CONTROL.search(piped.stderr) and "streams done" not in piped.stderr)
        asked = re.findall(r"tasks: GET \S+/tasks\?\S+: HTTP 200, \d+ bytes, \d+ ms", piped.stderr)
        checks.ok("-v says what was asked and answered", len(asked) >= 30, asked[:1])
        checks.ok("-v says no secret", TOKEN not in piped.stderr and TOKEN not in piped.stdout)
        checks.ok("the last line is the summary", piped.stderr.splitlines()[-1].startswith("info    3,070 records, 3 of 3 streams complete"))
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
