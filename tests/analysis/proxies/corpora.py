"""A text directory with labelled documents in several scripts and kinds."""

from __future__ import annotations

import json
import pathlib

import numpy as np

from monosem_jax.text.pack import Text, TextConfig, prepare_text

WORDS = {
    "arabic": "مرحبا بالعالم هذا نص عربي قصير للاختبار",
    "hebrew": "שלום עולם זה טקסט קצר לבדיקה",
    "russian": "привет мир это короткий текст для проверки съел ёлку",
    "ukrainian": "привіт світ це короткий текст для перевірки її ґанок",
    "chinese": "这是一个简短的测试文本世界你好",
    "japanese": "これは短いテスト文章です世界こんにちは",
    "korean": "안녕하세요 세계 이것은 짧은 텍스트입니다",
    "legal": "whereas the party of the first part shall indemnify the licensee under this section",
    "prose": "she walked down the road to the old house and sat by the fire with a book",
}


def documents(n: int = 30, seed: int = 0) -> list[dict[str, str]]:
    """`n` documents of each kind, of words in random order."""
    rng = np.random.default_rng(seed)
    found = []
    for label, words in WORDS.items():
        spaced = " " in words
        units = words.split() if spaced else list(words)
        for _ in range(n):
            chosen = rng.choice(units, size=60)
            found.append({"text": (" " if spaced else "").join(chosen), "source": label, "origin": label})
    for i in range(n):
        rows = "".join(rng.choice(list("ACGT"), size=60))
        code = f"def f_{i}(x):\n    # a comment about x\n    return x + {i}\n\nfor y in z:\n    g(y)\n"
        url = f"See https://example.org/{i}/page?x=1 for more.\nGET /a/{i} HTTP/1.1\nHost: example.org\n\nbody text\n"
        base64 = "".join(rng.choice(list("ABCDEFabcdef0123456789+/xyzXYZ"), size=120))
        for label, text in (("dna", rows), ("code", code * 3), ("http", url * 3), ("base64", base64)):
            found.append({"text": text + "\n" + text, "source": label, "origin": label})
    return found


def text_directory(folder: pathlib.Path, vocab_size: int = 500, context_length: int = 32) -> Text:
    """The documents as a text directory."""
    corpus = folder / "corpus.jsonl"
    corpus.write_text("\n".join(json.dumps(d) for d in documents()), encoding="utf-8")
    config = TextConfig(corpus=str(corpus), vocab_size=vocab_size, heldout_fraction=0.3)
    return prepare_text(folder / "text", config, context_length, 0)
