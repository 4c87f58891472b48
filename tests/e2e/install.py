#!/usr/bin/env python3
"""Proves: the wheel and the tarball install as people install them, and the first rows come.

(a) The wheel: its tags hold by auditwheel's own look at the binary, it has two scripts for each source, and the script's cost is
told. (b) pip, uv, uvx and pipx install it; every script starts its source in its protocol. (c) Meltano installs it by `pip_url`, and
runs twice into target-jsonl. (d) PyAirbyte installs it by `pip_url`, and reads twice into DuckDB. (e) The tarball's binary runs in a
root of busybox, without glibc. (f) With --debian, or alone with --only-debian: a bare Debian root gets the tarball, and pip and pipx there install the wheel.

Every way's seconds are printed, from nothing to the first rows.

usage: install.py WHEEL TARBALL [--debian | --only-debian]

Environment: PACKAGING is a folder of executables with uv, pipx and auditwheel; MELTANO, TARGET_JSONL and PYAIRBYTE_PYTHON as for the
scripts of their names. Needs root (chroot) and busybox; --debian needs debootstrap.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from support import ROOT, TOKEN, Checks, Sandbox, executable, folder, rows, target_jsonl

SOURCES = sorted(path.stem for path in (ROOT / "catalog").glob("*.yaml"))
CHROOT = shutil.which("chroot") or "/usr/sbin/chroot"
# A first read and a second one; `read` gives what the vendor was asked for.
DRIVER = """
import sys, time
from pathlib import Path
import airbyte
from airbyte.caches import DuckDBCache
began = time.monotonic()
source = airbyte.get_source("source-sandbox", pip_url=sys.argv[1], install_root=Path(sys.argv[2]), config={"url": sys.argv[3], "token": sys.argv[4]})
source.check()
source.select_all_streams()
print("installed", time.monotonic() - began)
cache = DuckDBCache(db_path=sys.argv[2] + "/cache.duckdb")
for _ in range(2):
    print("read", dict(source.read(cache=cache)._progress_tracker.stream_read_counts))
print("rows", {name: len(list(dataset)) for name, dataset in cache.streams.items()})
"""


def tool(name):
    """An executable of the folder PACKAGING."""
    return executable("", Path(os.environ.get("PACKAGING", "")) / name)


class Installs:
    """The wheel, the tarball, and where to install them."""

    def __init__(self, checks, at, wheel, tarball):
        self.checks, self.at, self.wheel, self.tarball = checks, at, wheel, tarball
        mine = {k: v for k, v in os.environ.items() if not re.match("MELTANO|TAP_|TARGET_|DRIPFEED|VIRTUAL_ENV|PYTHON", k)}
        # Nothing of a developer's is used, nor is anything left behind.
        self.env = {**mine, "HOME": str(at), "UV_CACHE_DIR": str(at / "cache"), "UV_NO_CONFIG": "1", "PIPX_HOME": str(at / "pipx"),
                    "PIPX_BIN_DIR": str(at / "pipx-bin"), "PATH": f"{os.environ.get('PACKAGING', '')}{os.pathsep}{mine['PATH']}",
                    "PIP_NO_CACHE_DIR": "1", "NO_COLOR": "1"}

    def run(self, *command, cwd=None, **variables):
        """Runs a command; gives how it ended, with `said`."""
        done = subprocess.run([str(word) for word in command], cwd=cwd or self.at, env={**self.env, **variables}, stdin=subprocess.DEVNULL,
                              capture_output=True, timeout=900)
        done.said = (done.stdout + done.stderr).decode()
        return done

    def way(self, name, *commands):
        """Runs commands, the last of which prints rows of the sandbox; counts it, with its seconds."""
        began = time.monotonic()
        done = next((d for d in map(lambda command: self.run(*command), commands[:-1]) if d.returncode), None) or self.run(*commands[-1])
        took = time.monotonic() - began
        self.checks.ok(f"{name}: first rows", done.returncode == 0 and b'"RECORD"' in done.stdout,
                       f"{took:.1f} s" if done.returncode == 0 else done.said[-600:])


READ = ("read", "--source", "sandbox")


def wheel(checks, installs):
    """(a)"""
    shown = installs.run(tool("auditwheel"), "show", installs.wheel)
    tag = installs.wheel.name.split("-", 2)[2]
    checks.ok("the wheel's tags: any Python 3, old glibc, musl", re.fullmatch(
        r"(py3-none-manylinux_2_\d+_x86_64\.manylinux2014_x86_64\.musllinux_1_\d_x86_64)\.whl", tag) is not None, tag)
    checks.ok("auditwheel finds no versioned symbol in it", shown.returncode == 0 and "no external shared libraries" in " ".join(shown.said.split())
              and not re.search(r"GLIBC_\d", shown.said), " ".join(shown.said.split())[:400])
    checks.fact(f"the wheel has {installs.wheel.stat().st_size / 1e6:.1f} MB, the tarball {installs.tarball.stat().st_size / 1e6:.1f} MB")


def fastest(installs, *command):
    """The milliseconds of the fastest of ten."""
    took = []
    for _ in range(10):
        began = time.monotonic()
        installs.run(*command)
        took.append(time.monotonic() - began)
    return min(took) * 1000


def pip_and_uv(checks, installs):
    """(b)"""
    at, uv = installs.at, tool("uv")
    python = sys.executable
    # `python -m venv` would take longer than all the rest; --debian has it.
    installs.way("pip", (uv, "venv", "-q", "--seed", "-p", python, at / "pip"), (at / "pip/bin/pip", "install", "-q", "--no-index", installs.wheel),
                 (at / "pip/bin/tap-dripfeed", *READ))
    bin_there = at / "pip/bin"
    wrong = []
    for source in SOURCES:
        about = installs.run(bin_there / f"tap-{source}", "--about", "--format", "json")
        spec = installs.run(bin_there / f"source-{source}", "spec")
        if json.loads(about.stdout or "{}").get("name") != f"tap-{source}" or not spec.stdout.startswith(b'{"type":"SPEC"'):
            wrong.append((source, about.said[-200:], spec.said[-200:]))
    checks.ok(f"two scripts for each of {len(SOURCES)} sources", not wrong, wrong or "")
    plain, script = (fastest(installs, bin_there / name, "--version") for name in ("dripfeed", "tap-dripfeed"))
    checks.fact(f"`dripfeed --version` takes {plain:.0f} ms, `tap-dripfeed --version` {script:.0f} ms")
    installs.way("uv pip", (uv, "venv", "-q", "-p", python, at / "uv"), (uv, "pip", "install", "-q", "--offline", "-p", at / "uv/bin/python", installs.wheel),
                 (at / "uv/bin/tap-sandbox", "--config", empty(at)))
    installs.way("uvx", (uv, "tool", "run", "--offline", "-p", python, "--from", installs.wheel, "tap-dripfeed", *READ))
    installs.way("pipx", (tool("pipx"), "install", "-q", installs.wheel), (at / "pipx-bin/tap-sandbox", "--config", empty(at)))
    installs.way("pip --target", (at / "pip/bin/pip", "install", "-q", "--no-index", "--target", at / "target", installs.wheel),
                 ("env", f"PYTHONPATH={at / 'target'}", at / "target/bin/tap-dripfeed", *READ))


def empty(at):
    """A config without keys."""
    (at / "empty.json").write_text("{}")
    return at / "empty.json"


def meltano(checks, installs):
    """(c)"""
    at = installs.at / "meltano"
    at.mkdir()
    with Sandbox("--tasks", 300, "--edits", 1) as sandbox:
        (at / "meltano.yml").write_text(f"""default_environment: dev
