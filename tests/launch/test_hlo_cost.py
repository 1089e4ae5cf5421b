"""Compiled programs whose collectives and passes are known by construction, and lines as other backends write them."""

from __future__ import annotations

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from launch.compile_check.hlo_cost import collectives, flops, largest, memory, memory_passes, traffic
from tests.conftest import mesh_of


def text_of(function, *arguments) -> str:
    return jax.jit(function).lower(*arguments).compile().as_text()


def on_mesh(function) -> str:
    """The program of a function on f32[4,8], the part that each of 2 x 4 devices has of an array."""
    mesh, spec = mesh_of(2, 4), P("data", "model")
    x = jax.ShapeDtypeStruct((2 * 4, 4 * 8), jnp.float32, sharding=NamedSharding(mesh, spec))
    return text_of(jax.shard_map(function, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False), x)


def summary(text: str) -> list[tuple]:
    return [(c.kind, c.bytes, c.devices, c.times) for c in collectives(text)]


PART = 4 * 8 * 4  # bytes of f32[4,8]
ONE = {
    "all-reduce": lambda x: lax.psum(x, "model"),
    "all-gather": lambda x: lax.all_gather(x, "model").sum(0),
    "reduce-scatter": lambda x: jnp.tile(lax.psum_scatter(x, "model", scatter_dimension=0, tiled=True), (4, 1)),
    "all-to-all": lambda x: lax.all_to_all(x, "model", 0, 0, tiled=True),
    "collective-permute": lambda x: lax.ppermute(x, "model", [(i, (i + 1) % 4) for i in range(4)]),
}


@pytest.mark.parametrize("kind", ONE)
def test_a_collective_is_found_with_what_each_device_puts_in(kind):
    text = on_mesh(ONE[kind])
    assert summary(text) == [(kind, PART, 4, 1)]
    (found,) = collectives(text)
    assert sum(s.elements for s in found.operands) == 32 and found.operands[0].dtype == "f32" and not found.conditional


@pytest.mark.parametrize(
    ("kind", "share"), [("all-reduce", 1.5), ("all-gather", 3), ("reduce-scatter", 0.75), ("all-to-all", 0.75),
                        ("collective-permute", 1)]
)  # fmt: skip
def test_a_ring_of_four_sends_these_shares(kind, share):
    (found,) = collectives(on_mesh(ONE[kind]))
    assert found.sent == share * PART


@pytest.mark.parametrize(("axes", "devices"), [("data", 2), ("model", 4), (("data", "model"), 8)])
def test_the_group_is_the_devices_along_the_axes(axes, devices):
    assert summary(on_mesh(lambda x: lax.psum(x, axes))) == [("all-reduce", PART, devices, 1)]


def test_what_the_partitioner_puts_in_is_found_too():
    mesh = mesh_of(2, 4)
    x = jax.ShapeDtypeStruct((16, 32), jnp.float32, sharding=NamedSharding(mesh, P("data", "model")))
    w = jax.ShapeDtypeStruct((32, 8), jnp.bfloat16, sharding=NamedSharding(mesh, P("model", None)))
    f = jax.jit(lambda x, w: x @ w.astype(jnp.float32), out_shardings=NamedSharding(mesh, P("data", None)))
    (found,) = collectives(f.lower(x, w).compile().as_text())
    assert (found.kind, found.operands[0].dims, found.devices) == ("all-reduce", (8, 8), 4)
    assert "dot_general" in found.op_name


def test_a_collective_of_several_arrays_sums_their_bytes():
    text = module("""%b = pred[16]{0} custom-call(%a), custom_call_target="f"
                     %c = s4[5]{0:E(4)} custom-call(%a), custom_call_target="f"
                     %s = (f32[8]{0}, pred[16]{0}, /*index=2*/s4[5]{0:E(4)}) all-reduce(%a, %b, /*index=2*/%c)
                     ROOT %r = f32[8]{0} get-tuple-element(%s), index=0""")
    (found,) = collectives(text)
    assert [(s.dtype, s.dims, s.bytes) for s in found.operands] == [
        ("f32", (8,), 32),
        ("pred", (16,), 16),
        ("s4", (5,), 3),
    ]
    assert found.bytes == 32 + 16 + 3
    summed = collectives(on_mesh(lambda x: sum(lax.psum((x, x[0].astype(jnp.int8)), "model"))))
    assert sum(c.bytes for c in summed) == PART + 8


