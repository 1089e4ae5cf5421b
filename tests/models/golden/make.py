"""Makes the models of `cases.py` in PyTorch with random parameters, and keeps what `transformers` computes with them.

    python -m tests.models.golden.make [NAME …]

It needs the extra `parity`. Of each model, in a folder of its name beside this file: config.json and the weights as
`save_pretrained` writes them, and expected.safetensors:

    tokens [C,T], logits [C,T,V], site/NAME [C,T,M]
    spliced/NAME [C,T,V]      logits where the activations at that site stand in reverse order of positions
    long/tokens [1,L], long/logits
    padded/tokens [C,T], padded/pad [C], padded/logits      the first pad[c] tokens of context c are padding
    cached/tokens [C,N], cached/logits [C,N,V]              what follows `padded`: the likeliest token, one by one
"""

from __future__ import annotations

import pathlib
import shutil
import sys
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file
from transformers import AutoConfig, AutoModelForCausalLM

from tests.models.golden.cases import CASES, Case

HERE = pathlib.Path(__file__).parent
SEED = 19
# Where the parts of a block are: (first norm is of no interest) output of attention, before it the heads; the norm
# before the MLP; the MLP and its last matrix. Gemma's post-norms give what is added to the residual stream.
PARTS = {
    "gpt2": ("transformer.h", "attn.c_proj", "ln_2", "mlp.c_proj"),
    "gpt_neox": ("gpt_neox.layers", "attention.dense", "post_attention_layernorm", "mlp.dense_4h_to_h"),
    "post_norms": ("model.layers", "self_attn.o_proj", "pre_feedforward_layernorm", "mlp.down_proj"),
    "": ("model.layers", "self_attn.o_proj", "post_attention_layernorm", "mlp.down_proj"),
}
POST_NORMS = {"post_norms": ("post_attention_layernorm", "post_feedforward_layernorm")}


class Tapped:
    """A model of `transformers` with a hook at every site: they are kept in `seen`, and changed where `change` names
    one, to the reverse order of positions."""

    def __init__(self, model: Any):
        self.model, self.seen, self.change = model, {}, ""
        kind = model.config.model_type
        family = "post_norms" if kind.startswith(("gemma2", "gemma3")) else kind if kind in PARTS else ""
        blocks, out, norm, down = PARTS[family]
        written = POST_NORMS.get(family, (out, down))
        self.parallel = getattr(model.config, "use_parallel_residual", False)
        for i, block in enumerate(model.get_submodule(blocks)):
            part = block.get_submodule
            block.register_forward_pre_hook(self._before(f"resid_pre.{i}"))
            part(out).register_forward_pre_hook(self._before(f"attn_z.{i}"))
            part(written[0]).register_forward_hook(self._attention(i))
            part(norm).register_forward_hook(self._after(f"mlp_in.{i}"))
            part(down).register_forward_pre_hook(self._before(f"mlp_hidden.{i}"))
            part(written[1]).register_forward_hook(self._after(f"mlp_out.{i}"))
            block.register_forward_hook(self._after(f"resid_post.{i}"))

    def _at(self, site: str, x: torch.Tensor) -> torch.Tensor:
        self.seen[site] = x.detach().numpy()
        return x.flip(1) if site == self.change else x

    def _before(self, site: str) -> Any:
        return lambda module, args: (self._at(site, args[0]), *args[1:])

    def _after(self, site: str) -> Any:
        return lambda module, args, out: self._at(site, out)

    def _attention(self, i: int) -> Any:
        """The residual stream after attention is no module's output: a change of it is made in what is added."""

        def hook(module: Any, args: Any, out: torch.Tensor) -> torch.Tensor:
            out = self._at(f"attn_out.{i}", out)
            if self.parallel:
                return out
            before = self.seen[f"resid_pre.{i}"]
            return self._at(f"resid_mid.{i}", out + torch.from_numpy(before)) - torch.from_numpy(before)

        return hook

    @torch.no_grad()
    def logits(self, tokens: np.ndarray, change: str = "", **options: Any) -> np.ndarray:
        self.seen, self.change = {}, change
        return self.model(torch.from_numpy(tokens), **options).logits.numpy()


