"""The recorded revision is that of this code, or none."""

import subprocess

import pytest

from monosem_jax.runtime import provenance


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A git repository of another project, with a copy of this package's files in it, and git(words…)."""
    package = tmp_path / "lib" / "monosem_jax"
    (package / "runtime").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "runtime" / "provenance.py").touch()

    def git(*words: str) -> str:
        start = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e", *words]
        return subprocess.run(start, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "theirs")
    monkeypatch.setattr(provenance, "__file__", str(package / "runtime" / "provenance.py"))
    return tmp_path, git


def test_an_installation_in_another_projects_checkout_has_no_revision(checkout):
    assert provenance.git_revision() is None


def test_a_package_that_is_part_of_a_checkout_has_its_revision_and_says_when_it_was_changed(checkout, monkeypatch):
    path, git = checkout
    git("add", "lib")
    git("commit", "-q", "-m", "ours")
    revision = git("rev-parse", "HEAD")
    assert provenance.git_revision() == revision
    (path / "notes.txt").write_text("not of the package")
    git("add", "notes.txt")
    assert provenance.git_revision() == revision
    (path / "lib" / "monosem_jax" / "__init__.py").write_text("changed")
    assert provenance.git_revision() == f"{revision}-dirty"
    monkeypatch.setenv("GIT_DIR", str(path / "elsewhere"))
    assert provenance.git_revision() == f"{revision}-dirty"


def test_without_git_there_is_no_revision(checkout, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert provenance.git_revision() is None
