"""What every entry point shares: flags to a frozen configuration, and one clear line for what went wrong."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import pathlib
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from monosem_jax.runtime.config import from_dict, unknown_key
from monosem_jax.runtime.errors import BadInput, Stopped, disk_full
from monosem_jax.runtime.signals import EXIT_STOPPED

EXIT_BAD_INPUT = 2
PATIENCE = 2.0  # seconds
CONFIGS = pathlib.Path(__file__).parent / "configs"
WORKDIR = {"workdir": (None, "Directory of this run: created, resumed, or found finished.")}


def config_dict(config: Any) -> ConfigDict:
    """A frozen dataclass as the ConfigDict that flags can override."""
    values = {
        f.name: config_dict(v) if dataclasses.is_dataclass(v := getattr(config, f.name)) else v
        for f in dataclasses.fields(config)
    }
    return ConfigDict(values, convert_dict=False)


def launch(
    stage: str, config_class: str, config_file: str, prepare: Callable[[Any, Any], Any] = lambda config, flags: config,
    action: Callable[[Any], str] = lambda flags: "", arguments: Mapping[str, tuple[str | None, str]] = WORKDIR,
) -> None:  # fmt: skip
    """Runs the function of the stage's name in `monosem_jax.stages.<stage>` (of another module: `run`) on the
    configuration that flags give; `prepare` may apply more flags, and `action` name another function of the stage.
    `arguments`: flags whose values it takes before the configuration, with their defaults (None: it must be given) and
    what they are."""
    given = {name: flags.DEFINE_string(name, default, what) for name, (default, what) in arguments.items()}
    # The library looks at the overrides on the command line here already, and raises many kinds for a wrong one.
    handle = _guarded(lambda _: _define_config(config_file, stage, config_class), sys.argv)
    for name in (*arguments, "config"):
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[name])
    if any(a in ("--help", "-help", "-h") for a in sys.argv):
        sys.modules["__main__"].__doc__ += _keys_help(stage, config_class)

    def main(argv: Sequence[str]) -> None:
        if len(argv) > 1:
            raise BadInput(f"unexpected argument {argv[1]!r}: every option is a --flag=value")
        if flags.FLAGS.verbosity == 0:
            logging.set_verbosity(logging.WARNING)  # app.run turns on INFO, and Orbax tells a lot
        for name, (_, what) in arguments.items():
            if not given[name].value:
                raise BadInput(f"--{name} is missing: give the {what[0].lower()}{what[1:].partition(':')[0]}")
        importlib.import_module("monosem_jax.runtime.processes").start_processes()  # imported here, as it needs seconds
        module = importlib.import_module(stage if "." in stage else f"monosem_jax.stages.{stage}")
        try:
            values = prepare(handle.value, flags.FLAGS).to_dict()
        except OSError as e:  # a configuration file that cannot be read says so when it is looked at
            raise BadInput(" ".join(str(e).split())) from None
        perform = getattr(module, action(flags.FLAGS) or ("run" if "." in stage else stage))
        perform(*(flag.value for flag in given.values()), from_dict(getattr(module, config_class), values))

    app.run(lambda argv: _guarded(main, argv), flags_parser=lambda argv: _guarded(_parse, argv))


def _define_config(config_file: str, stage: str, config_class: str) -> flags.FlagHolder:
    try:
        return config_flags.DEFINE_config_file(
            "config", str(CONFIGS / config_file), "Configuration FILE[:variant]; --config.key=value overrides a key."
        )
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as e:
        known = _leaves(stage, config_class)
        for argument in sys.argv[1:]:
            name = argument.lstrip("-").split("=")[0]
            if name.startswith("config.") and name.removeprefix("config.") not in known:
                raise BadInput(unknown_key(name, name.removeprefix("config."), known)) from None
        raise BadInput(" ".join(str(e).split())) from None


def _leaves(stage: str, config_class: str) -> dict[str, Any]:
    """The keys that --config.KEY=VALUE takes, with the defaults of the configuration class."""

    def flatten(values: dict[str, Any], prefix: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in values.items():
            found |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        return found

    module = importlib.import_module(stage if "." in stage else f"monosem_jax.stages.{stage}")
    return flatten(config_dict(getattr(module, config_class)()).to_dict(), "")


def _keys_help(stage: str, config_class: str) -> str:
    lines = [f"  --config.{key}={value!r}" for key, value in _leaves(stage, config_class).items()]
    return "\n".join(
        ["\nKeys, with the paper's or the program's defaults; a configuration file may set others:", *lines]
    )


def _parse(argv: Sequence[str]) -> list[str]:
    try:
        return flags.FLAGS(argv)
    except flags.UnrecognizedFlagError as e:
        raise BadInput(f"unknown flag --{e.flagname}: try --help") from None
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as e:
        raise BadInput(" ".join(str(e).split()) or type(e).__name__) from None


def _guarded(body: Callable[[Sequence[str]], Any], argv: Sequence[str]) -> Any:
    """Runs `body`; what a user can mend becomes one line and an exit code, anything else keeps its traceback."""
    if not isinstance(sys.stderr, _Unshaken):
        sys.stdout, sys.stderr = _Unshaken(sys.stdout), _Unshaken(sys.stderr)
    with contextlib.suppress(ValueError):  # a signal outside a loop that handles it: leave like Ctrl-C
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return body(argv)
    except BadInput as e:
        _leave(str(e), EXIT_BAD_INPUT, "error: ")
    except Stopped as e:
        _leave(f"stopped by {e}", EXIT_STOPPED)
    except KeyboardInterrupt:
        _leave("stopped: everything up to the last commit is on disk; the same command resumes", EXIT_STOPPED)
    except Exception as e:
        if disk_full(e):
            full = "the disk is full; what was committed is kept: free space, then the same command resumes"
            _leave(full, 1, "error: ")
        if _processes():
            told = traceback.format_exc()
            time.sleep(PATIENCE)  # if another has died, that is the cause, and a line that says so ends this one
            _leave(told, 1, "error: ")
        raise


class _Unshaken:
    """An output stream whose words are lost where its disk is full; the work goes on, or ends as it should."""

    def __init__(self, stream: Any):
        self._stream = stream

    def write(self, text: str) -> int:
        self._try(self._stream.write, text)
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, act: Callable, *what: str) -> None:
        try:
            act(*what)
        except OSError as e:
            if not disk_full(e):
                raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _leave(line: str, code: int, kind: str = "") -> None:
    """Prints the line and exits; one of several processes gives its number, and does not wait for the others."""
    sharding = _processes()
    who = f"[process {sharding.this_process()[0]}] " if sharding else ""
    sys.stderr.write(f"{kind}{who}{line}\n")  # at once, so that the lines of several processes do not mix
    sys.stderr.flush()
    if sharding:
        sharding.leave(code)
    sys.exit(code)


def _processes() -> Any:
    """The module that knows the other processes if this is one of several, else None."""
    sharding = sys.modules.get("monosem_jax.runtime.processes")  # before it is imported there is one
    return sharding if sharding and sharding.this_process()[1] > 1 else None
