"""What a small language model is asked, as texts to go on with: a few examples, then a question. Models that were not
trained on conversations answer them too, and what is the same for many questions stands at the beginning."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from monosem_jax.analysis.autointerp.samples import Samples
from monosem_jax.analysis.autointerp.token_set import TokenSetExplanation
from monosem_jax.analysis.autointerp.windows import KINDS, quantised

SHOWN = 4  # examples from which an explanation is written
NAMED = 5  # tokens of a token set that are named
UNIT = "characters"

EXPLAIN = """Texts with active parts between << and >>, and what the active parts share.

walked along the <<river>> until dusk
swam in the <<lake>> near the old
where the <<river>> meets the
Active: "river", "lake"
Shared: "river" and "lake", bodies of water

they were <<pay>>ing for it
kept <<say>>ing that he
Active: "pay", "say"
Shared: "pay" and "say", verbs before "ing"

"""
LIKELY = """Words: river, lake
Text: walked along the river until
Words: 75, 5
Text: costs about 3.75 per day
"""
DETECT = """Description: "river", "lake", bodies of water
Text: walked along the river
Answer: Yes
Description: "river", "lake", bodies of water
Text: a new engine for
Answer: No
Description: the number "75"
Text: costs 3.75 per day
Answer: Yes
Description: the number "75"
Text: the queen of land
Answer: No
"""
# What says nothing: the numbers that a model gives without an explanation, which are taken off.
NOTHING = "many, words"
SIMULATE = (
    ('"river", "lake", bodies of water', (("walked", 0), (" along", 0), (" the", 0), (" river", 9), (" until", 0))),
    ('the number "75"', ((" costs", 0), (" ", 0), ("3", 0), (".", 1), ("75", 9))),
)
UNKNOWN = "?"
Encode = Callable[[str], list[int]]


class Shown:
    """Windows of tokens as text. `pieces` [V] are the bytes of every token."""

    def __init__(self, pieces: Sequence[bytes]):
        self.pieces = pieces

    def text(self, tokens: Sequence[int] | np.ndarray) -> str:
        """The text of tokens on one line; bytes that are no character appear as �."""
        joined = b"".join(self.pieces[int(t)] for t in tokens).decode("utf-8", "replace")
        return joined.replace("\\", "\\\\").replace("\r", "\\r").replace("\n", "\\n").replace("\t", "\\t")

    def marked(self, tokens: np.ndarray, active: np.ndarray) -> str:
        """The text with runs of active tokens between << and >>."""
        out, begin = "", 0
        for end in range(1, len(tokens) + 1):
            if end == len(tokens) or active[end] != active[begin]:
                part = self.text(tokens[begin:end])
                out += f"<<{part}>>" if active[begin] else part
                begin = end
        return out


def explain_prompt(s: Samples, shown: Shown) -> str:
    """Asks for what the strongest explanation examples share; the answer begins with a quotation mark.

    A small model does not say which parts are marked, so they are named. Examples in which the feature is silent are
    left out: what stands in them was taken for the meaning.
    """
    w = s.explanation
    levels = quantised(w.activations, s.maximum)
    order = np.lexsort((-levels.max(axis=1, initial=0), w.kind != KINDS.index("top")))[:SHOWN]
    active = levels >= np.maximum(levels.max(axis=1, keepdims=True) / 3, 1)
    texts = [shown.marked(w.tokens[i], active[i]) for i in order]
    strongest = sorted(range(len(order)), key=lambda n: -int(levels[order[n]].max()))
    named = dict.fromkeys(shown.text([w.tokens[order[n], levels[order[n]].argmax()]]).strip(" ") for n in strongest)
    quoted = ", ".join(f'"{t}"' for t in named)
    return "".join(f"{t.strip(' ')}\n" for t in texts) + f'Active: {quoted}\nShared: "'


def told(explanation: object, text: str, shown: Shown) -> str:
    """An explanation of any judge in the words of a prompt: of a token set the strongest tokens, else its text."""
    if isinstance(explanation, TokenSetExplanation):
        return ", ".join(shown.text([t]).strip(" ") for t in list(explanation.means)[:NAMED])
    return text


def question(window: str) -> str:
    """A window, and the place after which Yes or No is expected."""
    return f" {window.strip(' ')}\nAnswer:"


def simulation_beginning(encode: Encode) -> list[int]:
    """Examples of descriptions with the activation of every token."""
    out: list[int] = []
    for text, tokens in SIMULATE:
        out += encode(f"Description: {text}\n")
        for token, level in tokens:
            out += [*encode(token), *encode("\t"), *encode(str(level)), *encode("\n")]
    return out


def simulation_ending(pieces: Sequence[str], encode: Encode) -> tuple[list[int], list[int]]:
    """(all tokens of a window with their activations unknown, after which of these tokens each activation stands)."""
    ids: list[int] = []
    at = []
    for piece in pieces:
        ids += [*encode(piece), *encode("\t")]
        at.append(len(ids) - 1)
        ids += encode(f"{UNKNOWN}\n")
    return ids[: at[-1] + 1], at
