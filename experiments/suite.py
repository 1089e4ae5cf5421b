"""Trains a dictionary for each of many sites of a model, from one pass over the text: Gemma Scope in small.

  python -m experiments.suite --workdir=runs/suite --config.transformer=runs/model
  python -m experiments.suite --workdir=runs/suite --config.transformer=runs/model --analyses \\
      --config.harvest.site="resid_post.*,mlp_out.*"
  python -m experiments.suite --workdir=runs/transcoders --config.transformer=runs/model \\
      --config.harvest.site="mlp_in.*,mlp_out.*" --config.dictionaries="('mlp_in.*+mlp_out.*',)" \\
      --config.sae.sae.architecture=transcoder

The model reads the text once; its activations lie in aligned stores, store/SITE. Each dictionary has a run directory,
members/SITE, as experiments.train_sae would have made it. Ends with a table, suite.md and suite.csv. --analyses
adds an analysis of each, analysis/SITE, and a browser of all, report/index.html. Run it again to go on where it was
stopped; when a dictionary fails the others are made all the same.
"""

from experiments.entry import Experiment, Flag, launch


def stage(flags):
    from monosem_jax.stages import suite

    return suite.suite


FLAGS = {
    "analyses": Flag("Analyze every dictionary, and make one browser of all.", bool, sets=("analyses",)),
}
EXPERIMENT = Experiment(__doc__, stage, config="suite", flags=FLAGS)

if __name__ == "__main__":
    launch(EXPERIMENT)
