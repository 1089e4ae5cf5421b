"""Activations of a model of the Llama family as users of transformers take them, from our random weights.

Needs the extra `parity`: PyTorch and transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from monosem_jax.models.llama import LlamaConfig

# Our names of a block's parameters and theirs; kernels are stored transposed there.
KERNELS = {
    "q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj", "attn_proj": "self_attn.o_proj",
    "gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj",
}  # fmt: skip
NORMS = {"ln_attn": "input_layernorm", "ln_mlp": "post_attention_layernorm"}
WAYS = ("transformers, output_hidden_states", "transformers, hook", "transformers, truncated")
Way = Callable[[np.ndarray, np.ndarray], np.ndarray]


def why_missing() -> str:
    """Why the comparison cannot be made, or ""."""
    try:
        import torch  # noqa: F401
        import transformers  # noqa: F401
    except ImportError as e:
        return f"transformers is not compared: {e} (pip install -e '.[parity]')"
    return ""


class Peer:
    """The same model in transformers, on `device`, in fp32; `layer` is the number of blocks before the site."""

    def __init__(self, config: LlamaConfig, params: Mapping[str, Any], layer: int, device: str):
        import torch
        import transformers

        self._torch, self._device, self._layer = torch, device, layer
        shape = transformers.LlamaConfig(
            num_hidden_layers=config.n_layers,
            hidden_size=config.d_model,
            intermediate_size=config.d_mlp,
            num_attention_heads=config.n_heads,
            num_key_value_heads=config.n_kv_heads,
            head_dim=config.head_dim,
            vocab_size=config.vocab_size,
            max_position_embeddings=config.context_length,
            rms_norm_eps=config.norm_eps,
            tie_word_embeddings=config.tied,
            rope_parameters={"rope_type": "default", "rope_theta": config.rope.theta},
        )
        with torch.device("meta"):
            self._model = transformers.LlamaForCausalLM(shape)
        self._model = self._model.to_empty(device=device).eval()
        self._model.model.rotary_emb = type(self._model.model.rotary_emb)(config=shape).to(device)
        weights = {name: torch.tensor(value, device=device) for name, value in state_dict(config, params).items()}
        self._model.load_state_dict(weights, strict=False, assign=True)
        self._model.tie_weights()
        self._all_layers = self._model.model.layers

    def threads(self, n: int) -> None:
        """How many threads PyTorch uses from now on."""
        self._torch.set_num_threads(n)

    def ways(self) -> dict[str, Way]:
        """(tokens [C,T], positions [C,k]) -> rows [C·k,D] on the host, bfloat16 as integers, in several ways."""
        return dict(zip(WAYS, map(self._picking, (self._hidden_states, self._hook, self._truncated)), strict=True))

    def activations(self, tokens: np.ndarray) -> np.ndarray:
        """[C,T,D] the activations in fp32."""
        with self._torch.inference_mode():
            return self._truncated(self._torch.tensor(tokens, device=self._device)).cpu().numpy()

    def _picking(self, read: Callable[[Any], Any]) -> Way:
        torch = self._torch

        def way(tokens: np.ndarray, positions: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                acts = read(torch.tensor(tokens, device=self._device))
                at = torch.tensor(positions, dtype=torch.long, device=self._device)
                rows = acts.gather(1, at[..., None].expand(-1, -1, acts.shape[-1]))
                rows = rows.reshape(-1, acts.shape[-1]).to(torch.bfloat16)
                return rows.view(torch.int16).cpu().numpy()

        return way

    def _hidden_states(self, tokens: Any) -> Any:
        out = self._model(tokens, output_hidden_states=True, use_cache=False)
        if self._layer < len(self._all_layers):
            return out.hidden_states[self._layer]
        return self._hook(tokens)  # what they give for the last layer is after the final norm

    def _hook(self, tokens: Any) -> Any:
        found: list[Any] = []

        def keep(module: Any, given: Any, out: Any) -> None:
            found.append(out[0] if isinstance(out, tuple) else out)

        handle = self._all_layers[self._layer - 1].register_forward_hook(keep)
        try:
            self._model(tokens, use_cache=False)
        finally:
            handle.remove()
        return found[0]

    def _truncated(self, tokens: Any) -> Any:
        body, norm = self._model.model, self._model.model.norm
        body.layers, body.norm = self._all_layers[: self._layer], self._torch.nn.Identity()
        try:
            return body(tokens, use_cache=False).last_hidden_state
        finally:
            body.layers, body.norm = self._all_layers, norm


def state_dict(config: LlamaConfig, params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Our parameters under the names of transformers."""
    found = {
        "model.embed_tokens.weight": params["embed"]["embedding"],
        "model.norm.weight": params["ln_final"]["scale"],
    }
    if not config.tied:
        found["lm_head.weight"] = params["unembed"]["kernel"].T
    for i in range(config.n_layers):
        block = params[f"blocks_{i}"]
        found |= {f"model.layers.{i}.{theirs}.weight": block[ours]["kernel"].T for ours, theirs in KERNELS.items()}
        found |= {f"model.layers.{i}.{theirs}.weight": block[ours]["scale"] for ours, theirs in NORMS.items()}
    return {name: np.array(value, np.float32) for name, value in found.items()}
