"""Rows R and K: signals, ends of pipes, full disks, limits, clocks."""
import signal
import time
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

from driver import TRUTH, manifest, row
from vendor import MIDDLE, Vendor, answer, from_request, good, silent


def signalled(t, respond, send, ready, **options):
    """Starts a read, sends signals once `ready(vendor)`, gives the run."""
    with Vendor(respond) as vendor:
        began = time.monotonic()
        process = t.start(t.command(config=t.config(vendor)), **options)
        while not ready(vendor) and time.monotonic() < began + 20:
            time.sleep(0.01)
        sent = time.monotonic()
        send(process)
        ran = t.finish(process, began)
        t.check("ends within 5 s of the signal", time.monotonic() - sent < 5, time.monotonic() - sent)
    t.judge(ran)
    t.bring_the_rest(ran)
    return ran


def reached(number):
    return lambda vendor: len(vendor.requests) >= number


@row("R1")
def _(t):
    waits = answer({}, "429 Too Many Requests", ("Retry-After: 60",))
    for respond in (from_request(MIDDLE, waits), from_request(MIDDLE, silent(30))):
        signalled(t, respond, lambda p: p.send_signal(signal.SIGTERM), reached(MIDDLE))


@row("R2a")
def _(t):
    signalled(t, from_request(MIDDLE, silent(30)), lambda p: p.send_signal(signal.SIGINT), reached(MIDDLE))


@row("R2b")
def _(t):
    def twice(process):
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
    signalled(t, from_request(MIDDLE, silent(30)), twice, reached(MIDDLE))


@row("R4")
def _(t):
    def stop_and_go(process):
        process.send_signal(signal.SIGSTOP)
        time.sleep(3)
        process.send_signal(signal.SIGCONT)

    def respond(request):
        time.sleep(0.2)
        # The connection is gone when the process goes on.
        return [good(request)]
    with Vendor(respond) as vendor:
        began = time.monotonic()
        process = t.start(t.command(config=t.config(vendor)))
        while len(vendor.requests) < 2:
            time.sleep(0.01)
        stop_and_go(process)
        ran = t.finish(process, began)
    t.judge(ran)
    t.bring_the_rest(ran)


@row("R5")
def _(t):
    with Vendor(lambda r: answer({"data": [{**TRUTH[0], "name": "x" * 1000}] * 1000, "next": str(r.number)} if r.number < 20 else {"data": []})) as vendor:
        command = t.command(config=t.config(vendor))
        began = time.monotonic()
        process = t.start(command)
        process.stdout.read(100)
        process.stdout.close()
        process.stdout = None
        ran = t.finish(process, began)
    t.judge(ran)
    t.check("said in a line, not a trace", "downstream" in ran.err or "closed" in ran.err, ran.err[-300:])


@row("R6")
def _(t):
    # Four megabytes, of which nothing is read for three seconds.
    with Vendor(lambda r: answer({"data": [{**TRUTH[0], "id": n, "name": "x" * 4000} for n in range(1000)]})) as vendor:
        command = t.command(config=t.config(vendor), source=None)
        began = time.monotonic()
        process = t.start(command)
        time.sleep(3)
        ran = t.finish(process, began)
    t.judge(ran)
    t.check("all is there", len(ran.ids) == 1000, len(ran.ids))


@row("R7a")
def _(t):
    with Vendor(good) as vendor, open("/dev/full", "wb") as full:
        began = time.monotonic()
        ran = t.finish(t.start(t.command(config=t.config(vendor)), stdout=full), began)
    t.judge(ran)


@row("R7b")
def _(t):
    # No file may grow beyond half a kilobyte: as a full disk, in the state directory.
    with Vendor(good) as vendor:
        config = t.config(vendor, {"state_dir": str(t.folder / "state"), "tenant": "acme"})
        t.run(config=config, limits="trap '' XFSZ; ulimit -f 0")


@row("R8")
def _(t):
    (t.folder / "file").write_text("not a folder")
    with Vendor(good) as vendor:
        ran = t.run(config=t.config(vendor, {"state_dir": str(t.folder / "file" / "state"), "tenant": "acme"}))
        t.check("no request", not vendor.requests, len(vendor.requests))
    t.check("the place is named", "file/state" in ran.err, ran.err[-300:])


@row("R9")
def _(t):
    for limits in ("ulimit -n 6", "ulimit -n 10", "ulimit -v 60000"):
        with Vendor(good) as vendor:
            ran = t.run(config=t.config(vendor, {"state_dir": str(t.folder / "state"), "tenant": "acme"}), limits=limits)
        t.check(f"{limits}: said", ran.code == 0 or ran.err.strip(), ran.code)


@row("R10")
def _(t):
    with Vendor(silent(30)) as slow, Vendor(good) as vendor:
        ours = {"state_dir": str(t.folder / "state"), "tenant": "acme"}
        source = str(t.file("m.yaml", manifest()))
        began = time.monotonic()
        first = t.start(t.command(source=source, config=t.config(slow, ours)))
        while not slow.requests and time.monotonic() < began + 20:
            time.sleep(0.01)
        t.run(source=source, config=t.config(vendor, ours))
        t.check("no request", not vendor.requests, len(vendor.requests))
        first.kill()
        t.finish(first, began)


@row("R12")
def _(t):
    ours = {"state_dir": str(t.folder / "state"), "tenant": "acme"}
    source = str(t.file("m.yaml", manifest()))
    with Vendor(silent(30)) as slow, Vendor(good) as vendor:
        began = time.monotonic()
        first = t.start(t.command(source=source, config=t.config(slow, ours)))
        while not slow.requests and time.monotonic() < began + 20:
            time.sleep(0.01)
        first.kill()
        t.finish(first, began)
        t.bring_the_rest(t.run(source=source, config=t.config(vendor, ours)))


@row("R15a")
def _(t):
    with Vendor(good) as vendor:
        command = ["bash", "-c", 'exec "$@" <&- 2>&-', "bash", *t.command(config=t.config(vendor))]
        began = time.monotonic()
        ran = t.finish(t.start(command), began)
    t.judge(ran)
    t.bring_the_rest(ran)


@row("R15b")
def _(t):
    with Vendor(good) as vendor:
        command = ["bash", "-c", 'exec "$@" >&-', "bash", *t.command(config=t.config(vendor))]
        began = time.monotonic()
        ran = t.finish(t.start(command), began)
    t.judge(ran)


@row("K4")
def _(t):
    # The vendor's clock is three hours ahead; one second of waiting is meant.
    ahead = datetime.now(timezone.utc) + timedelta(hours=3)
    headers = [(f"Date: {format_datetime(ahead, usegmt=True)}", f"Retry-After: {format_datetime(ahead + timedelta(seconds=1), usegmt=True)}"),
               ("Date: garbage", "Retry-After: 1"), ("Retry-After: 1",)]
    for lines in headers:
        ran = t.broken(from_request(MIDDLE, answer({}, "429 Too Many Requests", lines), once=True))
        t.check("it waited", ran.seconds >= 1, ran.seconds)
