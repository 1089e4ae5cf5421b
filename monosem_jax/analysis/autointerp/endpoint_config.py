"""Which endpoint is asked, and how: its address, its model, where its key is found."""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import urllib.parse

from monosem_jax.runtime.config import check_bounds, field
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.locations import Place


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


def secret_key(variable: str) -> str:
    """The key in an environment variable, "" if it is not set. Raises BadInput, without showing it, on what no header
    can hold."""
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
    return parts.scheme == "http" and not local and bool(secret_key(config.key_variable))
