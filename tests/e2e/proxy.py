#!/usr/bin/env python3
"""Proves: requests go through the proxies that curl takes, and TLS shows and trusts what the config says.

(a) Which proxy: dripfeed and curl run with the same variables and the same URL, and a proxy that only notes who asked it tells
that both did the same. (b) tinyproxy, with a password: the sandbox by plain HTTP and a TLS vendor are read whole through it, each
by its own variable; without the password the run ends with 20. The sandbox in dripfeed's own process needs no proxy. (c) A vendor
that requires a client certificate is read with one, by `file:`, from one file or from two, RSA and EC; without one, with another
CA's, with the key of another or an encrypted one the run ends and says what to do. (d) `ca_file` adds to the machine's CAs, for
vendors and for the webhook.

usage: proxy.py      (see support.py for the environment; needs curl, openssl and tinyproxy)
"""
import http.server
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path

from support import Checks, Sandbox, dripfeed, folder, wait_until

BODY = json.dumps([{"id": n} for n in range(50)]).encode()
# Variables, URL: whether a proxy is asked is for curl to say.
ROWS = [
    ({"http_proxy": "PROXY"}, "http://vendor.test/"),
    ({"http_proxy": "PROXY"}, "https://vendor.test/"),
    ({"HTTP_PROXY": "PROXY"}, "http://vendor.test/"),
    ({"HTTPS_PROXY": "PROXY"}, "http://vendor.test/"),
    ({"HTTPS_PROXY": "PROXY"}, "https://vendor.test/"),
    ({"https_proxy": "PROXY", "HTTPS_PROXY": "http://127.0.0.1:9"}, "https://vendor.test/"),
    ({"ALL_PROXY": "PROXY"}, "http://vendor.test:8080/"),
    ({"all_proxy": "PROXY", "https_proxy": ""}, "https://vendor.test/"),
    ({"ALL_PROXY": "PROXY", "NO_PROXY": "vendor.test"}, "https://api.vendor.test/"),
    ({"ALL_PROXY": "PROXY", "NO_PROXY": "vendor.test"}, "https://othervendor.test/"),
    ({"ALL_PROXY": "PROXY", "NO_PROXY": ".vendor.test"}, "https://vendor.test/"),
    ({"ALL_PROXY": "PROXY", "NO_PROXY": "other.test, vendor.test"}, "https://vendor.test/"),
    ({"ALL_PROXY": "PROXY", "NO_PROXY": "*"}, "https://vendor.test/"),
    ({"ALL_PROXY": "PROXY", "NO_PROXY": "*.test"}, "https://vendor.test/"),
    ({"ALL_PROXY": "PROXY", "no_proxy": "other.test", "NO_PROXY": "vendor.test"}, "https://vendor.test/"),
    ({"ALL_PROXY": "PROXY", "NO_PROXY": "127.0.0.0/8"}, "http://127.1.2.3:9/"),
    ({"ALL_PROXY": "PROXY", "NO_PROXY": "127.0.0.0/16"}, "http://127.1.2.3:9/"),
    ({"ALL_PROXY": "PROXY", "NO_PROXY": "127.1.2.3"}, "http://127.1.2.3:9/"),
    ({"ALL_PROXY": "PROXY", "NO_PROXY": "::1"}, "http://[::1]:9/"),
]


