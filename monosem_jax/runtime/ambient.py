"""Settings of JAX and NumPy that come from outside (environment variables, jax.config, np.seterr) and that numbers
depend on.

They are pinned for the threads that work for us, not for the whole process: what the user computes meanwhile in another
thread keeps the user's settings. What cannot be pinned (the platform, XLA's flags) is recorded in a run directory and
compared when the run is resumed.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
from jax._src import config as jax_config  # most options have no public context manager
from jax._src import xla_bridge

from monosem_jax.runtime import forks
from monosem_jax.runtime.errors import BadInput, short_error
from monosem_jax.runtime.processes import first_process

# Options that change numbers, with the values that results in this package are made with.
NUMBERS: dict[str, Any] = {
    "jax_enable_x64": False,
    "jax_explicit_x64_dtypes": jax_config.ExplicitX64Mode.WARN,
    "jax_numpy_dtype_promotion": "standard",
    "jax_default_matmul_precision": None,
    "jax_allow_f16_reductions": True,
    "jax_softmax_custom_jvp": False,
    "jax_default_prng_impl": "threefry2x32",
    "jax_threefry_partitionable": True,
    "jax_threefry_gpu_kernel_lowering": False,
    "jax_random_seed_offset": 0,
    "jax_high_dynamic_range_gumbel": False,
    "jax_enable_custom_prng": False,
    "jax_disable_jit": False,
    "jax_use_direct_linearize": True,
    "jax_remat3": False,
    "jax_scan3": False,
    "jax_custom_vjp3": False,
    "eager_constant_folding": False,
    "jax_use_simplified_jaxpr_constants": False,
    "jax_use_shardy_partitioner": True,
    "jax_compiler_enable_remat_pass": True,
    "jax_exec_time_optimization_effort": 0.0,
    "jax_memory_fitting_effort": 0.0,
    "jax_memory_fitting_level": "O2",
    "jax_optimization_level": "UNKNOWN",
}
# Options under which a correct program raises an error, or never ends.
ERRORS: dict[str, Any] = {
    "jax_numpy_rank_promotion": "allow",
    "jax_transfer_guard": None,
    "jax_transfer_guard_host_to_device": None,
    "jax_transfer_guard_device_to_device": None,
    "jax_transfer_guard_device_to_host": None,
    "jax_debug_nans": False,
    "jax_debug_infs": False,
    "jax_debug_key_reuse": False,
    "jax_check_tracer_leaks": False,
    "jax_error_checking_behavior_nan": "ignore",
    "jax_error_checking_behavior_divide": "ignore",
    "jax_error_checking_behavior_oob": "ignore",
    "jax_legacy_prng_key": "allow",
    "jax_no_tracing": False,
    "jax_no_execution": False,
    "jax_thread_guard": False,
    "jax_disallow_mesh_context_manager": False,
    "jax_mutable_array_checks": True,
    "jax_auto_pcast": True,
    "check_vma": False,
}

# Flags of XLA that say how many devices there are, or where something is written, and change no number.
HARMLESS_XLA_FLAGS = (
    "--xla_force_host_platform_device_count",
    "--xla_dump",
    "--xla_hlo_dump",
    "--xla_gpu_cuda_data_dir",
)

_here = threading.local()  # active: this thread is pinned
_told: set[str] = set()

GUARDS = [name for name in ERRORS if name.startswith("jax_transfer_guard")]
_lock = threading.Lock()
_unguarded = 0  # blocks of `unguarded` that are running
_guards: dict[str, str] = {}  # the guards of the process that they have taken away


@contextlib.contextmanager
def pinned() -> Iterator[None]:
    """Sets what the numbers depend on in this thread while the block runs, and puts back what the user had. Also a
    decorator, of every function that computes for users.

    Raises BadInput in a forked child of a process that had already computed, where JAX would wait for ever, and where
    JAX finds none of the devices it is told to use.
    """
    forks.enter()
    if getattr(_here, "active", False):
        yield
        return
    with contextlib.ExitStack() as stack:
        _pin(stack)
        _here.active = True
        stack.callback(setattr, _here, "active", False)
        try:
            yield
        except BadInput:
            raise
        except Exception:
            if fault := _no_backend():
                raise BadInput(fault) from None
            raise


@contextlib.contextmanager
def pinned_stage() -> Iterator[None]:
    """`pinned`, and new arrays lie on the devices that JAX chooses; a line on stderr names what was set aside."""
    if getattr(_here, "active", False):
        with pinned():
            yield
        return
    aside = [f"{name} is {value!r}" for name, value in set_aside().items()]
    with pinned(), unguarded(), jax.default_device(None):
        if first_process() and (new := [line for line in aside if line not in _told]):
            _told.update(new)
            print(
                f"note: {', '.join(new)}: set aside while this runs, for the same numbers", file=sys.stderr, flush=True
            )
        yield


@contextlib.contextmanager
def unguarded() -> Iterator[None]:
    """No transfer is forbidden in any thread while the block runs: libraries move arrays in threads of their own. (No
    number depends on that, so it may concern the user's threads too.)"""
    global _unguarded
    with _lock:
        if not _unguarded:
            for name in GUARDS:
                if (value := jax_config.config_states[name].get_global()) not in (None, "allow"):
                    _guards[name] = value
                    jax.config.update(name, "allow")
        _unguarded += 1
    try:
        yield
    finally:
        with _lock:
            _unguarded -= 1
            while not _unguarded and _guards:
                jax.config.update(*_guards.popitem())


def set_aside() -> dict[str, Any]:
    """Option -> value in this thread, of the options of JAX that `pinned` changes and whose values differ."""
    wanted, found = {**NUMBERS, **ERRORS, "jax_default_device": None}, {}
    for name, state in jax_config.config_states.items():
        usual = wanted.get(name, state.value)
        value, usual = (getattr(v, "value", v) for v in (state.value, usual))  # some are enumerations
        if value != usual and value != "allow":
            found[name] = value
    whole = "jax_transfer_guard"
    return {k: v for k, v in found.items() if k == whole or not (k.startswith(whole) and found.get(whole) == v)}


def pool(threads: int, name: str) -> ThreadPoolExecutor:
    """A pool whose threads are pinned: settings are a thread's own."""
    return ThreadPoolExecutor(threads, name, initializer=_pin_thread)


def _pin_thread() -> None:
    _pin(_here.__dict__.setdefault("stack", contextlib.ExitStack()))
    _here.active = True


def _pin(stack: contextlib.ExitStack) -> None:
    for name, value in {**NUMBERS, **ERRORS}.items():
        if (state := jax_config.config_states.get(name)) is not None:  # a later version may know it no more
            value = "allow" if name in GUARDS else value
            stack.enter_context(state(value))
    stack.enter_context(np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))


