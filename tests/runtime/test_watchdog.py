"""The watchdog over other processes: in threads with a simulated peer, and in processes that are killed."""

from __future__ import annotations

import contextlib
import queue
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import types
from unittest import mock

import pytest

from launch import local
from monosem_jax.runtime import watchdog as lookout
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.watchdog import EXIT_LOST, KEY, LONGEST, Watchdog

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # the end of a watch
HOST = "127.0.0.1"
PATIENCE = 30  # seconds that nothing here takes, however busy the machine is
FOLLOWS = "the last checkpoint is on disk, the same command resumes"


def line(who: int, gone: int, why: str) -> str:
    return f"error: [process {who}] process {gone} is gone ({why}): {FOLLOWS}\n"


# Watches in this process: an end ends their thread


class Ends:
    """How watches ended, one after the other."""

    def __init__(self):
        self._lines, self._codes = queue.Queue(), queue.Queue()

    def write(self, fd: int, data: bytes) -> None:
        assert fd == 2
        self._lines.put(data.decode())

    def _exit(self, code: int) -> None:
        self._codes.put(code)
        raise SystemExit

    def next(self) -> str:
        """What the next one says, which ends with the exit code for it."""
        assert self._codes.get(timeout=PATIENCE) == EXIT_LOST
        return self._lines.get(timeout=PATIENCE)

    def none(self) -> bool:
        return self._lines.empty() and self._codes.empty()


@pytest.fixture
def ends(monkeypatch) -> Ends:
    """Watches that beat faster, and end neither this process nor change how it takes signals."""
    found = Ends()
    monkeypatch.setattr(lookout, "os", found)
    monkeypatch.setattr(lookout, "ctypes", mock.MagicMock())
    monkeypatch.setattr(lookout, "BEAT", 0.05)
    return found


class Other:
    """The other end of a connection, played by hand."""

    def __init__(self, connection: socket.socket):
        connection.settimeout(PATIENCE)
        self.connection, self._lines = connection, connection.makefile("rb")

    def say(self, text: str | bytes) -> None:
        self.connection.sendall(text if isinstance(text, bytes) else f"{text}\n".encode())

    @contextlib.contextmanager
    def speaking(self):
        """Says that it is there while the block runs."""
        over = threading.Event()

        def speak():
            with contextlib.suppress(OSError):
                while not over.wait(0.05):
                    self.say("here")

        thread = threading.Thread(target=speak)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def hears(self) -> str:
        """The next line that says more than that the watch is there; "" at the end."""
        return next((x for x in iter(self.line, "") if x != "here\n"), "").removesuffix("\n")

    def line(self) -> str:
        with contextlib.suppress(ConnectionResetError):
            return self._lines.readline().decode()
        return ""

    def is_left(self) -> bool:
        """Whether the watch closes the connection."""
        return self.hears() == ""

    def close(self) -> None:
        self._lines.close()
        self.connection.close()


class Hub:
    """A watch of process 0, and where it is."""

    def __init__(self, stack: contextlib.ExitStack, count: int, bound: float, host: str, port: int):
        told, self._stack = {}, stack
        self.watch = Watchdog(0, count, bound)
        self.watch.start(host, told.__setitem__, told.get, port)
        stack.callback(self.watch.be_quiet)
        found, self.token = told[KEY].split()
        self.port = int(found)

    def stranger(self) -> Other:
        found = Other(socket.create_connection((HOST, self.port)))
        self._stack.callback(found.close)
        return found

    def peer(self, number: int) -> Other:
        found = self.stranger()
        found.say(f"hello {self.token} {number}")
        return found

    def has_read(self) -> None:
        """Waits until what was sent before has been read: someone else comes, and is turned away."""
        other = self.stranger()
        other.say("nobody")
        assert other.is_left()


@pytest.fixture
def hub(ends):
    with contextlib.ExitStack() as stack:
        yield lambda count, bound=PATIENCE, host=HOST, port=0: Hub(stack, count, bound, host, port)


@pytest.fixture
def spoke(ends):
    """A function that starts the watch of process 1 of several; the end at process 0, which has heard who it is."""
    with contextlib.ExitStack() as stack:

        def start(bound: float = PATIENCE) -> Other:
            server = stack.enter_context(socket.create_server((HOST, 0)))
            watch = Watchdog(1, 4, bound)
            watch.start(HOST, None, lambda key: f"{server.getsockname()[1]} secret" if key == KEY else "")
            stack.callback(watch.be_quiet)
            other = Other(server.accept()[0])
            stack.callback(other.close)
            assert other.hears() == "hello secret 1"
            other.watch = watch
            return other

        yield start


