"""The Gemma family in Hugging Face's files: gemma, gemma2, gemma3_text, and the text of gemma3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monosem_jax.models.gemma import GemmaConfig
from monosem_jax.models.rope import Rope
from monosem_jax.models.weights.base import From, Table
from monosem_jax.models.weights.config_json import Settings, rope_of, shown
from monosem_jax.runtime.errors import BadInput

GELU = "gelu_pytorch_tanh"
# Published files leave out what is as in transformers' configuration classes; of gemma3, nearly everything.
THETA = {"gemma3": 1_000_000.0}
LONGEST = {"gemma3": 131_072}
VOCAB = {"gemma3": 262_208}
HEADS = {"gemma": (16, 16)}  # and those of keys and values
EVERY = {"gemma2": 2, "gemma3": 6}  # of so many layers the last attends to all tokens
LOCAL, GLOBAL = "sliding_attention", "full_attention"


def config(values: Mapping[str, Any]) -> GemmaConfig:
    """The shape that a config.json describes; raises BadInput on one that we cannot compute. Of a model that reads
    images too it is the shape of the language model."""
    whole = Settings(values)
    if whole.text("model_type") == "gemma3":
        values = values.get("text_config") or {}
        if not isinstance(values, dict):
            raise BadInput(f"config.json: text_config is {shown(values)}: expected an object")
    s, kind = Settings(values), whole.text("model_type").removesuffix("_text")
    # In the files of the first Gemma gelu means its approximation with tanh.
    s.expect(*(("hidden_act", GELU, "gelu") if kind == "gemma" else ("hidden_activation", GELU)))
    s.expect("attention_bias", False)
    s.expect("use_bidirectional_attention", False)
    if kind == "gemma3":
        s.expect("attn_logit_softcapping", None)  # transformers does not apply it
    n_layers, head_dim = s.count("num_hidden_layers"), s.count("head_dim", 256)
    heads, kv_heads = HEADS.get(kind, (8, 4))
    return GemmaConfig(
        n_layers=n_layers,
        d_model=s.count("hidden_size"),
        d_mlp=s.count("intermediate_size"),
        n_heads=s.count("num_attention_heads", heads),
        n_kv_heads=s.count("num_key_value_heads", kv_heads),
        head_dim=head_dim,
        context_length=s.count("max_position_embeddings", LONGEST.get(kind, 8192)),
        vocab_size=s.count("vocab_size", VOCAB.get(kind, 256_000)),
        rope=rope_of(values, THETA.get(kind, 10_000.0), GLOBAL),
        local_rope=_local_rope(s, kind),
        norm_eps=s.number("rms_norm_eps", 1e-6),
        tied=whole.switch("tie_word_embeddings", True),
        query_scalar=float(head_dim) if kind == "gemma" else s.number("query_pre_attn_scalar", 256.0),
        attn_softcap=_bound(s, "attn_logit_softcapping", 50.0) if kind == "gemma2" else 0.0,
        final_softcap=0.0 if kind == "gemma" else _bound(s, "final_logit_softcapping", 30.0 * (kind == "gemma2")),
        post_norms=kind != "gemma",
        qk_norm=kind == "gemma3",
        windows=_windows(s, kind, n_layers),
    )


def _bound(s: Settings, key: str, default: float) -> float:
    """A bound; null means that there is none."""
    return 0.0 if s.values.get(key, default) is None else s.number(key, default)


def _local_rope(s: Settings, kind: str) -> Rope:
    """Rotary positions of layers with a window, in the form of before transformers 5 (`rope_local_base_freq`) or
    since (`rope_parameters`). `rope_scaling` is for the others in Gemma 3, for all in Gemma 2."""
    if kind != "gemma3" or s.values.get("rope_parameters"):
        return rope_of(s.values, 10_000.0, LOCAL)
    return Rope(theta=s.number("rope_local_base_freq", 10_000.0))


def _windows(s: Settings, kind: str, n_layers: int) -> tuple[int, ...]:
    """Of each layer, to how many tokens a token attends; () if to all."""
    if kind == "gemma":
        return ()
    size = s.count("sliding_window", 4096)
    if (kinds := s.values.get("layer_types")) is not None:
        if not isinstance(kinds, list) or len(kinds) != n_layers or not {*map(str, kinds)} <= {LOCAL, GLOBAL}:
            raise BadInput(
                f"config.json: layer_types is {shown(kinds)}: expected {LOCAL} or {GLOBAL} for {n_layers} layers"
            )
        return tuple(size * (k == LOCAL) for k in kinds)
    every = s.count("sliding_window_pattern", EVERY[kind]) if kind == "gemma3" else EVERY[kind]
    if not every:
        raise BadInput("config.json: sliding_window_pattern is 0: expected at least 1")
    return tuple(size * ((i + 1) % every > 0) for i in range(n_layers))


def parameters(c: GemmaConfig) -> dict[str, From]:
    """Where each parameter comes from."""
    found = {"embed/embedding": From("model.embed_tokens.weight"), "ln_final/scale": From("model.norm.weight")}
    if not c.tied:
        found["unembed/kernel"] = From("lm_head.weight", transposed=True)
    dense = {
        "q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj", "attn_proj": "self_attn.o_proj",
        "gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj",
    }  # fmt: skip
    norms = {"ln_attn": "input_layernorm", "ln_mlp": "post_attention_layernorm"}
    if c.post_norms:
        norms |= {
            "ln_attn_post": "post_attention_layernorm", "ln_mlp": "pre_feedforward_layernorm",
            "ln_mlp_post": "post_feedforward_layernorm",
        }  # fmt: skip
    norms |= {"q_norm": "self_attn.q_norm", "k_norm": "self_attn.k_norm"} if c.qk_norm else {}
    for i in range(c.n_layers):
        ours, theirs = f"blocks_{i}", f"model.layers.{i}"
        for name, other in dense.items():
            found[f"{ours}/{name}/kernel"] = From(f"{theirs}.{other}.weight", transposed=True)
        for name, other in norms.items():
            found[f"{ours}/{name}/scale"] = From(f"{theirs}.{other}.weight")
    return found


# A model that reads images too has its language model under another name, which transformers 4.52 changed.
SPELLINGS = (
    ("model.", "language_model.model."),
    ("model.", "model.language_model."),
    ("lm_head.", "language_model.lm_head."),
)
TABLE = Table(config, parameters, SPELLINGS)
