"""What every experiment shares: from a command line to a call of its stage.

The flags of an experiment are read before its stage is imported, because that imports JAX and takes a second or two.
"""

from __future__ import annotations

import dataclasses
import difflib
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import app, flags, logging
from ml_collections import ConfigDict

from experiments import config_files, overrides
from experiments.exits import EXIT_BAD_INPUT, guarded
from experiments.help_text import help_text
from monosem_jax.runtime.config import from_dict, to_dict
from monosem_jax.runtime.errors import BadInput

__all__ = ["EXIT_BAD_INPUT", "WORKDIR", "Experiment", "Flag", "config_dict", "launch"]

HELP = ("--help", "-help", "-h", "--helpshort", "-helpshort")
Flags = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Flag:
    """A flag of an experiment's own, with a value of type `kind`: str, bool or int."""

    meaning: str
    kind: type = str
    default: Any = None
    sets: tuple[str, ...] = ()
    """Keys of the configuration that get its value when it is given."""
    convert: Callable[[Any], Any] = lambda value: value
    """Applied to the value before it is put there."""
    least: int | None = None
    """The smallest possible value of an int."""


WORKDIR = Flag("Directory of this run: created, resumed, or found finished.")


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One experiment, described without importing its stage.

    `stage(flags)` imports and returns the function to call: as `function(*arguments, config)`, where the class of the
    configuration is the annotation of the parameter `config`. `flags` holds the values of the experiment's own flags.
    """

    about: str | None
    """The module's docstring: the beginning of --help."""
    stage: Callable[[Flags], Callable[..., Any]]
    config: str = ""
    """The shipped configuration that is the default; "": the defaults of the class."""
    flags: Mapping[str, Flag] = dataclasses.field(default_factory=dict)
    arguments: Mapping[str, Flag] = dataclasses.field(default_factory=lambda: {"workdir": WORKDIR})
    """Flags whose values the function takes before the configuration; one without a default must be given."""
    prepare: Callable[[dict[str, Any]], None] = lambda values: None
    """May change the values of the configuration (nested dictionaries) after the flags."""

    def config_class(self, values: Flags | None = None) -> type:
        """The class of the configuration; imports the stage."""
        own = {name: flag.default for name, flag in self.flags.items()}
        return typing.get_type_hints(self.stage(values or own))["config"]


def config_dict(config: Any) -> ConfigDict:
    """A frozen dataclass as a ConfigDict, for a configuration file that wants to change some of its values."""
    values = {
        f.name: config_dict(v) if dataclasses.is_dataclass(v := getattr(config, f.name)) else v
        for f in dataclasses.fields(config)
    }
    return ConfigDict(values, convert_dict=False)


def launch(experiment: Experiment) -> None:
    """Runs the experiment on the command line of this process, and exits."""
    tokens = flags.FLAGS.read_flags_from_files(sys.argv[1:])
    if any(token in HELP for token in tokens[: tokens.index("--") if "--" in tokens else None]):
        guarded(lambda: _print_help(experiment, tokens))
        sys.exit(0)
    defined = _define({**experiment.arguments, **experiment.flags})
    line = guarded(lambda: overrides.split(tokens))

    def parse(argv: Sequence[str]) -> list[str]:
        return guarded(lambda: _parse(experiment, [argv[0], *line.own]))

    def main(argv: Sequence[str]) -> None:
        del argv
        guarded(lambda: _run(experiment, line, {name: flag.value for name, flag in defined.items()}))

    app.run(main, flags_parser=parse)


def _define(own: Mapping[str, Flag]) -> dict[str, flags.FlagHolder]:
    kinds = {str: flags.DEFINE_string, bool: flags.DEFINE_bool, int: flags.DEFINE_integer}
    bounds = {name: {"lower_bound": flag.least} if flag.kind is int else {} for name, flag in own.items()}
    return {name: kinds[flag.kind](name, flag.default, flag.meaning, **bounds[name]) for name, flag in own.items()}


