"""Forked children. A child has the memory of its parent but not its threads, so that whatever JAX, TensorStore or Orbax
wait for there never comes. Each of their doors calls `enter`, which raises an error instead."""

from __future__ import annotations

import os
import sys

from monosem_jax.runtime.errors import BadInput

_entered = False  # this process has used JAX, TensorStore or Orbax
_forked = False  # this process is a forked child of one that had


def enter() -> None:
    """To be called before JAX, TensorStore or Orbax is used. Raises BadInput in a forked child of a process that had
    already used them; a child that was forked before that may go on."""
    global _entered
    if _forked:
        raise BadInput(
            f"process {os.getpid()} was forked from one that uses JAX, and lacks its threads: start processes with "
            'multiprocessing.get_context("spawn"); NumPy arrays that were read before can be used here'
        )
    _entered = True


def _mark_child() -> None:
    global _forked
    bridge = sys.modules.get("jax._src.xla_bridge")
    _forked = _forked or _entered or bool(bridge and bridge.backends_are_initialized())


os.register_at_fork(after_in_child=_mark_child)
