"""Writes one static page, index.html, from the records of an analysis.

python -m experiments.report --workdir=runs/a1_report --config.analysis=runs/a1_analysis
"""

from experiments.entry import Experiment, launch


def stage(flags):
    from monosem_jax.stages import report

    return report.run


EXPERIMENT = Experiment(__doc__, stage)

if __name__ == "__main__":
    launch(EXPERIMENT)
