"""Full-text search: the words of hostile texts, the index against a search through the records, and both in a page."""

import dataclasses
import itertools
import json
import struct
import unicodedata

import numpy as np
import pytest

from monosem_jax.analysis import records_io
from monosem_jax.analysis.records import Example, Explanation, Feature, Interval, ProxyScore, TopToken
from monosem_jax.report.browser import search
from monosem_jax.report.browser.container import unpacked, unpacked_bytes
from monosem_jax.report.browser.search import AROUND, MOST, NAMED, SearchIndex, postings, varints
from monosem_jax.report.browser.site import write_site
from monosem_jax.report.browser.terms import LONGEST, UNSPACED, terms, whole
from tests.report.browser.made import material
from tests.report.browser.waiting import order

# Each is the text of one feature, and then searched for.
HOSTILE = [
    "Straße und FUSSBALL",
    "café cafe\u0301",
    "ＦＵＬＬ ｗｉｄｔｈ ①②③ ½ ﬁnger ㎏ ℡",
    "ΟΔΟΣ ὀδός σίγμα, ΑΣ'Α",
    "İstanbul ıspanak I i",
    "الْكِتَابُ الكتاب مـــدرسة",
    "שָׁלוֹם שלום בית־ספר",
    "हिन्दी में लिखा",
    "한국어 문장입니다",
    "日本語のテキスト、ｶﾀｶﾅ ー 々",
    "中",
    "汉字 mixed混合text",
    "ภาษาไทย",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝒳 🙂 𠮷野家",
    "a\u200db می\u200cخواهم soft\u00adhyphen",
    "snake_case CamelCase x86-64 3.14",
    "<script>alert('x')</script> &amp; {{7*7}}",
    "w" * 100_000,
    "é" * 100,
    "\x00nul\x07bell \u202eevil\u202c \u2028line",
    "\ud800lone\udfff surrogate",
    "Ⅻ ⅷ ١٢٣ १२३ ʰʷ",
    "ǅ ẞ ŉ ΐ",
    "a̐e̊ \u0300alone",
    "%22 + & = # ? / \\ \\x41 \\n",
    "constructor __proto__ hasOwnProperty toString",
]


def reference_terms(text):
    """`terms`, one character at a time."""
    text = unicodedata.normalize("NFKC", text).lower()
    optional = [*range(0x591, 0x5BE), 0x5BF, 0x5C1, 0x5C2, 0x5C4, 0x5C5, 0x5C7, 0x640, *range(0x64B, 0x660), 0x670]
    text = "".join(c for c in text if ord(c) not in optional).replace("ς", "σ")
    ends = [ord(c) for c in UNSPACED if c != "-"]
    unspaced = lambda c: any(a <= ord(c) <= b for a, b in zip(ends[::2], ends[1::2], strict=True))  # noqa: E731
    kind = lambda c: unicodedata.category(c)[0] in "LNM" and 1 + unspaced(c)  # noqa: E731
    found = []
    for key, run in itertools.groupby(text, key=kind):
        run = list(run)
        if key == 1:
            found.append("".join(run[:LONGEST]))
        elif key == 2:
            found += [*run, *(a + b for a, b in itertools.pairwise(run))]
    return found


@pytest.mark.parametrize("text", HOSTILE)
def test_the_words_of_a_text(text):
    assert sorted(terms(text)) == sorted(reference_terms(text))


def test_characters_divided_over_tokens_are_put_together():
    assert whole("".join(["金\\xe6\\x89", "\\x8b", "手套"])) == "金手手套"
    assert terms(whole("Pa\\xd8\\xff?")) == ["pa"]  # no whole character
    assert whole("C:\\xampp \\x41") == "C:\\xampp \\x41"  # not bytes of a divided character


def an_example(*tokens, peak=0):
    return Example(0, 0, peak, tokens, (1.0,) * len(tokens), "", "", tuple(range(len(tokens))))


