"""How the features of dictionaries relate: across sizes, seeds, models and architectures, and what systems they form.

  python -m experiments.compare --workdir=runs/relations --config.runs=runs/a1,runs/a1_seed1,runs/b1
  python -m experiments.compare --workdir=runs/relations --config.runs=runs/sizes --config.control=runs/control_sae
  python -m experiments.compare --workdir=runs/relations --config.runs=runs/a1,runs/b1 --config.crosscoder=runs/cc

The first dictionary is compared with each of the others on the same held-out text. It writes a table (JSON) and arrays
(npz) for each kind of relation, figures, and relations.md with all tables.
"""

from experiments.entry import Experiment, launch


def stage(flags):
    from monosem_jax.stages import compare

    return compare.compare


EXPERIMENT = Experiment(__doc__, stage)

if __name__ == "__main__":
    launch(EXPERIMENT)
