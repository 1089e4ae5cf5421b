// The tokens of a context, shaded by a value, with the facts about each on hover, tap and arrow keys.

import { useEffect, useId, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { loneToken } from "../text.ts";
import { direction, type Piece, textOf } from "../tokens.ts";
import "../styles/tokens-shown.css";

export type Shade = "fire" | "diverging";
export type Facts = [name: string, value: string][];

interface Shown {
  of: Element; // the piece that is pointed at
  parts: { token: string; facts: Facts }[];
  shared: boolean;
}

let listener: ((shown: Shown | null) => void) | null = null;

/** The card with the facts about the token that is pointed at. A page that shows tokens has one. */
export function TokenCard() {
  const [shown, show] = useState<Shown | null>(null);
  const card = useRef<HTMLDivElement>(null);
  useEffect(() => {
    listener = show;
    const follow = () => show((now) => (now?.of.isConnected ? { ...now } : null));
    addEventListener("scroll", follow, { passive: true, capture: true });
    return () => {
      listener = null;
      removeEventListener("scroll", follow, { capture: true });
    };
  }, []);
  useLayoutEffect(() => {
    const element = card.current;
    if (!element || !shown) return;
    const { width, height } = element.getBoundingClientRect();
    const at = shown.of.getClientRects()[0] ?? shown.of.getBoundingClientRect();
    const below = at.bottom + 6;
    const fits = below + height < innerHeight - 8;
    element.style.left = `${Math.max(8, Math.min(at.left, document.documentElement.clientWidth - width - 8))}px`;
    element.style.top = `${fits ? below : Math.max(8, at.top - height - 6)}px`;
  }, [shown]);
  if (!shown) return null;
  return (
    <div class="token-card" ref={card} aria-hidden="true">
      {shown.shared && <p class="small quiet">one character, in the bytes of {shown.parts.length} tokens</p>}
      {shown.parts.map((part) => (
        <section>
          <bdi class="token-chip">{clipped(loneToken(part.token))}</bdi>
          <dl>{part.facts.map(([name, value]) => <><dt>{name}</dt><dd>{value}</dd></>)}</dl>
        </section>
      ))}
    </div>
  );
}

const clipped = (text: string) => (text.length > 60 ? `${text.slice(0, 60)}… (${text.length.toLocaleString("en-US")} characters)` : text);

interface Props {
  tokens: readonly string[];
  all: readonly Piece[]; // of these tokens
  from: number; // the part of the pieces that is shown
  to: number;
  peak: number; // the token that the example is about
  values: readonly number[]; // of each token
  most: number; // the value with the strongest shade
  shade: Shade;
  label: string;
  first: boolean; // the one of its list that the Tab key goes to
  facts: (token: number) => Facts;
}

/** A context as one flow of text. The arrow keys move among its pieces, and up and down among the contexts of the
 * element with `data-contexts`. */
export function Tokens({ tokens, all, from, to, peak, values, most, shade, label, first, facts }: Props) {
  const id = useId();
  const box = useRef<HTMLDivElement>(null);
  const start = Math.max(all.findIndex((p) => p.tokens.includes(peak)), 0);
  const [current, setCurrent] = useState(-1);
  const dir = useMemo(() => direction(textOf(all)), [all]);

  const partsOf = (piece: Piece) => piece.tokens.map((t) => ({ token: tokens[t] ?? "", facts: facts(t) }));
  const show = (i: number) => {
    const piece = all[i];
    const element = box.current?.querySelector(`[data-piece="${i}"]`);
    if (piece && element) listener?.({ of: element, parts: partsOf(piece), shared: piece.shared });
  };
  const move = (i: number) => {
    const to_ = Math.max(from, Math.min(i, to - 1));
    setCurrent(to_);
    show(to_);
  };
  const pointed = (event: Event) => Number((event.target as Element).closest?.("[data-piece]")?.getAttribute("data-piece") ?? -1);

  function key(event: KeyboardEvent) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const forward = dir === "rtl" ? "ArrowLeft" : "ArrowRight";
    const back = dir === "rtl" ? "ArrowRight" : "ArrowLeft";
    if (event.key === forward) move(current + 1);
    else if (event.key === back) move(current - 1);
    else if (event.key === "Home") move(from);
    else if (event.key === "End") move(to - 1);
    else if (event.key === "Escape") listener?.(null);
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") beside(box.current, event.key === "ArrowDown" ? 1 : -1)?.focus();
    else return;
    event.preventDefault();
  }

  const active = all[current];
  return (
    <div
      class="token-line"
      dir={dir}
      ref={box}
      role="listbox"
      aria-label={label}
      aria-orientation="horizontal"
      aria-activedescendant={active ? id : undefined}
      tabIndex={first ? 0 : -1}
      onKeyDown={key}
      onFocus={() => move(current < 0 ? start : current)}
      onBlur={() => (setCurrent(-1), listener?.(null))}
      onMouseOver={(e) => pointed(e) >= 0 && show(pointed(e))}
      onMouseLeave={() => listener?.(null)}
      onClick={(e) => pointed(e) >= 0 && move(pointed(e))}
    >
      {from > 0 && <span class="cut" role="presentation">… </span>}
      {all.slice(from, to).map((piece, k) => {
        const i = from + k;
        const value = strongest(piece, values);
        const is = i === current;
        return (
          <span
            key={i}
            id={is ? id : undefined}
            role="option"
            aria-selected={is}
            aria-label={is ? spoken(partsOf(piece)) : undefined}
            data-piece={i}
            class={`token-piece${piece.tokens.includes(peak) ? " peak" : ""}${is ? " current" : ""} ${shadeClass(value, shade)}`}
            style={value !== 0 && most > 0 ? { "--share": String(strength(value, most)) } : undefined}
          >
            {piece.segments.map((s) => (s.blank ? <span class="blank">{s.text}</span> : s.text))}
          </span>
        );
      })}
      {to < all.length && <span class="cut" role="presentation"> …</span>}
    </div>
  );
}

