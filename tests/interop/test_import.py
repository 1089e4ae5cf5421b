"""A folder of SAELens becomes a run directory, if it is exactly a dictionary of ours; anything else is refused."""

import json
import os
import pathlib

import jax.numpy as jnp
import numpy as np
import pytest

from monosem_jax import load_run
from monosem_jax.analysis.metrics import EvaluateConfig
from monosem_jax.interop import saelens
from monosem_jax.interop.readers import common
from monosem_jax.models.base import SITES
from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae.run import SaeRun
from monosem_jax.stages import analyze, evaluate
from monosem_jax.stages.export import ExportConfig, export
from tests.activations.sources.tiny import F, M
from tests.interop.small import (
    FEATURES,
    SITE,
    WIDTH,
    features,
    packed,
    random_params,
    reconstructions,
    safetensors_bytes,
    write_folder,
)

FEW = EvaluateConfig(contexts=8, batch_contexts=8)


def take(folder: pathlib.Path, workdir: pathlib.Path, **changes) -> SaeRun:
    export(workdir, ExportConfig(source=str(folder), **changes))
    return load_run(workdir)


def refused(folder: pathlib.Path, workdir: pathlib.Path, **changes) -> str:
    with pytest.raises(BadInput) as e:
        export(workdir, ExportConfig(source=str(folder), **changes))
    assert not workdir.exists() and "\n" not in str(e.value) and len(str(e.value)) < 600
    return str(e.value)