def clean():
    """The environment without proxies and CAs."""
    return {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy") and not k.startswith("SSL_CERT")}


class NotingProxy(threading.Thread):
    """A proxy that notes the first line of each request, and refuses it."""

    def __init__(self):
        super().__init__(daemon=True)
        self.socket, self.lines = socket.create_server(("127.0.0.1", 0)), []
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.start()

    def run(self):
        while True:
            connection, _ = self.socket.accept()
            with connection:
                head = b""
                while b"\r\n\r\n" not in head and (more := connection.recv(65536)):
                    head += more
                self.lines.append(head.split(b"\r\n")[0].decode())
                connection.sendall(b"HTTP/1.1 418 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    def asked(self, command, variables):
        """What a command asks it, once and not again."""
        self.lines.clear()
        variables = {name: value.replace("PROXY", self.url) for name, value in variables.items()}
        subprocess.run(command, env={**clean(), **variables}, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
        return sorted(set(self.lines))


def manifest(at):
    """A source of one stream of JSON, that tries once."""
    errors = {"type": "DefaultErrorHandler", "max_retries": 0}
    requester = {"type": "HttpRequester", "url_base": "{{ config['url'] }}", "path": "", "error_handler": errors}
    selector = {"type": "RecordSelector", "extractor": {"type": "DpathExtractor", "field_path": []}}
    schema = {"type": "object", "properties": {"id": {"type": "integer"}}}
    stream = {"type": "DeclarativeStream", "name": "items", "primary_key": "id",
              "retriever": {"type": "SimpleRetriever", "requester": requester, "record_selector": selector},
              "schema_loader": {"type": "InlineSchemaLoader", "schema": schema}}
    path = at / "manifest.json"
    path.write_text(json.dumps({"version": "7.39.1", "type": "DeclarativeSource", "streams": [stream],
                                "check": {"type": "CheckStream", "stream_names": ["items"]}}))
    return path


def read(at, url, variables=None, **ours):
    """One run: exit code, records, stderr."""
    (at / "config.json").write_text(json.dumps({"url": url, "dripfeed": ours}))
    done = subprocess.run([dripfeed(), "read", "--source", manifest(at), "--config", at / "config.json"], cwd=at, timeout=60,
                          stdin=subprocess.DEVNULL, capture_output=True, env={**clean(), **(variables or {})})
    return done.returncode, done.stdout.count(b'"RECORD"'), done.stderr.decode()


def as_curl(checks, at):
    """(a)"""
    proxy, curl = NotingProxy(), shutil.which("curl")
    wrong = []
    for variables, url in ROWS:
        theirs = proxy.asked([curl, "-s", "-o", os.devnull, "--max-time", "5", url], variables)
        (at / "config.json").write_text(json.dumps({"url": url}))
        ours = proxy.asked([dripfeed(), "read", "--source", manifest(at), "--config", at / "config.json"], variables)
        if theirs != ours:
            wrong.append((variables, url, theirs, ours))
    checks.ok(f"proxies and NO_PROXY as curl has them, {len(ROWS)} times", not wrong, wrong or "")
    ours = [proxy.asked([dripfeed(), "check", "--source", manifest(at), "--config", at / "config.json"],
                        {"ALL_PROXY": "PROXY", "NO_PROXY": without}) for without in ("[::1]:9", "[::1]:10")]
    checks.ok("an entry of NO_PROXY may have a port", not ours[0] and ours[1], ours)
    for value, words in (("socks5h://user:geheim@127.0.0.1:1", "names a SOCKS proxy"), ("http://:geheim@", "is not the address of a proxy")):
        code, _, log = read(at, "https://vendor.test/", {"HTTPS_PROXY": value})
        checks.ok(f"a proxy that cannot be used ends the run: {words}", code == 10 and words in log and "geheim" not in log, (code, log))


class Tinyproxy:
    """tinyproxy on a free port, with a user and a password."""

    def __init__(self, at):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.log = at / "tinyproxy.log"
        (at / "tinyproxy.conf").write_text(f'Port {self.port}\nListen 127.0.0.1\nTimeout 60\nLogFile "{self.log}"\nLogLevel Connect\n'
                                           "BasicAuth user geheim1\n")
        self.process = subprocess.Popen(["tinyproxy", "-d", "-c", at / "tinyproxy.conf"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: socket.socket().connect_ex(("127.0.0.1", self.port)) == 0, 20, "tinyproxy")
        self.url = f"http://user:geh%65im1@127.0.0.1:{self.port}"

    def requests(self):
        """What it was asked, by method and address."""
        return [line.split("): ", 1)[1].split(" HTTP/")[0] for line in self.log.read_text().splitlines() if "Request (file" in line]


class Vendor(http.server.ThreadingHTTPServer):
    """Answers with records, by TLS."""
    daemon_threads = True

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            chain = self.connection.getpeercert()
            self.server.clients.append(dict(pair for part in chain["subject"] for pair in part)["commonName"] if chain else None)
            self.answer(BODY)

        def do_POST(self):
            self.server.posts.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.answer(b"{}")

        def answer(self, body):
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    def __init__(self, at, requires=False, newest=ssl.TLSVersion.TLSv1_3):
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.clients, self.posts = [], []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(at / "server.pem", at / "server.key")
        context.load_verify_locations(at / "ca.pem")
        context.maximum_version = newest
        if requires:
            context.verify_mode = ssl.CERT_REQUIRED
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"https://localhost:{self.server_port}/"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_):
        pass


def certificates(at):
    """Two CAs; a server, two clients and a client of the other CA."""
    def openssl(line):
        subprocess.run(["openssl", *line.split()], cwd=at, check=True, capture_output=True)
    for ca in ("ca", "other"):
        openssl(f"req -x509 -newkey rsa:2048 -nodes -keyout {ca}.key -out {ca}.pem -days 30 -subj /CN={ca} "
                "-addext basicConstraints=critical,CA:TRUE")
    for name, key, ca, usage in (("server", "rsa:2048", "ca", "serverAuth"), ("rsa", "rsa:2048", "ca", "clientAuth"),
                                 ("ec", "ec -pkeyopt ec_paramgen_curve:prime256v1", "ca", "clientAuth"),
                                 ("stranger", "rsa:2048", "other", "clientAuth")):
        (at / "extensions").write_text(f"basicConstraints=CA:FALSE\nextendedKeyUsage={usage}\nsubjectAltName=DNS:localhost\n")
        openssl(f"req -newkey {key} -nodes -keyout {name}.key -out request -subj /CN={name}")
        openssl(f"x509 -req -in request -CA {ca}.pem -CAkey {ca}.key -CAcreateserial -out {name}.pem -days 20 -extfile extensions")
        (at / f"{name}-both.pem").write_text((at / f"{name}.key").read_text() + (at / f"{name}.pem").read_text())
    openssl("rsa -in rsa.key -traditional -out pkcs1.key")
    openssl("ec -in ec.key -out sec1.key")
    openssl("pkcs8 -topk8 -in rsa.key -out locked.key -passout pass:geheim")


def tinyproxy(checks, at):
    """(b)"""
    proxy, vendor = Tinyproxy(at), Vendor(at)
    try:
        with Sandbox("--tasks", 300) as sandbox:
            config = sandbox.config(at / "sandbox.json")
            command = [dripfeed(), "read", "--source", "sandbox", "--config", config]
            done = subprocess.run(command, env={**clean(), "http_proxy": proxy.url}, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
            through = proxy.requests()
            checks.ok("plain HTTP: every request goes through the proxy, whole", done.returncode == 0 and done.stdout.count(b'"RECORD"') == 370
                      and len(through) > 3 and all(line.startswith(f"GET {sandbox.url}/") for line in through), through[:1] or done.stderr)
            subprocess.run(command, env={**clean(), "HTTPS_PROXY": proxy.url}, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
            checks.ok("plain HTTP: never through HTTPS_PROXY", proxy.requests() == through)
        own = subprocess.run([dripfeed(), "read", "--source", "sandbox", "--limit", "1"], env={**clean(), "http_proxy": "http://127.0.0.1:9"},
                             stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
        checks.ok("the sandbox in this process needs no proxy", own.returncode == 0, own.stderr.decode())
        code, records, log = read(at, vendor.url, {"HTTPS_PROXY": proxy.url}, tls={"ca_file": str(at / "ca.pem")})
        tunnels = proxy.requests()[len(through):]
        checks.ok("TLS: through a tunnel of HTTPS_PROXY", (code, records, tunnels) == (0, 50, [f"CONNECT localhost:{vendor.server_port}"]),
                  (code, records, tunnels, log))
        for name, url in (("http_proxy", "http://localhost:9/"), ("HTTPS_PROXY", vendor.url)):
            code, _, log = read(at, url, {name: f"http://127.0.0.1:{proxy.port}"})
            checks.ok(f"{name} without a password: the run ends with 20", code == 20 and "407" in log and name in log, log)
            code, _, log = read(at, url, {name: f"http://user:wrong-1@127.0.0.1:{proxy.port}"})
            checks.ok(f"{name} with a wrong one: the run ends with 20", code == 20 and "wrong-1" not in log, log)
    finally:
        proxy.process.kill()
        proxy.process.wait()


def client_certificates(checks, at):
    """(c)"""
    trusted = {"ca_file": str(at / "ca.pem")}
    for newest in (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2):
        vendor, version = Vendor(at, requires=True, newest=newest), newest.name
        for name, tls in (("rsa", {"client_cert": "file:rsa.pem", "client_key": "file:rsa.key"}),
                          ("rsa", {"client_cert": "file:rsa.pem", "client_key": "file:pkcs1.key"}),
                          ("ec", {"client_cert": "file:ec.pem", "client_key": "file:sec1.key"}),
                          ("ec", {"client_cert": "file:ec-both.pem"}), ("rsa", {"client_cert": "exec:cat rsa-both.pem"})):
            vendor.clients.clear()
            code, records, log = read(at, vendor.url, tls={**trusted, **tls})
            checks.ok(f"{version}, {', '.join(tls.values())}: the vendor knows who calls", (code, records) == (0, 50) and vendor.clients == [name],
                      log if code else "")
        for name, tls in (("none", {}), ("another CA's", {"client_cert": "file:stranger-both.pem"})):
            code, _, log = read(at, vendor.url, tls={**trusted, **tls})
            # In TLS 1.2 the server may close before the client has sent its last message: then no alert comes.
            said = "client_cert" in log or newest == ssl.TLSVersion.TLSv1_2 and "Broken pipe" in log
            checks.ok(f"{version}, {name} certificate: the run ends and says what to do", code == 69 and said, log)
    for name, tls, words in (
            ("the key of another", {"client_cert": "file:rsa.pem", "client_key": "file:ec.key"}, "does not belong to the certificate"),
            ("an encrypted key", {"client_cert": "file:rsa.pem", "client_key": "file:locked.key"}, "encrypted"),
            ("no key", {"client_cert": "file:rsa.pem"}, "contains no private key"),
            ("no certificate", {"client_cert": "rsa.pem"}, "file:PATH"),
            ("a key alone", {"client_key": "file:rsa.key"}, "without `dripfeed.tls.client_cert`"),
            ("no such CA file", {"ca_file": "nowhere.pem"}, "cannot be read"),
            ("a CA file without certificates", {"ca_file": "config.json"}, "contains no certificate")):
        code, _, log = read(at, "https://localhost:9/", tls=tls)
        checks.ok(f"{name}: refused before any request", code == 10 and words in log and "dripfeed.tls." in log, log if code != 10 else "")


def elsewhere(checks, at):
    """Verbs that call no vendor need no certificate, and a CronJob has the CA file."""
    ours = {"tenant": "acme", "source": str(at / "manifest.json"), "state_dir": str(at / "state"), "target": "t",
            "tls": {"client_cert": "exec:false", "ca_file": "/etc/acme-ca.pem"}, "tiers": {"t": {"streams": ["*"], "schedule": "H * * * *"}}}
    (at / "tenants").mkdir()
    (at / "tenants/acme.json").write_text(json.dumps({"url": "https://localhost:9/", "dripfeed": ours}))
    for verb in (["drift", "show"], ["status"]):
        done = subprocess.run([dripfeed(), *verb, "--config", at / "tenants/acme.json"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        checks.ok(f"{' '.join(verb)} runs without the certificate", "client_cert" not in done.stdout + done.stderr and done.returncode in (0, 1),
                  done.stderr)
    done = subprocess.run([dripfeed(), "schedule", "--tenants", at / "tenants", "--format", "kubernetes"], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True)
    checks.ok("a CronJob mounts the CA file", done.returncode == 0 and "/etc/acme-ca.pem" in done.stdout, done.stderr[-600:])


def authorities(checks, at):
    """(d)"""
    vendor = Vendor(at)
    found = [read(at, vendor.url, variables, **({"tls": {"ca_file": ca}} if ca else {}))
             for variables, ca in (({}, None), ({}, "ca.pem"), ({"SSL_CERT_FILE": str(at / "other.pem")}, "ca.pem"),
                                   ({"SSL_CERT_FILE": str(at / "ca.pem")}, "other.pem"), ({}, "other.pem"))]
    checks.ok("a CA is trusted by ca_file, and by the machine's store beside it", [code for code, *_ in found] == [69, 0, 0, 0, 69] and
              "ca_file" in found[0][2], [code for code, *_ in found])
    alert = {"webhook": f"{vendor.url}hook"}
    for tls, posts in (({}, 0), ({"ca_file": "ca.pem"}, 1)):
        vendor.posts.clear()
        code, _, log = read(at, "https://localhost:9/", alert=alert, tls=tls, tenant="acme")
        checks.ok(f"the webhook's CA too: {posts} alerts come", code == 69 and len(vendor.posts) == posts, (code, len(vendor.posts), log))


def main():
    checks = Checks()
    with folder() as scratch:
        at = Path(scratch)
        certificates(at)
        as_curl(checks, at)
        tinyproxy(checks, at)
        client_certificates(checks, at)
        authorities(checks, at)
        elsewhere(checks, at)
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
