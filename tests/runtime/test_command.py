"""The console command, and the files of an installation."""

import os
import pathlib
import subprocess
import sys
import tomllib

import pytest

from monosem_jax.runtime import command

ROOT = pathlib.Path(__file__).parents[2]
EXPERIMENTS = {
    "analyze", "bench", "compare", "evaluate", "export", "harvest", "inspect", "quickstart", "report", "suite",
    "sweep", "toy_models", "train_sae", "train_transformer",
}  # fmt: skip


def monosem(cwd, *words: str) -> subprocess.CompletedProcess:
    """The command as a user starts it; `-P` keeps the working directory off the path, as a console script does."""
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from monosem_jax.runtime.command import main; main()"
    start = [sys.executable, "-P", "-c", program, *words]
    return subprocess.run(start, cwd=cwd, capture_output=True, text=True, timeout=300)


def test_everything_that_can_be_run_is_found():
    assert set(command.find(ROOT)) >= {f"experiments.{name}" for name in EXPERIMENTS} | {
        "launch.local", "launch.drill", "launch.compile_check"
    }  # fmt: skip


def test_the_list_has_a_line_for_each(tmp_path):
    done = monosem(tmp_path)
    assert done.returncode == 0 and done.stdout == monosem(tmp_path, "--help").stdout
    for name in [*EXPERIMENTS, "launch.local"]:
        (line,) = [x for x in done.stdout.splitlines() if x.split()[:1] == [name]]
        assert len(line.split()) > 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trainsae"], "error: unknown experiment 'trainsae': did you mean train_sae?\n"),
        (["launch", "locl"], "error: unknown experiment 'launch locl': did you mean launch.local?\n"),
        (["entry"], "error: unknown experiment 'entry': "),
        (["qqqqqqq"], "error: unknown experiment 'qqqqqqq': monosem --help lists all\n"),
    ],
)
def test_an_unknown_name_is_one_line_and_exit_code_2(tmp_path, words, message):
    done = monosem(tmp_path, *words)
    assert done.returncode == 2 and done.stderr.startswith(message) and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("words", [["launch", "local"], ["launch.local"]])
def test_another_projects_experiments_in_the_working_directory_are_not_taken(tmp_path, words):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "__init__.py").write_text("raise SystemExit('not ours')\n")
    flags = [f"--workdir={tmp_path}/run", "--config=quickstart"]
    done = monosem(tmp_path, *words, "--processes=1", "--", "experiments.train_sae", *flags)
    expected = "error: --config=quickstart is a QuickstartConfig: this experiment takes a SaeRunConfig\n"
    assert done.returncode == 2 and done.stderr.startswith(expected), done.stderr


def test_the_package_itself_runs_an_experiment_where_another_project_has_that_folder(tmp_path):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "__init__.py").write_text("raise SystemExit('not ours')\n")
    words = [sys.executable, "-m", "monosem_jax.experiments.train_sae", "--workdir=w", "--config=quickstart"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    expected = "error: --config=quickstart is a QuickstartConfig: this experiment takes a SaeRunConfig\n"
    assert (done.returncode, done.stderr) == (2, expected)


def packages(folder: str) -> list[str]:
    """The packages in a folder of the checkout."""
    return [".".join(p.parent.relative_to(ROOT).parts) for p in (ROOT / folder).rglob("__init__.py")]


def test_all_packages_are_installed_and_none_takes_the_names_experiments_and_launch():
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    programs = [f"monosem_jax.programs.{name}" for name in [*packages("experiments"), *packages("launch")]]
    assert sorted(setup["packages"]) == sorted([*packages("monosem_jax"), *programs])
    assert setup["package-dir"] == {f"monosem_jax.programs.{name}": name for name in ("experiments", "launch")}
