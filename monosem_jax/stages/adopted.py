"""A pretrained model where a stage expects the run directory of a transformer: it is imported into the stage's own."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any, TypeVar

from monosem_jax.models.pretrained import is_pretrained
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.workdir import MODEL_FOLDER
from monosem_jax.stages.import_model import ImportModelConfig, import_model
from monosem_jax.text.pack import TextConfig

C = TypeVar("C", bound=Any)
CONTEXTS = 16  # held-out contexts on which the loss of a model that is imported in passing is measured


def adopted(config: C, workdir: str | pathlib.Path, seed: int = 0) -> C:
    """The configuration of a stage whose `transformer` is a run directory: where it names a pretrained model, that of
    WORKDIR/model, which is made, with the text `config.model_text`.

    Raises BadInput when there is a text, but no pretrained model to read it.
    """
    if not config.transformer or not is_pretrained(config.transformer):
        if config.model_text != type(config).model_text:
            raise BadInput(
                f"config.model_text is {config.model_text}, but config.transformer {config.transformer or 'is empty'} "
                "is no pretrained model: a run directory has a text of its own"
            )
        return config
    target = pathlib.Path(workdir) / MODEL_FOLDER
    text = TextConfig(corpus=config.model_text)
    import_model(target, ImportModelConfig(seed, config.transformer, text, evaluate_contexts=CONTEXTS))
    return dataclasses.replace(config, transformer=str(target))
