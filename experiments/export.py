"""Writes a dictionary for other programs, or makes a run directory of one that SAELens wrote.

  python -m experiments.export --workdir=runs/a1 --format=saelens --output=out/a1
  python -m experiments.export --workdir=runs/theirs --import=FOLDER --transformer=runs/transformer_a

Formats: saelens, dictionary_learning, safetensors, numpy; of a sweep every member is written. Nothing is overwritten.
SAELens has no crosscoders and no transcoders with TopK, dictionary_learning neither crosscoders nor transcoders; the
other two formats take every architecture. Imported are SAELens' standard, topk, jumprelu and gated dictionaries.
What is imported, load_run opens, and if its transformer was given, experiments.evaluate and experiments.analyze do.
"""

from absl import flags

from experiments.entry import launch

TEXTS = {
    "format": "For an export: saelens, dictionary_learning, safetensors or numpy.",
    "output": "For an export: the folder to make.",
    "transformer": "For an import: the run directory of the transformer that the dictionary is of, if it is at hand.",
    "site": "For an import: what it explains, such as mlp_hidden.0; by default what the folder says.",
}
for name, what in TEXTS.items():
    flags.DEFINE_string(name, None, what)
flags.DEFINE_string("import", None, "A folder with cfg.json and sae_weights.safetensors to make the run directory of.")
flags.DEFINE_integer("step", None, "For an export: the checkpoint; by default the newest.", lower_bound=0)


def with_flags(config, parsed):
    """Puts the flags into the configuration."""
    for name in TEXTS:
        config[name] = parsed[name].value or config[name]
    config.source = parsed["import"].value or config.source
    if parsed.step is not None:
        config.step = parsed.step
    return config


if __name__ == "__main__":
    launch("export", "ExportConfig", "export.py", with_flags)