def test_a_loop_runs_its_collectives_as_often_as_itself_and_one_within_it_multiplies():
    def inner(x, _):
        return lax.psum(x, "model") * 0.5, None

    def outer(x, _):
        return lax.psum(lax.scan(inner, x, None, length=3)[0], "data"), None

    text = on_mesh(lambda x: lax.scan(outer, x, None, length=5)[0])
    assert sorted(summary(text)) == [("all-reduce", PART, 2, 5), ("all-reduce", PART, 4, 15)]


def test_how_often_is_unknown_where_the_data_decide():
    def body(x):
        return lax.fori_loop(0, 3, lambda _, y: lax.psum(y, "model"), x) * 0.5

    assert summary(on_mesh(lambda x: lax.while_loop(lambda x: x[0, 0] > 1, body, x))) == [("all-reduce", PART, 4, None)]


def test_both_branches_of_a_conditional_are_read_and_marked():
    text = on_mesh(lambda x: lax.cond(x[0, 0] > 0, ONE["all-reduce"], ONE["all-gather"], lax.psum(x, "data")))
    found = sorted((c.kind, c.devices, c.conditional) for c in collectives(text))
    assert found == [("all-gather", 4, True), ("all-reduce", 2, False), ("all-reduce", 4, True)]


def test_one_device_has_no_collectives():
    assert not collectives(text_of(lambda x: (x @ x.T).sum(), np.ones((4, 8), np.float32)))


def module(body: str, others: str = "") -> str:
    """A program of eight devices, as text."""
    return f"HloModule m, is_scheduled=true, num_partitions=8\n\n{others}\nENTRY %main (a: f32[8]) -> f32[8] {{\n" + (
        "".join(f"  {line.strip()}\n" for line in ["%a = f32[8]{0} parameter(0)", *body.strip().splitlines()]) + "}\n"
    )


@pytest.mark.parametrize(
    ("groups", "devices"),
    [
        ("replica_groups={{0,1},{2,3},{4,5},{6,7}}", 2),
        ("replica_groups={{0,1,2,3,4,5,6,7}}", 8),
        ("replica_groups={}", 8),
        ("replica_groups=[2,4]<=[8]", 4),
        ("replica_groups=[4,2]<=[2,4]T(1,0)", 2),
        ("replica_groups=mesh['axis_0'=2,'axis_1'=4] {'axis_1'}", 4),
        ("replica_groups=mesh['axis_0'=2,'axis_1'=4] {'axis_0','axis_1'}", 8),
        ("replica_groups=mesh['axis_0'=4,'axis_1'=2], device_ids=([2,4]T(1,0)) {'axis_0'}", 4),
        ("replica_groups=mesh['axis_0'=4,'axis_1'=2], device_ids=(8,3,7,5,4,2,6,0) {'axis_1'}", 2),
        ("replica_groups=@mesh<a=2,b=4,c=4>, device_ids=([4,16]T(1,0)) {a,b:(1)2,c}", 16),
    ],
)
def test_groups_in_every_notation(groups, devices):
    text = module(f"ROOT %r = f32[8]{{0}} all-reduce(%a), channel_id=1, {groups}, to_apply=%add, metadata={{}}")
    assert summary(text) == [("all-reduce", 32, devices, 1)]


def test_the_devices_of_a_permutation_are_those_of_its_longest_chain():
    text = module("ROOT %r = f32[8]{0} collective-permute(%a), source_target_pairs={{0,1},{1,2},{3,4},{5,6},{6,5}}")
    assert summary(text) == [("collective-permute", 32, 3, 1)]


def test_what_runs_meanwhile_counts_once():
    """Start and end as GPUs and TPUs write them, some in a computation of their own."""
    text = module(
        """
        %r0 = (f32[8]{0}, f32[32]{0}) all-gather-start(%a), replica_groups=[2,4]<=[8], dimensions={0}
        %r1 = f32[32]{0} all-gather-done(%r0)
        %s0 = ((f32[32]{0}), f32[8]{0}) reduce-scatter-start(%r1), replica_groups=[2,4]<=[8], to_apply=%add
        %s1 = f32[8]{0} reduce-scatter-done(%s0)
        %p0 = (f32[8]{0}, f32[8]{0:S(1)}, u32[]{:S(2)}) collective-permute-start(%s1), source_target_pairs={{0,1}}
        %p1 = f32[8]{0:S(1)} collective-permute-done(%p0)
        %t0 = ((f32[8]{0}), f32[8]{0}) async-start(%p1), calls=%wrapped
        %t1 = ((f32[8]{0}), f32[8]{0}) async-update(%t0), calls=%wrapped
        ROOT %t2 = f32[8]{0} async-done(%t1), calls=%wrapped
        """,
        "%wrapped (b: f32[8]) -> f32[8] {\n  %b = f32[8]{0} parameter(0)\n"
        "  ROOT %c = f32[8]{0} all-to-all(%b), replica_groups=[4,2]<=[8], dimensions={0}\n}\n",
    )
    assert summary(text) == [
        ("all-gather", 32, 4, 1),
        ("reduce-scatter", 128, 4, 1),
        ("collective-permute", 32, 2, 1),
        ("all-to-all", 32, 2, 1),
    ]
    assert (
        memory_passes(text, 32)["reads"] == memory_passes(text, 32)["writes"] == 1
    )  # the gathered array, written and scattered


