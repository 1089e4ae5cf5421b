"""Which files of a corpus are read, by which rule the others are left out, and how many there are of each kind."""

from __future__ import annotations

import collections
import os
import pathlib

from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.input_summary import InputSummary, listed, plural

SUFFIXES = (".jsonl", ".jsonl.gz", ".txt")  # in any mixture of upper and lower case


def is_text(name: str) -> bool:
    """Whether a file of this name is read."""
    return name.lower().endswith(SUFFIXES)


def find_files(path: str, summary: InputSummary) -> list[pathlib.Path]:
    """The files of a corpus in name order: `path` itself, or the files in it at any depth.

    In a directory, left out and counted in `summary` are: hidden files and folders (their names begin with a dot),
    files with other suffixes, links to folders (which may lead in circles), files that were found under another name
    already (links), and what is no file (broken links, pipes). Raises BadInput when there is no file to read.
    """
    root = pathlib.Path(path)
    if not root.exists():
        raise BadInput(f"corpus {path} does not exist")
    if not root.is_dir():
        if not is_text(root.name):
            raise BadInput(f"corpus {path}: expected a name ending in {', '.join(SUFFIXES)}, or a directory")
        return [root]
    found = _Search(root)
    found.report(summary)
    if not found.files:
        others = f" (files with other suffixes: {listed(found.suffixes)})" if found.suffixes else ""
        hidden = f" ({plural(found.hidden, 'hidden entry', 'hidden entries')} left out)" if found.hidden else ""
        raise BadInput(f"corpus {path} holds no file ending in {', '.join(SUFFIXES)}{others}{hidden}")
    return found.files


class _Search:
    """The files below a directory, and counts of what was left out."""

    def __init__(self, root: pathlib.Path):
        self.files: list[pathlib.Path] = []
        self.suffixes: collections.Counter[str] = collections.Counter()
        self.hidden = self.folder_links = self.again = self.no_files = 0
        seen: set[tuple[int, int]] = set()
        for file in sorted(self._walk(root)):  # as pathlib orders them: folder by folder
            if not is_text(file.name):
                self.suffixes[file.suffix.lower() or "none"] += 1
            elif not file.is_file():
                self.no_files += 1
            elif (key := (file.stat().st_dev, file.stat().st_ino)) in seen:
                self.again += 1
            else:
                seen.add(key)
                self.files.append(file)

    def _walk(self, root: pathlib.Path) -> list[pathlib.Path]:
        found: list[pathlib.Path] = []
        for folder, names, files in os.walk(root, onerror=_refuse):
            visible = [n for n in names if not n.startswith(".")]
            linked = [n for n in visible if os.path.islink(os.path.join(folder, n))]
            self.hidden += len(names) - len(visible) + sum(n.startswith(".") for n in files)
            self.folder_links += len(linked)
            names[:] = [n for n in visible if n not in linked]
            found += [pathlib.Path(folder, n) for n in files if not n.startswith(".")]
        return found

    def report(self, summary: InputSummary) -> None:
        suffixes = dict(self.suffixes)
        n = sum(suffixes.values())
        read = ", ".join(SUFFIXES)
        summary.add(
            "files_left_out", suffixes, f"{plural(n, 'file')} left out by suffix: {listed(suffixes)}; read are {read}"
        )
        summary.add(
            "hidden_left_out",
            self.hidden,
            f"{plural(self.hidden, 'hidden file or folder', 'hidden files or folders')} left out",
        )
        summary.add(
            "folder_links_left_out",
            self.folder_links,
            f"{plural(self.folder_links, 'link to a folder', 'links to folders')} not followed",
        )
        summary.add(
            "files_again",
            self.again,
            f"{plural(self.again, 'file')} left out: another name of a file that is read (a link)",
        )
        summary.add(
            "not_files",
            self.no_files,
            f"{plural(self.no_files, 'entry', 'entries')} left out that are no file (broken links, pipes)",
        )


def _refuse(error: OSError) -> None:
    raise BadInput(f"corpus folder {error.filename} cannot be read: {error.strerror}")
