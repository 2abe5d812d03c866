"""Section `fastcgi`: many subscribers behind nginx, against the crate `fastcgi` and nchan.

The responders are behind the same nginx, with the project's own settings; nchan is in
nginx itself, and has no responder. What is delivered is checked by the clients.
"""

import os

from gateway import NCHAN, Served, cargo_build, install
from table import Row

OURS, CRATE, NCHAN_NAME = "sse-fcgi", "crate fastcgi", "nchan"

# Lines of a burst. nchan writes each of them separately to each subscriber.
BURST = 1000
BURST_MAX = {NCHAN_NAME: 1_000_000}

PACKAGES = {
    "/usr/sbin/nginx": "nginx",
    NCHAN: "libnginx-mod-nchan",
    "/usr/bin/setpriv": "util-linux",
}


def measure(bench):
    install(PACKAGES)
    built = cargo_build("--example", "load_client", "--example", "fastcgi_crate")
    programs = {
        OURS: os.path.join(bench.programs.release, "sse-fcgi"),
        CRATE: built["fastcgi_crate"],
        NCHAN_NAME: None,
    }
    client = built["load_client"]
    # A multiple of the slices in `measured`.
    counts, rounds, events = ([1000], 3, 50) if bench.quick else ([1000, 5000], 4, 60)
    for count in counts:
        found = {name: [] for name in programs}
        for round_ in range(rounds):
            for name, program in programs.items():
                folder = bench.path(f"{name}-{count}-{round_}".replace(" ", "-"))
                with Served(folder, client, program) as served:
                    found[name].append(deliver(served, name, count, events))
        yield from rows(count, found)
    yield from stalled(bench, client, programs[OURS])


def deliver(served, name, count, events):
    """One round of one of them: figures by name."""
    crowd = served.crowd
    responder = served.responder
    crowd.say("open", 10)
    before = responder.memory_bytes() if responder else 0
    crowd.say("open", count - 10)
    figures = {}
    # The first event pays for initialization.
    crowd.say("lockstep", 5)
    measured(served, figures, "lockstep", count, events)
    if responder:
        used = responder.memory_bytes() - before
        figures["memory"] = max(used, 1) / (count - 10)
    if count * BURST <= BURST_MAX.get(name, count * BURST):
        measured(served, figures, "burst", count, BURST)
    return figures


def measured(served, figures, what, count, events):
    # Other work on the machine only makes it slower, at random: of several slices the
    # fastest counts. A burst is measured once.
    slices = 1 if what == "burst" else 5
    from_ns = served.cpu_ns()
    seconds = min(served.crowd.say(what, events // slices)[0] for _ in range(slices))
    to_ns = served.cpu_ns()
    deliveries = count * events
    responder, nginx = [(to - from_) / deliveries / 1000 for from_, to in zip(from_ns, to_ns)]
    figures[what] = {
        "responder": responder,
        "nginx": nginx,
        "path": responder + nginx,
        "rate": deliveries / slices / seconds,
    }


def rows(count, found):
    def of(name, what, figure):
        scale = 1000 if what == "burst" and figure != "rate" else 1
        return [scale * figures[what][figure] for figures in found[name] if what in figures]

    for what, unit in (("lockstep", "µs"), ("burst", "ns")):
        case = f"{what}, {count} subscribers"
        pair = lambda figure, other, bound: (  # noqa: E731
            of(OURS, what, figure),
            other,
            of(other, what, figure),
            bound,
        )
        cpu = f"CPU per delivery, {case}: "
        yield Row(cpu + "responder", unit, *pair("responder", CRATE, ("<=", 0.12)))
        yield Row(cpu + "with nginx", unit, *pair("path", CRATE, ("<=", 0.45)))
        ours, nginx = of(OURS, what, "responder"), of(OURS, what, "nginx")
        yield Row(cpu + "responder", unit, ours, "its nginx", nginx, ("<=", 0.2))
        if of(NCHAN_NAME, what, "rate"):
            least = 0.68 if what == "lockstep" else 20
            yield Row(cpu + "with nginx", unit, *pair("path", NCHAN_NAME, None))
            rate = pair("rate", NCHAN_NAME, (">=", least))
            yield Row(f"deliveries, {case}", "1/s", *rate)
    memory = {name: [f["memory"] for f in found[name] if "memory" in f] for name in found}
    what = f"responder's memory a subscriber, {count}"
    yield Row(what, "bytes", memory[OURS], CRATE, memory[CRATE], ("<=", 0.02))


def stalled(bench, client, program):
    """20 of 500 read nothing for a minute: the delay of the others."""
    seconds, rounds = (8, 1) if bench.quick else (60, 1)
    delays = {0: [], 20: []}
    for round_ in range(rounds):
        for count, found in delays.items():
            folder = bench.path(f"stalled-{count}-{round_}")
            with Served(folder, client, program, line_bytes=1000) as served:
                served.crowd.say("open", 500)
                served.crowd.say("steady", 2, 0)
                median, slow, _ = served.crowd.say("steady", seconds, count)
                found.append((median * 1e6, slow * 1e6))
    for index, which in ((0, "median"), (1, "99 of 100")):
        with_, without = ([pair[index] for pair in delays[count]] for count in (20, 0))
        what = f"delay at 600 kB/s, 20 of 500 read nothing for {seconds} s: {which}"
        yield Row(what, "µs", with_, "all read", without, ("<=", 1.3))
