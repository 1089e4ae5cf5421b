"""Drills: what is done to experiments, and how it ends. Each module has one function per drill, `ground -> Outcome`."""
