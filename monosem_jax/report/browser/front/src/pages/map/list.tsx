// The points that are chosen, or those in the middle of the map, as a list: the map for keyboard and screen reader.

import { useEffect, useState } from "preact/hooks";
import { nameKey, useNames } from "../../names.ts";
import type { ComparedSet, Site } from "../../site.ts";
import { whole } from "../../text.ts";
import { FeatureLink } from "../../ui/feature_link.tsx";
import type { Points } from "./points.ts";

const PAGE = 40;

export function PointList({ site, sets, p, points, title }: {
  site: Site;
  sets: ComparedSet[]; // of the map
  p: Points;
  points: number[];
  title: string;
}) {
  const [page, turn] = useState(0);
  const key = `${points.length}/${points[0]}/${points.at(-1)}`;
  useEffect(() => turn(0), [key]);
  const pages = Math.max(1, Math.ceil(points.length / PAGE));
  const shown = points.slice(page * PAGE, (page + 1) * PAGE).flatMap((i) => {
    const set = sets[p.set[i]!];
    return set ? [{ set, feature: p.feature[i]!, cluster: p.cluster[i]! }] : [];
  });
  const names = useNames(site, shown);
  return (
    <section>
      <h2>{title}</h2>
      <ol class="point-list" start={page * PAGE + 1}>
        {shown.map(({ set, feature, cluster }) => (
          <li>
            <FeatureLink site={site} set={set} feature={feature} name={names.get(nameKey(set, feature))} />{" "}
            <span class="quiet small">{cluster < 0 ? "in no cluster" : `cluster ${cluster}`}</span>
          </li>
        ))}
      </ol>
      {pages > 1 && (
        <div class="row">
          <button type="button" disabled={page === 0} onClick={() => turn(page - 1)}>Previous</button>
          <span>{whole(page + 1)} of {whole(pages)}</span>
          <button type="button" disabled={page >= pages - 1} onClick={() => turn(page + 1)}>Next</button>
        </div>
      )}
    </section>
  );
}
