"""A model of the Hugging Face hub, downloaded with the package `huggingface_hub` into its cache."""

from __future__ import annotations

import pathlib

from monosem_jax.runtime.errors import BadInput, short_error

FILES = ("config.json", "*.safetensors", "*.safetensors.index.json", "tokenizer.json", "tokenizer_config.json")


def fetch(name: str) -> pathlib.Path:
    """The directory of ORG/NAME, or of ORG/NAME@REVISION, in the cache; raises BadInput when it cannot be had."""
    try:
        import huggingface_hub
    except ImportError:
        raise BadInput(f"hub:{name} needs the package huggingface_hub: pip install 'monosem_jax[hub]'") from None
    name, _, revision = name.partition("@")
    try:
        found = huggingface_hub.snapshot_download(name, revision=revision or None, allow_patterns=list(FILES))
    except Exception as e:  # the library has many kinds: no network, no such model, no access
        raise BadInput(f"hub:{name} cannot be downloaded: {short_error(e)}") from None
    return pathlib.Path(found)
