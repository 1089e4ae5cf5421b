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
import ipaddress
import json
import os
import random
import socket
import ssl
import threading
import time
import urllib.parse
from typing import Any

from monosem_jax.analysis.autointerp.protocol import Refusal
from monosem_jax.runtime.config import check_bounds, field
from monosem_jax.runtime.errors import BadInput, short_error
from monosem_jax.runtime.locations import Place

PASSING = frozenset({408, 409, 425, 429, *range(500, 600)})
HOPELESS = frozenset({401, 402, 403, 404, 405})  # of the key, the account, the model or the address
MOST_BYTES = 16 << 20  # of an answer
LONGEST_WAIT = 300.0  # seconds between two tries
FAILURES_IN_A_ROW = 3  # requests given up, one after the other, after which the endpoint counts as down


@dataclasses.dataclass(frozen=True)
class EndpointConfig:
    """An endpoint with the protocol of OpenAI's chat completions: a service, or a server such as vLLM or llama.cpp."""

    base_url: str = ""
    """Its address up to the version, such as http://localhost:8000/v1; empty: none is used."""
    model: str = ""
    """The name of the model there."""
    key_variable: str = "OPENAI_API_KEY"
    """The environment variable that holds the key; the key itself is never written anywhere."""
    cache: str = field("", identity=False, place=Place())
    """A folder in which answers are kept, and found again by a later run; empty: none."""
    concurrency: int = field(8, at_least=1, at_most=256, identity=False)
    """Requests at the same time."""
    requests_per_minute: int = field(0, at_least=0, identity=False)
    """At most so many requests are begun in a minute; 0: no limit."""
    timeout: float = field(120.0, above=0, identity=False)
    """Seconds until an answer must be complete."""
    tries: int = field(5, at_least=1, identity=False)
    """How often a request is made before it is given up."""
    first_wait: float = field(1.0, at_least=0, identity=False)
    """Seconds before the second try; each later wait is twice as long, up to 300 s."""
    temperature: float = field(0.0, at_least=-1, at_most=2)
    """Of the model's answers; -1: not sent, for models that do not take one."""
    max_tokens: int = field(4096, at_least=1)
    """Tokens that an answer may have."""
    limit_name: str = field("max_tokens", choices=("max_tokens", "max_completion_tokens"))
    """What that limit is called there."""
    dollars_in: float = field(0.0, at_least=0, identity=False)
    """Price of a million tokens of prompts, for the estimate."""
    dollars_out: float = field(0.0, at_least=0, identity=False)
    """Price of a million tokens of answers, for the estimate."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        check_bounds(self, "endpoint.")
        address(self.base_url)
        if not self.model:
            raise BadInput("endpoint.model is empty: expected the name of a model at the endpoint")


def address(base_url: str) -> urllib.parse.SplitResult:
    """The parts of an endpoint's address; raises BadInput on one that is none, or that holds a password."""
    try:
        parts = urllib.parse.urlsplit(base_url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise BadInput("endpoint.base_url is no address: expected http://HOST:PORT/v1 or https://HOST/v1") from None
    if parts.username is not None or parts.password is not None:
        raise BadInput("endpoint.base_url holds a user name or password: give the key in an environment variable")
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        raise BadInput(f"endpoint.base_url is {base_url!r}: expected http://HOST:PORT/v1 or https://HOST/v1")
    return parts


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
        self._key = _key(config.key_variable)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._live: set[http.client.HTTPConnection] = set()
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
        for connection in live:
            with contextlib.suppress(OSError, AttributeError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def _post(self, body: bytes) -> tuple[int, float | None, bytes]:
        """(status, seconds to wait if the server names them, body of the answer)."""
        ends = time.monotonic() + self.config.timeout
        port, host = self.parts.port, self.parts.hostname or ""
        if self.parts.scheme == "https":
            secure = ssl.create_default_context()
            connection = http.client.HTTPSConnection(host, port, timeout=self.config.timeout, context=secure)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=self.config.timeout)
        headers = {"Content-Type": "application/json", "Connection": "close"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        with self._lock:
            self._live.add(connection)
            self.usage.requests += 1
        try:
            connection.request("POST", f"{self.parts.path.rstrip('/')}/chat/completions", body, headers)
            response = connection.getresponse()
            return response.status, _retry_after(response.getheader("Retry-After")), _read(connection, response, ends)
        finally:
            with self._lock:
                self._live.discard(connection)
            connection.close()

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


def _key(variable: str) -> str:
    key = os.environ.get(variable, "").strip() if variable else ""
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise BadInput(f"the environment variable {variable} is no key: expected ASCII characters without spaces")
    return key


def unencrypted(config: EndpointConfig) -> bool:
    """Whether a key would travel unencrypted to another machine."""
    parts = address(config.base_url)
    host = parts.hostname or ""
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    return parts.scheme == "http" and not local and bool(_key(config.key_variable))


def _read(connection: http.client.HTTPConnection, response: http.client.HTTPResponse, ends: float) -> bytes:
    """The body of an answer; raises TimeoutError where it is not complete in time, however steadily it trickles."""
    parts, size = [], 0
    while part := response.read1(1 << 16):
        size += len(part)
        if size > MOST_BYTES:
            raise ValueError(f"an answer of more than {MOST_BYTES >> 20} MiB")
        parts.append(part)
        left = ends - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        if connection.sock is not None:
            connection.sock.settimeout(left)
    if response.length:
        raise http.client.IncompleteRead(b"".join(parts), response.length)
    return b"".join(parts)


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
