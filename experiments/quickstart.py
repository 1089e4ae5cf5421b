"""Text to transformer to activations to dictionary to report, in about five minutes on two CPU cores.

  python -m experiments.quickstart --workdir=runs/quickstart
  python -m experiments.quickstart --workdir=runs/mine --corpus=PATH      (.jsonl(.gz), .txt, or a directory of them)
  python -m experiments.quickstart --workdir=runs/smollm2 --model=smollm2  (a pretrained model: about twenty minutes)

Run it again to go on where it was stopped; a finished directory is left as it is. A model is the directory of one of
Hugging Face, a .gguf file, hub:ORG/NAME, smollm2 or glassllm; the dictionary is of its residual stream after the middle
block, or of --config.harvest.site=SITE.
"""

from experiments.entry import Experiment, Flag, launch


def stage(flags):
    from monosem_jax.stages import quickstart

    return quickstart.quickstart_pretrained if flags["model"] else quickstart.quickstart


FLAGS = {
    "model": Flag(
        "A pretrained model instead of one trained here: a directory, a file, hub:ORG/NAME, smollm2.",
        sets=("transformer.model",),
        config="pretrained",
    ),
    "corpus": Flag(
        "Your own text: a .jsonl(.gz) or .txt file, or a directory of them.", sets=("transformer.text.corpus",)
    ),
}
EXPERIMENT = Experiment(__doc__, stage, config="quickstart", flags=FLAGS)

if __name__ == "__main__":
    launch(EXPERIMENT)
