"""Numbers and tables for people."""

from __future__ import annotations

from collections.abc import Collection, Sequence

PREFIXES = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def quantity(value: float, unit: str) -> str:
    """A number of three digits with its unit: 512 B, 1.07 GB, 671 MFLOP."""
    for size, prefix in PREFIXES:
        if value >= 0.9995 * size:  # what rounds to a thousand gets the next prefix
            return f"{_three(value / size)} {prefix}{unit}"
    return f"{_three(value)} {unit}"


def _three(value: float) -> str:
    """Three digits, not in the form 1e+03."""
    return f"{value:.0f}" if value >= 99.95 else f"{value:.3g}"


def duration(seconds: float) -> str:
    """A time as days, hours, minutes, seconds: 4.2s, 3m 05s, 2d 00h 15m 30s."""
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    d, h = divmod(hours, 24)
    parts = [(d, "d"), (h, "h"), (m, "m"), (s, "s")]
    first = next(i for i, (n, _) in enumerate(parts) if n)
    return " ".join(f"{n}{unit}" if i == first else f"{n:02}{unit}" for i, (n, unit) in enumerate(parts) if i >= first)


def share(value: float) -> str:
    """A share of a whole with three digits, in per cent, or per million when it is tiny."""
    return f"{1e6 * value:.3g} per million" if 0 < value < 1e-4 else f"{100 * value:.3g} %"


def text_table(rows: Sequence[Sequence[str]], *, left: Collection[int] = ()) -> list[str]:
    """The lines of a table whose cells are aligned to the right, in the columns `left` to the left."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]

    def line(row: Sequence[str]) -> str:
        cells = (c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        return "  ".join(cells).rstrip()

    return [line(row) for row in rows]


def distinct(values: Sequence[float]) -> list[str]:
    """The values as text: with six digits, or with as many more as tell apart those that would be the same text."""
    found = [f"{v:g}" for v in values]
    for digits in range(7, 18):
        found = [f"{v:.{digits}g}" if found.count(name) > 1 else name for v, name in zip(values, found, strict=True)]
    return found
