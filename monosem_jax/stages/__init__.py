"""The stages: each is a function of a workdir and a configuration that makes or resumes a run directory."""