FUSED_SCATTER = """%all-reduce-scatter.clone.1 (b: bf16[16]) -> bf16[2] {
  %b = bf16[16]{0:T(128)} parameter(0)
  %all-reduce.3 = bf16[16]{0} all-reduce(%b), replica_groups={{0,1,2,3,4,5,6,7}}, to_apply=%add
  %i = u32[] partition-id()
  ROOT %c = bf16[2]{0} dynamic-slice(%all-reduce.3, %i), dynamic_slice_sizes={2}
}
"""


def test_the_fusion_that_scatters_sums_on_tpus_is_a_reduce_scatter():
    body = """%b = bf16[16]{0} custom-call(%a), custom_call_target="f"
              ROOT %r = bf16[2]{0} fusion(%b), kind=kCustom, calls=%all-reduce-scatter.clone.1"""
    assert summary(module(body, FUSED_SCATTER)) == [("reduce-scatter", 32, 8, 1)]
    other = (body + FUSED_SCATTER).replace("all-reduce-scatter.clone.1", "fused")
    assert summary(module(*(other.split("%fused (")[0], "%fused (" + other.split("%fused (")[1]))) == [
        ("all-reduce", 32, 8, 1)
    ]


LOOP = """%cond (c: (f32[8], s32[])) -> pred[] {{
  %c = (f32[8]{{0}}, s32[]{{:T(128)}}) parameter(0)
  %end = s32[]{{:T(128)}} constant(10)
  %now = s32[]{{:T(128)}} get-tuple-element(%c), index=1
  ROOT %lt = pred[]{{:T(512)}} compare(%now, %end), direction={direction}
}}

%body (d: (f32[8], s32[])) -> (f32[8], s32[]) {{
  %step = s32[] constant({step})
  %d = (f32[8]{{0}}, s32[]{{:T(128)}}) parameter(0)
  %x = f32[8]{{0}} get-tuple-element(%d), index=0
  %n = s32[]{{:T(128)}} get-tuple-element(%d), index=1
  %y = f32[8]{{0}} all-reduce(%x), replica_groups={{}}, to_apply=%add
  %next = s32[]{{:T(128)}} {add}(%n, %step)
  ROOT %both = (f32[8]{{0}}, s32[]{{:T(128)}}) tuple(%y, %next)
}}
"""


@pytest.mark.parametrize(
    ("begin", "changes", "times"),
    [
        ("constant(0)", {}, 10),
        ("constant(4)", {}, 6),
        ("constant(12)", {}, 0),
        ("custom-call(), custom_call_target=\"f\"", {}, None),
        ("constant(0)", {"step": 2}, None),
        ("constant(0)", {"add": "multiply"}, None),
        ("constant(0)", {"direction": "GT"}, None),
    ],
)  # fmt: skip
def test_a_loop_of_a_tpu_program_says_by_its_counter_how_often_it_runs(begin, changes, times):
    body = f"""%zero = s32[] {begin}
               %copied = s32[]{{:S(6)}} copy(%zero)
               %both = (f32[8]{{0}}, s32[]{{:T(128)}}) tuple(%a, %copied)
               %loop = (f32[8]{{0}}, s32[]{{:T(128)}}) while(%both), condition=%cond, body=%body
               ROOT %r = f32[8]{{0}} get-tuple-element(%loop), index=0"""
    loop = LOOP.format(**{"direction": "LT", "step": 1, "add": "add"} | changes)
    assert summary(module(body, loop)) == [("all-reduce", 32, 8, times)]
    known = body.replace("body=%body", 'body=%body, backend_config={"known_trip_count":{"n":"7"}}')
    assert summary(module(known, loop)) == [("all-reduce", 32, 8, 7)]


