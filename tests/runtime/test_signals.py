"""Signals that give notice, as a flag."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from monosem_jax.runtime.errors import Stopped
from monosem_jax.runtime.signals import NOTICE, ignore_notice, interrupt_on_notice, signal_flag


@pytest.fixture
def exits(monkeypatch) -> list[int]:
    """The codes with which the process would have ended at once."""
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    return codes


@pytest.fixture(autouse=True)
def handlers():
    """Puts every handler back."""
    before = {number: signal.getsignal(number) for number in NOTICE}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_all_signals_that_give_notice_are_known():
    names = ("TERM", "INT", "HUP", "USR1", "USR2", "XCPU")
    assert {signal.Signals[f"SIG{name}"] for name in names} == set(NOTICE)


@pytest.mark.parametrize("number", NOTICE)
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
    before = [signal.getsignal(n) for n in NOTICE]
    with signal_flag():
        assert not set(before) & {signal.getsignal(n) for n in NOTICE}
    assert [signal.getsignal(n) for n in NOTICE] == before


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU])
def test_a_signal_that_is_ignored_or_that_the_user_handles_is_left_alone(number):
    seen = []
    for handler in (signal.SIG_IGN, lambda n, frame: seen.append(n)):  # nohup; a library for the cluster
        signal.signal(number, handler)
        interrupt_on_notice()
        with signal_flag() as flag:
            signal.raise_signal(number)
            assert flag.requested == "" and signal.getsignal(number) is handler
    assert seen == [number]


@pytest.mark.parametrize("number", NOTICE)
def test_outside_of_a_loop_a_signal_is_an_interrupt_and_inside_a_flag(number, exits):
    interrupt_on_notice()
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        with signal_flag() as flag:
            signal.raise_signal(number)
            assert flag.requested == number.name


@pytest.mark.parametrize("number", NOTICE)
def test_a_signal_works_without_stderr(number, monkeypatch, exits):
    monkeypatch.setattr("sys.stderr", None)
    with signal_flag() as flag:
        signal.raise_signal(number)
    assert flag.requested == number.name


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


def test_signals_are_ignored_once_the_work_is_done():
    interrupt_on_notice()
    ignore_notice()
    for number in set(NOTICE) - {signal.SIGINT}:
        signal.raise_signal(number)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
