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
from monosem_jax.runtime.config import from_dict, moved_key, to_dict, variants_with
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.signals import ignore_notice

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
    least: int | None = None
    """The smallest possible value of an int."""
    config: str = ""
    """The shipped configuration that is the default when the flag is given."""


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
    alone: tuple[str, ...] = ()
    """Flags beside which no argument need be given."""

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
    tokens = guarded(_tokens)
    if any(token in HELP for token in tokens[: tokens.index("--") if "--" in tokens else None]):
        guarded(lambda: _print_help(experiment, tokens))
        sys.exit(0)

    def parse(argv: Sequence[str]) -> list[str]:
        flags.FLAGS.mark_as_parsed()
        return list(argv[:1])  # `read` gets the rest

    def main() -> None:
        function, arguments = read(experiment, tokens)
        if flags.FLAGS.verbosity == 0:
            logging.set_verbosity(logging.WARNING)  # app.run turns on INFO, and Orbax logs a lot
        from monosem_jax.runtime.processes import start_processes, this_process  # imported here: JAX takes a second

        start_processes()
        function(*arguments)
        if this_process()[1] == 1:  # one of several may wait for the others when it leaves
            ignore_notice()

    app.run(lambda argv: guarded(main), flags_parser=parse)


def read(experiment: Experiment, tokens: Sequence[str]) -> tuple[Callable[..., Any], list[Any]]:
    """The function that a command line (without the program's name) calls, and its arguments.

    Raises BadInput on a mistake, before the stage is imported if it is in the experiment's own flags.
    """
    line = overrides.split(tokens)
    values = _parse(experiment, line.own)
    function = _imported(experiment, values)
    config = _configuration(experiment, line, values)
    return function, [*(values[name] for name in experiment.arguments), config]


def _imported(experiment: Experiment, values: Flags) -> Callable[..., Any]:
    """The function of the stage. Raises BadInput where a variable of JAX, which reads them when it is imported, has an
    impossible value."""
    try:
        return experiment.stage(values)
    except ValueError as e:
        if isinstance(e, BadInput) or "JAX" not in str(e):
            raise
        raise BadInput(" ".join(str(e).split())) from None


def _tokens() -> list[str]:
    """The command line without the program's name, with the lines of every --flagfile=FILE in its place."""
    try:
        return flags.FLAGS.read_flags_from_files(sys.argv[1:])
    except flags.Error as e:
        raise BadInput(" ".join(str(e).removeprefix("ERROR:: ").split())) from None


def _define(own: Mapping[str, Flag]) -> flags.FlagValues:
    """The experiment's flags together with those of absl, such as --verbosity."""
    found = flags.FlagValues()
    for name, flag in own.items():
        if flag.kind is bool:
            flags.DEFINE_bool(name, flag.default, flag.meaning, flag_values=found)
        elif flag.kind is int:
            flags.DEFINE_integer(name, flag.default, flag.meaning, lower_bound=flag.least, flag_values=found)
        else:
            flags.DEFINE_string(name, flag.default, flag.meaning, flag_values=found)
    found.append_flag_values(flags.FLAGS)
    return found


def _parse(experiment: Experiment, tokens: Sequence[str]) -> dict[str, Any]:
    """The values of the experiment's own flags."""
    own = {**experiment.arguments, **experiment.flags}
    found = _define(own)
    try:
        left = found(["", *tokens])
    except flags.UnrecognizedFlagError as e:
        raise BadInput(_unknown_flag(experiment, e.flagname)) from None
    except flags.IllegalFlagValueError as e:
        raise BadInput(_wrong_value(experiment, " ".join(str(e).split()))) from None
    except (flags.Error, ValueError) as e:
        raise BadInput(" ".join(str(e).split())) from None
    if len(left) > 1:
        raise BadInput(f"unexpected argument {left[1]!r}: every option is a --flag=value")
    alone = any(found[name].value for name in experiment.alone)
    for name, flag in experiment.arguments.items():
        if not found[name].value and not alone:
            meaning = flag.meaning[0].lower() + flag.meaning[1:].partition(":")[0].rstrip(".")
            raise BadInput(f"--{name} is missing: give the {meaning}")
    return {name: found[name].value for name in own}


