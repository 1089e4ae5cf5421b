"""TransformerLens' names of places in a model, by which published dictionaries are labelled, and our sites.

blocks.5.hook_resid_post  <->  resid_post.5        blocks.5.attn.hook_z  <->  attn_z.5
"""

from __future__ import annotations

import re
from typing import Any

from monosem_jax.runtime.errors import BadInput

# By our kinds of sites. `hook_mlp_in` there is before the norm. Our mlp_in is after the norm with its gain and bias;
# `ln2.hook_normalized` is before these two, which TransformerLens by default moves into the weights that follow.
HOOKS = {
    "resid_pre": "hook_resid_pre", "attn_z": "attn.hook_z", "attn_out": "hook_attn_out", "resid_mid": "hook_resid_mid",
    "mlp_in": "ln2.hook_normalized", "mlp_hidden": "mlp.hook_post", "mlp_out": "hook_mlp_out",
    "resid_post": "hook_resid_post",
}  # fmt: skip
KINDS = {hook: kind for kind, hook in HOOKS.items()} | {"mlp.hook_in": "mlp_in"}  # the last is of newer versions
BLOCK = re.compile(r"blocks\.(0|[1-9][0-9]{0,3})\.([a-z0-9_.]+)")


def hook_name(site: str) -> str | None:
    """TransformerLens' name for one of our sites, None where it has none."""
    kind, _, layer = site.partition(".")
    return f"blocks.{layer}.{HOOKS[kind]}" if kind in HOOKS and layer.isdigit() else None


def site_of(hook: Any) -> str | None:
    """Our name for one of TransformerLens' hooks, None where there is no such site."""
    found = BLOCK.fullmatch(hook) if isinstance(hook, str) else None
    if found is None or found[2] not in KINDS:
        return None
    return f"{KINDS[found[2]]}.{found[1]}"


def as_site(name: str) -> str:
    """Our name of a site that is given by either name; what is no hook stays as it is.

    Raises BadInput on a hook at which we have no site, such as an attention pattern.
    """
    if not isinstance(name, str) or not (name.startswith("blocks.") or name.partition(".")[0].startswith("hook_")):
        return name
    site = site_of(name)
    if site is None:
        known = ", ".join(f"blocks.N.{hook}" for hook in HOOKS.values())
        raise BadInput(f"hook {name[:80]!r} is no site of ours: expected one of {known}")
    return site
