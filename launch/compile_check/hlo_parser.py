"""The text of a compiled program, parsed: computations, instructions, and how often each of them runs.

The text is that of `jax.jit(f).lower(...).compile().as_text()`: XLA's HLO after all its passes.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator
from typing import NamedTuple

# The attributes that name the computations that an instruction runs. A fusion is one pass over memory, whatever it
# contains; the others only name the computation to continue with.
ENTERED = {
    "while": ("condition", "body"),
    "conditional": ("branch_computations", "true_computation", "false_computation"),
    "call": ("to_apply",),
}
WRAPPED = {"fusion": ("calls",), "async": ("calls",)}
COPIES = ("bitcast", "copy", "copy-start", "copy-done")


class Shape(NamedTuple):
    """An array of the program. `space` 0 is the main memory; TPUs have small fast ones, and the host's is another."""

    dtype: str
    dims: tuple[int, ...]
    space: int = 0

    @property
    def elements(self) -> int:
        return math.prod(self.dims)

    @property
    def bytes(self) -> int:
        digits = re.search(r"\d+", self.dtype)
        bits = 8 if self.dtype == "pred" else int(digits[0]) if digits else 0  # a token has no size
        return -(-self.elements * bits // 8)


@dataclasses.dataclass(frozen=True)
class Instruction:
    """A line of the program: `argument` is the text in parentheses, `attributes` the text after them."""

    name: str
    opcode: str
    results: tuple[Shape, ...]
    operands: tuple[str, ...]
    argument: str
    attributes: str
    line: str

    def computations(self, *names: str) -> list[str]:
        """The computations named by the attributes with these names."""
        lists = re.findall(rf"\b(?:{'|'.join(names)})=\{{?((?:%[\w.-]+(?:, )?)+)", self.attributes)
        return [name for found in lists for name in re.findall(r"%([\w.-]+)", found)]

    @property
    def op_name(self) -> str:
        """The JAX operation that the instruction comes from."""
        found = re.search(r'op_name="([^"]*)"', self.attributes)
        return found[1] if found else ""


class Computation(dict[str, Instruction]):
    """Instructions by name, in order."""

    root: Instruction

    def source(self, name: str, *, through: tuple[str, ...]) -> Instruction:
        """The instruction that produces an array, skipping over instructions of these kinds."""
        while (found := self[name]).opcode in through:
            name = found.operands[0]
        return found


class Operand(NamedTuple):
    """Where an instruction is in the program, and how often it runs (None: unknown)."""

    instruction: Instruction
    computation: Computation
    times: int | None
    conditional: bool
    within: Instruction | None  # the fusion, or the asynchronous call, that it is part of


class HloModule:
    """The computations of a compiled program."""

    def __init__(self, text: str):
        self.computations: dict[str, Computation] = {}
        self.entry = ""
        header = text[: text.find("\n")]
        sizes = [int(n) for n in re.findall(r"\b(?:num_partitions|replica_count)=(\d+)", header)]
        self.devices = math.prod(sizes)
        for line in text.splitlines():
            begin = re.match(r"(ENTRY )?%([\w.-]+) \(.*\{$", line)
            if begin:
                current = self.computations[begin[2]] = Computation()
                self.entry = begin[2] if begin[1] else self.entry
            elif found := re.match(r"\s+(ROOT )?%([\w.-]+) = (.*)", line):
                current[found[2]] = _instruction(found[2], found[3], line.strip())
                if found[1]:
                    current.root = current[found[2]]

    def walk(self, *, wrapped: bool = False) -> Iterator[Operand]:
        """Every instruction that runs; those inside fusions only with `wrapped`."""
        yield from self._walk(self.entry, 1, False, None, ENTERED | WRAPPED if wrapped else ENTERED)

    def _walk(self, name, times, conditional, within, entered) -> Iterator[Operand]:
        computation = self.computations[name]
        for i in computation.values():
            yield Operand(i, computation, times, conditional, within)
            kind = i.opcode.removesuffix("-start")
            n = self.trip_count(computation, i) if kind == "while" else 1
            inner = None if n is None or times is None else n * times
            outer = i if kind in WRAPPED else within
            for called in i.computations(*entered[kind]) if kind in entered else ():
                yield from self._walk(called, inner, conditional or kind == "conditional", outer, entered)

    def trip_count(self, computation: Computation, loop: Instruction) -> int | None:
        """How often the body of a loop runs; None if unknown."""
        if known := re.search(r'"known_trip_count":\{"n":"(\d+)"\}', loop.attributes):
            return int(known[1])
        # TPU programs do not state it: find a counter that starts at a constant, grows by 1 and is compared with one.
        condition, body = (self.computations[c] for c in loop.computations("condition", "body"))
        test = condition.root
        if test.opcode != "compare" or "direction=LT" not in test.attributes:
            return None
        counter, end = _counter(condition, test.operands[0]), _constant(condition, test.operands[1])
        initial, final = computation.source(loop.operands[0], through=COPIES), body.root
        if counter is None or end is None or not initial.opcode == final.opcode == "tuple":
            return None
        begin = _constant(computation, initial.operands[counter])
        step = body.source(final.operands[counter], through=COPIES)
        if begin is None or step.opcode != "add" or _counter(body, step.operands[0]) != counter:
            return None
        return max(end - begin, 0) if _constant(body, step.operands[1]) == 1 else None


def _instruction(name: str, text: str, line: str) -> Instruction:
    shape, rest = _balanced(text) if text.startswith("(") else text.split(" ", 1)
    opcode, _, rest = rest.strip().partition("(")
    argument, attributes = _balanced("(" + rest)
    operands = tuple(re.findall(r"%([\w.-]+)", argument))
    return Instruction(name, opcode, _shapes(shape), operands, argument[1:-1], attributes, line)


def _balanced(text: str) -> tuple[str, str]:
    """`text` split after the parenthesis that closes its first one."""
    depth = 0
    for mark in re.finditer(r"[()]", text):
        depth += 1 if mark[0] == "(" else -1
        if not depth:
            return text[: mark.end()], text[mark.end() :]
    return text, ""


def _shapes(text: str) -> tuple[Shape, ...]:
    found = re.findall(r"(\w+)\[([\d,<=]*)\](?:\{[^{}]*?(?:S\((\d+)\))?\})?", text)
    return tuple(Shape(t, tuple(int(d.strip("<=")) for d in dims.split(",") if d), int(s or 0)) for t, dims, s in found)


def _constant(computation: Computation, name: str) -> int | None:
    made = computation.source(name, through=COPIES)
    return int(made.argument) if made.opcode == "constant" and re.fullmatch(r"-?\d+", made.argument) else None


def _counter(computation: Computation, name: str) -> int | None:
    """The index of this value in the loop's state; None if it is not part of it."""
    part = computation.source(name, through=COPIES)
    found = part.opcode == "get-tuple-element" and re.search(r"\bindex=(\d+)", part.attributes)
    return int(found[1]) if found else None
