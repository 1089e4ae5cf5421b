"""What a small language model is asked, as texts to go on with: a few examples, then a question. Models that were not
trained on conversations answer them too, and what is the same for many questions stands at the beginning."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from monosem_jax.analysis.autointerp.samples import Samples
from monosem_jax.analysis.autointerp.token_set import TokenSetExplanation
from monosem_jax.analysis.autointerp.windows import KINDS, quantised

SHOWN = 6  # examples from which an explanation is written
SILENT = 2  # and random ones beside them in which the feature is silent
NAMED = 5  # tokens of a token set that are named
UNIT = "characters"

EXPLAIN = """Every group shows places where one feature of a network is active, with the active parts between << and >>.
Not: texts in which it is silent. The meaning says in a few words what the active parts share.

Text: walked along the <<river>> until dusk
Text: swam in the <<lake>> near the old
Text: where the <<river>> meets the
Not: a new engine for the car
Meaning: the words "river" and "lake", bodies of water

Text: in the year 18<<75>> they moved
Text: costs about 3.<<75>> per day
Text: open until <<75>> people came
Not: the queen of that land said
Meaning: the number "75"

Text: the boy went to school<<,>> his sister
Text: cold and dark<<,>> so that
Text: bread<<,>> butter<<,>> and eggs
Not: we met them at the station
Meaning: commas between parts of a sentence

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
# A description that says nothing: what a model answers to it is taken from what it answers to an explanation.
NOTHING = "anything"
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
    """Asks for an explanation of the strongest explanation examples, beside random ones in which nothing is active."""
    w = s.explanation
    levels = quantised(w.activations, s.maximum)
    order = np.lexsort((-levels.max(axis=1, initial=0), w.kind != KINDS.index("top")))
    texts = [shown.marked(w.tokens[i], levels[i] >= max(levels[i].max() / 3, 1)) for i in order[:SHOWN]]
    silent = [shown.text(row) for row in s.spare.tokens[:SILENT]]
    return "".join(f"Text: {t}\n" for t in texts) + "".join(f"Not: {t}\n" for t in silent) + "Meaning:"


def told(explanation: object, text: str, shown: Shown) -> str:
    """An explanation of any judge in the words of a prompt: of a token set the strongest tokens, else its text."""
    if isinstance(explanation, TokenSetExplanation):
        return ", ".join(f'"{shown.text([t])}"' for t in list(explanation.means)[:NAMED])
    return text


def description(text: str) -> str:
    """What comes before the text of a window: the same for all windows of a question."""
    return f"Description: {text}\nText:"


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
