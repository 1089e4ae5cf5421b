"""Costs of a compiled program, read from its text: collectives, passes over memory, the largest array.

    compiled = jax.jit(f).lower(...).compile()
    collectives(compiled.as_text());  passes(compiled.as_text(), B * F);  memory(compiled)

All figures are per device: the text of a partitioned program is that of one device. Both branches of a conditional are
read, although a run takes only one; `conditional` marks operations inside a branch.
"""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any, NamedTuple

from launch.compile_check.hlo_parser import ENTERED, Computation, HloModule, Instruction, Operand, Shape

KINDS = (
    "all-reduce", "all-gather", "reduce-scatter", "all-to-all", "ragged-all-to-all", "collective-permute",
    "collective-broadcast",
)  # fmt: skip
# Operations that move no data: they name parts of other arrays, or only allocate buffers.
ZERO_COST_OPS = {"parameter", "tuple", "get-tuple-element", "bitcast", "constant", "opt-barrier", "after-all", *ENTERED}
FREE_TARGETS = ('"AllocateBuffer"', '"ConcatBitcast"')
SLICES = ("dynamic-slice", "slice", "gather")


@dataclasses.dataclass(frozen=True)
class HloCollective:
    """A collective operation. `operands` are each device's inputs; `devices` is the size of each communicating group;
    `times` is how often it runs in one execution of the program (None: in a loop of unknown length). A `conditional`
    one lies in one branch of a conditional, so it may not run at all."""

    kind: str
    operands: tuple[Shape, ...]
    devices: int
    times: int | None
    conditional: bool
    op_name: str

    @property
    def bytes(self) -> int:
        """Bytes that each device puts in, once: its own part in an all-gather, the whole array in a reduce-scatter."""
        return sum(s.bytes for s in self.operands)

    @property
    def sent(self) -> float:
        """Bytes that each device sends, once, if the devices form a ring."""
        others = self.devices - 1
        share = others / self.devices
        factor = {"all-reduce": 2 * share, "all-gather": others, "collective-permute": 1, "collective-broadcast": 1}
        return factor.get(self.kind, share) * self.bytes


def collectives(text: str) -> list[HloCollective]:
    """Every collective of a compiled program, also inside fusions; an asynchronous one (-start … -done) counts once."""
    program = HloModule(text)
    return [_collective(program, p) for p in program.walk(wrapped=True) if _kind(p.instruction) in KINDS]


def _kind(instruction: Instruction) -> str:
    return instruction.opcode.removesuffix("-start")


def _collective(program: HloModule, place: Operand) -> HloCollective:
    i, kind = place.instruction, _kind(place.instruction)
    fusion = place.within.computations("calls")[0] if place.within else ""
    if kind == "all-reduce" and fusion.startswith("all-reduce-scatter"):  # the form of a reduce-scatter on TPUs
        kind = "reduce-scatter"
    operands = tuple(s for name in i.operands for s in place.computation[name].results)
    return HloCollective(kind, operands, _group_size(program, i.attributes), place.times, place.conditional, i.op_name)


def _group_size(program: HloModule, attributes: str) -> int:
    """The number of devices that communicate; for a permutation, the length of the longest chain."""
    if pairs := re.search(r"source_target_pairs=\{((?:\{\d+,\d+\},?)*)\}", attributes):
        return _longest_chain(re.findall(r"(\d+),(\d+)", pairs[1]))
    if listed := re.search(r"replica_groups=\{((?:\{[\d,]*\},?)+)\}", attributes):
        return max(len(group.split(",")) for group in re.findall(r"\{([\d,]*)\}", listed[1]))
    if counted := re.search(r"replica_groups=\[\d+,(\d+)\]<=", attributes):
        return int(counted[1])
    # A mesh with its axes, then the axes of communication: mesh['a'=2,'b'=4] {'b'}; a part of an axis is 'b':(1)2.
    device_ids = r"(?:, device_ids=\((?:[^()]|\([^()]*\))*\))?"
    if mesh := re.search(rf"replica_groups=@?mesh[\[<]([^\]>]*)[\]>]{device_ids} \{{([^}}]*)\}}", attributes):
        sizes = dict(re.findall(r"'?([\w.]+)'?=(\d+)", mesh[1]))
        axes = re.findall(r"'?([\w.]+)'?(?::\(\d+\)(\d+))?(?:,|$)", mesh[2])
        return math.prod(int(part or sizes[axis]) for axis, part in axes)
    return program.devices


def _longest_chain(pairs: list[tuple[str, str]]) -> int:
    after, longest = dict(pairs), 1
    for begin in after:
        seen = [begin]
        while (following := after.get(seen[-1])) is not None and following not in seen:
            seen.append(following)
        longest = max(longest, len(seen))
    return longest


class MemoryAccess(NamedTuple):
    """The arrays in main memory that an instruction reads and writes, each with the size of the part it accesses."""

    place: Operand
    reads: list[Shape]
    writes: list[Shape]


