"""The programs that define the formats load our exports with their own loaders, and compute the same."""

import json
import pickletools
import zipfile

import numpy as np
import pytest

from monosem_jax import load_run
from monosem_jax.interop import WRITERS
from monosem_jax.interop import torch_pickle as torch_file
from monosem_jax.interop.exported import ExportedSAE
from monosem_jax.stages.export import ExportConfig, export
from tests.interop.small import WIDTH, features, random_params, reconstructions

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
X = np.random.default_rng(3).standard_normal((40, WIDTH)).astype(np.float32)


def need(name: str):
    # Not only ImportError: a library may also fail on a version of another one.
    return pytest.importorskip(name, reason=f"{name} is not installed: pip install -e '.[peers]'")


@pytest.fixture(scope="module")
def torch():
    return need("torch")


def test_torch_reads_the_file_without_running_what_is_in_it(torch, tmp_path, monkeypatch):
    arrays = {name: a.T for name, a in random_params().items()}
    for limit, name in ((1 << 31, "small.pt"), (10, "zip64.pt")):
        monkeypatch.setattr(torch_file, "ZIP32", limit)
        torch_file.save(tmp_path / name, arrays)
        for mapped in (False, True):
            found = torch.load(tmp_path / name, weights_only=True, mmap=mapped)
            assert found.keys() == arrays.keys()
            for key, value in found.items():
                assert value.dtype == torch.float32 and value.is_contiguous()
                np.testing.assert_array_equal(value.numpy(), arrays[key])


def test_what_torch_writes_itself_is_read_alike_by_the_reader_of_these_tests(torch, tmp_path):
    """Its opcodes differ (it keeps a memo), but not what a tensor is."""
    arrays = random_params()
    torch.save({name: torch.from_numpy(a) for name, a in arrays.items()}, tmp_path / "theirs.pt")
    torch_file.save(tmp_path / "ours.pt", arrays)
    found = []
    for name in ("theirs", "ours"):
        with zipfile.ZipFile(tmp_path / f"{name}.pt") as archive:
            operations = list(pickletools.genops(archive.read(f"{name}/data.pkl")))
            assert {f"{name}/{n}" for n in ("data.pkl", "byteorder", "version", "data/0")} <= set(archive.namelist())
            assert archive.read(f"{name}/version") == b"3\n"
        ignored = ("BINPUT", "BINGET", "LONG_BINPUT", "PROTO", "STOP", "GLOBAL", "MARK")
        found.append({a for o, a, _ in operations if o.name not in ignored and a not in (None, "storage", "cpu")})
    assert found[0] == found[1]


@pytest.fixture(scope="module")
def load_saelens(torch):
    sae_lens = need("sae_lens")
    return lambda folder: sae_lens.SAE.load_from_disk(str(folder))


@pytest.mark.parametrize("name", ["sae", "unfinished"])
def test_saelens_loads_a_run(root, tmp_path, x, load_saelens, torch, name):
    export(root / name, ExportConfig("saelens", str(tmp_path / "out")))
    theirs, ours = load_saelens(tmp_path / "out"), load_run(root / name)
    with torch.no_grad():
        f = theirs.encode(torch.from_numpy(x))
        x_hat = theirs.decode(f)
    np.testing.assert_allclose(f.numpy(), ours.encode(x), **CLOSE)
    np.testing.assert_allclose(x_hat.numpy(), ours.decode(ours.encode(x)), **CLOSE)
    assert theirs.cfg.metadata.hook_name == "blocks.0.mlp.hook_post" and theirs.cfg.metadata.context_size == 16


def test_saelens_writes_what_can_be_imported(tmp_path, load_saelens, torch):
    params = random_params(norm=None)
    (tmp_path / "first").mkdir()
    WRITERS["saelens"](tmp_path / "first", ExportedSAE("relu", params, site="attn_out.0"))
    theirs = load_saelens(tmp_path / "first")
    for apply_b_dec, dtype in ((True, torch.float32), (False, torch.float32), (True, torch.bfloat16)):
        theirs = theirs.to(dtype)
        theirs.cfg.apply_b_dec_to_input, theirs.cfg.dtype = apply_b_dec, str(dtype).removeprefix("torch.")
        folder = tmp_path / f"{apply_b_dec}{dtype}"
        theirs.save_model(folder)
        export(tmp_path / f"run{apply_b_dec}{dtype}", ExportConfig(source=str(folder)))
        ours = load_run(tmp_path / f"run{apply_b_dec}{dtype}")
        assert ours.site == "attn_out.0"
        again = load_saelens(folder).to(torch.float32)  # the weights as they are, but no rounding in between
        with torch.no_grad():
            f = again.encode(torch.from_numpy(X))
            x_hat = again.decode(f)
        np.testing.assert_allclose(ours.encode(X), f.numpy(), **CLOSE)
        np.testing.assert_allclose(ours.decode(f.numpy()), x_hat.numpy(), **CLOSE)


@pytest.fixture(scope="module")
def load_theirs(torch):
    need("dictionary_learning")
    from dictionary_learning.utils import load_dictionary

    return lambda folder: load_dictionary(str(folder), "cpu")


@pytest.mark.parametrize("name", ["sae", "unfinished"])
def test_dictionary_learning_loads_a_run(root, tmp_path, x, load_theirs, torch, name):
    export(root / name, ExportConfig("dictionary_learning", str(tmp_path / "out")))
    (theirs, config), ours = load_theirs(tmp_path / "out"), load_run(root / name)
    assert type(theirs).__name__ == config["trainer"]["dict_class"] == "AutoEncoder"
    with torch.no_grad():
        x_hat, f = theirs(torch.from_numpy(x), output_features=True)
    np.testing.assert_allclose(f.numpy(), ours.encode(x), **CLOSE)
    np.testing.assert_allclose(x_hat.numpy(), ours.decode(ours.encode(x)), **CLOSE)


def test_dictionary_learning_changes_no_dictionary_whose_rows_have_any_norm(tmp_path, load_theirs, torch):
    params = random_params(norm=None)
    params["W_dec"][4] = 0
    WRITERS["dictionary_learning"](tmp_path, ExportedSAE("relu", params))
    theirs, _ = load_theirs(tmp_path)
    with torch.no_grad():
        f = theirs.encode(torch.from_numpy(X))
        x_hat = theirs.decode(f)
    np.testing.assert_allclose(f.numpy(), features(params, X), **CLOSE)
    np.testing.assert_allclose(x_hat.numpy(), reconstructions(params, X), **CLOSE)


def test_safetensors_reads_the_plain_file(tmp_path):
    from safetensors.numpy import load_file

    params = random_params()
    WRITERS["safetensors"](tmp_path, ExportedSAE("relu", params))
    found = load_file(tmp_path / "dictionary.safetensors")
    WRITERS["numpy"](tmp_path, ExportedSAE("relu", params))
    assert json.loads((tmp_path / "dictionary.json").read_text())["site"] is None
    for name, value in params.items():
        np.testing.assert_array_equal(found[name], value)
