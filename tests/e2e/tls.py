#!/usr/bin/env python3
"""Proves: a TLS connection that was not closed is no end of a body that shows none itself, and what TLS refuses is told at once.

Servers with a certificate of a CA of their own answer with tables, lines and JSON, of which some end with the connection alone;
some close it as TLS wants it (`close_notify`), some drop it. Then a CA that is not known, a server of TLS 1.0, and one that
speaks no TLS: each is asked once, and the run ends with 69.

usage: tls.py      (see support.py for the environment; needs openssl)
"""
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time

from support import Checks, dripfeed, folder

CSV = b"id,name\n1,one\n2,two\n"
OPEN = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(CSV)
EXTENSIONS = "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n"


def certificates(at):
    """A CA, and a certificate that it signed for localhost."""
    (at / "extensions").write_text(EXTENSIONS)
    for command in (
            "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 30 -subj /CN=ca -addext basicConstraints=critical,CA:TRUE",
            "req -newkey rsa:2048 -nodes -keyout key.pem -out request -subj /CN=localhost",
            "x509 -req -in request -CA ca.pem -CAkey ca.key -CAcreateserial -out cert.pem -days 20 -extfile extensions"):
        subprocess.run(["openssl", *command.split()], cwd=at, check=True, capture_output=True)


class Server:
    """Answers every connection with these bytes, and closes it as TLS wants it or drops it."""

    def __init__(self, at, answer, closes=True, oldest=False, plain=False):
        self.answer, self.closes, self.connections = answer, closes, 0
        self.context = None
        if not plain:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(at / "cert.pem", at / "key.pem")
        if oldest:
            self.context.minimum_version = self.context.maximum_version = ssl.TLSVersion.TLSv1
            self.context.set_ciphers("ALL:@SECLEVEL=0")
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://localhost:{self.socket.getsockname()[1]}"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            connection, _ = self.socket.accept()
            self.connections += 1
            try:
                self.talk(connection)
            except OSError:
                connection.close()

    def talk(self, connection):
        if self.context:
            connection = self.context.wrap_socket(connection, server_side=True)
        connection.recv(65536)
        connection.sendall(self.answer)
        if self.context and self.closes:
            connection = connection.unwrap()
        connection.shutdown(socket.SHUT_RDWR)
        connection.close()


def manifest(decoder):
    """A stream of bodies in that form; a second try comes at once."""
    errors = {"type": "DefaultErrorHandler", "max_retries": 1,
              "backoff_strategies": [{"type": "ConstantBackoffStrategy", "backoff_time_in_seconds": 0.01}]}
    selector = {"type": "RecordSelector", "extractor": {"type": "DpathExtractor", "field_path": []}}
    requester = {"type": "HttpRequester", "url_base": "{{ config['url'] }}", "path": "items", "error_handler": errors}
    schema = {"type": "object", "properties": {"id": {"type": ["null", "string", "integer"]}}}
    retriever = {"type": "SimpleRetriever", "decoder": {"type": decoder}, "requester": requester, "record_selector": selector}
    stream = {"type": "DeclarativeStream", "name": "items", "primary_key": "id", "retriever": retriever,
              "schema_loader": {"type": "InlineSchemaLoader", "schema": schema}}
    return json.dumps({"version": "7.39.1", "type": "DeclarativeSource", "streams": [stream],
                       "check": {"type": "CheckStream", "stream_names": ["items"]}})


def run(scratch, server, decoder, trusts=True):
    """One run: exit code, records, stderr, seconds."""
    (scratch / "manifest.yaml").write_text(manifest(decoder))
    (scratch / "config.json").write_text(json.dumps({"url": server.url}))
    environment = {**os.environ, **({"SSL_CERT_FILE": str(scratch / "ca.pem")} if trusts else {})}
    if not trusts:
        environment.pop("SSL_CERT_FILE", None)
    command = [dripfeed(), "read", "--source", scratch / "manifest.yaml", "--config", scratch / "config.json"]
    began = time.monotonic()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=120, env=environment)
    return done.returncode, done.stdout.count(b'"RECORD"'), done.stderr.decode(), time.monotonic() - began


def ends(checks, scratch):
    """What tells that a body is whole: its length, its form, or `close_notify`."""
    for name, decoder, answer, closes, expected in (
            ("a table, closed", "CsvDecoder", OPEN + CSV, True, (0, 2, 1)),
            ("a table, dropped at a row's end", "CsvDecoder", OPEN + CSV, False, (69, 0, 2)),
            ("a table, dropped inside a row", "CsvDecoder", OPEN + CSV[:-6], False, (69, 0, 2)),
            ("a table with its length, dropped", "CsvDecoder", SIZED + CSV, False, (0, 2, 1)),
            ("lines, dropped", "JsonlDecoder", OPEN + b'{"id": 1}\n', False, (69, 0, 2)),
            ("JSON, dropped", "JsonDecoder", OPEN + b'[{"id": 1}]', False, (0, 1, 1))):
        server = Server(scratch, answer, closes)
        code, records, log, _ = run(scratch, server, decoder)
        found = (code, records, server.connections)
        checks.ok(f"{name}: exit code, records and calls are {expected}", found == expected, f"{found} {log if found != expected else ''}")


def refusals(checks, scratch):
    """What TLS refuses is the same the next time."""
    for name, switches, trusts in (("an unknown CA", {}, False), ("TLS 1.0", {"oldest": True}, True), ("no TLS", {"plain": True}, True)):
        server = Server(scratch, OPEN + CSV, **switches)
        code, _, log, took = run(scratch, server, "CsvDecoder", trusts)
        told = code == 69 and server.connections == 1 and "TLS with the vendor failed" in log
        checks.ok(f"{name}: told at once, with 69", told and took < 5, f"exit code {code}, {server.connections} connections, {took:.1f} s")


def main():
    checks = Checks()
    with folder() as scratch:
        certificates(scratch)
        ends(checks, scratch)
        refusals(checks, scratch)
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
