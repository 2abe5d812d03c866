"""The programs that are compared, and one of them running."""

import os
import platform
import re
import select
import shutil
import signal
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SCRIPTS = os.path.dirname(HERE)

# inotify_init1 and inotify_add_watch, for Perl's syscall().
INOTIFY_NUMBERS = {"x86_64": "294,254", "aarch64": "26,27"}

PATIENCE_SECONDS = 30


class Broken(Exception):
    """Something does not work; unlike a bound that is missed, it ends the run."""


class Programs:
    """Paths of the programs, built."""

    def __init__(self, folder, release):
        self.folder = folder
        if release is None:
            build = os.path.join(SCRIPTS, "build")
            run([build])
            release = run([build, "--print-dir"]).strip()
        self.release = release
        self.ours = os.path.abspath(os.path.join(release, "nph-tail"))
        self.c = self.compile("tail.c", "c-tail")
        self.c_anchored = self.compile("tail.c", "c-tail-anchored", "-DANCHOR")
        self.first_byte = self.compile("first_byte.c", "first_byte")
        need("perl", "perl")
        self.perl = os.path.join(folder, "perl-tail")
        shutil.copyfile(os.path.join(HERE, "tail.pl"), self.perl)
        os.chmod(self.perl, 0o755)

    def compile(self, source, name, *flags):
        need("musl-gcc", "musl-tools")
        program = os.path.join(self.folder, name)
        warnings = ["-std=c11", "-Wall", "-Wextra", "-Werror"]
        static = ["-O2", "-static", "-s"]
        source = os.path.join(HERE, source)
        run(["musl-gcc", *warnings, *static, *flags, source, "-o", program])
        return program


def need(tool, package):
    if shutil.which(tool) is None:
        raise Broken(f"{tool}: not found; install the package {package}")


def run(command, **options):
    result = subprocess.run(command, capture_output=True, text=True, **options)
    if result.returncode != 0:
        raise Broken(f"{' '.join(command)}: {result.stderr.strip()}")
    return result.stdout


def environment(path, **settings):
    """What Apache hands to an nph program, and the settings."""
    env = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "GATEWAY_INTERFACE": "CGI/1.1",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": "Apache/2.4 (Unix)",
        "SERVER_NAME": "localhost",
        "SERVER_ADDR": "127.0.0.1",
        "SERVER_PORT": "80",
        "DOCUMENT_ROOT": "/var/www/html",
        "REMOTE_ADDR": "127.0.0.1",
        "REMOTE_PORT": "50000",
        "REQUEST_METHOD": "GET",
        "REQUEST_SCHEME": "http",
        "REQUEST_URI": "/cgi-bin/nph-tail.cgi",
        "QUERY_STRING": "",
        "SCRIPT_NAME": "/cgi-bin/nph-tail.cgi",
        "SCRIPT_FILENAME": "/usr/lib/cgi-bin/nph-tail.cgi",
        "HTTP_HOST": "localhost",
        "HTTP_ACCEPT": "text/event-stream",
        "HTTP_ACCEPT_ENCODING": "gzip, deflate, br",
        "HTTP_ACCEPT_LANGUAGE": "en",
        "HTTP_CACHE_CONTROL": "no-cache",
        "HTTP_CONNECTION": "keep-alive",
        "HTTP_USER_AGENT": "Mozilla/5.0 (X11; Linux x86_64) scripts/bench",
        "SSE_FILE": path,
    }
    numbers = INOTIFY_NUMBERS.get(platform.machine())
    if numbers:
        env["BENCH_INOTIFY"] = numbers
    env.update(settings)
    return env


def cpu_clock(pid):
    """CPUCLOCK_SCHED of another process, see clock_getcpuclockid(3): nanoseconds,
    where /proc/PID/stat has hundredths of a second."""
    return (~pid << 3) | 2


class Running:
    """A started program, its output on a pipe that we read."""

    def __init__(self, command, env=None):
        self.process = subprocess.Popen(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        self.pid = self.process.pid
        self.descriptor = self.process.stdout.fileno()
        self.buffer = bytearray(1 << 20)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def cpu_ns(self):
        return time.clock_gettime_ns(cpu_clock(self.pid))

    def read_until(self, mark):
        """Reads until `mark` has come, and returns how many bytes that took.

        Only the end of each piece is searched, so that reading costs the same
        whatever is read: what is waited for is always the last thing that is sent.
        """
        total, before = 0, b""
        while True:
            ready, _, _ = select.select([self.descriptor], [], [], PATIENCE_SECONDS)
            if not ready:
                raise Broken(f"{self.process.args[0]}: no {mark!r} in {PATIENCE_SECONDS} s")
            count = os.readv(self.descriptor, [self.buffer])
            if count == 0:
                raise Broken(f"{self.process.args[0]}: ended before {mark!r}")
            total += count
            piece = before + self.buffer[max(0, count - 4096) : count]
            if mark in piece:
                return total
            before = piece[-len(mark) :]

    def read_lines(self, last):
        """Everything up to the line `last`, as text."""
        text = b""
        while last not in text:
            ready, _, _ = select.select([self.descriptor], [], [], PATIENCE_SECONDS)
            piece = os.read(self.descriptor, 1 << 16) if ready else b""
            if not piece:
                raise Broken(f"{self.process.args[0]}: {last!r} did not come")
            text += piece
        return text.decode()

    def private_kb(self):
        with open(f"/proc/{self.pid}/smaps_rollup") as rollup:
            return sum(map(int, re.findall(r"^Private_(?:Clean|Dirty): +(\d+)", rollup.read(), re.M)))

    def wake_ups(self):
        with open(f"/proc/{self.pid}/status") as status:
            return int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status.read(), re.M)[1])

    def end(self):
        """Ends it and returns its user and system time in seconds."""
        if self.process.returncode is not None:
            return None
        # Popen.send_signal is not used: it may reap the process, and its times would be
        # lost.
        os.kill(self.pid, signal.SIGTERM)
        self.process.stdout.close()
        return self.wait()

    def wait(self):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                self.process.returncode = os.waitstatus_to_exitcode(status)
                return usage.ru_utime + usage.ru_stime
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
            time.sleep(0.001)
