"""Rows N and H: what the network and the vendor's answers can do to a run."""
import gzip
import json
import socket
import ssl
import subprocess
import time
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

from driver import manifest, row
from vendor import MIDDLE, TRUTH, Vendor, answer, chunks, cut, drop, from_request, good, page, silent, slowly


@row("N1a")
def _(t):
    t.broken(from_request(MIDDLE, drop))


@row("N1b")
def _(t):
    t.broken(from_request(MIDDLE, drop, once=True))


@row("N2")
def _(t):
    t.broken(from_request(MIDDLE, lambda _, whole: cut(whole)))


@row("N3")
def _(t):
    t.broken(from_request(MIDDLE, silent(8)))


@row("N4")
def _(t):
    t.broken(from_request(MIDDLE, lambda _, whole: slowly(whole[:-60], whole[-60:], 1)), within=150)


@row("N5")
def _(t):
    def broken(request, _):
        packed = gzip.compress(json.dumps(page(request)).encode())
        return answer(packed[:-12], headers=("Content-Encoding: gzip",))
    t.broken(from_request(MIDDLE, broken))


@row("N6", alone=True)
def _(t):
    bomb = gzip.compress(b'{"data":[' + b" " * 500_000_000)
    ran = t.broken(from_request(MIDDLE, lambda *_: answer(bomb, headers=("Content-Encoding: gzip",))))
    t.check("one request of that page", sum(r.target == ran.requests[MIDDLE - 1].target for r in ran.requests) == 1)


@row("N7")
def _(t):
    t.broken(from_request(MIDDLE, lambda _, whole: [whole.replace(b"Content-Length: ", b"Content-Length: 1")]))


@row("N8a")
def _(t):
    def broken(request, _):
        body = json.dumps(page(request)).encode()
        return [b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(body) - 20) + body]
    t.broken(from_request(MIDDLE, broken))


@row("N8b")
def _(t):
    t.broken(from_request(MIDDLE, lambda _, whole: [whole.replace(b"Content-Type", b"Content-Length: 17\r\nContent-Type")]))


@row("N9")
def _(t):
    t.broken(from_request(MIDDLE, lambda request, _: chunks(json.dumps(page(request)).encode(), last=False)))


def certificate(folder, *, name="localhost", days="20", sign=True):
    """A CA in ca.pem, and a certificate for a name with its key."""
    (folder / "extensions").write_text(f"subjectAltName=DNS:{name}\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n")
    for command in (
            "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 30 -subj /CN=ca -addext basicConstraints=critical,CA:TRUE",
            f"req -newkey rsa:2048 -nodes -keyout key.pem -out request -subj /CN={name}",
            "x509 -req -in request -CA ca.pem -CAkey ca.key -CAcreateserial -out cert.pem "
            + ("-not_before 20200101000000Z -not_after 20200201000000Z" if days == "0" else f"-days {days}") + " -extfile extensions"):
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)
    if not sign:
        subprocess.run(["openssl", *f"req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 9 -subj /CN={name}".split()],
                       cwd=folder, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


@row("N10")
def _(t):
    for what, word in (({"name": "other.example"}, "valid for name"), ({"sign": False}, "certificate"), ({"days": "0"}, "xpired")):
        folder = t.folder / word.replace(" ", "")
        folder.mkdir()
        try:
            context = certificate(folder, **what)
        except subprocess.CalledProcessError:
            # openssl before 3.4 cannot date a certificate back.
            continue
        with Vendor(good, context) as vendor:
            ran = t.run(config=t.config(vendor), env={"SSL_CERT_FILE": str(folder / "ca.pem")})
            t.check("one connection", vendor.connections == 1, vendor.connections)
            t.check("the reason is named", word in ran.err, ran.err[-300:])
            t.check("no request", not vendor.requests)


@row("N12")
def _(t):
    context = certificate(t.folder)

    def alert(request, whole):
        def talk(connection):
            connection.sendall(whole[:-30])
            raw = socket.socket(fileno=connection.detach())
            # A fatal alert (internal error) that is not encrypted.
            raw.sendall(b"\x15\x03\x03\x00\x02\x02\x50")
            raw.close()
            return False
        return talk
    t.broken(from_request(MIDDLE, alert), tls=context, env={"SSL_CERT_FILE": str(t.folder / "ca.pem")})


@row("N13")
def _(t):
    ran = t.run(config=t.config("http://no-such-host.invalid"))
    t.check("the host is named", "no-such-host.invalid" in ran.err, ran.err[-300:])


@row("N16a")
def _(t):
    with Vendor(lambda _: answer(b"", "407 Proxy Authentication Required", ("Proxy-Authenticate: Basic",))) as proxy:
        ran = t.run(config=t.config("http://vendor.example"), env={"http_proxy": f"http://user:pass-word-of-proxy@127.0.0.1:{proxy.port}"})
        t.check("asked once", len(proxy.requests) == 1, len(proxy.requests))
    t.check("the proxy is named without its password", "127.0.0.1" in ran.err and "pass-word-of-proxy" not in ran.err, ran.err[-300:])


@row("N16b")
def _(t):
    ran = t.run(config=t.config("http://vendor.example"), env={"http_proxy": "http://user:pass-word-of-proxy@127.0.0.1:1"})
    t.check("the proxy is named without its password", "127.0.0.1:1" in ran.err and "pass-word-of-proxy" not in ran.err, ran.err[-300:])


@row("N17")
def _(t):
    # Each connection is closed after an answer that promised to keep it.
    t.broken(lambda request: [good(request)])


@row("N19a")
def _(t):
    t.broken(from_request(MIDDLE, lambda _, whole: [whole.replace(b"Content-Type", b"X-Long: " + b"a" * 1_000_000 + b"\r\nContent-Type")]))


@row("N19b")
def _(t):
    many = b"".join(b"X-%d: a\r\n" % n for n in range(10_000))
    t.broken(from_request(MIDDLE, lambda _, whole: [whole.replace(b"Content-Type", many + b"Content-Type")]))


@row("N20a")
def _(t):
    def flood(connection):
        while True:
            connection.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 10)
            time.sleep(0.001)
    t.broken(from_request(MIDDLE, flood))


