"""Progress lines of long work."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import jax
from tqdm import tqdm

SHORT = 2.0  # seconds


@contextlib.contextmanager
def progress(total: int, description: str, unit: str, initial: int = 0, delay: float = 0.0) -> Iterator[tqdm]:
    """A progress line with rate and time left: redrawn on a terminal, a line now and then in a log file. Work that is
    done within `delay` seconds shows none."""
    import sys

    quiet = not sys.stderr.isatty()
    with tqdm(
        total=total,
        initial=initial,
        desc=description,
        unit=unit,
        unit_scale=True,
        mininterval=10 if quiet else 0.2,
        disable=jax.process_index() != 0,
        dynamic_ncols=not quiet,
        delay=delay,
    ) as bar:
        yield bar
