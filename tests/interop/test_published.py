"""Folders that other programs wrote, with what these computed: `published_golden.py` made them."""

import json
import pathlib

import numpy as np
import pytest

import monosem_jax as mj
from monosem_jax.interop import WRITERS
from monosem_jax.interop.formats import NO, read_rows, small_dictionaries, tables, written_rows
from monosem_jax.interop.opened import PublishedRun
from monosem_jax.interop.readers import READERS, format_of, read_folder
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.mesh import make_mesh

HERE = pathlib.Path(__file__).parent / "published"
with np.load(HERE / "golden.npz") as found:
    GOLDEN = dict(found)
FOLDERS = sorted({name.rpartition("/")[0] for name in GOLDEN if "/" in name})
X = GOLDEN["x"]
CLOSE = 1e-5  # in units of the largest number of a row


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    largest = np.maximum(np.abs(expected).max(axis=1), 1)
    return float(np.max(np.abs(np.asarray(found, np.float64) - expected).max(axis=1) / largest))


@pytest.mark.parametrize("name", FOLDERS)
def test_encodes_and_decodes_as_the_program_that_wrote_it(name):
    run, f, x_hat = mj.load_sae(HERE / name), GOLDEN[f"{name}/f"], GOLDEN[f"{name}/x_hat"]
    assert isinstance(run, PublishedRun) and run.params["W_enc"].shape == (X.shape[1], f.shape[1])
    assert np.count_nonzero(f) > 0 and f.shape == run.encode(X).shape
    assert difference(run.encode(X), f) <= CLOSE
    assert difference(run.decode(f, X), x_hat) <= CLOSE
    assert difference(run.decode(run.encode(X), X), x_hat) <= 2 * CLOSE


