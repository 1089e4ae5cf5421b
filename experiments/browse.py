"""Opens the browser of features of a report or an analysis, and prints its page; it is built where it is missing.

  python -m experiments.browse --workdir=runs/quickstart
  python -m experiments.browse --workdir=runs/a1_analysis
  python -m experiments.browse --workdir=runs/a1_report --port=8000

With --port it is served to this machine alone, for machines without a screen, until Ctrl-C.
"""

from experiments.entry import Experiment, Flag, launch


def stage(flags):
    from monosem_jax.stages import browse

    return browse.browse


FLAGS = {
    "folder": Flag("The folder of the browser of an analysis; by default one beside the analysis.", sets=("folder",)),
    "port": Flag("Serve the browser on this port; by default its files are opened from disk.", int, sets=("port",),
                 least=1),
}  # fmt: skip
ARGUMENTS = {"workdir": Flag("Directory of a report, of a finished analysis, or of a quickstart.")}
EXPERIMENT = Experiment(__doc__, stage, flags=FLAGS, arguments=ARGUMENTS)

if __name__ == "__main__":
    launch(EXPERIMENT)
