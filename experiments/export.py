"""Writes a dictionary or an analysis for other programs, or makes a run directory of what SAELens wrote.

  python -m experiments.export --workdir=runs/a1 --format=saelens --output=out/a1
  python -m experiments.export --workdir=runs/a1_analysis --format=neuronpedia --output=out/a1_features
  python -m experiments.export --workdir=runs/theirs --import=FOLDER --transformer=runs/transformer_a

Formats of a dictionary: saelens, dictionary_learning, safetensors, numpy. Every member of a sweep is written. Formats
of an analysis: neuronpedia (a JSON file per feature), saedashboard (batches for Neuronpedia's converter), delphi (its
cache of activations), csv and parquet (a row per feature), figures (SVG and PDF). Nothing is overwritten.
SAELens has no crosscoders and no transcoders with TopK, dictionary_learning has neither crosscoders nor transcoders;
the other two formats take every architecture. SAELens' standard, topk, jumprelu and gated dictionaries can be imported.
load_run opens an imported dictionary; experiments.evaluate and experiments.analyze take it if --transformer was given.
"""

from experiments.entry import Experiment, Flag, launch


def stage(flags):
    from monosem_jax.stages import export

    return export.export


FLAGS = {
    "format": Flag("Export: one of the formats above.", sets=("format",)),
    "output": Flag("Export: the folder to make.", sets=("output",)),
    "step": Flag("Export of a dictionary: the checkpoint; by default the newest.", int, sets=("step",), least=0),
    "import": Flag("Import: the folder with cfg.json and sae_weights.safetensors.", sets=("source",)),
    "transformer": Flag(
        "Import: the run directory of the transformer whose activations the dictionary explains.", sets=("transformer",)
    ),
    "site": Flag("Import: the site explained, such as mlp_hidden.0; by default what the folder says.", sets=("site",)),
}
EXPERIMENT = Experiment(__doc__, stage, flags=FLAGS)

if __name__ == "__main__":
    launch(EXPERIMENT)
