"""Mistakes at the command line: one clear line, exit code 2, before any work is done."""

import numpy as np
import pytest

from tests.experiments.tiny import start

CASES = {
    "missing workdir": ("train_sae", [], "--workdir is missing"),
    "unknown key": (
        "train_transformer",
        ["--workdir={w}", "--config.train.learning_rat=1"],
        "did you mean 'train.learning_rate'",
    ),
    "unknown flag": ("harvest", ["--workdir={w}", "--wrkdir=x"], "unknown flag --wrkdir"),
    "value of the wrong type": (
        "train_transformer",
        ["--workdir={w}", "--config.train.steps=many"],
        "config.train.steps",
    ),
    "config file that is not there": ("train_sae", ["--workdir={w}", "--config=nowhere.py"], "nowhere.py"),
    "missing corpus": ("quickstart", ["--workdir={w}", "--corpus={tmp}/none.jsonl"], "none.jsonl does not exist"),
    "corpus smaller than a context": (
        "train_transformer",
        ["--workdir={w}", "--config.text.corpus={tmp}/small.jsonl", "--config.text.vocab_size=300"],
        "smaller than one context",
    ),
    "text that is not UTF-8": (
        "train_transformer",
        ["--workdir={w}", "--config.text.corpus={tmp}/latin.txt"],
        "latin.txt is not UTF-8: byte 3 is 0xe9",
    ),
    "vocabulary below the bytes": (
        "quickstart",
        ["--workdir={w}", "--config.transformer.text.vocab_size=100"],
        "vocab_size is 100",
    ),
    "no features": (
        "train_sae",
        ["--workdir={w}", "--config.source={tmp}/x.npy", "--config.sae.n_features=0"],
        "n_features is 0",
    ),
    "batch larger than the array": (
        "train_sae",
        ["--workdir={w}", "--config.source={tmp}/x.npy", "--config.sae.n_features=8"],
        "batch_size 8192 is larger than",
    ),
    "heads that do not divide the model": (
        "train_transformer",
        ["--workdir={w}", "--config.transformer.n_heads=3"],
        "d_model 128 is not divisible by n_heads 3",
    ),
    "mesh that does not match": (
        "train_transformer",
        ["--workdir={w}", "--config.train.mesh=data=4"],
        "needs 4 x 1 devices, but 1 are present",
    ),
    "source that is not one": (
        "train_sae",
        ["--workdir={w}", "--config.source={tmp}"],
        "neither a store directory",
    ),
    "stage before it is missing": ("harvest", ["--workdir={w}", "--config.transformer={tmp}/nope"], "nope"),
    "empty workdir": ("harvest", ["--workdir=", "--from={tmp}/x.npy"], "--workdir is missing"),
    "nothing to harvest": ("harvest", ["--workdir={w}"], "config.transformer is empty"),
    "two things to harvest": (
        "harvest",
        ["--workdir={w}", "--from={tmp}/x.npy", "--config.transformer={tmp}"],
        "config.transformer and config.source (--from) are both given",
    ),
    "unknown dtype": (
        "harvest",
        ["--workdir={w}", "--from={tmp}/x.npy", "--config.harvest.dtype=int8"],
        "harvest.dtype is 'int8': expected bfloat16, float32, float16",
    ),
    "more rows than there are": (
        "harvest",
        ["--workdir={w}", "--from={tmp}/x.npy", "--config.harvest.n_rows=101"],
        "harvest.n_rows is 101: ",
    ),
    "array that is not there": ("harvest", ["--workdir={w}", "--from={tmp}/none.npy"], "none.npy does not exist"),
    "source that is not there": ("harvest", ["--workdir={w}", "--from={tmp}/none"], "none does not exist"),
    "array of three axes": (
        "harvest",
        ["--workdir={w}", "--from={tmp}/cube.npy"],
        "cube.npy has shape (2, 3, 4): expected [n, M]",
    ),
    "store of a newer format": (
        "harvest",
        ["--workdir={w}", "--from={tmp}/new"],
        "new has store format 99: this version reads 1 to 3",
    ),
    "check of a store of a newer format": ("harvest", ["--workdir={tmp}/new", "--verify"], "new has store format 2"),
    "check of a store that is not there": ("harvest", ["--workdir={w}", "--verify"], "store.json does not exist"),
    "directory of something else": (
        "train_transformer",
        ["--workdir={tmp}"],
        "is not empty and not a run directory",
    ),
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """The outcome of every case, two processes at a time: each spends its time importing."""
    tmp = tmp_path_factory.mktemp("bad")
    (tmp / "small.jsonl").write_text('{"text": "a b"}\n{"text": "c d"}\n{"text": "e f"}\n')
    (tmp / "latin.txt").write_bytes(b"caf\xe9")
    np.save(tmp / "x.npy", np.ones((100, 4), np.float32))
    np.save(tmp / "cube.npy", np.ones((2, 3, 4), np.float32))
    (tmp / "new").mkdir()
    (tmp / "new" / "store.json").write_text('{"format": 99}')
    results, running = {}, []
    for name, (program, flags, _) in CASES.items():
        w = tmp / f"w{len(running)}"  # shared by every second case: a mistake must not bind it
        running.append((name, start(program, *(f.format(tmp=tmp, w=w) for f in flags))))
        if len(running) == 2:
            results |= {n: (*p.communicate(timeout=120), p.returncode) for n, p in running}
            running = []
    return results | {n: (*p.communicate(timeout=120), p.returncode) for n, p in running}, tmp


@pytest.mark.parametrize("name", CASES)
def test_a_mistake_gets_one_clear_line(outcomes, name):
    _, err, code = outcomes[0][name]
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert code == 2, err
    assert len(lines) == 1 and CASES[name][2] in lines[0], err
    assert "Traceback" not in err


def test_a_mistake_found_before_any_work_leaves_the_directory_to_be_used_again(outcomes):
    assert not any((outcomes[1] / w / "config.json").exists() for w in ("w0", "w1"))
