"""Planted truth: a transformer and a dictionary whose every feature, effect and loss is known beforehand.

The transformer is a real `Transformer` whose parameters are set by hand. Its residual stream holds channels, each a
pair of coordinates (+c, -c), so that its mean is 0; they are small beside a channel `dump`, which keeps the mean square
at 1, so that LayerNorm changes next to nothing. The MLP's hidden layer is Σ a_i d_i, where a_i is the activation of
feature i and the d_i are vectors of five positive coordinates out of 20: every neuron belongs to two features or more.
What a feature adds to the logits is LOGIT[i] per unit of activation on the tokens TARGETS[i], and 0 elsewhere.

    set       tokens SET, with strengths from 0.2 to 1
    dense     every word below `singles`: about half of the tokens
    dead      nothing
    rare      the token RARE, a few times in the text
    context   the token AMBIGUOUS where MARKER came before it, which is so in documents labelled "code" only
    blurred   tokens DNA with strengths from 0.5 to 1; tokens IMPOSTORS, which are no DNA, with 0.05 and 0.07
    singles   one token each

A test that changes this file changes the truth for others: add features at the end.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers

from monosem_jax.analysis import feature_sets
from monosem_jax.models.shuffle import shuffled
from monosem_jax.models.tapped import TappedModel
from monosem_jax.models.transformer import Transformer, TransformerConfig
from monosem_jax.runtime.checkpoint import Checkpoints
from monosem_jax.runtime.config import to_dict
from monosem_jax.runtime.files import file_hash, write_json
from monosem_jax.runtime.workdir import RunDir, parent
from monosem_jax.sae import architectures
from monosem_jax.sae.architectures.relu import ReluConfig
from monosem_jax.sae.published import PublishedSAE
from monosem_jax.stages.train_transformer import make_heldout_loss, params_hash

SITE = "mlp_hidden.0"
BOS, MARKER, AMBIGUOUS, RARE = 0, 1, 2, 3
SET, EFFECT, DNA, IMPOSTORS = np.arange(4, 12), np.arange(12, 16), np.arange(16, 20), np.arange(20, 22)
COMMON = np.arange(22, 60)
SINGLES, SUCCESSORS = np.arange(22, 28), np.arange(28, 34)  # after a single comes its successor, 7 times out of 10
DENSE = np.arange(22, 52)
V, T, M, D = 60, 24, 20, 64
WORDS = [
    "<|bos|>", "#!", "in", "zyx", "אב", "גד", "הו", "זח", "טי", "כל", "מנ", "סע", "north", "south", "east", "west",
    "ACGT", "TTGA", "GATC", "CCGA", "CAT", "TAG", *(f"w{i}" for i in COMMON),
]  # fmt: skip
LABELS = ("code", "dna", "hebrew", "prose")
FEATURES = ("set", "dense", "dead", "rare", "context", "blurred", *(f"single{i}" for i in range(6)))
F = len(FEATURES)
SET_FEATURE, DENSE_FEATURE, DEAD_FEATURE, RARE_FEATURE, CONTEXT_FEATURE, BLURRED_FEATURE = range(6)

SMALL = 1 / 9  # what a channel of value 1 is in the residual stream
EPSILON = 1e-3  # the encoder's bias: an activation below it is 0, however it was rounded
LIVE = [i for i in range(F) if i != DEAD_FEATURE]
# What a feature adds to the logits per unit of activation, and of which tokens.
LOGIT = np.array([4.0, 0.5, 2.0, 3.0, 4.0, 3.0, *[4.0] * 6])
TARGETS = (EFFECT, COMMON[-6:], [RARE], [RARE], IMPOSTORS[:1], DNA, *([s] for s in SUCCESSORS))

# Channels of the residual stream: of each feature's tokens, of each feature's output, and of the attention.
READ, WRITE = range(F), range(F, 2 * F)
IS_AMBIGUOUS, IS_MARKER, IS_BOS, DUMP = range(2 * F, 2 * F + 4)


def strengths() -> np.ndarray:
    """[V,F] the activation of each feature on each token; that of `context` is what it is after MARKER."""
    a = np.zeros((V, F))
    a[SET, SET_FEATURE] = np.linspace(0.2, 1, len(SET))
    a[DENSE, DENSE_FEATURE] = 0.5
    a[RARE, RARE_FEATURE] = 0.8
    a[AMBIGUOUS, CONTEXT_FEATURE] = 1
    a[DNA, BLURRED_FEATURE] = np.linspace(0.5, 1, len(DNA))
    a[IMPOSTORS, BLURRED_FEATURE] = 0.05, 0.07
    a[SINGLES, np.arange(6, F)] = 1
    return a


def activations(tokens: np.ndarray) -> np.ndarray:
    """[C,T,F] the truth, to about 1e-3: the model's LayerNorm changes activations by that much."""
    a = strengths()[np.asarray(tokens)]
    seen = np.cumsum(np.asarray(tokens) == MARKER, axis=1) > 0
    a[..., CONTEXT_FEATURE] *= seen
    return np.maximum(a - EPSILON, 0)


