"""Makes tests/interop/published: small folders written by the programs that define the formats, and what these compute.

    python tests/interop/published_golden.py --openai=CHECKOUT/sparse_autoencoder/model.py

It needs PyTorch, sae-lens, dictionary-learning and eai-sparsify, and a checkout of openai/sparse_autoencoder; the tests
need none of them. golden.npz has rows `x`, and of each folder features `NAME/f` and reconstructions `NAME/x_hat`.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import sae_lens
import torch
from sae_lens.loading import pretrained_sae_loaders as loaders
from sae_lens.training.activation_scaler import ActivationScaler, ActivationWhitening
from safetensors.torch import load_file, save_file

from monosem_jax.interop.readers import dictionary_learning as learning_reader
from monosem_jax.interop.readers import openai as openai_reader

HERE = pathlib.Path(__file__).parent / "published"
M, F, K, OUT = 6, 9, 3, 4
VALUES: dict[str, np.ndarray] = {}
torch.manual_seed(0)
X = torch.cat([torch.randn(30, M) * 2 + 0.5, torch.randn(10, M) * 20, torch.randn(6, M) * 0.05, torch.ones(1, M)])


def weights(seed: int, out: int = M, **more: torch.Tensor) -> dict[str, torch.Tensor]:
    """Parameters in general position, rows of W_dec of any norm."""
    torch.manual_seed(seed)
    found = {
        "W_enc": torch.randn(M, F),
        "b_enc": -torch.rand(F) / 2,
        "W_dec": torch.randn(F, out),
        "b_dec": torch.randn(out),
    }
    return {**found, **more}


def keep(name: str, f: torch.Tensor, x_hat: torch.Tensor) -> None:
    VALUES[f"{name}/f"], VALUES[f"{name}/x_hat"] = f.detach().numpy(), x_hat.detach().numpy()


def computed(name: str, sae) -> None:
    """What a dictionary of SAELens gives; a transcoder with its skip connection. Some read heads apart."""
    x = X.reshape(-1, 2, M // 2) if sae.cfg.reshape_activations == "hook_z" else X
    with torch.no_grad():
        f = sae.encode(x)
        keep(name, f, sae(x) if "ranscoder" in type(sae).__name__ else sae.decode(f).reshape(len(X), -1))


def converted(folder: pathlib.Path, name: str, state: dict, line: str) -> None:
    """Makes the safetensors file of a pickle with the line of Python that our messages give."""
    torch.save(state, folder / name)
    subprocess.run([sys.executable, "-c", line], cwd=folder, check=True)
    (folder / name).unlink()


def filled(sae, values: dict[str, torch.Tensor]):
    sae.load_state_dict(values)
    return sae


METADATA = {"model_name": "gpt2-small", "hook_name": "blocks.5.hook_resid_post", "context_size": 64}


def saelens() -> None:
    """Folders of version 6, of inference."""
    meta = lambda **more: sae_lens.saes.sae.SAEMetadata(**{**METADATA, **more})  # noqa: E731
    gate = {"b_mag": torch.randn(F) / 3, "b_gate": torch.randn(F) / 3, "r_mag": torch.randn(F) / 2}
    threshold = {"threshold": torch.rand(F)}
    plain, topk, jump, gated, absolute = (
        (sae_lens.StandardSAE, sae_lens.StandardSAEConfig, {}, {}),
        (sae_lens.TopKSAE, sae_lens.TopKSAEConfig, {"k": K}, {}),
        (sae_lens.JumpReLUSAE, sae_lens.JumpReLUSAEConfig, {}, threshold),
        (sae_lens.GatedSAE, sae_lens.GatedSAEConfig, {}, gate),
        (sae_lens.AbsTopKSAE, sae_lens.AbsTopKSAEConfig, {"k": K}, {}),
    )
    cases = {
        "standard": (plain, {}), "topk": (topk, {}), "jumprelu": (jump, {}), "gated": (gated, {}),
        "abstopk": (absolute, {}), "topk_rescaled": (topk, {"rescale_acts_by_decoder_norm": True}),
        "standard_uncentred": (plain, {"apply_b_dec_to_input": False}),
        "gated_uncentred": (gated, {"apply_b_dec_to_input": False}),
        "standard_layer_norm": (plain, {"normalize_activations": "layer_norm"}),
        "topk_layer_norm": (topk, {"normalize_activations": "layer_norm", "apply_b_dec_to_input": False}),
        "jumprelu_constant_norm": (jump, {"normalize_activations": "constant_norm_rescale"}),
    }  # fmt: skip
    for i, (name, ((cls, config, keys, more), options)) in enumerate(cases.items()):
        values = weights(i, **more)
        if cls is sae_lens.GatedSAE:
            del values["b_enc"]
        sae = filled(cls(config(d_in=M, d_sae=F, metadata=meta(), **keys, **options)), values)
        sae.save_model(HERE / f"saelens_{name}")
        computed(f"saelens_{name}", sae_lens.SAE.load_from_disk(HERE / f"saelens_{name}"))
    config = sae_lens.StandardSAEConfig(
        d_in=M, d_sae=F, reshape_activations="hook_z", metadata=meta(hook_name="blocks.5.attn.hook_z")
    )
    filled(sae_lens.StandardSAE(config), weights(20)).save_model(HERE / "saelens_hook_z")
    computed("saelens_hook_z", sae_lens.SAE.load_from_disk(HERE / "saelens_hook_z"))


def saelens_transcoders() -> None:
    skip, threshold = {"W_skip": torch.randn(OUT, M)}, {"threshold": torch.rand(F)}
    kinds = {
        "transcoder": (sae_lens.Transcoder, sae_lens.TranscoderConfig, {}),
        "skip_transcoder": (sae_lens.SkipTranscoder, sae_lens.SkipTranscoderConfig, skip),
        "jumprelu_transcoder": (sae_lens.JumpReLUTranscoder, sae_lens.JumpReLUTranscoderConfig, threshold),
        "jumprelu_skip_transcoder": (
            sae_lens.JumpReLUSkipTranscoder, sae_lens.JumpReLUSkipTranscoderConfig, skip | threshold
        ),
    }  # fmt: skip
    hooks = {"hook_name": "blocks.3.ln2.hook_normalized", "hook_name_out": "blocks.3.hook_mlp_out"}
    metadata = sae_lens.saes.sae.SAEMetadata(**{**METADATA, **hooks})
    for i, (name, (cls, config, more)) in enumerate(kinds.items()):
        made = config(d_in=M, d_sae=F, d_out=OUT, apply_b_dec_to_input=False, metadata=metadata)
        filled(cls(made), weights(30 + i, OUT, **more)).save_model(HERE / f"saelens_{name}")
        computed(f"saelens_{name}", sae_lens.SAE.load_from_disk(HERE / f"saelens_{name}"))


def saelens_before_6() -> None:
    """Folders as versions 2 to 5 wrote them, which version 6 loads."""
    common = {
        "d_in": M, "d_sae": F, "dtype": "torch.float32", "device": "cpu", "model_name": "gpt2-small",
        "hook_point_layer": 8, "hook_point_head_index": None, "dataset_path": "Skylion007/openwebtext",
        "context_size": 128, "l1_coefficient": 8e-5, "use_ghost_grads": False, "noise": 0, "use_error_term": False,
    }  # fmt: skip
    old = {
        "v2": {**common, "hook_point": "blocks.8.hook_resid_pre"},
        "v3_topk": {
            **common, "architecture": "standard", "hook_name": "blocks.8.hook_mlp_out", "activation_fn_str": "topk",
            "activation_fn_kwargs": {"k": K}, "finetuning_scaling_factor": False, "normalize_activations": "none",
        },
        "v4_layer_norm": {
            **common, "architecture": "standard", "hook_name": "blocks.8.attn.hook_z", "activation_fn_str": "relu",
            "apply_b_dec_to_input": False, "normalize_activations": "layer_norm", "sae_lens_version": "4.0.0",
            "reshape_activations": "none", "finetuning_scaling_factor": False,
        },
        "v5_jumprelu": {
            **common, "architecture": "jumprelu", "hook_name": "blocks.8.hook_resid_mid", "activation_fn": "relu",
            "normalize_activations": False, "sae_lens_training_version": "5.10.3",
        },
    }  # fmt: skip
    for i, (name, cfg) in enumerate(old.items()):
        folder = HERE / f"saelens_{name}"
        folder.mkdir()
        more = {"threshold": torch.rand(F) - 0.2} if "jumprelu" in name else {}
        save_file(weights(40 + i, scaling_factor=torch.ones(F), **more), folder / "sae_weights.safetensors")
        (folder / "cfg.json").write_text(json.dumps(cfg))
        computed(f"saelens_{name}", sae_lens.SAE.load_from_disk(folder))


def saelens_checkpoints() -> None:
    """Checkpoints of trainings, whose scale of activations or threshold is not folded in yet."""
    torch.manual_seed(50)
    mix = torch.linalg.qr(torch.randn(M, M))[0].double() * torch.tensor([0.2, 0.5, 1, 2, 3, 4]).double()
    whitening = ActivationWhitening(torch.randn(M).double(), mix, torch.linalg.inv(mix))
    trained = {
        "checkpoint_batchtopk": (sae_lens.BatchTopKTrainingSAE, sae_lens.BatchTopKTrainingSAEConfig, {
            "k": 2.5, "rescale_acts_by_decoder_norm": True}, "none"),
        "checkpoint_scaled_batchtopk": (sae_lens.BatchTopKTrainingSAE, sae_lens.BatchTopKTrainingSAEConfig, {
            "k": 2.5, "rescale_acts_by_decoder_norm": True}, "expected_average_only_in"),
        "checkpoint_matryoshka": (
            sae_lens.MatryoshkaBatchTopKTrainingSAE, sae_lens.MatryoshkaBatchTopKTrainingSAEConfig,
            {"k": 2, "matryoshka_widths": [4, 9], "rescale_acts_by_decoder_norm": False}, "none"),
        "checkpoint_scaled": (sae_lens.StandardTrainingSAE, sae_lens.StandardTrainingSAEConfig, {
            "apply_b_dec_to_input": False}, "expected_average_only_in"),
        "checkpoint_scaled_gated": (
            sae_lens.GatedTrainingSAE, sae_lens.GatedTrainingSAEConfig, {}, "expected_average_only_in"),
        "checkpoint_whitened_topk": (sae_lens.TopKTrainingSAE, sae_lens.TopKTrainingSAEConfig, {
            "k": K, "rescale_acts_by_decoder_norm": True}, "covariance_whitening"),
        "checkpoint_whitened": (sae_lens.StandardTrainingSAE, sae_lens.StandardTrainingSAEConfig, {
            "apply_b_dec_to_input": False}, "covariance_whitening"),
    }  # fmt: skip
    for i, (name, (cls, config, keys, mode)) in enumerate(trained.items()):
        sae = cls(config(d_in=M, d_sae=F, normalize_activations=mode, **keys))
        values = weights(60 + i)
        if "gated" in name:
            values = {n: v for n, v in values.items() if n != "b_enc"}
            values |= {"b_mag": torch.randn(F) / 3, "b_gate": torch.randn(F) / 3, "r_mag": torch.randn(F) / 2}
        if hasattr(sae, "topk_threshold"):
            values["topk_threshold"] = torch.tensor(0.8, dtype=torch.double)
        folder = HERE / f"saelens_{name}"
        filled(sae, values).save_model(folder)
        scaler = ActivationScaler(scaling_factor=0.37 if mode == "expected_average_only_in" else None)
        scaler.whitening = whitening if mode == "covariance_whitening" else None
        scaler.save(str(folder / "activation_scaler.json"))
        if scaler.scaling_factor:
            sae.fold_activation_norm_scaling_factor(scaler.scaling_factor)
        if scaler.whitening:
            sae.fold_activation_whitening(whitening.mean, whitening.matrix, whitening.inverse_matrix)
        published = HERE / "made"
        sae.save_inference_model(published)  # after which SAELens takes it as it takes any
        computed(f"saelens_{name}", sae_lens.SAE.load_from_disk(published))
        shutil.rmtree(published)


def gemma_scope() -> None:
    """As downloaded from the hub, whose loader of SAELens is given local paths."""
    loaders.hf_hub_download = lambda repo_id, filename, subfolder="", **_: str(HERE / repo_id / subfolder / filename)
    cases = {
        "gemma-scope-2b-pt-res": (loaders.gemma_2_sae_huggingface_loader, M),
        "gemma-scope-2b-pt-att": (loaders.gemma_2_sae_huggingface_loader, M),
        "gemma-scope-2b-pt-transcoders": (loaders.gemma_2_transcoder_huggingface_loader, OUT),
    }
    for i, (repo, (load, out)) in enumerate(cases.items()):
        folder = f"layer_{12 + i}/width_16k/average_l0_71"
        (HERE / repo / folder).mkdir(parents=True)
        values = weights(80 + i, out, threshold=torch.rand(F) * 2)
        np.savez(HERE / repo / folder / "params.npz", **{n: v.numpy() for n, v in values.items()})
        sizes = {"d_in": M, "d_sae": F, **({"d_out": OUT} if out != M else {})}
        cfg, state, *_ = load(repo, folder, "cpu", False, sizes)
        computed(f"{repo}/{folder}", _of_hub(cfg, state))
    loaders.get_safetensors_tensor_shapes = lambda repo, file: {
        n: list(t.shape) for n, t in load_file(HERE / repo / file).items()
    }
    repo = "gemma-scope-2-1b-pt"
    second = {"resid_post/layer_13_width_16k_l0_small": M, "transcoder/layer_7_width_16k_l0_big_affine": OUT}
    for i, (folder, out) in enumerate(second.items()):
        (HERE / repo / folder).mkdir(parents=True)
        more = {"affine_skip_connection": torch.randn(M, out)} if out != M else {}
        values = weights(90 + i, out, threshold=torch.rand(F) * 2, **more)
        theirs = {n.replace("W_", "w_"): v.contiguous() for n, v in values.items()}
        save_file(theirs, HERE / repo / folder / "params.safetensors")
        config = {"architecture": "jump_relu", "model_name": "gemma-v3-1b-pt", "affine_connection": bool(more)}
        (HERE / repo / folder / "config.json").write_text(json.dumps(config))
        cfg, state, _ = loaders.gemma_3_sae_huggingface_loader(repo, folder, "cpu")
        computed(f"{repo}/{folder}", _of_hub(cfg, state))


def _of_hub(cfg: dict, state: dict):
    """What `SAE.from_pretrained` makes of the result of a loader."""
    cfg = loaders.handle_config_defaulting(cfg)
    cls = sae_lens.SAE.get_sae_class_for_architecture(cfg["architecture"])
    return filled(cls(cls.get_sae_config_class_for_architecture(cfg["architecture"]).from_dict(cfg)), state)


def dictionary_learning() -> None:
    from dictionary_learning import dictionary as d
    from dictionary_learning.trainers.batch_top_k import BatchTopKSAE
    from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKSAE
    from dictionary_learning.trainers.top_k import AutoEncoderTopK
    from dictionary_learning.utils import load_dictionary

    made = {
        "AutoEncoder": d.AutoEncoder(M, F), "AutoEncoderNew": d.AutoEncoderNew(M, F),
        "AutoEncoderTopK": AutoEncoderTopK(M, F, K), "BatchTopKSAE": BatchTopKSAE(M, F, K),
        "MatryoshkaBatchTopKSAE": MatryoshkaBatchTopKSAE(M, F, K, [3, 6]),
        "JumpReluAutoEncoder": d.JumpReluAutoEncoder(M, F), "GatedAutoEncoder": d.GatedAutoEncoder(M, F),
    }  # fmt: skip
    for i, (name, module) in enumerate(made.items()):
        torch.manual_seed(100 + i)
        state = module.state_dict()
        for key, value in state.items():
            if key not in ("k", "group_sizes"):
                state[key] = torch.randn(value.shape) if value.ndim > 1 else torch.randn(value.shape) / 3
        if "threshold" in state:
            state["threshold"] = torch.rand(state["threshold"].shape) + 0.3
        folder = HERE / f"dictionary_learning_{name}"
        folder.mkdir()
        trainer = {
            "dict_class": name, "activation_dim": M, "dict_size": F, "layer": 3, "k": K,
            "lm_name": "EleutherAI/pythia-70m-deduped", "submodule_name": "resid_post_layer_3",
        }  # fmt: skip
        (folder / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": {"ctx_len": 128}}))
        torch.save(state, folder / "ae.pt")
        theirs, _ = load_dictionary(str(folder), "cpu")
        converted(folder, "ae.pt", state, learning_reader.CONVERT)
        with torch.no_grad():
            f = theirs.encode(X)
            keep(folder.name, f, theirs.decode(f))


def sparsify() -> None:
    os.environ["SPARSIFY_DISABLE_TRITON"] = "1"  # so that it computes on a CPU
    from sparsify import SparseCoder
    from sparsify.config import SparseCoderConfig

    cases = {
        "layers.3": {}, "layers.3.mlp": {"transcode": True, "skip_connection": True}, "h.2.attn": {"num_latents": F},
    }  # fmt: skip
    for i, (name, options) in enumerate(cases.items()):
        torch.manual_seed(120 + i)
        config = SparseCoderConfig(k=K, expansion_factor=2, normalize_decoder=not options, **options)
        coder = SparseCoder(M, config)
        for value in coder.parameters():
            value.data = torch.randn(value.shape) if value.ndim > 1 else torch.randn(value.shape) / 3
        folder = HERE / "sparsify" / name
        coder.save_to_disk(folder)
        coder = SparseCoder.load_from_disk(folder)
        with torch.no_grad():
            x_hat, values, at, *_ = coder(X)
            f = torch.zeros(len(X), coder.num_latents).scatter_(1, at.long(), values)
        keep(f"sparsify/{name}", f, x_hat)
    (HERE / "sparsify" / "config.json").write_text(json.dumps({"model": "HuggingFaceTB/SmolLM2-135M", "ctx_len": 512}))


def openai(model: str) -> None:
    spec = importlib.util.spec_from_file_location("openai_model", model)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    cases = {"resid_post_mlp_v5_32k": module.TopK(K), "mlp_post_act": torch.nn.ReLU()}
    for i, (name, activation) in enumerate(cases.items()):
        torch.manual_seed(140 + i)
        ours = module.Autoencoder(F, M, activation=activation)
        for value in ours.parameters():
            value.data = torch.randn(value.shape) if value.ndim > 1 else torch.randn(value.shape) / 3
        folder = HERE / "openai" / name / "autoencoders"
        folder.mkdir(parents=True)
        state = ours.state_dict()
        theirs = module.Autoencoder.from_state_dict({n: v for n, v in state.items() if not n.startswith("activation.")})
        with torch.no_grad():
            f, info = theirs.encode(X)
            keep(f"openai/{name}/autoencoders", f, theirs.decode(f, info))
        converted(folder, "6.pt", state, openai_reader.CONVERT.format("6"))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--openai", required=True)
    shutil.rmtree(HERE, ignore_errors=True)
    HERE.mkdir()
    VALUES["x"] = X.numpy()
    for make in (saelens, saelens_transcoders, saelens_before_6, saelens_checkpoints, dictionary_learning, sparsify):
        make()
    gemma_scope()
    openai(parser.parse_args().openai)
    np.savez_compressed(HERE / "golden.npz", **VALUES)


if __name__ == "__main__":
    main()
