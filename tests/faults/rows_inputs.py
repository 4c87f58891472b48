"""Rows C, T and Y: configs, catalogs, states and manifests that are wrong or hostile."""
import json
import time

from driver import SCHEMA, manifest, merged, row
from vendor import Vendor, answer, good


def refused(t, **given):
    """A run that must end before any request."""
    with Vendor(good) as vendor:
        given.setdefault("config", t.config(vendor))
        ran = t.run(**given)
        t.check("no request", not vendor.requests, len(vendor.requests))
    return ran


@row("C1")
def _(t):
    texts = {"empty": "", "object": "{}", "list": "[]", "comma": '{"url": "http://127.0.0.1:1",}', "nan": '{"url": NaN}', "tabs": "url:\thttp://x",
             "binary": b"\x00\x01\x02", "half": '{"url": "http:'}
    for name, text in texts.items():
        ran = refused(t, config=t.file(f"{name}.json", text))
        t.check("the file is named", name in ran.err or name == "object", ran.err[-200:])


@row("C2")
def _(t):
    with Vendor(good) as vendor:
        ran = refused(t, config=t.config(vendor, {"statedir": "x"}))
    t.check("the nearest name", "state_dir" in ran.err, ran.err[-200:])


@row("C3")
def _(t):
    source = manifest(top={"spec": {"connection_specification": {"properties": {
        "start_date": {"type": "string", "format": "date-time", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$"}}}}},
        stream={"incremental_sync": {"start_datetime": "{{ config['start_date'] }}"}})
    for value in ("2026-02-30T00:00:00Z", "yesterday", 7, {}):
        refused(t, source=source, config={"url": "http://127.0.0.1:1", "token": "t", "start_date": value})


@row("C4")
def _(t):
    for ours in ({"max_page_bytes": 2**64 - 1}, {"max_page_bytes": 10**12}, {"tenant": ""}, {"deadline": "PT0S"}, {"pace": {"limits": [{"calls": 0, "per": "PT1M"}]}},
                 {"pace": {"limits": [{"in_flight": 10**9}]}}, {"pace": {"limits": [{"calls": 2**64 - 1, "per": "PT1S"}]}},
                 {"pace": {"limits": [{"calls": 10, "per": "P999999Y"}]}}, {"drift": {"max_record_bytes": 2**64 - 1}}, {"deadline": "P999999999Y"},
                 {"safety": {"settle": "P999999Y"}}, {"safety": {"overlap": "P999999999999Y"}}):
        refused(t, config={"url": "http://127.0.0.1:1", "token": "t", "dripfeed": ours})


@row("C4b")
def _(t):
    for size in (-1, "abc"):
        source = manifest(retriever={"paginator": {"pagination_strategy": {"type": "PageIncrement", "page_size": "{{ config['page_size'] }}",
                                                                          "cursor_value": None, "stop_condition": None}}})
        refused(t, source=source, config={"url": "http://127.0.0.1:1", "token": "t", "page_size": size})


@row("C5")
def _(t):
    for env in ({}, {"ACME": ""}, {"ACME": b"\xff\xfe"}):
        ran = refused(t, config={"url": "http://127.0.0.1:1", "token": "env:ACME"}, env=env)
        t.check("the variable is named", "ACME" in ran.err or "token" in ran.err, ran.err[-200:])
        t.check("said as it is", b"\xff\xfe" not in env.values() or "not set" not in ran.err, ran.err[-200:])


@row("C6a")
def _(t):
    stream = {"tap_stream_id": "items", "stream": "items", "schema": {"type": "object", "properties": SCHEMA}, "metadata": [{"breadcrumb": [], "metadata": {"selected": True}}]}
    for catalog in ({"streams": [{**stream, "tap_stream_id": "nothing", "stream": "nothing"}]}, {"streams": [stream, stream]}, [], "{", {"streams": 7}):
        refused(t, catalog=catalog)


@row("C6b")
def _(t):
    refused(t, catalog={"streams": []})


@row("C7")
def _(t):
    for template in ("{{ undefined_name }}", "{{ 1 / 0 }}", "{{ 'a' * 10000000000 }}", "{{ config['url'", "{{ 'a' | no_filter }}"):
        refused(t, source=manifest(requester={"request_parameters": {"a": template}}))


@row("T1")
def _(t):
    for name, text in {"empty": "", "half": '{"bookmarks": {"ite', "text": "hello", "binary": b"\x80\x00\xff"}.items():
        ran = refused(t, state=t.file(f"{name}.state", text))
        t.check("the file is named", name in ran.err, ran.err[-200:])


@row("T2")
def _(t):
    refused(t, state={"bookmarks": {}, "dripfeed": {"v": 999, "source": "x"}})


@row("T3")
def _(t):
    state, source = t.folder / "state", manifest()
    with Vendor(good) as vendor:
        file = str(t.file("m.yaml", source))
        first = t.run(source=file, config=t.config(vendor, {"state_dir": str(state), "tenant": "acme"}), judged=False)
        t.check("acme's run ends with 0", first.code == 0, first.err[-200:])
    refused(t, source=file, config={"url": "http://127.0.0.1:1", "token": "another", "dripfeed": {"state_dir": str(state), "tenant": "globex"}}, state=first.state)


@row("T4")
def _(t):
    for bookmark in ({"updated_at": "2999-01-01T00:00:00Z"}, {"updated_at": "never"}, {"updated_at": 7}, {"updated_at": {}}, 7, "text", [1]):
        refused(t, state={"bookmarks": {"items": bookmark}})


@row("T5")
def _(t):
    ran = refused(t, state=[{"type": "STREAM", "stream": {"stream_descriptor": {"name": "items"}, "stream_state": {"updated_at": "2024-01-12T00:00:00Z"}}}])
    t.check("a hint", "hint" in ran.err, ran.err[-200:])


def partitions(count):
    return {"bookmarks": {"items": {"use_global_cursor": False, "states": [
        {"partition": {"parent": n, "parent_slice": {}}, "cursor": {"updated_at": "2024-01-05T00:00:00Z"}} for n in range(count)]}}}


@row("T6a", alone=True)
def _(t):
    with Vendor(good) as vendor:
        t.run(config=t.config(vendor), state=partitions(100_000))


@row("T6b", alone=True)
def _(t):
    with Vendor(good) as vendor:
        t.run(config=t.config(vendor), state=partitions(1_000_000))


@row("Y1")
def _(t):
    laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
    refused(t, source=laughs)
    refused(t, source="version: 7.39.1\nx: " + "[" * 100_000)
    refused(t, source="version: 7.39.1\nx: " + "a" * 100_000_000 + "\n")


@row("Y2a")
def _(t):
    text = json.dumps(manifest())
    for tag in ("!!python/object/apply:os.system ['true']", "!!python/name:os.system x"):
        refused(t, source=f"definitions: {tag}\n" + "\n".join(f"{k}: {json.dumps(v)}" for k, v in json.loads(text).items()) + "\n")


@row("Y2b")
def _(t):
    # A country is no boolean: the country of the config is a text, and a duplicate key a warning.
    lines = "\n".join(f"{k}: {json.dumps(v)}" for k, v in manifest(requester={"request_parameters": {"country": "no"}}).items())
    with Vendor(good) as vendor:
        ran = t.run(source=lines.replace('"country": "no"', '"country": no, "x": 1, "x": 2') + "\n", config=t.config(vendor))
        t.check("it is sent as YAML 1.1 has it, once each", {"False", "false", "no"} & set(vendor.requests[0].query.values()) if vendor.requests else False,
                vendor.requests[0].query if vendor.requests else ran.err[-200:])


@row("Y3")
def _(t):
    spec = {"connection_specification": {"properties": {"token": {"type": "string", "pattern": "^(a+)+$"}}}}
    refused(t, source=manifest(top={"spec": spec}), config={"url": "http://127.0.0.1:1", "token": "a" * 5000 + "!"})
    refused(t, source=manifest(top={"spec": {"connection_specification": {"properties": {"token": {"pattern": "(((a{1000}){1000}){1000})"}}}}}))


BOMBS = ("{% for a in range(1000000000) %}x{% endfor %}", "{{ range(1000000000) | list }}", "{{ ('a'*60000)|replace('a','b'*60000) }}",
         "{{ 'a'*60000*60000 }}", "{{ '%1000000000d' | format(1) }}", "{{ 'x' | center(1000000000) }}", "{{ ('a'*60000) | replace('', 'b'*60000) }}",
         "{{ (['a'*60000]*60000) | join('b'*60000) }}", "{{ 10 ** 1000000000 }}", "{{ 'a' | indent(1000000000) }}", "{{ [1]*1000000000 }}",
         "{{ 'b'.join(['a'*60000]*60000) }}", "{{ ('a,'*60000).split(',') | map('replace', '', 'b'*60000) | list }}", "{{ 'x'.ljust(1000000000) }}",
         "{{ 'x'.zfill(1000000000) }}", "{{ 'a\\tb'.expandtabs(1000000000) }}", "{{ ('a'*60000).replace('a', 'b'*60000) }}", "{{ 2 ** 2 ** 2 ** 2 ** 2 ** 2 }}",
         "{{ '{:1000000000}'.format(1) }}", "{{ ('a' * 60000) | urlencode | urlencode | urlencode | urlencode | urlencode | urlencode | urlencode | urlencode }}",
         "{% set a = 'a'*60000 %}{% set b = [a]*60000 %}{{ b | tojson }}", "{{ 'x' | rjust(1000000000) }}", "{{ 'a b' | wordwrap(1, wrapstring='c'*60000) }}",
         "{{ (range(100000) | list) * 100000 }}", "{{ 'a'.translate({97: 'b'*60000}) }}")


@row("Y4", alone=True)
def _(t):
    for bomb in BOMBS:
        before = len(t.faults)
        began = time.monotonic()
        with Vendor(good) as vendor:
            t.run(source=manifest(stream={"transformations": [{"type": "AddFields", "fields": [{"path": ["x"], "value": bomb + "{{ record['id'] }}"}]}]}), config=t.config(vendor), within=30)
        if len(t.faults) > before:
            t.faults.append(f"by {bomb} in {time.monotonic() - began:.1f} s")


@row("Y5")
def _(t):
    t.file("outside.json", {"type": "object"})
    for path in ("/etc/passwd", "../../../../../../etc/passwd", "#/../../etc/passwd"):
        refused(t, source=manifest(stream={"schema_loader": {"type": "JsonFileSchemaLoader", "file_path": path, "schema": None}}))
        refused(t, source=manifest(stream={"schema_loader": {"$ref": path, "schema": None, "type": None}}))


@row("Y6")
def _(t):
    for top in ({"definitions": {"a": {"$ref": "#/definitions/b"}, "b": {"$ref": "#/definitions/a"}}},
                {"definitions": {"a": {"$ref": "#/definitions/a"}}}, {"definitions": {"a": {"$ref": "http://127.0.0.1:1/x"}}}):
        refused(t, source=manifest(top=top, stream={"schema_loader": {"$ref": "#/definitions/a", "schema": None, "type": None}}))


@row("Y7a")
def _(t):
    # In the manifest or the config a host is the user's word; here the list of allowed hosts does not have it.
    for host in ("127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f.1", "127.1", "169.254.169.254", "0.0.0.0", "[::ffff:127.0.0.1]", "10.0.0.1"):
        with Vendor(good) as vendor:
            ran = t.run(config=t.config(f"http://{host}:{vendor.port}", {"allowed_hosts": ["vendor.example"], "deadline": "PT20S"}))
            t.check(f"{host} was not asked", not vendor.requests, ran.err[-200:])


@row("Y7b")
def _(t):
    # A host that comes from data, and is private: refused even where all else would allow it.
    with Vendor(good) as inner:
        for host in ("127.0.0.1", "localhost", "169.254.169.254"):
            paginator = {"paginator": {"page_token_option": {"type": "RequestPath", "inject_into": None, "field_name": None}}}
            with Vendor(lambda _: answer({"data": [], "next": f"http://{host}:{inner.port}/items"})) as vendor:
                t.run(source=manifest(retriever=paginator), config=t.config(vendor, {"deadline": "PT20S"}))
        t.check("it was not asked", not inner.requests, len(inner.requests))


@row("Y8")
def _(t):
    for part in ({"request_headers": {"X-A": "a\r\nX-B: b"}}, {"request_headers": {"X-A\r\nX-B": "b"}}, {"request_headers": {"X-A": "{{ config['a'] }}"}},
                 {"http_method": "GET / HTTP/1.1\r\nX:"}):
        refused(t, source=manifest(requester=part), config={"url": "http://127.0.0.1:1", "token": "t", "a": "a\r\nX-B: b"})


@row("Y10")
def _(t):
    for part in ({"concurrency_level": {"type": "ConcurrencyLevel", "default_concurrency": 10**9, "max_concurrency": 10**9}},):
        with Vendor(good) as vendor:
            t.run(source=manifest(top=part), config=t.config(vendor))


@row("Y11")
def _(t):
    for name in ("../../../evil", "a/b", "..", "a\u0000b", "x" * 200):
        source = merged(manifest(stream={"name": name}), {"check": {"stream_names": [name]}})
        with Vendor(good) as vendor:
            t.run(source=source, config=t.config(vendor, {"state_dir": str(t.folder / "deep" / "in" / "state"), "tenant": name.replace("\0", "") if name != ".." else "x"}))
        outside = [p for p in t.folder.rglob("*") if "evil" in p.name and not str(p).startswith(str(t.folder / "deep" / "in" / "state"))]
        t.check("nothing outside of the state directory", not outside, outside)


@row("Y12")
def _(t):
    source = json.dumps(manifest()).replace(json.dumps(SCHEMA["name"]), '{"allOf": [' * 2000 + "{}" + "]}" * 2000)
    refused(t, source=source + "\n")
