"""Bar charts, as SVG, of the tables that the benchmark prints or that a page publishes."""

import html
import math
import re

# The tables that docs/running-at-scale.md publishes: its heading, the picture, the title.
PUBLISHED = {
    "## Measured: CGI programs": ("bench-cgi", "CGI programs: ratios to the baselines"),
    "## Behind nginx": ("bench-nginx", "sse-fcgi behind nginx: ratios to the baselines"),
    "## Without a web server": ("bench-http", "sse-httpd: ratios to the baselines"),
}

WIDTH = 760
LEFT = 24
# Of a letter, for the width of the column of labels.
LETTER = 7.2
RIGHT = 496
TEXT = 510
BAR = 12
STEP = 20
TITLE_STEP = 24
NUMBER = r"\d+(?:\.\d+)?"

STYLE = """
    svg { font-family: system-ui, sans-serif; font-size: 13px }
    .back { fill: #f4f6f9 } text { fill: #17202b } .small { fill: #4a5766; font-size: 12px }
    .title { font-size: 16px; font-weight: 600 } .group { font-weight: 600 }
    .bar { fill: #2f7bc8 } .missed { fill: #b8501a } .grid { stroke: #cbd3dc }
    .one { stroke: #566373; stroke-width: 1.5 } .bound { stroke: #17202b; stroke-width: 2.5 }
    .range { stroke: #17202b }
    @media (prefers-color-scheme: dark) {
      .back { fill: #171d25 } text { fill: #e6ebf1 } .small { fill: #a9b6c5 }
      .bar { fill: #4f9be6 } .missed { fill: #e58a4e } .grid { stroke: #364150 }
      .one { stroke: #a9b6c5 } .bound, .range { stroke: #ffffff }
    }
"""


class Bar:
    """A figure, from `low` to `high`, and its bound: ("≤" or "≥", number).

    `whole` is the bound of a figure without a baseline: its bar is drawn in percent of it.
    """

    def __init__(self, label, cell, bound, verdict="", unit="", whole=None):
        figures = [float(figure) for figure in re.findall(NUMBER, cell)]
        self.label = label
        self.high = max(figures)
        # Several figures without a baseline, of several programs, keep to the bound as one.
        self.low = self.high if whole else min(figures)
        self.bound = bound
        self.whole = whole
        said = {"≤": "at most", "≥": "at least"}
        self.text = cell + unit
        if bound:
            self.text += f", {said[bound[0]]} {bound[1]:g}"
        # What the table says was decided before the figures were rounded.
        self.missed = verdict == "MISSED"
        if bound and not verdict:
            self.missed = self.high > bound[1] if bound[0] == "≤" else self.low < bound[1]
        if self.missed:
            self.text += ": missed"


class Table(list):
    """Rows of cells; the first has the heads."""

    def column(self, name):
        return self[0].index(name)


def tables(page):
    """The first table below each heading of a Markdown page, by heading."""
    found = {}
    heading = None
    table = None
    for line in page.split("\n"):
        if line.startswith("#"):
            heading = line.strip()
            table = None
        if not line.startswith("|"):
            table = None
            continue
        if table is None:
            table = Table()
            found.setdefault(heading, table)
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not all(re.fullmatch(r":?-+:?", cell) for cell in cells):
            table.append(cells)
    return found


def bound_in(cell, column=""):
    """Of "≥ 0.68, burst ≥ 20": the bound of the columns that contain "burst", or the other."""
    general = None
    for part in filter(None, cell.split(", ")):
        what, sign, limit = re.fullmatch(rf"(.*?) ?([≤≥]) ({NUMBER})", part).groups()
        if not what:
            general = (sign, float(limit))
        elif what in column:
            return (sign, float(limit))
    return general


def groups(table):
    """Of a table: (title, bars) of the ratios, and of the figures without a baseline."""
    ratios, wholes = [], []

    def add(to, title, bar):
        if not to or to[-1][0] != title:
            to.append((title, []))
        to[-1][1].append(bar)

    heads = table[0]
    bound = table.column("bound")
    for row in table[1:]:
        if heads[0] != "what":
            # Each column between the name and the bound has ratios.
            for column in range(1, bound):
                if row[column]:
                    label = heads[column] if bound > 2 else ""
                    limit = bound_in(row[bound], label)
                    add(ratios, row[0], Bar(label, row[column], limit))
            continue
        what, ours, baseline, ratio, _, verdict = row
        limit = bound_in(row[bound])
        if ratio:
            add(ratios, what, Bar(baseline.rsplit(":", 1)[0], ratio, limit, verdict))
        elif limit:
            name, unit = what.rsplit(", ", 1)
            unit = "" if unit == "count" else f" {unit}"
            ours = ours.split(" (")[0]
            add(wholes, name, Bar("", ours, limit, verdict, unit, limit[1]))
    return ratios, wholes


