"""Continuations of prompts, as a user asks for them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from tokenizers import Tokenizer

from monosem_jax.models.base import named_site, site_widths
from monosem_jax.models.sampling import ENDS, Rules
from monosem_jax.models.tapped import TappedModel
from monosem_jax.models.weights.conventions import Conventions
from monosem_jax.models.writing import POSITIONS, Edit, Writing, begin, remembers, rows_at_once, size, write
from monosem_jax.runtime.arguments import token_ids, whole_number
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.rng import jax_key

Prompt = str | ArrayLike
STOP_EVERY = 16  # tokens after which texts are searched for strings that end them


@dataclasses.dataclass(frozen=True)
class Generated:
    """Texts that a model wrote: all samples of the first prompt, then those of the next.

    `prompts`: the token ids that each began with. `tokens`: the token ids written, without the one that ended the text.
    `texts`: what was written, up to the string that ended it. `ended`: whether a text came to an end by itself.
    """

    prompts: tuple[np.ndarray, ...]
    tokens: tuple[np.ndarray, ...]
    texts: tuple[str, ...]
    ended: tuple[bool, ...]

    @property
    def text(self) -> str:
        """The text; raises BadInput when there are several."""
        if len(self.texts) != 1:
            raise BadInput(f"{len(self.texts)} texts were generated: take one of .texts")
        return self.texts[0]


@dataclasses.dataclass(frozen=True)
class Options:
    """How tokens are drawn, and what ends a text (see `LoadedModel.generate`)."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0
    stop: str | int | Sequence[int | str] | None = ()
    samples: int = 1

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise BadInput(f"generate: temperature is {self.temperature}: expected 0 (the most probable) or more")
        if not 0 < self.top_p <= 1:
            raise BadInput(f"generate: top_p is {self.top_p}: expected above 0, at most 1")
        whole_number(f"generate: top_k is {self.top_k!r}", self.top_k, 0)
        whole_number(f"generate: samples is {self.samples!r}", self.samples, 1)
        whole_number(f"generate: seed is {self.seed!r}", self.seed, 0)


def generate(
    tapped: TappedModel,
    tokenizer: Tokenizer,
    conventions: Conventions,
    prompt: Prompt | Sequence[Prompt],
    n: int,
    options: Options,
    edit: Edit | None = None,
) -> Generated:
    """`LoadedModel.generate`."""
    options.check()
    if not remembers(tapped.model):
        raise BadInput(f"generate: {type(tapped.model).__name__} has no memory: expected a model with `memory`")
    n = whole_number(f"generate: n is {n!r}", n, 1)
    prompts = _prompts(tapped, tokenizer, conventions, prompt, n)
    edit = None if edit is None else _checked_edit(tapped, edit)
    tokens, strings = _ends(tapped, tokenizer, conventions, options.stop)
    ends = np.full(ENDS, -1, np.int32)
    ends[: len(tokens)] = tokens
    rules = Rules(
        jnp.float32(options.temperature), jnp.float32(options.top_p), jnp.int32(options.top_k), jnp.asarray(ends),
        jnp.zeros(0, jnp.int32),
    )  # fmt: skip
    rows = [(p, s) for p in prompts for s in range(options.samples)]
    batch = rows_at_once(tapped.model, size(max(map(len, prompts))) + size(n))
    found: list[tuple[np.ndarray, str, bool]] = []
    for start in range(0, len(rows), batch):
        found += _written(tapped, tokenizer, rows[start : start + batch], n, options.seed, rules, strings, edit)
    tokens_of, texts, ended = zip(*found, strict=True)
    return Generated(tuple(p for p, _ in rows), tokens_of, texts, ended)


def _written(
    tapped: TappedModel,
    tokenizer: Tokenizer,
    rows: list[tuple[np.ndarray, int]],
    n: int,
    seed: int,
    rules: Rules,
    strings: tuple[str, ...],
    edit: Edit | None,
) -> Iterator[tuple[np.ndarray, str, bool]]:
    """(token ids, text, whether it ended) of each row, a prompt and the number of the sample."""
    prompts = [p for p, _ in rows]
    now = begin(tapped, prompts, n, edit)
    numbers = np.zeros(len(now.newest), np.uint32)
    numbers[: len(rows)] = [s for _, s in rows]
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax_key("generate", seed), jnp.asarray(numbers))
    ends, until, cut = np.asarray(rules.ends), 0, {}
    while until < n and not np.asarray(now.done).all():
        until = min(n, until + STOP_EVERY) if strings else n
        now = write(tapped, now, keys, jnp.int32(0), rules, edit, jnp.int32(until))
        cut = {i: _cut(tokenizer, p, row, ends, strings) for i, p, row in _each(now, prompts)}
        if strings:
            done = np.asarray(now.done) | np.asarray([i < len(rows) and cut[i][2] for i in range(len(now.done))])
            now = now._replace(done=jnp.asarray(done))
    return iter(cut.values())


