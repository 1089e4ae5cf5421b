"""Prints what the directory of any experiment holds: configuration, metrics, checkpoints, sizes.

python -m experiments.inspect --workdir=runs/a1
python -m experiments.inspect --workdir=runs/a1 --verify      also reads all checkpoints and names damaged ones
"""

from absl import flags

from experiments.entry import launch

flags.DEFINE_bool("verify", False, "Read all checkpoints and compare them with their checksums.")
WORKDIR = {"workdir": (None, "Directory of any run.")}


def with_flags(config, parsed):
    """Puts --verify into the configuration."""
    config.verify = config.verify or parsed.verify
    return config


if __name__ == "__main__":
    launch("inspect", "InspectConfig", "inspect.py", with_flags, arguments=WORKDIR)
