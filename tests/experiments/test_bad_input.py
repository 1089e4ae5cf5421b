"""Mistakes at the command line: one clear line, exit code 2, before any work is done."""

import importlib

import numpy as np
import pytest

from experiments.entry import Experiment, read
from monosem_jax.runtime.errors import BadInput
from tests.experiments.tiny import ROOT, run

SHORT = [
    "--config.sae.n_features=8", "--config.train.batch_size=8", "--config.train.steps=8",
    "--config.train.steps_per_dispatch=4", "--config.resample.steps=()",
]  # fmt: skip
CASES = {
    "missing workdir": ("train_sae", [], "--workdir is missing"),
    "value of a moved key": (
        "train_sae",
        ["--workdir={w}", "--config.train.schedule=triangular"],
        "train.schedule.kind is 'triangular': expected",
    ),
    "unknown key": (
        "train_transformer",
        ["--workdir={w}", "--config.train.learning_rat=1"],
        "unknown key config.train.learning_rat: did you mean --config.train.learning_rate?",
    ),
    "unknown flag": ("harvest", ["--workdir={w}", "--wrkdir=x"], "unknown flag --wrkdir: did you mean --workdir?"),
    "value of the wrong type": (
        "train_transformer",
        ["--workdir={w}", "--config.train.steps=many"],
        "--config.train.steps is 'many': expected a whole number",
    ),
    "config file that is not there": (
        "train_sae",
        ["--workdir={w}", "--config=nowhere.py"],
        "nowhere.py: neither the path of a file nor a shipped configuration",
    ),
    "configuration of another experiment": (
        "train_sae",
        ["--workdir={w}", "--config=transformer_a"],
        "--config=transformer_a is a TransformerRunConfig: this experiment takes a SaeRunConfig",
    ),
    "key without config.": (
        "train_sae",
        ["--workdir={w}", "--seed=1"],
        "unknown flag --seed: did you mean --config.seed?",
    ),
    "flag that is like none": ("train_sae", ["--workdir={w}", "--colour=1"], "unknown flag --colour: try --help"),
    "argument without a flag": ("train_sae", ["--workdir={w}", "x.npy"], "unexpected argument 'x.npy'"),
    "switch that is neither": ("harvest", ["--workdir={w}", "--verify=no"], "--verify is 'no': expected true or false"),
    "number below the least": (
        "export",
        ["--workdir={w}", "--step=-1"],
        "--step is '-1': expected a whole number from 0",
    ),
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
    "key of other architectures": (
        "train_sae",
        ["--workdir={w}", "--config.sae.k=8", "--config.sae.architecture=topk"],
        "config.sae.k belongs to topk, batchtopk, matryoshka, transcoder, crosscoder, abs_topk: begin with",
    ),
    "key of other architectures, the wanted one named": (
        "sweep",
        ["--workdir={w}", "--config.sae.architecture=batchtopk", "--config.sae.k=8"],
        "begin with --config=batchtopk",
    ),
    "key of other architectures, where none is shipped": (
        "quickstart",
        ["--workdir={w}", "--config.sae.sae.k=8"],
        "abs_topk: begin with --config=FILE.py, a configuration of one of these",
    ),
    "architecture that is nearly one": (
        "train_sae",
        ["--workdir={w}", "--config.sae.architecture=topkk"],
        "abs_topk; did you mean 'topk'?",
    ),
    "several sources for one site": (
        "train_sae",
        ["--workdir={w}", "--config.source={tmp}/x.npy,{tmp}/x.npy", "--config.sae.n_features=8"],
        "relu reads one source; several, whose columns are put side by side, are for transcoder and crosscoder, and",
    ),
    "metric that is not one": (
        "train_sae",
        ["--workdir={w}", "--config.source={tmp}/x.npy", *SHORT, "--config.train.checkpoint.keep_best=max:lo"],
        "keep_best is 'lo': expected grad_norm, l0, l1, l1_coefficient, learning_rate, loss, mse, skipped; did",
    ),
    "metric that nothing reports": (
        "train_sae",
        ["--workdir={w}", "--config.source={tmp}/x.npy", *SHORT, "--config.train.checkpoint.keep_best=silent"],
        "train.checkpoint.keep_best is silent, which is logged every train.evaluate_every = 0 steps",
    ),
    "value in a file": (
        "train_sae",
        ["--workdir={w}", "--config={tmp}/mine.py"],
        "mine.py: unknown key config.a: ",
    ),
    "mesh that does not match": (
        "train_transformer",
        ["--workdir={w}", "--config.train.mesh=data=64"],
        "needs 64 x 1 devices, but ",
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
        "new has store format 4: this version reads 1 to 3",
    ),
    "check of a store of a newer format": ("harvest", ["--workdir={tmp}/new", "--verify"], "new has store format 4"),
    "check of a store that is not there": ("harvest", ["--workdir={w}", "--verify"], "store.json does not exist"),
    "directory of something else": (
        "train_transformer",
        ["--workdir={tmp}"],
        "is not empty and not a run directory",
    ),
}


@pytest.fixture(scope="module")
def tmp(tmp_path_factory):
    """A folder with the files of the cases."""
    tmp = tmp_path_factory.mktemp("bad")
    (tmp / "small.jsonl").write_text('{"text": "a b"}\n{"text": "c d"}\n{"text": "e f"}\n')
    (tmp / "latin.txt").write_bytes(b"caf\xe9")
    np.save(tmp / "x.npy", np.ones((100, 4), np.float32))
    np.save(tmp / "cube.npy", np.ones((2, 3, 4), np.float32))
    (tmp / "mine.py").write_text("def get_config():\n    return {'a': 1}\n")
    (tmp / "new").mkdir()
    (tmp / "new" / "store.json").write_text('{"format": 4}')
    return tmp


@pytest.mark.parametrize("name", CASES)
def test_a_mistake_gets_one_clear_line_and_leaves_the_directory_to_be_used_again(tmp, name):
    program, flags, message = CASES[name]
    experiment = importlib.import_module(f"experiments.{program}").EXPERIMENT
    with pytest.raises(BadInput) as refused:
        function, arguments = read(experiment, [f.format(tmp=tmp, w=tmp / "w") for f in flags])
        function(*arguments)
    assert message in str(refused.value) and "\n" not in str(refused.value)
    assert not [p.name for p in (tmp / "w").glob("*.json")]


def test_an_impossible_variable_of_jax_is_one_line():
    def stage(flags):
        raise ValueError("invalid truth value 'maybe' for environment\n'JAX_ENABLE_X64'")

    with pytest.raises(BadInput, match=r"^invalid truth value 'maybe' for environment 'JAX_ENABLE_X64'$"):
        read(Experiment("About.", stage), ["--workdir=w"])


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--wrkdir=x"], "error: unknown flag --wrkdir: did you mean --workdir?\n"),
        (
            ["--workdir={w}", "--flagfile=none"],
            "error: Unable to open flagfile: [Errno 2] No such file or directory: 'none'\n",
        ),
        (["--workdir={w}", "--from=none.npy"], "error: {root}/none.npy does not exist\n"),
    ],
)
def test_the_program_prints_that_line_and_ends_with_exit_code_2(tmp, flags, line):
    done = run("harvest", *(f.format(w=tmp / "w") for f in flags))
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line.format(root=ROOT))
