"""Tokenizers as they are published: which token begins a context, how tokens are shown, what they lose."""

import json

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.input_summary import InputSummary
from monosem_jax.text.coverage import check_coverage, measure
from monosem_jax.text.pack import TextConfig, prepare_text
from monosem_jax.text.shown import token_strings
from monosem_jax.text.tokenizer import bos_id, load_tokenizer

TEXTS = ["the cat sat on the mat and the dog ran after the cat", "a hat, a mat. the hat was on the mat!"] * 4


def trained(model, trainer, pre, decoder=None, normalizer=None, special=("<s>",), **options) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre
    if decoder is not None:
        tokenizer.decoder = decoder
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    made = trainer(vocab_size=400, special_tokens=list(special), show_progress=False, **options)
    tokenizer.train_from_iterator(TEXTS, made)
    return tokenizer


def gpt2() -> Tokenizer:
    pre, alphabet = pre_tokenizers.ByteLevel(add_prefix_space=False), pre_tokenizers.ByteLevel.alphabet()
    special = ("<|endoftext|>",)
    return trained(
        models.BPE(), trainers.BpeTrainer, pre, decoders.ByteLevel(), None, special, initial_alphabet=alphabet
    )


def llama() -> Tokenizer:
    """BPE with byte fallback and "▁" for spaces."""
    special = ("<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)))
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    model = models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    made = trained(model, trainers.BpeTrainer, pre_tokenizers.Metaspace(), decoders.Sequence(parts), None, special)
    content = json.loads(made.to_str())
    content["added_tokens"] = content["added_tokens"][:3]  # the bytes are ordinary tokens
    made = Tokenizer.from_str(json.dumps(content))
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return made


def bert() -> Tokenizer:
    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
    made = trained(
        models.WordPiece(unk_token="[UNK]"), trainers.WordPieceTrainer, pre_tokenizers.BertPreTokenizer(),
        decoders.WordPiece(), normalizers.BertNormalizer(lowercase=True), special,
    )  # fmt: skip
    ends = [("[CLS]", 2), ("[SEP]", 3)]
    made.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    return made


def unigram() -> Tokenizer:
    pre = pre_tokenizers.Metaspace()
    special = ("<unk>", "<s>")
    return trained(
        models.Unigram(),
        trainers.UnigramTrainer,
        pre,
        decoders.Metaspace(),
        normalizers.NFKC(),
        special,
        unk_token="<unk>",
    )


def words() -> Tokenizer:
    special = ("[UNK]", "<SOS>", "<EOT>")
    return trained(
        models.WordLevel(unk_token="[UNK]"), trainers.WordLevelTrainer, pre_tokenizers.Whitespace(), special=special
    )


KINDS = {"gpt2": gpt2, "llama": llama, "bert": bert, "unigram": unigram, "words": words}
FIRST = {"gpt2": "<|endoftext|>", "llama": "<s>", "bert": "[CLS]", "unigram": "<s>", "words": "<SOS>"}


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param, KINDS[request.param]()


def test_the_token_that_begins_a_context_is_found(kind):
    name, tokenizer = kind
    assert tokenizer.id_to_token(bos_id(tokenizer)) == FIRST[name]


def test_tokens_are_shown_as_the_decoder_shows_them(kind):
    """Joined, without a space at either end, they are the text."""
    name, tokenizer = kind
    strings, text = token_strings(tokenizer), "the cat sat on a hat"
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert "".join(strings[i] for i in ids).strip() == text
    assert strings[bos_id(tokenizer)] == FIRST[name]


def test_bytes_of_a_byte_fallback_are_shown_as_characters_or_in_hexadecimal():
    tokenizer = llama()
    strings = token_strings(tokenizer)
    assert [strings[i] for i in tokenizer.encode("猫", add_special_tokens=False).ids][-3:] == [
        "\\xe7",
        "\\x8c",
        "\\xab",
    ]
    assert strings[tokenizer.token_to_id("<0x0A>")] == "\n"


def test_text_that_a_tokenizer_was_made_for_is_kept(kind):
    assert measure(kind[1], TEXTS).lost == 0


@pytest.mark.parametrize("name, lost", [("gpt2", 0.0), ("llama", 0.0), ("bert", 1.0), ("unigram", 1.0), ("words", 1.0)])
def test_text_in_another_script_is_lost_by_those_without_bytes(name, lost):
    found = measure(KINDS[name](), ["Привет мир"] * 3)
    assert found.share_lost == lost and found.characters == 27


@pytest.mark.parametrize("name", ["bert", "unigram"])
def test_what_a_normalizer_changes_is_not_lost(name):
    upper = ["THE CAT"] if name == "bert" else ["the ｃａｔ"]
    assert measure(KINDS[name](), upper).lost == 0


def test_a_tokenizer_without_bytes_and_without_unknown_token_drops_characters():
    tokenizer = trained(models.BPE(), trainers.BpeTrainer, pre_tokenizers.Whitespace())
    assert measure(tokenizer, ["the Привет"]) == (9, 6, "П")


def test_the_share_that_is_lost_is_counted_below_a_half_and_refused_above(capsys):
    summary = InputSummary()
    check_coverage(words(), ["the cat sat猫 on the mat"], "t.json", summary)
    summary.tell()
    assert summary.record()["characters_lost_share"] == pytest.approx(4 / 18)
    assert "4 of 18 characters looked at (22.2 %)" in capsys.readouterr().out
    with pytest.raises(BadInput, match=r"tokenizer t\.json loses 27 of 27 characters looked at \(100 %\), such as 'П'"):
        check_coverage(words(), ["Привет мир"] * 3, "t.json", summary)


def special_tokens(*names: str) -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    tokenizer.add_special_tokens([AddedToken(n, special=True) for n in names])
    return tokenizer


@pytest.mark.parametrize(
    "names, first",
    [
        (("<unk>", "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"), "<｜begin▁of▁sentence｜>"),
        (("<EOT>", "<SOS>"), "<SOS>"),
        (("<PAD>", "<EOT>"), "<EOT>"),
        (("<BOS_TOKEN>", "<EOS_TOKEN>"), "<BOS_TOKEN>"),
        (("</s>", "<s>"), "<s>"),
        (("<|endoftext|>", "<|startoftext|>"), "<|startoftext|>"),
        (("<|im_start|>", "<|im_end|>", "<|endoftext|>"), "<|endoftext|>"),
        (("[SEP]", "[CLS]"), "[CLS]"),
        (("<|begin_of_sentence|>", "[BOS]"), "[BOS]"),
    ],
)
def test_a_special_token_whose_name_says_that_it_begins_a_text_is_found(names, first):
    tokenizer = special_tokens(*names)
    assert tokenizer.id_to_token(bos_id(tokenizer)) == first


def test_the_post_processor_comes_before_names():
    tokenizer = special_tokens("<s>", "[gMASK]", "<sop>")
    template = [("[gMASK]", 2), ("<sop>", 3)]
    tokenizer.post_processor = processors.TemplateProcessing(single="[gMASK] <sop> $A", special_tokens=template)
    assert bos_id(tokenizer) == 2


def test_a_token_that_the_post_processor_puts_behind_a_text_begins_none():
    """As in T5, which has none: it can be named."""
    tokenizer = special_tokens("<pad>", "</s>", "<unk>")
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    with pytest.raises(BadInput, match=r"special tokens are '<pad>', '</s>', '<unk>': .*text\.bos=NAME"):
        bos_id(tokenizer)
    assert bos_id(tokenizer, "<pad>") == 1
    with pytest.raises(BadInput, match=r"text\.bos is '<bos>': .*special tokens are '<pad>'"):
        bos_id(tokenizer, "<bos>")


def test_a_given_name_is_that_of_a_given_tokenizer():
    with pytest.raises(BadInput, match=r"text\.tokenizer, which is empty"):
        TextConfig(bos="<s>").check()


def test_a_text_is_prepared_with_each_kind(kind, tmp_path):
    kind[1].save(str(tmp_path / "t.json"))
    lines = [json.dumps({"text": f"{t} {i % 3} the", "label": "x"}) for i, t in enumerate(TEXTS)]
    (tmp_path / "c.jsonl").write_text("\n".join(lines))
    config = TextConfig(corpus=str(tmp_path / "c.jsonl"), tokenizer=str(tmp_path / "t.json"), heldout_fraction=0.3)
    text = prepare_text(tmp_path / "text", config, 8, seed=0)
    assert (text.tokens("train")[:, 0] == text.bos).all() and text.manifest["tokenizer_given"]


def test_a_tokenizer_that_cannot_represent_the_text_is_refused_before_anything_is_written(tmp_path):
    words().save(str(tmp_path / "t.json"))
    (tmp_path / "c.jsonl").write_text("\n".join(json.dumps({"text": f"Привет мир {i} " * 9}) for i in range(9)))
    config = TextConfig(corpus=str(tmp_path / "c.jsonl"), tokenizer=str(tmp_path / "t.json"))
    with pytest.raises(BadInput, match="loses"):
        prepare_text(tmp_path / "text", config, 8, seed=0)
    assert not (tmp_path / "text").exists()


def test_a_tokenizer_that_fails_on_a_text_is_refused_by_one_line():
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "<s>": 1}, unk_token="[NOPE]"))
    with pytest.raises(BadInput, match=r"cannot encode the text: .*vocabulary"):
        measure(tokenizer, ["the cat"])


def test_a_tokenizer_without_tokens_is_refused(tmp_path):
    Tokenizer(models.BPE()).save(str(tmp_path / "t.json"))
    with pytest.raises(BadInput, match="has no tokens"):
        load_tokenizer(tmp_path / "t.json")