@pytest.fixture(scope="module")
def exported(root, tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("exported") / "saelens"
    export(root / "sae", ExportConfig("saelens", str(folder)))
    return folder


@pytest.fixture(scope="module")
def imported(root, exported, tmp_path_factory) -> SaeRun:
    """With its transformer, and the site that the folder names."""
    path = tmp_path_factory.mktemp("imported") / "run"
    return take(exported, path, transformer=str(root / "transformer"))


def test_there_and_back_changes_no_bit(root, imported, x):
    ours = load_run(root / "sae")
    for name, value in ours.params.items():
        assert imported.params[name].dtype == np.float32
        np.testing.assert_array_equal(imported.params[name], value)
    np.testing.assert_array_equal(imported.encode(x), ours.encode(x))
    np.testing.assert_array_equal(imported.decode(ours.encode(x)), ours.decode(ours.encode(x)))


def test_an_imported_run_is_a_dictionary_run(root, exported, imported):
    assert isinstance(imported, SaeRun) and imported.experiment == "import" and imported.steps == [0]
    assert imported.site == SITE and imported.transformer.path.samefile(root / "transformer")
    assert imported.config["sae"] == {"architecture": "relu", "n_features": F}
    assert imported.parent("source").samefile(exported)
    assert load_run(imported.path, 0).steps == [0]
    assert imported.published and json.loads((imported.path / "input.json").read_text())["published"] is True


def test_figures_are_those_of_the_run_that_was_exported(root, imported):
    theirs = load_run(root / "sae").summary
    for name in ("ce_reconstructed", "mse", "l0", "variance_explained", "dead", "n_features"):
        assert imported.summary[name] == pytest.approx(theirs[name], rel=1e-5, abs=1e-6)
    np.testing.assert_allclose(np.load(imported.path / "density.npy"), np.load(root / "sae" / "density.npy"))


def test_evaluate_and_analyze_take_it(root, imported, tmp_path):
    found = evaluate.evaluate(tmp_path / "eval", evaluate.EvaluateRunConfig(str(imported.path), evaluate=FEW))
    expected = evaluate.evaluate(tmp_path / "ours", evaluate.EvaluateRunConfig(str(root / "sae"), evaluate=FEW))
    assert found["l0"] == expected["l0"] and found["ce_reconstructed"] == expected["ce_reconstructed"]
    few = {"n_features": 4, "training_contexts": 16, "random_directions": 0, "without": ("judge", "probes", "effects")}
    config = analyze.AnalyzeRunConfig(run=str(imported.path), **few)
    assert analyze.analyze(tmp_path / "analysis", config)["scanned_tokens"] > 0


def test_without_a_transformer_nothing_is_measured(exported, tmp_path):
    found = take(exported, tmp_path / "run")
    assert found.summary == {"n_features": F} and found.site == SITE
    assert not (found.path / "density.npy").exists()
    path = str(found.path)
    configs = {evaluate.evaluate: evaluate.EvaluateRunConfig(path), analyze.analyze: analyze.AnalyzeRunConfig(run=path)}
    for stage, config in configs.items():
        with pytest.raises(BadInput, match="was imported without a transformer: import it again with --transformer"):
            stage(tmp_path / "other", config)


def test_a_finished_import_does_nothing_and_another_is_refused(exported, imported, tmp_path, capsys):
    before = (imported.path / "summary.json").read_bytes()
    transformer = str(imported.transformer.path)
    take(exported, imported.path, transformer=transformer)
    assert "is finished: nothing to do" in capsys.readouterr().out
    assert (imported.path / "summary.json").read_bytes() == before
    with pytest.raises(BadInput, match="belongs to another configuration"):
        take(write_folder(tmp_path / "f", random_params(), d_in=WIDTH), imported.path)


def test_an_import_is_bound_to_both_files(tmp_path):
    params, run_path = random_params(), tmp_path / "run"
    take(write_folder(tmp_path / "f", params), run_path)
    for other, changes in (({**params, "b_enc": params["b_dec"][[0] * FEATURES]}, {}), (params, {"dtype": "float16"})):
        with pytest.raises(BadInput, match=r"belongs to another configuration \(parents\.source"):
            take(write_folder(tmp_path / "f", other, **changes), run_path)
    take(write_folder(tmp_path / "f", params), run_path)


def test_an_import_that_was_cut_short_goes_on(exported, tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("monosem_jax.stages.published.write_json", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt()))
        take(exported, tmp_path / "run")
    assert load_run(tmp_path / "run").summary is None
    assert take(exported, tmp_path / "run").summary == {"n_features": F}


def test_it_can_be_exported_again(exported, tmp_path):
    take(exported, tmp_path / "run")
    export(tmp_path / "run", ExportConfig("saelens", str(tmp_path / "again")))
    both = [f / "sae_weights.safetensors" for f in (exported, tmp_path / "again")]
    assert both[0].read_bytes() == both[1].read_bytes()


X = np.random.default_rng(2).standard_normal((40, WIDTH)).astype(np.float32)


@pytest.mark.parametrize("norm", [1.0, None])
def test_norms_of_rows_stay_as_they_are(tmp_path, norm):
    params = random_params(norm=norm)
    found = take(write_folder(tmp_path / "f", params), tmp_path / "run")
    np.testing.assert_array_equal(found.params["W_dec"], params["W_dec"])
    np.testing.assert_allclose(found.encode(X), features(params, X), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.decode(found.encode(X)), reconstructions(params, X), rtol=1e-5, atol=1e-5)


def test_a_bias_that_is_not_taken_from_the_input_is_folded(tmp_path):
    params = random_params(norm=None)
    found = take(write_folder(tmp_path / "f", params, apply_b_dec_to_input=False), tmp_path / "run")
    p = {name: value.astype(np.float64) for name, value in params.items()}
    expected = np.maximum(X @ p["W_enc"] + p["b_enc"], 0)
    assert np.abs(expected - features(params, X)).max() > 0.1
    np.testing.assert_allclose(found.encode(X), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.decode(expected), expected @ p["W_dec"] + p["b_dec"], rtol=1e-5, atol=1e-5)


def rounded(params, dtype):
    return {name: np.asarray(jnp.asarray(p).astype(dtype).astype(jnp.float32)) for name, p in params.items()}


@pytest.mark.parametrize("stored", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "torch.bfloat16"])
def test_weights_are_those_that_saelens_would_compute_with(tmp_path, stored, dtype):
    """In the file they are of one type, and on loading SAELens rounds them to the other."""
    exact = rounded(random_params(), {"F32": jnp.float32, "F16": jnp.float16, "BF16": jnp.bfloat16}[stored])
    found = take(write_folder(tmp_path / "f", exact, stored, dtype=dtype), tmp_path / "run")
    expected = rounded(exact, dtype.removeprefix("torch."))
    for name, value in expected.items():
        assert found.params[name].dtype == np.float32
        np.testing.assert_array_equal(found.params[name], value)


