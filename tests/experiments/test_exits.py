"""How a command ends."""

import os
import signal
import sys

import pytest

from experiments import exits


class Left(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def left(monkeypatch):
    """Ends of the process without a clean-up, as exceptions; streams and handlers are put back afterwards."""

    def leave(code: int):
        raise Left(code)

    monkeypatch.setattr(os, "_exit", leave)
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, getattr(sys, name))
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_ctrl_c_outside_of_training_leaves_at_once(left, capsys):
    """With a clean-up, threads of a library that are still at work crash the process."""

    def body():
        raise KeyboardInterrupt

    with pytest.raises(Left, match="75"):
        exits.guarded(body)
    assert capsys.readouterr().err.startswith("stopped: ")