def logit_weights() -> np.ndarray:
    """[F,V] the truth of every feature's logit weights. Their median is 0."""
    v = np.zeros((F, V))
    for i, (size, targets) in enumerate(zip(LOGIT, TARGETS, strict=True)):
        v[i, targets] = size
    return v


@functools.cache
def directions() -> np.ndarray:
    """[F,M] unit vectors of five positive coordinates each, linearly independent."""
    rng = np.random.default_rng(206)  # of 300 seeds the one whose vectors are the least alike
    d = np.zeros((F, M))
    for row in d:
        row[rng.choice(M, 5, replace=False)] = rng.uniform(0.5, 1, 5)
    assert np.min((d[LIVE] > 0).sum(axis=0)) >= 2
    return d / np.linalg.norm(d, axis=1, keepdims=True)


def _channel(n: int) -> np.ndarray:
    """[D] what a residual stream with 1 in channel n, and 0 in the others, is."""
    return SMALL * (np.eye(D)[2 * n] - np.eye(D)[2 * n + 1])


def _reader(n: int) -> np.ndarray:
    """[D] the vector whose product with the residual stream is channel n."""
    return _channel(n) / (2 * SMALL**2)


def params() -> dict:
    """The transformer's parameters, fp32."""
    a, log_p = strengths(), np.log(unigram())
    embedding = np.zeros((V, D))
    for i in LIVE:
        if i != CONTEXT_FEATURE:  # attention writes this one
            embedding += np.outer(a[:, i], _channel(READ[i]))
    for token, n in ((AMBIGUOUS, IS_AMBIGUOUS), (MARKER, IS_MARKER), (BOS, IS_BOS)):
        embedding[token] += _channel(n)
    dump = np.sqrt((D - np.square(embedding).sum(axis=1)) / 2) / SMALL
    embedding += np.outer(dump, _channel(DUMP))

    # Head 0: every token looks at BOS, whose value is 0; AMBIGUOUS looks at MARKER if there is one. Rotary positions
    # hardly turn the last pairs of coordinates.
    half, out = D // 2 // 2, 3 * D
    qkv, attn_proj = np.zeros((D, out)), np.zeros((D, D))
    for column, reader in (
        (half - 1, 13.0 / dump.mean() * _reader(DUMP)), (half - 2, 18.4 * _reader(IS_AMBIGUOUS)),
        (D + half - 1, 13.0 * _reader(IS_BOS)), (D + half - 2, 18.4 * _reader(IS_MARKER)),
        (2 * D, _reader(IS_MARKER)),
    ):  # fmt: skip
        qkv[:, column] = reader
    attn_proj[0] = _channel(READ[CONTEXT_FEATURE])

    d, dual = directions(), np.linalg.pinv(directions())
    up = sum(np.outer(_reader(READ[i]), d[i]) for i in LIVE)
    down = sum(np.outer(dual[:, i], _channel(WRITE[i])) for i in range(F))
    unembed = np.outer(_reader(DUMP) / dump.mean(), log_p)
    unembed += sum(np.outer(_reader(WRITE[i]), v) for i, v in enumerate(logit_weights()))
    norm, scale = {"scale": np.ones(D), "bias": np.zeros(D)}, np.linspace(0.5, 2, D)
    block = {
        "ln_attn": norm, "qkv": {"kernel": qkv}, "attn_proj": {"kernel": attn_proj},
        "ln_mlp": norm, "up": {"kernel": up, "bias": np.zeros(M)}, "down": {"kernel": down, "bias": np.zeros(D)},
    }  # fmt: skip
    found = {
        "embed": {"embedding": embedding}, "blocks_0": block, "ln_final": {**norm, "scale": scale},
        "unembed": {"kernel": unembed / scale[:, None]},
    }  # fmt: skip
    return jax.tree.map(lambda x: np.asarray(x, np.float32), found)


