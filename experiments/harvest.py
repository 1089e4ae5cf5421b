"""Harvests a transformer's activations into a store, or converts an array of activations into one.

  python -m experiments.harvest --workdir=runs/store --config.transformer=runs/transformer_a
  python -m experiments.harvest --workdir=runs/resid --config.transformer=runs/transformer_a \
      --config.harvest.site=resid_mid.0 --config.harvest.rows_per_context=50
  python -m experiments.harvest --workdir=runs/mine --from=activations.npy        (or zarr, or file.safetensors:tensor)
  python -m experiments.harvest --workdir=runs/store --config.store=s3://bucket/path --config.transformer=...

With --plan it says what that takes, and does nothing; with --verify it reads a store back and names what is damaged.
"""

import os

from absl import flags

from experiments.entry import launch

flags.DEFINE_string("from", None, "An array [n, M] to convert: .npy, zarr, or a .safetensors file, :NAME chooses one.")
flags.DEFINE_bool("plan", False, "Print rows, bytes, files, time and disk need, and stop.")
flags.DEFINE_bool("verify", False, "Read the store in --workdir (a directory or URL) back and report damages.")
flags.DEFINE_bool("skip_nonfinite", False, "Leave out rows that are not finite instead of refusing them.")


def with_flags(config, parsed):
    """Puts --from and --skip_nonfinite into the configuration, and makes paths independent of where it is run."""
    config.source = parsed["from"].value or config.source
    for name in ("source", "store"):
        if config[name] and "://" not in config[name] and not config[name].startswith("{"):
            config[name] = os.path.abspath(config[name])
    if parsed.skip_nonfinite:
        config.harvest.skip_nonfinite = True
    return config


def action(parsed):
    """What of the stage is asked for."""
    return "verify" if parsed.verify else "dry_run" if parsed.plan else ""


if __name__ == "__main__":
    launch("harvest", "HarvestRunConfig", "harvest.py", with_flags, action)
