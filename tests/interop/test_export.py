"""An export equals the dictionary: read back using only the format's description, it gives the same numbers."""

import json
import pathlib
import pickletools
import shutil

import numpy as np
import pytest

from monosem_jax import load_run
from monosem_jax.interop import WRITERS
from monosem_jax.interop import torch_pickle as torch_file
from monosem_jax.interop.exported import ExportedSAE
from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae.run import SaeRun
from monosem_jax.stages import export as stage
from monosem_jax.stages.export import ExportConfig
from tests.activations.sources.tiny import STEPS, F, M
from tests.interop import torch_pt
from tests.interop.small import (
    FEATURES,
    MEMBERS,
    SITE,
    WIDTH,
    features,
    parse_safetensors,
    random_params,
    reconstructions,
)

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
NAMES = ("W_enc", "b_enc", "W_dec", "b_dec")


def export(workdir, output, form="numpy", **changes) -> pathlib.Path:
    stage.export(workdir, ExportConfig(form, str(output), **changes))
    return output


def read_saelens(folder):
    return parse_safetensors(folder / "sae_weights.safetensors")[0]


def read_dictionary_learning(folder):
    found = torch_pt.read(folder / "ae.pt")
    if json.loads((folder / "config.json").read_text())["trainer"]["dict_class"] == "AutoEncoder":
        ours = {"W_enc": "encoder.weight", "b_enc": "encoder.bias", "W_dec": "decoder.weight", "b_dec": "bias"}
        assert set(found) == set(ours.values())
        return {name: found[theirs].T for name, theirs in ours.items()}
    # Its AutoEncoderNew: f = relu(W x + b), with nothing taken from x.
    shifted = found["encoder.bias"] + found["decoder.bias"].astype("f8") @ found["encoder.weight"].T
    weights = {"W_enc": found["encoder.weight"].T, "W_dec": found["decoder.weight"].T}
    return {**weights, "b_enc": shifted, "b_dec": found["decoder.bias"]}


def read_plain(folder):
    return parse_safetensors(folder / "dictionary.safetensors")[0]


def read_numpy(folder):
    return {name: np.load(folder / f"{name}.npy", allow_pickle=False) for name in NAMES}


READERS = {
    "saelens": read_saelens, "dictionary_learning": read_dictionary_learning, "safetensors": read_plain,
    "numpy": read_numpy,
}  # fmt: skip


def test_every_format_is_tested():
    assert READERS.keys() == WRITERS.keys()


@pytest.mark.parametrize("form", READERS)
@pytest.mark.parametrize("name", ["sae", "unfinished"])
def test_features_and_reconstructions_are_those_of_the_run_for_raw_activations(root, tmp_path, x, form, name):
    sae = load_run(root / name)
    assert json.loads((root / name / "input.json").read_text())["input_scale"] > 1.5  # so that folding it matters
    found = READERS[form](export(root / name, tmp_path / "out", form))
    assert found.keys() == set(NAMES) and found["W_enc"].shape == (M, F)
    np.testing.assert_allclose(features(found, x), sae.encode(x), **CLOSE)
    np.testing.assert_allclose(reconstructions(found, x), sae.decode(sae.encode(x)), **CLOSE)


@pytest.mark.parametrize("form", READERS)
def test_a_dictionary_whose_rows_have_any_norm_is_written_exactly(tmp_path, form):
    params = random_params(norm=None)
    params["W_dec"][4] = 0
    WRITERS[form](tmp_path, ExportedSAE("relu", params))
    x = np.random.default_rng(1).standard_normal((50, WIDTH))
    found = READERS[form](tmp_path)
    np.testing.assert_allclose(features(found, x), features(params, x), **CLOSE)
    np.testing.assert_allclose(reconstructions(found, x), reconstructions(params, x), **CLOSE)


def test_dictionary_learning_divides_by_norms_so_that_it_gets_its_other_class_unless_they_are_one(tmp_path):
    classes = []
    for norm in (1.0, 1 + 3e-6, 1 + 2e-5, None):
        folder = tmp_path / str(norm)
        folder.mkdir()
        WRITERS["dictionary_learning"](folder, ExportedSAE("relu", random_params(norm=norm)))
        classes.append(json.loads((folder / "config.json").read_text())["trainer"]["dict_class"])
    assert classes == ["AutoEncoder", "AutoEncoder", "AutoEncoderNew", "AutoEncoderNew"]


@pytest.mark.parametrize("step", [-1, 0, 8])
def test_the_newest_or_the_given_step_is_written(root, tmp_path, step):
    folder = export(root / "sae", tmp_path / "out", step=step)
    expected = load_run(root / "sae", STEPS if step < 0 else step)
    np.testing.assert_array_equal(np.load(folder / "W_enc.npy"), expected.params["W_enc"])
    assert json.loads((folder / "dictionary.json").read_text())["step"] == expected._step