class Scale:
    """Places ratios on a logarithmic axis around 1, or percents on a linear one."""

    def __init__(self, bars, left):
        self.left = left
        self.whole = any(bar.whole for bar in bars)
        if self.whole:
            self.least = 0
            self.most = max(max(100 * bar.high / bar.whole for bar in bars), 110)
            self.ticks = range(0, int(self.most) + 1, 25)
            return
        figures = [1.0]
        for bar in bars:
            figures += [bar.low, bar.high] + ([bar.bound[1]] if bar.bound else [])
        self.least = math.log10(max(min(figures), 1e-4) / 1.25)
        self.most = math.log10(max(figures) * 1.25)
        steps = (1,) if self.most - self.least > 3 else (1, 2, 5)
        decades = range(math.floor(self.least), math.ceil(self.most) + 1)
        places = (step * 10.0**decade for decade in decades for step in steps)
        self.ticks = [at for at in places if self.least <= math.log10(at) <= self.most]

    def x(self, figure):
        at = figure if self.whole else math.log10(max(figure, 1e-4))
        return self.left + (at - self.least) / (self.most - self.least) * (RIGHT - self.left)

    def of(self, bar, figure):
        return self.x(100 * figure / bar.whole if self.whole else figure)

    def name(self, tick):
        return f"{tick} %" if self.whole else f"{tick:g}"


class Drawing:
    """Parts of an SVG, from the top to the bottom."""

    def __init__(self):
        self.parts = []
        self.y = 0

    def text(self, x, y, words, kind="", anchor=""):
        kind = f' class="{kind}"' if kind else ""
        anchor = f' text-anchor="{anchor}"' if anchor else ""
        words = html.escape(words, quote=False)
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}"{kind}{anchor}>{words}</text>')

    def line(self, x, top, bottom, kind):
        self.parts.append(f'<path class="{kind}" d="M{x:.1f} {top:.1f}V{bottom:.1f}"/>')

    def panel(self, parts, note):
        """Bars that have an axis in common."""
        if not parts:
            return
        bars = [bar for _, several in parts for bar in several]
        longest = max(len(bar.label) for bar in bars)
        scale = Scale(bars, LEFT + (12 + LETTER * longest if longest else 0))
        self.text(LEFT, self.y + 12, note, "small")
        top = self.y + 40
        height = sum(TITLE_STEP + STEP * len(several) for _, several in parts)
        for tick in scale.ticks:
            is_one = tick == (100 if scale.whole else 1)
            self.line(scale.x(tick), top, top + height, "one" if is_one else "grid")
            self.text(scale.x(tick), top - 5, scale.name(tick), "small", "middle")
        self.y = top
        for title, several in parts:
            self.y += TITLE_STEP
            self.text(LEFT, self.y - 5, title, "group")
            for bar in several:
                self.bar(bar, scale)
                self.y += STEP
        self.y += 24

    def bar(self, bar, scale):
        origin = scale.x(0 if scale.whole else 1)
        low, high = scale.of(bar, bar.low), scale.of(bar, bar.high)
        end = (low + high) / 2
        left, width = min(origin, end), max(abs(end - origin), 1)
        kind = "missed" if bar.missed else "bar"
        top = self.y + 2
        self.parts.append(
            f'<rect class="{kind}" x="{left:.1f}" y="{top:.1f}"'
            f' width="{width:.1f}" height="{BAR}"/>'
        )
        if high > low:
            middle = top + BAR / 2
            self.parts.append(
                f'<path class="range" d="M{low:.1f} {middle:.1f}H{high:.1f}'
                f'M{low:.1f} {top + 3:.1f}v{BAR - 6}M{high:.1f} {top + 3:.1f}v{BAR - 6}"/>'
            )
        if bar.bound:
            self.line(scale.of(bar, bar.bound[1]), top - 3, top + BAR + 3, "bound")
        if bar.label:
            self.text(LEFT, top + 10, bar.label)
        self.text(TEXT, top + 10, bar.text)

    def finish(self, title, about):
        about = html.escape(about, quote=False)
        title = html.escape(title, quote=False)
        height = f"{self.y:.0f}"
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"'
                f' width="{WIDTH}" height="{height}" role="img" aria-labelledby="t d">',
                f'  <title id="t">{title}</title>',
                f'  <desc id="d">{about}</desc>',
                f"  <style>{STYLE}  </style>",
                f'  <rect class="back" width="{WIDTH}" height="{height}" rx="10"/>',
                *(f"  {part}" for part in self.parts),
                "</svg>",
                "",
            ]
        )


def draw(title, table):
    """The SVG of a table."""
    ratios, wholes = groups(table)
    drawing = Drawing()
    drawing.text(LEFT, 34, title, "title")
    drawing.y = 48
    drawing.panel(
        ratios,
        "sse-cgi divided by the baseline, logarithmic: 1 is as much as the baseline."
        " A thick line is the bound.",
    )
    drawing.panel(wholes, "Without a baseline: in percent of what is permitted.")
    about = "; ".join(
        f"{name}{', ' + bar.label if bar.label else ''}: {bar.text}"
        for name, bars in ratios + wholes
        for bar in bars
    )
    return drawing.finish(title, about)


def published(page):
    """The pictures of the tables that a page publishes: names, and SVG."""
    found = tables(page)
    return {name: draw(title, found[at]) for at, (name, title) in PUBLISHED.items()}