def test_a_peer_whose_connection_closes_is_named_and_the_others_are_told(hub, ends):
    h = hub(4)
    peers = [h.peer(i) for i in (1, 2, 3)]
    h.has_read()
    peers[1].close()
    assert ends.next() == line(0, 2, "its connection was closed")
    assert {peers[0].hears(), peers[2].hears()} == {"lost 2 its connection was closed"}


def test_a_connection_that_is_reset_counts_as_closed(hub, ends):
    h = hub(2)
    peer = h.peer(1)
    h.has_read()
    reset(peer)
    assert ends.next() == line(0, 1, "its connection was closed")


def test_a_peer_that_is_silent_is_named_and_one_that_says_it_is_there_is_not(hub, ends):
    h = hub(3, 1.0)
    silent, there = h.peer(1), h.peer(2)
    with there.speaking():
        assert ends.next() == line(0, 1, "it has been silent for 1 s")
    assert there.hears() == "lost 1 it has been silent for 1 s"
    silent.connection.settimeout(0.2)
    with pytest.raises(TimeoutError):
        silent.hears()


def test_the_first_of_those_that_never_come_is_named(hub, ends):
    first = hub(4, 0.6).peer(1)
    with first.speaking():
        assert ends.next() == line(0, 2, "it did not come within 0.6 s")
    assert first.hears() == "lost 2 it did not come within 0.6 s"


def test_a_peer_that_said_bye_may_go_and_the_others_are_still_watched(hub, ends):
    h = hub(3)
    leaving, staying = h.peer(1), h.peer(2)
    leaving.say("bye")
    assert leaving.is_left()
    leaving.close()
    h.has_read()
    assert ends.none()
    staying.close()
    assert ends.next() == line(0, 2, "its connection was closed")


def test_what_a_peer_says_of_a_third_is_passed_on(hub, ends):
    h = hub(4)
    peers = {i: h.peer(i) for i in (1, 2, 3)}
    h.has_read()
    peers[1].say("lost 3 it ended with exit code 7")
    assert ends.next() == line(0, 3, "it ended with exit code 7")
    assert peers[2].hears() == peers[1].hears() == "lost 3 it ended with exit code 7"
    assert ends.none()


def test_after_leave_the_others_may_go(hub, ends):
    h = hub(3)
    peers = [h.peer(1), h.peer(2)]
    h.has_read()
    h.watch.leave()
    assert [p.hears() for p in peers] == ["bye", "bye"]
    [p.close() for p in peers]
    time.sleep(0.2)
    assert ends.none()


def test_who_leaves_with_an_exit_code_tells_it_and_goes_on(hub, ends):
    h = hub(2)
    peer = h.peer(1)
    h.has_read()
    h.watch.leave_with(5)
    assert peer.hears() == "lost 0 it ended with exit code 5"
    peer.close()
    time.sleep(0.2)
    assert ends.none()


def reset(peer: Other) -> None:
    """Closes a connection so that the other end cannot even write any more."""
    peer.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def test_one_that_leaves_need_not_be_heard(hub, ends):
    h = hub(3)
    peers = [h.peer(1), h.peer(2)]
    h.has_read()
    h.watch.be_quiet()
    reset(peers[0])
    h.watch.leave()
    h.watch.leave_with(2)
    assert [peers[1].hears() for _ in range(2)] == ["bye", "lost 0 it ended with exit code 2"]


def test_who_does_not_read_holds_a_process_up_for_no_longer_than_the_bound(hub):
    h = hub(2, 7)
    h.peer(1)
    h.has_read()
    assert [connection.gettimeout() for connection in h.watch._peers] == [7]


def test_one_that_is_quiet_tells_nothing_and_minds_no_end(hub, ends):
    h = hub(3)
    peers = [h.peer(1), h.peer(2)]
    h.has_read()
    h.watch.be_quiet()
    peers[0].close()
    peers[1].connection.settimeout(0.3)
    with pytest.raises(TimeoutError):
        peers[1].hears()
    assert ends.none()


def test_an_end_that_is_found_while_one_becomes_quiet_is_none(hub, ends):
    h = hub(2)
    h.watch.be_quiet()
    h.watch._end(1, "its connection was closed")
    assert ends.none()


def test_the_port_is_told_with_a_secret_that_is_another_each_time(hub):
    a, b = hub(2), hub(2)
    assert re.fullmatch("[0-9a-f]{32}", a.token) and a.token != b.token


@pytest.mark.parametrize(("host", "address"), [(HOST, HOST), ("localhost", "0.0.0.0")])
def test_one_on_the_loopback_interface_does_not_listen_to_the_network(hub, host, address):
    assert hub(2, host=host).watch._server.getsockname()[0] == address


