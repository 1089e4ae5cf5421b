"""What a run was made with: the versions of the packages that it depends on, and the revision of this code."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import pathlib
import subprocess

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorstore", "grain", "numpy", "tokenizers")


def versions() -> dict[str, str]:
    """The versions of the stack that a run depends on."""
    found = {}
    for name in ("monosem_jax", *PACKAGES):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def git_revision() -> str | None:
    """The revision of the checkout that this package is part of, with "-dirty" if its files are not those of that
    revision; None when it is part of none, such as an installation inside another project's checkout."""
    package = pathlib.Path(__file__).resolve().parents[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}

    def git(*words: str) -> subprocess.CompletedProcess[str]:
        start = ["git", "-C", str(package), *words]
        return subprocess.run(start, env=environment, capture_output=True, text=True, timeout=10)

    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        if git("ls-files", "--error-unmatch", "__init__.py").returncode == 0:
            revision, changed = (
                git("rev-parse", "--verify", "HEAD"),
                git("diff", "--quiet", "HEAD", "--", ".").returncode,
            )
            return revision.stdout.strip() + "-dirty" * (changed == 1) if revision.returncode == 0 else None
    return None
