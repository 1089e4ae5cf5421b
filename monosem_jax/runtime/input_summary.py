"""What a stage leaves out of its input, reads twice or finds without content: counted before the work begins, printed
as one line for each finding, and kept in a manifest."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from monosem_jax.runtime.processes import first_process

Count = int | float | dict[str, int]


@dataclasses.dataclass(frozen=True)
class Finding:
    """One count. `name` is its key in the manifest, `count` a number, or numbers by name; `line` says in words what was
    counted and which rule applies. With the count 0 or without a line it is kept in the manifest, and not printed."""

    name: str
    count: Count
    line: str


class InputSummary:
    """The findings about an input, in the order in which they were made."""

    def __init__(self, findings: Iterable[Finding] = ()):
        self._findings: dict[str, Finding] = {}
        self._told = 0
        for finding in findings:
            self.add(finding.name, finding.count, finding.line)

    def add(self, name: str, count: Count, line: str) -> None:
        """Adds a finding; see `Finding`. A name that was added before is replaced."""
        self._findings[name] = Finding(name, count, line)

    def include(self, other: InputSummary) -> None:
        """Adds the findings of another summary."""
        self._findings |= other._findings

    def record(self) -> dict[str, Any]:
        """name -> count, for a manifest."""
        return {f.name: f.count for f in self._findings.values()}

    def tell(self) -> None:
        """Prints the lines of findings that were added since the last call, in the first of several processes only."""
        lines = [f"input: {f.line}\n" for f in [*self._findings.values()][self._told :] if f.count and f.line]
        self._told = len(self._findings)
        if first_process():
            print("".join(lines), end="", flush=True)


def plural(n: int, noun: str, several: str = "") -> str:
    """ "1 file", "2 files", "3,000 rows"."""
    return f"{n:,} {noun if n == 1 else several or f'{noun}s'}"


def listed(counts: dict[str, int], most: int = 6) -> str:
    """ ".gz (3), .md (1)": the largest counts first, at most `most` of them and how many others."""
    order = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown = ", ".join(f"{name} ({n:,})" for name, n in order[:most])
    return shown + (f" and {len(order) - most} others" if len(order) > most else "")
