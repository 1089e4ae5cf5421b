"""What the package's expressions match, and what only looks like it."""

from __future__ import annotations

import re
import time

import pytest

from monosem_jax.analysis.proxies import catalogue as c


def found(name: str, text: str) -> list[str]:
    pattern: re.Pattern[str] = getattr(c, name)
    return [m.group() for m in pattern.finditer(text)]


@pytest.mark.parametrize(
    "name, text, expected",
    [
        ("HTTP", "see https://a.org/b?c=1#d, or (www.x.de/e).", ["https://a.org/b?c=1#d,", "www.x.de/e)."]),
        (
            "HTTP",
            "GET /x?y=1 HTTP/1.1\nHost: a.org\nx-rate-limit: 3\n\nbody",
            ["GET /x?y=1 HTTP/1.1", "Host: a.org", "x-rate-limit: 3"],
        ),
        ("HTTP", "HTTP/1.1 200 OK\nTo: whom\nGET ready", ["HTTP/1.1 200 OK"]),
        ("CODE_COMMENT", "x = 1;  // why\ny = 'http://a'; /* two\nlines */ z;", ["// why", "/* two\nlines */"]),
        ("CODE_COMMENT", "# one\na #two\n#!/bin/sh\n## title\n  # three", ["# one", "# three"]),
        ("CODE_COMMENT", "/** begun\n * more\n */\n a * b;\n<!-- x --> y", ["/** begun\n * more\n */", "<!-- x -->"]),
        (
            "CODE_COMMENT",
            " * goes on from the context before\n */\nint x;",
            [" * goes on from the context before", " */"],
        ),
        ("PYTHON_DEF", "async def f(x):\n  def g(\n define(x)\n def 3(", ["async def f(x):", "  def g("]),
        ("LATEX", r"\section*{A} costs \$5, \emph{b} and C:\new\x", [r"\section*{A}", r"\emph{b}"]),
        ("LATEX", r"\verb|a| \begin{b}[c] \frac{1}{2} \n", [r"\verb|a|", r"\begin{b}", r"\frac{1}{2}"]),
        (
            "BASE64_RUN",
            "MIIBIjANBgkqhkiG9w0BAQEFAAOC== aaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            ["MIIBIjANBgkqhkiG9w0BAQEFAAOC=="],
        ),
    ],
)
def test_an_expression_matches_what_it_is_called(name, text, expected):
    assert found(name, text) == expected


@pytest.mark.parametrize("text, code", [("for a while\nif it rains", False), ("if x:\n  y()", True), ("f(x);", True)])
def test_prose_is_no_code(text, code):
    assert bool(c.CODE.search(text)) is code


@pytest.mark.parametrize("name", ["HTTP", "CODE", "CODE_COMMENT", "PYTHON_DEF", "LATEX", "BASE64_RUN"])
@pytest.mark.parametrize("unit", ["a", " ", "\n", "/*", "\\a{", "A1a", "GET /", "https://", "<!--", "# ", "def a("])
def test_an_expression_takes_time_in_proportion_to_the_text(name, unit):
    text = unit * (20_000 // len(unit))
    begin = time.perf_counter()
    found(name, text)
    assert time.perf_counter() - begin < 2


def test_every_name_of_the_design_is_there():
    promised = "arabic hebrew korean russian chinese japanese base64 dna http code_comment python_def latex legal"
    assert set(promised.split()) | {"nutrition"} <= c.MAKERS.keys()