# What is known of them: format, architecture, site, k, name of the model, how single rows are normalised.
GPT2, RESID = "gpt2-small", "resid_post.5"
PYTHIA, SMOL = "EleutherAI/pythia-70m-deduped", "HuggingFaceTB/SmolLM2-135M"
KNOWN = {
    "saelens_standard": ("saelens", "relu", RESID, None, GPT2, ""),
    "saelens_topk": ("saelens", "topk", RESID, 3, GPT2, ""),
    "saelens_abstopk": ("saelens", "abs_topk", RESID, 3, GPT2, ""),
    "saelens_gated": ("saelens", "gated", RESID, None, GPT2, ""),
    "saelens_topk_layer_norm": ("saelens", "topk", RESID, 3, GPT2, "layer_norm"),
    "saelens_jumprelu_constant_norm": ("saelens", "jumprelu", RESID, None, GPT2, "constant_norm"),
    "saelens_hook_z": ("saelens", "relu", "attn_z.5", None, GPT2, ""),
    "saelens_skip_transcoder": ("saelens", "transcoder", "mlp_in.3+mlp_out.3", None, GPT2, ""),
    "saelens_v2": ("saelens", "relu", "resid_pre.8", None, GPT2, ""),
    "saelens_v3_topk": ("saelens", "topk", "mlp_out.8", 3, GPT2, ""),
    "saelens_v4_layer_norm": ("saelens", "relu", "attn_z.8", None, GPT2, "layer_norm"),
    "saelens_v5_jumprelu": ("saelens", "jumprelu", "resid_mid.8", None, GPT2, ""),
    "saelens_checkpoint_matryoshka": ("saelens", "jumprelu", None, None, None, ""),
    "gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_71": (
        "gemma_scope", "jumprelu", "resid_post.12", None, "gemma-2-2b", ""
    ),
    "gemma-scope-2b-pt-att/layer_13/width_16k/average_l0_71": (
        "gemma_scope", "jumprelu", "attn_z.13", None, "gemma-2-2b", ""
    ),
    "gemma-scope-2b-pt-transcoders/layer_14/width_16k/average_l0_71": (
        "gemma_scope", "transcoder", "mlp_in.14+mlp_out.14", None, "gemma-2-2b", ""
    ),
    "gemma-scope-2-1b-pt/resid_post/layer_13_width_16k_l0_small": (
        "gemma_scope", "jumprelu", "resid_post.13", None, "gemma-3-1b-pt", ""
    ),
    "gemma-scope-2-1b-pt/transcoder/layer_7_width_16k_l0_big_affine": (
        "gemma_scope", "transcoder", "mlp_in.7+mlp_out.7", None, "gemma-3-1b-pt", ""
    ),
    "dictionary_learning_AutoEncoder": ("dictionary_learning", "relu", "resid_post.3", None, PYTHIA, ""),
    "dictionary_learning_AutoEncoderTopK": ("dictionary_learning", "topk", "resid_post.3", 3, PYTHIA, ""),
    "dictionary_learning_MatryoshkaBatchTopKSAE": ("dictionary_learning", "jumprelu", "resid_post.3", None, PYTHIA, ""),
    "sparsify/layers.3": ("sparsify", "topk", "resid_post.3", 3, SMOL, ""),
    "sparsify/layers.3.mlp": ("sparsify", "transcoder", "mlp_in.3+mlp_out.3", 3, SMOL, ""),
    "sparsify/h.2.attn": ("sparsify", "topk", "attn_out.2", 3, SMOL, ""),
    "openai/resid_post_mlp_v5_32k/autoencoders": ("openai", "topk", "resid_post.6", 3, GPT2, "layer_norm"),
    "openai/mlp_post_act/autoencoders": ("openai", "relu", "mlp_hidden.6", None, GPT2, ""),
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_what_a_folder_says_is_known(name):
    found = read_folder(HERE / name)
    known = (format_of(HERE / name), found.architecture, found.site, found.k, found.model_name, found.rows)
    assert known == KNOWN[name]
    assert found.files and all(path.is_file() for path in found.files)
    assert read_folder(HERE / name, "resid_mid.1").site == "resid_mid.1" if found.architecture != "transcoder" else True


def test_every_format_is_among_the_folders():
    assert {form for form, *_ in KNOWN.values()} == set(READERS)


def test_the_table_of_formats_is_what_the_code_makes():
    page = (HERE.parents[2] / "experiments" / "results" / "formats.md").read_text(encoding="utf-8")
    assert page.endswith(tables())
    here = {(form, there) for form, there, _, _ in read_rows()}
    assert all((form, there) in here for form, reader in READERS.items() for there in reader.kinds)


@pytest.mark.parametrize(("name", "dictionary"), [pytest.param(n, d, id=n) for n, d in small_dictionaries()])
def test_what_the_table_says_is_written_is_read_again(tmp_path, name, dictionary):
    cells = dict(zip(WRITERS, dict(written_rows())[name], strict=True))
    x = np.random.default_rng(0).standard_normal((20, sum(dictionary.row_widths))).astype(np.float32)
    for form, cell in cells.items():
        (tmp_path / form).mkdir()
        if cell == NO:
            with pytest.raises(BadInput):
                WRITERS[form](tmp_path / form, dictionary)
            continue
        WRITERS[form](tmp_path / form, dictionary)
        if form == "saelens":
            assert json.loads((tmp_path / form / "cfg.json").read_text())["architecture"] == cell
            again = read_folder(tmp_path / form)
            assert {n: p.shape for n, p in again.params.items()} == {n: p.shape for n, p in dictionary.params.items()}
            assert np.isfinite(mj.load_sae(tmp_path / form).encode(x[:, : dictionary.width])).all()
        if form == "dictionary_learning":
            assert json.loads((tmp_path / form / "config.json").read_text())["trainer"]["dict_class"] == cell


def test_a_folder_is_used_like_a_run(tmp_path):
    run = mj.load_run(HERE / "saelens_jumprelu")
    placed = run.params_on(make_mesh("data=1,model=1"))
    for name, value in run.params.items():
        np.testing.assert_array_equal(np.asarray(placed[name]), value)
    one, some = run.feature(4), run.features(2, 5)
    assert one.keys() == run.params.keys() - {"b_dec"} and some["W_dec"].shape == (3, 6)
    np.testing.assert_array_equal(one["W_enc"], run.params["W_enc"][:, 4])
    np.testing.assert_array_equal(run.threshold, run.params["threshold"])
    assert "saelens_jumprelu" in repr(run) and "saelens_jumprelu" in run._repr_html_()
    with pytest.raises(BadInput, match="was made without a transformer"):
        mj.feature_set(run)
    with pytest.raises(BadInput, match="is the run directory of import: expected one of train_transformer"):
        mj.load_transformer(HERE / "saelens_jumprelu")