def _parse(experiment: Experiment, argv: list[str]) -> list[str]:
    """Parses the experiment's own flags; raises BadInput on a mistake in them."""
    try:
        left = flags.FLAGS(argv)
    except flags.UnrecognizedFlagError as e:
        raise BadInput(_unknown_flag(experiment, e.flagname)) from None
    except (flags.Error, ValueError) as e:
        raise BadInput(" ".join(str(e).split())) from None
    if len(left) > 1:
        raise BadInput(f"unexpected argument {left[1]!r}: every option is a --flag=value")
    for name, flag in experiment.arguments.items():
        if not flags.FLAGS[name].value:
            meaning = flag.meaning[0].lower() + flag.meaning[1:].partition(":")[0].rstrip(".")
            raise BadInput(f"--{name} is missing: give the {meaning}")
    return left


def _unknown_flag(experiment: Experiment, name: str) -> str:
    """The message for a misspelt flag, or for a key without `config.` before it."""
    own = ["config", *experiment.arguments, *experiment.flags]
    near = difflib.get_close_matches(name, own, n=1)
    if not near:
        known = overrides.leaves(to_dict(experiment.config_class()()))
        near = [f"config.{k}" for k in ([name] if name in known else overrides.same_last_part(name, known))]
    return f"unknown flag --{name}: " + (f"did you mean --{' or --'.join(near)}?" if near else "try --help")


def _run(experiment: Experiment, line: overrides.CommandLine, values: Flags) -> None:
    if flags.FLAGS.verbosity == 0:
        logging.set_verbosity(logging.WARNING)  # app.run turns on INFO, and Orbax tells a lot
    function = experiment.stage(values)
    config = _configuration(experiment, line, values)
    from monosem_jax.runtime.processes import start_processes  # imported here: JAX takes a second

    start_processes()
    function(*(values[name] for name in experiment.arguments), config)


def _configuration(experiment: Experiment, line: overrides.CommandLine, values: Flags) -> Any:
    """The configuration that the command line gives."""
    cls = experiment.config_class(values)
    found = to_dict(_start(experiment, line.config, cls))
    overrides.apply(line.overrides, found)
    for name, flag in experiment.flags.items():
        for key in flag.sets if values[name] is not None else ():
            overrides.set_key(found, key, flag.convert(values[name]))
    experiment.prepare(found)
    return from_dict(cls, found)


def _start(experiment: Experiment, spec: str, cls: type) -> Any:
    """The configuration before flags change it."""
    spec = spec or experiment.config
    if not spec:
        return cls()
    found = config_files.load(spec)
    if dataclasses.is_dataclass(found):
        if not issubclass(cls, type(found)):
            kind, expected = type(found).__name__, cls.__name__
            raise BadInput(f"--config={spec} is a {kind}: this experiment takes a {expected}")
        return from_dict(cls, to_dict(found))
    if not isinstance(found, (ConfigDict, dict)):
        raise BadInput(f"--config={spec}: get_config() gives a {type(found).__name__}: expected a configuration")
    return from_dict(cls, found.to_dict() if isinstance(found, ConfigDict) else found)


def _print_help(experiment: Experiment, tokens: Sequence[str]) -> None:
    spec = overrides.split([t for t in tokens if t not in HELP]).config
    config = _start(experiment, spec, experiment.config_class())
    own = {**experiment.arguments, **experiment.flags}
    rows = {f"--{name}" + "=…" * (flag.kind is not bool): flag.meaning for name, flag in own.items()}
    rows["--config=NAME"] = "A shipped configuration, or a Python file with get_config(): NAME or FILE, [:variant]."
    chosen = spec or experiment.config
    origin = f"those of --config={chosen}" if chosen else "the defaults"
    sys.stdout.write(help_text(experiment.about or "", rows, config, origin))
    sys.stdout.flush()
