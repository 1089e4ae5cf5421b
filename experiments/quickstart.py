"""Text to transformer to activations to dictionary to report, in about ten minutes on two CPU cores.

  python -m experiments.quickstart --workdir=runs/quickstart
  python -m experiments.quickstart --workdir=runs/mine --corpus=PATH      (.jsonl(.gz), .txt, or a directory of them)

Run it again to go on where it was stopped; a finished directory is left as it is.
"""

import os

from absl import flags

from experiments.entry import launch

flags.DEFINE_string("corpus", None, "Your own text instead of the corpus inside the package.")


def with_corpus(config, parsed):
    """Puts --corpus into the configuration of the first stage."""
    if parsed.corpus:
        config.transformer.text.corpus = os.path.abspath(parsed.corpus)
    return config


if __name__ == "__main__":
    launch("quickstart", "QuickstartConfig", "quickstart.py", with_corpus)
