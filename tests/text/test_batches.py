"""Batches of contexts: a function of (tokens, seed, index), the same on one device and on eight."""

import numpy as np
import pytest

from monosem_jax.text.batches import TokenBatches
from tests.conftest import mesh_of

CONTEXTS, LENGTH, BATCH = 48, 6, 16
PER_EPOCH = CONTEXTS // BATCH


@pytest.fixture
def tokens() -> np.ndarray:
    return np.arange(CONTEXTS * LENGTH, dtype=np.uint16).reshape(CONTEXTS, LENGTH)


def batches(tokens, seed=0, where=None) -> TokenBatches:
    return TokenBatches(tokens, BATCH, seed, where or mesh_of(1, 1))


def contexts_of(block) -> np.ndarray:
    """The numbers of the contexts in a block of batches."""
    return np.asarray(block)[..., 0] // LENGTH


def test_a_block_holds_whole_contexts_as_int32(tokens):
    block = batches(tokens)(0, 2)
    assert block.shape == (2, BATCH, LENGTH) and block.dtype == np.int32
    assert np.array_equal(np.asarray(block), tokens[contexts_of(block)])


def test_a_batch_does_not_depend_on_what_was_asked_before(tokens):
    used = batches(tokens)
    for start, n in [(7, 2), (0, 1), (3, 3), (100, 1), (0, 5)]:
        assert np.array_equal(used(start, n), batches(tokens)(start, n))


def test_a_batch_does_not_depend_on_the_block_it_is_in(tokens):
    whole = np.asarray(batches(tokens)(0, 9))
    for i in range(9):
        assert np.array_equal(batches(tokens)(i, 1)[0], whole[i])


def test_every_epoch_delivers_every_context_once(tokens):
    for epoch in range(4):
        seen = contexts_of(batches(tokens)(epoch * PER_EPOCH, PER_EPOCH))
        assert sorted(seen.ravel()) == list(range(CONTEXTS))


def test_contexts_that_do_not_fill_the_last_batch_are_delivered_with_the_next_epoch():
    tokens = np.arange(21 * LENGTH).reshape(21, LENGTH)
    seen = contexts_of(batches(tokens)(0, 4)).ravel()
    assert all(sorted(seen[i : i + 21]) == list(range(21)) for i in (0, 21, 42))


def test_every_epoch_has_an_order_of_its_own(tokens):
    source = batches(tokens)
    orders = {tuple(contexts_of(source(epoch * PER_EPOCH, PER_EPOCH)).ravel()) for epoch in range(5)}
    assert len(orders) == 5


def test_no_order_is_that_of_the_disk(tokens):
    assert not np.array_equal(contexts_of(batches(tokens)(0, PER_EPOCH)).ravel(), np.arange(CONTEXTS))


def test_two_seeds_have_no_order_in_common(tokens):
    def orders(seed):
        return {tuple(contexts_of(batches(tokens, seed)(e * PER_EPOCH, PER_EPOCH)).ravel()) for e in range(5)}

    assert not orders(0) & orders(1)


@pytest.mark.parametrize("data, model", [(8, 1), (4, 2), (2, 4)])
def test_the_shards_of_eight_devices_make_up_the_batch_of_one(tokens, data, model):
    whole = np.asarray(batches(tokens)(2, 3))
    block = batches(tokens, where=mesh_of(data, model))(2, 3)
    assert len(block.addressable_shards) == 8
    assert np.array_equal(np.asarray(block), whole)
    for shard in block.addressable_shards:
        assert shard.data.shape == (3, BATCH // data, LENGTH)
        assert np.array_equal(np.asarray(shard.data), whole[shard.index])


class Counting:
    """Stands for the array of tokens and remembers what is read of it."""

    def __init__(self, tokens):
        self.tokens, self.shape, self.reads = tokens, tokens.shape, []

    def __len__(self):
        return len(self.tokens)

    def __getitem__(self, index):
        self.reads.append(np.asarray(index))
        return self.tokens[index]


def test_each_shard_reads_only_its_own_contexts(tokens):
    source = Counting(tokens)
    block = batches(source, where=mesh_of(8, 1))(0, 2)
    expected = {tuple(contexts_of(s.data).ravel()) for s in block.addressable_shards}
    assert {tuple(r.ravel()) for r in source.reads} == expected
    assert all(r.shape == (2, BATCH // 8) for r in source.reads)
