"""What the stateful vendors share: a server on loopback, its calls, faults by rule, its limit, its clock, its specification.

A vendor is a class on `Vendor`, a file each, made from the vendor's documentation alone: none shares code with the tap. It keeps
whole objects, answers as documented, refuses what it does not know, and can be edited while it is read. tests/e2e/vendors.py
drives them all. A vendor's file that is to run by hand too begins with `sys.path[0] = tests/` when it is `__main__`, and ends with
`main(Name)`. For GraphQL there is graphql.py beside this.

Where the vendor publishes its specification under a licence that allows it, a part of it is in tests/specs. Such a vendor is
`specified`: each call and each good answer is checked against it, once `check_answers` is set.
"""
import argparse
import collections
import contextlib
import dataclasses
import datetime
import gzip
import hashlib
import inspect
import json
import random
import re
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Callable, Optional
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

ODD = ["Überprüfung der Verträge", "報告書を書く", "запуск 🚀", 'say "hello"\tto\nthe team', "naïve café — œuvre", "🧑‍🚀🧑🏽‍🚒",
       "back\\slash", "'; DROP TABLE tasks; --", "a" * 300]
ADJECTIVES = "quarterly open shared final urgent small second public internal late".split()
NOUNS = "budget launch review audit survey newsletter invoice backlog kitchen roadmap".split()


@dataclasses.dataclass
class Stream:
    """How a stream is judged.

    A stream without `cursor` is read whole each time. One with a cursor must bring what changed since its bookmark and what
    stands at it, and nothing else: nothing that is older than the bookmark by more than `overlap` seconds, the bookmark itself
    only if `inclusive`. `per` gives the partition of a record, where each has a bookmark of its own. Where the vendor has no
    way to be that exact, `loose` lets anything come that is there.
    """
    key: list
    cursor: Optional[str] = None
    inclusive: bool = True
    per: Optional[Callable] = None
    overlap: float = 0
    loose: bool = False


class Reply:
    """An answer with headers, or with a status other than 200."""

    def __init__(self, body=None, headers=None, status=200):
        self.body, self.headers, self.status = body, dict(headers or {}), status


class Refused(Exception):
    """An answer that is an error, in the vendor's form."""

    def __init__(self, status, body=None, headers=None):
        super().__init__(status)
        self.status, self.body, self.headers = status, body, dict(headers or {})


class Call:
    """One request."""

    def __init__(self, method, target, headers, body, url):
        parts = urlsplit(target)
        self.method, self.path, self.headers, self.body, self.url = method, unquote(parts.path), headers, body, url
        self.raw_query, self.params, self.route = parts.query, {}, None
        self.many = parse_qs(parts.query, keep_blank_values=True)  # each name's values
        self.query = {name: values[-1] for name, values in self.many.items()}
        kind = headers.get("Content-Type") or ""
        self.form = {k: v[-1] for k, v in parse_qs(body.decode()).items()} if "form-urlencoded" in kind else {}
        try:
            self.json = json.loads(body) if body and not self.form else None
        except ValueError:
            self.json = None

    def only(self, *names, status=400, body=None):
        """Refuses query parameters that are not documented."""
        if unknown := sorted(set(self.query) - set(names)):
            raise Refused(status, body if body is not None else {"message": f"unknown parameters: {', '.join(unknown)}"})

    def number(self, name, default, least=0, most=None):
        """A whole number from the query; what is none, or out of bounds, is refused."""
        text = self.query.get(name)
        if text is None:
            return default
        if not re.fullmatch(r"\d+", text) or int(text) < least or most is not None and int(text) > most:
            raise Refused(400, {"message": f"{name} is not valid: {text}"})
        return int(text)


def route(method, template):
    """Marks the method that answers this path; `{name}` stands for one segment, `{name:path}` for the rest."""
    def mark(function):
        function.routes = [*getattr(function, "routes", ()), (method, template)]
        return function
    return mark


def stamp(moment, ms=True):
    """A time as ISO text in UTC, `2024-01-31T10:15:30.123Z`."""
    moment = moment.astimezone(datetime.timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%S}" + (f".{moment.microsecond // 1000:03}Z" if ms else "Z")


def moment_of(value):
    """A cursor's value as seconds since 1970, whatever its form: ISO text, a date, seconds or milliseconds; None if it is none."""
    if isinstance(value, (int, float)) or isinstance(value, str) and re.fullmatch(r"\d{9,17}", value):
        number = float(value)
        return number / 1000 if number > 1e11 else number
    try:
        moment = datetime.datetime.fromisoformat(re.sub(r"([+-]\d\d)(\d\d)$", r"\1:\2", str(value)).replace("Z", "+00:00"))
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.timezone.utc)).timestamp()


