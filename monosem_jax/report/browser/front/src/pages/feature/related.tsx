// What the features of other dictionaries are to one: twins, parents and children, and the automata it takes part in.

import type { ComponentChildren } from "preact";
import { nameKey, useNames } from "../../names.ts";
import {
  addressOf, automata, children, type Comparison, comparison, type Edge, type Edges, type Match, match, parents, placeOf, wereMatched,
} from "../../relations.ts";
import type { Automaton } from "../../relations_types.ts";
import { routeTo } from "../../route.ts";
import type { ComparedSet, Dictionary, Site } from "../../site.ts";
import { decimals, share, visible, whole } from "../../text.ts";
import { FeatureLink } from "../../ui/feature_link.tsx";
import { useOptional } from "../../ui/loaded.tsx";
import { Term, Warning } from "../../ui/note.tsx";
import { Drawing } from "../automata/drawing.tsx";
import { centred } from "../splitting/tables.tsx";
import "../../styles/automata.css";

interface Props {
  site: Site;
  dictionary: Dictionary;
  set: string; // features, neurons, control
  feature: number;
}

interface Found {
  twins: { place: number; match: Match }[];
  above: { set: ComparedSet; edges: Edges } | null; // parents in the next smaller dictionary
  below: { set: ComparedSet; edges: Edges } | null;
  automata: Automaton[];
}

const SHOWN = 8; // parents and children listed here; the page of splitting has more

/** Nothing when the browser has no comparison, or one without this set. */
export function Related(props: Props) {
  const c = comparison(props.site);
  const place = placeOf(c, props.dictionary.id, props.set);
  if (!c || place < 0 || props.feature >= (c.sets[place]?.n_features ?? 0)) return null;
  return <Relations {...props} c={c} place={place} />;
}

function Relations({ site, dictionary, feature, c, place }: Props & { c: Comparison; place: number }) {
  const { value: found, problem } = useOptional(() => relationsOf(c, place, feature), `${place}/${feature}`);
  const own = c.sets[place]!;
  const level = c.splitting?.sets.indexOf(place) ?? -1;
  const wanted = found
    ? [
        ...found.twins.filter((t) => t.match.feature >= 0).map((t) => ({ set: c.sets[t.place]!, feature: t.match.feature })),
        ...[found.above, found.below].flatMap((side) => side?.edges.edges.slice(0, SHOWN).map((e) => ({ set: side.set, feature: e.other })) ?? []),
      ]
    : [];
  const names = useNames(site, wanted);
  if (problem) return <Warning>{problem}</Warning>;
  if (!found) return <p class="quiet" role="status">Looking in other dictionaries…</p>;
  const name = (set: ComparedSet, n: number) => <FeatureLink site={site} set={set} feature={n} name={names.get(nameKey(set, n))} />;
  return (
    <section class="related" aria-label="In other dictionaries">
      <h2 id="others" tabIndex={-1}>In other dictionaries</h2>
      {found.twins.length > 0 && <Twins c={c} twins={found.twins} own={own} feature={feature} name={name} />}
      {level >= 0 && (
        <>
          <Kin title="Parents in the smaller dictionary" side={found.above} name={name} />
          <Kin title="Children in the larger dictionary" side={found.below} name={name} />
          <p><a href={centred(own, { level, feature })}>Walk this family</a></p>
        </>
      )}
      {c.map?.places.includes(place) && <p><a href={routeTo(dictionary.id, "map", "", { q: `${own.name} ${feature}` })}>Show it on the map</a></p>}
      {found.automata.length > 0 && (
        <>
          <h3>Automata it takes part in</h3>
          <div class="automata">
            {found.automata.slice(0, 2).map((a, k) => (
              <figure class="card automaton-card">
                <figcaption>{visible(a.kind)}, score {decimals(a.score)} nats (by chance {decimals(a.expected)}), {a.confirmed ? "confirmed" : "not confirmed"}</figcaption>
                <Drawing automaton={a} address={(n) => addressOf(site, own, n)} id={`related${k}`} />
              </figure>
            ))}
          </div>
          <p><a href={routeTo("", "automata", "", { of: own.name, feature })}>{found.automata.length === 1 ? "The automaton with its checks" : `All ${found.automata.length} automata with it`}</a></p>
        </>
      )}
      {found.twins.length === 0 && level < 0 && found.automata.length === 0 && <p class="absent">The comparison has no matches, sizes or automata of {visible(own.name)}.</p>}
    </section>
  );
}

