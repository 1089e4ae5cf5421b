"""The programs that define the formats load every architecture, and compute the same as NumPy in float64."""

import numpy as np
import pytest

from monosem_jax.stages.export import ExportConfig, export
from tests.interop.architectures import CASES, SAES, K, decode, difference, encode, make_run, rows
from tests.interop.small import FEATURES, WIDTH
from tests.interop.test_import import take
from tests.interop.test_peers import load_saelens, load_theirs, torch  # noqa: F401 (fixtures)

CLOSE = 1e-5
SAELENS = [name for name in CASES if name not in ("transcoder, topk", "crosscoder")]


def check(theirs, params, activation, centred, torch) -> None:  # noqa: F811
    """Whether their module encodes and decodes as ours does."""
    x = rows(params)
    f = encode(params, x, activation, centred, K)
    with torch.no_grad():
        found, x_hat = theirs.encode(torch.from_numpy(x)), theirs(torch.from_numpy(x))
    assert difference(found.numpy(), f) < CLOSE
    assert difference(x_hat.numpy(), decode(params, f, x)) < CLOSE
    if "W_skip" not in params:
        with torch.no_grad():
            x_hat = theirs.decode(torch.from_numpy(f.astype(np.float32)))
        assert difference(x_hat.numpy(), decode(params, f)) < CLOSE


def form_of(case: str, params: dict[str, np.ndarray]) -> tuple[str, bool]:
    """(activation, whether b_dec is taken from the input) of a case."""
    kind = "gated" if "b_gate" in params else "jumprelu" if "threshold" in params else "relu"
    if case.endswith("topk") and kind == "relu":
        kind = "abs_topk" if case == "abs_topk" else "topk"
    return kind, not ("2024" in case or "transcoder" in case)


@pytest.mark.parametrize("case", SAELENS)
def test_saelens_loads_it(tmp_path, load_saelens, torch, case):  # noqa: F811
    params = make_run(tmp_path / "run", CASES[case]).params
    export(tmp_path / "run", ExportConfig("saelens", str(tmp_path / "out")))
    check(load_saelens(tmp_path / "out"), params, *form_of(case, params), torch)


@pytest.mark.parametrize("case", [name for name in SAES if name != "abs_topk"])
def test_dictionary_learning_loads_it(tmp_path, load_theirs, torch, case):  # noqa: F811
    params = make_run(tmp_path / "run", CASES[case]).params
    export(tmp_path / "run", ExportConfig("dictionary_learning", str(tmp_path / "out")))
    theirs, config = load_theirs(tmp_path / "out")
    assert type(theirs).__name__ == config["trainer"]["dict_class"]
    check(theirs, params, *form_of(case, params), torch)


SELECTING = {"k": K, "rescale_acts_by_decoder_norm": True}
# Dictionaries that SAELens trains: the class, and keys of its configuration.
TRAINING = {
    "standard": ("StandardTrainingSAE", {}),
    "topk": ("TopKTrainingSAE", SELECTING),
    "topk, not rescaled": ("TopKTrainingSAE", {**SELECTING, "rescale_acts_by_decoder_norm": False}),
    "jumprelu": ("JumpReLUTrainingSAE", {"apply_b_dec_to_input": False}),
    "gated": ("GatedTrainingSAE", {"apply_b_dec_to_input": False}),
    "batchtopk": ("BatchTopKTrainingSAE", {**SELECTING, "k": 2.5}),
    "matryoshka": ("MatryoshkaBatchTopKTrainingSAE", {**SELECTING, "matryoshka_widths": [3, FEATURES]}),
}
# As it saves it for use, and as it does while it is trained, where that says the same.
SAVED = [*((name, "inference") for name in TRAINING), *((name, "training") for name in list(TRAINING)[:-2])]


@pytest.mark.parametrize(("name", "saved"), SAVED)
def test_what_saelens_trains_can_be_imported(tmp_path, load_saelens, torch, name, saved):  # noqa: F811
    import sae_lens

    kind, keys = TRAINING[name]
    config = getattr(sae_lens, f"{kind}Config")(d_in=WIDTH, d_sae=FEATURES, **keys)
    theirs, rng = getattr(sae_lens, kind)(config), np.random.default_rng(4)
    with torch.no_grad():
        for p in theirs.parameters():
            p.copy_(torch.from_numpy(rng.standard_normal(p.shape) * 0.7))
        for name_, p in theirs.named_parameters():
            if name_ in ("threshold", "log_threshold"):
                p.copy_(torch.from_numpy(rng.uniform(0.1, 0.5, p.shape)))
        if hasattr(theirs, "topk_threshold"):
            theirs.topk_threshold.fill_(0.3)
    (theirs.save_model if saved == "training" else theirs.save_inference_model)(tmp_path / "theirs")
    ours, theirs = take(tmp_path / "theirs", tmp_path / "run"), load_saelens(tmp_path / "theirs")
    x = rows({"b_dec": theirs.b_dec.detach().numpy()})
    with torch.no_grad():
        f = theirs.encode(torch.from_numpy(x)).double().numpy()
        x_hat = theirs.decode(torch.from_numpy(f).float()).double().numpy()
    assert (f > 0).any() and (f == 0).any()
    assert difference(ours.encode(x), f) < CLOSE and difference(ours.decode(f), x_hat) < CLOSE
