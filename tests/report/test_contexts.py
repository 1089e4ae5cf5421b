"""Tokens of a context: bytes joined to characters, the direction of the script, shades."""

import pytest

from monosem_jax.report.contexts import characters, direction, level, pieces, token_bytes


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        (["金", "\\xe6\\x89", "\\x8b", "手"], [(0, 1), (1, 3), (3, 4)]),
        (["\\xf0\\x9f", "\\x98", "\\x80"], [(0, 3)]),
        (["ن\\xd8", "\\xb8", "ام"], [(0, 2), (2, 3)]),
        (["a\\xe6", "\\x89\\x8b\\xe6", "\\x89\\x8bb"], [(0, 3)]),  # two characters in three tokens
        (["\\xe6", "plain", "\\x89"], [(0, 1), (1, 2), (2, 3)]),  # what is no character stays apart
        (["\\x8b", "a"], [(0, 1), (1, 2)]),  # the window begins inside of a character
        (["a", "\\xe6\\x89"], [(0, 1), (1, 2)]),  # or ends there
        (
            ["\\xe6\\x89\\x8b", "\\x41"],
            [(0, 1), (1, 2)],
        ),  # text with backslashes: whole characters are never written so
        ([], []),
    ],
)
def test_tokens_that_are_parts_of_a_character_are_joined(tokens, expected):
    assert characters(tokens) == expected


@pytest.mark.parametrize("text", ["手", "😀", "مكتبة", "é", "한글"])
def test_every_cut_of_a_text_gives_the_text_again(text):
    data = text.encode()
    for cut in range(1, len(data)):
        tokens = [part.decode("utf-8", "backslashreplace") for part in (data[:cut], data[cut:])]
        assert b"".join(map(token_bytes, tokens)) == data
        assert "".join(p.text for p in pieces(tokens, [0, 0], 1, 0)) == text


def test_a_joined_piece_keeps_its_parts():
    found = pieces(["手", "\\xe6\\x89", "\\x8b"], [0.0, 1.0, 2.0], 2.0, 2, [0, 0.5, -0.25])
    assert [(p.text, p.level, p.peak) for p in found] == [("手", 0, False), ("手", 10, True)]
    assert found[1].title == "2 tokens: \\xe6\\x89 1, loss +0.5 nats without it, \\x8b 2, loss -0.25 nats without it"


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        (["<bos>", "ما", " من", " %(", "s", ")"], "rtl"),
        (["הוס", "פת", " git"], "rtl"),
        (["<bos>", "the", " word", " ما"], "ltr"),
        (["1", "2", "…"], "ltr"),
        (["\\xd8", "\\xb8", "ام"], "rtl"),  # letters of an escape are none of the text
        ([], "ltr"),
    ],
)
def test_the_direction_is_that_of_most_letters(tokens, expected):
    assert direction(tokens) == expected


def test_shades_are_shares_of_the_largest_activation():
    assert [level(a, 2.0) for a in (0, 1e-9, 1.0, 2.0, 3.0, -1.0)] == [0, 1, 5, 10, 10, -5]
    assert level(1.0, 0.0) == 10 and level(float("nan"), 1.0) == 0


def test_text_that_hides_is_made_visible():
    (piece,) = pieces(["\u202e\0\ud800"], [1.0], 1.0, 0)
    assert piece.text == "\\u202e␀\\ud800" and "\u202e" not in piece.title
