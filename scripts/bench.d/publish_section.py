"""Section `publish`: from a POST to its event, against a small Node server with express.

Both stand behind the same nginx, with one subscriber. Ours appends each record to a file
and reads it from there; the Node server keeps nothing. nginx keeps its connections to
the Node server, as its users set it up, and opens one to ours for each post, as our
snippet does.
"""

import json
import os
import shutil
import socket
import subprocess

from gateway import PROJECT, Nginx, Process, install
from program import HERE, PATIENCE_SECONDS, Broken, need, run
from table import Row

OURS, KEPT, NODE = "sse", "kept", "node"
EXPRESS = "express, stores nothing"
POSTERS = 4
WARM_UP = 5000

PACKAGES = {
    "/usr/sbin/nginx": "nginx-light",
    "/usr/bin/setpriv": "util-linux",
}


def measure(bench):
    install(PACKAGES)
    server, client = express(), compiled(bench)
    responder = os.path.join(bench.programs.release, "sse-fcgi")
    # Many short rounds: the kernel's choice of CPUs for client, nginx and server can double
    # or halve the delay, and it keeps its choice for a while.
    rounds, posts = (21, 100) if bench.quick else (61, 200)
    found = {name: [] for name in (OURS, KEPT, NODE)}
    with Both(bench.path("publish"), responder, server) as both:
        ask = lambda name, *what: said(client, both.nginx.port, name, *what)  # noqa: E731
        for name in found:
            # After this the code has been compiled just in time.
            ask(name, "lockstep", WARM_UP)
        for round_ in range(rounds):
            # The order alternates.
            for name in sorted(found, reverse=round_ % 2 == 1):
                middle, slow = ask(name, "lockstep", posts)
                (rate,) = ask(name, "parallel", posts * POSTERS, POSTERS)
                found[name].append((middle, slow, rate))
        both.check(2 * rounds * posts * (1 + POSTERS))
    yield from rows(found)


def rows(found):
    ours, kept, node = (list(zip(*found[name])) for name in (OURS, KEPT, NODE))
    figures = (
        ("publish to delivery, p50", "µs", ("<=", 0.7)),
        ("publish to delivery, p90", "µs", None),
        (f"publish, {POSTERS} clients", "1/s", (">=", 1)),
    )
    for index, (what, unit, bound) in enumerate(figures):
        yield Row(what, unit, list(ours[index]), EXPRESS, list(node[index]), bound)
        what += ", fastcgi_keep_conn on"
        yield Row(what, unit, list(kept[index]), EXPRESS, list(node[index]))


def said(client, port, name, *what):
    """What the client measured."""
    command = [client, port, f"/{name}/events", f"/{name}/publish", *what]
    try:
        out = run([str(word) for word in command], timeout=4 * PATIENCE_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise Broken(f"the client failed to publish by {name}: {error}") from error
    return [float(number) for number in out.split()]


def compiled(bench):
    program = bench.path("publish_client")
    source = os.path.join(HERE, "publish_client.rs")
    run(["rustc", "--edition", "2024", "-O", "-D", "warnings", source, "-o", program])
    return program


def express():
    """Installs the Node server beside what else is built; the path of its program."""
    need("node", "nodejs")
    need("npm", "npm")
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(PROJECT, "target"))
    folder = os.path.join(target, "bench-express")
    os.makedirs(folder, exist_ok=True)
    for name in ("package.json", "server.js"):
        shutil.copyfile(os.path.join(HERE, "express", name), os.path.join(folder, name))
    quietly = ["--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error"]
    run(["npm", "--prefix", folder, "install", "--omit=dev", *quietly])
    return os.path.join(folder, "server.js")


class Both:
    """One nginx, and behind it the responder and the Node server."""

    def __init__(self, folder, responder, server):
        os.mkdir(folder)
        os.chmod(folder, 0o755)
        self.file = os.path.join(folder, "events.jsonl")
        self.parts = []
        try:
            self._start(folder, responder, server)
        except BaseException:
            self.end()
            raise

    def _start(self, folder, responder, server):
        env = {"PATH": os.environ["PATH"], "NODE_ENV": "production"}
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(os.path.join(folder, "responder.sock"))
            listener.listen(4096)
            log = os.path.join(folder, "responder.log")
            self.parts.append(Process([responder, "--allow-root"], log, stdin=listener, env=env))
        door = os.path.join(folder, "node.sock")
        node = Process(["node", server, door], os.path.join(folder, "node.log"), env=env)
        self.parts.append(node)
        node.until(lambda: answers(door), "listens")
        self.nginx = Front(folder, ("", locations(self.file)))
        self.parts.append(self.nginx)

    def check(self, least):
        """The client has seen every record come down; here they are in the file."""
        with open(self.file) as file:
            records = [json.loads(line) for line in file]
        if len(records) < least:
            raise Broken(f"sse-fcgi: {len(records)} records in the file, not {least}")

    def end(self):
        for part in reversed(self.parts):
            part.end()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()


class Front(Nginx):
    """nginx as it is for the responder, and with a way to the Node server."""

    def configuration(self, folder, locations):
        self.upstreams = f"""
            upstream sse_kept {{ server unix:{folder}/responder.sock; keepalive 8; }}
            upstream node {{ server unix:{folder}/node.sock; keepalive 8; }}
        """
        return super().configuration(folder, locations)


def locations(path):
    snippet = f"{PROJECT}/nginx/snippets/sse-cgi.conf"
    publish = "fastcgi_param SSE_STREAM publish; fastcgi_param SSE_PUBLISH_ALLOW anyone;"
    tail = "fastcgi_param SSE_STREAM tail; fastcgi_param SSE_BACKLOG 0;"
    file = f"fastcgi_param SSE_FILE {path};"
    with open(snippet) as text:
        kept = text.read().replace("fastcgi_pass sse_fcgi;", "fastcgi_pass sse_kept;")
    kept = kept.replace("fastcgi_keep_conn off;", "fastcgi_keep_conn on;")
    kept = kept.replace("include fastcgi_params;", "include /etc/nginx/fastcgi_params;")
    return f"""
        location = /{OURS}/events {{ include {snippet}; {tail} {file} }}
        location = /{OURS}/publish {{ include {snippet}; {publish} {file} }}
        location = /{KEPT}/events {{ include {snippet}; {tail} {file} }}
        location = /{KEPT}/publish {{ {kept} {publish} {file} }}
        location /{NODE}/ {{
            proxy_pass http://node/;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
        location @sse_later {{ return 503; }}
    """


def answers(door):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return os.path.exists(door) and probe.connect_ex(door) == 0