def test_folders_of_saelens_before_version_6_are_taken(tmp_path):
    old = {
        "metadata": None, "architecture": None, "normalize_activations": False, "apply_b_dec_to_input": None,
        "hook_point": "blocks.0.hook_resid_pre", "activation_fn_str": "relu", "dtype": "torch.float32",
        "finetuning_scaling_factor": False, "prepend_bos": True,
    }  # fmt: skip
    params = random_params()
    folder = write_folder(tmp_path / "f", params, **old)
    ones = packed({**params, "scaling_factor": np.ones(FEATURES)})
    (folder / "sae_weights.safetensors").write_bytes(safetensors_bytes(ones))
    found = take(folder, tmp_path / "run")
    assert found.site == "resid_pre.0"
    np.testing.assert_allclose(found.encode(X), features(params, X), rtol=1e-5, atol=1e-5)


def test_a_site_that_is_given_stands_before_the_one_in_the_folder(exported, tmp_path):
    assert take(exported, tmp_path / "a", site="mlp_out.0").site == "mlp_out.0"
    assert take(write_folder(tmp_path / "f", random_params()), tmp_path / "b").site is None


def test_every_site_has_a_hook_and_comes_back():
    for i, kind in enumerate(SITES):
        assert saelens.site_of(saelens.hook_name(f"{kind}.{i}")) == f"{kind}.{i}"
    assert saelens.hook_name("mlp_hidden.11") == "blocks.11.mlp.hook_post"
    assert saelens.hook_name("mlp_in.0") == "blocks.0.ln2.hook_normalized"
    others = ("blocks.0.hook_mlp_in", "blocks.0.mlp.hook_post.x", "blocks.00.mlp.hook_post", "hook_embed", 7, None, "")
    assert [saelens.site_of(h) for h in others] == [None] * len(others)


def test_the_transformer_must_fit(root, exported, tmp_path):
    transformer, workdir = str(root / "transformer"), tmp_path / "run"
    narrow = write_folder(tmp_path / "f", random_params())
    assert "does not say which site it explains" in refused(narrow, workdir, transformer=transformer)
    wrong = refused(narrow, workdir, transformer=transformer, site=SITE)
    assert f"is for activations of width {WIDTH}, but {SITE} of" in wrong and wrong.endswith(f"has {M}")
    assert "has 16" in refused(exported, workdir, transformer=transformer, site="mlp_out.0")
    assert "N from 0 to 0" in refused(exported, workdir, transformer=transformer, site="mlp_hidden.1")
    assert "site 'somewhere' does not exist" in refused(exported, workdir, site="somewhere")
    assert "is not a finished train_transformer run" in refused(exported, workdir, transformer=str(root / "sae"))
    assert "--output is given with --import" in refused(exported, workdir, output="x")


# What cannot be imported: changes to cfg.json, and what is said of it.
CFG = {
    "another architecture": ({"architecture": "temporal"}, "architecture is 'temporal': expected one of standard"),
    "no architecture": ({"architecture": None}, "architecture is None"),
    "an architecture of many parts": ({"architecture": ["standard"]}, "architecture is a list of 1"),
    "normalised": (
        {"normalize_activations": "expected_average_only_in"},
        "normalize_activations is 'expected_average_only_in', but the folder does not hold the factor: expected "
        "activation_scaler.json or activations_store_state.safetensors beside it",
    ),
    "normalised, in an old way": (
        {"metadata": None, "normalize_activations": True},
        "is 'expected_average_only_in', but the folder does not",
    ),
    "normalised, in an old way, today": ({"normalize_activations": True}, "normalize_activations is True: expected"),
    "whitened": (
        {"normalize_activations": "covariance_whitening"},
        "but the folder holds no activation_whitening.safetensors",
    ),
    "normalised otherwise": (
        {"normalize_activations": "batch_norm"},
        "is 'batch_norm': expected one of none, expected_average_only_in, covariance_whitening, layer_norm, constant_n",
    ),
    "reshaped": ({"reshape_activations": "hook_q"}, "reshape_activations is 'hook_q': expected one of none, hook_z"),
    "of one head": (
        {"metadata": None, "hook_point": "blocks.0.attn.hook_z", "hook_point_head_index": 3},
        "hook_head_index is 3: a site of ours has all heads together, expected null",
    ),
    "of a hook without a site": (
        {"metadata": {"sae_lens_version": "6.1.0", "hook_name": "blocks.0.attn.hook_pattern"}},
        "hook_name is 'blocks.0.attn.hook_pattern', no site of ours: give --site, or expected one of "
        "blocks.N.hook_resid_pre, blocks.N.attn.hook_z,",
    ),
    "other activation": ({"activation_fn_str": "tanh-relu"}, "activation_fn is 'tanh-relu'"),
    "finetuned, as a number": ({"finetuning_scaling_factor": 0}, "finetuning_scaling_factor is 0"),
    "half a bias": ({"apply_b_dec_to_input": 0.5}, "apply_b_dec_to_input is 0.5: expected true or false"),
    "bias as text": ({"apply_b_dec_to_input": "false"}, "apply_b_dec_to_input is 'false'"),
    "no dtype": ({"dtype": None}, "dtype is None: expected one of bfloat16, float32, float16"),
    "fp64": ({"dtype": "float64"}, "dtype is 'float64'"),
    "dtype of many parts": ({"dtype": {}}, "dtype is a dict of 0"),
    "no d_in": ({"d_in": None}, "d_in is None: expected a whole number of at least 1"),
    "true d_in": ({"d_in": True}, "d_in is True"),
    "negative d_sae": ({"d_sae": -9}, "d_sae is -9"),
    "fractional d_sae": ({"d_sae": 9.0}, "d_sae is 9.0"),
    "large d_sae": ({"d_sae": 10}, "b_dec"),
    "swapped": ({"d_in": FEATURES, "d_sae": WIDTH}, "has shape [6, 9]: expected [9, 6]"),
    "metadata as a list": ({"metadata": [1]}, "`metadata` is an object"),
}


