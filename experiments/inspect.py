"""Prints what the directory of any experiment holds: configuration, metrics, checkpoints, sizes.

python -m experiments.inspect --workdir=runs/a1
python -m experiments.inspect --workdir=runs/a1 --verify      also reads all checkpoints and names damaged ones
"""

from experiments.entry import Experiment, Flag, launch


def stage(flags):
    from monosem_jax.stages import inspect

    return inspect.run


FLAGS = {"verify": Flag("Read all checkpoints and compare them with their checksums.", bool, sets=("verify",))}
EXPERIMENT = Experiment(__doc__, stage, flags=FLAGS, arguments={"workdir": Flag("Directory of any run.")})

if __name__ == "__main__":
    launch(EXPERIMENT)