const strongest = (piece: Piece, values: readonly number[]) =>
  piece.tokens.map((t) => values[t] ?? 0).reduce((a, b) => (Math.abs(b) > Math.abs(a) ? b : a), 0);

const shadeClass = (value: number, shade: Shade) => (value === 0 ? "" : shade === "fire" ? "fires" : value > 0 ? "rises" : "falls");

/** How strong the shade of a value is: weak ones can be told from none. */
const strength = (value: number, most: number) => Math.round((0.12 + 0.88 * Math.min(Math.abs(value) / most, 1)) * 1000) / 1000;

const spoken = (parts: Shown["parts"]) =>
  parts.map((part) => [clipped(loneToken(part.token)), ...part.facts.map(([name, value]) => `${name} ${value}`)].join(", ")).join("; ");

function beside(element: HTMLElement | null, step: number): HTMLElement | undefined {
  const contexts = [...(element?.closest("[data-contexts]")?.querySelectorAll<HTMLElement>("[role=listbox]") ?? [])];
  return element ? contexts[contexts.indexOf(element) + step] : undefined;
}

/** What the shades mean. */
export function Legend({ shade, low, high, children }: { shade: Shade; low: string; high: string; children: string }) {
  const steps = shade === "fire" ? [0, 0.25, 0.5, 0.75, 1] : [-1, -0.5, 0, 0.5, 1];
  return (
    <p class="shade-legend small">
      <span class="quiet">{children}</span>{" "}
      <span class="shade-ramp">
        <span>{low}</span>
        {steps.map((s) => (
          <span class={`shade ${shadeClass(s, shade)}`} style={{ "--share": String(strength(s, 1)) }} aria-hidden="true" />
        ))}
        <span>{high}</span>
      </span>
    </p>
  );
}