def _wrong_value(experiment: Experiment, message: str) -> str:
    """absl's message "flag --step=x: reason" in our wording, if the flag is the experiment's own."""
    name, _, rest = message.removeprefix("flag --").partition("=")
    flag = experiment.flags.get(name)
    if flag is None or flag.kind is str:
        return message
    least = f" from {flag.least}" if flag.least is not None else ""
    return f"--{name} is {rest.partition(':')[0]!r}: expected {overrides.KINDS[flag.kind]}{least}"


def _unknown_flag(experiment: Experiment, name: str) -> str:
    """The message for a misspelt flag, or for a key without `config.` before it."""
    own = ["config", *experiment.arguments, *experiment.flags]
    near = difflib.get_close_matches(name, own, n=1)
    if not near:
        known = overrides.leaves(to_dict(experiment.config_class()()))
        near = [f"config.{k}" for k in ([name] if name in known else overrides.same_last_part(name, known))]
    return f"unknown flag --{name}: " + (f"did you mean --{' or --'.join(near)}?" if near else "try --help")


def _configuration(experiment: Experiment, line: overrides.CommandLine, values: Flags) -> Any:
    """The configuration after the command line's overrides."""
    cls = experiment.config_class(values)
    chosen = (flag.config for name, flag in experiment.flags.items() if flag.config and values[name] is not None)
    found = to_dict(_start(experiment, line.config or next(chosen, ""), cls))
    given = [_under_its_new_name(cls, override) for override in line.overrides]
    for override in given:
        if override.key not in overrides.leaves(found) and (variants := variants_with(cls, override.key)):
            raise BadInput(_of_variants(cls, given, override.key, variants))
    overrides.apply(given, found)
    for name, flag in experiment.flags.items():
        for key in flag.sets if values[name] is not None else ():
            overrides.set_key(found, key, values[name])
    return from_dict(cls, found)


def _under_its_new_name(cls: type, override: overrides.Override) -> overrides.Override:
    """An override as it would be written now: commands of earlier versions go on working, and say what has moved."""
    name = moved_key(cls, override.key)
    if name is None:
        return override
    sys.stderr.write(f"note: config.{override.key} is now config.{name}\n")
    return dataclasses.replace(override, key=name)


def _of_variants(cls: type, given: Sequence[overrides.Override], key: str, variants: Sequence[str]) -> str:
    """The message for a key that only other variants of its section have, such as other architectures."""
    section = key.rpartition(".")[0]
    wanted = [o.text for o in given if o.key == f"{section}.architecture" and o.text in variants]
    file = config_files.with_value(cls, f"{section}.architecture", [*wanted, *variants])
    start = file or "FILE.py, a configuration of one of these"
    return f"config.{key} belongs to {', '.join(variants)}: begin with --config={start}"


def _start(experiment: Experiment, spec: str, cls: type) -> Any:
    """The configuration before the overrides. The shipped default belongs to the class that the experiment has without
    flags: a function that takes another class begins with that one's defaults."""
    spec = spec or (experiment.config if experiment.config and cls is experiment.config_class() else "")
    if not spec:
        return cls()
    found = config_files.load(spec)
    kind: type = type(found)
    if dataclasses.is_dataclass(kind):
        if kind not in cls.__mro__:
            raise BadInput(f"--config={spec} is a {kind.__name__}: this experiment takes a {cls.__name__}")
        return from_dict(cls, to_dict(found))
    if not isinstance(found, (ConfigDict, dict)):
        raise BadInput(f"--config={spec}: get_config() returned a {kind.__name__}, expected a configuration")
    try:
        return from_dict(cls, found.to_dict() if isinstance(found, ConfigDict) else found)
    except BadInput as e:
        raise BadInput(f"--config={spec}: {e}") from None


def _print_help(experiment: Experiment, tokens: Sequence[str]) -> None:
    spec = overrides.split([t for t in tokens if t not in HELP]).config
    config = _start(experiment, spec, experiment.config_class())
    own = {**experiment.arguments, **experiment.flags}
    rows = {f"--{name}" + "=…" * (flag.kind is not bool): flag.meaning for name, flag in own.items()}
    rows["--config=NAME[:VARIANT]"] = "A shipped configuration, or the path of a Python file with get_config()."
    sys.stdout.write(help_text(experiment.about or "", rows, config, spec or experiment.config))
    sys.stdout.flush()
