"""Standard output and error as shells really make them: closed, full, without a reader, or in another encoding. None of
these is a reason to stop: text that cannot be written is dropped."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterable, Iterator
from typing import TextIO

GONE = (errno.EPIPE, errno.EIO, errno.EBADF, errno.ESTALE, errno.ECONNRESET)  # nobody will read this stream again


class ForgivingStream:
    """An output stream that drops text if its reader, its terminal or the room on its disk is gone, or if it is closed.
    Characters that its encoding lacks are written as escapes."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes the text, or drops it."""
        with self._forgiven():
            try:
                self._stream.write(text)
            except UnicodeEncodeError as e:
                self._stream.write(text.encode(e.encoding, "backslashreplace").decode(e.encoding))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Writes the lines, or drops them."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flushes the stream, or drops the buffered text."""
        with self._forgiven():
            self._stream.flush()

    @contextlib.contextmanager
    def _forgiven(self) -> Iterator[None]:
        try:
            yield
        except OSError as e:
            if e.errno in GONE:
                self._to_nowhere()
        except ValueError:  # it is closed
            pass

    def _to_nowhere(self) -> None:
        """Leads the stream to /dev/null: else Python complains about unwritten text when it exits."""
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def __getattr__(self, name: str):
        return getattr(self._stream, name)


def open_standard_files() -> None:
    """Leads standard files that are closed to /dev/null. Otherwise the next file that is opened gets the number of
    standard output, and what libraries print there is written into it."""
    for number, mode in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            found = os.open(os.devnull, mode)
            if found != number:
                os.dup2(found, number)
                os.close(found)
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:  # Python found it closed
            setattr(sys, name, os.fdopen(number, "w", encoding="utf-8", closefd=False))


@contextlib.contextmanager
def forgiving() -> Iterator[None]:
    """Standard output and error drop what cannot be written while the block runs."""
    before = {name: getattr(sys, name) for name in ("stdout", "stderr")}
    ours = {
        name: ForgivingStream(stream)
        for name, stream in before.items()
        if stream is not None and not isinstance(stream, ForgivingStream)
    }
    for name, stream in ours.items():
        setattr(sys, name, stream)
    try:
        yield
    finally:
        for name, stream in ours.items():
            if getattr(sys, name) is stream:
                setattr(sys, name, before[name])
