"""A client of any endpoint that speaks OpenAI's chat-completions protocol: many requests at once, with patience.

A request that fails for a passing reason (no connection, a timeout, status 408, 409, 425, 429 or 5xx) is tried again,
after the time that the server names or twice as long as the last time. Where no other request can succeed either (the
key is refused, nobody answers), the endpoint counts as down and nothing more is asked.
"""

from __future__ import annotations

import contextlib
import dataclasses
import email.utils
import http.client
import json
import random
import socket
import ssl
import threading
import time
from typing import Any

from monosem_jax.analysis.autointerp.endpoint_config import EndpointConfig, address, secret_key
from monosem_jax.analysis.autointerp.protocol import Refusal
from monosem_jax.runtime.errors import short_error

PASSING = frozenset({408, 409, 425, 429, *range(500, 600)})
HOPELESS = frozenset({401, 402, 403, 404, 405})  # of the key, the account, the model or the address
MOST_BYTES = 16 << 20  # of an answer
LONGEST_WAIT = 300.0  # seconds between two tries
FAILURES_IN_A_ROW = 3  # requests given up, one after the other, after which the endpoint counts as down


@dataclasses.dataclass
class Usage:
    """Requests made, answers that came, and the tokens that the endpoint counted."""

    requests: int = 0
    answers: int = 0
    tokens_in: int = 0
    tokens_out: int = 0


