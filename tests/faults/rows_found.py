"""Rows Z: what was found by trying, beside the list."""
import gzip
import json
import os
import stat
import subprocess
import time

from driver import BINARY, TRUTH, manifest, row
from rows_inputs import refused
from vendor import MIDDLE, Vendor, answer, from_request, good, page


def kept(t, **more):
    return {"state_dir": str(t.folder / "state"), "tenant": "acme", **more}


@row("Z1")
def _(t):
    # Beyond what a time can be once a tolerance is added.
    for value in ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "-9999-01-01T00:00:00Z", "99999-01-01T00:00:00Z"):
        def broken(request, _, value=value):
            return answer(json.dumps(page(request)).replace('"data": [', '"data": [{"id": 900, "updated_at": "%s"},' % value, 1).encode())
        with Vendor(from_request(MIDDLE, broken, once=True)) as vendor:
            t.run(config=t.config(vendor))
            t.run(config=t.config(vendor, kept(t)))


@row("Z2")
def _(t):
    for value in ({}, {"x": 1}, [{}, {}], {"type": "array", "items": {}}, [], None, 7, "array", ["array"], [[[]]], {"type": {"type": {}}}):
        loader = {"type": "DynamicSchemaLoader", "retriever": manifest(windows=False)["streams"][0]["retriever"],
                  "schema_type_identifier": {"type": "SchemaTypeIdentifier", "key_pointer": ["name"], "type_pointer": ["kind"], "schema_pointer": ["fields"]}, "schema": None}

        def respond(request, value=value):
            return answer({"data": [{"id": 1, "fields": [{"name": "a", "kind": value}, {"name": "b", "kind": "string"}]}]})
        with Vendor(respond) as vendor:
            t.run(source=manifest(stream={"schema_loader": loader}, windows=False), config=t.config(vendor))


@row("Z3")
def _(t):
    for value in ("text", [1], 7, True, None, {"properties": 7}, {"properties": {"a": 7}}, {"required": 7}, {"properties": {"a": {"order": "x", "type": 7}}}):
        source = manifest()
        source["spec"] = {"type": "Spec", "connection_specification": value}
        for verb, args in (("spec", ()), ("check", ()), ("read", ()), ("validate", None)):
            if args is None:
                continue
            with Vendor(good) as vendor:
                ran = t.run(verb, source=source, config=None if verb == "spec" else t.config(vendor), judged=False)
            t.ran.append(ran)
            t.check(f"{verb} with {value}: 10 or 0", ran.code in (0, 10), f"{ran.code} {ran.err[-300:]}")
            t.check("no panic", "panicked" not in ran.err, ran.err[-300:])


@row("Z4")
def _(t):
    numbers = ("1.5e-9223372036854775808", "1e9223372036854775807", "-0e-99999999999999999999", "1.0e-400", "5.0e0", "0.00000000000000000000000000000000001e35")
    schema = {"schema_loader": {"schema": {"properties": {"n": {"type": ["null", "number"]}, "i": {"type": ["null", "integer"]}}}}}
    for number in numbers:
        body = b'{"data": [{"id": 1, "n": %s, "i": %s, "updated_at": "2024-01-02T00:00:00Z"}]}' % (number.encode(), number.encode())
        with Vendor(lambda _: answer(body)) as vendor:
            ran = t.run(source=manifest(stream=schema, windows=False), config=t.config(vendor))
        t.check(f"{number} is there", ran.records and ran.records[0].get("n") is not None, ran.out[-200:])


@row("Z5")
def _(t):
    events = t.folder / "events.jsonl"
    with Vendor(good) as vendor:
        t.run(config=t.config(vendor), args=("--events", events))
    t.check("0600", stat.S_IMODE(events.stat().st_mode) == 0o600, oct(events.stat().st_mode))
    with Vendor(good) as vendor:
        t.run(config=t.config(vendor), args=("--events", "/dev/stderr"))


@row("Z6", alone=True)
def _(t):
    body = json.dumps({"errors": [{"message": "it broke", "code": n} for n in range(700_000)]}).encode()
    ran = t.broken(from_request(MIDDLE, lambda *_: answer(body, "500 Broken")))
    t.check("the vendor's text is shown", "it broke" in ran.err, ran.err[-200:])


