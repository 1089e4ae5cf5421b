"""A chat-completions server on the loopback interface that also fails, stalls and answers nonsense."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class ChatServer:
    """`answer` maps the parsed request and its number to (status, headers, body). The body is what the model says, or
    bytes that are sent as they are, an iterator of them (with status 0 without any headers), or None: the connection is
    closed without an answer.

    `requests` and `headers` are those that came, `most_at_once` how many were under way at a time."""

    def __init__(self, answer: Callable[[dict[str, Any], int], Any]):
        self.answer = answer
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.most_at_once = self._now = 0
        self._lock = threading.Lock()
        self.release = threading.Event()
        handler = type("Handler", (_Handler,), {"owner": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def taken(self, request: dict[str, Any], headers: dict[str, str]) -> Any:
        with self._lock:
            self.requests.append(request)
            self.headers.append(headers)
            n = len(self.requests)
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        try:
            return self.answer(request, n)
        finally:
            with self._lock:
                self._now -= 1


class _Handler(BaseHTTPRequestHandler):
    owner: ChatServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        assert self.path == "/v1/chat/completions"
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status, headers, said = self.owner.taken(body, dict(self.headers))
        if said is None:
            self.close_connection = True
            return
        if isinstance(said, str):
            usage = {"prompt_tokens": 10, "completion_tokens": 3}
            message = {"role": "assistant", "content": said}
            said = json.dumps({"choices": [{"message": message}], "usage": usage}).encode()
        with contextlib.suppress(OSError):  # the client may be gone
            if not status:
                for part in said:
                    self.wfile.write(part)
                return
            self.send_response(status)
            length = {"Content-Length": str(len(said))} if isinstance(said, bytes) else {}
            for name, value in {**length, **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            for part in [said] if isinstance(said, bytes) else said:
                self.wfile.write(part)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextlib.contextmanager
def serving(answer: Callable[[dict[str, Any], int], Any]) -> Iterator[ChatServer]:
    server = ChatServer(answer)
    thread = threading.Thread(target=server.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.release.set()
        server.server.shutdown()
        server.server.server_close()