def test_saelens_is_told_what_it_needs(root, tmp_path):
    cfg = json.loads((export(root / "sae", tmp_path / "out", "saelens") / "cfg.json").read_text())
    assert cfg == {
        "architecture": "standard", "d_in": M, "d_sae": F, "dtype": "float32", "device": "cpu",
        "apply_b_dec_to_input": True, "normalize_activations": "none", "reshape_activations": "none",
        "metadata": {
            "sae_lens_version": "6.0.0", "model_name": "transformer", "hook_name": "blocks.0.mlp.hook_post",
            "context_size": 16, "prepend_bos": True,
        },
    }  # fmt: skip


def test_how_often_features_fire_is_written_for_the_last_step_of_a_finished_run_only(root, tmp_path):
    folder = export(root / "sae", tmp_path / "out", "saelens")
    density = np.load(root / "sae" / "density.npy")
    expected = [np.log10(d) if d > 0 else -10 for d in density]
    np.testing.assert_allclose(parse_safetensors(folder / "sparsity.safetensors")[0]["sparsity"], expected, rtol=1e-6)
    for name, step in (("sae", 8), ("unfinished", -1)):
        folder = export(root / name, tmp_path / f"{name}{step}", "saelens", step=step)
        assert sorted(p.name for p in folder.iterdir()) == ["cfg.json", "sae_weights.safetensors"]


def test_a_feature_that_never_fired_has_the_lowest_sparsity_that_saelens_writes(tmp_path):
    WRITERS["saelens"](tmp_path, ExportedSAE("relu", random_params(), density=np.asarray([0.0, 0.1] + [1.0] * 7)))
    sparsity = parse_safetensors(tmp_path / "sparsity.safetensors")[0]["sparsity"]
    np.testing.assert_allclose(sparsity, [-10, -1] + [0] * 7, atol=1e-6)


def test_the_plain_formats_say_what_they_hold(root, tmp_path):
    metadata = parse_safetensors(export(root / "sae", tmp_path / "a", "safetensors") / "dictionary.safetensors")[1]
    described = json.loads((export(root / "sae", tmp_path / "b") / "dictionary.json").read_text())
    assert described["architecture"] == "relu" and described["site"] == SITE
    assert described["format"] == "monosem_jax dictionary 1"
    assert described["activation"] == "relu" and described["centred"] is True and described["k"] is None
    known = {name: value for name, value in described.items() if value is not None}
    assert metadata == {name: v if isinstance(v, str) else json.dumps(v) for name, v in known.items()}


def test_what_is_not_known_is_not_told(tmp_path):
    for form, write in WRITERS.items():
        (tmp_path / form).mkdir()
        write(tmp_path / form, ExportedSAE("relu", random_params()))
    cfg = json.loads((tmp_path / "saelens" / "cfg.json").read_text())
    assert cfg["metadata"] == {"sae_lens_version": "6.0.0"}
    trainer = json.loads((tmp_path / "dictionary_learning" / "config.json").read_text())["trainer"]
    assert trainer["layer"] is None and trainer["lm_name"] is None
    assert set(parse_safetensors(tmp_path / "safetensors" / "dictionary.safetensors")[1]) == {
        "format", "architecture", "activation", "centred", "n_features", "width",
    }  # fmt: skip


def test_a_transformer_that_is_gone_is_no_obstacle(root, tmp_path, capsys):
    shutil.copytree(root / "sae", tmp_path / "deep" / "sae")
    record = json.loads((tmp_path / "deep" / "sae" / "config.json").read_text())
    record["parents"]["transformer"] |= {"path": "/nowhere/model_c", "relative": "../nowhere"}
    (tmp_path / "deep" / "sae" / "config.json").write_text(json.dumps(record))
    metadata = json.loads((export(tmp_path / "deep" / "sae", tmp_path / "out", "saelens") / "cfg.json").read_text())
    assert metadata["metadata"]["model_name"] == "model_c" and "context_size" not in metadata["metadata"]
    assert "does not exist any more" in capsys.readouterr().out


@pytest.mark.parametrize("form", READERS)
def test_of_a_sweep_every_member_with_a_checkpoint_is_written(root, tmp_path, form, capsys):
    out = export(root / "sweep", tmp_path / "out", form)
    assert sorted(p.name for p in out.iterdir()) == sorted(MEMBERS)
    for name in MEMBERS:
        params = load_run(root / "sweep" / "members" / name).params
        np.testing.assert_allclose(READERS[form](out / name)["W_dec"], params["W_dec"])
    assert "begun: left out, it has no checkpoint yet" in capsys.readouterr().out


def test_the_same_dictionary_gives_the_same_bytes(root, tmp_path):
    for form in WRITERS.keys() - {"safetensors"}:  # its library writes metadata in any order
        a, b = (export(root / "sae", tmp_path / f"{form}{i}", form) for i in "ab")
        assert [p.read_bytes() for p in sorted(a.iterdir())] == [p.read_bytes() for p in sorted(b.iterdir())]


def test_large_arrays_are_written_in_blocks_and_with_sizes_of_64_bits(tmp_path, monkeypatch):
    monkeypatch.setattr(torch_file, "BLOCK", 100)
    monkeypatch.setattr(torch_file, "ZIP32", 100)
    arrays = {"a": np.arange(210, dtype=np.float32).reshape(30, 7).T, "b": np.float32([1, 2])}
    torch_file.save(tmp_path / "x.pt", arrays)
    for name, value in torch_pt.read(tmp_path / "x.pt").items():
        np.testing.assert_array_equal(value, arrays[name])


