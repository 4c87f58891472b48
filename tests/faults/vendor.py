"""A vendor on a raw socket, which breaks its answers where a row of the table wants it.

Comes in: a function from a request to the bytes of an answer. Goes out: these bytes, as they are. `rows_*.py` write the functions.
"""
import inspect
import json
import socket
import struct
import threading
import time
import urllib.parse

WINDOWS, PAGES, ROWS = 3, 2, 5
# Where the good vendor's paging stands when a fault begins: the first window was read, the second one in part.
MIDDLE = 4


class Request:
    """A request as it came; `number` counts from 1."""

    def __init__(self, number, head, body):
        self.number, self.head, self.body = number, head, body
        line = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        self.method, self.target = line[0], line[1]
        self.path, _, query = self.target.partition("?")
        self.query = dict(urllib.parse.parse_qsl(query))
        self.headers = {name.strip().lower(): value.strip() for name, _, value in
                        (part.partition(":") for part in head.decode("latin-1").split("\r\n")[1:])}


def answer(body, status="200 OK", headers=(), length=True):
    """The bytes of an answer; a body that is not bytes is written as JSON."""
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", *headers]
    if length:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def row(number):
    """A row of the vendor: ten days lie between two windows."""
    window, inside = divmod(number, PAGES * ROWS)
    return {"id": number, "name": f"row {number}", "updated_at": f"2024-01-{1 + 10 * window + inside // 2:02}T0{inside % 2}:00:00Z"}


TRUTH = {number: row(number) for number in range(WINDOWS * PAGES * ROWS)}


def page(request):
    """What the good vendor has for a request: the rows of its window, five a page, and the token of the next page."""
    since, until = request.query.get("since", "2024-01-01T00:00:00Z"), request.query.get("until", "2024-01-31T00:00:00Z")
    rows = [r for r in TRUTH.values() if since <= r["updated_at"] <= until]
    token = request.query.get("token", "0")
    at = int(token) if token.isdigit() else 0
    more = {"next": str(at + ROWS)} if at + ROWS < len(rows) else {}
    return {"data": rows[at:at + ROWS], **more}


def good(request):
    """The good vendor's answer."""
    return answer(page(request))


class Vendor:
    """Serves until it is closed. `respond(request)` gives bytes, an iterator of them, or a function that takes the connection;
    a last element of `None` resets the connection."""

    def __init__(self, respond, tls=None, listen=("127.0.0.1", 0)):
        self.respond, self.tls = respond, tls
        self.requests, self.connections, self.lock = [], 0, threading.Lock()
        family = socket.AF_INET6 if ":" in listen[0] else socket.AF_INET
        self.socket = socket.create_server(listen, family=family, backlog=64)
        self.port = self.socket.getsockname()[1]
        self.url = f"{'https://localhost' if tls else 'http://127.0.0.1'}:{self.port}"
        self.closed = False
        threading.Thread(target=self.serve, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closed = True
        self.socket.close()

    def serve(self):
        while not self.closed:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self.talk, args=(connection,), daemon=True).start()

    def talk(self, connection):
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True)
            buffer = b""
            while True:
                while b"\r\n\r\n" not in buffer:
                    part = connection.recv(65536)
                    if not part:
                        return
                    buffer += part
                head, _, buffer = buffer.partition(b"\r\n\r\n")
                lengths = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
                while lengths and len(buffer) < lengths[0]:
                    buffer += connection.recv(65536)
                body, buffer = (buffer[:lengths[0]], buffer[lengths[0]:]) if lengths else (b"", buffer)
                with self.lock:
                    request = Request(len(self.requests) + 1, head, body)
                    self.requests.append(request)
                if not self.send(connection, self.respond(request)):
                    return
        except (OSError, IndexError):
            return
        finally:
            try:
                connection.close()
            except OSError:
                pass

    @staticmethod
    def send(connection, what):
        """Sends; is the connection still open?"""
        if callable(what):
            return what(connection)
        for part in [what] if isinstance(what, bytes) else what:
            if part is None:
                reset(connection)
                return False
            connection.sendall(part)
            # An answer that ends with its connection ends here.
        head = what.split(b"\r\n\r\n")[0].lower() if isinstance(what, bytes) else b""
        return isinstance(what, bytes) and b"\r\n\r\n" in what and (b"content-length" in head or b"chunked" in head) \
            and b"connection: close" not in head


def reset(connection):
    """Ends a connection with RST."""
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        pass
    connection.close()


def drop(connection):
    """Resets the connection instead of an answer."""
    reset(connection)
    return False


def cut(whole, share=0.9):
    """The first part of an answer, then RST."""
    return [whole[:int(len(whole) * share)], None]


def chunks(body, last=True, headers=()):
    """An answer in chunks, with or without the last one."""
    head = "\r\n".join(["HTTP/1.1 200 OK", "Content-Type: application/json", "Transfer-Encoding: chunked", *headers]) + "\r\n\r\n"
    middle = len(body) // 2
    parts = [head.encode()] + [b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:middle], body[middle:])]
    return parts + ([b"0\r\n\r\n"] if last else [])


def slowly(head, body, seconds):
    """A head at once, then a byte each so many seconds."""
    def talk(connection):
        connection.sendall(head)
        for byte in body:
            time.sleep(seconds)
            connection.sendall(bytes([byte]))
        return False
    return talk


def silent(seconds):
    """No answer for so long."""
    def talk(_):
        time.sleep(seconds)
        return False
    return talk


def takes_two(function):
    """Does it take a request and an answer?"""
    code = function.__code__
    return code.co_argcount == 2 or bool(code.co_flags & inspect.CO_VARARGS)


def from_request(number, broken, once=False):
    """The good vendor, but from that request on (or at it alone) the bytes `broken`, or what it makes of request and good answer."""
    def respond(request):
        whole = good(request)
        hit = request.number == number if once else request.number >= number
        if not hit:
            return whole
        # A function of one parameter takes the connection; the others may also be of any number.
        return broken(request, whole) if callable(broken) and takes_two(broken) else broken
    return respond
