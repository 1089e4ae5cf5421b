"""Writes a dictionary or an analysis for other programs, or makes a run directory of what another program wrote.

  python -m experiments.export --workdir=runs/a1 --format=saelens --output=out/a1
  python -m experiments.export --workdir=runs/a1_analysis --format=neuronpedia --output=out/a1_features
  python -m experiments.export --workdir=runs/theirs --import=FOLDER --transformer=runs/transformer_a
  python -m experiments.export --workdir=FOLDER --format=saelens --output=out/theirs
  python -m experiments.export --formats

Formats of a dictionary: saelens, dictionary_learning, safetensors, numpy. Every member of a sweep is written. Formats
of an analysis: neuronpedia (a JSON file per feature), saedashboard (batches for Neuronpedia's converter), delphi (its
cache of activations), csv and parquet (a row per feature), figures (SVG and PDF). Nothing is overwritten.
--import reads published dictionaries of SAELens (every version), Gemma Scope, dictionary_learning, sparsify and OpenAI,
recognised by their files; pickles are refused. --formats prints which architectures each format has, and how exactly
they are read. load_run opens such a folder where it lies, so it can also be written in another format; an imported one
is taken by every stage, and experiments.evaluate and experiments.analyze take a folder with config.transformer.
"""

from experiments.entry import Experiment, Flag, launch


def stage(flags):
    from monosem_jax.stages import export

    return export.print_formats if flags["formats"] else export.export


FLAGS = {
    "format": Flag("Export: one of the formats above.", sets=("format",)),
    "output": Flag("Export: the folder to make.", sets=("output",)),
    "step": Flag("Export of a dictionary: the checkpoint; by default the newest.", int, sets=("step",), least=0),
    "import": Flag("Import: the folder of a published dictionary.", sets=("source",)),
    "transformer": Flag(
        "Import: the run directory of the transformer whose activations the dictionary explains.", sets=("transformer",)
    ),
    "site": Flag("Import: the site explained, such as mlp_hidden.0; by default what the folder says.", sets=("site",)),
    "formats": Flag("Prints which dictionaries each format has, and how they are read; nothing else is done.", bool),
}
EXPERIMENT = Experiment(__doc__, stage, flags=FLAGS, alone=("formats",))

if __name__ == "__main__":
    launch(EXPERIMENT)