B, M, F = 16, 4, 64
X, W = np.ones((B, M), np.float32), np.ones((M, F), np.float32)


def test_a_product_writes_its_result_once_and_the_next_one_reads_it_once():
    found = memory_passes(text_of(lambda x, w: (x @ w) @ w.T, X, W), B * F)
    assert (found["reads"], found["writes"]) == (1, 1)
    assert [(row["reads"], row["writes"], row["times"]) for row in found["by"]] == [(0, 1, 1), (1, 0, 1)]
    assert all("dot_general" in row["op_name"] and row["kind"] in ("dot", "fusion") for row in found["by"])


def test_a_function_between_them_is_another_pass_if_it_cannot_be_fused():
    def encode(x, w):
        return lax.optimization_barrier(jnp.exp(lax.optimization_barrier(x @ w))) @ w.T

    found = memory_passes(text_of(encode, X, W), B * F)
    assert (found["reads"], found["writes"]) == (2, 2)


def test_passes_in_a_loop_are_those_of_one_execution_of_its_body():
    step = lambda x, w: ((x @ w) @ w.T, None)  # noqa: E731
    found = memory_passes(text_of(lambda x, w: lax.scan(lambda x, _: step(x, w), x, None, length=9)[0], X, W), B * F)
    assert (found["reads"], found["writes"]) == (1, 1)
    assert {row["times"] for row in found["by"]} == {9}


def test_passes_of_larger_arrays_are_asked_for_separately():
    text = text_of(lambda x, w: (x @ w) @ w.T, X, W)
    assert not memory_passes(text, B * F - 1)["by"]
    assert (
        memory_passes(text, B * F - 1, at_least=True)
        == memory_passes(text, B * F, at_least=True)
        == memory_passes(text, B * F)
    )


def test_of_a_stack_that_is_sliced_in_a_loop_the_slice_counts():
    stack = np.ones((9, B, F), np.float32)
    found = text_of(lambda s: lax.scan(lambda c, x: (c + 1, jnp.exp(x) * c), jnp.float32(0), s), stack)
    assert not any(row["times"] == 9 for row in memory_passes(found, stack.size)["by"])
    assert [(r["reads"], r["writes"]) for r in memory_passes(found, B * F)["by"] if r["times"] == 9] == [(1, 1)]


CALLED = """%parallel (b: f32[8]) -> f32[8] {
  %b = f32[8]{0} parameter(0)
  ROOT %c = f32[8]{0} fusion(%b), kind=kLoop, calls=%fused
}

%fused (d: f32[8]) -> f32[8] {
  %d = f32[8]{0} parameter(0)
  %e = f32[8]{0} exponential(%d)
  ROOT %f = f32[8]{0} multiply(%e, %d)
}
"""


def test_a_call_is_the_instructions_it_leads_to():
    found = memory_passes(module("ROOT %r = f32[8]{0} call(%a), to_apply=%parallel", CALLED), 8)
    assert (found["reads"], found["writes"], [row["name"] for row in found["by"]]) == (1, 1, ["c"])


def test_the_entry_may_come_first():
    before = module("ROOT %r = f32[8]{0} call(%a), to_apply=%parallel", CALLED)
    first, last = before.split("%parallel (")[0], before[before.index("ENTRY") :]
    assert memory_passes(first + last + CALLED, 8) == memory_passes(before, 8)


def test_each_result_of_a_fusion_is_written():
    others = """%fused (d: f32[8], e: f32[9]) -> (f32[8], f32[9], f32[8]) {
      %d = f32[8]{0} parameter(0)
      %e = f32[9]{0} parameter(1)
      %i = s32[] constant(0)
      %f = f32[8]{0} exponential(%d)
      %g = f32[2]{0} slice(%f), slice={[0:2]}
      %h = f32[9]{0} dynamic-update-slice(%e, %g, %i)
      ROOT %t = (f32[8]{0}, f32[9]{0}, f32[8]{0:S(1)}) tuple(%f, %h, %f)\n}

%sorted (d: f32[8]) -> (f32[8], f32[8]) {
      %d = f32[8]{0} parameter(0)
      ROOT %t = (f32[8]{0}, f32[8]{0}) sort(%d, %d), dimensions={0}\n}\n"""
    text = module(
        """%b = f32[9]{0} custom-call(), custom_call_target="f"
           %c = (f32[8]{0}, f32[9]{0}, f32[8]{0:S(1)}) fusion(%a, %b), kind=kLoop, calls=%fused
           %s = (f32[8]{0}, f32[8]{0}) sort(%a, %a), dimensions={0}
           %u = (f32[8]{0}, f32[8]{0}) fusion(%a), kind=kInput, calls=%sorted
           ROOT %r = f32[8]{0} get-tuple-element(%c), index=0""",
        others,
    )
    assert [(row["name"], row["writes"]) for row in memory_passes(text, 8)["by"]] == [("c", 1), ("s", 2), ("u", 2)]
    assert [(row["name"], row["writes"]) for row in memory_passes(text, 2)["by"]] == [("c", 1)]


