// Feature splitting: what a feature becomes in larger dictionaries, as a graph that one can walk.

import { useState } from "preact/hooks";
import { useNames } from "../names.ts";
import { addressOf, type Comparison, comparison, splitting, told } from "../relations.ts";
import type { Told } from "../relations_types.ts";
import { go, routeTo, withQuery } from "../route.ts";
import type { PageProps } from "../shell.tsx";
import type { ComparedSet } from "../site.ts";
import { decimals, digits, share, visible, whole } from "../text.ts";
import { Tokens } from "../ui/feature_link.tsx";
import { useLoaded } from "../ui/loaded.tsx";
import { Warning } from "../ui/note.tsx";
import { Part } from "../ui/part.tsx";
import { Rough } from "./compare/rough.tsx";
import { WithoutComparison } from "./compare/without.tsx";
import { type Family, familyOf, type Place, same } from "./splitting/family.ts";
import { FamilyGraph } from "./splitting/graph.tsx";
import { centred, EdgeTable, Steps } from "./splitting/tables.tsx";
import "../styles/splitting.css";

export function Splitting(props: PageProps) {
  const c = comparison(props.site);
  if (!c?.splitting) return <WithoutComparison title="Feature splitting" kind="splitting" comparison={c} what="dictionaries of two sizes or more" />;
  return <Walk {...props} c={c} />;
}

function Walk({ site, route, c }: PageProps & { c: Comparison }) {
  const sets = (c.splitting?.sets ?? []).flatMap((i) => c.sets[i] ?? []);
  const rows = useLoaded(told, "told");
  const first = rows?.[0];
  const centre = centreOf(route.query, sets, first);
  if (!rows) return <><h1>Feature splitting</h1><p class="quiet">Loading…</p></>;
  const best = route.query.get("edges") !== "all";
  return (
    <>
      <h1>Feature splitting</h1>
      <p>
        A feature of a larger dictionary is a <em>child</em> of one of a smaller when the masked cosine similarity of their activations is above {digits(c.splitting?.rule.threshold ?? 0)},
        over {whole(c.tokens ?? 0)} held-out tokens. Its best parent is the most similar one.
      </p>
      <Rough c={c} kind="splitting" />
      <Chooser key={`${centre.level}/${centre.feature}`} sets={sets} centre={centre} rows={rows} />
      <div class="row edges-shown">
        <span class="quiet">children shown:</span>
        <button type="button" aria-pressed={best} onClick={() => go(withQuery(route, { edges: "" }))}>by best parents</button>
        <button type="button" aria-pressed={!best} onClick={() => go(withQuery(route, { edges: "all" }))}>along all edges</button>
      </div>
      <Part key={`${centre.level}/${centre.feature}`}><Around site={site} c={c} sets={sets} centre={centre} best={best} /></Part>
      <Part><StepsLater /></Part>
    </>
  );
}

function centreOf(query: URLSearchParams, sets: ComparedSet[], first: Told | undefined): Place {
  const level = sets.findIndex((s) => s.name === query.get("of"));
  const size = sets[level]?.n_features ?? 0;
  const feature = Number(query.get("feature") ?? NaN);
  if (level >= 0 && Number.isInteger(feature) && feature >= 0 && feature < size) return { level, feature };
  return { level: first?.level ?? 0, feature: first?.feature.feature ?? 0 };
}

function Around({ site, c, sets, centre, best }: { site: PageProps["site"]; c: Comparison; sets: ComparedSet[]; centre: Place; best: boolean }) {
  const family = useLoaded<Family>(() => familyOf(c, centre, best), `${centre.level}/${centre.feature}/${best}`);
  const wanted = (family?.columns ?? []).flatMap((column) => {
    const set = sets[column.level];
    return set ? column.features.map((feature) => ({ set, feature })) : [];
  });
  const names = useNames(site, wanted);
  const set = sets[centre.level];
  if (!family || !set) return <div class="family-waiting quiet">Loading…</div>;
  const address = addressOf(site, set, centre.feature);
  const upward = family.lines.filter((l) => same(l.to, centre));
  const downward = family.lines.filter((l) => same(l.from, centre));
  return (
    <>
      <h2>{visible(set.name)} {centre.feature}{address && <a class="small open" href={address}>open its page</a>}</h2>
      {family.lines.length === 0 && <p class="absent">This feature has no parent and no child above the threshold, or it fires on too few tokens ({c.splitting?.rule.least_firings}) to be compared.</p>}
      {family.cover.share !== undefined && (
        <p>
          Its children fire on {share(family.cover.share)} of its tokens; {family.cover.within !== undefined && <>it fires on {share(family.cover.within)} of theirs</>}
          {family.cover.together !== undefined && <>, and two or more of them fire together on {share(family.cover.together)} of theirs</>}.
        </p>
      )}
      <FamilyGraph family={family} centre={centre} sets={sets} names={names} onChoose={(p) => sets[p.level] && go(centred(sets[p.level]!, p) + (best ? "" : "&edges=all"))} />
      <EdgeTable title="Parents" side="from" lines={upward} site={site} sets={sets} names={names} />
      <EdgeTable title={best ? "Children by best parents" : "Children along all edges"} side="to" lines={downward} site={site} sets={sets} names={names} />
      <p class="quiet small">
        The browser holds the {c.splitting?.most_parents} best parents and the {c.splitting?.most_children} best children of each feature; the comparison’s splitting_edges.npz has all of them.
      </p>
    </>
  );
}

function Chooser({ sets, centre, rows }: { sets: ComparedSet[]; centre: Place; rows: Told[] }) {
  const [level, setLevel] = useState(centre.level);
  const [feature, setFeature] = useState(String(centre.feature));
  const size = sets[level]?.n_features ?? 1;
  const chosen = rows.findIndex((r) => r.level === centre.level && r.feature.feature === centre.feature);
  const show = () => {
    const set = sets[level];
    if (set) go(centred(set, { level, feature: Math.min(size - 1, Math.max(0, Math.floor(Number(feature) || 0))) }));
  };
  return (
    <div class="chooser">
      <div class="row">
        <label>dictionary <select value={level} onChange={(e) => setLevel(Number(e.currentTarget.value))}>{sets.map((s, i) => <option value={i}>{visible(s.name)}: {whole(s.n_features)} features</option>)}</select></label>
        <label>feature <input type="number" min={0} max={size - 1} value={feature} onInput={(e) => setFeature(e.currentTarget.value)} onKeyDown={(e) => e.key === "Enter" && show()} /></label>
        <button type="button" onClick={show}>Show</button>
      </div>
      <details open={chosen >= 0 && chosen < 1}>
        <summary>Families to begin with ({rows.length})</summary>
        <ul class="told">
          {rows.map((r, i) => (
            <li>
              <a href={routeTo("", "splitting", "", { of: r.feature.set, feature: r.feature.feature })} aria-current={i === chosen ? "true" : undefined}>
                {visible(r.feature.set)} {r.feature.feature}
              </a>{" "}
              <Tokens tokens={r.feature.tokens.map(([t]) => t)} />{" "}
              <span class="quiet small">{r.why === "label" ? `documents of ${visible(r.label_of ?? "")}, correlation ${decimals(r.correlation)}` : `a clear split, score ${decimals(r.score)}`}</span>
            </li>
          ))}
        </ul>
      </details>
    </div>
  );
}

function StepsLater() {
  const table = useLoaded(splitting, "splitting");
  if (!table) return null;
  return (
    <>
      <Steps table={table} />
      <Warning>A feature has one best parent even where none fits well: read the child → parent share beside that of others.</Warning>
    </>
  );
}
