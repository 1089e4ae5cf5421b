"""A library call that does not return can be left by a signal."""

import os
import signal
import threading
import time

import pytest

from monosem_jax.runtime.interruptible import interruptible


def test_the_result_or_the_error_of_the_work_comes_through():
    assert interruptible(lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        interruptible(lambda: 1 // 0)


def test_the_tick_is_called_while_the_work_runs():
    ticks = []
    interruptible(lambda: time.sleep(0.2), lambda: ticks.append(1), every=0.02)
    assert len(ticks) >= 2


def test_a_signal_leaves_work_that_does_not_return(monkeypatch):
    monkeypatch.setattr("monosem_jax.runtime.interruptible.PARTING", 0.01)
    forever = threading.Event()
    threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        interruptible(forever.wait)
    assert time.monotonic() - begin < 20
    forever.set()
