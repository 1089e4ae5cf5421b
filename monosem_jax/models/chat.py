"""Conversations as the text that a model was trained on, by the chat template of its tokenizer.

A template is a program from a file: it is rendered in Jinja's sandbox, where it sees the messages and can change or
reach nothing. Special tokens are those that the template itself writes; the same characters in a message are plain
text, so that what a user writes cannot end a turn or begin another.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from monosem_jax.models.weights.conventions import Conventions
from monosem_jax.runtime.errors import BadInput, short_error

Message = Mapping[str, Any]
MARKS = ("\ufdd0", "\ufdd1")  # around what messages say: characters that are none
INSTALL = "chat templates need the package jinja2: pip install 'monosem_jax[chat]'"


def chat_text(messages: str | Sequence[Message], conventions: Conventions, *, reply: bool = True) -> str:
    """A conversation as text; with `reply`, up to where the model's answer begins.

    Args:
      messages: {"role": "user", "content": text} and so on, or the text of one message of a user.

    Raises BadInput where the model has no template, it refuses the messages, or jinja2 is not installed.
    """
    return _render(_checked(messages), conventions, reply)


def chat_tokens(
    messages: str | Sequence[Message], conventions: Conventions, tokenizer: Tokenizer, *, reply: bool = True
) -> np.ndarray:
    """The token ids of `chat_text`. Raises BadInput also where a message holds the text of a special token, and it
    cannot be told from what the template writes, because the template changes messages."""
    checked = _checked(messages)
    text = _render(checked, conventions, reply)
    names = {t.content: i for i, t in tokenizer.get_added_tokens_decoder().items() if t.special and t.content}
    inside = _places(checked, conventions, reply, text)
    held = next((n for n in names if any(n in message["content"] for message in checked)), None)
    if inside is None and held:
        raise BadInput(
            f"a message holds the text of the special token {held!r}, and the chat template of {conventions.where} "
            "changes messages: it cannot be told from the template's own"
        )
    ids: list[int] = []
    start = 0
    for found in _special(names).finditer(text) if names else ():
        if any(low < found.end() and found.start() < high for low, high in inside or ()):
            continue
        ids += _plain(tokenizer, text[start : found.start()])
        ids.append(names[found.group()])
        start = found.end()
    return np.asarray([*ids, *_plain(tokenizer, text[start:])], np.int32)


def _special(names: Mapping[str, int]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, sorted(names, key=len, reverse=True))))


def _plain(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False).ids if text else []


def _checked(messages: str | Sequence[Message]) -> list[dict[str, Any]]:
    if isinstance(messages, str):
        return [{"role": "user", "content": messages}]
    if not isinstance(messages, Sequence) or not messages:
        raise BadInput(f"chat was given {messages!r}: expected a text, or a list of one or more messages")
    for m in messages:
        if not (isinstance(m, Mapping) and all(isinstance(m.get(key), str) for key in ("role", "content"))):
            raise BadInput(f"chat was given the message {m!r}: expected {{'role': 'user', 'content': 'a text'}}")
    return [{**m} for m in messages if isinstance(m, Mapping)]


def _render(messages: list[dict[str, Any]], conventions: Conventions, reply: bool) -> str:
    if not conventions.template:
        raise BadInput(f"{conventions.where} has no chat template: it was not trained on conversations, use generate")
    try:
        import jinja2
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError:
        raise BadInput(f"{conventions.where}: {INSTALL}") from None

    def refuse(message: str) -> None:
        raise jinja2.TemplateError(message)

    world = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    world.filters["tojson"] = _to_json
    world.globals["raise_exception"] = refuse
    try:
        return world.from_string(conventions.template).render(
            messages=messages, add_generation_prompt=reply, bos_token=conventions.bos, eos_token=conventions.eos,
            tools=None, documents=None,
        )  # fmt: skip
    except Exception as e:  # what a template does is not known
        raise BadInput(f"{conventions.where}: its chat template refuses the messages: {short_error(e)}") from None


def _to_json(x: Any, ensure_ascii: bool = False, indent: int | None = None) -> str:
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent)


def _places(
    messages: list[dict[str, Any]], conventions: Conventions, reply: bool, text: str
) -> list[tuple[int, int]] | None:
    """Where in the text (start, end) the contents of messages stand, found by rendering them between marks; None where
    the template does something else with them than to write them."""
    low, high = MARKS
    for edges in (lambda s: s, str.strip):  # many templates strip messages
        marked = [{**m, "content": low + edges(m["content"]) + high} for m in messages]
        try:
            found = _render(marked, conventions, reply)
        except BadInput:
            continue
        if found.replace(low, "").replace(high, "") == text and not any(c in text for c in MARKS):
            places = [m.span() for m in re.finditer(f"{low}.*?{high}", found, re.DOTALL)]
            # Before place n stand 2n marks.
            return [(start - 2 * n, stop - 2 * n - 2) for n, (start, stop) in enumerate(places)]
    return None
