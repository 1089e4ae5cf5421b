"""Text to transformer to activations to dictionary to report, in about five minutes on two CPU cores.

  python -m experiments.quickstart --workdir=runs/quickstart
  python -m experiments.quickstart --workdir=runs/mine --corpus=PATH      (.jsonl(.gz), .txt, or a directory of them)

Run it again to go on where it was stopped; a finished directory is left as it is.
"""

from experiments.entry import Experiment, Flag, launch


def stage(flags):
    from monosem_jax.stages import quickstart

    return quickstart.quickstart


CORPUS = Flag(
    "Your own text: a .jsonl(.gz) or .txt file, or a directory of them.",
    sets=("transformer.text.corpus",),
)
EXPERIMENT = Experiment(__doc__, stage, config="quickstart", flags={"corpus": CORPUS})

if __name__ == "__main__":
    launch(EXPERIMENT)
