"""Rows P: what stands in a page."""
import json

from driver import manifest, row
from vendor import MIDDLE, TRUTH, Vendor, answer, from_request, page


def with_row(t, text, times=1, **given):
    """The good vendor, whose fourth answer holds one more row, as written, beside its own."""
    def broken(request, _):
        body = json.dumps(page(request)).encode()
        extra = b", ".join([text if isinstance(text, bytes) else text.encode()] * times)
        return answer(body.replace(b'"data": [', b'"data": [' + extra + b", ", 1))
    return t.broken(from_request(MIDDLE, broken, once=True), **given)


def kept(t):
    """A config object with a state directory."""
    return {"state_dir": str(t.folder / "state"), "tenant": "acme"}


@row("P1")
def _(t):
    with_row(t, b'{"id": 900, "name": "\xff\xfe", "updated_at": "2024-01-12T00:00:00Z"}')


@row("P2a")
def _(t):
    for number in ("NaN", "Infinity", "-Infinity"):
        t.broken(from_request(MIDDLE, lambda request, _: answer(json.dumps(page(request)).replace('"row 10"', number).replace('"row 15"', number).encode())))


@row("P2b")
def _(t):
    ran = with_row(t, '{"id": 900, "name": 1e400, "updated_at": "2024-01-12T00:00:00Z"}')
    t.check("the row is there", 900 in ran.ids)


@row("P3")
def _(t):
    ran = with_row(t, '{"id": 900, "big": 1180591620717411303424, "one": 1.0, "long": 9223372036854775808, "updated_at": "2024-01-12T00:00:00Z"}')
    t.check("exact digits", b"1180591620717411303424" in ran.out and b"9223372036854775808" in ran.out)


@row("P4")
def _(t):
    for levels in (200, 10_000, 1_000_000):
        nested = '{"id": 900, "a": ' + "[" * levels + "]" * levels + ', "updated_at": "2024-01-12T00:00:00Z"}'
        t.broken(from_request(MIDDLE, lambda request, _: answer(json.dumps(page(request)).replace('"data": [', '"data": [' + nested + ",", 1).encode())))


@row("P5")
def _(t):
    ran = with_row(t, '{"id": 900, "name": "a", "name": "b", "updated_at": "2024-01-12T00:00:00Z"}')
    t.check("the row is there", 900 in ran.ids)


@row("P6a", alone=True)
def _(t):
    with Vendor(lambda request: answer({"data": [{**TRUTH[0], "name": "x" * 17_000_000}, TRUTH[1]]})) as vendor:
        ran = t.run(source=manifest(windows=False), config=t.config(vendor, kept(t)))
    t.check("the other row is there", 1 in ran.ids, ran.ids)
    t.check("the large one is not", len(ran.out) < 1_000_000, len(ran.out))
    t.check("record_too_large", "record_too_large" in ran.err, ran.err[-400:])


@row("P6b", alone=True)
def _(t):
    with Vendor(lambda request: answer({"data": [{**TRUTH[0], "name": "x" * 17_000_000}, TRUTH[1]]})) as vendor:
        ran = t.run(source=manifest(windows=False), config=t.config(vendor))
    t.check("both rows are there", ran.ids == {0, 1}, ran.ids)


@row("P7")
def _(t):
    ran = with_row(t, r'{"id": 900, "name": "a\u0000b\ud800c\u2028d\u001b[31m", "updated_at": "2024-01-12T00:00:00Z"}')
    t.check("the row is there, on one line", 900 in ran.ids and ran.out.count(b"\n") == len(ran.messages))
    t.check("no raw escape", b"\x1b" not in ran.out and "\x1b" not in ran.err)


@row("P8")
def _(t):
    ran = with_row(t, '{"id": 900, "": 1, "a.b": 2, "__proto__": 3, "%s": 4, "\u202eabc": 5, "Name": "x", "updated_at": "2024-01-12T00:00:00Z"}' % ("k" * 10_000))
    t.check("the row is there", 900 in ran.ids)


@row("P9", alone=True)
def _(t):
    many = ", ".join(f'"key{n}": {n}' for n in range(100_000))
    ran = with_row(t, '{"id": 900, %s, "updated_at": "2024-01-12T00:00:00Z"}' % many)
    t.check("the row is there", 900 in ran.ids)
    t.check("the schema is bounded", max(len(line) for line in ran.out.split(b"\n") if b'"SCHEMA"' in line) < 1_000_000)


@row("P10")
def _(t):
    for text in ('"a text"', "null", "[1]", "7"):
        t.broken(from_request(MIDDLE, lambda request, _: answer(json.dumps(page(request)).replace('"data": [', f'"data": [{text},', 1).encode())))


@row("P11a")
def _(t):
    for text in ('{"id": null, "name": "a", "updated_at": "2024-01-12T00:00:00Z"}', '{"name": "a", "updated_at": "2024-01-12T00:00:00Z"}'):
        ran = t.broken(from_request(MIDDLE, lambda request, _: answer(json.dumps(page(request)).replace('"data": [', f'"data": [{text},', 1).encode())))
        t.check("no null key", all(r.get("id") is not None for r in ran.records))


@row("P11b")
def _(t):
    for value in ('{"a": 1}', "[1]", "true"):
        with Vendor(lambda request: answer(b'{"data": [{"id": %s, "name": "a"}, {"id": 2}]}' % value.encode())) as vendor:
            ran = t.run(source=manifest(windows=False, stream={"schema_loader": {"schema": {"properties": {"id": {"type": ["integer", "object", "array", "boolean"]}}}}}),
                        config=t.config(vendor))
        t.check("no null key", all(r.get("id") is not None for r in ran.records), ran.records)


@row("P12")
def _(t):
    for value in ("0000-00-00", "2024-01-12T24:00:00Z", "2016-12-31T23:59:60Z", "10000-01-01T00:00:00Z", "99999999999999999999", "-1"):
        ran = t.broken(from_request(MIDDLE, lambda request, _: answer(json.dumps(page(request)).replace('"data": [', '"data": [{"id": 900, "updated_at": "%s"},' % value, 1).encode())))
        bookmark = json.dumps(ran.state)
        t.check("the bookmark is no such time", "10000-" not in bookmark and "0000-00" not in bookmark, bookmark)


@row("P13")
def _(t):
    for change in (lambda b: b[:-1], lambda b: b + b"}", lambda b: b + b[:20]):
        t.broken(from_request(MIDDLE, lambda request, _: answer(change(json.dumps(page(request)).encode()))))


@row("P14")
def _(t):
    t.broken(from_request(MIDDLE, lambda request, _: answer(b"\n".join(json.dumps(r).encode() for r in page(request)["data"]))))
