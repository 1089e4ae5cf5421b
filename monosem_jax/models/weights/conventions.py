"""How the texts of a pretrained model begin and end, and how conversations are written for it: what its files say."""

from __future__ import annotations

import dataclasses
from typing import Any

from tokenizers import Tokenizer

from monosem_jax.models.weights import gguf, hf
from monosem_jax.runtime.errors import BadInput
from monosem_jax.text.tokenizer import bos_id, encode

# Special tokens that end a text wherever they are known by these names, also where the files do not say so.
END_NAMES = (
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|end_of_text|>",
    "<end_of_turn>",
    "</s>",
    "<eos>",
    "<|end|>",
)
GGUF_ENDS = ("eos", "eot", "eom")
TEMPLATE = "chat_template.jinja"


@dataclasses.dataclass(frozen=True)
class Conventions:
    """`begin`: tokens before every text. `ends`: tokens that end one. `template`: Jinja that makes text of a
    conversation ("": there is none), with the names of the tokens `bos` and `eos` that it may use. `where`: for
    messages."""

    begin: tuple[int, ...]
    ends: tuple[int, ...]
    template: str = ""
    bos: str = ""
    eos: str = ""
    where: str = "the model"


def read_conventions(source: Any, tokenizer: Tokenizer) -> Conventions:
    """Those of a model's files; raises BadInput on files that do not hold what they should."""
    if isinstance(source, hf.Directory):
        ends, bos, eos, template = _of_directory(source, tokenizer)
    elif isinstance(source, gguf.File):
        ends, bos, eos, template = _of_gguf(source, tokenizer)
    else:
        ends, bos, eos, template = [], "", "", ""
    named = (tokenizer.token_to_id(name) for name in END_NAMES)
    known = tokenizer.get_vocab_size()
    found = sorted({i for i in (*ends, *named) if i is not None and 0 <= i < known})
    return Conventions(_begin(source, tokenizer), tuple(found), template, bos, eos, source.where)


def _begin(source: Any, tokenizer: Tokenizer) -> tuple[int, ...]:
    """What the tokenizer puts before a text."""
    if not isinstance(source, hf.Directory | gguf.File):
        return (bos_id(tokenizer),)
    (encoded,) = encode(tokenizer, ["a"], special=True)
    mask = encoded.special_tokens_mask
    return tuple(encoded.ids[: mask.index(0)]) if 0 in mask else ()


def _of_gguf(source: gguf.File, tokenizer: Tokenizer) -> tuple[list[int | None], str, str, str]:
    given = source.metadata

    def number(name: str) -> int | None:
        found = given.get(f"tokenizer.ggml.{name}_token_id")
        return found if isinstance(found, int) else None

    def token(name: str) -> str:
        found = number(name)
        return (tokenizer.id_to_token(found) or "") if found is not None and found >= 0 else ""

    template = given.get("tokenizer.chat_template")
    return [number(n) for n in GGUF_ENDS], token("bos"), token("eos"), template if isinstance(template, str) else ""


def _of_directory(source: hf.Directory, tokenizer: Tokenizer) -> tuple[list[int | None], str, str, str]:
    def optional(name: str) -> dict[str, Any]:
        return source.folder.json(name) if source.folder.has(name) else {}

    settings = optional("tokenizer_config.json")
    names = {key: _content(settings.get(f"{key}_token")) for key in ("bos", "eos")}
    ends: list[int | None] = [tokenizer.token_to_id(names["eos"])]
    for own in (optional("generation_config.json"), optional("config.json")):
        given = own.get("eos_token_id")
        ends += [i for i in (given if isinstance(given, list) else [given]) if isinstance(i, int)]
    return ends, names["bos"], names["eos"], _template(source, settings)


def _content(token: Any) -> str:
    """The text of a special token, which is given as text or as {"content": text}."""
    found = token.get("content") if isinstance(token, dict) else token
    return found if isinstance(found, str) else ""


def _template(source: hf.Directory, settings: dict[str, Any]) -> str:
    own = source.folder.read(TEMPLATE)
    if own is not None:
        try:
            return own.decode()
        except UnicodeDecodeError:
            raise BadInput(f"{source.where.rstrip('/')}/{TEMPLATE} is not in UTF-8") from None
    found = settings.get("chat_template", "")
    if isinstance(found, list):  # several, by names
        by_name = {t.get("name"): t.get("template") for t in found if isinstance(t, dict)}
        found = by_name.get("default", "")
    return found if isinstance(found, str) else ""
