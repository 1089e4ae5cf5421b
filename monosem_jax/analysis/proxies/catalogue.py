"""The proxies that come with the package, by name. What each is made of is its `about`."""

from __future__ import annotations

import re
import string
from collections.abc import Callable

from monosem_jax.analysis.proxies import characters as c
from monosem_jax.analysis.proxies.patterns import Marked, TrustedPattern
from monosem_jax.analysis.proxies.ratios import TokenRatio
from monosem_jax.analysis.proxies.sample import FitSample
from monosem_jax.analysis.proxies.scripts import PartRule, Script
from monosem_jax.analysis.proxies.strings import POSITIVE_PART, SIGN, Alphabet, Proxy

RUSSIAN_SIGNS, UKRAINIAN_SIGNS = c.ranges_of("ёъыэЁЪЫЭ"), c.ranges_of("іїєґІЇЄҐ")
_KANA = "more than 5 % of Han and kana characters are kana"
_UKRAINIAN = "the letters і ї є ґ outnumber ё ъ ы э"
JAPANESE = PartRule(c.KANA, c.HAN + c.KANA, 0.05, True, _KANA)
CHINESE = PartRule(c.KANA, c.HAN + c.KANA, 0.05, False, f"not {_KANA}")
UKRAINIAN = PartRule(UKRAINIAN_SIGNS, RUSSIAN_SIGNS + UKRAINIAN_SIGNS, 0.5, True, _UKRAINIAN)
RUSSIAN = PartRule(UKRAINIAN_SIGNS, RUSSIAN_SIGNS + UKRAINIAN_SIGNS, 0.5, False, f"it is not so that {_UKRAINIAN}")

METHODS = "GET|POST|PUT|DELETE|HEAD|OPTIONS|PATCH|CONNECT|TRACE"
HEADERS = (
    "Accept(?:-[A-Z][a-z]+)*|Access-Control-[A-Za-z-]+|Age|Allow|Authorization|Cache-Control|Connection|Content-[A-Za-z-]+"
    "|Cookie|Date|ETag|Expires|Host|If-[A-Za-z-]+|Keep-Alive|Last-Modified|Link|Location|Origin|Pragma|Range|Referer"
    "|Server|Set-Cookie|Status|Strict-Transport-Security|Transfer-Encoding|Upgrade|User-Agent|Vary|Via|WWW-Authenticate"
    "|X-[A-Za-z][A-Za-z-]*|(?:x|accept|access|cache|content|if|keep|last|set|transfer|user)-[a-z-]+"
)
HTTP = re.compile(
    rf"https?://[^\s\"'<>`\\{{}}|^)]+|(?<![\w.])www\.[a-z0-9-]+\.[^\s\"'<>]+"
    rf"|\b(?:{METHODS}) [^\s]{{1,300}} HTTP/\d[^\n]*|\bHTTP/\d(?:\.\d)?(?: \d{{3}}[^\n]*)?|^(?:{HEADERS}): ?[^\n]*",
    re.MULTILINE,
)
CODE = re.compile(
    r"[;{}][ \t]*$|^[ \t]*(?:def \w+\(|class \w+|#include\b|import [\w.]+[ \t]*$|from [\w.]+ import |else:$"
    r"|(?:var|const|let) \w+ ?=|(?:if|for|while|with|elif) [^\n]*:$|function \w*\()",
    re.MULTILINE,
)
CODE_COMMENT = re.compile(
    r"(?<![:\w\"'])//[^\n]*|/\*(?:(?!\*/)[\s\S])*(?:\*/)?|^[ \t]+\*(?: [^\n]*|/)?$|(?:^|(?<=\s))#(?![!\w#])[^\n]*"
    r"|<!--(?:(?!-->)[\s\S])*(?:-->)?",
    re.MULTILINE,
)
PYTHON_DEF = re.compile(r"^[ \t]*(?:async[ \t]+)?def[ \t]+[^\W\d]\w*[ \t]*\([^\n]*", re.MULTILINE)
_LETTER = "[A-Za-z0-9+/]"
BASE64_RUN = re.compile(
    rf"(?<!{_LETTER})(?={_LETTER}{{0,60}}[0-9])(?={_LETTER}{{0,60}}[A-Z])(?={_LETTER}{{0,60}}[a-z]){_LETTER}{{24,}}={{0,2}}"
)
LATEX = re.compile(
    r"\\verb\*?(?:\|[^|\n]*\||\+[^+\n]*\+)"
    r"|\\(?:begin|end|section|subsection|item|label|ref|cite|frac|sqrt|sum|int|left|right|text|emph|textbf|textit|texttt"
    r"|usepackage|documentclass|newcommand|renewcommand|caption|footnote|index|par|noindent|hline|ldots|dots|alpha|beta"
    r"|gamma|delta|lambda|sigma|mathbb|mathrm|mathcal)\b\*?(?:\[[^\]\n]*\])?(?:\{[^{}\n]*\})*"
    r"|\\[A-Za-z@]+\*?(?:\[[^\]\n]*\])?(?:\{[^{}\n]*\})+"
)

Maker = Callable[[str, FitSample], Proxy]


def _script(ranges: c.Ranges, rule: PartRule | None = None) -> Maker:
    return lambda name, sample: Script.of(name, ranges, rule, sample)


def _alphabet(form: str, letters: tuple[str, ...], each: float, shortest: int) -> Maker:
    return lambda name, sample: Alphabet.of(
        name, form, letters, each, shortest, sample.bytes.text, sample.log_probability
    )


def _pattern(pattern: re.Pattern[str], about: str, where: re.Pattern[str] | None = None) -> Maker:
    return lambda name, sample: Marked(name, about, TrustedPattern(pattern, where))


def _ratio(name: str, sample: FitSample) -> Proxy:
    return TokenRatio.of(name, name, sample)


MAKERS: dict[str, Maker] = {
    "arabic": _script(c.ARABIC),
    "hebrew": _script(c.HEBREW),
    "korean": _script(c.HANGUL),
    "russian": _script(c.CYRILLIC, RUSSIAN),
    "chinese": _script(c.HAN + c.EAST_ASIAN_PUNCTUATION, CHINESE),
    "japanese": _script(c.HAN + c.KANA + c.EAST_ASIAN_PUNCTUATION, JAPANESE),
    "greek": _script(c.GREEK),
    "hindi": _script(c.DEVANAGARI),
    "ukrainian": _script(c.CYRILLIC, UKRAINIAN),
    "base64": _alphabet(POSITIVE_PART, (string.ascii_letters + string.digits + "+/",), 1 / 64, 1),
    "dna": _alphabet(SIGN, ("ATCG", "atcg"), 1 / 4, 2),
    "base64_run": _pattern(
        BASE64_RUN,
        "regular expression: 24 or more characters of base64, among them a digit, a capital and a small letter",
    ),
    "http": _pattern(HTTP, "regular expression: URLs, request and status lines, header lines of known names or X-…"),
    "code_comment": _pattern(
        CODE_COMMENT,
        "regular expression: //…, /*…*/, lines that begin with *, #… and <!--…-->, in runs of text with lines of code",
        CODE,
    ),
    "python_def": _pattern(PYTHON_DEF, "regular expression: lines that begin with def NAME( or async def NAME("),
    "latex": _pattern(LATEX, "regular expression: commands with their arguments in braces, and known ones without"),
    "legal": _ratio,
    "nutrition": _ratio,
}
