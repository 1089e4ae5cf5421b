"""The judge that is a language model on this machine: one whose log-probabilities are known, and a tiny random one."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from monosem_jax.analysis.autointerp import local_prompts as prompts
from monosem_jax.analysis.autointerp.agreement import balanced_accuracy
from monosem_jax.analysis.autointerp.answer_cache import AnswerCache
from monosem_jax.analysis.autointerp.calibrate import part, threshold
from monosem_jax.analysis.autointerp.local_config import LocalConfig
from monosem_jax.analysis.autointerp.local_judge import LocalJudge
from monosem_jax.analysis.autointerp.local_model import Answers, LocalModel, answers, check_local
from monosem_jax.analysis.autointerp.ngram_graph import NgramGraph
from monosem_jax.analysis.autointerp.protocol import Known, Refusal
from monosem_jax.analysis.autointerp.reader import Beginning, Reader
from monosem_jax.analysis.autointerp.samples import Samples, draw_samples
from monosem_jax.analysis.autointerp.scoring import judged, known, trial
from monosem_jax.analysis.autointerp.set_scores import score_sets
from monosem_jax.analysis.autointerp.token_set import TokenSet
from monosem_jax.analysis.autointerp.windows import Excerpts
from monosem_jax.models import build_model
from monosem_jax.models.llama import LlamaConfig
from monosem_jax.models.loaded import LoadedModel, Texts
from monosem_jax.models.weights.conventions import Conventions
from monosem_jax.runtime.errors import BadInput
from monosem_jax.text.tokenizer import train_tokenizer
from tests.analysis.autointerp.planted import (
    AFTER,
    FAMILY,
    OF_FAMILY,
    PAIRS,
    SECOND,
    brute_scan,
    planted_set,
    planted_text,
)

SET = planted_set()
TEXT = planted_text()
SHOWN = prompts.Shown([s.encode() for s in TEXT.strings])
CONFIG = LocalConfig(model="known", n_features=0, batch=8, max_tokens=8)
YES, NO, DIGITS = 1, 2, tuple(range(10, 20))
BIAS = 3.0  # of the answers: without calibration everything fires


class KnownReader:
    """Expects Yes where a piece of the description is in the window, and for it the digit 9. A window is e times as
    probable for each piece that is in it. Tokens are characters."""

    def __init__(self) -> None:
        self.read: list[tuple[str, str]] = []

    def encode(self, text):
        return list(map(ord, text))

    def begin(self, tokens, room):
        return Beginning(tuple(tokens), None)

    def go_on(self, begun, tokens, width=0):
        return Beginning((*begun.tokens, *tokens), None)

    def expected(self, begun, endings, at, columns, advance=lambda n: None):
        words = described(begun, "Description: ")
        out = np.zeros((len(endings), len(at[0]), len(columns)), np.float32)
        for i, ids in enumerate(endings):
            text = "".join(map(chr, ids))
            self.read.append((words, text))
            for k, end in enumerate(at[i]):
                seen = text[: end + 1]
                if columns == (YES, NO):
                    out[i, k] = BIAS + hits(words, seen), 0
                else:
                    piece = seen.rpartition("\n")[2].rstrip("\t")
                    out[i, k, 9 if piece in words.split(", ") else 0] = 50
        advance(len(endings))
        return out

    def likelihood(self, begun, endings, advance=lambda n: None):
        words = described(begun, "Words: ")
        texts = ["".join(map(chr, ids)) for ids in endings]
        self.read += [(words, text) for text in texts]
        advance(len(endings))
        return [np.full(len(t) - 1, BIAS + hits(words, t) / (len(t) - 1)) for t in texts]


def described(begun: Beginning, name: str) -> str:
    return "".join(map(chr, begun.tokens)).rpartition(name)[2].partition("\n")[0]


def hits(words: str, text: str) -> int:
    return sum(w in text for w in words.split(", "))


def local(reader=None) -> LocalModel:
    found = dataclasses.make_dataclass("Found", [("conventions", Conventions)])(Conventions((5,), (), where="here"))
    return LocalModel("known", found, reader or KnownReader(), Answers((YES,), (NO,), DIGITS), "0" * 64)


@pytest.fixture(scope="module")
def samples() -> list[Samples]:
    return draw_samples(SET, brute_scan(SET, TEXT.tokens), TEXT, [AFTER, FAMILY, PAIRS], seed=0)[0]


def token_set() -> TokenSet:
    return TokenSet(TEXT.strings, NgramGraph(SET, TEXT).neighbours)


def judge(reader=None, folder=None, **more) -> LocalJudge:
    config = dataclasses.replace(CONFIG, **more)
    return LocalJudge(local(reader), SHOWN, config, AnswerCache(folder), token_set(), "token_set")


def score(found, feature, kind):
    return next(s for j in found if j.feature == feature for s in j.scores if s.kind == kind)


@pytest.mark.parametrize("detection", ["likelihood", "answers"])
def test_known_probabilities_give_the_scores_of_the_token_set(samples, detection):
    found, _ = judged(judge(detection=detection), samples, 0)
    for feature in (FAMILY, AFTER):
        s = score(found, feature, "detection")
        assert s.judge == "known (token_set)" and s.value > 0.8 > 0.7 > s.shuffled
    assert score(found, FAMILY, "detection").value == 1
    assert score(found, FAMILY, "simulation").other > 0.8
    text = next(j for j in found if j.feature == FAMILY).explanation.text
    assert text.split(", ")[0] in {f"<{t}>" for t in OF_FAMILY}


def test_what_is_the_same_without_an_explanation_is_taken_off(samples):
    j = judge()
    (told,) = j.explain([samples[1]])
    windows = np.asarray([[OF_FAMILY[0], 3, 4], [3, 3, 4]])
    np.testing.assert_allclose(j.log_odds(told, windows), [1, 0], atol=1e-5)
    np.testing.assert_allclose(judge(detection="answers").log_odds(told, windows), [BIAS + 1, BIAS], atol=1e-5)


def test_the_threshold_is_the_best_on_the_known_windows():
    rng = np.random.default_rng(0)
    for _ in range(50):
        scores, fires = rng.integers(0, 6, 20).astype(float), rng.random(20) < 0.5
        if fires.all() or not fires.any():
            continue
        t = threshold(scores, fires)
        every = [balanced_accuracy(fires, scores >= c) for c in np.arange(-0.5, 7)]
        assert balanced_accuracy(fires, scores >= t) == pytest.approx(max(every))
        assert not np.isin(t, scores)
    assert threshold(np.asarray([1.0, 2, 3, 4]), np.asarray([False, False, True, True])) == 2.5


def test_nothing_is_scored_on_windows_on_which_the_threshold_is_chosen(samples):
    for s in samples:
        own, (firing, quiet) = known(s), (s.explanation, s.spare)
        scored = {(int(c), int(b)) for w in (s.test, s.quiet) for c, b in zip(w.context, w.start, strict=True)}
        used = {(int(c), int(b)) for w in (firing, quiet) for c, b in zip(w.context, w.start, strict=True)}
        assert len(s.spare) == 30 and not scored & used and (s.spare.activations <= 0).all()
        seen = {tuple(row) for row in own.windows.tokens.tolist()}
        assert seen <= {tuple(row) for w in (firing, quiet) for row in w.tokens.tolist()}
        assert own.fires.sum() >= 10 and (~own.fires).sum() == 30
        assert len(trial(s, 0).windows) == len(trial(s, 0).fires)


def test_the_threshold_does_not_depend_on_the_windows_that_are_scored(samples):
    j, s = judge(), samples[1]
    (told,) = j.explain([s])
    one, other = Excerpts(s.quiet.tokens[:1], ("",)), Excerpts(s.test.tokens, s.test.labels)
    both = Excerpts(np.concatenate([one.tokens, other.tokens]), ("", *other.labels))
    (alone,), (beside,) = (j.detect_calibrated([(told, (w, known(s)))]) for w in (one, both))
    assert alone[0] == beside[0] < 0.5
    turned = Known(known(s).windows, ~known(s).fires)
    assert j.detect_calibrated([(told, (one, turned))])[0][0] != alone[0]
    nothing = Known(one, np.asarray([True]))
    assert isinstance(j.detect_calibrated([(told, (one, nothing))])[0], Refusal)


def test_known_windows_are_taken_from_all_strengths():
    fires = np.asarray([True] * 9 + [False] * 4)
    rows, truth = part(Known(Excerpts(np.zeros((13, 2), int), ("",) * 13), fires), 5)
    assert rows.tolist() == [0, 2, 4, 6, 8, 9, 10, 11, 12] and truth.sum() == 5


def test_answers_are_found_again(samples, tmp_path):
    first, again = KnownReader(), KnownReader()
    one, two = (judged(judge(reader, tmp_path), samples, 0)[0] for reader in (first, again))
    assert one == two and first.read and not again.read
    judged(judge(again, tmp_path, calibration=5), samples, 0)
    assert again.read  # other windows
    for file in tmp_path.glob("*.json"):
        file.write_text('{"content": "[1.0, null]"}')
    assert judged(judge(KnownReader(), tmp_path), samples, 0)[0] == one


def test_a_slow_judge_is_asked_about_some_features():
    scan = brute_scan(SET, TEXT.tokens)
    asked = [judge(n_features=n) for n in (2, 0, 9)]
    found = score_sets([SET], [scan], TEXT, lambda features: [*asked, token_set()], n_features=4)
    assert [len(s.features) for s in found] == [2, 4, 4, 4]
    assert {j.feature for j in found[0].features} < {j.feature for j in found[1].features}


def test_prompts_show_what_is_active(samples):
    s = next(s for s in samples if s.feature == AFTER)
    text = prompts.explain_prompt(s, SHOWN)
    *texts, active, last = text.splitlines()
    assert len(texts) == prompts.SHOWN and all(f"<<<{SECOND}>>>" in line for line in texts)
    assert active == f'Active: "<{SECOND}>"' and last == 'Shared: "'
    shown = prompts.Shown([b"a\n", "é".encode()[:1], "é".encode()[1:]])
    assert shown.text([0, 1, 2]) == "a\\né" and shown.text([1]) == "�"
    assert shown.marked(np.asarray([0, 1, 2, 0]), np.asarray([False, True, True, False])) == "a\\n<<é>>a\\n"


@pytest.fixture(scope="module")
def tiny() -> LoadedModel:
    tokenizer = train_tokenizer(["Yes No yes no the text of a description " * 20], 300)
    shape = LlamaConfig(vocab_size=300, context_length=2048, n_layers=1, d_model=32, d_mlp=48, head_dim=8)
    model = build_model(shape)
    params = model.init(jax.random.key(0), jnp.zeros((1, 4), jnp.int32))["params"]
    params = jax.tree.map(lambda a: a * (6 if a.ndim == 2 else 1), params)  # so that logits differ
    return LoadedModel(model, params, lambda: Texts(tokenizer, 0, Conventions((0,), (0,), where="here")))


def test_a_shared_beginning_and_batches_are_equal_to_whole_passes(tiny):
    reader = Reader(tiny, "tiny", 4)
    rng = np.random.default_rng(0)
    head, middle = rng.integers(1, 300, 21).tolist(), rng.integers(1, 300, 5).tolist()
    endings = [rng.integers(1, 300, n).tolist() for n in (3, 17, 8, 1, 9, 30)]
    at = [[0, len(e) - 1] for e in endings]
    columns = (7, 50, 299)
    begun = reader.begin(head, 24)
    found = reader.expected(reader.go_on(begun, middle, 16), endings, at, columns)
    again = reader.expected(reader.go_on(begun, middle), endings, at, columns)
    for e, places, got, same in zip(endings, at, found, again, strict=True):
        whole = np.asarray(tiny.logits([head + middle + e]))[0, len(head) + len(middle) :]
        np.testing.assert_allclose(got, whole[places][:, columns], atol=1e-4)
        np.testing.assert_allclose(same, got, atol=1e-4)
    assert np.ptp(found) > 0.5
    for e, got in zip(endings, reader.likelihood(reader.go_on(begun, middle, 16), endings), strict=True):
        whole = np.asarray(jax.nn.log_softmax(tiny.logits([head + middle + e])))[0, len(head) + len(middle) :]
        np.testing.assert_allclose(got, whole[np.arange(len(e) - 1), e[1:]], atol=1e-4)
    with pytest.raises(BadInput, match="tiny is asked with prompts of up to 2066 tokens: its context_length is 2048"):
        reader.begin(head, 2045)


def test_a_random_model_judges_from_its_own_explanations(tiny, samples, tmp_path):
    found = LocalModel("tiny", tiny, Reader(tiny, "tiny", 16), answers(tiny.tokenizer, "tiny"), "1" * 64)
    config = dataclasses.replace(CONFIG, calibration=5, max_tokens=4)
    found, _ = judged(LocalJudge(found, SHOWN, config, AnswerCache(tmp_path)), samples[:2], 0)
    for j in found:
        kinds = {s.kind: s for s in j.scores}
        assert kinds["detection"].judge == "tiny" and 0 <= kinds["detection"].value <= 1
        assert kinds["detection"].shuffled is not None and -1 <= kinds["simulation"].other <= 1
        assert j.explanation.judge == "tiny" and j.explanation.text


def test_models_that_cannot_judge_are_refused(tiny, tmp_path):
    with pytest.raises(BadInput, match="nowhere"):
        check_local(str(tmp_path / "nowhere"))
    found = answers(tiny.tokenizer, "tiny")
    for word, ids in (("yes", found.yes), ("no", found.no)):
        assert len(ids) >= 2 and {tiny.tokenizer.decode([i]).strip().lower() for i in ids} == {word}
    assert [tiny.tokenizer.decode([i]) for i in found.digits] == [str(n) for n in range(10)]
    with pytest.raises(BadInput, match=r"local\.model other has no single token for 'yes': expected one for yes, no"):
        answers(train_tokenizer(["no no no"], 260), "other")
    with pytest.raises(BadInput, match=r"local\.kinds"):
        dataclasses.replace(CONFIG, kinds=("guessing",)).check()
    with pytest.raises(BadInput, match=r"local\.kinds is empty"):
        dataclasses.replace(CONFIG, kinds=()).check()
