"""Automata drawn as in the paper: features as circles with their tokens, steps as arrows with the token that carries
them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from monosem_jax.report.figures import drawn_token
from monosem_jax.report.plots import BLUE, GREY, ORANGE

RADIUS, NODE = 2.0, 0.62  # of the ring on which the features lie, and of a feature
TOKENS = 3  # of each list that are shown


def automaton_figure(automaton: Mapping[str, Any]) -> Any:
    """A figure of one automaton as `automata.json` has it. Confirmed steps are drawn in colour, others in grey; a label
    gives the token and the target's firing rate while the source is held."""
    from matplotlib.figure import Figure

    nodes, edges = automaton["nodes"], automaton["edges"]
    alone = len(nodes) == 1
    figure = Figure(figsize=(3.0, 2.9) if alone else (4.6, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_aspect("equal")
    places = _places(len(nodes))
    of = {node["feature"]: place for node, place in zip(nodes, places, strict=True)}
    for edge in edges:
        _arrow(axes, of[edge["source"]], of[edge["target"]], edge)
    for node, place in zip(nodes, places, strict=True):
        _circle(axes, node, place)
    reach = 2 * NODE if alone else RADIUS + 2.3 * NODE
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-1.2 * NODE if alone else -reach, 3 * NODE if alone else reach)
    state = "confirmed" if automaton["confirmed"] else "not confirmed"
    axes.set_title(f"{automaton['kind']}, {automaton['score']:.2f} nats, {state}", fontsize=9)
    return figure


def _places(n: int) -> list[tuple[float, float]]:
    """Places on a ring, the first at the left."""
    if n == 1:
        return [(0.0, 0.0)]
    angles = [math.pi - 2 * math.pi * i / n for i in range(n)]
    return [(RADIUS * math.cos(a), RADIUS * math.sin(a)) for a in angles]


def _circle(axes: Any, node: Mapping[str, Any], place: tuple[float, float]) -> None:
    from matplotlib.patches import Circle

    axes.add_patch(Circle(place, NODE, facecolor="white", edgecolor=BLUE, linewidth=1.2, zorder=3))
    fires, raises = (" ".join(drawn_token(t) for t, _ in node[key][:TOKENS]) for key in ("tokens", "logits"))
    x, y = place
    style: dict[str, Any] = {"ha": "center", "va": "center", "zorder": 4, "parse_math": False}
    axes.text(x, y + 0.32, str(node["feature"]), color=BLUE, fontsize=8, **style)
    axes.text(x, y + 0.04, fires, fontsize=7, **style)
    axes.text(x, y - 0.26, f"→ {raises}", fontsize=7, color=GREY, **style)


def _arrow(axes: Any, begin: tuple[float, float], end: tuple[float, float], edge: Mapping[str, Any]) -> None:
    from matplotlib.patches import FancyArrowPatch

    colour = ORANGE if edge["check"]["confirmed"] else "#b9c0c7"
    style: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 11, "color": colour, "linewidth": 1.3, "zorder": 2}
    label = f"{drawn_token(edge['token'])}  {100 * edge['check']['held']:.0f} %"
    if begin == end:
        x, y = begin
        above = ((x - 0.3, y + NODE), (x + 0.3, y + NODE))
        axes.add_patch(FancyArrowPatch(*above, connectionstyle="arc3,rad=-1.9", **style))
        axes.text(x, y + NODE + 0.75, label, fontsize=7, ha="center", parse_math=False)
        return
    dx, dy = end[0] - begin[0], end[1] - begin[1]
    length = math.hypot(dx, dy)
    ux, uy = dx / length, dy / length
    side = (-uy, ux)
    start = (begin[0] + ux * NODE + 0.12 * side[0], begin[1] + uy * NODE + 0.12 * side[1])
    stop = (end[0] - ux * NODE + 0.12 * side[0], end[1] - uy * NODE + 0.12 * side[1])
    axes.add_patch(FancyArrowPatch(start, stop, connectionstyle="arc3,rad=-0.18", **style))
    bend = 0.18 * length / 2 + 0.3
    middle = ((start[0] + stop[0]) / 2 + bend * side[0], (start[1] + stop[1]) / 2 + bend * side[1])
    axes.text(*middle, label, fontsize=7, ha="center", va="center", zorder=4, parse_math=False)
