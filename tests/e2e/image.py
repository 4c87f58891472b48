#!/usr/bin/env python3
"""Proves: the image works as Airbyte's platform runs it, without a Docker engine at hand.

`.ci/image` has laid out the root file system that the Dockerfile copies. Here it is entered by chroot as the user that the Dockerfile
names, with its environment, as the platform's launcher does: `sh -c "$AIRBYTE_ENTRYPOINT VERB ..."`. (a) The binary is static, what
is there belongs to whom it should, AIRBYTE_ENTRYPOINT is the entry point. (b) spec, check, discover, read of a sandbox; a mounted
manifest; a manifest in the config. (c) Names are looked up by DNS, and TLS holds against the image's own certificates: a server with
another's certificate is refused. (d) The image without a shell has the binary and at most 5 MB beside it, and runs too.

usage: image.py ROOT BARE      (ROOT is laid with --shell, BARE without; needs root, openssl and a free UDP port 53 on a loopback address; see support.py for the environment)
"""
import json
import os
import re
import shutil
import socket
import ssl
import stat
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from support import ROOT, Checks, Sandbox, folder

CHROOT = shutil.which("chroot") or "/usr/sbin/chroot"
MANIFEST = {
    "version": "7.39.1", "type": "DeclarativeSource", "check": {"type": "CheckStream", "stream_names": ["things"]},
    "streams": [{
        "type": "DeclarativeStream", "name": "things", "primary_key": ["id"],
        "schema_loader": {"type": "InlineSchemaLoader", "schema": {"type": "object", "properties": {"id": {"type": "string"}}}},
        "retriever": {
            "type": "SimpleRetriever",
            "requester": {"type": "HttpRequester", "url_base": "{{ config['url'] }}", "path": "things"},
            "record_selector": {"type": "RecordSelector", "extractor": {"type": "DpathExtractor", "field_path": ["data"]}},
        },
    }],
}


