"""Section `http`: many subscribers of one file without a web server.

`sse-httpd` is compared with nchan in nginx, and with the least that a server can do
(fan_out.c). The file's lines are checked by the clients.
"""

import os
import re
import subprocess

from gateway import (
    NCHAN,
    Crowd,
    Process,
    Served,
    can_connect,
    cargo_build,
    free_port,
    install,
    tied,
)
from program import Broken, run
from table import Row

OURS, C, NCHAN_NAME = "sse-httpd", "C, epoll and send", "nchan"

BURST = 1000

SLOW_HEADS = 10_000

PACKAGES = {
    "/usr/sbin/nginx": "nginx",
    NCHAN: "libnginx-mod-nchan",
    "/usr/bin/setpriv": "util-linux",
}

# What a connection costs the kernel, apart from what is on its way. Each client has one as
# well, and they are alike.
CACHES = ("TCP", "sock_inode_cache", "dentry", "filp", "eventpoll_epi", "eventpoll_pwq", "ep_head")


class Alone:
    """A server without nginx, and the crowd; like gateway.Served."""

    def __init__(self, folder, client, program, workers=1):
        os.mkdir(folder)
        path = os.path.join(folder, "lines.txt")
        with open(path, "w"):
            pass
        self.port = port = free_port()
        if os.path.basename(program) == "fan_out":
            command, target = [program, str(port), path], "/"
        else:
            command = [program, "--allow-root", "--listen", f"127.0.0.1:{port}", path]
            if workers > 1:
                command[1:1] = ["--workers", str(workers)]
            target = "/events/lines.txt"
        self.crowd = None
        env = {"PATH": os.environ["PATH"], "SSE_REPLAY": "1G"}
        self.server = Process(command, os.path.join(folder, "log"), env=env)
        try:
            self.server.until(lambda: can_connect(port), "listens")
            self.crowd = Crowd(client, port, target, 100, ["file", path])
        except BaseException:
            self.end()
            raise

    def end(self):
        for part in (self.crowd, self.server):
            if part:
                part.end()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()


class Nchan(Served):
    def __init__(self, folder, client):
        super().__init__(folder, client)
        self.server = self.nginx


def measure(bench):
    install(PACKAGES)
    client = cargo_build("--example", "load_client")["load_client"]
    httpd = os.path.join(bench.programs.release, "sse-httpd")
    fan_out = bench.programs.compile("fan_out.c", "fan_out")
    start = {
        OURS: lambda folder: Alone(folder, client, httpd),
        C: lambda folder: Alone(folder, client, fan_out),
        NCHAN_NAME: lambda folder: Nchan(folder, client),
    }
    rounds, events = (3, 50) if bench.quick else (7, 100)
    found = {name: [] for name in start}
    for round_ in range(rounds):
        for name, begin in start.items():
            folder = bench.path(f"{name}-{round_}".replace(" ", "-").replace(",", ""))
            with begin(folder) as served:
                found[name].append(deliver(served, name, 1000, events))
    yield from rows(found, 1000)
    yield from slow_heads(bench, client, httpd)
    yield from two_workers(bench, client, httpd, rounds, events)


