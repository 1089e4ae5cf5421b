"""A model of the Hugging Face hub, downloaded with the package `huggingface_hub` into its cache."""

from __future__ import annotations

import pathlib
import re
from typing import Any

from monosem_jax.models.weights.gguf import PART
from monosem_jax.runtime.errors import BadInput, short_error

FILES = ("config.json", "*.safetensors", "*.safetensors.index.json", "tokenizer.json", "tokenizer_config.json",
         "generation_config.json", "chat_template.jinja")  # fmt: skip
UNUSED = ("*/*", "consolidated*")  # what lies deeper, such as ONNX; the same weights under other names
ANSWERS_WITHIN = 10.0  # seconds
NAME = re.compile(r"([\w.-]+(?:/[\w.-]+)?)(?:/([^@]+\.gguf))?(?:@(.+))?", re.ASCII)


def fetch(name: str) -> pathlib.Path:
    """The directory of ORG/NAME in the cache, or a file ORG/NAME/FILE.gguf, each with @REVISION after it or not.

    What is in the cache is not downloaded again, and is used where there is no network. Raises BadInput when the model
    cannot be had.
    """
    try:
        import huggingface_hub
    except ImportError:
        raise BadInput(f"hub:{name} needs the package huggingface_hub: pip install 'monosem_jax[hub]'") from None
    if (match := NAME.fullmatch(name)) is None:
        raise BadInput(f"hub:{name} is no name of a model: expected hub:ORG/NAME, or hub:ORG/NAME@REVISION")
    repository, file, revision = match.groups()
    part = PART.fullmatch(file or "")
    wanted = [f"{part[1]}-?????-of-{part[3]}.gguf"] if part else [file] if file else FILES
    reason = _unreachable(huggingface_hub, repository, revision)
    try:
        found = huggingface_hub.snapshot_download(
            repository,
            revision=revision,
            allow_patterns=list(wanted),
            ignore_patterns=None if file else list(UNUSED),
            local_files_only=reason is not None,
        )
    except Exception as e:  # the library has many kinds: no network, no such model, no access
        raise BadInput(
            f"hub:{name} cannot be downloaded, and is not in the cache: {reason or short_error(e)}; a directory or "
            ".gguf file on this machine can be given instead"
        ) from None
    path = pathlib.Path(found) / (file or "")
    if not path.exists() or not (file or (path / "config.json").exists()):
        raise BadInput(f"hub:{name} has no {file or 'config.json'}")
    return path


def _unreachable(library: Any, repository: str, revision: str | None) -> str | None:
    """Why the hub does not give a model, or None if it does. (The download itself would try for minutes.)"""
    try:
        library.model_info(repository, revision=revision, timeout=ANSWERS_WITHIN)
    except Exception as e:  # the library has many kinds
        return short_error(e)
    return None