def dockerfile():
    """What the Dockerfile's last stage says: instructions by name, ENV as a dict."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    last = text[text.rindex("\nFROM "):]
    said = dict(re.findall(r"^([A-Z]+) (.*)$", last, re.M))
    said["ENV"] = dict(re.findall(r'(\w+)="([^"]*)"', said["ENV"]))
    return said


class Image:
    """The root file system, entered as a container would be."""

    def __init__(self, root, said):
        self.root, self.env = root, {**said["ENV"], "DRIPFEED_SOURCE": ""}

    def run(self, line, source=""):
        """Runs a shell line in it; gives exit code, stdout and stderr."""
        ran = subprocess.run([CHROOT, "--userspec=1000:1000", str(self.root), "/bin/sh", "-c", f"cd /airbyte; {line}"],
                             env={**self.env, "DRIPFEED_SOURCE": source}, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
        return ran.returncode, ran.stdout, ran.stderr

    def messages(self, line, source=""):
        """Exit code and messages of the entry point with these arguments."""
        code, out, err = self.run(f"$AIRBYTE_ENTRYPOINT {line}", source)
        return code, [json.loads(m) for m in out.splitlines()], err

    def file(self, name, value):
        """Puts a JSON file where the platform mounts them; gives its path inside."""
        path = self.root / "config" / name
        path.write_text(json.dumps(value))
        os.chown(path, 1000, 1000)
        return f"/config/{name}"


class Names(threading.Thread):
    """A DNS server on a loopback address that knows one name."""

    def __init__(self, name, address):
        super().__init__(daemon=True)
        self.name_there, self.asked = name, 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, 53))
        self.start()

    def run(self):
        while True:
            try:
                query, sender = self.socket.recvfrom(512)
            except OSError:
                return
            labels, at = [], 12
            while query[at]:
                labels.append(query[at + 1:at + 1 + query[at]].decode())
                at += 1 + query[at]
            question, kind = query[12:at + 5], query[at + 2]
            known = ".".join(labels) == self.name_there
            self.asked += known
            answers = int(known and kind == 1)
            head = query[:2] + (b"\x81\x80" if known else b"\x81\x83") + b"\0\1" + bytes([0, answers]) + b"\0\0\0\0"
            answer = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x7f\0\0\1" if answers else b""
            self.socket.sendto(head + question + answer, sender)


def tls_server(scratch, name):
    """A TLS server for a name with a certificate of its own authority; gives the server and the authority's file."""
    def openssl(*args):
        subprocess.run(["openssl", *args], cwd=scratch, check=True, capture_output=True)
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=test",
            "-addext", "basicConstraints=critical,CA:TRUE")
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "csr.pem", "-subj", f"/CN={name}")
    (scratch / "ext").write_text(f"subjectAltName=DNS:{name}\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n")
    openssl("x509", "-req", "-in", "csr.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", "cert.pem", "-days", "2",
            "-extfile", "ext")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = b'{"data": [{"id": "1"}]}'
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(scratch / "cert.pem", scratch / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, scratch / "ca.pem"


def container(given, root):
    """A copy of a root file system with what every container has."""
    subprocess.run(["cp", "-a", str(given), str(root)], check=True)
    root.chmod(0o755)
    (root / "dev").mkdir()
    for name, minor in (("null", 3), ("random", 8), ("urandom", 9)):
        os.mknod(root / "dev" / name, 0o666 | stat.S_IFCHR, os.makedev(1, minor))
        (root / "dev" / name).chmod(0o666)
    return root


def without_shell(checks, given, root, said, sandbox):
    """(d)"""
    binary = (given / "airbyte/dripfeed").stat().st_size
    beside = sum(f.lstat().st_size for f in given.rglob("*") if f.is_file()) - binary
    checks.ok("without a shell: the binary is all that can be run, with at most 5 MB beside it",
              [f.name for f in given.rglob("*") if f.is_file() and os.access(f, os.X_OK) and f.stat().st_mode & 0o111] == ["dripfeed"]
              and beside < 5e6, f"{binary / 1e6:.1f} MB and {beside / 1e6:.1f} MB")
    config = Image(root, said).file("config.json", {"url": sandbox.url, "token": "sandbox-token"})
    done = subprocess.run([CHROOT, "--userspec=1000:1000", str(root), *json.loads(said["ENTRYPOINT"]), "check", "--config", config],
                          env={**said["ENV"], "DRIPFEED_SOURCE": "sandbox"}, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    checks.ok("without a shell: the entry point runs", done.returncode == 0 and "SUCCEEDED" in done.stdout, done.stdout[-200:] + done.stderr)


def kinds(messages):
    """The types of messages that are no logs."""
    return [m["type"] for m in messages if m["type"] != "LOG"]


def main():
    checks, given, bare = Checks(), *map(Path, sys.argv[1:3])
    said = dockerfile()
    with folder() as scratch, Sandbox("--tasks", 300) as sandbox:
        root = container(given, scratch / "root")
        scratch.chmod(0o755)
        image = Image(root, said)
        entry = json.loads(said["ENTRYPOINT"])
        checks.ok("AIRBYTE_ENTRYPOINT is the entry point", [said["ENV"]["AIRBYTE_ENTRYPOINT"]] == entry and (root / entry[0][1:]).is_file(), entry)
        checks.ok("the user is a number, has a name, and owns /airbyte",
                  said["USER"] == "1000:1000" and "airbyte:x:1000:" in (root / "etc/passwd").read_text() and (root / "airbyte").stat().st_uid == 1000)
        linked = subprocess.run(["ldd", str(root / "airbyte/dripfeed")], capture_output=True, text=True)
        checks.ok("the binary is static", "statically linked" in linked.stdout or "not a dynamic executable" in linked.stderr, linked.stdout.strip())
        without_shell(checks, bare, container(bare, scratch / "bare"), said, sandbox)
        code, out, _ = image.run("id -u 2>/dev/null || busybox id -u")
        checks.ok("it runs as nobody special", code == 0 and out.strip() == "1000", out.strip())
        config = image.file("config.json", {"url": sandbox.url, "token": "sandbox-token"})
        code, messages, err = image.messages("spec", "sandbox")
        checks.ok("spec", code == 0 and kinds(messages) == ["SPEC"] and not err, err)
        code, messages, err = image.messages(f"check --config {config}", "sandbox")
        checks.ok("check", code == 0 and messages[-1]["connectionStatus"]["status"] == "SUCCEEDED", err)
        code, messages, err = image.messages(f"discover --config {config}", "sandbox")
        streams = messages[-1].get("catalog", {}).get("streams", [])
        checks.ok("discover", code == 0 and len(streams) == 3, err)
        catalog = image.file("catalog.json", {"streams": [
            {"stream": stream, "sync_mode": stream["supported_sync_modes"][-1], "destination_sync_mode": "append"} for stream in streams]})
        code, messages, err = image.messages(f"read --config {config} --catalog {catalog}", "sandbox")
        checks.ok("read", code == 0 and kinds(messages).count("RECORD") == 370, (code, err))
        mounted = image.file("own.json", MANIFEST)
        code, messages, err = image.messages("spec", mounted)
        checks.ok("a mounted manifest is a source", code == 0 and kinds(messages) == ["SPEC"], err)
        code, messages, err = image.messages("spec")
        required = messages[-1]["spec"]["connectionSpecification"].get("required") if messages else None
        checks.ok("without a source the manifest comes in the config", code == 0 and required == ["__injected_declarative_manifest"], err)

        names = Names("vendor.test", "127.0.0.53")
        server, authority = tls_server(scratch, "vendor.test")
        (root / "etc/resolv.conf").write_text("nameserver 127.0.0.53\n")
        config = image.file("tls.json", {"url": f"https://vendor.test:{server.server_port}", "__injected_declarative_manifest": MANIFEST})
        code, messages, _ = image.messages(f"check --config {config}")
        checks.ok("a certificate that nobody here knows is refused", messages[-1]["connectionStatus"]["status"] == "FAILED",
                  messages[-1]["connectionStatus"].get("message", "")[:120])
        checks.ok("the name was looked up by DNS", names.asked > 0, names.asked)
        shutil.copyfile(authority, root / "etc/ssl/certs/ca-certificates.crt")
        code, messages, err = image.messages(f"check --config {config}")
        checks.ok("with the authority among the image's certificates it works", messages[-1]["connectionStatus"]["status"] == "SUCCEEDED",
                  messages[-1]["connectionStatus"].get("message", err))
        other = image.file("other.json", {"url": f"https://127.0.0.1:{server.server_port}", "__injected_declarative_manifest": MANIFEST})
        code, messages, _ = image.messages(f"check --config {other}")
        checks.ok("a certificate of another name is refused", messages[-1]["connectionStatus"]["status"] == "FAILED")
        server.shutdown()
        names.socket.close()
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
