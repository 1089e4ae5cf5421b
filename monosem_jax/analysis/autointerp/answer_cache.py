"""Answers of an endpoint on disk: one file per request, named by its hash, so that nothing is asked and paid twice."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
import secrets
from typing import Any

from monosem_jax.runtime.errors import BadInput


class AnswerCache:
    """A folder of answers; without a folder nothing is kept.

    A file is written whole or not at all, and one that is damaged counts as absent. Raises BadInput where the folder
    cannot be made.
    """

    def __init__(self, folder: str | os.PathLike[str] | None):
        self.folder = pathlib.Path(folder) if folder else None
        if self.folder is not None:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except OSError as e:
                raise BadInput(f"the cache of answers {folder} cannot be made: {e.strerror}") from None

    def get(self, request: dict[str, Any]) -> str | None:
        """The answer to a request, or None."""
        if self.folder is None:
            return None
        try:
            found = json.loads((self.folder / self._name(request)).read_text(encoding="utf-8"))
            content = found["content"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        return content if isinstance(content, str) else None

    def put(self, request: dict[str, Any], content: str) -> None:
        """Keeps an answer. A full disk or a lost folder costs the answer's place in the cache, not the answer."""
        if self.folder is None:
            return
        path = self.folder / self._name(request)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        try:
            with open(temporary, "w", encoding="utf-8") as f:
                json.dump({"content": content}, f)
                f.flush()
                os.fsync(f.fileno())
            os.replace(temporary, path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink()

    def _name(self, request: dict[str, Any]) -> str:
        text = json.dumps(request, sort_keys=True)
        return f"{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}.json"
