"""A configuration is found by name from any folder, or by its path; a mistake in it is one line."""

import pytest

from experiments import config_files
from monosem_jax.runtime.errors import BadInput

TOPK = 32_768  # features of the shipped topk.py


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize("spec", ["topk", "topk.py", "experiments/configs/topk.py", "./experiments/configs/topk.py"])
def test_a_shipped_configuration_is_found_from_any_folder(folder, spec):
    assert config_files.load(spec).sae.n_features == TOPK
    assert config_files.load(spec).sae.multi == 0 < config_files.load(f"{spec}:multi").sae.multi


@pytest.mark.parametrize("spec", ["topk.py", "./topk.py", "experiments/configs/topk.py", "mine", "/{}/topk.py"])
def test_a_file_that_exists_comes_first(folder, spec):
    name = spec.removeprefix("/{}/")
    write(folder / name, "def get_config(variant='none'):\n    return {'variant': variant}\n")
    spec = spec.replace("/{}", str(folder))
    assert config_files.load(spec) == {"variant": "none"} and config_files.load(f"{spec}:a:b") == {"variant": "a:b"}


def test_a_bare_name_is_the_shipped_one(folder):
    write(folder / "topk", "def get_config():\n    return {}\n")
    assert config_files.load("topk").sae.n_features == TOPK and config_files.load("./topk") == {}


@pytest.mark.parametrize("spec", ["topkk", "topkk.py", "somewhere/topkk.py"])
def test_an_unknown_name_is_answered_with_the_nearest(folder, spec):
    with pytest.raises(BadInput) as refused:
        config_files.load(spec)
    nearest = "nearest: topk, abs_topk, batchtopk"
    assert str(refused.value) == f"--config={spec}: neither the path of a file nor a shipped configuration; {nearest}"


def test_a_name_like_none_is_answered_with_all(folder):
    with pytest.raises(BadInput, match=r"; shipped: a0, a1, a2, .*, transformer_b$"):
        config_files.load("wwwwww")


@pytest.mark.parametrize(
    ("text", "spec", "message"),
    [
        ("", "mine.py", "mine.py has no function get_config()"),
        ("def get_config(:", "mine.py", "SyntaxError at mine.py:1: invalid syntax"),
        ("import nowhere_to_be_found", "mine.py", "ModuleNotFoundError at mine.py:1: No module named"),
        ("import json\ndef get_config():\n    return json.loads('{')\n", "mine.py", "JSONDecodeError at mine.py:3: "),
        ("\ndef get_config():\n    return 1 / 0\n", "mine.py", "ZeroDivisionError at mine.py:3: division by zero"),
        ("def get_config(v):\n    return {}[v]\n", "mine.py:a", "KeyError at mine.py:2: 'a'"),
        (
            "def get_config(v):\n    return {}\n",
            "mine.py",
            "this configuration needs a variant: --config=mine.py:VARIANT",
        ),
        ("def get_config():\n    return {}\n", "mine.py:a", "this configuration has no variants"),
        ("VARIANTS = ('', 'b')\ndef get_config(v):\n    return {}\n", "mine.py:a", "unknown variant 'a', expected b"),
    ],
)
def test_a_mistake_in_a_file_is_one_line_with_its_place(folder, text, spec, message):
    write(folder / "mine.py", text)
    with pytest.raises(BadInput) as refused:
        config_files.load(spec)
    assert str(refused.value).startswith(f"--config={spec}: {message}") and "\n" not in str(refused.value)


def test_a_directory_is_no_configuration(folder):
    with pytest.raises(BadInput, match=r"--config=\. is a directory"):
        config_files.load(".")
