"""The setting of the drills: small experiments of each kind, started as a user starts them and compared bit by bit."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time
from typing import Any

import numpy as np

ROOT = pathlib.Path(__file__).parents[2]
CLOCK = {"rows_per_second", "tokens_per_second", "member_rows_per_second", "wall_seconds", "resumed_from_step"}
CLOCK |= {"checkpoint_stall_seconds", "time"}  # keys that may differ between two runs
SITE, WIDTH = "mlp_hidden.0", 32


@dataclasses.dataclass
class Outcome:
    """`tried` things were done and `lost` of them ended badly; `notes` are figures, `faults` say what went wrong."""

    tried: int = 0
    notes: dict[str, Any] = dataclasses.field(default_factory=dict)
    faults: list[str] = dataclasses.field(default_factory=list)

    @property
    def lost(self) -> int:
        return len(self.faults)

    def expect(self, condition: bool, fault: str) -> None:
        """Counts one trial; if `condition` is false, counts it as lost and records `fault`."""
        self.tried += 1
        if not condition:
            self.faults.append(fault)


class Ground:
    """A directory for the drills' experiments. `length` scales their duration: 1 is half a minute each on two cores."""

    def __init__(self, root: pathlib.Path, seed: int = 0, length: float = 1.0):
        self.root, self.random, self.length = root.absolute(), random.Random(seed), length
        self.root.mkdir(parents=True, exist_ok=True)
        self._made = 0
        self._references: dict[tuple, tuple[pathlib.Path, float]] = {}
        self._experiments = self._describe()

    def environment(self, devices: int = 1) -> dict[str, str]:
        programs = {"JAX_COMPILATION_CACHE_DIR": str(self.root / "programs")}
        programs["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        return {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices), **programs}

    def fresh(self, name: str) -> pathlib.Path:
        """A path where nothing exists."""
        self._made += 1
        return self.root / f"{name}-{self._made}"

    def start(self, kind: str, workdir: pathlib.Path, *flags: str, launcher: tuple[str, ...] = (), **variables: str):
        """Starts an experiment; its output is appended to WORKDIR.log."""
        experiment, own = self._experiments[kind]
        command = [sys.executable, "-m", *launcher, f"experiments.{experiment}", f"--workdir={workdir}", *own, *flags]
        with open(f"{workdir}.log", "ab") as log:
            return subprocess.Popen(
                command,
                cwd=ROOT,
                env={**self.environment(), **variables},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def command(self, kind: str) -> tuple[str, list[str]]:
        """(experiment, flags) of a kind."""
        return self._experiments[kind]

    def run(self, kind: str, workdir: pathlib.Path, *flags: str, launcher: tuple[str, ...] = ()) -> int:
        """Runs an experiment to its end and returns the exit code."""
        return self.start(kind, workdir, *flags, launcher=launcher).wait()

    def log(self, workdir: pathlib.Path) -> str:
        """The output of its processes so far."""
        return pathlib.Path(f"{workdir}.log").read_text(errors="replace")

    def reference(self, kind: str, launcher: tuple[str, ...] = ()) -> tuple[pathlib.Path, float]:
        """An undisturbed run, and its duration in seconds."""
        if (kind, launcher) not in self._references:
            path, begin = self.fresh(f"{kind}-undisturbed"), time.monotonic()
            if self.run(kind, path, launcher=launcher):
                raise RuntimeError(f"{kind} does not even run undisturbed:\n{self.log(path)[-3000:]}")
            self._references[kind, launcher] = path, time.monotonic() - begin
        return self._references[kind, launcher]

    def _describe(self) -> dict[str, tuple[str, list[str]]]:
        """kind -> (experiment, flags)."""
        corpus, array = self.root / "corpus.jsonl", self.root / "rows.npy"
        if not corpus.exists():
            _write_corpus(corpus)
            rows = np.random.default_rng(0).normal(size=(40_000, WIDTH))
            np.save(array, np.maximum(rows, 0).astype(np.float32))
        transformer = self.root / "transformer"
        text = {"corpus": corpus, "vocab_size": 300}
        shape = {"context_length": 32, "d_model": 16, "d_mlp": WIDTH, "n_heads": 2}
        train = {"log_every": 50, "checkpoint_every": 50, "steps_per_dispatch": 10, "learning_rate": 1e-3}
        language = {
            **train,
            "steps": self._steps(600),
            "batch_size": 16,
            "schedule.warmup_steps": 5,
            "evaluate_every": 100,
        }
        language = _under("text", text) | _under("transformer", shape) | _under("train", language)
        features = {**train, "steps": self._steps(1500), "batch_size": 64, "evaluate_every": 100}
        events = {"steps": "(0.3,0.6)", "window": 40, "n_inputs": 640}
        dictionary = {"sae.n_features": 64, "sae.input_scale": "unit_rms", **_under("train", features)}
        dictionary |= _under("resample", events) | {"evaluate.contexts": 64}
        online = {"source": "online", "transformer": transformer, "online.site": SITE, "online.buffer_rows": 2000}
        online |= {"online.rows_per_context": 8}
        short = {"train.steps": self._steps(600), "train.learning_rate": 1e-4}
        grid = {"sweep.sizes": "(32,64)", "sweep.l1_coefficients": "(0.002,0.02)", "sweep.seeds": "(0,)"}
        harvest = {"rows_per_context": 8, "n_rows": 0, "bucket_rows": 1024, "shard_rows": 1024, "batch_contexts": 1}
        return {
            "transformer": ("train_transformer", _flags(language)),
            "harvest": ("harvest", _flags({"transformer": transformer, **_under("harvest", harvest)})),
            "dictionary": ("train_sae", _flags({"source": array, **dictionary})),
            "online": ("train_sae", _flags({**dictionary, **online})),
            "plain": ("train_sae", []),
            "elastic": ("train_sae", _flags({"source": array, **dictionary, "resample.steps": "()", **short})),
            "sweep": ("sweep", _flags({"source": array, **dictionary, **grid})),
        }  # fmt: skip

    def _steps(self, n: int) -> int:
        return max(round(n * self.length / 100), 1) * 100

    def transformer(self) -> None:
        """Trains the transformer that other experiments need, unless it exists."""
        if not (self.root / "transformer" / "summary.json").exists():
            assert self.run("transformer", self.root / "transformer") == 0, self.log(self.root / "transformer")[-3000:]


def same(a: pathlib.Path, b: pathlib.Path) -> str:
    """What differs between two finished run directories of the same experiment, or ""."""
    from monosem_jax.load import load_run

    x, y = load_run(a), load_run(b)
    if x.summary is None or y.summary is None:
        return f"{a if x.summary is None else b} is not finished"
    if x.experiment == "harvest":
        return _same_files(a, b)
    pairs = [(x, y)] if x.experiment != "sweep" else [(x.members[n], y.members[n]) for n in x.members]
    for one, other in pairs:
        found = [_leaves(run.state()) for run in (one, other)]
        unequal = [k for k in found[0] if not np.array_equal(found[0][k], found[1].get(k))]
        if unequal or len(found[0]) != len(found[1]):
            return f"{one.path} and {other.path} differ in {unequal}"
        for name, values in (
            ("metrics", [r.metrics for r in (one, other)]),
            ("summary", [r.summary for r in (one, other)]),
        ):
            if _timeless(values[0]) != _timeless(values[1]):
                return f"{one.path} and {other.path} differ in their {name}"
    return ""


def steps(path: pathlib.Path) -> list[int]:
    """The steps of a run's complete checkpoints."""
    found = [p.parent.name for p in path.glob("checkpoints/[0-9]*/_CHECKPOINT_METADATA")]
    return sorted(int(name) for name in found if name.isdigit())


def wait_for_checkpoint(process: subprocess.Popen, path: pathlib.Path) -> bool:
    """Waits for the next checkpoint; returns False if the process ends before."""
    begun = steps(path)
    while process.poll() is None:
        if steps(path)[-1:] != begun[-1:]:
            return True
        time.sleep(0.01)
    return False


def end(process: subprocess.Popen, number: int = signal.SIGKILL) -> int:
    """Sends a signal, waits for the process to end, and returns its exit code."""
    process.send_signal(number)
    return process.wait()


def _leaves(state: Any) -> dict[str, np.ndarray]:
    import jax

    plain = lambda x: jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x  # noqa: E731
    return {jax.tree_util.keystr(k): np.asarray(plain(v)) for k, v in jax.tree_util.tree_leaves_with_path(state)}


def _same_files(a: pathlib.Path, b: pathlib.Path) -> str:
    for folder in ("activations", "origin", "tokens"):
        files = [
            {p.relative_to(root): p.read_bytes() for p in (root / folder).rglob("*") if p.is_file()} for root in (a, b)
        ]
        kept = [{k: v for k, v in f.items() if not k.name.endswith("__lock")} for f in files]
        if kept[0] != kept[1]:
            return f"{a / folder} and {b / folder} differ"
    return ""


def _timeless(values: Any) -> Any:
    if isinstance(values, dict):
        return {k: _timeless(v) for k, v in values.items() if k not in CLOCK}
    return [_timeless(v) for v in values] if isinstance(values, list) else values


def _under(prefix: str, values: dict[str, Any]) -> dict[str, Any]:
    return {f"{prefix}.{k}": v for k, v in values.items()}


def _flags(values: dict[str, Any]) -> list[str]:
    return [f"--config.{k}={v}" for k, v in values.items()]


def _write_corpus(path: pathlib.Path, documents: int = 60) -> None:
    from monosem_jax.text.corpus import read_corpus

    with open(path, "w", encoding="utf-8") as f:
        for d in read_corpus("embedded")[:documents]:
            f.write(json.dumps({"text": d.text[:3000], "label": d.label, "origin": d.origin}) + "\n")
