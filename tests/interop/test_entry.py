"""The entry point as it is called."""

import subprocess
import sys

from monosem_jax import load_run
from tests.interop.small import SITE


def call(*flags) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "experiments.export", *map(str, flags)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_out_of_a_run_and_into_another(root, tmp_path):
    out, new = tmp_path / "out", tmp_path / "new"
    done = call(f"--workdir={root / 'sae'}", "--format=saelens", f"--output={out}", "--step=8")
    assert done.returncode == 0, done.stderr
    assert "saelens, 32 features of width 24, step 8" in done.stdout
    flags = (f"--transformer={root / 'transformer'}", f"--site={SITE}", "--config.evaluate.contexts=4")
    done = call(f"--workdir={new}", f"--import={out}", *flags)
    assert done.returncode == 0, done.stderr
    found, ours = load_run(new), load_run(root / "sae", 8)
    assert (found.params["W_enc"] == ours.params["W_enc"]).all() and "l0" in found.summary


def test_a_mistake_is_one_line_and_exit_code_2(root):
    done = call(f"--workdir={root / 'sae'}", "--format=pickle")
    expected = (
        "error: --format is 'pickle': expected one of saelens, dictionary_learning, safetensors, numpy; "
        "of an analysis neuronpedia, saedashboard, delphi, csv, parquet, figures\n"
    )
    assert (done.returncode, done.stderr) == (2, expected)