@row("N20b")
def _(t):
    t.broken(lambda request: b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 5 + good(request))


def statuses(t, names, requests, source=None, truth=TRUTH, **given):
    """Each of the statuses from the middle on; that many requests for the page that gets it."""
    for status in names.split():
        ran = t.broken(from_request(MIDDLE, lambda *_: answer({"message": "this vendor's words"}, f"{status} Status")),
                       source=source, truth=truth, **given)
        made = sum(request.target == ran.requests[MIDDLE - 1].target for request in ran.requests)
        t.check(f"{status}: {requests} requests of that page", made == requests, made)


@row("H1")
def _(t):
    statuses(t, "400", 1)


@row("H2a")
def _(t):
    t.broken(from_request(1, answer({}, "401 Unauthorized")))


@row("H2b")
def _(t):
    statuses(t, "401", 1)


@row("H3a")
def _(t):
    statuses(t, "403", 1)


@row("H3b")
def _(t):
    body = answer({"message": "API rate limit exceeded"}, "403 Forbidden", ("X-RateLimit-Remaining: 0", "Retry-After: 1"))
    t.broken(from_request(MIDDLE, body, once=True))


@row("H4")
def _(t):
    statuses(t, "404", 1)


@row("H5")
def _(t):
    statuses(t, "405 406 415", 1, source=manifest(handler=None))


@row("H6")
def _(t):
    statuses(t, "408 425 500 502 503 504", 3)


@row("H7")
def _(t):
    statuses(t, "409", 2, source=manifest(handler=None))
    statuses(t, "422 501 505", 1, source=manifest(handler=None))


@row("H8")
def _(t):
    statuses(t, "410", 1, source=manifest(handler=None))


@row("H9")
def _(t):
    statuses(t, "413 414", 1, source=manifest(handler=None))


@row("H10a")
def _(t):
    later = datetime.now(timezone.utc) + timedelta(seconds=2)
    for header in ("Retry-After: 1", f"Retry-After: {format_datetime(later, usegmt=True)}", "X-Nothing: 1"):
        t.broken(from_request(MIDDLE, answer({}, "429 Too Many Requests", (header,)), once=True))


@row("H10b")
def _(t):
    with Vendor(from_request(MIDDLE, answer({}, "429 Too Many Requests", ("Retry-After: 86400",)))) as vendor:
        ran = t.run(config=t.config(vendor, {"deadline": "PT30S"}))
    t.bring_the_rest(ran)


@row("H11a")
def _(t):
    statuses(t, "418 451", 1, source=manifest(handler=None))


@row("H11b")
def _(t):
    statuses(t, "520 526 599 999", 3)


