"""The evidence about a dictionary as one static page.

`monosem_jax.report(workdir, config)` is the stage that writes it. Python sets this package as the attribute `report` of
`monosem_jax` whenever anything imports it, so the package itself has to be callable.
"""

import importlib
import sys
import types
from typing import Any


class _CallablePackage(types.ModuleType):
    def __call__(self, workdir: Any, config: Any) -> dict[str, Any]:
        """Writes the report of a finished analysis into `workdir`: see `monosem_jax.stages.report.report`."""
        return importlib.import_module("monosem_jax.stages.report").report(workdir, config)


sys.modules[__name__].__class__ = _CallablePackage
