// An automaton drawn: features as boxes on a ring, steps as arrows with the token that carries them.

import type { Automaton, AutomatonEdge, AutomatonNode, TokenShare } from "../../relations_types.ts";
import { share } from "../../text.ts";
import { chipText, shortened } from "../../ui/chip.tsx";

const BOX = { width: 132, height: 58 };
const PAD = 44;

interface Point {
  x: number;
  y: number;
}

/** Places of n boxes on a ring, the first at the left, and the size of the picture. */
function placesOf(n: number): { places: Point[]; width: number; height: number } {
  if (n === 1) return { places: [{ x: 110, y: 104 }], width: 220, height: 150 };
  const radius = { x: n === 2 ? 130 : 128 + 10 * n, y: n === 2 ? 0 : 94 + 6 * n };
  const ring = Array.from({ length: n }, (_, i) => {
    const angle = Math.PI - (2 * Math.PI * i) / n;
    return { x: radius.x * Math.cos(angle), y: -radius.y * Math.sin(angle) };
  });
  const [left, right] = [Math.min(...ring.map((p) => p.x)), Math.max(...ring.map((p) => p.x))];
  const [top, bottom] = [Math.min(...ring.map((p) => p.y)), Math.max(...ring.map((p) => p.y))];
  const pad = { x: BOX.width / 2 + 20 + (n === 3 ? 24 : 0), y: BOX.height / 2 + (n === 2 ? PAD : 14) };
  return {
    places: ring.map((p) => ({ x: p.x - left + pad.x, y: p.y - top + pad.y })),
    width: right - left + 2 * pad.x,
    height: bottom - top + 2 * pad.y,
  };
}

export function Drawing({ automaton, address, id }: {
  automaton: Automaton;
  address: (feature: number) => string | undefined;
  id: string; // tells the arrow heads of several drawings apart
}) {
  const { places, width, height } = placesOf(automaton.nodes.length);
  const of = new Map(automaton.nodes.map((node, i) => [node.feature, places[i]!]));
  const largest = Math.max(0, ...automaton.edges.map((e) => e.weight));
  return (
    <svg class="automaton" viewBox={`0 0 ${width} ${height}`} width={width} role="group" aria-label={`${automaton.kind} of features ${automaton.nodes.map((n) => n.feature).join(", ")}; the table below says the same`}>
      <defs>
        {["strong", "weak"].map((kind) => (
          <marker id={`${id}-${kind}`} viewBox="0 0 10 10" refX="9" refY="5" markerWidth="9" markerHeight="9" orient="auto-start-reverse" markerUnits="userSpaceOnUse">
            <path d="M0,0L10,5L0,10z" class={`head-${kind}`} />
          </marker>
        ))}
      </defs>
      {automaton.edges.map((edge) => {
        const begin = of.get(edge.source);
        const end = of.get(edge.target);
        // texts stand away from the first box, where arrows of a branch meet
        const at = begin === places[0] ? 0.62 : end === places[0] ? 0.38 : 0.5;
        return begin && end ? <Arrow edge={edge} begin={begin} end={end} at={at} id={id} largest={largest} /> : null;
      })}
      {automaton.nodes.map((node, i) => <Box node={node} place={places[i]!} address={address(node.feature)} />)}
    </svg>
  );
}

function Box({ node, place, address }: { node: AutomatonNode; place: Point; address?: string }) {
  const [fires, raises] = [fitting(node.tokens, 17), fitting(node.logits, 14)];
  const drawn = (
    <g class="automaton-node" transform={`translate(${place.x - BOX.width / 2},${place.y - BOX.height / 2})`}>
      <rect width={BOX.width} height={BOX.height} rx="8" />
      <text x={BOX.width / 2} y="16" class="node-title">{node.feature}</text>
      <text x={BOX.width / 2} y="33" class="node-fires" direction="ltr">{fires}</text>
      <text x={BOX.width / 2} y="49" class="node-raises" direction="ltr">→ {raises}</text>
    </g>
  );
  return address ? <a href={address} aria-label={`Feature ${node.feature}`}>{drawn}</a> : drawn;
}

/** As many of the first tokens as fit into a line of `most` characters. */
function fitting(tokens: TokenShare[], most: number): string {
  let line = "";
  for (const [token] of tokens.slice(0, 3)) {
    const next = `${line}${line && "  "}${shortened(chipText(token), 9)}`;
    if (next.length > most) break;
    line = next;
  }
  return line;
}

function Arrow({ edge, begin, end, at, id, largest }: {
  edge: AutomatonEdge;
  begin: Point;
  end: Point;
  at: number; // of its way where its text stands
  id: string;
  largest: number;
}) {
  const kind = edge.check.confirmed ? "strong" : "weak";
  const { path, label } = begin === end ? loop(begin) : bent(begin, end, at);
  const text = `${shortened(chipText(edge.token), 12)} ${share(edge.check.held)}`;
  return (
    <g class={`arrow arrow-${kind}`}>
      <path d={path} marker-end={`url(#${id}-${kind})`} stroke-width={1 + 2.5 * (edge.weight / Math.max(largest, 1e-9))} />
      <text x={label.x} y={label.y} direction="ltr">{text}</text>
    </g>
  );
}

function loop(at: Point): { path: string; label: Point } {
  const top = at.y - BOX.height / 2;
  return {
    path: `M${at.x - 30},${top}C${at.x - 60},${top - 60} ${at.x + 60},${top - 60} ${at.x + 30},${top - 1}`,
    label: { x: at.x, y: top - 52 },
  };
}

/** From border to border, bent to the left of its way so that two opposite arrows do not meet. */
function bent(begin: Point, end: Point, at: number): { path: string; label: Point } {
  const [dx, dy] = [end.x - begin.x, end.y - begin.y];
  const length = Math.hypot(dx, dy);
  const side = { x: dy / length, y: -dx / length };
  const bend = 0.14 * length + 16;
  const middle = { x: (begin.x + end.x) / 2 + side.x * bend, y: (begin.y + end.y) / 2 + side.y * bend };
  const start = border(begin, middle);
  const stop = border(end, middle, 3);
  const weights = [(1 - at) ** 2, 2 * at * (1 - at), at ** 2] as const;
  const label = {
    x: weights[0] * start.x + weights[1] * middle.x + weights[2] * stop.x,
    y: weights[0] * start.y + weights[1] * middle.y + weights[2] * stop.y,
  };
  return {
    path: `M${start.x},${start.y}Q${middle.x},${middle.y} ${stop.x},${stop.y}`,
    label: { x: label.x + side.x * 10, y: label.y + side.y * 12 + 4 },
  };
}

/** Where the line from the middle of a box towards a point leaves it. */
function border(box: Point, towards: Point, beyond = 0): Point {
  const [dx, dy] = [towards.x - box.x, towards.y - box.y];
  const scale = Math.min((BOX.width / 2 + beyond) / Math.abs(dx || 1e-9), (BOX.height / 2 + beyond) / Math.abs(dy || 1e-9));
  return { x: box.x + dx * scale, y: box.y + dy * scale };
}
