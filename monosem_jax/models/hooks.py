"""The names of sites in TransformerLens, by which published dictionaries are labelled, and ours."""

from __future__ import annotations

import re
from typing import Any

# Our kinds of sites and TransformerLens' names. `hook_mlp_in` is before the norm, our mlp_in after it.
HOOKS = {
    "resid_pre": "hook_resid_pre", "attn_z": "attn.hook_z", "attn_out": "hook_attn_out",
    "resid_mid": "hook_resid_mid", "mlp_in": "ln2.hook_normalized", "mlp_hidden": "mlp.hook_post",
    "mlp_out": "hook_mlp_out", "resid_post": "hook_resid_post",
}  # fmt: skip
HOOK = re.compile(r"blocks\.(0|[1-9][0-9]{0,3})\.([a-z0-9_.]+)")


def hook_name(site: str) -> str | None:
    """TransformerLens' name for a site, None where it has none."""
    kind, _, layer = site.partition(".")
    return f"blocks.{layer}.{HOOKS[kind]}" if kind in HOOKS and layer else None


def site_of(hook: Any) -> str | None:
    """Our name for one of TransformerLens' hooks, None where there is no such site."""
    found = HOOK.fullmatch(hook) if isinstance(hook, str) else None
    kind = next((ours for ours, theirs in HOOKS.items() if found and theirs == found[2]), None)
    return f"{kind}.{found[1]}" if found and kind else None
