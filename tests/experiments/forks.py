"""Programs as separate processes, without the seconds that each would need to import the same libraries.

A server imports them, starts no JAX backend, and forks for every program. The child has the arguments, environment,
directory, output and exit code that `python -m MODULE` would have.
"""

from __future__ import annotations

import importlib
import json
import os
import pathlib
import runpy
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).parents[2]
LONGEST = 1 << 20  # bytes of a request
LIBRARIES = ("monosem_jax.stages.quickstart", "matplotlib.backends.backend_svg", "experiments.entry")


class Server:
    """Starts with the variables of `environment`, of which JAX reads its own when it is imported."""

    def __init__(self, environment: dict[str, str]):
        self._variables = variables_of_jax(environment)
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", "tests.experiments.forks", str(theirs.fileno())]
        self._process = subprocess.Popen(command, cwd=ROOT, env=environment, pass_fds=[theirs.fileno()])
        theirs.close()
        self._lock = threading.Lock()

    def serves(self, environment: dict[str, str]) -> bool:
        """Whether a program with this environment would see what it asks for."""
        return variables_of_jax(environment) == self._variables

    def run(
        self, module: str, flags: tuple[str, ...], environment: dict[str, str], timeout: float
    ) -> subprocess.CompletedProcess:
        """What `python -m module` comes to; raises TimeoutExpired, and then has killed it."""
        command = [sys.executable, "-m", module, *flags]
        request = {"module": module, "flags": flags, "environment": environment, "timeout": timeout}
        with self._lock, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            socket.send_fds(self._socket, [json.dumps(request).encode()], [out.fileno(), err.fileno()])
            code = json.loads(self._socket.recv(LONGEST))
            if code is None:
                raise subprocess.TimeoutExpired(command, timeout)
            texts = [os.pread(f.fileno(), os.fstat(f.fileno()).st_size, 0).decode() for f in (out, err)]
            return subprocess.CompletedProcess(command, code, *texts)

    def close(self) -> None:
        """Ends the server."""
        self._socket.close()
        self._process.wait()


def variables_of_jax(environment: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(("JAX_", "XLA_"))}


def serve(connection: socket.socket) -> dict | None:
    """Forks for every request; comes back in the child with what it is to run, in the server with None at the end."""
    while True:
        data, files, _, _ = socket.recv_fds(connection, LONGEST, 2)
        if not data:
            return None
        request = json.loads(data)
        pid = os.fork()
        if not pid:
            connection.close()
            for target, file in enumerate((os.open(os.devnull, os.O_RDONLY), *files)):
                os.dup2(file, target)
                os.close(file)
            return request
        for file in files:
            os.close(file)
        connection.send(json.dumps(_wait(pid, request["timeout"])).encode())


def _wait(pid: int, timeout: float) -> int | None:
    """The exit code; None where the time is over and the process was killed."""
    end = time.monotonic() + timeout
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
            return None
        time.sleep(0.005)


if __name__ == "__main__":
    for library in LIBRARIES:
        importlib.import_module(library)
    if request := serve(socket.socket(fileno=int(sys.argv[1]))):
        os.environ.clear()
        os.environ.update(request["environment"])
        sys.argv = [request["module"], *request["flags"]]
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
