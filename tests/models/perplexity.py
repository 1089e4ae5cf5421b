"""The perplexity of a pretrained model here beside that of other implementations on the same tokens.

  python -m tests.models.perplexity --model=smollm2 --corpus=CORPUS.jsonl.gz --label=english

transformers (extra parity) gets the weights as we dequantise them; llama-cpp-python, if it is installed, reads the
.gguf file itself, tokenizer included. Prints a table; ends with 1 when two perplexities differ by more than 1 %.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
import pathlib
import sys
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from monosem_jax.models.pretrained import Pretrained, open_pretrained

Losses = Callable[[np.ndarray], float]  # tokens [T] → the sum of -log p over tokens 1 … T-1


def documents(corpus: pathlib.Path, label: str, n: int) -> list[str]:
    """The last `n` documents whose label or source begins with `label`."""
    opened = gzip.open if corpus.suffix == ".gz" else open
    with opened(corpus, "rt", encoding="utf-8") as lines:
        found = [json.loads(line) for line in lines]
    texts = [d["text"] for d in found if str(d.get("label") or d.get("source") or "").startswith(label)]
    return texts[-n:]


def summed(logits: np.ndarray, tokens: np.ndarray) -> float:
    """The sum of -log p of tokens 1 … T-1 under logits [T,V], in float64."""
    rows = logits[:-1].astype(np.float64)
    top = rows.max(-1)
    total = top + np.log(np.exp(rows - top[:, None]).sum(-1))
    return float((total - rows[np.arange(len(rows)), tokens[1:]]).sum())


def ours(found: Pretrained, length: int) -> Losses:
    """This package, in fp32."""
    model, params = found.model(), jax.device_put(found.params())
    logits = jax.jit(lambda p, t: model.apply({"params": p}, t))

    def losses(tokens: np.ndarray) -> float:
        padded = np.zeros(length, np.int32)  # one shape, so that it is compiled once; what follows changes nothing
        padded[: len(tokens)] = tokens
        return summed(np.asarray(logits(params, jnp.asarray(padded[None])))[0, : len(tokens)], tokens)

    return losses


def transformers(found: Pretrained, length: int) -> Losses | None:
    """transformers on the weights that we read."""
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("transformers") is None:
        return None
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    values = dict(found.source.config)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(values.pop("model_type"), **values)).eval().float()
    weights = {n: torch.tensor(np.asarray(found.source.read(n), np.float32)) for n in found.source.shapes}
    missing, unexpected = model.load_state_dict(weights, strict=False)
    if unexpected or set(missing) - {"lm_head.weight"}:
        raise SystemExit(f"transformers lacks {missing}, does not know {unexpected}")
    model.tie_weights()

    def losses(tokens: np.ndarray) -> float:
        with torch.no_grad():
            return summed(model(torch.tensor(tokens[None])).logits[0].numpy(), tokens)

    return losses


def llama_cpp(found: Pretrained, length: int) -> Losses | None:
    """llama.cpp on the .gguf file."""
    if importlib.util.find_spec("llama_cpp") is None or not found.source.where.endswith(".gguf"):
        return None
    from llama_cpp import Llama

    model = Llama(found.source.where, n_ctx=length, n_batch=length, logits_all=True, verbose=False)

    def losses(tokens: np.ndarray) -> float:
        model.reset()
        model.eval(tokens.tolist())
        return summed(np.asarray(model.scores[: len(tokens)]), tokens)

    return losses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument(
        "--corpus", type=pathlib.Path, required=True, help="lines of JSON with text and label or source"
    )
    parser.add_argument("--label", default="english", help="how the label of a document begins")
    parser.add_argument("--documents", type=int, default=200)
    parser.add_argument("--tokens", type=int, default=256, help="of each document, at most")
    args = parser.parse_args()
    found = open_pretrained(args.model)
    texts = documents(args.corpus, args.label, args.documents)
    contexts = [np.asarray(found.tokenizer.encode(t).ids[: args.tokens]) for t in texts]
    contexts = [c for c in contexts if len(c) > 1]
    n = sum(len(c) - 1 for c in contexts)
    print(f"{args.model}: {len(contexts)} documents, {n} predicted tokens")
    reference = None
    for implementation in (ours, transformers, llama_cpp):
        losses = implementation(found, args.tokens)
        if losses is None:
            print(f"{implementation.__name__:>14}  not installed")
            continue
        begin = time.perf_counter()
        perplexity = float(np.exp(sum(map(losses, contexts)) / n))
        reference = reference or perplexity
        seconds = time.perf_counter() - begin
        ratio = perplexity / reference
        print(
            f"{implementation.__name__:>14}  perplexity {perplexity:.4f}  ratio {ratio:.5f}  {seconds:.0f} s",
            flush=True,
        )
        if abs(ratio - 1) > 0.01:
            sys.exit(1)


if __name__ == "__main__":
    main()
