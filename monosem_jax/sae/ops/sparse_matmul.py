"""Products with feature activations that are nearly all zero: a loop visits only the nonzero ones.

For CPUs: the loop runs over short pieces of rows that fit in the cache, and takes a fraction of the time of the dense
products.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

PIECE = 32  # activations visited at a time: W_dec's rows for them stay in the nearest cache
WORD = 32  # features per word of bits
# Dense products are faster above this fraction of nonzero activations, and for small dictionaries.
MOST, LEAST_FEATURES, LEAST_WIDTH = 1 / 48, 2048, 128


class BlockedCodes(NamedTuple):
    """Rows of activations [B,F] split into pieces.

    The first `n_pieces` of P pieces are real. `row[p]` is the row of piece p; its activations `value[p]` belong to the
    features `feature[p]`. Padding of a row's last piece has value 0 and `real` False.
    """

    n_pieces: Int[Array, ""]
    row: Int[Array, " P"]
    feature: Int[Array, "P piece"]
    value: Float[Array, "P piece"]
    real: Bool[Array, "P piece"]


def positive(f: Float[Array, "B F"]) -> Int[Array, "G F"]:
    """Where activations are positive, as bits: word g of a feature has the bits of rows 32 g … 32 g + 31. This takes
    one pass over [B,F]; XLA's sum takes several on CPUs. The bits of rows that pad the last word are 0."""
    f = jnp.pad(f > 0, ((0, -len(f) % WORD), (0, 0)))
    bits = f.reshape(-1, WORD, f.shape[1]).astype(jnp.uint32)
    return jnp.sum(bits << jnp.arange(WORD, dtype=jnp.uint32)[:, None], axis=1, dtype=jnp.uint32)


def count(words: Int[Array, "G F"]) -> Float[Array, " F"]:
    """The number of rows in which each feature is positive."""
    return jnp.sum(jax.lax.population_count(words), axis=0).astype(jnp.float32)


def worthwhile(shape: tuple[int, ...], width: int) -> bool:
    """Whether visiting nonzero activations of this shape can be faster than dense products, if few are positive."""
    return shape[1] >= LEAST_FEATURES and shape[1] % WORD == 0 and shape[0] % WORD == 0 and width >= LEAST_WIDTH


def capacity(shape: tuple[int, ...]) -> int:
    """The largest number of pieces that the arrays hold."""
    return int(shape[0] * shape[1] * MOST) // PIECE


class NonzeroBits(NamedTuple):
    """Where activations are positive, by row: `words` of 32 features each; `upto`, the number of positive activations
    of the row up to the end of each word; `pieces`, the number of pieces of all rows together."""

    words: Int[Array, "B W"]
    upto: Int[Array, "B W"]
    pieces: Int[Array, ""]


