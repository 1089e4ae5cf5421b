"""Compiles the training program of a dictionary for TPUs without having any: does it fit, and how fast can it be?

  python -m launch.compile_check --topology=v5e:16x16 --config=a5
  python -m launch.compile_check --topology=v5p:2x2x2 --config.sae.n_features=65536 --config.train.mesh=data=2,model=4

Prints the mesh, memory of each chip against what it has, FLOPs, collectives, and the least time of a step. Needs
libtpu (pip install '.[tpu]') but neither a TPU nor rows: --config.source is not read.
"""

import os

from experiments.entry import Experiment, Flag, launch


def stage(flags):
    from launch.compile_check import check

    return check.run


ARGUMENTS = {
    "topology": Flag("Slice of TPUs: v5e:16x16, v4:2x2x2, v5p:4x4x4, v6e:8x8, …"),
    "width": Flag("Activations in a row.", default="512"),
}
EXPERIMENT = Experiment(__doc__, stage, config="a1", arguments=ARGUMENTS)

if __name__ == "__main__":
    os.environ["JAX_PLATFORMS"] = "cpu"  # TPUs are only described, and not used even if there are some
    launch(EXPERIMENT)
