"""Section `tail`: much to read at once, against `tail -F | wc -l` and `cat`."""

import os
import re
import signal
import subprocess
import time

from cgi_section import line, make_file
from program import PATIENCE_SECONDS, Broken, Running, cpu_clock, environment, need
from table import Row

LAST = b"the last line"


def measure(bench):
    yield from burst(bench, 100, 3)
    yield from burst(bench, 1000, 1.5)
    yield from catch_up(bench, 100, 0.5)
    yield from catch_up(bench, 1000, 0.5)


def lines(megabytes, length_bytes):
    """Blocks of whole lines, 16 KiB or so each, as a program writes that buffers."""
    per_block = 16 * 1024 // length_bytes
    for number in range(0, megabytes * 1_000_000 // length_bytes, per_block):
        yield b"".join(line(n, length_bytes) for n in range(number, number + per_block))


def burst(bench, length_bytes, bound):
    """CPU per megabyte of a file that grows as fast as it can be written, in turns:
    that of `tail` and `wc` together, and ours, from the first new byte to the last."""
    megabytes, rounds = (16, 3) if bench.quick else (64, 7)
    content = list(lines(megabytes, length_bytes))
    size = sum(map(len, content)) / 1e6
    ours, theirs = [], []
    for _ in range(rounds):
        for follow, spent in ((follow_ours, ours), (follow_tail, theirs)):
            path = make_file(bench.path("burst.log"), 10)
            spent.append(follow(bench, path, content) / size * 1e6)
    what = f"CPU per MB of a burst, lines of {length_bytes} bytes"
    yield Row(what, "µs", ours, "tail -F + wc -l", theirs, ("<=", bound))


def write(path, content):
    with open(path, "ab", buffering=0) as file:
        for block in content:
            file.write(block)
        file.write(LAST + b"\n")


def follow_ours(bench, path, content):
    with Running([bench.programs.ours], environment(path)) as running:
        running.read_until(line(9))
        started = running.cpu_ns()
        writer = os.fork()
        if writer == 0:
            write(path, content)
            os._exit(0)
        running.read_until(LAST)
        os.waitpid(writer, 0)
        return (running.cpu_ns() - started) / 1e9


def follow_tail(_bench, path, content):
    need("tail", "coreutils")
    read_end, write_end = os.pipe()
    count = subprocess.Popen(["wc", "-l"], stdin=read_end, stdout=subprocess.PIPE)
    command = ["tail", "-n", "10", "-F", path]
    tail = subprocess.Popen(command, stdout=write_end, stderr=subprocess.DEVNULL)
    os.close(read_end)
    os.close(write_end)
    await_position(tail.pid, path)
    await_sleep(tail.pid)
    started = cpu_seconds(tail) + cpu_seconds(count)
    write(path, content)
    await_position(tail.pid, path)
    # SIGTERM must not arrive between its read and its write, so this waits until it sleeps.
    await_sleep(tail.pid)
    tail.send_signal(signal.SIGTERM)
    spent = used(tail) + used(count) - started
    expected = sum(block.count(b"\n") for block in content) + 11
    counted = int(count.stdout.read())
    count.stdout.close()
    if counted != expected:
        raise Broken(f"tail -F | wc -l counted {counted} lines of {expected}")
    return spent


def cpu_seconds(process):
    return time.clock_gettime(cpu_clock(process.pid))


def used(process):
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime


def until(condition, what):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise Broken(f"{what}: not within {PATIENCE_SECONDS} s")
        time.sleep(0.001)


def await_position(pid, path):
    """Waits until the process has read all of the file."""

    def is_at_end():
        folder = f"/proc/{pid}/fd"
        for descriptor in os.listdir(folder):
            try:
                if os.readlink(f"{folder}/{descriptor}") == path:
                    with open(f"/proc/{pid}/fdinfo/{descriptor}") as info:
                        return int(re.search(r"pos:\s+(\d+)", info.read())[1]) == os.path.getsize(path)
            except FileNotFoundError:
                pass
        return False

    until(is_at_end, f"tail reads {path}")


def await_sleep(pid):
    def sleeps():
        with open(f"/proc/{pid}/stat") as stat:
            if stat.read().rsplit(")", 1)[1].split()[0] != "S":
                return False
        with open(f"/proc/{pid}/wchan") as wchan:
            return "pipe" not in wchan.read()

    until(sleeps, "tail sleeps")


def catch_up(bench, length_bytes, bound):
    """A client comes back with an id from the first line of a large file."""
    mebibytes, rounds = (256, 3) if bench.quick else (1024, 5)
    path = bench.path("large.log")
    with open(path, "wb") as file:
        file.write(line(0, length_bytes))
    with Running([bench.programs.ours], environment(path)) as running:
        text = running.read_lines(b"\n\n")
        last_id = re.search(r"^id: (\S+)\ndata: ", text, re.M)
        if not last_id:
            raise Broken(f"no id in {text!r}")
    with open(path, "ab") as file:
        block = b"".join(line(n, length_bytes) for n in range(1, 1 + (1 << 20) // length_bytes))
        while file.tell() < mebibytes << 20:
            file.write(block)
        file.write(LAST + b"\n")
    size = os.path.getsize(path)
    env = environment(path, HTTP_LAST_EVENT_ID=last_id[1], SSE_REPLAY="2G")
    commands = ([bench.programs.ours], ["cat", path])
    speed, cpu = ([], []), ([], [])
    for round_ in range(-1, rounds):
        for which, command in enumerate(commands):
            started = time.monotonic()
            with Running(command, env) as running:
                sent = running.read_until(LAST)
                took = time.monotonic() - started
                spent = running.cpu_ns() / 1e9 if which == 0 else running.wait()
            if sent < size - length_bytes:
                raise Broken(f"{command[0]} sent {sent} bytes of {size}")
            if round_ >= 0:
                speed[which].append(size / took / 1e6)
                cpu[which].append(spent / size * 1e12)
    os.remove(path)
    what = f"catch-up of {mebibytes} MiB, lines of {length_bytes} bytes"
    yield Row(what, "MB/s", speed[0], "cat", speed[1], (">=", bound))
    yield Row("the same in CPU per MB", "µs", cpu[0], "cat", cpu[1])
