"""Section `redis`: a Redis Stream against a file, both served by the same program.

The publisher sends XADD, or appends a line; the clients check what they receive.
"""

import os
import re
import socket
import subprocess
import time

from cgi_section import line
from gateway import Crowd, Process, can_connect, cargo_build, free_port, install
from program import Broken, Running, environment
from table import Row

REDIS, FILE = "redis", "a file"
LINE_BYTES = 100
KEYS = 1000
LAST = b"the last line"

PACKAGES = {
    "/usr/bin/redis-server": "redis-server",
    "/usr/bin/setpriv": "util-linux",
}


class Redis(Process):
    """A redis-server, and a connection to it."""

    def __init__(self, folder):
        self.socket = os.path.join(folder, "redis.sock")
        command = ["/usr/bin/redis-server", "--port", "0", "--save", "", "--dir", folder]
        super().__init__([*command, "--unixsocket", self.socket], os.path.join(folder, "redis.log"))
        self.until(self.answers, "answers")

    def answers(self):
        with socket.socket(socket.AF_UNIX) as probe:
            return os.path.exists(self.socket) and probe.connect_ex(self.socket) == 0

    def ask(self, commands):
        """Sends many commands in one connection, and discards their replies."""
        with socket.socket(socket.AF_UNIX) as stream:
            stream.connect(self.socket)
            replies = stream.makefile("rb")
            pending = 0
            for words in commands:
                stream.sendall(command(words))
                pending += 1
                # Both sides have buffers, and one that is full blocks.
                if pending == 500:
                    self.discard(replies, pending)
                    pending = 0
            self.discard(replies, pending)

    @staticmethod
    def discard(replies, count):
        for _ in range(count):
            first = replies.readline()
            if first[:1] not in b"$+:":
                raise Broken(f"redis-server: {first!r}")
            if first[:1] == b"$":
                replies.readline()


def command(words):
    out = [b"*%d\r\n" % len(words)]
    for word in words:
        word = word if isinstance(word, bytes) else str(word).encode()
        out.append(b"$%d\r\n%b\r\n" % (len(word), word))
    return b"".join(out)


def xadd(key, data):
    return ("XADD", key, "*", "data", data)


class Stage:
    """sse-httpd with a stream in a file and one in Redis, and a crowd at one of the two."""

    def __init__(self, folder, program, client, kind):
        os.mkdir(folder)
        self.parts = []
        self.crowd = None
        self.port = free_port()
        try:
            path = os.path.join(folder, "lines.txt")
            write(path, "")
            publisher = ["file", path]
            location = f"SSE_STREAM = tail\nSSE_FILE = {path}\n"
            if kind == REDIS:
                self.redis = Redis(folder)
                self.parts.append(self.redis)
                publisher = ["redis", self.redis.socket, "k"]
                location = f"SSE_STREAM = redis\nSSE_REDIS = unix:{self.redis.socket}\n"
                location += "SSE_STREAM_KEY_PREFIX = k\n" if client is None else "SSE_STREAM_KEY = k\n"
            self.server = serve(folder, program, self.port, location)
            self.parts.append(self.server)
            if client:
                self.crowd = Crowd(client, self.port, "/events/live", LINE_BYTES, publisher)
                self.parts.append(self.crowd)
        except BaseException:
            self.end()
            raise

    def end(self):
        for part in reversed(self.parts):
            part.end()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()


def serve(folder, program, port, location):
    configuration = os.path.join(folder, "sse.conf")
    write(configuration, f"[/events/live]\n{location}SSE_REPLAY = 1G\n")
    os.chmod(configuration, 0o644)
    command = [program, "--allow-root", "--listen", f"127.0.0.1:{port}", "--config", configuration]
    env = {"PATH": os.environ["PATH"]}
    server = Process(command, os.path.join(folder, "log"), env=env)
    try:
        server.until(lambda: can_connect(port), "listens")
    except BaseException:
        server.end()
        raise
    return server


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


def measure(bench):
    install(PACKAGES)
    client = cargo_build("--example", "load_client")["load_client"]
    httpd = os.path.join(bench.programs.release, "sse-httpd")
    begin = lambda name, kind: Stage(  # noqa: E731
        bench.path(f"{name}-{kind}".replace(" ", "-")), httpd, client, kind
    )
    yield from delays(bench, begin)
    yield from catch_up(bench)
    yield from fan_out(bench, begin)
    yield from many_keys(bench, httpd)


def delays(bench, begin):
    """From just before a record is published until a client has it."""
    rounds, seconds = (4, 1) if bench.quick else (9, 3)
    for rate, writes, bound in ((200, 200, 3.2), (100_000, 1000, 12)):
        found = {REDIS: [], FILE: []}
        for round_ in range(rounds):
            for kind, taken in found.items():
                with begin(f"delay-{rate}-{round_}", kind) as stage:
                    stage.crowd.say("open", 1)
                    stage.crowd.say("pace", rate, writes, 1)
                    taken.append(stage.crowd.say("pace", rate, writes, seconds))
        for index, which, limit in ((0, "p50", ("<=", bound)), (1, "p99", None)):
            ours, theirs = ([pair[index] * 1e6 for pair in found[kind]] for kind in (REDIS, FILE))
            yield Row(f"publish to delivery at {rate}/s, {which}", "µs", ours, FILE, theirs, limit)


