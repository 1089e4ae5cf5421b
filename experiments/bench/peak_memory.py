"""Does one task in its own process, to measure its peak memory: `peak harvest|stream PATH ROWS`."""

from __future__ import annotations

import pathlib
import sys

from experiments.bench.store import drain, make_source, make_store, one_device
from monosem_jax.activations.harvest import HarvestConfig
from monosem_jax.activations.store.store import Store
from monosem_jax.activations.stream.stream import StreamConfig, open_stream
from monosem_jax.models.transformer import TransformerConfig

SMALL = TransformerConfig(n_layers=1, d_model=32, d_mlp=512, n_heads=2, context_length=128, vocab_size=1024)
BUCKET_ROWS, BATCH, STEPS = 1 << 16, 4096, 8


def main(what: str, path: str, rows: str) -> None:
    """Does the work and prints the peak of its resident memory in MB."""
    if what == "harvest":
        config = HarvestConfig(bucket_rows=BUCKET_ROWS, shard_rows=BUCKET_ROWS // 4)
        make_store(pathlib.Path(path), make_source(int(rows), "bfloat16", SMALL), config)
    else:
        batch = min(BATCH, int(rows) // (2 * STEPS))
        stream = open_stream(Store(path), batch, 0, one_device(), config=StreamConfig("disk", window_blocks=64))
        drain(stream, stream.source.n_rows // (batch * STEPS) * STEPS, STEPS)
    status = pathlib.Path("/proc/self/status").read_text()  # getrusage starts from the parent's peak
    print(int(status.split("VmHWM:")[1].split()[0]) / 1000)


if __name__ == "__main__":
    main(*sys.argv[1:])