@row("Z7a", alone=True)
def _(t):
    bomb = gzip.compress(b"<a>" + b"<a/>" * 8_000_000 + b"</a>")
    source = manifest(retriever={"decoder": {"type": "XmlDecoder"}, "record_selector": {"extractor": {"field_path": ["a", "b"]}}})
    with Vendor(lambda _: answer(bomb, headers=("Content-Encoding: gzip",))) as vendor:
        t.run(source=source, config=t.config(vendor))


@row("Z7b", alone=True)
def _(t):
    bomb = gzip.compress(b"id,updated_at" + b",x" * 100_000 + b"\n" + b",\n" * 8_000_000)
    source = manifest(windows=False, retriever={"decoder": {"type": "CsvDecoder"}, "paginator": None, "record_selector": {"extractor": {"field_path": []}}})
    with Vendor(lambda _: answer(bomb, headers=("Content-Encoding: gzip",))) as vendor:
        t.run(source=source, config=t.config(vendor), within=60)


@row("Z7c", alone=True)
def _(t):
    bomb = gzip.compress(b'{"data":[' + b"{}," * 10_000_000 + b"{}]}")
    with Vendor(lambda _: answer(bomb, headers=("Content-Encoding: gzip",))) as vendor:
        t.run(source=manifest(windows=False), config=t.config(vendor), within=100)


@row("Z8")
def _(t):
    os.mkfifo(t.folder / "fifo")
    for place in ("/dev/zero", str(t.folder / "fifo"), "/proc/self/mem", str(t.folder), "/dev/stdin"):
        refused(t, config={"url": "http://127.0.0.1:1", "token": f"file:{place}"}, within=20)


@row("Z9", alone=True)
def _(t):
    for start, step in (("1994-01-01T00:00:00Z", "PT1S"), ("0001-01-01T00:00:00Z", "PT1S"), ("0001-01-01T00:00:00Z", "PT0.001S")):
        source = manifest(stream={"incremental_sync": {"start_datetime": start, "step": step}})
        with Vendor(good) as vendor:
            began = time.monotonic()
            process = t.start(t.command(source=source, config=t.config(vendor)))
            while not vendor.requests and time.monotonic() < began + 15 and process.poll() is None:
                time.sleep(0.02)
            t.check(f"{start} {step}: a request within 5 s", vendor.requests and time.monotonic() - began < 5 or process.poll() == 10, time.monotonic() - began)
            time.sleep(1)
            if process.poll() is None:
                process.terminate()
            ran = t.finish(process, began)
        t.ran.append(ran)
        t.check("at most 200 MB", ran.memory < 200, ran.memory)
        t.check("stopped, or refused", ran.code in (143, 10), ran.code)


NASTY = "\x1b[31mred\x1b]0;title\x07 \x00 \x7f \x9b31m \u009d end"


@row("Z11")
def _(t):
    for protocol in ([], ["--log-format", "json"], ["--protocol", "airbyte"]):
        body = answer({"message": NASTY}, "400 Bad", ("Content-Type: application/json",))
        with Vendor(from_request(1, body)) as vendor:
            catalog = {"streams": [{"stream": {"name": "items", "json_schema": {}, "supported_sync_modes": ["full_refresh"]}, "sync_mode": "full_refresh", "destination_sync_mode": "append"}]}
            source = str(t.file("m.yaml", manifest()))
            ran = t.run(source=source, config=t.config(vendor, kept(t)), args=["-vv", "--events", t.folder / "e.jsonl", *protocol], judged=False, catalog=catalog if "airbyte" in protocol else None)
            t.ran.append(ran)
        config = t.folder / f"config{t.counter}.json"
        texts = {"stderr": ran.err, "stdout": ran.out.decode(), "events": (t.folder / "e.jsonl").read_text()}
        for form in ("text", "json", "openmetrics", "html"):
            done = subprocess.run([BINARY, "status", "--config", str(config), "--source", source, "--format", form], capture_output=True, env={"PATH": os.environ["PATH"]})
            texts[f"status {form}"] = (done.stdout + done.stderr).decode()
        t.check("the text is shown", "end" in texts["stderr"] + texts["stdout"])
        for name, text in texts.items():
            raw = sorted({hex(ord(c)) for c in text if (ord(c) < 32 and c not in "\n\t") or 0x7F <= ord(c) < 0xA0})
            t.check(f"{protocol} {name} has no control character", not raw, raw)