def test_only_what_moves_data_is_a_pass():
    found = module("""
        %b = f32[8]{0} bitcast(%a)
        %c = f32[8]{0} custom-call(), custom_call_target="AllocateBuffer"
        %d = (f32[8]{0}, f32[8]{0}) tuple(%b, %c)
        %e = f32[8]{0} get-tuple-element(%d), index=0
        %f = f32[8]{0} add(%e, %e)
        ROOT %r = f32[8]{0} custom-call(%f), custom_call_target="f"
    """)
    assert [(row["name"], row["reads"], row["writes"]) for row in memory_passes(found, 8)["by"]] == [
        ("f", 1, 1),
        ("r", 1, 1),
    ]
    assert traffic(found) == 4 * 32


def test_what_stays_in_fast_memory_does_not_cross_memory():
    found = module("""
        %b0 = (f32[8]{0:T(128)S(1)}, f32[8]{0:T(128)}, u32[]{:S(2)}) copy-start(%a)
        %b = f32[8]{0:T(128)S(1)} copy-done(%b0)
        %c = f32[8]{0:T(128)S(1)} exponential(%b)
        %d0 = (f32[8]{0:T(128)}, f32[8]{0:T(128)S(1)}, u32[]{:S(2)}) copy-start(%c)
        ROOT %d = f32[8]{0:T(128)} copy-done(%d0)
    """)
    assert [(row["name"], row["reads"], row["writes"]) for row in memory_passes(found, 8)["by"]] == [
        ("b0", 1, 0),
        ("d", 0, 1),
    ]
    assert traffic(found) == 2 * 32


SLICED = """%fused (d: f32[8,16], e: s32[], g: f32[4,16]) -> f32[1,16] {
  %d = f32[8,16]{1,0} parameter(0)
  %e = s32[] parameter(1)
  %h = f32[8,16]{1,0} bitcast(%d)
  %i = f32[1,16]{1,0} dynamic-slice(%h, %e, %e), dynamic_slice_sizes={1,16}
  %g = f32[4,16]{1,0} parameter(2)
  %j = f32[2,16]{1,0} slice(%g), slice={[0:2], [0:16]}
  ROOT %f = f32[1,16]{1,0} add(%i, %j)
}

%updated (k: f32[8,16], l: s32[], m: f32[1,16]) -> f32[8,16] {
  %k = f32[8,16]{1,0} parameter(0)
  %l = s32[] parameter(1)
  %m = f32[1,16]{1,0} parameter(2)
  %o = f32[8,16]{1,0} dynamic-update-slice(%k, %m, %l, %l)
  ROOT %p = f32[8,16]{1,0} bitcast(%o)
}
"""
SLICING = """
    %b = f32[8,16]{1,0} custom-call(), custom_call_target="b"
    %c = s32[] custom-call(), custom_call_target="c"
    %g = f32[4,16]{1,0} custom-call(), custom_call_target="g"
    %q = f32[1,16]{1,0} fusion(%b, %c, %g), kind=kLoop, calls=%fused
    %s0 = ((f32[8,16]{1,0}), f32[2,16]{1,0:S(1)}, s32[]{:S(2)}) slice-start(%b), slice={[0:2], [0:16]}
    ROOT %r = f32[8,16]{1,0} fusion(%b, %c, %q), kind=kLoop, calls=%updated
"""


@pytest.mark.parametrize(
    ("elements", "expected"),
    [(128, [("b", 0, 1)]), (64, [("g", 0, 1)]), (32, [("q", 1, 0), ("s0", 1, 0)]), (16, [("q", 1, 1), ("r", 1, 1)])],
)
def test_slices_count_as_what_they_are_within_fusions_too(elements, expected):
    found = memory_passes(module(SLICING, SLICED), elements)
    assert [(row["name"], row["reads"], row["writes"]) for row in found["by"]] == expected


NESTED = """%inner (u: f32[8,16], v: s32[]) -> f32[8,16] {
  %u = f32[8,16]{1,0} parameter(0)
  %v = s32[] parameter(1)
  ROOT %w = INNER
}

"""


