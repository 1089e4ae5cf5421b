"""Standard streams that are closed, full, without a reader, or in another encoding."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys

import pytest

from monosem_jax.runtime.progress import progress
from monosem_jax.runtime.streams import ForgivingStream, forgiving

ERRORS = [errno.EPIPE, errno.EIO, errno.EBADF, errno.ENOSPC, errno.EDQUOT, errno.EAGAIN, errno.ESTALE]


class Broken(io.StringIO):
    """A stream on which everything fails."""

    def __init__(self, error: Exception):
        super().__init__()
        self.error = error

    def write(self, text):
        raise self.error

    def flush(self):
        raise self.error


@pytest.fixture
def no_reader():
    """A text stream into a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as stream:
        yield stream


@pytest.mark.parametrize("error", [*(OSError(n, os.strerror(n)) for n in ERRORS), ValueError("I/O on closed file")])
def test_text_that_cannot_be_written_is_dropped(error):
    stream = ForgivingStream(Broken(error))
    assert stream.write("lost") == 4
    stream.writelines(["a", "b"])
    stream.flush()


def test_without_a_reader_text_goes_nowhere_from_then_on(no_reader):
    stream = ForgivingStream(no_reader)
    for _ in range(3):
        stream.write("x" * 100_000)
        stream.flush()
    no_reader.write("not even without us")
    no_reader.flush()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_characters_that_the_encoding_lacks_are_escaped(encoding):
    raw = io.BytesIO()
    stream = ForgivingStream(io.TextIOWrapper(raw, encoding))
    stream.write("ł → 5\n")
    stream.flush()
    assert raw.getvalue() == rb"\u0142 \u2192 5" + b"\n"


def test_in_the_block_the_progress_bar_and_print_need_no_reader(monkeypatch, no_reader):
    monkeypatch.setattr(sys, "stderr", no_reader)
    monkeypatch.setattr(sys, "stdout", no_reader)
    with forgiving():
        with forgiving(), progress(10, "work", "rows") as bar:
            for _ in range(10):
                bar.update(1)
                print("line", flush=True)
        assert sys.stdout is not no_reader
    assert sys.stdout is no_reader and sys.stderr is no_reader


def test_a_stream_that_is_none_stays_so_and_one_put_there_meanwhile_too(monkeypatch):
    other = io.StringIO()
    monkeypatch.setattr(sys, "stdout", None)
    with forgiving():
        print("to nobody")
        sys.stderr = other
    assert sys.stdout is None and sys.stderr is other


PROGRAM = """
import os, sys
from experiments.exits import guarded
def work():
    file = open({path!r}, "w")
    print("for people")
    sys.stderr.write("for people too")
    os.write(1, b"from a library")
    os.write(2, b"from a library")
    file.write(str(file.fileno() > 2))
guarded(work)
"""


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_no_file_is_opened_under_the_number_of_a_closed_standard_stream(tmp_path, closed):
    path = tmp_path / "file"
    command = ["bash", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, PROGRAM.format(path=str(path))]
    assert subprocess.run(command, cwd=os.getcwd(), env={**os.environ, "PYTHONPATH": os.getcwd()}).returncode == 0
    assert path.read_text() == "True"