@row("Z12")
def _(t):
    target = t.file("target.sh", "#!/bin/sh\nenv > \"$(dirname \"$0\")/environment\"\ncat | sed -n 's/^{\"type\":\"STATE\",\"value\"://p'\n")
    target.chmod(0o755)
    with Vendor(good) as vendor:
        config = {**t.config(vendor, kept(t)), "token": "env:ACME_TOKEN"}
        t.run("sync", config=config, args=("--target", str(target)), env={"ACME_TOKEN": "canary-secret-1234", "PGPASSWORD": "kept"}, judged=False)
    text = (t.folder / "environment").read_text()
    t.check("the secret is not there", "canary-secret" not in text)
    t.check("its own is", "PGPASSWORD=kept" in text and "PATH=" in text)
    t.ran.append(t.run("sources", source=False, judged=False))


@row("Z13")
def _(t):
    source = manifest(stream={"incremental_sync": {"start_datetime": "0001-01-01T00:00:00Z", "step": "P9000Y"}})
    with Vendor(lambda _: answer({"data": [{"id": 1, "updated_at": "0001-01-01T00:00:00Z"}]})) as vendor:
        ran = t.run(source=source, config=t.config(vendor))
        t.check("four digits", '"1-01' not in json.dumps(ran.state) and '"0001-01' in json.dumps(ran.state), ran.state)
        if ran.state:
            t.run(source=source, config=t.config(vendor), state=ran.state)


@row("Z14")
def _(t):
    source = str(t.file("m.yaml", manifest()))
    with Vendor(good) as vendor:
        t.run(source=source, config=t.config(vendor, kept(t)), judged=False)
    precious = t.file("precious", "precious")
    files = [p for p in (t.folder / "state").rglob("*") if p.is_file()]
    t.check("there are files", files)
    for path in files:
        text = path.read_bytes()
        path.unlink()
        path.symlink_to(precious)
        with Vendor(good) as vendor:
            ran = t.run(source=source, config=t.config(vendor, kept(t)), judged=False)
        t.ran.append(ran)
        t.check(f"{path.name}: not written through", precious.read_text() == "precious", precious.read_text()[:50])
        t.check(f"{path.name}: 0 or 60 or 10", ran.code in (0, 10, 60), f"{ran.code} {ran.err[-200:]}")
        precious.write_text("precious")
        if path.is_symlink():
            path.unlink()
            path.write_bytes(text)
    for path in files:
        if path.exists():
            path.unlink()
        os.mkfifo(path)
        with Vendor(good) as vendor:
            ran = t.run(source=source, config=t.config(vendor, kept(t)), judged=False, within=15)
        t.check(f"{path.name} a FIFO: ends", ran.code in (0, 10, 60), f"{ran.code} {ran.err[-200:]}")
        path.unlink()


@row("Z15")
def _(t):
    source = str(t.file("m.yaml", manifest()))
    with Vendor(good) as vendor:
        config = t.config(vendor, kept(t))
        t.run(source=source, config=config, judged=False)
        old = time.time() - 3 * 86400
        left = []
        for folder in [p for p in (t.folder / "state").rglob("*") if p.is_dir()]:
            left.append(folder / ".tmpAb12Cd")
            left[-1].write_text("half a file")
            os.utime(left[-1], (old, old))
        t.run(source=source, config=config, judged=False)
        ran = t.run(source=source, config=config)
    rest = [str(p.relative_to(t.folder)) for p in left if p.exists()]
    t.check("swept", not rest, rest)


@row("Z16")
def _(t):
    for length in (300, 5000):
        name = "s" * length
        source = manifest(stream={"name": name}, top={"check": {"type": "CheckStream", "stream_names": [name]}})
        with Vendor(good) as vendor:
            t.run(source=source, config=t.config(vendor, kept(t)))


@row("Z17")
def _(t):
    for url in ("http://127.0.0.1:99999", "http://:80", "ftp://host.example", "http://", "not a url", "http://ho st/"):
        t.run(config=t.config(url))


@row("Z20")
def _(t):
    for value in (json.dumps(b"x".hex() * 2), '"\\ud800"', '"2024-01-12"', "12", "{}", "[1]", "true"):
        ran = t.broken(from_request(MIDDLE, lambda request, _: answer(json.dumps(page(request)).replace('"data": [', '"data": [{"id": 900, "updated_at": %s},' % value, 1).encode()), once=True), args=())
        t.check("all other rows are there", set(TRUTH) <= ran.ids or ran.code != 0)


