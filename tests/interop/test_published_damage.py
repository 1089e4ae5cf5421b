"""Folders of published dictionaries that are damaged, hostile, or of something else: one line each, nothing is run."""

import json
import os
import pathlib
import pickle
import shutil
import zipfile

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from monosem_jax import load_run
from monosem_jax.interop.readers import READERS, common, read_folder
from monosem_jax.runtime.errors import BadInput

HERE = pathlib.Path(__file__).parent / "published"
GEMMA = HERE / "gemma-scope-2b-pt-res" / "layer_12" / "width_16k" / "average_l0_71"
GEMMA_2 = HERE / "gemma-scope-2-1b-pt"
LEARNING, SPARSIFY = HERE / "dictionary_learning_BatchTopKSAE", HERE / "sparsify" / "layers.3"
OPENAI = HERE / "openai" / "resid_post_mlp_v5_32k" / "autoencoders"
SCALED, WHITENED = HERE / "saelens_checkpoint_scaled", HERE / "saelens_checkpoint_whitened"


def refusal(folder: pathlib.Path, site: str | None = None) -> str:
    with pytest.raises(BadInput) as e:
        read_folder(folder, site)
    assert "\n" not in str(e.value) and len(str(e.value)) < 1000
    return str(e.value)


def copied(folder: pathlib.Path, to: pathlib.Path) -> pathlib.Path:
    return pathlib.Path(shutil.copytree(folder, to))


def with_json(folder: pathlib.Path, to: pathlib.Path, name: str, **changes) -> pathlib.Path:
    """A copy with other values in a JSON file; "trainer.k" is inside of an object, ... takes a key away."""
    folder = copied(folder, to)
    values = json.loads((folder / name).read_text())
    for key, value in changes.items():
        *sections, last = key.split("__")
        inner = values
        for each in sections:
            inner = inner[each]
        inner.pop(last, None)
        if value is not ...:
            inner[last] = value
    (folder / name).write_text(json.dumps(values))
    return folder


def with_tensors(folder: pathlib.Path, to: pathlib.Path, name: str, **changes) -> pathlib.Path:
    """A copy with other tensors; ... takes one away. "." in a name is written as __."""
    folder = copied(folder, to)
    tensors = load_file(folder / name)
    for key, value in changes.items():
        tensors.pop(key.replace("__", "."), None)
        if value is not ...:
            tensors[key.replace("__", ".")] = value
    save_file(tensors, folder / name)
    return folder