@row("H12a")
def _(t):
    t.broken(from_request(MIDDLE, b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"))


@row("H12b")
def _(t):
    t.broken(from_request(MIDDLE, lambda _, whole: whole.replace(b"200 OK", b"206 Partial Content")))


@row("H13")
def _(t):
    t.broken(from_request(MIDDLE, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 0\r\n\r\n"))


@row("H14")
def _(t):
    def respond(request):
        if request.path == "/items":
            return answer(b"", "308 Permanent Redirect", (f"Location: /moved?{request.target.partition('?')[2]}",))
        return good(request)
    t.broken(respond)


@row("H15")
def _(t):
    with Vendor(good) as other:
        target = f"http://localhost:{other.port}/items"
        t.broken(from_request(MIDDLE, answer(b"", "302 Found", (f"Location: {target}",))))
        t.check("the other host was not asked", other.connections == 0, other.connections)


@row("H16")
def _(t):
    context = certificate(t.folder)
    with Vendor(good) as plain:
        moved = answer(b"", "302 Found", (f"Location: http://localhost:{plain.port}/items",))
        t.broken(from_request(MIDDLE, moved), tls=context, env={"SSL_CERT_FILE": str(t.folder / "ca.pem")})
        t.check("the plain address was not asked", plain.connections == 0, plain.connections)


@row("H17")
def _(t):
    ran = t.broken(from_request(MIDDLE, answer(b"", "302 Found", ("Location: /items?loop=1",))))
    t.check("ten are followed, in each of two windows", len(ran.requests) <= MIDDLE + 2 * 11, len(ran.requests))


@row("H18")
def _(t):
    t.broken(from_request(MIDDLE, answer(b"<!doctype html><html><body>Please log in</body></html>", headers=("Content-Type: text/html",))))


@row("H19")
def _(t):
    for body in ({"error": "it broke"}, {"errors": [{"message": "it broke"}]}, {"errorMessages": ["it broke"], "errors": {}}):
        ran = t.broken(from_request(MIDDLE, answer(body)))
        t.check("the vendor's text is shown", "it broke" in ran.err, ran.err[-300:])


@row("H20")
def _(t):
    t.broken(from_request(MIDDLE, answer(b"")))


@row("H21")
def _(t):
    ran = t.broken(from_request(MIDDLE, lambda request, _: answer({"data": [], "next": str(1000 + request.number)})))
    # Two windows are left.
    t.check("50 empty pages of a window at most", len(ran.requests) <= MIDDLE + 2 * 52, len(ran.requests))


@row("H22")
def _(t):
    tokens = (lambda n: "same", lambda n: "AB"[n % 2], lambda n: f"new{n}")
    for token in tokens:
        ran = t.broken(from_request(MIDDLE, lambda request, _: answer({"data": [TRUTH[10], TRUTH[11]], "next": token(request.number)})))
        t.check("an end within 60 pages of each of two windows", len(ran.requests) <= MIDDLE + 2 * 60, len(ran.requests))


@row("H23")
def _(t):
    for value in (None, "", False):
        t.broken(lambda request: answer({"next": value, **page(request)}))


@row("H24a")
def _(t):
    with Vendor(good) as other:
        source = manifest(retriever={"paginator": {"page_token_option": {"type": "RequestPath", "inject_into": None, "field_name": None}}})
        t.broken(from_request(MIDDLE, answer({"data": [], "next": f"http://localhost:{other.port}/items"})), source=source, truth={})
        t.check("the other host was not asked", other.connections == 0, other.connections)


@row("H24b")
def _(t):
    source = manifest(retriever={"paginator": {"page_token_option": {"type": "RequestPath", "inject_into": None, "field_name": None}}})
    with Vendor(lambda request: answer({"data": [TRUTH[0]], **({} if "sig" in request.query else {"next": "/items?sig=signature-in-a-link"})})) as vendor:
        ran = t.run(source=source, config=t.config(vendor), args=("-v", "--events", t.folder / "events"))
    t.check("no signature in the log", "signature-in-a-link" not in ran.err)


@row("H25", alone=True)
def _(t):
    def respond(request):
        if request.number < MIDDLE:
            return good(request)

        def rows():
            yield b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{\"data\":["
            for n in range(10_000):
                yield b",".join(b'{"id":%d,"updated_at":"2024-01-12T00:00:00Z"}' % (n * 1000 + m) for m in range(1000)) + b","
        return rows()
    t.broken(respond)


@row("H26")
def _(t):
    # Pages of one row, though five are asked for.
    def respond(request):
        at = int(request.query.get("token", "0"))
        rows = [r for r in TRUTH.values() if request.query["since"] <= r["updated_at"] <= request.query["until"]]
        return answer({"data": rows[at:at + 1], **({"next": str(at + 1)} if at + 1 < len(rows) else {})})
    t.broken(respond)


@row("H27a")
def _(t):
    t.broken(lambda request: answer(b"\xef\xbb\xbf" + json.dumps(page(request)).encode()))


@row("H27b")
def _(t):
    t.broken(from_request(MIDDLE, lambda request, _: answer(json.dumps(page(request)).encode("utf-16"))))


@row("H28")
def _(t):
    ran = t.broken(lambda request: answer(page(request), headers=("Deprecation: @1700000000", "Sunset: Wed, 01 Jan 2031 00:00:00 GMT")))
    t.check("it is reported", "unset" in ran.err or "eprecat" in ran.err, ran.err[-400:])
