// The parents and children of a feature as tables, and the measures of each step between sizes.

import type { Named } from "../../names.ts";
import { nameKey } from "../../names.ts";
import type { SplittingStep, SplittingTable } from "../../relations_types.ts";
import { routeTo } from "../../route.ts";
import type { ComparedSet, Site } from "../../site.ts";
import { decimals, digits, share, visible, whole } from "../../text.ts";
import { FeatureLink } from "../../ui/feature_link.tsx";
import { Term } from "../../ui/note.tsx";
import type { Line, Place } from "./family.ts";

export function EdgeTable({ title, side, lines, site, sets, names }: {
  title: string;
  side: "from" | "to";
  lines: Line[];
  site: Site;
  sets: ComparedSet[];
  names: Map<string, Named>;
}) {
  if (lines.length === 0) return null;
  return (
    <section>
      <h3>{title}</h3>
      <div class="scroll" tabIndex={0} role="region" aria-label={title}>
        <table>
          <thead>
            <tr>
              <th scope="col">feature</th>
              <th scope="col" class="number"><Term means="masked cosine similarity of the activations; features are joined above the threshold">similarity</Term></th>
              <th scope="col" class="number"><Term means="the similarity of two features as dense that fire independently">chance</Term></th>
              <th scope="col" class="number"><Term means="cosine of the dictionary vectors">cosine</Term></th>
              <th scope="col" class="number"><Term means="share of the child's tokens on which the parent fires">child → parent</Term></th>
              <th scope="col" class="number"><Term means="the same share for other features as dense as the parent: the baseline">of others</Term></th>
              <th scope="col" class="number"><Term means="share of the parent's tokens on which the child fires">parent → child</Term></th>
              <th scope="col" class="number"><Term means="share of the parent's sum of squared activations where the child fires">mass</Term></th>
              <th scope="col">best parent</th>
            </tr>
          </thead>
          <tbody>
            {lines.map((line) => {
              const place = line[side];
              const set = sets[place.level];
              if (!set) return null;
              return (
                <tr>
                  <td>
                    <FeatureLink site={site} set={set} feature={place.feature} name={names.get(nameKey(set, place.feature))} />{" "}
                    <a class="small" href={centred(set, place)} aria-label={`Put ${set.name} ${place.feature} in the middle`}>centre</a>
                  </td>
                  <td class="number">{decimals(line.similarity)}</td>
                  <td class="number">{decimals(line.chance)}</td>
                  <td class="number">{decimals(line.cosine)}</td>
                  <td class="number">{share(line.child_to_parent)}</td>
                  <td class="number">{share(line.matched)}</td>
                  <td class="number">{share(line.parent_to_child)}</td>
                  <td class="number">{share(line.mass)}</td>
                  <td>{line.best ? "yes" : "no"}</td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
    </section>
  );
}

export const centred = (set: ComparedSet, place: Place): string =>
  routeTo("", "splitting", "", { of: set.name, feature: place.feature });

const middle = (q: number[] | null | undefined): number | null => q?.[2] ?? null;

const MEASURES: [string, string, (step: SplittingStep) => string][] = [
  ["features", "Features that fire often enough to be compared, of the smaller and of the larger dictionary.", (s) => s.considered.map(whole).join(" → ")],
  ["edges", "Pairs whose masked cosine similarity is above the threshold.", (s) => whole(s.edges)],
  ["parents with 0 / 1 / 2 / 3+ children", "By best parents: every child has one best parent.", (s) => s.best.children.map(whole).join(" / ")],
  ["similarity", "Median over children and their best parents.", (s) => decimals(middle(s.best.similarity))],
  ["chance", "What the similarity would be if both fired independently.", (s) => decimals(middle(s.best.chance))],
  ["child → parent", "Median share of the child's tokens on which its best parent fires. This is what tells splitting from growth.", (s) => shareOf(middle(s.best.child_to_parent))],
  ["of others", "The same for features as dense as the parent that are no parents of the child: the matched baseline.", (s) => shareOf(middle(s.best.matched))],
  ["covered", "Median share of a parent's tokens on which one of its children fires.", (s) => shareOf(middle(s.cover?.share))],
  ["siblings apart", "Median divergence, 0 to 1 bit, of the tokens of two children of one parent.", (s) => decimals(middle(s.siblings?.tokens))],
  ["others apart", "The same for children of different parents: the baseline.", (s) => decimals(middle(s.siblings?.tokens_of_others))],
  ["merges", "Children with several parents.", (s) => whole(s.merges)],
];

const shareOf = (x: number | null): string => (x === null ? "–" : share(x));

export function Steps({ table }: { table: SplittingTable }) {
  const both = [...table.steps, ...table.same_size];
  return (
    <section>
      <h2>What the steps measure</h2>
      <div class="scroll" tabIndex={0} role="region" aria-label="Measures of the steps">
        <table class="measures">
          <thead>
            <tr>
              <th scope="col">measure</th>
              {both.map((s, i) => (
                <th scope="col" class="number">{visible(s.parents)} → {visible(s.children)}{i >= table.steps.length && <><br />one size</>}</th>
              ))}
            </tr>
          </thead>
          <tbody>
            {MEASURES.map(([name, means, value]) => (
              <tr>
                <th scope="row">{name}<div class="quiet measure-meaning">{means}</div></th>
                {both.map((s) => <td class="number">{value(s)}</td>)}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {table.same_size.length > 0 && (
        <p class="quiet small">The last column is of two dictionaries of one size that differ by their seed: what is there without splitting.</p>
      )}
      <Families table={table} />
    </section>
  );
}

function Families({ table }: { table: SplittingTable }) {
  const { families } = table;
  const implied = families.implied;
  return (
    <p>
      Of {whole(implied.roots)} features of the smallest dictionary, {whole(implied.with_two)} have two or more descendants among the {whole(table.sizes.at(-1) ?? 0)} features of the
      largest, counting children on at least {share(families.implied_least)} of whose tokens the best parent fires. A dictionary n times as large has n
      times as many features to give to its families, so that families grow is no finding; that children fire where their parent does is.
      Along all edges the largest family has {families.all.largest_component_share == null ? "–" : `${digits(100 * families.all.largest_component_share)} %`} of all features, so it says little.
    </p>
  );
}