environments: [{{name: dev}}]
send_anonymous_usage_stats: false
venv: {{backend: uv}}
plugins:
  extractors:
  - name: tap-sandbox
    namespace: tap_sandbox
    pip_url: {installs.wheel}
    capabilities: [about, catalog, discover, properties, state, structured-logging, test]
    settings: [{{name: url}}, {{name: token, sensitive: true}}]
    config: {{url: '{sandbox.url}', token: {TOKEN}}}
  loaders:
  - {{name: target-jsonl, namespace: target_jsonl, executable: {target_jsonl()}, settings: [{{name: destination_path}}, {{name: do_timestamp_file, kind: boolean}}],
     config: {{destination_path: out, do_timestamp_file: false}}}}
""")
        (at / "out").mkdir()
        program, began = executable("MELTANO", "meltano"), time.monotonic()
        quiet = {"MELTANO_CLI_DISABLE_VERSION_CHECK": "1", "MELTANO_STATE_BACKEND_URI": f"file://{at / 'state'}"}
        done = installs.run(program, "install", "extractor", "tap-sandbox", cwd=at, **quiet)
        found = []
        for _ in range(2 if done.returncode == 0 else 0):
            done = installs.run(program, "run", "--no-install", "tap-sandbox", "target-jsonl", cwd=at, **quiet)
            found.append(len(rows(at / "out", "tasks")))
            if len(found) == 1:
                took = time.monotonic() - began
        more = found[-1] - found[0] if found else 0
        checks.ok("Meltano installs it by pip_url, discovers and reads twice", done.returncode == 0 and found[0] == 300 and 0 < more < 100,
                  f"{found}, {took:.1f} s to the first rows" if more else f"{found} {done.said[-1500:]}")


def pyairbyte(checks, installs):
    """(d)"""
    at = installs.at / "pyairbyte"
    at.mkdir()
    (at / "driver.py").write_text(DRIVER)
    with Sandbox("--tasks", 300, "--edits", 1) as sandbox:
        done = installs.run(executable("PYAIRBYTE_PYTHON", "python-with-airbyte"), "-W", "ignore", at / "driver.py", installs.wheel, at, sandbox.url, TOKEN,
                            AIRBYTE_OFFLINE_MODE="1", DO_NOT_TRACK="1", AIRBYTE_LOGGING_ROOT=str(at / "logs"), AIRBYTE_CACHE_ROOT=str(at / "cache"))
    reads = re.findall(r"^read .*'tasks': (\d+)", done.stdout.decode(), re.M)
    took = re.search(r"installed ([\d.]+)", done.said)
    checks.ok("PyAirbyte installs it by pip_url, checks and reads twice", done.returncode == 0 and len(reads) == 2 and int(reads[0]) == 300
              and 0 < int(reads[1]) < 100, f"{reads}, {float(took[1]):.1f} s to install and check" if took and reads else done.said[-1500:])


def busybox(checks, installs):
    """(e)"""
    root = installs.at / "root"
    for name in ("bin", "dev", "tmp"):
        (root / name).mkdir(parents=True)
    shutil.copy(executable("", "busybox"), root / "bin/busybox")
    for name in ("sh", "tar", "gunzip", "ls", "zcat"):
        (root / "bin" / name).symlink_to("busybox")
    for name, minor in (("null", 3), ("random", 8), ("urandom", 9)):
        os.mknod(root / "dev" / name, 0o666 | 0o020000, os.makedev(1, minor))
    shutil.copy(installs.tarball, root / "tmp/dripfeed.tar.gz")
    (root / "tmp/sum").write_text(Path(f"{installs.tarball}.sha256").read_text())
    line = "cd /tmp && zcat dripfeed.tar.gz | tar -xf - && exec ./dripfeed-*/dripfeed read --source sandbox"
    installs.way("tarball, busybox without glibc", (CHROOT, root, "/bin/sh", "-c", line))
    summed = installs.run("sha256sum", "-c", f"{installs.tarball}.sha256", cwd=installs.tarball.parent)
    there = {str(path.relative_to(next((root / "tmp").glob("dripfeed-*/")))) for path in (root / "tmp").glob("dripfeed-*/**/*") if path.is_file()}
    wanted = {"dripfeed", "README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE", "THIRD-PARTY-LICENSES.txt", "bom.json", "man/dripfeed.1",
              "completions/dripfeed.bash", "completions/_dripfeed", "completions/dripfeed.fish"}
    checks.ok("the tarball has its checksum, completions, manual page, licences and bill of materials", summed.returncode == 0 and there == wanted,
              sorted(there ^ wanted))


def without_mounts(root):
    """Takes away what debootstrap mounts below a folder and leaves there when it is stopped: it must not be deleted with the folder."""
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for path in sorted((path for path in mounted if path.startswith(f"{root}/")), reverse=True):
        subprocess.run(["umount", "-l", path], check=True)


def debian(checks, installs):
    """(f)"""
    root = installs.at / "debian"
    try:
        bare_debian(checks, installs, root)
    finally:
        without_mounts(root)


def bare_debian(checks, installs, root):
    """The ways that need no more than what Debian has."""
    began = time.monotonic()
    done = installs.run(shutil.which("debootstrap") or "/usr/sbin/debootstrap", "--variant=minbase", "--include=python3-venv,pipx,ca-certificates",
                        "bookworm", root)
    without_mounts(root)
    checks.ok("a bare Debian root", done.returncode == 0, f"{time.monotonic() - began:.0f} s" if done.returncode == 0 else done.said[-800:])
    for file in (installs.wheel, installs.tarball):
        shutil.copy(file, root / "tmp")
    there = f"/tmp/{installs.wheel.name}"
    bare = {"HOME": "/root", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PIP_NO_INDEX": "1", "PIPX_DEFAULT_PYTHON": "/usr/bin/python3"}
    for name, line in (("tarball", "cd /tmp && tar -xzf dripfeed-*.tar.gz && exec ./dripfeed-*/dripfeed read --source sandbox"),
                       ("pip", f"python3 -m venv /v && /v/bin/pip install -q {there} && exec /v/bin/tap-dripfeed read --source sandbox"),
                       ("pipx", f"pipx install {there} > /dev/null && exec /root/.local/bin/tap-dripfeed read --source sandbox")):
        installs.way(f"{name}, Debian without a toolchain", ("env", "-i", *(f"{k}={v}" for k, v in bare.items()), CHROOT, root, "/bin/sh", "-c", line))


def main():
    files = [Path(word).resolve() for word in sys.argv[1:] if not word.startswith("--")]
    checks = Checks()
    with folder() as at:
        installs = Installs(checks, at, *files)
        ways = [] if "--only-debian" in sys.argv else [wheel, pip_and_uv, busybox, meltano, pyairbyte]
        ways += [debian] if {"--debian", "--only-debian"} & {*sys.argv} else []
        for way in ways:
            began = time.monotonic()
            way(checks, installs)
            checks.fact(f"{way.__name__}: {time.monotonic() - began:.1f} s")
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