def _each(now: Writing, prompts: list[np.ndarray]) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(number, prompt, what is written so far) of each text."""
    written = np.asarray(now.written)[:, : int(now.n)]
    for i, prompt in enumerate(prompts):
        yield i, prompt, written[i]


def _cut(
    tokenizer: Tokenizer, prompt: np.ndarray, row: np.ndarray, ends: np.ndarray, strings: tuple[str, ...]
) -> tuple[np.ndarray, str, bool]:
    """(token ids, text, whether it ended) up to the first end."""
    at = np.flatnonzero(np.isin(row, ends))
    row, ended = (row[: at[0]], True) if len(at) else (row, False)
    text = decoded(tokenizer, prompt, row)
    if where := [text.index(s) for s in strings if s in text]:
        # As few tokens as hold the string. The text of more tokens is longer.
        low, high = 0, len(row)
        while low < high:
            middle = (low + high) // 2
            some = decoded(tokenizer, prompt, row[:middle])
            low, high = (low, middle) if any(s in some for s in strings) else (middle + 1, high)
        return row[:low], text[: min(where)], True
    return row, text, ended


def decoded(tokenizer: Tokenizer, prompt: np.ndarray, tokens: np.ndarray) -> str:
    """The text of tokens after a prompt: some tokenizers write the first token of a text in another way."""
    whole, before = (tokenizer.decode(ids) for ids in ([*prompt.tolist(), *tokens.tolist()], prompt.tolist()))
    return whole[len(before) :] if whole.startswith(before) else tokenizer.decode(tokens.tolist())


def prompt_tokens(tokenizer: Tokenizer, conventions: Conventions, text: str) -> np.ndarray:
    """The token ids of a text, with those that the model's texts begin with. Special tokens are plain text."""
    return np.asarray([*conventions.begin, *tokenizer.encode(text, add_special_tokens=False).ids], np.int32)


def _prompts(
    tapped: TappedModel, tokenizer: Tokenizer, conventions: Conventions, prompt: Any, n: int
) -> list[np.ndarray]:
    """The prompts, one or several, as token ids."""
    many = [prompt] if isinstance(prompt, str) or _is_tokens(prompt) else list(prompt)
    if not many:
        raise BadInput("generate was given no prompt: expected a text, token ids, or a list of them")
    vocab_size, longest = tapped.model.config.vocab_size, tapped.model.config.context_length
    found = []
    for one in many:
        ids = prompt_tokens(tokenizer, conventions, one) if isinstance(one, str) else np.asarray(one)
        if not ids.size:
            raise BadInput("generate: a prompt has no tokens: expected one or more, the model begins no text by itself")
        ids = np.asarray(token_ids("generate: a prompt", ids[None], vocab_size))[0]
        if len(ids) + n > longest:
            raise BadInput(
                f"generate: a prompt has {len(ids)} tokens: with {n} more it is longer than a context, {longest}"
            )
        found.append(ids)
    return found


def _is_tokens(prompt: Any) -> bool:
    """Whether a prompt is token ids, not a list of prompts."""
    first = prompt[0] if len(prompt) else ""
    return not isinstance(first, str) and np.ndim(first) == 0


def _ends(
    tapped: TappedModel, tokenizer: Tokenizer, conventions: Conventions, stop: Any
) -> tuple[list[int], tuple[str, ...]]:
    """(tokens, strings) that end a text."""
    given = () if stop is None else (stop,) if isinstance(stop, str | int) else tuple(stop)
    found = [i if isinstance(s, str) and (i := _special_id(tokenizer, s)) is not None else s for s in given]
    tokens = [
        whole_number(f"generate: the stop token {t!r}", t, 0, tapped.model.config.vocab_size - 1)
        for t in found if not isinstance(t, str)
    ]  # fmt: skip
    own = () if stop is None else conventions.ends
    if "" in found or len(tokens) + len(own) > ENDS:
        raise BadInput(f"generate: stop is {stop!r}: expected up to {ENDS} tokens, and strings that are not empty")
    return [*own, *tokens], tuple(s for s in found if isinstance(s, str))


def _special_id(tokenizer: Tokenizer, text: str) -> int | None:
    known = {t.content: i for i, t in tokenizer.get_added_tokens_decoder().items() if t.special}
    return known.get(text)


def _checked_edit(tapped: TappedModel, edit: Edit) -> Edit:
    site = named_site(edit.site)
    site_widths(tapped.model, site)
    if "+" in site or edit.positions not in POSITIONS:
        raise BadInput(
            f"generate: the edit is at {edit.site!r} and positions are {edit.positions!r}: expected one site, and one "
            f"of {', '.join(POSITIONS)}"
        )
    return dataclasses.replace(edit, site=site)
