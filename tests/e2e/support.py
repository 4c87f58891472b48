"""What the end-to-end scripts share: the binary, a sandbox in a process of its own, reading messages, counting checks.

Environment: DRIPFEED names the tap's binary (else target/release/dripfeed of this checkout), TARGET_JSONL the target-jsonl
executable (else the one on PATH).
"""
import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "sandbox-token"
STREAMS = ("tasks", "users", "projects")


def executable(variable, default):
    """The executable that an environment variable names, else the one of that name on PATH."""
    found = shutil.which(os.environ.get(variable) or str(default))
    if not found:
        sys.exit(f"{default} is not there; name the executable in {variable}")
    return os.path.abspath(found)


def dripfeed():
    """The tap's binary."""
    return executable("DRIPFEED", ROOT / "target" / "release" / "dripfeed")


def target_jsonl():
    """The target's executable."""
    return executable("TARGET_JSONL", "target-jsonl")


class Checks:
    """Counts what held and what did not."""

    def __init__(self):
        self.passed, self.failed, self.began = 0, 0, time.monotonic()

    def ok(self, name, holds, detail=""):
        """Notes one check; gives whether it held."""
        self.passed += bool(holds)
        self.failed += not holds
        print(f"{'PASS' if holds else 'FAIL'} {name}" + (f": {detail}" if detail else ""), flush=True)
        return bool(holds)

    @staticmethod
    def fact(text):
        """Prints what was measured."""
        print(f"     {text}", flush=True)

    def finish(self):
        """Prints the last line; gives the exit code."""
        self.fact(f"{time.monotonic() - self.began:.0f} s")
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        return 1 if self.failed else 0


def wait_until(condition, seconds, what):
    """Waits for a condition; gives its first true value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.005)
    return value


def comes_true(condition, seconds):
    """Whether a condition holds before so many seconds are over."""
    try:
        return bool(wait_until(condition, seconds, ""))
    except TimeoutError:
        return False


@contextlib.contextmanager
def folder():
    """A scratch folder that goes away."""
    with tempfile.TemporaryDirectory(prefix="dripfeed-e2e-") as path:
        yield Path(path)


class Sandbox:
    """`dripfeed sandbox` in a process of its own, on a free port."""

    def __init__(self, *switches):
        self.process = subprocess.Popen(
            [dripfeed(), "sandbox", "--port", "0", *map(str, switches)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        # It prints its address once it listens. Should it hang, the timer ends it and the line is empty.
        timer = threading.Timer(20, self.process.kill)
        timer.start()
        self.url = self.process.stdout.readline().strip()
        timer.cancel()
        if not self.url:
            self.close()
            raise RuntimeError(f"the sandbox did not start: {switches}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Ends it."""
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def get(self, path, token=TOKEN):
        """One answer, parsed."""
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def stats(self):
        """What it has done so far."""
        return self.get("/sandbox/stats")

    def all(self, stream, token=TOKEN):
        """Every record of a list, as the API gives it: the truth to compare with, by id."""
        records, after = {}, ""
        while True:
            page = self.get(f"/{stream}?limit=100{after}", token)
            records.update((record["id"], record) for record in page["data"])
            if not page["next"]:
                return records
            after = f"&after={page['next']}"

    def config(self, path, token=TOKEN, **more):
        """Writes a tenant's config for it; gives the path."""
        path.write_text(json.dumps({"url": self.url, "token": token, **more}))
        return path


def read_command(config, state=None, *more, source="sandbox"):
    """The tap's command line."""
    return [dripfeed(), "read", "--source", source, "--config", str(config),
            *(["--state", str(state)] if state else []), *map(str, more)]


def sync_command(config, target, *more, source="sandbox"):
    """The command line of `sync`; the target as a list of words."""
    return [dripfeed(), "sync", "--source", str(source), "--config", str(config), "--target", shlex.join(map(str, target)),
            *map(str, more)]


def kept_state(states, tenant, slot=""):
    """The state that `sync` keeps of a tenant in a state directory: its text, if there is any."""
    found = [*Path(states).glob(f"state/*/{tenant}{slot}.json")]
    return found[0].read_text() if found else None


def events(path, *names):
    """What an events file tells, of these names."""
    lines = Path(path).read_text().splitlines() if Path(path).exists() else []
    return [event for event in map(json.loads, lines) if not names or event["event"] in names]


def alive(pid):
    """Whether a process lives; a dead one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children(pid):
    """The children of a process, dead ones that nobody has waited for too."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(path.parent.name))
    return found


def start_tap(command, **options):
    """Starts a tap; its stderr goes to nowhere unless said otherwise."""
    return subprocess.Popen(command, **{
        "stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, **options})


def messages(lines):
    """The messages of whole lines; anything else raises."""
    parsed = []
    for line in lines:
        if not line.endswith(b"\n"):
            raise ValueError(f"a torn line: {line[-60:]!r}")
        message = json.loads(line)
        if message.get("type") not in ("SCHEMA", "RECORD", "STATE"):
            raise ValueError(f"not a Singer message: {line[:60]!r}")
        parsed.append(message)
    return parsed


def records_of(parsed, into=None, streams=STREAMS, key="id"):
    """The last record of each id, by stream; adds to `into`."""
    found = into if into is not None else {stream: {} for stream in streams}
    for message in parsed:
        if message["type"] == "RECORD":
            found[message["stream"]][message["record"][key]] = message["record"]
    return found


def differences(truth, found):
    """Ids that are lost, stale or made up, by stream, in words; empty when all is well."""
    words = []
    for stream, want in truth.items():
        have = found[stream]
        lost = [i for i in want if i not in have]
        stale = [i for i in want if i in have and have[i] != want[i]]
        extra = [i for i in have if i not in want]
        words += [f"{stream}: {len(ids)} {kind}, as {ids[:3]}" for kind, ids in (("lost", lost), ("stale", stale), ("made up", extra)) if ids]
    return "; ".join(words)


def target_config(path, out):
    """Writes target-jsonl's config: one file a stream in `out`; gives the path."""
    path.write_text(json.dumps({"destination_path": str(out), "do_timestamp_file": False}))
    return path


def rows(out, stream):
    """What target-jsonl has written of a stream, in order."""
    path = Path(out) / f"{stream}.jsonl"
    return [json.loads(line) for line in path.open()] if path.exists() else []


def last_state(stdout):
    """The state that a target echoed: its last line that is not empty, if any."""
    lines = [line for line in stdout.splitlines() if line.strip()]
    return lines[-1] if lines else None


def ends(process, seconds):
    """Waits for a process; gives its exit code, or None (and kills it) when it hangs."""
    try:
        return process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return None