@pytest.mark.parametrize("value", [0, 1, 127, 128, 255, 256, 1 << 31, (1 << 40) + 5])
def test_whole_numbers_of_any_size_are_written(value):
    assert next(a for _, a, _ in pickletools.genops(torch_file._integer(value) + b".")) == value


# Refusals


def message(workdir, output, form="numpy", **changes) -> str:
    with pytest.raises(BadInput) as e:
        stage.export(workdir, ExportConfig(form, str(output), **changes))
    assert "\n" not in str(e.value)
    return str(e.value)


def test_nothing_is_overwritten(root, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine").write_text("precious")
    (tmp_path / "file").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    for name in ("folder", "file", "link"):
        assert "exists and is not an empty folder" in message(root / "sae", tmp_path / name)
    assert (tmp_path / "folder" / "mine").read_text() == (tmp_path / "file").read_text() == "precious"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder", "link"]


def test_an_empty_folder_and_folders_that_are_not_there_are_taken(root, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    assert (export(root / "sae", tmp_path / "link") / "W_enc.npy").exists()
    assert (export(root / "sae", tmp_path / "a" / "b") / "W_enc.npy").exists()


def test_a_folder_appears_whole_or_not_at_all(root, tmp_path, monkeypatch):
    def fail(folder, dictionary):
        (folder / "half").write_text("")
        assert not (tmp_path / "out").exists()
        raise OSError("the disk broke")

    monkeypatch.setitem(WRITERS, "numpy", fail)
    with pytest.raises(OSError, match="the disk broke"):
        export(root / "sae", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_who_is_slower_loses_and_leaves_nothing(root, tmp_path, monkeypatch):
    def slow(folder, dictionary):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "theirs").write_text("")

    monkeypatch.setitem(WRITERS, "numpy", slow)
    assert "cannot be written" in message(root / "sae", tmp_path / "out")
    assert [p.name for p in tmp_path.rglob("*")] == ["out", "theirs"]


def test_exports_that_cannot_be_are_refused(root, tmp_path):
    out = tmp_path / "out"
    assert "--format is 'gguf': expected one of saelens, dict" in message(root / "sae", out, "gguf")
    assert "--output is missing" in message(root / "sae", "")
    assert "expected a path on this machine" in message(root / "sae", "s3://bucket/x")
    assert "holds no checkpoint of step 5" in message(root / "sae", out, step=5)
    assert "holds no checkpoint of step 5" in message(root / "sweep", out, step=5)
    assert "is a run of train_transformer" in message(root / "transformer", out)
    assert "it holds no config.json" in message(tmp_path, out)
    assert "--site is given without --import" in message(root / "sae", out, site=SITE)
    (tmp_path / "file").write_text("")
    assert "cannot be written" in message(root / "sae", tmp_path / "file" / "out")
    assert not out.exists()


def test_a_run_without_a_checkpoint_is_refused(root, tmp_path):
    assert "holds no checkpoint yet" in message(root / "sweep" / "members" / "begun", tmp_path / "out")
    shutil.copytree(root / "sweep" / "members" / "begun", tmp_path / "sweep" / "members" / "begun")
    shutil.copy(root / "sweep" / "config.json", tmp_path / "sweep")
    assert "holds no member with a checkpoint yet" in message(tmp_path / "sweep", tmp_path / "out")


def test_weights_that_are_not_finite_are_refused(root, tmp_path, monkeypatch):
    params = load_run(root / "sae").params
    params["b_enc"] = np.where(np.arange(F) == 3, np.nan, params["b_enc"])
    monkeypatch.setattr(SaeRun, "params", params)
    assert "1 of the 32 numbers in b_enc are not finite" in message(root / "sae", tmp_path / "out")


def test_an_architecture_that_a_program_lacks_is_refused(tmp_path):
    strange = ExportedSAE("crosscoder", random_params())
    for form in ("saelens", "dictionary_learning"):
        with pytest.raises(BadInput, match=r"is written for sae\.architecture relu, .*, and this one is crosscoder"):
            WRITERS[form](tmp_path, strange)
    WRITERS["numpy"](tmp_path, strange)
    assert np.load(tmp_path / "b_enc.npy").shape == (FEATURES,)


def test_names_of_members_lead_nowhere_else(root, tmp_path):
    """A name that looks like a path, and members that are links: nothing is written outside the output."""
    names = ("..%2f..", "-rf ~", "a\nb", "$(touch x)")
    for name in names:
        shutil.copytree(root / "unfinished", tmp_path / "sweep" / "members" / name)
    (tmp_path / "sweep" / "members" / "linked").symlink_to(root / "sae")
    shutil.copy(root / "sweep" / "config.json", tmp_path / "sweep")
    before = {p for p in root.rglob("*")}
    out = export(tmp_path / "sweep", tmp_path / "out")
    assert {p.name for p in out.iterdir()} == {*names, "linked"}
    assert not any(p.is_symlink() for p in out.rglob("*"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "sweep"] and {p for p in root.rglob("*")} == before