def dictionary_params() -> dict[str, np.ndarray]:
    """Published parameters of the dictionary: f_i = a_i - EPSILON, and x̂ = Σ f_i d_i."""
    d = directions()
    b_enc = np.full(F, -EPSILON)
    b_enc[DEAD_FEATURE] = -100
    found = {"W_enc": np.linalg.pinv(d), "b_enc": b_enc, "W_dec": d, "b_dec": np.zeros(M)}
    return {name: np.asarray(x, np.float32) for name, x in found.items()}


def unigram() -> np.ndarray:
    """[V] the probabilities of the model where no feature fires."""
    p = np.full(V, 0.01)
    p[COMMON], p[[BOS, RARE]] = 0.03, 1e-4
    return p / p.sum()


def documents(n: int, seed: int = 0, length: int = T) -> tuple[np.ndarray, np.ndarray]:
    """(tokens [n,length], label [n], an index of LABELS): contexts of one document each, BOS first.

    Documents of "code" begin with MARKER. After a token of SET comes one of EFFECT 7 times out of 10, after a single
    its successor. RARE occurs once in every tenth context.
    """
    rng = np.random.default_rng([17, seed])
    label = np.arange(n) % len(LABELS)
    own = {"hebrew": SET, "dna": DNA}
    tokens = np.full((n, length), BOS)
    for c in range(n):
        name = LABELS[label[c]]
        for t in range(1, length):
            before, draw = tokens[c, t - 1], rng.random(3)
            if name == "code" and t == 1:
                tokens[c, t] = MARKER
            elif before in SET and draw[0] < 0.7:
                tokens[c, t] = rng.choice(EFFECT)
            elif before in SINGLES and draw[0] < 0.7:
                tokens[c, t] = SUCCESSORS[before - SINGLES[0]]
            elif name in own and draw[1] < 0.5:
                tokens[c, t] = rng.choice(own[name])
            elif name in ("code", "prose") and draw[2] < 0.15:
                tokens[c, t] = rng.choice([AMBIGUOUS, AMBIGUOUS, *IMPOSTORS])
            else:
                tokens[c, t] = rng.choice(COMMON)
        if c % 10 == 5:
            tokens[c, length // 2] = RARE
    return tokens.astype(np.int32), label.astype(np.int32)


@dataclasses.dataclass(frozen=True)
class Planted:
    """The model cut at SITE, the dictionary, and the feature sets of both."""

    tapped: TappedModel
    sae: PublishedSAE
    features: feature_sets.FeatureSet
    neurons: feature_sets.FeatureSet

    @property
    def model(self) -> Transformer:
        return self.tapped.model


@functools.cache
def planted() -> Planted:
    return _with(params(), "features")


@functools.cache
def control(seed: int = 0) -> Planted:
    """The model with the entries of its matrices shuffled, and a dictionary as sparse as the planted one whose
    directions are random."""
    return _with(shuffled(params(), seed), "control", seed)


def _with(values: dict, name: str, seed: int | None = None) -> Planted:
    tapped = TappedModel(Transformer(CONFIG), values, SITE, BOS)
    dictionary = dictionary_params()
    if seed is not None:
        d = np.random.default_rng([5, seed]).normal(size=(F, M)).astype(np.float32)
        d /= np.linalg.norm(d, axis=1, keepdims=True)
        h = np.asarray(tapped.rows(documents(40, seed)[0])).reshape(-1, M) @ d.T
        dictionary = {"W_enc": d.T, "b_enc": -np.quantile(h, 0.9, axis=0), "W_dec": d, "b_dec": np.zeros(M, "f4")}
    sae = PublishedSAE(architectures.build(SAE, M, jnp.float32, ()), dictionary)
    return Planted(tapped, sae, feature_sets.dictionary(name, tapped, sae), feature_sets.neurons(tapped))


CONFIG = TransformerConfig(n_layers=1, d_model=D, d_mlp=M, n_heads=2, context_length=T, vocab_size=V)
SAE = ReluConfig(n_features=F)


def tokenizer() -> Tokenizer:
    """Words between spaces."""
    found = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token=WORDS[BOS]))
    found.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    found.add_special_tokens([WORDS[BOS]])
    return found