@pytest.mark.parametrize("name", CFG)
def test_a_configuration_that_is_not_ours_is_refused(tmp_path, name):
    changes, message = CFG[name]
    if name == "large d_sae":
        message = "W_enc has shape [6, 9]: expected [6, 10]"
    assert message in refused(write_folder(tmp_path / "f", random_params(), **changes), tmp_path / "run")


def spoilt(name: str, value: float) -> dict:
    params = random_params()
    params[name].flat[-1] = value
    return packed(params)


def without(name: str) -> dict:
    return {k: v for k, v in packed(random_params()).items() if k != name}


GOOD = packed(random_params())
LARGE = {**random_params(), "b_enc": np.full(FEATURES, 3e38, np.float32), "b_dec": np.full(WIDTH, 3e38, np.float32)}
# What cannot be imported: other weights, and what is said of them.
WEIGHTS = {
    "NaN": (spoilt("W_dec", np.nan), "1 of the 54 numbers in W_dec are not finite"),
    "infinity": (spoilt("b_dec", -np.inf), "1 of the 6 numbers in b_dec are not finite"),
    "one missing": (without("b_enc"), "holds no tensor b_enc: it has W_dec, W_enc, b_dec"),
    "none": ({}, "holds no tensor W_enc: it has none"),
    "one more": ({**GOOD, "threshold": GOOD["b_enc"]}, "a tensor 'threshold': expected W_enc, b_enc, W_dec, b_dec"),
    "scaling": (
        packed({**random_params(), "scaling_factor": np.full(FEATURES, 1.5)}),
        "scaling_factor is not 1 everywhere, but finetuning_scaling_factor of cfg.json is not true",
    ),
    "one scaling": (packed({**random_params(), "scaling_factor": np.ones(1)}), "has shape [1]: expected [9]"),
    "flat": ({**GOOD, "W_enc": ("F32", (54,), GOOD["W_enc"][2])}, "W_enc has shape [54]: expected [6, 9]"),
    "fp64": (packed(random_params(), "F64"), "has dtype F64: expected one of BF16, F32, F16"),
    "too few bytes": ({**GOOD, "b_dec": ("F32", (WIDTH,), b"1234")}, "is not a readable .safetensors file"),
}  # fmt: skip


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_that_are_not_ours_are_refused(tmp_path, name):
    tensors, message = WEIGHTS[name]
    folder = write_folder(tmp_path / "f", random_params())
    (folder / "sae_weights.safetensors").write_bytes(safetensors_bytes(tensors))
    assert message in refused(folder, tmp_path / "run")


@pytest.mark.parametrize("changes", [{"dtype": "float16"}, {"apply_b_dec_to_input": False}])
def test_numbers_too_large_for_what_is_to_be_computed_are_refused(tmp_path, changes):
    assert "are not finite" in refused(write_folder(tmp_path / "f", LARGE, **changes), tmp_path / "run")


