// What can be asked of the features: every control writes to the address.

import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { digits, share, visible, whole } from "../../text.ts";
import type { Dictionary } from "../../site.ts";
import { CLASSES, type Filter, SORTS, ULTRALOW_TOKENS } from "./filter.ts";
import type { Table } from "./table.ts";
import { useNarrow } from "./width.ts";

export type Change = (changes: Record<string, string | number | undefined>) => void;

interface Props {
  dictionary: Dictionary;
  table: Table;
  filter: Filter;
  change: Change;
}

export function SearchBox({ q, change }: { q: string; change: Change }) {
  const [text, setText] = useState(q);
  const timer = useRef(0);
  const sent = useRef(q);
  useEffect(() => {
    if (q !== sent.current) setText(q); // changed elsewhere
    sent.current = q;
  }, [q]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const typed = (value: string) => {
    setText(value);
    clearTimeout(timer.current);
    timer.current = window.setTimeout(() => {
      sent.current = value;
      change({ q: value });
    }, 200);
  };
  return (
    <label class="search">
      <span>Search</span>
      <input
        type="search" value={text} data-find spellcheck={false} placeholder="words: explanations, labels, contexts" maxLength={200} dir="auto"
        onInput={(e) => typed(e.currentTarget.value)}
      />
    </label>
  );
}

export function Controls({ dictionary, table, filter, change }: Props) {
  const narrow = useNarrow();
  const missing: Record<string, boolean> = {
    match: !filter.q, label: !table.has("label"), proxy: !table.has("proxy"), score: !table.has("score"),
    gain: !table.has("score"), stability: !table.has("stability"),
  }; // prettier-ignore
  const { label, proxy, least, min, max, peak, score, gain, stable } = filter;
  const chosen = label >= 0 || proxy >= 0 || !Number.isNaN(least) || filter.class !== "";
  const ranged = [min, max, peak, score, gain, stable].some((x) => !Number.isNaN(x));
  const choices = <Choices {...{ dictionary, table, filter, change }} />;
  return (
    <div class="controls" role="search" aria-label="Filter and sort">
      <SearchBox q={filter.q} change={change} />
      {!narrow && choices}
      <Choice name="Sort by" value={filter.sort} set={(sort) => change({ sort, dir: "" })}>
        {Object.entries(SORTS).filter(([key]) => !missing[key]).map(([key, name]) => <option value={key}>{name}</option>)}
      </Choice>
      <button type="button" class="turn" onClick={() => change({ dir: filter.descending ? "asc" : "desc" })}>
        <span aria-hidden="true">{filter.descending ? "↓ " : "↑ "}</span>
        {filter.descending ? "largest first" : "smallest first"}
      </button>
      <details class="more" open={ranged || (narrow && chosen)}>
        <summary>{narrow ? "Filters" : "More filters"}</summary>
        <div class="ranges">
          {narrow && choices}
          <Density name="Density at least" value={min} ends={-7} set={(value) => change({ min: value })} />
          <Density name="Density at most" value={max} ends={0} set={(value) => change({ max: value })} />
          <Least name="Maximum at least" value={peak} step={0.1} lowest={0} set={(value) => change({ peak: value })} />
          {!missing.score && <Least name="Score at least" value={score} step={0.05} lowest={-1} highest={1} set={(value) => change({ score: value })} />}
          {!missing.score && <Least name="Score minus shuffled at least" value={gain} step={0.05} lowest={-2} highest={2} set={(value) => change({ gain: value })} />}
          {!missing.stability && <Least name="Stability at least" value={stable} step={0.05} lowest={0} highest={1} set={(value) => change({ stable: value })} />}
        </div>
      </details>
    </div>
  );
}

function Choices({ dictionary, table, filter, change }: Props) {
  const few = (dictionary.sets[table.set]?.tokens ?? 0) < ULTRALOW_TOKENS;
  const sets = Object.entries(dictionary.sets);
  return (
    <>
      {sets.length > 1 && (
        <Choice name="Set" value={table.set} set={(set) => change({ set: set === "features" ? "" : set, best: "" })}>
          {sets.map(([name, { records }]) => <option value={name}>{`${name} (${whole(records)})`}</option>)}
        </Choice>
      )}
      <Choice name="Class" value={filter.class} set={(value) => change({ class: value })}>
        <option value="">any</option>
        {Object.entries(CLASSES).map(([key, name]) => {
          const untold = key === "ultralow" && few;
          return <option value={key} disabled={untold}>{untold ? "ultralow: too few tokens" : name}</option>;
        })}
      </Choice>
      {dictionary.labels.length > 0 && <Names name="Label" names={dictionary.labels} chosen={filter.label} set={(label) => change({ label })} />}
      {dictionary.proxies.length > 0 && <Names name="Proxy" names={dictionary.proxies} chosen={filter.proxy} set={(proxy) => change({ proxy })} />}
      {(filter.label >= 0 || filter.proxy >= 0 || !Number.isNaN(filter.least)) && (
        <Least name="with r at least" value={filter.least} step={0.05} lowest={-1} highest={1} set={(least) => change({ least })} />
      )}
    </>
  );
}

function Choice({ name, value, set, children }: { name: string; value: string; set: (value: string) => void; children: ComponentChildren }) {
  return (
    <label>
      <span>{name}</span>
      <select value={value} onChange={(e) => set(e.currentTarget.value)}>{children}</select>
    </label>
  );
}

function Names({ name, names, chosen, set }: { name: string; names: string[]; chosen: number; set: (name: string) => void }) {
  return (
    <Choice name={name} value={String(chosen)} set={(value) => set(names[Number(value)] ?? "")}>
      <option value="-1">any</option>
      {names.map((text, i) => <option value={String(i)}>{visible(text)}</option>)}
    </Choice>
  );
}

interface LeastProps {
  name: string;
  value: number;
  step: number;
  lowest: number;
  highest?: number;
  set: (value: string) => void;
}

function Least({ name, value, step, lowest, highest, set }: LeastProps) {
  return (
    <label>
      <span>{name}</span>
      <input
        type="number" value={Number.isNaN(value) ? "" : String(value)} step={step} min={lowest} max={highest} placeholder="any"
        onChange={(e) => set(e.currentTarget.value)}
      />
    </label>
  );
}

/** A bound of the density on a logarithmic scale; at its end it asks nothing. */
function Density({ name, value, ends, set }: { name: string; value: number; ends: number; set: (value: string) => void }) {
  const chosen = Number.isNaN(value) || value <= 0 ? ends : Math.log10(value);
  const text = Number.isNaN(value) ? "any" : value > 0 ? share(value) : digits(value);
  return (
    <label>
      <span>{name}: <b>{text}</b></span>
      <input
        type="range" min={-7} max={0} step={0.1} value={chosen} aria-valuetext={text}
        onInput={(e) => set(Number(e.currentTarget.value) === ends ? "" : Number((10 ** Number(e.currentTarget.value)).toPrecision(2)).toString())}
      />
    </label>
  );
}
