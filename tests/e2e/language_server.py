#!/usr/bin/env python3
"""Proves: an editor understands manifests by `spec --manifest`, through the YAML language server that VS Code and Zed have.

(a) A right manifest with the modeline comment, and a built-in one, have no red line. (b) Each of ten wrong manifests has one, on the
line of its mistake, and no other. (c) At a component the fields that it can have are completed, and at `type` the names of components. (d) Over a
field and a type there is a hover text.

usage: language_server.py

Environment: YAML_LANGUAGE_SERVER names the server's executable; see also support.py.
"""
import json
import re
import subprocess
import sys
import threading

from support import Checks, dripfeed, executable, folder

RIGHT = """\
# yaml-language-server: $schema=manifest.schema.json
version: 7.39.1
type: DeclarativeSource
check:
  type: CheckStream
  stream_names: [tasks]
definitions:
  requester:
    type: HttpRequester
    url_base: https://api.example.com
    http_method: GET
    authenticator:
      type: BearerAuthenticator
      api_token: "{{ config['token'] }}"
streams:
  - type: DeclarativeStream
    name: tasks
    primary_key: id
    retriever:
      type: SimpleRetriever
      requester:
        $ref: "#/definitions/requester"
        path: /tasks
      record_selector:
        type: RecordSelector
        extractor:
          type: DpathExtractor
          field_path: [data]
      paginator:
        type: DefaultPaginator
        pagination_strategy:
          type: PageIncrement
          page_size: 100
        page_token_option:
          type: RequestOption
          inject_into: request_parameter
          field_name: page
    schema_loader:
      type: InlineSchemaLoader
      schema: {type: object, properties: {id: {type: string}}}
"""
# What is changed, into what, and a part of the line that must be red.
WRONG = {
    "a misspelt key": ("    primary_key: id", "    primarykey: id", "primarykey"),
    "a misspelt key in a component": ("field_path: [data]", "field_paht: [data]", "field_paht"),
    "a misspelt key in a definition": ("    http_method: GET", "    http_methd: GET", "http_methd"),
    "a type that does not exist": ("type: SimpleRetriever", "type: SimpleRetreiver", "SimpleRetreiver"),
    "a type of another place": ("type: PageIncrement", "type: RecordSelector", "type: RecordSelector"),
    "a custom component": ("type: DefaultPaginator", "type: CustomPaginator", "CustomPaginator"),
    "a method that does not exist": ("http_method: GET", "http_method: FETCH", "FETCH"),
    "a place that does not exist": ("inject_into: request_parameter", "inject_into: query", "inject_into: query"),
    "a text for a boolean": ("        path: /tasks", "        path: /tasks\n        use_cache: sometimes", "use_cache"),
    "a missing field": (re.compile(r"      record_selector:\n(        .*\n)+"), "", "    retriever:"),
}