def a_feature(number, text="", context=()):
    explanations = (Explanation("judge", text, 1, "words"),) if text else ()
    return Feature(number, 0.01, 1.0, None, None, (), (), (an_example(*context),) if context else (),
                   explanations=explanations)  # fmt: skip


def plain(record):
    return json.loads(json.dumps(dataclasses.asdict(record)))


def test_where_a_word_stands_and_how_often():
    record = a_feature(0, "Arabic script", ["other", " other", " Other", " once", " script"])
    record = dataclasses.replace(
        record, label="code_python", nearest_label="legal", nearest_label_correlation=0.1,
        top_tokens=(TopToken(3, " مك", 1, 1.0, 1.0, 1.0),),
        proxies=(dataclasses.replace(PROXY, proxy="weak", pearson=0.1), dataclasses.replace(PROXY, proxy="strong")),
        intervals=(Interval(0, 1, 9, (an_example("deep", " deep"), an_example("deep", " deep"))),),
    )  # fmt: skip
    assert postings(plain(record)) == {
        "arabic": NAMED, "script": NAMED, "مك": NAMED, "code": NAMED, "python": NAMED, "strong": NAMED,
        "other": 1, "once": 0, "deep": 2,
    }  # fmt: skip


PROXY = ProxyScore("name", "sign", 0.9, (), (), None, None, None, None, 1)


def test_only_words_near_the_peak_and_at_most_so_many():
    far = an_example(*(f" w{i} " for i in range(200)), peak=100)
    assert set(postings(plain(dataclasses.replace(a_feature(0), examples=(far,))))) == {f"w{i}" for i in range(76, 125)}
    many = tuple(an_example(*(f" w{i}x{j} " for j in range(40))) for i in range(20))
    often = (*many, an_example(" w19x39 w19x39"))  # the last of all, but the most frequent
    found = postings(plain(dataclasses.replace(a_feature(0, "name"), examples=often)))
    assert len(found) == MOST and list(found)[:2] == ["name", "w19x39"]


def test_varints():
    numbers = [0, 1, 127, 128, 16383, 16384, 2**21, 2**31 - 1, 2**40]
    assert decoded(varints(np.asarray(numbers))) == numbers
    assert varints(np.asarray([], np.int64)) == b""


def decoded(data):
    found, value, shift = [], 0, 0
    for byte in data:
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            found.append(value)
            value, shift = 0, 0
    return found


def read_index(folder, prefix):
    """word → {row: code} of an index, read from its files as the docstring of the module says."""
    directory = unpacked(folder / "data" / f"{prefix}.js")
    found = {}
    for number, first in enumerate(directory["firsts"]):
        data = unpacked_bytes(folder / "data" / f"{prefix}-{number:05d}.js")
        (length,) = struct.unpack("<I", data[:4])
        words = data[4 : 4 + length].decode().split("\n")
        assert words[0] == first
        numbers = iter(decoded(data[4 + length :]))
        for word in words:
            row, rows = 0, {}
            for _ in range(next(numbers)):
                posting = next(numbers)
                row += posting >> 3
                rows[row] = posting & 7
            found[word] = rows
        assert next(numbers, None) is None
    assert directory["words"] == len(found) and list(found) == sorted(found, key=lambda w: w.encode("utf-16-be"))
    return found


@pytest.mark.parametrize("budget", [search.BUDGET, 20_000])
def test_the_index_is_what_the_records_say_whatever_the_memory(tmp_path, monkeypatch, budget):
    monkeypatch.setattr(search, "BLOCK", 2000)  # so that there are many files
    rng = np.random.default_rng(0)
    vocabulary = [*HOSTILE[:16], *(f"word{i}" for i in range(300)), "\U00020000", "\uffdc"]
    index, expected = SearchIndex(tmp_path, budget), {}
    for row in range(300):
        context = [f" {vocabulary[i]} " for i in rng.integers(len(vocabulary), size=30)]
        record = plain(a_feature(row, HOSTILE[row % len(HOSTILE)], context))
        index.add(row, record)
        for word, code in postings(record).items():
            expected.setdefault(word, {})[row] = code
    index.write(tmp_path, "id/set/search")
    assert read_index(tmp_path, "id/set/search") == expected
    assert len(list((tmp_path / "data" / "id" / "set").iterdir())) > 5
    assert list(tmp_path.iterdir()) == [tmp_path / "data"]  # nothing is left of what was put on the disk


