"""Section `cgi`: one process for each stream, against Perl and C that do the same."""

import os
import re
import shutil
import subprocess
import time

from program import Broken, Running, environment, need, run
from table import Row

# Starts a follower whose user has no inotify instance left, without taking instances from
# other processes: a user namespace has its own limit.
NO_INOTIFY = ["unshare", "--user", "--map-root-user", "sh", "-c"]
NO_INOTIFY_SCRIPT = 'echo 0 >/proc/sys/user/max_inotify_instances && exec "$0"'

BINARY_MAX_MB = 1.6


def measure(bench):
    same_job(bench)
    yield from first_byte(bench)
    yield from private_memory(bench)
    yield from cpu_per_event(bench)
    yield from wake_ups(bench)
    yield from sizes(bench)


def line(number, length_bytes=100):
    text = b"2026-11-21T09:00:00.123Z INFO request %012d served in 12 ms by worker 3 " % number
    return text.ljust(length_bytes - 1, b"x")[: length_bytes - 1] + b"\n"


def make_file(path, lines):
    with open(path, "wb") as file:
        file.write(b"".join(line(n) for n in range(lines)))
    return path


def same_job(bench):
    """Refuses to compare programs that do not deliver the same."""
    seen = {}
    programs = bench.programs
    for program in (programs.ours, programs.c, programs.c_anchored, programs.perl):
        path = make_file(bench.path("same.log"), 1000)
        with Running([program], environment(path)) as running:
            text = running.read_lines(line(999)[:-1] + b"\n\n")
            with open(path, "ab", buffering=0) as file:
                file.write(b"unfini")
                file.write(b"shed\r\nlast\n")
            text += running.read_lines(b"data: last\n\n")
            rotated = path + ".1"
            os.rename(path, rotated)
            with open(path, "wb", buffering=0) as file:
                file.write(b"new\n")
            text += running.read_lines(b"data: new\n\n")
            running.process.stdout.close()
            with open(path, "ab", buffering=0) as file:
                file.write(b"nobody reads this\n")
            running.wait()
        os.remove(rotated)
        offsets = re.findall(r"^id: (\d+)", text, re.M)
        seen[program] = [offsets, re.findall(r"^data: (.*)$", text, re.M)]
    if len({repr(found) for found in seen.values()}) != 1:
        raise Broken(f"the programs do not do the same: {seen}")


def first_byte(bench):
    programs = bench.programs
    path = make_file(bench.path("first.log"), 1000)
    rounds = 100 if bench.quick else 400
    order = [programs.ours, programs.c, programs.perl]
    pin = ["taskset", "-c", str(max(os.sched_getaffinity(0)))] if shutil.which("taskset") else []
    command = [*pin, programs.first_byte, str(rounds), *order]
    times = [[], [], []]
    for row in run(command, env=environment(path)).splitlines():
        which, nanoseconds = map(int, row.split())
        times[which].append(nanoseconds / 1000)
    ours, c, perl = times
    yield Row("exec to first byte", "µs", ours, "Perl", perl, ("<=", 0.2))
    yield Row("exec to first byte", "µs", ours, "C", c, ("<=", 3.2))


def private_memory(bench):
    """Of one of several streams, as a server has them: what they share counts once."""
    programs = bench.programs
    path = make_file(bench.path("memory.log"), 1000)
    streams = {
        program: [Running([program], environment(path)) for _ in range(6)]
        for program in (programs.ours, programs.c, programs.perl)
    }
    everybody = [running for group in streams.values() for running in group]
    for running in everybody:
        running.read_until(line(999))
    for number in range(1000, 1020):
        with open(path, "ab", buffering=0) as file:
            file.write(line(number))
        for running in everybody:
            running.read_until(line(number))
    used = {p: [running.private_kb() for running in group] for p, group in streams.items()}
    for running in everybody:
        running.end()
    ours, c, perl = used[programs.ours], used[programs.c], used[programs.perl]
    yield Row("private memory of an idle stream", "kB", ours, "Perl", perl, ("<=", 0.18))
    yield Row("private memory of an idle stream", "kB", ours, "C", c)


def cpu_per_event(bench):
    """In lockstep: a line is appended when the one before has arrived."""
    programs = bench.programs
    order = [programs.ours, programs.c, programs.c_anchored, programs.perl]
    blocks, events = (12, 100) if bench.quick else (40, 150)
    before = os.sched_getaffinity(0)
    # One CPU for the writer and the followers: the scheduler's placement must not influence
    # the latency of a wake-up.
    os.sched_setaffinity(0, {max(before)})
    streams = []
    try:
        for index, program in enumerate(order):
            path = make_file(bench.path(f"lockstep.{index}.log"), 1000)
            running = Running([program], environment(path))
            running.read_until(line(999))
            streams.append((running, open(path, "ab", buffering=0)))
        spent = [[] for _ in order]
        number = 1000
        for block in range(-1, blocks):
            for index, (running, file) in enumerate(streams):
                from_ns = running.cpu_ns()
                for number in range(number, number + events):
                    file.write(line(number))
                    running.read_until(line(number))
                if block >= 0:
                    spent[index].append((running.cpu_ns() - from_ns) / events / 1000)
    finally:
        os.sched_setaffinity(0, before)
        for running, file in streams:
            running.end()
            file.close()
    ours, c, c_anchored, perl = spent
    yield Row("CPU per event", "µs", ours, "C", c, ("<=", 1.1))
    yield Row("CPU per event", "µs", ours, "C, hashed ids", c_anchored)
    yield Row("CPU per event", "µs", ours, "Perl", perl)


def wake_ups(bench):
    """Of streams with nothing to say, all at once, over several heartbeats."""
    programs = bench.programs
    heartbeat, seconds = (2, 5) if bench.quick else (5, 16)
    path = make_file(bench.path("idle.log"), 100)
    env = environment(path, SSE_HEARTBEAT=f"{heartbeat}s")
    with Running([programs.ours], env) as with_inotify, exhausted(programs, env) as without:
        with_inotify.read_until(line(99))
        if without:
            without.read_until(line(99))
        time.sleep(0.2)
        watched = [running for running in (with_inotify, without) if running]
        started = [running.wake_ups() for running in watched]
        time.sleep(seconds)
        woken = [running.wake_ups() - first for running, first in zip(watched, started)]
    beats = seconds // heartbeat
    what = f"wake-ups in {seconds} s of silence, heartbeat {heartbeat} s"
    yield Row(f"{what}, inotify", "count", float(woken[0]), bound=("<=", beats))
    if without:
        what = "wake-ups of an idle stream, no inotify left"
        yield Row(what, "1/s", woken[1] / seconds, bound=("<=", 2))


class exhausted:
    """A follower whose user has no inotify instance left; None where there are no
    user namespaces."""

    def __init__(self, programs, env):
        command = [*NO_INOTIFY, NO_INOTIFY_SCRIPT]
        self.running = None
        need("unshare", "util-linux")
        if subprocess.run([*command, "/bin/true"], stderr=subprocess.DEVNULL).returncode == 0:
            self.running = Running([*command, programs.ours], env)

    def __enter__(self):
        return self.running

    def __exit__(self, *_):
        if self.running:
            self.running.end()


def sizes(bench):
    release = bench.programs.release
    names = sorted(
        name
        for name in os.listdir(release)
        if name.startswith("nph-") and os.access(os.path.join(release, name), os.X_OK)
    )
    for name in names:
        megabytes = os.path.getsize(os.path.join(release, name)) / 1e6
        yield Row(f"size of {name}", "MB", megabytes, bound=("<=", BINARY_MAX_MB))
