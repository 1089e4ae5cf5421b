"""Blocks of quantised numbers read in float64, one after the other, from the layouts in ggml's ggml-common.h."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def half(raw: np.ndarray) -> float:
    """A number in fp16."""
    return float(np.frombuffer(raw.tobytes(), "<f2")[0])


def nibbles(raw: np.ndarray) -> np.ndarray:
    """The low halves of all bytes, then the high ones."""
    return np.concatenate([raw & 15, raw >> 4]).astype(np.float64)


def bits(raw: np.ndarray) -> np.ndarray:
    """The bits of bytes, the lowest first."""
    return np.unpackbits(raw, bitorder="little").astype(np.float64)


def q4_0(b: np.ndarray) -> np.ndarray:
    return half(b[:2]) * (nibbles(b[2:]) - 8)


def q4_1(b: np.ndarray) -> np.ndarray:
    return half(b[:2]) * nibbles(b[4:]) + half(b[2:4])


def q5_0(b: np.ndarray) -> np.ndarray:
    return half(b[:2]) * (nibbles(b[6:]) + 16 * bits(b[2:6]) - 16)


def q5_1(b: np.ndarray) -> np.ndarray:
    return half(b[:2]) * (nibbles(b[8:]) + 16 * bits(b[4:8])) + half(b[2:4])


def q8_0(b: np.ndarray) -> np.ndarray:
    return half(b[:2]) * b[2:].view(np.int8).astype(np.float64)


def bf16(b: np.ndarray) -> np.ndarray:
    return np.frombuffer(b"\0\0" + b.tobytes(), "<f4").astype(np.float64)


def scale_min(packed: np.ndarray, j: int) -> tuple[int, int]:
    """The j-th of eight scales and minima of six bits in twelve bytes (get_scale_min_k4)."""
    if j < 4:
        return int(packed[j] & 63), int(packed[j + 4] & 63)
    low, up = packed[j + 4], (packed[j - 4] >> 6, packed[j] >> 6)
    return int((low & 15) | up[0] << 4), int((low >> 4) | up[1] << 4)


def k4(b: np.ndarray, high: np.ndarray | None, quants: np.ndarray) -> np.ndarray:
    d, least, out = half(b[:2]), half(b[2:4]), []
    for j in range(8):
        scale, minimum = scale_min(b[4:16], j)
        part = quants[j // 2 * 32 : j // 2 * 32 + 32]
        q = ((part >> 4) if j % 2 else (part & 15)).astype(np.float64)
        q += 0 if high is None else 16 * ((high >> j) & 1)
        out.append(d * scale * q - least * minimum)
    return np.concatenate(out)


def q4_k(b: np.ndarray) -> np.ndarray:
    return k4(b, None, b[16:])


def q5_k(b: np.ndarray) -> np.ndarray:
    return k4(b, b[16:48], b[48:])


def q6_k(b: np.ndarray) -> np.ndarray:
    low, high, scales, d, out = b[:128], b[128:192], b[192:208].view(np.int8), half(b[208:]), np.zeros(256)
    for half_block in range(2):
        ql, qh, s = low[64 * half_block :], high[32 * half_block :], scales[8 * half_block :]
        for i in range(32):
            four = (
                (ql[i] & 15) | (qh[i] & 3) << 4,
                (ql[i + 32] & 15) | (qh[i] >> 2 & 3) << 4,
                (ql[i] >> 4) | (qh[i] >> 4 & 3) << 4,
                (ql[i + 32] >> 4) | (qh[i] >> 6) << 4,
            )
            for k, q in enumerate(four):
                out[128 * half_block + 32 * k + i] = d * float(s[i // 16 + 2 * k]) * (int(q) - 32)
    return out


def q2_k(b: np.ndarray) -> np.ndarray:
    scales, quants, d, least, out = b[:16], b[16:80], half(b[80:82]), half(b[82:84]), []
    for j in range(16):
        part = quants[32 * (j // 8) + 16 * (j % 2) :][:16] >> (2 * (j % 8 // 2)) & 3
        out.append(d * int(scales[j] & 15) * part.astype(np.float64) - least * int(scales[j] >> 4))
    return np.concatenate(out)


VALUES_NL = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float64)


def iq4_nl(b: np.ndarray) -> np.ndarray:
    return half(b[:2]) * VALUES_NL[nibbles(b[2:]).astype(int)]


def iq4_xs(b: np.ndarray) -> np.ndarray:
    d, high, low, out = half(b[:2]), int.from_bytes(b[2:4].tobytes(), "little"), b[4:8], []
    for j in range(8):
        scale = (int(low[j // 2]) >> 4 * (j % 2) & 15) | (high >> 2 * j & 3) << 4
        out.append(d * (scale - 32) * VALUES_NL[nibbles(b[8 + 16 * j : 24 + 16 * j]).astype(int)])
    return np.concatenate(out)


def each(read: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    return lambda blocks: np.stack([read(b) for b in blocks])


# Name of a type → a function of blocks [N, bytes] → numbers [N, values of a block].
REFERENCES = {
    "BF16": each(bf16), "Q4_0": each(q4_0), "Q4_1": each(q4_1), "Q5_0": each(q5_0), "Q5_1": each(q5_1),
    "Q8_0": each(q8_0), "Q2_K": each(q2_k), "Q4_K": each(q4_k), "Q5_K": each(q5_k), "Q6_K": each(q6_k),
    "IQ4_NL": each(iq4_nl), "IQ4_XS": each(iq4_xs),
}  # fmt: skip