# Values in JSON files, and what is said of them.
VALUES = {
    "another class": (LEARNING, "config.json", {"trainer__dict_class": "IdentityDict"}, "expected one of AutoEncoder,"),
    "no trainer": (LEARNING, "config.json", {"trainer": 3}, "trainer is 3: expected an object"),
    "no width": (LEARNING, "config.json", {"trainer__activation_dim": None}, "activation_dim is None: expected"),
    "wrong width": (LEARNING, "config.json", {"trainer__activation_dim": 7}, "has shape [9, 6]: expected [9, 7]"),
    "another submodule": (
        LEARNING, "config.json", {"trainer__submodule_name": "q_proj"}, "submodule_name is 'q_proj': give --site, or"
    ),
    "groups": (SPARSIFY, "cfg.json", {"activation": "groupmax"}, "activation is 'groupmax': expected one of topk"),
    "signed": (SPARSIFY, "cfg.json", {"signed": True}, "signed is True: it cannot be imported exactly"),
    "a table beside it": (SPARSIFY, "cfg.json", {"gram_lookup": True}, "gram_lookup is True"),
    "too many": (SPARSIFY, "cfg.json", {"k": 13}, "k is 13: expected a whole number from 1 to its num"),
    "skip": (SPARSIFY, "cfg.json", {"skip_connection": True}, "skip_connection is True without transcode"),
    "latents": (SPARSIFY, "cfg.json", {"num_latents": 10}, "encoder.weight has shape [12, 6]: expected [10, 6]"),
    "no factor": (SCALED, "activation_scaler.json", {"scaling_factor": "1"}, "scaling_factor is '1': expected a posi"),
    "negative factor": (SCALED, "activation_scaler.json", {"scaling_factor": -1.0}, "is -1.0: expected a positive num"),
    "huge factor": (SCALED, "activation_scaler.json", {"scaling_factor": 10**400}, "scaling_factor is"),
    "other architecture": (
        GEMMA_2 / "resid_post" / "layer_13_width_16k_l0_small", "config.json", {"architecture": "relu"},
        "architecture is 'relu': expected one of jump_relu",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", VALUES)
def test_values_that_are_not_known_are_refused(tmp_path, what):
    folder, name, changes, message = VALUES[what]
    assert message in refusal(with_json(folder, tmp_path / folder.name, name, **changes))


BAD = np.full((9,), np.nan, np.float32)
TENSORS = {
    "NaN": (LEARNING, "ae.safetensors", {"encoder__bias": BAD}, "9 of the 9 numbers in b_enc are not finite"),
    "one missing": (LEARNING, "ae.safetensors", {"b_dec": ...}, "holds no tensor b_dec"),
    "one more": (LEARNING, "ae.safetensors", {"extra": BAD}, "holds a tensor 'extra': expected encoder.weight"),
    "many thresholds": (LEARNING, "ae.safetensors", {"threshold": BAD}, "threshold has shape [9]: expected []"),
    "whole numbers": (SPARSIFY, "sae.safetensors", {"b_dec": np.zeros(6, np.int32)}, "b_dec has dtype I32: expected"),
    "not skipping": (SPARSIFY, "sae.safetensors", {"W_skip": np.zeros((6, 6), "f4")}, "holds a tensor 'W_skip'"),
    "whitened by NaN": (WHITENED, "activation_whitening.safetensors", {"mean": np.full(6, np.inf)}, "are not finite"),
    "whitened otherwise": (WHITENED, "activation_whitening.safetensors", {"mean": np.zeros(5)}, "mean has shape [5]"),
    "of many layers": (
        GEMMA_2 / "resid_post" / "layer_13_width_16k_l0_small", "params.safetensors",
        {"w_dec": np.zeros((9, 2, 6), "f4")}, "is a cross-layer transcoder, with a decoder for each layer",
    ),
    "no encoder": (
        GEMMA_2 / "resid_post" / "layer_13_width_16k_l0_small", "params.safetensors", {"w_enc": ...},
        "expected w_enc [M, F], b_dec [M] and others",
    ),
    "a flat encoder": (OPENAI, "6.safetensors", {"encoder__weight": BAD}, "encoder.weight has shape [9]: expected"),
    "no metadata, so ReLU": (OPENAI, "6.safetensors", {"latent_bias": BAD}, "9 of the 9 numbers in b_enc are not fin"),
}  # fmt: skip


@pytest.mark.parametrize("what", TENSORS)
def test_tensors_that_are_not_known_are_refused(tmp_path, what):
    folder, name, changes, message = TENSORS[what]
    assert message in refusal(with_tensors(folder, tmp_path / folder.name, name, **changes))


WEIGHTS = {
    "saelens": (HERE / "saelens_topk", "sae_weights.safetensors"), "sparsify": (SPARSIFY, "sae.safetensors"),
    "gemma_scope": (GEMMA, "params.npz"), "dictionary_learning": (LEARNING, "ae.safetensors"),
    "openai": (OPENAI, "6.safetensors"),
}  # fmt: skip


@pytest.mark.parametrize("form", READERS)
@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_a_file_cut_short_is_refused(tmp_path, form, keep):
    folder, name = WEIGHTS[form]
    folder = copied(folder, tmp_path / folder.name)
    (folder / name).write_bytes((folder / name).read_bytes()[:keep])
    told = refusal(folder)
    assert "is not a readable" in told or (form == "openai" and "is no published dictionary" in told)


class Trap:
    """Unpickled, it makes a file."""

    def __init__(self, path: pathlib.Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize(("form", "name"), [("dictionary_learning", "ae.pt"), ("openai", "6.pt")])
def test_a_pickle_is_refused_with_the_line_that_converts_it(tmp_path, form, name):
    folder, weights = WEIGHTS[form]
    folder = copied(folder, tmp_path / folder.name)
    (folder / weights).unlink()
    (folder / name).write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    told = refusal(folder)
    assert f"{name} is a pickle, which is not opened because such files can run code" in told
    assert 'python -c "import torch; ' in told and f"make {weights} with PyTorch" in told
    assert not (tmp_path / "sprung").exists()


def test_objects_in_an_archive_are_refused(tmp_path):
    folder = copied(GEMMA, tmp_path / "layer_1")
    with np.load(folder / "params.npz") as found:
        arrays = dict(found)
    trap = np.array([Trap(tmp_path / "sprung")], dtype=object)
    np.savez(folder / "params.npz", **{**arrays, "threshold": trap})
    assert "threshold holds Python objects, which can run code" in refusal(folder)
    assert not (tmp_path / "sprung").exists()
    np.savez(folder / "params.npz", **{**arrays, "threshold": np.zeros(9, np.int64)})
    assert "threshold holds numbers of type int64: expected float16, float32, float64" in refusal(folder)
    np.savez(folder / "params.npz", **arrays, other=np.zeros(3))
    assert "holds 'other.npy': expected arrays W_enc, b_enc, W_dec, b_dec, threshold" in refusal(folder)
    np.savez(folder / "params.npz", **{n: a for n, a in arrays.items() if n != "threshold"})
    assert "holds W_dec, W_enc, b_dec, b_enc: expected W_enc, b_enc, W_dec, b_dec, threshold" in refusal(folder)
    np.savez(folder / "params.npz", **{**arrays, "threshold": np.zeros(8, np.float32)})
    assert "threshold has shape [8]: expected [9]" in refusal(folder)
    np.savez(folder / "params.npz", **{**arrays, "b_dec": np.float32(3)})
    assert "b_dec has shape []: expected [M]" in refusal(folder)


def test_an_entry_that_promises_more_than_it_has_is_refused(tmp_path):
    folder = copied(GEMMA, tmp_path / "layer_1")
    with np.load(folder / "params.npz") as found:
        arrays = dict(found)
    head = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 1000000000), }"
    entry = b"\x93NUMPY\x01\x00" + (len(head) + 1).to_bytes(2, "little") + head + b"\n" + bytes(64)
    np.savez(folder / "params.npz", **{n: a for n, a in arrays.items() if n != "W_enc"})
    with zipfile.ZipFile(folder / "params.npz", "a") as archive:
        archive.writestr("W_enc.npy", entry)
    assert "W_enc of shape [1000000000, 1000000000] would have 4000000000000000" in refusal(folder)


def test_what_is_no_folder_of_a_dictionary_says_what_was_looked_for(tmp_path, monkeypatch):
    told = refusal(tmp_path)
    assert all(f"{name}: {reader.files}" in told for name, reader in READERS.items())
    (tmp_path / "model.bin").write_bytes(b"\x80\x02.")
    assert "is no published dictionary (model.bin is a pickle, which is not opened" in refusal(tmp_path)
    assert "is not a folder" in refusal(tmp_path / "model.bin")
    assert "holds 3 dictionaries: give one, h.2.attn, layers.3, layers.3.mlp" in refusal(HERE / "sparsify")
    with pytest.raises(BadInput, match="holds 3 dictionaries: give one"):
        load_run(HERE / "sparsify")
    with pytest.raises(BadInput, match="is not a run directory"):
        load_run(tmp_path)
    monkeypatch.setattr(common, "MAX_BYTES", 10)
    assert "bytes: expected at most 10" in refusal(LEARNING)


def test_a_folder_that_does_not_name_its_site_takes_the_one_given(tmp_path):
    folder = copied(GEMMA, tmp_path / "somewhere")
    assert read_folder(folder).site is None and read_folder(folder, "resid_post.7").site == "resid_post.7"
    apart = copied(SPARSIFY, tmp_path / "layers.3.q_proj")
    assert "'layers.3.q_proj' is of a module without a site of ours: give --site" in refusal(apart)
    assert read_folder(apart, "attn_out.3").site == "attn_out.3"
    between = copied(
        HERE / "gemma-scope-2b-pt-transcoders" / "layer_14" / "width_16k" / "average_l0_71", tmp_path / "t"
    )
    assert "reads 6 numbers and gives 4, like a transcoder: give --site" in refusal(between)
    assert read_folder(between, "mlp_in.2+mlp_out.2").architecture == "transcoder"


def test_factors_of_finetuning_are_multiplied_into_the_decoder(tmp_path):
    plain = read_folder(HERE / "saelens_standard")
    factor = np.linspace(0.5, 2, 9).astype(np.float32)
    folder = with_tensors(HERE / "saelens_standard", tmp_path / "f", "sae_weights.safetensors", scaling_factor=factor)
    assert "scaling_factor is not 1 everywhere, but finetuning_scaling_factor of cfg.json is not true" in refusal(
        folder
    )
    tuned = read_folder(with_json(folder, tmp_path / "g", "cfg.json", finetuning_scaling_factor=True))
    np.testing.assert_array_equal(tuned.params["W_dec"], plain.params["W_dec"] * factor[:, None])
    np.testing.assert_array_equal(tuned.params["W_enc"], plain.params["W_enc"])


def test_a_factor_of_before_version_6_is_in_the_state_of_the_store(tmp_path):
    whole = read_folder(SCALED)
    folder = copied(SCALED, tmp_path / "f")
    factor = json.loads((folder / "activation_scaler.json").read_text())["scaling_factor"]
    (folder / "activation_scaler.json").unlink()
    assert "but the folder does not hold the factor" in refusal(folder)
    state = {
        "estimated_norm_scaling_factor": np.float64(factor).reshape(()),
        "n_dataset_processed": np.int64(7).reshape(()),
    }
    save_file({n: np.asarray(v) for n, v in state.items()}, folder / "activations_store_state.safetensors")
    found = read_folder(folder)
    for name, value in whole.params.items():
        np.testing.assert_array_equal(found.params[name], value)
    assert found.files[-1].name == "activations_store_state.safetensors"