def free_port() -> int:
    with socket.create_server((HOST, 0)) as s:
        return s.getsockname()[1]


def test_the_port_may_be_chosen(hub, ends):
    port = free_port()
    h = hub(2, port=port)
    assert h.port == port
    peer = h.peer(1)
    h.has_read()
    peer.close()
    assert ends.next() == line(0, 1, "its connection was closed")


def test_a_port_that_is_taken_is_refused_in_one_line(hub):
    with socket.create_server((HOST, 0)) as taken, pytest.raises(BadInput) as e:
        hub(2, port=taken.getsockname()[1])
    assert re.fullmatch(r"process 0 cannot watch over the others .* MONOSEM_WATCH_PORT chooses the port", str(e.value))


def test_process_0_that_cannot_be_reached_is_named_in_one_line(ends):
    with pytest.raises(BadInput) as e:
        Watchdog(1, 2, 5).start(HOST, None, lambda key: f"{free_port()} secret")
    assert re.fullmatch(rf"process 1 cannot .* by way of process 0 at {HOST} \(.*refused\): MONOSEM.*", str(e.value))


def test_many_may_come_at_once(hub):
    h = hub(2)
    h.watch.be_quiet()  # nobody is let in any more
    with contextlib.ExitStack() as stack:
        for _ in range(50):
            stack.enter_context(socket.create_connection((HOST, h.port), timeout=10))


def test_a_connection_that_cannot_be_taken_does_no_harm(hub, ends, monkeypatch):
    h = hub(2)
    peer, add, failed = h.peer(1), h.watch._add, threading.Event()
    h.has_read()

    def fail(*args):
        monkeypatch.setattr(h.watch, "_add", add)
        failed.set()
        raise OSError("too many open files")

    monkeypatch.setattr(h.watch, "_add", fail)
    h.stranger()
    assert failed.wait(PATIENCE)
    h.has_read()
    peer.close()
    assert ends.next() == line(0, 1, "its connection was closed")


def test_the_launcher_knows_the_exit_code_of_who_has_lost_another():
    assert EXIT_LOST == local.LOST == 69


STRANGE = {
    "an empty line": b"\n",
    "another protocol": b"GET / HTTP/1.1\r\nHost: monosem\r\n\r\n",
    "a wrong secret": b"hello " + b"0" * 32 + b" 1\n",
    "a secret that is not ASCII": b"hello \xff\xfe\xe2\x82\xac 1\n",
    "no secret": b"hello\n",
    "no number": b"hello TOKEN\n",
    "no whole number": b"hello TOKEN -1\n",
    "another word": b"lost TOKEN 1\n",
    "a bye": b"bye\n",
    "a line that is too long": b"x" * (LONGEST + 1),
    "a line of many packets": b"x" * 100_000,
    "zeros": bytes(1000),
}


@pytest.mark.parametrize("kind", STRANGE)
def test_a_stranger_is_turned_away_and_does_no_harm(hub, ends, kind):
    h = hub(2)
    peer, stranger = h.peer(1), h.stranger()
    with contextlib.suppress(ConnectionError):
        stranger.say(STRANGE[kind].replace(b"TOKEN", h.token.encode()))
    assert stranger.is_left()
    h.has_read()
    assert ends.none()
    peer.close()
    assert ends.next() == line(0, 1, "its connection was closed")


def test_a_stranger_does_not_stand_for_a_process_that_is_to_come(hub, ends):
    h = hub(2, 0.6)
    h.stranger().say(f"hello {'0' * 32} 1")
    assert ends.next() == line(0, 1, "it did not come within 0.6 s")


def test_a_stranger_that_says_half_a_line_and_goes_does_no_harm(hub, ends):
    h = hub(2)
    peer = h.peer(1)
    for said in (b"", b"hel", f"hello {h.token} 1".encode()):
        stranger = h.stranger()
        stranger.say(said)
        stranger.close()
    h.has_read()
    assert ends.none()
    peer.close()
    assert ends.next() == line(0, 1, "its connection was closed")


def test_strangers_that_say_nothing_are_told_nothing_and_turned_away_in_the_end(hub, ends):
    h = hub(2, 1.0)
    peer = h.peer(1)
    with peer.speaking():
        strangers = [h.stranger() for _ in range(20)]
        assert {s.line() for s in strangers} == {""}
        assert ends.none()
    peer.close()
    assert ends.next() == line(0, 1, "its connection was closed")