class Trap:
    """Unpickled, it makes a file."""

    def __init__(self, path: pathlib.Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def pickled(trap: Trap) -> bytes:
    import pickle

    return pickle.dumps(trap)


def test_a_pickle_under_any_name_is_not_run(tmp_path):
    data = pickled(Trap(tmp_path / "sprung"))
    folder = write_folder(tmp_path / "f", random_params())
    weights = folder / "sae_weights.safetensors"
    for content in (data, len(data).to_bytes(8, "little") + data, safetensors_bytes({**GOOD, "x": ("F32", (0,), b"")})):
        weights.write_bytes(content)
        refused(folder, tmp_path / "run")
    weights.unlink()
    (folder / "sae_weights.pt").write_bytes(data)
    assert "sae_weights.pt is not opened, because such files can run code" in refused(folder, tmp_path / "run")
    assert "is not a folder" in refused(folder / "sae_weights.pt", tmp_path / "run")
    weights.mkdir()
    assert "holds no sae_weights.safetensors" in refused(folder, tmp_path / "run")
    assert not (tmp_path / "sprung").exists()
    import pickle

    pickle.loads(data)
    assert (tmp_path / "sprung").exists()  # so that the trap was one


@pytest.mark.parametrize("cut", [0, 7, 8, 100, -1])
def test_a_file_cut_short_is_refused(tmp_path, cut):
    folder = write_folder(tmp_path / "f", random_params())
    weights = folder / "sae_weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:cut])
    assert "is not a readable .safetensors file" in refused(folder, tmp_path / "run")


def test_headers_that_promise_too_much_are_refused(tmp_path):
    folder = write_folder(tmp_path / "f", random_params())
    weights, whole = folder / "sae_weights.safetensors", safetensors_bytes(GOOD)
    deep = b'{"__metadata__":{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}}"
    heads = [(1 << 62).to_bytes(8, "little") + whole[8:], len(deep).to_bytes(8, "little") + deep, whole + b"more"]
    heads.append(whole.replace(b'"shape": [6, 9]', b'"shape": [6, 1 << 9]'[:15]))
    for content in heads:
        weights.write_bytes(content)
        assert "is not a readable .safetensors file" in refused(folder, tmp_path / "run")


BAD_JSON = {
    "a list": ("[]", "is a list of 0: expected an object"),
    "a string": ('"x"', "is 'x': expected an object"),
    "half": ('{"d_in": 6', "is not valid JSON"),
    "bytes": (b"\xff\xfe\x00", "is not valid JSON"),
    "nothing": ("", "is not valid JSON"),
    "nested deeply": ("[" * 200_000 + "]" * 200_000, "is nested too deeply"),
    "nested deeply inside": ('{"a":' * 200_000 + "1" + "}" * 200_000, "is nested too deeply"),
    "a long number": ('{"d_in": ' + "9" * 10_000 + "}", "is not valid JSON"),
}


@pytest.mark.parametrize("name", BAD_JSON)
def test_a_damaged_configuration_is_refused(tmp_path, name):
    content, message = BAD_JSON[name]
    folder = write_folder(tmp_path / "f", random_params())
    (folder / "cfg.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert message in refused(folder, tmp_path / "run")


def test_a_configuration_that_is_not_there_or_no_file_is_refused(tmp_path, monkeypatch):
    folder = write_folder(tmp_path / "f", random_params())
    monkeypatch.setattr(common, "MAX_BYTES", 10)
    assert "bytes: expected at most 10" in refused(folder, tmp_path / "run")
    (folder / "cfg.json").unlink()
    assert "cfg.json cannot be read: No such file" in refused(folder, tmp_path / "run")
    monkeypatch.undo()
    (folder / "cfg.json").mkdir()
    assert "cfg.json cannot be read: Is a directory" in refused(folder, tmp_path / "run")
    assert "is not a folder" in refused(tmp_path / "nowhere", tmp_path / "run")


def test_values_in_messages_are_short_and_on_one_line(tmp_path):
    folder = write_folder(tmp_path / "f", random_params(), architecture="a\nb" * 10_000)
    assert "architecture is 'a\\nba" in refused(folder, tmp_path / "run")
    names = packed({**random_params(), "n\n" * 500: np.ones(1)})
    (folder / "cfg.json").write_text((folder / "cfg.json").read_text().replace("a\\nb" * 10_000, "standard"))
    (folder / "sae_weights.safetensors").write_bytes(safetensors_bytes(names))
    assert json.loads((folder / "cfg.json").read_text())["architecture"] == "standard"
    assert "holds a tensor 'n\\nn" in refused(folder, tmp_path / "run")
