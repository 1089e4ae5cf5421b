// Finite-state automata of a dictionary, as graphs whose nodes open the feature; and its motifs.

import { addressOf, automata, type Comparison, comparison, motifs, placeOfName } from "../relations.ts";
import type { AutomataTable, Automaton } from "../relations_types.ts";
import { go, type Route, withQuery } from "../route.ts";
import type { PageProps } from "../shell.tsx";
import { decimals, share, visible, whole } from "../text.ts";
import { useLoaded } from "../ui/loaded.tsx";
import { Absent, Warning } from "../ui/note.tsx";
import { Part } from "../ui/part.tsx";
import { AutomatonCard, KINDS } from "./automata/card.tsx";
import { MotifTables } from "./automata/motifs.tsx";
import { Rough } from "./compare/rough.tsx";
import { WithoutComparison } from "./compare/without.tsx";
import "../styles/automata.css";

export function Automata(props: PageProps) {
  const c = comparison(props.site);
  if (!c || (!c.has.automata && !c.has.motifs)) return <WithoutComparison title="Automata and motifs" kind="automata" comparison={c} what="a dictionary with others (automata are looked for in the first one)" />;
  return (
    <>
      <h1>Automata and motifs</h1>
      {c.has.automata ? <Part><Found {...props} c={c} /></Part> : <Absent>No automata: {visible(c.absent.automata ?? "")}.</Absent>}
      {c.has.motifs ? <Part><FoundMotifs {...props} c={c} /></Part> : <Absent>No motifs: {visible(c.absent.motifs ?? "")}.</Absent>}
    </>
  );
}

function Found({ site, route, c }: PageProps & { c: Comparison }) {
  const tables = useLoaded(automata, "automata");
  if (!tables) return <p class="quiet">Loading…</p>;
  const names = Object.keys(tables);
  const chosen = names.includes(route.query.get("of") ?? "") ? route.query.get("of")! : names[0]!;
  const table = tables[chosen];
  const control = names.find((n) => c.sets[placeOfName(c, n)]?.role === "control");
  if (!table) return <Absent>No automata were looked for.</Absent>;
  const set = c.sets[placeOfName(c, chosen)];
  const address = (feature: number) => addressOf(site, set, feature);
  const shown = chosenOf(table.automata, route);
  const containing = route.query.get("feature");
  return (
    <>
      <p>
        Features whose preferred next tokens excite the next feature. Searched among {whole(table.edges)} steps between the {whole(table.n_features)} features of <strong>{visible(chosen)}</strong>,
        beside graphs with shuffled edges, and checked by sampling while a step’s first feature is held at its maximum.
      </p>
      {names.length > 1 && (
        <div class="row">
          {names.map((n) => <button type="button" aria-pressed={n === chosen} onClick={() => go(withQuery(route, { of: n, feature: "" }))}>{visible(n)}{n === control ? " (shuffled transformer)" : ""}</button>)}
        </div>
      )}
      <Rough c={c} kind="automata" />
      <Checks table={table} control={control && control !== chosen ? tables[control] : undefined} />
      <Kinds table={table} />
      <h2>{whole(shown.length)} automata</h2>
      <div class="row automata-filter">
        <label>kind <select value={route.query.get("kind") ?? ""} onChange={(e) => go(withQuery(route, { kind: e.currentTarget.value }))}>
          <option value="">all</option>
          {[...new Set(table.automata.map((a) => a.kind))].map((k) => <option value={k}>{visible(k)}</option>)}
        </select></label>
        <button type="button" aria-pressed={route.query.get("confirmed") === "1"} onClick={() => go(withQuery(route, { confirmed: route.query.get("confirmed") === "1" ? "" : "1" }))}>only confirmed</button>
        {containing && <button type="button" onClick={() => go(withQuery(route, { feature: "" }))}>with feature {visible(containing)} ✕</button>}
        <span class="quiet small">Solid arrows: confirmed; dashed: not. On an arrow: the token that carries it, and how often the target fires while the source is held.</span>
      </div>
      <div class="automata">
        {shown.map((a) => <AutomatonCard key={keyOf(a)} automaton={a} address={address} id={`a${table.automata.indexOf(a)}`} />)}
      </div>
      {shown.length === 0 && <Absent>None of the {whole(table.automata.length)} automata fits these choices.</Absent>}
    </>
  );
}

const keyOf = (a: Automaton): string => `${a.kind}/${a.nodes.map((n) => n.feature).join("-")}`;

function chosenOf(all: Automaton[], route: Route): Automaton[] {
  const kind = route.query.get("kind");
  const feature = route.query.get("feature");
  return all
    .filter((a) => (!kind || a.kind === kind) && (route.query.get("confirmed") !== "1" || a.confirmed))
    .filter((a) => !feature || a.nodes.some((n) => String(n.feature) === feature))
    .sort((a, b) => Number(b.confirmed) - Number(a.confirmed)); // stable: within, as the search gave them
}

function Checks({ table, control }: { table: AutomataTable; control?: AutomataTable }) {
  return (
    <>
      <dl class="check-figures">
        <div><dt>confirmed automata</dt><dd>{table.confirmed} of {table.automata.length}</dd><dd class="quiet">every step is confirmed{control && `; in the control, ${control.confirmed} of ${control.automata.length}`}</dd></div>
        <div><dt>confirmed steps</dt><dd>{table.confirmed_edges} of {table.checked_edges}</dd><dd class="quiet">the target fires more often while the source is held, 99 % interval</dd></div>
        <div><dt>from random features</dt><dd>{table.random_confirmed} of {table.random_checked}</dd><dd class="quiet">null: random sources, the same targets</dd></div>
        <div><dt>between automata</dt><dd>{table.crossed_confirmed} of {table.crossed_checked}</dd><dd class="quiet">null: the source of another automaton, often of the same script</dd></div>
        <div><dt>agree with text</dt><dd>{table.agreement === null ? "–" : share(table.agreement)}</dd><dd class="quiet">of the steps follow each other in held-out text more than they share a topic</dd></div>
      </dl>
      {table.crossed_confirmed > 0 && <Warning>Steps between automata are confirmed too, {share(table.crossed_confirmed / Math.max(1, table.crossed_checked))} of them: a confirmed step can be a shared script rather than a machine.</Warning>}
    </>
  );
}

function Kinds({ table }: { table: AutomataTable }) {
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Kinds beside chance">
      <table>
        <thead><tr><th scope="col">kind</th><th scope="col" class="number">looked at</th><th scope="col" class="number">beyond chance</th><th scope="col" class="number">lowest score, nats</th><th scope="col" class="number">expected in shuffled graphs</th><th scope="col" class="number">standard deviations above</th></tr></thead>
        <tbody>
          {table.kinds.map((k) => (
            <tr>
              <td>{visible(k.kind)} <span class="quiet small">{KINDS[k.kind] ?? ""}</span></td>
              <td class="number">{whole(k.looked_at)}</td><td class="number">{whole(k.found)}</td><td class="number">{decimals(k.least)}</td><td class="number">{decimals(k.expected)}</td><td class="number">{decimals(k.deviations, 1)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function FoundMotifs({ site, c }: PageProps & { c: Comparison }) {
  const found = useLoaded(motifs, "motifs");
  if (!found) return null;
  const set = c.sets[placeOfName(c, found.set)];
  return <MotifTables found={found} address={(feature) => addressOf(site, set, feature)} />;
}
