"""Text of unknown origin is made visible where it has no glyph."""

import pytest

from monosem_jax.report.text import lone_token_text, token_text, visible


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        *(("\n", "↵"), ("\t", "⇥"), (" ", "␣"), (" a", " a"), ("\x00", "␀"), ("\x85", "\\x85"), ("\u202e", "\\u202e")),
        *(("\u200b", "\\u200b"), ("\ud800", "\\ud800"), ("\U000e0001", "\\U000e0001"), ("🙂", "🙂"), ("字", "字")),
    ],
)
def test_what_has_no_glyph_is_made_visible(token, shown):
    assert visible(token_text(token)) == shown


@pytest.mark.parametrize(("token", "shown"), [(" a", "␣a"), ("a  ", "a␣␣"), ("  ", "␣␣"), ("a b", "a b")])
def test_spaces_at_the_ends_of_a_token_alone_are_shown(token, shown):
    assert lone_token_text(token) == shown