def memory_passes(text: str, elements: int, *, at_least: bool = False) -> dict[str, Any]:
    """How often arrays of `elements` elements (with `at_least`: or more) are read from memory and written to it.

    An instruction in a loop counts once: the numbers are per execution of the loop's body. If only a slice of an array
    is read, or changed in place, the slice's size counts. `by` lists the instructions.
    """

    def count(arrays: list[Shape]) -> int:
        return sum(s.elements == elements or (at_least and s.elements > elements) for s in arrays)

    by = []
    for place, reads, writes in _accesses(HloModule(text)):
        i, n = place.instruction, {"reads": count(reads), "writes": count(writes)}
        if any(n.values()):
            by.append({"name": i.name, "kind": i.opcode, "op_name": i.op_name, "times": place.times, **n})
    return {"reads": sum(row["reads"] for row in by), "writes": sum(row["writes"] for row in by), "by": by}


def traffic(text: str) -> int:
    """Bytes read from and written to memory in one execution of the program, without branches of conditionals.

    Loops of unknown length count once. Data that an instruction uses several times counts once, as if it were cached.
    """
    found = [a for a in _accesses(HloModule(text)) if not a.place.conditional]
    once = [sum(s.bytes for s in (*a.reads, *a.writes)) for a in found]
    return sum(n * (1 if a.place.times is None else a.place.times) for n, a in zip(once, found, strict=True))


def _accesses(program: HloModule) -> list[MemoryAccess]:
    found = []
    for place in program.walk():
        i = place.instruction
        if i.opcode in ZERO_COST_OPS or any(target in i.attributes for target in FREE_TARGETS):
            continue
        # The start of an asynchronous operation reads, and its end writes.
        reads = [] if i.opcode.endswith("-done") else _reads(program, place.computation, i)
        writes = [] if i.opcode.endswith("-start") else _writes(program, place.computation, i)
        found.append(MemoryAccess(place, reads, writes))
    return found


def _reads(program: HloModule, computation: Computation, i: Instruction) -> list[Shape]:
    reads = []
    for number, name in enumerate(i.operands):
        arrays = [s for s in computation[name].results if not s.space]
        if name not in i.operands[:number] and arrays:
            reads += _taken(program, i, number, arrays)
    return reads


def _taken(program: HloModule, i: Instruction, number: int, arrays: list[Shape]) -> list[Shape]:
    """The parts of an operand that an instruction reads: `arrays`, or slices if it only slices the operand."""
    if i.opcode == "fusion":
        fused = program.computations[i.computations("calls")[0]]
        taken = [_taken(program, user, n, arrays) for user, n in _users(fused, number)]
        return arrays if any(t is arrays for t in taken) else [s for t in taken for s in t]
    if number == 0 and _kind(i) in SLICES:
        return [i.results[1 if i.opcode.endswith("-start") else 0]]
    return [] if number == 0 and i.opcode == "dynamic-update-slice" else arrays


def _users(fused: Computation, number: int) -> list[tuple[Instruction, int]]:
    """The instructions that use an argument of a fusion, each with the operand's index."""
    names, users = set(), []
    for name, i in fused.items():
        if (i.opcode, i.argument) == ("parameter", str(number)) or (i.opcode == "bitcast" and i.operands[0] in names):
            names.add(name)
        else:
            users += [(i, n) for n, operand in enumerate(i.operands) if operand in names]
    return users + [(fused.root, -1)] * (fused.root.name in names)  # it may be returned unchanged


def _writes(program: HloModule, computation: Computation, i: Instruction) -> list[Shape]:
    where, made = computation, [i] * len(i.results)
    if i.opcode == "fusion":
        where = program.computations[i.computations("calls")[0]]
        parts = where.root.operands if where.root.opcode == "tuple" else [where.root.name] * len(i.results)
        made = [where.source(part, through=("bitcast",)) for part in parts]
    writes = []
    for shape, source in zip(i.results, made, strict=True):
        update = source.opcode == "dynamic-update-slice"
        writes += [] if shape.space else where[source.operands[1]].results if update else [shape]
    return writes


class LargestArray(NamedTuple):
    """The array with the most elements, and the instruction that produces it."""

    elements: int
    bytes: int
    line: str


def largest(text: str) -> LargestArray:
    """The largest array that a device holds at any time; arrays that exist only inside fusions do not count."""
    lines = [place.instruction for place in HloModule(text).walk()]
    return max((LargestArray(s.elements, s.bytes, i.line) for i in lines for s in i.results), key=lambda x: x.elements)


def memory(compiled: Any) -> dict[str, int]:
    """Bytes on each device. `peak` is arguments + outputs - aliased + temporaries.

    The compiler's own peak is not used: on CPUs it leaves temporaries out, and on TPUs it adds their fast memory.
    """
    m = compiled.memory_analysis()
    sizes = {
        "arguments": m.argument_size_in_bytes,
        "outputs": m.output_size_in_bytes,
        "aliased": m.alias_size_in_bytes,
        "temporaries": m.temp_size_in_bytes,
    }
    return {**sizes, "peak": sum(sizes.values()) - 2 * sizes["aliased"]}


def flops(compiled: Any) -> float | None:
    """The compiler's FLOP count per device, where the body of a loop counts once; None if it gives no count."""
    analysis = compiled.cost_analysis()
    analysis = analysis[0] if isinstance(analysis, (list, tuple)) and analysis else analysis
    return analysis.get("flops") if isinstance(analysis, dict) else None