def test_strangers_are_not_told_who_is_gone(hub, ends):
    h = hub(2)
    stranger, peer = h.stranger(), h.peer(1)
    h.has_read()
    peer.close()
    ends.next()
    stranger.connection.settimeout(0.2)
    with pytest.raises(TimeoutError):
        stranger.hears()


def test_messages_may_come_in_pieces_and_several_at_once(hub, ends):
    h = hub(3)
    other, slow = h.peer(2), h.stranger()
    for byte in f"hello {h.token} 1\nhere\nhe".encode():
        slow.say(bytes([byte]))
        time.sleep(0.001)
    h.has_read()
    slow.say(b"re\nhere\nhere\nlost 2 it en")
    h.has_read()
    assert ends.none()
    slow.say(b"ded\nhere\n")
    assert ends.next() == line(0, 2, "it ended")
    assert slow.hears() == "lost 2 it ended"
    other.close()


@pytest.mark.parametrize("said", ["nonsense", "", "lost", "lost x y", "lost -1 y", "\x00\x01", "hello secret 2"])
def test_what_is_not_understood_is_passed_over(spoke, ends, said):
    other = spoke()
    other.say(said)
    other.say("lost 3 of this")
    assert ends.next() == line(1, 3, "of this")


def test_a_reason_is_not_endless(spoke, ends):
    spoke().say("lost 3 " + "x" * 1000)
    assert ends.next() == line(1, 3, "x" * LONGEST)


def test_a_line_without_an_end_is_the_end_of_a_connection(spoke, ends):
    spoke().say(b"x" * (LONGEST + 1))
    assert ends.next() == line(1, 0, "its connection was closed")


def test_every_process_says_that_it_is_there(spoke):
    other = spoke()
    assert [other.line() for _ in range(3)] == ["here\n"] * 3


def test_it_is_said_once_in_a_beat(hub, monkeypatch):
    monkeypatch.setattr(lookout, "BEAT", 0.3)
    peer = hub(2).peer(1)
    time.sleep(1.5)
    peer.connection.setblocking(False)
    assert 1 <= peer.connection.recv(1000).count(b"here\n") <= 6


def test_process_0_says_that_it_is_there(hub):
    h = hub(2)
    peer = h.peer(1)
    assert [peer.line() for _ in range(3)] == ["here\n"] * 3


def test_the_end_of_process_0_is_named(spoke, ends):
    spoke().close()
    assert ends.next() == line(1, 0, "its connection was closed")


def test_the_silence_of_process_0_is_named(spoke, ends):
    other = spoke(0.6)
    assert ends.next() == line(1, 0, "it has been silent for 0.6 s")
    other.close()


def test_process_0_may_go_when_it_has_said_bye(spoke, ends):
    other = spoke(0.3)
    other.say("bye")
    assert other.is_left()
    other.close()
    time.sleep(0.5)
    assert ends.none()


def test_process_0_is_told_when_one_leaves(spoke):
    other = spoke()
    other.watch.leave()
    assert other.hears() == "bye"
    other = spoke()
    other.watch.leave_with(3)
    assert other.hears() == "lost 1 it ended with exit code 3"


@pytest.fixture
def later(monkeypatch):
    """A function that sets the clock of the watches forward."""
    ahead = [0.0]
    monkeypatch.setattr(lookout, "time", types.SimpleNamespace(monotonic=lambda: time.monotonic() + ahead[0]))
    return lambda seconds: ahead.__setitem__(0, ahead[0] + seconds)


def test_a_process_that_stood_still_itself_accuses_nobody(hub, ends, later):
    h = hub(3)
    peer = h.peer(1)
    h.has_read()
    later(10 * PATIENCE)
    h.has_read()
    h.peer(2)
    h.has_read()
    assert ends.none()
    peer.close()
    assert ends.next() == line(0, 1, "its connection was closed")


def test_a_process_that_stood_still_still_notices_silence_afterwards(hub, ends, later):
    h = hub(2, 0.6)
    h.peer(1)
    h.has_read()
    later(10)
    h.has_read()
    assert ends.next() == line(0, 1, "it has been silent for 0.6 s")


# Watches in processes of their own

PROGRAM = """
import ctypes, os, pathlib, sys, time
from monosem_jax.runtime import watchdog
watchdog.BEAT = 0.1
number, count, bound, folder = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), pathlib.Path(sys.argv[4])
def publish(key, value):
    (folder / "half").write_text(value)
    os.rename(folder / "half", folder / "told")
def find(key):
    while not (folder / "told").exists():
        time.sleep(0.01)
    return (folder / "told").read_text()
watch = watchdog.Watchdog(number, count, bound)
watch.start("127.0.0.1", publish, find)
print("ready", flush=True)
word, _, code = sys.stdin.readline().strip().partition(" ")
if word == "leave":
    watch.leave()
elif word == "fail":
    watch.leave_with(int(code))
    os._exit(int(code))
elif word == "abort":
    ctypes.CDLL(None).abort()
"""


