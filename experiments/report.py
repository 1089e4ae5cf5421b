"""Writes one static page, index.html, from the records of an analysis.

python -m experiments.report --workdir=runs/a1_report --config.analysis=runs/a1_analysis
"""

from experiments.entry import launch

if __name__ == "__main__":
    launch("report", "ReportRunConfig", "report.py")
