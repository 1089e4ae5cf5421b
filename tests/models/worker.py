"""An experiment that reads a model onto a mesh of all processes and writes its logits, for test_processes.py."""

from __future__ import annotations

import dataclasses
import json
import pathlib

from experiments.entry import Experiment, launch


@dataclasses.dataclass(frozen=True)
class Config:
    model: str = ""
    mesh: str = ""


def run(workdir: str, config: Config) -> None:
    """Each process writes which parts it read (name, shape) and its bytes per device; the first writes the logits."""
    import jax
    import numpy as np
    from jax.sharding import PartitionSpec

    from monosem_jax.models.pretrained import Pretrained
    from monosem_jax.models.sharding import bytes_per_device
    from monosem_jax.models.weights import hf
    from monosem_jax.runtime.mesh import device_get_global, device_put_sharded, make_mesh
    from monosem_jax.runtime.processes import this_process
    from tests.models.small import Noted

    mesh, found = make_mesh(config.mesh), Pretrained(config.model, hf.Directory(pathlib.Path(config.model)))
    noted = Noted(found.source)
    params = dataclasses.replace(found, source=noted).params(mesh)
    tokens = np.random.default_rng(1).integers(0, 96, (4, 12)).astype(np.int32)
    model = found.model()
    logits = jax.jit(lambda p, x: model.apply({"params": p}, x))(
        params, device_put_sharded(tokens, mesh, PartitionSpec("data"))
    )
    logits = device_get_global(logits)
    folder, (number, _) = pathlib.Path(workdir), this_process()
    np.save(folder / f"logits-{number}.npy", logits)
    (folder / f"{number}.json").write_text(json.dumps([noted.read_parts, bytes_per_device(params)]))


if __name__ == "__main__":
    launch(Experiment(__doc__, lambda flags: run))