class Job:
    """Processes that watch each other."""

    def __init__(self, folder, count: int, bound: float):
        command = [sys.executable, "-c", PROGRAM]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        arguments = [[str(x) for x in (i, count, bound, folder)] for i in range(count)]
        self.processes = [subprocess.Popen([*command, *a], text=True, **pipes) for a in arguments]

    def begin(self) -> Job:
        for p in self.processes:
            assert p.stdout.readline() == "ready\n", p.stderr.read()
        time.sleep(0.2)  # what they said first is read
        return self

    def say(self, number: int, word: str) -> None:
        self.processes[number].stdin.write(f"{word}\n")
        self.processes[number].stdin.flush()

    def signal(self, number: signal.Signals, *who: int) -> None:
        for i in who:
            self.processes[i].send_signal(number)

    def ends(self, *but: int) -> dict[int, tuple[int, str]]:
        """number -> (exit code, stderr) of all processes but those that go on."""
        rest = [i for i in range(len(self.processes)) if i not in but]
        return {i: (self.processes[i].wait(PATIENCE), self.processes[i].stderr.read()) for i in rest}

    def kill(self) -> None:
        for p in self.processes:
            p.kill()
            p.communicate()


@pytest.fixture
def job(tmp_path):
    started = []

    def start(count: int, bound: float = PATIENCE) -> Job:
        started.append(Job(tmp_path, count, bound))
        return started[-1].begin()

    yield start
    [j.kill() for j in started]


@pytest.mark.parametrize("victim", [0, 5])
def test_seven_name_the_eighth_that_was_killed(job, victim):
    j = job(8)
    j.signal(signal.SIGKILL, victim)
    found = j.ends(victim)
    assert found == {i: (EXIT_LOST, line(i, victim, "its connection was closed")) for i in range(8) if i != victim}


@pytest.mark.parametrize("victim", [0, 2])
def test_one_that_is_stopped_is_named_by_all(job, victim):
    j = job(3, 1.5)
    j.signal(signal.SIGSTOP, victim)
    found = j.ends(victim)
    assert found == {i: (EXIT_LOST, line(i, victim, "it has been silent for 1.5 s")) for i in range(3) if i != victim}


def test_a_job_that_stood_still_for_longer_than_the_bound_goes_on(job):
    j = job(3, 2)
    j.signal(signal.SIGSTOP, 0, 1, 2)
    time.sleep(2.3)
    j.signal(signal.SIGCONT, 0, 1, 2)
    time.sleep(0.5)
    [j.say(i, "leave") for i in (1, 2, 0)]
    assert j.ends() == dict.fromkeys(range(3), (0, ""))


@pytest.mark.parametrize("who", [0, 1])
def test_one_that_stood_still_within_the_bound_is_not_accused_and_accuses_nobody(job, who):
    j = job(3, 4)
    j.signal(signal.SIGSTOP, who)
    time.sleep(2.2)
    j.signal(signal.SIGCONT, who)
    time.sleep(0.4)
    [j.say(i, "leave") for i in (1, 2, 0)]
    assert j.ends() == dict.fromkeys(range(3), (0, ""))


def test_all_may_leave_one_after_the_other(job):
    j = job(4)
    for i in (2, 0, 3, 1):
        j.say(i, "leave")
        assert j.processes[i].wait(PATIENCE) == 0
    assert j.ends() == dict.fromkeys(range(4), (0, ""))


def test_the_others_are_told_the_exit_code_of_one_that_fails(job):
    j = job(3)
    j.say(1, "fail 5")
    found = j.ends()
    assert found.pop(1) == (5, "")
    assert found == {i: (EXIT_LOST, line(i, 1, "it ended with exit code 5")) for i in (0, 2)}


def test_a_process_may_end_without_leaving_but_the_other_is_not_deceived(job):
    j = job(2)
    j.say(1, "end")
    assert j.ends() == {0: (EXIT_LOST, line(0, 1, "its connection was closed")), 1: (0, "")}


def test_a_process_that_is_aborted_when_process_0_dies_still_says_so(job):
    j = job(2)
    j.say(1, "abort")
    time.sleep(0.3)
    j.signal(signal.SIGKILL, 0)
    assert j.ends(0) == {1: (EXIT_LOST, line(1, 0, "its connection was closed"))}
