// Two sets of features side by side: sizes, how well they match, which feature is which, and figures of the dictionaries.

import { type Comparison, comparison, universality, wereMatched } from "../relations.ts";
import { go, routeTo, withQuery } from "../route.ts";
import type { PageProps } from "../shell.tsx";
import { decimals, share, visible, whole } from "../text.ts";
import { useLoaded } from "../ui/loaded.tsx";
import { Absent, Warning } from "../ui/note.tsx";
import { Part } from "../ui/part.tsx";
import { Figures } from "./compare/figures.tsx";
import { MatchList } from "./compare/list.tsx";
import { Matching } from "./compare/matching.tsx";
import { Rough } from "./compare/rough.tsx";
import { chosen, type Side, sidesOf } from "./compare/sides.ts";
import { WithoutComparison } from "./compare/without.tsx";
import "../styles/compare.css";

export function Compare(props: PageProps) {
  const { site, route } = props;
  const c = comparison(site);
  const sides = sidesOf(site, c);
  const [a, b] = chosen(sides, c, route.query);
  if (!a || !b) return <WithoutComparison title="Compare" kind="universality" comparison={c} what="two dictionaries or more" />;
  const matched = c !== null && a.place >= 0 && b.place >= 0 && wereMatched(c, a.place, b.place);
  const both = (dx: Record<string, string>) => go(withQuery(route, { page: "", n: "", sort: "", show: "", a: a.key, b: b.key, ...dx }));
  return (
    <>
      <h1>Compare</h1>
      <div class="row compare-sides">
        <Choice label="a" value={a.key} sides={sides} onChange={(key) => both({ a: key })} />
        <button type="button" onClick={() => both({ a: b.key, b: a.key })} aria-label="Exchange a and b" title="Exchange a and b">⇄</button>
        <Choice label="b" value={b.key} sides={sides} onChange={(key) => both({ b: key })} />
      </div>
      <Sizes a={a} b={b} />
      {c && matched && <Part key={`m${a.key}|${b.key}`}><Matched c={c} a={a} b={b} /></Part>}
      {!matched && <NotMatched c={c} a={a} b={b} sides={sides} />}
      {a.dictionary && b.dictionary && a !== b ? (
        <Part key={`f${a.key}|${b.key}`}><Figures a={a.dictionary} b={b.dictionary} /></Part>
      ) : (
        <Absent>{visible((a.dictionary ? b : a).name)} has no overview in this browser, so that figures and spectra cannot be shown side by side. Give its analysis to the report to see them.</Absent>
      )}
      {c && matched && <Part key={`l${a.key}|${b.key}`}><MatchList site={site} c={c} a={a} b={b} route={route} /></Part>}
      {c && c.gaps.length > 0 && <Gaps c={c} />}
    </>
  );
}

function Choice({ label, value, sides, onChange }: { label: string; value: string; sides: Side[]; onChange: (key: string) => void }) {
  return (
    <label>
      <strong>{label}</strong>{" "}
      <select value={value} onChange={(e) => onChange(e.currentTarget.value)}>
        {sides.map((s) => <option value={s.key}>{visible(s.name)}{s.set.role === "dictionary" ? "" : ` (${visible(s.set.role)})`}</option>)}
      </select>
    </label>
  );
}

const FACTS: [string, (s: Side) => string][] = [
  ["what", (s) => (s.set.role === "control" ? "control: of a shuffled transformer" : visible(s.set.role))],
  ["features", (s) => whole(s.set.n_features)],
  ["architecture", (s) => visible(String(s.set.architecture ?? s.dictionary?.run.architecture ?? "–"))],
  ["seed", (s) => String(s.set.seed ?? s.dictionary?.run.seed ?? "–")],
  ["site", (s) => visible(s.set.site ?? s.dictionary?.site ?? "–")],
  ["transformer", (s) => (s.set.model ? visible(s.set.model.slice(0, 12)) : "–")],
  ["records in this browser", (s) => (s.set.dictionary ? "yes" : "no")],
];

function Sizes({ a, b }: { a: Side; b: Side }) {
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="What is compared">
      <table>
        <thead><tr><th scope="col"><span class="unseen">fact</span></th><th scope="col">a: {visible(a.name)}</th><th scope="col">b: {visible(b.name)}</th></tr></thead>
        <tbody>{FACTS.map(([name, value]) => <tr><th scope="row">{name}</th><td>{value(a)}</td><td>{value(b)}</td></tr>)}</tbody>
      </table>
    </div>
  );
}

function Matched({ c, a, b }: { c: Comparison; a: Side; b: Side }) {
  const rows = useLoaded(universality, "universality");
  const stability = c.stability;
  return (
    <>
      <h2>Best matches</h2>
      <Rough c={c} kind="universality" />
      {a.set.n_features !== b.set.n_features && <Warning>The sizes differ: a smaller dictionary matches worse than it is matched, because several features of the larger share one.</Warning>}
      {rows ? <Matching a={a} b={b} rows={rows} /> : <p class="quiet">Loading…</p>}
      {stability && (stability.of === a.set.name || stability.of === b.set.name) && (
        <p>
          Stability of {visible(stability.of)} over {stability.seeds.length} other {stability.seeds.length === 1 ? "seed" : "seeds"} ({stability.seeds.map(visible).join(", ")}): median {decimals(stability.median, 3)}, and {share(stability.stable)} of the features
          above {decimals(stability.above, 1)}. Stability is the mean of a feature’s best correlations in dictionaries that differ by their seed alone.
        </p>
      )}
      {[a, b].every((s) => c.splitting?.sets.includes(s.place)) && a !== b && <p><a href={routeTo("", "splitting")}>What the features of the smaller become in the larger: splitting</a></p>}
    </>
  );
}

function NotMatched({ c, a, b, sides }: { c: Comparison | null; a: Side; b: Side; sides: Side[] }) {
  if (a === b) return <Absent>a and b are the same set. Choose another one.</Absent>;
  if (!c?.universality) return <Absent>{c ? `Matches of features: ${visible(c.absent.universality ?? "")}` : "This browser was written without a comparison, so it cannot tell which feature of one dictionary is which of the other: python -m experiments.compare, then --config.compare=…"}.</Absent>;
  const pairs = c.universality.pairs.flatMap(([i, j]) => {
    const [x, y] = [sides.find((s) => s.place === i), sides.find((s) => s.place === j)];
    return i < j && x && y ? [[x, y] as const] : [];
  });
  return (
    <Absent>
      The comparison did not match {visible(a.name)} with {visible(b.name)}: it matches its first dictionary with each other one. It has{" "}
      {pairs.map(([x, y], k) => <>{k > 0 && ", "}<a href={routeTo("", "compare", "", { a: x.key, b: y.key })}>{visible(x.name)} and {visible(y.name)}</a></>)}.
    </Absent>
  );
}

function Gaps({ c }: { c: Comparison }) {
  return (
    <section>
      <h2>What the comparison could not say</h2>
      <ul>{c.gaps.map((gap) => <li><strong>{visible(String(gap.kind))}</strong>: {visible(String(gap.reason))}</li>)}</ul>
    </section>
  );
}
