"""What a dictionary has found of features that are known: the columns of a toy model's W.

A dictionary is trained on hidden activations h = W x, where x are the features. Dictionary vectors are compared with
the columns by their directions only, because L1 shrinks lengths.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float

from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae.published import PublishedSAE
from monosem_jax.toy.geometry import REPRESENTED, norms

RECOVERED = 0.95  # cosine above which a feature and a dictionary vector are the same
TWINS = 0.9  # cosine above which two dictionary vectors are twins
ROWS = 65_536  # rows that are encoded at a time


@dataclasses.dataclass(frozen=True)
class Recovery:
    """How true features and dictionary vectors match, counted over features that fire on the measured rows."""

    true_features: int
    """Columns of W that are represented."""
    n_features: int
    """Features of the dictionary."""
    alive: int
    """Those that fire."""
    recovered: float
    """The share of true features for which some dictionary vector has a cosine above RECOVERED."""
    mean_max_cosine: float
    """The mean over true features of the largest cosine."""
    precision: float | None
    """The share of the alive features whose vector has a cosine above RECOVERED with a true one; None: none fires."""
    copies: float | None
    """Alive features above RECOVERED for each true feature that is recovered, as a mean; None: none is recovered."""
    twins: int
    """Alive features with another one at a cosine above TWINS."""
    l0: float
    """Features active on a row, as a mean."""
    true_l0: float
    """The same of the true features."""
    variance_explained: float
    """The share of the variance of h that is reconstructed."""


def true_directions(W: Float[np.ndarray, "m n"]) -> tuple[Float[np.ndarray, "T m"], np.ndarray]:
    """(unit vectors of the features that are represented, their numbers). Raises BadInput when none is."""
    W = np.asarray(W, np.float64)
    length = norms(W)
    found = np.flatnonzero(length >= REPRESENTED)
    if not len(found):
        raise BadInput(f"none of {W.shape[1]} features has a norm of {REPRESENTED} or more: nothing to recover")
    return (W[:, found] / length[found]).T, found


def encode(sae: PublishedSAE, h: Float[np.ndarray, "B m"]) -> Float[np.ndarray, "B F"]:
    """Feature activations of rows."""
    return np.concatenate([np.asarray(sae.encode(h[i : i + ROWS])) for i in range(0, len(h), ROWS)])


def measure(
    sae: PublishedSAE, W: Float[np.ndarray, "m n"], x: Float[np.ndarray, "B n"], h: Float[np.ndarray, "B m"]
) -> Recovery:
    """What a dictionary has found of the columns of W, on rows h = W x that it was not trained on. A dictionary whose
    features have either sign also finds the opposite of a vector.

    Raises BadInput when no column is represented.
    """
    truth, numbers = true_directions(W)
    f = encode(sae, h)
    alive = (f != 0).any(axis=0)
    vectors = unit_rows(sae.params["W_dec"])[alive]
    cosines, among = truth @ vectors.T, vectors @ vectors.T
    if sae.module.recipe.activation.signed:
        cosines, among = np.abs(cosines), np.abs(among)
    np.fill_diagonal(among, -1)
    largest = cosines.max(axis=1, initial=0)
    same, found = cosines > RECOVERED, largest > RECOVERED
    difference = h - np.asarray(sae.decode(f), np.float64)
    return Recovery(
        true_features=len(truth),
        n_features=sae.n_features,
        alive=int(alive.sum()),
        recovered=float(found.mean()),
        mean_max_cosine=float(largest.mean()),
        precision=float(same.any(axis=0).mean()) if alive.any() else None,
        copies=float(same.sum(axis=1)[found].mean()) if found.any() else None,
        twins=int((among > TWINS).any(axis=1).sum()),
        l0=float((f != 0).sum(axis=1).mean()),
        true_l0=float((x[:, numbers] != 0).sum(axis=1).mean()),
        variance_explained=float(1 - np.square(difference).sum() / np.square(h - h.mean(axis=0)).sum()),
    )


@dataclasses.dataclass(frozen=True)
class Absorption:
    """How much weaker the features of parents are where their children are active, as means over pairs.

    The feature of a parent is the one whose vector is nearest to it; its strength is what it reports for each unit of
    the parent's true value. Numbers are None when no parent was found.
    """

    pairs: int
    """Pairs of parent and child that the toy model represents."""
    measured: int
    """Pairs whose parent has a dictionary vector near it, and rows of both kinds."""
    strength_without: float | None
    """The parent's feature on rows with the parent alone, divided by the parent's value."""
    strength_with: float | None
    """The same on rows with both."""
    absorbed: float | None
    """The share of the strength that is lost where the child is active: 1 − with / without, at least 0."""
    parent_in_child: float | None
    """The cosine of the child's dictionary vector with the parent: above 0 where it stands for both."""


def absorption(
    sae: PublishedSAE,
    W: Float[np.ndarray, "m n"],
    x: Float[np.ndarray, "B n"],
    h: Float[np.ndarray, "B m"],
    group_size: int = 2,
    near: float = 0.8,
) -> Absorption:
    """Absorption of the first feature of each group, the parent, by the second one, the child. A pair is measured where
    some vector has a cosine above `near` with the parent and there are rows of both kinds.

    Source: Chanin et al., A is for Absorption (2024): the parent's feature leaves some of its rows to more specific
    features, whose vectors contain the parent. With values that vary it leaves a part of its strength to them.
    """
    truth, numbers = true_directions(W)
    place = {int(i): row for row, i in enumerate(numbers)}
    f = encode(sae, h)
    vectors = unit_rows(sae.params["W_dec"])
    cosines = truth @ vectors.T
    pairs = [(i, i + 1) for i in range(0, x.shape[1], group_size) if {i, i + 1} <= place.keys()]
    found = []
    for parent, child in pairs:
        own, others = cosines[place[parent]], cosines[place[child]]
        value, feature = x[:, parent], f[:, own.argmax()]
        both, alone = ((value > 0) & there for there in (x[:, child] > 0, x[:, child] == 0))
        if own.max() > near and both.any() and alone.any() and feature[alone].any():
            in_child = own[others.argmax()] if others.argmax() != own.argmax() else np.nan
            found.append((*(feature[r].sum() / value[r].sum() for r in (alone, both)), in_child))
    if not found:
        return Absorption(len(pairs), 0, None, None, None, None)
    without, with_child, in_child = np.array(found, np.float64).T
    absorbed = np.maximum(1 - with_child / without, 0).mean()
    told = in_child[np.isfinite(in_child)]
    return Absorption(
        pairs=len(pairs),
        measured=len(found),
        strength_without=float(without.mean()),
        strength_with=float(with_child.mean()),
        absorbed=float(absorbed),
        parent_in_child=float(told.mean()) if len(told) else None,
    )


def unit_rows(vectors: Float[np.ndarray, "F m"]) -> Float[np.ndarray, "F m"]:
    """Rows divided by their norms, in float64; a row of zeros stays."""
    vectors = np.asarray(vectors, np.float64)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)