class Server:
    """A language server over stdio."""

    def __init__(self, at):
        command = [executable("YAML_LANGUAGE_SERVER", "yaml-language-server"), "--stdio"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.at, self.number, self.answers, self.found = at, 0, {}, {}
        self.changed = threading.Condition()
        threading.Thread(target=self.listen, daemon=True).start()
        self.ask("initialize", {"processId": None, "rootUri": at.as_uri(), "capabilities": {
            "textDocument": {"completion": {"completionItem": {"snippetSupport": False}}, "hover": {"contentFormat": ["plaintext"]}}}})
        self.tell("initialized", {})
        self.tell("workspace/didChangeConfiguration", {"settings": {"yaml": {
            "validate": True, "completion": True, "hover": True, "schemaStore": {"enable": False}}}})

    def send(self, message):
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self.process.stdin.flush()

    def listen(self):
        while True:
            length = 0
            while (line := self.process.stdout.readline().strip()):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            if not length:
                return
            message = json.loads(self.process.stdout.read(length))
            with self.changed:
                if "method" in message and "id" in message:
                    # It asks for its settings, and for nothing else that matters here.
                    items = message.get("params", {}).get("items", []) if message["method"] == "workspace/configuration" else None
                    settings = {"yaml": {"validate": True, "completion": True, "hover": True, "schemaStore": {"enable": False}}}
                    result = [settings.get(item.get("section"), {}) for item in items] if items is not None else None
                    self.send({"id": message["id"], "result": result})
                elif message.get("method") == "textDocument/publishDiagnostics":
                    self.found[message["params"]["uri"]] = message["params"]["diagnostics"]
                elif "id" in message:
                    self.answers[message["id"]] = message.get("result")
                self.changed.notify_all()

    def tell(self, method, params):
        self.send({"method": method, "params": params})

    def ask(self, method, params):
        self.number += 1
        number = self.number
        self.send({"id": number, "method": method, "params": params})
        with self.changed:
            assert self.changed.wait_for(lambda: number in self.answers, 30), f"no answer to {method}"
            return self.answers.pop(number)

    def open(self, name, text):
        """Opens a file; gives its address."""
        path = self.at / name
        path.write_text(text)
        self.tell("textDocument/didOpen", {"textDocument": {"uri": path.as_uri(), "languageId": "yaml", "version": 1, "text": text}})
        return path.as_uri()

    def diagnostics(self, name, text):
        uri = self.open(name, text)
        with self.changed:
            assert self.changed.wait_for(lambda: uri in self.found, 30), f"nothing about {name}"
            return self.found[uri]

    def at_end_of(self, uri, text, line, method):
        """Asks about the end of the first line that matches."""
        lines = text.split("\n")
        number = next(n for n, each in enumerate(lines) if re.search(line, each))
        return self.ask(method, {"textDocument": {"uri": uri}, "position": {"line": number, "character": len(lines[number])}})


def main():
    checks = Checks()
    with folder() as at:
        schema = subprocess.run([dripfeed(), "spec", "--manifest"], capture_output=True, check=True).stdout
        (at / "manifest.schema.json").write_bytes(schema)
        server = Server(at)
        found = server.diagnostics("right.yaml", RIGHT)
        checks.ok("a right manifest has no red line", not found, json.dumps(found) if found else "")
        built_in = subprocess.run([dripfeed(), "sources", "--show", "todoist"], capture_output=True, check=True, text=True).stdout
        found = server.diagnostics("todoist.yaml", RIGHT.split("\n")[0] + "\n" + built_in)
        checks.ok("nor has a built-in source", not found, json.dumps(found[:2]) if found else "")
        for number, (what, (old, new, red)) in enumerate(WRONG.items()):
            text = old.sub(new, RIGHT, count=1) if isinstance(old, re.Pattern) else RIGHT.replace(old, new, 1)
            assert text != RIGHT, what
            found = server.diagnostics(f"wrong{number}.yaml", text)
            lines = text.split("\n")
            shown = [f"{d['range']['start']['line'] + 1}: {d['message']}" for d in found]
            right = found and all(red in lines[d["range"]["start"]["line"]] for d in found)
            checks.ok(f"{what} is red on its line", right, "; ".join(shown)[:200])
        # Completion: a new key of a component, and the value of a `type`.
        text = RIGHT.replace("    primary_key: id\n", "    primary_key: id\n    incr\n", 1)
        uri = server.open("keys.yaml", text)
        items = server.at_end_of(uri, text, "^    incr$", "textDocument/completion")
        labels = [item["label"] for item in (items["items"] if isinstance(items, dict) else items or [])]
        checks.ok("the fields of a component are completed", "incremental_sync" in labels, ", ".join(labels)[:120])
        text = RIGHT.replace("type: PageIncrement", "type: ", 1)
        uri = server.open("types.yaml", text)
        items = server.at_end_of(uri, text, re.compile(r"^ {10}type: $"), "textDocument/completion")
        labels = [item["label"] for item in (items["items"] if isinstance(items, dict) else items or [])]
        checks.ok("and the types of a choice", {"PageIncrement", "CursorPagination"} <= set(labels), ", ".join(labels)[:120])
        # Hover.
        uri = server.open("hover.yaml", RIGHT)
        for line, character, word in [("    primary_key: id", 6, "identify a record"), ("type: SimpleRetriever", 10, "pages")]:
            number = next(n for n, each in enumerate(RIGHT.split("\n")) if line in each)
            hover = server.ask("textDocument/hover", {"textDocument": {"uri": uri}, "position": {"line": number, "character": character}})
            text = json.dumps(hover)
            checks.ok(f"there is a hover text over `{line.strip()}`", word in text, text[:160])
        server.process.kill()
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
