"""Drills: faults in running experiments, and their outcomes. Modules have one function `ground -> Outcome` per drill."""
