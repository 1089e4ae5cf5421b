"""The rubric of the paper's human rating (appendix to "Manual Human Analysis") in words of our own: 14 points."""

from __future__ import annotations

import dataclasses

GOOD = 8  # an interval with more points is "quite interpretable" in the paper


@dataclasses.dataclass(frozen=True)
class Question:
    """A question of the rubric: its key in ratings, whether it is asked for every interval, its text, the most points
    (0: words), and the question that must have less than all its points for this one to be asked."""

    key: str
    each_interval: bool
    text: str
    points: int
    only_below: str = ""


RUBRIC = (
    Question(
        "interpretation",
        False,
        "Look at the examples of all intervals and at the tokens that become more likely. Write down in one sentence "
        "what this item responds to.",
        0,
    ),
    Question("confidence", False, "How sure are you of this interpretation? 0: it is a guess. 3: certain.", 3),
    Question(
        "consistency",
        True,
        "How well do the strong tokens of this interval (bold) fit the interpretation? 0: none does. 5: all do.",
        5,
    ),
    Question(
        "logits",
        False,
        "How well do the tokens that become more likely fit the interpretation? 0: none does. 3: all do.",
        3,
    ),
    Question(
        "logits_separated",
        False,
        "Some of these tokens do not fit. Have those that fit clearly larger weights than those that do not? 1: yes.",
        1,
        only_below="logits",
    ),
    Question(
        "specificity",
        True,
        "How specific is what the examples of this interval show? 0: it fits almost any text. 3: one narrow thing.",
        3,
    ),
)  # together 14: with all 3 points for logits there is no point for their separation