@row("Z21")
def _(t):
    # Timestamps, durations and numbers at the end of their ranges, in every place of a vendor's answer that is read as one.
    for header in ("Retry-After: 18446744073709551616", "Retry-After: -1", "Retry-After: 1e400", "Retry-After: Fri, 31 Dec 9999 23:59:59 GMT",
                   "X-RateLimit-Reset: 99999999999999999999\r\nX-RateLimit-Remaining: 0", "X-RateLimit-Reset: -99999999999\r\nX-RateLimit-Remaining: -5",
                   "RateLimit: \"x\";r=99999999999999999999;t=99999999999999999999", "RateLimit-Policy: \"x\";q=0;w=0\r\nRateLimit: \"x\";r=0;t=0",
                   "Date: Fri, 31 Dec 9999 23:59:59 GMT\r\nRetry-After: Mon, 01 Jan 0001 00:00:00 GMT", "Retry-After: \x80\xff"):
        for status in ("429 Too Many", "200 OK", "503 Down"):
            with Vendor(from_request(MIDDLE, lambda request, whole: answer(page(request), status, (header,)), once=True)) as vendor:
                ran = t.run(config=t.config(vendor, {"deadline": "PT3S"}), judged=False)
            t.ran.append(ran)
            t.check(f"{header}, {status}: 0 or 75, no panic", ran.code in (0, 75) and "panicked" not in ran.err, f"{ran.code} {ran.err[-300:]}")


@row("Z22")
def _(t):
    for part in ({"step": "P99999999999Y"}, {"step": "PT0S"}, {"step": "-P1D"}, {"lookback_window": "P99999999999Y"}, {"lookback_window": "P9999Y"},
                 {"cursor_granularity": "P99999Y"}, {"end_datetime": "9999-12-31T23:59:59Z", "step": "P5000Y"},
                 {"start_datetime": "9999-12-31T23:59:59Z"}, {"start_datetime": "10000-01-01T00:00:00Z"}, {"step": "P"}, {"step": "PT1e400S"},
                 {"start_datetime": {"type": "MinMaxDatetime", "datetime": "0000-01-01T00:00:00Z"}}, {"step": "P4294967296M"},
                 {"start_datetime": "{{ now_utc() - duration('P99999Y') }}"}, {"start_datetime": "{{ day_delta(-99999999999) }}"},
                 {"start_datetime": "{{ timestamp('9999-12-31') * 1000000 }}"}, {"start_datetime": "{{ format_datetime(99999999999999999, '%Y') }}"}):
        with Vendor(good) as vendor:
            ran = t.run(source=manifest(stream={"incremental_sync": part}), config=t.config(vendor, {"deadline": "PT5S"}), judged=False, within=20)
        t.ran.append(ran)
        t.check(f"{part}: told, or read", ran.code in (0, 10, 40, 75) and "panicked" not in ran.err, f"{ran.code} {ran.err[-300:]}")


@row("Z23")
def _(t):
    # A state of another width than the plan: places where numbers are read out of it.
    for bookmark in ({"updated_at": "9999-12-31T23:59:59Z"}, {"updated_at": "-0001-01-01T00:00:00Z"}, {"slices": [{"start": "9999-12-31T23:59:59Z", "end": "0001-01-01T00:00:00Z"}], "state_type": "date-range"},
                     {"slices": [{}], "state_type": "date-range"}, {"states": 7}, {"lookback_window": 10**30}, {"lookback_window": -1, "use_global_cursor": True, "state": {"updated_at": "2024-01-01T00:00:00Z"}},
                     {"slices": [{"start": 1, "end": 2, "most_recent_cursor_value": {}}], "state_type": "date-range"}, {"parent_state": 7}, {"__ab_full_refresh_sync_complete": "x"}):
        with Vendor(good) as vendor:
            ran = t.run(state={"bookmarks": {"items": bookmark}}, config=t.config(vendor), judged=False, within=20)
        t.ran.append(ran)
        t.check(f"{bookmark}: told, or read", ran.code in (0, 10, 40) and "panicked" not in ran.err, f"{ran.code} {ran.err[-300:]}")
