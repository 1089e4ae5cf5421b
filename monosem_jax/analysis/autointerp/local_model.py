"""Opening a language model on this machine as a judge."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from tokenizers import Tokenizer

from monosem_jax.analysis.autointerp.reader import Reader
from monosem_jax.models import loaded
from monosem_jax.models.loaded import LoadedModel
from monosem_jax.models.pretrained import is_pretrained, open_pretrained
from monosem_jax.models.run import ImportedModelRun, open_transformer
from monosem_jax.models.writing import remembers
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.locations import local_path
from monosem_jax.text.shown import token_strings

WORDS = ("yes", "no")


@dataclasses.dataclass(frozen=True)
class Answers:
    """The tokens that are answers: all ways to write yes and no, and the digits 0 to 9."""

    yes: tuple[int, ...]
    no: tuple[int, ...]
    digits: tuple[int, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class LocalModel:
    """A model with its name in records, the tokens that are answers, and its hash."""

    name: str
    found: LoadedModel
    reader: Reader
    answers: Answers
    sha256: str

    @property
    def begin(self) -> tuple[int, ...]:
        """The tokens that its texts begin with."""
        return tuple(self.found.conventions.begin)

    def write(self, texts: Sequence[str], most: int) -> list[str]:
        """One line of at most `most` tokens after each text, by the most probable tokens."""
        return list(self.found.generate(list(texts), most, temperature=0, stop="\n").texts)


def open_local(location: str, batch: int) -> LocalModel:
    """The model at a location; in bf16 on accelerators. Raises BadInput like `check_local`."""
    check_local(location)
    if is_pretrained(location):
        dtype = jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16
        found, sha256 = loaded.of_files(location, dtype=dtype), open_pretrained(location).sha256
    else:
        run = open_transformer(str(local_path(location, "local.model")))
        found = loaded.of_run(run)
        sha256 = hashlib.sha256((run.path / "summary.json").read_bytes()).hexdigest()
        if isinstance(run, ImportedModelRun):
            sha256 = run.pretrained.sha256
    name = pathlib.PurePath(location.removeprefix("hub:")).stem
    return LocalModel(name, found, Reader(found, name, batch), answers(found.tokenizer, name), sha256)


def check_local(location: str) -> None:
    """Raises BadInput, before weights are read, where there is no model, it has no memory, or an answer is no single
    token."""
    if is_pretrained(location):
        pretrained = open_pretrained(location)
        tokenizer, model = pretrained.tokenizer, pretrained.model()
    else:
        run = open_transformer(str(local_path(location, "local.model")))
        tokenizer, model = run.text.tokenizer, run.model
    if not remembers(model):
        raise BadInput(f"local.model {location} cannot be given its tokens in parts: expected a model with a memory")
    answers(tokenizer, location)


def answers(tokenizer: Tokenizer, name: str) -> Answers:
    """The tokens that are answers; raises BadInput where one of them is no single token."""
    found: dict[str, list[int]] = {}
    for i, text in enumerate(token_strings(tokenizer)):
        found.setdefault(text.strip().casefold(), []).append(i)
    digits = [tokenizer.encode(str(n), add_special_tokens=False).ids for n in range(10)]
    missing = [w for w in WORDS if w not in found] + [str(n) for n, ids in enumerate(digits) if len(ids) != 1]
    if missing:
        raise BadInput(
            f"local.model {name} has no single token for {missing[0]!r}: expected one for yes, no and every digit"
        )
    return Answers(tuple(found["yes"]), tuple(found["no"]), tuple(ids[0] for ids in digits))
