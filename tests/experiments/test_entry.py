"""From a command line to a call: what is given where, and the text of --help."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

from experiments.entry import Experiment, Flag, config_dict, read
from experiments.help_text import help_text
from experiments.overrides import leaves
from experiments.quickstart import EXPERIMENT as QUICKSTART
from experiments.train_sae import EXPERIMENT as TRAIN_SAE
from monosem_jax.runtime.config import to_dict
from monosem_jax.runtime.errors import BadInput
from tests.experiments.tiny import ROOT, environment, run


@dataclasses.dataclass(frozen=True)
class Inner:
    rate: float = 0.5
    """How fast."""
    sizes: tuple[int, ...] = (1, 2)
    """How large; such a long meaning that it does not fit into one line of a terminal, whatever its width may be."""


@dataclasses.dataclass(frozen=True)
class Config:
    name: str = ""
    """What it is called."""
    inner: Inner = Inner()
    """The inside."""


def act(workdir: str, config: Config) -> None:
    """A stage."""


def act_otherwise(workdir: str, config: Config) -> None:
    """Another function of the stage."""


FLAGS = {
    "name": Flag("Its name.", sets=("name",)),
    "other": Flag("Something else.", bool, False),
}
EXPERIMENT = Experiment("About.", lambda flags: act_otherwise if flags["other"] else act, flags=FLAGS)


def config(*tokens: str) -> Config:
    return read(EXPERIMENT, ["--workdir=w", *tokens])[1][-1]


@pytest.fixture
def file(tmp_path):
    """A configuration file with the name "file" and the rate 2."""
    path = tmp_path / "file.py"
    path.write_text(
        "from tests.experiments.test_entry import Config, Inner\n"
        "def get_config():\n    return Config(name='file', inner=Inner(rate=2.0))\n"
    )
    return path


def test_the_function_is_called_with_the_arguments_and_the_configuration():
    assert read(EXPERIMENT, ["--workdir=w"]) == (act, ["w", Config()])
    assert read(EXPERIMENT, ["--workdir", "w", "--other"]) == (act_otherwise, ["w", Config()])


@pytest.mark.parametrize("first", [True, False])
def test_a_configuration_may_stand_before_and_after_the_keys_that_change_it(file, first):
    keys, chosen = ["--config.inner.sizes=(3,)", "--config.name=key"], [f"--config={file}"]
    expected = Config("key", Inner(2.0, (3,)))
    assert config(*(chosen + keys if first else keys + chosen)) == expected


def test_a_flag_sets_its_key_last(file):
    assert config("--config.name=key", "--name=flag") == Config("flag")
    assert config(f"--config={file}").name == "file"


@pytest.mark.parametrize(
    ("experiment", "token", "name", "value"),
    [
        (TRAIN_SAE, "train.schedule=linear", "train.schedule.kind", "linear"),
        (QUICKSTART, "sae.train.b1=0.5", "sae.train.optimizer.b1", 0.5),
    ],
)
def test_a_key_of_an_earlier_version_is_told_its_new_name_and_works(experiment, token, name, value, capsys):
    found = to_dict(read(experiment, ["--workdir=w", f"--config.{token}"])[1][-1])
    assert leaves(found)[name] == value
    assert capsys.readouterr().err == f"note: config.{token.partition('=')[0]} is now config.{name}\n"


@pytest.mark.parametrize("form", ["ConfigDict", "dict", "some keys"])
def test_a_file_may_also_give_a_config_dict_or_dictionaries(tmp_path, form):
    returned = {
        "ConfigDict": "config_dict(Config(name='file', inner=Inner(sizes=())))",
        "dict": "{'name': 'file', 'inner': {'rate': 0.5, 'sizes': ()}}",
        "some keys": "{'name': 'file', 'inner': {'sizes': ()}}",
    }[form]
    (tmp_path / "file.py").write_text(
        "from experiments.entry import config_dict\nfrom tests.experiments.test_entry import Config, Inner\n"
        f"def get_config():\n    return {returned}\n"
    )
    found = config(f"--config={tmp_path / 'file.py'}", "--config.inner.rate=1")
    assert found == Config("file", Inner(1.0, ()))


def test_a_config_dict_can_be_changed():
    found = config_dict(Config())
    found.inner.rate = 3.0
    assert found.to_dict() == {"name": "", "inner": {"rate": 3.0, "sizes": (1, 2)}}


def test_a_file_that_gives_something_else_is_refused(tmp_path):
    (tmp_path / "file.py").write_text("def get_config():\n    return 3\n")
    with pytest.raises(BadInput, match="get_config\\(\\) returned a int, expected a configuration"):
        config(f"--config={tmp_path / 'file.py'}")


def test_a_flag_misspelt_is_found_before_the_stage_is_imported():
    program = (
        "import sys; from experiments.train_sae import EXPERIMENT; from experiments.entry import read\n"
        "try: read(EXPERIMENT, ['--wrkdir=x'])\n"
        "except ValueError as e: print(e, 'jax' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "unknown flag --wrkdir: did you mean --workdir? False\n", done.stderr


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_the_help_has_every_key_with_value_and_meaning_within_the_width(columns):
    text = help_text("About.\n", {"--workdir=…": "Where."}, Config("x"), "mine.py", columns)
    assert max(map(len, text.splitlines())) <= columns
    words = " ".join(text.split())
    for part in (
        "About. Flags --workdir=… Where.",
        "--config=mine.py",
        "name='x' What it is called.",
        "inner: The inside. inner.rate=0.5 How fast.",
        "inner.sizes=(1, 2) How large; such a long meaning that it does not fit into one line of a terminal, whatever",
    ):
        assert part in words


def test_the_help_shows_the_values_of_the_configuration_that_is_chosen():
    done = run("train_sae", "--config=topk:multi", "--help")
    assert done.returncode == 0 and not done.stderr
    assert "\n  sae.multi=0.125" in done.stdout and "\n  online.site='mlp_hidden.0' " in done.stdout
    assert done.stdout.startswith((TRAIN_SAE.about or "").splitlines()[0])


def test_the_help_survives_a_reader_that_is_gone():
    command = f"{sys.executable} -m experiments.sweep --help | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("0\n", "")
