// The first page: what was trained on what, how good it is and how far that can be trusted, and where to start.

import { useLoaded } from "../ui/loaded.tsx";
import type { PageProps } from "../shell.tsx";
import { Absent } from "../ui/note.tsx";
import { Categories } from "./overview/categories.tsx";
import { loadOverview } from "./overview/data.ts";
import { Density } from "./overview/density.tsx";
import { headlines } from "./overview/figures.ts";
import { Gaps, Holds } from "./overview/holds.tsx";
import { Headlines } from "./overview/headlines.tsx";
import { Judges } from "./overview/judges.tsx";
import { Lede } from "./overview/lede.tsx";
import { Provenance } from "./overview/provenance.tsx";
import { Proxies } from "./overview/proxies.tsx";
import { StartHere } from "./overview/start.tsx";
import { Sweep } from "./overview/sweep.tsx";
import { Training } from "./overview/training.tsx";
import "../styles/overview.css";
import "../styles/chart.css";

export function Overview({ site, dictionary }: PageProps) {
  const data = useLoaded(() => loadOverview(dictionary), dictionary.id);
  return (
    <div class="overview">
      <Lede dictionary={dictionary} data={data} />
      {data && (
        <>
          <StartHere dictionary={dictionary} data={data} />
          <Headlines groups={headlines(data, dictionary.run, dictionary.site)} />
          {site.dictionaries.length > 1 && <Sweep site={site} dictionary={dictionary} />}
          <Density data={data} />
          <h2>Features against neurons</h2>
          <Proxies dictionary={dictionary} rows={data.proxies} />
          <Categories dictionary={dictionary} rows={data.categories} />
          <Judges rows={data.judges} />
          <h2>Training</h2>
          <Training data={data} />
          <h2>What could not be measured</h2>
          {data.gaps.length ? <Gaps rows={data.gaps} /> : <Absent>Everything that was asked could be measured.</Absent>}
          <Holds dictionary={dictionary} />
          <Provenance run={dictionary.run} version={site.version} />
        </>
      )}
    </div>
  );
}