def deliver(served, name, count, events):
    """One round of one of them: figures by name."""
    crowd, server = served.crowd, served.server
    crowd.say("open", 10)
    before, kernel = server.memory_bytes(), kernel_bytes()
    crowd.say("open", count - 10)
    figures = {
        "process": max(server.memory_bytes() - before, 1) / (count - 10),
        "kernel": max(kernel_bytes() - kernel, 1) / 2 / (count - 10),
    }
    # The first event pays for initialization.
    crowd.say("lockstep", 5)
    slices = 5
    from_ns = server.cpu_ns()
    seconds = min(crowd.say("lockstep", events // slices)[0] for _ in range(slices))
    figures["cpu"] = (server.cpu_ns() - from_ns) / 1000 / (events // slices * slices * count)
    figures["rate"] = (events // slices) * count / seconds
    from_ns = server.cpu_ns()
    seconds = crowd.say("burst", BURST)[0]
    figures["burst cpu"] = (server.cpu_ns() - from_ns) / (BURST * count)
    figures["burst rate"] = BURST * count / seconds
    return figures


def kernel_bytes():
    """Of all connections of this machine; for root only."""
    try:
        with open("/proc/slabinfo") as info:
            text = info.read()
    except PermissionError:
        return 0
    found = re.findall(r"^(\S+) +(\d+) +\d+ +(\d+) ", text, re.M)
    return sum(int(count) * int(size) for name, count, size in found if name in CACHES)


def rows(found, count):
    def of(name, figure):
        return [figures[figure] for figures in found[name]]

    def pair(figure, other, bound):
        return of(OURS, figure), other, of(other, figure), bound

    case = f"{count} subscribers"
    yield Row(f"deliveries, one by one, {case}", "1/s", *pair("rate", NCHAN_NAME, (">=", 1.65)))
    yield Row(
        f"deliveries, a burst of {BURST}, {case}", "1/s", *pair("burst rate", NCHAN_NAME, (">=", 50))
    )
    memory = {
        name: [figures["process"] + figures["kernel"] for figures in found[name]] for name in found
    }
    what = f"memory a subscriber, process and kernel, {case}"
    yield Row(what, "bytes", memory[OURS], NCHAN_NAME, memory[NCHAN_NAME], ("<=", 0.6))
    yield Row(f"of that the process, {case}", "bytes", *pair("process", NCHAN_NAME, None))
    yield Row(f"CPU per delivery, one by one, {case}", "µs", *pair("cpu", C, ("<=", 1.1)))
    yield Row(f"CPU per delivery, a burst, {case}", "ns", *pair("burst cpu", C, ("<=", 1.1)))
    yield Row(f"CPU per delivery, one by one, {case}", "µs", *pair("cpu", NCHAN_NAME, None))
    yield Row(f"deliveries, one by one, {case}", "1/s", *pair("rate", C, None))


def slow_heads(bench, client, httpd):
    """10 000 clients send their requests byte by byte: the delay of 200 subscribers."""
    program = bench.programs.compile("slow_heads.c", "slow_heads")
    seconds, rounds = (4, 3) if bench.quick else (6, 5)
    delays = {0: [], SLOW_HEADS: []}
    for round_ in range(rounds):
        for count, found in delays.items():
            folder = bench.path(f"slow-{count}-{round_}")
            with Alone(folder, client, httpd) as served:
                served.crowd.say("open", 200)
                others = Slow(program, served.port, count) if count else None
                served.crowd.say("steady", 1, 0)
                found.append(served.crowd.say("steady", seconds, 0)[1] * 1e6)
                if others:
                    others.end()
    what = f"delay at 600 kB/s, {SLOW_HEADS} send a byte a second: 99 of 100"
    yield Row(what, "µs", delays[SLOW_HEADS], "without them", delays[0], ("<=", 1.05))


class Slow:
    """slow_heads.c, when all of its clients are connected."""

    def __init__(self, program, port, count):
        self.process = subprocess.Popen(
            tied([program, str(port), str(count)]), stdout=subprocess.PIPE, text=True
        )
        if self.process.stdout.readline() != "connected\n":
            raise Broken("slow_heads: not connected")

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def two_workers(bench, client, httpd, rounds, events):
    """The same number of subscribers by two processes; the clients need a CPU as well."""
    if "--workers" not in run([httpd, "--help"]):
        return
    rate = {1: [], 2: []}
    for round_ in range(rounds):
        for workers, found in rate.items():
            folder = bench.path(f"workers-{workers}-{round_}")
            with Alone(folder, client, httpd, workers) as served:
                served.crowd.say("open", 1000)
                served.crowd.say("lockstep", 5)
                slices = 5
                took = min(served.crowd.say("lockstep", events // slices)[0] for _ in range(slices))
                found.append(events // slices * 1000 / took)
    what = "deliveries, one by one, 1000 subscribers, two workers"
    yield Row(what, "1/s", rate[2], "one worker", rate[1])
