"""A dictionary from rows made online at the command line, whose process is killed again and again."""

import pathlib
import random
import time

from monosem_jax import load_run
from monosem_jax.checkpoint import checkpoint_steps
from tests.experiments.tiny import overrides, run, start
from tests.sources.tiny import SITE, assert_same_run

VALUES = {
    "source": "online",
    "online.site": SITE,
    "online.rows_per_context": 8,
    "online.buffer_rows": 1000,
    "sae.n_features": 32,
    "train.steps": 500,
    "train.batch_size": 32,
    "train.learning_rate": 1e-3,
    "train.checkpoint_every": 25,
    "train.log_every": 10,
    "train.steps_per_dispatch": 5,
    "resample.steps": "(100,300)",
    "resample.window": 50,
    "resample.n_inputs": 160,
    "evaluate.contexts": 8,
}


def flags(workdir: pathlib.Path, root: pathlib.Path) -> list[str]:
    return [f"--workdir={workdir}", *overrides({**VALUES, "transformer": root / "transformer"})]


def kill(process, workdir: pathlib.Path, delay: float) -> bool:
    """Kills the process some time after it wrote a checkpoint; False when it had ended by itself."""
    begun = checkpoint_steps(workdir / "checkpoints")
    while checkpoint_steps(workdir / "checkpoints") == begun and process.poll() is None:
        time.sleep(0.01)
    time.sleep(delay)
    process.kill()
    process.communicate()
    return process.returncode == -9


def test_killed_again_and_again_it_ends_with_the_same_bits(root, tmp_path):
    rng = random.Random(0)
    undisturbed = run("train_sae", *flags(tmp_path / "undisturbed", root))
    assert undisturbed.returncode == 0, undisturbed.stderr
    killed_at = []
    while len(killed_at) < 4:
        process = start("train_sae", *flags(tmp_path / "killed", root))
        if not kill(process, tmp_path / "killed", rng.uniform(0, 0.5)):
            break
        killed_at.append(checkpoint_steps(tmp_path / "killed" / "checkpoints")[-1])
    assert len(set(killed_at)) >= 3
    done = run("train_sae", *flags(tmp_path / "killed", root))
    assert done.returncode == 0, done.stderr
    assert load_run(tmp_path / "killed").summary["resumed_from_step"] == killed_at[-1]
    assert_same_run(tmp_path / "killed", tmp_path / "undisturbed")