@pytest.mark.parametrize(
    ("inner", "elements"),
    [
        ("f32[1,16]{1,0} dynamic-slice(%u, %v, %v), dynamic_slice_sizes={1,16}", 16),
        ("f32[8,16]{1,0} bitcast(%u)", 128),
        ("f32[8,16]{1,0} add(%u, %u)", 128),
    ],
)
def test_a_fusion_within_a_fusion_takes_what_it_takes(inner, elements):
    slicing = "dynamic-slice(%h, %e, %e), dynamic_slice_sizes={1,16}"
    outer = SLICED.replace(slicing, "fusion(%h, %e), kind=kLoop, calls=%inner")
    found = memory_passes(module(SLICING, NESTED.replace("INNER", inner) + outer), elements)
    assert ("q", 1) in [(row["name"], row["reads"]) for row in found["by"]]


def test_a_fusion_that_needs_all_of_an_operand_besides_a_slice_reads_all():
    whole = SLICED.replace("add(%i, %j)", "add(%i, %d)")
    assert ("q", 1, 0) in [
        (r["name"], r["reads"], r["writes"]) for r in memory_passes(module(SLICING, whole), 128)["by"]
    ]


def test_traffic_is_the_bytes_of_all_passes_times_the_loop_without_branches():
    loop = lambda x, w: lax.scan(lambda x, _: ((x @ w) @ w.T, None), x, None, length=9)[0]  # noqa: E731
    least = 9 * 4 * (4 * M * B + 2 * B * F + 2 * M * F - M * B * 2)
    assert least <= traffic(text_of(loop, X, W)) <= 1.3 * least
    branch = lambda x, w: lax.cond(x[0, 0] > 0, lambda: loop(x, w), lambda: x)  # noqa: E731
    assert traffic(text_of(branch, X, W)) < 9 * 4 * B * F


def test_the_largest_array_is_what_an_instruction_makes_not_what_a_fusion_never_writes():
    found = largest(text_of(lambda x, w: (x @ w).sum(1), X, W))
    assert (found.elements, found.bytes) == (B * F, 4 * B * F) and "f32[16,64]" in found.line
    outer = np.ones(100, np.float32)
    assert largest(text_of(lambda x: (x[:, None] * x[None, :]).sum(), outer)).elements < 100 * 100
    loop = lambda x: lax.scan(lambda c, _: (c + x @ x.T, None), x @ x.T, None, length=3)[0].sum()  # noqa: E731
    assert largest(text_of(loop, X)).elements == B * B


def test_a_sharded_array_is_never_whole_on_a_device():
    text = on_mesh(lambda x: lax.psum(jnp.exp(x), "model"))
    assert largest(text).elements == 32
    gathered = on_mesh(lambda x: jnp.exp(lax.all_gather(x, "model", axis=1, tiled=True)) @ jnp.ones((32, 8)))
    assert largest(gathered).elements == 32 * 8


def test_memory_is_that_of_one_device_and_the_peak_counts_what_is_given_over_once():
    mesh = mesh_of(2, 4)
    x = jax.ShapeDtypeStruct((800, 10), jnp.float32, sharding=NamedSharding(mesh, P(("data", "model"))))
    found = memory(jax.jit(lambda x: x + 1, donate_argnums=0).lower(x).compile())
    assert (found["arguments"], found["outputs"], found["aliased"]) == (4000, 4000, 4000)
    assert found["peak"] == 4000 + found["temporaries"]
    kept = memory(jax.jit(lambda x: jnp.sort(x @ x.T) @ x).lower(x).compile())
    assert kept["peak"] == 8000 + kept["temporaries"] and kept["temporaries"] > 4000


def test_flops_are_those_of_a_device_with_the_body_of_a_loop_once():
    loop = lambda x, w: lax.scan(lambda x, _: ((x @ w) @ w.T, None), x, None, length=9)[0]  # noqa: E731
    assert flops(jax.jit(loop).lower(X, W).compile()) == pytest.approx(2 * 2 * B * M * F, rel=0.1)


@pytest.mark.parametrize(
    ("analysis", "expected"), [(None, None), ([], None), ({}, None), ({"flops": 7.0}, 7), ([{"flops": 7.0}], 7)]
)
def test_flops_are_none_where_the_compiler_gives_none(analysis, expected):
    assert flops(types.SimpleNamespace(cost_analysis=lambda: analysis)) == expected
