"""A folder that is either not there or whole."""

from __future__ import annotations

import contextlib
import os
import pathlib
import secrets
import shutil
from collections.abc import Iterator

from monosem_jax.errors import BadInput
from monosem_jax.run import is_url


@contextlib.contextmanager
def new_folder(output: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Gives an empty folder beside `output`, which takes its name when the body is through and disappears otherwise.

    Raises BadInput when something is at `output` already, or nothing can be written there.
    """
    if is_url(output):
        raise BadInput(f"--output is {output}: expected a path on this machine")
    target = pathlib.Path(os.path.realpath(output))
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise BadInput(f"--output {output} exists and is not an empty folder: nothing is overwritten, give another one")
    temporary = target.parent / f".export-{secrets.token_hex(6)}.tmp"
    try:
        temporary.mkdir(parents=True)
    except OSError as e:
        raise BadInput(f"--output {output} cannot be written: {e.strerror}") from None
    try:
        yield temporary
        _flush(temporary)
        try:
            os.rename(temporary, target)
        except OSError as e:  # someone else was faster
            raise BadInput(f"--output {output} cannot be written: {e.strerror}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _flush(folder: pathlib.Path) -> None:
    """Puts everything on disk: a rename may otherwise survive a power failure that what it names does not."""
    for path in (folder, *folder.rglob("*")):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