def require_devices() -> None:
    """Raises BadInput where JAX has no devices, before the fault is looked for in what is read."""
    if fault := _no_backend():
        raise BadInput(fault)


def _no_backend() -> str:
    """Why JAX has no devices at all, in one line; "" where it has some."""
    if xla_bridge.backends_are_initialized():
        return ""
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as e:
        asked = jax_config.config_states["jax_platforms"].value
        what = f"JAX_PLATFORMS is {asked!r}" if asked else "no platform of JAX can be used"
        reason = (
            short_error(e) if str(e) else "JAX finds no such devices here, or the package for them is not installed"
        )
        return f"{what}: {reason}"
    return ""


def surroundings() -> dict[str, Any]:
    """What numbers depend on and cannot be pinned: the devices, XLA's flags, optimisations switched off."""
    devices = jax.devices()
    flags = sorted(flag for flag in _xla_flags() if not flag.startswith(HARMLESS_XLA_FLAGS))
    return {
        "platform": devices[0].platform,
        "device_kind": devices[0].device_kind,
        "XLA_FLAGS": " ".join(flags),
        "NVIDIA_TF32_OVERRIDE": os.environ.get("NVIDIA_TF32_OVERRIDE", ""),
        "jax_disable_most_optimizations": bool(jax.config.read("jax_disable_most_optimizations")),
    }


def _xla_flags() -> list[str]:
    text = os.environ.get("XLA_FLAGS", "")
    try:
        return shlex.split(text)
    except ValueError:  # a quote that is not closed
        return text.split()


def changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """One text per value that differs, such as "XLA_FLAGS: '' -> '--xla_…'"; what is missing on a side is no change."""
    return [f"{k}: {before[k]!r} -> {now[k]!r}" for k in before if k in now and before[k] != now[k]]