async function relationsOf(c: Comparison, place: number, feature: number): Promise<Found> {
  const others = c.sets.map((_, j) => j).filter((j) => j !== place && wereMatched(c, place, j));
  const matches = await Promise.all(others.map((j) => match(c, place, j, feature)));
  const sizes = c.splitting?.sets ?? [];
  const level = sizes.indexOf(place);
  const side = async (step: number, other: number, of: typeof parents) => {
    const set = c.sets[sizes[other] ?? -1];
    return level >= 0 && set ? { set, edges: await of(c, step, feature) } : null;
  };
  const own = c.sets[place]!;
  const tables = c.automata?.sets.includes(own.name) ? await automata() : {};
  return {
    twins: others.flatMap((j, k) => (matches[k] ? [{ place: j, match: matches[k] }] : [])),
    above: await side(level - 1, level - 1, parents),
    below: await side(level, level + 1, children),
    automata: (tables[own.name]?.automata ?? []).filter((a) => a.nodes.some((n) => n.feature === feature)).sort((a, b) => Number(b.confirmed) - Number(a.confirmed)),
  };
}

type Name = (set: ComparedSet, feature: number) => ComponentChildren;

function Twins({ c, twins, own, feature, name }: { c: Comparison; twins: Found["twins"]; own: ComparedSet; feature: number; name: Name }) {
  return (
    <>
      <h3>Twins elsewhere: best matches</h3>
      <p class="quiet small">The feature of each set whose activations correlate most with this one’s, over {whole(c.tokens ?? 0)} tokens. The best of thousands is above 0 without any relation: the control shows how far.</p>
      <div class="scroll" tabIndex={0} role="region" aria-label="Best matches in other dictionaries">
        <table>
          <thead>
            <tr>
              <th scope="col">in</th>
              <th scope="col">best match</th>
              <th scope="col" class="number"><Term means="of the activations of the two">correlation</Term></th>
              <th scope="col"><Term means="whether this feature is also the best match of its match; otherwise which one is, and how well">back</Term></th>
              <th scope="col"><Term means="whether the assignment that uses no feature twice pairs them too">one to one</Term></th>
              <th scope="col"><span class="unseen">compare</span></th>
            </tr>
          </thead>
          <tbody>
            {twins.map(({ place, match: m }) => {
              const set = c.sets[place]!;
              return (
                <tr>
                  <td>{visible(set.name)}{set.role !== "dictionary" && <span class="quiet small"> {visible(set.role)}</span>}</td>
                  <td>{m.feature < 0 ? <span class="quiet">this feature never fires in that text</span> : name(set, m.feature)}</td>
                  <td class="number">{decimals(m.correlation)}</td>
                  <td>{m.feature < 0 || m.back < 0 ? "–" : m.back === feature ? "yes" : <>no: {m.back} ({decimals(m.back_correlation)})</>}</td>
                  <td>{m.one_to_one < 0 ? "–" : m.one_to_one === m.feature ? "yes" : `no: ${m.one_to_one} (${decimals(m.one_to_one_correlation)})`}</td>
                  <td><a class="small" href={routeTo("", "compare", "", { a: own.name, b: set.name, n: feature })} aria-label={`Compare with ${set.name}`}>compare</a></td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
    </>
  );
}

const Unopened = ({ set }: { set: ComparedSet }) => (
  <p class="quiet small">
    The records of {visible(set.name)} are not in this browser, so these cannot be opened: give its analysis to the report as well. “Walk this family” goes through them.
  </p>
);

function Kin({ title, side, name }: { title: string; side: { set: ComparedSet; edges: Edges } | null; name: Name }) {
  if (!side) return null;
  const shown = side.edges.edges.slice(0, SHOWN);
  return (
    <>
      <h3>{title}, {visible(side.set.name)}</h3>
      {!side.set.dictionary && shown.length > 0 && <Unopened set={side.set} />}
      {shown.length === 0 ? <p class="quiet">None above the threshold, or it fires too seldom to be compared.</p> : (
        <ul class="kin">
          {shown.map((e) => <li>{name(side.set, e.other)} <Said edge={e} /></li>)}
        </ul>
      )}
      {side.edges.total > shown.length && <p class="quiet small">{whole(side.edges.total - shown.length)} more, less similar.</p>}
    </>
  );
}

const Said = ({ edge }: { edge: Edge }) => (
  <span class="quiet small">
    similarity {decimals(edge.similarity)} (chance {decimals(edge.chance)}); the parent fires on {share(edge.child_to_parent)} of the child’s tokens (others as dense: {share(edge.matched)}){edge.best && "; best parent"}
  </span>
);
