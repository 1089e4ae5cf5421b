"""Notices that another process of the job has died, and ends this one with a line that names it.

Every process holds a connection to process 0, and both sides send a line over it each second. The kernel closes the
connection at once when a process dies, whatever the others are doing; a stopped process or an unreachable machine is
silent, and counts as dead after `bound` seconds.

JAX alone does not do this: a process that waits for the dead one in a collective may wait for ever (accelerators) or
gets an error of the network library (CPUs); one that waits elsewhere is aborted after JAX's heartbeat, with a stack
dump. MONOSEM_WATCHDOG=0 leaves it to JAX all the same.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import selectors
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import cast

from monosem_jax.runtime.errors import BadInput

EXIT_LOST = 69  # EX_UNAVAILABLE: run the same command again
BEAT = 1.0  # seconds
HEARD = 0.2  # seconds in which others read what is said last: the end of a process may reset its connections
LONGEST = 200  # bytes of a message
STRANGERS = 128  # connections of others that may wait to be turned away, before they hold up ours
KEY = "monosem/lookout"


class Watchdog:
    """One process's watch over the others; `leave` ends the watch before the process ends."""

    def __init__(self, number: int, count: int, bound: float):
        self._number, self._count, self._bound = number, count, bound
        self._peers: dict[socket.socket, _Peer] = {}
        self._quiet = False
        self._selector = selectors.DefaultSelector()

    def start(self, host: str, publish: Callable[[str, str], None], find: Callable[[str], str], port: int = 0) -> None:
        """Connects to process 0 at `host`, at `port`, or (0) at a port that it chooses and shares through `publish` and
        `find`. Raises BadInput when process 0 cannot be reached, or cannot listen."""
        try:
            self._connect(host, publish, find, port)
        except OSError as e:
            raise BadInput(
                f"process {self._number} cannot watch over the others by way of process 0 at {host} ({e}): "
                "MONOSEM_WATCH_PORT chooses the port"
            ) from None
        threading.Thread(target=self._watch, name="lookout", daemon=True).start()

    def _connect(self, host: str, publish: Callable[[str, str], None], find: Callable[[str], str], port: int) -> None:
        if self._number == 0:
            everywhere = not host.startswith("127.")
            self._server = socket.create_server(("" if everywhere else host, port), backlog=self._count + STRANGERS)
            self._token = secrets.token_hex(16)
            self._missing = set(range(1, self._count))
            self._selector.register(self._server, selectors.EVENT_READ)
            publish(KEY, f"{self._server.getsockname()[1]} {self._token}")
        else:
            found, self._token = find(KEY).split()
            connection = socket.create_connection((host, int(found)), timeout=self._bound)
            self._add(connection, 0)
            self._say(connection, f"hello {self._token} {self._number}")
            # JAX aborts the process as soon as its coordinator, process 0, has died, which may be a moment before the
            # watch knows. The C function sleep as the handler of this signal delays that by SIGABRT = 6 seconds.
            libc = ctypes.CDLL(None)
            libc.signal.restype, libc.signal.argtypes = ctypes.c_void_p, (ctypes.c_int, ctypes.c_void_p)
            libc.signal(signal.SIGABRT, ctypes.cast(libc.sleep, ctypes.c_void_p))

    def leave(self) -> None:
        """Stops watching and says goodbye, because this process ends normally."""
        self._quiet = True
        for connection in list(self._peers):
            self._say(connection, "bye")

    def leave_with(self, code: int) -> None:
        """Like `leave`, but tells the others that this process failed."""
        self._quiet = True
        for connection in list(self._peers):
            self._say(connection, f"lost {self._number} it ended with exit code {code}")
        threading.Event().wait(HEARD)

    def be_quiet(self) -> None:
        """Stops watching without telling the others yet."""
        self._quiet = True

    def _watch(self) -> None:
        begun = last = time.monotonic()
        while not self._quiet:
            ready = self._selector.select(BEAT / 2)
            now = time.monotonic()
            if now - last > self._bound / 2:  # this process itself was stopped: what others sent is still unread
                begun += now - last
                for peer in self._peers.values():
                    peer.heard += now - last
            last = now
            for key, _ in ready:
                if self._number == 0 and key.fileobj is self._server:
                    self._accept()
                else:
                    self._hear(cast(socket.socket, key.fileobj))
            for connection, peer in list(self._peers.items()):
                silent = now - peer.heard > self._bound
                if peer.number is None:  # who does not read what is said to it would hold this one up
                    self._forget(connection) if silent else None
                    continue
                if now - peer.told > BEAT:
                    peer.told = now
                    self._say(connection, "here")
                if silent:
                    self._end(peer.number, f"it has been silent for {self._bound:g} s")
            if self._number == 0 and self._missing and now - begun > self._bound:
                self._end(min(self._missing), f"it did not come within {self._bound:g} s")

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            self._add(self._server.accept()[0], None)

    def _add(self, connection: socket.socket, number: int | None) -> None:
        connection.settimeout(self._bound)
        self._peers[connection] = _Peer(number)
        self._selector.register(connection, selectors.EVENT_READ)

    def _forget(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        del self._peers[connection]
        connection.close()

    def _hear(self, connection: socket.socket) -> None:
        peer = self._peers[connection]
        try:
            data = connection.recv(4096)
        except OSError:
            data = b""
        *lines, peer.rest = (peer.rest + data).split(b"\n")
        peer.heard = time.monotonic()
        for line in lines:
            self._understand(connection, peer, line.decode("ascii", "backslashreplace"))
            if connection not in self._peers:
                return
        if not data or len(peer.rest) > LONGEST:
            self._forget(connection)
            if peer.number is not None:  # else it was none of us
                self._end(peer.number, "its connection was closed")

    def _understand(self, connection: socket.socket, peer: _Peer, line: str) -> None:
        word, _, rest = line.partition(" ")
        if peer.number is None:  # it must say first who it is
            token, _, number = rest.partition(" ")
            if word == "hello" and secrets.compare_digest(token, self._token) and number.isdecimal():
                peer.number = int(number)
                self._missing.discard(peer.number)
            else:
                self._forget(connection)
        elif word == "bye":
            self._forget(connection)
        elif word == "lost":
            number, _, why = rest.partition(" ")
            if number.isdecimal():
                self._end(int(number), why[:LONGEST])

    def _say(self, connection: socket.socket, line: str) -> None:
        with contextlib.suppress(OSError):  # that it is closed is found when reading
            connection.sendall(f"{line}\n".encode("ascii", "replace"))

    def _end(self, number: int, why: str) -> None:
        if self._quiet:
            return
        self._quiet = True
        for connection, peer in self._peers.items():
            if peer.number not in (None, number):
                self._say(connection, f"lost {number} {why}")
        if self._peers:
            threading.Event().wait(HEARD)
        line = f"process {number} is gone ({why}): the last checkpoint is on disk, the same command resumes"
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        with contextlib.suppress(OSError):
            os.write(2, f"error: [process {self._number}] {line}\n".encode())
        os._exit(EXIT_LOST)


class _Peer:
    """The other end of a connection; `number` is None until it has said who it is."""

    def __init__(self, number: int | None):
        self.number, self.rest = number, b""
        self.heard = self.told = time.monotonic()