class ChatClient:
    """Asks one endpoint; safe to use from several threads. Raises BadInput on an impossible configuration or key."""

    def __init__(self, config: EndpointConfig):
        config.check()
        self.config, self.parts = config, address(config.base_url)
        self.usage = Usage()
        self.down = ""  # why nothing more is asked
        self._key = secret_key(config.key_variable)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._live: set[socket.socket] = set()
        self._next = 0.0  # when the next request may begin
        self._given_up = 0  # requests, since the last answer

    def request(self, messages: list[dict[str, str]]) -> dict[str, Any]:
        """The body of a request."""
        c = self.config
        body: dict[str, Any] = {"model": c.model, "messages": messages, c.limit_name: c.max_tokens}
        return body if c.temperature < 0 else {**body, "temperature": c.temperature}

    def ask(self, request: dict[str, Any]) -> str | Refusal:
        """The text of the answer, or why there is none."""
        note, wait, n = "", self.config.first_wait, 0
        for n in range(self.config.tries):
            if self.down or self._stop.is_set():
                return Refusal(self.down or "stopped")
            self._take_turn()
            try:
                status, retry_after, body = self._post(json.dumps(request).encode())
            except (OSError, http.client.HTTPException, ValueError) as e:
                note = self._safe(f"{self.config.base_url} does not answer: {_reason(e)}")
                status, retry_after = 0, None
            else:
                if status == 200:
                    return self._content(body)
                note = self._safe(f"{self.config.base_url} answers with status {status}{_detail(body)}")
                if status not in PASSING:
                    return self._lost(note, hopeless=status in HOPELESS)
            pause = retry_after if retry_after is not None else wait * random.uniform(0.5, 1)
            if n + 1 == self.config.tries or pause > LONGEST_WAIT:
                break
            self._hold(pause, everyone=status == 429)
            wait = min(wait * 2, LONGEST_WAIT)
        return self._lost(f"{note} ({n + 1} tries)")

    def close(self) -> None:
        """Ends all requests that are under way, and asks nothing more."""
        self._stop.set()
        with self._lock:
            live = list(self._live)
        for open_ in live:
            _cut(open_)

    def _post(self, body: bytes) -> tuple[int, float | None, bytes]:
        """(status, seconds to wait if the server names them, body of the answer)."""
        ends = time.monotonic() + self.config.timeout
        port, host = self.parts.port, self.parts.hostname or ""
        connection: http.client.HTTPConnection
        if self.parts.scheme == "https":
            secure = ssl.create_default_context()
            connection = http.client.HTTPSConnection(host, port, timeout=self.config.timeout, context=secure)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=self.config.timeout)
        headers = {"Content-Type": "application/json", "Connection": "close"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        connection.connect()
        open_ = connection.sock  # the connection forgets it when the server will close it
        with self._lock:
            self._live.add(open_)
            self.usage.requests += 1
        alarm = threading.Timer(self.config.timeout, _cut, [open_])  # a server may trickle for ever
        alarm.daemon = True
        alarm.start()
        try:
            connection.request("POST", f"{self.parts.path.rstrip('/')}/chat/completions", body, headers)
            response = connection.getresponse()
            found = response.status, _retry_after(response.getheader("Retry-After")), _read(response)
        except (OSError, http.client.HTTPException):
            if time.monotonic() >= ends:
                raise TimeoutError from None
            raise
        finally:
            alarm.cancel()
            with self._lock:
                self._live.discard(open_)
            connection.close()
        if time.monotonic() >= ends:  # what came may have been cut off
            raise TimeoutError
        return found

    def _content(self, body: bytes) -> str | Refusal:
        try:
            found = json.loads(body)
            content = found["choices"][0]["message"]["content"]
        except (ValueError, KeyError, IndexError, TypeError, RecursionError):
            return self._lost(f"{self.config.base_url} answers with something else than a chat completion")
        if not isinstance(content, str):
            return Refusal(f"{self.config.base_url} answers without a text")
        counted = found.get("usage") if isinstance(found.get("usage"), dict) else {}
        with self._lock:
            self._given_up = 0
            self.usage.answers += 1
            self.usage.tokens_in += _count(counted.get("prompt_tokens"))
            self.usage.tokens_out += _count(counted.get("completion_tokens"))
        return self._safe(content)

    def _lost(self, note: str, hopeless: bool = False) -> Refusal:
        with self._lock:
            self._given_up += 1
            if hopeless or self._given_up >= FAILURES_IN_A_ROW:
                self.down = self.down or note
        return Refusal(note)

    def _take_turn(self) -> None:
        """Waits until one more request may begin."""
        gap = 60 / self.config.requests_per_minute if self.config.requests_per_minute else 0.0
        with self._lock:
            begins = max(self._next, time.monotonic())
            self._next = begins + gap
        self._stop.wait(max(begins - time.monotonic(), 0))

    def _hold(self, seconds: float, everyone: bool) -> None:
        """Waits before another try; after status 429 nobody begins a request meanwhile."""
        if everyone:
            with self._lock:
                self._next = max(self._next, time.monotonic() + seconds)
        self._stop.wait(seconds)

    def _safe(self, text: str) -> str:
        """A text without the key, which a server may have sent back."""
        return text.replace(self._key, "[key]") if self._key else text


def _cut(open_: socket.socket) -> None:
    """Ends what another thread reads from a socket."""
    with contextlib.suppress(OSError):  # it may be closed by now
        open_.shutdown(socket.SHUT_RDWR)


def _read(response: http.client.HTTPResponse) -> bytes:
    """The body of an answer, whole and of at most MOST_BYTES."""
    body = response.read(MOST_BYTES + 1)
    if len(body) > MOST_BYTES:
        raise ValueError(f"an answer of more than {MOST_BYTES >> 20} MiB")
    if response.length:
        raise http.client.IncompleteRead(body, response.length)
    return body


def _retry_after(value: str | None) -> float | None:
    """The seconds that a Retry-After header names, as a number or as a date; None where it names none."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return None
    return max(seconds, 0.0) if seconds == seconds else None


def _reason(e: Exception) -> str:
    if isinstance(e, TimeoutError):
        return "timed out"
    if isinstance(e, http.client.IncompleteRead):
        return "the connection was closed within an answer"
    if isinstance(e, OSError) and e.strerror:
        return e.strerror.lower()
    return short_error(e)


def _detail(body: bytes) -> str:
    """What the body of an error says, in a few words."""
    try:
        found = json.loads(body)
        message = found["error"]["message"] if isinstance(found.get("error"), dict) else found["error"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ""
    words = " ".join(str(message).split())[:160]
    return f": {words}" if words else ""


def _count(value: Any) -> int:
    return value if type(value) is int and value >= 0 else 0
