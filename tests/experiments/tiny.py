"""The real quickstart configuration, shrunk until it takes seconds."""

from __future__ import annotations

import atexit
import functools
import os
import pathlib
import subprocess
import sys

from tests.experiments.forks import Server

ROOT = pathlib.Path(__file__).parents[2]

TRANSFORMER = {
    "text.vocab_size": 300,
    "transformer.context_length": 32,
    "transformer.d_model": 16,
    "transformer.d_mlp": 32,
    "transformer.n_heads": 2,
    "train.steps": 60,
    "train.batch_size": 8,
    "train.schedule.warmup_steps": 5,
    "train.checkpoint_every": 20,
    "train.evaluate_every": 20,
    "train.log_every": 10,
    "train.steps_per_dispatch": 10,
}
HARVEST = {"rows_per_context": 8, "n_rows": 8192, "bucket_rows": 2048, "shard_rows": 1024}
SAE = {
    "sae.n_features": 64,
    "train.steps": 60,
    "train.batch_size": 64,
    "train.checkpoint_every": 20,
    "train.evaluate_every": 20,
    "train.log_every": 10,
    "train.steps_per_dispatch": 10,
    "resample.steps": "(20,40)",
    "resample.window": 10,
    "resample.n_inputs": 640,
    "evaluate.contexts": 64,
}
ANALYZE = {
    "n_features": 30,
    "training_contexts": 64,
    "random_directions": 8,
    "kinds.judge.n_features": 8,
    "kinds.probes.rows": 40,
    "kinds.probes.contexts": 64,
    "kinds.effects.ablated": 8,
    "kinds.effects.direct": 2,
    "kinds.effects.pinned": 2,
    "kinds.effects.steering.samples": 2,
    "kinds.effects.steering.new_tokens": 6,
    "kinds.effects.steering.prompt": "1,2",
    "kinds.rating.n_per_set": 3,
}


def overrides(values: dict, prefix: str = "") -> list[str]:
    """Flags that set configuration keys."""
    return [f"--config.{prefix}{key}={value}" for key, value in values.items()]


def quickstart_flags() -> list[str]:
    """Flags that shrink every stage of the quickstart."""
    parts = {"transformer.": TRANSFORMER, "harvest.": HARVEST, "sae.": SAE, "analyze.": ANALYZE}
    return [flag for prefix, values in parts.items() for flag in overrides(values, prefix)]


def environment() -> dict[str, str]:
    """One device, and compiled programs kept between the processes of a test session."""
    return {**os.environ, "JAX_NUM_CPU_DEVICES": "1", "JAX_PLATFORMS": "cpu"}


def start(name: str, *flags: str) -> subprocess.Popen:
    """Starts `python -m experiments.<name>` as a user would, output captured."""
    command = [sys.executable, "-m", f"experiments.{name}", *flags]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@functools.cache
def server() -> Server:
    """What `run` has its programs from; it ends with this process."""
    found = Server(environment())
    atexit.register(found.close)
    return found


def run(name: str, *flags: str, timeout: float = 300) -> subprocess.CompletedProcess:
    """Runs an experiment to its end, in a process that need not import everything anew."""
    if server().serves(own := environment()):
        return server().run(f"experiments.{name}", flags, own, timeout)
    process = start(name, *flags)
    out, err = process.communicate(timeout=timeout)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def small_corpus(path: pathlib.Path, documents: int = 60) -> pathlib.Path:
    """A .jsonl of the first embedded documents: three labels or more, in every script."""
    import json

    from monosem_jax.text.corpus import read_corpus

    with open(path, "w", encoding="utf-8") as f:
        for d in read_corpus("embedded")[:documents]:
            f.write(json.dumps({"text": d.text[:3000], "label": d.label, "origin": d.origin}) + "\n")
    return path
