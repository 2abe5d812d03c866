"""The table: what was measured, against what, and whether the bound holds."""

import statistics

HEADS = ["what", "sse-cgi", "baseline", "ratio", "bound", ""]


class Row:
    """One comparison.

    `ours` and `theirs` are lists of measurements (interleaved, so that item N of both
    was taken under the same conditions), or single numbers. The ratio is that of the
    medians. `bound` is ("<=" or ">=", number), or None for a row that only informs.
    """

    def __init__(self, what, unit, ours, against=None, theirs=None, bound=None):
        self.what = what
        self.unit = unit
        self.ours = ours if isinstance(ours, list) else [ours]
        self.against = against
        self.theirs = theirs if theirs is None or isinstance(theirs, list) else [theirs]
        self.bound = bound

    def figure(self):
        """What is compared with the bound: the ratio, or our number alone."""
        ours = statistics.median(self.ours)
        if self.theirs is None:
            return ours
        return ours / max(statistics.median(self.theirs), 1e-9)

    def verdict(self):
        if self.bound is None:
            return ""
        sign, limit = self.bound
        holds = self.figure() <= limit if sign == "<=" else self.figure() >= limit
        return "OK" if holds else "MISSED"

    def record(self):
        """What Row(**record) makes a row of again."""
        return dict(vars(self))

    def cells(self):
        ratio = number(self.figure()) if self.theirs is not None else ""
        theirs = f"{self.against}: {spread(self.theirs)}" if self.theirs is not None else ""
        sign = {"<=": "≤", ">=": "≥"}
        bound = f"{sign[self.bound[0]]} {self.bound[1]:g}" if self.bound else ""
        what = f"{self.what}, {self.unit}"
        return [what, spread(self.ours), theirs, ratio, bound, self.verdict()]


def number(value):
    if value == 0:
        return "0"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:.{digits}f}"


def spread(values):
    """The median, and where the middle half of the measurements lies."""
    median = number(statistics.median(values))
    if len(values) < 4:
        return median
    low, _, high = statistics.quantiles(values, n=4)
    return f"{median} ({number(low)}–{number(high)})"


def show(rows):
    lines = [HEADS, *(row.cells() for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADS))]
    out = []
    for index, line in enumerate(lines):
        cells = [cell.ljust(width) for cell, width in zip(line, widths)]
        out.append("| " + " | ".join(cells) + " |")
        if index == 0:
            out.append("|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(out)