def by_row(words: Int[Array, "G F"]) -> NonzeroBits:
    """The bits of `positive`, transposed from words per feature to words per row."""
    groups, n = words.shape
    apart = words.reshape(groups, n // WORD, WORD).transpose(0, 2, 1)[:, :, None]  # [G, feature of word, 1, word]
    each = jnp.arange(WORD, dtype=jnp.uint32)
    bits = (apart >> each[:, None]) & 1  # [G, feature of word, row of group, word]
    turned = jnp.sum(bits << each[:, None, None], axis=1, dtype=jnp.uint32).reshape(groups * WORD, -1)
    upto = jnp.cumsum(jax.lax.population_count(turned).astype(jnp.int32), axis=1)
    return NonzeroBits(turned, upto, jnp.sum(_pieces(upto)))


def find(pre: Float[Array, "B F"], bias: Float[Array, " F"], at: NonzeroBits) -> BlockedCodes:
    """The pieces of relu(pre + bias), which is positive `at` these bits; correct only if they fit into `capacity`."""
    upto = at.upto
    n_words, pieces = upto.shape[1], _pieces(upto)
    ends = jnp.cumsum(pieces)
    p = jnp.arange(capacity(pre.shape))
    row = jnp.minimum(jnp.searchsorted(ends, p, side="right"), len(pre) - 1)
    wanted = ((p - (ends - pieces)[row]) * PIECE)[:, None] + jnp.arange(PIECE)  # index within the row
    real = wanted < upto[:, -1][row][:, None]
    word = jnp.minimum(_first_above(upto, row, wanted), n_words - 1)
    place = row[:, None] * n_words + word
    bits = at.words.reshape(-1)[place]
    before = upto.reshape(-1)[place] - jax.lax.population_count(bits).astype(jnp.int32)
    feature = jnp.where(real, word * WORD + _nth_bit(bits, wanted - before), 0)
    value = jnp.where(real, pre[row[:, None], feature] + bias[feature], 0)
    return BlockedCodes(ends[-1], row, feature, value, real)


def _pieces(upto: Array) -> Array:
    return -(-upto[:, -1] // PIECE)


def _first_above(upto: Array, row: Array, wanted: Array) -> Array:
    """For each `wanted`, by binary search, the row's first word with `upto` above `wanted`."""
    n_words, flat = upto.shape[1], upto.reshape(-1)
    found, step = jnp.zeros_like(wanted), 1 << (n_words - 1).bit_length()
    while step:
        further = found + step
        enough = flat[row[:, None] * n_words + jnp.minimum(further, n_words) - 1] <= wanted
        found = jnp.where((further <= n_words) & enough, further, found)
        step //= 2
    return found


def _nth_bit(bits: Array, n: Array) -> Array:
    """The position of the n-th set bit of a word, counted from 0, by bisection of the word."""
    found = jnp.zeros_like(n)
    for half in (16, 8, 4, 2, 1):
        low = bits & jnp.uint32((1 << half) - 1)
        in_low = jax.lax.population_count(low).astype(n.dtype)
        up = n >= in_low
        n, bits, found = jnp.where(up, n - in_low, n), jnp.where(up, bits >> half, low), found + jnp.where(up, half, 0)
    return found


def decode(c: BlockedCodes, w_dec: Float[Array, "F M"], n_rows: int) -> Float[Array, "B M"]:
    """f · W_dec."""

    def add(p, total):
        return total.at[c.row[p]].add(c.value[p] @ w_dec[c.feature[p]])

    return jax.lax.fori_loop(0, c.n_pieces, add, jnp.zeros((n_rows, w_dec.shape[1]), w_dec.dtype))


def decoded(
    few: Array,
    pre: Float[Array, "B F"],
    bias: Float[Array, " F"],
    at: NonzeroBits,
    w_dec: Float[Array, "F M"],
    dense: Any,
) -> tuple[BlockedCodes, tuple[Float[Array, "B M"], Array]]:
    """(codes, (f · W_dec, the sum of f)) for f = relu(pre + bias); visits nonzero f if `few`, else calls `dense()`."""

    def visiting():
        c = find(pre, bias, at)
        return c, (decode(c, w_dec, len(pre)), jnp.sum(c.value))

    def multiplying():
        shapes = jax.eval_shape(find, pre, bias, at)
        return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes), dense()

    return jax.lax.cond(few, visiting, multiplying)


def chosen_backward(few: Array, c: BlockedCodes, x: Array, w_dec: Array, d_l1: Array, dense: Any) -> Any:
    """The function d_out -> the result of `backward`: it calls `backward` if `few`, else `dense`."""
    return lambda d_out: jax.lax.cond(few, lambda d: backward(c, x, d, w_dec, d_l1), dense, d_out)


def backward(
    c: BlockedCodes, x: Float[Array, "B M"], d_out: Float[Array, "B M"], w_dec: Float[Array, "F M"], d_l1: Array
) -> tuple[Float[Array, "M F"], Float[Array, " F"], Float[Array, "F M"]]:
    """(xᵀ · d_pre, the sum of d_pre over rows, fᵀ · d_out); d_pre = d_out · W_decᵀ + d_l1 where f is positive."""

    def add(p, totals):
        enc, bias, dec = totals
        i, b = c.feature[p], c.row[p]
        d_pre = jnp.where(c.real[p], w_dec[i] @ d_out[b] + d_l1, 0)
        return (
            enc.at[i].add(d_pre[:, None] * x[b]), bias.at[i].add(d_pre), dec.at[i].add(c.value[p][:, None] * d_out[b])
        )  # fmt: skip

    empty = jnp.zeros_like(w_dec)
    enc, bias, dec = jax.lax.fori_loop(0, c.n_pieces, add, (empty, jnp.zeros(len(w_dec), w_dec.dtype), empty))
    return enc.T, bias, dec


def decode_backward(
    c: BlockedCodes, d_out: Float[Array, "B M"], w_dec: Float[Array, "F M"], before: Float[Array, "F M"] | None = None
) -> tuple[Float[Array, "P piece"], Float[Array, "F M"]]:
    """(d_out · W_decᵀ at the activations visited, `before` + fᵀ · d_out)."""

    def add(p, totals):
        d_f, dec = totals
        i, d = c.feature[p], d_out[c.row[p]]
        return d_f.at[p].set(w_dec[i] @ d), dec.at[i].add(c.value[p][:, None] * d)

    start = (jnp.zeros(c.value.shape, w_dec.dtype), jnp.zeros_like(w_dec) if before is None else before)
    d_f, dec = jax.lax.fori_loop(0, c.n_pieces, add, start)
    return jnp.where(c.real, d_f, 0), dec


def spread(c: BlockedCodes, values: Float[Array, "P piece"], shape: tuple[int, int]) -> Float[Array, "B F"]:
    """[B,F]: the values at the activations visited, 0 elsewhere."""
    rows = jnp.broadcast_to(c.row[:, None], c.feature.shape)
    # Padding of a piece gets the index of a row that does not exist, so it is dropped.
    return jnp.zeros(shape, values.dtype).at[jnp.where(c.real, rows, shape[0]), c.feature].set(values, mode="drop")


def outer(c: BlockedCodes, x: Float[Array, "B M"], n_features: int) -> Float[Array, "M F"]:
    """xᵀ · f for the values visited."""

    def add(p, total):
        return total.at[c.feature[p]].add(c.value[p][:, None] * x[c.row[p]])

    return jax.lax.fori_loop(0, c.n_pieces, add, jnp.zeros((n_features, x.shape[1]), x.dtype)).T


def at_index(values: Float[Array, "B k"], at: Int[Array, "B k"], real: Bool[Array, "B k"]) -> BlockedCodes:
    """The pieces of rows with `values` at the features `at` where `real`; omits pieces without a real value."""
    n_rows, k = at.shape
    per_row = -(-k // PIECE)

    def pieces(x):
        return jnp.pad(x, ((0, 0), (0, per_row * PIECE - k))).reshape(n_rows * per_row, PIECE)

    some = jnp.any(pieces(real), axis=1)
    order = jnp.argsort(~some, stable=True)
    feature, value, real = (pieces(x)[order] for x in (at, jnp.where(real, values, 0), real))
    return BlockedCodes(jnp.sum(some), order // per_row, feature, value, real)


def to_index(c: BlockedCodes, values: Float[Array, "P piece"], real: Bool[Array, "B k"]) -> Float[Array, "B k"]:
    """The values of the pieces of `at_index`, in the order of its argument `at`."""
    n_rows, k = real.shape
    per_row = -(-k // PIECE)
    some = jnp.any(jnp.pad(real, ((0, 0), (0, per_row * PIECE - k))).reshape(-1, PIECE), axis=1)
    place = jnp.argsort(jnp.argsort(~some, stable=True))
    return values[place].reshape(n_rows, -1)[:, :k]
