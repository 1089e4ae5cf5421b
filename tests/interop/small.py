"""Dictionaries and folders for the tests of this folder, written and read from the formats' descriptions alone."""

import json
import pathlib

import numpy as np

SITE = "mlp_hidden.0"
MEMBERS = ("f32_l0.004_s0", "f32_l0.004_s1")
WIDTH, FEATURES = 6, 9
DTYPES = {"F32": "<f4", "F16": "<f2", "F64": "<f8"}


def features(params: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """[B,F] by the formula of the paper, in fp64."""
    p = {name: value.astype(np.float64) for name, value in params.items()}
    return np.maximum((x - p["b_dec"]) @ p["W_enc"] + p["b_enc"], 0)


def reconstructions(params: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """[B,M]."""
    return features(params, x) @ params["W_dec"].astype(np.float64) + params["b_dec"]


def random_params(seed: int = 0, norm: float | None = 1.0) -> dict[str, np.ndarray]:
    """A small dictionary; rows of W_dec have this norm, or (None) all kinds."""
    rng = np.random.default_rng(seed)
    shapes = {"W_enc": (WIDTH, FEATURES), "b_enc": (FEATURES,), "W_dec": (FEATURES, WIDTH), "b_dec": (WIDTH,)}
    params = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    if norm is not None:
        params["W_dec"] *= norm / np.linalg.norm(params["W_dec"], axis=1, keepdims=True)
    return {name: value.astype(np.float32) for name, value in params.items()}


def safetensors_bytes(tensors: dict[str, tuple[str, tuple[int, ...], bytes]], metadata: dict | None = None) -> bytes:
    """The bytes of a `.safetensors` file of name -> (dtype, shape, data)."""
    header, offset = {} if metadata is None else {"__metadata__": metadata}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    head = json.dumps(header).encode()
    return len(head).to_bytes(8, "little") + head + b"".join(data for _, _, data in tensors.values())


def parse_safetensors(path: pathlib.Path) -> tuple[dict[str, np.ndarray], dict]:
    """(arrays, metadata) of a `.safetensors` file of fp32."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    metadata, arrays = header.pop("__metadata__", {}), {}
    for name, entry in header.items():
        assert entry["dtype"] == "F32"
        arrays[name] = np.frombuffer(body[slice(*entry["data_offsets"])], "<f4").reshape(entry["shape"])
    return arrays, metadata


def packed(params: dict[str, np.ndarray], dtype: str = "F32") -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Arrays as `safetensors_bytes` takes them."""

    def data(a: np.ndarray) -> bytes:
        if dtype == "BF16":  # the upper half of fp32
            return (np.ascontiguousarray(a, "<f4").view("<u4") >> 16).astype("<u2").tobytes()
        return a.astype(DTYPES[dtype]).tobytes()

    return {name: (dtype, a.shape, data(a)) for name, a in params.items()}


def write_folder(folder: pathlib.Path, params: dict[str, np.ndarray], stored: str = "F32", **cfg) -> pathlib.Path:
    """A SAELens folder; `cfg` replaces what cfg.json says, None leaves it out."""
    folder.mkdir(parents=True, exist_ok=True)
    m, f = params["W_enc"].shape
    values = {
        "architecture": "standard", "d_in": m, "d_sae": f, "dtype": "float32", "apply_b_dec_to_input": True,
        "normalize_activations": "none", "metadata": {"sae_lens_version": "6.54.12", "hook_name": None}, **cfg,
    }  # fmt: skip
    (folder / "cfg.json").write_text(json.dumps({k: v for k, v in values.items() if v is not None}))
    (folder / "sae_weights.safetensors").write_bytes(safetensors_bytes(packed(params, stored)))
    return folder
