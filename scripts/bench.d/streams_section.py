"""Section `streams`: several files in one connection, against one file with the same events.

Both are served by sse-httpd; the clients check that they receive every line in its order.
"""

import os

from gateway import Crowd, Process, can_connect, cargo_build, free_port, install
from table import Row

LINE_BYTES = 100
SUBSCRIBERS = 1000

PACKAGES = {"/usr/bin/setpriv": "util-linux"}


class Stage:
    """sse-httpd with so many files, in one connection if there are several, and a crowd."""

    def __init__(self, folder, program, client, count):
        os.mkdir(folder)
        self.crowd = self.server = None
        paths = [os.path.join(folder, f"lines{number}.txt") for number in range(count)]
        for path in paths:
            write(path, "")
        configuration = os.path.join(folder, "sse.conf")
        write(configuration, settings(paths))
        os.chmod(configuration, 0o644)
        port = free_port()
        command = [program, "--allow-root", "--listen", f"127.0.0.1:{port}", "--config", configuration]
        env = {"PATH": os.environ["PATH"]}
        self.server = Process(command, os.path.join(folder, "log"), env=env)
        try:
            self.server.until(lambda: can_connect(port), "listens")
            self.crowd = Crowd(client, port, "/events/live", LINE_BYTES, ["file", *paths])
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


def settings(paths):
    if len(paths) == 1:
        return f"[/events/live]\nSSE_STREAM = tail\nSSE_FILE = {paths[0]}\n"
    names = [f"s{number}" for number in range(len(paths))]
    text = f"[/events/live]\nSSE_STREAMS = {' '.join(names)}\n"
    for name, path in zip(names, paths):
        text += f"[stream {name}]\nSSE_STREAM = tail\nSSE_FILE = {path}\n"
    return text


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def measure(bench):
    install(PACKAGES)
    client = cargo_build("--example", "load_client")["load_client"]
    httpd = os.path.join(bench.programs.release, "sse-httpd")
    rounds, events = (3, 50) if bench.quick else (9, 100)
    cpu = {count: [] for count in (1, 4, 10)}
    memory = {count: [] for count in cpu}
    for round_ in range(rounds):
        for count in cpu:
            with Stage(bench.path(f"{count}-{round_}"), httpd, client, count) as stage:
                stage.crowd.say("open", 10)
                before = stage.server.memory_bytes()
                stage.crowd.say("open", SUBSCRIBERS - 10)
                grown = stage.server.memory_bytes() - before
                memory[count].append(max(grown, 1) / (SUBSCRIBERS - 10))
                stage.crowd.say("lockstep", 10)
                from_ns = stage.server.cpu_ns()
                stage.crowd.say("lockstep", events)
                cpu[count].append((stage.server.cpu_ns() - from_ns) / 1000 / events)
    what = f"CPU of sse-httpd per event, {SUBSCRIBERS} subscribers"
    yield Row(f"{what}, 4 streams", "µs", cpu[4], "1 stream", cpu[1], ("<=", 1.1))
    yield Row(f"{what}, 10 streams", "µs", cpu[10], "1 stream", cpu[1])
    yield Row("memory of a subscriber, 10 streams", "B", memory[10], "1 stream", memory[1])