class Vendor:
    """A vendor. `with Github() as vendor:` serves it in threads of this process until the block ends.

    Switches, at any time: `latency` (seconds that an answer takes at least), `limit` = (calls, seconds), counted strictly, refused ones too, or None; `fail`, a
    list of rules of which the first that fits a call and is not spent decides: {"match": regex for `path?query body`, or a
    function of the call, "skip": calls let through first, "times": calls it is for (else all), "do": function to call,
    "status", "body", "headers"}; without `status` the call is answered as usual. `edits_while_paging` = n: `edit` is called
    before each of the next n pages that are not the first; `before_page`: a function, called before each such page.
    """
    source, streams, parity_skips, conformance_skips = "", {}, {}, {}
    specified, base = False, ""  # is there a file in tests/specs, and what stands before its paths
    mistaken = r"(?!)"  # what of a complaint tells that the specification is wrong
    vanishes = ""  # why a forbidden parent is skipped without an event
    overlap_asks_more = ""  # what the manifest's `safety.overlap` asks for beyond the reference
    # What a vendor may have.
    expire_page_token = archive = expected_calls = None

    def __init__(self, seed=1, size=200, latency=0, port=0):
        self.seed, self.size, self.latency = seed, size, latency
        self.limit, self.fail, self.edits_while_paging, self.before_page = None, [], 0, None
        self.check_answers, self.compared = False, 0
        self.lock, self.random = threading.RLock(), random.Random(seed)
        self.calls, self.unknown, self.unfit, self.recent = [], [], [], []
        self.tokens, self.token_expires, self.pages = {}, False, collections.Counter()
        self.clock = lambda: datetime.datetime.now(datetime.timezone.utc)
        self.last = datetime.datetime.fromtimestamp(0, datetime.timezone.utc)
        self.rows = collections.defaultdict(dict)
        self.routes = sorted((self.compiled(method, template, name) for name, function in inspect.getmembers(type(self))
                              for method, template in getattr(function, "routes", ())), key=lambda one: one[0])
        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler, bind_and_activate=False)
        self.server.daemon_threads, self.server.request_queue_size, self.server.vendor = True, 128, self
        self.server.server_bind()
        self.server.server_activate()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.fill(self.random, size)

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    # ------------------------------------------------------------ what a vendor says of itself

    def fill(self, random, size):
        """Makes the account."""
        raise NotImplementedError

    def config(self, **more):
        """A good config for this server."""
        raise NotImplementedError

    def bad_config(self):
        """A config with a wrong token."""
        raise NotImplementedError

    def truth(self, stream):
        """Key tuple to record, as the tap must emit it."""
        raise NotImplementedError

    def edit(self, random):
        """Changes and adds some things now; gives the set of (stream, key) that changed."""
        raise NotImplementedError

    def forbid(self):
        """Makes one project, board or the like forbidden; gives {stream: [keys that come no longer]}."""
        raise NotImplementedError

    def throttle(self):
        """The answer beyond the limit, which names a wait of about a second."""
        return Refused(429, {"message": "Too many requests"}, {"Retry-After": "1"})

    # ------------------------------------------------------------ tools for vendors

    def now(self):
        """This moment; each is later than the one before."""
        with self.lock:
            self.last = max(self.clock(), self.last + datetime.timedelta(milliseconds=1))
            return self.last

    def past(self, dice=None):
        """A moment in 2023 or 2024, in whole milliseconds."""
        seconds = 1_672_531_200 + (dice or self.random).randrange(730 * 86400 * 1000) / 1000
        return datetime.datetime.fromtimestamp(round(seconds, 3), datetime.timezone.utc)

    def name(self, dice=None):
        """Some name; now and then an odd one."""
        dice = dice or self.random
        return dice.choice(ODD) if dice.random() < 0.06 else f"{dice.choice(ADJECTIVES)} {dice.choice(NOUNS)} {dice.randrange(1000)}"

    def give_token(self, value):
        """An opaque page token for a value: the same for every reader who does the same."""
        token = hashlib.sha256(f"{self.seed} {value!r}".encode()).hexdigest()[:40]
        self.tokens[token] = value
        return token

    def take_token(self, token):
        """The value of a page token; None when it is unknown, or was to expire (`self.token_expires = True`)."""
        if self.token_expires:
            self.token_expires = False
            return None
        return self.tokens.get(token)

    def paged(self, call, name=None):
        """To be called by each answer that is a page of a list: what others do meanwhile. `name` tells lists of one path apart."""
        key = name or call.path
        self.pages[key] += 1
        if self.pages[key] == 1:
            return
        if self.edits_while_paging > 0:
            self.edits_while_paging -= 1
            self.edit(self.random)
        if self.before_page:
            self.before_page()

    def reset_calls(self):
        """Forgets the calls."""
        with self.lock:
            self.calls, self.pages = [], collections.Counter()

    def records(self, stream):
        """The truth, by way of JSON: nothing shared with what is edited later."""
        with self.lock:
            return {tuple(key) if isinstance(key, (tuple, list)) else (key,): json.loads(json.dumps(record))
                    for key, record in self.truth(stream).items()}

    # ------------------------------------------------------------ answers

    @staticmethod
    def compiled(method, template, name):
        """A route: those with fewer parameters first."""
        pattern = re.sub(r"\\\{(\w+)(:path)?\\\}", lambda m: f"(?P<{m[1]}>{'.+' if m[2] else '[^/]+'})",
                         re.escape(template))
        return (template.count("{"), template, method), re.compile(pattern + "/?"), method, template, name

    def find(self, call):
        """The method that answers a call, and its route."""
        for _, pattern, method, template, name in self.routes:
            if method == call.method and (match := pattern.fullmatch(call.path)):
                call.params = match.groupdict()
                return getattr(self, name), template
        self.unknown.append(f"{call.method} {call.path}")
        raise Refused(404, {"message": "Not Found"})

    def answer(self, call):
        """One call: its reply."""
        kept = {"method": call.method, "path": call.path, "query": call.query, "many": call.many, "json": call.json,
                "form": call.form, "headers": dict(call.headers), "route": None, "status": None, "at": time.time(), "until": None}
        call.kept = kept
        with self.lock:
            self.calls.append(kept)
            try:
                handler, kept["route"] = self.find(call)
                call.route = kept["route"]
                self.count(kept["at"])
                self.rules(call)
                reply = handler(call)
                reply = reply if isinstance(reply, Reply) else Reply(reply)
                if self.check_answers:
                    self.compare(call, reply)
            except Refused as refused:
                reply = Reply(refused.body, refused.headers, refused.status)
            except Exception as failed:  # a fault of the vendor's own code must be seen
                self.unknown.append(f"{call.method} {call.path}: {failed!r} in line {failed.__traceback__.tb_next.tb_lineno}")
                reply = Reply({"message": repr(failed)}, status=500)
            kept["status"] = reply.status
        return reply

    def path_of(self, route):
        """The path that a route has in the specification; None where it is in none."""
        return route.removeprefix(self.base) if self.specified else None

    def compare(self, call, reply):
        """Notes what of a call or its answer is not as the specification has it."""
        path = self.path_of(call.route)
        if path is not None:
            from vendors.specification import specification  # needs jsonschema, which serving does not
            published = specification(self.source)
            wrong = published.wrong_call(call.method, path, call.many, call.json, call.headers)
            wrong += published.wrong_answer(call.method, path, reply.status, reply.body)
            self.unfit += [words for words in wrong if not re.search(self.mistaken, words)]
            self.compared += 1

    def count(self, now):
        """The limit."""
        if not self.limit:
            return
        most, seconds = self.limit
        self.recent = [at for at in self.recent if at > now - seconds] + [now]
        if len(self.recent) > most:
            answer = self.throttle()
            raise answer if isinstance(answer, Refused) else Refused(answer.status, answer.body, answer.headers)

    def rules(self, call):
        """The first rule that fits."""
        text = f"{call.path}?{urlencode(call.query, safe=',:')} {call.body.decode(errors='replace')}"
        for rule in self.fail:
            match = rule.get("match", "")
            fits = match(call) if callable(match) else re.search(match, text)
            if not fits or rule.get("times", 1) <= 0:
                continue
            if rule.get("skip", 0) > 0:
                rule["skip"] -= 1
                continue
            if "times" in rule:
                rule["times"] -= 1
            if "do" in rule:
                rule["do"]()
            if "status" in rule:
                raise Refused(rule["status"], rule.get("body", {"message": "a fault by rule"}), rule.get("headers"))
            return


