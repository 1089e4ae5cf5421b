"""The programs: each takes a configuration and a workdir, and leaves a finished run directory. All resume."""
