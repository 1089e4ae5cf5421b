"""A transformer and a dictionary as the page "Try it" runs them, from their run directories."""

from __future__ import annotations

from monosem_jax.models.base import split_sites
from monosem_jax.models.tapped import TappedModel
from monosem_jax.models.transformer import Transformer
from monosem_jax.report.browser.model import TRANSFORMER_KEYS, ServedModel
from monosem_jax.report.browser.tokenizer import NotServed
from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae.published import PublishedSAE
from monosem_jax.sae.run import SaeRun


def served_model(dictionary: SaeRun) -> ServedModel:
    """The dictionary and the transformer whose activations it explains.

    Raises NotServed saying why the page cannot run them.
    """
    if not dictionary.site:
        raise NotServed("the dictionary was trained on rows of which no transformer is known")
    try:
        run = dictionary.transformer
        tapped = run.tapped(dictionary.site)
        tokenizer = (run.text.path / "tokenizer.json").read_text(encoding="utf-8")
    except (BadInput, OSError) as e:
        raise NotServed(f"the transformer cannot be opened: {e}") from None
    if not isinstance(tapped.model, Transformer):
        raise NotServed(f"the page does not know the architecture {tapped.model.config.architecture}")
    if dictionary.sae.rows:
        raise NotServed(f"the page does not normalise single rows ({dictionary.sae.rows}), as this dictionary does")
    sae = PublishedSAE(dictionary.sae, dictionary.params)
    served = served_values(tapped, sae, tokenizer)
    served.check()
    return served


def served_values(tapped: TappedModel, sae: PublishedSAE, tokenizer: str) -> ServedModel:
    """The same from a model cut at its site and a published dictionary."""
    recipe = sae.module.recipe
    site, columns = tapped.replaced_by(sae.width_out)[-1]
    return ServedModel(
        transformer={key: getattr(tapped.model.config, key) for key in TRANSFORMER_KEYS},
        params=tapped.params,
        dictionary={
            "form": recipe.activation.form,
            "k": getattr(recipe.activation, "k", None) if recipe.activation.by_index else None,
            "n_features": sae.n_features,
            "sites": list(split_sites(tapped.site)),
            "effect_site": site,
            "effect_start": int(columns.start or 0),
            "width_in": sae.module.width_in,
            "width_out": sae.width_out,
            "centred": recipe.apply_b_dec_to_input,
        },
        dictionary_params=sae.params,
        bos=tapped.bos,
        tokenizer=tokenizer,
    )
