"""The experiments under the package's name: `python -m monosem_jax.experiments.NAME …` works in every directory.

`python -m experiments.NAME` needs this checkout as the working directory or on PYTHONPATH, and finds another project's
folder experiments/ first where there is one. This package has our files.
"""

from monosem_jax.runtime.command import programs, put_first

_place = programs()
put_first(_place)
__path__ = [str(_place / "experiments")]