def catch_up(bench):
    """A client comes back with the id of the first of many events, to the CGI programs."""
    mebibytes, rounds = (32, 3) if bench.quick else (128, 5)
    count = (mebibytes << 20) // LINE_BYTES
    folder = bench.path("catch-up")
    os.mkdir(folder)
    path = os.path.join(folder, "lines.log")
    redis = Redis(folder)
    try:
        with open(path, "wb") as file:
            file.write(line(0, LINE_BYTES))
        redis.ask([xadd("k", line(0, LINE_BYTES)[:-1])])
        of_redis = {"SSE_REDIS": f"unix:{redis.socket}", "SSE_STREAM_KEY": "k"}
        programs = {
            REDIS: (os.path.join(bench.programs.release, "nph-redis"), of_redis, redis),
            FILE: (bench.programs.ours, {"SSE_REPLAY": "2G"}, None),
        }
        ids = {kind: first_id(program, path, more) for kind, (program, more, _) in programs.items()}
        with open(path, "ab") as file:
            for number in range(1, count):
                file.write(line(number, LINE_BYTES))
            file.write(LAST + b"\n")
        redis.ask(xadd("k", line(number, LINE_BYTES)[:-1]) for number in range(1, count))
        redis.ask([xadd("k", LAST)])
        speed, cpu = ({kind: [] for kind in programs} for _ in range(2))
        for round_ in range(-1, rounds):
            for kind, (program, more, engine) in programs.items():
                env = environment(path, HTTP_LAST_EVENT_ID=ids[kind], **more)
                engine_ns = engine.cpu_ns() if engine else 0
                started = time.monotonic()
                with Running([program], env) as running:
                    running.read_until(LAST)
                    took = time.monotonic() - started
                    spent = running.cpu_ns() / 1e3
                if engine:
                    spent += (engine.cpu_ns() - engine_ns) / 1e3
                if round_ >= 0:
                    speed[kind].append(count / took / 1e3)
                    cpu[kind].append(spent / count * 1e3)
    finally:
        redis.end()
    what = f"catch-up of {mebibytes} MiB, {LINE_BYTES} bytes each"
    yield Row(what, "1000/s", speed[REDIS], FILE, speed[FILE], (">=", 0.25))
    yield Row("the same in CPU per event, with Redis", "ns", cpu[REDIS], FILE, cpu[FILE])


def first_id(program, path, more):
    """The id of the first event, which is the only one yet."""
    with Running([program], environment(path, **more)) as running:
        text = running.read_lines(line(0, LINE_BYTES) + b"\n")
    found = re.search(r"^id: (\S+)\ndata: ", text, re.M)
    if not found:
        raise Broken(f"{program}: no id in {text[:500]!r}")
    return found[1]


def fan_out(bench, begin):
    """The server's CPU for an event to 1000 subscribers, without that of Redis."""
    rounds, events = (3, 50) if bench.quick else (9, 100)
    found = {REDIS: [], FILE: []}
    engine = []
    for round_ in range(rounds):
        for kind, taken in found.items():
            with begin(f"fan-out-{round_}", kind) as stage:
                stage.crowd.say("open", 1000)
                stage.crowd.say("lockstep", 10)
                from_ns = stage.server.cpu_ns()
                engine_ns = stage.redis.cpu_ns() if kind == REDIS else 0
                stage.crowd.say("lockstep", events)
                taken.append((stage.server.cpu_ns() - from_ns) / 1000 / events)
                if kind == REDIS:
                    engine.append((stage.redis.cpu_ns() - engine_ns) / 1000 / events)
    what = "CPU of sse-httpd per event, 1000 subscribers"
    yield Row(what, "µs", found[REDIS], FILE, found[FILE], ("<=", 1.02))
    yield Row("CPU of Redis per event, 1000 subscribers", "µs", engine)


def many_keys(bench, httpd):
    """What an XADD costs Redis if a node waits for 1000 keys, against one that waits for 1."""
    rounds, events = (3, 2000) if bench.quick else (7, 10_000)
    found = {1: [], KEYS: []}
    ours = {1: [], KEYS: []}
    for round_ in range(rounds):
        for keys in found:
            with Stage(bench.path(f"keys-{keys}-{round_}"), httpd, None, REDIS) as stage:
                readers = [subscribe(stage.port, f"/{key}") for key in range(keys)]
                adds = [xadd(f"k{number * 7 % keys}", "x") for number in range(events)]
                stage.redis.ask(adds[: 2 * keys])
                time.sleep(0.2)
                from_ns, own_ns = stage.redis.cpu_ns(), stage.server.cpu_ns()
                # Single XADDs, each when the one before is answered, as of many publishers.
                with socket.socket(socket.AF_UNIX) as stream:
                    stream.connect(stage.redis.socket)
                    for add in adds:
                        stream.sendall(command(add))
                        if not stream.recv(4096).startswith(b"$"):
                            raise Broken("XADD is refused")
                found[keys].append((stage.redis.cpu_ns() - from_ns) / 1000 / events)
                ours[keys].append((stage.server.cpu_ns() - own_ns) / 1000 / events)
                for reader in readers:
                    reader.close()
    what = f"CPU of Redis per XADD, {KEYS} keys at one node"
    yield Row(what, "µs", found[KEYS], "1 key", found[1])
    yield Row(f"CPU of sse-httpd per XADD, {KEYS} keys", "µs", ours[KEYS], "1 key", ours[1])


def subscribe(port, path):
    stream = socket.create_connection(("127.0.0.1", port))
    stream.sendall(f"GET /events/live{path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    head = stream.recv(4096)
    if b" 200 " not in head:
        raise Broken(f"{path}: {head!r}")
    return stream
