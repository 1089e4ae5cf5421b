// The text as tokens, shaded by what is asked for; one token is chosen by pointer or arrow keys.

import { useEffect, useMemo, useRef } from "preact/hooks";
import type { Piece } from "./pieces.ts";

export interface Shading {
  kind: "fires" | "moves"; // one colour, or two for a rise and a fall
  values: ArrayLike<number>; // of each token
  most: number; // the value of the full colour
  of: (value: number) => string; // said of a token
}

interface Props {
  pieces: Piece[];
  chosen: number; // place of the chosen token
  shading: Shading | null;
  choose: (token: number) => void;
}

const RTL = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;
const LTR = /(?![\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff\u{10800}-\u{10fff}\u{1e800}-\u{1efff}])\p{L}/u;

/** The direction of the first letter, as the text box has it (dir=auto). */
export function direction(text: string): "rtl" | "ltr" {
  const right = text.search(RTL), left = text.search(LTR);
  return right >= 0 && (left < 0 || right < left) ? "rtl" : "ltr";
}

export function Flow({ pieces, chosen, shading, choose }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const dir = useMemo(() => direction(pieces.map((p) => p.text).join("")), [pieces]);
  const at = pieces.findIndex((p) => p.tokens.includes(chosen));
  useEffect(() => {
    if (document.activeElement === box.current) box.current?.querySelector("[aria-selected=true]")?.scrollIntoView({ block: "nearest" });
  }, [at]);

  const step = (by: number) => {
    const next = pieces[Math.min(Math.max(at + by, 0), pieces.length - 1)];
    if (next) choose(next.tokens[0]!);
  };
  const keys = (event: KeyboardEvent) => {
    const forward = dir === "rtl" ? "ArrowLeft" : "ArrowRight", back = dir === "rtl" ? "ArrowRight" : "ArrowLeft";
    const moves: Record<string, number> = { [forward]: 1, [back]: -1, ArrowDown: 10, ArrowUp: -10, Home: -1e9, End: 1e9 };
    const by = moves[event.key];
    if (by === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    step(by);
  };
  return (
    <div
      class="try-flow"
      ref={box}
      dir={dir}
      role="listbox"
      tabIndex={0}
      aria-label="Tokens of the text"
      aria-activedescendant={at >= 0 ? `try-piece-${at}` : undefined}
      onKeyDown={keys}
    >
      {pieces.map((piece, i) => <Shown key={i} piece={piece} i={i} chosen={i === at} shading={shading} choose={choose} />)}
    </div>
  );
}

function Shown({ piece, i, chosen, shading, choose }: {
  piece: Piece; i: number; chosen: boolean; shading: Shading | null; choose: (token: number) => void;
}) {
  // Of several tokens of one character, the largest.
  const value = shading ? piece.tokens.map((t) => shading.values[t] ?? 0).reduce((a, b) => (Math.abs(b) > Math.abs(a) ? b : a), 0) : 0;
  const has = shading !== null && Number.isFinite(value) && value !== 0 && shading.most > 0;
  const strength = has ? 0.1 + 0.9 * Math.min(Math.abs(value) / shading.most, 1) : 0;
  const colour = !has ? "" : shading.kind === "fires" ? " try-fires" : value > 0 ? " try-rises" : " try-falls";
  const name = piece.start ? "start of a context" : piece.text.trim() ? piece.text : "white space";
  const said = `${name.length > 80 ? `${name.slice(0, 80)}…` : name}${has ? `, ${shading.of(value)}` : ""}`;
  const lines = piece.text.split("↵");
  return (
    <span
      id={`try-piece-${i}`}
      role="option"
      aria-selected={chosen}
      aria-label={said}
      title={said}
      class={`try-piece${chosen ? " try-chosen" : ""}${piece.start ? " try-start" : ""}${piece.tokens.length > 1 ? " try-joined" : ""}${colour}`}
      style={has ? { "--strength": String(Math.round(strength * 1000) / 1000) } : undefined}
      onClick={() => choose(piece.tokens[0]!)}
    >
      {piece.start ? "▸" : lines.map((line, k) => <>{line}{k < lines.length - 1 && <span class="quiet">↵{"\n"}</span>}</>)}
    </span>
  );
}
