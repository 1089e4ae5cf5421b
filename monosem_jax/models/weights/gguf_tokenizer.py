"""The tokenizer in a GGUF file's metadata, as one of the library `tokenizers`: what llama.cpp makes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from monosem_jax.runtime.errors import BadInput

UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 2, 3, 4, 5, 6  # types of tokens; 1 is a normal one
SPACE = "▁"

SHORT_FORMS = r"'s|'t|'re|'ve|'m|'ll|'d"
ANY_CASE = rf"(?i:{SHORT_FORMS})"
GPT2 = rf"{SHORT_FORMS}| ?\p{{L}}+| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]+|\s+(?!\S)"
ENDS = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = rf"{ANY_CASE}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|{ENDS}"
QWEN2 = rf"{ANY_CASE}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}|{ENDS}"
DEEPSEEK3 = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
UPPER, LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
CASED = rf"[^\r\n\p{{L}}\p{{N}}]?[{UPPER}]*[{LOWER}]+%s|[^\r\n\p{{L}}\p{{N}}]?[{UPPER}]+[{LOWER}]*%s|"
SLASHED = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
TEKKEN = f"{CASED % ('', '')}\\p{{N}}|{SLASHED}"
GPT4O = f"{CASED % ((f'{ANY_CASE}?',) * 2)}\\p{{N}}{{1,3}}|{SLASHED}"

# `tokenizer.ggml.pre` → the expressions by which text is cut, one after the other, before pairs are merged.
CUTS: dict[str, Sequence[str]] = {
    **dict.fromkeys(("default", ""), (r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]")),
    **dict.fromkeys(("gpt-2", "phi-2", "gigachat", "mellum", "mpt", "olmo", "jais", "trillion", "exaone4"), (GPT2,)),
    **dict.fromkeys(
        ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"), (r"\p{N}", GPT2)
    ),
    **dict.fromkeys(("llama3", "llama-v3", "llama-bpe", "falcon3", "pixtral", "dbrx", "smaug-bpe"), (LLAMA3,)),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen", "stablelm2", "megrez", "hunyuan", "solar-open"), (QWEN2,)),
    "deepseek-v3": (r"\p{N}{1,3}", r"[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK3),
    "deepseek-coder": (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", r"[一-龥ࠀ-一가-퟿]+", r"\p{N}"),
    "falcon": (r"[\p{P}\$\+<=>\^~\|`]+", GPT2, r"[0-9][0-9][0-9]"),
    "tekken": (TEKKEN,),
    **dict.fromkeys(("gpt-4o", "llama4"), (GPT4O,)),
}
# A word that is a token is not merged of its parts, and a text begins with BOS if the file does not say otherwise.
WHOLE_WORDS = BEGUN = ("llama3", "llama-v3", "llama-bpe", "falcon3", "pixtral", "tekken")


def make_tokenizer(metadata: Mapping[str, Any], where: str) -> Tokenizer:
    """The tokenizer that a file's metadata describe; raises BadInput on a kind that we cannot make, or a damaged one.

    Tokens that control the model are special, those defined by users are found in every text. The post-processor puts
    the token that begins a text before it, where llama.cpp does.
    """
    v = _Vocabulary(metadata, where)
    try:
        if v.kind == "gpt2":
            made = _byte_level(v)
        elif v.kind == "llama":
            made = _sentencepiece(v)
        else:
            raise BadInput(f"{where}: tokenizer.ggml.model is {v.kind[:40]!r}: expected gpt2 or llama")
        special = [AddedToken(t, special=True, normalized=False) for t in v.of_types(CONTROL, UNKNOWN)]
        made.add_special_tokens(special)
        made.add_tokens([AddedToken(t, special=False, normalized=False) for t in v.of_types(USER_DEFINED)])
    except BadInput:
        raise
    except Exception as e:  # the library raises bare Exception
        raise BadInput(f"{where}: its tokenizer cannot be made: {' '.join(str(e).split())[:200]}") from None
    begin = v.begin()
    if begin is not None:
        put = {"id": "BEGIN", "ids": [v.ids[begin]], "tokens": [begin]}  # the token itself could be read as "$A"
        made.post_processor = processors.TemplateProcessing("BEGIN $A", "BEGIN $A BEGIN $B", [put])
    return made


class _Vocabulary:
    """What the metadata say, checked."""

    def __init__(self, metadata: Mapping[str, Any], where: str):
        self.metadata, self.where = metadata, where
        self.kind = str(self.get("model", ""))
        if not self.kind:
            raise BadInput(f"{where} has no tokenizer (no key tokenizer.ggml.model)")
        self.pre = str(self.get("pre", ""))
        tokens = self.get("tokens")
        if not isinstance(tokens, list) or not tokens:
            raise BadInput(f"{where}: tokenizer.ggml.tokens is missing: expected a list of strings")
        self.tokens = [t or f"[EMPTY_{i}]" for i, t in enumerate(tokens)]
        self.ids = {t: i for i, t in enumerate(self.tokens)}
        if len(self.ids) != len(self.tokens):
            twice = next(t for i, t in enumerate(self.tokens) if self.ids[t] != i)
            raise BadInput(f"{where}: tokenizer.ggml.tokens has {twice[:40]!r} twice")
        types = self.get("token_type")
        self.types = np.ones(len(tokens), int) if types is None else self.array("token_type")

    def get(self, key: str, default: Any = None) -> Any:
        return self.metadata.get(f"tokenizer.ggml.{key}", default)

    def array(self, key: str) -> np.ndarray:
        """Numbers, one for each token."""
        found = self.get(key)
        if not isinstance(found, np.ndarray) or len(found) != len(self.tokens):
            raise BadInput(f"{self.where}: tokenizer.ggml.{key} is missing or not one number for each token")
        return found

    def of_types(self, *types: int) -> list[str]:
        """The tokens of these types."""
        return [self.tokens[i] for i in np.flatnonzero(np.isin(self.types, types))]

    def begin(self) -> str | None:
        """The token that llama.cpp puts before a text, if it does."""
        default = self.kind == "llama" or self.pre in BEGUN
        if not self.get("add_bos_token", default):
            return None
        i = self.get("bos_token_id", 1 if self.kind == "llama" else None)
        if type(i) is not int or not 0 <= i < len(self.tokens):
            raise BadInput(
                f"{self.where}: tokenizer.ggml.bos_token_id is {i}: expected a token below {len(self.tokens)}"
            )
        return self.tokens[i]


def _byte_level(v: _Vocabulary) -> Tokenizer:
    """BPE of bytes, as GPT-2's."""
    if v.pre not in CUTS:
        raise BadInput(
            f"{v.where}: tokenizer.ggml.pre is {v.pre[:40]!r}: expected one of {', '.join(filter(None, CUTS))}"
        )
    lines = v.get("merges")
    if not isinstance(lines, list):
        raise BadInput(f"{v.where}: tokenizer.ggml.merges is missing: expected a list of strings")
    merges = []
    for line in lines:
        at = line.find(" ", 1)
        if at < 0:
            raise BadInput(
                f"{v.where}: tokenizer.ggml.merges has {line[:40]!r}: expected two parts with a space between"
            )
        merges.append((line[:at], line[at + 1 :]))
    made = Tokenizer(models.BPE(v.ids, merges, ignore_merges=v.pre in WHOLE_WORDS))
    cuts = [pre_tokenizers.Split(Regex(cut), "isolated") for cut in CUTS[v.pre]]
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [*cuts, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    made.decoder = decoders.ByteLevel()
    return made


def _sentencepiece(v: _Vocabulary) -> Tokenizer:
    """BPE of characters with ▁ for a space, as SentencePiece's; what has no token becomes tokens of bytes."""
    scores = v.array("scores").tolist()
    normal = np.isin(v.types, (CONTROL, UNKNOWN, UNUSED, BYTE), invert=True).tolist()
    pairs = []
    for i, token in enumerate(v.tokens):
        for at in range(1, len(token) if normal[i] else 0):
            left, right = v.ids.get(token[:at]), v.ids.get(token[at:])
            if left is not None and right is not None and normal[left] and normal[right]:
                pairs.append((-scores[i], left, right))
    merges = [(v.tokens[left], v.tokens[right]) for _, left, right in sorted(pairs)]
    unknown = next(iter(v.of_types(UNKNOWN)), None)
    has_bytes = len(v.of_types(BYTE)) == 256
    made = Tokenizer(models.BPE(v.ids, merges, unk_token=unknown, fuse_unk=True, byte_fallback=has_bytes))
    first = bool(v.get("add_space_prefix", True))
    replace = normalizers.Replace(" ", SPACE)
    made.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), replace]) if first else replace
    steps = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    made.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if first else steps)
    return made
