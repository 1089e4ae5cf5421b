"""The interface of a language model to the rest of the program: two halves, cut at a site.

A site is a place in the model whose activations can be read and replaced, written "kind.layer" ("mlp_hidden.0"). A new
architecture is one file, with a configuration and a linen module that has the methods of `LanguageModel`, and one line
in `monosem_jax.models.MODELS`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from monosem_jax.models.hooks import site_of
from monosem_jax.runtime.errors import BadInput, check_counts

# The kinds of sites in one block, in the order of the computation. `attn_z`: what the heads give, side by side, before
# W_O; `attn_out` and `mlp_out`: what is added to the residual stream.
SITES = ("resid_pre", "attn_z", "attn_out", "resid_mid", "mlp_in", "mlp_hidden", "mlp_out", "resid_post")
SITES_BETWEEN = "+"  # separates sites that are read together, such as mlp_in.0+mlp_out.0


class ModelConfig(Protocol):
    """The shape of a language model. `vocab_size` 0 means the tokenizer's."""

    @property
    def architecture(self) -> str: ...
    @property
    def n_layers(self) -> int: ...
    @property
    def context_length(self) -> int: ...
    @property
    def vocab_size(self) -> int: ...
    def check(self) -> None: ...


class LanguageModel(Protocol):
    """A linen module whose two halves, composed, give the model bit for bit.

    Shapes: C contexts, T positions, V vocabulary, M width of the site, F directions.
    """

    @property
    def config(self) -> ModelConfig: ...

    @property
    def sites(self) -> tuple[str, ...]:
        """The names of all its sites."""
        ...

    def width(self, site: str) -> int:
        """M at one site; raises BadInput if the model has no such site."""
        ...

    def to_acts(self, tokens: Int[Array, "C T"], site: str) -> tuple[Any, Float[Array, "C T M"]]:
        """Runs the model up to a site: tokens → (carry, acts [C,T,M]). For several sites ("mlp_in.0+mlp_out.0") the
        activations are concatenated along M, and carry is None."""
        ...

    def from_acts(self, carry: Any, acts: Float[Array, "C T M"], site: str) -> Float[Array, "C T V"]:
        """Continues the model from one site, with the activations there replaced by `acts`: → logits."""
        ...

    def direct_effect(
        self, params: Mapping[str, Any], site: str, directions: Float[np.ndarray, "F M"]
    ) -> Float[np.ndarray, "F V"]:
        """The contribution of directions at a site to the logits on the direct path, without later attention and MLPs.
        Raises BadInput at a site from which that path is not linear."""
        ...

    # A model may also have `token_paths`, as `monosem_jax.models.transformer.Transformer` does: what every token
    # contributes to activations. Without it the sources of features are not known.

    def __call__(self, tokens: Int[Array, "C T"]) -> Float[Array, "C T V"]: ...

    # Of every linen module.
    def init(self, rngs: Any, *args: Any) -> Any: ...
    def apply(self, variables: Any, *args: Any, method: Any = None) -> Any: ...
    def clone(self, *, dtype: Any) -> Self: ...


def parse_site(site: str, n_layers: int, kinds: Sequence[str] = SITES) -> tuple[int, str]:
    """Splits a site such as "mlp_hidden.0" (or TransformerLens' name of it) into (layer, kind); raises BadInput on one
    that does not exist."""
    kind, _, layer = str(site_of(site) or site).partition(".")
    if kind not in kinds or not (layer.isascii() and layer.isdigit()) or int(layer) >= n_layers:
        known = ", ".join(f"{k}.N" for k in kinds)
        raise BadInput(f"site {site!r} does not exist: expected one of {known} with N from 0 to {n_layers - 1}")
    return int(layer), kind


def check_shapes(config: Any) -> None:
    """Checks what the configurations of all pretrained architectures share; raises BadInput on an impossible value."""
    names = ("n_layers", "d_model", "d_mlp", "n_heads", "n_kv_heads", "head_dim", "context_length")
    check_counts(config, "", *(n for n in names if hasattr(config, n)))
    if not hasattr(config, "head_dim") and config.d_model % config.n_heads:
        raise BadInput(f"d_model {config.d_model} is not divisible by n_heads {config.n_heads}")
    if getattr(config, "head_dim", 0) % 2:
        raise BadInput(f"head_dim is {config.head_dim}: rotary positions need an even number")
    if config.n_heads % getattr(config, "n_kv_heads", 1):
        raise BadInput(f"n_heads {config.n_heads} is not divisible by n_kv_heads {config.n_kv_heads}")
    if len(windows := getattr(config, "windows", ())) not in (0, config.n_layers) or min(windows, default=0) < 0:
        raise BadInput(f"windows are {windows}: expected one for each of {config.n_layers} layers, 0 or more")


def split_sites(site: str) -> tuple[str, ...]:
    """The single sites in a name such as "mlp_in.0+mlp_out.0", under our names where it has TransformerLens'; raises
    BadInput on what is no name."""
    if not isinstance(site, str):
        raise BadInput(f"the site is {site!r}: expected a name such as mlp_hidden.0")
    return tuple(site_of(s) or s for s in site.split(SITES_BETWEEN))


def named_site(site: str) -> str:
    """One or more sites under our names; a name that is neither ours nor TransformerLens' is left as it is."""
    return SITES_BETWEEN.join(split_sites(site))


def site_widths(model: LanguageModel, site: str) -> tuple[int, ...]:
    """M at each of one or more sites; raises BadInput if the model lacks one of them."""
    return tuple(model.width(s) for s in split_sites(site))


def site_width(model: LanguageModel, site: str) -> int:
    """The length of a row of activations at one or more sites: the sum of their widths."""
    return sum(site_widths(model, site))


def token_losses(logits: Float[Array, "C T V"], tokens: Int[Array, "C T"]) -> Float[Array, "C T-1"]:
    """Negative log-likelihood in nats of tokens 1 … T-1, each given those before it."""
    logits = logits[:, :-1]
    target = jnp.take_along_axis(logits, tokens[:, 1:, None], axis=-1)[..., 0]
    return jax.nn.logsumexp(logits, axis=-1) - target
