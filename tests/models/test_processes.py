"""Two processes read a model onto a mesh that they share: each only the parts of its own devices."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.experiments.tiny import ROOT
from tests.models.small import GEMMA, write_model


@pytest.mark.parametrize(("mesh", "both"), [("data=2,model=2", 1), ("data=1,model=4", 0)])
def test_two_processes_give_the_logits_of_one_device(tmp_path, mesh, both):
    found = write_model(tmp_path / "model", GEMMA | {"num_key_value_heads": 4})
    command = ["tests.models.worker", f"--workdir={tmp_path}", f"--config.model={tmp_path / 'model'}"]
    out = subprocess.run(
        [sys.executable, "-m", "launch.local", "--processes=2", "--devices_per_process=2", "--", *command,
         f"--config.mesh={mesh}"],
        cwd=ROOT, env={**os.environ, "JAX_PLATFORMS": "cpu"}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert out.returncode == 0, out.stderr
    tokens = np.random.default_rng(1).integers(0, 96, (4, 12)).astype(np.int32)
    alone = found.model().apply({"params": found.params()}, tokens)
    read, held = zip(*(json.loads((tmp_path / f"{i}.json").read_text()) for i in range(2)), strict=True)
    for i in range(2):
        np.testing.assert_allclose(np.load(tmp_path / f"logits-{i}.npy"), alone, atol=1e-5)
    # Of what is divided, a process reads all of it where `model` lies within it, else one half.
    sizes = [sum(math.prod(s) for name, s in parts if name.endswith("down_proj.weight")) for parts in read]
    assert sizes == [2 * 32 * 48 // (1 if both else 2)] * 2
    assert all(len(h) == 2 for h in held) and len({n for h in held for n in h.values()}) == 1
