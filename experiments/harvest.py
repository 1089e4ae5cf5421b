"""Harvests a transformer's activations into a store, or converts an array of activations into one.

  python -m experiments.harvest --workdir=runs/store --config.transformer=runs/transformer_a
  python -m experiments.harvest --workdir=runs/resid --config.transformer=runs/transformer_a \\
      --config.harvest.site=resid_mid.0 --config.harvest.rows_per_context=50
  python -m experiments.harvest --workdir=runs/sites --config.transformer=runs/transformer_a \\
      --config.harvest.site=mlp_in.0,mlp_out.0,resid_post.0
  python -m experiments.harvest --workdir=runs/mine --from=activations.npy        (or zarr, or file.safetensors:tensor)
  python -m experiments.harvest --workdir=runs/store --config.store=s3://bucket/path --config.transformer=...

Sites with commas between are read in one pass over the text, into a store each: runs/sites/mlp_in.0, …. Row i of all is
of the same token, so --config.source=runs/sites/mlp_in.0,runs/sites/mlp_out.0 trains a transcoder or a crosscoder.

--plan prints what the harvest would take and writes nothing; --verify reads a store back and names what is damaged.
"""

from experiments.entry import Experiment, Flag, launch


def stage(flags):
    from monosem_jax.stages import harvest

    return harvest.verify if flags["verify"] else harvest.dry_run if flags["plan"] else harvest.harvest


FLAGS = {
    "from": Flag("An array [n, M] to convert: .npy, zarr, or FILE.safetensors[:TENSOR].", sets=("source",)),
    "plan": Flag("Print rows, bytes, files, time and disk need, and stop.", bool, False),
    "verify": Flag("Read the store or stores in --workdir (a directory or URL) back and report damages.", bool, False),
    "skip_nonfinite": Flag(
        "Leave out rows that are not finite instead of refusing them.", bool, sets=("harvest.skip_nonfinite",)
    ),
}
EXPERIMENT = Experiment(__doc__, stage, flags=FLAGS)

if __name__ == "__main__":
    launch(EXPERIMENT)
