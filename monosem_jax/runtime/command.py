"""The console command `monosem NAME …`: the same as `python -m experiments.NAME …`, from any directory.

An installation has the folders experiments/ and launch/ in monosem_jax/programs/, where no other project's `import
experiments` finds them; a checkout has them beside monosem_jax/. This command puts that place first on the path of its
own process and of the processes that it starts.
"""

from __future__ import annotations

import ast
import difflib
import os
import pathlib
import runpy
import sys

from monosem_jax.runtime.streams import forgiving, open_standard_files

USAGE = """usage: monosem NAME [--flag=value …]        the same as: python -m experiments.NAME [--flag=value …]

monosem NAME --help describes an experiment and the keys of its configuration.
"""


def main() -> None:
    """Runs the experiment that the command line names, or lists all; an unknown name ends with exit code 2."""
    open_standard_files()
    place = programs()
    known = find(place)
    if len(sys.argv) < 2 or sys.argv[1] in ("--help", "-help", "-h"):
        with forgiving():
            print(listing(place, known), end="", flush=True)
    else:
        _run(place, _module(sys.argv[1:], known))


def programs() -> pathlib.Path:
    """The directory that holds experiments/ and launch/."""
    package = pathlib.Path(__file__).resolve().parents[1]
    installed = package / "programs"
    return installed if installed.is_dir() else package.parent


def find(place: pathlib.Path) -> dict[str, pathlib.Path]:
    """ "experiments.train_sae" -> its file, of everything that can be run."""
    found: dict[str, pathlib.Path] = {}
    for folder in ("experiments", "launch"):
        for file in sorted([*(place / folder).glob("*.py"), *(place / folder).glob("*/__main__.py")]):
            name = file.parent.name if file.name == "__main__.py" else file.stem
            if '\nif __name__ == "__main__":' in file.read_text(encoding="utf-8"):
                found[f"{folder}.{name}"] = file
    return found


def listing(place: pathlib.Path, known: dict[str, pathlib.Path]) -> str:
    """The text of `monosem --help`: each program with the first line of its docstring."""
    lines, folder = [USAGE], ""
    for name, file in known.items():
        if name.partition(".")[0] != folder:
            folder = name.partition(".")[0]
            lines.append({"experiments": "Experiments", "launch": "\nSeveral processes, and checks"}[folder])
        about = (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").partition("\n")[0]
        lines.append(f"  {name.removeprefix('experiments.'):<22}{about}")
    return "\n".join(lines) + f"\n\nTheir files: {place}\n"


def _module(words: list[str], known: dict[str, pathlib.Path]) -> str:
    """The module that the first words name; leaves in sys.argv what is for it."""
    name, used = words[0], 1
    if name == "launch" and len(words) > 1 and not words[1].startswith("-"):
        name, used = f"launch.{words[1]}", 2
    name = name if name in known else f"experiments.{name}"
    if name not in known:
        word = " ".join(words[:used])
        short = [n.removeprefix("experiments.") for n in known]
        near = difflib.get_close_matches(word.replace("launch ", "launch."), short, n=1)
        hint = f"did you mean {near[0]}?" if near else "monosem --help lists all"
        sys.stderr.write(f"error: unknown experiment {word!r}: {hint}\n")
        sys.exit(2)
    sys.argv = [sys.argv[0], *words[used:]]
    return name


def put_first(place: pathlib.Path) -> None:
    """Makes `import experiments` and `import launch` find ours, in this process and in those that it starts."""
    sys.path.insert(0, str(place))
    paths = [str(place), *filter(None, [os.environ.get("PYTHONPATH")])]
    # For processes started by this one: without the second, a folder experiments/ in the working directory comes first.
    os.environ |= {"PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}


def _run(place: pathlib.Path, module: str) -> None:
    put_first(place)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
