"""The cost of checkpoints: how long they stall training, how long a restore takes, and how much it reads."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np

from launch.drills.ground import ROOT, Ground, Outcome

READ = """
import json, pathlib, sys, time
import monosem_jax
from monosem_jax.runtime.mesh import make_mesh
def counted(work):
    rchar = lambda: int(pathlib.Path("/proc/self/io").read_text().split()[1])
    work()  # what is imported on the way does not count
    begun, begin = rchar(), time.perf_counter()
    work()
    return {"bytes": rchar() - begun, "seconds": time.perf_counter() - begin}
path = sys.argv[1]
fresh = lambda: monosem_jax.load_run(path)
mesh = make_mesh("data=2,model=4")
print(json.dumps({
    "all": counted(lambda: fresh().state()),
    "parameters": counted(lambda: fresh().params),
    "parameters on 2x4": counted(lambda: [p.block_until_ready() for p in fresh().params_on(mesh).values()]),
    "one feature": counted(lambda: fresh().feature(7)),
}))
"""


def costs(ground: Ground, n_features: int = 16_384, width: int = 512) -> Outcome:
    """Measures the costs on a dictionary large enough for them to matter."""
    array, path = ground.root / f"rows-{width}.npy", ground.fresh("large")
    if not array.exists():
        rows = np.random.default_rng(0).normal(size=(8192, width))
        np.save(array, np.maximum(rows, 0).astype(np.float32))
    flags = {
        "source": array, "sae.n_features": n_features, "train.steps": 32, "train.batch_size": 256,
        "train.steps_per_dispatch": 2, "train.checkpoint_every": 8, "train.checkpoint.keep": 9, "resample.steps": "()",
    }  # fmt: skip
    if ground.run("plain", path, *(f"--config.{k}={v}" for k, v in flags.items())):
        raise RuntimeError(ground.log(path)[-2000:])
    summary = json.loads((path / "summary.json").read_text())
    environment = ground.environment(devices=8)
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path)], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    read = json.loads(done.stdout.splitlines()[-1])
    size = sum(p.stat().st_size for p in (path / "checkpoints" / "32").rglob("*") if p.is_file())
    outcome = Outcome()
    outcome.expect(read["parameters"]["bytes"] < 0.45 * size, "reading the parameters reads more than them")
    outcome.expect(read["one feature"]["bytes"] < 0.05 * size, "reading one feature reads more than that")
    shape = {"n_features": n_features, "width": width}
    outcome.notes = {**shape, "checkpoint, bytes": size, "stall, s": summary["checkpoint_stall_seconds"], **read}
    return outcome
