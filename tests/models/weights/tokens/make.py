"""Makes expected.json beside this file: the tokens that llama.cpp makes of texts, for every kind of tokenizer.

python -m tests.models.weights.tokens.make        (needs llama-cpp-python)
"""

from __future__ import annotations

import json
import pathlib
import tempfile
from typing import Any

import gguf
import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from monosem_jax.models.weights.gguf_tokenizer import CUTS
from monosem_jax.text.corpus import read_corpus

EXPECTED = pathlib.Path(__file__).with_name("expected.json")
TEXTS = [
    "", " ", "  ", "\n", "\n\n a", "\t\tx y", " Hello", "Hello  World ", "I don't, I'LL, we'Ve; it's 'tis",
    "a\r\nb\rc\r\n\r\n",
    "In 1984 there were 123456789 or 1,234.5 of them; 12 345 678.", "ñandú naïve 日本語テスト 한국어 שלום עולם",
    "👍🏽 emoji 🙂🙂",
    "\u00a0no break\u2003em", "<s> </s> <|end|> <tool> x<tool>y  <tool>\n<tool>", "e\u0301 combining, ﬁ ﷺ",
    "___ ### --- ===> $5+3^2~`|", "٣٤٥ ১২৩ Ⅻ ½ x²", "\x00\x01\x7f",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "CamelCase HTTPServer iPhone",
    "          ten spaces\n          and ten", "▁under ▁▁ score", "THE King said to his queen: “what is the matter?”",
    "def f(x):\n    return x + 1  # done\n", "http://a.b/c?d=e&f=g/h/", "...!!??\n\n\n", "Ǆabc ǅDEF ʰabc Ωmega Ab1C2",
]  # fmt: skip
CONTROL, USER = "<|end|>", "<tool>"
SIZE = 600


def byte_level() -> dict[str, Any]:
    """A vocabulary of bytes and what they are merged to."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    words = [word for text in texts() for word in text.replace(" ", "\n ").split("\n")]
    # Runs that some kinds of tokenizers cut and others do not.
    words += ["123", "12", "345", "\r\n", "\n\n", "  ", "    ", "...", "==", "'s", " 's", "don't", "日本", " $"] * 200
    made.train_from_iterator(words, trainers.BpeTrainer(vocab_size=SIZE, initial_alphabet=alphabet))
    merges = json.loads(made.to_str())["model"]["merges"]
    tokens = sorted(made.get_vocab(), key=made.get_vocab().get)
    types = [1] * len(tokens) + [3, 4]
    return {"model": "gpt2", "tokens": [*tokens, CONTROL, USER], "token_type": types,
            "merges": [" ".join(m) for m in merges], "add_bos_token": False}  # fmt: skip


def sentencepiece() -> dict[str, Any]:
    """A vocabulary of characters and what they are merged to, with scores."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.train_from_iterator(texts(), trainers.BpeTrainer(vocab_size=SIZE))
    tokens = sorted(made.get_vocab(), key=made.get_vocab().get)
    first = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), CONTROL, USER]
    types = [2, 3, 3] + [6] * 256 + [3, 4] + [1] * len(tokens)
    scores = [0.0] * len(first) + [-float(i) for i in range(len(tokens))]
    return {"model": "llama", "tokens": first + tokens, "token_type": types, "scores": scores}


def texts() -> list[str]:
    """Some of the embedded texts."""
    return [document.text for document in read_corpus("embedded")[:40]]


def metadata(vocabulary: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The metadata of a GGUF file with this tokenizer."""
    values = {**vocabulary, **more}
    arrays = {"token_type": np.int32, "scores": np.float32}
    return {f"tokenizer.ggml.{k}": np.asarray(v, arrays[k]) if k in arrays else v for k, v in values.items()}


def write(path: pathlib.Path, vocabulary: dict[str, Any], **more: Any) -> pathlib.Path:
    """A GGUF file with a tokenizer and nothing else."""
    writer = gguf.GGUFWriter(path, "llama")
    for key, value in metadata(vocabulary, **more).items():
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        else:
            writer.add_array(key, value.tolist() if isinstance(value, np.ndarray) else value)
    for key in ("context_length", "embedding_length", "block_count", "attention.head_count"):
        writer.add_uint32(f"llama.{key}", 1)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def main() -> None:
    from llama_cpp import Llama

    vocabularies = {"byte_level": byte_level(), "sentencepiece": sentencepiece()}
    kinds = [("byte_level", {"pre": pre}) for pre in sorted(filter(None, CUTS))]
    kinds += [("sentencepiece", {}), ("sentencepiece", {"add_space_prefix": False, "add_bos_token": False})]
    cases = []
    for name, more in kinds:
        with tempfile.TemporaryDirectory() as folder:
            path = write(pathlib.Path(folder) / "v.gguf", vocabularies[name], **more)
            model = Llama(str(path), vocab_only=True, verbose=False)
            tokens = [model.tokenize(t.encode(), add_bos=False, special=False) for t in TEXTS]
            cases.append(
                {"vocabulary": name, "more": more, "begin": model.tokenize(b"a", add_bos=True), "tokens": tokens}
            )
    EXPECTED.write_text(json.dumps({"texts": TEXTS, "vocabularies": vocabularies, "cases": cases}))


if __name__ == "__main__":
    main()