def write_runs(
    root: pathlib.Path,
    contexts: int = 200,
    seed: int | None = None,
    values: dict | None = None,
    dictionary: dict | None = None,
) -> None:
    """Finished run directories root/transformer and root/sae, as `load_run` opens them. Both splits have `contexts`.
    `seed`: of the dictionary; None: as an import, which has none. `values`, `dictionary`: other parameters."""
    root.mkdir(parents=True, exist_ok=True)
    values = params() if values is None else values
    config = {"seed": 0, "transformer": {**to_dict(CONFIG), "vocab_size": 0}}
    with RunDir(root / "transformer", "train_transformer", config, {}) as rundir:
        _write_text(rundir.path / "text", contexts)
        _checkpoint(rundir.path, values)
        tokens = documents(contexts, seed=1)[0]
        rundir.finish({
            "heldout_loss": make_heldout_loss(Transformer(CONFIG), tokens)(values), "bigram_loss": 0.0,
            "heldout_tokens": int(tokens[:, 1:].size), "params_sha256": params_hash(values),
        })  # fmt: skip
    parents = {"transformer": parent(root / "transformer", "summary.json")}
    config = {"sae": to_dict(SAE), "site": SITE} | ({} if seed is None else {"seed": seed})
    with RunDir(root / "sae", "import", config, parents) as rundir:
        _checkpoint(rundir.path, dictionary_params() if dictionary is None else dictionary)
        about = {"input_scale": 1.0, "site": SITE, "width": M, "published": True}
        write_json(rundir.path / "input.json", about)
        rundir.finish({"n_features": F})


def _write_text(path: pathlib.Path, contexts: int) -> None:
    path.mkdir()
    tokenizer().save(str(path / "tokenizer.json"))
    sources, counts = [], {}
    for seed, split in enumerate(("train", "heldout")):
        tokens, label = documents(contexts, seed)
        np.save(path / f"{split}_tokens.npy", tokens.astype(np.uint16))
        number = np.repeat(np.arange(contexts)[:, None] + len(sources), T, axis=1)
        np.save(path / f"{split}_documents.npy", number.astype(np.int32))
        sources += [{"origin": f"{split}/{c}", "label": LABELS[label[c]]} for c in range(contexts)]
        counts[split] = {"contexts": contexts, "documents": contexts, "bytes": int(tokens.size)}
    write_json(path / "documents.json", sources)
    write_json(path / "text.json", {
        "format": 1, "corpus": "planted", "corpus_sha256": "planted", "vocab_size": V, "bos": BOS, "context_length": T,
        "splits": counts, "tokenizer_given": False, "tokenizer_sha256": file_hash(path / "tokenizer.json"),
    })  # fmt: skip


def _checkpoint(path: pathlib.Path, values: dict) -> None:
    checkpoints = Checkpoints(path / "checkpoints")
    try:
        checkpoints.save(0, jax.tree.map(jnp.asarray, values), {"step": jnp.int32(0)})
        checkpoints.wait()
    finally:
        checkpoints.close()
