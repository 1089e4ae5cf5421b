"""Tokens as contexts show them: characters of several tokens, white space, direction, windows, bins."""

from __future__ import annotations

import itertools

import pytest


@pytest.fixture(scope="module")
def tokens(module):
    return module("tokens.ts")


@pytest.fixture(scope="module")
def bins(module):
    return module("pages/feature/bins.ts")


def pieces(page, tokens: list[str]) -> list[tuple[str, list[int]]]:
    found = page.evaluate("t => it.pieces(t)", tokens)
    return [("".join(s["text"] for s in p["segments"]), p["tokens"]) for p in found]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([" The", " court"], [(" The", [0]), (" court", [1])]),
        (["\\xe6\\x89", "\\x8b", "。"], [("手", [0, 1]), ("。", [2])]),
        ([" 실\\xed", "\\x8c", "\\xa8", "하"], [(" 실", [0]), ("패", [0, 1, 2]), ("하", [3])]),
        (["x\\xed", "\\x8c\\xa8하\\xec", "\\x98\\x80"], [("x", [0]), ("패", [0, 1]), ("하", [1]), ("였", [1, 2])]),
        (["\\xf0\\x9f", "\\x98", "\\x80"], [("😀", [0, 1, 2])]),
        ([" \\xec", "\\xb6", "\\x94"], [(" ", [0]), ("추", [0, 1, 2])]),
        # A character within one token would have been decoded: the token is source code that spells its bytes.
        (["\\xe6\\x89\\x8b"], [("\\xe6\\x89\\x8b", [0])]),
        # Bytes that make no character: cut off, out of order, a surrogate, too long a form, ASCII.
        (["\\xe6\\x89"], [("\\xe6\\x89", [0])]),
        (["\\x8b", "\\xe6"], [("\\x8b", [0]), ("\\xe6", [1])]),
        (["\\xed\\xa0", "\\x80"], [("\\xed\\xa0", [0]), ("\\x80", [1])]),
        (["\\xc0", "\\xaf"], [("\\xc0", [0]), ("\\xaf", [1])]),
        (["\\x3c", "\\x62"], [("\\x3c", [0]), ("\\x62", [1])]),
        (["\\xe6\\x89", "x", "\\x8b"], [("\\xe6\\x89", [0]), ("x", [1]), ("\\x8b", [2])]),
        ([" ", "  ", "a b", "\n\t", "     x"], [("␣", [0]), ("␣␣", [1]), ("a b", [2]), ("↵⇥", [3]), ("␣×5x", [4])]),
        (["", "a"], [("∅", [0]), ("a", [1])]),
        (["\u202e", "\x00", "<script>"], [("\\u202e", [0]), ("␀", [1]), ("<script>", [2])]),
    ],
)  # fmt: skip
def test_pieces(tokens, given, expected):
    assert pieces(tokens, given) == expected


def test_every_token_is_in_a_piece_and_pieces_keep_the_order(tokens):
    parts = ["a", " \\xed", "\\x8c", "\\xa8", "", "\\xe6", " ", "\\x89\\x8b", "z\\xd8", "\\xb8", "\\xb8\\xd8"]
    given = [parts[(i * i + 3 * i) % len(parts)] for i in range(200)]
    found = pieces(tokens, given)
    assert sorted({t for _, of in found for t in of}) == list(range(200))
    assert all(a[1][-1] <= b[1][0] for a, b in itertools.pairwise(found))


def test_a_long_word_is_cut(tokens):
    ((text, of),) = pieces(tokens, ["w" * 100_000])
    assert len(text) == 401 and text.endswith("…") and of == [0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The court shall", "ltr"),
        ("و يساوي", "rtl"),
        ("<bos>ال", "rtl"),
        ("اء وضع <code>%(code)s</code> في القالب", "rtl"),
        ("the word كتب means to write in Arabic", "ltr"),
        ("123 ...", "ltr"),
        ("", "ltr"),
        ("שלום", "rtl"),
        ("漢字", "ltr"),
    ],
)
def test_direction(tokens, text, expected):
    assert tokens.evaluate("t => it.direction(t)", text) == expected


@pytest.mark.parametrize(
    ("n", "peak", "expected"),
    [
        (10, 3, [0, 10]),
        (46, 0, [0, 46]),
        (47, 0, [0, 41]),
        (200, 100, [72, 113]),
        (200, 199, [159, 200]),
        (200, 5, [0, 41]),
    ],
)
def test_windows(tokens, n, peak, expected):
    assert tokens.evaluate("([n, p]) => it.windowAround(n, p)", [n, peak]) == expected


@pytest.mark.parametrize(
    ("text", "cuts", "wrong"),
    [
        ("0.1, 0.5 0.9", [0.1, 0.5, 0.9], ""),
        ("0.9;0.1,0.1", [0.1, 0.9], ""),
        ("", [], ""),
        ("0.1, x", [], "x"),
        ("1.5", [], "1.5"),
        ("0", [], "0"),
        ("NaN", [], "NaN"),
    ],
)
def test_cut_points(bins, text, cuts, wrong):
    found = bins.evaluate("t => it.cutPoints(t)", text)
    assert found["cuts"] == cuts and (wrong in found["problem"] if wrong else found["problem"] == "")


def test_examples_are_in_the_bin_of_their_peak_each_token_once(bins):
    def example(activation: float, position: int) -> dict:
        return {"context": 1, "position": position, "peak": 1, "activations": [0, activation]}

    record = {
        "examples": [example(4.0, 1), example(2.0, 2)],
        "intervals": [{"examples": [example(4.0, 1), example(0.4, 3)]}],
        "random": [example(0.0, 4), example(4.001, 5)],
    }
    script = "r => it.binned(it.firing(r), [0.1, 0.5], 4).map(b => [b.low, b.high, b.examples.map(e => e.position)])"
    assert bins.evaluate(script, record) == [[0.5, 1, [5, 1]], [0.1, 0.5, [2]], [0, 0.1, [3]]]


@pytest.fixture(scope="module")
def byte_parts(module):
    return module("bytes.ts")


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        (" the", [" the"]),
        ("", [""]),
        (" ال\\xd8", [" ال", [0xD8]]),
        ("\\x94\\x94", [[0x94, 0x94]]),
        ("\\x8c\\xa8하\\xec\\x98", [[0x8C, 0xA8], "하", [0xEC, 0x98]]),
        ("\\xe6\\x89\\x8b", ["\\xe6\\x89\\x8b"]),  # a whole character: the text spells the escapes
        ("\\x41 \\xff", ["\\x41 \\xff"]),
        ("print('\\xe9')", ["print('\\xe9')"]),
    ],
)  # fmt: skip
def test_bytes_at_the_ends_of_a_token_are_told_from_text(byte_parts, token, expected):
    found = byte_parts.evaluate("t => it.fragments(t)", token)
    assert [p.get("bytes", p["text"]) for p in found] == expected
    assert "".join(p["text"] for p in found) == token


@pytest.mark.parametrize(
    ("given", "kinds"),
    [
        ([0xD8], "Arabic"),
        ([0xD7], "Hebrew"),
        ([0xD0], "Cyrillic"),
        ([0xE4], "Chinese"),
        ([0xEB, 0x8B], "Korean"),
        ([0xF0, 0x9F, 0x98], "emoji"),
        ([0xFF], ""),
    ],
)
def test_what_a_first_byte_begins(byte_parts, given, kinds):
    assert byte_parts.evaluate("b => it.kindsOf(b)", given) == kinds