def test_an_index_of_nothing(tmp_path):
    index = SearchIndex(tmp_path)
    index.add(0, plain(a_feature(0)))
    index.write(tmp_path, "search")
    assert read_index(tmp_path, "search") == {}


@pytest.fixture(scope="module")
def hostile_site(tmp_path_factory):
    """A browser in which feature i is explained by HOSTILE[i], and has it in a context further on."""
    folder = tmp_path_factory.mktemp("hostile")
    n = len(HOSTILE)
    writer = records_io.RecordWriter(folder / "records", "features", (), ())
    for i, text in enumerate(map(writable, HOSTILE)):
        writer.add(a_feature(i, text))
    for i, text in enumerate(map(writable, HOSTILE)):
        writer.add(a_feature(n + i, context=context(text)))
    sets = {"features": writer.close(2 * n, 1000)}
    records_io.write_header(folder / "records", sets, (), (), ["a"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "BLOCK", 300)
        found = dataclasses.replace(
            material(folder / "unused"), records=records_io.Records(folder / "records"),
            records_folder=folder / "records", n_features=2 * n,
        )  # fmt: skip
        write_site(folder / "site", "hostile", "0", [found])
    return folder / "site"


def writable(text):
    """The writer of records refuses lone surrogates, and an address cannot hold them."""
    return text.replace("\ud800", " ").replace("\udfff", " ")


def context(text):
    """A text between two words, as tokens of a byte-level tokenizer: characters beyond ASCII are divided."""
    data = text[:200].encode()
    return ["x ", *(data[i : i + 3].decode("utf-8", "backslashreplace") for i in range(0, len(data), 3)), " y"]


def answers(query, words):
    """The features that a query finds, by a search through the words of each."""
    asked = reference_terms(query)
    open_end = unicodedata.category(unicodedata.normalize("NFKC", query)[-1])[0] in "LNM"
    unfinished = asked[-1] if asked and open_end and len(reference_terms(2 * asked[-1][-1])) == 1 else None

    def has(own, word):
        return word in own or (word == unfinished and any(o.startswith(word) for o in own))

    return [i for i, own in enumerate(words) if all(has(own, word) for word in asked)]


ASK = "q => { sessionStorage.clear(); location.hash = '#/sae/features?q=' + encodeURIComponent(q) }"


@pytest.mark.slow
def test_a_page_finds_what_the_records_say(visit, hostile_site):
    n = len(HOSTILE)
    texts = [*HOSTILE, *(whole("".join(context(writable(t))[: AROUND + 1])) for t in HOSTILE)]
    words = [reference_terms(t) for t in texts]
    queries = [
        *HOSTILE,
        *(t[: max(1, len(t) // 2)] for t in HOSTILE),
        "x",
        "nothing such",
        "語の",
        "x y",
        "lone s",
        "本",
    ]
    page = visit("#/sae/features", folder=hostile_site)
    assert order(page) == list(range(2 * n))
    for query in queries:
        query = writable(query)[:200]
        page.evaluate(
            "q => { sessionStorage.clear(); location.hash = '#/sae/features?q=' + encodeURIComponent(q) }", query
        )
        shown = order(page)
        assert sorted(shown) == answers(query, words), query
        if query.strip() and terms(query):
            named = [i for i in shown if i < n]
            assert shown[: len(named)] == named, query  # explanations before contexts