class Handler(BaseHTTPRequestHandler):
    """Speaks HTTP for the vendor."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16

    def serve(self):
        """One call."""
        vendor = self.server.vendor
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        began, call = time.monotonic(), Call(self.command, self.path, self.headers, body, vendor.url)
        reply = vendor.answer(call)
        text = reply.body if isinstance(reply.body, str) else "" if reply.body is None else json.dumps(reply.body, ensure_ascii=False)
        content = text.encode()
        headers = {"Content-Type": "application/json; charset=utf-8", **reply.headers}
        if "gzip" in self.headers.get("Accept-Encoding", "") and content:
            headers["Content-Encoding"], content = "gzip", gzip.compress(content, 1)
        # What this machine needs for an answer is part of the way to a vendor that is far off.
        time.sleep(max(0, vendor.latency - (time.monotonic() - began)))
        call.kept["until"] = time.time()
        self.send_response(reply.status)  # with Date
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        self.wfile.flush()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = serve

    def handle(self):
        """A client that goes away is no event."""
        with contextlib.suppress(ConnectionError):
            super().handle()

    def finish(self):
        """As before."""
        with contextlib.suppress(ConnectionError):
            super().finish()

    def log_message(self, *_):
        """Says nothing."""


# ---------------------------------------------------------------- by hand

def main(kind):
    """`python tests/vendors/NAME.py --port N` serves a vendor; prints a config for it."""
    parser = argparse.ArgumentParser(description=kind.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--size", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--latency", type=float, default=0)
    options = parser.parse_args()
    with kind(seed=options.seed, size=options.size, latency=options.latency, port=options.port) as vendor:
        print(json.dumps(vendor.config()), flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