def build(case: Case, seed: int) -> Any:
    """A model with random parameters: no norm's scale is 1, no bias 0, and attention is neither even nor all on one."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(case.model_type, **case.config)).eval().float()
    for name, p in model.named_parameters():
        wide = 1.0 if p.ndim == 1 or "wpe" in name or "embed" in name or "wte" in name else p.shape[-1] ** -0.5 * 1.5
        centre = 1.0 if p.ndim == 1 and name.endswith("weight") and case.model_type[:5] != "gemma" else 0.0
        p.data = centre + torch.randn(p.shape) * (0.3 if p.ndim == 1 else wide)
    return model


def expected(model: Any, case: Case, seed: int) -> dict[str, np.ndarray]:
    """What `transformers` computes: see the top of this file."""
    rng, tapped = np.random.default_rng(seed), Tapped(model)
    vocab, tokens = case.config["vocab_size"], None
    tokens = rng.integers(1, vocab, (2, 8))
    found = {"tokens": tokens, "logits": tapped.logits(tokens)}
    sites = dict(tapped.seen)
    if case.sites:
        found |= {f"site/{site}": acts for site, acts in sites.items()}
        found |= {f"spliced/{s}": tapped.logits(tokens, s) for s in sites if s.endswith(".1")}
    found["long/tokens"] = rng.integers(1, vocab, (1, 60))
    found["long/logits"] = tapped.logits(found["long/tokens"])
    found |= padded(tapped, rng, vocab)
    return {name: np.ascontiguousarray(a.astype(np.int32) if a.dtype.kind == "i" else a) for name, a in found.items()}


def padded(tapped: Tapped, rng: np.random.Generator, vocab: int) -> dict[str, np.ndarray]:
    """Logits of contexts with padding before them, and of what follows them, from the cache of keys and values."""
    tokens, pad = rng.integers(1, vocab, (3, 9)), np.array([0, 2, 5])
    mask = np.arange(9) >= pad[:, None]
    tokens[~mask] = 0
    positions = np.maximum(np.cumsum(mask, 1) - 1, 0)
    options = {"attention_mask": torch.from_numpy(mask.astype(int)), "position_ids": torch.from_numpy(positions)}
    found = {"padded/tokens": tokens, "padded/pad": pad, "padded/logits": tapped.logits(tokens, **options)}
    out = tapped.model.generate(
        torch.from_numpy(tokens), attention_mask=options["attention_mask"], max_new_tokens=7, min_new_tokens=7,
        do_sample=False, use_cache=True, output_logits=True, return_dict_in_generate=True,
    )  # fmt: skip
    # The logits at the last token of the prompt are in `padded/logits`; those at token n give token n + 1.
    found["cached/tokens"] = out.sequences[:, 9:].numpy()
    found["cached/logits"] = torch.stack(out.logits[1:], dim=1).numpy()
    return found


def make(name: str, folder: pathlib.Path, seed: int = SEED) -> None:
    """Writes the folder of one model."""
    case = CASES[name]
    shutil.rmtree(folder, ignore_errors=True)
    model = build(case, seed)
    model.save_pretrained(folder, max_shard_size="20KB" if case.shards else "1GB")
    (folder / "generation_config.json").unlink(missing_ok=True)
    save_file(expected(model, case, seed), folder / "expected.safetensors")
    for file in folder.iterdir():
        file.chmod(0o644)  # safetensors makes them readable for their owner alone


if __name__ == "__main__":
    for name in sys.argv[1:] or CASES:
        make(name, HERE / name)
        size = sum(f.stat().st_size for f in (HERE / name).iterdir())
        print(f"{name}: {size:,} bytes")
