"""The proxies of an analysis, fitted on training text, and their values on contexts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from monosem_jax.analysis.proxies import characters
from monosem_jax.analysis.proxies.catalogue import MAKERS
from monosem_jax.analysis.proxies.patterns import CharacterClass, Function, Marked
from monosem_jax.analysis.proxies.regexes import BoundedPattern
from monosem_jax.analysis.proxies.sample import BLOCK_TOKENS, FitSample
from monosem_jax.analysis.proxies.strings import Proxy
from monosem_jax.analysis.proxies.text import TextBlock, TokenBytes
from monosem_jax.runtime.ambient import pinned
from monosem_jax.runtime.errors import BadInput, listed, short_error
from monosem_jax.text.pack import Text

KINDS = ("regex", "chars")


@dataclasses.dataclass(frozen=True)
class Gap:
    """A proxy that is left out, and why, in one line."""

    proxy: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Proxies:
    """Proxies that are ready for any text of the same tokenizer. `gaps` are those that could not be made; `users` names
    those of the user, which may raise."""

    bytes: TokenBytes
    chosen: tuple[Proxy, ...]
    gaps: tuple[Gap, ...]
    users: frozenset[str]

    @pinned()
    def on(self, tokens: np.ndarray) -> ProxyValues:
        """Their values on contexts [C,T]. Those of the user are tried on all of it at once, so that one that raises is
        left out from the beginning, also in a scan that is resumed."""
        values = ProxyValues(self, tokens)
        if self.users:
            for block in self.bytes.blocks(tokens, max(BLOCK_TOKENS // tokens.shape[1], 1)):
                values.of_block(block, self.users)
        return values

    def __getitem__(self, name: str) -> Proxy:
        """Raises BadInput on a name that is not among them."""
        for proxy in self.chosen:
            if proxy.name == name:
                return proxy
        raise BadInput(f"proxy {name!r} is unknown: expected one of {listed(name, [p.name for p in self.chosen])}")


class ProxyValues:
    """One number per proxy and token of a text, positive where the proxy holds and else 0.

    `failed` says of each proxy that raised why it did: it is 0 from then on, and its sums mean nothing.
    """

    def __init__(self, proxies: Proxies, tokens: np.ndarray):
        self.proxies, self.tokens = proxies, tokens
        self.failed: dict[str, str] = {}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(p.name for p in self.proxies.chosen)

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """Those of the proxies, and those that raised here."""
        return (*self.proxies.gaps, *(Gap(name, reason) for name, reason in self.failed.items()))

    @pinned()
    def values(self, first_context: int, stop_context: int) -> np.ndarray:
        """[P,n,T] float32 on the contexts `first_context` to `stop_context`; 0 at BOS."""
        return self.of_block(self.proxies.bytes.block(self.tokens[first_context:stop_context]), self.names)

    def of_block(self, block: TextBlock, wanted: Collection[str]) -> np.ndarray:
        """The same of a block; 0 for proxies that are not wanted."""
        found = np.zeros((len(self.proxies.chosen), *block.tokens.shape), np.float32)
        for i, proxy in enumerate(self.proxies.chosen):
            if proxy.name in wanted and proxy.name not in self.failed:
                try:
                    found[i] = _finite(held(proxy, block))
                except Exception as e:  # whatever a function of the user raises, the others go on
                    self.failed[proxy.name] = short_error(e)
        return found


def held(proxy: Proxy, block: TextBlock) -> np.ndarray:
    """[n,T] the value of a proxy where it is positive, else 0; 0 at BOS."""
    return np.where(block.real, np.maximum(proxy.values(block), 0), 0)


def _finite(values: np.ndarray) -> np.ndarray:
    """The values as fp32; raises BadInput when one is not finite there."""
    with np.errstate(over="ignore"):
        found = values.astype(np.float32)
    if not np.isfinite(found).all():
        raise BadInput(f"{int((~np.isfinite(found)).sum())} of its values are not finite in fp32")
    return found


@pinned()
def choose_proxies(
    text: Text,
    *,
    names: Iterable[str] | None = None,
    entries: Sequence[str] = (),
    functions: Mapping[str, Callable[[str], Any]] | None = None,
    seed: int = 0,
    sample: FitSample | None = None,
) -> Proxies:
    """The proxies `names` of the package (None: all) and those of the user, fitted on a sample of the training text.

    Args:
      entries: "name=regex:PATTERN" or "name=chars:CLASS", CLASS as between the brackets of a regular expression.
      functions: by name, functions from a run of text to spans or to one number per character.
      sample: the training text to fit them on; None: FIT_TOKENS tokens drawn with `seed`.

    A proxy that cannot be made, or that holds on no token of the sample, is a gap. Raises BadInput on a name of the
    package that does not exist, and on an entry of another form or with a name that is taken.
    """
    names = tuple(MAKERS) if names is None else tuple(names)
    for name in names:
        if name not in MAKERS:
            raise BadInput(f"proxy {name!r} is unknown: expected one of {listed(name, MAKERS)}")
    users = [(name, kind, spec) for name, kind, spec in map(parsed_entry, entries)]
    own = [*(name for name, _, _ in users), *(functions or {})]
    if taken := sorted({n for n in own if own.count(n) > 1 or n in MAKERS}):
        raise BadInput(f"proxy {taken[0]!r} is given twice or is one of the package's: expected another name")
    sample = FitSample.of(text, seed) if sample is None else sample
    makers: dict[str, Callable[[], Proxy]] = {}
    for name in names:
        makers[name] = _made(MAKERS[name], name, sample)
    for name, kind, spec in users:
        makers[name] = _made(_USERS[kind], name, spec)
    for name, function in (functions or {}).items():
        makers[name] = _made(Function, name, function)
    chosen, gaps = [], []
    for name, make in makers.items():
        try:
            proxy = make()
            _check_holds(proxy, sample)
            chosen.append(proxy)
        except Exception as e:  # a function of the user may raise anything
            gaps.append(Gap(name, short_error(e)))
    return Proxies(sample.bytes, tuple(chosen), tuple(gaps), frozenset(own))


def parsed_entry(entry: str) -> tuple[str, str, str]:
    """(name, "regex" or "chars", what comes behind) of an entry; raises BadInput on another form."""
    name, sign, rest = entry.partition("=")
    kind, colon, spec = rest.partition(":")
    if not (sign and colon and name.strip() and spec and kind.strip() in KINDS):
        raise BadInput(f"proxy {entry!r} is not understood: expected NAME=regex:PATTERN or NAME=chars:CLASS")
    return name.strip(), kind.strip(), spec


def _made(make: Callable[..., Proxy], *arguments: Any) -> Callable[[], Proxy]:
    return lambda: make(*arguments)


def _regex(name: str, spec: str) -> Proxy:
    return Marked(name, f"regular expression {spec}", BoundedPattern(spec))


def _chars(name: str, spec: str) -> Proxy:
    return CharacterClass(name, characters.parsed(name, spec))


_USERS: dict[str, Callable[[str, str], Proxy]] = {"regex": _regex, "chars": _chars}


def _check_holds(proxy: Proxy, sample: FitSample) -> None:
    """Raises BadInput when a proxy holds on no token of the sample."""
    if not any((held(proxy, block) > 0).any() for block in sample.blocks):
        raise BadInput(f"it holds on none of the {sample.size:,} tokens of training text looked at")
