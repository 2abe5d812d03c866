"""nginx and what stands behind it, for section `fastcgi`, and the crowd that listens."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time

from program import PATIENCE_SECONDS, SCRIPTS, Broken, cpu_clock, run

PROJECT = os.path.dirname(SCRIPTS)
NCHAN = "/usr/lib/nginx/modules/ngx_nchan_module.so"
# nginx needs two descriptors for a subscriber: one for each connection.
DESCRIPTORS = 16384


def install(wanted):
    """Installs the Debian packages of files that are missing, as scripts/test does."""
    missing = sorted(package for path, package in wanted.items() if not os.path.exists(path))
    if not missing:
        return
    as_root = [] if os.geteuid() == 0 else ["sudo", "--non-interactive"]
    if shutil.which("apt-get") is None or as_root and shutil.which("sudo") is None:
        raise Broken(f"install the packages {' '.join(missing)}")
    apt = [*as_root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet"]
    # Debian starts a server when it is installed, unless this forbids it.
    policy = "/usr/sbin/policy-rc.d"
    is_ours = not os.path.exists(policy)
    if is_ours:
        says_no = "#!/bin/sh\nexit 101\n"
        run([*as_root, "install", "-m", "755", "/dev/stdin", policy], input=says_no)
    try:
        run([*apt, "update"])
        run([*apt, "install", "--yes", "--no-install-recommends", *missing])
    finally:
        if is_ours:
            run([*as_root, "rm", "-f", policy])


def cargo_build(*what):
    """Builds with the release profile, and returns the paths of the programs."""
    command = ["cargo", "build", "--quiet", "--release", "--locked", *what]
    out = run([*command, "--message-format=json"], cwd=PROJECT)
    built = {}
    for row in out.splitlines():
        message = json.loads(row)
        if message.get("executable"):
            built[message["target"]["name"]] = message["executable"]
    return built


def tied(command):
    """It ends with us, whatever happens."""
    return ["setpriv", "--pdeathsig", "KILL", *command]


class Process:
    """A server; its memory and CPU."""

    def __init__(self, command, log, **options):
        self.log = log
        self.name = os.path.basename(command[0])
        with open(log, "ab") as errors:
            self.process = subprocess.Popen(
                tied(command),
                stdin=options.pop("stdin", subprocess.DEVNULL),
                stdout=subprocess.DEVNULL,
                stderr=errors,
                **options,
            )
        self.pid = self.process.pid

    def cpu_ns(self):
        return time.clock_gettime_ns(cpu_clock(self.pid))

    def memory_bytes(self):
        """Its own: what was allocated, and stacks, but no files."""
        with open(f"/proc/{self.pid}/status") as status:
            return 1024 * int(re.search(r"^RssAnon:\s+(\d+)", status.read(), re.M)[1])

    def until(self, condition, what):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            if self.process.poll() is not None or time.monotonic() > deadline:
                with open(self.log) as log:
                    raise Broken(f"{self.name}: {what}: not so; {log.read()[-2000:]}")
            time.sleep(0.005)

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(1)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Nginx(Process):
    """One worker, so that its CPU is one figure."""

    # Not on the responder's CPU.
    upstreams = ""

    def __init__(self, folder, locations):
        self.port = free_port()
        configuration = os.path.join(folder, "nginx.conf")
        shutil.copy("/etc/nginx/fastcgi_params", folder)
        with open(configuration, "w") as file:
            file.write(self.configuration(folder, locations))
        log = os.path.join(folder, "nginx.log")
        super().__init__(["/usr/sbin/nginx", "-p", folder, "-c", configuration], log)
        master = self.pid
        self.until(lambda: can_connect(self.port), "listens")
        self.until(lambda: workers_of(master), "has a worker")
        self.pid = workers_of(master)[0]

    def configuration(self, folder, locations):
        load, locations = locations
        temporary = "".join(
            f"{name}_temp_path {folder}/{name};\n"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        user = "user root;" if os.geteuid() == 0 else ""
        return f"""
            {user}
            {load}
            daemon off;
            worker_processes 1;
            worker_rlimit_nofile {DESCRIPTORS};
            pid {folder}/nginx.pid;
            error_log {folder}/nginx.log warn;
            events {{ worker_connections {DESCRIPTORS - 100}; }}
            http {{
                {temporary}
                access_log off;
                keepalive_requests 1000000;
                upstream sse_fcgi {{ server unix:{folder}/responder.sock; }}
                {self.upstreams}
                server {{
                    listen 127.0.0.1:{self.port} backlog=4096;
                    {locations}
                }}
            }}
        """


def workers_of(master):
    """By their titles: nginx has had other children by then, and may have."""

    def is_worker(pid):
        with open(f"/proc/{pid}/cmdline") as line:
            return "worker process" in line.read()

    with open(f"/proc/{master}/task/{master}/children") as pids:
        return [int(pid) for pid in pids.read().split() if is_worker(pid)]


class Crowd:
    """tests/load/client.rs: what it is told, and how long that took."""

    def __init__(self, program, port, target, line_bytes, publish):
        command = [program, str(port), target, str(line_bytes), *publish]
        self.process = subprocess.Popen(
            tied(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.pid = self.process.pid

    def say(self, *words):
        print(*words, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline().split()
        if not answer:
            raise Broken(f"the crowd failed to {' '.join(map(str, words))}")
        return [float(number) for number in answer]

    def end(self):
        self.process.stdin.close()
        try:
            self.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


class Served:
    """nginx, a responder or none, and a crowd of clients; the folder is theirs."""

    def __init__(self, folder, program, responder=None, line_bytes=100):
        os.mkdir(folder)
        os.chmod(folder, 0o755)
        self.responder = self.nginx = self.crowd = None
        try:
            self._start(folder, program, responder, line_bytes)
        except BaseException:
            self.end()
            raise

    def _start(self, folder, program, responder, line_bytes):
        path = os.path.join(folder, "lines.txt")
        if responder is None:
            self.nginx = Nginx(folder, (f"load_module {NCHAN};", NCHAN_LOCATIONS))
            publish = ["post", "/publish"]
        else:
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listener.bind(os.path.join(folder, "responder.sock"))
            listener.listen(4096)
            log = os.path.join(folder, "responder.log")
            env = {"PATH": os.environ["PATH"]}
            self.responder = Process([responder, "--allow-root"], log, stdin=listener, env=env)
            listener.close()
            self.nginx = Nginx(folder, ("", fastcgi_locations(path)))
            publish = ["file", path]
        self.crowd = Crowd(program, self.nginx.port, "/events", line_bytes, publish)

    def cpu_ns(self):
        """Of the responder, and of nginx."""
        responder = self.responder.cpu_ns() if self.responder else 0
        return responder, self.nginx.cpu_ns()

    def end(self):
        for part in (self.crowd, self.nginx, self.responder):
            if part:
                part.end()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()


def fastcgi_locations(path):
    """Who takes nothing for 30 s is let go of, and a minute at 600 kB/s is more than the
    16 MB that a client which returns may be behind, if nothing else is set."""
    return f"""
        location = /events {{
            include {PROJECT}/nginx/snippets/sse-cgi.conf;
            fastcgi_param SSE_STREAM tail;
            fastcgi_param SSE_FILE {path};
            fastcgi_param SSE_REPLAY 1G;
        }}
        location @sse_later {{ return 503; }}
    """


# The same amount of history as the others, kept for the same time.
NCHAN_LOCATIONS = """
    location = /events {
        nchan_subscriber eventsource;
        nchan_channel_id crowd;
    }
    location = /publish {
        nchan_publisher;
        nchan_channel_id crowd;
        nchan_message_buffer_length 2000;
        nchan_message_timeout 1h;
    }
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def can_connect(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
