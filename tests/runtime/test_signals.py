"""SIGTERM and Ctrl-C as a flag."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from monosem_jax.runtime.errors import Stopped
from monosem_jax.runtime.signals import signal_flag


@pytest.fixture
def exits(monkeypatch) -> list[int]:
    """The codes with which the process would have ended at once."""
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    return codes


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_asks_for_a_stop_and_ends_nothing(exits, capfd, number):
    with signal_flag() as flag:
        flag.check()
        signal.raise_signal(number)
        assert flag.requested == number.name and exits == []
        with pytest.raises(Stopped, match=number.name):
            flag.check()
    assert capfd.readouterr().err == f"\n{number.name}: stopping at the next commit\n"


def test_a_second_ctrl_c_ends_the_process_at_once(exits):
    with signal_flag():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        assert exits == []
        signal.raise_signal(signal.SIGINT)
        assert exits == [130]


def test_handlers_are_as_before_afterwards(exits):
    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    with signal_flag():
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == before


def test_outside_of_the_main_thread_no_handler_is_set():
    found = []

    def body():
        with signal_flag() as flag:
            found.extend([flag.requested, signal.getsignal(signal.SIGTERM)])

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert found == ["", before]
