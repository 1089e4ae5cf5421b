"""The parts of a row of activations: one site, two (from one to the other), or several that share their features."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Array, Float

from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae.params import unscale, unscale_columns


@dataclasses.dataclass(frozen=True)
class OneSite:
    """Rows are activations of one site, which is both read and reconstructed."""

    several = False  # whether rows may be put together from several sources

    def parts(self, width: int) -> tuple[int, ...]:
        """The widths of the parts of a row of `width`."""
        return (width,)

    def widths(self, width: int) -> tuple[int, int]:
        """(M of the activations that the encoder reads, M of the reconstruction), for rows of `width`."""
        return width, width

    def inputs(self, rows: Float[Array, "*B W"]) -> Float[Array, "*B M"]:
        """The activations that the encoder reads."""
        return rows

    def targets(self, rows: Float[Array, "*B W"]) -> Float[Array, "*B M"]:
        """The activations that the decoder reconstructs."""
        return rows

    def unscale(self, params: dict[str, Any], scale: Any) -> dict[str, Any]:
        """Published parameters for raw rows from those for scaled ones."""
        return unscale(params, scale, scale)


@dataclasses.dataclass(frozen=True)
class SeveralSites(OneSite):
    """Rows are activations of several sites side by side. `given` are their widths, () if unknown."""

    given: tuple[int, ...] = ()
    several = True

    def parts(self, width):
        """Raises BadInput when the rows do not consist of what is needed."""
        parts = _stated(width, self.given)
        if len(parts) < 2:
            raise BadInput(
                "a crosscoder is of several sites or models, and the rows have one: harvest several "
                "(config.harvest.site=resid_pre.0+resid_pre.1), give several sources, or sae.widths"
            )
        return parts

    def unscale(self, params, scale):
        return unscale_columns(params, np.repeat(np.asarray(scale, np.float32), self.given))


@dataclasses.dataclass(frozen=True)
class BetweenSites(OneSite):
    """Rows are activations of two sites side by side: the first is read, the second reconstructed.

    `given` are their widths, () if unknown.
    """

    given: tuple[int, ...] = ()
    several = True

    def parts(self, width):
        """Raises BadInput when the rows do not consist of what is needed."""
        parts = _stated(width, self.given)
        if len(parts) != 2:
            raise BadInput(
                f"a transcoder goes from one site to another, and the rows have {len(parts)}: harvest two sites "
                "(config.harvest.site=mlp_in.0+mlp_out.0), or give sae.widths"
            )
        return parts

    def widths(self, width):
        return self.given[0], self.given[1]

    def inputs(self, rows):
        return rows[..., : self.given[0]]

    def targets(self, rows):
        return rows[..., self.given[0] :]

    def unscale(self, params, scale):
        return unscale(params, scale[0], scale[1])


def _stated(width: int, parts: tuple[int, ...]) -> tuple[int, ...]:
    parts = tuple(parts or (width,))
    if sum(parts) != width:
        raise BadInput(f"sae.widths {parts} make {sum(parts)}: the rows have a width of {width}")
    return parts
