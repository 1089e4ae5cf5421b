"""Every architecture: an export equals the dictionary, and an import from SAELens is one of ours or refused."""

import json
import pathlib

import numpy as np
import pytest

from monosem_jax import load_run
from monosem_jax.interop import WRITERS
from monosem_jax.interop.exported import ExportedSAE
from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae import architectures as sae_lib
from monosem_jax.sae.run import SaeRun
from monosem_jax.stages import export as stage
from monosem_jax.stages.export import ExportConfig
from tests.activations.sources.tiny import F, M
from tests.interop import torch_pt
from tests.interop.architectures import (
    CASES,
    GROUPS,
    OUT,
    SAES,
    TRANSCODERS,
    K,
    decode,
    difference,
    encode,
    make_run,
    rows,
    trained,
)
from tests.interop.small import FEATURES, SITE, WIDTH, packed, parse_safetensors, safetensors_bytes, write_folder
from tests.interop.test_import import FEW, refused, take

CLOSE = 1e-5


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The run of a case, made once."""
    root, runs = tmp_path_factory.mktemp("runs"), {}

    def of(case: str) -> SaeRun:
        if case not in runs:
            runs[case] = make_run(root / str(len(runs)), CASES[case])
        return runs[case]

    return of


def export(path: pathlib.Path, output: pathlib.Path, form: str) -> pathlib.Path:
    stage.export(path, ExportConfig(form, str(output)))
    return output


def cfg_of(folder: pathlib.Path) -> dict:
    return json.loads((folder / "cfg.json").read_text())


def test_every_architecture_is_tested():
    assert {c["architecture"] for c in CASES.values()} == sae_lib.ARCHITECTURES.keys()


def test_the_tests_have_rows_without_active_features(made):
    for case, activation in (("relu", "relu"), ("jumprelu", "jumprelu"), ("gated", "gated")):
        p = made(case).params
        assert (encode(p, rows(p), activation).max(axis=1) == 0).any()


@pytest.mark.parametrize("form", ["numpy", "safetensors"])
@pytest.mark.parametrize("case", CASES)
def test_a_plain_folder_says_all_that_is_needed_to_use_it(made, tmp_path, case, form):
    ours = made(case)
    folder = export(ours.path, tmp_path / "out", form)
    if form == "numpy":
        params = {p.stem: np.load(p, allow_pickle=False) for p in folder.glob("*.npy")}
        described = json.loads((folder / "dictionary.json").read_text())
    else:
        params, metadata = parse_safetensors(folder / "dictionary.safetensors")
        texts = ("format", "architecture", "activation", "site")
        described = {name: v if name in texts else json.loads(v) for name, v in metadata.items()}
    assert params.keys() == ours.params.keys()
    x = rows(params)
    f = encode(params, x, described["activation"], described["centred"], described.get("k"))
    assert difference(ours.encode(x), f) < CLOSE
    assert difference(ours.decode(f, x), decode(params, f, x)) < CLOSE
    wide = {"transcoder": [WIDTH, OUT], "crosscoder": [WIDTH - 2, 2]}
    assert (described.get("widths") or []) == wide.get(CASES[case]["architecture"], [])
    assert (described.get("prefixes") or []) == ([3, 5, 9] if "groups" in CASES[case] else [])


# SAELens: what a case becomes there, and what that is here.
THERE = {
    "relu": ("standard", "relu"), "april_2024": ("standard", "relu"), "topk": ("topk", "topk"),
    "abs_topk": ("abstopk", "abs_topk"),
    "batchtopk": ("jumprelu", "jumprelu"), "jumprelu": ("jumprelu", "jumprelu"), "gated": ("gated", "gated"),
    "matryoshka, batchtopk": ("jumprelu", "jumprelu"), "matryoshka, topk": ("topk", "topk"),
    "matryoshka, relu": ("standard", "relu"), "p_anneal": ("standard", "relu"),
}  # fmt: skip


@pytest.mark.parametrize("case", SAES)
def test_to_saelens_and_back(made, tmp_path, case):
    ours, (theirs, here) = made(case), THERE[case]
    folder = export(ours.path, tmp_path / "out", "saelens")
    cfg = cfg_of(folder)
    assert (cfg["architecture"], cfg["apply_b_dec_to_input"]) == (theirs, case != "april_2024")
    assert (cfg.get("k"), cfg.get("rescale_acts_by_decoder_norm")) == ((K, False) if "topk" in theirs else (None, None))
    assert cfg["metadata"]["hook_name"] == "blocks.0.hook_mlp_out"
    found = take(folder, tmp_path / "run")
    expected = {"architecture": here, "n_features": FEATURES, **({"k": K} if "topk" in here else {})}
    assert found.config["sae"] == expected and found.site == "mlp_out.0"
    assert found.params.keys() == ours.params.keys()
    for name, value in found.params.items():
        if case == "april_2024" and name == "b_enc":  # b_dec went into it
            continue
        np.testing.assert_array_equal(value, ours.params[name])
    x = rows(ours.params)
    f = ours.encode(x)
    assert difference(found.encode(x), f) < CLOSE and difference(found.decode(f), ours.decode(f)) < CLOSE
    if case != "april_2024":
        again = export(found.path, tmp_path / "again", "saelens")
        assert (again / "sae_weights.safetensors").read_bytes() == (folder / "sae_weights.safetensors").read_bytes()
        assert cfg_of(again) == cfg


@pytest.mark.parametrize("case", [name for name in TRANSCODERS if "topk" not in name.split(", ")[1:]])
def test_a_transcoder_for_saelens(made, tmp_path, case):
    ours, folder = made(case), export(made(case).path, tmp_path / "out", "saelens")
    cfg, tensors = cfg_of(folder), parse_safetensors(folder / "sae_weights.safetensors")[0]
    kind = ("jumprelu_" if "batchtopk" in case else "") + ("skip_" if "skip" in case else "") + "transcoder"
    assert (cfg["architecture"], cfg["d_in"], cfg["d_out"], cfg["apply_b_dec_to_input"]) == (kind, WIDTH, OUT, False)
    hooks = {"hook_name": "blocks.0.ln2.hook_normalized", "hook_name_out": "blocks.0.hook_mlp_out"}
    assert hooks.items() <= cfg["metadata"].items()
    assert tensors.keys() == ours.params.keys()
    for name, value in tensors.items():
        np.testing.assert_array_equal(value, ours.params[name].T if name == "W_skip" else ours.params[name])
    found, rows_ = take(folder, tmp_path / "run"), rows(ours.params)
    assert found.site == "mlp_in.0+mlp_out.0" and found.sae.parts == (WIDTH, OUT) and found.published
    for name, value in ours.params.items():
        np.testing.assert_array_equal(found.params[name], value)
    f = ours.encode(rows_)
    np.testing.assert_array_equal(found.encode(rows_), f)
    np.testing.assert_array_equal(found.decode(f, rows_), ours.decode(f, rows_))
    one = found.feature(4)
    assert one.keys() == found.params.keys() - {"b_dec", "W_skip"} and one["b_enc"] == found.params["b_enc"][4]
    again = export(found.path, tmp_path / "again", "saelens")
    assert (again / "sae_weights.safetensors").read_bytes() == (folder / "sae_weights.safetensors").read_bytes()
    assert cfg_of(again) == cfg


# dictionary_learning: of which class a case is there, and under which names it has what.
LINEAR = {"encoder.weight": "W_enc", "encoder.bias": "b_enc", "decoder.weight": "W_dec"}
SAME = {name: name for name in ("W_enc", "b_enc", "W_dec", "b_dec")}
CLASSES = {
    "AutoEncoder": {**LINEAR, "bias": "b_dec"},
    "AutoEncoderNew": {**LINEAR, "decoder.bias": "b_dec"},
    "AutoEncoderTopK": {**LINEAR, "b_dec": "b_dec", "k": "k", "threshold": "threshold"},
    "BatchTopKSAE": {**LINEAR, "b_dec": "b_dec", "k": "k", "threshold": "threshold"},
    "JumpReluAutoEncoder": {**SAME, "threshold": "threshold"},
    "GatedAutoEncoder": {
        "decoder_bias": "b_dec", "encoder.weight": "W_enc", "r_mag": "r_mag", "gate_bias": "b_gate",
        "mag_bias": "b_enc", "decoder.weight": "W_dec",
    },
    "MatryoshkaBatchTopKSAE": {**SAME, "k": "k", "threshold": "threshold", "group_sizes": "group_sizes"},
}  # fmt: skip
CLASS = {
    "relu": "AutoEncoder", "april_2024": "AutoEncoderNew", "topk": "AutoEncoderTopK", "batchtopk": "BatchTopKSAE",
    "jumprelu": "JumpReluAutoEncoder", "gated": "GatedAutoEncoder", "matryoshka, batchtopk": "MatryoshkaBatchTopKSAE",
    "matryoshka, topk": "AutoEncoderTopK", "matryoshka, relu": "AutoEncoder",
    "p_anneal": "AutoEncoder",
}  # fmt: skip
UNCENTRED = ("AutoEncoderNew", "JumpReluAutoEncoder")


@pytest.mark.parametrize("case", CLASS)
def test_for_dictionary_learning(made, tmp_path, case):
    ours, folder = made(case), export(made(case).path, tmp_path / "out", "dictionary_learning")
    trainer = json.loads((folder / "config.json").read_text())["trainer"]
    theirs = trainer["dict_class"]
    assert theirs == CLASS[case]
    tensors = torch_pt.read(folder / "ae.pt")
    assert tensors.keys() == CLASSES[theirs].keys()
    found = {CLASSES[theirs][n]: t.T if n.endswith(".weight") else t for n, t in tensors.items()}
    k, groups = found.pop("k", None), found.pop("group_sizes", None)
    if k is not None:
        assert (k.dtype, k.shape, int(k), trainer["k"]) == (np.int32, (), K, K) and found["threshold"].shape == ()
    if groups is not None:
        assert groups.dtype == np.int64 and groups.tolist() == GROUPS
    kinds = {"AutoEncoderTopK": "topk", "GatedAutoEncoder": "gated"}
    activation = kinds.get(theirs, "jumprelu" if "threshold" in found else "relu")
    x = rows(ours.params)
    f = encode(found, x, activation, theirs not in UNCENTRED, K)
    assert difference(ours.encode(x), f) < CLOSE and difference(ours.decode(f), decode(found, f)) < CLOSE


def test_thresholds_that_differ_are_written_for_a_class_that_has_many(tmp_path):
    params = {**trained(CASES["batchtopk"]), "threshold": np.linspace(0, 1, FEATURES, dtype=np.float32)}
    for kind, more in (("batchtopk", {}), ("matryoshka", {"prefixes": (3, 9)})):
        folder = tmp_path / kind
        folder.mkdir()
        WRITERS["dictionary_learning"](folder, ExportedSAE(kind, params, k=2, **more))
        assert json.loads((folder / "config.json").read_text())["trainer"]["dict_class"] == "JumpReluAutoEncoder"
        np.testing.assert_array_equal(torch_pt.read(folder / "ae.pt")["threshold"], params["threshold"])


def test_prefixes_of_one_size_are_one_group(tmp_path):
    params = {**trained(CASES["batchtopk"]), "threshold": np.full(FEATURES, 0.5, np.float32)}
    WRITERS["dictionary_learning"](tmp_path, ExportedSAE("matryoshka", params, k=2, prefixes=(2, 2, 9)))
    assert torch_pt.read(tmp_path / "ae.pt")["group_sizes"].tolist() == [2, 7]


def test_a_dictionary_of_several_sites_has_no_single_hook(tmp_path):
    for form in ("saelens", "dictionary_learning"):
        (tmp_path / form).mkdir()
        WRITERS[form](tmp_path / form, ExportedSAE("relu", trained(CASES["relu"]), site="mlp_in.0+mlp_out.0"))
    assert cfg_of(tmp_path / "saelens")["metadata"]["hook_name"] is None
    assert json.loads((tmp_path / "dictionary_learning" / "config.json").read_text())["trainer"]["layer"] is None


# Exports that are refused

LACKING = {
    ("saelens", "transcoder, topk"): "transcoders with sae.activation relu and batchtopk, but this one has topk",
    ("saelens", "crosscoder"): "SAELens is written for sae.architecture relu, april_2024, topk,",
    ("dictionary_learning", "abs_topk"): "and this one is abs_topk",
    ("dictionary_learning", "transcoder, relu"): "and this one is transcoder",
    ("dictionary_learning", "skip transcoder, batchtopk"): "and this one is transcoder",
    ("dictionary_learning", "crosscoder"): "and this one is crosscoder",
}  # fmt: skip


@pytest.mark.parametrize(("form", "case"), LACKING)
def test_what_a_program_does_not_have_is_refused(made, tmp_path, form, case):
    with pytest.raises(BadInput) as e:
        export(made(case).path, tmp_path / "out", form)
    assert LACKING[form, case] in str(e.value) and "\n" not in str(e.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("k", [0, -1, FEATURES + 1, 1 << 40])
@pytest.mark.parametrize("form", WRITERS)
def test_a_run_with_an_impossible_k_is_refused(made, tmp_path, form, k):
    path = tmp_path / "run"
    path.mkdir()
    for name in ("input.json", "checkpoints"):
        (path / name).symlink_to(made("topk").path / name)
    record = json.loads((made("topk").path / "config.json").read_text())
    record["config"]["sae"]["k"] = k
    (path / "config.json").write_text(json.dumps(record))
    with pytest.raises(BadInput, match=rf"sae\.k is {k}: expected 1 to n_features = {FEATURES}"):
        export(path, tmp_path / "out", form)


def test_a_parameter_that_is_not_finite_is_refused(tmp_path):
    bad = np.where(np.arange(FEATURES) == 2, np.nan, 0).astype(np.float32)
    path = make_run(tmp_path / "run", CASES["jumprelu"], log_threshold=bad).path
    with pytest.raises(BadInput, match="1 of the 9 numbers in threshold are not finite"):
        export(path, tmp_path / "out", "numpy")


# Imports, from what SAELens computes

NAMES = {"gated": {"b_enc": "b_mag"}}  # there


def published(architecture: str, seed: int = 3) -> dict[str, np.ndarray]:
    """Parameters under our names, rows of W_dec of any norm."""
    rng = np.random.default_rng(seed)
    params = trained({"architecture": architecture}, seed)
    if (log := params.pop("log_threshold", None)) is not None:
        params["threshold"] = np.exp(log)
    params["W_dec"] *= rng.uniform(0.2, 3, FEATURES).astype(np.float32)[:, None]
    return params


def written(folder: pathlib.Path, kind: str, params: dict, **cfg) -> pathlib.Path:
    """Such a dictionary as a folder of SAELens."""
    names, k = NAMES.get(kind, {}), {"k": K} if kind == "topk" else {}
    values = {"architecture": "standard" if kind == "relu" else kind, **k, **cfg}
    return write_folder(folder, {names.get(n, n): p for n, p in params.items()}, **values)


@pytest.mark.parametrize("from_input", [True, False])
@pytest.mark.parametrize("architecture", ["relu", "topk", "jumprelu", "gated"])
def test_a_folder_of_any_row_norms_is_taken(tmp_path, architecture, from_input):
    params = published(architecture)
    found = take(written(tmp_path / "f", architecture, params, apply_b_dec_to_input=from_input), tmp_path / "run")
    x = rows(params)
    f = encode(params, x, architecture, from_input, K)
    assert found.config["sae"]["architecture"] == architecture
    assert difference(found.encode(x), f) < CLOSE and difference(found.decode(f), decode(params, f)) < CLOSE
    if from_input:
        assert all(np.array_equal(found.params[name], value) for name, value in params.items())


def test_one_feature_of_an_imported_run(tmp_path):
    for architecture in ("topk", "gated"):
        found = take(
            written(tmp_path / f"f{architecture}", architecture, published(architecture)), tmp_path / architecture
        )
        one = found.feature(4)
        assert one.keys() == found.params.keys() - {"b_dec"}
        assert all(
            np.array_equal(v, np.take(found.params[n], 4, axis=1 if n == "W_enc" else 0)) for n, v in one.items()
        )
        some = found.features(2, 5)
        assert some.keys() == one.keys()
        for name, value in some.items():
            whole = found.params[name]
            np.testing.assert_array_equal(value, whole[:, 2:5] if name == "W_enc" else whole[2:5])


def test_a_range_of_features_that_is_not_there_is_refused(tmp_path):
    found = take(written(tmp_path / "theirs", "topk", published("topk")), tmp_path / "ours")
    n = found.sae.n_features
    for start, stop, said in ((-1, 2, "the first feature -1"), (0, n + 1, f"the end {n + 1}"), (3, 3, "the end 3")):
        with pytest.raises(BadInput, match=said):
            found.features(start, stop)


def test_features_that_topk_chooses_from_may_be_rescaled(tmp_path):
    params = published("topk")
    norms = np.linalg.norm(params["W_dec"].astype(np.float64), axis=1)
    folder = written(tmp_path / "f", "topk", params, rescale_acts_by_decoder_norm=True)
    found, x = take(folder, tmp_path / "run"), rows(params)
    scaled = {**params, "W_enc": params["W_enc"] * norms, "b_enc": params["b_enc"] * norms}
    f = encode(scaled, x, "topk", True, K)
    plain = encode(params, x, "topk", True, K)
    assert ((f > 0) != (plain > 0)).any()  # so that it matters
    assert difference(found.encode(x), f) < CLOSE
    assert difference(found.decode(f), decode(params, f / norms)) < CLOSE
    params["W_dec"][2] = 0
    folder = written(tmp_path / "g", "topk", params, rescale_acts_by_decoder_norm=True)
    assert "1 rows of W_dec are zero" in refused(folder, tmp_path / "other")


def test_a_threshold_below_zero_is_zero(tmp_path):
    params = published("jumprelu")
    params["threshold"][:4] = [-1, -1e-9, 0, -3e38]
    found, x = take(written(tmp_path / "f", "jumprelu", params), tmp_path / "run"), rows(params)
    np.testing.assert_array_equal(found.threshold, np.maximum(params["threshold"], 0))
    assert difference(found.encode(x), encode(params, x, "jumprelu")) < CLOSE


@pytest.mark.parametrize("architecture", ["jumprelu", "gated"])
def test_weights_are_rounded_as_saelens_would(tmp_path, architecture):
    params = published(architecture)
    found = take(written(tmp_path / "f", architecture, params, dtype="float16"), tmp_path / "run")
    for name, value in params.items():
        np.testing.assert_array_equal(found.params[name], value.astype(np.float16).astype(np.float32))


def test_topk_of_before_version_6_is_taken(tmp_path):
    old = {"metadata": None, "architecture": None, "k": None, "activation_fn_str": "topk"}
    params = published("topk")
    found = take(written(tmp_path / "f", "topk", params, **old, activation_fn_kwargs={"k": 4}), tmp_path / "run")
    assert found.config["sae"] == {"architecture": "topk", "n_features": FEATURES, "k": 4}
    for kwargs in ({}, {"k": 4, "postact_fn": "tanh"}, [4], None):
        folder = written(tmp_path / "g", "topk", params, **old, activation_fn_kwargs=kwargs)
        assert "activation_fn is 'topk': only 'relu' can be imported" in refused(folder, tmp_path / "other")
    folder = written(tmp_path / "g", "topk", params, **old, activation_fn_kwargs={"k": None})
    assert "k is None" in refused(folder, tmp_path / "other")


@pytest.mark.parametrize("k", [None, 0, -3, True, 3.0, 2.5, "3", [3], {"k": 3}, FEATURES + 1, 10**4000, float("nan")])
def test_a_k_that_is_no_number_of_features_is_refused(tmp_path, k):
    told = refused(written(tmp_path / "f", "topk", published("topk"), k=k), tmp_path / "run")
    assert "cfg.json: k is " in told and f"expected a whole number from 1 to d_sae = {FEATURES}" in told


# architecture -> changes to cfg.json, and what is said of them
WRONG_CFG = {
    "trained": ("jumprelu", {"architecture": "batchtopk"}, "holds a tensor 'threshold': expected W_enc, b_enc, W_dec"),
    "trained, nested": ("relu", {"architecture": "matryoshka_batchtopk"}, "holds no tensor topk_threshold"),
    "other": ("relu", {"architecture": "temporal"}, "is 'temporal': expected one of standard, topk, jumprelu, gated"),
    "rescaled by text": ("topk", {"rescale_acts_by_decoder_norm": "yes"}, "norm is 'yes': expected true or false"),
    "rescaled by number": ("topk", {"rescale_acts_by_decoder_norm": 1}, "norm is 1: expected true or false"),
    "relu in topk": ("topk", {"activation_fn": "relu"}, "activation_fn is 'relu': only 'topk' can be imported"),
    "topk in gated": ("gated", {"activation_fn": "topk"}, "activation_fn is 'topk': only 'relu' can be imported"),
    "normalised": ("jumprelu", {"normalize_activations": "expected_average_only_in"}, "does not hold the factor"),
    "whitened": ("gated", {"normalize_activations": "covariance_whitening"}, "is 'covariance_whitening'"),
    "a transcoder": ("relu", {"architecture": "transcoder"}, "a transcoder's b_dec is of another site, expected false"),
    "a transcoder without an output": (
        "relu",
        {"architecture": "transcoder", "apply_b_dec_to_input": False},
        "d_out is None: expected a whole number",
    ),
    "a normalised transcoder": (
        "relu",
        {"architecture": "transcoder", "apply_b_dec_to_input": False, "normalize_activations": "layer_norm"},
        "is 'layer_norm': in a transcoder only 'none' can be imported exactly",
    ),
    "half a bias": ("gated", {"apply_b_dec_to_input": None, "dtype": 3}, "dtype is 3"),
}


@pytest.mark.parametrize("name", WRONG_CFG)
def test_a_configuration_that_is_not_ours_is_refused(tmp_path, name):
    architecture, changes, message = WRONG_CFG[name]
    folder = written(tmp_path / "f", architecture, published(architecture), **changes)
    assert message in refused(folder, tmp_path / "run")


WRONG_WEIGHTS = {
    "no threshold": ("jumprelu", {"threshold": None}, "holds no tensor threshold: it has W_dec, W_enc, b_dec, b_enc"),
    "its logarithm": ("jumprelu", {"log_threshold": np.ones(FEATURES)}, "a tensor 'log_threshold': expected W_enc,"),
    "one threshold": ("jumprelu", {"threshold": np.ones(())}, "threshold has shape []: expected [9]"),
    "threshold NaN": ("jumprelu", {"threshold": np.full(FEATURES, np.nan)}, "9 of the 9 numbers in threshold are not"),
    "infinite threshold": ("jumprelu", {"threshold": np.full(FEATURES, np.inf)}, "numbers in threshold are not finite"),
    "threshold in topk": (
        "topk",
        {"threshold": np.ones(FEATURES)},
        "a tensor 'threshold': expected W_enc, b_enc, W_dec",
    ),
    "no gate": ("gated", {"b_gate": None}, "holds no tensor b_gate"),
    "bias in gated": ("gated", {"bias": np.ones(FEATURES)}, "a tensor 'bias': expected W_enc, b_mag, b_gate, r_mag"),
    "gate too wide": ("gated", {"b_gate": np.ones(FEATURES + 1)}, "b_gate has shape [10]: expected [9]"),
    "gate too strong": ("gated", {"r_mag": np.full(FEATURES, 100.0)}, "numbers in exp(r_mag) are not finite"),
}


@pytest.mark.parametrize("name", WRONG_WEIGHTS)
def test_weights_that_are_not_ours_are_refused(tmp_path, name):
    architecture, changes, message = WRONG_WEIGHTS[name]
    params = {n: p for n, p in {**published(architecture), **changes}.items() if p is not None}
    assert message in refused(written(tmp_path / "f", architecture, params), tmp_path / "run")


@pytest.mark.parametrize(
    ("architecture", "cfg"),
    [("gated", {"apply_b_dec_to_input": False}), ("topk", {"rescale_acts_by_decoder_norm": True})],
)
def test_numbers_too_large_for_what_is_to_be_computed_are_refused(tmp_path, architecture, cfg):
    params = published(architecture)
    params |= {"b_dec": params["b_dec"] * 0 + 3e38, "W_enc": np.abs(params["W_enc"]) * 1e38}
    folder = written(tmp_path / "f", architecture, params, **cfg)
    assert "are not finite" in refused(folder, tmp_path / "run")


def test_tensors_of_a_kind_that_is_not_read_are_refused(tmp_path):
    folder = written(tmp_path / "f", "jumprelu", published("jumprelu"))
    tensors = {**packed(published("jumprelu")), "threshold": ("F64", (FEATURES,), bytes(8 * FEATURES))}
    (folder / "sae_weights.safetensors").write_bytes(safetensors_bytes(tensors))
    assert "threshold has dtype F64: expected one of" in refused(folder, tmp_path / "run")


@pytest.mark.parametrize("architecture", ["topk", "jumprelu"])
def test_what_is_imported_is_evaluated_with_its_transformer(root, tmp_path, architecture):
    shapes = {"W_enc": (M, F), "b_enc": (F,), "W_dec": (F, M), "b_dec": (M,)}
    shapes |= {"threshold": (F,)} if architecture == "jumprelu" else {}
    params = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    params["W_enc"] += 0.1
    folder = written(tmp_path / "f", architecture, params)
    found = take(folder, tmp_path / "run", transformer=str(root / "transformer"), site=SITE, evaluate=FEW)
    assert 0 < found.summary["l0"] <= {"topk": K, "jumprelu": F}[architecture] and "ce_reconstructed" in found.summary


def test_an_imported_topk_is_opened_again(tmp_path):
    take(written(tmp_path / "f", "topk", published("topk")), tmp_path / "run")
    found = load_run(tmp_path / "run")
    assert found.sae.config.k == K and found.experiment == "import" and not found.threshold.any()
