"""Measurements in separate processes: memory of training steps, time to the first step, time of whole runs.

`python -m experiments.bench.subprocesses FEATURES WIDTH BATCH STEPS DTYPE` prints the peaks of one dispatch as JSON.
"""

from __future__ import annotations

import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp

POLL_SECONDS, PATIENCE = 0.02, 180.0


def peaks(n_features: int, width: int, batch: int, steps: int, dtype: Any) -> dict[str, float]:
    """MB used by dispatches: by the process, on the device (0 if it does not say), and by the compiled program."""
    from experiments.bench.material import make_bench_rows
    from experiments.bench.train import our_group
    from monosem_jax.training.config import TrainConfig

    rows = jax.block_until_ready(make_bench_rows(steps, batch, width, jnp.bfloat16))
    before = _resident()
    group = our_group(n_features, width, dtype)
    program = group.compile(TrainConfig()).lower(group.state, rows).compile()
    state = group.state
    group.state = None
    for _ in range(2):
        state, _ = program(state, rows)
    jax.block_until_ready(state)
    sizes, stats = program.memory_analysis(), jax.devices()[0].memory_stats() or {}
    return {
        "process": _resident(),
        "process_before": before,
        "device": stats.get("peak_bytes_in_use", 0) / 1e6,
        "program_arguments": sizes.argument_size_in_bytes / 1e6,
        "program_temporary": sizes.temp_size_in_bytes / 1e6,
    }


def _resident() -> float:
    """The peak of this process's resident memory in MB; getrusage would start from the parent's peak."""
    return int(pathlib.Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1000


def measured_peaks(n_features: int, width: int, batch: int, steps: int, dtype: Any, seconds: float) -> dict[str, Any]:
    """`peaks` measured in a separate process, or an error string if that process does not finish."""
    command = [sys.executable, "-m", __name__, *map(str, (n_features, width, batch, steps, jnp.dtype(dtype).name))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=max(seconds, 1.0))
    except subprocess.TimeoutExpired:
        return {"skipped": f"not done in {seconds:.0f} s"}
    if done.returncode:
        return {"skipped": _last_line(done.stderr)}
    return json.loads(done.stdout.splitlines()[-1])


def startup(
    folder: pathlib.Path, store: pathlib.Path, n_features: int, batch: int, *, rounds: int, seconds: float
) -> dict[str, Any]:
    """Seconds from the start of `experiments.train_sae` on a store to the log line of its first step, with an empty
    compilation cache and then with a full one. The run includes the median of the rows and the checkpoint of step 0."""
    begin, cache = time.perf_counter(), folder / "cache"
    train = {"batch_size": batch, "steps": 1_000_000, "steps_per_dispatch": 1, "log_every": 1}
    flags = [*_flags(store, train), f"--config.sae.n_features={n_features}"]
    cold, warm = _first_step(folder / "cold", flags, cache), []
    while not warm or (len(warm) < rounds and time.perf_counter() - begin + warm[-1] < seconds):
        warm.append(_first_step(folder / f"warm-{len(warm)}", flags, cache))
    found = {"cold": cold, "warm": statistics.median(warm)}
    return {"features": n_features, "batch": batch, "seconds": found, "ratios": {}}


def _first_step(workdir: pathlib.Path, flags: list[str], cache: pathlib.Path) -> float:
    log, begin = workdir / "metrics.jsonl", time.time()
    with _start("train_sae", workdir, flags, cache) as process:
        try:
            while not (log.exists() and log.read_text().endswith("\n")):
                if process.poll() is not None:
                    raise RuntimeError(f"train_sae ended without a step: {_last_line(process.stderr.read())}")
                if time.time() - begin > PATIENCE:
                    raise RuntimeError(f"no step in {PATIENCE:.0f} s")
                time.sleep(POLL_SECONDS)
        finally:
            process.kill()
    return json.loads(log.read_text().splitlines()[0])["time"] - begin


def whole_runs(
    folder: pathlib.Path, store: pathlib.Path, n_features: int, batch: int, n_steps: int, *, members: int, dispatch: int
) -> dict[str, Any]:
    """Seconds of whole programs: members one after another, each in its own process, against one sweep of all of them.

    Only two single members are run; the others are assumed to take the same time. Compiled programs are cached between
    runs.
    """
    train = {"batch_size": batch, "steps": n_steps, "steps_per_dispatch": dispatch, "log_every": n_steps}
    flags, cache = _flags(store, train), folder / "cache"
    alone = [*flags, f"--config.sae.n_features={n_features}"]
    grid = (f"--config.sweep.sizes=({n_features},)", f"--config.sweep.seeds={tuple(range(members))}")
    one = [_whole("train_sae", folder / f"one-{i}", alone, cache) for i in range(2)]
    together = _whole("sweep", folder / "sweep", [*flags, *grid], cache)
    apart = members * statistics.mean(one)
    return {
        "features": n_features,
        "batch": batch,
        "steps": n_steps,
        "seconds": {"one run": statistics.mean(one), f"{members} runs": apart, f"a sweep of {members}": together},
        "ratios": {f"{members} runs / a sweep of {members}, seconds": (apart / together, 2.0)},
    }


def _whole(program: str, workdir: pathlib.Path, flags: list[str], cache: pathlib.Path) -> float:
    begin = time.perf_counter()
    with _start(program, workdir, flags, cache) as process:
        _, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{program} ended with {process.returncode}: {_last_line(errors)}")
    return time.perf_counter() - begin


def _flags(store: pathlib.Path, train: dict[str, int]) -> list[str]:
    flags = [f"--config.source={store}", "--config.resample.steps=()"]
    return flags + [f"--config.train.{key}={value}" for key, value in train.items()]


def _start(program: str, workdir: pathlib.Path, flags: list[str], cache: pathlib.Path) -> subprocess.Popen:
    environment = {
        **os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }  # fmt: skip
    command = [sys.executable, "-m", f"experiments.{program}", f"--workdir={workdir}", *flags]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace"
    )


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1][:300]


if __name__ == "__main__":
    numbers, kind = sys.argv[1:5], sys.argv[5]
    print(json.dumps(peaks(*map(int, numbers), jnp.dtype(kind))))
