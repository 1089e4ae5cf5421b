"""Drills: faults in running experiments, and how these end. Each drill is one function `ground -> Outcome`."""
