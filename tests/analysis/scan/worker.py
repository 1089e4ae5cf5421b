"""One of several processes that scan the small text together: `worker FOLDER`; writes what it found on each mesh."""

from __future__ import annotations

import pathlib
import sys

import jax
import numpy as np
from jax.sharding import Mesh

from monosem_jax.analysis.joint.pair_sums import Pair, pair_sums
from monosem_jax.runtime.mesh import make_mesh
from monosem_jax.runtime.processes import start_processes, this_process
from tests.analysis.scan.material import as_tree, contexts, features, others, scanned

MESHES = {"rows": "data=8", "both": "data=4,model=2", "features": "model=8"}


class Crash(Exception):
    pass


def crash(contexts: int) -> None:
    raise Crash


def flat(scan) -> dict[str, np.ndarray]:
    """The arrays of a scan by their paths."""
    return {jax.tree_util.keystr(path): x for path, x in jax.tree_util.tree_leaves_with_path(as_tree(scan))}


def pairs(mesh: Mesh | None = None) -> dict[str, np.ndarray]:
    """The sums of pairs of features with those of another set."""
    sums = pair_sums([features(), others()[1]], [Pair(0, 1, masked=True)], contexts(), batch=8, mesh=mesh)[0]
    tables = {name: getattr(sums, name) for name in ("product", "both", "a_on_b", "b_on_a")}
    return {**tables, "square": sums.a.square, "fired": sums.b.fired}


def main(folder: pathlib.Path) -> None:
    number = this_process()[0]
    for name, spec in MESHES.items():
        more = {"mesh": make_mesh(spec), "folder": folder / name}
        if name == "both":  # process 1 saves what the others do, and then both begin again
            try:
                scanned(more={**more, "advance": crash}, checkpoint_every=1)
            except Crash:
                assert len(list((folder / name).glob(f"pass1-00000001-p{number}.npz"))) == 1
        np.savez(folder / f"{name}-{number}.npz", **flat(scanned(more=more, checkpoint_every=2)))
    np.savez(folder / f"pairs-{number}.npz", **pairs(make_mesh(MESHES["both"])))


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 4)  # the tests' configuration says 8
    start_processes()
    main(pathlib.Path(sys.argv[1]))
